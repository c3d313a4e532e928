"""The windows that a kernel sees as it slides over an input: what convolutions and pooling are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.engine import op, sample
from chainrule.ops.shape import scatter


class Grid(NamedTuple):
    """Where windows lie; sizes have one entry per spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padded: tuple[int, ...]  # sizes of the padded input
    inside: tuple[Any, ...]  # where in the padded input the input lies, as an index
    out: tuple[int, ...]  # how many windows there are

    def seen(self, offset: tuple[int, ...]) -> tuple[Any, ...]:
        """Where in the padded input the entries of all windows lie that have this place in theirs, as an index."""
        starts = [k * d for k, d in zip(offset, self.dilation, strict=True)]
        return (..., *(slice(at, at + s * n, s) for at, s, n in zip(starts, self.stride, self.out, strict=True)))


def per_axis(name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """``value`` for each of the spatial axes; an int stands for all of them.

    >>> per_axis("stride", 2, axes=3)
    (2, 2, 2)
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(values) != axes or not all(isinstance(v, (int, np.integer)) and v >= least for v in values):
        raise ValueError(f"{name} is {value!r}, expected an int of at least {least}, or {axes} of them")
    return values


def grid(size: tuple[int, ...], kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Grid:
    """Where the windows lie over an input with these spatial sizes (see :func:`windows` for the others).

    There are ``(size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1`` of them along an axis.

    Raises:
        ValueError: a window is larger than the padded input; a kernel size, stride or dilation is not positive.

    >>> grid((7, 9), kernel_size=3, stride=2, padding=1).out
    (4, 5)
    """
    axes = len(size)
    if axes == 0:
        raise ValueError("there are no spatial axes, expected (n, c, *spatial)")
    kernel, stride = per_axis("kernel_size", kernel_size, axes), per_axis("stride", stride, axes)
    dilation = per_axis("dilation", dilation, axes)
    sides = padding if isinstance(padding, (tuple, list)) else (padding,) * axes
    if len(sides) != axes:
        raise ValueError(f"padding is {padding!r}, expected an int, or {axes} of them or of pairs")
    borders = [per_axis("padding", side, 2, least=0) for side in sides]
    padded = tuple(before + n + after for n, (before, after) in zip(size, borders, strict=True))
    span = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    if any(s > n for s, n in zip(span, padded, strict=True)):
        dilated = f" with dilation {dilation}" if span != kernel else ""
        raise ValueError(f"the kernel {kernel}{dilated} is larger than the padded input {padded}")
    inside = (..., *(slice(before, before + n) for n, (before, _) in zip(size, borders, strict=True)))
    out = tuple((n - s) // step + 1 for n, s, step in zip(padded, span, stride, strict=True))
    return Grid(kernel, stride, dilation, padded, inside, out)


def _positions(g):
    """Where in the padded input every entry of every window lies, as an index."""
    axes = len(g.out)
    places = [
        s * np.arange(out)[:, None] + d * np.arange(k)
        for out, k, s, d in zip(g.out, g.kernel, g.stride, g.dilation, strict=True)
    ]
    others = [[i for i in range(2 * axes) if i not in (axis, axis + axes)] for axis in range(axes)]
    return (slice(None), slice(None), *map(np.expand_dims, places, others))


def _windows_by_index(x, *, kernel_size, stride=1, padding=0, dilation=1):
    """Every entry of every window looked up in the padded input."""
    g = grid(x.shape[2:], kernel_size, stride, padding, dilation)
    padded = scatter(x, index=g.inside, shape=(*x.shape[:2], *g.padded))
    return padded[_positions(g)]


@op(
    "_ -> _",
    linear=True,
    samples=[
        sample("2 3 5", kernel_size=2),
        sample("2 1 7", kernel_size=3, stride=2, padding=1, dilation=2),
        sample("2 3 4 5", kernel_size=(2, 3), stride=(1, 2), padding=(0, 1)),
        sample("1 2 1 1", kernel_size=3, padding=1),
        sample("2 1 3 4", kernel_size=2, padding=((0, 1), (1, 0)), dilation=(1, 2)),
        sample("0 2 3 3", kernel_size=2),
        sample("1 2 2 3 2", kernel_size=2),
    ],
    textbook=_windows_by_index,
)
def windows(x, *, kernel_size, stride=1, padding=0, dilation=1):
    r"""The windows that a kernel sees as it slides over ``x`` (PyTorch's ``unfold``, in another arrangement).

    A view of the padded input: no entry is copied for every window that it is in.

    Args:
        x: ``(n, c, *spatial)``: examples, channels, and any number of spatial axes.
        kernel_size: size of a window, an int or one per spatial axis.
        stride: from one window to the next.
        padding: zeros around the input; per axis an int, or a pair: how many before and after.
        dilation: from one entry of a window to the next.

    Returns:
        ``(n, c, *out, *kernel_size)``; along an axis there are
        ``(size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1`` windows.

    Raises:
        ValueError: a window is larger than the padded input; a kernel size, stride or dilation is not positive.

    Forward:
        .. math:: y_{ncok} = x_{n,c,\,so + dk - p}
        with stride :math:`s`, dilation :math:`d`, padding :math:`p`; :math:`o` numbers the windows, :math:`k` the
        entries of one. Outside of its bounds :math:`x` is 0. Each spatial axis has its own :math:`o` and :math:`k`.
    Backward:
        .. math:: \bar x_{nci} = \sum_{o, k \,:\, so + dk - p = i} \bar y_{ncok}
        This is :func:`overlap_add`.
    Derivation:
        .. math:: \bar x_{nci} = \sum_{ok} \bar y_{ncok} \frac{\partial x_{n,c,\,so + dk - p}}{\partial x_{nci}}
                  = \sum_{ok} \bar y_{ncok} \, \delta_{so + dk - p,\, i}
        An entry that several windows see gets the sum of their gradients.
    Source: Dumoulin, Visin, *A guide to convolution arithmetic for deep learning* (2016), chapter 2.

    >>> windows(np.array([[[1.0, 2.0, 3.0, 4.0]]]), kernel_size=2)
    array([[[[1., 2.],
             [2., 3.],
             [3., 4.]]]])
    """
    size = x.shape[2:]
    g = grid(size, kernel_size, stride, padding, dilation)
    padded = x
    if g.padded != size:
        padded = np.zeros_like(x, shape=(*x.shape[:2], *g.padded))  # in the memory order of x
        padded[g.inside] = x
    span = tuple(d * (k - 1) + 1 for k, d in zip(g.kernel, g.dilation, strict=True))
    dense = np.lib.stride_tricks.sliding_window_view(padded, span, tuple(range(2, x.ndim)))
    apart: tuple[Any, ...] = (..., *(slice(None, None, step) for step in (*g.stride, *g.dilation)))

    def gx(gy):
        return overlap_add(gy, size=size, stride=stride, padding=padding, dilation=dilation)

    return dense[apart], (gx,)


def _overlap_add_by_index(x, *, size, stride=1, padding=0, dilation=1):
    """Every entry of every window added where it was looked up."""
    axes = (x.ndim - 2) // 2
    g = grid(per_axis("size", size, axes), x.shape[2 + axes :], stride, padding, dilation)
    return scatter(x, index=_positions(g), shape=(*x.shape[:2], *g.padded))[g.inside]


@op(
    "_ -> _",
    linear=True,
    samples=[
        sample("2 3 4 2", size=5),
        sample("2 1 3 3", size=(7,), stride=2, padding=1, dilation=2),
        sample("2 3 3 3 2 3", size=(4, 5), stride=(1, 2), padding=(0, 1)),
        sample("1 2 1 1 3 3", size=1, padding=1),
        sample("2 1 3 3 2 2", size=(3, 4), padding=((0, 1), (1, 0)), dilation=(1, 2)),
        sample("0 2 2 2 2 2", size=3),
    ],
    textbook=_overlap_add_by_index,
)
def overlap_add(x, *, size, stride=1, padding=0, dilation=1):
    r"""Windows added up where they lie, the transpose of :func:`windows` (PyTorch's ``fold``).

    Args:
        x: ``(n, c, *out, *kernel_size)``, as :func:`windows` gives.
        size: spatial size of the result, an int or one per spatial axis.
        stride, padding, dilation: as in :func:`windows`.

    Returns:
        ``(n, c, *size)``, in memory with the channels last if that is how the windows lie.

    Raises:
        ValueError: there are not as many windows as lie over an input of this size.

    Forward:
        .. math:: y_{nci} = \sum_{o, k \,:\, so + dk - p = i} x_{ncok}
        with stride :math:`s`, dilation :math:`d`, padding :math:`p`; what falls into the padding is lost.
    Backward:
        .. math:: \bar x_{ncok} = \bar y_{n,c,\,so + dk - p}
        This is :func:`windows`.
    Derivation:
        .. math:: \bar x_{ncok} = \sum_i \bar y_{nci} \frac{\partial y_{nci}}{\partial x_{ncok}}
                  = \sum_i \bar y_{nci} \, \delta_{so + dk - p,\, i}
    Source: Dumoulin, Visin, *A guide to convolution arithmetic for deep learning* (2016), chapter 4.

    >>> overlap_add(np.array([[[[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]]]), size=4)
    array([[[1., 4., 6., 4.]]])
    """
    axes = (x.ndim - 2) // 2
    kernel_size = x.shape[2 + axes :]
    g = grid(per_axis("size", size, axes), kernel_size, stride, padding, dilation)
    if x.shape[2 : 2 + axes] != g.out:
        raise ValueError(f"over an input of size {size!r} lie {g.out} windows, found {x.shape[2 : 2 + axes]}")
    first = x[(..., *(0,) * axes)]
    padded = np.zeros_like(first, shape=(*x.shape[:2], *g.padded))  # in the memory order of the windows
    for offset in np.ndindex(*g.kernel):
        padded[g.seen(offset)] += x[(..., *offset)]

    def gx(gy):
        return windows(gy, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)

    return padded[g.inside], (gx,)
