# SPDX-License-Identifier: Apache-2.0
"""``--scheduler``: the same results, whoever makes them; workers that die, jobs that fail, schedulers that are gone.

Clusters are of three kinds: Dask's own in this process, for what is told by an address; one of processes, which tests
share; and those that commands start, which are slow to come up.  No wait is for a time: each is for an event, with the
limits of the module itself and pytest's behind it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tepal import processes, scheduler
from tepal.boards.flow.tools import ToolError
from tepal.cli import console
from tepal.cli import explore as explore_command
from tepal.cli import family as family_command
from tepal.quant import NetworkError, read_model
from tepal.scheduler import SchedulerError, Threads, local_workers, workers
from tepal.sim import CycleModel, SimulationError

DIGITS = Path(__file__).parents[1] / "examples/digits"
MODEL = DIGITS / "digits.tflite"
FAMILY = ["family", "--alpha", "0.25", "0.5", "--resolution", "32", "--classes", "10", "--board", "ulx3s-85f"]

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def address():
    """A running scheduler with two threads of this process as workers."""
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
                                  dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def two():
    """Two processes, and what was told of them."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        # Where they find this module.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        with workers("local:2", tell=told.append) as each:
            yield each, told


@pytest.fixture
def knows_tests(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def square(number: int) -> int:
    return number * number


def fails(at: set[int], number: int) -> int:
    if number in at:
        raise NetworkError(f"{number} is wrong")
    return number


def dies_once(mark: Path, number: int) -> tuple[int, int]:
    """The first worker that comes to job 1 is killed in the midst of it."""
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


# -- the way of spreading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "count"), [
    ("local:1", 1), ("local:64", 64), ("tcp://10.0.0.7:8786", None), ("node-3.site:8786", None), ("[::1]:8786", None)])
def test_where(where, count):
    assert local_workers(where) == count


@pytest.mark.parametrize("count", [1, 2])
def test_threads(count):
    told = []
    assert Threads(count).map(square, range(5), lambda *each: told.append(each)) == [0, 1, 4, 9, 16]
    assert told == [(done, 5) for done in range(6)]
    for _ in range(5):
        with pytest.raises(NetworkError, match="2 is wrong"):
            Threads(count).map(partial(fails, {2, 4}), range(5))


def test_address(address):
    told = []
    with workers(address) as each:
        assert not each.here
        assert each.map(square, range(20), lambda *each: told.append(each)) == [number * number for number in range(20)]
        assert told[:21] == [(done, 20) for done in range(21)]
        assert each.map(square, []) == []
        # Whichever fails first, it is the first in order that is told, as in one process.
        for _ in range(5):
            with pytest.raises(NetworkError, match="3 is wrong"):
                each.map(partial(fails, {3, 4, 9}), range(10))
        assert each.map(square, [7]) == [49]


def test_errors_travel(two):
    """Those that end a command in one sentence are the same behind a process."""
    for error in (NetworkError("a"), ToolError("b"), SimulationError("c"), SchedulerError("d"), KeyError("e")):
        with pytest.raises(type(error)) as caught:
            two[0].map(partial(_raise, error), [1])
        assert caught.value.args == error.args


def _raise(error: Exception, _: int) -> None:
    raise error


def test_other_source_on_a_worker(two, monkeypatch):
    """Its results might be others, so that there are none."""
    cluster, _ = two
    assert cluster.map(abs, [-1, 2]) == [1, 2]
    monkeypatch.setattr(scheduler, "_source", lambda: "another")
    with pytest.raises(SchedulerError, match="has another Tepal than this, or one that was changed meanwhile"):
        cluster.map(abs, [-1, 2])


def test_source(tmp_path, monkeypatch):
    """Every folder's files count, by name and by content."""
    found = set()
    for number, name in enumerate(["a.py", "b.py", "c.json", "d.v", "no.txt"]):
        (tmp_path / name).write_text("one")
        monkeypatch.setattr(scheduler.importlib.util, "find_spec",
                            lambda _: SimpleNamespace(submodule_search_locations=[tmp_path]))
        found.add(scheduler._source.__wrapped__())
        assert len(found) == min(number + 1, 4)
    (tmp_path / "a.py").write_text("two")
    assert scheduler._source.__wrapped__() not in found
    monkeypatch.undo()
    assert all(scheduler.importlib.util.find_spec(f"tepal.{name}") for name in scheduler.FOLDERS)


