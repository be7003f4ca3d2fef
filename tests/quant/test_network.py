# SPDX-License-Identifier: Apache-2.0
"""Images in the order and the scale of a network; one network behind another."""

import numpy as np
import pytest
from networks import chain, pointwise, with_sum
from tepal.quant import NetworkError, arrange_images
from tepal.sim import golden

SHAPE = (4, 5, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int8])
def test_both_orders(dtype):
    images = np.arange(2 * 4 * 5 * 3).reshape(2, *SHAPE).astype(dtype)
    assert (arrange_images(images, SHAPE, "they") == images).all()
    assert (arrange_images(images.transpose(0, 3, 1, 2), SHAPE, "they") == images).all()
    assert (arrange_images(images[0], SHAPE, "they") == images[:1]).all()


def test_cubes_follow_the_model():
    images = np.random.default_rng(0).normal(size=(2, 3, 3, 3))
    assert (arrange_images(images, (3, 3, 3), "they") == images).all()
    assert (arrange_images(images, (3, 3, 3), "they", channels_first=True) == images.transpose(0, 2, 3, 1)).all()


@pytest.mark.parametrize(("images", "sentence"), [
    (np.zeros((2, 4, 5)), r"they must be numbers of the shape \(frames, 4, 5, 3\) or \(frames, 3, 4, 5\), not float64 "
                          r"\(2, 4, 5\)"),
    (np.zeros((2, 5, 4, 3)), "they must be numbers"),
    (np.zeros((2, *SHAPE), complex), "they must be numbers"),
    (np.zeros((0, *SHAPE)), "they hold no frames"),
    (np.full((1, *SHAPE), np.inf), "they hold values that are NaN or infinite"),
])
def test_bad_images(images, sentence):
    with pytest.raises(NetworkError, match=sentence):
        arrange_images(images, SHAPE, "they")


def test_quantise_input():
    network = pointwise(SHAPE, 2)  # scale 1, zero point 5
    reals = np.linspace(-200, 200, 60).reshape(1, *SHAPE)
    codes = network.quantise_input(reals)
    assert codes.dtype == np.int8
    assert (codes == np.clip(np.rint(reals.astype(np.float32)) + 5, -128, 127)).all()
    assert network.quantise_input(codes) is codes
    with pytest.raises(NetworkError, match="the images are uint8: give int8 in the network's own scale"):
        network.quantise_input(codes.view(np.uint8))


def test_followed_by():
    """What the first makes is the second one's image, also where layers there read several."""
    body, head = chain((4, 5, 3), 2), with_sum(chain((4, 5, 3), 2))
    images = np.random.default_rng(1).integers(-128, 128, (3, *SHAPE), np.int8)
    whole = body.followed_by(head)
    between, last = golden.run(body, images), golden.run(head, golden.run(body, images).reshape(-1, *SHAPE))
    assert (golden.run(whole, images) == last).all()
    assert (golden.run(whole, images, layers=True)[len(body.layers) - 1].ravel() == between.ravel()).all()


def test_followed_by_another():
    with pytest.raises(NetworkError, match=r"the output of \w+, which is 4 x 5 x 2 .* is no image of chain, which is"):
        pointwise(SHAPE, 2).followed_by(chain((4, 5, 3), 2))
