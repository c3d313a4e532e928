"""The tape as LaTeX: a document of its own with tables of the forward and the backward walk."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from chainrule.docstrings import section
from chainrule.engine import OPS
from chainrule.explain.arrays import number, shape, statistics
from chainrule.explain.tape import Explanation, Node, Table
from chainrule.latex import escaped

FEW = 36  # entries up to which an array is written as a matrix
DOCUMENT = r"""\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=20mm,landscape]{geometry}
\usepackage{amsmath,amssymb,booktabs,longtable,array}
\setcounter{MaxMatrixCols}{40}
\setlength{\LTleft}{0pt}
\setlength{\parindent}{0pt}
\begin{document}
%s
\end{document}
"""


def document(explanation: Explanation) -> str:
    r"""A LaTeX document with the tables of a tape.

    >>> from chainrule.explain import explain
    >>> r"\section*{Backward}" in document(explain(lambda x: x * x, np.array(3.0)))
    True
    """
    parts = [
        rf"\section*{{{escaped(explanation.title)}}}",
        r"\subsection*{Rules}",
        *_rules(explanation),
        r"\section*{Forward}",
        *_table(("", "op", "its inputs", "its value"), "rlll", _forward(explanation)),
        r"\section*{Backward}",
        *_table(("", "op", "gradient coming in", "gradients going out"), "rlll", _backward(explanation)),
    ]
    for table in explanation.tables:
        parts.append(rf"\section*{{{escaped(table.title)}}}")
        parts += _table(table.columns, "l" * len(table.columns), _course(table))
    return DOCUMENT % "\n".join(parts)


def formula(explanation: Explanation) -> str:
    """The leaves' values and gradients as one displayed formula, for notebooks.

    >>> from chainrule.explain import explain
    >>> formula(explain(lambda x: x * x, np.array(3.0))).startswith("$$")
    True
    """
    rows = [
        rf"\text{{{escaped(node.name)}}} & {_numbers(node.value)} & {_numbers(node.gradient)}"
        for node in explanation.nodes
        if node.gradient is not None
    ]
    head = r"\text{node} & \text{value} & \text{gradient} \\ \hline "
    return r"$$\begin{array}{lll} " + head + r" \\ ".join(rows) + r" \end{array}$$"


def _rules(explanation: Explanation) -> Iterator[str]:
    for op in dict.fromkeys(node.op for node in explanation.ops if node.op):
        yield rf"\paragraph{{{escaped(op)}}}"
        for title in ("Forward", "Backward"):
            for part in section(OPS.get(op), title):
                if part.is_math:
                    yield rf"\begin{{align*}} {part.text} \end{{align*}}"


def _forward(explanation: Explanation) -> Iterator[list[str]]:
    for place, node in enumerate(explanation.ops, 1):
        inputs = [_named(source, source.value, "{}") for _, source in explanation.inputs_of(node)]
        yield [str(place), _op(explanation, node), _stacked(inputs), f"${_numbers(node.value)}$"]


def _backward(explanation: Explanation) -> Iterator[list[str]]:
    for place, node in enumerate(explanation.ops[::-1], len(explanation.ops) + 1):
        going = [
            _named(source, edge.gradient, r"\bar{{{}}}" if len(source.name) == 1 else r"\overline{{{}}}")
            for edge, source in explanation.inputs_of(node)
            if edge.gradient is not None
        ]
        yield [str(place), _op(explanation, node), f"${_numbers(node.gradient)}$", _stacked(going)]


def _op(explanation: Explanation, node: Node) -> str:
    return rf"\texttt{{{escaped(node.name)}}} = \texttt{{{escaped(explanation.expression(node))}}}"


def _named(node: Node, array: np.ndarray | None, over: str) -> str:
    name = node.name if re.fullmatch("[A-Za-z]", node.name) else rf"\text{{{escaped(node.name)}}}"
    return f"{over.format(name)} = {_numbers(array)}"


def _stacked(formulas: list[str]) -> str:
    return r"$\begin{array}{@{}l@{}} " + r" \\ ".join(formulas) + r" \end{array}$" if formulas else ""


def _course(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        yield [f"${_numbers(_upright(c))}$" if isinstance(c, np.ndarray) else _sentence(c) for c in row]


def _upright(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _sentence(cell: str) -> str:
    return rf"$\displaystyle {cell.strip('$')}$" if cell.startswith("$") else escaped(cell)


def _table(columns: tuple[str, ...], align: str, rows: Iterator[list[str]]) -> Iterator[str]:
    yield rf"\begin{{longtable}}{{@{{}}{align}@{{}}}}"
    yield r"\toprule"
    yield " & ".join(map(escaped, columns)) + r" \\ \midrule \endhead"
    for row in rows:
        yield " & ".join(row) + r" \\ \addlinespace[5pt]"
    yield r"\bottomrule"
    yield r"\end{longtable}"


def _numbers(array: np.ndarray | None) -> str:
    """A number, a small matrix, or what a large array is like, in math mode."""
    if array is None:
        return ""
    if array.ndim == 0:
        return _figure(array.item())
    if array.ndim <= 2 and 0 < array.size <= FEW:
        rows = array.reshape(-1, array.shape[-1]).tolist()
        inside = r" \\ ".join(" & ".join(map(_figure, row)) for row in rows)
        return rf"\begin{{bmatrix}} {inside} \end{{bmatrix}}"
    found = ", ".join(f"{key} ${_figure(value)}$" for key, value in statistics(array).items() if value is not None)
    return rf"\text{{{escaped(shape(array))}: {found}}}"


def _figure(value: float) -> str:
    mantissa, e, exponent = number(value).replace("−", "-").partition("e")
    written = {"inf": r"\infty", "-inf": r"-\infty", "nan": r"\text{NaN}"}.get(mantissa, mantissa)
    return rf"{written} \cdot 10^{{{exponent}}}" if e else written
