"""Random networks on random engines: every byte as the golden model says, every event in its cycle."""

import os
import re
from pathlib import Path

import pytest
from networks import random_case
from tepal.boards.yosys import to_verilog
from tepal.hdl.export import export
from tepal.hdl.schedule import Schedule
from tepal.sim.simulate import Build, simulate

SEEDS = 32


@pytest.fixture(scope="module", autouse=True)
def object_cache(tmp_path_factory, worker_id="master"):
    """Verilator's runtime is compiled once instead of once per network."""
