"""Verilator's own runtime is compiled once for all simulators, and for all of pytest's workers."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def compile_runtime_once(tmp_path_factory):
    objects = tmp_path_factory.getbasetemp().resolve()
    if "PYTEST_XDIST_WORKER" in os.environ:
        objects = objects.parent
    objects /= "verilator_objects"
    objects.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBJCACHE", str(Path(__file__).parents[1] / "objcache.sh"))
        patch.setenv("TEPAL_OBJECTS", str(objects))
        yield
