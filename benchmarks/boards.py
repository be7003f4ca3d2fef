# SPDX-License-Identifier: Apache-2.0
"""A bitstream for every board: builds the digits, keeps what was reported, writes the table in ``docs/boards.md``.

    python benchmarks/boards.py                        # every board, one after the other: hours
    python benchmarks/boards.py icesugar icepi-zero    # these
    python benchmarks/boards.py --small icesugar       # with an engine of one multiplier, in minutes
    python benchmarks/boards.py --scheduler local:4    # four at a time, on Dask's workers
    python benchmarks/boards.py --tables               # only write the table again

What is made is written when all of it is there that goes on at once: without --scheduler, after each board.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tepal.boards.registry import BOARDS
from tepal.scheduler import workers

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/boards.json", ROOT / "docs/boards.md"

BUILDABLE = [name for name, board in BOARDS.items() if board.platform]

KEPT = ("part", "passed", "fmax_mhz", "clock_mhz", "used", "available", "in_memory_cycles", "last_byte_cycles",
        "in_memory_ms", "last_byte_ms", "tools")
"""What is kept of ``report.json``."""


def command(board: str, small: bool) -> list[str]:
    """As one would type it, but for where to."""
    return ["tepal", "build", "examples/digits/digits.tflite", "--board", board, "--seeds", "1",
            *(["--small"] if small else [])]


def build(small: bool, board: str) -> dict:
    """What ``tepal build`` reports; its own words on stderr where it makes no bitstream, and then a RuntimeError."""
    typed = command(board, small)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-m", *typed, "-o", f"{folder}/made", "--json"], cwd=ROOT,
                              stdout=subprocess.PIPE, text=True)
        if not done.stdout:
            raise RuntimeError(f"{board}: no bitstream (exit code {done.returncode})")
        report = json.loads(done.stdout)
        size = next(path.stat().st_size for path in Path(folder, "made").iterdir()
                    if path.suffix in (".bit", ".bin", ".fs") and path.stem == "tepal")
    return {"command": shlex.join(typed), "engine": "smallest" if small else "the board's own",
            **{key: report[key] for key in KEPT}, "bitstream_bytes": size}


def page(results: dict) -> str:
    """The text of ``docs/boards.md``."""
    rows = []
    for name in BUILDABLE:
        if (found := results.get(name)) is None:
            rows.append([f"`{name}`", BOARDS[name].part.name, *["not built"] * 6])
            continue
        used = [f"{found['used'][kind]:,} of {found['available'][kind]:,}" for kind in ("lut", "dsp")]
        memories = ", ".join(f"{found['used'][kind]:,} of {found['available'][kind]:,} {kind}"
                             for kind in ("bram", "spram") if kind in found["used"])
        rows.append([f"`{name}`", found["part"], found["engine"], f"{found['fmax_mhz']:.1f}", *used, memories,
                     f"{found['in_memory_ms']:.3f}"])
    header = ["board", "FPGA", "engine", "MHz", "LUTs", "multipliers", "memory blocks", "ms in memory"]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])
    commands = "\n".join(f"    {found['command']} -o DIR" for name in BUILDABLE if (found := results.get(name)))
    return f"""# Boards

The bundled digits (`examples/digits`, 300,096 multiply-accumulates) on every board, as `python benchmarks/boards.py`
built and wrote them: MHz are what the slowest path allows after routing from seed 1, ms the time to the answer at the
clock that was set, with the image in the input memory. The smallest engine has one multiplier: it shows that the
board's bitstream is made, not how fast the board is.

{table}

By these commands:

{commands}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="boards to build (default: all)")
    parser.add_argument("--small", action="store_true", help="with the smallest engine")
    parser.add_argument("--tables", action="store_true", help="only write the table")
    parser.add_argument("--scheduler", metavar="ADDRESS|local:N", help="spread the boards over Dask's workers, which "
                        "see this checkout")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.boards if name not in BUILDABLE]:
        parser.error(f"no boards to build for: {', '.join(unknown)} (there are {', '.join(BUILDABLE)})")
    names = [] if arguments.tables else arguments.boards or BUILDABLE
    with workers(arguments.scheduler, tell=lambda sentence: print(sentence, file=sys.stderr)) as each:
        # One after the other, each is written before the next begins, which may fail.
        for together in [[name] for name in names] if each.here else [names]:
            made = each.map(partial(build, arguments.small), together, progress)
            # Read again: another run may have been writing meanwhile.
            results = read_results() | dict(zip(together, made, strict=True))
            in_order = {board: results[board] for board in BUILDABLE if board in results}
            RESULTS.write_text(json.dumps(in_order, indent=1) + "\n")
            PAGE.write_text(page(results))
    PAGE.write_text(page(read_results()))


def progress(done: int, total: int) -> None:
    """How many of the boards that are built at once are done."""
    print(f"{done} of {total} board{'s' if total > 1 else ''}", file=sys.stderr, flush=True)


def read_results() -> dict:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


if __name__ == "__main__":
    main()
