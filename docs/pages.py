# SPDX-License-Identifier: Apache-2.0
"""The pages of the documentation site that no file in this folder holds; MkDocs calls the functions ``on_…``.

A page for each command, from its parser; one for each package, from its ``__all__``; the boards, from the registry; and
the pages that stand elsewhere in the repository.  Links between pages are those of the repository, where they are read
too; here they become links of the site."""

import inspect
import logging
import posixpath
import re
import textwrap
from importlib import import_module
from pathlib import Path

import griffe
from mkdocs.structure.files import File
from tepal.boards.board import describe
from tepal.boards.registry import BOARDS
from tepal.cli.main import COMMANDS, parser

ROOT = Path(__file__).parents[1]

ELSEWHERE = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    **{f"examples/{page.parent.name}/README.md": f"examples/{page.parent.name}.md"
       for page in sorted(ROOT.glob("examples/*/README.md"))}}
"""Pages outside of this folder: where they are in the repository and on the site."""

API = {
    "quant": ["tepal.quant"],
    "hdl": ["tepal.hdl"],
    "sim": ["tepal.sim"],
    "boards": ["tepal.boards.registry", "tepal.boards.board", "tepal.boards.programmer", "tepal.boards.parts.part"],
    "host": ["tepal.host.device", "tepal.host.boxes", "tepal.host.compare", "tepal.host.drawing",
             "tepal.host.traced"],
    "report": ["tepal.report"]}
"""Packages, and the modules whose ``__all__`` are public."""

log = logging.getLogger("mkdocs.plugins.tepal")


def on_config(config):
    """Puts a page for each command into the navigation."""
    section = next(entry["Commands"] for entry in config.nav if "Commands" in entry)
    section += [{name: f"commands/{name}.md"} for name in COMMANDS]
    return config


def on_files(files, config):
    """Adds the pages that are made here."""
    made = {f"commands/{name}.md": command(name) for name in COMMANDS}
    made |= {f"api/{package}.md": api(package) for package in API}
    made |= {place: (ROOT / source).read_text() for source, place in ELSEWHERE.items()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Completes the pages of boards and commands, and makes the links of the repository those of the site."""
    place = page.file.src_uri
    if place == "bundled_boards.md":
        markdown += "\n".join(map(_board, BOARDS.values()))
    if place == "commands/index.md":
        markdown = re.sub(r"^\| (`tepal (\w+)[^`]*`) \|", r"| [\1](\2.md) |", markdown, flags=re.M)
    return linked(markdown, place)


# -- links ------------------------------------------------------------------------------------------------

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def linked(markdown: str, place: str) -> str:
    """``markdown`` of the page at ``place`` with the site's links.

    A link to a file that is on no page, such as a source file, becomes its text; one to nothing is warned of."""
    source = next((source for source, there in ELSEWHERE.items() if there == place), f"docs/{place}")

    def replaced(found: re.Match) -> str:
        image, text, target = found.groups()
        path, mark, anchor = target.partition("#")
        if not path or re.match(r"\w+:", path):
            return found[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        there = ELSEWHERE.get(wanted, wanted.removeprefix("docs/") if wanted.startswith("docs/") else "")
        if there:
            return f"{image}[{text}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{mark}{anchor})"
        if not (ROOT / wanted).exists():
            log.warning("%s links to %s, which there is not", source, target)
        return text

    return _LINK.sub(replaced, markdown)


# -- commands ---------------------------------------------------------------------------------------------


def command(name: str) -> str:
    """The page of a command: all that its parser knows."""
    top = parser(name)
    choices = next(action.choices for action in top._actions if isinstance(action.choices, dict))
    sub = choices[name]
    lines = [f"# tepal {name}", "", sub.description or "", "", "```text", _usage(sub), "```"]
    for group in sub._action_groups:
        if group._group_actions:
            lines += ["", f"## {(group.title or '').capitalize()}", "", _text(group.description or ""), "",
                      "| argument | meaning |", "|---|---|"]
            lines += [f"| {_names(sub, action)} | {_text(_help(sub, action))} |" for action in group._group_actions]
    return "\n".join(lines) + "\n"


def _usage(sub) -> str:
    # The formatter would take the width of whatever terminal this runs on.
    formatter = sub.formatter_class(prog=sub.prog, width=76)
    formatter.add_usage(sub.usage, sub._actions, sub._mutually_exclusive_groups)
    return formatter.format_help().strip()


def _names(sub, action) -> str:
    names = sub._get_formatter()._format_action_invocation(action)
    return ", ".join(f"`{name.replace('|', chr(92) + '|')}`" for name in names.split(", "))


def _help(sub, action) -> str:
    return sub._get_formatter()._expand_help(action) if action.help else ""


def _text(text: str) -> str:
    """Plain text as Markdown that shows it, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


# -- boards -----------------------------------------------------------------------------------------------


def _board(board) -> str:
    if not board.part.family:
        return ""
    return f"\n## {board.name}\n\n```text\n{describe(board)}\n```\n"


# -- API --------------------------------------------------------------------------------------------------


def public(package: str) -> dict[str, str]:
    """Every public name of a package to where it is defined."""
    names = {}
    for module in map(import_module, API[package]):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value):
                where = value.__name__
            elif inspect.isclass(value) or inspect.isroutine(value):
                where = f"{value.__module__}.{value.__qualname__}"
            else:
                where = f"{module.__name__}.{name}"
            names[f"{module.__name__}.{name}"] = where
    return names


def api(package: str) -> str:
    """The page of a package: mkdocstrings' blocks."""
    lines = [f"# tepal.{package}", "", inspect.getdoc(import_module(f"tepal.{package}")) or ""]
    for name, where in public(package).items():
        lines += ["", f"::: {where}", "    options:", f"      heading: {name}",
                  f"      toc_label: {name.rpartition('.')[2]}"]
    return "\n".join(lines) + "\n"


_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|exc|obj):`(~?)\.?([\w.]+)`")


_PROSE = re.compile(r"(Returns\n-+\n)((?:\S.*(?:\n|\Z))+)(?! )")


class Roles(griffe.Extension):
    """Sphinx's roles in docstrings, such as ``:class:`Network```, become links, where what they name is on a page."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = _PROSE.sub(lambda found: self._typed(obj, found), obj.docstring.value)
            # Sphinx's mark for a block of code is a colon more than Markdown needs.
            text = re.sub(r" ?::\n\n(?= {4})", ":\n\n", obj.docstring.value)
            obj.docstring.value = _ROLE.sub(lambda found: self._link(obj, found[1], found[2]), text)

    def _typed(self, obj, found: re.Match) -> str:
        """A section of prose about what is returned, below the type that numpydoc wants there."""
        return f"{found[1]}{obj.returns}\n{textwrap.indent(found[2], '    ')}"

    def _link(self, obj, short: str, name: str) -> str:
        first, _, rest = name.partition(".")
        module = obj.module.path
        try:
            full = ".".join(filter(None, (obj.resolve(first), rest)))
        except griffe.NameResolutionError:
            full = name if first == "tepal" else f"{module.rpartition('.')[0]}.{name}"
        shown = name.rpartition(".")[2] if short else name
        return f'<autoref optional identifier="{full}"><code>{shown}</code></autoref>'
