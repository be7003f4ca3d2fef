# SPDX-License-Identifier: Apache-2.0
"""Random networks on random engines, for as long as one likes: the Verilog's bytes are compared with the golden
model's, its cycles with the cycle model's, and its bytes again with both streams waiting at random.

    python benchmarks/soak.py                             # 20 of them
    python benchmarks/soak.py 500 --first 1000            # seeds 1000 to 1499
    python benchmarks/soak.py 500 --scheduler local:8     # eight at a time, on Dask's workers
    python benchmarks/soak.py 20 --board ulx3s-85f        # each on the engine that this board gives it

The cases are those of ``tests/sim/test_random_networks.py``, which runs a few.  Every seed that fails is told, and ends
this with exit code 1.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tepal.boards.flow.fit import default_engine
from tepal.boards.flow.yosys import to_verilog
from tepal.boards.registry import get_board
from tepal.cli.console import bar, err
from tepal.hdl import Schedule, export_verilog
from tepal.scheduler import workers
from tepal.sim.simulate import Build, simulate

ROOT = Path(__file__).resolve().parent.parent

FRAMES = 3


def failure(tests: str, board: str | None, seed: int) -> str | None:
    """What is wrong with the case of ``seed``, of those in the folder ``tests``, on its own engine or on the
    ``board``'s; None if nothing is."""
    sys.path.insert(0, tests)
    from networks import random_case

    network, config, images = random_case(seed, FRAMES)
    try:
        if board is not None:
            config = default_engine(get_board(board), network)
        schedule = Schedule(network, config)
        with TemporaryDirectory() as folder:
            for name, text in export_verilog(schedule, to_verilog).files().items():
                Path(folder, name).write_text(text)
            build = Build(Path(folder))
            report = simulate(build, schedule, images)
            if report.first_mismatch is not None:
                return report.first_mismatch.describe(network)
            if report.cycle_errors:
                return f"{len(report.cycle_errors)} events in other cycles: {report.cycle_errors[0]}"
            waiting = simulate(build, schedule, images, stalls=seed).mismatches
            return f"{waiting} bytes are wrong where streams wait" if waiting else None
    except Exception as error:
        # That it can't be made at all is a failure too, and others are to be run.
        return f"{type(error).__name__}: {error}"


def run(seeds: range, scheduler: str | None, check: Callable[[int], str | None]) -> dict[int, str]:
    """The seeds that fail, and why."""
    with workers(scheduler, tell=lambda sentence: err.print(sentence, markup=False)) as each, bar() as progress:
        found = each.map(check, seeds, partial(progress, "Random networks"))
    return {seed: problem for seed, problem in zip(seeds, found, strict=True) if problem}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=20, metavar="N", help="networks (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first one's (default: %(default)s)")
    parser.add_argument("--board", metavar="B", help="take the engine that this board gives each network (default: one "
                        "at random)")
    parser.add_argument("--scheduler", metavar="ADDRESS|local:N", help="spread the networks over Dask's workers, which "
                        "see this checkout")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.count)
    failed = run(seeds, arguments.scheduler, partial(failure, str(ROOT / "tests"), arguments.board))
    for seed, problem in failed.items():
        print(f"seed {seed}: {problem}")
    print(f"{len(seeds) - len(failed)} of {len(seeds)} networks are right")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
