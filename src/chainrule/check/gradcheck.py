"""The gradients of a function of Tensors against differences of its values, as in ``torch.autograd.gradcheck``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.check.points import lifted
from chainrule.check.truth import SHRINKS
from chainrule.engine import Tensor, no_grad
from chainrule.errors import UsageError


class GradcheckError(AssertionError):
    """A gradient differs from numeric truth; the message says which, by how much, and where."""


def gradcheck(
    func: Callable,
    inputs: Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
) -> bool:
    r"""Are the gradients of ``func``, an op or a function composed of ops, right at these inputs?

    The Jacobian by walks back is compared with central differences :math:`(f(x + \epsilon e_j) - f(x - \epsilon e_j)) /
    2 \epsilon`, entry by entry, for every output and every float input, in float64. Names, order and defaults are those
    of ``torch.autograd.gradcheck``. To learn *what* is wrong, and for any backward pass that is not made of ops, see
    :func:`chainrule.check.diagnose`.

    Args:
        func: from Tensors to a Tensor, or a tuple of them, of any shapes.
        inputs: arrays or Tensors; integer and boolean ones are passed on as they are.
        eps: the step of the differences.
        atol, rtol: accepted difference, ``atol + rtol * |numeric|`` entry by entry.
        raise_exception: raise :class:`GradcheckError` instead of returning False.
        nondet_tol: accepted difference between two walks back with the same inputs.
        fast_mode: compare :math:`u^\top J v` for one random pair of directions only.

    Raises:
        GradcheckError: a gradient is wrong.
        UsageError: ``func`` cannot be called or returns no Tensor; no input is floating-point.

    >>> gradcheck(lambda x: np.exp(-(x**2)), [np.array([0.5, 1.5])])
    True
    """
    try:
        _check(func, inputs, eps, atol, rtol, nondet_tol, fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable, inputs: Any, eps: float, atol: float, rtol: float, nondet_tol: float, fast_mode: bool
) -> None:
    if not callable(func):
        raise UsageError(
            f"gradcheck takes one function of Tensors, found a {type(func).__name__}; "
            "for a pair (forward, backward) and other forms call diagnose"
        )
    arrays = [_array(i, x) for i, x in enumerate(inputs if isinstance(inputs, (list, tuple)) else (inputs,))]
    places = [i for i, x in enumerate(arrays) if x.dtype == np.float64]
    if not places:
        kinds = ", ".join(str(x.dtype) for x in arrays) or "none"
        raise UsageError(f"gradcheck needs at least one floating-point input, found {kinds}")
    rng = np.random.default_rng(0)
    for k, y in enumerate(_outputs(func(*_tensors(arrays, places)))):
        weights = [rng.standard_normal(y.shape)] if fast_mode else _units(y.shape)
        walked = _walked(func, arrays, places, k, weights)
        again = _walked(func, arrays, places, k, weights)
        for i in places:
            directions = [rng.standard_normal(arrays[i].shape)] if fast_mode else _units(arrays[i].shape)
            columns = [_difference(func, arrays, places, i, v, k, eps) for v in directions]
            for row, (u, gx, gx2) in enumerate(zip(weights, walked[i], again[i], strict=True)):
                if np.max(np.abs(gx - gx2), initial=0) > nondet_tol:
                    raise GradcheckError(f"two walks back give different gradients of input {i}")
                for column, (v, dy) in enumerate(zip(directions, columns, strict=True)):
                    found, expected = float(np.sum(gx * v)), float(np.sum(u * dy))
                    if not abs(found - expected) <= atol + rtol * abs(expected):
                        entry = "along a random direction" if fast_mode else _at(arrays[i].shape, column)
                        of = "" if fast_mode or not y.ndim else f" (of output {k}{_at(y.shape, row)})"
                        raise GradcheckError(
                            f"the gradient of input {i}{entry} is {found:.6g}, expected {expected:.6g}{of}"
                        )


def _tensors(arrays: Sequence[np.ndarray], places: Sequence[int]) -> list[Any]:
    return [Tensor(x, requires_grad=True) if i in places else x for i, x in enumerate(arrays)]


def _array(i: int, x: Any) -> np.ndarray:
    """An input as an array, floats in float64."""
    array = np.asarray(lifted(x))
    if array.dtype.kind not in "fiub":
        raise UsageError(f"input {i} of gradcheck is {x!r:.40}, expected an array of real numbers")
    return np.array(array, np.float64) if array.dtype.kind == "f" else array


def _outputs(y: Any) -> tuple[Tensor, ...]:
    outputs = tuple(y) if isinstance(y, (tuple, list)) else (y,)
    other = [type(part).__name__ for part in outputs if not isinstance(part, Tensor)]
    if other:
        raise UsageError(
            f"the function given to gradcheck returned a {other[0]}, expected a Tensor or a tuple of Tensors"
        )
    return outputs


def _units(shape: tuple[int, ...]) -> list[np.ndarray]:
    """An array for each entry of this shape: 1 there, 0 elsewhere."""
    size = int(np.prod(shape))
    return list(np.eye(size).reshape(size, *shape))


def _walked(
    func: Callable, arrays: Sequence[np.ndarray], places: Sequence[int], k: int, weights: Sequence[np.ndarray]
) -> dict[int, list[np.ndarray]]:
    """For each input the gradients of output ``k``, one for each gradient coming in."""
    rows: dict[int, list[np.ndarray]] = {i: [] for i in places}
    tensors = _tensors(arrays, places)
    y = _outputs(func(*tensors))[k]
    for u in weights:
        for i in places:
            tensors[i].grad = None
        if y.requires_grad:
            y.backward(u, retain_graph=True)
        for i in places:
            rows[i].append(np.zeros_like(arrays[i]) if tensors[i].grad is None else tensors[i].grad)
    return rows


def _difference(
    func: Callable, arrays: Sequence[np.ndarray], places: Sequence[int], i: int, v: np.ndarray, k: int, eps: float
) -> np.ndarray:
    """How output ``k`` changes as input ``i`` moves along ``v``; by smaller steps near the border of its domain."""

    def value(step: float) -> np.ndarray:
        moved = [x + step * v if j == i else x for j, x in enumerate(arrays)]
        with no_grad(), np.errstate(all="ignore"):
            return _outputs(func(*(Tensor(x) if j in places else x for j, x in enumerate(moved))))[k].value

    slope = np.array(np.nan)
    for shrink in 8.0 ** np.arange(SHRINKS):
        with contextlib.suppress(ValueError):
            border = value(eps / shrink), value(-eps / shrink)
            # well within the domain, not at its border; a power of two, so that x + step is exact beside x = 1
            step = eps if shrink == 1 else 2.0 ** np.floor(np.log2(eps / shrink / 512))
            slope = (value(step) - value(-step)) / (2 * step)
            if np.all(np.isfinite([*border, slope])):
                break
    return slope


def _at(shape: tuple[int, ...], place: int) -> str:
    return f" at {tuple(int(j) for j in np.unravel_index(place, shape))}" if shape else ""
