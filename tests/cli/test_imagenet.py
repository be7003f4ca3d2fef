# SPDX-License-Identifier: Apache-2.0
"""What examples/imagenet shows, with networks trained on ImageNet whose weights are too many for the chip."""

import json

import pytest
from models import require_data, require_model

ULX3S = ["--board", "ulx3s-85f"]

pytestmark = [pytest.mark.model, pytest.mark.slow]


def test_estimate(run):
    """At 224 pixels: weights from the SDRAM, without being asked for."""
    code, out, err = run("estimate", require_model("coral_v2_224_int8") / "model.tflite", *ULX3S, "--json")
    report = json.loads(out)
    assert (code, report["fits"]) == (0, True)
    assert "its weights come from the memory of ulx3s-85f" in err
    assert report["weight_bytes_per_frame"] > 3_000_000
    assert report["frames_per_second"] > 30


@pytest.mark.rtl
def test_class_of_a_picture(run, compile_quickly):
    """Through the Verilog, the SDRAM's controller and a model of the chip: every byte, every event, and a cat."""
    pictures = require_data("imagenet_pictures")
    code, out, err = run("simulate", require_model("coral_v1_025_128_uint8") / "model.tflite", *ULX3S,
                         "--input", pictures / "cat.bmp", "--classes", pictures / "imagenet_labels.txt", "--json")
    report = json.loads(out)
    assert (code, report["mismatches"], report["cycle_errors"], report["problems"]) == (0, 0, [], [])
    assert "its weights come from the memory of ulx3s-85f" in err
    names = (pictures / "imagenet_labels.txt").read_text().splitlines()
    assert "cat" in names[report["classes"][0]]
