# SPDX-License-Identifier: Apache-2.0
"""A trained model from a file of any supported format."""

from os import PathLike
from pathlib import Path

from tepal.quant.errors import NetworkError
from tepal.quant.files.obstacles import Format
from tepal.quant.float_network import FloatNetwork
from tepal.quant.network import Network

from .tflite import TFLITE_FORMATS, read_tflite

__all__ = ["formats", "read_model"]


def formats() -> dict[str, Format]:
    """Every kind of model file that is read, with the operators that it may hold: the tables by which the readers
    work."""
    from .onnx import ONNX_FORMATS

    return TFLITE_FORMATS | ONNX_FORMATS


def _read_onnx(path: Path, input_shape: tuple[int, ...] | None) -> Network | FloatNetwork:
    # To import onnx takes longer than to schedule a network.
    from .onnx import read_onnx

    return read_onnx(path, input_shape)


def _read_tflite(path: Path, input_shape: tuple[int, ...] | None) -> Network | FloatNetwork:
    if input_shape is not None:
        raise NetworkError(f"{path}: says itself which shape its input has; only .onnx files are given one")
    return read_tflite(path)


_READERS = {".onnx": _read_onnx, ".tflite": _read_tflite}


def read_model(path: str | PathLike, input_shape: tuple[int, ...] | None = None) -> Network | FloatNetwork:
    """The network of an ``.onnx`` or ``.tflite`` file: an integer one where it is quantised, else a float one.

    ``input_shape`` is that of the image with its batch where an ``.onnx`` file leaves it open.

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is of another format, is damaged, or holds something that isn't
        supported.
    """
    path = Path(path)
    if reader := _READERS.get(path.suffix.lower()):
        return reader(path, input_shape)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None
    if start[4:] == b"TFL3":
        return _read_tflite(path, input_shape)
    raise NetworkError(f"{path}: is of no supported format; give an .onnx or a .tflite file")
