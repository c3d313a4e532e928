"""Convolutions with stride 1 of a few channels to a few: the rows of an image are multiplied where they lie.

With six channels, a vector of pixels that have their channels last would hold parts of three pixels. Here a vector
holds pixels of one row and one channel: an entry of the kernel multiplies the whole vector, the next entry the same one
shifted by a pixel. Nothing is copied for every place of the kernel, as windows would be.
"""

import numpy as np

from chainrule.kernels.machine import inner, jit
from chainrule.kernels.microkernel import LANES, VECTORS, WIDTH, address
from chainrule.kernels.parallel import in_parallel
from chainrule.kernels.products import aligned, multiply_strip

FEW = 16  # channels


def fits(channels, kernel, stride):
    """Are both numbers of channels small, and do the entries of a row of the kernel fit into a vector?"""
    return max(channels) <= FEW and kernel[1] <= LANES and stride == (1, 1)


@inner
def _whole_vectors(n, unit):
    return -(-n // unit) * unit


@inner
def _in_rows(image, padding, rows, width):
    """The rows of an image ``(h, w, c)``, padded, each of its channels apart: row ``i`` of channel ``k`` is number
    ``i * c + k``, and begins ``width`` entries after the one before."""
    h, w, c = image.shape
    rows[:] = 0
    for i in range(h):
        for k in range(c):
            start = ((i + padding[0]) * c + k) * width + padding[1]
            for j in range(w):
                rows[start + j] = image[i, j, k]


@inner
def _convolve_image(image, x, by_column, padding, bias, y):
    """``by_column`` is ``(l, m, k * c)``: for each column of the kernel, a row for each channel of the result."""
    h, c = x.shape[1], x.shape[3]
    across, m, depth = by_column.shape
    down_y, across_y = y.shape[1:3]
    room = _whole_vectors(across_y, WIDTH)
    width = room + across
    rows = aligned((h + 2 * padding[0]) * c * width)
    found = aligned(m * room)
    _in_rows(x[image], padding, rows, width)
    for i in range(down_y):
        for left in range(0, across_y, WIDTH):
            vectors = VECTORS if across_y - left > LANES else 1
            for l in range(across):
                a, b = address(by_column) + 4 * l * m * depth, address(rows) + 4 * (i * c * width + left + l)
                to = address(found) + 4 * left
                multiply_strip((vectors, m, a, depth, 1, b, width, to, room, depth, np.int64(l > 0)))
        for o in range(m):
            plus = bias[o] if len(bias) else np.float32(0)
            for j in range(across_y):
                y[image, i, j, o] = found[o * room + j] + plus


@jit
def convolve(x, weight, turned, padding, bias, y):
    """The convolution of images ``(n, h, w, c)`` with a kernel ``(m, k, l, c)``, or, ``turned``, the one with its
    transpose: what is then called ``x`` has m channels and ``y`` c."""
    m, down, across, c = weight.shape
    if turned:
        by_column = np.empty((across, c, down * m), np.float32)
        for o in range(m):
            for k in range(down):
                for l in range(across):
                    for j in range(c):
                        by_column[across - 1 - l, j, (down - 1 - k) * m + o] = weight[o, k, l, j]
    else:
        by_column = np.empty((across, m, down * c), np.float32)
        for o in range(m):
            for k in range(down):
                for l in range(across):
                    for j in range(c):
                        by_column[l, o, k * c + j] = weight[o, k, l, j]
    in_parallel(_convolve_image, len(x), (x, by_column, padding, bias, y))
