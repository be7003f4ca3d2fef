# SPDX-License-Identifier: Apache-2.0
"""What several commands show of a schedule."""

import numpy as np
from rich.markup import escape
from rich.table import Column, Table
from tepal.hdl import Schedule
from tepal.quant import Network
from tepal.sim import CycleModel

from .console import out

__all__ = ["class_name", "class_scores", "layer_rows", "layer_table", "share_bar", "told_outputs"]


def layer_rows(schedule: Schedule, model: CycleModel) -> list[dict]:
    """Cycles and utilisation of each layer, ready for JSON."""
    layers = schedule.network.layers
    return [{"index": layers[item.layer].index, "name": layers[item.layer].name,
             "kind": type(layers[item.layer]).__name__, "shape": list(layers[item.layer].output_shape),
             "block": item.pass_number, "start": item.start, "end": item.end, "cycles": item.cycles, "macs": item.macs,
             "utilisation": round(item.utilisation, 4)} for item in model.layers()]


def class_name(names: list[str], number: int) -> str:
    """What the class ``number`` is called, by the ``names`` that are given."""
    return names[number] if number < len(names) and names[number] else f"class {number}"


def class_scores(network: Network, logits: np.ndarray) -> np.ndarray:
    """Of int8 ``logits`` (frames, classes): their probabilities where the network ends in a softmax, else they."""
    if network.softmax is None:
        return logits.astype(float)
    return (network.softmax(logits).astype(float) + 128) / 256


def told_outputs(network: Network, results: np.ndarray) -> list[str]:
    """A line for each output of the model file, of int8 ``results`` (frames, ``network.result_bytes``)."""
    lines = []
    for answer, values in zip(network.all_answers, network.answer(results), strict=True):
        scale, zero_point = answer.meaning or (1.0, 0)
        least, most = (scale * (float(end) - zero_point) for end in (values.min(), values.max()))
        lines.append(f"[bold]{escape(answer.name)}[/], {' x '.join(map(str, values.shape[1:])) or 1}: "
                     f"{least:.4g} to {most:.4g}")
    return lines


def share_bar(share: float, width: int = 12) -> str:
    """A share, 0 to 1, as a bar of text; nothing where no person looks at it."""
    if not out.is_terminal:
        return ""
    full = round(min(max(share, 0), 1) * width)
    return "█" * full + "·" * (width - full)


def layer_table(rows: list[dict]) -> Table:
    """:func:`layer_rows` for people."""
    table = Table("op", "layer", "output", *(Column(header, justify="right") for header in (
        "start", "end", "cycles", "array in use")), "")
    for row in rows:
        shape = "x".join(map(str, row["shape"]))
        used = [f"{row['utilisation']:.1%}", share_bar(row["utilisation"])] if row["kind"] == "Convolution" else []
        table.add_row(str(row["index"]), row["kind"], shape, f"{row['start']:,}", f"{row['end']:,}",
                      f"{row['cycles']:,}", *used)
    return table
