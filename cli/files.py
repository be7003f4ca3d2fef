# SPDX-License-Identifier: Apache-2.0
"""Files that commands read and write: images, labels and names, and places for results."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from tepal.quant import FloatNetwork, Network, NetworkError

__all__ = ["check_file", "check_folder", "choose_frames", "classes_of", "read_images", "read_labelled", "read_names"]

S = TypeVar("S", np.ndarray, list[Path])


def read_images(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of an ``.npy`` file, or of an ``.npz`` with ``images`` and perhaps ``labels``, and the labels.

    Raises
    ------
    NetworkError
        The file can't be read, is damaged, or has no array ``images``.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"images": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded}
    except OSError as error:
        raise NetworkError(f"{path} can't be read ({error.strerror or error})") from None
    except Exception as error:
        # NumPy believes a damaged header, and then fails in many ways.
        raise NetworkError(f"{path} is no NumPy file of numbers (.npy or .npz), or a damaged one") from error
    if "images" not in arrays:
        raise NetworkError(f"{path} holds {', '.join(arrays) or 'nothing'}: it needs an array 'images', and may have "
                           "'labels'")
    return arrays["images"], arrays.get("labels")


def read_labelled(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and int64 labels, each 0 to ``classes`` - 1.

    Raises
    ------
    NetworkError
        See :func:`read_images`; or the labels are missing or no class numbers.
    """
    images, labels = read_images(path)
    if labels is None:
        raise NetworkError(f"{path} has no array 'labels': save both with np.savez(path, images=…, labels=…)")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise NetworkError(f"{path}: labels must be {images.shape[0] if images.ndim else 0} integers, one for each "
                           f"image, not {labels.dtype} {labels.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise NetworkError(f"{path}: labels must be 0 to {classes - 1}, for the network has {classes} outputs; they "
                           f"are {labels.min()} to {labels.max()}")
    return images, labels.astype(np.int64)


def read_names(path: Path | None) -> list[str]:
    """The lines of a file of class names; none without a file.  Raises NetworkError."""
    try:
        return path.read_text(encoding="utf-8").split("\n") if path else []
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path} can't be read ({getattr(error, 'strerror', 'it is no text')})") from error


def choose_frames(images: S, frames: int | None, path: Path) -> S:
    """The first ``frames`` images, or all."""
    if frames is None:
        return images
    if not 1 <= frames <= len(images):
        raise NetworkError(f"--frames {frames}: it must be 1 to {len(images)}, the frames that {path} holds")
    return images[:frames]


def classes_of(network: Network | FloatNetwork) -> int:
    """Between how many classes ``network`` decides.  Raises NetworkError if its answer is no such choice."""
    if len(network.output_layers) > 1:
        raise NetworkError(f"{network.name} has {len(network.output_layers)} outputs: the share of right classes is "
                           "that of a network with one output, its classes")
    return network.output_shape[2]


def check_file(path: Path, sources: Iterable[Path | None]) -> None:
    """Raise NetworkError if a result can't go to ``path``, or would replace one of the ``sources`` that it is made
    from."""
    check_folder(path.parent)
    if path.is_dir():
        raise NetworkError(f"{path} is a folder: give a file to write to")
    if not path.exists():
        return
    if not path.is_file():
        raise NetworkError(f"{path} is no regular file: give another one to write to")
    for source in filter(None, sources):
        if source.exists() and path.samefile(source):
            raise NetworkError(f"{path} is also {source}, which would be lost: give another file to write to")


def check_folder(path: Path) -> None:
    """Raise NetworkError if a file is where the folder ``path``, or one that it lies in, would be."""
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise NetworkError(f"{place} is a file: give a folder to write to")
            return
