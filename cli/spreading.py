# SPDX-License-Identifier: Apache-2.0
"""``--scheduler``: who does a command's many like jobs."""

import argparse
from contextlib import AbstractContextManager

from tepal.scheduler import Workers, local_workers, workers

from .console import warn

__all__ = ["add_scheduler_argument", "asked_workers"]


def _where(text: str) -> str:
    try:
        local_workers(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither an address such as tcp://10.0.0.7:8786, nor local:N "
                                         "with N processes, 1 to 999") from None
    return text


def add_scheduler_argument(parser, what: str) -> None:
    """Who does ``what``, which goes on in "spread ... over"."""
    parser.add_argument("--scheduler", type=_where, metavar="ADDRESS|local:N",
                        help=f"spread {what} over Dask's workers: those of the scheduler at an address, or N processes "
                        "on this machine; results are the same (default: no Dask)")


def asked_workers(arguments, *, threads: int = 1) -> AbstractContextManager[Workers]:
    """Those that the command line asks for, or else so many threads of this process.  That one of them died is told on
    stderr."""
    return workers(arguments.scheduler, threads=threads, tell=warn)
