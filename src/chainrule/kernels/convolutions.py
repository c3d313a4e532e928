"""Convolutions of images whose memory has the channels last.

A 1 x 1 kernel is a matrix product; 3 x 3 kernels with stride 1 go by Winograd's way; for all others the windows of some
pixels at a time are copied to the rows of a matrix, small enough to stay in the cache.
"""

import numpy as np
from numba import prange

from chainrule import ops
from chainrule.kernels import winograd
from chainrule.kernels.linear import product, sum_of_rows
from chainrule.kernels.machine import get_num_threads, jit
from chainrule.kernels.microkernel import LANES
from chainrule.kernels.products import NO_BIAS, aligned, multiply_part, share, strided
from chainrule.kernels.registry import call, empty_image, kernel, pixels
from chainrule.ops.windows import grid, per_axis

BLOCK = 1 << 18  # float32 entries, 1 MB: windows that are copied at a time


@jit
def copy_windows(x, kernel, stride, padding, first, count, across, columns):
    """The windows of ``count`` pixels of the output, from number ``first`` on, as rows: down, across, channel."""
    h, w, c = x.shape
    k, l = kernel
    for p in range(count):
        down, right = divmod(first + p, across)
        top, left = down * stride[0] - padding[0], right * stride[1] - padding[1]
        at = 0
        for i in range(top, top + k):
            begin, end = max(0, -left), min(l, w - left)
            if 0 <= i < h and begin < end:
                columns[p, at : at + begin * c] = 0
                for j in range(begin, end):
                    for channel in range(c):
                        columns[p, at + j * c + channel] = x[i, left + j, channel]
                columns[p, at + end * c : at + l * c] = 0
            else:
                columns[p, at : at + l * c] = 0
            at += l * c


@jit
def add_windows(columns, kernel, stride, padding, first, count, across, gx):
    """The inverse of :func:`copy_windows`: every entry is added where it came from."""
    h, w, c = gx.shape
    k, l = kernel
    for p in range(count):
        down, right = divmod(first + p, across)
        top, left = down * stride[0] - padding[0], right * stride[1] - padding[1]
        for i in range(max(0, -top), min(k, h - top)):
            for j in range(max(0, -left), min(l, w - left)):
                at = (i * l + j) * c
                for channel in range(c):
                    gx[top + i, left + j, channel] += columns[p, at + channel]


