# SPDX-License-Identifier: Apache-2.0
"""Which test shows that an operator is read rightly: whoever asks an oracle about a model tells it here.

``make operators`` runs the tests of readers and golden model and writes docs/OPERATORS.md, a table of all operators by
the kinds of files, each with a test in which the oracle ran a model that holds it and which passed."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
from tepal.quant import NetworkError, formats
from tepal.quant.files.tflite_file import File

__all__ = ["KINDS", "asked", "passed", "proved", "table"]

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs/OPERATORS.md"
RECORD = ROOT / "build/operators"

KINDS = ["TFLite int8", "TFLite uint8", "TFLite float", "ONNX QDQ", "ONNX QOperator", "ONNX float"]

INTRODUCTION = """# Operators

What a model file may hold, by the kind of file, and a test in which an oracle (LiteRT's reference kernels, ONNX
Runtime) ran a model with that operator and Tepal agreed. `make operators` writes this table from a run of the tests;
`tepal ops` tells the limits of each operator. — stands for what such a file can't hold.
"""

_asked: set[tuple[str, str]] = set()
"""(kind of file, operator) of what the oracle has been asked in the test that runs."""


def asked(model: bytes | onnx.ModelProto) -> None:
    """An oracle runs ``model`` in this test."""
    _asked.update(_onnx(model) if isinstance(model, onnx.ModelProto) else _tflite(model))


def passed(test: str, folder: Path | None) -> None:
    """The test is over, and has passed; where there is a ``folder``, it keeps what was asked."""
    if folder and _asked:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps([test.partition("[")[0], sorted(_asked)]) + "\n")
    _asked.clear()


def _tflite(content: bytes) -> Iterator[tuple[str, str]]:
    try:
        entries = File(content, {}).listing()
    except NetworkError:
        return
    types = {entry.type for entry in entries if entry.name not in ("QUANTIZE", "DEQUANTIZE")}
    kind = next((name for name in ("int8", "uint8") if name.upper() in types), "float")
    for entry in entries:
        yield f"TFLite {kind}", entry.name


def _onnx(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    names = [("com.microsoft." if node.domain == "com.microsoft" else "") + node.op_type for node in model.graph.node]
    kind = ("QOperator" if any("QLinear" in name or name.endswith("QGemm") for name in names)
            else "QDQ" if "QuantizeLinear" in names else "float")
    for name in names:
        yield f"ONNX {kind}", name


def proved(folder: Path) -> dict[tuple[str, str], str]:
    """(kind of file, operator) to the test that shows it: of several the one with the fewest other operators."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for file in folder.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            test, pairs = json.loads(line)
            for pair in pairs:
                found[tuple(pair)] = min(found.get(tuple(pair), (sys.maxsize, "")), (len(pairs), test))
    return {pair: test for pair, (_, test) in found.items()}


def taken() -> dict[str, set[str]]:
    """Kind of file to the operators that a file of it may hold, beside those on constants and shapes alone."""
    # One reader takes both kinds of integers.
    title = {"TFLite uint8": "int8 TFLite"}
    forms = {kind: formats()[title.get(kind, " ".join(reversed(kind.split())))] for kind in KINDS}
    return {kind: {name for name, limits in form.operators.items() if "constants and shapes alone" not in limits}
            for kind, form in forms.items()}


def table(found: dict[tuple[str, str], str]) -> str:
    """docs/OPERATORS.md."""
    tests = sorted(set(found.values()))
    columns = taken()
    lines = [INTRODUCTION]
    lines += ["| operator | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in sorted(set().union(*columns.values()), key=lambda name: (name != name.upper(), name)):
        cells = []
        for kind, names in columns.items():
            test = found.get((kind, name))
            cells.append("\u2014" if name not in names else f"[{tests.index(test) + 1}]" if test else "no test")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. `{test}`" for number, test in enumerate(tests, start=1)
                    if any(name in columns.get(kind, ()) for (kind, name), shown in found.items() if shown == test))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(proved(RECORD)))
