# SPDX-License-Identifier: Apache-2.0
"""Who does many like jobs: threads of this process, a cluster of processes that Tepal starts, or one that runs already.

Results are the same and in the same order, whoever makes them.  Clusters are Dask's (the extra ``scale``).  What runs
on one is a function that can be pickled, of an item that can be, and it may be done twice: where a worker dies, Dask
gives its jobs to the others.  Each job says of which source of Tepal it is, and a worker that has another one, or one
that was changed meanwhile, refuses it.

Every wait ends.  Dask's own waits are cut into seconds, and after each it is asked whether the scheduler and a worker
are there still.  A local cluster is one program with all its processes in one session (:mod:`tepal.processes`), so that
a signal, an error, and this process's own death end it whole."""

import contextlib
import hashlib
import importlib.util
import logging
import os
import re
import selectors
import shutil
import subprocess
import sys
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from . import processes

__all__ = ["Cluster", "SchedulerError", "Threads", "Workers", "local_workers", "workers"]

REACHED = 5.0
"""Seconds within which a running scheduler must answer."""

STARTED = 120.0
"""Seconds within which a local cluster must have started: each process imports Dask, on a busy machine one by one."""

DESERTED = 60.0
"""Seconds without any worker after which jobs are given up; a worker that died is started anew within some."""

Item, Made = TypeVar("Item"), TypeVar("Made")
Progress = Callable[[int, int], None]
"""Told how many of how many jobs are done."""


FOLDERS = ("boards", "cli", "hdl", "host", "quant", "report", "sim")
"""Packages whose source makes results, beside this one."""


class SchedulerError(RuntimeError):
    """There is no cluster, or it is lost; the message says which and what to do."""


def _silent(done: int, total: int) -> None:
    """Nobody wants to know."""


class _OtherSourceError(RuntimeError):
    """Of a job: its worker has another source of Tepal."""


@cache
def _source() -> str:
    """A digest of the source and the tables of Tepal that this process runs, as they are when it first asks."""
    digest = hashlib.sha256()
    for name in FOLDERS:
        spec = importlib.util.find_spec(f"tepal.{name}")
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(path for path in Path(folder).rglob("*") if path.suffix in (".json", ".py", ".v")):
                digest.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _same_source(source: str, function: Callable[[Item], Made], item: Item) -> Made:
    """``function`` of ``item``, where the source of Tepal is the one that asks."""
    if _source() != source:
        raise _OtherSourceError
    return function(item)


class Workers(ABC):
    """Those who do jobs.  ``here`` says whether they share this process's memory and folders."""

    here: bool

    @abstractmethod
    def map(self, function: Callable[[Item], Made], items: Sequence[Item], progress: Progress = _silent) -> list[Made]:
        """``function`` of each of ``items``, in their order; ``progress`` is told of none, and of each that is done.

        Of jobs that fail, the error of the first in order is raised, and those after it are not begun any more.

        Raises
        ------
        SchedulerError
            The cluster is lost.
        Exception
            Whatever ``function`` raises.
        """


class Threads(Workers):
    """``count`` threads of this process: with one, jobs are done one after the other by the caller itself."""

    here = True

    def __init__(self, count: int = 1):
        self.count = count

    def map(self, function: Callable[[Item], Made], items: Sequence[Item], progress: Progress = _silent) -> list[Made]:
        progress(0, len(items))
        if self.count == 1:
            made = []
            for item in items:
                made.append(function(item))
                progress(len(made), len(items))
            return made
        with ThreadPoolExecutor(self.count) as pool:
            futures = [pool.submit(function, item) for item in items]
            for done, future in enumerate(as_completed(futures), 1):
                if future.exception():
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
                progress(done, len(items))
            return [future.result() for future in futures]


