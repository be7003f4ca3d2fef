# SPDX-License-Identifier: Apache-2.0
"""Random small networks that are no chains: residuals, tables, several outputs.

Hypothesis draws their structure (:func:`graphs`), and makes one small in which a test fails; a seed gives one as well
(:func:`graph_case`), where a test needs networks of which something is known.  It is the same draw."""

from collections.abc import Sequence
from dataclasses import replace
from math import gcd, prod

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from networks import KERNELS, LAYERS, ZERO_POINTS, _convolution, _depthwise, _max_pool, _pool, pointwise, random_engine
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.plan.bands import Group, aligned, has_what_it_adds, lasts, may_lie_upon
from tepal.quant import Depthwise, Network, NetworkError, Requantise, Rounding
from tepal.quant.arithmetic import multiply_by_quantized_multiplier, quantize_multiplier
from tepal.quant.layer import IMAGE
from tepal.quant.lookup import CODES, Lookup
from tepal.quant.ops.add import Add
from tepal.quant.ops.concatenation import Concatenation

__all__ = ["RandomGraph", "few_weights", "graph_case", "graphs", "groups_in_any_order", "groups_with_kept_rows",
           "inverted_residuals", "of_arms", "random_add", "random_graph", "residuals", "sliced_case"]

MAPS = 2 * LAYERS
"""Layers of a random graph at most, about."""

KINDS = ("dense", "pointwise", "depthwise", "pool", "max", "lookup", "joined", "sum")
SHARES = (0.15, 0.15, 0.12, 0.04, 0.06, 0.13, 0.07, 0.28)
SHARES_WITH_SUMS = (0.08, 0.20, 0.08, 0.03, 0.05, 0.08, 0.06, 0.42)
"""Of layers that keep a map's shape there are many, so that sums come in any order and within one another."""


def random_add(rng: np.random.Generator, common: dict, shape: tuple[int, int, int],
               zero_points: tuple[int, int, int]) -> Add:
    """A sum of two maps of any two scales, by TensorFlow Lite's rule or by real scales; ``zero_points`` are both
    operands' and the result's."""
    scales = np.exp(rng.uniform(-3, 1, 2))
    result = float(scales.max() * np.exp(rng.uniform(-1, 1)))
    least = zero_points[2] if rng.random() < 0.4 else -128
    geometry = {**common, "input_shape": shape, "output_shape": shape}
    if rng.random() < 0.4:
        meanings = [(float(np.float32(scale)), zero_point) for scale, zero_point in zip(
            (*scales, result), zero_points, strict=True)]
        return Add.of_scales(geometry, *meanings, 0.0 if least != -128 else -np.inf, np.inf)
    twice = 2 * scales.max()
    tables = [multiply_by_quantized_multiplier(CODES - zero_point << 20, *quantize_multiplier(scale / twice),
                                               Rounding.DOUBLE)
              for scale, zero_point in zip(scales, zero_points, strict=False)]
    multiplier, shift = (np.full(shape[2], value) for value in quantize_multiplier(twice / (1 << 20) / result))
    return Add(**geometry, input_zero_point=zero_points[0], other_zero_point=zero_points[1], tables=tables,
               requantise=Requantise(multiplier, shift, zero_points[2], least))


def _lookup(rng, common, shape, zero_point) -> Lookup:
    table = rng.integers(-128, 128, 256) if rng.random() < 0.3 else np.clip(
        np.rint(CODES * rng.uniform(-1.5, 1.5)) + rng.integers(-40, 40), -128, 127)
    return Lookup(**common, input_shape=shape, output_shape=shape, table=table, result_zero_point=zero_point,
                  function="table")


def _joined(structure, rng, maps, recent: int, number: int) -> Concatenation:
    """The map ``recent`` and others of its height and width, some of them twice."""
    shape, zero_point = maps[recent]
    able = [number for number in maps if maps[number][0][:2] == shape[:2]]
    inputs = (recent, *map(int, structure.choice(able, int(structure.integers(1, 3)))))
    channels = tuple(maps[source][0][2] for source in inputs)
    tables = [CODES if rng.random() < 0.6 else np.clip(CODES + int(rng.integers(-60, 60)), -128, 127) for _ in inputs]
    return Concatenation(name=f"layer{number}", index=number, inputs=inputs, input_shape=shape,
                         output_shape=(*shape[:2], sum(channels)), input_zero_point=zero_point, channels=channels,
                         tables=np.stack(tables), result_zero_point=int(rng.choice(ZERO_POINTS)))


