"""Linear layers and matrix products."""

import numpy as np

from chainrule import ops
from chainrule.kernels import elementwise
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.products import NO_BIAS, multiply
from chainrule.kernels.registry import call, empty, kernel, like
from chainrule.kernels.replay import FUSED

SUMMED = 128  # rows that are summed in float32, before the sums are


def _stored(x):
    """A matrix without gaps, or its transpose, and whether it is that; what has gaps is copied."""
    if x.flags.c_contiguous:
        return x, False
    if x.flags.f_contiguous:
        return x.T, True
    return _by_rows(x), False


def _by_rows(x):
    """``(..., d)`` as a matrix of rows without gaps."""
    if not x.flags.c_contiguous:
        x = like(x, empty(x.shape))
    return x.reshape(-1, x.shape[-1])


def product(a, b, c, add=False, bias=NO_BIAS):
    """C = A B or C + A B; see :func:`chainrule.kernels.products.multiply`."""
    call(multiply, *_stored(a), *_stored(b), c, add, bias, False)
    return c


@inner
def _sum_block(block, x, partial):
    partial[block] = 0
    for i in range(block * SUMMED, min(len(x), (block + 1) * SUMMED)):
        for j in range(x.shape[1]):
            partial[block, j] += x[i, j]


@jit
def _sum_of_rows(x, sums):
    rows, columns = x.shape
    blocks = -(-rows // SUMMED)
    partial = np.empty((blocks, columns), np.float32)
    in_parallel(_sum_block, blocks, (x, partial), x.size >= SERIAL)
    for j in range(columns):
        total = 0.0
        for block in range(blocks):
            total += partial[block, j]
        sums[j] = total


def sum_of_rows(x):
    """The sum of each column of a matrix: of blocks of rows in float32, of these in float64."""
    sums = empty(x.shape[1:])
    call(_sum_of_rows, _by_rows(x), sums)
    return sums


@kernel(ops.linear, lambda x, weight, bias=None: x.ndim > 1)
def linear(x, weight, bias=None):
    """Products in tiles; the bias is added while the result is in the cache."""
    m, d = weight.shape
    y = empty((*x.shape[:-1], m))
    rows = x if x.ndim == 2 else _by_rows(x)
    product(rows, weight.T, y.reshape(-1, m), bias=NO_BIAS if bias is None else bias)

    def gx(gy):
        found = empty(x.shape)
        product(_by_rows(gy), weight, found.reshape(-1, d))
        return found

    def gweight(gy):
        return product(_by_rows(gy).T, rows, empty(weight.shape))

    def gbias(gy):
        return sum_of_rows(_by_rows(gy))

    return y, (gx, gweight, gbias)


def _multiply_and_more(a, a_transposed, b, b_transposed, add, bias, rectify, which, alpha, *rest):
    """A product and, of its entries, what :mod:`elementwise` computes: ReLU in the same pass, others in place."""
    *other, y = rest  # there is another input of a sum or a product
    rectify = which == elementwise.RELU
    columns = len(b) if b_transposed else b.shape[1]
    multiply(a, a_transposed, b, b_transposed, y.reshape(-1, columns), add, bias, rectify)
    if not rectify:
        elementwise.compute(which, alpha, y, *(other or [y]), y)


FUSED[multiply, elementwise.compute] = _multiply_and_more
