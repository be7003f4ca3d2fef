# SPDX-License-Identifier: Apache-2.0
"""The integer network as ONNX: read back equal, and computed by ONNX Runtime to the last bit but one."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import onnx
import pytest
from networks import random_network
from onnx_models import integers, maps, random_graph, real, run, step
from tepal.quant import Average, AveragePool, Convolution, Depthwise, Network, NetworkError, Softmax, quantize
from tepal.quant.answers import Answer
from tepal.quant.onnx_export import onnx_model, write_onnx
from tepal.quant.ops.add import Add
from tepal.quant.readers.onnx import read_onnx
from tepal.quant.rescale import requantise_of_scales
from tepal.sim import golden


def identical(a, b) -> bool:
    """Every field and every array, types included."""
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(identical(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    return a.dtype == b.dtype and np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def network_of(seed: int, *, average: bool = False) -> Network:
    """A random network whose multipliers follow from scales; with ``average``, TensorFlow Lite's pools stay."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    scale = first = float(np.float32(np.exp(rng.uniform(-6, 2))))
    layers = []
    for layer in network.layers:
        rule, count = layer.requantise, layer.kernel[0] * layer.kernel[1]
        if isinstance(rule, Average):
            if not average:
                rule = requantise_of_scales(scale, np.full(layer.output_shape[2], 1 / count), scale,
                                            layer.input_zero_point, rule.minimum, rule.maximum)
                layer = replace(layer, bias=np.full(layer.output_shape[2], -count * layer.input_zero_point))
            layers.append(replace(layer, requantise=rule, output_scale=scale))
            continue
        factor = np.where(rule.factor > 0, rule.factor, 1e-6)
        output_scale = scale / (factor[0] * count) if isinstance(layer, AveragePool) else np.exp(rng.uniform(-6, 2))
        output_scale = float(np.float32(output_scale))
        steps = np.full(len(factor), 1 / count)
        changes = {}
        if isinstance(layer, Convolution | Depthwise):
            changes["weight_scales"] = steps = np.float32(factor * output_scale / scale)
        rule = requantise_of_scales(scale, steps, output_scale, rule.zero_point, rule.minimum, rule.maximum)
        layers.append(replace(layer, requantise=rule, output_scale=output_scale, **changes))
        scale = output_scale
    answers = (Answer.of_vector(Softmax(len(layers), -1, scale), network.output_shape[2]),) \
        if network.output_shape[:2] == (1, 1) and seed % 2 else ()
    return Network(network.name, tuple(layers), first, network.input_zero_point, answers)


def inputs(network: Network, frames: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (frames, *network.input_shape), np.int8)


