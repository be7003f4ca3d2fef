"""What the commands share: the two streams of text, and signs of progress on a terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator

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

__all__ = ["Elapsed", "Steps", "bar", "err", "out", "step", "warn"]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def warn(sentence: str) -> None:
    """Tell of something that may be wrong, on stderr."""
    err.print(f"tepal: warning: {sentence}", style="yellow", markup=False)


class Elapsed:
    """``seconds`` that a step took, when it is over."""

    seconds = 0.0


@contextlib.contextmanager
def step(text: str) -> Iterator[Elapsed]:
    """Show that something is under way, on a terminal; say nothing elsewhere."""
    begun, elapsed = time.monotonic(), Elapsed()
    with err.status(f"{text} …") if err.is_terminal else contextlib.nullcontext():
        yield elapsed
    elapsed.seconds = time.monotonic() - begun
    if err.is_terminal and elapsed.seconds > 2:
        err.print(f"[dim]{text}: {elapsed.seconds:.1f} s[/]")


class Steps:
    """Numbered steps of a long job, each with the time that it takes, on a terminal; nothing elsewhere."""

    def __init__(self, total: int):
        self.total, self.number = total, 0

    @contextlib.contextmanager
    def __call__(self, text: str):
        self.number += 1
        if not err.is_terminal:
            yield
            return
        text, begun = f"[{self.number}/{self.total}] {text}", time.monotonic()
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err,
                      transient=True) as display:
            display.add_task(escape(text), total=None)
            yield
        err.print(f"{text}: {time.monotonic() - begun:.1f} s", markup=False)


@contextlib.contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yields ``progress(what, done, total)``: a bar for each ``what`` on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as display:
        tasks = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(escape(what), total=total)
            display.update(tasks[what], completed=done)

        yield progress