def test_killed_worker(two, tmp_path):
    """Its job is done by another one, which is told once."""
    each, told = two
    del told[:]
    made = each.map(partial(dies_once, tmp_path / "mark"), list(range(6)))
    assert [number for number, _ in made] == list(range(6))
    assert (tmp_path / "mark").exists()
    assert os.getpid() not in {process for _, process in made}
    sentence, = told
    assert sentence.startswith("the worker tcp://127.0.0.1:")
    assert sentence.endswith(" died or left: others do its jobs again")


@pytest.mark.slow
def test_job_that_kills_every_worker(two):
    """It is given up, and the cluster lives on."""
    each, _ = two
    with pytest.raises(SchedulerError, match="every worker that began it died"):
        each.map(_die, [1])
    assert each.map(square, [3]) == [9]


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_is_left(tmp_path, monkeypatch, knows_tests):
    """Neither processes nor folders; nor programs that a job has started."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    others = set(processes._sessions)
    with workers("local:1") as each:
        cluster, = processes._sessions - others
        assert each.map(_sleeper, [1000]) == [cluster]
        assert _of_session(cluster)
        assert any(b"sleep" in line for line in _of_session(cluster))
    assert _of_session(cluster) == []
    assert processes._sessions == others
    assert list(tmp_path.iterdir()) == []


def _sleeper(seconds: int) -> int:
    return os.getsid(processes.start(["sleep", str(seconds)]).pid)


def _of_session(session: int) -> list[bytes]:
    return [Path(f"/proc/{process}/cmdline").read_bytes() for process in processes._processes()
            if processes._session(process) == session]


@pytest.mark.parametrize(("option", "sentence"), [
    *((where, "is neither an address such as tcp://10.0.0.7:8786, nor local:N with N processes, 1 to 999")
      for where in ("local:0", "local:x", "local:", "nowhere", "tcp://", "")),
])
def test_no_such_scheduler(run, option, sentence):
    code, out, err = run("evaluate", MODEL, "--input", "x.npz", "--scheduler", option)
    assert (code, out) == (2, "")
    assert err == f"tepal evaluate: argument --scheduler: {option!r} {sentence}; see 'tepal evaluate --help'\n"


def test_unreachable(refusal, monkeypatch):
    monkeypatch.setattr(scheduler, "REACHED", 0.5)
    with socket.socket() as taken:
        # Nobody listens there, nor can anybody begin to.
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"--scheduler {where}: no scheduler of Dask answers there (" in refusal(*FAMILY, "--scheduler", where)


def test_silent_server(refusal, monkeypatch):
    """One that takes the connection and says nothing."""
    monkeypatch.setattr(scheduler, "REACHED", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert "no scheduler of Dask answers there (" in refusal(*FAMILY, "--scheduler", where)


def test_without_dask(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert refusal(*FAMILY, "--scheduler", "local:2") == (
        "tepal: --scheduler needs Dask: install it with pip install 'tepal[scale]'\n")


def test_scheduler_without_workers(monkeypatch):
    """Jobs are given up when nobody has come."""
    monkeypatch.setattr(scheduler, "DESERTED", 2.0)
    with (distributed.LocalCluster(n_workers=0, processes=False, protocol="tcp", host="127.0.0.1",
                                   dashboard_address="127.0.0.1:0") as cluster,
          workers(cluster.scheduler_address) as each, pytest.raises(SchedulerError, match="has had no worker for 2 s")):
        each.map(square, [1])


@pytest.mark.slow
def test_scheduler_that_dies(knows_tests):
    """In the midst of a job."""
    others = set(processes._sessions)
    with workers("local:1") as each:
        cluster, = processes._sessions - others
        with pytest.raises(SchedulerError, match=r"local:1 is gone|has had no worker"):
            each.map(partial(_kill, cluster), [1])


def _kill(process: int, _: int) -> None:
    os.kill(process, signal.SIGKILL)
    time.sleep(1000)


def test_cluster_that_does_not_start(monkeypatch, refusal):
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", "")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert "the local cluster did not start (" in refusal(*FAMILY, "--scheduler", "local:1")


# -- commands ----------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """650 labelled images, three chunks."""
    random = np.random.default_rng(0)
    np.savez(tmp_path / "test.npz", images=random.integers(-128, 128, (650, *read_model(MODEL).input_shape), np.int8),
             labels=random.integers(0, 10, 650))
    return ["evaluate", MODEL, "--input", tmp_path / "test.npz"]


def same(run, address, *argv) -> dict:
    """What a command prints, with and without a cluster."""
    results = [run(*argv, *more, "--json") for more in ([], ["--scheduler", address])]
    assert results[0] == results[1]
    assert results[0][0] == 0
    assert results[0][2] == ""
    return json.loads(results[0][1])


def test_evaluate(run, address, pictures):
    assert same(run, address, *pictures)["frames"] == 650


def test_family(run, address):
    report = same(run, address, *FAMILY)
    assert [row["name"] for row in report["rows"]] == ["0.25 MobileNet-32", "0.5 MobileNet-32"]


def test_order_of_sets_does_not_matter():
    """Each process of a cluster has another, by its seed of hashes, and the results are the same."""
    told = {subprocess.run([sys.executable, "-m", "tepal", *FAMILY, "--json"], check=True, capture_output=True,
                           env={**os.environ, "PYTHONHASHSEED": seed}).stdout for seed in "01"}
    assert len(told) == 1


def test_progress(run, address, pictures):
    """Over all jobs, in the same words."""
    lines = [json.loads(line) for line in run(*pictures, "--scheduler", address, "--json-progress")[2].splitlines()
             if line.startswith("{")]
    assert {line["progress"] for line in lines} == {"Classifying"}
    assert (lines[-1]["done"], lines[-1]["total"]) == (650, 650)


def test_error_in_a_job(refusal, address, monkeypatch):
    """It ends the command in the sentence that it ends in without a cluster."""
    def refused(network, boards, asked):
        raise NetworkError(f"{network.name} is wrong")
    monkeypatch.setattr(family_command, "_speeds", refused)
    sentence = refusal(*FAMILY)
    assert sentence == refusal(*FAMILY, "--scheduler", address)
    assert sentence.endswith(" is wrong\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "family"])
def test_local_cluster(run, pictures, command):
    """Two processes that the command starts, and ends."""
    others = set(processes._sessions)
    same(run, "local:2", *(pictures if command == "evaluate" else FAMILY))
    assert processes._sessions == others


TOOL = """#!/bin/sh
# Stands in for {name}: yosys makes a netlist, nextpnr a clock that follows from its arguments.
case "$*" in -V|--version) echo "{name} 9.9"; exit;; esac
exec {python} {script} {name} "$@"
"""

SCRIPT = """
import json, os, sys, zlib
from pathlib import Path
name, argv = sys.argv[1], sys.argv[2:]
def after(option):
    return argv[argv.index(option) + 1]
