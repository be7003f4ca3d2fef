"""Classifies pictures on a board that runs soc.py's system, through ``litex_server``.

    litex_server --uart --uart-port=/dev/ttyUSB0 &
    python classify.py GENERATED IMAGES.npy --csr build/soc/csr.csv

``GENERATED`` is the folder that the system was made from; images are int8 in the network's own scale.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from litex import RemoteClient


def restart(registers):
    """Make the next beat an image's first, whatever another program left unfinished."""
    registers.tepal_last.write(1)
    for _ in range(2):
        while not registers.tepal_status.read() & 1:
            pass
        registers.tepal_pixels.write(0)
    registers.tepal_last.write(0)


def classify(registers, image: np.ndarray, width: int) -> int:
    """Class of one int8 image, written in beats of ``width`` bytes, the first byte lowest."""
    answers = registers.tepal_answers.read()
    for beat in image.reshape(-1, width):
        while not registers.tepal_status.read() & 1:
            pass
        registers.tepal_pixels.write(int.from_bytes(beat.tobytes(), "little"))
    while registers.tepal_answers.read() == answers:
        pass
    return registers.tepal_answer.read()


def main():
    parser = argparse.ArgumentParser(description="Classify pictures on a board that runs soc.py's system.")
    parser.add_argument("generated", type=Path, metavar="GENERATED", help="folder that 'tepal generate' wrote")
    parser.add_argument("images", metavar="IMAGES.npy", help="int8 images")
    parser.add_argument("--csr", default="csr.csv", metavar="F", help="soc.py's csr.csv (default: %(default)s)")
    arguments = parser.parse_args()
    description = json.loads((arguments.generated / "tepal.json").read_text())
    bus = RemoteClient(csr_csv=arguments.csr)
    bus.open()
    restart(bus.regs)
    for image in np.load(arguments.images):
        print(classify(bus.regs, image, description["ports"]["s_axis"]["tdata_width"] // 8))
    bus.close()


if __name__ == "__main__":
    main()
