# SPDX-License-Identifier: Apache-2.0
"""A command that is interrupted, at any moment, leaves no process, no temporary folder and no traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from networks import fast
from tepal import processes

EXAMPLES = Path(__file__).parents[1] / "examples"
DIGITS = EXAMPLES / "digits"
MODEL = DIGITS / "digits.tflite"
ENGINE = ["--rows", "2", "--columns", "2", "--lanes", "2", "--window", "1x1"]
GENERIC = ["--board", "generic", *ENGINE]
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

SLOW = """#!/bin/sh
# Answers what versions are asked for; otherwise starts one that is deaf to SIGTERM, says so, and never ends.
case "$*" in -V|--version) echo "tool 9.9"; exit;; -E*) exit;; esac
trap '' TERM
sleep 1000 &
touch "$TEPAL_MARK/started.$$"
mktemp >/dev/null
wait
sleep 1000
"""


class Started:
    """A ``tepal`` process with slow tools, in a folder of its own."""

    def __init__(self, folder: Path, argv: list[str]):
        self.temporary, tools = folder / "tmp", folder / "tools"
        self.temporary.mkdir()
        tools.mkdir()
        for name in "g++", "c++", "yosys", "nextpnr-ecp5", "ecppack", "openFPGALoader":
            (tools / name).write_text(SLOW)
            (tools / name).chmod(0o755)
        self.mark = str(folder)
        self.begun = folder / "started"
        environment = {**os.environ, "TMPDIR": str(self.temporary), "TEPAL_MARK": self.mark,
                       "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        # Of the tests' own, which compiles by itself.
        environment.pop("OBJCACHE", None)
        self.process = subprocess.Popen([sys.executable, "-m", "tepal", *map(str, argv)], cwd=folder, text=True,
                                        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL)

    def wait_for_tool(self) -> None:
        self.until(lambda: any(Path(self.mark).glob("started.*")))

    def wait_for_handler(self) -> None:
        """Python itself is up, and the command's first line has run."""
        status = Path(f"/proc/{self.process.pid}/status")

        def caught() -> bool:
            line = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
            return bool(int(line.split()[1], 16) & 1 << signal.SIGTERM - 1)
        self.until(caught)

    def until(self, condition) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def left(self) -> list[str]:
        """Processes that this one has started, however far from it they are now."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"TEPAL_MARK={self.mark}\0".encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                pass
        return found

    def check_end(self, number: int) -> None:
        self.process.send_signal(number)
        begun = time.monotonic()
        out, err = self.process.communicate(timeout=60)
        assert (self.process.returncode, out, err) == (-number, "", f"tepal: {SAID[number]}\n")
        assert time.monotonic() - begun < 30
        assert self.left() == []
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def start(tmp_path):
    started = []
    # Tests that run in the background themselves ignore signals, which what they start would inherit.
    before = {number: signal.signal(number, signal.default_int_handler) for number in SAID}

    def start(*argv) -> Started:
        folder = tmp_path / f"run{len(started)}"
        folder.mkdir()
        started.append(Started(folder, list(argv)))
        return started[-1]
    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()
        # Of one that was through before its signal, nobody has read what it said.
        for stream in each.process.stdout, each.process.stderr:
            assert stream
            stream.close()
    for number, handler in before.items():
        signal.signal(number, handler)


COMMANDS = {
    "simulate": ["simulate", MODEL, *GENERIC, "--input", DIGITS / "inputs.npy"],
    "serve": ["simulate", MODEL, "--board", "ulx3s-25f", *ENGINE, "--serve"],
    "build": ["build", MODEL, "--board", "ulx3s-25f", *ENGINE, "-o", "made", "--seeds", "2"],
    "program": ["program", "tepal.bit", "--board", "ulx3s"],
}
"""Those that start other programs."""


@pytest.mark.parametrize(("name", "number"), fast([
    ("simulate", signal.SIGTERM), ("build", signal.SIGINT), ("program", signal.SIGTERM), ("serve", signal.SIGHUP),
    ("simulate", signal.SIGINT), ("build", signal.SIGTERM), ("program", signal.SIGINT)], 3))
def test_while_a_tool_runs(start, name, number, tmp_path):
    """With all that the tool has started, though that does not want to end."""
    (tmp_path / "run0").mkdir()
    (tmp_path / "run0/tepal.bit").write_text("bits")
    (tmp_path / "run0").rename(tmp_path / "bits")
    started = start(*COMMANDS[name][:1], *(tmp_path / "bits/tepal.bit" if word == "tepal.bit" else word
                                           for word in COMMANDS[name][1:]))
    started.wait_for_tool()
    assert started.left()
    started.check_end(number)
    assert not (tmp_path / "run0/made").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_in_the_first_second(start, number, seconds):
    """While modules are imported, and after."""
    started = start(*COMMANDS["simulate"])
    started.wait_for_handler()
    time.sleep(seconds)
    started.check_end(number)


def test_generate(start):
    """While yosys, the real one, makes Verilog: at whatever moment."""
    whole = start("generate", MODEL, *GENERIC, "-o", "whole")
    whole.wait_for_handler()
    begun = time.monotonic()
    assert whole.process.wait() == 0
    took = time.monotonic() - begun
    # Not near the end, where on a machine of changing speed all may have been written.
    for share in 0.2, 0.4, 0.6:
        started = start("generate", MODEL, *GENERIC, "-o", "made")
        started.wait_for_handler()
        time.sleep(share * took)
        started.check_end(signal.SIGTERM)


def test_ignored_signals_stay_ignored(start, tmp_path):
    """Under nohup, a closed terminal does not end a long build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", _nohup(subprocess.Popen.__init__))
        started = start(*COMMANDS["build"])
    started.wait_for_tool()
    started.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert started.process.poll() is None
    started.check_end(signal.SIGTERM)


