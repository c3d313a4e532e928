"""Softmax, its logarithm, and the cross-entropy of labels: rows of numbers, each row's maximum subtracted first.

A block of rows is exponentiated as one long axis, so that ten classes keep the vector units as busy as a thousand.
"""

import math

import numpy as np

from chainrule import ops
from chainrule.kernels.elementwise import BLOCK, _bits, _of_bits, exp, inlined
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.registry import call, empty, in_order, kernel

f32 = np.float32
LONG = 64  # entries that a row has if it is exponentiated by itself
CHUNK = 1024  # entries summed in float32 before the sum goes on in float64


@inlined
def _rank(bits):
    """Integers in the order of the floats that have these bits; and back, when it is applied to its result."""
    return np.int32(bits ^ np.int32((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inner
def largest(row):
    """The largest entry, as an integer: LLVM has no vector instruction for the one of floats that heeds a NaN."""
    top = _rank(_bits(row[0]))
    for i in range(len(row)):
        top = max(top, _rank(_bits(row[i])))
    return _of_bits(_rank(top))


@inner
def sum_of(row):
    total = 0.0
    for start in range(0, len(row), CHUNK):
        chunk, part = row[start : start + CHUNK], f32(0)
        for i in range(len(chunk)):
            part += chunk[i]
        total += np.float64(part)
    return f32(total)


@inner
def _sum_of_exponentials(row):
    """The sum of the exponentials, which take the place of the entries."""
    total = 0.0
    for start in range(0, len(row), CHUNK):
        chunk, part = row[start : start + CHUNK], f32(0)
        for i in range(len(chunk)):
            chunk[i] = exp(chunk[i])
            part += chunk[i]
        total += np.float64(part)
    return f32(total)


@inner
def _shift(x, z):
    """Each row minus its largest entry."""
    for i in range(len(x)):
        m = largest(x[i])
        for k in range(x.shape[1]):
            z[i, k] = x[i, k] - m


@inner
def _copy(x, y):
    for i in range(len(x)):
        for k in range(x.shape[1]):
            y[i, k] = x[i, k]


@inner
def exponentiate(z):
    """In place: of two arrays LLVM must prove that they do not overlap."""
    entries = z.ravel()
    for i in range(len(entries)):
        entries[i] = exp(entries[i])


SOFTMAX, SOFTMAX_GX, LOG_SOFTMAX, LOG_SOFTMAX_GX, SCALE = range(5)


@inner
def _blocks(x):
    """How many blocks the rows make, and how many rows are in each."""
    rows = max(BLOCK // x.shape[1], 1)
    return -(-len(x) // rows), rows


@inner
def _part(block, x):
    _, rows = _blocks(x)
    return slice(block * rows, (block + 1) * rows)


@inner
def _compute_block(block, which, u, v, y):
    part = _part(block, y)
    u, v, y = u[part], v[part], y[part]
    n, c = y.shape
    if which == SOFTMAX:
        _shift(u, y)
        if c < LONG:
            exponentiate(y)
        for i in range(n):
            scale = f32(1) / (sum_of(y[i]) if c < LONG else _sum_of_exponentials(y[i]))
            for k in range(c):
                y[i, k] *= scale
    elif which == SOFTMAX_GX:
        for i in range(n):
            for k in range(c):
                y[i, k] = u[i, k] * v[i, k]
            mean = sum_of(y[i])
            for k in range(c):
                y[i, k] = v[i, k] * (u[i, k] - mean)
    elif which == LOG_SOFTMAX:
        _shift(u, y)
        e = np.empty_like(y)
        _copy(y, e)
        exponentiate(e)
        for i in range(n):
            log_sum = f32(math.log(sum_of(e[i])))
            for k in range(c):
                y[i, k] -= log_sum
    elif which == LOG_SOFTMAX_GX:
        _copy(v, y)
        exponentiate(y)
        for i in range(n):
            total = sum_of(u[i])
            for k in range(c):
                y[i, k] = u[i, k] - y[i, k] * total
    elif which == SCALE:
        for i in range(n):
            for k in range(c):
                y[i, k] = u[i, 0] * v[i, k]


@jit
def _compute(which, u, v, y):
    """Of a gradient ``u`` is gy and ``v`` the output. SCALE: each row of ``v`` by the number that ``u`` has for it."""
    in_parallel(_compute_block, _blocks(y)[0], (which, u, v, y), y.size >= SERIAL)


def _rows(x, dim):
    """``x`` with the axis ``dim`` last, in C order."""
    return in_order(x.swapaxes(dim, -1))


def _along(which, x, dim):
    c = x.shape[dim]
    turned = _rows(x, dim)
    rows, y = turned.reshape(-1, c), empty(turned.shape)
    call(_compute, which, rows, rows, y.reshape(-1, c))

    def back(result):
        # An array that owns its memory as it is: a view would be copied by the engine.
        return result if dim in (-1, x.ndim - 1) else result.swapaxes(dim, -1)

    def gx(gy):
        result = empty(y.shape)
        call(_compute, which + 1, _rows(gy, dim).reshape(-1, c), y.reshape(-1, c), result.reshape(-1, c))
        return back(result)

    return back(y), (gx,)


def _has_classes(x, dim=-1):
    return -x.ndim <= dim < x.ndim and x.shape[dim] > 0


@kernel(ops.softmax, accepts=_has_classes)
def softmax(x, *, dim=-1):
    return _along(SOFTMAX, x, dim)


@kernel(ops.log_softmax, accepts=_has_classes)
def log_softmax(x, *, dim=-1):
    return _along(LOG_SOFTMAX, x, dim)


# ------------------------------------------------------------------------------------------------------- cross-entropy


@inner
def _cross_entropy_block(block, x, target, smoothing, count, losses, d):
    """Each row's loss, and ``d``: the softmax minus the smoothed target, over ``count``."""
    part = _part(block, x)
    x, target, losses, d = x[part], target[part], losses[part], d[part]
    c = x.shape[1]
    spread, share = f32(smoothing / c), f32(1 / count)
    _shift(x, d)
    for i in range(len(x)):
        losses[i] = f32(smoothing - 1) * d[i, target[i]]
        if smoothing > 0:
            losses[i] -= spread * sum_of(d[i])
    exponentiate(d)
    for i in range(len(x)):
        s = sum_of(d[i])
        losses[i] += f32(math.log(s))
        scale = share / s
        for k in range(c):
            d[i, k] = d[i, k] * scale - share * spread
        d[i, target[i]] -= share * f32(1 - smoothing)


@inner
def _finish(losses, count, loss):
    total = 0.0
    for i in range(len(losses)):
        total += losses[i]
    loss[0] = f32(total / count)


@inner
def _check(target, n_classes):
    for label in target:
        if label < 0 or label >= n_classes:
            raise ValueError("cross_entropy: target holds a label that is not one of the classes of x")


@jit
def _cross_entropy(x, target, smoothing, count, losses, d, loss):
    """``loss`` is the sum of the losses over ``count``."""
    _check(target, x.shape[1])
    in_parallel(_cross_entropy_block, _blocks(x)[0], (x, target, smoothing, count, losses, d), x.size >= SERIAL)
    _finish(losses, count, loss)


def _is_common(x, target, weight=None, reduction="mean", label_smoothing=0.0):
    """Labels for a batch of rows, all classes weighing the same."""
    labels = target.dtype.kind in "iu" and x.ndim == 2 and target.shape == x.shape[:1] and x.size > 0
    return labels and weight is None and reduction in ("mean", "sum", "none") and 0 <= label_smoothing <= 1


@kernel(ops.cross_entropy, accepts=_is_common)
def cross_entropy(x, target, weight=None, *, reduction="mean", label_smoothing=0.0):
    """Forward leaves the gradient of the mean or the sum, which backward has only to multiply by ``gy``."""
    rows, losses, loss = _rows(x, -1), empty((len(x),)), empty((1,))
    d = empty(rows.shape)
    labels = np.empty(len(x), np.int64)
    call(np.copyto, labels, target)
    count = len(x) if reduction == "mean" else 1
    try:
        call(_cross_entropy, rows, labels, float(label_smoothing), count, losses, d, loss)
    except ValueError:  # a wrong label, which the rule names
        return ops.cross_entropy.rule(x, target, reduction=reduction, label_smoothing=label_smoothing)

    def gx(gy):
        each, result = empty((len(d), 1)), empty(d.shape)
        call(np.copyto, each, gy.reshape(-1, 1))
        call(_compute, SCALE, each, d, result)
        return result

    return losses if reduction == "none" else loss.reshape(()), (gx, None, None)
