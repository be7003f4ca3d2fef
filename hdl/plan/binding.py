# SPDX-License-Identifier: Apache-2.0
"""What binds a pass: which unit, of all that its bounds speak of, is the one that it would be faster without.

The bounds themselves are in :mod:`.tiling` and :mod:`.timeline`; here they are told by the units behind them."""

from math import prod

from tepal.hdl.units.lane_requantisers import LaneRequantisers

from .tiling import Tiling, period_bounds, slot_bounds
from .timeline import ScheduledPass

__all__ = ["BINDINGS", "slot_binding", "start_binding", "tile_bindings"]

BINDINGS = {
    "array": "The array multiplies: it takes one operand of each of its sums in a cycle.",
    "requantisers": "Sums leave the array no faster than its requantisers take them.",
    "lanes": "The depthwise lanes work through windows, all taps of a chunk in a cycle.",
    "lane requantisers": "Sums of the lanes come no faster than their requantisers take them.",
    "memory port": "Windows are copied: the activation memory gives a word of each bank in a cycle.",
    "parameters": "Scales and biases of the next channels are loaded.",
    "earlier results": "A pass waits for what an earlier one still writes or reads.",
    "pipeline": "The engine's pipeline fills or empties, or a place in the tile buffer is waited for.",
    "weights from outside": "A pass waits for weights from the external memory.",
}
"""What may bind a pass, each with a sentence for people."""


def _tightest(bounds: dict[str, int]) -> str:
    """The first of the largest."""
    return max(bounds, key=bounds.__getitem__)


def _array(tiling: Tiling) -> str:
    """What binds column groups."""
    return {"operands": "array", "drain": "requantisers", "columns": "parameters"}[_tightest(period_bounds(tiling))]


def _windows(tiling: Tiling) -> str:
    """What binds the stepping through windows."""
    if not tiling.reduces:
        return "memory port"
    if tiling.group_period > tiling.tile_windows * prod(tiling.chunks):
        return "parameters"
    down = -(-tiling.work.window.kernel[0] // tiling.engine.window[0])
    # Steps beyond those that the kernel needs give the requantisers time.
    slowed = LaneRequantisers.period(tiling.engine) > 1 and tiling.chunks[0] > down
    return "lane requantisers" if slowed else "lanes"


def slot_binding(tiling: Tiling) -> str:
    """What keeps one tile of a pass from following the one before it any sooner, a name of :data:`BINDINGS`."""
    match _tightest(slot_bounds(tiling)):
        case "groups":
            return _windows(tiling)
        case "array":
            return _array(tiling)
        case _:
            return "pipeline"


def tile_bindings(tiling: Tiling) -> list[tuple[int, str]]:
    """Until how many cycles behind its first step a tile is bound by what, names of :data:`BINDINGS`: it is read, goes
    into the tile buffer, and through the array.  After that its results are on their way."""
    return [(tiling.steps, _windows(tiling)), (tiling.filled + 1, "pipeline"), (tiling.fed, _array(tiling))]


def start_binding(scheduled: ScheduledPass, before: ScheduledPass | None) -> str:
    """What keeps ``scheduled`` from starting any sooner after the pass ``before``, a name of :data:`BINDINGS`.

    A frame's first pass has none before it, and waits for the image alone: that is the pipeline's."""
    match scheduled.held_by:
        case "groups" if before is not None:
            return _windows(before)
        case "array" if before is not None:
            return _array(before)
        case "columns":
            return "parameters"
        case None | "constants" | "order" | "tile buffer" | "groups" | "array":
            return "pipeline"
        case _:
            return "earlier results"
