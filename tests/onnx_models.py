# SPDX-License-Identifier: Apache-2.0
"""ONNX models in the node patterns of their exporters, and ONNX Runtime as the oracle."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import operators
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tepal.quant import Network
from tepal.quant.layer import IMAGE

__all__ = ["Graph", "integers", "legacy", "maps", "quantised", "random_graph", "real", "run", "step", "tf", "torch"]


class Graph:
    """Nodes; ``value`` is the name of the end that :meth:`add` goes on from, and the output unless ``outputs`` names
    others."""

    def __init__(self, *shape: int | str, opset: int = 17, kind: int = TensorProto.FLOAT, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.opset, self.nodes, self.initializers = opset, [], []
        self.input = helper.make_tensor_value_info("image", kind, shape)
        self.value = "image"
        self.outputs: list[str] = []
        self.kind = TensorProto.FLOAT

    def constant(self, array, name: str | None = None) -> str:
        """An initialiser; its name."""
        array = np.asarray(array)
        name = name or f"initializer{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def weights(self, *shape: int) -> np.ndarray:
        """Random, of a size that keeps results near 1."""
        return (self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def add(self, operator: str, *inputs, output: str = "", first: bool = True, **attributes) -> "Graph":
        """A node that reads ``value`` first (or last) and ``inputs``: names, or arrays that become initialisers."""
        self.value = self.node(operator, *([self.value, *inputs] if first else [*inputs, self.value]), output=output,
                               **attributes)
        return self

    def node(self, operator: str, *inputs, output: str = "", **attributes) -> str:
        """A node beside the chain; the name of its output."""
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        output = output or f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def convolution(self, channels: int, before: int, kernel: int, *, group: int = 1, bias: bool = True,
                    **how) -> "Graph":
        inputs = [self.weights(channels, before // group, kernel, kernel)]
        if bias:
            inputs.append(self.weights(channels))
        return self.add("Conv", *inputs, kernel_shape=[kernel, kernel], group=group, **how)

    def batch_norm(self, channels: int, **how) -> "Graph":
        rng = self.rng
        values = (rng.uniform(0.5, 1.5, channels), rng.normal(size=channels), rng.normal(size=channels),
                  rng.uniform(0.1, 2, channels))
        return self.add("BatchNormalization", *(value.astype(np.float32) for value in values), epsilon=1e-3, **how)

    def model(self) -> onnx.ModelProto:
        outputs = [helper.make_tensor_value_info(name, self.kind, None) for name in self.outputs or [self.value]]
        graph = helper.make_graph(self.nodes, "main_graph", [self.input], outputs, self.initializers)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", self.opset)])

    def bytes(self) -> bytes:
        return self.model().SerializeToString()


def legacy(*, folded: bool) -> Graph:
    """As PyTorch's TorchScript exporter writes a small MobileNet."""
    graph = Graph("n", 3, 13, 12, opset=13 if folded else 11)
    for channels, before, kernel, group, stride in ((8, 3, 3, 1, 2), (8, 8, 3, 8, 1), (16, 8, 1, 1, 1),
                                                    (16, 16, 3, 16, 2), (12, 16, 1, 1, 1)):
        graph.convolution(channels, before, kernel, group=group, bias=folded, strides=[stride, stride],
                          dilations=[1, 1], pads=[kernel // 2] * 4)
        if not folded:
            graph.batch_norm(channels, momentum=0.9)
        graph.add("Relu")
    graph.add("GlobalAveragePool").add("Flatten", axis=1)
    return graph.add("Gemm", graph.weights(10, 12), graph.weights(10), alpha=1.0, beta=1.0, transB=1, output="logits")


def torch(*, folded: bool = False, softmax: bool = False) -> Graph:
    """PyTorch's other idioms: ``view(x.size(0), -1)``, ``F.pad``, ``relu6`` with constant nodes, ``x.mean([2, 3])``."""
    graph = Graph("n", 3, 13, 12, opset=18)
    graph.add("Pad", np.array([0, 0, 0, 1, 0, 0, 1, 2]), "", mode="constant")
    graph.convolution(6, 3, 3, strides=[2, 2])
    if not folded:
        graph.batch_norm(6)
    bounds = [graph.node("Constant", value=numpy_helper.from_array(np.float32(bound))) for bound in (0, 6)]
    graph.add("Clip", *bounds)
    graph.convolution(12, 6, 3, group=6, auto_pad="SAME_UPPER", strides=[2, 1])
    graph.add("Clip", np.float32(-1), np.float32(1))
    graph.add("AveragePool", kernel_shape=[2, 3], strides=[1, 2], ceil_mode=0, count_include_pad=1, pads=[0] * 4)
    shape = graph.node("Shape", graph.value)
    size = graph.node("Unsqueeze", graph.node("Gather", shape, np.array(0), axis=0), np.array([0]))
    graph.add("Reshape", graph.node("Concat", size, np.array([-1]), axis=0))
    graph.add("Gemm", graph.weights(20, 12 * 2 * 3), graph.weights(20), transB=1)
    if not folded:
        graph.batch_norm(20)
    graph.add("Relu").add("Dropout").add("Unsqueeze", np.array([2, 3])).convolution(7, 20, 1).add("Relu").add("Relu")
    graph.add("ReduceMean", np.array([-1, 2]), keepdims=0)
    weights = graph.weights(5, 7)
    graph.add("MatMul", weights.T if folded else graph.node("Transpose", weights, perm=[1, 0]))
    graph.add("Add", graph.weights(5), first=False)
    return graph.add("Softmax", axis=-1) if softmax else graph


def tf(channels: int = 3, *, folded: bool = False) -> Graph:
    """As tf2onnx writes a Keras model: images NHWC, batch norm of a depthwise layer as Mul and Add, Dense as MatMul."""
    graph = Graph("n", 13, 12, channels, opset=13)
    if channels == 1:
        graph.add("Reshape", np.array([-1, 1, 13, 12]))
    else:
        graph.add("Transpose", perm=[0, 3, 1, 2])
    graph.convolution(6, channels, 3, auto_pad="SAME_UPPER", strides=[2, 2]).add("Clip", np.float32(0), np.float32(6))
    graph.add("Pad", np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.float32(0))
    graph.convolution(6, 6, 3, group=6, bias=False, strides=[2, 2])
    if not folded:
        graph.add("Mul", graph.weights(1, 6, 1, 1))
    graph.add("Add", graph.weights(1, 6, 1, 1)).add("Relu")
    graph.add("AveragePool", kernel_shape=[2, 1], strides=[2, 1])
    graph.add("Transpose", perm=[0, 2, 3, 1])
    shape = graph.node("Cast", graph.node("Shape", graph.value), to=TensorProto.FLOAT)
    whole = graph.node("Cast", shape, to=TensorProto.INT64)
    size = graph.node("Slice", whole, np.array([0]), np.array([1]), np.array([0]))
    graph.add("Reshape", graph.node("Concat", size, np.array([18]), axis=0))
    graph.add("MatMul", graph.weights(9, 18).T).add("Add", graph.weights(9)).add("Relu")
    return graph.add("MatMul", graph.weights(4, 9).T).add("Add", graph.weights(4), output="Identity:0")


def random_graph(seed: int, constants=("Mul", "Add", "Sub", "Div"),
                 functions=("Sigmoid", "LeakyRelu", "Tanh")) -> Graph:
    """Residual blocks, branches, pools, activations and constants at random; one to three outputs."""
    rng = np.random.default_rng(seed)
    channels, size = (int(number) for number in rng.integers(2, 6, 2))
    graph = Graph("n", 3, 3 + size, 4 + size, seed=seed)
    graph.convolution(channels, 3, int(rng.integers(1, 4)))
    live = [graph.value]
    for _ in range(int(rng.integers(4, 12))):
        graph.value = live[int(rng.integers(max(0, len(live) - 3), len(live)))]
        match rng.integers(11):
            case 0:
                graph.convolution(channels, channels, 3, pads=[1] * 4, bias=bool(rng.integers(2)))
            case 1:
                graph.convolution(channels, channels, 3, pads=[1] * 4, group=channels)
            case 2:
                graph.add("Relu")
            case 3:
                graph.add("Clip", np.float32(rng.uniform(-2, 0)), np.float32(rng.uniform(0, 2)))
            case 4:
                graph.batch_norm(channels)
            case 5:
                graph.add("MaxPool", kernel_shape=[3, 3], pads=[1] * 4)
            case 6:
                graph.add("Concat", live[int(rng.integers(len(live)))], axis=1).convolution(channels, 2 * channels, 1)
            case 7:
                graph.add(functions[rng.integers(len(functions))])
            case 8:
                graph.add(constants[rng.integers(len(constants))],
                          rng.uniform(0.5, 2, (channels, 1, 1)).astype(np.float32))
            case _:
                graph.add("Add", live[int(rng.integers(len(live)))])
        live.append(graph.value)
    graph.outputs = sorted(set(live[1:][-int(rng.integers(1, 4)):]), key=live.index)
    return graph


def run(model: onnx.ModelProto | bytes, images: np.ndarray, *, optimised: bool = False,
        names: list[str] | None = None, folder: Path | None = None) -> list[np.ndarray]:
    """ONNX Runtime's outputs, or the values called ``names``, one frame after the other; ``folder`` holds the weights
    that lie outside the file."""
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
    if folder:
        onnx.load_external_data_for_model(model, str(folder))
    operators.asked(model)
    known = {output.name for output in model.graph.output}
    if names:
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if optimised:
        # Its fused integer kernels add pairs of products in 16 bits, which saturate, on CPUs without VNNI otherwise.
        options.add_session_config_entry("session.x64quantprecision", "1")
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    frames = [session.run(names, {session.get_inputs()[0].name: image[None]}) for image in images]
    return [np.concatenate(values) for values in zip(*frames, strict=True)]


class _Images(CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray):
        self.feeds = iter([{name: image[None]} for image in images])

    def get_next(self):
        return next(self.feeds, None)


def quantised(graph: Graph, folder: Path, images: np.ndarray, *, per_channel: bool = True,
              activations: QuantType = QuantType.QInt8, weights: QuantType = QuantType.QInt8,
              form: QuantFormat = QuantFormat.QDQ, **options) -> onnx.ModelProto:
    """``graph`` by ONNX Runtime's post-training quantisation, calibrated with ``images``."""
    result = folder / "quantised.onnx"
    # Without types the quantiser skips values it could quantise.
    model = onnx.shape_inference.infer_shapes(graph.model())
    quantize_static(model, result, _Images(graph.input.name, images), quant_format=form,
                    per_channel=per_channel, activation_type=activations, weight_type=weights, extra_options=options)
    return onnx.load(result)


def integers(model: onnx.ModelProto) -> dict[str, str]:
    """Names of the real values that are quantised (in files of this package of their layers), other than weights, to
    those of their integers, clipped if they are."""
    weights = {tensor.name for tensor in model.graph.initializer}
    clipped = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type == "Clip"}
    return {node.doc_string or node.input[0]: clipped.get(node.output[0], node.output[0]) for node in model.graph.node
            if node.op_type == "QuantizeLinear" and node.input[0] not in weights}


def maps(model: onnx.ModelProto, network: Network, images: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's int8 output of each layer of ``network``, which was read from ``model``: NHWC."""
    names = integers(model)
    values = run(model, images, names=[names.get(layer.name, layer.name) for layer in network.layers])
    layers = []
    for layer, value in zip(network.layers, values, strict=True):
        if value.dtype == np.uint8:
            value = (value ^ 128).view(np.int8)
        height, width, channels = layer.output_shape
        layers.append(value.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))
    return layers


def step(network: Network, images: np.ndarray, layers: list[np.ndarray]) -> int:
    """The largest difference between ``layers`` and the golden model's output of each from what it reads of them."""
    maps = {IMAGE: images} | dict(enumerate(layers))
    return max(int(abs(layer(*(maps[source] for source in sources)).astype(int) - after).max())
               for layer, sources, after in zip(network.layers, network.sources, layers, strict=True))


def real(network: Network, values: np.ndarray) -> np.ndarray:
    """float32 images, channels first, of the network's int8 ones."""
    values = np.float32(network.input_scale) * (values.astype(np.float32) - network.input_zero_point)
    return values.transpose(0, 3, 1, 2)
