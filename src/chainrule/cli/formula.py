"""LaTeX formulas as a terminal shows them: Unicode, fractions and sums drawn over several rows."""

import re
import unicodedata

from rich.cells import cell_len
from texicode.pipeline import init_arts, render_tex_rows  # type: ignore[import-untyped]

RESPELLED = {
    r"\\operatorname": r"\\mathrm",
    r"\\[lr]Vert": r"\\|",
    r"\\[lr]vert": "|",
    r"\^\\top": "ᵀ",
    r"(\\(?:ln|log|exp|sin|cos|tanh|max|min|operatorname\{\w+\}))(?=\s*[\w\\])": r"\1\\,",
    r"(=|<|>|\\le|\\ge|\\to|\\in)(?![a-z])": r"\\,\1\\,",
}
LINE = re.compile(r"\\\\")
CLAUSE = re.compile(r"\\qquad")
RELATION = re.compile(r"=|[-+](?=\s*\\sum)")
CONTINUED = "    "


def inline(latex: str) -> str:
    r"""A formula in a sentence: one row; the LaTeX itself where one row is not enough.

    >>> inline(r"\bar y_j")
    'ȳⱼ'
    """
    rows = _draw(latex)
    return rows[0].strip() if rows and len(rows) == 1 else latex


def display(latex: str, width: int) -> list[str]:
    r"""A displayed formula as rows of at most `width` characters where it can be broken so; `\\` begins a new line.

    >>> display(r"y = \frac{a}{b}", 40)
    ['      a', ' y = ╶─╴', '      b']
    """
    rows: list[str] = []
    for line in _cut(latex, LINE):
        equation = " ".join(line.removeprefix(r"\\").replace("&=", "=").split())
        rows += _fit(equation if r"\begin" in equation else equation.replace("&", ""), width)
    return rows


def _fit(latex: str, width: int, indent: str = "") -> list[str]:
    """One equation: whole if it fits, else broken between clauses, else before a relation, as late as possible."""
    drawn = [f"{indent}{row}".rstrip() for row in _draw(latex) or [latex]]
    if max(map(cell_len, drawn)) <= width:
        return drawn
    for parts in (_cut(latex, CLAUSE), _cut(latex, RELATION)):
        for count in range(len(parts) - 1, 0, -1):
            first, rest = "".join(parts[:count]), "".join(parts[count:]).removeprefix(r"\qquad")
            rows = _fit(first, width, indent)
            if count == 1 or max(map(cell_len, rows)) <= width:
                return rows + _fit(rest, width, CONTINUED)
    return drawn


def _cut(latex: str, at: re.Pattern[str]) -> list[str]:
    """The formula cut before every match that stands in no braces and no environment."""
    before = ((match.start(), latex[: match.start()]) for match in at.finditer(latex))
    cuts = [
        start
        for start, head in before
        if head.count("{") == head.count("}") and head.count(r"\begin") == head.count(r"\end")
    ]
    return [latex[start:end] for start, end in zip([0, *cuts], [*cuts, len(latex)], strict=True) if latex[start:end]]


def _draw(latex: str) -> list[str] | None:
    """The drawn rows, all equally long; None where the formula holds something that cannot be drawn."""
    for spelling, known in RESPELLED.items():
        latex = re.sub(spelling, known, latex)
    init_arts({"fonts": "normal"})
    try:
        rows = render_tex_rows(latex, debug=False)
    except (KeyError, IndexError, TypeError):
        return None
    drawn = [unicodedata.normalize("NFC", row) for row in rows]
    return None if any("?" in row or "TeXicode:" in row for row in drawn) else drawn
