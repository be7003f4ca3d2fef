# SPDX-License-Identifier: Apache-2.0
"""Proofs of what a design asserts, for all inputs and for ever, by yosys' temporal induction."""

from pathlib import Path

from amaranth import Elaboratable
from amaranth.back import rtlil
from tepal.boards.flow.tools import find

__all__ = ["proved"]


def proved(design: Elaboratable, ports: list, folder: Path, *, steps: int = 10) -> bool:
    """Whether each Assert of ``design`` always holds after a reset if its Assumes do, whatever comes at ``ports``.

    ``steps`` is how many cycles of a counterexample the induction may look at before it gives up."""
    (folder / "design.il").write_text(rtlil.convert(design, name="design", ports=ports, emit_src=False))
    script = ["read_rtlil design.il", "hierarchy -top design", "proc", "flatten", "memory_map", "opt",
              "chformal -lower", "async2sync", "dffunmap", "opt", "select -module design",
              f"sat -tempinduct -prove-asserts -set-assumes -set rst 0 -maxsteps {steps} -timeout 100"]
    return "SUCCESS!" in find("yosys").run(["-p", "; ".join(script)], folder)
