# SPDX-License-Identifier: Apache-2.0
"""``.onnx`` files to :class:`~tepal.quant.FloatNetwork` or, quantised ones, to :class:`~tepal.quant.Network`.

Here the nodes are walked; what each operator means stands in its own file in :mod:`tepal.quant.ops`.  Taken are float
models as PyTorch and tf2onnx export them, and models with pairs of QuantizeLinear and DequantizeLinear ("QDQ") as ONNX
Runtime's ``quantize_static`` writes them.
"""

from collections.abc import Iterator
from math import prod
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
from tepal.quant.errors import NetworkError
from tepal.quant.files.draft import Constant, StandIn
from tepal.quant.files.obstacles import (
    BRANCHES,
    ON_CONSTANTS,
    Format,
    Obstacle,
    arithmetic,
    check_operators,
    refuse,
)
from tepal.quant.files.onnx_chain import OnnxChain, in_order
from tepal.quant.files.onnx_node import Node, text
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import LARGEST_MAP
from tepal.quant.network import Network
from tepal.quant.ops.registry import CONSTANT_NODES, ONNX
from tepal.quant.preprocessing import Preprocessing

__all__ = ["ONNX_FORMATS", "OWN_PRODUCER", "read_onnx"]

OWN_PRODUCER = "tepal"
"""Producer of the files that :func:`~tepal.quant.write_onnx` writes."""

_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)
"""What NumPy and Python raise where values that could be decoded make no sense together."""


def read_onnx(path: str | PathLike) -> FloatNetwork | Network:
    """The network of an ``.onnx`` file: an integer one where it is quantised (QDQ), else a float one.

    Parameters
    ----------
    path
        A chain of the operators in ``ONNX_FORMATS``, one input, one output; batch 1 or any.  Weights may lie in
        files beside it (ONNX's external data).

    Returns
    -------
    All maps are NHWC, whatever the file's order; a result that is a map comes as NHWC too.

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is damaged, or holds something that isn't supported.
    """
    path = Path(path)
    try:
        # Damaged files hold any number; what comes of it is refused where it matters.
        with np.errstate(all="ignore"):
            return _read(_load(path), path.stem)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None


# ---- the file ----

def _load(path: Path) -> onnx.ModelProto:
    content, model = path.read_bytes(), onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:
        raise NetworkError("isn't an .onnx file, or is damaged (it can't be decoded)") from None
    if not model.graph.node:
        raise NetworkError("isn't an .onnx file, or has no node")
    if any(isinstance(name, bytes) for name in _names(model.graph)):
        raise NetworkError("is damaged (a name in its graph isn't text); export it again")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception:
        names = {text(entry.value) for tensor in model.graph.initializer for entry in tensor.external_data
                 if entry.key == "location"}
        where = text(", ".join(sorted(names))) or "another file"
        raise NetworkError(f"keeps its weights in {where}, which can't be read: put it beside the model, or export the "
                           "model without external data") from None
    return model


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield graph.name
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, node.doc_string, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name


def _read(model: onnx.ModelProto, name: str) -> FloatNetwork | Network:
    graph, own = model.graph, model.producer_name == OWN_PRODUCER
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset < 1:
        raise NetworkError("doesn't say which version of ONNX's operators it uses (opset_import); export it again")
    chain = OnnxChain(opset, own, _initializers(graph))
    nodes = [Node(index, proto, opset) for index, proto in enumerate(graph.node)]
    inputs = [value for value in graph.input if value.name not in chain.constants]
    _check_listing(nodes, {value.name for value in inputs})
    _open(chain, graph, inputs)
    _walk(chain, model, nodes)
    _close(chain, graph)
    return _network(chain, graph.name if own else name, {entry.key: entry.value for entry in model.metadata_props})


def _initializers(graph: onnx.GraphProto) -> dict[str, Constant]:
    if graph.sparse_initializer:
        raise NetworkError("has sparse weights; store their zeros")
    constants = {}
    for tensor in graph.initializer:
        try:
            constants[tensor.name] = Constant(onnx.numpy_helper.to_array(tensor))
        except Exception:
            raise NetworkError(f"is damaged (the values of {text(tensor.name)} don't fit its shape); "
                               "export it again") from None
    return constants


