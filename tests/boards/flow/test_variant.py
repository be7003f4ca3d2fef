# SPDX-License-Identifier: Apache-2.0
"""Which form of a network a board is given: the one with the fewest cycles of those that fit."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from networks import random_engine, random_network
from tepal.boards.flow import variant
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import Convolution, Depthwise, MobileNet, Network, simplify, write_onnx
from tepal.sim import CycleModel, golden

GENERIC = get_board("generic")
ENGINE = EngineConfig(16, 16, 8, requantisers=8, copy_lanes=15)


def without(network: Network, number: int, dead) -> Network:
    """``network`` with some output channels of a layer all zero."""
    layers = list(network.layers)
    layer = layers[number]
    assert isinstance(layer, Convolution | Depthwise)
    weights, bias = layer.weights.copy(), np.array(layer.bias)
    weights[(..., dead) if isinstance(layer, Depthwise) else dead] = 0
    bias[dead] = 0
    layers[number] = replace(layer, weights=weights, bias=bias)
    return replace(network, layers=tuple(layers))


def choose(network: Network, config: EngineConfig, board=GENERIC):
    return variant.choose(variant.Forms(network), board, lambda network, formats: config)


def cycles(network: Network, config: EngineConfig) -> int:
    return CycleModel(Schedule(network, config)).in_memory_cycles


def seven_of_eight() -> Network:
    """As person detection: a first layer of 8 channels, of which one is dead, so that 7 don't fill 16 columns twice."""
    return without(MobileNet(0.25, 32, classes=10).network(), 0, [3])


def test_never_slower():
    network = seven_of_eight()
    simplified = simplify(network)
    assert simplified.network.layers[0].output_shape[2] == 7
    plain, slower = cycles(network, ENGINE), cycles(simplified.network, ENGINE)
    assert slower > plain
    schedule, told = choose(network, ENGINE)
    assert schedule.network is network
    assert told == (f"{simplified.removed} of {simplified.channels:,} channels never change the answer, but they are "
                    f"kept: without them the network takes {slower:,} cycles on this engine, with them {plain:,}.")


def test_removed_where_not_slower():
    network = seven_of_eight()
    config = replace(ENGINE, columns=8)
    schedule, told = choose(network, config)
    assert schedule.network.layers[0].output_shape[2] == 7
    assert told == f"{simplify(network)}."
    assert CycleModel(schedule).in_memory_cycles <= cycles(network, config)


def test_nothing_to_remove():
    network = simplify(simplify(MobileNet(0.25, 32, classes=10).network()).network).network
    assert simplify(network).removed == 0
    schedule, told = choose(network, ENGINE)
    assert schedule.network is network
    assert told == ""


@pytest.mark.parametrize(("columns", "told"), [
    (16, "are kept: without them the network takes"), (8, "never change the answer: ")])
def test_command(columns, told, run, tmp_path):
    """By default, and with --simplify: the same; --no-simplify says and does nothing."""
    write_onnx(seven_of_eight(), tmp_path / "seven.onnx")
    asked = ("estimate", tmp_path / "seven.onnx", "--board", "generic", "--rows", "16", "--columns", str(columns),
             "--lanes", "8", "--copy-lanes", "15", "--json")
    plain = run(*asked, "--no-simplify")
    code, out, err = run(*asked)
    assert code == plain[0] == 0
    assert told in err
    assert run(*asked, "--simplify") == (code, out, err)
    assert plain[2] == ""
    reports = [json.loads(text) for text in (out, plain[1])]
    assert reports[0]["in_memory_cycles"] <= reports[1]["in_memory_cycles"]
    assert (reports[0]["parameters"] < reports[1]["parameters"]) == (columns == 8)


@pytest.mark.parametrize("seed", range(60))
def test_fewest_cycles(seed, monkeypatch):
    """Of any network with dead channels, on any engine; and so without the bound that saves time."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    for number, layer in enumerate(network.layers):
        if isinstance(layer, Convolution | Depthwise):
            network = without(network, number, rng.random(layer.output_shape[2]) < 0.4)
    config = random_engine(rng, network)
    schedule, told = choose(network, config)
    simplified = simplify(network).network
    assert CycleModel(schedule).in_memory_cycles == min(cycles(network, config), cycles(simplified, config))
    images = rng.integers(-128, 128, (2, *network.input_shape), np.int8)
    assert (golden.run(schedule.network, images) == golden.run(network, images)).all()
    monkeypatch.setattr(variant, "_least", lambda *_: -1)
    again, told_again = choose(network, config)
    assert (again.network.layers[0].output_shape, told_again) == (schedule.network.layers[0].output_shape, told)


@pytest.mark.parametrize("seed", range(40))
def test_bound(seed):
    """No form is faster than the bound below it."""
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    config = random_engine(rng, network)
    schedule = Schedule(network, config)
    assert variant._least(GENERIC, config, schedule.formats) <= CycleModel(schedule).in_memory_cycles


@pytest.mark.parametrize("fitting", ["both", "simplified", "plain", "neither"])
def test_what_fits_is_taken(fitting, monkeypatch):
    """A form that does not fit is none, however fast; where neither does, it is the smaller one."""
    network = without(MobileNet(0.25, 32, classes=10).network(), 0, [3, 4, 5, 6])

    def fit(schedule, board):
        return SimpleNamespace(ok=fitting in ("both", "plain" if schedule.network is network else "simplified"))

    monkeypatch.setattr(variant, "fit", fit)
    schedule, told = choose(network, replace(ENGINE, columns=8))
    found = simplify(network)
    assert (schedule.network is network) == (fitting == "plain")
    assert told == (f"{found.removed:,} of {found.channels:,} channels never change the answer, but they are kept: "
                    "without them the network does not fit, with them it does." if fitting == "plain" else f"{found}.")


@pytest.mark.slow
def test_explore_shows_what_the_others_make(run, tmp_path):
    """Its cycles are those of the form that ``tepal estimate`` takes on that engine, whichever form that is."""
    write_onnx(seven_of_eight(), tmp_path / "seven.onnx")
    limits = ("--rows", "4", "--columns", "16", "--requantisers", "1")
    code, out, _ = run("explore", tmp_path / "seven.onnx", "--board", "ulx3s-85f", "--json", *limits)
    assert code == 0
    front = json.loads(out)["front"]
    assert front
    cycles = [entry["in_memory_cycles"] for entry in front]
    assert cycles == sorted(set(cycles), reverse=True)
    for entry in front:
        _, out, _ = run("estimate", tmp_path / "seven.onnx", "--board", "ulx3s-85f", "--json",
                        *entry["options"].split())
        assert json.loads(out)["in_memory_cycles"] == entry["in_memory_cycles"], entry["options"]
