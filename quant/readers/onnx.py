"""``.onnx`` files to :class:`~.float_network.FloatNetwork` or, quantised ones, to :class:`~.network.Network`.

The operators follow the ONNX specification (https://onnx.ai/onnx/operators).  Taken are float models as PyTorch
and tf2onnx export them, and models with pairs of QuantizeLinear and DequantizeLinear ("QDQ") as ONNX Runtime's
``quantize_static`` writes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from tepal.quant.errors import NetworkError
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import LARGEST_MAP, FloatLayer, Layer, Meaning, Padding, Shape, Statistics, shortened
from tepal.quant.network import Network
from tepal.quant.ops.average_pool import AveragePool, FloatAveragePool
from tepal.quant.ops.convolution import Convolution, FloatConvolution
from tepal.quant.ops.depthwise import Depthwise, FloatDepthwise
from tepal.quant.ops.softmax import Softmax
from tepal.quant.preprocessing import Preprocessing

from .obstacles import ARITHMETIC, BRANCHES, ON_CONSTANTS, Format, Obstacle, Supported, check_operators, refuse

__all__ = ["ONNX_FORMATS", "OWN_PRODUCER", "read_onnx"]

OWN_PRODUCER = "tepal"
"""Producer of the files that :func:`~.onnx_export.write_onnx` writes."""


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
            return _Chain(_load(path), path.stem).read()
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None


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
        names = {_text(entry.value) for tensor in model.graph.initializer for entry in tensor.external_data
                 if entry.key == "location"}
        where = _text(", ".join(sorted(names))) or "another file"
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


def _text(name: str | bytes) -> str:
    # What isn't UTF-8 is left as bytes by the protobuf classes.
    name = name.decode(errors="replace") if isinstance(name, bytes) else name
    name = "".join(character if character.isprintable() else "?" for character in name)
    return shortened(name)


_NO_PADDING = Padding()
_FOLDS = "folded into the Conv, Gemm or MatMul right before it"
_AFTER = "fused into the layer before it"

_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)
"""What NumPy and Python raise where values that could be decoded make no sense together."""


@dataclass(frozen=True, eq=False)
class _Constant:
    """Known values; with ``scales``, broadcastable like ``zero_points``, integers that stand for
    ``scales * (values - zero_points)``."""

    values: np.ndarray
    scales: np.ndarray | None = None
    zero_points: np.ndarray | int = 0

    @property
    def real(self) -> np.ndarray:
        if self.scales is None:
            return self.values
        return self.scales.astype(np.float64) * (self.values.astype(np.int64) - self.zero_points)


_KINDS = {"INT": "an integer", "INTS": "a list of integers", "FLOAT": "a number", "FLOATS": "a list of numbers",
          "STRING": "a text", "STRINGS": "a list of texts", "TENSOR": "a tensor", "GRAPH": "a graph"}


def _kind(number: int) -> str:
    """What an attribute of this type is called."""
    names = dict(zip(onnx.AttributeProto.AttributeType.values(), onnx.AttributeProto.AttributeType.keys(), strict=True))
    name = names.get(number, f"type {number}")
    return _KINDS.get(name, name.lower())


class _Node:
    """One node: ``operator``, names of ``inputs``, name of its first ``output``, ``attributes``.

    The number of its inputs and the types of its attributes are those that the specification of its operator in the
    version ``opset`` lays down."""

    def __init__(self, index: int, proto: onnx.NodeProto, opset: int):
        self.index, self.proto = index, proto
        self.operator = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        self.operator = _text(self.operator)
        self.inputs = tuple(proto.input)
        self.label = f"node {index} ({self.operator}, {_text(proto.name or ''.join(proto.output[:1]))})"
        if not proto.output:
            raise self.error("gives no output")
        self.output = proto.output[0]
        self._check(opset)
        self.attributes: dict[str, Any] = {}
        for attribute in proto.attribute:
            try:
                self.attributes[attribute.name] = onnx.helper.get_attribute_value(attribute)
            except ValueError:
                raise self.error(f"has the attribute {_text(attribute.name)} of an unknown type") from None

    def _check(self, opset: int) -> None:
        if (schema := self._schema(opset)) is None:
            return
        newest = self._schema(onnx.defs.onnx_opset_version())
        # Some files hold a newer form of an operator than the version that they name.
        least, most = min(schema.min_input, newest.min_input), max(schema.max_input, newest.max_input)
        if not least <= len(self.inputs) <= most:
            needed = f"at least {least}" if most > 100 else str(least) if least == most else f"{least} to {most}"
            raise self.error(f"has {len(self.inputs)} inputs; {needed} are needed")
        given = {attribute.name: attribute.type for attribute in self.proto.attribute}
        for name, known in schema.attributes.items():
            if known.required and name not in given:
                raise self.error(f"has no attribute {name}")
        for name, kind in given.items():
            wanted = self._attribute_type(schema, newest, name)
            if wanted is not None and kind != wanted:
                raise self.error(f"has {_kind(kind)} as its attribute {name}; {_kind(wanted)} is needed")

    def _schema(self, opset: int) -> Any:
        """The newest version of the operator that is not newer than ``opset``; None if there is none."""
        try:
            return onnx.defs.get_schema(self.operator, min(max(opset, 0), onnx.defs.onnx_opset_version()))
        except onnx.defs.SchemaError:
            return None

    def _attribute_type(self, schema: Any, newest: Any, name: str) -> int | None:
        """Of the attribute ``name``, in this version of the operator or in the nearest older one that has it, or else
        in the newest."""
        while schema is not None:
            if name in schema.attributes:
                return schema.attributes[name].type.value
            schema = self._schema(schema.since_version - 1)
        return newest.attributes[name].type.value if name in newest.attributes else None

    def error(self, text: str) -> NetworkError:
        """The file can't be read on from here."""
        return NetworkError(f"{self.label} {text}")

    def obstacle(self, text: str) -> Obstacle:
        """The node is valid, but isn't supported as it stands here."""
        return Obstacle("node", self.index, self.label, text)

    def misfit(self) -> NetworkError:
        """Values that could be decoded make no sense together."""
        names = _text(", ".join(self.attributes))
        what = " and ".join(["inputs"] * bool(self.inputs) + [f"attributes ({names})"] * bool(names))
        return self.error(f"has {what or 'outputs'} that don't fit together; export the model again")

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The attribute ``name``, as long as ``default``."""
        values = self.attributes.get(name, default)
        if len(values) != len(default):
            raise self.error(f"has {len(values)} {name}; only images (two dimensions of pixels) are supported")
        return tuple(int(value) for value in values)

    def axis(self, axis: int, rank: int) -> int:
        """From 0, of one that may count from the end."""
        if not -rank <= axis < rank:
            raise self.error(f"has the axis {axis} for {rank} dimensions")
        return int(axis) % rank


@dataclass(eq=False, kw_only=True)
class _Draft:
    """A layer in the making.

    ``weights`` as in the layers, float64 or, with ``scales`` (channels,), int8; None of an average pool.  ``trained``
    as in the layers too.  ``linear`` while nothing but sums was computed; ``source`` and ``result`` say what the int8
    values before and after mean, None where they aren't quantised."""

    node: _Node
    name: str
    input_shape: Shape
    output_shape: Shape
    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = _NO_PADDING
    weights: np.ndarray | None = None
    scales: np.ndarray | None = None
    bias: _Constant | None = None
    trained: Statistics | None = None
    linear: bool = True
    minimum: float = -inf
    maximum: float = inf
    source: Meaning | None = None
    result: Meaning | None = None

    def clamp(self, minimum: float, maximum: float) -> None:
        """``minimum`` … ``maximum`` after the clamp that is there."""
        self.minimum = min(max(self.minimum, minimum), maximum)
        self.maximum = min(max(self.maximum, minimum), maximum)

    def geometry(self, index: int) -> dict[str, Any]:
        """The fields of :class:`~.network.Geometry`."""
        return {"name": self.name, "index": index, "input_shape": self.input_shape,
                "output_shape": self.output_shape, "stride": self.stride, "padding": self.padding}

    def float_layer(self, index: int) -> FloatLayer:
        common = {**self.geometry(index), "minimum": self.minimum, "maximum": self.maximum}
        if self.weights is None:
            return FloatAveragePool(**common, window=self.window)
        bias = np.zeros(self.output_shape[2]) if self.bias is None else self.bias.real
        kind = FloatDepthwise if self.weights.ndim == 3 else FloatConvolution
        return kind(**common, weights=self.weights, bias=bias, trained=self.trained)

    def layer(self, index: int) -> Layer:
        if self.source is None or self.result is None:
            what = "reads values" if self.source is None else "gives results"
            raise self.node.error(f"{what} that aren't quantised in a model where others are; quantise all of it")
        output = self.source, self.result, self.minimum, self.maximum
        if self.weights is None:
            return AveragePool.of_scales(self.node.label, self.geometry(index), self.window, *output)
        if self.scales is None:
            raise self.node.error("has float weights in a quantised model; quantise them too")
        bias = self._integer_bias(self.source[0] * self.scales.astype(np.float64))
        kind = Depthwise if self.weights.ndim == 3 else Convolution
        return kind.of_scales(self.node.label, self.geometry(index), self.weights, self.scales, bias, *output)

    def _integer_bias(self, steps: np.ndarray) -> np.ndarray:
        """In steps of ``steps``, the products of the scales of input and weights."""
        if self.bias is None:
            return np.zeros(len(steps), np.int32)
        if self.bias.scales is not None and np.allclose(self.bias.scales, steps, rtol=1e-6, atol=0):
            bias = self.bias.values - self.bias.zero_points
        else:
            bias = np.rint(self.bias.real / steps)
        if not (np.abs(bias) < 1 << 31).all():
            raise self.node.error("has a bias that doesn't fit 32 bits in the scale of its sums; quantise it again "
                                  "with less extreme scales")
        return bias


