# SPDX-License-Identifier: Apache-2.0
"""examples/train_to_fpga.ipynb, executed cell by cell with few pictures and a small engine."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples/train_to_fpga.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
TINY = {"PICTURES": 256, "EPOCHS": 2, "SIMULATED": 2, "ENGINE": ["--rows", "2", "--columns", "2", "--lanes", "2"]}


def test_kept_without_results():
    """Nothing of whoever ran it last; and the first cell's settings are those that the test below replaces."""
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)
    assert set(re.findall(r"^(\w+) = ", "".join(CELLS[0]["source"]), re.M)) == set(TINY)


@pytest.mark.slow
@pytest.mark.rtl
def test_executed(tmp_path, monkeypatch, compile_quickly, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for number, cell in enumerate(CELLS):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        if number == 0:
            names |= TINY
    out = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"epoch \d: loss ([\d.]+)", out)]
    assert len(losses) == 2
    assert names["network"].input_shape == (32, 32, 3)
    assert 0 <= names["int8"] <= 1
    # The float network and the int8 one agree about most pictures, trained as little as they are.
    assert abs(names["int8"] - names["right"]) < 0.1
    equal, compared = re.search(r"([\d,]+) of ([\d,]+) bytes equal over 2 frames and every layer", out).groups()
    assert equal == compared
    assert "0 events off their predicted cycle" in out
    assert "<html" in (tmp_path / "report.html").read_text()
