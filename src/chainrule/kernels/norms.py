"""Batch norm, layer norm and RMS norm: one pass over memory for the sums, one for the result.

A batch is seen as a matrix of rows, one for each example or pixel, whose columns are the channels. Sums over rows are
taken block by block, in float32 inside a block and in float64 from block to block. How rows are divided does not
depend on the number of threads, so neither does a result.
"""

from __future__ import annotations

import functools
import math
import weakref

import numpy as np

from chainrule import ops
from chainrule.engine import using
from chainrule.kernels import elementwise
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.recording import plain
from chainrule.kernels.registry import BACKEND, call, empty, empty_image, in_order, kernel, pixels, pulled_together
from chainrule.kernels.replay import FUSED
from chainrule.nn import norm

exact = {"fastmath": False}  # so that batch norm has the same bits with ReLU in the same pass and in one of its own
sums_only = {"fastmath": {"reassoc"}}  # the order in a sum may change, so that it is vectorised
PARTS = 32  # into which the rows are divided, for the threads


@functools.cache
def _constant(value, size):
    return np.full(size, value, np.float32)


def _rows(x):
    """``(n, c, ...)`` as a matrix with a row per example and position: a view if the channels are last in memory."""
    return pixels(x).reshape(-1, x.shape[1])


def _like_rows(x):
    """An array of the shape of ``x`` with its channels last in memory."""
    if x.ndim == 4:
        return empty_image(*x.shape)
    return np.moveaxis(empty((x.shape[0], *x.shape[2:], x.shape[1])), -1, 1)


# ------------------------------------------------------------------------------------------------ batch norm, compiled


