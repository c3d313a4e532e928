"""What a gradient must be, computed without any rule: complex step, and extrapolated central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVELS = 6  # step sizes in the extrapolation, each half the one before
SHRINKS = 16  # how often a row of steps is tried again, each an eighth as long, where func is not defined so far away
COMPLEX_STEP = 1e-100  # so small that its square is 0: there is no truncation error


class Truth(NamedTuple):
    """A gradient, an estimate of its error entry by entry, and the method that gave it."""

    value: np.ndarray
    error: np.ndarray
    method: str


def numeric_gradient(func: Callable[[np.ndarray], float], x: np.ndarray, *, step: float = 2e-2) -> Truth:
    r"""The gradient of ``func``, a function of one float64 array that returns a number.

    Central differences :math:`(f(x + h e_j) - f(x - h e_j)) / 2h` for a row of step sizes are extrapolated to
    :math:`h = 0`; the differences within the extrapolation's table estimate the error. Where ``func`` also runs on
    complex numbers and its complex step :math:`\operatorname{Im} f(x + i h e_j) / h` agrees with them to within a few
    times that estimate, the complex step is returned, which is exact to rounding. Near the border of where ``func`` is
    defined (it returns NaN or raises ValueError beyond), the steps become smaller until they stay within.

    Args:
        func: from an array of ``x``'s shape to a number.
        x: where; float64, any shape.
        step: the largest step, relative to an entry's size where that is above 1.

    Source: C. J. F. Ridders, *Accurate computation of F'(x) and F'(x)F''(x)*, Adv. Eng. Software 4 (1982); W. Squire,
    G. Trapp, *Using complex variables to estimate derivatives of real functions*, SIAM Review 40 (1998).

    >>> truth = numeric_gradient(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
    >>> truth.method, bool(np.allclose(truth.value, [3, 12], rtol=1e-14))
    ('complex step', True)
    """
    x = np.asarray(x, np.float64)
    value, error = np.zeros(x.shape), np.zeros(x.shape)
    func(x)  # whatever is wrong with func itself is raised here
    for j in np.ndindex(x.shape):
        largest = step * max(1.0, abs(float(x[j])))
        for h in largest / 8.0 ** np.arange(SHRINKS):
            value[j], error[j] = _extrapolated(func, x, j, h)
            if np.isfinite(value[j]):
                break
    exact = _complex_step(func, x)
    slack = 4 * error + 1e-9 * (1 + np.abs(value))
    if exact is not None and np.all(np.abs(exact - value) <= slack):
        return Truth(exact, 1e-14 * (1 + np.abs(exact)), "complex step")
    return Truth(value, error, "extrapolated differences")


def _extrapolated(func: Callable, x: np.ndarray, j: tuple[int, ...], h: float) -> tuple[float, float]:
    """One partial derivative by Ridders' method: Neville's table over h, h/2, h/4, ...; and its estimated error."""
    best, error = np.nan, np.inf
    above: list[float] = []
    for level in range(LEVELS):
        row = [_central(func, x, j, h / 2**level)]
        for k, previous in enumerate(above):
            row.append(row[k] + (row[k] - previous) / (4.0 ** (k + 1) - 1))
            guess = max(abs(row[k + 1] - row[k]), abs(row[k + 1] - previous))
            if guess <= error:
                best, error = row[k + 1], guess
        above = row
    return best, error


def _central(func: Callable, x: np.ndarray, j: tuple[int, ...], h: float) -> float:
    """A central difference; NaN where ``func`` is not defined on both sides."""
    up, down = x.copy(), x.copy()
    up[j] += h
    down[j] -= h
    try:
        with np.errstate(all="ignore"):
            return float((func(up) - func(down)) / (up[j] - down[j]))
    except ValueError:
        return np.nan


def _complex_step(func: Callable, x: np.ndarray) -> np.ndarray | None:
    result = np.zeros(x.shape)
    for j in np.ndindex(x.shape):
        z = x.astype(np.complex128)
        z[j] += 1j * COMPLEX_STEP
        try:
            with np.errstate(all="ignore"):
                result[j] = np.imag(func(z)) / COMPLEX_STEP
        except (TypeError, ValueError):
            return None
    return result if np.all(np.isfinite(result)) else None
