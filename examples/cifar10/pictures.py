# SPDX-License-Identifier: Apache-2.0
"""Make `pictures.npz` of the example pictures, as the networks of this example take them.

    python pictures.py -o pictures.npz

Needs Pillow.  The class is the first part of a file's name.
"""

import argparse
from pathlib import Path

import numpy as np
from data import CLASSES, normalise
from PIL import Image

FOLDER = Path(__file__).parent / "pictures"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=32, help="pixels across (default: 32)")
    parser.add_argument("-o", "--output", type=Path, required=True, help=".npz to write: images and labels")
    arguments = parser.parse_args()
    # One of each class, then the second ones, and so on.
    paths = sorted(FOLDER.glob("*.png"), key=lambda path: path.stem.split("_")[::-1])
    size = (arguments.resolution, arguments.resolution)
    images = np.stack([np.asarray(Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR))
                       for path in paths])
    labels = np.array([CLASSES.index(path.stem.split("_")[0]) for path in paths])
    np.savez_compressed(arguments.output, images=normalise(images), labels=labels)
    print(f"{len(paths)} pictures: {', '.join(path.stem for path in paths)}")


if __name__ == "__main__":
    main()
