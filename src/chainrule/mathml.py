"""LaTeX as MathML, which browsers draw by themselves."""

from __future__ import annotations

import functools
import html
import re

from chainrule.docstrings import ROLE

TOKEN = re.compile(r"\\\\|\\[{}]|\\begin\{|\\end\{|[{}&]")
OPENED = {"{": 1, "}": -1, r"\begin{": 2, r"\end{": 0}  # braces and environments; an environment's name has braces too
MACRON, OVERLINE = "&#x000AF;", "&#x0203E;"  # fonts draw the first so short that it is taken for a dot


@functools.lru_cache(maxsize=4096)
def display(latex: str) -> str:
    r"""A displayed formula; `\\` begins a new line, `&` is where lines are aligned.

    >>> display(r"a &= b \\ &= c").count("<mtr>")
    2
    """
    lines = [_cut(line, "&") for line in _cut(latex, r"\\")]
    if len(lines) == 1:
        return _math("".join(lines[0]), "block")
    rows = "".join(
        "<mtr>"
        + "".join(f'<mtd class="{"left" if i % 2 else "right"}">{_inner(cell)}</mtd>' for i, cell in enumerate(line))
        + "</mtr>"
        for line in lines
    )
    return f'<math display="block"><mtable class="aligned" displaystyle="true">{rows}</mtable></math>'


def inline(latex: str) -> str:
    """A formula in a sentence.

    >>> inline("x")
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>x</mi></mrow></math>'
    """
    return _math(latex, "inline")


def sentence(text: str) -> str:
    """Prose with its formulas, code and titles.

    >>> sentence("the ``x`` of <it>")
    'the <code>x</code> of &lt;it&gt;'
    """
    made, end = "", 0
    for role in ROLE.finditer(text):
        made += html.escape(text[end : role.start()])
        if role["math"]:
            made += inline(role["math"])
        elif role["code"]:
            made += f"<code>{html.escape(role['code'])}</code>"
        else:
            made += f"<cite>{html.escape(role['title'])}</cite>"
        end = role.end()
    return made + html.escape(text[end:])


def _math(latex: str, display: str) -> str:
    from latex2mathml.converter import convert

    return convert(latex.strip(), display=display).replace(MACRON, OVERLINE)


def _inner(latex: str) -> str:
    """What stands inside the math element."""
    if not latex.strip():
        return ""
    return re.sub(r"^<math[^>]*>|</math>$", "", _math(latex, "block"))


def _cut(latex: str, at: str) -> list[str]:
    """Cut where no brace and no environment is open."""
    parts, start, depth = [], 0, 0
    for match in TOKEN.finditer(latex):
        depth += OPENED.get(match[0], 0)
        if match[0] == at and depth == 0:
            parts.append(latex[start : match.start()])
            start = match.end()
    return [*parts, latex[start:]]
