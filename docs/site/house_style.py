"""The docstrings' style as reStructuredText: sections, formulas between sentences, equations in Unicode, examples."""

import inspect
import re
import textwrap
from collections.abc import Iterator

from chainrule.docstrings import EXAMPLE, HEADING, LISTS, blocks

ITEM = re.compile(r"(\*{0,2}[\w, ]+?): (.*)$", re.DOTALL)
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
    for block in blocks(doc):
        text = block.text
        heading = HEADING.match(text) if not block.indent else None
        if not text:
            yield [""]
        elif block.formula is not None:
            yield ["", ".. math::", "", f"   {block.formula}", ""]
        elif text.startswith(EXAMPLE):
            yield ["", *textwrap.dedent("\n".join(block.lines)).splitlines(), ""]
        elif heading:
            yield ["", f".. rubric:: {heading['name']}", "", prose(text[heading.end() :].strip()), ""]
        elif block.section in LISTS and (item := ITEM.match(text)):
            yield [f"* **{item[1].strip('*')}**: {prose(item[2])}"]
        elif block.section in LISTS:
            yield [f"  {prose(text)}"]
        elif text.startswith(("- ", "* ")):
            yield [f"* {prose(text[2:])}"]
        elif block.indent and not block.section:
            yield ["", "::", "", *[f"   {line}" for line in block.lines], ""]
        else:
            yield ["", prose(text), ""]


def prose(text: str) -> str:
    """Text in which bars, stars and underscores are themselves."""
    parts = QUOTED.split(text)
    return "".join(part if i % 2 else re.sub(r"([|_])", r"\\\1", part) for i, part in enumerate(parts))
