# SPDX-License-Identifier: Apache-2.0
"""Reading what a test has written."""

import pytest
from tepal.quant import read_tflite


@pytest.fixture
def read(tmp_path):
    """Bytes of a ``.tflite`` file to its network."""
    def read(content: bytes):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return read_tflite(path)
    return read
