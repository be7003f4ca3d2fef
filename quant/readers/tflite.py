# SPDX-License-Identifier: Apache-2.0
"""``.tflite`` files to networks: int8 ones to :class:`~tepal.quant.Network`, float32 ones to
:class:`~tepal.quant.FloatNetwork`.

Here the graph is walked; what each operator means stands in its own file in :mod:`tepal.quant.ops`.
"""

from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from tepal.quant.answers import Answer, Tabled
from tepal.quant.errors import NetworkError
from tepal.quant.files.obstacles import Format, Obstacle, arithmetic, check_operators, refuse
from tepal.quant.files.tflite_file import Entry, File, Operator
from tepal.quant.files.tflite_graph import FloatGraph, IntegerGraph, TfliteGraph
from tepal.quant.files.values import TensorValue
from tepal.quant.float_network import FloatNetwork
from tepal.quant.graph import joined
from tepal.quant.layer import IMAGE, LARGEST_MAP, shortened
from tepal.quant.lookup import Lookup
from tepal.quant.network import Network
from tepal.quant.ops.registry import TFLITE, TFLITE_CONSTANTS

__all__ = ["TFLITE_FORMATS", "read_tflite"]

_KINDS = {"int8": IntegerGraph, "float": FloatGraph}


def read_tflite(path: str | PathLike) -> Network | FloatNetwork:
    """The network of a ``.tflite`` file: a float one if its first operator computes float32, else an integer one.

    Parameters
    ----------
    path
        A graph of the operators in ``TFLITE_FORMATS``, batch 1, one input; all int8, or all float32 (its weights may be
        stored as float16).

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is damaged, or holds something that isn't supported.
    """
    path = Path(path)
    try:
        known = TFLITE_CONSTANTS | TFLITE
        file = File(path.read_bytes(), {name: found.options for name, found in known.items() if found.options})
        first = next((entry for entry in file.listing() if not entry.widens), None)
        kind = "float" if first and first.type == "FLOAT32" else "int8"
        _check_listing(file, kind)
        graph = _KINDS[kind](file)
        _walk(file, graph)
        return _network(path.stem, file, graph)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None


def _taken(kind: str) -> Iterator[str]:
    """Names of the operators that a file of this kind may hold."""
    return (name for name, found in sorted(TFLITE.items()) if found.only in (None, kind))


def _check_listing(file: File, kind: str) -> None:
    """Raises unless all operators are registered for this kind of file."""
    taken = set(_taken(kind))

    def way(entry: Entry) -> str:
        return TFLITE[entry.name].elsewhere if entry.name in TFLITE else arithmetic(entry.name, entry.computed)

    check_operators((entry.name, way(entry)) for entry in file.listing()
                    if entry.name not in taken and entry.name not in TFLITE_CONSTANTS and not entry.widens)


def _walk(file: File, graph: TfliteGraph) -> None:
    """Take the whole model."""
    obstacles: list[Obstacle] = []
    for operator in file.operators():
        try:
            if not _fold(file, operator):
                _read(graph, operator)
        except Obstacle as obstacle:
            obstacles.append(obstacle)
            graph.skip(operator)
        except NetworkError:
            # What was passed over may be the cause of what comes after it.
            refuse(obstacles)
            raise
    refuse(obstacles)


def _read(graph: TfliteGraph, operator: Operator) -> None:
    """Take an operator that computes on what the image or layers give."""
    if operator.name not in TFLITE:
        raise operator.obstacle("works on a feature map; only on shapes and constants is it supported")
    TFLITE[operator.name].read(graph, operator)


def _fold(file: File, operator: Operator) -> bool:
    """Compute an operator that reads constants alone, or shapes; whether it does."""
    known = TFLITE_CONSTANTS.get(operator.name)
    if not known or not (known.shape_only or all(tensor is None or len(tensor.data) for tensor in operator.inputs)):
        return False
    values = () if known.shape_only else [tensor.constant() for tensor in operator.inputs if tensor]
    result = operator.output
    try:
        made = np.asarray(known.compute(operator, *values)).astype(result.type.lower())
    except NetworkError:
        raise
    except (ArithmeticError, IndexError, TypeError, ValueError):
        raise operator.error("can't be computed of its constants: their shapes or types don't fit") from None
    if made.size > LARGEST_MAP or len(result.data):
        raise operator.error(f"writes tensor {result.index}, which is constant or too large")
    file.tensors[result.index] = replace(result, shape=made.shape, data=np.frombuffer(made.tobytes(), np.uint8))
    return True


