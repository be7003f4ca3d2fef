"""A board's design, simulated behind a pseudo-terminal: to the host it is a board on a serial port."""

import os
import pty
import signal
import subprocess
import tty
from pathlib import Path
from typing import NoReturn

from tepal.hdl.export import TOP

from .simulate import SimulationError, require_tools, verilator_environment

__all__ = ["Server"]

_PROGRAM = "serve"
_FLASH = "flash.bin"


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

    Raises
    ------
    SimulationError
        A tool is missing or fails; the message names the log.
    """

    def __init__(self, directory: Path, bit: int, flash: bytes | None = None):
        require_tools()
        self.directory, self.bit = Path(directory).resolve(), bit
        if flash is not None:
            (self.directory / _FLASH).write_bytes(flash)
        folder = self.directory / "server"
        log = self.directory / "build.log"
        command = ["verilator", "--cc", "--exe", "--build", "-j", "2", "--top-module", TOP, "--prefix", f"V{TOP}",
                   "--Mdir", str(folder), "-o", _PROGRAM, "-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3",
                   "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-MAKEFLAGS", "OPT_FAST=-O1",
                   # Without this, models of several C++ files fail in Verilator's makefile (precompiled headers).
                   "-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include",
                   *([] if flash is None else ["-CFLAGS", f"-DTEPAL_FLASH='\"{_FLASH}\"'"]),
                   str(self.directory / f"{TOP}.v"), str(Path(__file__).with_name("serve.cpp"))]
        with log.open("w") as file:
            builder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                       env=verilator_environment(), cwd=self.directory, start_new_session=True)
            try:
                code = builder.wait()
            except BaseException:
                # With the compilers that it started.
                os.killpg(builder.pid, signal.SIGKILL)
                builder.wait()
                raise
        if code:
            raise SimulationError(f"the simulator could not be built: see {log}")
        self._program = folder / _PROGRAM
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Server":
        self._master, self._slave = pty.openpty()
        # This end stays open, so that the terminal stays between one host and the next.
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        # In a session of its own: Ctrl-C is for this program, and when this one ends, so does its stdin.
        self.process = subprocess.Popen([self._program, str(self._master), str(self.bit)], stdin=subprocess.PIPE,
                                         pass_fds=[self._master], cwd=self.directory, start_new_session=True)
        return self

    def __exit__(self, *_) -> None:
        assert self.process
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def wait(self) -> NoReturn:
        """Until interrupted, or SimulationError: the simulator ended by itself."""
        assert self.process
        code = self.process.wait()
        raise SimulationError(f"the simulator ended by itself (exit code {code})")
