"""The same numbers in another arrangement: shapes, axes, parts, joins."""

from __future__ import annotations

import itertools
import math
import operator
import types

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from chainrule.engine import Tensor, implements, op, sample
from chainrule.ops.broadcast import sum_to

# ------------------------------------------------------------------------------------------------- shapes and axes


@op(
    "_ -> _",
    numpy=np.reshape,
    linear=True,
    samples=[
        sample("3 4", shape=(2, 6)),
        sample("3 4", shape=-1),
        sample("2 3 4", shape=(-1, 2)),
        sample("", shape=(1, 1)),
        sample("0 3", shape=(3, 0, 2)),
    ],
)
def reshape(x, *, shape):
    r"""The same entries in the same order (C order, the last index fastest) in another shape; one size may be -1.

    Forward:
        .. math:: y_{\pi(i)} = x_i
    Backward:
        .. math:: \bar x_i = \bar y_{\pi(i)}
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_{\pi(i)} \frac{\partial x_i}{\partial x_j}
                  = \sum_i \bar y_{\pi(i)} \delta_{ij} = \bar y_{\pi(j)}
        :math:`\pi` sends an index of :math:`x` to that of :math:`y` at the same place in C order.
    Source: chain rule.

    >>> reshape(np.array([1.0, 2.0, 3.0, 4.0]), shape=(2, -1))
    array([[1., 2.],
           [3., 4.]])
    """
    before = x.shape

    def gx(gy):
        return np.reshape(gy, before)

    return np.reshape(x, shape), (gx,)


@op(
    "_ -> _",
    numpy=np.transpose,
    linear=True,
    samples=[
        "3 4",
        "2 3 4",
        sample("2 3 4 5", axes=(1, -1, 0, 2)),
        "5",
        sample("", axes=()),
        sample("0 3", axes=(1, 0)),
    ],
)
def transpose(x, *, axes=None):
    r"""The axes in another order; by default reversed.

    Forward:
        .. math:: Y = X^\top, \qquad y_{ij} = x_{ji}
    Backward:
        .. math:: \bar X = \bar Y^\top, \qquad \bar x_{ji} = \bar y_{ij}
    Derivation:
        .. math:: \bar x_{kl} = \sum_{ij} \bar y_{ij} \frac{\partial x_{ji}}{\partial x_{kl}}
                  = \sum_{ij} \bar y_{ij} \delta_{jk} \delta_{il} = \bar y_{lk}
        With more axes, the inverse permutation takes the place of the transpose.
    Source: chain rule.

    >>> transpose(np.array([[1.0, 2.0, 3.0]])).shape
    (3, 1)
    """
    y = np.transpose(x, axes)
    inverse = None if axes is None else np.argsort(normalize_axis_tuple(axes, x.ndim)).tolist()

    def gx(gy):
        return np.transpose(gy, inverse)

    return y, (gx,)


def _permuted_by(move, x, *args, **kwargs):
    """``x`` with its axes in the order in which ``move`` puts those of an array that has the sizes 0, 1, 2, ..."""
    return np.transpose(x, move(np.broadcast_to(0, range(x.ndim)), *args, **kwargs).shape)


@implements(np.swapaxes)
def _swapaxes(a, *args, **kwargs):
    return _permuted_by(np.swapaxes, a, *args, **kwargs)


@implements(np.moveaxis)
def _moveaxis(a, *args, **kwargs):
    return _permuted_by(np.moveaxis, a, *args, **kwargs)


@implements(np.ravel)
def _ravel(a):
    return np.reshape(a, -1)


@implements(np.atleast_1d)
def _atleast_1d(x):
    return np.reshape(x, np.atleast_1d(x.value).shape)


@implements(np.atleast_2d)
def _atleast_2d(x):
    return np.reshape(x, np.atleast_2d(x.value).shape)


@op(
    "_ -> _",
    numpy=np.broadcast_to,
    linear=True,
    samples=[
        sample("4", shape=(3, 4)),
        sample("3 1", shape=(2, 3, 4)),
        sample("", shape=(3,)),
        sample("1 3", shape=(0, 3)),
        sample("3 4", shape=(3, 4)),
    ],
    textbook=lambda x, shape: x + np.zeros(shape),
)
def broadcast_to(x, *, shape):
    r"""Copies of the entries along new axes, in front, and along axes of size 1 (the studies' Expand).

    Forward:
        .. math:: y_{ij} = x_j
    Backward:
        .. math:: \bar x_j = \sum_i \bar y_{ij}
    Derivation:
        .. math:: \bar x_k = \sum_{ij} \bar y_{ij} \frac{\partial x_j}{\partial x_k}
                  = \sum_{ij} \bar y_{ij} \delta_{jk} = \sum_i \bar y_{ik}
        Copying and summing are each other's transpose.
    Source: sum rule of differentiation.

    >>> broadcast_to(np.array([1.0, 2.0]), shape=(3, 2))
    array([[1., 2.],
           [1., 2.],
           [1., 2.]])
    """
    before = x.shape

    def gx(gy):
        return sum_to(gy, before)

    return np.broadcast_to(x, shape), (gx,)


