# SPDX-License-Identifier: Apache-2.0
"""What the commands share: the two streams of text, and signs of progress on a terminal or as lines of JSON.

On a terminal, lines are broken between words and tables are made to fit.  Anywhere else, a line is what was said at
once, and a table is plain columns of text, each row a line: for less, grep and awk."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from itertools import product

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from .encoding import plain

__all__ = ["Elapsed", "Steps", "bar", "choose_progress", "err", "out", "seen", "step", "warn"]

class _Console(Console):
    def print(self, *objects, sep: str = " ", **options) -> None:
        if any(isinstance(each, Table) for each in objects):
            for each in objects:
                self._table(each) if isinstance(each, Table) else self.print(each, **options)
        elif self.is_terminal and not options.get("soft_wrap") and all(isinstance(each, str) for each in objects):
            text = sep.join(objects)
            text = self.render_str(text) if options.pop("markup", True) else Text(plain(text, self.encoding))
            for line in _wrapped(text, self.width):
                super().print(line, soft_wrap=True, **options)
        else:
            super().print(*objects, sep=sep, **{"soft_wrap": True, **options})

    def render_str(self, text: str, **options) -> Text:
        return super().render_str(plain(text, self.encoding), **options)

    def on_broken_pipe(self) -> None:
        raise

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """What is printed goes where it goes now, though a library's output may be taken elsewhere meanwhile."""
        before = self._file
        self._file = self.file
        try:
            yield
        finally:
            self._file = before

    def _table(self, table: Table) -> None:
        headers = [self._text(column.header) for column in table.columns]
        rows = [list(map(self._text, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]
        if table.title:
            self.print(self._text(table.title), markup=False, style="italic" if self.is_terminal else None)
        if not self.is_terminal:
            self.print("\n".join(_columns(table, headers, rows)), markup=False)
        elif (narrowed := _narrowed(table, headers, rows, self.width)) is not None:
            super().print(narrowed, crop=False)
        else:
            self.print("\n".join(_entries(headers, rows)), markup=False)

    def _text(self, cell) -> str:
        return self.render_str(cell).plain if isinstance(cell, str) else str(cell)


def _wrapped(text: Text, width: int) -> list[Text]:
    """Lines of at most ``width`` columns, broken between words; a longer word, such as a path, stays whole."""
    lines = []
    for line in text.split("\n", allow_blank=True):
        breaks, column = [], 0
        for word in re.finditer(r"\s*\S+", line.plain):
            size = cell_len(word[0])
            if column and column + size > width and word.start():
                start = word.start() + len(word[0]) - len(word[0].lstrip())
                breaks.append(start)
                column = cell_len(word[0].lstrip())
            else:
                column += size
        for part in line.divide(breaks):
            part.rstrip()
            lines.append(part)
    return lines


def _columns(table: Table, headers: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table as text: a line for the headers and for each row, columns two spaces apart."""
    lines = [[" ".join(cell.split()) for cell in line] for line in (headers, *rows)]
    widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = []
        for column, cell, width in zip(table.columns, line, widths, strict=True):
            space = " " * (width - cell_len(cell))
            cells.append(space + cell if column.justify == "right" else cell + space)
        yield "  ".join(cell for cell, width in zip(cells, widths, strict=True) if width).rstrip()
    yield ""


def _narrowed(table: Table, headers: list[str], rows: list[list[str]], width: int) -> Table | None:
    """``table`` in ``width`` columns with no word broken; None if there is no way.

    Lines between columns are the first to go, then bars, which only say again what is beside them, and only then are
    cells broken between their words."""
    columns = list(zip(headers, *rows, strict=True))
    every = set(range(len(columns)))
    bars = {number for number, cells in enumerate(columns) if not set("".join(cells)) - set("█·#. ")}
    frames = (table.box, every), (None, every), (None, every - bars)
    word, line, most = ([max([0, *(cell_len(part) for cell in cells for part in parts(cell))]) for cells in chosen]
                        for parts, chosen in ((str.split, columns), (str.splitlines, [cells[1:] for cells in columns]),
                                              (str.splitlines, columns)))
    least = [most[n] if column.no_wrap else word[n] for n, column in enumerate(table.columns)]
    for wanted, (box, kept) in product((list(map(max, least, line)), least), frames):
        room = width - (2 * (len(kept) - 1) if box is None else 3 * len(kept) + 1)
        if sum(wanted[number] for number in kept) <= room:
            break
    else:
        return None
    widths = {number: wanted[number] for number in sorted(kept)}
    for _ in range(room - sum(widths.values())):
        # The column that lacks most gets the next character.
        number = max(widths, key=lambda number: most[number] - widths[number])
        widths[number] += widths[number] < most[number]

    def fill(cell: str, width: int) -> str:
        return "\n".join(line.plain for line in _wrapped(Text(cell), width))

    shown = Table(box=box, pad_edge=box is not None, padding=(0, 1) if box is not None else (0, 2, 0, 0))
    for number, each in widths.items():
        shown.add_column(fill(headers[number], each), justify=table.columns[number].justify, width=each, no_wrap=True)
    for row, cells in zip(table.rows, rows, strict=True):
        shown.add_row(*(Text(fill(cells[number], each)) for number, each in widths.items()),
                       end_section=row.end_section)
    return shown


def _entries(headers: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table for which there is no room: each row as lines of header and value."""
    for row in rows:
        entry = []
        for header, cell in zip(headers, row, strict=True):
            header, cell = (" ".join(text.split()) for text in (header, cell))
            if header:
                entry.append(f"{header}: {cell}")
            elif cell:
                # Without a header, it goes with what is before it.
                entry.append(f"{entry.pop()} {cell}" if entry else cell)
        yield from (*entry, "")


out = _Console(highlight=False)
err = _Console(stderr=True, highlight=False)


def warn(sentence: str) -> None:
    """Tell of something that may be wrong, on stderr."""
    err.print(f"tepal: warning: {sentence}", style="yellow", markup=False)


class _Signs:
    """How progress is told: ``shown`` on a terminal, as ``lines`` of JSON on stderr for programs, or not at all."""

    lines = False
    quiet = False

    @property
    def shown(self) -> bool:
        return err.is_terminal and not (self.quiet or self.lines)

    def line(self, what: str, **values) -> None:
        """``{"progress": what, ...}``, if that is asked for."""
        if self.lines:
            err.print(json.dumps({"progress": what, **values}), markup=False, soft_wrap=True)


_signs = _Signs()


def choose_progress(*, quiet: bool, lines: bool) -> None:
    """Show no progress, or as JSON, from here on; by default it is shown on a terminal alone."""
    _signs.quiet, _signs.lines = quiet, lines


def seen() -> bool:
    """Whether anybody sees signs of progress."""
    return _signs.shown or _signs.lines


class Elapsed:
    """``seconds`` that a step took, when it is over."""

    seconds = 0.0


_UNKNOWN = SpinnerColumn(), TextColumn("{task.description}", table_column=Column()), TimeElapsedColumn()
"""Of what can't say how far it is: the time that has gone by."""


@contextlib.contextmanager
def step(text: str) -> Iterator[Elapsed]:
    """Show that something is under way."""
    begun, elapsed, plain_text = time.monotonic(), Elapsed(), Text.from_markup(text).plain
    _signs.line(plain_text)
    with err.pinned(), Progress(*_UNKNOWN, console=err, disable=not _signs.shown, transient=True) as display:
        display.add_task(f"{text} …", total=None)
        yield elapsed
    elapsed.seconds = time.monotonic() - begun
    _signs.line(plain_text, seconds=round(elapsed.seconds, 3))
    if _signs.shown and elapsed.seconds > 2:
        err.print(f"[dim]{text}: {elapsed.seconds:.1f} s[/]")


class Steps:
    """Numbered steps of a long job, each with the time that it takes."""

    def __init__(self, total: int):
        self.total, self.number = total, 0

    @contextlib.contextmanager
    def __call__(self, text: str) -> Iterator[Callable[[str], None] | None]:
        """Yields ``tell(stage)`` for what the step has come to, or None if nobody would see that."""
        self.number += 1
        begun, place = time.monotonic(), {"step": self.number, "steps": self.total}
        if not _signs.shown:
            _signs.line(text, **place)
            yield (lambda stage: _signs.line(text, **place, stage=stage)) if _signs.lines else None
            _signs.line(text, **place, seconds=round(time.monotonic() - begun, 3))
            return
        at = f"[{self.number}/{self.total}]"
        text = f"{at} {text}"
        with Progress(*_UNKNOWN, console=err, transient=True) as display:
            task = display.add_task(escape(text), total=None)
            yield lambda stage: display.update(task, description=escape(f"{at} {stage}"))
        err.print(f"{text}: {time.monotonic() - begun:.1f} s", markup=False)


@contextlib.contextmanager
def bar() -> Iterator[Callable[..., None]]:
    """Yields ``progress(what, done, total)``: a bar for each ``what``, with the time that has gone by and the
    time that is left.  ``stage`` is what the job in hand has come to."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())
    with err.pinned(), Progress(*columns, console=err, disable=not _signs.shown, transient=True) as display:
        tasks, told = {}, {}

        def progress(what: str, done: int, total: int, stage: str = "") -> None:
            now = time.monotonic()
            # A line a second, and the first and the last one.
            if what not in told or done == total or now - told[what] >= 1:
                told[what] = now
                _signs.line(what, done=done, total=total, **({"stage": stage} if stage else {}))
            if what not in tasks:
                tasks[what] = display.add_task(escape(what), total=total)
            display.update(tasks[what], completed=done, description=escape(f"{what}: {stage}" if stage else what))

        yield progress