@inner(**exact)
def _blocks(x, part):
    """The rows of a block, whose sums are float32: few, and as fit into the first cache, where they are read twice. And
    which blocks, from the first to before the second, make a part."""
    size = min(128, max(32, 4096 // x.shape[1]))
    blocks = (len(x) + size - 1) // size
    return size, part * blocks // PARTS, (part + 1) * blocks // PARTS


@inner(**exact)
def _add_moments(n, mean, squares, before, moments):
    """Chan's formula: means and sums of squared deviations over ``before`` rows become those with ``n`` rows more."""
    share = n / (before + n)
    for j in range(len(mean)):
        delta = mean[j] - moments[0, j]
        moments[0, j] += delta * share
        moments[1, j] += squares[j] + delta * delta * before * share


@inner(**exact)
def _moments_of_part(part, x, of_parts):
    """Means and sums of squared deviations of a part of the rows."""
    moments, c = of_parts[part], x.shape[1]
    size, start, stop = _blocks(x, part)
    centre, rest, total = np.empty(c, np.float32), np.empty(c, np.float32), np.empty(c, np.float32)
    mean, squares = np.empty(c), np.empty(c)
    for j in range(c):
        moments[0, j] = moments[1, j] = 0
    for block in range(start, stop):
        first, last = block * size, min((block + 1) * size, len(x))
        for j in range(c):
            centre[j] = rest[j] = total[j] = 0
        for r in range(first, last):
            for j in range(c):
                centre[j] += x[r, j]
        for j in range(c):
            centre[j] /= np.float32(last - first)
        for r in range(first, last):
            for j in range(c):
                deviation = x[r, j] - centre[j]
                rest[j] += deviation
                total[j] += deviation * deviation
        for j in range(c):  # what rounding the centre left
            left = rest[j] / np.float64(last - first)
            mean[j] = centre[j] + left
            squares[j] = total[j] - left * rest[j]
        _add_moments(last - first, mean, squares, first - start * size, moments)


@inner(**exact)
def _all_moments(x, of_parts, moments):
    """What the moments of the parts make together."""
    for part in range(1, PARTS):
        size, start, stop = _blocks(x, part)
        if stop > start:
            n = min(stop * size, len(x)) - start * size
            _add_moments(n, of_parts[part, 0], of_parts[part, 1], start * size, of_parts[0])
    for j in range(x.shape[1]):
        moments[0, j] = of_parts[0, 0, j]
        moments[1, j] = of_parts[0, 0, j] - moments[0, j]
        moments[2, j] = of_parts[0, 1, j] / len(x)


@jit(**exact)
def _moments(x, of_parts, moments):
    """Mean of every column, what rounding it to float32 left of it, and the biased variance."""
    in_parallel(_moments_of_part, PARTS, (x, of_parts), x.size >= SERIAL)
    _all_moments(x, of_parts, moments)


@jit(**exact)
def _given_moments(mean, var, moments):
    for j in range(len(mean)):
        moments[0, j], moments[1, j], moments[2, j] = mean[j], 0, var[j]


@jit(**exact)
def _follow(moments, rows, momentum, running_mean, running_var, num_batches_tracked):
    """A step of running statistics towards those of a batch; with a momentum that is no number, to their mean."""
    num_batches_tracked[()] += 1
    step = 1 / num_batches_tracked[()] if math.isnan(momentum) else momentum
    for j in range(len(running_mean)):
        running_mean[j] += step * (moments[0, j] - running_mean[j])
        running_var[j] += step * (moments[2, j] * rows / (rows - 1) - running_var[j])


@inner(**exact)
def _factors_of(j, moments, weight, bias, eps):
    """``mean``, ``scale`` and ``shift``, with which ``y = (x - mean) * scale + shift`` in channel j."""
    scale = weight[j] / math.sqrt(moments[2, j] + eps)
    return moments[0, j], np.float32(scale), np.float32(bias[j] - moments[1, j] * scale)


@inner(**exact)
def _factors(moments, weight, bias, eps):
    factors = np.empty((3, len(weight)), np.float32)
    for j in range(len(weight)):
        factors[0, j], factors[1, j], factors[2, j] = _factors_of(j, moments, weight, bias, eps)
    return factors


@inner(**exact)
def _normalise_part(part, x, factors, relu, y):
    for r in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
        for j in range(x.shape[1]):
            v = (x[r, j] - factors[0, j]) * factors[1, j] + factors[2, j]
            y[r, j] = np.float32(0) if relu and v < 0 else v


@jit(**exact)
def _normalise(x, moments, weight, bias, eps, relu, y):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, and ReLU of that if ``relu``."""
    factors = _factors(moments, weight, bias, eps)
    in_parallel(_normalise_part, PARTS, (x, factors, relu, y), x.size >= SERIAL)


@inner(**exact)
def _slope(relu, v):
    return np.float32(1) if not relu or v > 0 else np.float32(0)


@inner(**exact)
def _sums_of_part(part, x, v, gy, mean, relu, of_parts):
    """The sums of gy, and of gy times the deviations from the mean, over a part of the rows."""
    sums, c = of_parts[part], x.shape[1]
    size, start, stop = _blocks(x, part)
    total, product = np.empty(c, np.float32), np.empty(c, np.float32)
    for j in range(c):
        sums[0, j] = sums[1, j] = 0
    for block in range(start, stop):
        for j in range(c):
            total[j] = product[j] = 0
        for r in range(block * size, min((block + 1) * size, len(x))):
            for j in range(c):
                g = gy[r, j] * _slope(relu, v[r, j])
                total[j] += g
                product[j] += g * (x[r, j] - mean[j])
        for j in range(c):
            sums[0, j] += total[j]
            sums[1, j] += product[j]


@inner(**exact)
def _back_factors_of(j, rows, moments, weight, eps, of_parts, gweight, gbias):
    """``mean``, ``scale``, ``slope`` and ``offset``, with which ``gx = gy * scale - (x - mean) * slope - offset``; and
    the gradients of weight and bias: the sums of gy times xhat, and of gy."""
    total, product = 0.0, 0.0
    for part in range(len(of_parts)):
        total += of_parts[part, 0, j]
        product += of_parts[part, 1, j]
    rstd = 1 / math.sqrt(moments[2, j] + eps)
    product = (product - moments[1, j] * total) * rstd
    gweight[j], gbias[j] = product, total
    scale = weight[j] * rstd
    slope = np.float32(scale * rstd * product / rows)
    return moments[0, j], np.float32(scale), slope, np.float32(scale * total / rows - moments[1, j] * slope)


@inner(**exact)
def _back_factors(rows, moments, weight, eps, of_parts, gweight, gbias):
    factors = np.empty((4, len(weight)), np.float32)
    for j in range(len(weight)):
        factors[:, j] = _back_factors_of(j, rows, moments, weight, eps, of_parts, gweight, gbias)
    return factors


@inner(**exact)
def _gx_of_part(part, x, v, gy, factors, relu, gx):
    for r in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
        for j in range(x.shape[1]):
            g = gy[r, j] * _slope(relu, v[r, j])
            gx[r, j] = g * factors[1, j] - (x[r, j] - factors[0, j]) * factors[2, j] - factors[3, j]


@jit(**exact)
def _back(x, v, gy, moments, weight, eps, relu, constant, of_parts, gx, gweight, gbias):
    """``weight / s * (gy - mean(gy) - xhat * mean(gy * xhat))``, and the gradients of weight and bias.

    The means are missing where the moments are ``constant``. With ``relu``, ``gy`` is that of ReLU, ``v`` its output.
    """
    in_parallel(_sums_of_part, PARTS, (x, v, gy, moments[0], relu, of_parts), x.size >= SERIAL)
    rows = math.inf if constant else float(len(x))
    factors = _back_factors(rows, moments, weight, eps, of_parts, gweight, gbias)
    in_parallel(_gx_of_part, PARTS, (x, v, gy, factors, relu, gx), x.size >= SERIAL)


# ------------------------------------------------------------------------------------- batch norm, channels not last


CHUNK = 1024  # entries summed in float32 before the sum goes on in float64


@inner(**sums_only)
def _moments_of_channel(x, j, moments):
    """What :func:`_moments` computes, of images ``(n, c, positions)``, whose channels are each read twice."""
    count, total = x.shape[0] * x.shape[2], 0.0
    for i in range(len(x)):
        for start in range(0, x.shape[2], CHUNK):
            chunk, part = x[i, j, start : start + CHUNK], np.float32(0)
            for k in range(len(chunk)):
                part += chunk[k]
            total += np.float64(part)
    centre, rest, squares = np.float32(total / count), 0.0, 0.0
    for i in range(len(x)):
        for start in range(0, x.shape[2], CHUNK):
            chunk, part, square = x[i, j, start : start + CHUNK], np.float32(0), np.float32(0)
            for k in range(len(chunk)):
                deviation = chunk[k] - centre
                part += deviation
                square += deviation * deviation
            rest += np.float64(part)
            squares += np.float64(square)
    left = rest / count  # by rounding the centre
    moments[0, j] = centre + left
    moments[1, j] = centre + left - moments[0, j]
    moments[2, j] = squares / count - left * left


@inner(**exact)
def _normalise_channel(j, x, moments, weight, bias, eps, constant, y):
    if not constant:
        _moments_of_channel(x, j, moments)
    mean, scale, shift = _factors_of(j, moments, weight, bias, eps)
    for i in range(len(x)):
        for k in range(x.shape[2]):
            y[i, j, k] = (x[i, j, k] - mean) * scale + shift


@jit(**exact)
def _normalise_channels(x, moments, weight, bias, eps, constant, y):
    """Moments, unless they are ``constant``, and what :func:`_normalise` computes."""
    in_parallel(_normalise_channel, x.shape[1], (x, moments, weight, bias, eps, constant, y), x.size >= SERIAL)


@inner(**sums_only)
def _sums_of_channel(x, gy, j, mean, sums):
    sums[0, j] = sums[1, j] = 0
    for i in range(len(x)):
        for start in range(0, x.shape[2], CHUNK):
            g, v = gy[i, j, start : start + CHUNK], x[i, j, start : start + CHUNK]
            total, product = np.float32(0), np.float32(0)
            for k in range(len(g)):
                total += g[k]
                product += g[k] * (v[k] - mean)
            sums[0, j] += total
            sums[1, j] += product


@inner(**exact)
def _back_of_channel(j, x, gy, moments, weight, eps, constant, of_parts, gx, gweight, gbias):
    _sums_of_channel(x, gy, j, moments[0, j], of_parts[0])
    rows = math.inf if constant else float(x.shape[0] * x.shape[2])
    mean, scale, slope, offset = _back_factors_of(j, rows, moments, weight, eps, of_parts, gweight, gbias)
    for i in range(len(x)):
        for k in range(x.shape[2]):
            gx[i, j, k] = gy[i, j, k] * scale - (x[i, j, k] - mean) * slope - offset


@jit(**exact)
def _back_of_channels(x, gy, moments, weight, eps, constant, of_parts, gx, gweight, gbias):
    """What :func:`_back` computes."""
    arguments = x, gy, moments, weight, eps, constant, of_parts, gx, gweight, gbias
    in_parallel(_back_of_channel, x.shape[1], arguments, x.size >= SERIAL)


# ---------------------------------------------------------------------------------------------------------- batch norm


def _accepts(x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, **_):
    per_channel = [v for v in (running_mean, running_var, weight, bias) if v is not None]
    if x.ndim < 2 or x.dtype != np.float32 or any(v.shape != x.shape[1:2] or v.dtype != x.dtype for v in per_channel):
        return False
    known = running_mean is not None and running_var is not None
    return x.size > 0 and (x.size > x.shape[1] if training else known)


@kernel(ops.batch_norm, _accepts)
def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, eps=1e-5):
    global _latest
    c, constant = x.shape[1], not training
    moments = empty((3, c))
    if constant:
        call(_given_moments, running_mean, running_var, moments)
    scale = _constant(1, c) if weight is None else weight
    shift = _constant(0, c) if bias is None else bias
    normalise = _in_channels if x.flags.c_contiguous and x.size > len(x) * c else _in_rows
    y, pull = normalise(x, moments, scale, shift, eps, constant)
    if training:
        _latest = weakref.ref(y), moments
    gx, gweight, gbias = pulled_together(pull)
    return y, (gx, None, None, gweight, gbias)


def _in_rows(x, moments, weight, bias, eps, constant):
    """Value and gradients, with the channels last in memory."""
    rows, y, c = _rows(x), _like_rows(x), x.shape[1]
    if not constant:
        call(_moments, rows, np.empty((PARTS, 2, c)), moments)
    call(_normalise, rows, moments, weight, bias, eps, False, _rows(y))

    def pull(gy):
        gx, gweight, gbias, of_parts = _like_rows(x), empty((c,)), empty((c,)), np.empty((PARTS, 2, c))
        results = _rows(gx), gweight, gbias
        call(_back, rows, rows, _rows(gy), moments, weight, eps, False, constant, of_parts, *results)
        return gx, gweight, gbias

    return y, pull


def _in_channels(x, moments, weight, bias, eps, constant):
    """Value and gradients, with all positions of a channel together in memory."""
    n, c = x.shape[:2]
    channels, y = x.reshape(n, c, -1), empty(x.shape)
    call(_normalise_channels, channels, moments, weight, bias, eps, constant, y.reshape(n, c, -1))

    def pull(gy):
        gx, gweight, gbias, of_parts = empty(x.shape), empty((c,)), empty((c,)), np.empty((1, 2, c))
        results = gx.reshape(n, c, -1), gweight, gbias
        call(
            _back_of_channels,
            channels,
            in_order(gy).reshape(n, c, -1),
            moments,
            weight,
            eps,
            constant,
            of_parts,
            *results,
        )
        return gx, gweight, gbias

    return y, pull


_latest = (lambda: None, None)  # the output of the batch norm computed last, in training, and the moments of its batch


def _follow_batch(layer, y):
    """Take a layer's running statistics a step towards those of the batch that became ``y``, if these are known."""
    output, moments = _latest
    arrays = layer.running_mean, layer.running_var, layer.num_batches_tracked
    if output() is None or output() is not plain(y) or any(a.dtype != np.float32 for a in arrays[:2]):
        return False
    momentum = math.nan if layer.momentum is None else float(layer.momentum)
    call(_follow, moments, y.size // y.shape[1], momentum, *arrays)
    return True


norm.FUSED = _follow_batch


def _normalise_and_more(x, moments, weight, bias, eps, relu, which, a, *rest):
    """Batch norm and, of its output, what :mod:`elementwise` computes: ReLU in the same pass, others in place."""
    *other, y = rest  # there is another input of a sum or a product
    rectify = which == elementwise.RELU
    _normalise(x, moments, weight, bias, eps, rectify, y.reshape(x.shape))
    if not rectify:
        elementwise.compute(which, a, y, *(other or [y]), y)


def _more_and_back(which, a, gy, v, x, _, moments, weight, eps, relu, constant, of_parts, gx, gweight, gbias):
    """The way back through what :mod:`elementwise` computed of the output of batch norm, and through batch norm."""
    rectify = which == elementwise.RELU_GX
    if not rectify:
        elementwise.compute(which, a, gy, v, gx.reshape(-1))
    gy, v = (gy.reshape(x.shape), v.reshape(x.shape)) if rectify else (gx, x)
    _back(x, v, gy, moments, weight, eps, rectify, constant, of_parts, gx, gweight, gbias)


FUSED[_normalise, elementwise.compute] = _normalise_and_more
FUSED[elementwise.compute, _back] = _more_and_back


# ---------------------------------------------------------------------------------------------- layer norm and RMS norm


@inner(**sums_only)
def _normalise_each(part, x, weight, bias, eps, centred, y, moments):
    """A part of the rows. Kept of each: mean, 1 / s, and what rounding the mean left of it, times 1 / s.

    It is not ``(x - mean - rest) * rstd``, since that could be reassociated to ``(x - (mean + rest)) * rstd``.
    """
    n = np.float32(x.shape[1])
    for r in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
        mean = np.float32(0)
        if centred:
            for j in range(x.shape[1]):
                mean += x[r, j]
            mean /= n
        rest, square = np.float32(0), np.float32(0)
        for j in range(x.shape[1]):
            deviation = x[r, j] - mean
            rest += deviation
            square += deviation * deviation
        rest = rest / n if centred else np.float32(0)
        rstd = np.float32(1 / math.sqrt(square / n - rest * rest + eps))
        rest *= rstd
        moments[r, 0], moments[r, 1], moments[r, 2] = mean, rstd, rest
        for j in range(x.shape[1]):
            y[r, j] = ((x[r, j] - mean) * rstd - rest) * weight[j] + bias[j]


@jit(**sums_only)
def _each(x, weight, bias, eps, centred, y, moments):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` in every row; with mean 0 unless ``centred``."""
    in_parallel(_normalise_each, PARTS, (x, weight, bias, eps, centred, y, moments), x.size >= SERIAL)


@inner(**sums_only)
def _back_each(part, x, gy, weight, centred, moments, gx, of_parts):
    """A part of the rows, and its part of the sums of gy and of gy times xhat."""
    sums, d = of_parts[part], x.shape[1]
    n = np.float32(d)
    for j in range(d):
        sums[0, j] = sums[1, j] = 0
    for r in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
        mean, rstd, rest = moments[r, 0], moments[r, 1], moments[r, 2]
        total, product = np.float32(0), np.float32(0)
        for j in range(d):
            xhat = (x[r, j] - mean) * rstd - rest
            sums[0, j] += gy[r, j]
            sums[1, j] += gy[r, j] * xhat
            total += gy[r, j] * weight[j]
            product += gy[r, j] * weight[j] * xhat
        total = total / n if centred else np.float32(0)
        product /= n
        for j in range(d):
            xhat = (x[r, j] - mean) * rstd - rest
            gx[r, j] = rstd * (gy[r, j] * weight[j] - total - xhat * product)


@inner(**sums_only)
def _sums_of_parts(of_parts, gweight, gbias):
    for j in range(len(gweight)):
        total, product = 0.0, 0.0
        for part in range(PARTS):
            total += of_parts[part, 0, j]
            product += of_parts[part, 1, j]
        gweight[j], gbias[j] = product, total


@jit(**sums_only)
def _each_back(x, gy, weight, centred, moments, of_parts, gx, gweight, gbias):
    """``rstd * (g - mean(g) - xhat * mean(g * xhat))``, ``g = gy * weight``; the gradients of weight and bias."""
    in_parallel(_back_each, PARTS, (x, gy, weight, centred, moments, gx, of_parts), x.size >= SERIAL)
    _sums_of_parts(of_parts, gweight, gbias)


def _ends_in(x, weight=None, bias=None, *, normalized_shape, **_):
    last = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    given = [v for v in (weight, bias) if v is not None]
    fits = last and x.shape[-len(last) :] == last and all(v.shape == last for v in given)
    return fits and x.size > 0 and all(v.dtype == np.float32 for v in (x, *given))


def _normalise_features(x, weight, bias, eps, centred, shape):
    """The value, and the pullbacks of x, weight and bias."""
    d = math.prod(shape)
    rows, y = in_order(x).reshape(-1, d), empty(x.shape)
    scale = _constant(1, d) if weight is None else in_order(weight).reshape(d)
    shift = _constant(0, d) if bias is None else in_order(bias).reshape(d)
    moments = empty((len(rows), 3))
    call(_each, rows, scale, shift, eps, centred, y.reshape(-1, d), moments)

    def pull(gy):
        gx, gweight, gbias, of_parts = empty(x.shape), empty(shape), empty(shape), np.empty((PARTS, 2, d))
        results = gx.reshape(-1, d), gweight.reshape(d), gbias.reshape(d)
        call(_each_back, rows, in_order(gy).reshape(-1, d), scale, centred, moments, of_parts, *results)
        return gx, gweight, gbias

    return y, pulled_together(pull)


@kernel(ops.layer_norm, _ends_in)
def layer_norm(x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
    return _normalise_features(x, weight, bias, eps, True, np.atleast_1d(normalized_shape).tolist())


@kernel(ops.rms_norm, _ends_in)
def rms_norm(x, weight=None, *, normalized_shape, eps=None):
    eps = float(np.finfo(np.float32).eps) if eps is None else eps
    y, (gx, gweight, _) = _normalise_features(x, weight, None, eps, False, np.atleast_1d(normalized_shape).tolist())
    return y, (gx, gweight)


def warm():
    """Compile what follows a batch: the running statistics."""
    with using(BACKEND):
        norm.BatchNorm1d(2)(np.zeros((4, 2), np.float32))
