# SPDX-License-Identifier: Apache-2.0
"""Which engine a network gets by default."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from models import require_model
from networks import random_case
from tepal.boards.flow import fit as module
from tepal.boards.flow.fit import default_engine, fit, in_bands, on_arrival, with_beat_for
from tepal.boards.registry import BOARDS
from tepal.hdl import Formats, Schedule
from tepal.quant import BOTTLENECKS, CIFAR_BLOCKS, MobileNet, MobileNetV2, ResNet, read_model, simplify
from tepal.sim import CycleModel

ROOT = Path(__file__).parents[3]
BOARD = BOARDS["ulx3s-85f"]


@pytest.mark.parametrize(("network", "number", "fits"), [
    (MobileNet(0.25, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS), 0, (True, True, True)),
    # In bands, which take fewer cycles than all maps whole on the smallest one.
    (MobileNet(0.25, 96, classes=2), 0, (False, False, True)),
    # There are fewer bands where memories for weights take less.
    (MobileNetV2(0.5, 160, classes=4, bottlenecks=BOTTLENECKS[:3], last_channels=128), 1, (False, False, False)),
    (MobileNet(0.5, 96, classes=2), 2, (False, False, False)),
])
def test_default_engine(network, number, fits):
    """The one that takes the fewest cycles of those that there is room for, or else the smallest."""
    network = network.network()
    engines = BOARD.engines_for(network)
    assert replace(default_engine(BOARD, network), input_rows=None, activation_words=None) == engines[number]
    assert [fit(Schedule(network, engine), BOARD).ok for engine in engines] == [*fits]


def test_engine_without_depthwise_convolutions():
    """Sixteen channels of a window are copied at once: where nothing is depthwise, that takes fewer cycles."""
    network = ResNet().network()
    chosen = default_engine(BOARD, network)
    assert replace(chosen, input_rows=None, copy_lanes=1) in [replace(engine, copy_lanes=1) for engine in BOARD.dense]
    cycles = [CycleModel(Schedule(network, engine)).in_memory_cycles for engine in (chosen, BOARD.config)]
    assert cycles[0] < 0.75 * cycles[1]
    assert not {*BOARD.dense} & {*BOARD.engines_for(MobileNet(0.25, 32).network())}


@pytest.mark.parametrize("name", ["ulx3s-85f", "orangecrab-85f", "ecpix5-85f", "icebreaker", "upduino-v3"])
def test_blocks_are_those_that_were_placed(run, name):
    """What is counted of a part's first kind of blocks is what nextpnr counted of the same design, the link's blocks
    among them; of boards whose smallest design has been built since it last changed."""
    made = json.loads((ROOT / "benchmarks/boards.json").read_text())[name]
    told = json.loads(run("estimate", ROOT / "examples/digits/digits.tflite", "--board", name, "--small", "--json")[1])
    assert told["in_memory_cycles"] == made["in_memory_cycles"]
    assert told["used"][BOARDS[name].part.memories[0].name] == made["used"]["bram"]


def test_on_arrival():
    """Rows of the image are computed as they arrive where that is faster, and nowhere where the image in memory, or
    frames behind each other, would take longer; nor against what is asked for, or with memories of one port."""
    network = MobileNet(0.25, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS).network()
    config = default_engine(BOARD, network)
    assert config.input_rows == 32
    waiting, begun = (CycleModel(Schedule(network, replace(config, input_rows=rows))) for rows in (None, 32))
    assert begun.last_byte_cycles < waiting.last_byte_cycles == waiting.in_memory_cycles
    assert begun.in_memory_cycles <= waiting.in_memory_cycles
    assert begun.interval_cycles <= waiting.interval_cycles
    icebreaker = BOARDS["icebreaker"]
    assert default_engine(icebreaker, network).input_rows is None
    for asked in ({"input_rows": 8}, {"activation_words": 5000}, {"weight_words": 5000}):
        given = replace(config, **({"input_rows": None} | asked))
        assert on_arrival(Schedule(network, given), BOARD, given) == given

    generic, chosen = BOARDS["generic"], {}
    for seed in (29, 32, 59, 96):
        network, config, _ = random_case(seed, 1)
        config = replace(config, single_port=False)
        waiting, begun = (CycleModel(Schedule(network, replace(config, input_rows=rows))) for rows in (None, 99))
        assert begun.last_byte_cycles < waiting.last_byte_cycles
        assert (on_arrival(waiting.schedule, generic, config) == config) == (
            begun.in_memory_cycles > waiting.in_memory_cycles), seed
        chosen[seed] = on_arrival(waiting.schedule, generic, config) != config
    assert chosen == {29: False, 32: True, 59: False, 96: True}


def test_bands():
    """Where the maps are too large to be whole, they get as much room as there is."""
    network = MobileNetV2(0.35, 128, classes=4, bottlenecks=BOTTLENECKS[:3], last_channels=128).network()
    config = default_engine(BOARD, network)
    schedule = Schedule(network, config)
    assert schedule.groups
    assert schedule.bank_depth <= config.activation_words
    assert fit(schedule, BOARD).ok
    whole = Schedule(network, replace(config, activation_words=None))
    assert fit(whole, BOARD).over == ["DP16KD"]
    more = Schedule(network, replace(config, activation_words=config.activation_words + 1))
    assert more.bank_depth == schedule.bank_depth or not fit(more, BOARD).ok
    assert CycleModel(whole).in_memory_cycles < CycleModel(schedule).in_memory_cycles


@pytest.mark.parametrize("words", [None, 3000])
def test_rows_of_the_image(words):
    """Where bands are not enough, or there must be no others, the input memory holds some rows of the image."""
    network = MobileNet(0.25, 256, classes=4, blocks=((64, 2), (128, 2))).network()
    whole = Schedule(network, replace(with_beat_for(network, BOARD.config), activation_words=words))
    assert fit(whole, BOARD).over == ["DP16KD"]
    found = in_bands(whole, BOARD)
    assert fit(found, BOARD).ok
    assert found.layout.rows == found.config.input_rows < 256
    assert words in (None, found.config.activation_words)
    assert whole.config == replace(found.config, input_rows=None, activation_words=words)
    assert in_bands(Schedule(network, replace(whole.config, input_rows=256), whole.formats), BOARD) is None


def test_bands_help_nothing():
    """Where it fits, where anything else is short, and where memories have one port."""
    small, large = (MobileNetV2(0.35, size, classes=4, bottlenecks=BOTTLENECKS[:3], last_channels=last).network()
                    for size, last in ((64, 128), (128, 4096)))
    assert in_bands(Schedule(small, BOARD.config), BOARD) is None
    assert in_bands(Schedule(large, replace(BOARD.config, input_bytes=1)), BOARD) is None
    icebreaker = BOARDS["icebreaker"]
    assert in_bands(Schedule(large, default_engine(icebreaker, large)), icebreaker) is None


@pytest.fixture
def tried(monkeypatch) -> list:
    """(rows of the image, words of activations) of all engines that a network is scheduled on."""
    made, scheduled = [], module.scheduled
    monkeypatch.setattr(module, "scheduled", lambda formats, config: made.append(
        (config.input_rows, config.activation_words)) or scheduled(formats, config))
    return made


def test_no_room_is_known_at_once(tried):
    """Where there is no room for a block of each bank of activations beside all else, nothing is tried."""
    network, board = MobileNet(0.25, 96, classes=2).network(), BOARDS["ulx3s-12f"]
    schedule = Schedule(network, with_beat_for(network, board.config))
    assert fit(schedule, board).over == ["DP16KD"]
    assert in_bands(schedule, board) is None
    assert tried == []


@pytest.mark.model
def test_tables_that_leave_no_room_are_made_once(tried):
    """What the tables of the passes in bands take is known for fewer rows of the image too."""
    network = simplify(read_model(require_model("mlperf_vww_int8") / "model.tflite")).network
    board, formats = BOARDS["tangnano20k"], Formats(network)
    schedule = Schedule(network, with_beat_for(network, board.config), formats)
    assert in_bands(schedule, board) is None
    (rows, words), = [each for each in tried if each[1] is not None]
    # Those that were not tried do not fit either; the first layer needs three.
    fewer = [other for other, _ in tried if 4 <= other < rows]
    assert fewer
    for other in fewer[:2]:
        banded = Schedule(network, replace(schedule.config, input_rows=other, activation_words=words), formats)
        assert not fit(banded, board).ok


def test_scheduled_once():
    """An engine that was tried a moment ago has its schedule still."""
    network = MobileNet(0.25, 32, classes=10).network()
    formats, config = Formats(network), with_beat_for(network, BOARD.config)
    assert module.scheduled(formats, config) is module.scheduled(formats, replace(config))
    assert module.scheduled(formats, replace(config, input_rows=16)) is not module.scheduled(formats, config)


@pytest.mark.parametrize(("resolution", "rows"), [(8, 4), (10, 5)])
def test_rows_that_divide_pixels(resolution, rows):
    """Of 4 x 4 and 5 x 5 pixels, each has its engine."""
    network = MobileNet(1.0, resolution, classes=10, blocks=((64, 1), (64, 1))).network()
    assert default_engine(BOARDS["icebreaker"], network).rows == rows


def test_input_bytes():
    """Image rows are whole numbers of beats."""
    network = MobileNet(0.25, 32, channels=1, classes=10).network()
    for board in BOARDS.values():
        beat = default_engine(board, network).input_bytes
        assert 32 % beat == 0
        assert board.config.input_bytes % beat == 0
    board = replace(BOARD, config=replace(BOARD.config, input_bytes=3), others=())
    assert default_engine(board, network).input_bytes == 1
