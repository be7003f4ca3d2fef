# SPDX-License-Identifier: Apache-2.0
"""Write CIFAR-10 as the files that `tepal quantize` and `tepal evaluate` read.

    python prepare.py --data cifar-10-batches-py -o build/cifar10

makes calibrate_32.npz (512 training images, chosen at random) and test_32.npz (all 10,000 test images with labels).
"""

import argparse
from pathlib import Path

import numpy as np
from data import load, normalise, resize

CALIBRATION = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar-10-batches-py, or an .npz of JPEG bytes")
    parser.add_argument("--resolution", type=int, nargs="+", default=[32], help="pixels across (default: 32)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    splits = load(arguments.data)
    (train, _), (test, labels) = splits["train"], splits["test"]
    chosen = np.sort(np.random.default_rng(arguments.seed).choice(len(train), CALIBRATION, replace=False))
    print(f"calibration images: {CALIBRATION} training images, seed {arguments.seed}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for size in arguments.resolution:
        for name, arrays in (("calibrate", {"images": normalise(resize(train[chosen], size))}),
                             ("test", {"images": normalise(resize(test, size)), "labels": labels})):
            path = arguments.output / f"{name}_{size}.npz"
            np.savez(path, **arrays)
            print(f"wrote {path}: {arrays['images'].shape}")


if __name__ == "__main__":
    main()
