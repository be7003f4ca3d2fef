# SPDX-License-Identifier: Apache-2.0
"""``tepal ops`` prints the tables by which the readers work, and docs/models.md names nothing else."""

import json
import re
from pathlib import Path

import onnx
import pytest
import tflite
from tepal.cli.main import main
from tepal.quant import formats
from tepal.quant.files.qoperator import QOPERATORS
from tepal.quant.ops.registry import CONSTANT_NODES, ONNX, TFLITE, TFLITE_CONSTANTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(capsys):
    def run(*argv: str) -> str:
        assert main(["ops", *argv]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out
    return run


def test_every_operator_of_every_format_with_its_limits(run):
    told = json.loads(run("--json"))["formats"]
    assert list(told) == ["int8 TFLite", "float TFLite", "QDQ ONNX", "QOperator ONNX", "float ONNX"]
    for title, form in formats().items():
        assert told[title]["limits"] == form.limits
        assert told[title]["operators"] == form.operators
        assert all(told[title]["operators"].values())


def test_the_table(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = run()
    for title, form in formats().items():
        assert f"{title}: {form.limits}" in out
        for name in form.operators:
            assert re.search(rf"\b{name}\b", out)


def test_the_list_is_what_the_readers_dispatch_by():
    told = {title: form.operators for title, form in formats().items()}
    for title, kind in (("int8 TFLite", "int8"), ("float TFLite", "float")):
        computed = {name: found.limits for name, found in TFLITE.items() if found.only in (None, kind)}
        assert told[title] == dict.fromkeys(TFLITE_CONSTANTS, "on constants and shapes alone") | computed
    for title, kind in (("QDQ ONNX", "QDQ"), ("float ONNX", "float")):
        for name, limits in told[title].items():
            if name in ONNX and ONNX[name].only in (None, kind):
                assert limits == ONNX[name].limits
            else:
                assert name in CONSTANT_NODES
                assert limits == "on constants and shapes alone"
    assert told["QOperator ONNX"] == {name: ONNX[real].limits for name, real in QOPERATORS.items()}
    assert told["int8 TFLite"].keys() | told["float TFLite"].keys() == TFLITE.keys() | TFLITE_CONSTANTS.keys()
    assert told["QDQ ONNX"].keys() | told["float ONNX"].keys() == ONNX.keys() | CONSTANT_NODES.keys()


def test_the_names_are_those_of_the_formats():
    builtin = set(vars(tflite.BuiltinOperator)) | {"TFLite_Detection_PostProcess"}
    standard = {schema.name for schema in onnx.defs.get_all_schemas()}
    for title, form in formats().items():
        # Those of ONNX Runtime are in no schema of ONNX.
        names = {name for name in form.operators if not name.startswith("com.microsoft.")}
        assert names <= (builtin if "TFLite" in title else standard)


def test_the_page_of_models_names_operators_that_are_taken():
    section = (ROOT / "docs/models.md").read_text().split("## What it takes\n")[1].split("\n## ")[0]
    assert "`tepal ops`" in section
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]{2,}\b|TFLite_\w+", section)) - {"ONNX", "OPERATORS", "QCDQ", "QDQ"}
    assert len(named) == 11
    assert named <= formats()["int8 TFLite"].operators.keys()
