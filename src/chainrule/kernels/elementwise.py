"""Functions of one entry: activations, sums of two arrays, dropout; and the exponentials that other kernels need.

All of them share one compiled function, with a number that says which it is. Backward computes from the output where
that suffices, otherwise from the input.
"""

import functools
import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from chainrule import ops
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.microkernel import address
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.registry import call, flat, kernel, like
from chainrule.ops.elementwise import ERF_P, ERF_Q, ERF_R, ERF_S

f32 = np.float32
BLOCK = 4096  # entries that one thread takes at a time; they stay in its first-level cache

# -------------------------------------------------------------------------------------------------------- exponentials


@intrinsic
def _bits(typing, x):
    """The 32 bits of a float32, as an integer."""
    return types.int32(types.float32), lambda _, builder, __, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def _of_bits(typing, bits):
    """The float32 that has these 32 bits."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(args[0], ir.FloatType())


inlined = functools.partial(inner, forceinline=True)  # a loop that calls a function is not vectorised
exactly = functools.partial(inlined, fastmath={"contract"})  # in the order that is written: it relies on rounding

SHIFT = f32(1.5 * 2**23)  # added to a small number, it leaves the nearest integer in the lowest bits
LOG2_E = f32(math.log2(math.e))
LN2_HIGH = f32(0.693359375)  # ln 2 in two parts: an integer times the first is exact
LN2_LOW = f32(math.log(2) - 0.693359375)


@exactly
def _reduced(x):
    r"""The integer k and :math:`e^r - 1` with :math:`x = k \ln 2 + r`, :math:`|r| \le \ln(2) / 2`.

    The polynomial is that of Cephes' expf (S. Moshier).
    """
    shifted = x * LOG2_E + SHIFT
    k = shifted - SHIFT
    r = x - k * LN2_HIGH - k * LN2_LOW
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    return _bits(shifted) - _bits(SHIFT), p * r * r + r


@exactly
def _power_of_two(k):
    return _of_bits((k + np.int32(127)) << np.int32(23))


@exactly
def exp(x):
    """The exponential of a float32, within 1.1 units in the last place, in arithmetic that LLVM vectorises."""
    x = f32(-104) if x < f32(-104) else (f32(89) if x > f32(89) else x)  # 0 and infinity from there; NaN stays
    k, m = _reduced(x)
    half = k >> np.int32(1)  # in two steps: 2^k itself may be no float32 though the result is
    return (m + f32(1)) * _power_of_two(half) * _power_of_two(k - half)


@exactly
def expm1_below(x):
    """The exponential of a float32 that is not above 0, minus 1, within 2 units in the last place."""
    k, m = _reduced(f32(-30) if x < f32(-30) else x)
    scale = _power_of_two(k)
    return scale * m + (scale - f32(1))


# --------------------------------------------------------------------------------------------------------- activations


@inlined
def _logistic(x):
    """The sigmoid of a float32 and its derivative: no exponent above 0, so nothing overflows; no difference from 1."""
    e = exp(-abs(x))
    share = f32(1) / (f32(1) + e)
    return (e if x < 0 else f32(1)) * share, e * share * share


@inlined
def tanh(x):
    """The hyperbolic tangent of a float32: with m = exp(-2|x|) - 1, its size is -m / (m + 2)."""
    m = expm1_below(f32(-2) * abs(x))
    return math.copysign(m / (m + f32(2)), x)


@inlined
def _degree4(c, x):
    """A polynomial, its highest power first."""
    return (((f32(c[0]) * x + f32(c[1])) * x + f32(c[2])) * x + f32(c[3])) * x + f32(c[4])


@inlined
def _degree8(c, x):
    return (((_degree4(c[:5], x) * x + f32(c[5])) * x + f32(c[6])) * x + f32(c[7])) * x + f32(c[8])


@inlined
def _normal(x):
    """The probability that a standard normal number is below x, and its density: erf and 1 - erf as in ``ops.erf``."""
    z = x * f32(math.sqrt(0.5))
    size = abs(z)
    size = f32(11) if size > f32(11) else size  # from there exp(-z^2) is 0
    e = exp(-size * size)
    half_erf = f32(0.5) * z * (_degree4(ERF_P, size * size) / _degree4(ERF_Q, size * size))
    tail = f32(0.5) * e * (_degree8(ERF_R, size) / _degree8(ERF_S, size))
    cdf = f32(0.5) + half_erf if size < f32(0.46875) else (tail if x < 0 else f32(1) - tail)
    return cdf, e * f32(1 / math.sqrt(2 * math.pi))


TANH_SCALE = f32(2 * math.sqrt(2 / math.pi))


@inlined
def _normal_by_tanh(x):
    """The approximation of :func:`_normal` by a hyperbolic tangent, as (1 + tanh u) / 2 = sigmoid(2 u)."""
    z = TANH_SCALE * (x + f32(0.044715) * x * x * x)
    cdf, slope = _logistic(z)
    return cdf, slope * TANH_SCALE * (f32(1) + f32(0.134145) * x * x)


# fmt: off
(RELU, RELU_GX, LEAKY_RELU, LEAKY_RELU_GX, ELU, ELU_GX, SIGMOID, SIGMOID_GX, TANH, TANH_GX, SILU, SILU_GX,
 GELU, GELU_GX, GELU_TANH, GELU_TANH_GX, SUM, PRODUCT) = range(18)
# fmt: on


@inner
def _part(block):
    return slice(block * BLOCK, (block + 1) * BLOCK)


@inner
def _compute_block(block, which, a, u, v, y):
    part = _part(block)
    a, u, v, y = f32(a), u[part], v[part], y[part]
    # A loop that overwrites what it reads is not vectorised.
    if address(u) == address(y):
        u = u.copy()
    if address(v) == address(y):
        v = v.copy()
    if which == RELU:
        for i in range(len(y)):
            y[i] = f32(0) if u[i] < 0 else u[i]
    elif which == RELU_GX:
        for i in range(len(y)):
            y[i] = u[i] * (f32(1) if v[i] > 0 else f32(0))
    elif which == LEAKY_RELU:
        for i in range(len(y)):
            y[i] = u[i] if u[i] > 0 else a * u[i]
    elif which == LEAKY_RELU_GX:
        for i in range(len(y)):
            y[i] = u[i] * (f32(1) if v[i] > 0 else (a if v[i] <= 0 else f32(0)))
    elif which == ELU:
        for i in range(len(y)):
            below = a * expm1_below(f32(0) if u[i] > 0 else u[i])
            y[i] = u[i] if u[i] > 0 else below
    elif which == ELU_GX:
        for i in range(len(y)):
            below = a * exp(f32(0) if v[i] > 0 else v[i])
            y[i] = u[i] * (f32(1) if v[i] > 0 else below)
    elif which == SIGMOID:
        for i in range(len(y)):
            y[i] = _logistic(u[i])[0]
    elif which == SIGMOID_GX:
        for i in range(len(y)):
            y[i] = u[i] * (v[i] * (f32(1) - v[i]))
    elif which == TANH:
        for i in range(len(y)):
            y[i] = tanh(u[i])
    elif which == TANH_GX:
        for i in range(len(y)):
            y[i] = u[i] * (f32(1) - v[i] * v[i])
    elif which == SILU:
        for i in range(len(y)):
            y[i] = u[i] * _logistic(u[i])[0]
    elif which == SILU_GX:
        for i in range(len(y)):
            s, slope = _logistic(v[i])
            y[i] = u[i] * (s + v[i] * slope)
    elif which == GELU:
        for i in range(len(y)):
            y[i] = u[i] * _normal(u[i])[0]
    elif which == GELU_GX:
        for i in range(len(y)):
            cdf, pdf = _normal(v[i])
            y[i] = u[i] * (cdf + v[i] * pdf)
    elif which == GELU_TANH:
        for i in range(len(y)):
            y[i] = u[i] * _normal_by_tanh(u[i])[0]
    elif which == GELU_TANH_GX:
        for i in range(len(y)):
            cdf, pdf = _normal_by_tanh(v[i])
            y[i] = u[i] * (cdf + v[i] * pdf)
    elif which == SUM:
        for i in range(len(y)):
            y[i] = u[i] + v[i]
    elif which == PRODUCT:
        for i in range(len(y)):
            y[i] = a * u[i] * v[i]


@jit
def compute(which, a, u, v, y):
    """``a`` is a hyper-parameter. Of a gradient ``u`` is gy, and ``v`` the activation's output or input."""
    in_parallel(_compute_block, -(-len(y) // BLOCK), (which, a, u, v, y), len(y) >= SERIAL)


def _activation(which, x, a=0.0, *, from_output=False):
    y = np.empty_like(x)
    entries, out = flat(x), flat(y)
    call(compute, which, a, entries, entries, out)

    def gx(gy):
        result = np.empty_like(y)
        call(compute, which + 1, a, flat(like(gy, y)), out if from_output else entries, flat(result))
        return result

    return y, (gx,)


@kernel(ops.relu)
def relu(x):
    return _activation(RELU, x, from_output=True)


@kernel(ops.leaky_relu)
def leaky_relu(x, *, negative_slope=0.01):
    return _activation(LEAKY_RELU, x, float(negative_slope))


@kernel(ops.elu)
def elu(x, *, alpha=1.0):
    return _activation(ELU, x, float(alpha))


@kernel(ops.sigmoid)
def sigmoid_kernel(x):
    return _activation(SIGMOID, x, from_output=True)


@kernel(ops.tanh)
def tanh_kernel(x):
    return _activation(TANH, x, from_output=True)


@kernel(ops.silu)
def silu(x):
    return _activation(SILU, x)


@kernel(ops.gelu, accepts=lambda x, approximate="none": approximate in ("none", "tanh"))
def gelu(x, *, approximate="none"):
    return _activation(GELU if approximate == "none" else GELU_TANH, x)


# ------------------------------------------------------------------------------------------------ two arrays, and masks


@kernel(ops.add, accepts=lambda a, b: a.shape == b.shape and a.size >= SERIAL)
def add(a, b):
    """Only where several threads pay: below, NumPy's own loop has the lower overhead."""
    y = np.empty_like(a)
    call(compute, SUM, 0.0, flat(a), flat(like(b, y)), flat(y))
    return y, (lambda gy: gy, lambda gy: gy)


@inner
def _mask_block(block, x, mask, scale, y):
    part = _part(block)
    scale, x, mask, y = f32(scale), x[part], mask[part], y[part]
    for i in range(len(x)):
        y[i] = x[i] * f32(mask[i]) * scale


@jit
def _mask(x, mask, scale, y):
    in_parallel(_mask_block, -(-len(x) // BLOCK), (x, mask, scale, y), len(x) >= SERIAL)


@kernel(ops.dropout, accepts=lambda x, mask, p=0.5: mask.shape == x.shape and mask.dtype == bool and 0 <= p <= 1)
def dropout(x, mask, *, p=0.5):
    scale = 1 / (1 - p) if p < 1 else 0.0
    y, kept = np.empty_like(x), mask
    if mask.strides != tuple(stride // y.itemsize for stride in y.strides):  # memory of another order
        kept = np.empty_like(y, dtype=bool)
        call(np.copyto, kept, mask)
    call(_mask, flat(x), flat(kept), scale, flat(y))

    def gx(gy):
        result = np.empty_like(y)
        call(_mask, flat(like(gy, y)), flat(kept), scale, flat(result))
        return result

    return y, (gx, None)
