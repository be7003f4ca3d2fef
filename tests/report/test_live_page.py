# SPDX-License-Identifier: Apache-2.0
"""The live page in a browser, on a simulated board; and with answers that no device has given.

TEPAL_SCREENSHOTS names a folder for pictures of it; ``docs/serve.png`` is ``serve-light.png``."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tepal.host.web import LARGEST, Refused, WebServer
from tepal.report.live import live_files

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples/digits"

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pictures, and what is none."""
    folder = tmp_path_factory.mktemp("files")
    pixels = (np.load(DIGITS / "inputs.npy")[..., 0].astype(int) + 128).astype(np.uint8)
    for number, label in enumerate(np.load(DIGITS / "labels.npy").tolist()):
        Image.fromarray(pixels[number]).resize((240, 240), Image.Resampling.NEAREST).save(folder / f"{label}.png")
    (folder / "text.png").write_text("no picture")
    (folder / "damaged.png").write_bytes((folder / "3.png").read_bytes()[:200])
    with (folder / "large.png").open("wb") as file:
        file.truncate(LARGEST + 1)
    return folder


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, quick_compiler):
    """The address of ``tepal serve --simulate``."""
    command = [sys.executable, "-m", "tepal", "serve", DIGITS / "digits.tflite", "--simulate", "--board", "ulx3s-85f",
               "--rows", "4", "--columns", "4", "--lanes", "4", "--http", "0", "--json", "--range", "0:1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={
        **os.environ, **quick_compiler, "TMPDIR": str(tmp_path_factory.mktemp("simulated"))})
    assert process.stdout
    with process.stdout:
        yield json.loads(process.stdout.readline())["url"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


class Page:
    """A page that is open: what a person sees of it, and does."""

    def __init__(self, browser, url: str, scheme: str = "light"):
        self.browser = browser
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                                {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        browser.get_log("browser")
        browser.get(url)

    def find(self, selector: str):
        return self.browser.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def choose(self, *paths: Path) -> None:
        self.find("#file").send_keys("\n".join(map(str, paths)))

    def wait(self, condition, seconds: float = 60):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, seconds, 0.05).until(lambda _: condition())

    def idle(self) -> None:
        self.wait(lambda: self.find("#answer").get_attribute("aria-busy") == "false")

    def answered(self) -> str:
        self.wait(lambda: self.text("#verdict") not in ("No picture yet.", "No answer."))
        self.idle()
        return self.text("#verdict")

    def problem(self) -> str:
        return self.wait(lambda: self.text("#problem"))

    def drop(self, *contents: tuple[str, bytes]) -> None:
        """Files by name, as from another window."""
        self.browser.execute_script("""
            const carried = new DataTransfer();
            for (const [name, content] of arguments[0])
                carried.items.add(new File([Uint8Array.from(atob(content), (each) => each.charCodeAt(0))], name));
            for (const name of ["dragenter", "dragover", "drop"])
                document.getElementById("drop").dispatchEvent(
                    new DragEvent(name, { dataTransfer: carried, bubbles: true, cancelable: true }));""",
            [(name, base64.b64encode(content).decode()) for name, content in contents])

    def quiet(self) -> bool:
        """No error in the console but for answers that are refusals."""
        return not [entry for entry in self.browser.get_log("browser") if "the server responded" not in
                    entry["message"]]


def test_on_a_simulated_board(browser, simulated, files):
    """A picture is classified, a layer's map is the golden model's, and the camera's pictures are answered too."""
    page = Page(browser, simulated)
    assert "digits.tflite on a simulated ulx3s-85f" in page.text("h1")
    assert "cycles to an answer, with the image in memory" in page.text(".note")
    for label in 7, 2:
        page.choose(files / f"{label}.png")
        page.wait(lambda label=label: page.text("#verdict").startswith(f"class {label}, with "))
        page.idle()
        rows = page.browser.find_elements("css selector", "#scores tbody tr")
        assert len(rows) == 5
        assert rows[0].text.startswith(f"class {label}")
    assert page.text("#time").startswith("Answered in ")
    from selenium.webdriver.support.ui import Select

    Select(page.find("#layer")).select_by_index(5)
    page.wait(lambda: page.text("#map-text").startswith("All 1,440 values are equal to the golden model's."))
    assert page.find("#map").is_displayed()
    grey = browser.execute_script("""
        const map = document.getElementById("map");
        return [...map.getContext("2d").getImageData(0, 0, map.width, map.height).data]""")
    assert {0, 255} <= set(grey)
    folder = os.environ.get("TEPAL_SCREENSHOTS")
    if folder:
        picture = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
        picture.quantize(64, dither=Image.Dither.NONE).save(Path(folder) / "serve-light.png", optimize=True)
    Select(page.find("#layer")).select_by_index(0)
    assert not page.find("#map").is_displayed()

    page.find("#camera").click()
    page.wait(lambda: page.browser.execute_script(
        "return document.getElementById('shown').width") == 640 and page.text("#camera") == "Stop the camera")
    page.answered()
    page.find("#camera").click()
    assert page.text("#camera") == "Use the camera"
    page.idle()
    assert page.text("#problem") == ""
    assert page.quiet()


# -- without a device -------------------------------------------------------------------------------------------


@pytest.fixture
def faked():
    """Serves the page with answers of Python: the address by what ``/answer`` and ``/map`` say."""
    servers = []

    def faked(answer, layers=(), name="a.tflite", map=None):
        server = WebServer("127.0.0.1", 0, live_files(name, "nothing", ["A note."], layers),
                           {"/answer": answer, "/map": map or answer})
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return server
    yield faked
    for server, thread in servers:
        server.shutdown()
        thread.join(10)
        server.server_close()


def classes(upload):
    return {"classes": [{"class": 1, "name": "<b>bee", "score": 0.75}, {"class": 0, "name": "ant", "score": 0.25}],
            "probabilities": True, "verdict": f"<b>bee, of {upload.name}", "time": "Soon."}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_seen(browser, faked, scheme):
    """The page is no wider than its window, also on a telephone, and dark where that is wanted; names of files and
    classes are text; nothing is fetched from elsewhere."""
    page = Page(browser, faked(classes, [(0, "0 first, 4 × 4 × 2")], name="<i>a.tflite").url, scheme)
    assert page.text("h1") == "<i>a.tflite on nothing"
    page.drop(("<u>x.png", b"12"))
    assert page.answered() == "<b>bee, of <u>x.png"
    assert [row.text for row in browser.find_elements("css selector", "#scores tbody tr")] == [
        "<b>bee 75.0 %", "ant 25.0 %"]
    bars = [bar.size["width"] for bar in browser.find_elements("css selector", "#scores .bar")]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.05)
    paper, ink = browser.execute_script("""
        const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color].map((each) => each.match(/[\\d.]+/g).map(Number));""")
    assert (sum(paper[:3]) < sum(ink[:3])) == (scheme == "dark")
    for width in 1280, 500:
        browser.set_window_size(width, 1000)
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.set_window_size(1280, 1000)
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert fetched
    assert all(name.startswith("http://127.0.0.1:") for name in fetched)
    assert page.quiet()


