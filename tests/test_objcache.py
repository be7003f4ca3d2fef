# SPDX-License-Identifier: Apache-2.0
"""Compiled files are kept for tests by what they are made of."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("objcache.sh")


@pytest.fixture
def compile_in(tmp_path, monkeypatch):
    """Calls what stands for a compiler in the folder of a design: (what it made, how often it has run)."""
    compiler, calls = tmp_path / "compiler", tmp_path / "calls"
    # What it makes is the file and all headers beside it, behind what it was asked for; the last but one word is -o.
    compiler.write_text('#!/bin/sh\necho >> "$CALLS"\n'
                        'flag=$1; shift\nwhile [ $# -gt 1 ]; do [ "$1" = -o ] && output=$2; shift; done\n'
                        '[ -n "$output" ] || output=$(basename "$1" .cpp).o\n'
                        '{ echo "$flag"; cat "$1" *.h; } > "$output"\n')
    compiler.chmod(0o755)
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("TEPAL_OBJECTS", str(tmp_path / "objects"))
    monkeypatch.setenv("CALLS", str(calls))

    def compile_in(design: str, *, flag="-O0", source="part.cpp", header="", text="", output="part.o"):
        folder = tmp_path / design
        folder.mkdir(exist_ok=True)
        (folder / "part.h").write_text(header)
        (folder / source).write_text(text)
        subprocess.run(["sh", SCRIPT, compiler, flag, "-c", "-o", output, source], cwd=folder, check=True)
        return (folder / output).read_text(), len(calls.read_text().splitlines())

    return compile_in


def test_equal_designs_are_compiled_once(compile_in):
    made, calls = compile_in("one", header="h", text="t", output="fast.o")
    assert (made, calls) == ("-O0\nth", 1)
    assert compile_in("two", header="h", text="t", output="slow.o") == (made, 1)


@pytest.mark.parametrize("change", [{"text": "other"}, {"header": "other"}, {"flag": "-O2"}])
def test_files_of_one_name(compile_in, change):
    """Of two designs, which differ in the file, in what it includes, or in how they are compiled."""
    before, _ = compile_in("one")
    after, calls = compile_in("two", **change)
    assert calls == 2
    assert before != after
    assert compile_in("one") == (before, 2)


def test_the_runtime_is_the_same_for_every_design(compile_in, tmp_path):
    runtime = str(tmp_path / "verilated.cpp")
    made, _ = compile_in("one", source=runtime, text="runtime")
    assert compile_in("two", source=runtime, header="other", text="runtime") == (made, 1)


def test_what_fails_is_not_kept(compile_in, tmp_path):
    (tmp_path / "compiler").chmod(0o644)
    with pytest.raises(subprocess.CalledProcessError):
        compile_in("one")
    (tmp_path / "compiler").chmod(0o755)
    assert compile_in("one")[1] == 1
