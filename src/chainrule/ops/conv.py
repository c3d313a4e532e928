"""Convolutions and transposed convolutions: matrix products with the windows that a kernel sees.

Written once for any number of spatial axes. The windows become the rows of a matrix, one for each group of channels,
and each map and each gradient is one product with it. In a row the channels come last: the windows of an input whose
memory has the channels last are copied in long runs, those of a 1 by 1 kernel not at all. Results are views of such
memory, in PyTorch's order of axes.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule.engine import op, sample
from chainrule.ops.shape import scatter
from chainrule.ops.windows import grid, overlap_add, per_axis, windows


def _rows(x, groups, axes):
    """``(n, c, *out, *kernel)`` as ``(groups, n * out, kernel * c / groups)``; ``out`` has this many axes."""
    n, c, *rest = x.shape
    grouped = np.reshape(x, (n, groups, c // groups, *rest))
    last = np.moveaxis(np.moveaxis(grouped, 2, -1), 1, 0)
    return np.reshape(last, (groups, n * math.prod(rest[:axes]), math.prod(rest[axes:]) * (c // groups)))


def _unrows(rows, shape):
    """The inverse of :func:`_rows`."""
    groups, (n, c, *rest) = rows.shape[0], shape
    last = np.reshape(rows, (groups, n, *rest, c // groups))
    return np.reshape(np.moveaxis(np.moveaxis(last, 0, 1), -1, 2), shape)


def _matrices(weight, groups):
    """``(m, c, *kernel)`` as ``(groups, m / groups, kernel * c)``."""
    m, c, *kernel = weight.shape
    return np.reshape(np.moveaxis(weight, 1, -1), (groups, m // groups, math.prod(kernel) * c))


def _unmatrices(matrices, shape):
    """The inverse of :func:`_matrices`."""
    m, c, *kernel = shape
    return np.moveaxis(np.reshape(matrices, (m, *kernel, c)), -1, 1)


def _transposed(matrices):
    return np.swapaxes(matrices, -1, -2)


def _plus(y, bias):
    return y if bias is None else y + np.reshape(bias, (-1, *(1,) * (y.ndim - 2)))


def _sum_per_channel(gy):
    return gy.sum((0, *range(2, gy.ndim)))


def _borders(padding, kernel, stride, dilation):
    """``padding`` in numbers: ``"same"`` keeps the size, what is odd is put behind the input, as in PyTorch."""
    if padding == "valid":
        return 0
    if padding != "same":
        return padding
    if any(s != 1 for s in per_axis("stride", stride, len(kernel))):
        raise ValueError(f"padding is 'same' and stride {stride!r}, expected stride 1")
    spans = [d * (k - 1) for k, d in zip(kernel, per_axis("dilation", dilation, len(kernel)), strict=True)]
    return tuple((span // 2, span - span // 2) for span in spans)


def _convolution(x, weight, bias, stride, padding, dilation, groups):
    (n, c, *size), (m, depth, *kernel) = x.shape, weight.shape
    if groups < 1 or m % groups or depth * groups != c:
        expected = f"(m, {c} / groups, ...) for the {c} channels of x, with m a multiple of groups = {groups}"
        raise ValueError(f"weight has shape {weight.shape}, expected {expected}")
    where = {"stride": stride, "padding": _borders(padding, kernel, stride, dilation), "dilation": dilation}
    out, axes = grid(size, kernel, **where).out, len(size)
    columns = _rows(windows(x, kernel_size=kernel, **where), groups, axes)
    matrices = _matrices(weight, groups)
    y = _unrows(columns @ _transposed(matrices), (n, m, *out))

    def gx(gy):
        gcolumns = _unrows(_rows(gy, groups, axes) @ matrices, (n, c, *out, *kernel))
        return overlap_add(gcolumns, size=size, **where)

    def gweight(gy):
        return _unmatrices(_transposed(_rows(gy, groups, axes)) @ columns, weight.shape)

    def gbias(gy):
        return _sum_per_channel(gy)

    return _plus(y, bias), (gx, gweight, gbias)


def _by_group(weight, groups):
    """``(m, c, *kernel)`` as ``(groups, m / groups, c, *kernel)``."""
    return np.reshape(weight, (groups, weight.shape[0] // groups, *weight.shape[1:]))


def _convolution_by_shifts(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """The sum, over the entries of the kernel, of the input shifted by it times the entry's matrix."""
    (n, c, *size), (m, _, *kernel) = x.shape, weight.shape
    g = grid(size, kernel, stride, _borders(padding, kernel, stride, dilation), dilation)
    padded = scatter(x, index=g.inside, shape=(n, c, *g.padded))
    grouped = np.reshape(padded, (n, groups, c // groups, *g.padded))
    y = sum(
        np.einsum("ngc...,gmc->ngm...", grouped[g.seen(k)], _by_group(weight, groups)[(..., *k)])
        for k in np.ndindex(*kernel)
    )
    return _plus(np.reshape(y, (n, m, *g.out)), bias)


@op(
    "n c l, m d k, m -> _",
    samples=[
        sample("2 3 5, 4 3 2, 4"),
        sample("2 4 7, 6 2 3, 6", stride=2, padding=1, dilation=2, groups=2),
        sample("1 3 1, 3 1 2", padding="same", groups=3),
    ],
    textbook=_convolution_by_shifts,
)
def conv1d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    r"""A convolution over one spatial axis: at every place, the kernel times the window that it sees there.

    As in all deep-learning libraries the kernel is not flipped: strictly, this is a cross-correlation.

    Args:
        x: ``(n, c, length)``: examples, channels, places.
        weight: the kernel, ``(m, c / groups, kernel_size)``.
        bias: ``(m,)``, or None.
        stride: from one window to the next.
        padding: zeros at both ends, or ``"valid"`` (none) or ``"same"`` (as many as keep the length; stride 1 only).
        dilation: from one entry of a window to the next.
        groups: this many convolutions side by side, each of ``c / groups`` channels to ``m / groups``.

    Returns:
        ``(n, m, out)`` with ``out = (length + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``.

    Raises:
        ValueError: the channels do not fit the weight and the groups, or the kernel is larger than the padded input.

    Forward:
        .. math:: y_{nmo} = \sum_{ck} x_{n,c,\,so + dk - p} \, w_{mck} + b_m
        with stride :math:`s`, dilation :math:`d`, padding :math:`p`. Outside of its bounds :math:`x` is 0. With groups,
        :math:`c` runs over the channels in the group of :math:`m`.
    Backward:
        .. math::
            \bar x_{nci} &= \sum_{ok \,:\, so + dk - p = i} \; \sum_m \bar y_{nmo} w_{mck} \\
            \bar w_{mck} &= \sum_{no} \bar y_{nmo} \, x_{n,c,\,so + dk - p} \\
            \bar b_m &= \sum_{no} \bar y_{nmo}
    Derivation:
        .. math::
            \bar x_{nci} &= \sum_{mo} \bar y_{nmo} \frac{\partial y_{nmo}}{\partial x_{nci}}
                          = \sum_{mok} \bar y_{nmo} \, \delta_{so + dk - p,\, i} \, w_{mck} \\
            \bar w_{acj} &= \sum_{nmo} \bar y_{nmo} \sum_k x_{n,c,\,so + dk - p} \, \delta_{ma} \delta_{kj}
                          = \sum_{no} \bar y_{nao} \, x_{n,c,\,so + dj - p} \\
            \bar b_a &= \sum_{nmo} \bar y_{nmo} \, \delta_{ma} = \sum_{no} \bar y_{nao}
        For stride and dilation 1 the first is
        :math:`\bar x_{nci} = \sum_{mk} \bar y_{n,m,\,i + p - k} \, w_{mck}`: a convolution of :math:`\bar y` with the
        flipped kernel, and with input and output channels exchanged. The second is a convolution of :math:`x` in which
        :math:`\bar y` is the kernel.
    Source: Dumoulin, Visin, *A guide to convolution arithmetic for deep learning* (2016), chapters 2 and 4.

    >>> conv1d(np.array([[[1.0, 2.0, 4.0, 8.0]]]), np.array([[[-1.0, 1.0]]]))
    array([[[1., 2., 4.]]])
    """
    return _convolution(x, weight, bias, stride, padding, dilation, groups)


@op(
    "n c h w, m d k l, m -> _",
    samples=[
        sample("2 3 4 5, 4 3 2 3, 4"),
        sample("2 4 5 4, 6 2 3 2, 6", stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        sample("2 3 3 2, 3 1 2 2", padding="same", groups=3),
        sample("2 3 1 1, 2 3 3 3", padding=1),
        sample("2 3 2 3, 4 3 1 1, 4"),
        sample("0 2 3 3, 3 2 2 2, 3"),
    ],
    textbook=_convolution_by_shifts,
)
def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    r"""A convolution of images: at every place, the kernel times the window that it sees there.

    As in all deep-learning libraries the kernel is not flipped: strictly, this is a cross-correlation.

    Args:
        x: ``(n, c, h, w)``: examples, channels, rows, columns.
        weight: the kernel, ``(m, c / groups, *kernel_size)``.
        bias: ``(m,)``, or None.
        stride, padding, dilation: as in :func:`conv1d`; an int for both spatial axes, or one for each.
        groups: this many convolutions side by side, each of ``c / groups`` channels to ``m / groups``; with
            ``groups = c`` every channel has its own kernels (depthwise).

    Returns:
        ``(n, m, *out)`` with ``out = (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1`` per axis.

    Raises:
        ValueError: the channels do not fit the weight and the groups, or the kernel is larger than the padded input.

    Forward:
        .. math:: y_{nmij} = \sum_{cuv} x_{n,c,\,si + du - p,\,sj + dv - p} \, w_{mcuv} + b_m
        with stride :math:`s`, dilation :math:`d`, padding :math:`p` (each axis has its own). Outside of its bounds
        :math:`x` is 0. With groups, :math:`c` runs over the channels in the group of :math:`m`.
    Backward:
        .. math::
            \bar x_{ncab} &= \sum_{iu \,:\, si + du - p = a} \; \sum_{jv \,:\, sj + dv - p = b} \;
                             \sum_m \bar y_{nmij} \, w_{mcuv} \\
            \bar w_{mcuv} &= \sum_{nij} \bar y_{nmij} \, x_{n,c,\,si + du - p,\,sj + dv - p} \\
            \bar b_m &= \sum_{nij} \bar y_{nmij}
    Derivation:
        .. math::
            \bar x_{ncab} &= \sum_{mij} \bar y_{nmij} \frac{\partial y_{nmij}}{\partial x_{ncab}}
                           = \sum_{mijuv} \bar y_{nmij} \, \delta_{si + du - p,\, a} \, \delta_{sj + dv - p,\, b}
                             \, w_{mcuv} \\
            \bar w_{kcab} &= \sum_{nmij} \bar y_{nmij} \sum_{uv} x_{n,c,\,si + du - p,\,sj + dv - p} \,
                             \delta_{mk} \delta_{ua} \delta_{vb}
                           = \sum_{nij} \bar y_{nkij} \, x_{n,c,\,si + da - p,\,sj + db - p} \\
            \bar b_k &= \sum_{nmij} \bar y_{nmij} \, \delta_{mk} = \sum_{nij} \bar y_{nkij}
        For stride and dilation 1 the first is
        :math:`\bar x_{ncab} = \sum_{muv} \bar y_{n,m,\,a + p - u,\,b + p - v} \, w_{mcuv}`: a convolution of
        :math:`\bar y` with the flipped kernel, and with input and output channels exchanged; for any stride it is
        :func:`conv_transpose2d`. The second is a convolution of :math:`x` in which :math:`\bar y` is the kernel.

        As matrices: with a window in each row of :math:`X`, :math:`Y = X W^\top`. Hence :math:`\bar W = \bar Y^\top X`
        and :math:`\bar X = \bar Y W`, whose rows are added up where their windows lie.
    Source: Dumoulin, Visin, *A guide to convolution arithmetic for deep learning* (2016), chapters 2 and 4.

    >>> image = np.array([[[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]])
    >>> conv2d(image, np.array([[[[-1.0, 1.0]]]]))  # where does it get brighter to the right?
    array([[[[0., 1.],
             [0., 1.]]]])
    """
    return _convolution(x, weight, bias, stride, padding, dilation, groups)


def _transposed_by_flipping(x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Zeros between the entries, ``stride - 1`` of them, and an ordinary convolution with the flipped kernel."""
    stride, dilation, padding, extra = (per_axis("", v, 2, 0) for v in (stride, dilation, padding, output_padding))
    spread = [(size - 1) * s + 1 + e for size, s, e in zip(x.shape[2:], stride, extra, strict=True)]
    apart = scatter(x, index=(..., *(slice(None, None, s) for s in stride)), shape=(*x.shape[:2], *spread))
    flipped = np.swapaxes(_by_group(weight, groups), 1, 2)[..., ::-1, ::-1]
    kernel = np.reshape(flipped, (-1, x.shape[1] // groups, *weight.shape[2:]))
    border = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    y = conv2d(apart, kernel, bias, padding=border, dilation=dilation, groups=groups)
    return y[(..., *(slice(p, size - p) for p, size in zip(padding, y.shape[2:], strict=True)))]


@op(
    "n c h w, c d k l, m -> _",
    samples=[
        sample("2 3 2 3, 3 4 2 3, 4"),
        sample("2 4 3 2, 4 3 3 2, 6", stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2, dilation=(1, 2)),
        sample("1 3 1 1, 3 1 2 2", groups=3),
        sample("2 3 3 2, 3 2 3 3", padding=1),
        sample("0 2 3 3, 2 3 2 2, 3"),
    ],
    textbook=_transposed_by_flipping,
)
def conv_transpose2d(x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    r"""The transpose of :func:`conv2d`: every entry stamps the kernel, times itself, onto a larger image.

    Args:
        x: ``(n, c, h, w)``: examples, channels, rows, columns.
        weight: ``(c, m / groups, *kernel_size)``: as that of the convolution from ``m`` to ``c`` channels.
        bias: ``(m,)``, or None.
        stride, dilation: from one stamp to the next, and from one entry of a stamp to the next.
        padding: rows and columns cut off on all sides: as many as the convolution would have put there.
        output_padding: rows and columns that are cut off less at the end; smaller than the stride. A convolution with a
            stride has the same output for several sizes of its input; this says which.
        groups: this many side by side, each of ``c / groups`` channels to ``m / groups``.

    Returns:
        ``(n, m, *out)``; per axis,
        ``out = (size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1``.

    Raises:
        ValueError: the channels do not fit the weight and the groups, nothing would be left of the output, or
            ``output_padding`` is not smaller than the stride.

    Forward:
        .. math:: y_{nmab} = \sum_{iu \,:\, si + du - p = a} \; \sum_{jv \,:\, sj + dv - p = b} \;
                             \sum_c x_{ncij} \, w_{cmuv} + b_m
        with stride :math:`s`, dilation :math:`d`, padding :math:`p` (each axis has its own). With groups, :math:`c`
        runs over the channels in the group of :math:`m`.
    Backward:
        .. math::
            \bar x_{ncij} &= \sum_{muv} \bar y_{n,m,\,si + du - p,\,sj + dv - p} \, w_{cmuv} \\
            \bar w_{cmuv} &= \sum_{nij} x_{ncij} \, \bar y_{n,m,\,si + du - p,\,sj + dv - p} \\
            \bar b_m &= \sum_{nab} \bar y_{nmab}
    Derivation:
        .. math::
            \bar x_{ncij} &= \sum_{mab} \bar y_{nmab} \frac{\partial y_{nmab}}{\partial x_{ncij}}
                           = \sum_{mabuv} \bar y_{nmab} \, \delta_{si + du - p,\, a} \, \delta_{sj + dv - p,\, b}
                             \, w_{cmuv} \\
            \bar w_{cmuv} &= \sum_{nab} \bar y_{nmab} \sum_{ij} \delta_{si + du - p,\, a} \, \delta_{sj + dv - p,\, b}
                             \, x_{ncij} \\
            \bar b_k &= \sum_{nmab} \bar y_{nmab} \, \delta_{mk} = \sum_{nab} \bar y_{nkab}
        The deltas set :math:`a` and :math:`b`; outside of its bounds :math:`\bar y` is 0. So the gradient of
        :math:`x` is :func:`conv2d` of :math:`\bar y` with the same weight.
    Source: Dumoulin, Visin, *A guide to convolution arithmetic for deep learning* (2016), chapter 4.

    >>> conv_transpose2d(np.array([[[[1.0, 10.0]]]]), np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), stride=2)
    array([[[[ 1.,  2., 10., 20.],
             [ 3.,  4., 30., 40.]]]])
    """
    (n, c, *places), (_, depth, *kernel) = x.shape, weight.shape
    if groups < 1 or c % groups:
        raise ValueError(f"x has {c} channels, expected a multiple of groups = {groups}")
    if bias is not None and len(bias) != depth * groups:
        raise ValueError(f"bias has shape {bias.shape}, expected ({depth * groups},), as weight has {weight.shape}")
    stride, dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
    padding = per_axis("padding", padding, 2, least=0)
    extra = per_axis("output_padding", output_padding, 2, least=0)
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        raise ValueError(f"output_padding is {output_padding}, expected less than the stride {stride}")
    size = tuple(
        (o - 1) * s - 2 * p + d * (k - 1) + e + 1
        for o, s, p, d, k, e in zip(places, stride, padding, dilation, kernel, extra, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"nothing is left of the output: its size would be {size}")
    where = {"stride": stride, "padding": padding, "dilation": dilation}
    rows, matrices = _rows(x, groups, 2), _matrices(weight, groups)
    columns = _unrows(rows @ matrices, (n, depth * groups, *places, *kernel))
    y = overlap_add(columns, size=size, **where)

    def gcolumns(gy):
        return _rows(windows(gy, kernel_size=kernel, **where), groups, 2)

    def gx(gy):
        return _unrows(gcolumns(gy) @ _transposed(matrices), x.shape)

    def gweight(gy):
        return _unmatrices(_transposed(rows) @ gcolumns(gy), weight.shape)

    def gbias(gy):
        return _sum_per_channel(gy)

    return _plus(y, bias), (gx, gweight, gbias)
