"""Questions about the engine, answered by looking at it; and what the engine of vu-2021 could not do, done."""

import inspect
from typing import Any

import numpy as np

from chainrule import engine
from chainrule.engine import Tensor
from chainrule.lab.study import Shown, Stated

REUSES = 60  # of a value in itself: walked path by path that would be 2 to the 60 paths


def questions(quick: bool) -> Shown:
    """The value of a node, what made it, its inputs, where the gradient is kept, who calls the rule."""
    W = Tensor([[0.5, -1.0], [2.0, 0.25]], requires_grad=True)
    k = Tensor([[1.0, 2.0]]) @ W
    assert k.source is not None
    first, second = k.source.inputs
    np.exp(k).sum().backward()
    x, value = np.array([[1.0, 2.0]]), np.array([[4.5, -0.5]])  # by hand: 0.5 + 2 * 2 and -1 + 2 * 0.25
    asked = (
        ("the value of a node", "k.value", k.value, value),
        ("what made it", "k.source.op.name", k.source.op.name, "matmul"),
        ("that node's inputs", "k.source.inputs[1] is W", second is W, True),
        ("their values", "k.source.inputs[0].value", first.value, x),
        ("where the gradient is kept", "W.grad", np.round(W.grad, 4), np.round(x.T @ np.exp(value), 4)),
    )
    places = (
        ("when an operation node is made", "in Op.__call__", _line(engine.Op.__call__, "Source(")),
        ("where backward calls the rule", "in the walk", _line(engine._pull, "pullbacks[i](gy)")),
    )
    statements = (
        *(Stated(what, code, _short(found), _same(found, right)) for what, code, found, right in asked),
        *(Stated(what, code, line, "") for what, code, line in places),
    )
    return Shown(statements, "k = x @ W of two small matrices; the loss is the sum of exp(k).")


def weaknesses(quick: bool) -> Shown:
    """What that engine got wrong or could not do."""
    found = (
        ("a branch that does not reach the loss", "silently zeroes gradients below the fork", *_side_branch()),
        ("Select with a batch of one", "crashes", *_select_of_one()),
        ("division, power, minus, a number times a tensor", "missing", *_arithmetic()),
        ("zeroing the gradients of a value that is used again and again", "takes exponential time", *_reuse()),
    )
    return Shown(tuple(Stated(*each) for each in found))


def _side_branch() -> tuple[str, str]:
    x = Tensor([2.0], requires_grad=True)
    y = x * 3
    _ = y * 5  # leads nowhere
    (y * y).sum().backward()
    return _compared(x.grad, 2 * 3 * 3 * x.value)


def _select_of_one() -> tuple[str, str]:
    x = Tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    x[[0], [2]].sum().backward()
    return _compared(x.grad, [[0.0, 0.0, 1.0]])


def _arithmetic() -> tuple[str, str]:
    x = Tensor([3.0], requires_grad=True)
    (-(x**2) + 2 * x / (x + 1)).sum().backward()
    return _compared(x.grad, 2 / (x.value + 1) ** 2 - 2 * x.value)


def _reuse() -> tuple[str, str]:
    x = Tensor([1.0], requires_grad=True)
    y: Any = x
    for _ in range(REUSES):
        y = y + y
    y.sum().backward()
    return _compared(x.grad, [2.0**REUSES])


def _compared(found: Any, expected: Any) -> tuple[str, str]:
    right = bool(np.allclose(found, expected, rtol=1e-12))
    return f"gradient {np.asarray(found).ravel().tolist()}", "right" if right else f"wrong, expected {expected}"


def _same(found: Any, right: Any) -> str:
    return "right" if np.array_equal(found, right) else f"wrong, expected {_short(right)}"


def _short(value: Any) -> str:
    return str(value.tolist() if isinstance(value, np.ndarray) else value)


def _line(function: Any, text: str) -> str:
    """The first line of a function's source that holds `text`, with its place in the file."""
    lines, first = inspect.getsourcelines(function)
    number, line = next((first + i, line) for i, line in enumerate(lines) if text in line)
    return f"engine.py, line {number}: {line.strip()}"
