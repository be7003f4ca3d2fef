# SPDX-License-Identifier: Apache-2.0
"""What must not outlive a command: other programs with all that they start in turn, and temporary folders.

Everything that Tepal starts is started here, in a process group of its own, so that it ends whole.  A signal that ends
the command (:mod:`tepal.__main__`) ends what is listed here; elsewhere, in a library say, the context managers do."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

__all__ = ["end", "end_session", "held", "keep", "run", "start", "stop", "temporary_folder", "watching",
           "write_whole"]

PATIENCE = 2.0
"""Seconds that a program has to end by itself: compilers and make remove what they have written by half."""

LOOKS = 0.5
"""Seconds between two looks at what a program writes."""

_SHARED = "TEPAL_SHARED_SESSION"
"""Set in the environment of a program, and of all that it starts, which stays in its session."""

_running: set[subprocess.Popen] = set()
_sessions: set[int] = set()
_folders: set[Path] = set()
_holds: set[object] = set()
_waiting: list[int] = []
_ending = False


@contextlib.contextmanager
def watching(look: Callable[[], None]) -> Iterator[None]:
    """While this lasts, ``look``, in a thread of its own, every :data:`LOOKS` seconds."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(LOOKS):
            look()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that ends the command waits until this is over.  For moments alone: nobody can end it meanwhile."""
    hold = object()
    _holds.add(hold)
    try:
        yield
    finally:
        _holds.discard(hold)
        if _waiting and not _holds:
            # To the main thread by name: one that waits for a lock does not wake for another thread's signals.
            signal.pthread_kill(threading.main_thread().ident or 0, _waiting[0])


def start(command: Sequence[str | os.PathLike], *, env: dict[str, str] | None = None, sharing: bool = False,
          **options) -> subprocess.Popen:
    """Start a program, as :class:`subprocess.Popen` does; :func:`stop` is due.

    It does not see this terminal's Ctrl-C: this program ends it.  With ``sharing`` it is one that uses this module
    itself, in processes of its own that may be killed: what they start stays in its session, and ends with it."""
    own = {"process_group": 0} if _SHARED in os.environ else {"start_new_session": True}
    if sharing:
        env = {**(os.environ if env is None else env), _SHARED: "1"}
    with held():
        if _ending:
            raise RuntimeError("the command is ending")
        process = subprocess.Popen(command, env=env, **own, **options)
        _running.add(process)
        if sharing:
            _sessions.add(process.pid)
    return process


def stop(process: subprocess.Popen) -> None:
    """End a program that still runs, with all that it started."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        # What it started may be slower to end, or deaf.
        _signal(process.pid, signal.SIGKILL)
        process.wait()
    elif process.pid in _sessions:
        # It was killed, say, and others of its session were not.
        _signal_session(process.pid, signal.SIGKILL)
    _running.discard(process)
    _sessions.discard(process.pid)
    for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
        pipe.close()


def run(command: Sequence[str | os.PathLike], *, cwd: str | os.PathLike | None = None,
        env: dict[str, str] | None = None, stdout: int | IO = subprocess.PIPE, stderr: int | IO = subprocess.PIPE,
        timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without input: exit code and, unless they go elsewhere, its two outputs as text.

    Raises
    ------
    OSError
        It can't be started.
    subprocess.TimeoutExpired
        It took longer than ``timeout`` seconds, and was ended.
    """
    # Temporary files of its own, for what is killed leaves them behind.
    with temporary_folder() as scratch:
        environment = {**(os.environ if env is None else env), "TMPDIR": str(scratch)}
        process = start(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                        text=True, errors="replace")
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            stop(process)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def temporary_folder(*, prefix: str = "tepal-", parent: Path | None = None) -> Iterator[Path]:
    """A new folder, in ``parent`` or where temporary files go, removed at the end unless :func:`keep` was called."""
    directory = None
    try:
        with held():
            directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            _folders.add(directory)
        yield directory
    finally:
        if directory in _folders:
            shutil.rmtree(directory, ignore_errors=True)
            _folders.discard(directory)


def keep(directory: Path) -> None:
    """Leave a temporary folder where it is."""
    _folders.discard(directory)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises
    ------
    OSError
        It can't be written; what was there before is there still.
    """
    partial = path.parent / f".{path.name}.{os.getpid()}"
    # A signal that came in between would leave the partial file.
    with held():
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()


def end(number: int) -> bool:
    """End every program and remove every temporary folder, for the signal ``number``.

    False if this must wait: the signal is sent again then.  Nothing can be started any more."""
    global _ending
    # In this order: whoever holds signals now is waited for, whoever begins to from here on starts nothing.
    _ending = True
    _waiting.append(number)
    if _holds:
        return False
    running = list(_running)
    for process in running:
        _signal(process.pid, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    # The interrupted code may hold the lock of Popen.wait, so the system is asked.
    while any(map(_alive, running)) and time.monotonic() < until:
        time.sleep(0.01)
    for process in running:
        _signal(process.pid, signal.SIGKILL)
    for folder in list(_folders):
        # A program that has just been killed may still have written a file there.
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.05)
    return True


def _alive(process: subprocess.Popen) -> bool:
    if process.returncode is not None:
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def end_session() -> None:
    """Kill all other processes of this one's session: for a program that was started with ``sharing`` and has lost
    whoever started it."""
    _signal_session(os.getsid(0), signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
    if group in _sessions:
        _signal_session(group, number)


def _signal_session(session: int, number: int) -> None:
    """To all of a session but this process; to those that are started meanwhile too, if it kills."""
    for _ in range(20):
        found = [process for process in _processes() if process != os.getpid() and _session(process) == session]
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)
        if not found or number != signal.SIGKILL:
            return
        time.sleep(0.01)


def _processes() -> list[int]:
    """All that run; where there is no ``/proc``, none is known."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _session(process: int) -> int | None:
    """The session of a process; None of one that has ended or only waits to be waited for."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            state, _, _, session = file.read().rpartition(b")")[2].split()[:4]
    except OSError:
        return None
    return None if state == b"Z" else int(session)
