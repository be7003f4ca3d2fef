# SPDX-License-Identifier: Apache-2.0
"""Picture files of every kind as 8-bit pixels in the layout of a network."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tepal.quant import NetworkError, Shape

__all__ = ["PICTURES", "decode_picture", "read_picture"]

_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
"""Formats of raster pictures that Pillow reads by itself; others, such as EPS, start a program on the file."""

PICTURES = frozenset((".avif", ".bmp", ".dib", ".gif", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pcx",
                      ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"))
"""What the names of pictures end in, as lower case; they tell which files of a folder are meant."""

_BACKGROUND = (255, 255, 255)
"""Colour behind what is transparent: white, as paper and most programs show it."""

_TIFF_BITS, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
"""Tags of a TIFF file."""


def read_picture(path: Path, shape: Shape, layout: str | None = None) -> np.ndarray:
    """The picture in a file: see :func:`decode_picture`.

    Raises
    ------
    NetworkError
        It can't be read, or is no picture that can be taken.
    """
    try:
        # Not by its name: then Pillow maps the file into memory, and some turned TIFFs come out as noise.
        with path.open("rb") as file:
            return decode_picture(file, path, shape, layout)
    except UnidentifiedImageError:
        raise NetworkError(f"{path} is neither a NumPy file (.npy or .npz) nor a picture that can be read") from None
    except OSError as error:
        raise NetworkError(f"{path} can't be read ({error.strerror or error})") from None


def decode_picture(file: BinaryIO, name: Path | str, shape: Shape, layout: str | None = None) -> np.ndarray:
    """The picture in an open ``file``, resized to ``shape``, as uint8 (height, width, channels); ``layout`` is "rgb",
    "bgr" or "grey", if not given "grey" for one channel and else "rgb"; ``name`` is what messages call it.

    It is turned as its EXIF orientation says; depths of other than 8 bits are scaled, so that black stays 0 and white
    255; what is transparent shows white; colours become red, green and blue, or by ITU-R 601 grey; then it is resized,
    bilinear, without regard to its proportions.

    Raises
    ------
    PIL.UnidentifiedImageError
        It is no picture.
    OSError
        It can't be read, or ends too early.
    NetworkError
        It is damaged, has several frames, no pixels or too many, or pixels that have no black and white (real numbers,
        32-bit integers); or the network's images have neither one channel nor three.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        raise NetworkError(f"{name}: a picture has 1 or 3 channels, and the network takes {channels}: give "
                           "an .npy file")
    layout = layout or ("grey" if channels == 1 else "rgb")
    try:
        # Pillow only warns of pictures up to twice its limit, and of damaged metadata.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as picture:
                pixels = _eight_bits(picture, name).convert("L" if layout == "grey" else "RGB").resize(
                    (width, height), Image.Resampling.BILINEAR)
    except (NetworkError, OSError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise NetworkError(f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels: make it smaller") from None
    except Exception as error:
        # Pillow believes a damaged file, and then fails in many ways.
        raise NetworkError(f"{name} is a damaged picture ({error})") from error
    array = np.asarray(pixels).reshape(height, width, -1)
    if layout == "bgr":
        array = array[..., ::-1]
    return np.ascontiguousarray(np.broadcast_to(array, shape))


def _eight_bits(picture: Image.Image, name: Path | str) -> Image.Image:
    """``picture`` upright, in 8-bit grey or colour, without transparency."""
    # A telephone's MPO holds smaller pictures, or depths, behind the one that is meant.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise NetworkError(f"{name} has {frames} frames: give one of them as a picture of its own")
    if not (picture.width and picture.height):
        raise NetworkError(f"{name} has no pixels ({picture.width} x {picture.height})")
    # Turned copies know neither their format nor a TIFF file's tags.
    return _without_transparency(_whole_numbers(ImageOps.exif_transpose(picture), picture, name))


def _whole_numbers(upright: Image.Image, picture: Image.Image, name: Path | str) -> Image.Image:
    """``upright`` of 8 bits, in a mode that converts to others; ``picture`` is what it was before it was turned."""
    if upright.mode not in ("I", "F") and not upright.mode.startswith("I;16"):
        return upright
    # Grey of 16 bits; that is "I" where a format knows no other kind of it.
    if upright.mode == "F" or (upright.mode == "I" and picture.format not in ("PNG", "PPM")):
        kind = "real numbers" if upright.mode == "F" else "signed or 32-bit integers"
        raise NetworkError(f"{name} has pixels that are {kind}, of which nothing says what is black and what white: "
                           "save it with 8 or 16 bits, or give what the network takes as .npy")
    if "transparency" in upright.info:
        raise NetworkError(f"{name} has a transparent shade of 16-bit grey: save it without transparency, or with 8 "
                           "bits")
    white, tags = 65535, getattr(picture, "tag_v2", {})
    if _TIFF_BITS in tags:
        white = (1 << int(np.ravel(tags[_TIFF_BITS])[0])) - 1
    grey = np.asarray(upright).astype(np.float64) / white
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 1 - grey
    return Image.fromarray(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8))


def _without_transparency(picture: Image.Image) -> Image.Image:
    """On white where it is transparent."""
    if not picture.has_transparency_data:
        return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    background = Image.new("RGBA", picture.size, _BACKGROUND)
    return Image.alpha_composite(background, picture.convert("RGBA")).convert("RGB")
