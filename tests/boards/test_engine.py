"""Which engine a network gets by default."""

from dataclasses import replace

import pytest
from tepal.boards.board import BOARDS, default_engine, fit
from tepal.hdl import Schedule
from tepal.quant import CIFAR_BLOCKS, MobileNet

BOARD = BOARDS["ulx3s-85f"]


@pytest.mark.parametrize(("mobilenet", "number", "fits"), [
    (MobileNet(0.25, 32, classes=10, stem_stride=1, blocks=CIFAR_BLOCKS), 0, True),
    (MobileNet(0.25, 96, classes=2), 1, True),
    (MobileNet(0.5, 96, classes=2), 1, False),
])
def test_default_engine(mobilenet, number, fits):
    """The fastest one that there is room for, or else the smallest."""
    network = mobilenet.network()
    engines = [BOARD.config, *BOARD.smaller]
    assert default_engine(BOARD, network) == engines[number]
    assert [fit(Schedule(network, engine), BOARD).ok for engine in engines] == [
        fits and index >= number for index in range(len(engines))]


def test_input_bytes():
    """Image rows are whole numbers of beats."""
    network = MobileNet(0.25, 32, channels=1, classes=10).network()
    for board in BOARDS.values():
        beat = default_engine(board, network).input_bytes
        assert 32 % beat == 0
        assert board.config.input_bytes % beat == 0
    board = replace(BOARD, config=replace(BOARD.config, input_bytes=3))
    assert default_engine(board, network).input_bytes == 1