def random_graph(rng: np.random.Generator, structure=None, shares=SHARES, arms: float = 0) -> Network:
    """A graph of every kind of layer: each reads any map before it, sums any two of one shape, often one that has just
    been made and one that has long been there.  What nothing reads is an output, and sometimes what something does.
    ``structure`` draws layers, shapes and what reads what; by default ``rng``, which draws all numbers, does so too.
    ``arms`` of the sums are of a map that a convolution makes for it alone."""
    structure = structure or rng
    shape = int(structure.integers(1, 7)), int(structure.integers(1, 7)), int(structure.integers(1, 8))
    maps: dict[int, tuple[tuple[int, int, int], int]] = {IMAGE: (shape, int(rng.choice(ZERO_POINTS)))}
    layers, count = [], int(structure.integers(2, MAPS + 1))

    def add(layer) -> None:
        maps[len(layers)] = layer.output_shape, layer.output_zero_point
        layers.append(layer)

    def windowed(source: int, kind: str, channels: int, *, same: bool = False) -> None:
        shape, zero_point = maps[source]
        after = int(rng.choice(ZERO_POINTS))
        common = {"name": f"layer{len(layers)}", "index": len(layers), "inputs": (source,),
                  "input_zero_point": zero_point}
        if kind == "depthwise":
            add(_depthwise(rng, common, shape, after, structure=structure))
        elif kind == "pool":
            add(_pool(rng, common, shape, after, structure=structure)[0])
        elif kind == "max":
            add(_max_pool(rng, common, shape, after, structure=structure))
        else:
            kernel = (1, 1) if kind == "pointwise" or same else KERNELS[structure.integers(len(KERNELS))]
            layer = _convolution(rng, common, shape, channels, kernel, after, structure=structure)
            while same and layer.output_shape[:2] != shape[:2]:
                layer = _convolution(rng, common, shape, channels, kernel, after, structure=structure)
            add(layer)

    while len(layers) < count:
        numbers = list(maps)
        recent = numbers[-1] if structure.random() < 0.7 else int(structure.choice(numbers))
        kind = structure.choice(KINDS, p=shares)
        if kind == "sum":
            shape = maps[recent][0]
            others = [number for number in numbers if maps[number][0] == shape]
            other = int(structure.choice(others))
            if (arms and structure.random() < arms) or (other == recent and structure.random() < 0.9):
                # An arm of its own, of the same shape.
                windowed(int(structure.choice(others)), "pointwise", shape[2], same=True)
                other = len(layers) - 1
            pair = (recent, other) if structure.random() < 0.5 else (other, recent)
            common = {"name": f"layer{len(layers)}", "index": len(layers), "inputs": pair}
            zero_points = (maps[pair[0]][1], maps[pair[1]][1], int(rng.choice(ZERO_POINTS)))
            add(random_add(rng, common, shape, zero_points))
        elif kind == "joined":
            add(_joined(structure, rng, maps, recent, len(layers)))
        elif kind == "lookup":
            shape, zero_point = maps[recent]
            common = {"name": f"layer{len(layers)}", "index": len(layers), "inputs": (recent,),
                      "input_zero_point": zero_point}
            add(_lookup(rng, common, shape, int(rng.choice(ZERO_POINTS))))
        else:
            windowed(recent, kind, int(structure.integers(1, 9)))
        if sum(prod(shape) for shape, _ in maps.values()) > 1500:
            break
    read = {source for layer in layers for source in layer.inputs}
    outputs = tuple(number for number in range(len(layers)) if number not in read or structure.random() < 0.06)
    return Network("graph", tuple(layers), 1.0, maps[IMAGE][1], outputs=outputs)


def of_arms(shape: tuple[int, int, int], arms: list[tuple[int, ...]]) -> Network:
    """A network all of whose maps have the same ``shape``: of each entry of ``arms``, numbers of layers or the image, a
    1x1 convolution of the one map or the sum of the two.  What nothing reads is an output.  Always the same weights."""
    rng, layers = np.random.default_rng(0), []
    convolution = pointwise(shape, shape[2]).layers[0]
    for number, inputs in enumerate(arms):
        common = {"name": f"layer{number}", "index": number, "inputs": inputs}
        layers.append(replace(convolution, **common) if len(inputs) == 1
                      else random_add(rng, common, shape, (0, 0, 5)))
    read = {source for inputs in arms for source in inputs}
    return Network("arms", tuple(layers), 1.0, 5, outputs=tuple(n for n in range(len(arms)) if n not in read))


