"""A derivation as a document: titles, paragraphs and equations; written as text, LaTeX, HTML or Markdown.

In sentences a name between backticks is a variable.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass, field

from chainrule.derive.notation import LATEX, UNICODE


@dataclass
class Title:
    """A heading."""

    text: str
    level: int


@dataclass
class Paragraph:
    """A sentence; ``proof``: the line that says what was verified."""

    text: str
    proof: bool = False


@dataclass
class Row:
    """One line of an equation: both sides, why it holds, a shape, the same in matrix notation."""

    left: str
    right: str
    why: str = ""
    shape: str = ""
    also: str = ""

    @staticmethod
    def of(row: Row) -> str:
        """Both sides as one text."""
        return f"{row.left} = {row.right}"


@dataclass
class Equations:
    """Lines under each other, aligned at the equals signs; ``cases``: alternatives for what stands above."""

    rows: list[Row]
    cases: bool = False


@dataclass
class Document:
    """All of it."""

    items: list[Title | Paragraph | Equations] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------------------------- text


def width_of(text: str) -> int:
    """How many columns a text takes: marks above letters take none."""
    return sum(1 for c in text if not unicodedata.combining(c))


def plain(text: str) -> str:
    """A sentence with its variables in Unicode.

    >>> plain("∂`xhat`/∂`x` from above")
    '∂x̂/∂x from above'
    """
    marked = re.sub(r"¯`(\w+)`", lambda m: UNICODE.name(m[1], True), text)
    return re.sub(r"`(\w+)`", lambda m: UNICODE.name(m[1]), marked)


def as_text(document: Document, width: int) -> str:
    """For a terminal."""
    blocks = []
    for item in document.items:
        match item:
            case Title(text):
                blocks.append(plain(text))
            case Paragraph(text, proof):
                blocks.append("\n".join(_wrapped(("✓ " if proof else "") + plain(text), width)))
            case Equations(rows, cases):
                lines = _aligned(rows, width, cases)
                if cases:
                    blocks[-1] += "\n" + "\n".join(lines)
                else:
                    blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and width_of(lines[-1]) + 1 + width_of(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _padded(text: str, to: int) -> str:
    return text + " " * (to - width_of(text))


NARROW, GAP = 30, 3  # reasons stand in a column to the right, beneath where that is too narrow


def _aligned(rows: list[Row], width: int, cases: bool) -> list[str]:
    """Equals signs under each other, reasons to the right, or beneath where a line is long."""
    left = max(width_of(row.left) for row in rows)
    shapes = max(width_of(row.shape) for row in rows)
    lines: list[tuple[str, str]] = []
    for row in rows:
        sign = "=" if not cases else " "
        head = f"  {_padded(row.left, left)} {sign} " if not cases else "      "
        body = head + row.right
        note = plain(row.why) or "   ".join(filter(None, (_padded(row.shape, shapes if row.also else 0), row.also)))
        for part in _broken(body, width, width_of(head)):
            lines.append((part, ""))
        lines[-1] = (lines[-1][0], note)
    longest = max(width_of(note) for _, note in lines)
    limit = max(width - longest - GAP, NARROW)
    column = max((width_of(body) for body, note in lines if width_of(body) <= limit), default=0) + GAP
    written = []
    for body, note in lines:
        if not note:
            written.append(body)
        elif width_of(body) + GAP <= column and column + width_of(note) <= width:
            written.append(_padded(body, column) + note)
        elif column + width_of(note) <= width:
            written += [body, " " * column + note]
        else:
            written += [body, *("        " + part for part in _wrapped(note, width - 8))]
    return written


def _broken(line: str, width: int, indent: int) -> list[str]:
    """A long line broken before a sign that stands in no parentheses, or before the last one that does."""
    if width_of(line) <= width:
        return [line]
    depth, best = 0, (0, 0)  # how good a place is, and which
    for k, c in enumerate(line):
        depth += (c in "([{") - (c in ")]}")
        sign = re.match(r" [+−·/] ", line[k : k + 3])
        if sign and indent + 10 < width_of(line[:k]) <= width:
            best = max(best, ((depth == 0) * 2 + (sign[0] in (" + ", " − ")), k))
    spaces = (m.start() for m in re.finditer(" ", line) if indent + 10 < width_of(line[: m.start()]) <= width)
    cut = best[1] or max(spaces, default=0)
    return [line[:cut], *_broken(" " * (indent + 2) + line[cut + 1 :], width, indent)] if cut else [line]


# --------------------------------------------------------------------------------------------------------------- LaTeX

IN_TEX = {
    "δ": r"$\delta$", "∂": r"\partial ", "′": "$'$", "²": "$^2$", "−": "$-$", "√": r"$\surd$", "π": r"$\pi$",
    "×": r"$\times$", "⊙": r"$\odot$", "Σ": r"$\Sigma$",
}  # fmt: skip


def tex_sentence(text: str) -> str:
    r"""A sentence in LaTeX.

    >>> tex_sentence("∂`xhat`/∂`x` from above")
    '$\\partial \\hat{x}/\\partial x$ from above'
    """
    parts = re.split(r"(\$[^$]*\$)", text)
    return "".join(part if part.startswith("$") else _tex_words(part) for part in parts)


def _tex_words(text: str) -> str:
    text = re.sub(r"∂`(\w+)`/∂`(\w+)`", lambda m: rf"$\partial {LATEX.name(m[1])}/\partial {LATEX.name(m[2])}$", text)
    text = re.sub(r"¯`(\w+)`", lambda m: f"${LATEX.name(m[1], True)}$", text)
    text = re.sub(r"`(\w+)`", lambda m: f"${LATEX.name(m[1])}$", text)
    for letter, tex in IN_TEX.items():
        text = text.replace(letter, tex)
    pieces = re.split(r"(\$[^$]*\$)", text)
    return "".join(p if p.startswith("$") else re.sub(r"([_%&#^])", r"\\\1", p) for p in pieces)


PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage{amsmath,amssymb}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\setlength{\parindent}{0pt}
\allowdisplaybreaks
\begin{document}
"""


