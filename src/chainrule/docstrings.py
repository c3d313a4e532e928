"""What a docstring says, block by block, for everything that shows it: the terminal, pages, notebooks, the site."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

HEADING = re.compile(r"(?P<name>[A-Z]\w+):(?= |$)")
LISTS = ("Args", "Raises", "Attributes")  # sections of which each line like "name: ..." begins an item
MATH, EXAMPLE = ".. math::", ">>>"
#: What stands apart within a sentence.
ROLE = re.compile(r":math:`(?P<math>[^`]+)`|``(?P<code>[^`]+)``|\*(?P<title>[^*]+)\*")


class Block(NamedTuple):
    """Lines that belong together: a paragraph, an item of a list, a formula, an example, or one empty line."""

    section: str  #: the one it stands in, its heading included; "" if in none
    lines: list[str]

    @property
    def indent(self) -> int:
        """By how much its first line is indented."""
        return len(self.lines[0]) - len(self.lines[0].lstrip())

    @property
    def text(self) -> str:
        """All of it in one line."""
        return " ".join(line.strip() for line in self.lines)

    @property
    def formula(self) -> str | None:
        """The LaTeX that it displays, None if it is none."""
        return self.text.removeprefix(MATH).strip() if self.text.startswith(MATH) else None

    def goes_on(self, line: str) -> bool:
        """Does this line belong to it?

        A line begins a new block if it is indented less or more than the first of the block, or starts a section, an
        item, a formula or an example. A formula goes on over the lines indented more than its directive.
        """
        own = len(line) - len(line.lstrip())
        if not line.strip() or not self.text:
            return False
        if self.formula is not None:
            return own > self.indent
        if self.text.startswith(EXAMPLE):
            return True
        item = self.section in LISTS and re.match(r"\w+: ", line.strip())
        starts = line.lstrip().startswith((MATH, EXAMPLE, "- ", "* ")) or HEADING.match(line.strip()) or item
        return own == self.indent and not starts


class Part(NamedTuple):
    """A piece of a section: a displayed formula, or a paragraph with ``:math:`` and double backquotes in it."""

    text: str
    is_math: bool


def docstring(of: object) -> str:
    """The docstring of an op or a function, its lines not indented; empty if there is none, or for None."""
    return "" if of is None else inspect.getdoc(of) or ""


def summary(of: object) -> str:
    """The first sentence on an op or a function; empty if there is none, or for None.

    >>> from chainrule import ops
    >>> summary(ops.relu)
    'The positive part.'
    """
    return next(blocks(docstring(of))).text


def section(of: object, name: str) -> list[Part]:
    """The parts of one section of an op's docstring: Forward, Backward, Derivation, Source; empty if there is none.

    >>> from chainrule import ops
    >>> section(ops.exp, "Backward")
    [Part(text='\\\\bar x_i = \\\\bar y_i y_i', is_math=True)]
    """
    parts = []
    for block in blocks(docstring(of)):
        text = block.text.removeprefix(f"{name}:").strip() if not block.indent else block.text
        if block.section == name and text:
            parts.append(Part(block.formula or text, block.formula is not None))
    return parts


def blocks(doc: str) -> Iterator[Block]:
    """The blocks of a docstring, in order.

    >>> [block.section for block in blocks("Adds.\\n\\nForward: the sum\\n    of both.\\n\\n>>> 1 + 1\\n2")]
    ['', '', 'Forward', 'Forward', 'Forward', '']
    """
    block = Block("", [])
    for line in doc.splitlines() or [""]:
        if block.lines and block.goes_on(line):
            block.lines.append(line)
            continue
        if block.lines:
            yield block
        here = block.section
        if line.strip() and line == line.lstrip():
            heading = HEADING.match(line)
            here = heading["name"] if heading else ""
        block = Block(here, [line])
    yield block