class _Chain:
    """Walks the nodes and drafts layers.

    ``value`` is the name of the result so far.  ``places`` tells what it holds: an integer array of its shape (batch
    1) with, for each value, its number in the NHWC map of ``size``, and -1 in padding.  So whatever only moves values
    about is computed on ``places``, and a layer sees there whether they are where it needs them.  Up to the first
    layer ``size`` is None, and the numbers are those of the model's input in its own order.

    ``meaning`` is set where ``value`` is int8 numbers (``integers``), or real ones that stand for them exactly."""

    def __init__(self, model: onnx.ModelProto, name: str):
        self.model, self.graph = model, model.graph
        self.inferred: dict[str, tuple[int, ...]] | None = None
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.own = model.producer_name == OWN_PRODUCER
        self.name = model.graph.name if self.own else name
        versions = {entry.domain: entry.version for entry in model.opset_import}
        self.opset = versions.get("", versions.get("ai.onnx", 0))
        self.constants: dict[str, _Constant] = {}
        self.drafts: list[_Draft] = []
        self.size: Shape | None = None
        self.channels_first = False
        self.start: Meaning | None = None
        self.meaning: Meaning | None = None
        self.padder: _Node | None = None
        self.softmax: _Node | None = None

    def read(self) -> FloatNetwork | Network:
        if self.opset < 1:
            raise NetworkError("doesn't say which version of ONNX's operators it uses (opset_import); export it again")
        if self.graph.sparse_initializer:
            raise NetworkError("has sparse weights; store their zeros")
        for tensor in self.graph.initializer:
            try:
                self.constants[tensor.name] = _Constant(onnx.numpy_helper.to_array(tensor))
            except Exception:
                raise NetworkError(f"is damaged (the values of {_text(tensor.name)} don't fit its shape); "
                                   "export it again") from None
        nodes = [_Node(index, proto, self.opset) for index, proto in enumerate(self.graph.node)]
        inputs = [value for value in self.graph.input if value.name not in self.constants]
        self._check_listing(nodes, {value.name for value in inputs})
        self._open(inputs)
        self._walk(nodes)
        self._close()
        layers = enumerate(self.drafts)
        preprocessing = Preprocessing.of_metadata(self.metadata, self.drafts[0].input_shape[2])
        if not self.start and not any(draft.result or draft.scales is not None for draft in self.drafts):
            return FloatNetwork(self.name, tuple(draft.float_layer(index) for index, draft in layers),
                                softmax=self.softmax is not None, channels_first=self.channels_first,
                                preprocessing=preprocessing)
        integers = tuple(draft.layer(index) for index, draft in layers)
        assert self.start, "the first layer would have refused"
        softmax = Softmax(len(integers), -1, integers[-1].output_scale) if self.softmax else None
        return Network(self.name, integers, *self.start, softmax, preprocessing)

    def _check_listing(self, nodes: list[_Node], computed: set[str]) -> None:
        """Raises unless every node has a handler; ``computed`` are the names of the inputs."""
        found = []
        for node in nodes:
            operands = sum(name in computed for name in node.inputs)
            if not operands or node.operator in self.SHAPES:
                if node.operator not in self.FOLDED:
                    found.append((node.operator, ON_CONSTANTS))
                continue
            computed.update(node.proto.output)
            arithmetic = node.operator in ("Add", "Sub", "Mul", "Div", "Min", "Max")
            if operands > 1 and (arithmetic or node.operator in self.SUPPORTED):
                found.append((node.operator, BRANCHES))
            elif node.operator not in self.SUPPORTED:
                found.append((node.operator, ARITHMETIC if arithmetic else ""))
        check_operators(found)

    def _walk(self, nodes: list[_Node]) -> None:
        obstacles: list[Obstacle] = []
        for node in nodes:
            try:
                self._step(node)
            except Obstacle as obstacle:
                obstacles.append(obstacle)
                if not self._skip(node):
                    break
            except NetworkError:
                # What was passed over may be the cause of what comes after it.
                refuse(obstacles)
                raise
            except _MISFITS as error:
                raise node.misfit() from error
        refuse(obstacles)

    def _skip(self, node: _Node) -> bool:
        """Go on behind a node that can't be taken, with the shape that ONNX infers; False where it infers none."""
        if self.inferred is None:
            self.inferred = {}
            try:
                graph = onnx.shape_inference.infer_shapes(self.model).graph
            except onnx.shape_inference.InferenceError:
                return False
            for value in (*graph.value_info, *graph.output):
                self.inferred[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        batch, *shape = self.inferred.get(node.output, ()) or [0]
        if tuple(shape) == self.places.shape[1:]:
            self.value, self.shapes[node.output] = node.output, self.places.shape
            return True
        if batch not in (0, 1) or not shape or min(shape) < 1 or prod(shape) > LARGEST_MAP or self.size is None:
            return False
        places = np.arange(prod(shape), dtype=np.int32).reshape(1, *shape)
        if len(shape) == 3:
            self.size = (shape[1], shape[2], shape[0])
            places = places.reshape(1, *self.size).transpose(0, 3, 1, 2)
        else:
            self.size = (1, 1, prod(shape))
        self.places, self.padder, self.meaning = places, None, None
        # What follows may be fused into it all the same.
        linear = self.SUPPORTED[node.operator].method in ("_convolution", "_gemm", "_matmul")
        self.drafts.append(_Draft(node=node, name=node.output, input_shape=self.size, output_shape=self.size,
                                  window=(1, 1), weights=np.zeros((1, 1, self.size[2])), linear=linear))
        self.value = node.output
        self.shapes[node.output] = places.shape
        return True

    def _open(self, inputs: list[onnx.ValueInfoProto]) -> None:
        if len(inputs) != 1:
            raise NetworkError(f"has {len(inputs)} inputs; only models with one input are supported")
        if len(self.graph.output) != 1:
            raise NetworkError(f"has {len(self.graph.output)} outputs; only models with one output are supported")
        kind = inputs[0].type.tensor_type
        if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
            names = dict(zip(onnx.TensorProto.DataType.values(), onnx.TensorProto.DataType.keys(), strict=True))
            name = names.get(kind.elem_type, f"type {kind.elem_type}").lower()
            raise NetworkError(f"takes {name} images; export it with a float32 input")
        # A dynamic dimension has no value: 0.
        batch, *shape = [dim.dim_value for dim in kind.shape.dim] or [0]
        names = ", ".join(str(dim.dim_value or _text(dim.dim_param) or "?") for dim in kind.shape.dim)
        if not shape or min(shape) < 1 or prod(shape) > LARGEST_MAP:
            raise NetworkError(f"takes an input of the shape [{names}]; export it with a fixed number of channels, "
                               f"height and width (only the batch may be dynamic), at most {LARGEST_MAP} values")
        if len(shape) not in (1, 3):
            raise NetworkError(f"takes an input of the shape [{names}]; {self._other_rank(shape)}")
        if batch not in (0, 1):
            raise NetworkError(f"takes a batch of {batch}; export it with batch 1 or a dynamic one")
        self.value, self.given = inputs[0].name, tuple(shape)
        self.places = np.arange(prod(shape), dtype=np.int32).reshape(1, *shape)
        self.integers = kind.elem_type != onnx.TensorProto.FLOAT
        self.integer_type = np.dtype(np.uint8 if kind.elem_type == onnx.TensorProto.UINT8 else np.int8)
        self.shapes = {self.value: self.places.shape}

    def _other_rank(self, shape: list[int]) -> str:
        """What to do about an input that is neither an image nor a vector."""
        convolutions = (node.input[1] for node in self.graph.node if node.op_type == "Conv" and len(node.input) > 1)
        if any(name in self.constants and self.constants[name].values.ndim == 3 for name in convolutions):
            channels, length = shape
            return ("its 1-D convolutions are not supported: write them as 2-D ones with windows of one row, on an "
                    f"input of [1, {channels}, 1, {length}]")
        if len(shape) == 2:
            return (f"give the input its channel, as [1, 1, {shape[0]}, {shape[1]}], in place of an Unsqueeze or "
                    "Reshape in the model")
        return "only [batch, channels, height, width] and [batch, values] are supported"

    def _step(self, node: _Node) -> None:
        for name in node.inputs:
            if name and name not in self.constants and name not in self.shapes:
                raise node.error(f"reads {_text(name)}, which no node before it gives")
        activations = [name for name in node.inputs if name in self.shapes]
        if not activations or node.operator in self.SHAPES:
            self.constants[node.output] = self._fold(node)
            return
        if activations != [self.value]:
            raise node.error(f"reads {_text(activations[0])}, not the result of the node before it; only a single "
                             "chain of nodes is supported")
        method = self.SUPPORTED[node.operator].method
        if node.inputs[0] != self.value and method not in ("_add", "_multiply", "_clamp"):
            raise node.error("has a constant where its first input should be the result of the node before it")
        if method not in self._MOVES:
            if self.softmax:
                raise node.error("follows Softmax, which is only supported at the end")
            if self.padder and method not in ("_convolution", "_pad"):
                raise self.padder.error(f"is followed by {node.operator}; padding is only supported before Conv")
            if self.integers and node.operator == "Clip":
                raise node.obstacle("narrows the range of integers, as Brevitas exports fewer than 8 bits or a narrow "
                                    "range; export activations of 8 bits with narrow_range=False, or give the float "
                                    "model to 'tepal quantize'")
            if self.integers:
                raise node.error("works on integers; only QDQ models, whose nodes stand between DequantizeLinear and "
                                 "QuantizeLinear, are supported")
        getattr(self, method)(node)
        self.value = node.output
        self.shapes[node.output] = self.places.shape

    def _close(self) -> None:
        if self.value != self.graph.output[0].name:
            raise NetworkError(f"gives {_text(self.graph.output[0].name)}, which isn't the result of its last node")
        if self.padder:
            raise self.padder.error("is the last layer; padding is only supported before Conv")
        if not self.drafts:
            raise NetworkError("has no layer to compute")
        if self.places.ndim < 4 and not self._in_order(self.places):
            raise NetworkError("gives a flattened map with its channels first; end it with a vector or with the map")

    # ---- constants ----

    def _fold(self, node: _Node) -> _Constant:
        """The result of a node that reads constants or shapes alone."""
        if node.operator == "Shape":
            shape = self.shapes.get(node.inputs[0]) or self.constants[node.inputs[0]].values.shape
            return _Constant(np.array(shape[slice(node.attributes.get("start"), node.attributes.get("end"))], np.int64))
        if node.operator == "CastLike":
            return self._constant(node, 0, "values")
        inputs = {name: self.constants[name] for name in node.inputs if name}
        if node.operator == "DequantizeLinear":
            return self._dequantised(node)
        if node.operator in ("ConstantOfShape", "Expand"):
            shape = self._constant(node, len(node.inputs) - 1, "shape").values
            if prod(shape.ravel().tolist()) > LARGEST_MAP:
                raise node.error(f"makes more than {LARGEST_MAP} values")
        first = next(iter(inputs.values()), None)
        if first is not None and first.scales is not None and node.operator in ("Identity", "Transpose"):
            # Weights stay integers when they change sides.
            parts = (first.values, first.scales, np.asarray(first.zero_points))
            return _Constant(*(self._evaluate(node, {node.inputs[0]: part}) for part in parts))
        return _Constant(self._evaluate(node, {name: constant.real for name, constant in inputs.items()}))

    def _evaluate(self, node: _Node, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The first output of ``node``."""
        empty = onnx.helper.make_empty_tensor_value_info
        graph = onnx.helper.make_graph([node.proto], "node", [empty(name) for name in inputs], [empty(node.output)])
        try:
            (result,) = ReferenceEvaluator(graph, opsets={"": self.opset}).run(None, inputs)
            result = np.asarray(result)
        except Exception:
            raise node.misfit() from None
        if result.size > LARGEST_MAP:
            raise node.error(f"makes more than {LARGEST_MAP} values")
        return result

    def _constant(self, node: _Node, number: int, what: str) -> _Constant:
        """Input ``number``, which must be constant."""
        name = node.inputs[number] if number < len(node.inputs) else ""
        if name not in self.constants:
            raise node.error(f"has no constant {what}; export the trained model with its weights and statistics")
        values = self.constants[name].values
        if values.dtype.kind not in "fiub":
            raise node.error(f"has {values.dtype} values for its {what}; numbers of the usual types are needed")
        return self.constants[name]

    def _parameter(self, node: _Node, name: str, number: int, default) -> np.ndarray:
        """An attribute that newer versions of the operator take as input ``number``."""
        if name in node.attributes:
            return np.asarray(node.attributes[name])
        if number >= len(node.inputs) or not node.inputs[number]:
            return np.asarray(default)
        return self._constant(node, number, name).real

    # ---- quantised values ----

    def _scales(self, node: _Node) -> np.ndarray:
        scales = self._constant(node, 1, "scales").values.astype(np.float32)
        if not scales.size or not np.isfinite(scales).all() or (scales <= 0).any():
            raise node.error("has a scale that isn't a positive number")
        return scales

    def _dequantised(self, node: _Node) -> _Constant:
        """Constant integers and what they mean."""
        values, scales = self._constant(node, 0, "values").values, self._scales(node)
        zero_points = np.zeros_like(scales, np.int64)
        if len(node.inputs) > 2 and node.inputs[2]:
            zero_points = self._constant(node, 2, "zero points").values.astype(np.int64)
        if values.dtype not in (np.int8, np.uint8, np.int32):
            raise node.error(f"has {values.dtype} weights; supported are int8 and uint8")
        if values.dtype == np.uint8:
            values, zero_points = values.astype(np.int16) - 128, zero_points - 128
        if zero_points.size == 1:
            zero_points = zero_points.reshape(())
        elif zero_points.shape != scales.shape:
            raise node.error(f"has zero points of the shape {list(zero_points.shape)} for scales of "
                             f"{list(scales.shape)}")
        shape = [1] * values.ndim
        if scales.size > 1:
            axis = int(node.attributes.get("axis", 1)) if values.ndim > 1 else 0
            if scales.ndim != 1 or not -values.ndim <= axis < values.ndim or scales.size != values.shape[axis]:
                raise node.error(f"has scales of the shape {list(scales.shape)} for values of {list(values.shape)}; "
                                 "supported are one, or one for each channel")
            shape[axis] = scales.size
        return _Constant(values, scales.reshape(shape), np.broadcast_to(zero_points, scales.shape).reshape(shape))

    def _meaning(self, node: _Node, kind: np.dtype) -> Meaning:
        """Of an activation, as int8; ``kind`` is its type where there is no zero point to tell."""
        scales = self._scales(node)
        zero_point = np.zeros(1, kind)
        if len(node.inputs) > 2 and node.inputs[2]:
            zero_point = self._constant(node, 2, "zero points").values
        elif number := node.attributes.get("output_dtype"):
            known = {onnx.TensorProto.INT8: np.int8, onnx.TensorProto.UINT8: np.uint8}
            if number not in known:
                raise node.error(f"has the output_dtype {number}; quantise activations to int8 or uint8")
            zero_point = np.zeros(1, known[number])
        if zero_point.dtype not in (np.int8, np.uint8):
            raise node.error(f"has {zero_point.dtype} activations; quantise them to int8 or uint8")
        if scales.size != 1 or zero_point.size != 1:
            raise node.error(f"has {scales.size} scales and {zero_point.size} zero points for activations, not one")
        self.integer_type = zero_point.dtype
        return scales.item(), int(zero_point.item()) - (128 if zero_point.dtype == np.uint8 else 0)

    def _quantize(self, node: _Node) -> None:
        if self.integers:
            raise node.error("quantises integers")
        meaning = self._meaning(node, np.dtype(np.uint8))
        self.integers = True
        if self.softmax:
            return
        if not self.drafts and self.meaning is None:
            self.start = meaning
        elif meaning != self.meaning:
            draft = self._continued(node)
            draft.result = meaning
            draft.name = (self.own and node.proto.doc_string) or node.inputs[0]
            if len(self.drafts) > 1 and draft.node.operator in self._CLAMPS and draft.source == meaning:
                # A clamp between equal scales needs no layer of its own.
                self.drafts.pop()
                self.drafts[-1].clamp(draft.minimum, draft.maximum)
                self.drafts[-1].name = draft.name
        self.meaning = meaning

    def _dequantize(self, node: _Node) -> None:
        if not self.integers:
            raise node.error("dequantises real numbers")
        meaning = self._meaning(node, self.integer_type)
        self.integers = False
        if self.softmax:
            return
        if self.meaning is None:
            self.start = self.meaning = meaning
        if meaning != self.meaning:
            raise node.error("has another scale or zero point than the QuantizeLinear before it")

    def _continued(self, node: _Node) -> _Draft:
        """The layer whose result ``node`` changes; after DequantizeLinear a new one that only rescales."""
        if self.meaning is not None:
            size = self._started(node)
            # A step of 1/64 leaves a constant that is added its precision.
            self._append(node, _Draft(node=node, name=node.output, input_shape=size, output_shape=size, window=(1, 1),
                                      weights=np.full((1, 1, size[2]), 64, np.int8),
                                      scales=np.full(size[2], 1 / 64, np.float32)), self.places)
        if not self.drafts:
            raise node.obstacle("comes before any layer; start the model with its first convolution")
        return self.drafts[-1]

    # ---- shapes ----

    def _started(self, node: _Node, image: np.ndarray | None = None) -> Shape:
        """The size of the map; before the first layer, which of the input's dimensions is what, from the part of
        ``places`` that this layer takes as ``image`` (height, width, channels)."""
        if self.size is not None:
            return self.size
        if len(self.given) == 1:
            self.size = size = (1, 1, self.given[0])
            return size
        a, b, c = self.given
        for channels_first, size in ((True, (b, c, a)), (False, (a, b, c))):
            numbers = np.arange(prod(size), dtype=np.int32).reshape(size)
            numbers = (numbers.transpose(2, 0, 1) if channels_first else numbers).ravel()
            if image is None or (image.shape == size and self._in_order(numbers[image])):
                self.places = np.where(self.places < 0, -1, numbers[self.places])
                self.size, self.channels_first = size, channels_first
                return size
        raise node.error(f"reads an input of the shape {list(self.given)} with its values in another order; only "
                         "[channels, height, width] and [height, width, channels] are supported")

    @staticmethod
    def _in_order(numbers: np.ndarray) -> bool:
        return np.array_equal(numbers.ravel(), np.arange(numbers.size))

    def _image(self, node: _Node) -> tuple[Shape, Padding]:
        """Size of the map that ``node`` reads, channels first, and the zeros that Pad put around it."""
        if self.places.ndim != 4 or self.places.shape[0] != 1:
            raise node.error(f"reads the shape {list(self.places.shape)}; only images, [1, channels, height, width], "
                             "are supported")
        image = self.places[0].transpose(1, 2, 0)
        rows, columns = (np.flatnonzero((image >= 0).any(axis=axes)) for axes in ((1, 2), (0, 2)))
        padding = Padding(int(rows[0]), int(image.shape[0] - 1 - rows[-1]),
                          int(columns[0]), int(image.shape[1] - 1 - columns[-1]))
        image = image[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        size = self._started(node, image)
        image = self.places[0].transpose(1, 2, 0)[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        if image.shape != size or not self._in_order(image):
            raise node.error(f"reads a map of {size[0]}x{size[1]}x{size[2]} (height, width, channels) that was "
                             "reshaped, or padded in its channels; only Gemm and MatMul can")
        return size, padding

    def _window(self, node: _Node, kernel: tuple[int, int], size: Shape,
                before: Padding) -> tuple[tuple[int, int], Padding, tuple[int, int]]:
        """Stride, whole padding and height and width of the result of a window that moves over the map."""
        down, across = stride = node.integers("strides", (1, 1))
        if min(stride) < 1 or min(kernel) < 1:
            raise node.error(f"has a window of {kernel[0]}x{kernel[1]} and the stride {stride}")
        if node.integers("dilations", (1, 1)) != (1, 1):
            raise node.obstacle("is dilated; only a dilation of 1 is supported")
        given = np.array(node.integers("pads", (0, 0, 0, 0))).reshape(2, 2).T
        if (given < 0).any():
            raise node.obstacle("has negative padding, which crops; only padding from 0 is supported")
        auto = node.attributes.get("auto_pad", b"NOTSET")
        around, result = [], []
        for axis, extra in enumerate(((before.top, before.bottom), (before.left, before.right))):
            length = size[axis] + sum(extra)
            match auto:
                case b"NOTSET":
                    pads = [int(amount) for amount in given[axis]]
                case b"VALID":
                    pads = [0, 0]
                case b"SAME_UPPER" | b"SAME_LOWER":
                    total = max((-(-length // stride[axis]) - 1) * stride[axis] + kernel[axis] - length, 0)
                    pads = sorted((total // 2, total - total // 2), reverse=auto == b"SAME_LOWER")
                case _:
                    raise node.error(f"has the auto_pad {_text(str(auto))}; supported are NOTSET, VALID, SAME_UPPER "
                                     "and SAME_LOWER")
            steps = length + sum(pads) - kernel[axis]
            if steps < 0:
                raise node.error(f"has a window of {kernel[0]}x{kernel[1]}, larger than its input of "
                                 f"{size[0]}x{size[1]}")
            if node.attributes.get("ceil_mode") and steps % stride[axis]:
                raise node.obstacle("has windows that reach over the edge (ceil_mode); only whole windows are "
                                    "supported")
            around += extra[0] + pads[0], extra[1] + pads[1]
            result.append(steps // stride[axis] + 1)
        padding = Padding(*around)
        padded = (size[0] + padding.top + padding.bottom) * (size[1] + padding.left + padding.right) * size[2]
        if padded > LARGEST_MAP:
            raise node.error(f"reads a map of more than {LARGEST_MAP} values")
        return (down, across), padding, (result[0], result[1])

    def _append(self, node: _Node, draft: _Draft, places: np.ndarray | None = None) -> None:
        """Go on with a new layer; its result is an image, channels first, unless ``places`` says otherwise."""
        if prod(draft.output_shape) > LARGEST_MAP:
            raise node.error(f"gives a map of more than {LARGEST_MAP} values")
        draft.source, self.meaning = self.meaning, None
        self.drafts.append(draft)
        self.size, self.padder = draft.output_shape, None if places is None else self.padder
        if places is None:
            places = np.arange(prod(self.size), dtype=np.int32).reshape(1, *self.size).transpose(0, 3, 1, 2)
        self.places = places

    def _by_channel(self, node: _Node, values: np.ndarray) -> np.ndarray:
        """(channels,) of ``values`` that broadcast to the shape of the result so far."""
        assert self.size is not None
        full = np.empty(prod(self.size))
        try:
            full[self.places.ravel()] = np.broadcast_to(values, self.places.shape).ravel()
        except ValueError:
            raise node.error(f"has values of the shape {list(values.shape)} for {list(self.places.shape)}") from None
        full = full.reshape(-1, self.size[2])
        if not (full == full[0]).all():
            raise node.error("has values that differ from pixel to pixel, or aren't finite; only one number for each "
                             "channel is supported")
        return full[0]

    # ---- layers ----

    def _weights(self, node: _Node, rank: int, axis: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Weights, int8 or float64, with their output channel (dimension ``axis``) first, and its scales."""
        weights = self._constant(node, 1, "weights")
        values = weights.values
        if values.ndim != rank or not 1 <= values.size <= LARGEST_MAP:
            raise node.error(f"has weights of the shape {list(values.shape)}; {rank} dimensions are needed")
        values = np.moveaxis(values, axis, 0)
        if weights.scales is None:
            if values.dtype.kind != "f":
                raise node.error(f"has {values.dtype} weights; floating-point ones or DequantizeLinear are needed")
            return values.astype(np.float64), None
        if values.dtype == np.int32:
            raise node.error("has int32 weights; supported are int8 and uint8")
        if np.any(weights.zero_points):
            raise node.obstacle("has weights with a zero point other than 0 (128 of uint8); quantise them "
                                "symmetrically")
        scales = np.moveaxis(weights.scales, axis, 0).ravel()
        if len(scales) != weights.scales.shape[axis]:
            raise node.error("has weight scales along another dimension than its output channels")
        return values.astype(np.int8), np.broadcast_to(scales, len(values))

    def _bias(self, node: _Node, channels: int) -> _Constant | None:
        """Input 2, one for each channel."""
        if len(node.inputs) < 3 or not node.inputs[2]:
            return None
        bias = self._constant(node, 2, "bias")
        if bias.values.size != 1 and (bias.values.size != channels or bias.values.shape[-1] != channels):
            raise node.error(f"has a bias of the shape {list(bias.values.shape)} for {channels} channels")
        if bias.scales is None or bias.values.size == 1:
            return _Constant(np.broadcast_to(bias.real.ravel(), channels))
        return _Constant(bias.values.ravel(), bias.scales.ravel(), np.ravel(bias.zero_points))

    def _convolution(self, node: _Node) -> None:
        size, before = self._image(node)
        weights, scales = self._weights(node, rank=4, axis=0)
        channels, group = len(weights), int(node.attributes.get("group", 1))
        kernel = weights.shape[2:]
        if node.integers("kernel_shape", kernel) != kernel:
            raise node.error(f"has the kernel_shape {node.integers('kernel_shape', kernel)} and weights of {kernel}")
        stride, padding, pixels = self._window(node, kernel, size, before)
        if group not in (1, size[2]):
            raise node.obstacle(f"has {group} groups for {size[2]} channels; supported are 1 and, depthwise, one for "
                                "each channel")
        if weights.shape[1] * group != size[2] or channels % group:
            raise node.error(f"has weights of the shape {list(weights.shape)} for {size[2]} channels in {group} groups")
        # With a single channel both kinds are the same; a group that is spelled out tells the depthwise one.
        if channels == group == size[2] and "group" in node.attributes:
            weights = weights[:, 0].transpose(1, 2, 0)
        elif group > 1:
            # A depth multiplier: the same sums as a dense convolution whose other products are zero.
            if weights.size * group > LARGEST_MAP:
                raise node.obstacle(f"has the depth multiplier {channels // group} on {group} channels, too large to "
                                    "be computed as a dense convolution")
            out = np.arange(channels)
            dense = np.zeros((channels, *kernel, group), weights.dtype)
            dense[out, :, :, out // (channels // group)] = weights[:, 0]
            weights = dense
        else:
            weights = weights.transpose(0, 2, 3, 1)
        self._append(node, _Draft(node=node, name=node.output, input_shape=size, output_shape=(*pixels, channels),
                                  window=kernel, stride=stride, padding=padding, weights=weights, scales=scales,
                                  bias=self._bias(node, channels)))

    def _fully_connected(self, node: _Node, weights: np.ndarray, scales: np.ndarray | None,
                         bias: _Constant | None) -> None:
        """``weights`` (out channels, values in the order of ``places``)."""
        size = self._started(node)
        if weights.shape[1] != self.places.shape[-1] or self.places.size != weights.shape[1]:
            raise node.error(f"has weights for {weights.shape[1]} values and reads the shape "
                             f"{list(self.places.shape)}; only vectors of one frame are supported")
        ordered = np.empty_like(weights)
        ordered[:, self.places.ravel()] = weights
        places = np.arange(len(weights), dtype=np.int32).reshape(*self.places.shape[:-1], len(weights))
        draft = _Draft(node=node, name=node.output, input_shape=size, output_shape=(1, 1, len(weights)),
                       window=size[:2], weights=ordered.reshape(-1, *size), scales=scales, bias=bias)
        self._append(node, draft, places)

    def _gemm(self, node: _Node) -> None:
        if node.attributes.get("transA"):
            raise node.obstacle("transposes its first input (transA), which is the batch; only transB is supported")
        weights, scales = self._weights(node, rank=2, axis=0 if node.attributes.get("transB") else 1)
        bias = self._bias(node, len(weights))
        alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
        if alpha != 1:
            if scales is not None:
                raise node.obstacle(f"has the factor alpha {alpha} on quantised weights; only 1 is supported")
            weights = weights * alpha
        if beta != 1 and bias is not None:
            bias = _Constant(bias.real * beta)
        self._fully_connected(node, weights, scales, bias)

    def _matmul(self, node: _Node) -> None:
        self._fully_connected(node, *self._weights(node, rank=2, axis=1), None)

    def _add(self, node: _Node) -> None:
        number = 1 - node.inputs.index(self.value)
        draft = self._continued(node)
        if draft.weights is None or not draft.linear:
            raise node.obstacle("adds a constant after an activation or a pool; only the bias of a Conv, Gemm or "
                                "MatMul is supported")
        bias = self._by_channel(node, self._constant(node, number, "bias").real)
        draft.bias = _Constant(bias if draft.bias is None else draft.bias.real + bias)
        if draft.trained:
            draft.trained = Statistics(draft.trained.mean + bias, draft.trained.deviation)
        draft.name = node.output

    def _multiply(self, node: _Node) -> None:
        draft = self._foldable(node)
        factor = self._constant(node, 1 - node.inputs.index(self.value), "factor").real
        self._fold_into(draft, node.output, self._by_channel(node, factor), 0.0, 0.0)

    def _batch_norm(self, node: _Node) -> None:
        if node.attributes.get("training_mode"):
            raise node.obstacle("is in training mode; export the model for inference (model.eval() in PyTorch)")
        draft = self._foldable(node)
        names = ("scale", "offset", "mean", "variance")
        scale, offset, mean, variance = (
            self._constant(node, number, name).real.astype(np.float64) for number, name in enumerate(names, start=1))
        if len({values.size for values in (scale, offset, mean, variance)}) > 1:
            raise node.error(f"has {scale.size} factors, {offset.size} offsets, {mean.size} means and {variance.size} "
                             "variances; one of each is needed for each channel")
        epsilon = float(node.attributes.get("epsilon", 1e-5))
        if not (variance >= 0).all() or not isfinite(epsilon) or not (variance + epsilon > 0).all():
            raise node.error(f"has a variance that is negative or NaN, or 0 with the epsilon {epsilon}; the training "
                             "diverged, or the file is damaged")
        shape = (-1, *(1,) * (self.places.ndim - 2))
        values = (scale / np.sqrt(variance + epsilon), mean, offset, np.sqrt(variance))
        factor, mean, offset, deviation = (self._by_channel(node, each.reshape(shape)) for each in values)
        # What went into it in training, and what _fold_into makes of that comes out.
        draft.trained = Statistics(mean, deviation)
        self._fold_into(draft, node.output, factor, mean, offset)

    def _foldable(self, node: _Node) -> _Draft:
        """The layer whose weights take up the factors of ``node``."""
        draft = self.drafts[-1] if self.drafts else None
        if draft is None or draft.weights is None or not draft.linear:
            raise node.obstacle("doesn't follow a Conv, Gemm or MatMul directly, into which alone it can be folded: "
                                "put it there, or, if it is the first of all, scale the images instead")
        if draft.scales is not None or self.meaning is not None:
            raise node.obstacle("follows a quantised layer; fold it into the weights before quantising")
        return draft

    @staticmethod
    def _fold_into(draft: _Draft, name: str, factor: np.ndarray, mean: np.ndarray | float,
                   offset: np.ndarray | float) -> None:
        """``(x - mean) * factor + offset`` of the result ``x`` so far, in float64."""
        assert draft.weights is not None
        bias = 0.0 if draft.bias is None else draft.bias.real
        draft.weights = draft.weights * (factor if draft.weights.ndim == 3 else factor[:, None, None, None])
        draft.bias = _Constant((bias - mean) * factor + offset)
        if draft.trained:
            draft.trained = Statistics((draft.trained.mean - mean) * factor + offset,
                                       draft.trained.deviation * np.abs(factor))
        draft.name = name

    def _average(self, node: _Node, window: tuple[int, int]) -> None:
        size, _ = self._image(node)
        stride, padding, pixels = self._window(node, window, size, _NO_PADDING)
        if padding != _NO_PADDING:
            raise node.obstacle("averages over padding; only windows wholly inside the map are supported")
        self._append(node, _Draft(node=node, name=node.output, input_shape=size, output_shape=(*pixels, size[2]),
                                  window=window, stride=stride, linear=False))

    def _average_pool(self, node: _Node) -> None:
        height, width = node.integers("kernel_shape", (1, 1))
        self._average(node, (height, width))

    def _global_average_pool(self, node: _Node) -> None:
        height, width, _ = self._image(node)[0]
        self._average(node, (height, width))

    def _mean(self, node: _Node) -> None:
        height, width, channels = size = self._started(node)
        rank, places = self.places.ndim, self.places
        axes = {node.axis(axis, rank) for axis in self._parameter(node, "axes", 1, range(rank)).ravel()}
        kept = [axis for axis in range(rank) if axis not in axes]
        # One row for each result, of the channels of what it is the mean of.
        rows = places.transpose(*kept, *axes).reshape(-1, prod(places.shape[axis] for axis in axes)) % channels
        if rows.shape != (channels, height * width) or (rows != rows[:, :1]).any():
            raise node.obstacle("must average over height and width, no less and no more")
        keep = node.attributes.get("keepdims", 1)
        shape = [1 if axis in axes else places.shape[axis] for axis in range(rank) if keep or axis not in axes]
        self._append(node, _Draft(node=node, name=node.output, input_shape=size, output_shape=(1, 1, channels),
                                  window=(height, width), linear=False), rows[:, 0].reshape(shape))

    def _clamp(self, node: _Node) -> None:
        if node.operator == "Relu":
            bounds = [np.array(0.0), np.array(inf)]
        elif node.operator == "Clip":
            bounds = [self._parameter(node, "min", 1, -inf), self._parameter(node, "max", 2, inf)]
        elif len(node.inputs) == 2:
            bound = self._constant(node, 1 - node.inputs.index(self.value), "bound").real
            bounds = [bound, np.array(inf)] if node.operator == "Max" else [np.array(-inf), bound]
        else:
            raise node.error(f"has {len(node.inputs)} inputs; one bound is supported")
        if any(bound.size != 1 or np.isnan(bound).any() for bound in bounds):
            raise node.error("has bounds that aren't two numbers")
        draft = self._continued(node)
        draft.clamp(*(float(bound.item()) for bound in bounds))
        draft.linear, draft.name = False, node.output

    # ---- what leaves no layer ----

    def _pad(self, node: _Node) -> None:
        if node.attributes.get("mode", b"constant") != b"constant":
            raise node.obstacle("pads with something other than zeros; only constant zeros are supported")
        rank = self.places.ndim
        # The first version of the operator calls them "paddings"; none that uses it is older than the second.
        amounts = self._parameter(node, "pads", 1, ()).ravel()
        axes = [node.axis(axis, rank) for axis in self._parameter(node, "axes", 3, range(rank)).ravel()]
        if self._parameter(node, "value", 2, 0.0).any():
            raise node.obstacle("pads with something other than zeros; only constant zeros are supported")
        if len(amounts) != 2 * len(axes) or amounts.dtype.kind not in "iu" or (amounts < 0).any():
            raise node.error(f"has {len(amounts)} amounts of the type {amounts.dtype}, the least of them "
                             f"{amounts.min(initial=0)}; two whole numbers from 0 for each dimension are needed")
        around = np.zeros((rank, 2), np.int64)
        around[axes] = amounts.reshape(2, -1).T
        if prod(int(size) for size in around.sum(axis=1) + self.places.shape) > LARGEST_MAP:
            raise node.error(f"makes a map of more than {LARGEST_MAP} values")
        self.places = np.pad(self.places, around, constant_values=-1)
        self.padder = node

    def _move(self, node: _Node) -> None:
        inputs = {name: self.constants[name].real for name in node.inputs[1:] if name}
        self.places = self._evaluate(node, {self.value: self.places} | inputs)

    def _pass(self, node: _Node) -> None:
        if self._parameter(node, "training_mode", 2, False).any():
            raise node.obstacle("is in training mode; export the model for inference (model.eval() in PyTorch)")

    def _softmax(self, node: _Node) -> None:
        rank = self.places.ndim
        axis = node.axis(node.attributes.get("axis", -1 if self.opset >= 13 else 1), rank)
        # Before version 13, over all dimensions from this one.
        over = self.places.shape[axis] if self.opset >= 13 else prod(self.places.shape[axis:])
        if self.size is None or self.size[:2] != (1, 1) or over != self.size[2]:
            raise node.obstacle(f"works on dimension {axis} of the shape {list(self.places.shape)}; only vectors are "
                             "supported")
        self.softmax = node

    SUPPORTED = {
        "Conv": Supported("_convolution", "any kernel, stride and padding; depthwise with any multiplier, but no other "
                          "groups; no dilation"),
        "Gemm": Supported("_gemm", "with constant weights; not transA"),
        "MatMul": Supported("_matmul", "of a vector with constant weights"),
        "Add": Supported("_add", "a constant for each channel; in a float model right behind a Conv, Gemm or "
                         "MatMul"),
        "Mul": Supported("_multiply", f"a constant for each channel, {_FOLDS}"),
        "BatchNormalization": Supported("_batch_norm", _FOLDS),
        "Relu": Supported("_clamp", _AFTER), "Clip": Supported("_clamp", f"between constants, {_AFTER}"),
        "Min": Supported("_clamp", f"with one constant, {_AFTER}"),
        "Max": Supported("_clamp", f"with one constant, {_AFTER}"),
        "AveragePool": Supported("_average_pool", "windows wholly inside the map, no padding"),
        "GlobalAveragePool": Supported("_global_average_pool", "any map"),
        "ReduceMean": Supported("_mean", "over height and width"),
        "Pad": Supported("_pad", "zeros around height and width, before a Conv"),
        **{name: Supported("_move", "constant shapes; a Conv must find its map in order behind it")
           for name in ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")},
        "Identity": Supported("_pass", "anywhere"), "Dropout": Supported("_pass", "not in training mode"),
        "Softmax": Supported("_softmax", "of a vector, at the end; stays off the chip"),
        "QuantizeLinear": Supported("_quantize", "to int8 or uint8, one scale for the map"),
        "DequantizeLinear": Supported("_dequantize", "from int8 or uint8; of weights, symmetric, with a scale for each "
                                      "output channel or one for all"),
    }
    """Method of each operator, and its limits in words."""

    FLOAT_ONLY, QDQ_ONLY = ("Mul", "BatchNormalization"), ("QuantizeLinear", "DequantizeLinear")

    FOLDED = ("Add", "Cast", "CastLike", "Clip", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear", "Div",
              "Expand", "Gather", "Identity", "Mul", "QuantizeLinear", "Reshape", "Shape", "Slice", "Squeeze", "Sub",
              "Transpose", "Unsqueeze")
    """Operators that may work on constants and shapes."""

    SHAPES = ("Shape", "CastLike")
    """Operators whose result is constant whatever they read."""

    _CLAMPS = ("Relu", "Clip", "Min", "Max")
    _MOVES = ("_move", "_pass", "_quantize", "_dequantize")


def _taken(others: tuple[str, ...]) -> dict[str, Supported]:
    """All operators but ``others``; those that only work on constants come last."""
    taken = {name: supported for name, supported in _Chain.SUPPORTED.items() if name not in others}
    return taken | {name: Supported("_fold", "on constants and shapes alone")
                    for name in _Chain.FOLDED if name not in taken}


ONNX_FORMATS = {
    "QDQ ONNX": Format("one chain with one input and one output, batch 1 or any; int8 or uint8 activations between "
                       "QuantizeLinear and DequantizeLinear, symmetric weights, as ONNX Runtime's quantize_static and "
                       "'tepal quantize' write it", _taken(_Chain.FLOAT_ONLY)),
    "float ONNX": Format("one chain with one input and one output, batch 1 or any; float32, as PyTorch and tf2onnx "
                         "export it; for 'tepal quantize'", _taken(_Chain.QDQ_ONLY)),
}
"""What each kind of file may hold."""
