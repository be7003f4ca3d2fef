# SPDX-License-Identifier: Apache-2.0
"""``tepal quantize``: a float model into an int8 one, with a report of what each layer loses."""

import json
from dataclasses import asdict, replace

import numpy as np
from rich.table import Column, Table
from tepal.quant import (
    Calibration,
    FloatNetwork,
    Method,
    Network,
    NetworkError,
    implausible,
    quantize,
    read_model,
    write_onnx,
)
from tepal.sim import accuracy, measure_losses

from .arguments import add_input_shape, path
from .console import bar, out, warn
from .files import check_file, read_labelled
from .frames import add_preprocessing_arguments, preprocessed, read_frames

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal quantize`` takes."""
    parser.add_argument("model", type=path, metavar="MODEL", help="float .onnx or .tflite file")
    add_input_shape(parser)
    parser.add_argument("--calibrate", type=path, required=True, metavar="DATA",
                        help="some hundred inputs: an array of numbers as the model takes them (.npz with 'images', "
                             "or .npy); or, where it is said what pixels mean, of uint8 pixels, a folder of pictures, "
                             "or a picture")
    parser.add_argument("-o", "--output", type=path, required=True, metavar="OUT.onnx",
                        help="quantised model to write (ONNX, QDQ)")
    default = Calibration()
    parser.add_argument("--method", choices=[method.value for method in Method], default=default.method.value,
                        help="how ranges follow from the images (default: %(default)s)")
    parser.add_argument("--percentile", type=float, default=default.percentile, metavar="P",
                        help="of values to keep at each end, with --method percentile (default: %(default)s)")
    parser.add_argument("--no-equalise", action="store_true", help="leave out cross-layer equalisation")
    parser.add_argument("--no-bias-correction", action="store_true", help="leave out bias correction")
    parser.add_argument("--frames", type=int, metavar="N", help="calibrate with the first N images (default: all)")
    parser.add_argument("--evaluate", type=path, metavar="TEST.npz",
                        help="'images' and 'labels' to measure the accuracy of both networks on")
    add_preprocessing_arguments(parser)


def run(arguments) -> int:
    """Quantise, report, write."""
    network = read_model(arguments.model, arguments.input_shape)
    if not isinstance(network, FloatNetwork):
        raise NetworkError(f"{arguments.model} is quantised already: the other commands take it as it is")
    _check_output(arguments)
    network = preprocessed(network, arguments)
    frames = read_frames(arguments.calibrate, network, arguments.frames)
    test = None
    if arguments.evaluate:
        raw, labels = read_labelled(arguments.evaluate, network.output_shape[2])
        # Real numbers in one order for both networks; an integer network would take int8 for its own codes.
        test = network.images(raw, f"the images of {arguments.evaluate}"), labels
    # From here on all images are real numbers, with their channels last.
    images, network = frames.images, replace(network, channels_first=False)
    calibration = Calibration(Method(arguments.method), arguments.percentile, not arguments.no_equalise,
                              not arguments.no_bias_correction)
    accuracies = None
    with bar() as progress:
        quantisation = quantize(network, images, calibration, progress=progress)
        report = measure_losses(quantisation, images, progress=progress)
        if test:
            accuracies = {"float": accuracy(network, *test, progress=progress),
                          "int8": accuracy(quantisation.network, *test, progress=progress)}
    warnings = [*frames.warnings, *_doubts(network, quantisation.network, images)]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(quantisation.network, arguments.output.resolve())
    result = {"model": str(arguments.model), "output": str(arguments.output), "frames": len(images),
              "method": arguments.method, "equalise": calibration.equalise, "correct_bias": calibration.correct_bias,
              "logit_error": report.logit_error, "agreement": report.agreement, "costliest": report.costliest.name,
              "layers": [asdict(layer) for layer in report.layers], "accuracy": accuracies,
              "preprocessing": network.preprocessing and network.preprocessing.lists(), "warnings": warnings}
    for sentence in warnings:
        warn(sentence)
    if arguments.json:
        print(json.dumps(result))
        return 0
    out.print(_table(report))
    out.print(f"{len(images)} images: {report.agreement:.2%} in the same class as before, mean absolute difference of "
              f"the logits {report.logit_error:.4g}. Quantising {report.costliest.name} costs most.", markup=False)
    if test and accuracies:
        out.print(f"Accuracy on {len(test[0])} labelled images: float {accuracies['float']:.2%}, "
                  f"int8 {accuracies['int8']:.2%}.")
    out.print(f"Wrote {arguments.output}.", markup=False)
    return 0


def _doubts(network: FloatNetwork, integer: Network, images: np.ndarray) -> list[str]:
    """What speaks against the calibration images being what the network was trained on."""
    doubts = []
    if told := implausible(network, images):
        doubts.append(f"the calibration images contradict the model's training: {told}; check that they have the range "
                      "and the normalisation of the training (--range, --mean and --std for pixels)")
    preprocessing = network.preprocessing
    if preprocessing and (told := preprocessing.contradiction(integer.input_scale, integer.input_zero_point)):
        doubts.append(f"the calibration images contradict the preprocessing: {told}; check --range, --mean and --std")
    return doubts


def _check_output(arguments) -> None:
    """Raise NetworkError if the result can't go where it shall, or would replace what it is made from."""
    check_file(arguments.output, (arguments.model, arguments.calibrate, arguments.evaluate))
    if arguments.output.suffix.lower() != ".onnx":
        raise NetworkError(f"{arguments.output}: the result is ONNX, so give it a name that ends in .onnx")


def _table(report) -> Table:
    table = Table("layer", "kind", "float range", "scale", "zero point", Column("SQNR dB", justify="right"),
                  Column("saturated", justify="right"), Column("logits, alone dB", justify="right"))
    for layer in report.layers:
        name = layer.name if len(layer.name) <= 40 else f"…{layer.name[-39:]}"
        table.add_row(name, layer.kind, f"{layer.low:.3g} … {layer.high:.3g}", f"{layer.scale:.4g}",
                      str(layer.zero_point), f"{layer.sqnr:.1f}", f"{layer.saturated:.3%}",
                      f"{layer.alone:.1f}{' ◄' if layer is report.costliest else ''}")
    return table
