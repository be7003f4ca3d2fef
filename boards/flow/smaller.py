# SPDX-License-Identifier: Apache-2.0
"""The largest version of a network that fits a board: its architecture at other widths and image sizes, each scheduled
and counted as the network itself is."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tepal.boards.board import Board
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.plan.lower import lower
from tepal.quant import Network, NetworkError
from tepal.quant.scale import Scaled, smaller

from .bounds import least_blocks
from .fit import blocks, capacity, fit, for_weights, with_beat_for
from .lut_estimate import KINDS, MARGIN

__all__ = ["advice", "fits", "largest", "largest_of"]


class _Borrowed(Formats):
    """A network's passes, and the formats of another one's sums: good enough for all but parameter memories and
    logic, and there at once."""

    def __init__(self, network: Network, lender: Formats):
        self.network, self._lender = network, lender
        self.layout, self.passes = lower(network)
        self.depthwise = lender.depthwise

    def matrix(self, packing: int):
        return self._lender.matrix(packing)


def _engines(config: EngineConfig, board: Board) -> tuple[EngineConfig, ...]:
    """All engines of ``board`` if ``config`` is one of them but for its input stream, copying, bands and rows of the
    image, which follow the image; else ``config`` alone, with all maps and the image stored whole."""
    def core(engine: EngineConfig) -> EngineConfig:
        return replace(engine, input_bytes=1, copy_lanes=1, activation_words=None, input_rows=None)

    own = board.engines
    return own if core(config) in map(core, own) else (
        replace(config, activation_words=None, input_rows=None),)


def _schedule(network: Network, config: EngineConfig, formats: Formats) -> Schedule:
    return Schedule(network, with_beat_for(network, config), formats)


def fits(network: Network, board: Board, engines: Iterable[EngineConfig], lender: Formats | None = None) -> bool:
    """Whether ``network`` runs on one of ``engines`` and ``board`` has room for it.  With the formats of a similar
    network, ``lender``, engines that leave no hope are passed over at once."""
    try:
        if lender is not None:
            engines = _hopeful(network, board, engines, lender)
            if not engines:
                return False
        formats = Formats(network)
        return any(fit(_schedule(network, config, formats), board).ok for config in engines)
    except (NetworkError, ArithmeticError):
        return False


def _hopeful(network: Network, board: Board, engines: Iterable[EngineConfig],
             lender: Formats) -> tuple[EngineConfig, ...]:
    """The engines for which what can be counted at once leaves hope: first the memory blocks that they take at least;
    then all, with the formats of ``lender``, half as wide parameters, and twice the usual margin of logic."""
    formats = _Borrowed(network, lender)

    def hopeful(config: EngineConfig) -> bool:
        least = least_blocks(config, formats, board)
        if any(least[kind.name] > kind.count for kind in board.part.memories):
            return False
        schedule = _schedule(network, config, formats)
        found = fit(schedule, board)
        used = dict(found.used)
        for use in schedule.memories:
            if use.role.endswith("_parameters"):
                kind, count = blocks(board, use)
                used[kind] += blocks(board, replace(use, width=-(-use.width // 2)))[1] - count
        return all(used[kind] <= limit * (1 + 2 * MARGIN if kind in KINDS else 1)
                   for kind, limit in found.available.items() if limit is not None)

    return tuple(config for config in engines if hopeful(config))


def largest(schedule: Schedule, board: Board) -> list[Scaled]:
    """Of the smaller versions of the network (:func:`~tepal.quant.scale.smaller`) the largest one that fits ``board``,
    and after it, if it is another one, the largest for the same images.

    They are counted as they are, without simplifying, on the schedule's engine or, if that is one of the board's, on
    any of these.  There is none where nothing that was tried fits, or where the part has no limits."""
    engines = [for_weights(engine, schedule.formats) for engine in _engines(schedule.config, board)]
    return _largest(schedule.network.original or schedule.network, board, engines, schedule.formats)


def largest_of(network: Network, board: Board) -> list[Scaled]:
    """The same of a network that has not been scheduled, on the board's own engines."""
    formats = Formats(network)
    return _largest(network, board, [for_weights(engine, formats) for engine in board.engines], None)


def _largest(network: Network, board: Board, engines: Sequence[EngineConfig], lender: Formats | None) -> list[Scaled]:
    """With the formats of ``lender``, or of the largest version that there might be room for."""
    room = capacity(board.part)
    found: list[Scaled] = []
    for variant in smaller(network):
        unchanged = variant.image == network.input_shape[:2]
        if 8 * (variant.parameters + variant.largest_map) > room or (found and not unchanged):
            continue
        scaled = variant.network()
        lender = lender or Formats(scaled)
        if fits(scaled, board, engines, lender):
            found.append(variant)
            if unchanged:
                break
    return found


def advice(found: Sequence[Scaled]) -> str:
    """A clause that says what :func:`largest` found."""
    if not found:
        return "no narrower version of the network, nor one for smaller images, was found to fit"
    told = " or ".join(map(str, found))
    return f"{told} would fit (counted for networks of these shapes, with all maps stored whole)"
