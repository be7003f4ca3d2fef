# SPDX-License-Identifier: Apache-2.0
"""docs/OPERATORS.md is the table of what the readers take, and the tests that it names are there."""

import re

import onnx
from onnx import helper
from operators import KINDS, ROOT, TABLE, asked, passed, proved, table, taken
from tflite_writer import Chain


def test_every_operator_has_a_row():
    rows = dict(re.findall(r"^\| (\S+) \| (.*) \|$", TABLE.read_text(), re.M))
    assert rows.pop("operator") == " | ".join(KINDS)
    told = {(name, kind) for name, cells in rows.items() for kind, cell in zip(KINDS, cells.split(" | "), strict=True)
            if cell != "\u2014"}
    assert told == {(name, kind) for kind, names in taken().items() for name in names}


def test_named_tests_exist():
    named = re.findall(r"^\d+\. `(.+)::(\w+)`$", TABLE.read_text(), re.M)
    assert len(named) > 40
    for file, function in named:
        assert f"def {function}(" in (ROOT / file).read_text(), f"{file}::{function}"


def test_what_an_oracle_was_asked_is_kept(tmp_path):
    """By the test that passed, the plainest one; not of one that failed."""
    def graph(*operators: str) -> onnx.ModelProto:
        return helper.make_model(helper.make_graph([helper.make_node(name, ["a"], ["b"]) for name in operators], "g",
                                                   [], []))

    for test, models in {"t.py::many[1]": [graph("Relu", "Conv")], "t.py::one": [graph("Relu")],
                         "t.py::both": [graph("QuantizeLinear", "Conv"),
                                        Chain(4, 4, 2).average_pool((2, 2)).write()]}.items():
        for model in models:
            asked(model)
        passed(test, tmp_path)
    asked(graph("Elu"))
    passed("t.py::failed", None)
    found = proved(tmp_path)
    assert found == {("ONNX float", "Relu"): "t.py::one", ("ONNX float", "Conv"): "t.py::many",
                     ("ONNX QDQ", "QuantizeLinear"): "t.py::both", ("ONNX QDQ", "Conv"): "t.py::both",
                     ("TFLite int8", "AVERAGE_POOL_2D"): "t.py::both"}
    assert "| AVERAGE_POOL_2D | [1] | no test |" in table({("TFLite int8", "AVERAGE_POOL_2D"): "t.py::both"})
