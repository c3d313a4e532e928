"""Reductions: many entries become one, along some axes or along all of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from chainrule.engine import NUMPY, implements, kink, op, sample
from chainrule.ops.domains import distinct

# A mean or an extreme is of at least one entry; a sum may have no terms (EMPTY).
REDUCTIONS = (
    "3 4",
    sample("3 4", axis=0),
    sample("2 3 4", axis=(0, -1), keepdims=True),
    sample("2 3 4", axis=-2),
    sample("3 1", axis=1, keepdims=True),
    sample("2 0 3", axis=-1),
    sample("3 4", axis=()),
    "",
)
EMPTY = (sample("0 3", axis=0), sample("2 0", axis=1, keepdims=True), "0")


def _kept(shape, axis):
    """The shape that a reduction over ``axis`` leaves when it keeps the reduced axes, with size 1."""
    reduced = range(len(shape)) if axis is None else normalize_axis_tuple(axis, len(shape))
    return tuple(1 if i in reduced else size for i, size in enumerate(shape))


def _count(shape, kept):
    """How many entries are reduced to one."""
    return math.prod(size for size, left in zip(shape, kept, strict=True) if left == 1)


@op("_ -> _", numpy=np.sum, linear=True, samples=(*REDUCTIONS, *EMPTY))
def sum(x, *, axis=None, keepdims=False):
    r"""The sum over one axis, several axes (a tuple), or all of them. The sum of nothing is 0.

    Forward:
        .. math:: y_j = \sum_i x_{ij}
    Backward:
        .. math:: \bar x_{ij} = \bar y_j
    Derivation:
        .. math:: \bar x_{kl} = \sum_j \bar y_j \sum_i \frac{\partial x_{ij}}{\partial x_{kl}}
                  = \sum_j \bar y_j \sum_i \delta_{ik} \delta_{jl} = \bar y_l
        Here :math:`i` runs over the axes that are summed, :math:`j` over those that stay.
    Source: sum rule of differentiation.

    >>> sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([4., 6.])
    """
    shape, kept = x.shape, _kept(x.shape, axis)

    def gx(gy):
        return np.broadcast_to(np.reshape(gy, kept), shape)

    return x.sum(axis=axis, keepdims=keepdims), (gx,)


@op(
    "_ -> _",
    numpy=np.mean,
    linear=True,
    samples=REDUCTIONS,
    textbook=lambda x, axis=None, keepdims=False: (
        x.sum(axis=axis, keepdims=keepdims) / np.ones_like(x).sum(axis=axis, keepdims=keepdims)
    ),
)
def mean(x, *, axis=None, keepdims=False):
    r"""The mean over one axis, several axes (a tuple), or all of them.

    Forward:
        .. math:: y_j = \frac{1}{n} \sum_{i=1}^n x_{ij}
    Backward:
        .. math:: \bar x_{ij} = \frac{\bar y_j}{n}
    Derivation:
        .. math:: \bar x_{kl} = \sum_j \bar y_j \frac{1}{n} \sum_i \delta_{ik} \delta_{jl} = \frac{\bar y_l}{n}
        Here :math:`i` runs over the axes that are averaged, :math:`j` over those that stay.
    Source: sum rule of differentiation.

    >>> mean(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([2., 3.])
    """
    shape, kept = x.shape, _kept(x.shape, axis)
    n = _count(shape, kept)

    def gx(gy):
        return np.broadcast_to(np.reshape(gy, kept) / n, shape)

    return x.mean(axis=axis, keepdims=keepdims), (gx,)


def _var_by_moments(x, *, axis=None, ddof=0, keepdims=False):
    """The mean square minus the squared mean."""
    n = np.ones_like(x).sum(axis=axis, keepdims=keepdims)
    mean_square = (x**2).mean(axis=axis, keepdims=keepdims)
    return (mean_square - x.mean(axis=axis, keepdims=keepdims) ** 2) * n / (n - ddof)


@op(
    "_ -> _",
    numpy=np.var,
    samples=(*REDUCTIONS, sample("3 4", axis=0, ddof=1), sample("2 3 4", axis=(1, 2), ddof=2)),
    textbook=_var_by_moments,
)
def var(x, *, axis=None, ddof=0, keepdims=False):
    r"""The variance over one axis, several axes (a tuple), or all of them.

    Args:
        x: any shape.
        axis: the axes over which to take it; all by default.
        ddof: subtracted from the number of entries in the divisor. 0, as in NumPy: the biased variance, which batch
            and layer normalisation use; 1 (PyTorch's ``correction=1``): the unbiased one.
        keepdims: keep the reduced axes, with size 1.

    Raises:
        ValueError: ``ddof`` is not smaller than the number of entries.

    Forward:
        .. math:: y = \frac{1}{n - d} \sum_{i=1}^n (x_i - \mu)^2, \qquad \mu = \frac{1}{n} \sum_{i=1}^n x_i
    Backward:
        .. math:: \bar x_i = \frac{2 \bar y}{n - d} (x_i - \mu)
    Derivation:
        .. math:: \bar x_j
                  &= \frac{\bar y}{n - d} \sum_i 2 (x_i - \mu) \left( \delta_{ij} - \frac{1}{n} \right) \\
                  &= \frac{2 \bar y}{n - d} \left( (x_j - \mu) - \frac{1}{n} \sum_i (x_i - \mu) \right)
                  = \frac{2 \bar y}{n - d} (x_j - \mu)
        The mean depends on every entry, but deviations from it sum to 0, so nothing flows back through it.
    Source: Ioffe, Szegedy, *Batch Normalization* (2015), section 3, where it is a step of the backward pass.

    >>> var(np.array([[1.0, 2.0], [3.0, 6.0]]), axis=0)
    array([1., 4.])
    """
    kept = _kept(x.shape, axis)
    n = _count(x.shape, kept)
    if n <= ddof:
        raise ValueError(f"var: ddof={ddof}, expected less than {n}, the number of entries of each variance")
    centred = x - x.mean(axis=axis, keepdims=True)

    def gx(gy):
        return np.reshape(gy, kept) * (2 / (n - ddof)) * centred

    return (centred**2).sum(axis=axis, keepdims=keepdims) / (n - ddof), (gx,)


@implements(np.std)
def _std(a, *args, **kwargs):
    return np.sqrt(np.var(a, *args, **kwargs))


def _share(x, extreme, axis):
    """One part for each entry that attains the extreme, all the same, 1 together; 0 for the others."""
    attained = (x == extreme).astype(x.dtype)
    return attained / attained.sum(axis=axis, keepdims=True)


@op(
    "_ -> _",
    numpy=np.max,
    domain={"x": distinct},
    samples=REDUCTIONS,
    kinks=[
        kink(([2.0, 1.0, 2.0],), ([0.5, 0.0, 0.5],)),
        kink(([[1.0, 1.0], [1.0, 0.0]],), ([[0.5, 1.0], [0.5, 0.0]],), axis=0),
    ],
)
def max(x, *, axis=None, keepdims=False):
    r"""The largest entry over one axis, several axes (a tuple), or all of them.

    Forward:
        .. math:: y = \max_i x_i
    Backward:
        .. math:: \bar x_i = \bar y \, \frac{[x_i = y]}{\sum_j [x_j = y]}
    Derivation:
        .. math:: \frac{\partial y}{\partial x_j} = [x_j = y] \quad \text{where one entry is the largest}
        Where several are, there is no derivative; by convention they share the gradient evenly.
    Source: piecewise differentiation; the convention at ties is that of PyTorch's amax.

    >>> max(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=0)
    array([3., 5.])
    """
    y = x.max(axis=axis, keepdims=keepdims)
    kept = _kept(x.shape, axis)

    def gx(gy):
        return np.reshape(gy, kept) * _share(x, np.reshape(y, kept), axis)

    return y, (gx,)


@op(
    "_ -> _",
    numpy=np.min,
    domain={"x": distinct},
    samples=REDUCTIONS,
    textbook=lambda x, axis=None, keepdims=False: -np.max(-x, axis=axis, keepdims=keepdims),
    kinks=[
        kink(([2.0, 3.0, 2.0],), ([0.5, 0.0, 0.5],)),
        kink(([[1.0, 1.0], [1.0, 0.0]],), ([[0.5, 0.0], [0.5, 1.0]],), axis=0),
    ],
)
def min(x, *, axis=None, keepdims=False):
    r"""The smallest entry over one axis, several axes (a tuple), or all of them.

    Forward:
        .. math:: y = \min_i x_i
    Backward:
        .. math:: \bar x_i = \bar y \, \frac{[x_i = y]}{\sum_j [x_j = y]}
    Derivation:
        .. math:: \frac{\partial y}{\partial x_j} = [x_j = y] \quad \text{where one entry is the smallest}
        Where several are, there is no derivative; by convention they share the gradient evenly.
    Source: piecewise differentiation; the convention at ties is that of PyTorch's amin.

    >>> min(np.array([[1.0, 5.0], [3.0, 4.0]]), axis=0)
    array([1., 4.])
    """
    y = x.min(axis=axis, keepdims=keepdims)
    kept = _kept(x.shape, axis)

    def gx(gy):
        return np.reshape(gy, kept) * _share(x, np.reshape(y, kept), axis)

    return y, (gx,)


NUMPY[np.amax], NUMPY[np.amin] = NUMPY[np.max], NUMPY[np.min]  # NumPy's other names for them


@op(
    "_ -> _",
    samples=[
        "3 4",
        sample("3 4", dim=0, keepdim=True),
        sample("2 3 4", dim=(0, 2)),
        "0 3",
        sample("3 1", keepdim=True),
    ],
    textbook=lambda x, dim=-1, keepdim=False: np.log(np.exp(x).sum(axis=dim, keepdims=keepdim)),
)
def logsumexp(x, *, dim=-1, keepdim=False):
    r"""The logarithm of the sum of exponentials over one axis or several (a tuple): a smooth maximum.

    Forward:
        .. math:: y = \ln \sum_i e^{x_i} = m + \ln \sum_i e^{x_i - m}, \qquad m = \max_i x_i
    Backward:
        .. math:: \bar x_i = \bar y \, \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}
    Derivation:
        .. math:: \bar x_k = \bar y \, \frac{1}{\sum_j e^{x_j}} \sum_i e^{x_i} \delta_{ik}
                  = \bar y \, \frac{e^{x_k}}{\sum_j e^{x_j}}
        Any :math:`m` gives the same value and gradient; the largest entry is the one for which nothing overflows.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 4.1.

    >>> logsumexp(np.array([1000.0, 1000.0])).round(3)
    np.float64(1000.693)
    """
    largest = x.max(axis=dim, keepdims=True)
    m = np.where(np.isfinite(largest), largest, 0)  # inf - inf would be NaN
    e = np.exp(x - m)
    total = e.sum(axis=dim, keepdims=True)
    y = m + np.log(total)

    def gx(gy):
        return np.reshape(gy, total.shape) * (e / total)

    return y if keepdim else np.squeeze(y, dim), (gx,)


def _cumsum_by_matrix(x, *, axis=None):
    """Times the matrix that has ones above the diagonal and on it."""
    if axis is None:
        return np.ravel(x) @ np.triu(np.ones((x.size, x.size)))
    size = x.shape[axis]
    return np.swapaxes(np.swapaxes(x, axis, -1) @ np.triu(np.ones((size, size))), axis, -1)


@op(
    "_ -> _",
    numpy=np.cumsum,
    linear=True,
    samples=["3 4", sample("3 4", axis=0), sample("2 3 4", axis=-2), sample("3 1", axis=1), "0 3"],
    textbook=_cumsum_by_matrix,
)
def cumsum(x, *, axis=None):
    r"""Partial sums along an axis; by default of all entries, in a flat array.

    Forward:
        .. math:: y_i = \sum_{j \le i} x_j
    Backward:
        .. math:: \bar x_j = \sum_{i \ge j} \bar y_i
    Derivation:
        .. math:: \bar x_k = \sum_i \bar y_i \sum_{j \le i} \delta_{jk} = \sum_{i \ge k} \bar y_i
        An entry is in every partial sum from its own on: partial sums from the end.
    Source: sum rule of differentiation.

    >>> cumsum(np.array([1.0, 2.0, 4.0]))
    array([1., 3., 7.])
    """
    shape = x.shape

    def gx(gy):
        return np.reshape(np.flip(np.cumsum(np.flip(gy, axis), axis), axis), shape)

    return x.cumsum(axis=axis), (gx,)
