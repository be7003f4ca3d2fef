# SPDX-License-Identifier: Apache-2.0
"""The suite itself: no test can wait for ever, and each is in one half."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import subprocess
from pathlib import Path

def test_of_a_child_that_never_ends():
    subprocess.run(["sh", "-c", "echo $$ > child; exec sleep 1000"])

def test_that_never_ends():
    while True:
        pass

def test_behind_them():
    pass
"""


ROOT = Path(__file__).parents[1]


def run_pytest(*arguments, folder: Path) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments], cwd=folder,
                          env=environment, capture_output=True, text=True)


def test_limit_is_on(pytestconfig):
    assert pytestconfig.pluginmanager.hasplugin("timeout")
    assert 0 < float(pytestconfig.getini("timeout")) <= 1800


def test_limit_ends_a_test_and_its_child(tmp_path):
    """A test that takes too long fails, in a loop or waiting for a simulator, which is ended; what follows is run."""
    file = tmp_path / "test_endless.py"
    file.write_text(TESTS)
    done = run_pytest("-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "--timeout=3", file, folder=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "2 failed, 1 passed" in done.stdout
    assert done.stdout.count("Timeout (>3.0s)") >= 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "child").read_text()), 0)


@pytest.mark.slow
def test_halves():
    """Every test is in one of the two halves; one that is empty is no failure."""
    def collected(*arguments):
        done = run_pytest("--collect-only", "-q", *arguments, folder=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if "::" in line]

    files = ["tests/sim/test_random_networks.py", "tests/sim/test_models.py"]
    fast, slow = (collected(f"--slow={half}", *files) for half in ("no", "only"))
    assert fast
    assert slow
    assert sorted(fast + slow) == sorted(collected(*files))
    assert collected("--slow=no", files[1]) == []
