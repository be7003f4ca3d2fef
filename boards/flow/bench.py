# SPDX-License-Identifier: Apache-2.0
"""A cocotb bench for a generated core, such as its user can start from: stimulus, expected answers, and the bench."""

from importlib import resources

import numpy as np
from tepal.hdl import Schedule
from tepal.hdl.answer import pack_answer
from tepal.sim import golden

__all__ = ["FRAMES", "SEED", "bench_files", "random_images"]

SEED = 0
"""Seed of the images for those who give none."""

FRAMES = 2
"""As many of them: the second one is taken in while the first one is computed."""


def random_images(schedule: Schedule) -> np.ndarray:
    """int8 (:data:`FRAMES`, height, width, channels), the same every time."""
    rng = np.random.default_rng(SEED)
    return rng.integers(-128, 128, (FRAMES, *schedule.network.input_shape), np.int8)


def bench_files(schedule: Schedule, images: np.ndarray, name: str) -> dict[str, str]:
    """File name to text of a bench for the core that :func:`~tepal.boards.flow.generate.generate` calls ``name``.

    Parameters
    ----------
    images
        int8 (frames, height, width, channels) to send.
    """
    beats = np.ascontiguousarray(images).view(np.uint8).reshape(-1, schedule.config.input_bytes)
    answers = [pack_answer(logits, number) for number, logits in enumerate(golden.run(schedule.network, images))]
    package = resources.files("tepal.sim")
    return {
        f"test_{name}.py": package.joinpath("core_bench.py").read_text(encoding="utf-8"),
        **{file: package.joinpath(file).read_text(encoding="utf-8") for file in ("axi_stream.py", "simulators.py")},
        f"{name}_stimulus.hex": "".join(f"{beat[::-1].tobytes().hex()}\n" for beat in beats),
        f"{name}_expected.hex": "".join(f"{byte:02x}\n" for answer in answers for byte in answer),
    }
