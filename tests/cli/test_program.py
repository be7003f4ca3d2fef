# SPDX-License-Identifier: Apache-2.0
"""``tepal program`` with programs in place of openFPGALoader and dfu-util that write down what they are told."""

import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from tepal.boards.flow.build import bitstream_name
from tepal.boards.registry import BOARDS

WEIGHTS = 1 << 20


@pytest.fixture
def tools(tmp_path_factory, monkeypatch):
    """A folder that is all of PATH, with the tools; they keep their arguments, and a copy of their file."""
    folder = tmp_path_factory.mktemp("tools")
    for name in "openFPGALoader", "dfu-util", "iceprog":
        (folder / name).write_text(f"""#!/bin/sh
            printf '%s\\n' {name} "$@" . >> {folder}/calls
            for file; do :; done
            /bin/cat "$file" > {folder}/content
        """)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def calls(tools: Path) -> list[list[str]]:
    """What was called since the last time."""
    path = tools / "calls"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return [call.split("\n") for call in text.split("\n.\n")[:-1]]


@pytest.fixture
def built(tmp_path_factory):
    """Makes a folder as ``tepal build`` does."""
    def built(board: str, **more) -> Path:
        folder = tmp_path_factory.mktemp(board)
        (folder / "report.json").write_text(json.dumps({"board": board, "passed": True, **more}))
        name = bitstream_name(BOARDS[board].part.family)
        (folder / name).write_bytes(b"bits for " + board.encode())
        return folder
    return built


@pytest.mark.parametrize(("board", "name"), [("ulx3s-85f", "ulx3s"), ("ecpix5-85f", "ecpix5")])
def test_ecp5(run, tools, built, board, name):
    folder = built(board)
    file = str(folder / "tepal.bit")
    assert run("program", folder, "--board", board) == (0, f"Programmed {board} with {file}.\n", "")
    assert calls(tools) == [["openFPGALoader", "--board", name, file]]
    code, out, err = run("program", file, "--board", name, "--flash", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"board": name, "tool": str(tools / "openFPGALoader"), "files": [file]}
    assert calls(tools) == [["openFPGALoader", "--board", name, "--write-flash", file]]


