# SPDX-License-Identifier: Apache-2.0
"""The page, as a parser of HTML sees it: all that there is appears, with the numbers of the schedule, and safely."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from graphs import residuals, sliced_case
from networks import chain, random_case
from tepal.boards.flow.routed import Clock
from tepal.boards.registry import BOARDS
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import Network, read_model
from tepal.report import Given, page
from tepal.report.chart import ticks
from tepal.report.given import BUILD
from tepal.sim import CycleModel
from tepal.sim.occupancy import map_spans, pass_times
from tepal.sim.ranges import measure_ranges

ROOT = Path(__file__).parents[2]
BOARD = BOARDS["ulx3s-85f"]
ENGINE = EngineConfig(9, 16, 8, (3, 3), 8, 1, copy_lanes=9)
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """``tables`` by name: headers, rows of texts; ``tags``: (name, attributes, text) of every element.  Elements that
    are not closed in their order are an error."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in VOID:
            self.open.append(len(self.tags) - 1)

    def handle_endtag(self, tag):
        assert self.tags[self.open.pop()][0] == tag

    def handle_data(self, data):
        for number in self.open:
            self.tags[number][2].append(data)

    def of(self, tag: str) -> list[tuple[dict[str, str], str]]:
        return [(attributes, "".join(text)) for name, attributes, text in self.tags if name == tag]

    def table(self, name: str) -> list[dict[str, str]]:
        """Rows, by header."""
        begin = next(number for number, each in enumerate(self.tags) if each[1].get("id") == f"table-{name}")
        headers, rows = [], []
        for tag, _, text in self.tags[begin + 1:]:
            if tag == "table":
                break
            if tag == "tr":
                rows.append([])
            elif tag == "th":
                headers.append("".join(text))
            elif tag == "td":
                rows[-1].append("".join(text).replace("\N{NO-BREAK SPACE}", " "))
        return [dict(zip(headers, row, strict=True)) for row in rows[1:]]

    def spans(self, kind: str) -> list[dict[str, str]]:
        """What is drawn in the chart whose name begins so."""
        begin = next(number for number, each in enumerate(self.tags) if each[1].get("aria-label", "").startswith(kind))
        found = []
        for tag, attributes, _ in self.tags[begin + 1:]:
            if tag == "svg":
                break
            if "span" in attributes.get("class", "").split():
                found.append(attributes)
        return found


def written(network: Network, config: EngineConfig = ENGINE, given: Given | None = None, name: str = "model.onnx",
            ) -> tuple[CycleModel, str]:
    model = CycleModel(Schedule(network, config))
    return model, page(model, BOARD, name, Clock(100.0, "100 MHz"), given or Given())


NETWORKS = {
    "chain": lambda: (chain((8, 8, 3), 5), ENGINE),
    "residuals": lambda: (residuals((8, 8, 4), 3), ENGINE),
    "sliced": lambda: sliced_case(1)[:2],
    "random": lambda: random_case(3)[:2],
    "cifar10": lambda: (read_model(ROOT / "examples/cifar10/models/large_0.50_32_int8.onnx"), ENGINE),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_all_is_there(case):
    """Every pass, layer and map, in its table and its picture, with the schedule's numbers."""
    model, text = written(*NETWORKS[case]())
    seen, schedule = Page(text), model.schedule
    assert "\N{REPLACEMENT CHARACTER}" not in text
    times, layers = pass_times(model), model.layers()
    rows = seen.table("passes")
    assert [int(row["pass"]) for row in rows] == [*range(len(schedule.passes))]
    for row, each, scheduled in zip(rows, times, schedule.passes, strict=True):
        assert row["first step"] == f"{each.start:,}"
        assert row["last result"] == f"{each.end:,}"
        assert row["tiles"] == f"{scheduled.tiles:,}"
        assert row["cycles a tile"] == f"{scheduled.slot:,}"
        assert row["result"] == " × ".join(map(str, scheduled.work.output_shape))
    rows = seen.table("layers")
    assert [row["name"] for row in rows] == [schedule.network.layers[each.layer].name for each in layers]
    assert [(row["first cycle"], row["last cycle"]) for row in rows] == [(f"{each.start:,}", f"{each.end:,}")
                                                                        for each in layers]
    for layer in schedule.network.layers:
        assert any(f"{type(layer).__name__} {layer.index}" in text for _, text in seen.of("text"))
    drawn = {(span["data-pass"], int(span["data-a"]), int(span["data-b"])) for span in seen.spans("Timeline")}
    for number, each in enumerate(times):
        for work in each.units.values():
            assert (str(number), work.first, work.last + 1) in drawn
    maps = map_spans(model)
    assert len(seen.table("maps")) == len(maps)
    if any(each.memory == "activations" for each in maps):
        drawn = {(int(span["data-a"]), int(span["data-b"])) for span in seen.spans("Activation memory")}
        assert drawn == {(each.first, each.last + 1) for each in maps if each.memory == "activations"}
    assert any(each.memory == "skip" for each in maps) == ("Skip memory" in text)
    cycles = sum(int(row["cycles"].replace(",", "")) for row in seen.table("bindings"))
    assert cycles == model.in_memory_cycles


@pytest.mark.parametrize("case", NETWORKS)
def test_self_contained(case):
    """Nothing is fetched; every name that something refers to is there once; the same input gives the same bytes."""
    network, config = NETWORKS[case]()
    _, text = written(network, config)
    assert text == written(network, config)[1]
    seen = Page(text)
    for tag, attributes, _ in seen.tags:
        for name in "src", "href", "data", "srcset", "action":
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    assert not re.search(r"https?:|@import|url\((?!#)|//\w+\.", text.replace("http://www.w3.org/2000/svg", ""))
    names = [attributes["id"] for _, attributes, _ in seen.tags if "id" in attributes]
    assert len(names) == len(set(names))
    referred = set(re.findall(r"url\(#([\w-]+)\)", text)) | {
        attributes["href"][1:] for tag, attributes, _ in seen.tags if tag == "a"}
    assert referred <= set(names)


def test_pictures_are_told():
    """Every picture has a name, every table a caption, every button something to be called by."""
    seen = Page(written(*NETWORKS["residuals"]())[1])
    drawn = [attributes for attributes, _ in seen.of("svg") if attributes.get("aria-hidden") != "true"]
    assert len(drawn) >= 6
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)
    assert len(seen.of("caption")) == len(seen.of("table"))
    assert all(attributes.get("aria-label") or text.strip() for attributes, text in seen.of("button"))
    assert [tag for tag, *_ in seen.tags].count("h1") == 1


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"><img src=x onerror=y>", "&amp;",
                                  "a\x00b\x1b\u202e\ud800"])
