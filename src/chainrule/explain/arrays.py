"""Arrays for the eye: small ones as they are, large ones as statistics, a histogram and a coarse picture."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

WHOLE = 400  # entries up to which an array is shown in full
SIDE = 16  # rows and columns of a coarse picture
BINS = 32


@dataclass(frozen=True, eq=False)
class Panel:
    """One matrix of an array: the last two axes at one index of the others."""

    index: tuple[int, ...]
    cells: np.ndarray  # 2-D; means over blocks where the matrix is larger than the picture
    block: tuple[int, int]  # rows and columns of the matrix for each cell


def described(array: np.ndarray | None) -> dict[str, Any] | None:
    """An array as JSON holds it: with its values only if they are few.

    >>> found = described(np.array([3.0, 4.0]))
    >>> found["norm"], found["values"]
    (5.0, [3.0, 4.0])
    >>> described(np.zeros(1000))["values"] is None
    True
    """
    if array is None:
        return None
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        **statistics(array),
        "values": array.tolist() if array.size <= WHOLE else None,
    }


def number(value: Any, digits: int = 4) -> str:
    """A number for the eye.

    >>> number(0.6931471805599453), number(-1e-9), number(12.0)
    ('0.6931', '−1.000e−9', '12')
    """
    value = float(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5) and math.isfinite(value):
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        text = f"{float(f'{value:.{digits}g}'):.10g}"
    return text.replace("-", "−")


def shape(array: np.ndarray) -> str:
    """A shape as on paper.

    >>> shape(np.zeros((2, 3))), shape(np.array(1.0))
    ('2 × 3', 'scalar')
    """
    return " × ".join(map(str, array.shape)) or "scalar"


def statistics(array: np.ndarray) -> dict[str, float | None]:
    """Minimum, mean, maximum, Euclidean norm; None where there is no entry.

    >>> statistics(np.array([[3.0, -4.0]]))
    {'min': -4.0, 'mean': -0.5, 'max': 3.0, 'norm': 5.0}
    """
    if not array.size:
        return dict.fromkeys(("min", "mean", "max", "norm"))
    exact = np.ascontiguousarray(array, np.float64)  # a sum depends on the order of the memory
    with np.errstate(all="ignore"):
        mean, squares = float(exact.mean()), float((exact**2).sum())
    return {"min": float(exact.min()), "mean": mean, "max": float(exact.max()), "norm": math.sqrt(squares)}


def histogram(array: np.ndarray) -> list[int]:
    """How many entries are in each of equally wide bins from the smallest to the largest; empty without a range.

    >>> sum(histogram(np.arange(1000.0)))
    1000
    """
    finite = array[np.isfinite(array)].astype(np.float64)
    return np.histogram(finite, BINS)[0].tolist() if finite.size and np.ptp(finite) > 0 else []


def panels(array: np.ndarray, cells: int = WHOLE) -> list[Panel]:
    """The matrices to draw: all of a small array, the first ones of a large one, with at most this many cells.

    A vector is one row.

    >>> [(panel.index, panel.cells.shape, panel.block) for panel in panels(np.zeros((2, 64, 64)))]
    [((0,), (16, 16), (4, 4))]
    """
    matrices = array.reshape((1,) * (2 - array.ndim) + array.shape)
    found: list[Panel] = []
    used = 0
    for index in itertools.product(*(range(n) for n in matrices.shape[:-2])):
        matrix = matrices[index]
        panel = _coarse(matrix) if array.size > cells else Panel(index, matrix, (1, 1))
        used += panel.cells.size
        if found and used > cells:
            break
        found.append(Panel(index, panel.cells, panel.block))
    return found


def _coarse(matrix: np.ndarray) -> Panel:
    """Means over blocks, the last ones smaller; long vectors keep more columns."""
    side = (SIDE, SIDE) if matrix.shape[0] > 1 else (1, 4 * SIDE)
    block = tuple(max(1, math.ceil(n / most)) for n, most in zip(matrix.shape, side, strict=True))
    if block == (1, 1):
        return Panel((), matrix, (1, 1))
    cells = matrix.astype(np.float64)
    for axis, size in enumerate(block):
        starts = np.arange(0, matrix.shape[axis], size)
        counts = np.diff([*starts, matrix.shape[axis]])
        cells = np.add.reduceat(cells, starts, axis) / np.expand_dims(counts, 1 - axis)
    return Panel((), cells, (block[0], block[1]))
