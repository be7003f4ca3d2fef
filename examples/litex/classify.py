# SPDX-License-Identifier: Apache-2.0
"""Classifies pictures on a board that runs soc.py's system, through ``litex_server``.

    litex_server --uart --uart-port=/dev/ttyUSB0 &
    python classify.py DESCRIPTION IMAGES.npy --csr build/soc/csr.csv

``DESCRIPTION`` is the ``.json`` file of one of the system's accelerators; images are int8 in the network's own scale.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from litex import RemoteClient


class Core:
    """The accelerator of which ``description`` tells, behind ``registers``."""

    def __init__(self, registers, description: dict):
        self.width = description["ports"]["s_axis"]["tdata_width"] // 8
        self.pixels, self.last, self.status, self.answers, self.answer = (
            getattr(registers, f"tepal_{description['top']}_{name}")
            for name in ("pixels", "last", "status", "answers", "answer"))

    def write(self, value: int) -> None:
        """A beat, when there is room for it."""
        while not self.status.read() & 1:
            pass
        self.pixels.write(value)

    def restart(self) -> None:
        """Make the next beat an image's first, whatever another program left unfinished."""
        self.last.write(1)
        for _ in range(2):
            self.write(0)
        self.last.write(0)

    def classify(self, image: np.ndarray) -> int:
        """Class of one int8 image."""
        before = self.answers.read()
        for beat in image.reshape(-1, self.width):
            # The first byte is the lowest.
            self.write(int.from_bytes(beat.tobytes(), "little"))
        while self.answers.read() == before:
            pass
        return self.answer.read()


def main():
    parser = argparse.ArgumentParser(description="Classify pictures on a board that runs soc.py's system.")
    parser.add_argument("description", type=Path, metavar="DESCRIPTION", help=".json file that 'tepal generate' wrote")
    parser.add_argument("images", metavar="IMAGES.npy", help="int8 images")
    parser.add_argument("--csr", default="csr.csv", metavar="F", help="soc.py's csr.csv (default: %(default)s)")
    arguments = parser.parse_args()
    description = json.loads(arguments.description.read_text())
    bus = RemoteClient(csr_csv=arguments.csr)
    bus.open()
    core = Core(bus.regs, description)
    core.restart()
    for image in np.load(arguments.images):
        print(core.classify(image))
    bus.close()


if __name__ == "__main__":
    main()