def residuals(shape: tuple[int, int, int], count: int) -> Network:
    """A convolution, and ``count`` times two more around which their input goes."""
    arms: list[tuple[int, ...]] = [(IMAGE,)]
    for _ in range(count):
        last = len(arms) - 1
        arms += [(last,), (last + 1,), (last, last + 2)]
    return of_arms(shape, arms)


def graph_case(seed: int, frames: int = 2, *, frugal: bool | None = False
               ) -> tuple[Network, EngineConfig, np.ndarray]:
    """Network, engine and int8 images of ``seed``; ``frugal`` as for :func:`~networks.random_engine`."""
    rng = np.random.default_rng([seed, 2])
    network = random_graph(rng)
    config = random_engine(rng, network, frugal=frugal)
    return network, config, rng.integers(-128, 128, (frames, *network.input_shape), np.int8)


class _Drawn:
    """Those methods of a NumPy generator that a structure needs, answered by Hypothesis: what it makes small is then
    the structure.  ``draw`` as a composite strategy has it."""

    def __init__(self, draw):
        self.draw = draw

    def integers(self, low: int, high: int | None = None, size: int | None = None):
        """The least is the smallest example."""
        low, high = (0, low) if high is None else (low, high)
        if size is not None:
            return [self.integers(low, high) for _ in range(size)]
        return self.draw(st.integers(low, high - 1))

    def choice(self, values, size: int | None = None, p: Sequence[float] | None = None):
        """The first of them is the smallest example."""
        if size is not None:
            return [self.choice(values) for _ in range(size)]
        values = list(values)
        return self.draw(st.sampled_from(values if p is None else [
            value for value, share in zip(values, p, strict=True) for _ in range(round(100 * share))]))

    def random(self) -> float:
        """The smallest example is nearly 1, with which nothing comes about that has a share."""
        return (99 - self.draw(st.integers(0, 99))) / 100


class RandomGraph:
    """A graph whose structure Hypothesis drew; ``seed``, drawn too, gives every number beside."""

    def __init__(self, network: Network, seed: int):
        self.network, self.seed = network, seed

    def __repr__(self) -> str:
        """The graph, layer by layer: the maps that it reads (-1 is the image), and the shape of its result."""
        def told(number: int) -> str:
            layer = self.network.layers[number]
            window = "".join(f" {name} {'x'.join(map(str, value))}" for name in ("window", "stride")
                             if prod(value := getattr(layer, name, (1,))) > 1)
            read = ", ".join(map(str, self.network.sources[number]))
            return f"{number}: {type(layer).__name__} of {read}{window} {layer.output_shape}"

        steps = "; ".join(told(number) for number in range(len(self.network.layers)))
        return (f"<graph of image {self.network.input_shape}; {steps}; outputs {self.network.output_layers}; "
                f"seed {self.seed}>")

    def case(self, frames: int = 2, *, frugal: bool | None = False) -> tuple[Network, EngineConfig, np.ndarray]:
        """As :func:`graph_case`."""
        rng = np.random.default_rng([self.seed, 2])
        config = random_engine(rng, self.network, frugal=frugal)
        return self.network, config, rng.integers(-128, 128, (frames, *self.network.input_shape), np.int8)


@st.composite
def graphs(draw) -> RandomGraph:
    """Graphs as :func:`random_graph` makes them, some map of which is read twice: chains are none."""
    seed = draw(st.integers(0, 9999))
    network = random_graph(np.random.default_rng([seed, 4]), _Drawn(draw), SHARES_WITH_SUMS, 0.3)
    read = [source for sources in network.sources for source in sources]
    assume(len(read) > len({*read}))
    return RandomGraph(network, seed)


def few_weights(network: Network, config: EngineConfig) -> EngineConfig:
    """``config`` with as few words of weights on the chip as there may be, by what errors say."""
    while True:
        try:
            Schedule(network, config)
            return config
        except NetworkError as error:
            config = replace(config, weight_words=int(str(error).split("weight_words of ")[1].split()[0]))


def sliced_case(seed: int, frames: int = 2) -> tuple[Network, EngineConfig, np.ndarray]:
    """Network, engine so narrow that most passes have several column groups, with as few words of weights as there may
    be, and int8 images."""
    rng = np.random.default_rng([seed, 9])
    network = inverted_residuals(rng) if seed % 2 else random_graph(rng)
    columns, lanes = (int(rng.integers(1, 4)) for _ in range(2))
    pipelined = rng.random() < 0.7
    config = EngineConfig(int(rng.integers(1, 6)), columns, lanes, ((1, 1), (2, 2), (3, 3))[rng.integers(3)],
                          gcd(columns, lanes) if pipelined else 1, pipelined=pipelined, weight_words=1)
    images = rng.integers(-128, 128, (frames, *network.input_shape), np.int8)
    return network, few_weights(network, config), images


