# SPDX-License-Identifier: Apache-2.0
"""What is said to fit does, and what is larger does not."""

import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from models import require_model
from networks import fast, pointwise
from tepal.boards.flow import smaller as module
from tepal.boards.flow.fit import default_engine, fit, for_weights, with_beat_for
from tepal.boards.flow.shortage import require_fit
from tepal.boards.flow.smaller import advice, largest
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.quant import (
    CIFAR_BLOCKS,
    Convolution,
    MobileNet,
    MobileNetV2,
    Network,
    NetworkError,
    ResNet,
    read_model,
    simplify,
)
from tepal.quant.scale import scaled, smaller

LARGER = 2
"""So many of the next larger versions are looked at."""


def fits(network: Network, board: str) -> bool:
    """From nothing but the network: on one of the board's engines, with its maps stored whole."""
    formats, engines = Formats(network), BOARDS[board].engines
    return any(fit(Schedule(network, with_beat_for(network, for_weights(engine, formats)), formats), BOARDS[board]).ok
               for engine in engines)


def check(network: Network, board: str) -> list:
    schedule = Schedule(network, default_engine(BOARDS[board], network))
    assert not fit(schedule, BOARDS[board]).ok
    found = largest(schedule, BOARDS[board])
    with pytest.raises(NetworkError) as error:
        require_fit(schedule, BOARDS[board])
    assert str(error.value).endswith(advice(found))
    variants = smaller(network)
    for item in found:
        # By the numbers that are named, as a reader would build it.
        assert fits(scaled(network, item.width, item.image).network(), board)
        larger = [other for other in variants if other.macs > item.macs
                  and (item is found[0] or other.image == network.input_shape[:2])]
        assert not any(fits(other.network(), board) for other in larger[-LARGER:])
    return found


@pytest.mark.parametrize(("mobilenet", "board"), fast([
    (MobileNet(0.5, 64, classes=10), "ulx3s-45f"),
    (MobileNet(1.0, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS), "ulx3s-25f"),
    (MobileNet(0.5, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS[:3]), "icebreaker"),
    (MobileNet(0.5, 96, classes=2), "ulx3s-85f"),
], 3), ids=lambda value: getattr(value, "name", value))
def test_largest(mobilenet, board):
    assert check(mobilenet.network(), board)


@pytest.mark.model
@pytest.mark.parametrize("board", ["ulx3s-45f", "ulx3s-25f"])
def test_largest_of_a_model(board):
    network = read_model(require_model("mlperf_vww_int8") / "model.tflite")
    assert isinstance(network, Network)
    found = check(network, board)
    assert re.search(r"0\.\d+ times the model's width at \d+ x \d+ pixels would fit", advice(found))


@pytest.mark.model
def test_largest_of_a_model_of_uint8():
    """Two weights that have a zero point share no multiplier on some engines: one for each product is tried then."""
    network, board = read_model(require_model("coral_v1_025_128_uint8") / "model.tflite"), BOARDS["ulx3s-85f"]
    assert isinstance(network, Network)
    assert Formats(network).matrix_weight_bits > 8
    assert board.config.packing > 1
    assert check(network, board.name)


def test_simplified():
    """The widths are the model's own, not of what is left of it."""
    network = MobileNet(0.5, 96, classes=2).network()
    # Of each layer that mixes channels but the last, every second one is dead.
    network = replace(network, layers=tuple(
        replace(layer, weights=np.where(np.arange(len(layer.bias))[:, None, None, None] % 2, 0, layer.weights))
        if isinstance(layer, Convolution) and layer is not network.layers[-1] else layer for layer in network.layers))
    simplified = simplify(network).network
    assert simplified.macs < 0.6 * network.macs
    board = BOARDS["ulx3s-25f"]
    schedules = [Schedule(item, default_engine(board, item)) for item in (network, simplified)]
    assert schedules[1].network.original is network
    first, second = ([(item.width, item.image) for item in largest(schedule, board)] for schedule in schedules)
    assert first == second


def test_engine_that_is_asked_for():
    """Another one than the board's, whose lanes take more memory: on that one alone."""
    network, board = MobileNet(0.5, 96, classes=2).network(), BOARDS["ulx3s-85f"]
    formats = Formats(network)
    config = replace(default_engine(board, network), rows=4, lanes=16)
    found = largest(Schedule(network, config, formats), board)
    usual = largest(Schedule(network, default_engine(board, network), formats), board)
    assert found
    assert found[0].macs < usual[0].macs
    for item in found:
        assert fit(Schedule(item.network(), config), board).ok


def test_nothing_fits():
    """No width was found, and no promise is made."""
    network = MobileNet(1.0, 224).network()
    schedule = Schedule(network, default_engine(BOARDS["icebreaker"], network))
    assert largest(schedule, BOARDS["icebreaker"]) == []
    assert advice([]) == "no narrower version of the network, nor one for smaller images, was found to fit"


def test_few_are_scheduled(monkeypatch):
    """Most versions are ruled out by what can be counted without a schedule, and requantisers are found for hardly any:
    that is what a large network's advice costs."""
    network, board = MobileNet(0.75, 128, classes=10).network(), BOARDS["ulx3s-45f"]
    schedule = Schedule(network, default_engine(board, network))
    asked, scheduled, exact = [], [], []
    hopeful, make, formats = module._hopeful, module._schedule, module.Formats
    monkeypatch.setattr(module, "_hopeful", lambda *given: asked.append(given) or hopeful(*given))
    monkeypatch.setattr(module, "_schedule", lambda *given: scheduled.append(given) or make(*given))
    monkeypatch.setattr(module, "Formats", lambda *given: exact.append(given) or formats(*given))
    assert largest(schedule, board)
    assert len(asked) > 10
    # Without the bound there would be one for each version, and more for those that are counted exactly.
    assert len(scheduled) < len(asked)
    assert len(exact) <= 4


@pytest.mark.parametrize("model", [MobileNet(0.25, 96, classes=10), MobileNetV2(0.35, 64, classes=10), ResNet()],
                         ids=lambda model: type(model).__name__)
def test_what_is_ruled_out_could_not_fit(model):
    """Weights and the largest map that mixes channels are in the memories of every engine, whole."""
    network = model.network()
    for board in BOARDS.values():
        for config in board.engines:
            for variant in islice(smaller(network), 0, None, 40):
                schedule = Schedule(variant.network(), with_beat_for(variant.network(), config))
                bits = sum(use.count * use.depth * use.width for use in schedule.memories)
                assert 8 * (variant.parameters + variant.largest_map) <= bits


def test_what_is_ruled_out_is_near():
    """Of a pointwise layer alone, weights and map are nearly all that there is beside the image."""
    network = pointwise((8, 8, 64), 256)
    variant, config = scaled(network, 1.0, (8, 8)), EngineConfig(4, 8, 4, requantisers=4, activation_words=None)
    found = {use.role: use.count * use.depth * use.width for use in Schedule(variant.network(), config).memories}
    most = sum(found[role] for role in ("matrix_weights", "activations", "output"))
    assert variant.parameters + variant.largest_map <= most / 8 < 1.5 * (variant.parameters + variant.largest_map)
