# SPDX-License-Identifier: Apache-2.0
"""How the loader lays an image out in the input memory."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["InputLayout", "least_word", "split"]


@dataclass(frozen=True)
class InputLayout:
    """How the loader lays an image out in the input memory.

    For each row of the image and each of ``columns`` output columns it stores the ``kernel * channels``
    bytes that begin ``left`` columns left of ``column * stride``: in one word, or in several of ``word`` bytes, the
    last of which is filled up with what comes behind them in the row.

    With ``ring``, so many rows are there at a time, each image's from the first place on, and engine and loader go by
    rows (:class:`~tepal.hdl.units.input_rows.InputRows`): all rows, or a power of two, each of a power of two of words,
    so that an address wraps by the bits that it has.  None: all rows, and they go by images."""

    shape: tuple[int, int, int]
    columns: int
    kernel: int
    stride: int
    left: int
    zero_point: int
    word: int | None = None
    ring: int | None = None

    @property
    def window_bytes(self) -> int:
        """Bytes of a row of a window."""
        return self.kernel * self.shape[2]

    @property
    def word_bytes(self) -> int:
        """Bytes of a word of the input memory."""
        return self.word or self.window_bytes

    @property
    def parts(self) -> int:
        """Words that a row of a window takes."""
        return -(-self.window_bytes // self.word_bytes)

    @property
    def rows(self) -> int:
        """Rows that are there at a time."""
        return self.shape[0] if self.ring is None else self.ring

    @property
    def beyond(self) -> int:
        """Places behind an image's last row that it leaves empty: the next image begins in the first one."""
        return -self.shape[0] % self.rows

    @property
    def pitch(self) -> int:
        """Words from one row to the next."""
        words = self.columns * self.parts
        return words if self.rows == self.shape[0] else 1 << (words - 1).bit_length()

    @property
    def depth(self) -> int:
        """Words of the input memory."""
        return self.rows * self.pitch


_MEMORY_BLOCK = 512, 4
"""Words, and bytes of each, of a typical memory block where its words are widest."""


def least_word(layout: InputLayout, lanes):
    """Bytes of the narrowest words for ``layout``, an integer array: ``lanes``, one integer or an array of them, as
    many as are copied in a cycle.

    Windows that overlap or lie on padding stay in a word each: the loader goes forward only, and all but a row's last
    word are full."""
    whole, (_, width, channels) = layout.window_bytes, layout.shape
    inside = layout.left == 0 and (layout.columns - 1) * layout.stride + layout.kernel <= width
    forward = layout.stride * channels >= (-(-whole // lanes) - 1) * lanes
    return np.where(inside & forward, np.minimum(whole, lanes), whole)


def split(layout: InputLayout, lanes: int) -> InputLayout:
    """``layout`` in words of ``lanes`` bytes, if memory blocks are saved so: 640 bytes in a word take 160 of them, in
    words of 8 bytes two.  Copying takes as long as before."""
    narrow = replace(layout, word=int(least_word(layout, lanes)))

    def memory_blocks(layout: InputLayout) -> int:
        words, word_bytes = _MEMORY_BLOCK
        return -(-layout.depth // words) * -(-layout.word_bytes // word_bytes)

    return min(layout, narrow, key=memory_blocks) if narrow.parts > 1 else layout
