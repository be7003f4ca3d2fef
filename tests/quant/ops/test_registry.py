# SPDX-License-Identifier: Apache-2.0
"""Operators are found by their files alone, and whoever walks a network or a model file knows none of them by name."""

import ast
from pathlib import Path

import pytest
from tepal.quant.ops.registry import CONSTANT_NODES, ONNX, TFLITE

ROOT = Path(__file__).resolve().parents[3]
OPERATORS = {path.stem for path in (ROOT / "quant/ops").glob("*.py")} - {"__init__", "registry"}
WALKERS = ["quant/readers/tflite.py", "quant/readers/onnx.py", "quant/readers/model_file.py", "quant/graph.py",
           "quant/network.py", "quant/float_network.py", "quant/simplify.py", "quant/scale.py", "quant/onnx_export.py",
           "quant/quantiser/quantise.py", "quant/quantiser/plausibility.py", "sim/golden.py", "sim/quantisation.py"]
SHARED = {"registry", "softmax", "activation"}
"""The registry, and what stands behind a layer whatever its kind: the float network's softmax and the clamp."""
LAYERS = {"AveragePool", "Convolution", "Depthwise", "FloatAveragePool", "FloatConvolution", "FloatDepthwise",
          "FloatWeighted", "Weighted"}


def test_every_file_registers_itself():
    found = {entry.read for table in (TFLITE, ONNX) for entry in table.values()}
    found |= {entry.compute for entry in CONSTANT_NODES.values()}
    assert {function.__module__.rpartition(".")[2] for function in found} == OPERATORS


@pytest.mark.parametrize("walker", WALKERS)
def test_walkers_know_no_operator(walker):
    nodes = list(ast.walk(ast.parse((ROOT / walker).read_text())))
    imported = {node.module.partition("ops.")[2] for node in nodes
                if isinstance(node, ast.ImportFrom) and node.module and ".ops" in f".{node.module}"}
    assert imported <= SHARED
    assert not LAYERS & {node.id for node in nodes if isinstance(node, ast.Name)}


@pytest.mark.parametrize("table", [TFLITE, ONNX], ids=["TFLite", "ONNX"])
def test_limits_are_told(table):
    assert all(entry.limits for entry in table.values())


def test_the_other_kind_of_file_is_told_a_way_out():
    assert {name for name, entry in TFLITE.items() if entry.elsewhere} == {
        name for name, entry in TFLITE.items() if entry.only}
