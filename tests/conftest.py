"""Puts this folder on the import path, so that the helpers beside it can be imported by name."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine and every run.
settings.register_profile("tepal", derandomize=True, deadline=None, database=None)
settings.load_profile("tepal")


@pytest.fixture(scope="session", autouse=True)
def compile_runtime_once(tmp_path_factory):
    """Verilator's own runtime is compiled once for all simulators, and for all of pytest's workers."""
    objects = tmp_path_factory.getbasetemp().resolve()
    if "PYTEST_XDIST_WORKER" in os.environ:
        objects = objects.parent
    objects /= "verilator_objects"
    objects.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBJCACHE", str(Path(__file__).with_name("objcache.sh")))
        patch.setenv("TEPAL_OBJECTS", str(objects))
        yield