def test_names_are_escaped(name):
    """Whatever a model's file calls its layers, or the file is called, is text."""
    network = chain((8, 8, 3), 3)
    named = replace(network, name=name, layers=tuple(replace(layer, name=f"{name}{number}")
                                                     for number, layer in enumerate(network.layers)))
    plain, text = (Page(written(each, name=each.name)[1]) for each in (network, named))
    assert [tag for tag, *_ in text.tags] == [tag for tag, *_ in plain.tags]
    written_text = written(named, name=name)[1]
    assert all(each.isprintable() or each in "\n\N{NO-BREAK SPACE}" for each in written_text)
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
    assert text.table("layers")[0]["name"] == f"{shown}0"
    assert shown in text.of("h1")[0][1]


def test_ranges():
    """What the golden model counts is what the table says."""
    network, config, images = random_case(5)
    measured = measure_ranges(network, images)
    _, text = written(network, config, Given(ranges=measured, frames=len(images)))
    rows = Page(text).table("ranges")
    assert [row["int8 values"] for row in rows] == [f"{each.low} … {each.high}" for each in measured]
    assert [row["at 127"] for row in rows] == [f"{each.at_high:.3%}" for each in measured]


def test_build():
    """Slowest path, seeds and resources after routing are those of the report."""
    path = {"from": "a", "to": "b", "ns": 4.0, "logic_ns": 1.0, "routing_ns": 3.0,
            "steps": [{"kind": "logic", "at": "top.x", "ns": 1.0}, {"kind": "routing", "at": "top.y", "ns": 3.0}]}
    build = {"part": "P", "passed": True, "fmax_mhz": 90.0, "clock_mhz": 80.0, "in_memory_ms": 1.5,
             "last_byte_ms": 1.25, "critical_path": path,
             "frames_per_second": 700.0, "used": {"lut": 12, "dsp": 9}, "available": {"lut": 24, "dsp": 8},
             "seeds": [{"seed": 1, "fmax_mhz": 90.0}, {"seed": 2, "fmax_mhz": None}], "best_seed": 1, "tools": {}}
    assert build.keys() <= BUILD.keys()
    seen = Page(written(chain((8, 8, 3), 3), given=Given(build=build))[1])
    assert [(row["resource"], row["share"]) for row in seen.table("routed")] == [("lut", "50.0%"), ("dsp", "112.5%")]
    assert [(row["seed"], row["MHz"]) for row in seen.table("seeds")] == [("1", "90.00"), ("2", "")]
    assert [row["ns"] for row in seen.table("path")] == ["1.000", "3.000"]


@pytest.mark.parametrize(("first", "behind"), [(0, 1), (-9, 70), (0, 1000), (-20, 32147), (5, 10 ** 9)])
def test_ticks(first, behind):
    found = ticks(first, behind)
    assert 1 <= len(found) <= 10
    assert all(first <= each < behind for each in found)


def test_many_passes():
    """Hundreds of passes take no more than some kilobytes each."""
    model, text = written(chain((4, 4, 4), 180))
    assert len(model.schedule.passes) >= 100
    assert len(text) < 8000 * len(model.schedule.passes)
    assert len(Page(text).table("passes")) == len(model.schedule.passes)