def as_latex(document: Document) -> str:
    """A document of its own."""
    parts = []
    for item in document.items:
        match item:
            case Title(text, level):
                parts.append(rf"\{'sub' * (level - 1)}section*{{{tex_sentence(text)}}}")
            case Paragraph(text):
                parts.append(tex_sentence(text) + "\n")
            case Equations(rows, cases):
                parts.append(_align(rows, cases))
    return PREAMBLE + "\n".join(parts) + "\n\\end{document}\n"


def _tex_note(row: Row) -> str:
    notes = [rf"{row.shape.replace('×', chr(92) + 'times ')}"] if row.shape and row.shape != "a number" else []
    notes += [row.also] if row.also else []
    if notes:
        return "".join(f" && {note}" for note in notes)
    return rf" && \text{{{tex_sentence(row.why)}}}" if row.why else ""


def _align(rows: list[Row], cases: bool) -> str:
    sign = r"\quad " if cases else "="
    lines = [f"  {row.left} &{sign} {row.right}{_tex_note(row)}" for row in rows]
    return "\\begin{align*}\n" + " \\\\\n".join(lines) + "\n\\end{align*}"


# ---------------------------------------------------------------------------------------------------- Markdown and HTML


def as_markdown(document: Document) -> str:
    """With formulas between dollar signs."""
    parts = []
    for item in document.items:
        match item:
            case Title(text, level):
                parts.append(f"{'#' * (level + 1)} {tex_sentence(text) if '`' in text else text}")
            case Paragraph(text, proof):
                parts.append(f"*{text}*" if proof else re.sub(r"([\\])_", "_", tex_sentence(text)))
            case Equations(rows, cases):
                aligned = _align(rows, cases).replace("align*", "aligned")
                parts.append(f"$$\n{aligned}\n$$")
    return "\n\n".join(parts) + "\n"


STYLE = ".derivation td { padding: 0.2em 0.4em; text-align: left } .derivation .why { padding-left: 1.5em }"


def as_html(document: Document) -> str:
    """A fragment: headings, paragraphs, and tables of MathML."""
    from latex2mathml.converter import convert

    def formula(tex: str) -> str:
        return convert(tex).replace("<math ", '<math displaystyle="true" ', 1) if tex else ""

    parts = ['<div class="derivation">']
    for item in document.items:
        match item:
            case Title(text, level):
                parts.append(f"<h{level + 1}>{html.escape(plain(text))}</h{level + 1}>")
            case Paragraph(text, proof):
                parts.append(f'<p class="{"verified" if proof else "said"}">{html.escape(plain(text))}</p>')
            case Equations(rows, cases):
                parts.append("<table>")
                for row in rows:
                    why = html.escape(row.shape or plain(_without_tex(row.why)))
                    sign = "" if cases else formula("=")
                    cells = (formula(row.left), sign, formula(row.right), why, formula(row.also))
                    kinds = ("left", "sign", "right", "why", "also")
                    parts.append(
                        "<tr>"
                        + "".join(f'<td class="{k}">{c}</td>' for k, c in zip(kinds, cells, strict=True))
                        + "</tr>"
                    )
                parts.append("</table>")
    return "\n".join([*parts, "</div>"]) + "\n"


def _without_tex(text: str) -> str:
    return text.replace("$", "").replace(r"\ne", "≠")
