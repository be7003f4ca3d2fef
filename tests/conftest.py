# SPDX-License-Identifier: Apache-2.0
"""Puts this folder on the import path, so that the helpers beside it can be imported by name; and halves the suite."""

import gc
import os
import re
from pathlib import Path

import operators
import pytest
from hypothesis import HealthCheck, settings
from tepal.cli.main import main

# The same examples on every machine and every run, however busy.
settings.register_profile("tepal", derandomize=True, deadline=None, database=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tepal")

# Elaborating makes millions of objects that live on: looking through them again and again is a fifth of all the time.
gc.set_threshold(200_000, 20, 100)


def pytest_addoption(parser):
    # Not by -m, of which pytest heeds the last one alone: it is left to whoever calls make.
    parser.addoption("--slow", choices=["no", "only"], help="without the tests that are marked as slow, or they alone")
    parser.addoption("--operators", type=Path, metavar="FOLDER", help="keep there which operators the oracles were "
                     "asked about in each test (see operators.py)")


def pytest_collection_modifyitems(config, items):
    if half := config.getoption("--slow"):
        chosen = [item for item in items if (item.get_closest_marker("slow") is not None) == (half == "only")]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
    # Long ones are among those of the whole repository; at the end they would leave all workers but one idle.
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        operators.passed(item.nodeid, item.config.getoption("--operators") if report.passed else None)
    return report


def pytest_sessionfinish(session, exitstatus):
    # A half may be empty.
    if session.config.getoption("--slow") and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


TOGETHER = {"tests/boards/flow/test_generate.py": "", "tests/cli/test_family.py": "", "tests/sim/test_simulate.py": "",
            "tests/test_generated.py": r"\[(\S+)"}
"""Files whose tests share what takes long to make, and so run one after the other in one process; with an expression,
those in which it finds the same."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            if file not in TOGETHER:
                return nodeid
            found = re.search(TOGETHER[file], nodeid)
            return f"{file} {found[0] if found else nodeid}"

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def quick_compiler():
    """Environment in which simulators of a few thousand cycles are built: optimising takes longer than it saves."""
    return {"MAKEFLAGS": "OPT_FAST=-O0 OPT_SLOW=-O0 VM_USER_CFLAGS=-O0"}


@pytest.fixture
def compile_quickly(monkeypatch, quick_compiler):
    """For what is simulated in a test: see there."""
    for name, value in quick_compiler.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def compile_for(request):
    """Compiles quickly but for small engines, which take many cycles a frame and are soon compiled."""
    def compile_for(board: str) -> None:
        if board != "icebreaker":
            request.getfixturevalue("compile_quickly")
    return compile_for


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


# -- running the command ----------------------------------------------------------------------------------


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def run(*argv) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in argv])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()
    return run


@pytest.fixture
def refusal(run, tmp_path):
    """Runs a command line that must fail with one sentence, and must leave nothing behind."""
    def refusal(*argv) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run(*argv, "--json")
        assert code == 2
        assert out == ""
        assert re.fullmatch(r"tepal: [^\n]+\n", err)
        assert sorted(tmp_path.rglob("*")) == before
        return err
    return refusal
