# SPDX-License-Identifier: Apache-2.0
"""A design's folder: the old one, the new one, or none, whatever happens, and nobody else's files touched."""

import errno
import itertools
import json
import os
import re
from pathlib import Path

import pytest
from tepal import processes
from tepal.boards.flow import folder
from tepal.boards.flow.folder import MANIFEST, require_room, write_files
from tepal.quant import NetworkError

OLD = {"tepal.v": "old", "a.hex": "old", "weights.bin": b"old", "tepal.json": "old"}
NEW = {"tepal.v": "new", "a.hex": "new", "b.hex": b"new", "tepal.json": "new"}


def content(directory: Path) -> dict[str, str]:
    """All files and folders but the manifest."""
    return {path.name: path.read_text() if path.is_file() else "folder" for path in directory.iterdir()
            if path.name != MANIFEST}


def texts(files) -> dict[str, str]:
    return {name: text if isinstance(text, str) else text.decode() for name, text in files.items()}


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with the old design and a user's own files."""
    write_files(OLD, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "mine.hex").write_text("mine")
    return tmp_path


MINE = {"notes.txt": "mine", "mine.hex": "mine"}


def test_replaced(place):
    """Nothing of another board's design stays, such as its weights; the user's files do."""
    assert content(place) == texts(OLD) | MINE
    write_files(NEW, place)
    assert content(place) == texts(NEW) | MINE
    write_files(OLD, place)
    assert content(place) == texts(OLD) | MINE
    assert json.loads((place / MANIFEST).read_text()) == {"files": sorted(OLD)}


def test_files_that_come_later(place):
    write_files(NEW, place, also=["run.log"])
    (place / "run.log").write_text("later")
    write_files(OLD, place)
    assert content(place) == texts(OLD) | MINE


@pytest.mark.parametrize("theirs", ["b.hex", "tepal.v"])
def test_files_of_others(tmp_path, theirs):
    (tmp_path / theirs).write_text("mine")
    sentence = f"{tmp_path} holds {theirs}, and there is no record that Tepal wrote it: remove it, or give another"
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        write_files(NEW, tmp_path)
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        require_room(NEW, tmp_path)
    assert content(tmp_path) == {theirs: "mine"}


def test_a_folder_of_that_name(place):
    """Somebody has put a folder where the design's file was."""
    (place / "a.hex").unlink()
    (place / "a.hex").mkdir()
    (place / "a.hex/thesis").write_text("mine")
    with pytest.raises(NetworkError, match=r"holds a\.hex, "):
        write_files(NEW, place)
    assert (place / "a.hex/thesis").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": ["../notes.txt"]}', '{"files": [1]}'])
def test_damaged_manifest(place, text):
    (place / MANIFEST).write_text(text)
    with pytest.raises(NetworkError, match=rf"{re.escape(MANIFEST)} is damaged, so that nobody knows which files"):
        write_files(NEW, place)
    assert content(place) == texts(OLD) | MINE


def test_two_at_once(place):
    with folder._alone(place), pytest.raises(NetworkError, match="another run of Tepal is writing to "):
        write_files(NEW, place)
    write_files(NEW, place)


class Killed(BaseException):
    """In place of SIGKILL, which leaves no time for anything."""


class Steps:
    """Counts calls that change files, and at one of them raises ``error``; after :class:`Killed` nothing works."""

    def __init__(self, monkeypatch, at: int | None = None, error: BaseException | None = None):
        self.count, self.at, self.error, self.off = 0, at, error, False
        for name, module in (("replace", os), ("unlink", os), ("rmdir", os), ("mkdir", os), ("write_bytes", Path),
                             ("write_text", Path)):
            monkeypatch.setattr(module, name, self.wrap(getattr(module, name)))

    def wrap(self, call):
        def wrapped(*arguments, **options):
            if not self.off:
                if isinstance(self.error, Killed) and self.at is not None and self.count > self.at:
                    raise self.error
                self.count += 1
                if self.count - 1 == self.at and self.error is not None:
                    raise self.error
            return call(*arguments, **options)
        return wrapped


def moments(place: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(patch)
        write_files(NEW, place)
        steps.off = True
    return steps.count


def test_every_failure_leaves_the_old_design(tmp_path):
    """A full disk, at each call that changes files."""
    write_files(OLD, tmp_path / "counted")
    count = moments(tmp_path / "counted")
    assert count > 15
    whole, told = 0, set()
    for at in range(count):
        place = tmp_path / str(at)
        write_files(OLD, place)
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at, OSError(errno.ENOSPC, "No space left on device"))
            try:
                write_files(NEW, place)
                whole += 1
            except OSError as error:
                told.add(str(error).replace(f"'{place}'", "place"))
            steps.off = True
        names = {name: text for name, text in content(place).items() if not name.startswith(".tepal-partial-")}
        assert names in (texts(OLD), texts(NEW)), at
        write_files(NEW, place)
        assert content(place) == texts(NEW), at
    # When all is done, folders that can't be removed are no failure.
    assert whole <= 8
    assert told == {f"[Errno {errno.ENOSPC}] can't write there (No space left on device): place"}


def test_killed_at_any_moment(tmp_path):
    """The old design, the new one, or one without Verilog; and the next run clears up."""
    write_files(OLD, tmp_path / "counted")
    seen = set()
    for at in range(moments(tmp_path / "counted")):
        place = tmp_path / str(at)
        write_files(OLD, place)
        (place / "mine.hex").write_text("mine")
        with pytest.MonkeyPatch.context() as patch:
            # Who is killed forgets what there was to remove.
            patch.setattr(processes, "_folders", set())
            steps = Steps(patch, at, Killed())
            with pytest.raises(Killed):
                write_files(NEW, place)
            steps.off = True
        found = {name: text for name, text in content(place).items()
                 if not name.startswith(".tepal-partial-") and name != "mine.hex"}
        state = ("old" if found == texts(OLD) else "new" if found == texts(NEW)
                 else "none" if "tepal.v" not in found else "mixed")
        assert state != "mixed", (at, found)
        seen.add(state)
        write_files(NEW, place)
        assert content(place) == texts(NEW) | {"mine.hex": "mine"}, at
    assert seen == {"old", "none", "new"}


def test_a_new_folder_that_fails_is_gone(tmp_path):
    for at in itertools.count():
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at, OSError(errno.ENOSPC, "No space left on device"))
            try:
                write_files(NEW, tmp_path / "made")
                break
            except OSError:
                steps.off = True
                assert not (tmp_path / "made").exists(), at
    # Of all steps but those of clearing up.
    assert at > 10


def test_files_that_are_written_later(tmp_path):
    """They are Tepal's from then on, but not if somebody else's are there."""
    (tmp_path / "beats.npy").write_text("mine")
    with pytest.raises(NetworkError, match=r"holds beats\.npy, and there is no record that Tepal wrote it"):
        write_files(NEW, tmp_path, also=["beats.npy"])
    assert content(tmp_path) == {"beats.npy": "mine"}
    (tmp_path / "beats.npy").unlink()
    write_files(OLD, tmp_path, also=["beats.npy"])
    (tmp_path / "beats.npy").write_text("Tepal's")
    write_files(NEW, tmp_path)
    assert content(tmp_path) == texts(NEW)
