"""The tape as a terminal shows it: op by op, forward and then backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from chainrule.docstrings import section
from chainrule.engine import OPS
from chainrule.explain.arrays import number, shape, statistics
from chainrule.explain.tape import Explanation, Node, Table

Draw = Callable[[str, int], list[str]]  # a LaTeX formula as rows of characters, at most so wide

FEW, COLUMNS = 36, 8  # entries, and columns, up to which an array is written out


def text(explanation: Explanation, draw: Draw, width: int = 100) -> RenderableType:
    """Everything, from top to bottom: forward, backward, and the tables that belong to it."""
    return Group(
        Text(explanation.title, "bold"),
        Text(facts(explanation), "dim"),
        *_half(explanation, "Forward", explanation.ops, draw, width),
        *_half(explanation, "Backward", explanation.ops[::-1], draw, width),
        *(part for table in explanation.tables for part in _course(table, draw)),
    )


def facts(explanation: Explanation) -> str:
    """How large it is, and what comes out.

    >>> from chainrule.explain import explain
    >>> facts(explain(lambda x: x * x, np.array(3.0)))
    '1 op, no parameters, x * x = 9'
    """
    ops = len(explanation.ops)
    parameters = sum(node.value.size for node in explanation.nodes if node.kind == "parameter")
    result = explanation.result
    return ", ".join(
        [
            f"{ops} op{'s' * (ops != 1)}",
            f"{parameters:,} parameter{'s' * (parameters != 1)}" if parameters else "no parameters",
            f"{result.name} {'=' if result.value.size == 1 else 'of shape'} "
            + (number(result.value.item(), 6) if result.value.size == 1 else shape(result.value)),
        ]
    )


def written(array: np.ndarray, width: int = 75) -> str:
    """An array's numbers where they are few, in lines of this width, else what they are like.

    >>> written(np.array([0.5, -2.0]))
    '[ 0.5 -2. ]'
    >>> written(np.zeros((10, 10)))
    'min 0, mean 0, max 0, norm 0'
    """
    if is_short(array):
        if array.ndim == 0:
            return number(array.item(), 6).replace("−", "-")
        small = bool(np.abs(array).max(initial=0) > 1e-3)
        return np.array2string(array, width, precision=4, suppress_small=small)
    return ", ".join(f"{key} {number(value)}" for key, value in statistics(array).items() if value is not None).replace(
        "−", "-"
    )


def is_short(array: np.ndarray) -> bool:
    """Is it written out?

    >>> is_short(np.zeros((3, 4))), is_short(np.zeros((2, 3, 4)))
    (True, False)
    """
    return array.size <= FEW and array.ndim <= 2 and (array.ndim == 0 or array.shape[-1] <= COLUMNS)


def _half(explanation: Explanation, title: str, ops: list[Node], draw: Draw, width: int) -> Iterator[RenderableType]:
    """One walk over the ops; the formula of an op stands where it first occurs."""
    yield Text(f"\n{title}", "bold cyan" if title == "Forward" else "bold magenta")
    first: dict[str, int] = {}
    total = len(ops)
    for place, node in enumerate(ops, 1 if title == "Forward" else total + 1):
        assert node.op is not None
        heading = Text.assemble((f"\n{place:>3}  ", "dim"), (node.name, "bold"), f" = {explanation.expression(node)}")
        heading.append("   " + " · ".join(filter(None, [node.module, node.place])), "dim")
        yield heading
        if node.op not in first:
            for part in section(OPS.get(node.op), title):
                if part.is_math:
                    for row in draw(part.text, width - 6):
                        yield Text("     " + row, "magenta", no_wrap=True, overflow="ignore")
        else:
            yield Text(f"     {node.op}, as in step {first[node.op]}", "dim")
        first.setdefault(node.op, place)
        rows = _forward(explanation, node) if title == "Forward" else _backward(explanation, node)
        yield Padding(_grid(list(rows), width - 6), (0, 0, 0, 5))


Row = tuple[str, str, np.ndarray]  # what the op's rule calls it, what the user calls it, its numbers


def _forward(explanation: Explanation, node: Node) -> Iterator[Row]:
    for edge, source in explanation.inputs_of(node):
        yield edge.argument, source.name, source.value
    yield "→", node.name, node.value


def _backward(explanation: Explanation, node: Node) -> Iterator[Row]:
    if node.gradient is not None:
        yield "gy", node.name, node.gradient
    for edge, source in explanation.inputs_of(node):
        if edge.gradient is not None:
            part = " (a part of it)" if len(explanation.users_of(source)) > 1 else ""
            yield f"→ g{edge.argument}", source.name + part, edge.gradient


def _grid(rows: list[Row], width: int) -> Grid:
    made = Grid(box=None, show_header=False, pad_edge=False)
    for _ in range(4):
        made.add_column(overflow="fold")
    room = width - sum(max(len(cell) + 1 for cell in column) for column in zip(*map(_names, rows), strict=True))
    for row in rows:
        what, name, size = _names(row)
        numbers = Text(written(row[2], room), no_wrap=is_short(row[2]))
        made.add_row(Text(what, "dim"), Text(name, "cyan"), Text(size, "dim"), numbers)
    return made


def _names(row: Row) -> tuple[str, str, str]:
    what, name, array = row
    return what, name, shape(array)


def _course(table: Table, draw: Draw) -> Iterator[RenderableType]:
    yield Text(f"\n{table.title}\n", "bold")
    made = Grid(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 1, 0))
    for column in table.columns:
        made.add_column(column)
    for row in table.rows:
        made.add_row(*(_cell(cell, draw) for cell in row))
    yield made


def _cell(cell: object, draw: Draw) -> Text:
    if isinstance(cell, np.ndarray):
        upright = cell.reshape(-1, 1) if cell.ndim == 1 else cell
        return Text(written(upright), no_wrap=True)
    written_out = str(cell)
    if written_out.startswith("$"):
        return Text("\n".join(draw(written_out.strip("$"), 60)), "magenta", no_wrap=True)
    return Text(written_out)