def test_icebreaker(run, tools, built):
    """Weights first: the board starts when its bitstream is written."""
    folder = built("icebreaker", flash={"file": "weights.bin", "offset": WEIGHTS})
    (folder / "weights.bin").write_bytes(b"weights")
    code, out, err = run("program", folder, "--board", "icebreaker", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["files"] == [str(folder / "weights.bin"), str(folder / "tepal.bin")]
    assert calls(tools) == [
        ["openFPGALoader", "--board", "ice40_generic", "--write-flash", "--offset", str(WEIGHTS),
         str(folder / "weights.bin")],
        ["openFPGALoader", "--board", "ice40_generic", str(folder / "tepal.bin")]]
    folder = built("icebreaker")
    assert run("program", folder, "--board", "icebreaker")[0] == 0
    assert calls(tools) == [["openFPGALoader", "--board", "ice40_generic", str(folder / "tepal.bin")]]


@pytest.mark.parametrize("more", [[], ["--flash"]])
def test_weights_beside_an_ecp5(run, tools, built, more):
    """They always go to the flash memory, and the bitstream where it is to go."""
    folder = built("ulx3s-85f", flash={"file": "tepal_weights.bin", "offset": 2 * WEIGHTS})
    (folder / "tepal_weights.bin").write_bytes(b"weights")
    assert run("program", folder, "--board", "ulx3s", *more)[0] == 0
    loader = ["openFPGALoader", "--board", "ulx3s"]
    assert calls(tools) == [
        [*loader, "--write-flash", "--offset", str(2 * WEIGHTS), str(folder / "tepal_weights.bin")],
        [*loader, *(["--write-flash"] if more else []), str(folder / "tepal.bit")]]


@pytest.mark.parametrize(("board", "offset"), [("upduino-v3", 1 << 20), ("icebreaker-bitsy", 0xA0000)])
def test_weights_by_other_tools(run, tools, built, board, offset):
    """At their place in the flash memory, or where the boot loader has one for them; the bitstream follows."""
    assert BOARDS[board].flash.offset == offset
    folder = built(board, flash={"file": "weights.bin", "offset": offset})
    (folder / "weights.bin").write_bytes(b"weights")
    assert run("program", folder, "--board", board)[0] == 0
    if board == "upduino-v3":
        assert calls(tools) == [["iceprog", "-o", str(offset), str(folder / "weights.bin")],
                                ["iceprog", str(folder / "tepal.bin")]]
    else:
        assert [call[:-1] for call in calls(tools)] == [
            ["dfu-util", "--device", "1d50:6146", "--alt", setting, "--download"] for setting in "10"]
    assert "give the folder that tepal build wrote" in run("program", folder / "tepal.bin", "--board", board)[2]


def test_orangecrab(run, tools, built):
    """The boot loader's USB identity stands in the file's suffix."""
    folder = built("orangecrab-85f")
    assert run("program", folder, "--board", "orangecrab-85f")[0] == 0
    (*call, file), = calls(tools)
    assert call == ["dfu-util", "--device", "1209:5af0", "--alt", "0", "--download"]
    assert Path(file).suffix == ".dfu"
    assert not Path(file).exists()
    content = (tools / "content").read_bytes()
    bits, suffix = content[:-16], content[-16:]
    assert bits == (folder / "tepal.bit").read_bytes()
    assert suffix[:12] == bytes([255, 255, 0xF0, 0x5A, 0x09, 0x12, 0, 1]) + b"UFD" + bytes([16])
    # The CRC of all that is before it, not inverted: that of a whole file is always the same.
    assert zlib.crc32(content[:-4]) ^ 0xFFFFFFFF == int.from_bytes(suffix[12:], "little")


def test_current_folder(run, tools, built, monkeypatch):
    monkeypatch.chdir(built("ulx3s-85f"))
    assert run("program", "--board", "ulx3s-85f")[0] == 0
    assert calls(tools) == [["openFPGALoader", "--board", "ulx3s", "tepal.bit"]]


def test_slow_design_is_told(run, tools, built):
    folder = built("ulx3s-85f", passed=False)
    code, _, err = run("program", folder, "--board", "ulx3s-85f")
    assert (code, err) == (0, f"{folder} was built for a clock that it does not reach: it may compute wrongly.\n")


@pytest.mark.parametrize(("board", "tool", "package"), [
    ("ulx3s-85f", "openFPGALoader", "openfpgaloader"), ("orangecrab-85f", "dfu-util", "dfu-util")])
def test_missing_tool(refusal, tools, built, board, tool, package):
    (tools / tool).unlink()
    assert refusal("program", built(board), "--board", board) == (
        f"tepal: {tool} was not found: install it with 'apt-get install {package}'\n")


def test_failing_tool(refusal, tools, built):
    (tools / "openFPGALoader").write_text("#!/bin/sh\necho working\necho JTAG init failed >&2\nexit 1\n")
    assert refusal("program", built("ulx3s-85f"), "--board", "ulx3s-85f") == (
        "tepal: openFPGALoader failed (JTAG init failed): is the board connected, and may you use it?\n")


@pytest.mark.parametrize(("change", "board", "sentence"), [
    (lambda folder: None, "generic", "--board generic: it can't be programmed from here (known: "
                                     f"{', '.join(name for name, board in BOARDS.items() if board.programmer)})"),
    (lambda folder: None, "icesugar", "--board icesugar: it can't be programmed from here (write it with icesprog: -o "
                                      "0x100000 flash.bin, then tepal.bin)"),
    (lambda folder: None, "ecpix5-85f", "DIR was built for icebreaker, not for ecpix5-85f"),
    (lambda folder: (folder / "tepal.bin").unlink(), "icebreaker",
     "there is no DIR/tepal.bin: make it with tepal build --board icebreaker -o DIR"),
    (lambda folder: (folder / "weights.bin").unlink(), "icebreaker",
     "there is no DIR/weights.bin: make it with tepal build --board icebreaker -o DIR"),
    (lambda folder: (folder / "report.json").unlink(), "icebreaker",
     "DIR/report.json can't be read (No such file or directory): give the folder that tepal build wrote"),
    (lambda folder: (folder / "report.json").write_text("{"), "icebreaker", "DIR/report.json is damaged: build again"),
    (lambda folder: (folder / "report.json").write_text('{"flash": {"file": "../x", "offset": 65536}}'), "icebreaker",
     "DIR/report.json is damaged: build again"),
    (lambda folder: (folder / "report.json").write_text('{"flash": {"file": "weights.bin", "offset": 65000}}'),
     "icebreaker", "DIR/report.json: flash offset 65000 is no multiple of 65536, so that writing there would erase "
                   "what is before it"),
])
def test_refusals(refusal, tools, built, change, board, sentence):
    folder = built("icebreaker", flash={"file": "weights.bin", "offset": WEIGHTS})
    (folder / "weights.bin").write_bytes(b"weights")
    change(folder)
    assert refusal("program", folder, "--board", board) == f"tepal: {sentence.replace('DIR', str(folder))}\n"
    assert calls(tools) == []


def test_unknown_board(refusal, tools, built):
    told = refusal("program", built("icebreaker"), "--board", "icebraker")
    assert re.match("tepal: there is no board 'icebraker'; did you mean icebreaker", told)
    assert told.endswith(f" (known: {', '.join(BOARDS)}; or a file of your own, my_board.py)\n")


def test_another_variant(refusal, tools, built):
    """A bitstream for one part is none for another, though the boards are called alike."""
    folder = built("ulx3s-85f")
    assert refusal("program", folder, "--board", "ulx3s-25f") == (
        f"tepal: {folder} was built for ulx3s-85f, not for ulx3s-25f\n")
    assert calls(tools) == []


def test_variants_that_are_programmed_differently(refusal, tools, built, monkeypatch):
    monkeypatch.setitem(BOARDS, "ulx3s-45f", replace(BOARDS["ulx3s-45f"], programmer=BOARDS["icebreaker"].programmer))
    assert refusal("program", built("ulx3s-85f"), "--board", "ulx3s") == (
        "tepal: --board ulx3s: say which one (ulx3s-85f, ulx3s-45f, ulx3s-25f, ulx3s-12f), for they are programmed in "
        "different ways\n")
    assert calls(tools) == []


@pytest.mark.parametrize("board", [board.name for board in BOARDS.values() if board.platform])
def test_every_board_that_is_built_for_is_programmed(run, refusal, tools, built, board):
    """Or its user is told how it is."""
    if BOARDS[board].programmer is None:
        assert BOARDS[board].notes.startswith("write it with ")
        assert BOARDS[board].notes in refusal("program", built(board), "--board", board)
        return
    assert run("program", built(board), "--board", board)[0] == 0
    assert len(calls(tools)) == 1


@pytest.mark.parametrize(("name", "board", "more", "sentence"), [
    ("none", "ulx3s", [], r"there is no folder or bitstream \S+/none: make one with tepal build"),
    ("tepal.bit", "icebreaker", [], r"\S+tepal.bit is no bitstream for icebreaker, whose names end in .bin"),
    ("tepal.bin", "icebreaker", [], r"\S+tepal.bin: give the folder that tepal build wrote, for icebreaker needs the "
                                    "weights in it as well"),
    ("tepal.bit", "orangecrab", ["--flash"], "--flash: on orangecrab a bitstream is always written to the flash "
                                             "memory; leave it out"),
])
def test_refused_files(refusal, tools, built, name, board, more, sentence):
    folder = built("ulx3s-85f")
    (folder / "tepal.bin").write_bytes(b"bits")
    assert re.fullmatch(f"tepal: {sentence}\n", refusal("program", folder / name, "--board", board, *more))
    assert calls(tools) == []