@op(
    "_ -> _",
    numpy=np.squeeze,
    linear=True,
    samples=["1 3 1", sample("1 3 1", axis=0), sample("1 3 1", axis=(0, -1)), "1", "0 1"],
)
def squeeze(x, *, axis=None):
    r"""Without axes of size 1: these, or all.

    Forward:
        .. math:: y_i = x_{i1}
    Backward:
        .. math:: \bar x_{i1} = \bar y_i
    Derivation:
        .. math:: \bar x_{k1} = \sum_i \bar y_i \frac{\partial x_{i1}}{\partial x_{k1}}
                  = \sum_i \bar y_i \delta_{ik} = \bar y_k
    Source: chain rule.

    >>> squeeze(np.ones((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    before = x.shape

    def gx(gy):
        return np.reshape(gy, before)

    return np.squeeze(x, axis), (gx,)


@op(
    "_ -> _",
    linear=True,
    samples=[sample("3 4", dim=0), sample("3 4", dim=-1), sample("2 3", dim=(0, 2)), sample("", dim=0)],
)
def unsqueeze(x, *, dim):
    r"""With a new axis of size 1 at ``dim``; a tuple makes several (``np.expand_dims``).

    Forward:
        .. math:: y_{i1} = x_i
    Backward:
        .. math:: \bar x_i = \bar y_{i1}
    Derivation:
        .. math:: \bar x_k = \sum_i \bar y_{i1} \frac{\partial x_i}{\partial x_k}
                  = \sum_i \bar y_{i1} \delta_{ik} = \bar y_{k1}
    Source: chain rule.

    >>> unsqueeze(np.array([1.0, 2.0]), dim=1).shape
    (2, 1)
    """
    before = x.shape

    def gx(gy):
        return np.reshape(gy, before)

    return np.expand_dims(x, dim), (gx,)


@implements(np.expand_dims)
def _expand_dims(a, axis):
    return unsqueeze(a, dim=axis)


@implements(np.full_like)
def _full_like(a, fill_value):
    return np.zeros_like(a) + fill_value


@op("_ -> _", numpy=np.astype, linear=True, samples=[sample("3 4", dtype="float64"), sample("0 3", dtype=np.float64)])
def astype(x, *, dtype):
    r"""The same numbers in another precision.

    Forward:
        .. math:: y_i = x_i
    Backward:
        .. math:: \bar x_i = \bar y_i
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \delta_{ij} = \bar y_j
        Rounding is ignored. Integers have no gradient: a Tensor that becomes one ends its graph.

    Raises:
        TypeError: complex numbers were to become real.

    Source: the identity.

    >>> astype(np.array([1.0, 2.0]), dtype=np.float32)
    array([1., 2.], dtype=float32)
    """
    before, dtype = x.dtype, np.dtype(dtype)
    if before.kind == "c" != dtype.kind:
        raise TypeError(f"astype: x is {before}; as {dtype} its imaginary part would be lost, expected complex")

    def gx(gy):
        return astype(gy, dtype=before)

    return x.astype(dtype), (gx,)


# ----------------------------------------------------------------------------------------------- parts and their places


def _names_no_entry_twice(index):
    """Is this index made of integers, slices, None, Ellipsis and masks? Only integer arrays can repeat an entry."""
    parts = index if isinstance(index, tuple) else (index,)
    plain = (int, np.integer, slice, types.NoneType, types.EllipsisType)
    return all(isinstance(part, plain) or getattr(part, "dtype", None) == np.bool for part in parts)


def _selection(shape, index):
    """The matrix of zeros and ones that selects: its rows belong to the selected entries, its columns to all."""
    return np.eye(math.prod(shape))[np.arange(math.prod(shape)).reshape(shape)[index]]


MASK = np.array([[True, False, True, True], [False, False, True, False], [True, True, False, False]])
INDICES = (
    ("3 4", 1),
    ("3 4", (slice(None), slice(None, None, -2))),
    ("3 4", (..., None, -1)),
    ("3 4", (2, 3)),
    ("3 4", MASK),
    ("3 4", [2, 0, 2]),
    ("3 4", (np.array([[0, 2], [0, 0]]), np.array([1, -1]))),
    ("2 3 4", (slice(1), np.array([2, 2]), None, np.array([[0], [0]]))),
    ("3 4 5", (MASK, slice(1, 4))),
    ("3 4", slice(2, 2)),
    ("0 4", (slice(None), 1)),
    ("", ()),
)


@op(
    "_ -> _",
    linear=True,
    samples=[sample(shape, index=index) for shape, index in INDICES],
    textbook=lambda x, index: _selection(x.shape, index) @ np.ravel(x),
)
def getitem(x, *, index):
    r"""A part of an array, ``x[index]`` (the studies' Select).

    Args:
        x: any shape.
        index: what NumPy takes between the brackets: integers, slices, None, Ellipsis, boolean masks, integer arrays,
            and tuples of them.

    Raises:
        IndexError: an index is out of bounds, or there are more than axes.

    Forward:
        .. math:: y_i = x_{p(i)}
    Backward:
        .. math:: \bar x_j = \sum_{i : p(i) = j} \bar y_i
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial x_{p(i)}}{\partial x_j} = \sum_i \bar y_i \, \delta_{p(i) j}
        The gradient goes back to where the entry came from. One that was selected several times gets the sum; one that
        was not gets 0.
    Source: chain rule.

    >>> getitem(np.array([1.0, 2.0, 3.0]), index=[2, 0, 2])
    array([3., 1., 3.])
    """
    shape = x.shape

    def gx(gy):
        return scatter(gy, index=index, shape=shape)

    return x[index], (gx,)


@implements(operator.getitem)
def _bracket(x, index):
    parts = index if isinstance(index, tuple) else (index,)
    return getitem(x, index=tuple(part.value if isinstance(part, Tensor) else part for part in parts))


@implements(np.flip)
def _flip(m, axis=None):
    flipped = range(m.ndim) if axis is None else normalize_axis_tuple(axis, m.ndim)
    return m[tuple(slice(None, None, -1 if i in flipped else 1) for i in range(m.ndim))]


@op(
    "_ -> _",
    linear=True,
    samples=[
        sample("4", index=1, shape=(3, 4)),
        sample("3 2", index=(slice(None), slice(1, 3)), shape=(3, 4)),
        sample("3 4", index=[2, 0, 2], shape=(3, 4)),
        sample("6", index=MASK, shape=(3, 4)),
        sample("2", index=([1, 1], [0, 0]), shape=(3, 4)),
        sample("0", index=slice(0), shape=(3,)),
    ],
    textbook=lambda x, index, shape: np.reshape(
        np.ravel(x) @ _selection(shape, index).reshape(x.size, math.prod(shape)), shape
    ),
)
def scatter(x, *, index, shape):
    r"""Zeros of ``shape`` to which ``x`` is added at ``index``: the transpose of taking ``y[index]``.

    Args:
        x: of the shape of ``y[index]``, or one that broadcasts to it.
        index: as in :func:`getitem`; where it names an entry several times, all that lands there adds up.
        shape: the shape of the result.

    Forward:
        .. math:: y_j = \sum_{i : p(i) = j} x_i
    Backward:
        .. math:: \bar x_i = \bar y_{p(i)}
    Derivation:
        .. math:: \bar x_k = \sum_j \bar y_j \sum_i \delta_{p(i) j} \frac{\partial x_i}{\partial x_k}
                  = \sum_j \bar y_j \, \delta_{p(k) j} = \bar y_{p(k)}
    Source: sum rule of differentiation.

    >>> scatter(np.array([1.0, 2.0, 3.0]), index=[2, 0, 2], shape=(4,))
    array([2., 0., 4., 0.])
    """
    before = x.shape
    y = np.zeros(shape, x.dtype)
    if _names_no_entry_twice(index):
        y[index] = x
    else:
        np.add.at(y, index, x)

    def gx(gy):
        return sum_to(gy[index], before)

    return y, (gx,)


def _pad_by_scatter(x, *, pad_width, constant_values=0):
    """What the border holds, everywhere; and added to it, inside, what is missing to ``x``."""
    inside = np.pad(np.ones(x.shape, bool), pad_width)
    return constant_values + scatter(np.ravel(x - constant_values), index=inside, shape=inside.shape)


@op(
    "_ -> _",
    samples=[
        sample("3 4", pad_width=1),
        sample("3 4", pad_width=((0, 2), (1, 0)), constant_values=-3),
        sample("2 3 4", pad_width=(2, 1)),
        sample("0 3", pad_width=((1, 1), (0, 0))),
    ],
    textbook=_pad_by_scatter,
)
def pad(x, *, pad_width, constant_values=0):
    r"""The array with a constant border.

    Args:
        x: any shape.
        pad_width: as in ``np.pad``: ``((before, after), ...)`` for every axis, or one pair or one number for all.
        constant_values: what the border holds.

    Forward:
        .. math:: y_i = x_{i - a} \quad \text{inside}, \qquad y_i = c \quad \text{in the border}
    Backward:
        .. math:: \bar x_i = \bar y_{i + a}
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial x_{i - a}}{\partial x_j}
                  = \sum_i \bar y_i \, \delta_{i - a, j} = \bar y_{j + a}
        Here :math:`a` is the width of the border before the array. The border is constant and has no gradient.
    Source: chain rule.

    >>> pad(np.array([1.0, 2.0]), pad_width=(1, 2))
    array([0., 1., 2., 0., 0.])
    """
    y = np.pad(x, pad_width, constant_values=constant_values)
    before = np.broadcast_to(pad_width, (x.ndim, 2))[:, 0]
    inside = tuple(slice(start, start + size) for start, size in zip(before, x.shape, strict=True))

    def gx(gy):
        return gy[inside]

    return y, (gx,)


@implements(np.pad)
def _pad(array, pad_width, mode="constant", constant_values=0):
    if mode != "constant":
        raise ValueError(f"pad: mode={mode!r}, expected 'constant'")
    return pad(array, pad_width=pad_width, constant_values=constant_values)


# --------------------------------------------------------------------------------------------------------------- joins


def _concatenate_by_padding(*xs, axis=0):
    """The sum of the arrays, each padded with zeros where the others stand."""
    sizes = [x.shape[axis] for x in xs]
    padded = []
    for i, x in enumerate(xs):
        width = [(0, 0)] * x.ndim
        width[axis] = (sum(sizes[:i]), sum(sizes[i + 1 :]))
        padded.append(np.pad(x, width))
    return sum(padded)


@op(
    "_ -> _",
    linear=True,
    samples=["3 4, 2 4", sample("3 4, 3 1, 3 5", axis=1), sample("2 3 4, 2 2 4", axis=-2), "5", "0 3, 2 3"],
    textbook=_concatenate_by_padding,
)
def concatenate(*xs, axis=0):
    r"""The arrays one after the other along an axis that they all have (``np.concatenate`` of a list).

    Forward:
        .. math:: y_{i + s_k} = x^{(k)}_i, \qquad s_k = \sum_{l < k} n_l
    Backward:
        .. math:: \bar x^{(k)}_i = \bar y_{i + s_k}
    Derivation:
        .. math:: \bar x^{(k)}_j = \sum_i \bar y_{i + s_k} \frac{\partial x^{(k)}_i}{\partial x^{(k)}_j}
                  = \sum_i \bar y_{i + s_k} \delta_{ij} = \bar y_{j + s_k}
        Array :math:`k` has :math:`n_k` entries along the axis and starts at :math:`s_k`.
    Source: chain rule.

    >>> concatenate(np.array([1.0, 2.0]), np.array([3.0]))
    array([1., 2., 3.])
    """
    y = np.concatenate(xs, axis)
    before = (slice(None),) * normalize_axis_index(axis, y.ndim)
    ends = list(itertools.accumulate(x.shape[axis] for x in xs))

    def part(start, end):
        return lambda gy: gy[(*before, slice(start, end))]

    return y, tuple(part(start, end) for start, end in zip([0, *ends], ends, strict=False))


@implements(np.concatenate)
def _concatenate(arrays, axis=0):
    return concatenate(*arrays, axis=axis)


@op(
    "_ -> _",
    linear=True,
    samples=["3 4, 3 4", sample("3 4, 3 4, 3 4", axis=1), sample("2 3, 2 3", axis=-1), ", , ", "0"],
    textbook=lambda *xs, axis=0: np.concatenate([np.expand_dims(x, axis) for x in xs], axis),
)
def stack(*xs, axis=0):
    r"""Arrays of one shape, side by side along a new axis (``np.stack`` of a list).

    Forward:
        .. math:: y_{ki} = x^{(k)}_i
    Backward:
        .. math:: \bar x^{(k)}_i = \bar y_{ki}
    Derivation:
        .. math:: \bar x^{(k)}_j = \sum_i \bar y_{ki} \frac{\partial x^{(k)}_i}{\partial x^{(k)}_j}
                  = \sum_i \bar y_{ki} \delta_{ij} = \bar y_{kj}
    Source: chain rule.

    >>> stack(np.array([1.0, 2.0]), np.array([3.0, 4.0]), axis=1)
    array([[1., 3.],
           [2., 4.]])
    """
    y = np.stack(xs, axis)
    before = (slice(None),) * normalize_axis_index(axis, y.ndim)

    def part(k):
        return lambda gy: gy[(*before, k)]

    return y, tuple(part(k) for k in range(len(xs)))


@implements(np.stack)
def _stack(arrays, axis=0):
    return stack(*arrays, axis=axis)
