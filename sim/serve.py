# SPDX-License-Identifier: Apache-2.0
"""A board's design, simulated behind a pseudo-terminal: to the host it is a board on a serial port."""

import contextlib
import os
import pty
import subprocess
import tty
from pathlib import Path
from typing import NoReturn

from tepal import processes
from tepal.hdl.export import TOP
from tepal.hdl.memories.sdram_timing import SdramTiming

from .simulate import (
    BUILD_LOG,
    SimulationError,
    require_place,
    require_tools,
    sdram_parameters,
    sdram_plusargs,
)
from .simulators import plain_path, unfinished, verilator_environment

__all__ = ["Server"]

_PROGRAM = "serve"
_FLASH = "flash.bin"
_WITH_SDRAM = "board_with_sdram"


class Server:
    """Verilog with the ports ``rx`` and ``tx`` of a serial line, ``ready`` and ``busy``, on a port of this computer.

    The simulator is built once, in ``directory``.  As a context manager it serves: ``port`` is the pseudo-terminal's
    name until the end.

    Parameters
    ----------
    directory
        Folder with the Verilog and its ROM contents.
    bit
        Clock cycles of a bit on the line, as the design was made for.
    flash
        What the design's flash memory holds, whole; None where it has no pins for one.
    sdram
        Times of the memory at the design's pins ``sdram_pins``; None where it has none.

    Raises
    ------
    SimulationError
        A tool is missing or fails; the message names the log.
    """

    FILES = (BUILD_LOG, _FLASH)
    """Names of the files that it writes into the directory."""

    def __init__(self, directory: Path, bit: int, flash: bytes | None = None,
                 sdram: SdramTiming | None = None):
        require_tools()
        require_place(directory)
        self.directory, self.bit, self.sdram = Path(directory).resolve(), bit, sdram
        if flash is not None:
            (self.directory / _FLASH).write_bytes(flash)
        folder = self.directory / "server"
        log = self.directory / BUILD_LOG
        ours = plain_path(Path(__file__).parent, self.directory)
        beside = [ours / f"{name}.v" for name in ("sdram_memory", _WITH_SDRAM)] if sdram else []
        command = ["verilator", "--cc", "--exe", "--build", "-j", "2", "--top-module", _WITH_SDRAM if sdram else TOP,
                   *(f"-G{name}={value}" for name, value in (sdram_parameters(sdram) if sdram else {}).items()),
                   "--prefix", f"V{TOP}",
                   "--Mdir", str(folder), "-o", _PROGRAM, "-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3",
                   "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-MAKEFLAGS", "OPT_FAST=-O1",
                   # Without this, models of several C++ files fail in Verilator's makefile (precompiled headers).
                   "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include",
                   *([] if flash is None else ["-CFLAGS", f"-DTEPAL_FLASH='\"{_FLASH}\"'"]),
                   *map(str, [self.directory / f"{TOP}.v", *beside, ours / "serve.cpp"])]
        with unfinished(folder), log.open("wb") as file:
            code = processes.run(command, cwd=self.directory, env=verilator_environment(self.directory), stdout=file,
                                 stderr=file).returncode
            if code:
                raise SimulationError(f"the simulator could not be built: see {log}")
        self._program = folder / _PROGRAM
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Server":
        self._master, self._slave = pty.openpty()
        # This end stays open, so that the terminal stays between one host and the next.
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        # When this program ends, so does that one's stdin, and it too.
        self.process = processes.start([self._program, str(self._master), str(self.bit),
                                        *(sdram_plusargs(self.sdram) if self.sdram else [])], stdin=subprocess.PIPE,
                                       pass_fds=[self._master], cwd=self.directory)
        return self

    def __exit__(self, *_) -> None:
        assert self.process
        assert self.process.stdin
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        processes.stop(self.process)
        os.close(self._master)
        os.close(self._slave)

    def wait(self) -> NoReturn:
        """Until interrupted, or SimulationError: the simulator ended by itself."""
        assert self.process
        code = self.process.wait()
        raise SimulationError(f"the simulator ended by itself (exit code {code})")