if name == "yosys":
    text = Path("tepal.il").read_text()
    Path("yosys.log").write_text("synthesised")
    Path("tepal.json").write_text(json.dumps({"modules": {"tepal": {
        "attributes": {"hash": zlib.crc32(text.encode())}, "ports": {}, "cells": {"gate": {
            "type": "DCCA", "port_directions": {"CLKO": "output"}, "connections": {"CLKO": [2]}}},
        "netnames": {"clk": {"bits": [2]}}}}}))
elif name == "ecppack":
    Path(after("--bit")).write_text("packed " + Path(after("--input")).read_text())
else:
    seed = int(after("--seed"))
    mark = Path(os.environ["TEPAL_MARK"])
    if seed == 2 and not mark.exists():
        mark.touch()
        if os.environ.get("TEPAL_DEADLY"):
            os.kill(os.getppid(), 9)
            sys.exit(1)
    netlist = json.loads(Path("tepal.json").read_text())["modules"]["tepal"]
    Path(f"seed{seed}.log").write_text(f"routed {seed}")
    words = ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOP_CPHASE")
    Path(f"seed{seed}.config").write_text(f"{seed}\\n" + "".join(f"word: {word} 0000000\\n" for word in words))
    kinds = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
    reached = 60 + netlist["attributes"]["hash"] % 7 + {1: 1.0, 2: 3.0, 3: 2.0}[seed]
    Path(after("--report")).write_text(json.dumps({
        "fmax": {"$glbnet$clk": {"achieved": reached, "constraint": 1}}, "critical_paths": [],
        "utilization": {kind: {"used": netlist["attributes"]["hash"] % 100, "available": 100} for kind in kinds}}))
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Tools on PATH, so that processes find them too."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    for name in "yosys", "nextpnr-ecp5", "ecppack":
        (folder / name).write_text(TOOL.format(name=name, python=sys.executable, script=folder / "script.py"))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TEPAL_MARK", str(tmp_path / "mark"))
    return folder


