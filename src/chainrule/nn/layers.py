"""Layers with parameters or randomness: Linear, Dropout, Flatten."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from chainrule import ops
from chainrule.engine import Parameter
from chainrule.nn import init
from chainrule.nn.module import Module


class Identity(Module):
    """The input, unchanged.

    >>> Identity()(np.array([1.0, 2.0]))
    array([1., 2.])
    """

    def __call__(self, x: Any) -> Any:
        return ops.identity(x)


class Flatten(Module):
    """The axes from ``start_dim`` to ``end_dim`` as one; by default all but the batch, which must be there.

    >>> Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def __call__(self, x: Any) -> Any:
        start, end = (normalize_axis_index(dim, x.ndim, "Flatten") for dim in (self.start_dim, self.end_dim))
        flat = math.prod(x.shape[start : end + 1])
        return ops.reshape(x, shape=(*x.shape[:start], flat, *x.shape[end + 1 :]))


class Linear(Module):
    r"""A linear layer, :math:`Y = X W^\top + b`.

    Args:
        in_features, out_features: sizes of an input and of an output row.
        bias: add ``b``?
        rng: draws the first values: both from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the input size.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_features, in_features)``.
        bias: ``(out_features,)``, or None.

    Source of the first values: PyTorch's ``nn.Linear.reset_parameters``.

    >>> Linear(4, 3)(np.zeros((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        rng = rng or np.random.default_rng()
        self.in_features, self.out_features = in_features, out_features
        self.weight = init.kaiming_uniform_(
            Parameter(np.empty((out_features, in_features), dtype)), a=math.sqrt(5), rng=rng
        )
        bound = 1 / math.sqrt(in_features)
        self.bias = init.uniform_(Parameter(np.empty(out_features, dtype)), -bound, bound, rng=rng) if bias else None

    def __call__(self, x: Any) -> Any:
        return ops.linear(x, self.weight, self.bias)


class Dropout(Module):
    r"""In training, sets each entry to 0 with probability ``p`` and divides the others by :math:`1 - p`.

    Args:
        p: the probability, from 0 to 1.
        rng: draws the masks; its state belongs to the state of a training run.

    Raises:
        ValueError: ``p`` is not a probability.

    >>> Dropout(0.5).eval()(np.array([1.0, 2.0]))
    array([1., 2.])
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p}, expected a probability from 0 to 1")
        self.p = p
        self.rng = rng or np.random.default_rng()

    def __call__(self, x: Any) -> Any:
        if not self.training or self.p == 0:
            return ops.identity(x)
        mask = self.rng.random(x.shape, dtype=np.float32) >= self.p
        return ops.dropout(x, mask, p=self.p)
