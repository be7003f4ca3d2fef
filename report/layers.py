# SPDX-License-Identifier: Apache-2.0
"""The network: a picture of its graph, and a table of its layers."""

from math import prod

from markupsafe import Markup
from tepal.quant import Network
from tepal.quant.layer import IMAGE, Layer
from tepal.sim import CycleModel

from .svg import add, drawing, fill, markup
from .table import Table, number, percent, shape, short

__all__ = ["graph", "layer_title", "layers"]

_ROW, _BOX, _RAIL = 34, 190, 14


def layer_title(layer: Layer) -> str:
    """What it is and its place in the model file."""
    return f"{type(layer).__name__} {layer.index}"


def _window(layer: Layer) -> str:
    """Kernel and stride, where they say anything."""
    kernel, stride = layer.kernel, layer.stride
    text = f"{kernel[0]}×{kernel[1]}" if kernel != (1, 1) else ""
    return f"{text} /{stride[0]}" if stride[0] == stride[1] != 1 else f"{text} /{stride[0]}×{stride[1]}" \
        if stride != (1, 1) else text


def _rails(network: Network) -> dict[int, tuple[int, list[int]]]:
    """For each map that others than the next layer read: the rail on which it goes down, and those layers.

    No two that pass the same layer share a rail."""
    ends: list[int] = []
    rails = {}
    for source in range(IMAGE, len(network.layers)):
        readers = [reader for reader, sources in enumerate(network.sources) if source in sources
                   and reader != source + 1]
        if not readers:
            continue
        rail = next((rail for rail, end in enumerate(ends) if end <= source), len(ends))
        ends[rail:rail + 1] = [readers[-1]]
        rails[source] = rail, readers
    return rails


def graph(network: Network) -> Markup:
    """Layers from top to bottom in the order in which they run; what others than the next one read goes down beside
    them."""
    rails = _rails(network)
    left = 16 + _RAIL * (1 + max((rail for rail, _ in rails.values()), default=-1))
    count = len(network.layers)
    columns = left + _BOX + 20, left + _BOX + 390, left + _BOX + 480, left + _BOX + 620
    bar = left + _BOX + 635
    svg = drawing(f"Graph of {short(network.name)}: {count} layers, which the table below lists", bar + 150,
                  (count + 1) * _ROW + 34, class_="graph")

    def top(row: int) -> float:
        """Of the image (:data:`IMAGE`) or a layer."""
        return 28 + (row + 1) * _ROW

    for x, text in zip((*columns, bar), ("name", "result", "weights", "multiply-accumulates", ""), strict=True):
        add(svg, "text", text, x=x, y=16, class_="head", text_anchor="start" if x == columns[0] else "end")
    for source, (rail, readers) in rails.items():
        x, begin = left - 8 - _RAIL * (rail + 1) + 6, top(source) + 18
        for reader in readers:
            end = top(reader) + 7
            add(svg, "path", d=f"M{left},{begin:g} H{x + 5} Q{x},{begin:g} {x},{begin + 5:g} V{end - 5:g} Q{x},{end:g} "
                f"{x + 5},{end:g} H{left - 5}", class_="edge")
            add(svg, "path", d=f"M{left},{end:g} l-6,-3.5 v7 z", class_="arrow")
    most = max((layer.macs for layer in network.layers), default=0) or 1
    for row in range(IMAGE, count):
        y, middle = top(row), top(row) + 16
        layer = network.layers[row] if row >= 0 else None
        box = add(svg, "rect", x=left, y=y, width=_BOX, height=24, rx=12 if layer is None else 3,
                  class_="box output" if row in network.output_layers else "box")
        add(box, "title", layer.name if layer else "The image")
        text = f"{layer_title(layer)}  {_window(layer)}".rstrip() if layer else "image"
        add(svg, "text", short(text, 28), x=left + _BOX / 2, y=middle, text_anchor="middle", class_="title")
        if row + 1 < count and row in network.sources[row + 1]:
            add(svg, "path", d=f"M{left + _BOX / 2},{y + 24:g} V{y + _ROW - 4:g}", class_="edge")
            add(svg, "path", d=f"M{left + _BOX / 2},{y + _ROW:g} l-3.5,-6 h7 z", class_="arrow")
        sizes = network.shape(row)
        values = (shape(sizes), number(layer.parameters or None) if layer else "",
                  number(layer.macs or None) if layer else "")
        add(svg, "text", short(layer.name, 34) if layer else "", x=columns[0], y=middle, class_="name")
        for x, value in zip(columns[1:], values, strict=True):
            add(svg, "text", value, x=x, y=middle, text_anchor="end")
        if layer and layer.macs:
            add(svg, "rect", x=bar, y=y + 6, width=max(140 * layer.macs / most, 1.0), height=12, fill=fill("array"),
                class_="part")
    return markup(svg)


def layers(model: CycleModel) -> Table:
    """Every layer: what it is, how large, in which passes and when."""
    network = model.schedule.network
    rows = []
    for item in model.layers():
        layer = network.layers[item.layer]
        passes = str(item.pass_number) if item.pass_number == item.last_pass else f"{item.pass_number}-{item.last_pass}"
        rows.append([str(layer.index), layer.name, type(layer).__name__, _window(layer),
                     shape(layer.output_shape), number(prod(layer.output_shape)), number(layer.parameters),
                     number(layer.macs), passes, number(item.start), number(item.end), number(item.cycles),
                     percent(item.utilisation) if layer.mixes and layer.macs else ""])
    waits = ", without the cycles in which passes wait for weights" if model.schedule.loads else ""
    return Table("layers", f"Layers; cycles are counted from the frame's first step{waits}.",
                 ["#operator", "name", "kind", "window", "result", "#bytes", "#weights", "#multiply-accumulates",
                  "#pass", "#first cycle", "#last cycle", "#cycles", "#array in use"], rows)
