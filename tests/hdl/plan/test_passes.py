# SPDX-License-Identifier: Apache-2.0
"""Unrolling: the first pass's pixels are the same, however many of them the array makes at once."""

import numpy as np
import pytest
from networks import random_network
from tepal.hdl.plan.lower import lower
from tepal.hdl.plan.passes import unroll


def sums(layout, work, image):
    """What the array makes of an image, int64 (height, width, channels), by way of what the loader stores."""
    height, width, channels = layout.shape
    reach = layout.columns * layout.stride + layout.kernel
    row = np.full((height, layout.left + max(width, reach), channels), layout.zero_point, np.int64)
    row[:, layout.left:layout.left + width] = image.reshape(layout.shape)
    stored = np.stack([row[:, at:at + layout.kernel].reshape(height, -1)
                       for at in range(0, layout.columns * layout.stride, layout.stride)], axis=1)
    assert stored.shape == work.window.input_shape
    window, (down, across) = work.window, work.window.output_size
    above = -window.origin[0]
    padded = np.full((above + height + window.kernel[0] + down * window.stride[0], *stored.shape[1:]),
                     window.border, np.int64)
    padded[above:above + height] = stored
    windows = np.array([[padded[y * window.stride[0]:y * window.stride[0] + window.kernel[0], x].ravel()
                         for x in range(across)] for y in range(down)])
    return (windows @ work.matrix.weights.T).reshape(work.output_shape)


@pytest.mark.parametrize("seed", range(40))
def test_unroll(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    layout, (work, *_) = lower(network)
    image = rng.integers(-128, 128, network.input_shape)
    expected, width = sums(layout, work, image), work.output_shape[1]
    assert expected.shape == work.output_shape
    for count in (count for count in range(2, width + 1) if width % count == 0):
        wider, unrolled = unroll(layout, work, count)
        assert unrolled.windows * count == work.windows
        assert (sums(wider, unrolled, image) == expected).all()