def test_problems(browser, faked, files):
    """One sentence each, which goes when a picture is taken again; and what was answered before does not stay."""
    def answer(upload):
        if upload.name == "text.png":
            raise Refused("text.png is no picture that can be read.")
        return classes(upload)
    server = faked(answer)
    page = Page(browser, server.url)
    page.choose(files / "3.png")
    assert page.answered() == "<b>bee, of 3.png"
    assert not page.find("#problem").is_displayed()
    page.choose(files / "text.png")
    assert page.problem() == "text.png is no picture that can be read."
    assert page.text("#verdict") == "No answer."
    assert not page.find("#scores").is_displayed()
    page.choose(files / "3.png")
    page.answered()
    assert not page.find("#problem").is_displayed()
    page.choose(files / "large.png")
    assert page.problem() == f"large.png has {LARGEST + 1:,} bytes: at most {LARGEST:,} are taken."
    page.choose(files / "3.png")
    page.wait(lambda: not page.text("#problem"))
    page.drop(("a.png", b"1"), ("b.png", b"2"))
    assert page.problem() == "One picture at a time: these are 2."
    page.drop()
    page.wait(lambda: page.text("#problem") == "This is no file.")
    assert page.quiet()
    server.shutdown()
    server.server_close()
    # Connections that are open would be answered still.
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {
        "offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0})
    try:
        page.choose(files / "3.png")
        assert page.problem() == "The server can't be reached: it may have been ended."
    finally:
        page.browser.execute_cdp_cmd("Network.emulateNetworkConditions", {
            "offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})


def test_boxes(browser, faked, files):
    """They are drawn where they are."""
    server = faked(lambda upload: {"boxes": [{"class": 0, "name": "ant", "score": 0.5, "box": [0.25, 0.5, 0.75, 1]}],
                                   "verdict": "1 found.", "time": ""})
    page = Page(browser, server.url)
    page.choose(files / "3.png")
    assert page.answered() == "1 found."
    colour = "return [...document.getElementById('shown').getContext('2d').getImageData(...arguments, 1, 1).data]"
    # The box's left side, as red as lines are that lie between pixels.
    red, green, blue, _ = browser.execute_script(colour, 120, 120)
    assert red > green + 100
    assert red > blue + 50
    grey = browser.execute_script(colour, 60, 120)
    assert len(set(grey[:3])) == 1


def test_a_map(browser, faked, files):
    """Channels beside each other, as many squares as there are; a layer stays chosen for the next picture."""
    values = np.arange(2 * 3 * 4, dtype=np.int8).reshape(2, 3, 4)
    asked = []

    def layer(upload):
        asked.append((upload.name, upload.options["layer"]))
        return {"shape": values.shape, "values": base64.b64encode(values.tobytes()).decode(), "verdict": "Equal."}
    page = Page(browser, faked(classes, [(3, "3 x, 2 × 3 × 4"), (5, "5 y")], map=layer).url)
    assert not page.find("#layer").is_enabled()
    page.choose(files / "3.png")
    page.answered()
    from selenium.webdriver.support.ui import Select

    Select(page.find("#layer")).select_by_value("3")
    page.wait(lambda: page.text("#map-text") == "Equal.")
    # Two pixels high and three wide, with a line between: 255 * value / 23 where channel and pixel say so.
    pixels = np.array(browser.execute_script("""
        const map = document.getElementById("map");
        return [map.height, map.width, ...map.getContext("2d").getImageData(0, 0, map.width, map.height).data]"""))
    height, width = pixels[:2]
    shown = pixels[2:].reshape(height, width, 4)
    across = (width + 1) // 4
    for channel in range(4):
        y, x = channel // across * 3, channel % across * 4
        assert abs(shown[y:y + 2, x:x + 3, 0] - values[..., channel] / 23 * 255).max() <= 1
    page.choose(files / "2.png")
    page.wait(lambda: len(asked) == 2)
    assert asked == [("3.png", "3"), ("2.png", "3")]
    assert page.quiet()
