# SPDX-License-Identifier: Apache-2.0
"""What quantisation does to each layer: ranges on images, and what ``tepal quantize`` measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from tepal.quant import Network
from tepal.sim.ranges import LayerRange

from .table import Table, number

__all__ = ["accuracies", "losses", "ranges"]


def ranges(network: Network, measured: Sequence[LayerRange]) -> Table:
    """int8 values that each layer gives, and what they stand for."""
    rows = []
    for each in measured:
        layer = network.layers[each.layer]
        scale, zero = layer.output_scale, layer.output_zero_point
        low, high = (scale * (value - zero) for value in (each.low, each.high))
        rows.append([str(layer.index), layer.name, type(layer).__name__, f"{each.low} … {each.high}",
                     number(each.used), f"{low:.4g} … {high:.4g}", f"{scale:.4g}", str(zero), f"{each.at_low:.3%}",
                     f"{each.at_high:.3%}"])
    return Table("ranges", "What each layer gives on the images; at -128 and at 127 lies what may be saturated, or "
                 "what an activation such as ReLU has cut off.",
                 ["#operator", "name", "kind", "int8 values", "#different ones", "real values", "#scale", "#zero point",
                  "#at -128", "#at 127"], rows)


def losses(found: Mapping[str, Any]) -> Table:
    """What ``tepal quantize --json`` says of each layer."""
    rows = [[layer["name"], layer["kind"], f"{layer['low']:.4g} … {layer['high']:.4g}",
             f"{layer['scale']:.4g}", str(layer["zero_point"]), number(layer["sqnr"], 1), f"{layer['saturated']:.3%}",
             number(layer["alone"], 1)] for layer in found["layers"]]
    return Table("losses", f"What quantisation lost on {found['frames']:,} images (method {found['method']}): "
                 f"{found['agreement']:.2%} are in the same class as before.",
                 ["name", "kind", "float range", "#scale", "#zero point", "#SQNR, dB", "#saturated",
                  "#answer with it alone quantised, dB"], rows)


def accuracies(shares: Mapping[str, tuple[float, int | None]]) -> Table:
    """Shares of right classes, by network, and on how many images."""
    return Table("accuracy", "Share of images whose largest result is their class.",
                 ["network", "#accuracy", "#images"],
                 [[name, f"{share:.2%}", number(images)] for name, (share, images) in shares.items()])
