# SPDX-License-Identifier: Apache-2.0
"""Mul of ONNX: a constant for each channel, which is folded into weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tepal.quant.files.draft import Draft

from .registry import onnx

if TYPE_CHECKING:
    from tepal.quant.files.onnx_chain import OnnxChain
    from tepal.quant.files.onnx_node import Node

__all__ = ["FOLDED", "foldable"]

FOLDED = "folded into the Conv, Gemm or MatMul right before it"


def foldable(chain: OnnxChain, node: Node) -> Draft:
    """The layer whose weights take up the factors of ``node``."""
    draft = chain.drafts[-1] if chain.drafts else None
    if draft is None or not draft.linear:
        raise node.obstacle("doesn't follow a Conv, Gemm or MatMul directly, into which alone it can be folded: "
                            "put it there, or, if it is the first of all, scale the images instead")
    if draft.quantised or chain.meaning is not None:
        raise node.obstacle("follows a quantised layer; fold it into the weights before quantising")
    return draft


@onnx("Mul", constant_first=True, only="float", limits=f"a constant for each channel, {FOLDED}")
def _multiply(chain: OnnxChain, node: Node) -> None:
    draft = foldable(chain, node)
    factor = chain.constant(node, 1 - node.inputs.index(chain.value), "factor").real
    draft.scale(chain.by_channel(node, factor), 0.0, 0.0)
    draft.name = node.output
