# SPDX-License-Identifier: Apache-2.0
"""What the commands' exit codes mean; 0 is all well.

A signal that ends a command gives 128 and its number, as with every program: 130 for Ctrl-C, 143 for SIGTERM."""

__all__ = ["BAD_INPUT", "INTERNAL", "INTERRUPTED", "MISMATCH", "NO_READER", "TOO_SLOW"]

MISMATCH = 1
"""The simulation, or the device, differs from the golden model or the cycle model."""

BAD_INPUT = 2
"""The input or the machine can't be worked with; one sentence on stderr says why."""

TOO_SLOW = 3
"""A design was built and does not reach its clock."""

INTERNAL = 4
"""A mistake in Tepal."""

INTERRUPTED = 130
"""Ctrl-C, where no signal handler is there to end the process (:mod:`tepal.__main__`)."""

NO_READER = 141
"""Whoever read the output has gone, as in ``tepal boards | head -1``; nothing is said."""