def local_workers(where: str) -> int | None:
    """How many processes ``local:N`` asks for; None for an address.

    Raises
    ------
    ValueError
        ``where`` is neither.

    Examples
    --------
    >>> local_workers("local:4"), local_workers("tcp://10.0.0.7:8786")
    (4, None)
    """
    kind, _, count = where.partition(":")
    if kind == "local":
        if not re.fullmatch(r"[1-9]\d{0,2}", count):
            raise ValueError(where)
        return int(count)
    if not re.fullmatch(r"([a-z]+://)?(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}", where):
        raise ValueError(where)
    return None


@contextlib.contextmanager
def workers(where: str | None, *, threads: int = 1, tell: Callable[[str], None] = lambda sentence: None,
            ) -> Iterator[Workers]:
    """Those that ``where`` names, for as long as this lasts.

    Parameters
    ----------
    where
        ``local:N`` for a cluster of N processes that is started here and ended with this, the address of Dask's
        scheduler, or None for threads of this process.
    threads
        How many of those.
    tell
        Told in a sentence of a worker that died or left.

    Raises
    ------
    SchedulerError
        Dask is not installed, the cluster does not start, or nobody answers at the address within :data:`REACHED`
        seconds.
    """
    if where is None:
        yield Threads(threads)
        return
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise SchedulerError("--scheduler needs Dask: install it with pip install 'tepal[scale]'") from None
    # What goes wrong is told in the project's own sentences.
    for name in [name for name in logging.root.manager.loggerDict if re.match(r"(distributed|tornado)\b", name)]:
        logging.getLogger(name).handlers[:] = [logging.NullHandler()]
    count = local_workers(where)
    with contextlib.ExitStack() as stack:
        address = where if count is None else stack.enter_context(_local_cluster(count))
        client = _connected(address, where, REACHED if count is None else STARTED)
        try:
            yield Cluster(client, where, tell)
        finally:
            # A scheduler that is gone can't say goodbye.
            with contextlib.suppress(Exception):
                client.close(timeout=REACHED)


def _connected(address: str, name: str, patience: float) -> Any:
    """Dask's client of a scheduler."""
    from distributed import Client

    came: list[Any] = []

    def connect() -> None:
        try:
            came.append(Client(address, timeout=patience, set_as_default=False))
        except Exception as error:
            came.append(error)

    # In a thread that may be left behind: of a server that takes the connection and says nothing, Dask waits for ever.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(patience + 1)
    client = came[0] if came else "it says nothing"
    if isinstance(client, Client):
        return client
    told = " ".join(str(client).split())[:200]
    raise SchedulerError(f"--scheduler {name}: no scheduler of Dask answers there ({told}): start one with 'dask "
                         "scheduler', or take local:N")


