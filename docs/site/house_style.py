"""The docstrings' style as reStructuredText: sections, formulas between sentences, equations in Unicode, examples."""

import inspect
import re
import textwrap
from collections.abc import Iterator

from chainrule.cli.page import blocks

SECTION = re.compile(r"([A-Z]\w+):(?: +(.*))?$", re.DOTALL)
ITEM = re.compile(r"(\*{0,2}[\w, ]+?): (.*)$", re.DOTALL)
LISTS = ("Args", "Raises", "Attributes")
QUOTED = re.compile(r"(:\w+:`[^`]+`|``[^`]+``|`[^`]+`)")


def setup(app):
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", _processed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _processed(app, what, name, obj, options, lines):
    lines[:] = rst("\n".join(lines))


def rst(doc: str) -> list[str]:
    """The lines of a docstring as Sphinx reads them."""
    return [line for block in _converted(inspect.cleandoc(doc)) for line in block]


def _converted(doc: str) -> Iterator[list[str]]:
    section = ""
    for block in blocks(doc.splitlines()):
        indent = len(block[0]) - len(block[0].lstrip())
        text = " ".join(line.strip() for line in block)
        heading = SECTION.match(text) if not indent else None
        if text and not indent:
            section = heading[1] if heading else ""
        if not text:
            yield [""]
        elif text.startswith(".. math::"):
            yield ["", ".. math::", "", f"   {text.removeprefix('.. math::').strip()}", ""]
        elif text.startswith(">>>"):
            yield ["", *textwrap.dedent("\n".join(block)).splitlines(), ""]
        elif heading:
            yield ["", f".. rubric:: {heading[1]}", "", prose(heading[2] or ""), ""]
        elif section in LISTS and (item := ITEM.match(text)):
            yield [f"* **{item[1].strip('*')}**: {prose(item[2])}"]
        elif section in LISTS:
            yield [f"  {prose(text)}"]
        elif text.startswith(("- ", "* ")):
            yield [f"* {prose(text[2:])}"]
        elif indent and not section:
            yield ["", "::", "", *[f"   {line}" for line in block], ""]
        else:
            yield ["", prose(text), ""]


def prose(text: str) -> str:
    """Text in which bars, stars and underscores are themselves."""
    parts = QUOTED.split(text)
    return "".join(part if i % 2 else re.sub(r"([|_])", r"\\\1", part) for i, part in enumerate(parts))
