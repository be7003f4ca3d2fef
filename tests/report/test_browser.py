# SPDX-License-Identifier: Apache-2.0
"""The page in a browser: what a person sees, clicks and types.

TEPAL_SCREENSHOTS names a folder for pictures of it; ``docs/report.png`` is ``report-cifar10-light.png``."""

import os
import struct
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from tepal.cli.main import main

ROOT = Path(__file__).parents[2]
CIFAR10 = ROOT / "examples/cifar10/models/large_0.50_32_int8.onnx"
DIGITS = ROOT / "examples/digits/digits.tflite"

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind: of ten passes; with weights from outside, in slices."""
    folder = tmp_path_factory.mktemp("pages")
    cases = {"cifar10": (CIFAR10,), "slices": (DIGITS, "--no-simplify", "--weight-words", "512", "--columns", "4")}
    for name, arguments in cases.items():
        assert main(["report", *map(str, arguments), "--board", "ulx3s-85f", "-o", str(folder / f"{name}.html")]) == 0
    return folder


@pytest.fixture
def open_page(browser, pages):
    def open_page(name: str, scheme: str = "light"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        browser.get((pages / f"{name}.html").as_uri())
        return browser
    return open_page


def visible(browser) -> tuple[int, int]:
    """(first, last) of the cycles that are told beside the timeline."""
    text = browser.execute_script("return document.querySelector('#timeline output').textContent")
    first, last = text.rsplit("cycles ", 1)[1].split(" to ")
    return int(first.replace(",", "")), int(last.replace(",", ""))


def whole(browser) -> tuple[int, int]:
    found = browser.execute_script("return {...document.querySelector('#timeline svg.cycles').dataset}")
    return int(found["first"]), int(found["behind"])


def press(browser, name: str) -> None:
    browser.find_element("css selector", f"#timeline button[data-do={name}]").click()


@pytest.mark.parametrize("name", ["cifar10", "slices"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_seen(open_page, name, scheme):
    """No error in the console; texts can be read on what is behind them; none lies over its neighbour, none leaves its
    picture, and the page is no wider than the window."""
    browser = open_page(name, scheme)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    paper, ink = browser.execute_script("""
        const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color].map((each) => each.match(/[\\d.]+/g).map(Number));""")
    assert (sum(paper[:3]) < sum(ink[:3])) == (scheme == "dark")
    assert browser.execute_script(LABELS) == []
    folder = os.environ.get("TEPAL_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        picture = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        picture.quantize(64, dither=Image.Dither.NONE).save(Path(folder) / f"report-{name}-{scheme}.png", optimize=True)


LABELS = """
    const wrong = [];
    for (const svg of document.querySelectorAll(".picture > svg")) {
        const outer = svg.getBoundingClientRect();
        const boxes = [...svg.querySelectorAll("text")].filter((text) => text.textContent)
            .map((text) => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width > 0);
        for (const [text, box] of boxes)
            if (box.left < outer.left - 1 || box.right > outer.right + 1 || box.bottom > outer.bottom + 1)
                wrong.push("outside: " + text);
        const rows = new Map();
        for (const each of boxes) {
            const key = Math.round(each[1].top);
            rows.set(key, [...(rows.get(key) || []), each]);
        }
        for (const row of rows.values()) {
            row.sort((one, other) => one[1].left - other[1].left);
            for (let at = 1; at < row.length; at++)
                if (row[at - 1][1].right > row[at][1].left + 1)
                    wrong.push("over each other: " + row[at - 1][0] + " and " + row[at][0]);
        }
    }
    for (const span of document.querySelectorAll("svg .span")) {
        const text = span.querySelector("text");
        if (!text || !text.textContent) continue;
        const outer = span.querySelector("rect").getBoundingClientRect(), inner = text.getBoundingClientRect();
        if (inner.left < outer.left - 1 || inner.right > outer.right + 1) wrong.push("wider: " + text.textContent);
    }
    return wrong;
"""
"""Texts of pictures that can't be read."""


def test_zoom(open_page):
    """By buttons and by keys; the pictures of memories go along; All shows all again."""
    browser = open_page("cifar10")
    first, behind = whole(browser)
    axis = "return [...document.querySelectorAll('svg.cycles')].map((svg) => svg.querySelector('.axis').textContent)"
    before = browser.execute_script(axis)
    press(browser, "in")
    begin, end = visible(browser)
    assert abs((end - begin) * 2 - (behind - first)) <= 2
    after = browser.execute_script(axis)
    assert len(after) >= 2
    assert len(set(after)) == 1
    assert after != before
    assert browser.execute_script(LABELS) == []
    press(browser, "right")
    assert visible(browser)[0] > begin
    press(browser, "all")
    assert visible(browser) == (first, behind)
    box = browser.find_element("css selector", "#timeline .zoom")
    for _ in range(20):
        box.send_keys("+")
    begin, end = visible(browser)
    assert end - begin == 20
    box.send_keys("-")
    assert visible(browser)[1] - visible(browser)[0] == 40
    box.send_keys("0")
    assert visible(browser) == (first, behind)
    assert browser.execute_script(axis) == before


def test_choosing_a_pass(open_page):
    """It fills the picture, and is marked there and in the table; a click on a bar tells what it is."""
    browser = open_page("slices")
    count = browser.execute_script("return document.querySelectorAll('#table-passes tbody tr').length")
    assert count > 5
    browser.execute_script("""
        const select = document.querySelector("#timeline select");
        select.value = "3";
        select.dispatchEvent(new Event("change"));""")
    begin, end = visible(browser)
    first, behind = whole(browser)
    assert first <= begin < end < behind
    chosen = browser.execute_script("return [...document.querySelectorAll('.chosen')].map((each) => each.dataset.pass)")
    assert len(chosen) > 3
    assert set(chosen) == {"3"}
    press(browser, "all")
    bar = browser.find_element("css selector", "#timeline .span[data-pass='1'] rect")
    bar.click()
    told = browser.execute_script("return document.querySelector('#timeline output').textContent")
    assert told.startswith("pass 1 (")


def test_printed(open_page):
    """A closed table is on paper, what is clicked is not; and the paper is white."""
    browser = open_page("cifar10", "dark")
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    assert browser.execute_script("""return [...document.querySelectorAll("table")].every(
        (table) => table.getBoundingClientRect().height > 20)""")
    assert browser.execute_script("""return [...document.querySelectorAll(".buttons")].every(
        (each) => each.getBoundingClientRect().height === 0)""")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_script(browser, pages, tmp_path):
    """All pictures are there; only nothing zooms."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((pages / "cifar10.html").as_uri())
        bars = browser.find_elements("css selector", "#timeline .span rect")
        assert len(bars) > 20
        assert all(bar.size["width"] > 0 for bar in bars)
        assert not browser.find_element("css selector", ".buttons").is_displayed()
        picture = tmp_path / "page.png"
        browser.save_screenshot(str(picture))
        assert struct.unpack(">II", picture.read_bytes()[16:24])[0] == 1280
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
