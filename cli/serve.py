# SPDX-License-Identifier: Apache-2.0
"""``tepal serve``: a page in a browser that pictures are sent from, to a device or a simulated one."""

import base64
import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError
from rich.text import Text
from tepal.boards.board import Board
from tepal.boards.flow.build import require_memory
from tepal.boards.flow.routed import clock_of
from tepal.boards.flow.shortage import require_fit
from tepal.boards.registry import get_board
from tepal.hdl import Schedule
from tepal.host.device import Device, HostError
from tepal.host.traced import layer_map, stages
from tepal.host.web import Refused, Upload, WebServer
from tepal.quant import Network, NetworkError
from tepal.report.live import live_files
from tepal.report.table import shape, short
from tepal.sim import CycleModel, Server, golden, require_tools

from . import detecting
from .arguments import ENGINE, add_model_arguments, path
from .console import out, warn
from .files import read_names
from .frames import add_preprocessing_arguments, preprocessed, with_preprocessing
from .pictures import decode_picture
from .run import add_line_arguments, baud, forms, quantised
from .scheduling import load
from .simulated_board import interruptible, simulated_board, workplace
from .tables import class_name, class_scores, told_outputs

__all__ = ["add_arguments", "run"]

_TOP = 5
"""Classes that are shown."""


def add_arguments(parser) -> None:
    """What ``tepal serve`` takes."""
    add_model_arguments(parser, any_board=True, without="with --port, none is known: no time of the engine")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--port", metavar="DEV", help="serial port of a board, such as /dev/ttyUSB0")
    source.add_argument("--simulate", action="store_true", help="simulate the whole board --board, debug tap included")
    add_line_arguments(parser)
    parser.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="address of this computer to serve the "
                        "page at; at any but this one, others can send pictures too (default: %(default)s)")
    parser.add_argument("--http", type=int, metavar="N", default=8000, help="port to serve the page at, 0 for any that "
                        "is free (default: %(default)s)")
    parser.add_argument("--classes", type=path, metavar="FILE", help="names of the classes, one a line")
    add_preprocessing_arguments(parser)
    detecting.add_arguments(parser, draw=False)


def run(arguments) -> int:
    """Find or simulate the device, say where the page is, and serve until Ctrl-C or SIGTERM."""
    names = read_names(arguments.classes)
    if arguments.simulate:
        return _simulated(arguments, names)
    if given := [f"--{name.replace('_', '-')}" for name in ("part", "small", "serial", *ENGINE)
                 if getattr(arguments, name) not in (None, False)]:
        raise NetworkError(f"{given[0]} goes with --simulate: a board on a port has its engine already")
    network = quantised(arguments)
    board = get_board(arguments.board) if arguments.board else None
    rate = baud(arguments)
    return _serve(arguments, _Live(arguments, network, names, board, lambda: Device(
        arguments.port, baud=rate, timeout=arguments.timeout)), arguments.port)


def _simulated(arguments, names: list[str]) -> int:
    if arguments.board is None:
        raise NetworkError("--simulate needs the board to simulate: name it with --board")
    board, schedule = load(arguments)
    require_fit(schedule, board)
    require_memory(schedule, board)
    require_tools()
    with workplace(None) as directory:
        # What can't be served is told before the simulator is built.
        live = _Live(arguments, schedule.network, names, board, lambda: Device(
            server.port, timeout=max(seconds, arguments.timeout)))
        server, seconds = simulated_board(board, schedule, directory, debug=True)
        with server:
            return _serve(arguments, live, f"a simulated {board.name}", lambda: _alive(server))


def _alive(server: Server) -> None:
    """Raise SimulationError if the simulator has ended."""
    assert server.process
    if server.process.poll() is not None:
        server.wait()


def _serve(arguments, live: "_Live", where: str, check: Callable[[], None] = lambda: None) -> int:
    with live:
        files = live_files(arguments.model.name, where, live.notes, live.layers)
        with WebServer(arguments.bind, arguments.http, files, {"/answer": live.answer, "/map": live.map},
                       check) as server, contextlib.suppress(KeyboardInterrupt), interruptible():
            for sentence in live.warnings:
                warn(sentence)
            if arguments.json:
                print(json.dumps({"model": str(arguments.model), "board": arguments.board, "device": where,
                                  "url": server.url}), flush=True)
            else:
                out.print(f"Open {server.url} in a browser. It is served until Ctrl-C.", soft_wrap=True, markup=False)
            server.serve_forever()
    return 0


@dataclass(frozen=True, eq=False)
class _Opened:
    """A device that answered: the form of the model that it has, and its schedule if it has a debug tap."""

    device: Device
    network: Network
    schedule: Schedule | None