def inverted_residuals(rng: np.random.Generator) -> Network:
    """A convolution, one to three times expand, depthwise and project, where shapes allow it often with a sum behind,
    and a layer whose only window covers all: of any kernels, strides and paddings.  Now and then nothing expands, as
    in a MobileNetV1."""
    shape = (*(int(size) for size in rng.integers(4, 10, 2)), int(rng.integers(1, 4)))
    first_zero_point = zero_point = int(rng.choice(ZERO_POINTS))
    layers: list = []

    def common(*inputs: int) -> dict:
        return {"name": f"layer{len(layers)}", "index": len(layers), "inputs": inputs or (len(layers) - 1,)}

    def add(make, *arguments, **options) -> None:
        nonlocal shape, zero_point
        geometry = common() | {"input_zero_point": zero_point}
        zero_point = int(rng.choice(ZERO_POINTS))
        layers.append(make(rng, geometry, shape, *arguments, zero_point, **options))
        shape = layers[-1].output_shape

    add(_convolution, int(rng.integers(1, 6)), KERNELS[rng.integers(2)])
    for _ in range(int(rng.integers(1, 4))):
        begin, (given, given_zero_point), residual = len(layers) - 1, (shape, zero_point), rng.random() < 0.6
        if rng.random() < 0.8:
            add(_convolution, int(rng.integers(2, 9)), (1, 1))
        while len(layers) - 1 == begin or not isinstance(layers[-1], Depthwise):
            held = len(layers), shape, zero_point
            add(_depthwise)
            if residual and shape[:2] != given[:2]:
                # Another one, until the window leaves the map as large as it is.
                number, shape, zero_point = held
                del layers[number:]
        add(_convolution, given[2] if residual else int(rng.integers(1, 6)), (1, 1))
        if residual and shape == given:
            pair = (begin, len(layers) - 1) if rng.random() < 0.5 else (len(layers) - 1, begin)
            after = int(rng.choice(ZERO_POINTS))
            points = (given_zero_point, zero_point) if pair[0] == begin else (zero_point, given_zero_point)
            layers.append(random_add(rng, common(*pair), shape, (*points, after)))
            zero_point = after
        if prod(shape) > 300:
            break
    add(_convolution, 3, shape[:2], fully_connected=True)
    return Network("inverted_residuals", tuple(layers), 1.0, first_zero_point)


def groups_with_kept_rows(rng: np.random.Generator, passes, config: EngineConfig) -> tuple[Group, ...]:
    """Any groups whose maps are rings of one to three rows of banks."""
    groups, number, banks = [], 0, config.window[0]
    while number < len(passes):
        able = [number]
        for last in lasts(passes, number, keep=True):
            if passes[last].window.kernel[0] > banks:
                break
            able.append(last)
        last = int(rng.choice(able))
        if last > number:
            height = passes[last].window.output_size[0]
            group = Group(number, last, int(rng.integers(1, height + 1)),
                          tuple(banks * int(rng.integers(1, 4)) for _ in range(last - number)))
            if not has_what_it_adds(passes, group):
                continue
            groups.append(group)
        number = last + 1
    return aligned(passes, groups)


def groups_in_any_order(rng: np.random.Generator, passes, config: EngineConfig) -> tuple[Group, ...]:
    """The same, some of which go ahead before the last rows; and passes alone in bands, half of them from the last rows
    to the first ones."""
    groups = []
    for group in groups_with_kept_rows(rng, passes, config):
        ahead = replace(group, ahead=int(rng.integers(passes[group.last].window.output_size[0])))
        groups.append(ahead if group.kept and has_what_it_adds(passes, ahead) else group)
    alone = set(range(len(passes))) - {number for group in groups for number in range(group.first, group.last + 1)}
    for number in sorted(alone):
        height = passes[number].window.output_size[0]
        if height > 1 and may_lie_upon(passes[number]):
            rows, upward = (int(each) for each in rng.integers(1, height, 2))
            groups.append(Group(number, number, rows, upward=upward * int(rng.integers(2))))
    return aligned(passes, sorted(groups, key=lambda group: group.first))
