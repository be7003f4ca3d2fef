# SPDX-License-Identifier: Apache-2.0
"""How far place and route is, by the logs that nextpnr writes meanwhile, and about how long it will go on.

A stage's share of the whole time is what ``benchmarks/place_and_route.py`` found in logs of whole builds.  Within a
stage the iteration says how far it is, or what remains to be routed; what is left follows from the time that has gone
by, so that a slow or busy machine is allowed for.  It may be off by a factor of two and more: ``nextpnr_shares.json``
says by which one it was for each measured build, by the shares of the others."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tepal import processes

__all__ = ["SHARES", "about", "following", "share_done", "stage", "stage_seconds"]

SHARES: dict[str, float] = json.loads(Path(__file__).with_name("nextpnr_shares.json").read_text())["shares"]
"""Stage (``placing``, ``refining``, ``routing``) to its share of the time of place and route."""

_PLACING, _REFINING = 19, 31
"""Iterations that are usual, whatever the design's size: 16 to 21, and 29 to 32, in the measured builds."""

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

_TIMES = {"placing": r"HeAP Placer Time: ([\d.]+)s", "refining": r"SA placement time ([\d.]+)s",
          "routing": r"Router[12] time ([\d.]+)s"}
"""What a finished log says of its stages; either router or both may have run."""


def stage_seconds(log: str) -> dict[str, float]:
    """Seconds of each of :data:`SHARES` in a finished log; none of a stage that it does not tell of."""
    found = {name: re.findall(pattern, log) for name, pattern in _TIMES.items()}
    return {name: round(sum(map(float, times)), 2) for name, times in found.items() if times}


def stage(line: str) -> str | None:
    """What ``line`` of nextpnr's log tells of the stage that it has come to; None of most lines."""
    for pattern, text in _STAGES:
        if found := pattern.match(line):
            return text.format(*(f"{int(number):,}" for number in found.groups()))
    return None


def share_done(told: str, most: int) -> tuple[float | None, int]:
    """The share of place and route that is behind a log which tells this :func:`stage`, None where nothing can be said
    yet; and the most wires or connections that were left to route, of which ``most`` were seen before."""
    placed = SHARES["placing"] + SHARES["refining"]
    number = int(found[1].replace(",", "")) if (found := re.search(r"([\d,]+)(?!.*\d)", told)) else 0
    if told.startswith("placing, "):
        return SHARES["placing"] * min(number / _PLACING, 1), most
    if told.startswith("refining"):
        return SHARES["placing"] + SHARES["refining"] * min(number / _REFINING, 1), most
    if told.startswith("getting ready to route"):
        return placed, most
    if told.endswith("connections left"):
        most = max(most, number)
        return placed + SHARES["routing"] * (1 - number / max(most, 1)), most
    if told.startswith("routing"):
        # Fewer by a like ratio each time.
        most = max(most, number)
        return placed + SHARES["routing"] * (1 - math.log1p(number) / math.log1p(max(most, 1))), most
    return (1.0 if told == "measuring paths" else None), most


def about(seconds: float) -> str:
    """That so many seconds, which are not known well, are left.

    Examples
    --------
    >>> about(44), about(1000)
    ('about 40 s left', 'about 17 min left')
    """
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s left"
    return f"about {seconds / 60:.0f} min left"


class _Log:
    """One log, of which there may be nothing yet."""

    def __init__(self, path: Path):
        self.path, self.stage = path, "starting"
        self._read, self._rest = 0, b""
        self._begun: float | None = None
        self._most, self._whole = 0, None

    def look(self) -> None:
        """Read what has been written since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:
            return
        now = time.monotonic()
        self._begun = self._begun or now
        self._read += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        before, done = self.stage, None
        for line in lines:
            if found := stage(line.decode("utf-8", "replace")):
                self.stage = found
                done, self._most = share_done(found, self._most)
        if self.stage != before:
            # At the very beginning, a few seconds more or less would be many minutes at the end.
            self._whole = (now - self._begun) / done if done and 0.05 <= done < 1 else None

    @property
    def told(self) -> str:
        """Its stage, and for how long it will go on where that can be said."""
        if self._whole is None or self._begun is None:
            return self.stage
        left = self._begun + self._whole - time.monotonic()
        return f"{self.stage}, {about(left)}" if left > 5 else self.stage


@contextmanager
def following(logs: Mapping[str, Path], tell: Callable[[str], None] | None) -> Iterator[None]:
    """While this lasts, ``tell`` of the stage of each of ``logs``, by its name, and of the time that is left, whenever
    either is another one; with None nothing is read."""
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
        begun = {name: log.told for name, log in followed.items() if log.path.exists()}
        text = "; ".join(f"{name}: {at}" for name, at in begun.items())
        if text and text != told:
            told = text
            tell(text)

    with processes.watching(look):
        yield
