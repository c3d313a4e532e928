"""A network as a table: every module in it, its output shape, its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.engine import no_grad
from chainrule.nn.module import Module, observe


@dataclass(frozen=True)
class Row:
    """One module: dotted name, type, shape of its output, number of parameters that are its own."""

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` returns; printed, it is the table."""

    rows: tuple[Row, ...]
    parameters: int

    def __str__(self) -> str:
        """The rows and the total, aligned."""
        table = [("layer", "type", "output shape", "parameters")]
        table += [(r.name, r.type, str(r.shape), f"{r.parameters:,}") for r in self.rows]
        table += [("total", "", "", f"{self.parameters:,}")]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in table]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def summary(model: Module, input_shape: tuple[int, ...]) -> Summary:
    """Output shape and parameter count of every innermost module, for a batch of one input of this shape.

    Args:
        model: any module whose input is one array.
        input_shape: the shape of one example, without the batch axis.

    >>> from chainrule.nn import Linear, ReLU, Sequential
    >>> print(summary(Sequential(Linear(4, 3), ReLU(), Linear(3, 2)), (4,)))
    layer  type    output shape  parameters
    ---------------------------------------
    0      Linear  (1, 3)                15
    1      ReLU    (1, 3)                 0
    2      Linear  (1, 2)                 8
    ---------------------------------------
    total                                23
    """
    names = {module: name for name, module in model.named_modules()}
    modes = {module: module.training for module in names}
    rows = []

    def see(module: Module, inputs: tuple, output: Any) -> None:
        if not any(module.named_children()):
            count = sum(parameter.size for parameter in module.parameters())
            first = output[0] if isinstance(output, tuple) else output  # a recurrent layer returns its states too
            rows.append(Row(names[module], type(module).__name__, first.shape, count))

    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    model.eval()
    try:
        with no_grad(), observe(see):
            model(np.zeros((1, *input_shape), dtype))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return Summary(tuple(rows), sum(parameter.size for parameter in model.parameters()))
