# SPDX-License-Identifier: Apache-2.0
"""Which form of a network a board is given: as it came, or without the channels that never change the answer.

Both give the same answers.  Fewer channels are mostly fewer cycles, but not always: a first layer of 8 channels may
fill an array's columns twice over, and of 7 it does not."""

from collections.abc import Callable
from functools import cached_property
from itertools import product

import numpy as np
from tepal.boards.board import Board
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.hdl.config import RARE
from tepal.quant import Network, Simplification, simplify
from tepal.sim import CycleModel

from .bounds import OPTIONS, Engines, least_cycles
from .fit import capacity, fit, for_weights, scheduled

__all__ = ["Engine", "Forms", "choose"]

Engine = Callable[[Network, Formats], EngineConfig]
"""What gives each form of a network its engine."""


class Forms:
    """A network as it came and, if ``simplify``, without the channels that never change the answer.

    The formats of either are made when they are first asked for, and all boards share them: finding the requantisers
    takes far longer than scheduling does."""

    def __init__(self, network: Network, *, simplify: bool = True):
        self.network, self._simplify = network, simplify

    @cached_property
    def found(self) -> Simplification | None:
        """The other form, if there is one, or that there is none."""
        return simplify(self.network) if self._simplify else None

    @cached_property
    def plain(self) -> Formats:
        """The formats of the network as it came."""
        return Formats(self.network)

    @cached_property
    def simplified(self) -> Formats:
        """The formats of the network without those channels."""
        assert self.found is not None
        return Formats(self.found.network)


def choose(forms: Forms, board: Board, engine: Engine) -> tuple[Schedule, str]:
    """The form with the fewest cycles, the image in memory, of those that fit ``board``, scheduled on the engine that
    ``engine`` gives it; and a sentence about what was left out, or why it was not, empty where there is nothing
    to leave out or nobody asked.

    Of forms that are as fast the smaller one is taken, and so it is where neither fits."""
    found = forms.found
    if found is None or not found.removed:
        return _schedule(forms.plain, engine), ""
    simplified = _schedule(forms.simplified, engine)
    cycles, fits = CycleModel(simplified).in_memory_cycles, fit(simplified, board).ok
    if fits and cycles <= _least(board, simplified.config, forms.plain):
        # Requantisers, which take most of the time, need not be found twice.
        return simplified, f"{found}."
    if not fits and 8 * forms.network.parameters > capacity(board.part) > 0:
        # The whole network does not fit either, for its weights alone.
        return simplified, f"{found}."
    plain = _schedule(forms.plain, engine)
    plain_cycles = CycleModel(plain).in_memory_cycles
    if not fit(plain, board).ok or (fits and cycles <= plain_cycles):
        return simplified, f"{found}."
    return plain, _kept(found, fits, cycles, plain_cycles)


def _schedule(formats: Formats, engine: Engine) -> Schedule:
    return scheduled(formats, engine(formats.network, formats))


def _least(board: Board, config: EngineConfig, formats: Formats) -> int:
    """A bound below the cycles of the network with these ``formats``, on ``config`` and on all that a command line
    which asks for ``config`` may make of the board's engines: each of the options is one of theirs or its own."""
    names = (*OPTIONS, *RARE)

    def options(engine: EngineConfig) -> tuple[int, ...]:
        return tuple(getattr(engine, name) for name in names)

    own = {options(for_weights(engine, formats)) for engine in board.engines_for(formats.network)}
    if options(config) in own:
        # Nothing was asked for.
        engines = [*own]
    else:
        engines = [*product(*(sorted({*values}) for values in zip(options(config), *own, strict=True)))]
    arrays = dict(zip(names, np.array(engines).T, strict=True))
    return int(least_cycles(Engines(config, **arrays), formats).min())


def _kept(found: Simplification, fits: bool, cycles: int, plain_cycles: int) -> str:
    begin = f"{found.removed:,} of {found.channels:,} channels never change the answer, but they are kept: "
    return begin + (f"without them the network takes {cycles:,} cycles on this engine, with them {plain_cycles:,}."
                    if fits else "without them the network does not fit, with them it does.")
