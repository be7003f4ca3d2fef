# SPDX-License-Identifier: Apache-2.0
"""How far place and route is, by the logs that nextpnr writes meanwhile."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tepal import processes

__all__ = ["following", "stage"]

_STAGES: tuple[tuple[re.Pattern, str], ...] = tuple((re.compile(pattern), text) for pattern, text in (
    (r"Info: Pack(?:ing)? ", "packing"),
    # HeAP, which solves equations for wires' lengths; then simulated annealing, which moves single cells.
    (r"Info: +at initial placer iter (\d+),", "placing roughly, iteration {}"),
    (r"Info: +at iteration #(\d+), type ", "placing, iteration {}"),
    (r"Info: +at iteration #(\d+): temp", "refining the places, iteration {}"),
    (r"Info: Setting up routing", "getting ready to route"),
    (r"Info: +iter=(\d+) wires=\d+ overused=(\d+) ", "routing, iteration {}, {} wires used twice"),
    # Router1's table: iterations, both kinds of arcs, what changed of them, and those that remain.
    (r"Info: +\d+ \|[^|]*\|[^|]*\| *(\d+)\|", "routing, {} connections left"),
    (r"Info: Critical path report", "measuring paths"),
))
"""What a line of the log says, and how it is told."""


def stage(line: str) -> str | None:
    """What ``line`` of nextpnr's log tells of the stage that it has come to; None of most lines."""
    for pattern, text in _STAGES:
        if found := pattern.match(line):
            return text.format(*(f"{int(number):,}" for number in found.groups()))
    return None


class _Log:
    """One log, of which there may be nothing yet."""

    def __init__(self, path: Path):
        self.path, self.stage = path, "starting"
        self._read, self._rest = 0, b""

    def look(self) -> None:
        """Read what has been written since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return
        self._read += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            self.stage = stage(line.decode("utf-8", "replace")) or self.stage


@contextmanager
def following(logs: Mapping[str, Path], tell: Callable[[str], None] | None) -> Iterator[None]:
    """While this lasts, ``tell`` of the stage of each of ``logs``, by its name, whenever one has come further; with
    None nothing is read."""
    if tell is None:
        yield
        return
    followed = {name: _Log(path) for name, path in logs.items()}
    told = ""

    def look() -> None:
        nonlocal told
        for log in followed.values():
            log.look()
        # A log without a file is of a seed that waits for its turn.
        begun = {name: log.stage for name, log in followed.items() if log.path.exists()}
        text = "; ".join(f"{name}: {at}" for name, at in begun.items())
        if text and text != told:
            told = text
            tell(text)

    with processes.watching(look):
        yield
