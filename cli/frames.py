# SPDX-License-Identifier: Apache-2.0
"""Images for a network: arrays, a picture, or a folder of pictures, and what their pixels mean."""

import argparse
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tepal.quant import LAYOUTS, FloatNetwork, Network, NetworkError, Preprocessing

from .files import choose_frames, read_images
from .pictures import PICTURES, read_picture

__all__ = ["INPUT_HELP", "Frames", "add_preprocessing_arguments", "preprocessed", "read_frames", "read_input",
           "taken", "warned", "with_preprocessing"]

INPUT_HELP = "a picture, a folder of pictures, or an array (.npy, or .npz with 'images')"

N = TypeVar("N", bound=Network | FloatNetwork)

_SOUND = (".wav", ".wave", ".flac", ".mp3", ".ogg")
"""Names of sound end so.  Its features depend on how a model was trained, to the last bit of a logarithm."""

_NUMPY = (b"\x93NUM", b"PK\x03\x04", b"PK\x05\x06")
"""How .npy and .npz files begin."""


def add_preprocessing_arguments(parser: argparse.ArgumentParser) -> None:
    """What the pixels of a picture become before the model sees them."""
    # "-1:1" is no option; argparse knows that of plain negative numbers alone.
    parser._negative_number_matcher = re.compile(r"-[\d.]")  # pyright: ignore[reportAttributeAccessIssue]
    group = parser.add_argument_group(
        "pixels", "Of a picture, or of an array of uint8. Each 0 to 255 becomes (LOW + pixel * (HIGH - LOW) / 255 - "
        "MEAN) / STD, as torchvision's ToTensor and Normalize do with the range 0:1. What is given here replaces what "
        "the model's file says.")
    group.add_argument("--range", metavar="LOW:HIGH", help="what 0 and 255 become at first, such as 0:1 (the default "
                       "beside --mean or --std), -1:1 or 0:255")
    group.add_argument("--mean", metavar="A,B,C", help="one number, or one for each channel (default: 0)")
    group.add_argument("--std", metavar="A,B,C", help="likewise (default: 1)")
    group.add_argument("--layout", choices=LAYOUTS, help="order of the model's channels, to which pictures are "
                       "brought (default: rgb, or grey for one channel)")


def preprocessed(network: N, arguments) -> N:
    """``network`` with what the command line says of pixels, over what its file says.

    Raises
    ------
    NetworkError
        What is given can't be understood, or doesn't fit the network.
    """
    given = _given(arguments)
    if not given:
        return network
    known = network.preprocessing
    if given.keys() == {"layout"} and not known:
        known = _usual(network)
        if not known:
            raise _unknown(f"--layout {given['layout']} alone doesn't tell", network)
    texts = (known.texts() if known else {}) | given
    return replace(network, preprocessing=Preprocessing.of_texts(texts, network.input_shape[2]))


def _given(arguments) -> dict[str, str]:
    return {name: text for name in Preprocessing.OPTIONS if (text := getattr(arguments, name)) is not None}


def _unknown(start: str, network: Network | FloatNetwork, more: str = "") -> NetworkError:
    return NetworkError(f"{start} what pixels mean to the model {network.name}{more}: say it with --range, such as "
                        "0:1, or with --mean and --std")


def _usual(network: Network | FloatNetwork) -> Preprocessing | None:
    if isinstance(network, FloatNetwork):
        return None
    return Preprocessing.of_input(network.input_scale, network.input_zero_point, network.input_shape[2])


@dataclass(frozen=True, eq=False)
class Frames:
    """What was read.

    ``images`` int8 for an integer network and float32 for a float one, (frames, height, width, channels); ``names`` of
    the files of a folder, else none; ``preprocessing`` that pixels went through, or None; ``warnings`` to be told;
    ``pictures`` the files of pictures."""

    images: np.ndarray
    names: list[str]
    preprocessing: Preprocessing | None
    warnings: list[str]
    pictures: list[Path] = field(default_factory=list)

    @property
    def report(self) -> dict:
        """What a command's JSON tells of them."""
        return {"preprocessing": self.preprocessing and self.preprocessing.lists(), "warnings": self.warnings}


def read_input(arguments, network: Network) -> Frames:
    """What ``tepal run`` and ``tepal simulate`` are given, with what their command line says of pixels.

    Raises
    ------
    NetworkError
        See :func:`preprocessed` and :func:`read_frames`.
    """
    return warned(read_frames(arguments.input, preprocessed(network, arguments), arguments.frames), arguments)