BUILD = ["build", MODEL, "--board", "ulx3s-85f", "--small", "--seeds", "3"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_seeds(run, stand_ins, address, tmp_path):
    """The same files, and the stages are told as seeds that are through, with the time that those left will take."""
    reports, errs = [], []
    for name, more in ("here", []), ("there", ["--scheduler", address, "--json-progress"]):
        code, out, err = run(*BUILD, "-o", name, *more, "--json")
        assert code == 0
        reports.append({**json.loads(out), "directory": None})
        errs.append(err)
    assert reports[0] == reports[1]
    assert reports[0]["best_seed"] == 2
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert errs[0] == ""
    stages = [line["stage"] for line in map(json.loads, errs[1].splitlines()) if "stage" in line]
    assert [stage.partition(", about ")[0] for stage in stages] == [
        f"{done} of 3 seeds are placed and routed" for done in range(4)]
    assert [", about " in stage for stage in stages] == [False, True, True, False]


@pytest.mark.slow
def test_other_version_on_a_worker(refusal, stand_ins, two, monkeypatch):
    """Its results would be others: the processes of ``two`` were started before the stand-ins were on PATH."""
    each, _ = two
    monkeypatch.setattr("tepal.cli.build.asked_workers", lambda *_, **__: _given(each))
    sentence = refusal(*BUILD, "-o", "made")
    assert "nextpnr-ecp5 is version " in sentence
    assert " on a worker and 9.9 here: install the same one on both\n" in sentence


def _given(each):
    return contextlib.nullcontext(each)


EXPLORE = ["explore", MODEL, "--board", "ulx3s-85f", "--rows", "2", "--lanes", "2", "--points", "3", "--limit",
           "LUT4=15000"]


def untimed(text: str) -> dict:
    report = json.loads(text)
    assert report.pop("build_seconds") >= 0
    return report


def quick_build(schedule, board, step=lambda text: contextlib.nullcontext()):
    """Stands in for all of ``tepal build``: a clock that follows from the engine; no room for one."""
    with step("Synthesis") as tell:
        if tell:
            tell("seed 1: packing")
    config, cycles = schedule.config, CycleModel(schedule).in_memory_cycles
    if config.columns <= 4:
        raise ToolError(f"no room for {config.rows} rows")
    clock = 20.0 + config.columns
    return SimpleNamespace(report={
        "clock_mhz": clock, "in_memory_ms": cycles / clock / 1e3, "used": {"lut": config.columns}, "passed": True,
        "problem": None, "in_memory_cycles": cycles})


def test_explore_builds_the_same(run, stand_ins, address, monkeypatch):
    """In one process and by two threads of Dask's: in order, those that can't be built in their places."""
    monkeypatch.setattr(explore_command, "build", quick_build)
    here, there = (run(*EXPLORE, "--build", *more, "--json") for more in ([], ["--scheduler", address]))
    assert (here[0], here[2]) == (there[0], there[2]) == (0, "")
    assert untimed(here[1]) == untimed(there[1])
    report = json.loads(here[1])
    built = [entry for entry in report["front"] if "built" in entry]
    assert len(built) == 3
    assert "built" not in report["default"]
    assert built[0]["built"] == {"passed": False, "problem": "no room for 2 rows"}
    assert [entry["built"]["in_memory_cycles"] for entry in built[1:]] == [
        entry["in_memory_cycles"] for entry in built[1:]]
    told = run(*EXPLORE, "--build", "--scheduler", address)[1].splitlines()
    assert told[0].split()[:4] == ["cycles", "MHz", "ms", "lut"]
    assert [line.split()[1] for line in told[1:4]] == [
        "none", *(f"{20 + entry['engine']['columns']:.2f}" for entry in built[1:])]
    assert told[4] == f"{built[0]['options']}: no room for 2 rows"
    assert told[5].startswith("Place and route of 3 engines took ")


def test_explore_tells_of_the_engine_in_hand(run, monkeypatch):
    """Beside how many are built, the step and stage of the one that is; by itself, nobody looks at stages."""
    monkeypatch.setattr(explore_command, "build", quick_build)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=iter(range(10 ** 6)).__next__))
    lines = [json.loads(line) for line in run(*EXPLORE, "--build", "--json-progress")[2].splitlines()]
    told = [(line["done"], line.get("stage")) for line in lines if line["progress"] == "Place and route"]
    assert told == [(0, None), *((done, stage) for engine in range(3) for done, stage in (
        (engine, "Synthesis"), (engine, "seed 1: packing"), (engine + 1, None)))]
    looked = []

    def build(schedule, board, step):
        with step("Synthesis") as tell:
            looked.append(tell)
        return quick_build(schedule, board)
    monkeypatch.setattr(explore_command, "build", build)
    assert run(*EXPLORE, "--build")[0] == 0
    assert looked == [None] * 3


