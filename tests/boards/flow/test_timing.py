# SPDX-License-Identifier: Apache-2.0
"""Names of the tools' cells and nets as a person knows them, and the slowest path of a report."""

import pytest
from tepal.boards.flow.timing import clock_mhz, critical_path, describe_cell, driven_by

ENGINE = "top.link.accelerator."


@pytest.mark.parametrize(("name", "described"), [
    (f"{ENGINE}array.element_3_5.product_TRELLIS_FF_Q", "systolic array, element row 3 column 5: product"),
    (f"{ENGINE}array.element_11_0.acc_TRELLIS_FF_Q_7_DI_CCU2C_S0", "systolic array, element row 11 column 0: acc"),
    (f"{ENGINE}array.w_5_d2", "systolic array: w_5_d2"),
    (f"{ENGINE}array.count_SB_DFFESR_Q_2_D_SB_LUT4_O_LC", "systolic array: count"),
    (f"{ENGINE}drain.requantiser_2.product$22_MULT18X18D_P9", "array's requantiser 2: product"),
    (f"{ENGINE}drain.$signal$18_TRELLIS_FF_Q", "drain"),
    (f"{ENGINE}depthwise_requantiser_7.total_l0_0", "depthwise requantiser 7: total_l0_0"),
    (f"{ENGINE}activations_1_2.memory.0.0_DP16KD_DOA0", "activation memory, bank row 1 column 2: memory"),
    (f"{ENGINE}array.element_0_0.product_DFF_Q_15_D_MULT9X9_DOUT", "systolic array, element row 0 column 0: product"),
    (f"{ENGINE}windowing.x_DFFRE_Q_1_D_LUT3_F_I1_ALU_SUM", "accelerator, windowing: x"),
    (f"{ENGINE}matrix_weights.here", "array's weights: here"),
    (f"{ENGINE}windowing.x", "accelerator, windowing: x"),
    (f"{ENGINE}busy[0]", "accelerator: busy[0]"),
    ("top.link.encoder.block.write__addr", "encoder, block: write__addr"),
    ("top.receiver.timer.passed_SB_DFF_Q", "receiver, timer: passed"),
    ("clocks.waited_SB_DFF_Q_4_D_SB_LUT4_O_LC", "clocks: waited"),
    ("something", "board: something"),
])
def test_names(name, described):
    assert describe_cell(name) == described


def step(kind, source, sink, delay, net=None):
    return {"type": kind, "from": {"cell": source, "loc": [0, 0], "port": "A"},
            "to": {"cell": sink, "loc": [0, 0], "port": "B"}, "delay": delay, **({"net": net} if net else {})}


START, LUT = f"{ENGINE}array.element_0_1.product_TRELLIS_FF_Q", f"{ENGINE}array.element_0_1.acc_TRELLIS_FF_Q_DI_LUT4_Z"
END = f"{ENGINE}drain.busy_TRELLIS_FF_Q"
REPORT = {
    "fmax": {"$glbnet$clocks.clk": {"achieved": 150.5, "constraint": 160}, "line": {"achieved": 300, "constraint": 25}},
    "critical_paths": [
        {"from": "posedge line", "to": "posedge line", "path": [step("clk-to-q", "a", "a", 9.0)]},
        {"from": "posedge line", "to": "posedge $glbnet$clocks.clk", "path": [step("clk-to-q", "a", "a", 99.0)]},
        {"from": "posedge $glbnet$clocks.clk", "to": "posedge $glbnet$clocks.clk", "path": [
            step("clk-to-q", START, START, 0.5),
            step("routing", START, LUT, 1.25, net=f"{ENGINE}array.element_0_1.sum"),
            step("logic", LUT, LUT, 0.25), step("routing", LUT, END, 3.0, net=f"{LUT}_D"),
            step("setup", END, END, 0.125)]},
    ]}


def test_path():
    """The one within the clock asked for, with its own names; a start whose net has a derived name is its cell's."""
    assert clock_mhz(REPORT, ["other", "clocks.clk"]) == 150.5
    path = critical_path(REPORT, ["other", "clocks.clk"])
    assert path is not None
    assert (path.start, path.end) == ("systolic array, element row 0 column 1: sum", "drain: busy")
    assert (path.total, path.logic, path.routing) == (5.125, 0.875, 4.25)
    assert path.through == ("systolic array, element row 0 column 1", "drain")
    assert [item["ns"] for item in path.as_json()["steps"]] == [0.5, 1.25, 0.25, 3.0, 0.125]
    assert critical_path(REPORT, ["nothing"]) is None
    with pytest.raises(ValueError, match="not enough values"):
        clock_mhz(REPORT, ["nothing"])


def test_net_of_a_cell():
    netlist = {"cells": {"pll": {"type": "PLL", "connections": {"OUT": [7], "IN": [3]}},
                         "ff": {"type": "FF", "connections": {"C": [7]}}},
               "netnames": {"clk": {"bits": [7]}, "a.clk": {"bits": [7]}, "in": {"bits": [3]}, "bus": {"bits": [7, 3]}}}
    assert driven_by(netlist, "PLL", "OUT") == driven_by(netlist, "OTHER|PLL", "OUT") == ["clk", "a.clk"]