def _results(file: File, graph: TfliteGraph) -> list[TensorValue]:
    """What the model's outputs hold."""
    results = []
    for tensor in file.outputs:
        if tensor.index not in graph.values:
            raise NetworkError(f"has the output tensor {tensor.index} ({shortened(tensor.name)}), which no operator "
                               "gives")
        value = graph.values[tensor.index]
        if IMAGE in value.sources:
            raise NetworkError("has no layer to compute" if not graph.layers else
                               f"has an output that holds the image itself ({shortened(tensor.name)}); leave it out")
        if value.padded:
            raise value.maker.error("is the last operator; padding is only supported before a convolution")
        results.append(value)
    return results


def _network(name: str, file: File, graph: TfliteGraph) -> Network | FloatNetwork:
    """The network of all that was walked, without what no output depends on."""
    results = _results(file, graph)
    if isinstance(graph, IntegerGraph):
        results = [_without_tables(graph, value, results) for value in results]
    wanted = {source for value in results for source in value.sources}
    for number in range(len(graph.layers) - 1, -1, -1):
        if number in wanted:
            wanted.update(graph.layers[number].inputs)
    kept = sorted(wanted - {IMAGE})
    place = {number: new for new, number in enumerate(kept)} | {IMAGE: IMAGE}
    layers = joined(tuple(graph.layers[number] for number in kept),
                    tuple(tuple(place[source] for source in graph.layers[number].inputs) for number in kept))
    ends = sorted({place[source] for value in results for source in value.sources})
    outputs = () if ends == [len(layers) - 1] else tuple(ends)
    answers = []
    for tensor, value in zip(file.outputs, results, strict=True):
        closed = value.closed()
        closings = closed.closings
        if tensor.type == "UINT8":
            scale, zero_point = tensor.meaning
            closings = (*closings, Tabled(-1, tensor.index, np.arange(256, dtype=np.uint8), "uint8", tensor.meaning,
                                          (scale, zero_point + 128)))
        integer = isinstance(graph, IntegerGraph) and len(tensor.scales) == 1
        meaning = (float(tensor.scale), int(tensor.zero_points[0])) if integer else None
        answers.append(Answer(tensor.name, tuple(ends.index(place[source]) for source in value.sources),
                              closed.opening, closings, meaning))
    if not isinstance(graph, IntegerGraph):
        return FloatNetwork(name, layers, channels_first=graph.channels_first, answers=tuple(answers), outputs=outputs)
    return Network(name, layers, *graph.start.meaning, tuple(answers), outputs=outputs)


def _without_tables(graph: IntegerGraph, value: TensorValue, results: list[TensorValue]) -> TensorValue:
    """``value``, an output, without a monotone table before it, which is looked up on the host as well as on the
    chip; the largest result stays the largest."""
    while len(value.sources) == 1:
        (source,) = value.sources
        layer = graph.layers[source]
        readers = [number for number, other in enumerate(graph.layers) if source in other.inputs]
        others = [other for other in results if other is not value and source in other.sources]
        if not isinstance(layer, Lookup) or readers or others or layer.inputs == (IMAGE,) \
                or (np.diff(layer.table.astype(int)) < 0).any():
            return value
        before = replace(value, sources=layer.inputs, closings=()).closed() if not value.closings else value
        (read,) = layer.inputs
        table = Tabled(layer.index, layer.tensor, layer.table, layer.function,
                       (graph.layers[read].output_scale, layer.input_zero_point),
                       (layer.output_scale, layer.output_zero_point))
        first = len(before.closings) - len(value.closings)
        value = replace(before, sources=layer.inputs,
                        closings=(*before.closings[:first], table, *before.closings[first:]))
    return value


def _limits(kind: str) -> dict[str, str]:
    """The limits of each operator that a file of this kind may hold."""
    constant = dict.fromkeys(sorted(TFLITE_CONSTANTS), "on constants and shapes alone")
    return constant | {name: TFLITE[name].limits for name in _taken(kind)}


TFLITE_FORMATS = {
    "int8 TFLite": Format("one input, batch 1; int8 activations, int8 symmetric weights with a scale for each output "
                          "channel or one for all, int32 biases; or uint8 activations and weights", _limits("int8")),
    "float TFLite": Format("one input, batch 1; float32, with weights of float32, float16 or int8; for 'tepal "
                           "quantize'", _limits("float")),
}
"""What each kind of file may hold."""
