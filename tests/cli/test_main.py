# SPDX-License-Identifier: Apache-2.0
"""How commands end: exit codes, the one sentence, and what else the command line takes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tepal
from tepal.cli import boards
from tepal.cli.main import COMMANDS, main
from tepal.hdl import ConfigError

ROOT = Path(__file__).parents[2]


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, with the ``tepal`` of this Python."""
    return subprocess.run(["bash", "-c", f"set -o pipefail; tepal() {{ {sys.executable} -m tepal \"$@\"; }}; {line}"],
                          capture_output=True, text=True, env={**os.environ, **environment})


def test_alone(capsys):
    assert main([]) == 0
    shown = capsys.readouterr()
    assert (shown.out[:13], shown.err) == ("usage: tepal ", "")
    assert all(f"  {name} " in shown.out for name in COMMANDS)


def test_version():
    """One place has it; the command, the package and the installed metadata tell it."""
    wanted, = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert tepal.__version__ == wanted
    for start in [sys.executable, "-m", "tepal"], [Path(sys.executable).with_name("tepal")]:
        done = subprocess.run([*start, "--version"], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"tepal {wanted}\n", "")
    with pytest.raises(AttributeError):
        _ = tepal.nothing


def test_json_before_the_command(capsys):
    """It may stand on either side, and is asked for once."""
    told = []
    for argv in ["--json", "ops"], ["ops", "--json"], ["ops"]:
        assert main(argv) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != told[2]
    assert json.loads(told[0])


@pytest.mark.parametrize("module", ["ulx3s", "icebreaker", "orangecrab", "ecpix5"])
def test_board_tells_of_itself(module):
    """All of it; and to a reader that goes, nothing, with the exit code of a broken pipe."""
    command = f"{sys.executable} -m tepal.boards.{module}"
    done = shell(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Build with: tepal build MODEL --board " in done.stdout
    gone = shell(f"{{ sleep 0.1; exec {command}; }} | true")
    assert (gone.returncode, gone.stderr) == (141, "")


@pytest.mark.parametrize(("argv", "sentence"), [
    (["simulat"], "tepal: there is no command 'simulat'; did you mean simulate?; see 'tepal --help'"),
    (["frobnicate"], "tepal: there is no command 'frobnicate'; see 'tepal --help'"),
    (["boards", "--jsno"], "tepal boards: there is no option --jsno; did you mean --json?; see 'tepal boards --help'"),
    (["estimate", "m", "--board", "b", "--simplifi=3"],
     "tepal estimate: there is no option --simplifi; did you mean --simplify?; see 'tepal estimate --help'"),
    (["boards", "more"], "tepal: unrecognized arguments: more; see 'tepal --help'"),
])
def test_slips(argv, sentence, capsys):
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", sentence + "\n")


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_at_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*filter(None, [name]), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 80
    # Names have hyphens, and are not broken at them.
    assert not [line for line in lines if re.search(r"[\w]-$", line)]


# -- exit codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "code", "sentence"), [
    (ValueError("two\nlines"), 4, r"tepal: a mistake in Tepal itself \(ValueError: two lines\): please report it, with "
                                  r"this command line and what it prints with TEPAL_DEBUG=1 set"),
    (ZeroDivisionError("division by zero"), 4, "tepal: a mistake in Tepal itself .*"),
    (AssertionError(), 4, r"tepal: a mistake in Tepal itself \(AssertionError:\): .*"),
    (SystemExit(1), 4, r"tepal: a mistake in Tepal itself \(RuntimeError: a library ended the program \(1\)\): .*"),
    (SystemExit("no"), 4, r"tepal: a mistake in Tepal itself .*"),
    (ModuleNotFoundError("No module named 'onnx'"), 4, ".*No module named 'onnx'.*"),
    (RecursionError("deep"), 4, "tepal: a mistake in Tepal itself .*"),
    (MemoryError(), 2, "tepal: out of memory"),
    (ConfigError("no such engine"), 2, "tepal: no such engine"),
    (ArithmeticError("no exact requantiser"), 2, "tepal: no exact requantiser"),
    (FileNotFoundError(2, "No such file or directory", "x.npy"), 2, "tepal: No such file or directory: x.npy"),
    (KeyboardInterrupt(), 130, "tepal: interrupted"),
    (BrokenPipeError(32, "Broken pipe"), 141, None),
], ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "")
def test_no_error_is_a_mismatch(error, code, sentence, capfd, monkeypatch):
    """Exit code 1 says that the device or the simulation computes wrongly; nothing else may."""
    def run(_):
        raise error
    monkeypatch.setattr(boards, "run", run)
    monkeypatch.delenv("TEPAL_DEBUG", raising=False)
    assert main(["boards"]) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert re.fullmatch(f"{sentence}\n", shown.err) if sentence else shown.err == ""
    if code == 4:
        monkeypatch.setenv("TEPAL_DEBUG", "1")
        assert main(["boards"]) == code
        assert capfd.readouterr().err.startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize("command", ["boards", "boards --json", "--help", "boards --help",
                                     "family --alpha 0.25 --resolution 128 --classes 10"])
def test_no_reader(command):
    """As with other programs, a reader that has seen enough is no error worth a word."""
    done = shell(f"tepal {command} | true")
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.parametrize("command", ["boards", "boards --json", "--help", "--version"])
def test_full_disk(command):
    done = shell(f"tepal {command} > /dev/full")
    assert (done.returncode, done.stderr) == (2, "tepal: No space left on device\n")
    assert shell(f"tepal {command} > /dev/full 2>&1").returncode == 2


def test_closed_streams():
    assert shell("tepal boards >&- 2>&-").returncode in (0, 2)
    done = shell("tepal estimate nothing --board ulx3s-85f 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("early", ["pass", "raise KeyboardInterrupt", "import os; os.kill(os.getpid(), 2)"])
def test_interrupted_while_importing(early, tmp_path):
    """The command's own modules are imported after signals are looked after."""
    (tmp_path / "numpy.py").write_text(f"{early}\nraise ImportError('numpy is not itself')\n")
    done = subprocess.run([sys.executable, "-m", "tepal", "boards"], capture_output=True, text=True, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})
    if early == "pass":
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("tepal: a mistake in Tepal itself (ImportError: numpy is not itself)")
    else:
        assert done.returncode in (-signal.SIGINT, 130)
        assert done.stderr == "tepal: interrupted\n"
