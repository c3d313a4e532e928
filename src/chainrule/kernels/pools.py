"""Pooling over images whose channels are last in memory: for every window, loops over the channels of its pixels.

Where windows lie is written down in tables, one per axis, so that pools of every stride, padding and dilation, and
means of unequal parts, share their loops. Backward runs over pixels, each of which collects from the windows that see
it: so threads never write to the same place, and every gradient is written once.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from chainrule import ops
from chainrule.engine import Tensor
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.registry import call, empty_image, kernel, pixels
from chainrule.ops.pool import placement_of
from chainrule.ops.windows import grid


class Axis(NamedTuple):
    """Windows along one axis of an image, and the way back; rows of a table are filled up with -1."""

    pixels: np.ndarray  # (windows, places): the pixel at each place of a window, -1 if it is outside of the image
    windows: np.ndarray  # (pixels, k): the windows that see a pixel
    places: np.ndarray  # (pixels, k): at which place in the window


def _axis(seen, size):
    """The tables of windows that see these pixels of an axis."""
    by_pixel: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for window, places in enumerate(seen.tolist()):
        for place, pixel in enumerate(places):
            if pixel >= 0:
                by_pixel[pixel].append((window, place))
    most = max(map(len, by_pixel))
    filled = np.array([found + [(-1, -1)] * (most - len(found)) for found in by_pixel], int).reshape(size, most, 2)
    return Axis(seen, *np.ascontiguousarray(filled.transpose(2, 0, 1)))


@functools.lru_cache(maxsize=256)
def _sliding(size, windows, kernel, stride, padding, dilation=1):
    """The axis over which a window slides."""
    seen = np.arange(windows)[:, None] * stride + np.arange(kernel) * dilation - padding
    return _axis(np.where((seen >= 0) & (seen < size), seen, -1), size)


@functools.lru_cache(maxsize=256)
def _divided(size, parts):
    """The axis divided into parts of sizes as equal as can be."""
    start, stop = np.arange(parts) * size // parts, -(-np.arange(1, parts + 1) * size // parts)
    seen = start[:, None] + np.arange((stop - start).max())
    return _axis(np.where(seen < stop[:, None], seen, -1), size)


# ------------------------------------------------------------------------------------------------------------ max pool


@inner
def _max_of_row(row, x, down, columns, y, winner):
    """One row of windows of one image. Of equal entries the first wins, row by row: places are numbered so."""
    image, r = row // y.shape[1], row % y.shape[1]
    x, rows, y, winner = x[image], down[r], y[image, r], winner[image, r]
    c = x.shape[2]
    for window in range(len(columns)):
        best, place = y[window], winner[window]
        for m in range(c):
            best[m] = -np.inf
        empty = True
        for a in range(len(rows)):
            for b in range(columns.shape[1]):
                i, j = rows[a], columns[window, b]
                if i < 0 or j < 0:
                    continue
                k = np.uint8(a * columns.shape[1] + b)
                if empty:
                    for m in range(c):
                        place[m] = k
                    empty = False
                for m in range(c):
                    v = x[i, j, m]
                    place[m] = k if v > best[m] else place[m]
                    best[m] = v if v > best[m] or v != v else best[m]
        if empty:
            for m in range(c):
                place[m] = 0


@jit
def _max(x, down, across, y, winner):
    """The largest entry of every window, and its number in the window."""
    in_parallel(_max_of_row, len(y) * y.shape[1], (x, down, across, y, winner), x.size >= SERIAL)


@inner
def _max_back_to_row(row, gy, winner, rows, down, columns, across, width, gx):
    """One row of pixels of one image: each gets the gradients of the windows that it won."""
    image, r = row // gx.shape[1], row % gx.shape[1]
    gy, winner, rows, down, gx = gy[image], winner[image], rows[r], down[r], gx[image, r]
    c = gx.shape[1]
    for j in range(len(gx)):
        for m in range(c):
            gx[j, m] = 0
        for a in range(len(rows)):
            for b in range(columns.shape[1]):
                i, column = rows[a], columns[j, b]
                if i < 0 or column < 0:
                    continue
                k = np.uint8(down[a] * width + across[j, b])
                for m in range(c):
                    won = np.float32(1) if winner[i, column, m] == k else np.float32(0)
                    gx[j, m] += gy[i, column, m] * won


@jit
def _max_back(gy, winner, rows, down, columns, across, width, gx):
    arguments = gy, winner, rows, down, columns, across, width, gx
    in_parallel(_max_back_to_row, len(gx) * gx.shape[1], arguments, gx.size >= SERIAL)


def _places_fit_a_byte(x, *, kernel_size, **_):
    return x.dtype == np.float32 and np.prod(np.broadcast_to(kernel_size, 2)) <= 256


@kernel(ops.max_pool2d, _places_fit_a_byte)
def max_pool2d(x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    n, c, *size = x.shape
    placement = placement_of(size, kernel_size, stride, padding, ceil_mode, dilation)
    out = grid(size, **placement).out
    borders = [before for before, _ in placement["padding"]]
    down, across = map(
        _sliding, size, out, placement["kernel_size"], placement["stride"], borders, placement["dilation"]
    )
    y, winner = empty_image(n, c, *out), np.empty((n, *out, c), np.uint8)
    call(_max, pixels(x), down.pixels, across.pixels, pixels(y), winner)

    def gx(gy):
        result = empty_image(n, c, *size)
        tables = (down.windows, down.places, across.windows, across.places)
        call(_max_back, pixels(gy), winner, *tables, placement["kernel_size"][1], pixels(result))
        return result

    return y, (gx,)


# --------------------------------------------------------------------------------------------------------------- means


@inner
def _sums_of_row(row, x, inside, down, columns, factors, y):
    """One row of one image. The sum over many pixels is one of sums over rows, which rounds less."""
    image, r = row // y.shape[1], row % y.shape[1]
    x, rows, factors, y = x[image], down[r], factors[r], y[image, r]
    c = x.shape[2]
    few = len(rows) * columns.shape[1] <= 16
    of_row = np.zeros(c, np.float32)
    for window in range(len(columns)):
        total = y[window]
        for m in range(c):
            total[m] = 0
        partial = total if few else of_row
        for a in range(len(rows)):
            for b in range(columns.shape[1]):
                i, j = rows[a], columns[window, b]
                if i >= 0 and j >= 0:
                    of_pixel = inside[i, j]
                    for m in range(c):
                        partial[m] += x[i, j, m] * of_pixel
            if not few:
                for m in range(c):
                    total[m] += of_row[m]
                    of_row[m] = 0
        factor = factors[window]
        for m in range(c):
            total[m] *= factor


@jit
def _sums(x, inside, down, across, factors, y):
    """The sum over every window of pixels times their factors ``inside``, times the factor of the window.

    Means have factors of windows; in backward windows and pixels change places, and the factors are inside.
    """
    pays = max(x.size, y.size) >= SERIAL
    in_parallel(_sums_of_row, len(y) * y.shape[1], (x, inside, down, across, factors, y), pays)


@functools.cache
def _ones(h, w):
    return np.ones((h, w), np.float32)


@functools.lru_cache(maxsize=256)
def _parts(size, out):
    """Both axes divided into parts, and one over the number of pixels in each."""
    axes = tuple(map(_divided, size, out))
    return *axes, _factors(*axes)


@functools.lru_cache(maxsize=256)
def _windows(size, out, kernel, stride, borders, count_include_pad, divisor_override):
    """Both axes with their windows, and one over what the sum over each is divided by."""
    axes = tuple(map(_sliding, size, out, kernel, stride, borders))
    if divisor_override is not None:
        return *axes, np.full(out, 1 / divisor_override, np.float32)
    padded = [n + 2 * p for n, p in zip(size, borders, strict=True)]
    return *axes, _factors(*(map(_sliding, padded, out, kernel, stride, (0, 0)) if count_include_pad else axes))


def _factors(down, across):
    h, w = ((axis.pixels >= 0).sum(1) for axis in (down, across))
    return (1 / (h[:, None] * w)).astype(np.float32)


def _means(op, x, params, down, across, factors):
    """The value and the pullback of means over windows."""
    n, c, h, w = x.shape
    y = empty_image(n, c, *factors.shape)
    call(_sums, pixels(x), _ones(h, w), down.pixels, across.pixels, factors, pixels(y))

    def gx(gy):
        if isinstance(gy, Tensor):  # the pullbacks of a linear op are differentiated as they are
            return op.rule(x, **params)[1][0](gy)
        result = empty_image(n, c, h, w)
        call(_sums, pixels(gy), factors, down.windows, across.windows, _ones(h, w), pixels(result))
        return result

    return y, (gx,)


@kernel(ops.avg_pool2d, lambda x, divisor_override=None, **_: x.dtype == np.float32 and divisor_override != 0)
def avg_pool2d(
    x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    size = x.shape[2:]
    placement = placement_of(size, kernel_size, stride, padding, ceil_mode)
    kernel, stride = placement["kernel_size"], placement["stride"]
    borders = tuple(before for before, _ in placement["padding"])
    out = grid(size, **placement).out
    tables = _windows(size, out, kernel, stride, borders, count_include_pad, divisor_override)
    given = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    counted = {"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    return _means(ops.avg_pool2d, x, given | counted, *tables)


def _divides(x, *, output_size):
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    return x.dtype == np.float32 and 0 not in x.shape[2:] and len(sizes) == 2 and all(o is None or o > 0 for o in sizes)


@kernel(ops.adaptive_avg_pool2d, _divides)
def adaptive_avg_pool2d(x, *, output_size):
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    size = x.shape[2:]
    tables = _parts(size, tuple(n if o is None else o for n, o in zip(size, sizes, strict=True)))
    return _means(ops.adaptive_avg_pool2d, x, {"output_size": sizes}, *tables)
