# SPDX-License-Identifier: Apache-2.0
"""MobileNets of torchvision and timm, as both of torch's exporters write them: exports, reads, quantises, tells.

    pip install torch==2.13.0 torchvision==0.28.0 timm==1.0.31 onnxscript==0.7.2
    python benchmarks/published.py                     # minutes: writes benchmarks/published.json, docs/published.md
    python benchmarks/published.py --only mobilenetv2_035   # one of them anew

Weights are random, from a seed, and so are the factors and statistics of batch norms.  What ONNX Runtime makes of the
exported file is compared with the network as it was read, in float32, with the golden model of the quantised one, and
with what ONNX Runtime's own quantiser makes of the same file and pictures.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from tepal.quant import FloatNetwork, NetworkError, quantize, read_model
from tepal.sim import golden

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/published.json", ROOT / "docs/published.md"

SIZE = 96
"""Pixels across."""

CALIBRATION, TEST = 32, 64
"""Pictures that the quantiser sees, and those that are compared."""

EXPORTERS = {"TorchScript": False, "Dynamo": True}
"""Names of ``torch.onnx.export``'s two ways, and their ``dynamo``."""

PACKAGES = ("torch", "torchvision", "timm", "onnxscript")


def _torchvision(name: str):
    from torchvision import models  # pyright: ignore[reportMissingImports]

    return getattr(models, name)(weights=None)


def _without_squeeze():
    from torchvision.models import mobilenetv3  # pyright: ignore[reportMissingImports]

    blocks, last = mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small")
    for block in blocks:
        block.use_se = False
    return mobilenetv3.MobileNetV3(blocks, last)


def _timm(name: str):
    import timm  # pyright: ignore[reportMissingImports]

    return timm.create_model(name, pretrained=False)


NETWORKS: dict[str, tuple[str, Callable]] = {
    "mobilenet_v2": ("torchvision", lambda: _torchvision("mobilenet_v2")),
    "mobilenet_v3_small": ("torchvision", lambda: _torchvision("mobilenet_v3_small")),
    "mobilenet_v3_small without squeeze-and-excitation": ("torchvision", _without_squeeze),
    **{name: ("timm", lambda name=name: _timm(name))
       for name in ("mobilenetv1_100", "mobilenetv2_035", "mobilenetv4_conv_small_035")}}
"""Name to package and what makes it."""


def pictures(count: int, seed: int) -> np.ndarray:
    """float32 (count, 3, SIZE, SIZE)."""
    return np.random.default_rng(seed).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


def made(name: str):
    """The network, ready to be exported."""
    import torch

    torch.manual_seed(0)
    module = NETWORKS[name][1]()
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.8, 1.4)
            torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
            for values in (norm.bias, norm.running_mean):
                torch.nn.init.normal_(values, 0, 0.1)
    return module.eval()


def results_of(path: Path, images: np.ndarray) -> np.ndarray:
    """ONNX Runtime's, (frames, classes)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Its fused integer kernels saturate on processors without VNNI.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def by_onnx_runtime(path: Path, images: np.ndarray) -> Path:
    """The file that its quantiser makes: int8, with weights' scales per channel."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    feeds = ({model.graph.input[0].name: image[None]} for image in images)

    class Reader(CalibrationDataReader):
        def get_next(self):
            return next(feeds, None)

    made = path.with_stem("quantised")
    quantize_static(model, made, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QInt8, weight_type=QuantType.QInt8)
    return made


def ratio(values: np.ndarray, expected: np.ndarray) -> float:
    """Of signal to noise, in dB."""
    return round(float(10 * np.log10((expected ** 2).sum() / ((values - expected) ** 2).sum())), 1)


def compare(path: Path) -> dict:
    """What came of a file: layers, and how far its numbers are from ONNX Runtime's; or the sentence that refuses it."""
    try:
        network = read_model(path)
    except NetworkError as error:
        return {"refused": str(error).removeprefix(f"{path}: ")}
    assert isinstance(network, FloatNetwork)
    calibration, images = pictures(CALIBRATION, 1), pictures(TEST, 2)
    expected = results_of(path, images)
    real = network.run(network.images(images)).reshape(expected.shape)
    integer = quantize(network, calibration).network
    codes = golden.run(integer, integer.quantise_input(network.images(images)))
    values = integer.output_scale * (codes.reshape(expected.shape).astype(float) - integer.output_zero_point)
    return {"layers": len(integer.layers), "macs": integer.macs,
            "difference": float(f"{np.abs(real - expected).max() / np.abs(expected).max():.1e}"),
            "agreement": float(np.mean(values.argmax(1) == expected.argmax(1))), "sqnr_db": ratio(values, expected),
            "onnx_runtime_db": ratio(results_of(by_onnx_runtime(path, calibration), images), expected)}


def measure(name: str) -> dict[str, dict]:
    """Each exporter to what came of its file."""
    import torch

    module, found = made(name), {}
    for exporter, dynamo in EXPORTERS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            torch.onnx.export(module, (torch.from_numpy(pictures(1, 3)),), path, dynamo=dynamo, verbose=False)
            found[exporter] = compare(path)
    return found


def page(results: dict) -> str:
    """``docs/published.md``."""
    header = ["network", "exporter", "layers", "multiply-adds", "read, difference", "int8, same class", "int8, SQNR",
              "ONNX Runtime's int8, SQNR"]
    rows, refusals = [header, ["---", "---", *["---:"] * 6]], []
    for name, found in results["networks"].items():
        for exporter, told in found.items():
            row = [f"{NETWORKS[name][0]} {name}", exporter]
            if "refused" in told:
                refusals.append(f"{row[0]}, {exporter}:\n\n    {told['refused']}")
                rows.append([*row, "refused", *[""] * 5])
            else:
                rows.append([*row, str(told["layers"]), f"{told['macs']:,}", f"{told['difference']:.0e}",
                             f"{told['agreement']:.0%}",
                             *(f"{told[name]:.1f} dB" for name in ("sqnr_db", "onnx_runtime_db"))])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    refused = "\n\n".join(refusals)
    versions = ", ".join(f"{package} {number}" for package, number in results["versions"].items())
    return f"""# Networks as PyTorch's packages have them

MobileNets of torchvision and timm at {SIZE} x {SIZE} pixels, with random weights, exported to ONNX by both of PyTorch's
exporters ({versions}), read, and quantised with {CALIBRATION} random pictures.
Over {TEST} others, ONNX Runtime's results of the exported file stand beside those of the network as it was read (the
largest difference, of the largest result) and of the golden model (how often the largest of the 1,000 results is the
same, and the ratio of signal to quantisation noise over all of them); the last column is that ratio of the int8 file
that ONNX Runtime's own quantiser makes of the same file and pictures. No network was trained, so these tell how exactly
each is computed, and nothing of accuracy. Written by `benchmarks/published.py`.

{table}

What is refused, in Tepal's words:

{refused}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*NETWORKS], default=[*NETWORKS], metavar="NETWORK",
                        help=f"of {', '.join(NETWORKS)}")
    arguments = parser.parse_args()
    try:
        versions = {package: version(package).partition("+")[0] for package in PACKAGES}
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} isn't installed: pip install torch==2.13.0 torchvision==0.28.0 timm==1.0.31 "
                 "onnxscript==0.7.2")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"networks": {}}
    results["versions"] = versions
    for name in arguments.only:
        results["networks"][name] = measure(name)
        print(name, json.dumps(results["networks"][name]), flush=True)
        results["networks"] = {name: results["networks"][name] for name in NETWORKS if name in results["networks"]}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
