# SPDX-License-Identifier: Apache-2.0
"""What is told of a network that is too large for a board."""

from collections import Counter
from collections.abc import Sequence

from tepal.boards.board import Board
from tepal.hdl import Schedule
from tepal.quant import NetworkError
from tepal.quant.scale import Scaled

from .fit import Fit, blocks, fit, in_requantisers
from .lut_estimate import KINDS
from .smaller import advice, largest

__all__ = ["require_fit", "shortage"]


def shortage(schedule: Schedule, board: Board, smaller: Sequence[Scaled] | None = None) -> str | None:
    """What ``board`` has too little of for ``schedule``, by how much, and what would fit; None if it fits.

    ``smaller`` are versions of the network that fit, if they are known; else they are searched for, which may take
    seconds (:func:`~tepal.boards.flow.smaller.largest`)."""
    result = fit(schedule, board)
    for kind in result.over:
        used, limit = result.used[kind], result.available[kind]
        assert limit is not None
        if kind in KINDS:
            return (f"by estimate it needs {used:,} {kind}, and {board.part.name} has {limit:,}; choose fewer --lanes, "
                    "--requantisers, --rows or --columns (tepal explore lists engines that fit)")
        message = f"it needs {used} {kind} and {board.part.name} has {limit} ({used - limit} too many)"
        if kind == board.part.multiplier and (taken := in_requantisers(schedule.config, board.part)):
            smaller_array = (f", or an array that takes at most {limit - taken}: fewer --rows or --columns, or more "
                             "--logic-columns") if taken < limit else ""
            return f"{message}, {taken} of them in requantisers; choose --requantiser-multiplier 0{smaller_array}"
        if kind == board.part.multiplier:
            return f"{message}; choose rows x columns of at most {limit * board.part.products}"
        roles: Counter[str] = Counter()
        for use in schedule.memories:
            if blocks(board, use)[0] == kind:
                roles[use.role] += blocks(board, use)[1]
        (role, count), = roles.most_common(1)
        return (f"{message}, {count} of them for {role.replace('_', ' ')}; "
                f"{advice(largest(schedule, board) if smaller is None else smaller)}")
    return None


def require_fit(schedule: Schedule, board: Board, smaller: Sequence[Scaled] | None = None) -> Fit:
    """:func:`fit`, or NetworkError with the :func:`shortage`."""
    result = fit(schedule, board)
    if told := shortage(schedule, board, smaller):
        what = "engine" if result.over[0] in KINDS else "network"
        raise NetworkError(f"the {what} does not fit {board.name}: {told}")
    return result
