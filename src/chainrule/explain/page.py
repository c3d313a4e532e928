"""One self-contained HTML page: the graph, a slider through its steps, and every node's formulas and numbers."""

from __future__ import annotations

import functools
import html
import json
import math
import re
from importlib import resources
from typing import Any

import numpy as np

from chainrule import mathml
from chainrule.docstrings import Part, section, summary
from chainrule.engine import OPS
from chainrule.explain.arrays import WHOLE, Panel, histogram, number, panels, shape, statistics
from chainrule.explain.layout import drawing
from chainrule.explain.tape import Explanation
from chainrule.explain.text import facts

ALL_CELLS = 120_000  # numbers on a page, about; many arrays get fewer each
THUMB, THUMB_SIDE = 28.0, 7  # a card's picture of an array: its size, its most rows and columns


def page(explanation: Explanation) -> str:
    """The page as HTML: nothing in it is loaded from elsewhere.

    >>> from chainrule.explain import explain
    >>> page(explain(lambda x: x * x, np.array(3.0), title="a square")).startswith("<!doctype html>")
    True
    """
    found = drawing(explanation)
    groups = [
        {"label": card.label, "members": [node.index for node in card.nodes]}
        for card in found.cards
        if len(card.nodes) > 1
    ]
    ops = {node.op: None for node in explanation.ops if node.op}
    return _template().render(
        explanation=explanation,
        facts=facts(explanation),
        drawing=found,
        formulas={op: _formulas(op) for op in ops},
        parameters=[node for node in explanation.nodes if node.kind == "parameter"],
        style=_part("page.css"),
        script=_part("page.js"),
        tape=_for_script(_tape(explanation, groups)),
    )


def embedded(explanation: Explanation) -> str:
    """The page inside a notebook's cell."""
    source = html.escape(page(explanation), quote=True)
    return f'<iframe srcdoc="{source}" style="width:100%;height:760px;border:0;border-radius:12px"></iframe>'


@functools.cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "thumb": thumb, "number": number, "norm": norm, "shape": shape, "short": short, "cell": _cell
    }  # fmt: skip
    return environment.get_template("page.html")


@functools.cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _formulas(name: str) -> dict[str, str]:
    """The sections of an op's docstring as HTML."""
    op = OPS.get(name)
    sections = {each.lower(): _html(section(op, each)) for each in ("Forward", "Backward", "Derivation", "Source")}
    return {"result": _result(section(op, "Forward")), "summary": mathml.sentence(summary(op)), **sections}


def _result(forward: list[Part]) -> str:
    """The letter that an op's formulas give its value: the first one of its forward."""
    found = [part.text for part in forward if part.is_math]
    letter = re.match(r"[A-Za-z]", found[0]) if found else None
    return "" if letter is None else letter[0].lower() if letter[0] == "Y" else letter[0]


def _html(parts: list[Part]) -> str:
    return "".join(
        f'<div class="formula">{mathml.display(part.text)}</div>'
        if part.is_math
        else f"<p>{mathml.sentence(part.text)}</p>"
        for part in parts
    )


# ------------------------------------------------------------------------------------------------ what the script reads


