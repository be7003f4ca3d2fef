# SPDX-License-Identifier: Apache-2.0
"""What is written to a board's flash memory: the weights of an engine whose own memories come up blank."""

from tepal.hdl.memories.flash import HEADER, MAGIC
from tepal.quant import digest

from .rom_contents import loaded_weights
from .schedule import Schedule

__all__ = ["flash_image"]


def flash_image(schedule: Schedule) -> bytes:
    """:data:`~tepal.hdl.memories.flash.HEADER` and weights of ``schedule``, which has ``config.single_port``."""
    weights = loaded_weights(schedule)
    return HEADER.pack(MAGIC, len(weights), digest(schedule.network)) + weights
