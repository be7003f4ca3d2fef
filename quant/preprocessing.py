# SPDX-License-Identifier: Apache-2.0
"""What the pixels of a picture become before a model sees them: a part of the model's description."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Self

import numpy as np

from .errors import NetworkError

__all__ = ["LAYOUTS", "Preprocessing"]

LAYOUTS = {"rgb": 3, "bgr": 3, "grey": 1}
"""Orders of a pixel's channels, and how many each has at least; a grey picture also fills three equal channels."""

_PREFIX = "tepal."
"""What the keys in a model file begin with."""

_USUAL = ((0.0, 1.0), (-1.0, 1.0), (-1.0, 127 / 128), (0.0, 255.0), (-128.0, 127.0), (-0.5, 0.5))
"""Ranges that models are commonly trained on; the third is (pixel - 128) / 128."""

_SCALE_TOLERANCE, _ZERO_POINT_TOLERANCE = 0.02, 2
"""How far a model's input may be off a usual range, whose scale is 1/255 of its width.

Quantisers divide by 255 or 256, round the zero point to either side, and may have seen no pixel that was quite white:
all that stays within 2 % and two steps.  What is read wrongly by as much is off by five of 255 at most, and no two
usual ranges that are nearer than that differ by more than one step."""


@dataclass(frozen=True)
class Preprocessing:
    """The real numbers that pixels stand for.

    The pixel 0 to 255 of the model's channel ``c`` becomes, in float32 and in this order, ::

        real = (low + pixel * (high - low) / 255 - mean[c]) / std[c]

    So ``mean`` and ``std`` count in the numbers of the range ``low`` to ``high``: of 0 to 1 they are those of
    torchvision's ``Normalize`` after ``ToTensor``, and give its very bits.

    Parameters
    ----------
    low, high
        What the pixels 0 and 255 become before ``mean`` and ``std``.
    mean, std
        One number for each channel of the model, in its own order.
    layout
        Of the model's channels: "rgb", "bgr" or "grey".  Pictures are brought to it when they are read; arrays of
        pixels have the model's order already.

    Raises
    ------
    NetworkError
        A number isn't finite, ``low`` isn't below ``high``, a ``std`` isn't above 0, there are not as many of them as
        of means, the layout is unknown or has more channels than there are means.

    Examples
    --------
    Keras' MobileNets take -1 to 1:

    >>> Preprocessing(low=-1.0)(np.array([0, 51, 255], np.uint8))
    array([-1. , -0.6,  1. ], dtype=float32)
    """

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    layout: str = "rgb"

    OPTIONS: ClassVar = ("range", "mean", "std", "layout")
    """What :meth:`texts` and :meth:`lists` tell, and the command line takes."""

    def __post_init__(self):
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise NetworkError(f"the range {self.low:g}:{self.high:g} is none: give two numbers, the lower one first")
        if not all(map(isfinite, self.mean)):
            raise NetworkError(f"the mean must be finite numbers, not {_text(self.mean)}")
        for value in self.std:
            if not (isfinite(value) and value > 0):
                raise NetworkError(f"the standard deviation must be a finite number above 0, not {value:g}")
        channels = len(self.mean)
        if channels not in (1, 3) or len(self.std) != channels:
            raise NetworkError(f"pixels have 1 or 3 channels, with as many means as standard deviations; "
                               f"{channels} and {len(self.std)} are given")
        with np.errstate(all="ignore"):
            if not np.isfinite(self.ends).all():
                raise NetworkError("the range, mean and standard deviation make numbers of the pixels that float32 "
                                   "doesn't hold")
        if self.layout not in LAYOUTS:
            raise NetworkError(f"the layout '{self.layout}' is unknown; there are {', '.join(LAYOUTS)}")
        if LAYOUTS[self.layout] > channels:
            raise NetworkError(f"the layout {self.layout} has 3 channels, and the model takes 1: it must be grey")

    @classmethod
    def of_texts(cls, texts: Mapping[str, str], channels: int) -> Self:
        """From what :meth:`texts` gives, for a model of ``channels`` channels.

        ``mean`` and ``std`` may be one number for all channels.  What is left out is 0:1, 0, 1, and rgb or grey.

        Raises
        ------
        NetworkError
            A text can't be understood, or see the class; the model takes neither 1 nor 3 channels.
        """
        if channels not in (1, 3):
            raise NetworkError(f"pictures have 1 or 3 channels, and the model takes {channels}: range, mean, standard "
                               "deviation and layout say nothing about it")
        low, high = _numbers("range", texts.get("range", "0:1"), ":", (2,))
        layout = texts.get("layout") or ("grey" if channels == 1 else "rgb")
        mean, std = (_numbers(name, texts.get(name, default), ",", (1, channels))
                     for name, default in (("mean", "0"), ("std", "1")))
        return cls(low, high, mean if len(mean) == channels else mean * channels,
                   std if len(std) == channels else std * channels, layout)

    def texts(self) -> dict[str, str]:
        """``range``, ``mean``, ``std`` and ``layout`` as the command line takes them; exact."""
        return {"range": f"{self.low!r}:{self.high!r}", "mean": _text(self.mean), "std": _text(self.std),
                "layout": self.layout}

    def lists(self) -> dict[str, list[float] | str]:
        """The same for JSON: numbers as such."""
        return {"range": [self.low, self.high], "mean": list(self.mean), "std": list(self.std), "layout": self.layout}

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], channels: int) -> Self | None:
        """From a model file's metadata; None where it says nothing.  Raises NetworkError as :meth:`of_texts` does."""
        texts = {name: metadata[_PREFIX + name] for name in cls.OPTIONS
                 if _PREFIX + name in metadata}
        return cls.of_texts(texts, channels) if texts else None

    def metadata(self) -> dict[str, str]:
        """What :meth:`of_metadata` reads."""
        return {_PREFIX + name: text for name, text in self.texts().items()}

    @classmethod
    def of_input(cls, scale: float, zero_point: int, channels: int) -> Self | None:
        """The usual range that an int8 input of this scale and zero point holds, or None if it holds none."""
        if channels not in (1, 3):
            return None

        def distance(ends: tuple[float, float]) -> float:
            return abs(scale * 255 / (ends[1] - ends[0]) - 1)

        fitting = [(low, high) for low, high in _USUAL if distance((low, high)) <= _SCALE_TOLERANCE
                   and abs(-128 - low * 255 / (high - low) - zero_point) <= _ZERO_POINT_TOLERANCE]
        if not fitting:
            return None
        low, high = min(fitting, key=distance)
        return cls(low, high, (0.0,) * channels, (1.0,) * channels, "grey" if channels == 1 else "rgb")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 of uint8 ``pixels``, whose last axis is the channel."""
        real = pixels.astype(np.float32) * np.float32(self.high - self.low) / np.float32(255) + np.float32(self.low)
        return (real - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    def check(self, channels: int) -> None:
        """Raise NetworkError unless it is one for models of ``channels`` channels."""
        if len(self.mean) != channels:
            raise NetworkError(f"the mean and standard deviation are of {len(self.mean)} channels, and the model takes "
                               f"{channels}")

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest number that a pixel of any channel becomes."""
        ends = self(np.array([[0], [255]], np.uint8))
        return float(ends.min()), float(ends.max())

    def contradiction(self, scale: float, zero_point: int) -> str:
        """A sentence if an int8 input of this scale and zero point can't be meant for these pixels; else nothing.

        Either end of the two ranges may differ by a quarter of the wider one: a model may have been quantised with
        pictures that were never quite black or white."""
        low, high = self.ends
        lowest, highest = scale * (-128 - zero_point), scale * (127 - zero_point)
        if max(abs(low - lowest), abs(high - highest)) <= max(high - low, highest - lowest) / 4:
            return ""
        return (f"the pixels 0 to 255 become {low:.4g} to {high:.4g}, but the model's int8 input holds {lowest:.4g} to "
                f"{highest:.4g}")


def _text(numbers: tuple[float, ...]) -> str:
    return ",".join(map(repr, numbers))


def _numbers(name: str, text: str, separator: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    """As many as one of ``counts`` says."""
    try:
        numbers = tuple(map(float, text.split(separator)))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts:
        wanted = " or ".join(map(str, dict.fromkeys(counts)))
        plural = "s" if max(counts) > 1 else ""
        raise NetworkError(f"the {name} '{text}' can't be taken: give {wanted} number{plural}"
                           + (f", with '{separator}' between them" if max(counts) > 1 else ""))
    return numbers