def _tape(explanation: Explanation, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The nodes and, each once, the arrays."""
    nodes = explanation.nodes
    found = [a for node in nodes for a in (node.value, node.gradient, *(e.gradient for e in node.inputs))]
    distinct = {id(array): array for array in found if array is not None}
    cells = min(WHOLE, max(36, ALL_CELLS // max(1, len(distinct))))
    place = {key: i for i, key in enumerate(distinct)}

    def at(array: np.ndarray | None) -> int | None:
        return None if array is None else place[id(array)]

    return {
        "nodes": [
            {
                "name": node.name,
                "kind": node.kind,
                "op": node.op,
                "made": explanation.expression(node) if node.op else "",
                "module": node.module,
                "place": node.place,
                "value": at(node.value),
                "gradient": at(node.gradient),
                "inputs": [[e.node, e.argument, at(e.gradient), _numbers(e.jacobian)] for e in node.inputs],
                "users": [[user.index, at(edge.gradient)] for user, edge in explanation.users_of(node)],
            }
            for node in nodes
        ],
        "order": [node.index for node in explanation.ops],
        "groups": groups,
        "arrays": [_array(array, cells) for array in distinct.values()],
    }


def _array(array: np.ndarray, cells: int) -> dict[str, Any]:
    drawn = panels(array, cells)
    whole = math.prod(array.shape[:-2])
    return {
        "shape": array.shape,
        "statistics": {key: _number(value) for key, value in statistics(array).items()},
        "panels": [{"index": p.index, "block": p.block, "cells": _cells(p, array.size <= cells)} for p in drawn],
        "more": whole - len(drawn),
        "histogram": histogram(array) if array.size > cells else [],
    }


def _cells(panel: Panel, whole: bool) -> Any:
    """In full precision where the whole array is shown; of a part or of means four digits are enough."""
    if whole:
        return _numbers(panel.cells)
    return [[_number(float(f"{value:.4g}")) for value in row] for row in panel.cells.tolist()]


def _numbers(array: np.ndarray | None) -> Any:
    return None if array is None else [[_number(value) for value in row] for row in array.tolist()]


def _number(value: Any) -> Any:
    """JSON has no infinity and no NaN; the script reads them from their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _for_script(tape: dict[str, Any]) -> str:
    return json.dumps(tape, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


# ------------------------------------------------------------------------------------------------- what is drawn here


def thumb(array: np.ndarray | None) -> list[dict[str, Any]]:
    """The squares of a small picture of an array: their places in percent of its size, sign and strength.

    >>> [(square["x"], square["sign"], square["share"]) for square in thumb(np.array([-2.0, 1.0]))]
    [(0.0, 'negative', 100), (14.0, 'positive', 50)]
    """
    if array is None or not array.size:
        return []
    cells = panels(array)[0].cells.astype(np.float64)
    rows, columns = (min(n, THUMB_SIDE) for n in cells.shape)
    cells = cells[np.ix_(_picked(cells.shape[0], rows), _picked(cells.shape[1], columns))]
    side = THUMB / max(rows, columns, 2)
    left, top = (THUMB - columns * side) / 2, (THUMB - rows * side) / 2
    largest = float(np.abs(cells[np.isfinite(cells)]).max(initial=0)) or 1.0
    cells = np.clip(np.nan_to_num(cells), -largest, largest)
    return [
        {
            "x": round(left + j * side, 2),
            "y": round(top + i * side, 2),
            "side": round(side, 2),
            "sign": "negative" if value < 0 else "positive",
            "share": round(100 * abs(value) / largest),
        }
        for i, row in enumerate(cells.tolist())
        for j, value in enumerate(row)
    ]


def _picked(count: int, most: int) -> np.ndarray:
    return np.arange(most) * count // most


def norm(array: np.ndarray | None) -> str:
    """The Euclidean norm for the eye.

    >>> norm(np.array([3.0, 4.0])), norm(None)
    ('5', '')
    """
    found = None if array is None else statistics(array)["norm"]
    return "" if found is None else number(found)


def short(label: str, longest: int) -> str:
    """A label that fits on a card: of a long one the end, where layers differ.

    >>> short("layer1.0.downsample.0", 12)
    '…ownsample.0'
    """
    return label if len(label) <= longest else "…" + label[1 - longest :]


def _cell(cell: Any) -> str:
    """A cell of a course's table as HTML."""
    if isinstance(cell, np.ndarray):
        return _matrix(cell)
    return mathml.inline(cell.strip("$")) if cell.startswith("$") else html.escape(cell)


def _matrix(array: np.ndarray) -> str:
    """A small array in brackets; a vector stands upright, as on paper."""
    if array.ndim == 0:
        return f"<math><mn>{number(array)}</mn></math>"
    rows = array.reshape(-1, 1) if array.ndim == 1 else array
    cells = "".join(
        "<mtr>" + "".join(f"<mtd><mn>{number(value)}</mn></mtd>" for value in row) + "</mtr>" for row in rows.tolist()
    )
    return f'<math><mrow><mo>[</mo><mtable class="matrix">{cells}</mtable><mo>]</mo></mrow></math>'
