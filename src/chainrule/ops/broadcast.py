"""The transpose of broadcasting, which every element-wise rule with two inputs needs."""

from __future__ import annotations

from typing import Any


def sum_to(gy: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``gy`` over the axes that broadcasting added or stretched, so that the result has ``shape``.

    Broadcasting copies: :math:`y_{ij} = x_j`. Hence :math:`\\bar x_j = \\sum_i \\bar y_{ij}`.

    >>> import numpy as np
    >>> sum_to(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    >>> sum_to(np.ones((2, 3)), (2, 1))
    array([[3.],
           [3.]])
    """
    if gy.shape == shape:
        return gy
    added = gy.ndim - len(shape)
    stretched = [added + i for i, size in enumerate(shape) if size == 1 and gy.shape[added + i] != 1]
    return gy.sum(axis=(*range(added), *stretched)).reshape(shape)
