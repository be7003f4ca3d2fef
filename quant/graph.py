# SPDX-License-Identifier: Apache-2.0
"""What the integer network and the float network share: layers that read what the image and other layers give."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from .answers import Answer, split
from .errors import NetworkError
from .layer import IMAGE, Closing, FloatLayer, Layer, Meaning, Shape, shortened
from .preprocessing import Preprocessing

__all__ = ["Graph", "joined"]

_Layer = TypeVar("_Layer", Layer, FloatLayer)


def joined(layers: tuple[_Layer, ...], sources: tuple[tuple[int, ...], ...]) -> tuple[_Layer, ...]:
    """``layers`` that read what ``sources`` says, for each the numbers of the layers (:data:`~.layer.IMAGE` is the
    image), in the form that says the least: a layer that reads the one before it doesn't name it."""
    named = (() if source == (number - 1,) else source for number, source in enumerate(sources))
    return tuple(layer if layer.inputs == inputs else replace(layer, inputs=inputs)
                 for layer, inputs in zip(layers, named, strict=True))


class Graph(Generic[_Layer]):
    """A network whose layers each read what the image or layers before them give; a dataclass that derives from it has
    the fields.

    Layers stand in the order of execution.  One whose ``inputs`` are empty reads the layer just before it, the first
    one the image: a chain needs no more.  ``outputs`` are the numbers of the layers whose results are the network's, in
    the order of execution; empty, they are the last one's.  ``answers`` say what the model file's outputs are made of,
    in the file's own order; empty, they are the network's own outputs.  All that comes after these is done on the host.

    Raises
    ------
    NetworkError
        It has no layer, a layer reads what isn't there before it or what doesn't fit, a result is read by nothing and
        is no output either, or its preprocessing doesn't fit its image.
    """

    if TYPE_CHECKING:
        name: str
        layers: tuple[_Layer, ...]
        preprocessing: Preprocessing | None
        answers: tuple[Answer, ...]
        outputs: tuple[int, ...]

    def __post_init__(self):
        if not self.layers:
            raise NetworkError(f"{self.name}: the network has no layer to compute")
        for number, layer in enumerate(self.layers):
            self._check_sources(number, layer)
        if sorted(set(self.outputs)) != [*self.outputs] or not all(0 <= n < len(self.layers) for n in self.outputs):
            raise NetworkError(f"{self.name}: the outputs {list(self.outputs)} aren't different layers of the "
                               f"{len(self.layers)} in the order of execution")
        for number, layer in enumerate(self.layers):
            if not self.readers[number] and number not in self.output_layers:
                raise NetworkError(f"{self.name}: nothing reads what layer {layer.index} ({shortened(layer.name)}) "
                                   "gives, and it isn't an output")
        if self.preprocessing:
            self.preprocessing.check(self.input_shape[2])

    def _check_sources(self, number: int, layer: _Layer) -> None:
        sources, name = self.sources[number], f"{self.name}: layer {layer.index} ({shortened(layer.name)})"
        if len(sources) != len(layer.input_shapes):
            raise NetworkError(f"{name} reads {len(sources)} maps, not {len(layer.input_shapes)}")
        for source, shape in zip(sources, layer.input_shapes, strict=True):
            if not IMAGE <= source < number:
                raise NetworkError(f"{name} reads what isn't computed before it (layer {source})")
            if self.shape(source) != shape:
                given = "the image is" if source == IMAGE else "the layer before it gives" if source == number - 1 \
                    else f"layer {self.layers[source].index} gives"
                raise NetworkError(f"{name} takes {shape} but {given} {self.shape(source)}")

    # ---- what reads what ----

    @cached_property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """For each layer the numbers of those that it reads; :data:`~.layer.IMAGE` is the image."""
        return tuple(layer.inputs or (number - 1,) for number, layer in enumerate(self.layers))

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each layer the numbers of those that read it."""
        return tuple(tuple(reader for reader, sources in enumerate(self.sources) if number in sources)
                     for number in range(len(self.layers)))

    @cached_property
    def last_reader(self) -> dict[int, int]:
        """Of the image and each layer that another one reads, the number of the last one that does."""
        return {source: number for number, sources in enumerate(self.sources) for source in sources}

    @cached_property
    def output_layers(self) -> tuple[int, ...]:
        """Numbers of the layers whose results are the network's."""
        return self.outputs or (len(self.layers) - 1,)

    def shape(self, number: int) -> Shape:
        """Of what layer ``number`` gives, or of the image."""
        return self.input_shape if number == IMAGE else self.layers[number].output_shape

    # ---- the whole ----

    @cached_property
    def input_shape(self) -> Shape:
        """Of the image: what the first layer that reads it takes."""
        return next((shape for layer, sources in zip(self.layers, self.sources, strict=True)
                     for source, shape in zip(sources, layer.input_shapes, strict=False) if source == IMAGE),
                    self.layers[0].input_shape)

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """Of each output."""
        return tuple(self.layers[number].output_shape for number in self.output_layers)

    @property
    def output_shape(self) -> Shape:
        """Of the first output."""
        return self.output_shapes[0]

    def meaning(self, number: int) -> Meaning | None:
        """Scale and zero point of what layer ``number`` gives; None of real numbers."""
        return None

    @property
    def all_answers(self) -> tuple[Answer, ...]:
        """``answers``, or one for each of the network's own outputs."""
        return self.answers or tuple(
            Answer(self.layers[number].name, (part,), self.shape(number), (), self.meaning(number))
            for part, number in enumerate(self.output_layers))

    @property
    def softmax(self) -> Closing | None:
        """The closing softmax of a network that answers with the probabilities of one vector."""
        if len(self.answers) != 1:
            return None
        (answer,) = self.answers
        vector = answer.parts == (0,) and prod(answer.shape) == answer.shape[-1]
        return next((closing for closing in answer.closings[:1] if vector and closing.name == "SOFTMAX"), None)

    def answer(self, results: np.ndarray) -> list[np.ndarray]:
        """What the model file's outputs hold, of ``results`` (frames, values of all outputs one behind another), int8
        as the device or the golden model gives them, or a float network's: one array (frames, …) for each of
        ``all_answers``, in the file's own types."""
        outputs = split(results, self.output_shapes)
        return [answer(outputs) for answer in self.all_answers]

    @property
    def macs(self) -> int:
        """Multiply-accumulates a frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of weights; each of an integer network takes a byte."""
        return sum(layer.parameters for layer in self.layers)

    def trace(self, x: np.ndarray, visit: Callable[[int, np.ndarray], None]) -> list[np.ndarray]:
        """Run the layers on the images ``x``: the outputs, each (frames, height, width, channels).

        ``visit(number, result)`` sees what each layer gives.  No result is kept for longer than it is needed."""
        results, outputs = {IMAGE: x}, {}
        for number, (layer, sources) in enumerate(zip(self.layers, self.sources, strict=True)):
            results[number] = layer(*(results[source] for source in sources))
            visit(number, results[number])
            if number in self.output_layers:
                outputs[number] = results[number]
            for source in {*sources, number}:
                if self.last_reader.get(source, number) == number:
                    del results[source]
        return [outputs[number] for number in self.output_layers]
