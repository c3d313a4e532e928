"""Convolutions of images whose memory has the channels last.

A 1 x 1 kernel is a matrix product; 3 x 3 kernels with stride 1 go by Winograd's way; a few channels are multiplied
where they lie; for all others the windows of some pixels at a time are copied to the rows of a matrix, small enough to
stay in the cache.
"""

import functools
import math

import numpy as np

from chainrule import ops
from chainrule.kernels import elementwise, planes, winograd
from chainrule.kernels.linear import product, sum_of_rows
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.microkernel import LANES, address, copy_vector
from chainrule.kernels.parallel import in_parallel
from chainrule.kernels.products import NO_BIAS
from chainrule.kernels.registry import call, empty, empty_image, kernel, pixels
from chainrule.kernels.replay import FUSED
from chainrule.ops.windows import grid, per_axis

BLOCK = 1 << 20  # float32 entries, 4 MB: windows that are copied at a time


@inner
def copy_row_of_windows(row, x, kernel, stride, padding, columns):
    """The windows of one image whose upper ends are in one row."""
    _, h, w, c = x.shape
    k, l = kernel
    down, across = columns.shape[1:3]
    source, target = x.reshape(-1), columns.reshape(-1)
    image, top = row // down, row % down * stride[0] - padding[0]
    to, after = row * across * k * l * c, (row + 1) * across * k * l * c
    for q in range(across):
        left = q * stride[1] - padding[1]
        begin, end = max(0, -left) * c, min(l, w - left) * c  # of a row of the window: what lies in the image
        for i in range(top, top + k):
            if 0 <= i < h and begin < end:
                target[to : to + begin] = 0
                _copy(source, ((image * h + i) * w + left) * c + begin, target, to + begin, end - begin, after)
                target[to + end : to + l * c] = 0
            else:
                target[to : to + l * c] = 0
            to += l * c