def test_read_back_identical(tmp_path):
    for seed in range(60):
        network = network_of(seed)
        write_onnx(network, tmp_path / "model.onnx")
        assert identical(read_onnx(tmp_path / "model.onnx"), network), seed
        assert (tmp_path / "model.onnx").read_bytes() == onnx_model(network_of(seed)).SerializeToString()
        onnx.checker.check_model(onnx_model(network), full_check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_onnx_runtime_computes_the_same_layers():
    for seed in range(40):
        network = network_of(seed, average=True)
        images, model = inputs(network), onnx_model(network)
        assert step(network, images, maps(model, network, real(network, images))) <= 1, seed


def test_onnx_runtimes_integer_kernels_compute_the_same_layers():
    """They are only chosen where no inner value is asked for: each layer is a model of its own."""
    for seed in range(20):
        network = network_of(seed, average=True)
        scale = network.input_scale
        for layer in network.layers:
            alone = Network("alone", (layer,), scale, layer.input_zero_point)
            images, scale = inputs(alone), layer.output_scale
            (result,) = run(onnx_model(alone), real(alone, images), optimised=True)
            codes = np.rint(result / np.float32(scale)) + layer.output_zero_point
            assert np.abs(codes - golden.run(alone, images)).max() <= 1, (seed, layer.index)


@pytest.mark.parametrize("optimised", [False, True], ids=["plain", "optimised"])
def test_interface(optimised):
    for seed, name in ((1, "probabilities"), (2, "logits")):
        network = next(network_of(number) for number in range(seed, 100, 2)
                       if seed == 2 or network_of(number).softmax)
        images, model = inputs(network), onnx_model(network)
        assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", name]
        (result,) = run(model, real(network, images), optimised=optimised)
        assert result.shape == (3, network.result_bytes)
        logits = network.output_scale * (golden.run(network, images).astype(float) - network.output_zero_point)
        if network.softmax:
            assert np.allclose(result.sum(axis=1), 1)
        else:
            # Off by one at most in each layer, which may add up.
            assert np.abs(result - logits).max() <= 4 * network.output_scale


def test_a_map_as_the_result_keeps_its_order():
    network = next(network for network in map(network_of, range(100))
                   if len(network.layers) == 1 and min(network.output_shape[1:]) > 1)
    images = inputs(network)
    (result,) = run(onnx_model(network), real(network, images))
    codes = np.rint(result / np.float32(network.output_scale)) + network.output_zero_point
    assert np.abs(codes - golden.run(network, images)).max() <= 1


def layer_of(**changes) -> Network:
    """One pointwise convolution."""
    steps = np.full(2, 0.01, np.float32)
    rule = requantise_of_scales(0.5, steps, 0.25, 0, *changes.pop("clamp", (-128, 127)))
    layer = Convolution(name="layer", index=0, input_shape=(2, 2, 1), output_shape=(2, 2, 2), input_zero_point=0,
                        output_scale=0.25, weights=np.ones((2, 1, 1, 1)), bias=np.zeros(2), requantise=rule,
                        weight_scales=steps)
    return Network("one", (replace(layer, **changes),), 0.5, 0)


@pytest.mark.parametrize(("clamp", "operator"), [((-128, 127), None), ((0, 127), "Relu"), ((0, 24), "Clip"),
                                                 ((-128, 5), "Clip"), ((7, 127), "Clip")])
def test_clamps(tmp_path, clamp, operator):
    network = layer_of(clamp=clamp)
    write_onnx(network, tmp_path / "one.onnx")
    assert identical(read_onnx(tmp_path / "one.onnx"), network)
    operators = [node.op_type for node in onnx_model(network).graph.node]
    assert {"Relu", "Clip"} & set(operators) == ({operator} if operator else set())


@pytest.mark.parametrize("name", ["image", "logits", "layer/weights", "image/scale", "name with ünicode"])
def test_names_that_are_taken(tmp_path, name):
    network = layer_of(name=name)
    write_onnx(network, tmp_path / "one.onnx")
    onnx.checker.check_model(str(tmp_path / "one.onnx"), full_check=True)
    assert read_onnx(tmp_path / "one.onnx").layers[0].name == name


def test_values_bear_the_names_of_the_layers():
    network = network_of(4)
    assert list(integers(onnx_model(network))) == ["image", *(layer.name for layer in network.layers)]


REFUSALS = {
    "scales": (layer_of(output_scale=0.3), r"layer 0 \(layer\) can't be written as ONNX: its multipliers don't follow"),
    "tiny": (layer_of(weight_scales=1e-38), "its scales aren't positive numbers that float32 holds"),
    "zero": (layer_of(output_scale=0.0), "its scales aren't positive numbers that float32 holds"),
    "nan": (layer_of(weight_scales=np.nan), "its scales aren't positive numbers that float32 holds"),
    "beta": (replace(layer_of(), answers=(Answer.of_vector(Softmax(1, -1, 0.25, beta=2.0), 8),)),
             r"one can't be written as ONNX: its softmax has the beta 2\.0 and the input scale 0\.25; only 1 and"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    network, sentence = REFUSALS[name]
    with pytest.raises(NetworkError, match=sentence):
        onnx_model(network)


def test_biased_pool():
    layer = AveragePool(name="pool", index=3, input_shape=(2, 2, 1), output_shape=(1, 1, 1), input_zero_point=5,
                        window=(2, 2), bias=[-19], requantise=requantise_of_scales(1, [1 / 4], 1, 0))
    with pytest.raises(NetworkError, match=r"layer 3 \(pool\) can't be written as ONNX: its average pool adds a bias"):
        onnx_model(Network("pool", (layer,), 1.0, 5))


def test_nothing_is_left_where_writing_fails(tmp_path):
    (tmp_path / "taken.onnx").mkdir()
    for path, reason in ((tmp_path / "taken.onnx", "Is a directory"), (tmp_path / "no" / "a.onnx", "No such file")):
        with pytest.raises(NetworkError, match=rf"can't be written \({reason}"):
            write_onnx(layer_of(), path)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.onnx"]


# ---- graphs ----


@pytest.mark.parametrize("seed", range(30))
def test_graphs_that_were_quantised_here_come_back_identical(tmp_path, seed):
    """Sums, differences, tables, concatenations, several outputs; and ONNX Runtime computes the same but for one."""
    graph = random_graph(seed)
    (tmp_path / "float.onnx").write_bytes(graph.bytes())
    network = read_onnx(tmp_path / "float.onnx")
    batch = np.random.default_rng(0).normal(size=(8, *network.input_shape)).astype(np.float32)
    result = quantize(network, batch).network
    write_onnx(result, tmp_path / "model.onnx")
    again = read_onnx(tmp_path / "model.onnx")
    # Tables of the parts of a concatenation say no more than its scales do.
    assert identical(replace(again, name=""), replace(result, name="")), seed
    model = onnx_model(result)
    onnx.checker.check_model(model, full_check=True)
    images = result.quantise_input(batch[:3])
    assert step(result, images, maps(model, result, real(result, images))) <= 1


def difference() -> Network:
    """A map less another one."""
    first = layer_of().layers[0]
    add = Add.of_scales({"name": "difference", "index": 1, "inputs": (0, 0), "input_shape": (2, 2, 2),
                         "output_shape": (2, 2, 2)}, (0.25, 0), (0.25, 0), (0.5, 3), -np.inf, np.inf)
    return Network("two", (first, replace(add, tables=add.tables * [[1], [-1]])), 0.5, 0)


def test_differences(tmp_path):
    write_onnx(difference(), tmp_path / "two.onnx")
    assert identical(read_onnx(tmp_path / "two.onnx"), difference())
    first, last = difference().layers
    with pytest.raises(NetworkError, match=r"layer 1 \(difference\) can't be written as ONNX: its tables don't follow"):
        onnx_model(Network("two", (first, replace(last, tables=last.tables * 2)), 0.5, 0))
