# SPDX-License-Identifier: Apache-2.0
"""What a model file's outputs are made of, on the host: the network's results put together, and what comes after."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from .layer import Closing, Meaning, frozen

__all__ = ["Answer", "Arranged", "Tabled", "split"]


@dataclass(frozen=True, eq=False)
class Answer:
    """One output of the model file.

    Parameters
    ----------
    name
        The model's own.
    parts
        Which of the network's outputs it is made of: numbers in the order of ``Network.output_layers``.
    shape
        Of one frame, of the parts' values one part behind another: each flattened in NHWC order to rows of
        ``shape[-1]`` values.
    closings
        What is done with these values, one after the other; it may change their shape.
    meaning
        Scale and zero point of the result in the file's own type; None of real numbers and of indices.
    """

    name: str
    parts: tuple[int, ...]
    shape: tuple[int, ...]
    closings: tuple[Closing, ...] = ()
    meaning: Meaning | None = None

    @classmethod
    def of_vector(cls, softmax: Closing, count: int) -> "Answer":
        """The probabilities that ``softmax`` makes of ``count`` logits, a network's one output."""
        return cls("probabilities", (0,), (count,), (softmax,), (1 / 256, -128))

    def __call__(self, outputs: Sequence[np.ndarray]) -> np.ndarray:
        """(frames, …) in the file's own shape and type, of the network's ``outputs``, each int8 (frames, …)."""
        parts = [outputs[part].reshape(len(outputs[part]), -1) for part in self.parts]
        values = np.concatenate(parts, axis=1).reshape(-1, *self.shape)
        for closing in self.closings:
            values = closing(values)
        return values


@dataclass(frozen=True, eq=False)
class Arranged(Closing):
    """The same values in another ``shape`` (of one frame) and, if it is given, ``order``: for each value of the
    result the number of the one that it is."""

    name = "RESHAPE"

    shape: tuple[int, ...]
    order: np.ndarray | None = None

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        values = logits.reshape(len(logits), -1)
        return (values if self.order is None else values[:, self.order]).reshape(-1, *self.shape)


@dataclass(frozen=True, eq=False)
class Tabled(Closing):
    """Each int8 value replaced by what ``table`` (256,) of any type holds for it, from -128 on; ``function`` is what
    people call it."""

    name = "table"

    table: np.ndarray
    function: str

    @property
    def title(self) -> str:
        return self.function

    def __post_init__(self):
        object.__setattr__(self, "table", frozen(self.table, self.table.dtype))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        return self.table[logits.astype(np.intp) + 128]


def split(results: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The outputs of ``shapes`` that ``results`` (frames, bytes) hold one behind the other."""
    ends = np.cumsum([prod(shape) for shape in shapes])
    return [part.reshape(len(results), *shape)
            for part, shape in zip(np.split(results, ends[:-1], axis=1), shapes, strict=True)]