@inner
def _copy(source, at, target, to, count, after):
    """Copy entries as whole vectors, as far as they can be read; what is written beyond, before ``after``, is written
    again."""
    vectors = min(-(-count // LANES), (len(source) - at) // LANES, (after - to) // LANES)
    for j in range(0, vectors * LANES, LANES):
        copy_vector(address(source) + 4 * (at + j), address(target) + 4 * (to + j))
    for j in range(vectors * LANES, count):
        target[to + j] = source[at + j]


@jit
def copy_windows(x, kernel, stride, padding, columns):
    """The windows of images ``(n, h, w, c)`` as rows, ``columns`` being ``(n, down, across, k * l * c)``."""
    in_parallel(copy_row_of_windows, len(x) * columns.shape[1], (x, kernel, stride, padding, columns))


@inner
def add_windows_of_image(image, columns, kernel, stride, padding, gx):
    n, h, w, c = gx.shape
    k, l = kernel
    down, across = columns.shape[1:3]
    pixels = gx.reshape(n, h, w * c)[image]
    pixels[:] = 0
    for p in range(down):
        for q in range(across):
            window, top, left = columns[image, p, q], p * stride[0] - padding[0], q * stride[1] - padding[1]
            begin, end = max(0, -left) * c, min(l, w - left) * c  # of a row of the window: what lies in the image
            for i in range(max(0, -top), min(k, h - top)):
                if begin < end:
                    _add(
                        window[i * l * c + begin : i * l * c + end], pixels[top + i, left * c + begin : left * c + end]
                    )


@inner
def _add(source, target):
    for i in range(len(target)):
        target[i] += source[i]


@jit
def add_windows(columns, kernel, stride, padding, gx):
    """The transpose of :func:`copy_windows`: every entry is added where it came from."""
    in_parallel(add_windows_of_image, len(gx), (columns, kernel, stride, padding, gx))


class Windows:
    """A convolution by the windows of some images at a time, few enough for the cache."""

    def __init__(self, x, kernel, stride, padding, out, depth):
        self.x, self.where, self.out, self.depth = x, (kernel, stride, padding), out, depth
        self.together = max(1, BLOCK // (math.prod(out) * depth))

    def blocks(self):
        """Some images at a time: which, and room for their windows."""
        for first in range(0, len(self.x), self.together):
            images = slice(first, min(len(self.x), first + self.together))
            yield images, empty((images.stop - first, *self.out, self.depth))

    def convolve(self, weight, bias, y):
        """``weight`` is ``(m, depth)``, ``y`` ``(n, down, across, m)``."""
        for images, columns in self.blocks():
            call(copy_windows, self.x[images], *self.where, columns)
            product(_matrix(columns), weight.T, _matrix(y[images]), bias=bias)

    def image_gradient(self, gy, weight, gx):
        for images, columns in self.blocks():
            product(_matrix(gy[images]), weight, _matrix(columns))
            call(add_windows, columns, *self.where, gx[images])

    def weight_gradient(self, gy, gweight):
        for images, columns in self.blocks():
            call(copy_windows, self.x[images], *self.where, columns)
            product(_matrix(gy[images]).T, _matrix(columns), gweight, add=images.start > 0)


@functools.cache
def _zeros(n):
    return np.zeros(n, np.float32)


def _matrix(images):
    return images.reshape(-1, images.shape[-1])


def _usual(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """Is it a convolution that these kernels do? What is wrong is left to the rule, which says so."""
    pads = padding if isinstance(padding, (tuple, list)) else [padding]
    if (
        groups != 1
        or not all(isinstance(p, int) for p in pads)
        or x.shape[1] != weight.shape[1]
        or not (x.size and weight.size)
    ):
        return False
    return per_axis("dilation", dilation, 2) == (1, 1)


@kernel(ops.conv2d, _usual)
def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    """By a product, by Winograd's way, row by row, or by windows."""
    n, c, h, w = x.shape
    m, _, *kernel_size = weight.shape
    kernel_size, stride, padding = (
        tuple(kernel_size),
        per_axis("stride", stride, 2),
        per_axis("padding", padding, 2, least=0),
    )
    out = grid((h, w), kernel_size, stride, padding).out
    y = empty_image(n, m, *out)
    of_x, of_weight, of_y = pixels(x), pixels(weight), pixels(y)
    plus = NO_BIAS if bias is None else bias
    point = kernel_size == stride == (1, 1) and padding == (0, 0)
    size = winograd.tile_size(x.shape, weight.shape, stride, padding, out)
    few = planes.fits((c, m), kernel_size, stride)
    by_rows = of_weight.reshape(m, -1)
    windows = Windows(of_x, kernel_size, stride, padding, out, by_rows.shape[1])

    if point:
        product(_matrix(of_x), by_rows.T, _matrix(of_y), bias=plus)
    elif size:
        call(
            winograd.convolve,
            of_x,
            of_weight,
            False,
            _zeros(m) if bias is None else bias,
            False,
            padding[0],
            size,
            of_y,
        )
    elif few:
        call(planes.convolve, of_x, of_weight, False, padding, plus, of_y)
    else:
        windows.convolve(by_rows, plus, of_y)

    def gx(gy):
        of_gy, found = pixels(gy), empty_image(*x.shape)
        if point:
            product(_matrix(of_gy), by_rows, _matrix(pixels(found)))
        elif size:
            call(winograd.convolve, of_gy, of_weight, True, _zeros(c), False, 2 - padding[0], size, pixels(found))
        elif few and all(p < k for p, k in zip(padding, kernel_size, strict=True)):
            around = kernel_size[0] - 1 - padding[0], kernel_size[1] - 1 - padding[1]
            call(planes.convolve, of_gy, of_weight, True, around, NO_BIAS, pixels(found))
        else:
            windows.image_gradient(of_gy, by_rows, pixels(found))
        return found

    def gweight(gy):
        of_gy, found = pixels(gy), empty_image(*weight.shape)
        if point:
            product(_matrix(of_gy).T, _matrix(of_x), _matrix(pixels(found)))
        elif size:
            # Here the larger tiles pay already when a few of them share the kernels: these are only written.
            call(winograd.kernel_gradient, of_x, of_gy, padding[0], 4 if min(out) > 2 else 2, pixels(found))
        else:
            windows.weight_gradient(of_gy, pixels(found).reshape(m, -1))
        return found

    def gbias(gy):
        return sum_of_rows(_matrix(pixels(gy)))

    return y, (gx, gweight, gbias)


def _convolve_and_more(x, weight, turned, bias, rectify, padding, size, which, alpha, *rest):
    """A convolution by Winograd's way and, of its entries, what :mod:`elementwise` computes; see ``linear``."""
    *other, y = rest
    rectify = which == elementwise.RELU
    n, h, w, _ = x.shape
    m = weight.shape[3] if turned else weight.shape[0]
    images = y.reshape(n, h + 2 * padding - 2, w + 2 * padding - 2, m)
    winograd.convolve(x, weight, turned, bias, rectify, padding, size, images)
    if not rectify:
        elementwise.compute(which, alpha, y, *(other or [y]), y)


FUSED[winograd.convolve, elementwise.compute] = _convolve_and_more


def warm():
    """Compile what no sample of the op is large enough for: Winograd's way."""
    x, weight = np.zeros((1, LANES, 4, 4), np.float32), np.zeros((LANES, LANES, 3, 3), np.float32)
    y, pullbacks = conv2d(x, weight, padding=1)
    for pullback in pullbacks:
        pullback(y)
