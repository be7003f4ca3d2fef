# SPDX-License-Identifier: Apache-2.0
"""What a shell offers at the press of a key."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tepal.boards.registry import BOARDS
from tepal.cli.completion import SHELLS
from tepal.cli.main import COMMANDS


@pytest.fixture
def offered(tmp_path):
    """The words that a shell is told for a line with the cursor at its end, or at ``|``."""
    for name in "model.tflite", "model.onnx", "notes.txt", "mine.py":
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()

    def offered(line: str) -> set[str]:
        out = tmp_path.parent / f"{tmp_path.name}.out"
        before, _, after = line.partition("|")
        environment = {**os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SHELL": "bash",
                       "_ARGCOMPLETE_STDOUT_FILENAME": str(out), "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
                       "COMP_LINE": before + after, "COMP_POINT": str(len(before)), "COMP_TYPE": "9"}
        done = subprocess.run([sys.executable, "-m", "tepal"], env=environment, cwd=tmp_path, capture_output=True,
                              text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return {word.rstrip() for word in out.read_text().split("\n") if word}
    return offered


def test_commands_and_options(offered):
    assert offered("tepal ") == set(COMMANDS)
    assert offered("tepal es| --json") == {"estimate"}
    assert {"--seeds", "--clock", "--debug", "--board"} <= offered("tepal build --")
    assert offered("tepal build --board ulx3s-8") == {"ulx3s-85f"}


@pytest.mark.slow
@pytest.mark.parametrize(("line", "words"), [
    ("tepal --json ex", {"explore"}), ("tepal nonsense --b", set()), ("tepal build model.onnx --bo", {"--board"}),
    # Boards and files of one's own; models; choices; any file where one is taken, and nothing for a number.
    ("tepal build --board ", {*BOARDS, "mine.py", "folder/"}),
    ("tepal estimate m", {"model.tflite", "model.onnx"}),
    ("tepal serve model.onnx --classes n", {"notes.txt"}),
    ("tepal run model.onnx x --layout ", {"rgb", "bgr", "grey"}),
    ("tepal build --seeds ", set()), ("tepal completion ", set(SHELLS)),
])
def test_more_of_them(offered, line, words):
    assert offered(line) == words


def ask(shell: str, script: str, folder: Path) -> list[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([shell, "-c", script], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash(tmp_path):
    """What is printed does its work in the shell itself."""
    assert ask("bash", """
        eval "$(tepal completion bash)"
        function=$(complete -p tepal | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        COMP_LINE="tepal build --board ulx3s-8" COMP_POINT=27 COMP_TYPE=9 COMP_WORDBREAKS=" " $function tepal
        printf '%s\\n' "${COMPREPLY[@]}" """, tmp_path) == ["ulx3s-85f"]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish isn't installed")
def test_fish(tmp_path):
    assert ask("fish", "tepal completion fish | source; complete -C 'tepal build --board ulx3s-8'", tmp_path) == [
        "ulx3s-85f"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh isn't installed")
def test_zsh(tmp_path):
    assert ask("zsh", "autoload -U compinit; compinit -D; eval \"$(tepal completion zsh)\"; echo $_comps[tepal]",
               tmp_path) == ["_python_argcomplete"]


@pytest.mark.parametrize("shell", SHELLS)
def test_printed(run, shell):
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    assert "tepal" in out
    assert ("function __fish_tepal_complete" in out) == (shell == "fish")


def test_other_shells(run):
    code, _, err = run("completion", "tcsh")
    assert code == 2
    assert "invalid choice: 'tcsh'" in err
