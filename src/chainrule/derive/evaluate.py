"""Expressions in index notation as numbers: every index is an axis, a sum is over an axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.derive.indices import Add, Delta, Entry, Expr, Fn, Holds, Index, Max, Mul, Num, Pow, Sum, Symbol, Within

_erf = np.vectorize(math.erf, otypes=[float])


def erf(x: Any) -> Any:
    """The error function of real numbers."""
    if np.iscomplexobj(x):
        raise TypeError("erf of complex numbers")
    return _erf(x)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
    "sign": np.sign,
    "erf": erf,
}
UNKNOWN = ("f", "g", "h", "phi", "psi", "sigma")  # functions that are not given, and with what they are tried
for _shift, _name in enumerate(UNKNOWN):
    FUNCTIONS[_name] = lambda x, a=_shift: np.sin(x + a) + x**2 / 3  # type: ignore[misc]
    FUNCTIONS[_name + "′"] = lambda x, a=_shift: np.cos(x + a) + 2 * x / 3  # type: ignore[misc]
RELATIONS = {
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
BAR = "g"  # the gradient of y is called gy


def evaluate(x: Expr, values: Mapping[Any, Any], indices: Sequence[Index] = ()) -> np.ndarray:
    """The array of an expression's values over some indices, in this order.

    Args:
        x: the expression; its free indices are among ``indices``.
        values: arrays by name, gradients as ``gy``; numbers by their symbols, or by their names.
        indices: one for every axis of the result.

    >>> i = Index("i", Symbol("n"))
    >>> evaluate(Mul((Num(2), Entry("x", (i,)))), {"x": np.array([1.0, 2.0]), "n": 2}, [i])
    array([2., 4.])
    """
    sizes = [int(evaluate(k.size, values)) for k in indices]
    axes = {}
    for place, (k, size) in enumerate(zip(indices, sizes, strict=True)):
        axes[k.name] = np.arange(size).reshape(-1, *[1] * (len(sizes) - place - 1))
    return np.broadcast_to(_value(x, values, axes, len(sizes), 0.0), sizes)


def _value(x: Expr, values: Mapping[Any, Any], axes: dict[str, np.ndarray], depth: int, outside: float) -> Any:
    def of(part: Expr) -> Any:
        return _value(part, values, axes, depth, outside)

    match x:
        case Num(value):
            return float(value) if value.denominator > 1 else int(value)
        case Symbol("π"):
            return math.pi
        case Symbol(name):
            return values[x] if x in values else values[name]
        case Index(name):
            return axes[name]
        case Entry(name, at, bar):
            return _gathered(np.asarray(values[BAR * bar + name]), [of(k) for k in at], outside)
        case Add(terms):
            return sum(map(of, terms))
        case Mul(factors):
            return math.prod(map(of, factors))
        case Pow(base, exponent):
            whole = exponent.denominator == 1
            return np.power(np.asarray(of(base)) * 1.0, int(exponent) if whole else float(exponent))
        case Fn(name, arg):
            return FUNCTIONS[name](of(arg))
        case Delta(left, right):
            return np.equal(of(left), of(right)) * 1.0
        case Holds(relation, left, right):
            return RELATIONS[relation](of(left), of(right)) * 1.0
        case Within(index, size):
            return ((of(index) >= 0) & (of(index) < of(size))) * 1.0
        case Sum(over, body) | Max(over, body):
            inner, sizes = dict(axes), []
            for k in over:
                sizes.append(int(_value(k.size, values, axes, depth, outside)))
                inner[k.name] = np.arange(sizes[-1]).reshape(-1, *[1] * (depth + len(sizes) - 1))
            found = _value(body, values, inner, depth + len(over), -np.inf if isinstance(x, Max) else outside)
            full = np.broadcast_to(found, np.broadcast_shapes(np.shape(found), (*sizes[::-1], *[1] * depth)))
            reduce = np.max if isinstance(x, Max) else np.sum
            return reduce(full, axis=tuple(range(len(over))))
    raise TypeError(f"no value for {type(x).__name__}")


def _gathered(array: np.ndarray, at: list[Any], outside: float) -> Any:
    """The entries at these places; ``outside`` where there is none."""
    if not at:
        return array[()]
    at = list(np.broadcast_arrays(*at))
    inside = np.ones(at[0].shape, bool)
    for k, size in zip(at, array.shape, strict=True):
        inside &= (k >= 0) & (k < size)
    if inside.all():
        return array[tuple(at)]
    clipped = tuple(np.clip(k, 0, size - 1) for k, size in zip(at, array.shape, strict=True))
    return np.where(inside, array[clipped], outside)
