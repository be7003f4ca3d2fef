# SPDX-License-Identifier: Apache-2.0
"""The check of an image's beats: its verdict, and in which cycle."""

import numpy as np
import pytest
from axi import image_of
from stepping import trace
from tepal.hdl.memories.image_check import ImageCheck, WeightError

IMAGE = image_of(2, 20)
BEATS = np.frombuffer(IMAGE.data, "<u8").tolist()


@pytest.mark.parametrize("pause", [1, 3])
@pytest.mark.parametrize(("wrong", "error"), [
    (None, WeightError.NONE), (0, WeightError.OTHER_IMAGE), (15, WeightError.OTHER_IMAGE), (16, WeightError.DAMAGED),
    (IMAGE.beats - 1, WeightError.DAMAGED)])
def test_verdict(wrong, error, pause):
    """Two cycles behind the header's last beat, or the image's, a beat in every cycle or every third."""
    check = ImageCheck(IMAGE)

    def drive(cycle):
        number, offered = cycle // pause, cycle % pause == 0 and cycle // pause < IMAGE.beats
        beat = BEATS[number] ^ (number == wrong) << 63 if offered else 0xDEAD
        return [(check.beat, beat), (check.valid, offered)]

    rows = trace(check, pause * IMAGE.beats + 20, drive, [check.right, check.error])
    last = 15 if error == WeightError.OTHER_IMAGE else IMAGE.beats - 1
    verdict = pause * last + ImageCheck.LATENCY
    expected = [int(error == WeightError.NONE), error]
    assert rows == verdict * [[0, WeightError.NONE]] + (len(rows) - verdict) * [expected]
