# SPDX-License-Identifier: Apache-2.0
"""The bytes of an answer, written out."""

import numpy as np
from tepal.hdl.answer import Status, Trailer, pack_answer


def test_bytes():
    """The first of two largest results, in two bytes; the number modulo 256; what the status says."""
    results = np.full((1, 2, 200), -128, np.int8)
    results[0, 1, [100, 150]] = 3
    answer = pack_answer(results, 257, Status.ABANDONED)
    assert answer == b"\x80" * 300 + b"\x03" + b"\x80" * 49 + b"\x03" + b"\x80" * 49 + bytes([300 - 256, 1, 1, 2])
    assert Trailer.unpack(answer[-Trailer.BYTES:]) == (300, 1, 2)
    assert pack_answer(np.array([-3, 5, 1]), 0) == bytes([253, 5, 1, 1, 0, 0, 0])