def warned(frames: Frames, arguments) -> Frames:
    """``frames`` of ``arguments.input``; they get a warning if they are no pixels and the command line says what those
    mean."""
    options = ", ".join(f"--{name}" for name in _given(arguments))
    if options and not frames.preprocessing:
        frames.warnings.append(f"{arguments.input} holds no pixels (uint8), but what the model takes: without effect "
                               f"is {options}")
    return frames


def read_frames(source: Path, network: Network | FloatNetwork, count: int | None = None) -> Frames:
    """The images of ``source`` as ``network`` takes them, the first ``count`` or all.

    Parameters
    ----------
    source
        An array (``.npy``, or ``.npz`` with ``images``), whose uint8 are pixels where the network has a preprocessing;
        a picture; or a folder, whose pictures are taken in the order of their names.

    Raises
    ------
    NetworkError
        Something can't be read; has another shape than the network takes; or is a picture, and nothing says what
        pixels mean to the network.
    """
    names: list[str] = []
    warnings: list[str] = []
    paths: list[Path] = []
    if _is_array(source):
        images = choose_frames(read_images(source)[0], count, source)
    elif source.suffix.lower() in _SOUND:
        shape = " x ".join(map(str, network.input_shape))
        raise NetworkError(f"{source} is sound, and {network.name} takes {shape} features of it: give them as .npy, "
                           "made just as in its training")
    else:
        folder = source.is_dir()
        paths = choose_frames(_pictures(source) if folder else [source], count, source)
        names = [path.name for path in paths] if folder else []
        # What is no picture is told before what pixels mean.
        layout = network.preprocessing.layout if network.preprocessing else None
        images = np.stack([read_picture(path, network.input_shape, layout) for path in paths])
        network, note = with_preprocessing(network, source)
        warnings += note
        # Their channels come last, whatever the model's file has.
        network = replace(network, channels_first=False) if isinstance(network, FloatNetwork) else network
    frames = taken(images, network, source)
    return replace(frames, names=names, warnings=warnings + frames.warnings, pictures=paths)


def taken(images: np.ndarray, network: Network | FloatNetwork, source: Path) -> Frames:
    """``images``, those of ``source``, as ``network`` takes them; see :func:`read_frames`."""
    what, warnings = f"the images of {source}", []
    preprocessing = network.preprocessing if images.dtype == np.uint8 else None
    if isinstance(network, FloatNetwork):
        return Frames(network.images(images, what), [], preprocessing, warnings)
    if preprocessing and (told := preprocessing.contradiction(network.input_scale, network.input_zero_point)):
        warnings.append(f"{source}: {told}; check --range, --mean and --std")
    return Frames(network.quantise_input(images, what), [], preprocessing, warnings)


def _is_array(source: Path) -> bool:
    if source.suffix.lower() in (".npy", ".npz"):
        return True
    try:
        with source.open("rb") as file:
            return file.read(4) in _NUMPY
    except OSError:
        # Told by whatever reads it next.
        return False


def _pictures(folder: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file())
    except OSError as error:
        raise NetworkError(f"{folder} can't be read ({error.strerror})") from None
    if not paths:
        raise NetworkError(f"{folder} holds no picture (a file whose name ends in .png, .jpg or the like)")
    return paths


def with_preprocessing(network: N, source: Path | str) -> tuple[N, list[str]]:
    """``network`` with its own preprocessing or the usual one that its input fits, and what is to be told of that.

    Raises
    ------
    NetworkError
        Nothing tells what pixels mean; ``source`` is what the message says they are for.
    """
    if network.preprocessing:
        return network, []
    if isinstance(network, FloatNetwork):
        raise _unknown(f"{source}: nothing tells", network)
    scale, zero_point = network.input_scale, network.input_zero_point
    usual = _usual(network)
    if not usual:
        raise _unknown(f"{source}: nothing tells", network,
                       f", whose input holds {scale * (-128 - zero_point):.4g} to {scale * (127 - zero_point):.4g}, "
                       "no usual range")
    return replace(network, preprocessing=usual), [
        f"{network.name} doesn't say what pixels mean: by its input's scale {scale:.4g} and zero point {zero_point}, 0 "
        f"to 255 are taken for {usual.low:.4g} to {usual.high:.4g}, {usual.layout}"]