class Cluster(Workers):
    """Workers of Dask's scheduler that ``client`` is connected to; errors call it ``name``."""

    here = False

    def __init__(self, client: Any, name: str, tell: Callable[[str], None]):
        self.client, self.name, self._tell = client, name, tell
        self._known: set[str] = set()
        self._seen = self._looked = time.monotonic()

    def map(self, function: Callable[[Item], Made], items: Sequence[Item], progress: Progress = _silent) -> list[Made]:
        woken = threading.Event()
        self._known, self._seen = self._there(), time.monotonic()
        with warnings.catch_warnings():
            # Of jobs that are many megabytes, such as netlists.
            warnings.simplefilter("ignore")
            job = partial(_same_source, _source(), function)
            futures = dict(enumerate(self.client.map(job, items, pure=False)))
        for future in futures.values():
            future.add_done_callback(lambda _: woken.set())
        progress(0, len(items))
        made: dict[int, Made] = {}
        failed: tuple[int, BaseException] | None = None
        try:
            while futures:
                for number, future in [(number, future) for number, future in futures.items() if future.done()]:
                    if future.status == "error":
                        if failed is None or number < failed[0]:
                            failed = number, self._error(future.exception(timeout=REACHED))
                        del futures[number]
                    elif future.status != "finished":
                        raise SchedulerError(f"the scheduler {self.name} is gone, and with it what it was given to do")
                    else:
                        # Whoever has the result may die before it is fetched; it is made again then.
                        with contextlib.suppress(TimeoutError):
                            made[number] = future.result(timeout=DESERTED)
                            del futures[number]
                            progress(len(made), len(items))
                if failed:
                    for number in [number for number in futures if number > failed[0]]:
                        futures.pop(number).cancel()
                if futures and not any(future.done() for future in futures.values()):
                    woken.wait(1)
                    woken.clear()
                if time.monotonic() - self._looked >= 1:
                    self._look()
            self._look()
        finally:
            for future in futures.values():
                with contextlib.suppress(Exception):
                    future.cancel()
        if failed:
            raise failed[1]
        return [made[number] for number in range(len(items))]

    def _there(self) -> set[str]:
        """The workers' addresses; none if the scheduler does not say."""
        try:
            return set(self.client.sync(self.client.scheduler.identity, n_workers=-1,
                                        callback_timeout=DESERTED)["workers"])
        except Exception:
            return set()

    def _look(self) -> None:
        """See who is there still."""
        there, self._looked = self._there(), time.monotonic()
        if self.client.status not in ("running", "connecting"):
            raise SchedulerError(f"the scheduler {self.name} is gone, and with it what it was given to do")
        for gone in sorted(self._known - there):
            self._tell(f"the worker {gone} died or left: others do its jobs again")
        self._known = there
        if there:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > DESERTED:
            raise SchedulerError(f"the scheduler {self.name} has had no worker for {DESERTED:g} s: start some with "
                                 "'dask worker', or take local:N")

    def _error(self, error: BaseException) -> BaseException:
        """What a job ended in, or what that means."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return SchedulerError("a job was given up, for every worker that began it died: see whether memory is "
                                  "short, and take fewer workers")
        if isinstance(error, _OtherSourceError):
            return SchedulerError(f"a worker of {self.name} has another Tepal than this, or one that was changed "
                                  "meanwhile: install the same Tepal there, or begin again")
        # The scheduler reads what it is given too, and says in an error of its own that it can't.
        if isinstance(error, ImportError) or str(error).startswith("Error during deserialization"):
            told = " ".join(str(error.__cause__ or error).split())
            return SchedulerError(f"a worker of {self.name} can't do this ({told}): install the same Tepal there")
        return error


# -- a local cluster ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _local_cluster(count: int) -> Iterator[str]:
    """The address of a cluster of ``count`` processes of one thread each, in a program of its own (:func:`_serve`)."""
    with processes.temporary_folder() as scratch:
        log = scratch / "log"
        # Its temporary files, and those of workers that are killed, go with the folder.
        environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONWARNINGS": "ignore"}
        with log.open("wb") as file:
            command = [sys.executable, "-m", "tepal.scheduler", str(count), str(scratch)]
            program = processes.start(command, env=environment, sharing=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=file)
        try:
            yield _address(program, log)
        finally:
            processes.stop(program)


def _address(program: subprocess.Popen, log: Path) -> str:
    """What the program of a local cluster says first."""
    assert program.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(program.stdout, selectors.EVENT_READ)
        # It is ready too when the program has ended.
        line = program.stdout.readline() if selector.select(STARTED) else b""
    if not line.endswith(b"\n"):
        told = log.read_text(errors="replace").strip().splitlines()
        raise SchedulerError(f"the local cluster did not start ({told[-1] if told else f'within {STARTED:g} s'})")
    return line.decode().strip()


def _serve(count: int, folder: str) -> None:
    """Be the scheduler of a cluster on this machine, until whoever started this closes stdin or dies."""
    from distributed import LocalCluster

    # Dask's pages of what goes on are for this machine alone, as the cluster itself is.
    cluster = LocalCluster(n_workers=count, threads_per_worker=1, processes=True, memory_limit=0, host="127.0.0.1",
                           dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
                           local_directory=folder)
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    processes.end_session()
    shutil.rmtree(folder, ignore_errors=True)
    # What Dask does at the end is about processes that are gone.
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
