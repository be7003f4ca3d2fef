# SPDX-License-Identifier: Apache-2.0
"""What place and route spends its time on: adds logs of ``tepal build`` to ``boards/flow/nextpnr_shares.json``, by
which a build tells how long it will go on.

    python benchmarks/place_and_route.py build/mine/build.log ...    # these and those that were measured before
    python benchmarks/place_and_route.py                             # reckon anew
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from tepal.boards.flow import nextpnr_log

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "boards/flow/nextpnr_shares.json"

STAGES = ("placing", "refining", "routing")


def shares(builds: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each stage's share, the mean of all builds'."""
    rows = [{name: seconds[name] / sum(seconds.values()) for name in STAGES} for seconds in builds.values()]
    return {name: round(sum(row[name] for row in rows) / len(rows), 3) for name in STAGES}


def error(seconds: Mapping[str, float], each: Mapping[str, float]) -> float:
    """The larger factor between the time that was left when a stage of a build had ended, and what shares of ``each``
    say then."""
    worst = 1.0
    for number in range(1, len(STAGES)):
        gone, done = (sum(of[name] for name in STAGES[:number]) for of in (seconds, each))
        told, left = gone * (1 - done) / done, sum(seconds[name] for name in STAGES[number:])
        worst = max(worst, told / left, left / told)
    return round(worst, 2)


def table(builds: Mapping[str, Mapping[str, float]]) -> dict:
    """All that the file holds: shares, seconds, and the error for each build by the shares of the others."""
    errors = {name: error(seconds, shares({other: builds[other] for other in builds if other != name}))
              for name, seconds in builds.items()}
    return {"shares": shares(builds), "errors": errors, "builds": builds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="*", type=Path, metavar="LOG", help="build.log, of which its folder is the name")
    arguments = parser.parse_args()
    builds = json.loads(TABLE.read_text())["builds"]
    for log in arguments.logs:
        seconds = nextpnr_log.stage_seconds(log.read_text(errors="replace"))
        if set(seconds) != set(STAGES):
            parser.error(f"{log} is no log of a build that was placed and routed")
        builds[log.resolve().parent.name] = seconds
    TABLE.write_text(json.dumps(table(builds), indent=1) + "\n")
    print(TABLE.read_text(), end="")


if __name__ == "__main__":
    main()
