# SPDX-License-Identifier: Apache-2.0
"""``tepal evaluate``: a model's accuracy, an int8 one's by the golden model."""

import json
from dataclasses import replace

from tepal.quant import FloatNetwork, read_model
from tepal.sim import accuracy

from .arguments import add_input_shape, path
from .console import bar, err, out, warn
from .files import choose_frames, classes_of, read_labelled
from .frames import add_preprocessing_arguments, preprocessed, taken, warned
from .spreading import add_scheduler_argument, asked_workers

__all__ = ["add_arguments", "run"]


def add_arguments(parser) -> None:
    """What ``tepal evaluate`` takes."""
    parser.add_argument("model", type=path, metavar="MODEL",
                        help="quantised .onnx or .tflite file (golden model), or a float one")
    add_input_shape(parser)
    parser.add_argument("--input", type=path, required=True, metavar="TEST.npz", help="'images' and 'labels'")
    parser.add_argument("--frames", type=int, metavar="N", help="use the first N images (default: all)")
    add_preprocessing_arguments(parser)
    add_scheduler_argument(parser, "images, 250 at a time,")


def run(arguments) -> int:
    """Accuracy over labelled images."""
    network = preprocessed(read_model(arguments.model, arguments.input_shape), arguments)
    images, labels = read_labelled(arguments.input, classes_of(network))
    images = choose_frames(images, arguments.frames, arguments.input)
    frames = warned(taken(images, network, arguments.input), arguments)
    for sentence in frames.warnings:
        warn(sentence)
    kind = "int8"
    if isinstance(network, FloatNetwork):
        # They are real numbers with their channels last now.
        kind, network = "float", replace(network, channels_first=False)
    with asked_workers(arguments) as workers, bar() as progress:
        share = accuracy(network, frames.images, labels[:len(images)], workers=workers, progress=progress)
    if arguments.json:
        print(json.dumps({"model": str(arguments.model), "kind": kind, "frames": len(images), **frames.report,
                          "accuracy": share}))
    else:
        err.print(f"{kind} model on {len(images)} images:")
        out.print(f"{share:.2%}")
    return 0
