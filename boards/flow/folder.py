# SPDX-License-Identifier: Apache-2.0
"""Writing a design into a folder, whole, and in place of the design that was there before."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tepal.processes import held, temporary_folder
from tepal.quant import NetworkError

__all__ = ["MANIFEST", "require_room", "write_files"]

MANIFEST = ".tepal-files"
"""The names of the files in its folder that Tepal wrote, as JSON: those, and no others, it may remove."""

_STAGING = ".tepal-partial-"


def require_room(names: Iterable[str], directory: Path) -> None:
    """Raise NetworkError if files of these names may not be written into ``directory``: somebody else's are there."""
    known = _known(directory)
    strange = sorted(name for name in names if os.path.lexists(directory / name)
                     and (name not in known or not (directory / name).is_file()))
    if strange:
        them = "them" if len(strange) > 1 else "it"
        raise NetworkError(f"{directory} holds {', '.join(strange)}, and there is no record that Tepal wrote {them}: "
                           f"remove {them}, or give another folder")


def write_files(files: Mapping[str, str | bytes], directory: Path, also: Iterable[str] = ()) -> None:
    """Make ``directory`` hold ``files`` in place of what an earlier call wrote there, and leave all else alone.

    ``also`` are names of files that the caller is going to write there later, which are then Tepal's as well.

    All is written beside the old files first, so that a full disk leaves those as they were, and then moved.  What no
    tool does without, Verilog or a bitstream, goes first and comes last: whoever is killed on the way leaves the old
    design, the new one, or none; never some of each.  The next call clears up.

    Raises
    ------
    NetworkError
        A file of that name is there already and not Tepal's, or another run is writing there.
    OSError
        It can't be written.
    """
    directory = Path(directory)
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory):
            _replace(files, directory, also)
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise OSError(error.errno, f"can't write there ({error.strerror})", str(directory)) from error


@contextlib.contextmanager
def _alone(directory: Path):
    """No two runs write into a folder at once.  The lock goes with the process, however it ends."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NetworkError(f"another run of Tepal is writing to {directory}: wait for it, or give another "
                               "folder") from None
        except OSError as error:
            # Some network file systems have no locks.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield
    finally:
        os.close(handle)


def _replace(files: Mapping[str, str | bytes], directory: Path, also: Iterable[str]) -> None:
    also = list(also)
    require_room([*files, *also], directory)
    known = _known(directory)
    for left in directory.glob(f"{_STAGING}*"):
        _clear(left)
    old = sorted((name for name in sorted(known) if os.path.lexists(directory / name)), key=_last, reverse=True)
    new = sorted(files, key=_last)
    with temporary_folder(prefix=_STAGING, parent=directory) as staging:
        for part in "new", "old":
            (staging / part).mkdir()
        for name, content in files.items():
            (staging / "new" / name).write_bytes(content.encode() if isinstance(content, str) else content)
        _record(staging / "all", {*old, *new})
        _record(staging / "done", {*new, *also})
        moves = [*((directory / name, staging / "old" / name) for name in old),
                 *((staging / "new" / name, directory / name) for name in new)]
        with held():
            # Until all are in place, this run's files and the earlier one's are known to be Tepal's.
            os.replace(staging / "all", directory / MANIFEST)
            done = []
            try:
                for source, target in moves:
                    os.replace(source, target)
                    done.append((source, target))
                os.replace(staging / "done", directory / MANIFEST)
            except OSError:
                for source, target in reversed(done):
                    os.replace(target, source)
                if known:
                    _record(staging / "before", known)
                    os.replace(staging / "before", directory / MANIFEST)
                else:
                    (directory / MANIFEST).unlink()
                raise


def _last(name: str) -> bool:
    """Whether no tool takes a folder without this file for a design."""
    return Path(name).suffix in (".v", ".bit", ".bin")


def _record(path: Path, names: Iterable[str]) -> None:
    path.write_text(json.dumps({"files": sorted(names)}, indent=1) + "\n", encoding="utf-8")


def _known(directory: Path) -> set[str]:
    """The names of the files that earlier runs wrote, whether or not they still are there."""
    path = directory / MANIFEST
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return set()
    except (ValueError, KeyError, TypeError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise NetworkError(f"{path} is damaged, so that nobody knows which files there are Tepal's: remove it and "
                           "them, or give another folder")
    return set(names)


def _clear(staging: Path) -> None:
    """Remove what a run that was killed has left: files in at most one level of folders."""
    for part in (*staging.glob("*/*"), *staging.glob("*")):
        part.rmdir() if part.is_dir() and not part.is_symlink() else part.unlink()
    staging.rmdir()
