# SPDX-License-Identifier: Apache-2.0
"""Accuracy of one network under each way to quantise it, and under ONNX Runtime's own static quantisation.

    python quantisers.py models/large_0.50_32.onnx --data build/cifar10 -o quantisers.md

Needs onnxruntime.  `prepare.py` makes the data.  Our networks run on the bit-exact golden model, the others in ONNX
Runtime itself; all see the same calibration images, and all the test images.
"""

import argparse
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from tepal.quant import Calibration, FloatNetwork, Method, Network, quantize, read_model
from tepal.sim import golden


class Reader(CalibrationDataReader):
    """The calibration images one by one, as ONNX Runtime asks for them."""

    def __init__(self, name: str, images: np.ndarray):
        self.feeds = ({name: image[None]} for image in images)

    def get_next(self):
        return next(self.feeds, None)


def runtime_logits(path: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime computes, (frames, classes)."""
    options = onnxruntime.SessionOptions()
    # Without it, sums of int8 products saturate at 16 bits on processors that have AVX2 and no VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: images[start:start + 500]})[0]
                           for start in range(0, len(images), 500)])


def golden_logits(network: Network, images: np.ndarray) -> np.ndarray:
    """What the golden model computes, as real numbers."""
    codes = golden.run(network, network.quantise_input(images)).astype(np.float32)
    return network.output_scale * (codes - network.output_zero_point)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="float .onnx file")
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Markdown table to write")
    arguments = parser.parse_args()
    network = read_model(arguments.model)
    assert isinstance(network, FloatNetwork)
    size = network.input_shape[0]
    calibration = np.load(arguments.data / f"calibrate_{size}.npz")["images"]
    with np.load(arguments.data / f"test_{size}.npz") as file:
        images, labels = file["images"], file["labels"]
    exact = network.run(network.images(images))
    rows = []

    def row(name: str, logits: np.ndarray):
        classes = logits.argmax(axis=1)
        same = np.mean(classes == exact.argmax(axis=1))
        rows.append(f"| {name} | {np.mean(classes == labels):.2%} | {same:.2%} | "
                    f"{np.abs(logits - exact).mean():.4f} |")
        print(rows[-1], flush=True)

    row("float", exact)
    for method, equalise, correct in product(Method, (False, True), (False, True)):
        options = Calibration(method, equalise=equalise, correct_bias=correct)
        extra = ", equalised" * equalise + ", biases corrected" * correct
        row(f"{method.value}{extra}", golden_logits(quantize(network, calibration, options).network, images))
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder, "prepared.onnx"), Path(folder, "quantised.onnx")
        quant_pre_process(str(arguments.model), str(prepared), skip_symbolic_shape=True)
        name = onnxruntime.InferenceSession(str(prepared)).get_inputs()[0].name
        for method in (CalibrationMethod.MinMax, CalibrationMethod.Percentile, CalibrationMethod.Entropy):
            quantize_static(str(prepared), str(quantised), Reader(name, calibration), quant_format=QuantFormat.QDQ,
                            per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
                            calibrate_method=method)
            row(f"ONNX Runtime {onnxruntime.__version__}, {method.name}", runtime_logits(quantised, images))
    heading = ["| quantiser | top-1 | same class as float | mean error of logits |", "|---|---|---|---|"]
    arguments.output.write_text("\n".join([*heading, *rows]) + "\n")


if __name__ == "__main__":
    main()
