# SPDX-License-Identifier: Apache-2.0
"""Where the third-party models and data sets of the tests are."""

import os
from pathlib import Path

import pytest

__all__ = ["DATA", "require_case", "require_data", "require_model"]

DATA = Path(os.environ.get("TEPAL_DATA") or Path(__file__).resolve().parents[2] / "shared")
"""Folder that holds ``models/``, ``data/`` and ``cases/``; TEPAL_DATA names another one."""


def _require(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"the {what} isn't here (looked for {path}; TEPAL_DATA names the folder)")
    return path


def require_model(name: str) -> Path:
    """Folder of a third-party model (``model.tflite``, ``inputs.npy``, ``outputs.npy``, ``labels.npy``,
    ``layers.npz``); skips the test without it."""
    return _require(DATA / "models" / name, f"model {name}")


def require_case(name: str) -> Path:
    """A model that an exporter or another quantiser writes in its own way; skips the test without it."""
    return _require(DATA / "cases" / name, f"case {name}")


def require_data(name: str) -> Path:
    """A data set's file; skips the test without it."""
    return _require(DATA / "data" / name, f"data set {name}")
