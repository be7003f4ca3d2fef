# SPDX-License-Identifier: Apache-2.0
"""Add of ONNX: a constant for each channel, which becomes part of a bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .quantize import continued
from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.onnx_chain import OnnxChain
    from tepal.quant.files.onnx_node import Node


@onnx("Add", constant_first=True, limits="a constant for each channel; in a float model right behind a Conv, Gemm or "
      "MatMul")
def _add(chain: OnnxChain, node: Node) -> None:
    number = 1 - node.inputs.index(chain.value)
    draft = continued(chain, node)
    if not draft.linear:
        raise node.obstacle("adds a constant after an activation or a pool; only the bias of a Conv, Gemm or "
                            "MatMul is supported")
    bias = chain.by_channel(node, chain.constant(node, number, "bias").real)
    draft.shift(bias)
    draft.name = node.output
