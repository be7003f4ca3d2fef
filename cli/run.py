# SPDX-License-Identifier: Apache-2.0
"""``tepal run``: images through a device on a serial port."""

import json
import time
from collections.abc import Iterator

import numpy as np
from rich.markup import escape
from tepal.boards.registry import get_board
from tepal.host.compare import compare
from tepal.host.device import BAUD, Device
from tepal.quant import FloatNetwork, Network, NetworkError, read_model, simplify

from . import detecting
from .arguments import above_zero, add_input_shape, path
from .console import bar, err, out, warn
from .exit_codes import MISMATCH
from .files import read_names
from .frames import INPUT_HELP, add_preprocessing_arguments, read_input
from .tables import class_name, class_scores, told_outputs

__all__ = ["add_arguments", "add_line_arguments", "baud", "forms", "quantised", "run"]


def add_arguments(parser) -> None:
    """What ``tepal run`` takes."""
    parser.add_argument("model", type=path, metavar="MODEL", help="the int8 model that the device was made from")
    add_input_shape(parser)
    parser.add_argument("input", type=path, metavar="INPUT",
                        help=f"{INPUT_HELP}; a picture is resized, and goes through the model's preprocessing")
    parser.add_argument("--port", required=True, metavar="DEV", help="serial port, such as /dev/ttyUSB0")
    parser.add_argument("--board", metavar="B", help=f"the board, for its bits a second (default: {BAUD:,})")
    add_line_arguments(parser)
    parser.add_argument("--frames", type=int, metavar="N", help="use the first N images (default: all)")
    parser.add_argument("--compare", action="store_true", help="compare with the golden model, and find the first "
                        "layer that differs if the device has a debug tap")
    parser.add_argument("--classes", type=path, metavar="FILE", help="names of the classes, one a line")
    add_preprocessing_arguments(parser)
    detecting.add_arguments(parser)


def add_line_arguments(parser) -> None:
    """How a device on a serial port is talked to."""
    parser.add_argument("--baud", type=above_zero(int), metavar="N", help="bits a second, if not the board's")
    parser.add_argument("--timeout", type=above_zero(float), default=1.0, metavar="S",
                        help="seconds without an answer until an image is sent again (default: %(default)s)")


def baud(arguments) -> int:
    """Bits a second of the line to the device."""
    return arguments.baud or (get_board(arguments.board).baud if arguments.board else 0) or BAUD


def quantised(arguments) -> Network:
    """The model that a device was made from; NetworkError if it is a float one."""
    network = read_model(arguments.model, arguments.input_shape)
    if isinstance(network, FloatNetwork):
        raise NetworkError(f"{arguments.model} is a float model: give the quantised one that the device was made from")
    return network


def forms(network: Network) -> Iterator[Network]:
    """The forms in which a device may have it (:mod:`tepal.boards.flow.variant`): all give the same answers."""
    yield network
    yield simplify(network).network


def run(arguments) -> int:
    """Send, receive, tell."""
    network = quantised(arguments)
    finder = detecting.Detecting(arguments, network)
    frames = read_input(arguments, network)
    images = frames.images
    names = read_names(arguments.classes)
    with Device(arguments.port, baud=baud(arguments), timeout=arguments.timeout) as device, bar() as progress:
        for sentence in frames.warnings:
            warn(sentence)
        network = device.require(forms(network), str(arguments.model))
        begun = time.monotonic()
        logits, classes = device.infer(images, lambda done, total: progress("Classifying", done, total))
        seconds = time.monotonic() - begun
        comparison = compare(device, network, images, logits, progress) if arguments.compare else None
        abandoned = device.abandoned
    found = finder.find(logits) if finder.detector else None
    drawn = finder.save(found, names, frames.pictures, bool(frames.names)) if found and finder.draw else []
    scores = class_scores(network, logits)[np.arange(len(logits)), classes]
    code = MISMATCH if comparison and comparison.different else 0
    if abandoned:
        err.print(f"Before {abandoned} of the results the device dropped an image that came damaged or cut short; "
                  "those of this run were sent again. The line loses or changes bytes.", style="yellow")
    if arguments.json:
        report = {"model": str(arguments.model), "port": arguments.port, "frames": len(images),
                  "files": frames.names, **frames.report,
                  "seconds": round(seconds, 6), "classes": classes.tolist(), "scores": scores.tolist(),
                  "outputs": logits.tolist(), "abandoned": abandoned,
                  **({} if found is None else {"boxes": detecting.report(found), "drawn": [*map(str, drawn)]})}
        if comparison:
            report |= {"different": comparison.different, "verdict": comparison.verdict}
        print(json.dumps(report))
        return code
    if found is not None:
        finder.tell(found, names, frames.names)
        for target in drawn:
            out.print(f"Wrote {escape(str(target))}.")
    elif len(network.output_layers) > 1:
        for line in told_outputs(network, logits):
            out.print(line)
    else:
        _tell_classes(network, classes, scores, names, frames.names)
    if len(images) > 1:
        out.print(f"{len(images)} images in {seconds:.2f} s, {len(images) / seconds:.1f} a second.")
    if comparison:
        (err if code else out).print(comparison.verdict, style="bold red" if code else "bold green", markup=False)
    return code


def _tell_classes(network: Network, classes: np.ndarray, scores: np.ndarray, names: list[str],
                  files: list[str]) -> None:
    """A line for each frame."""
    for number, (label, score) in enumerate(zip(classes, scores, strict=True)):
        name = escape(class_name(names, label))
        told = f"{score:.0%}" if network.softmax is not None else f"a score of {score:.0f}"
        file = f"{escape(files[number])}: " if files else ""
        out.print(f"{file}[bold]{name}[/], with {told}")