class _Live:
    """What is made of uploads, on a device that ``connect`` opens; as a context manager it is open from the start.

    Raises
    ------
    NetworkError
        Pictures are nothing that the network takes.
    """

    def __init__(self, arguments, network: Network, names: list[str], board: Board | None,
                 connect: Callable[[], Device]):
        self.model, self.names, self.board = str(arguments.model), names, board
        if (channels := network.input_shape[2]) not in (1, 3):
            raise NetworkError(f"{self.model}: a picture has 1 or 3 channels, and the network takes {channels}: send "
                               "arrays with tepal run")
        self.network, self.warnings = with_preprocessing(preprocessed(network, arguments), "pictures")
        preprocessing = self.network.preprocessing
        if preprocessing and (told := preprocessing.contradiction(network.input_scale, network.input_zero_point)):
            self.warnings.append(f"{told}; check --range, --mean and --std")
        self.finder = detecting.Detecting(arguments, network)
        self._slow = ", in simulation" if arguments.simulate else ", of which most goes by on the line"
        self._connect, self._opened = connect, None

    def __enter__(self) -> "_Live":
        with self._ready() as opened:
            self.notes, self.layers = self._described(opened)
        return self

    def __exit__(self, *_) -> None:
        if self._opened:
            self._opened.device.close()

    @contextlib.contextmanager
    def _ready(self) -> Iterator[_Opened]:
        """The device; after a failure it is opened anew the next time, for it may have been plugged in again."""
        try:
            if self._opened is None:
                self._opened = self._open()
            yield self._opened
        except HostError:
            if self._opened is not None:
                self._opened.device.close()
            self._opened = None
            raise

    def _open(self) -> _Opened:
        device = self._connect()
        try:
            network = device.require(forms(self.network), self.model)
            engine = device.engine()
            return _Opened(device, network, None if engine is None else Schedule(network, engine))
        except BaseException:
            device.close()
            raise

    def _described(self, opened: _Opened) -> tuple[list[str], list[tuple[int, str]]]:
        """Sentences about the device, and the layers whose maps its debug tap tells."""
        notes = [f"{sentence[:1].upper()}{sentence[1:]}." for sentence in self.warnings]
        if opened.schedule is None:
            return notes, []
        model = CycleModel(opened.schedule, self.board.beat_cycles if self.board else 1)
        told = f"The engine takes {model.in_memory_cycles:,} cycles to an answer, with the image in memory"
        clock = clock_of(self.board) if self.board else None
        if clock and clock.mhz:
            told += f": {clock.milliseconds(model.in_memory_cycles):,.3f} ms at {clock.told}"
        layers = opened.network.layers
        numbers = sorted({stage.layer for stage in stages(opened.schedule)})
        return [*notes, f"{told}."], [
            (number, f"{layers[number].index} {short(layers[number].name)}, {shape(layers[number].output_shape)}")
            for number in numbers]

    def _image(self, upload: Upload) -> np.ndarray:
        """int8 (1, height, width, channels) of a picture."""
        preprocessing = self.network.preprocessing
        try:
            pixels = decode_picture(io.BytesIO(upload.content), upload.name, self.network.input_shape,
                                    preprocessing.layout if preprocessing else None)
        except UnidentifiedImageError:
            raise Refused(f"{upload.name} is no picture that can be read.") from None
        except OSError as error:
            raise Refused(f"{upload.name} is a damaged picture ({error.strerror or error}).") from None
        except NetworkError as error:
            raise Refused(f"{error}.") from None
        return self.network.quantise_input(pixels[None], upload.name)

    def answer(self, upload: Upload) -> dict[str, Any]:
        """What the device says of a picture."""
        image = self._image(upload)
        with self._ready() as opened:
            begun = time.monotonic()
            logits, _ = opened.device.infer(image)
            seconds = time.monotonic() - begun
            return {**self._told(opened.network, logits), "outputs": logits[0].tolist(), "seconds": round(seconds, 6),
                    "time": f"Answered in {seconds:,.3f} s{self._slow}."}

    def _told(self, network: Network, logits: np.ndarray) -> dict[str, Any]:
        if self.finder.detector:
            (boxes,) = detecting.report(self.finder.find(logits))
            named = [{**box, "name": class_name(self.names, box["class"])} for box in boxes]
            return {"boxes": named, "verdict": f"{len(named)} found." if named else "Nothing found."}
        if len(network.output_layers) > 1:
            return {"verdict": "\n".join(Text.from_markup(line).plain for line in told_outputs(network, logits))}
        scores, probabilities = class_scores(network, logits)[0], network.softmax is not None
        # By the logits: probabilities of several classes may be rounded to the same.
        order = np.argsort(-logits[0].astype(int), kind="stable")[:_TOP]
        classes = [{"class": int(number), "name": class_name(self.names, number), "score": float(scores[number])}
                   for number in order]
        best = classes[0]
        told = f"{best['score']:.0%}" if probabilities else f"a score of {best['score']:.0f}"
        return {"classes": classes, "probabilities": probabilities, "verdict": f"{best['name']}, with {told}"}

    def map(self, upload: Upload) -> dict[str, Any]:
        """What a layer of the device made of a picture, and whether that is what the golden model says."""
        numbers = {str(number): number for number, _ in self.layers}
        number = numbers.get(upload.options.get("layer", ""))
        if number is None:
            raise Refused("The device tells of no such layer.")
        image = self._image(upload)
        with self._ready() as opened:
            if opened.schedule is None:
                raise Refused("The device has no debug tap any more.")
            values = layer_map(opened.device, opened.schedule, image[0], number)
            expected = golden.run(opened.network, image, layers=True)[number][0]
        different = int((values != expected).sum())
        verdict = (f"All {values.size:,} values are equal to the golden model's." if not different else
                   f"{different:,} of {values.size:,} values differ from the golden model's.")
        return {"shape": values.shape, "values": base64.b64encode(values.tobytes()).decode(), "different": different,
                "verdict": f"{verdict} They are {values.min()} to {values.max()}."}
