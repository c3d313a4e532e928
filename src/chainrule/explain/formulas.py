"""An op's formulas, as its docstring holds them: LaTeX and sentences, section by section."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import NamedTuple

from chainrule.engine import OPS

SECTION = re.compile(r"^([A-Z]\w+):(?: |$)", re.MULTILINE)
MATH = re.compile(r"^( *)\.\. math::(.*(?:\n\1 +\S.*)*)", re.MULTILINE)


class Part(NamedTuple):
    """A piece of a section: a displayed formula, or a paragraph with ``:math:`` and double backquotes in it."""

    text: str
    is_math: bool


def section(op: str, name: str) -> list[Part]:
    """The parts of one section of an op's docstring: Forward, Backward, Derivation, Source; empty if there is none.

    >>> section("exp", "Backward")
    [Part(text='\\\\bar x_i = \\\\bar y_i y_i', is_math=True)]
    """
    doc = (inspect.getdoc(OPS[op]) or "") if op in OPS else ""
    starts = [*SECTION.finditer(doc)]
    for match, following in zip(starts, [*starts[1:], None], strict=True):
        if match[1] == name:
            return _parts(doc[match.end() : following.start() if following else len(doc)].split("\n>>>")[0])
    return []


def derivation(op: str) -> list[Part]:
    """How the backward rule of an op follows from its forward: the one place where explanations get it from.

    >>> derivation("sigmoid")[0].is_math
    True
    """
    return section(op, "Derivation")


def summary(op: str) -> str:
    """The first sentence on an op.

    >>> summary("relu")
    'The positive part.'
    """
    doc = (inspect.getdoc(OPS[op]) or "") if op in OPS else ""
    return " ".join(doc.split("\n\n")[0].split())


def _parts(text: str) -> list[Part]:
    parts: list[Part] = []
    end = 0
    for match in MATH.finditer(text):
        parts += _paragraphs(text[end : match.start()])
        parts.append(Part(" ".join(match[2].split()), True))
        end = match.end()
    return parts + _paragraphs(text[end:])


def _paragraphs(text: str) -> list[Part]:
    blocks = re.split(r"\n\s*\n", textwrap.dedent(text))
    return [Part(" ".join(block.split()), False) for block in blocks if block.strip()]