def _check_listing(nodes: list[Node], computed: set[str]) -> None:
    """Raises unless every node is registered; ``computed`` are the names of the inputs."""
    found = []
    for node in nodes:
        operands = sum(name in computed for name in node.inputs)
        folding = CONSTANT_NODES.get(node.operator)
        if not operands or (folding and folding.shape_only):
            if not folding:
                found.append((node.operator, ON_CONSTANTS))
            continue
        computed.update(node.proto.output)
        if node.operator not in ONNX:
            found.append((node.operator, arithmetic(node.operator, operands)))
        elif operands > 1:
            found.append((node.operator, BRANCHES))
    check_operators(found)


def _open(chain: OnnxChain, graph: onnx.GraphProto, inputs: list[onnx.ValueInfoProto]) -> None:
    """Begin with the one input."""
    if len(inputs) != 1:
        raise NetworkError(f"has {len(inputs)} inputs; only models with one input are supported")
    if len(graph.output) != 1:
        raise NetworkError(f"has {len(graph.output)} outputs; only models with one output are supported")
    kind = inputs[0].type.tensor_type
    types: dict[int, np.dtype | None] = {
        onnx.TensorProto.FLOAT: None, onnx.TensorProto.INT8: np.dtype(np.int8),
        onnx.TensorProto.UINT8: np.dtype(np.uint8)}
    if kind.elem_type not in types:
        names = dict(zip(onnx.TensorProto.DataType.values(), onnx.TensorProto.DataType.keys(), strict=True))
        name = names.get(kind.elem_type, f"type {kind.elem_type}").lower()
        raise NetworkError(f"takes {name} images; export it with a float32 input")
    # A dynamic dimension has no value: 0.
    batch, *shape = [dim.dim_value for dim in kind.shape.dim] or [0]
    names = ", ".join(str(dim.dim_value or text(dim.dim_param) or "?") for dim in kind.shape.dim)
    if not shape or min(shape) < 1 or prod(shape) > LARGEST_MAP:
        raise NetworkError(f"takes an input of the shape [{names}]; export it with a fixed number of channels, "
                           f"height and width (only the batch may be dynamic), at most {LARGEST_MAP} values")
    if len(shape) not in (1, 3):
        raise NetworkError(f"takes an input of the shape [{names}]; {_other_rank(chain, graph, shape)}")
    if batch not in (0, 1):
        raise NetworkError(f"takes a batch of {batch}; export it with batch 1 or a dynamic one")
    chain.open(inputs[0].name, tuple(shape), types[kind.elem_type])


def _other_rank(chain: OnnxChain, graph: onnx.GraphProto, shape: list[int]) -> str:
    """What to do about an input that is neither an image nor a vector."""
    convolutions = (node.input[1] for node in graph.node if node.op_type == "Conv" and len(node.input) > 1)
    if any(name in chain.constants and chain.constants[name].values.ndim == 3 for name in convolutions):
        channels, length = shape
        return ("its 1-D convolutions are not supported: write them as 2-D ones with windows of one row, on an "
                f"input of [1, {channels}, 1, {length}]")
    if len(shape) == 2:
        return (f"give the input its channel, as [1, 1, {shape[0]}, {shape[1]}], in place of an Unsqueeze or "
                "Reshape in the model")
    return "only [batch, channels, height, width] and [batch, values] are supported"


# ---- its nodes ----

def _walk(chain: OnnxChain, model: onnx.ModelProto, nodes: list[Node]) -> None:
    obstacles: list[Obstacle] = []
    inferred: dict[str, tuple[int, ...]] | None = None
    for node in nodes:
        try:
            _step(chain, node)
        except Obstacle as obstacle:
            obstacles.append(obstacle)
            inferred = _inferred(model) if inferred is None else inferred
            if not _skip(chain, node, inferred.get(node.output, ())):
                break
        except NetworkError:
            # What was passed over may be the cause of what comes after it.
            refuse(obstacles)
            raise
        except _MISFITS as error:
            raise node.misfit() from error
    refuse(obstacles)


