"""What the commands' exit codes mean; 0 is all well."""

__all__ = ["BAD_INPUT", "MISMATCH", "TOO_SLOW"]

MISMATCH = 1
"""The simulation, or the device, differs from the golden model or the cycle model."""

BAD_INPUT = 2
"""The input or the machine can't be worked with; one sentence on stderr says why."""

TOO_SLOW = 3
"""A design was built and does not reach its clock."""
