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


def classify(registers, description: dict, image: np.ndarray) -> int:
    """Class of one int8 image, by the accelerator of which ``description`` tells."""
    pixels, status, answers, answer = (getattr(registers, f"tepal_{description['top']}_{name}")
                                       for name in ("pixels", "status", "answers", "answer"))
    before = answers.read()
    for beat in image.reshape(-1, description["ports"]["s_axis"]["tdata_width"] // 8):
        while not status.read() & 1:
            pass
        # The first byte is the lowest.
        pixels.write(int.from_bytes(beat.tobytes(), "little"))
    while answers.read() == before:
        pass
    return answer.read()


def main():
    parser = argparse.ArgumentParser(description="Classify pictures on a board that runs soc.py's system.")
    parser.add_argument("description", type=Path, metavar="DESCRIPTION", help=".json file that 'tepal generate' wrote")
    parser.add_argument("images", metavar="IMAGES.npy", help="int8 images")
    parser.add_argument("--csr", default="csr.csv", metavar="F", help="soc.py's csr.csv (default: %(default)s)")
    arguments = parser.parse_args()
    description = json.loads(arguments.description.read_text())
    bus = RemoteClient(csr_csv=arguments.csr)
    bus.open()
    for image in np.load(arguments.images):
        print(classify(bus.regs, description, image))
    bus.close()


if __name__ == "__main__":
    main()
