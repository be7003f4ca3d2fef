# SPDX-License-Identifier: Apache-2.0
"""Where the tests' time goes: writes what the last ``make test`` and ``make test-all`` took into ``CONTRIBUTING.md``.

    python benchmarks/suite.py

git then shows what became slower.  Seconds are the sum over a folder's tests, which run two at a time; the last line
says what the whole half took.
"""

import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
RUNS = ROOT / "build/test.xml", ROOT / "build/test-all.xml"
"""What pytest says of the two halves."""

_MARKED = re.compile(r"(<!-- make times -->\n).*?(?=<!-- end -->)", re.S)


def measured(run: Path) -> dict[str, tuple[int, float]]:
    """Tests and seconds of each folder, and of ``all``; nothing where the half has not been run."""
    if not run.exists():
        return {}
    suite = ElementTree.parse(run).getroot().find("testsuite")
    assert suite is not None
    folders: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for case in suite.iter("testcase"):
        words = case.attrib["classname"].split(".")
        folder = "/".join(words[:next(number for number, word in enumerate(words) if word.startswith("test_"))])
        count, seconds = folders[folder]
        folders[folder] = count + 1, seconds + float(case.attrib["time"])
    return {**folders, "all": (int(suite.attrib["tests"]), float(suite.attrib["time"]))}


def filled(text: str, halves: list[dict[str, tuple[int, float]]]) -> str:
    """The page with the table of these halves."""
    folders = sorted({folder for half in halves for folder in half}, key=lambda folder: (folder == "all", folder))
    rows = [["folder", "`make test`", "s", "then `make test-all`", "s"], ["---", *["---:"] * 4]]
    rows += [[f"`{folder}`" if folder != "all" else "all", *(cell for half in halves for cell in (
        (f"{half[folder][0]:,}", f"{half[folder][1]:,.0f}") if folder in half else ("", "")))] for folder in folders]
    written = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return _MARKED.sub(lambda found: found[1] + written, text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), [measured(run) for run in RUNS]))
