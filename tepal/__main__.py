# SPDX-License-Identifier: Apache-2.0
"""The process that a shell starts: ``tepal``, or ``python -m tepal``.

Signals are looked after before anything else is imported, so that not even an early Ctrl-C ends in a traceback."""

import contextlib
import os
import signal
import sys

__all__ = ["main"]

ENDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
"""Signals that end a command, and what it says then."""


def _end(number: int, _) -> None:
    """End with all that the command has started and made, and then by the signal itself: a shell sees 128 + number.

    An exception in place of this would be lost wherever a library catches everything, and in a destructor or a
    callback of the import system it would be printed as a traceback."""
    processes = sys.modules.get("tepal.processes")
    if processes is not None and hasattr(processes, "end") and not processes.end(number):
        return
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)
    # A progress bar may have hidden the cursor.
    shown = b"\r\x1b[K\x1b[?25h" if os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb" else b""
    # The terminal may be gone.
    with contextlib.suppress(OSError):
        os.write(2, shown + f"tepal: {ENDS[signal.Signals(number)]}\n".encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def main() -> int:
    """Run the command line of this process; returns the exit code."""
    for number in ENDS:
        # Under nohup, and in the background of a script, some are ignored, and that is meant.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    from tepal.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
