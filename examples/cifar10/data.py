# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 as arrays, from the usual python batches or from one file of JPEG bytes."""

import io
import itertools
import pickle
import sys
from pathlib import Path

import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(path: Path, splits=("train", "test")) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``{"train": (images, labels), "test": (images, labels)}``, or those of them that ``splits`` names.

    Images are uint8 (frames, 32, 32, 3), labels int64 (frames,).  ``path`` is the folder of the python version of
    https://www.cs.toronto.edu/~kriz/cifar.html (``data_batch_1`` … ``test_batch``), or an ``.npz`` with the arrays
    ``<split>_jpeg`` (all files end to end), ``<split>_offsets`` and ``<split>_labels``."""
    if path.is_dir():
        files = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
        return {split: _batches([path / name for name in files[split]]) for split in splits}
    with np.load(path) as file:
        return {split: (_decode(file[f"{split}_jpeg"], file[f"{split}_offsets"]),
                        file[f"{split}_labels"].astype(np.int64)) for split in splits}


def normalise(images: np.ndarray) -> np.ndarray:
    """What the networks take: float32 (frames, 3, height, width), ``(pixel - 128) / 128``.

    As int8 with the scale 1/128 that is the pixel itself less 128: nothing is lost, and a host need only flip a bit."""
    return (images.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (frames, size, size, 3), by Pillow's antialiased bilinear filter."""
    from PIL import Image

    if images.shape[1:3] == (size, size):
        return images
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
                     for image in images])


def _batches(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for path in paths:
        if not path.exists():
            sys.exit(f"{path} is missing: give the folder cifar-10-batches-py with --data")
        with path.open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.array(batch[b"labels"], np.int64))
    return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)


def _decode(content: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    from PIL import Image

    raw = content.tobytes()
    return np.stack([np.asarray(Image.open(io.BytesIO(raw[start:end])).convert("RGB"))
                     for start, end in itertools.pairwise(offsets)])