@jit(parallel=True)
def convolve(x, weight, bias, rectify, kernel, stride, padding, y):
    """``x`` is ``(n, h, w, c)``, ``weight`` ``(m, k * l * c)``, ``y`` ``(n, down, across, m)``."""
    n, down, across, m = y.shape
    depth = weight.shape[1]
    together = max(1, min(down * across, BLOCK // depth))
    blocks = -(-down * across // together)
    threads = get_num_threads()
    for t in prange(threads):
        columns = aligned(together * depth).reshape(together, depth)
        for block in range(share(n * blocks, threads, t, 1), share(n * blocks, threads, t + 1, 1)):
            image, first = block // blocks, block % blocks * together
            count = min(together, down * across - first)
            copy_windows(x[image], kernel, stride, padding, first, count, across, columns)
            rows = y[image].reshape(down * across, m)[first : first + count]
            multiply_part(
                strided(columns, False), strided(weight, True), strided(rows, False), 0, count, 0, m, False, bias, rectify
            )


@jit(parallel=True)
def image_gradient(gy, weight, kernel, stride, padding, gx):
    """The gradient of ``x`` in :func:`convolve`."""
    n, down, across, m = gy.shape
    depth = weight.shape[1]
    together = max(1, min(down * across, BLOCK // depth))
    threads = get_num_threads()
    for t in prange(threads):
        columns = aligned(together * depth).reshape(together, depth)
        for image in range(share(n, threads, t, 1), share(n, threads, t + 1, 1)):
            gx[image] = 0
            for first in range(0, down * across, together):
                count = min(together, down * across - first)
                rows = gy[image].reshape(down * across, m)[first : first + count]
                multiply_part(
                    strided(rows, False), strided(weight, False), strided(columns, False),
                    0, count, 0, depth, False, NO_BIAS, False,
                )  # fmt: skip
                add_windows(columns, kernel, stride, padding, first, count, across, gx[image])


@jit(parallel=True)
def weight_gradient(x, gy, kernel, stride, padding, gweight):
    """The gradient of ``weight`` in :func:`convolve`: every thread sums up its images, then the sums are added."""
    n, down, across, m = gy.shape
    depth = gweight.shape[1]
    together = max(1, min(down * across, BLOCK // depth))
    blocks = -(-down * across // together)
    threads = get_num_threads()
    sums = np.empty((threads, m, depth), np.float32)
    for t in prange(threads):
        columns = aligned(together * depth).reshape(together, depth)
        low, high = share(n * blocks, threads, t, 1), share(n * blocks, threads, t + 1, 1)
        if low == high:
            sums[t] = 0
        for block in range(low, high):
            image, first = block // blocks, block % blocks * together
            count = min(together, down * across - first)
            copy_windows(x[image], kernel, stride, padding, first, count, across, columns)
            rows = gy[image].reshape(down * across, m)[first : first + count]
            multiply_part(
                strided(rows, True), strided(columns[:count], False), strided(sums[t], False),
                0, m, 0, depth, block > low, NO_BIAS, False,
            )  # fmt: skip
    for t in prange(threads):
        for i in range(share(m, threads, t, 1), share(m, threads, t + 1, 1)):
            gweight[i] = sums[0, i]
            for other in range(1, threads):
                gweight[i] += sums[other, i]


def _usual(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Is it a convolution that these kernels do? What is wrong is left to the rule, which says so."""
    numbers = not isinstance(padding, str) and not any(isinstance(p, (tuple, list)) for p in np.atleast_1d(padding))
    if groups != 1 or not numbers or x.shape[1] != weight.shape[1] or not (x.size and weight.size):
        return False
    return per_axis("dilation", dilation, 2) == (1, 1)


@kernel(ops.conv2d, _usual)
def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """By a product, by Winograd's way, or by windows."""
    n, c, h, w = x.shape
    m, _, *kernel_size = weight.shape
    kernel_size, stride, padding = tuple(kernel_size), per_axis("stride", stride, 2), per_axis("padding", padding, 2, least=0)
    out = grid((h, w), kernel_size, stride, padding).out
    y = empty_image(n, m, *out)
    of_x, of_weight, of_y = pixels(x), pixels(weight), pixels(y)
    plus = NO_BIAS if bias is None else bias
    point = kernel_size == stride == (1, 1) and padding == (0, 0)
    size = winograd.tile_size(x.shape, weight.shape, stride, padding, out)
    by_rows = of_weight.reshape(m, -1)

    if point:
        product(of_x.reshape(-1, c), by_rows.T, of_y.reshape(-1, m), bias=plus)
    elif size:
        bias_or_zeros = np.zeros(m, np.float32) if bias is None else bias
        call(winograd.convolve, of_x, of_weight, False, bias_or_zeros, False, padding[0], size, of_y)
    else:
        call(convolve, of_x, by_rows, plus, False, kernel_size, stride, padding, of_y)

    def gx(gy):
        of_gy, found = pixels(gy), empty_image(*x.shape)
        if point:
            product(of_gy.reshape(-1, m), by_rows, pixels(found).reshape(-1, c))
        elif size:
            zeros = np.zeros(c, np.float32)
            call(winograd.convolve, of_gy, of_weight, True, zeros, False, 2 - padding[0], size, pixels(found))
        else:
            call(image_gradient, of_gy, by_rows, kernel_size, stride, padding, pixels(found))
        return found

    def gweight(gy):
        of_gy, found = pixels(gy), empty_image(*weight.shape)
        if point:
            product(of_gy.reshape(-1, m).T, of_x.reshape(-1, c), pixels(found).reshape(m, c))
        elif size:
            call(winograd.kernel_gradient, of_x, of_gy, padding[0], size, pixels(found))
        else:
            call(weight_gradient, of_x, of_gy, kernel_size, stride, padding, pixels(found).reshape(m, -1))
        return found

    def gbias(gy):
        return sum_of_rows(pixels(gy).reshape(-1, m))

    return y, (gx, gweight, gbias)
