# SPDX-License-Identifier: Apache-2.0
"""The documentation site: its pages say what the code says, and what they show works."""

import contextlib
import doctest
import html
import importlib.util
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import griffe
import pytest
from tepal.cli.main import COMMANDS, parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = ("quant", "hdl", "sim", "boards", "host", "report")

_spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)


# -- what pages show --------------------------------------------------------------------------------------

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.S | re.M)
"""A fenced block, and the comment above it: ``not run: WHY``, ``slow``, or ``file: NAME`` for what is to be a file."""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return [(found["mark"] or "", found["kind"], found["text"]) for found in _BLOCK.finditer(page.read_text())]


SHOWING = [page for page in sorted(DOCS.rglob("*.md")) if any(kind in ("sh", "python") for _, kind, _ in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(DOCS))


def run(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``command``, which leaves nothing running in the background, should it fail."""
    with (folder / "stdout").open("w+") as out, (folder / "stderr").open("w+") as err:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True)
        try:
            process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        return process.returncode, (folder / "stdout").read_text(), (folder / "stderr").read_text()


def follow(page: Path, folder: Path, *, slow: bool) -> None:
    """Do what ``page`` shows, in ``folder``: its shell commands, its Python; and compare what it says they print."""
    (folder / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "TMPDIR": str(folder),
                   "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = None
    for mark, kind, text in blocks(page):
        what, _, more = mark.partition(": ")
        if what == "not run" or (what == "slow" and not slow):
            printed = None
        elif what == "file":
            (folder / more).write_text(text)
        elif kind in ("sh", "python"):
            command = ["bash", "-euo", "pipefail", "-c"] if kind == "sh" else [sys.executable, "-c"]
            code, printed, told = run([*command, text], folder, environment)
            assert code == 0, f"{text}\n{printed}{told}"
        elif kind == "text" and printed is not None:
            same = doctest.OutputChecker().check_output(text, printed, doctest.ELLIPSIS)
            assert same, f"{name(page)} says\n{text}\nnot\n{printed}"
            printed = None


@pytest.mark.parametrize("page", SHOWING, ids=name)
def test_what_pages_show(page, tmp_path):
    follow(page, tmp_path, slow=False)


SLOWLY = [page for page in SHOWING if any(mark == "slow" for mark, *_ in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOWLY, ids=name)
def test_all_that_pages_show(page, tmp_path):
    # Compiled as they are for everybody: what answers over a line has to do so in time.
    follow(page, tmp_path, slow=True)


def test_every_command_is_taken():
    """Commands stand in fenced blocks, where they are run, or the block says why not; their options are there.  Only
    pages of measurements have others: those that were run for them."""
    for page in sorted(DOCS.rglob("*.md")):
        rest = _BLOCK.sub("", page.read_text())
        commands = re.findall(r"^ {4,}(?:\S*/)?(tepal \w.*)", rest, re.M)
        assert not commands or (ROOT / f"benchmarks/{page.stem}.json").exists(), page
        for mark, kind, text in blocks(page):
            assert re.fullmatch(r"(not run: .{10,}|slow|file: [\w.]+|)", mark), (page, mark)
            if kind == "sh":
                commands += text.replace("\\\n", " ").splitlines()
        for words in (shlex.split(command, comments=True) for command in commands):
            if words[:1] == ["tepal"]:
                until = next((at for at, word in enumerate(words) if word in ("|", ">", "&", ";")), len(words))
                assert parser(words[1]).parse_args(words[1:until]).command == words[1]


def test_followed_blocks_can_fail(tmp_path):
    """A command that fails, and one that prints something else, are noticed."""
    page = tmp_path / "page.md"
    for text in "```sh\nfalse\n```\n", "```sh\necho 1\n```\n\n```text\n2\n```\n", "```python\n1 / 0\n```\n":
        page.write_text(text)
        folder = tmp_path / str(len(text))
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules[__name__], "DOCS", tmp_path)
            with pytest.raises(AssertionError):
                follow(page, folder, slow=False)


WITH_DOCTESTS = sorted(
    ".".join(("tepal", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for package in PACKAGES for file in (ROOT / package).rglob("*.py") if ">>> " in file.read_text())


@pytest.mark.parametrize("module", WITH_DOCTESTS)
def test_doctests(module):
    results = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS)
    assert results.attempted
    assert not results.failed


# -- pages that are made ----------------------------------------------------------------------------------


def words(text: str) -> set[str]:
    return {word.rstrip(".,:") for word in re.findall(r"[\w.,:-]+", text)}


@pytest.mark.parametrize("command", COMMANDS)
def test_page_of_a_command(command, monkeypatch):
    """All that its help says is on its page, and no option more."""
    monkeypatch.setenv("COLUMNS", "200")
    top = parser(command)
    sub = next(action.choices for action in top._actions if isinstance(action.choices, dict))[command]
    page = re.sub(r"\\(.)", r"\1", pages.command(command))
    assert words(sub.format_help().lower()) <= words(page.lower())
    assert set(re.findall(r"--\w[\w-]*", page)) == set(re.findall(r"--\w[\w-]*", sub.format_help()))


def test_table_of_commands():
    """It has all of them, and no argument that they don't take."""
    rows = re.findall(r"^\| `tepal (\w+)(.*)", (DOCS / "commands/index.md").read_text(), re.M)
    assert {command for command, _ in rows} == set(COMMANDS)
    for command, row in rows:
        assert set(re.findall(r"--\w[\w-]*", row)) <= set(re.findall(r"--\w[\w-]*", pages.command(command))), command


def public_names() -> dict[str, str]:
    return {name: where for package in PACKAGES for name, where in pages.public(package).items()}


def test_every_public_name_is_explained():
    """Classes, functions and constants: what ``__all__`` holds has a docstring, and is on a page."""
    loader = griffe.GriffeLoader(search_paths=[ROOT / "build/types"])
    loader.load("tepal", try_relative_path=False)
    loader.resolve_aliases()
    found = public_names()
    for package in "quant", "hdl", "sim", "report":
        assert {f"tepal.{package}.{name}" for name in import_module(f"tepal.{package}").__all__} <= set(found)
    silent = []
    for public, where in found.items():
        target = loader.modules_collection[where]
        target = target.final_target if target.is_alias else target
        if not target.docstring:
            silent.append(public)
    assert not silent
    made = "".join(map(pages.api, PACKAGES))
    assert all(f"::: {where}\n" in made for where in found.values())


def test_links(caplog):
    """The repository's links become the site's; what is on no page is named without one, and what is not there warned
    of."""
    with caplog.at_level(logging.WARNING):
        assert pages.linked("[a](docs/GLOSSARY.md#x) [b](CONTRIBUTING.md) [c](boards/ulx3s.py) [d](https://e.f/)",
                            "index.md") == "[a](GLOSSARY.md#x) [b](contributing.md) c [d](https://e.f/)"
        assert pages.linked("![a](growth.svg) [b](../examples/digits/README.md)", "growth.md") == (
            "![a](growth.svg) [b](examples/digits.md)")
        assert pages.linked("[a](../../docs/tradeoff.md)", "examples/cifar10.md") == "[a](../tradeoff.md)"
        assert not caplog.records
        pages.linked("[a](docs/none.py)", "index.md")
        pages.linked("[a](none.py)", "index.md")
    assert len(caplog.records) == 1


def test_navigation():
    """Every package and every page of docs/ has its place in mkdocs.yml; commands get theirs by themselves."""
    placed = re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert len(placed) == len(set(placed))
    assert set(placed) == {*pages.ELSEWHERE.values(), *(f"api/{package}.md" for package in PACKAGES),
                           *(name(page) for page in DOCS.rglob("*.md"))}


# -- the site ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
                          env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_site(site):
    """It builds without a warning, holds every public name, shows no mark of Sphinx's, and fetches nothing."""
    text = {str(page.relative_to(site)): page.read_text() for page in site.rglob("*.html")}
    for package in PACKAGES:
        for where in pages.public(package).values():
            assert f'id="{where}"' in text[f"api/{package}.html"], where
    for place, page in text.items():
        assert not re.search(r":(class|func|meth|attr|mod|data):", page), place
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page):
            fetched = re.search(r'(?:src|href)="([^"]*)"', tag)
            assert not fetched or not re.match(r"(https?:)?//", fetched[1]), (place, tag)
    assert all(f'href="commands/{command}.html"' in text["index.html"] for command in COMMANDS)
    assert "Simulate the generated Verilog" in html.unescape(text["commands/simulate.html"])
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import", style.read_text()), style


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium isn't here: Debian's package is chromium")
def test_search_without_a_server(site, tmp_path):
    """Read from files, the site finds words: workers, in which search runs, don't exist there."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom",
               f"--user-data-dir={tmp_path}", f"{(site / 'index.html').as_uri()}?q=sequencer"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert re.search(r"[1-9]\d* matching documents", done.stdout)