def _nohup(init):
    def ignoring(self, *arguments, **options):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            init(self, *arguments, **options | {"restore_signals": False})
        finally:
            signal.signal(signal.SIGHUP, before)
    return ignoring


# -- as a library --------------------------------------------------------------------------------------


def test_run(tmp_path):
    done = processes.run(["sh", "-c", "cat; echo out; echo err >&2; pwd; exit 3"], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"out\n{tmp_path}\n", "err\n")
    done = processes.run(["sh", "-c", 'mktemp; echo "$ONE"'], env={**os.environ, "ONE": "1"})
    path, one = done.stdout.split()
    assert (one, Path(path).exists()) == ("1", False)
    with pytest.raises(FileNotFoundError):
        processes.run(["no-such-program"])


def test_timeout_ends_the_whole_group(tmp_path):
    script = f"(trap '' TERM; echo $$ > {tmp_path}/pid; exec sleep 1000) & wait"
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sh", "-c", script], timeout=0.5)
    assert not processes._running
    assert not processes._folders


def test_folders():
    with processes.temporary_folder() as directory:
        (directory / "a").mkdir()
        (directory / "a/b").write_text("x")
    assert not directory.exists()
    with pytest.raises(KeyError), processes.temporary_folder() as directory:
        raise KeyError
    assert not directory.exists()
    with processes.temporary_folder() as directory:
        processes.keep(directory)
    directory.rmdir()
    assert not processes._folders


def test_held(tmp_path):
    """A signal waits for what must not be interrupted, in any thread, and then ends the command."""
    script = """
import os, signal, sys, threading, time
from tepal import __main__, processes
for number in __main__.ENDS: signal.signal(number, __main__._end)
def work():
    with processes.held():
        print("held", flush=True)
        time.sleep(1)
        open("done", "w").close()
if sys.argv[1] == "main": work()
else:
    thread = threading.Thread(target=work); thread.start(); thread.join()
time.sleep(60)
"""
    for where in "main", "thread":
        process = subprocess.Popen([sys.executable, "-c", script, where], cwd=tmp_path, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.communicate(timeout=30) == ("", "tepal: terminated\n")
        assert process.returncode == -signal.SIGTERM
        assert time.monotonic() - begun < 20
        (tmp_path / "done").unlink()


def test_model_is_written_whole(tmp_path):
    """A signal while the quantised model is written: the file is there, and nothing beside it."""
    script = f"""
import signal, time
from pathlib import Path
from tepal import __main__
from tepal.quant import read_model, write_onnx
for number in __main__.ENDS: signal.signal(number, __main__._end)
replace = Path.replace
def slowly(self, target):
    print("writing", flush=True)
    time.sleep(1)
    return replace(self, target)
Path.replace = slowly
write_onnx(read_model({str(MODEL)!r}), "model.onnx")
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30) == ("", "tepal: terminated\n")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
