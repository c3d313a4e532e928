"""Pooling: one number for each window of an image."""

from __future__ import annotations

import functools
import math
import operator

import numpy as np

from chainrule.engine import kink, op, sample
from chainrule.ops.domains import distinct
from chainrule.ops.windows import grid, overlap_add, per_axis, windows


def placement_of(size, kernel_size, stride, padding, ceil_mode, dilation=1):
    """What :func:`windows` needs to know to lay a pool's windows over images of this size.

    Windows begin at -p, -p + s, ... As many are taken as fit into the padded image. With ``ceil_mode`` one that hangs
    out at the end is taken too, if it begins before the image ends: there the border is widened.
    """
    if 0 in size:
        raise ValueError(f"the images are {size[0]} x {size[1]}, expected at least one pixel")
    kernel, dilation = per_axis("kernel_size", kernel_size, 2), per_axis("dilation", dilation, 2)
    stride = kernel if stride is None else per_axis("stride", stride, 2)
    borders = []
    for n, k, s, p, d in zip(size, kernel, stride, per_axis("padding", padding, 2, least=0), dilation, strict=True):
        if p > k // 2:
            raise ValueError(f"padding is {padding!r}, expected at most half of kernel_size={kernel_size!r}")
        span = d * (k - 1) + 1
        last = -(-(n + 2 * p - span) // s) * s - p
        if last >= n:
            last -= s
        borders.append((p, max(p, last + span - n) if ceil_mode else p))
    placement = {"kernel_size": kernel, "stride": stride, "padding": tuple(borders), "dilation": dilation}
    grid(size, **placement)  # raises where no window fits
    return placement


def _pool_by_hand(x, number, kernel_size, stride, padding, ceil_mode, dilation=1):
    """``number(window, rows, columns)`` for every window, cut out of the image at these rows and columns."""
    places = []
    settings = [v if isinstance(v, tuple) else (v, v) for v in (kernel_size, stride or kernel_size, padding, dilation)]
    for n, k, s, p, d in zip(x.shape[2:], *settings, strict=True):
        end = n + p - d * (k - 1) + (s - 1 if ceil_mode else 0)
        places.append([np.arange(start, start + d * k, d) for start in range(-p, end, s) if start < n])
    down, across = places

    def cut(rows, columns):
        h, w = (along[(along >= 0) & (along < n)] for along, n in zip((rows, columns), x.shape[2:], strict=True))
        return x[:, :, h[:, None], w]

    return np.stack([np.stack([number(cut(r, c), r, c) for c in across], -1) for r in down], -2)


def _max_pool_by_hand(x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """The largest entry of every window, one window after the other."""
    largest = lambda window, rows, columns: window.max((2, 3))
    return _pool_by_hand(x, largest, kernel_size, stride, padding, ceil_mode, dilation)


@op(
    "n c h w -> _",
    domain={"x": distinct},
    samples=[
        sample("2 3 4 6", kernel_size=2),
        sample("2 1 5 4", kernel_size=3, stride=2, padding=1),
        sample("1 2 6 5", kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        sample("1 2 5 4", kernel_size=2, stride=3, ceil_mode=True),
        sample("2 1 1 1", kernel_size=3, padding=1),
        sample("0 2 3 3", kernel_size=2),
    ],
    textbook=_max_pool_by_hand,
    kinks=[
        kink(([[[[1.0, 2.0], [2.0, 0.0]]]],), ([[[[0.0, 1.0], [0.0, 0.0]]]],), kernel_size=2),
        kink(([[[[-np.inf, -np.inf]]]],), ([[[[1.0, 0.0]]]],), kernel_size=3, stride=2, padding=1),
    ],
)
def max_pool2d(x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    r"""The largest entry of every window of an image.

    Args:
        x: images, ``(n, c, h, w)``.
        kernel_size: height and width of a window: an int or a pair, as all others.
        stride: from one window to the next; by default the kernel size.
        padding: the border, at most half a window, which counts as minus infinity.
        dilation: from one entry of a window to the next.
        ceil_mode: also take a window that hangs out at the end, if it begins in the image or the border before it.

    Returns:
        ``(n, c, h_out, w_out)`` with ``h_out = (h + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``,
        rounded up instead of down with ``ceil_mode``; and so the width.

    Raises:
        ValueError: a window is larger than the padded image; more padding than half a window; an empty image.

    Forward:
        .. math:: y_{nco} = \max_k x_{n,c,\,so + dk - p}
        Each of :math:`o`, which numbers the windows, :math:`k`, the entries of one, and of stride :math:`s`, dilation
        :math:`d` and padding :math:`p` stands for two numbers: down and across.
    Backward:
        .. math:: \bar x_{nci} = \sum_{o \,:\, i = so + d k^*_{nco} - p} \bar y_{nco}, \qquad
                  k^*_{nco} = \operatorname{argmax}_k x_{n,c,\,so + dk - p}
    Derivation:
        Around a point where one entry is the largest, the same entry stays the largest: :math:`k^*` is constant, and
        .. math:: y_{nco} = x_{n,c,\,so + dk^* - p} \;\Rightarrow\;
                  \bar x_{nci} = \sum_o \bar y_{nco} \frac{\partial x_{n,c,\,so + dk^* - p}}{\partial x_{nci}}
                  = \sum_o \bar y_{nco} \, \delta_{so + dk^* - p,\, i}
        Written over all entries of every window, that is the transpose of cutting out windows:
        .. math:: \bar x_{nci} = \sum_{ok} \left( \bar y_{nco} \, [k = k^*_{nco}] \right) \delta_{so + dk - p,\, i}
        The winner takes all; one that wins in several windows gets the sum. Where several entries are the largest
        there is no derivative; by convention the first of them, row by row, takes it. A window that holds NaN has the
        maximum NaN, and which of its entries gets the gradient then is not defined.
    Source: Scherer, Müller, Behnke, *Evaluation of pooling operations in convolutional architectures for object
    recognition* (2010); the convention at ties is PyTorch's.

    >>> max_pool2d(np.array([[[[1.0, 2.0, 5.0, 6.0], [4.0, 3.0, 8.0, 7.0]]]]), kernel_size=2)
    array([[[[4., 8.]]]])
    """
    size = x.shape[2:]
    placement = placement_of(size, kernel_size, stride, padding, ceil_mode, dilation)
    kernel = placement.pop("kernel_size")
    seen = windows(x, kernel_size=kernel, **placement)
    inside = windows(np.ones((1, 1, *size), bool), kernel_size=kernel, **placement)
    border = np.where(inside, 0, -np.inf).astype(x.dtype)

    # One pass over the images for each place in a window: reducing over the short last axes would be far slower.
    numbers = np.arange(math.prod(kernel)).reshape(kernel)
    numbers = numbers.astype(np.min_scalar_type(numbers[-1, -1]))
    winner = inside.reshape(*inside.shape[:4], -1).argmax(-1).astype(numbers.dtype)  # the first that is in the image
    y = -np.inf
    for place in np.ndindex(kernel):
        entry = seen[(..., *place)]
        if not inside[(..., *place)].all():
            entry = entry + border[(..., *place)]
        winner = np.maximum(winner, (entry > y) * numbers[place])
        y = np.maximum(entry, y)

    def gx(gy):
        shares = gy * (winner == numbers[..., None, None, None, None])
        return overlap_add(np.transpose(shares, (2, 3, 4, 5, 0, 1)), size=size, **placement)

    return y, (gx,)


def _avg_pool_by_hand(
    x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of every window, one window after the other."""

    def average(window, rows, columns):
        if divisor_override is not None:
            return window.sum((2, 3)) / divisor_override
        if not count_include_pad:
            return window.mean((2, 3))
        (h, w), (p, q) = x.shape[2:], padding if isinstance(padding, tuple) else (padding, padding)
        return window.sum((2, 3)) / ((rows < h + p).sum() * (columns < w + q).sum())

    return _pool_by_hand(x, average, kernel_size, stride, padding, ceil_mode)


@op(
    "n c h w -> _",
    linear=True,
    samples=[
        sample("2 3 4 6", kernel_size=2),
        sample("2 1 5 4", kernel_size=3, stride=2, padding=1),
        sample("1 2 6 5", kernel_size=(3, 2), stride=(2, 1), padding=(1, 0), count_include_pad=False),
        sample("1 2 5 4", kernel_size=(2, 3), stride=3, padding=1, ceil_mode=True),
        sample("2 1 3 3", kernel_size=2, divisor_override=3),
        sample("2 1 1 1", kernel_size=3, padding=1, count_include_pad=False),
        sample("0 2 3 3", kernel_size=2),
    ],
    textbook=_avg_pool_by_hand,
)
def avg_pool2d(
    x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    r"""The mean of every window of an image.

    Args:
        x: images, ``(n, c, h, w)``.
        kernel_size: height and width of a window: an int or a pair, as stride and padding.
        stride: from one window to the next; by default the kernel size.
        padding: the width of the border of zeros, at most half a window.
        ceil_mode: also take a window that hangs out at the end, if it begins in the image or the border before it.
        count_include_pad: divide by the entries in the padded image; else by those in the image.
        divisor_override: divide by this number instead.

    Returns:
        ``(n, c, h_out, w_out)`` with ``h_out = (h + 2 * padding - kernel_size) // stride + 1``, rounded up instead of
        down with ``ceil_mode``; and so the width.

    Raises:
        ValueError: a window is larger than the padded image; more padding than half a window; an empty image; a divisor
            of 0.

    Forward:
        .. math:: y_{nco} = \frac{1}{m_o} \sum_k x_{n,c,\,so + k - p}
        Each of :math:`o`, which numbers the windows, :math:`k`, the entries of one, and of stride :math:`s` and padding
        :math:`p` stands for two numbers: down and across. :math:`m_o` counts the window's entries; those that hang out
        of the padded image do not count.
    Backward:
        .. math:: \bar x_{nci} = \sum_{o, k \,:\, so + k - p = i} \frac{\bar y_{nco}}{m_o}
    Derivation:
        .. math:: \bar x_{nci} = \sum_o \bar y_{nco} \frac{1}{m_o} \sum_k
                  \frac{\partial x_{n,c,\,so + k - p}}{\partial x_{nci}}
                  = \sum_{ok} \frac{\bar y_{nco}}{m_o} \, \delta_{so + k - p,\, i}
        Every entry of a window gets the same share; one that is in several windows gets the sum.
    Source: LeCun, Bottou, Bengio, Haffner, *Gradient-based learning applied to document recognition* (1998); what is
    counted is PyTorch's.

    >>> avg_pool2d(np.array([[[[1.0, 2.0, 5.0, 6.0], [4.0, 3.0, 8.0, 7.0]]]]), kernel_size=2)
    array([[[[2.5, 6.5]]]])
    """
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override=0, expected another number, or None")
    size = x.shape[2:]
    placement = placement_of(size, kernel_size, stride, padding, ceil_mode)
    kernel = placement.pop("kernel_size")
    seen = windows(x, kernel_size=kernel, **placement)
    count = divisor_override
    if count is None:
        border = per_axis("padding", padding, 2, least=0) if count_include_pad else (0, 0)
        counted = np.ones((1, 1, *(n + 2 * p for n, p in zip(size, border, strict=True))), x.dtype)
        rest = tuple((a - p, b - p) for (a, b), p in zip(placement["padding"], border, strict=True))
        count = windows(counted, kernel_size=kernel, **placement | {"padding": rest}).sum((-2, -1))

    def gx(gy):
        share = np.expand_dims(gy / count, (-2, -1))
        return overlap_add(np.broadcast_to(share, (*gy.shape, *kernel)), size=size, **placement)

    # One pass over the images for each place in a window: reducing over the short last axes would be far slower.
    total = functools.reduce(operator.add, (seen[(..., *place)] for place in np.ndindex(kernel)))
    return total / count, (gx,)


def _averages(size, out, dtype):
    """The matrix ``(out, size)`` that averages ``out`` parts of an axis, of sizes as equal as can be."""
    i, places = np.arange(out)[:, None], np.arange(size)
    start, end = i * size // out, -(-(i + 1) * size // out)
    return (((start <= places) & (places < end)) / (end - start)).astype(dtype)


def _adaptive_avg_pool_by_hand(x, *, output_size):
    """The mean of every part of the image, one part after the other."""
    given = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    h, w = (n if o is None else o for n, o in zip(x.shape[2:], given, strict=True))

    def part(i, n, out):
        return slice(math.floor(i * n / out), math.ceil((i + 1) * n / out))

    parts = [[x[:, :, part(i, x.shape[2], h), part(j, x.shape[3], w)] for j in range(w)] for i in range(h)]
    return np.stack([np.stack([part.mean((2, 3)) for part in row], -1) for row in parts], -2)


@op(
    "n c h w -> _",
    linear=True,
    samples=[
        sample("2 3 4 5", output_size=1),
        sample("2 1 5 7", output_size=(2, 3)),
        sample("1 2 3 4", output_size=(None, 2)),
        sample("1 2 2 1", output_size=3),
        sample("0 2 3 3", output_size=2),
    ],
    textbook=_adaptive_avg_pool_by_hand,
)
def adaptive_avg_pool2d(x, *, output_size):
    r"""The means of parts of an image, as many as are wanted: with ``output_size=1`` the mean of each channel.

    Args:
        x: images, ``(n, c, h, w)``.
        output_size: how many parts, down and across: an int or a pair. None keeps the size of the image.

    Returns:
        ``(n, c, *output_size)``.

    Raises:
        ValueError: a size that is not positive; an empty image.

    Forward:
        .. math:: Y = A X B^\top, \qquad y_{ncij} = \sum_{kl} a_{ik} x_{nckl} b_{jl}
        Row :math:`i` of :math:`A` averages part :math:`i` of the :math:`h` rows: with :math:`o` parts it holds
        :math:`1 / m_i` from :math:`\lfloor i h / o \rfloor` to before :math:`\lceil (i + 1) h / o \rceil`, which are
        :math:`m_i` entries, and else 0. So does :math:`B` for the columns. Parts overlap where :math:`o` does not
        divide :math:`h`.
    Backward:
        .. math:: \bar X = A^\top \bar Y B
    Derivation:
        .. math:: \bar x_{ncpq} = \sum_{ij} \bar y_{ncij} \sum_{kl} a_{ik} \, \delta_{kp} \delta_{lq} \, b_{jl}
                  = \sum_{ij} a_{ip} \, \bar y_{ncij} \, b_{jq} = (A^\top \bar Y B)_{pq}
    Source: Lin, Chen, Yan, *Network in network* (2014), section 3.2; the parts are PyTorch's.

    >>> adaptive_avg_pool2d(np.array([[[[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]]]), output_size=(1, 2))
    array([[[[2.5, 3.5]]]])
    """
    size = x.shape[2:]
    if 0 in size:
        raise ValueError(f"adaptive_avg_pool2d: the images are {size[0]} x {size[1]}, expected at least one pixel")
    out = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(out) != 2 or any(o is not None and o < 1 for o in out):
        raise ValueError(
            f"adaptive_avg_pool2d: output_size is {output_size!r}, expected one or two positive ints or None"
        )
    A, B = (_averages(n, n if o is None else o, x.dtype) for n, o in zip(size, out, strict=True))

    def gx(gy):
        return A.T @ gy @ B

    return A @ x @ B.T, (gx,)