def _step(chain: OnnxChain, node: Node) -> None:
    """Take one node."""
    for name in node.inputs:
        if name and name not in chain.constants and name not in chain.shapes:
            raise node.error(f"reads {text(name)}, which no node before it gives")
    activations = [name for name in node.inputs if name in chain.shapes]
    folding = CONSTANT_NODES.get(node.operator)
    if not activations or (folding and folding.shape_only):
        chain.constants[node.output] = CONSTANT_NODES[node.operator].compute(chain, node)
        return
    if activations != [chain.value]:
        raise node.error(f"reads {text(activations[0])}, not the result of the node before it; only a single "
                         "chain of nodes is supported")
    known = ONNX[node.operator]
    if node.inputs[0] != chain.value and not known.constant_first:
        raise node.error("has a constant where its first input should be the result of the node before it")
    if not known.moves:
        if chain.closing:
            raise node.error("follows Softmax, which is only supported at the end")
        if chain.padder and not known.takes_padding:
            raise chain.padder.error(f"is followed by {node.operator}; padding is only supported before Conv")
        if chain.integers and known.on_integers:
            raise node.obstacle(known.on_integers)
        if chain.integers:
            raise node.error("works on integers; only QDQ models, whose nodes stand between DequantizeLinear and "
                             "QuantizeLinear, are supported")
    known.read(chain, node)
    chain.go_on(node)


def _inferred(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes that ONNX infers, by the names of the values."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        return {}
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.output)}


def _skip(chain: OnnxChain, node: Node, inferred: tuple[int, ...]) -> bool:
    """Go on after a node that can't be taken, with the shape that ONNX infers; False where it infers none."""
    batch, *shape = inferred or [0]
    if tuple(shape) == chain.places.shape[1:]:
        chain.go_on(node)
        return True
    if batch not in (0, 1) or not shape or min(shape) < 1 or prod(shape) > LARGEST_MAP or chain.size is None:
        return False
    chain.places = np.arange(prod(shape), dtype=np.int32).reshape(1, *shape)
    if len(shape) == 3:
        chain.size = (shape[1], shape[2], shape[0])
        chain.places = chain.places.reshape(1, *chain.size).transpose(0, 3, 1, 2)
    else:
        chain.size = (1, 1, prod(shape))
    chain.padder, chain.meaning = None, None
    chain.drafts.append(StandIn(node=node, name=node.output, input_shape=chain.size, output_shape=chain.size,
                                linear=ONNX[node.operator].linear))
    chain.go_on(node)
    return True


def _close(chain: OnnxChain, graph: onnx.GraphProto) -> None:
    if chain.value != graph.output[0].name:
        raise NetworkError(f"gives {text(graph.output[0].name)}, which isn't the result of its last node")
    if chain.padder:
        raise chain.padder.error("is the last layer; padding is only supported before Conv")
    if not chain.drafts:
        raise NetworkError("has no layer to compute")
    if chain.places.ndim < 4 and not in_order(chain.places):
        raise NetworkError("gives a flattened map with its channels first; end it with a vector or with the map")


def _network(chain: OnnxChain, name: str, metadata: dict[str, str]) -> FloatNetwork | Network:
    """The network of all that was walked."""
    drafts, closing = enumerate(chain.drafts), chain.closing
    preprocessing = Preprocessing.of_metadata(metadata, chain.drafts[0].input_shape[2])
    if not chain.start and not any(draft.quantised for draft in chain.drafts):
        return FloatNetwork(name, tuple(draft.float_layer(index) for index, draft in drafts),
                            softmax=closing is not None, channels_first=chain.channels_first,
                            preprocessing=preprocessing)
    layers = tuple(draft.layer(index) for index, draft in drafts)
    assert chain.start, "the first layer would have refused"
    return Network(name, layers, *chain.start, closing and closing(len(layers), layers[-1].output_scale),
                   preprocessing)


# ---- what it may hold ----

def _taken(kind: str) -> dict[str, str]:
    """Limits of all operators of this kind of file; those that only work on constants come last."""
    taken = {name: found.limits for name, found in sorted(ONNX.items()) if found.only in (None, kind)}
    return taken | {name: "on constants and shapes alone" for name in sorted(CONSTANT_NODES) if name not in taken}


ONNX_FORMATS = {
    "QDQ ONNX": Format("one chain with one input and one output, batch 1 or any; int8 or uint8 activations between "
                       "QuantizeLinear and DequantizeLinear, symmetric weights, as ONNX Runtime's quantize_static and "
                       "'tepal quantize' write it", _taken("QDQ")),
    "float ONNX": Format("one chain with one input and one output, batch 1 or any; float32, as PyTorch and tf2onnx "
                         "export it; for 'tepal quantize'", _taken("float")),
}
"""What each kind of file may hold."""