@pytest.mark.slow
def test_explore_builds(run, stand_ins, address):
    """As ``build`` does."""
    code, out, err = run(*EXPLORE, "--build", "--scheduler", address, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    entries = [entry for entry in report["front"] if "built" in entry]
    assert len(entries) == 3
    for entry in entries:
        built = entry["built"]
        assert built["in_memory_cycles"] == entry["in_memory_cycles"]
        assert built["in_memory_ms"] == pytest.approx(entry["in_memory_cycles"] / built["clock_mhz"] / 1e3, abs=1e-6)
    # What build itself says of one of them.
    code, out, _ = run("build", MODEL, "--board", "ulx3s-85f", *entries[0]["options"].split(), "-o", "one", "--json")
    assert code == 0
    assert {name: json.loads(out)[name] for name in entries[0]["built"]} == entries[0]["built"]


@pytest.mark.slow
def test_explore_of_engines_that_fail(run, refusal, stand_ins):
    """One that nextpnr has no room for is told beside the others; if none has a way, that is the end."""
    script = (stand_ins / "script.py").read_text()
    (stand_ins / "script.py").write_text(script.replace(
        "    netlist =", "    if not mark.exists():\n        mark.touch()\n"
        "        print('ERROR: no way', file=sys.stderr)\n        sys.exit(1)\n    netlist ="))
    code, out, _ = run(*EXPLORE, "--build")
    assert code == 0
    assert out.count("nextpnr-ecp5 failed: ERROR: no way (seed 1)") == 1
    (stand_ins / "script.py").write_text("import sys; sys.exit('ERROR: broken')")
    assert "yosys failed: ERROR: broken" in refusal(*EXPLORE, "--build")


@pytest.mark.parametrize(("argv", "sentence"), [
    (["--scheduler", "local:2"], "--scheduler is for what --build does: give --build too, or leave --scheduler out"),
    (["--build", "--board", "generic"], "the board generic is no board to build for"),
])
def test_explore_refuses(refusal, argv, sentence):
    assert sentence in refusal(*EXPLORE, *argv)


@pytest.mark.slow
def test_killed_worker_of_a_build(run, stand_ins, monkeypatch, tmp_path):
    """In the midst of place and route, by two processes: the same bitstream."""
    code, _, err = run(*BUILD, "-o", "here")
    assert (code, err) == (0, "")
    (tmp_path / "mark").unlink()
    monkeypatch.setenv("TEPAL_DEADLY", "1")
    code, _, err = run(*BUILD, "-o", "there", "--scheduler", "local:2")
    assert code == 0
    assert (tmp_path / "mark").exists()
    assert "died or left: others do its jobs again" in err
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(tmp_path, stand_ins, number):
    """A command that is ended, even killed, takes its cluster and the tools along."""
    for name in "yosys", "nextpnr-ecp5":
        text = (stand_ins / name).read_text()
        (stand_ins / name).write_text(text.replace(
            "exec", '[ "${0##*/}" = yosys ] || { touch "$TEPAL_MARK"; sleep 1000; }\nexec'))
    (tmp_path / "tmp").mkdir()
    argv = [*map(str, BUILD), "-o", "made", "--scheduler", "local:2"]
    command = subprocess.Popen([sys.executable, "-m", "tepal", *argv], cwd=tmp_path, text=True,
                               env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    while not (tmp_path / "mark").exists():
        assert command.poll() is None, command.communicate()
        time.sleep(0.01)
    assert _marked(tmp_path)
    command.send_signal(number)
    # The pipes are closed when the last process that has them is gone.
    out, err = command.communicate(timeout=120)
    assert command.returncode == -number
    said = {signal.SIGINT: "tepal: interrupted\n", signal.SIGTERM: "tepal: terminated\n", signal.SIGKILL: ""}[number]
    assert (out, err) == ("", said)
    until = time.monotonic() + 60
    while _marked(tmp_path) and time.monotonic() < until:
        # Of one that was killed, the cluster notices it.
        time.sleep(0.1)
    assert _marked(tmp_path) == []
    # Of a command that was killed its own folder is left.
    assert number == signal.SIGKILL or list((tmp_path / "tmp").iterdir()) == []


def _marked(folder: Path) -> list[str]:
    """Processes that a test's command has started, however far from it they are now."""
    found = []
    for process in processes._processes():
        try:
            if process != os.getpid() and f"TEPAL_MARK={folder / 'mark'}\0".encode() in Path(
                    f"/proc/{process}/environ").read_bytes():
                found.append(Path(f"/proc/{process}/cmdline").read_text())
        except OSError:
            pass
    return found
