"""Every operation, one function each: its value, its derivative, the derivation and the source together.

On arrays an op returns an array; on Tensors, a Tensor. ``op.rule(*arrays)`` returns the value and the pullbacks.
"""

from chainrule.ops.activations import (
    dropout,
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from chainrule.ops.arithmetic import add, div, identity, maximum, minimum, mul, neg, pow, sub, where
from chainrule.ops.elementwise import abs, clip, cos, erf, exp, expm1, log, log1p, sin, sqrt, square
from chainrule.ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
)
from chainrule.ops.matrix import einsum, linear, matmul
from chainrule.ops.reduce import cumsum, logsumexp, max, mean, min, sum, var
from chainrule.ops.shape import (
    astype,
    broadcast_to,
    concatenate,
    getitem,
    pad,
    reshape,
    scatter,
    squeeze,
    stack,
    transpose,
    unsqueeze,
)

__all__ = [
    "abs", "add", "astype", "binary_cross_entropy", "binary_cross_entropy_with_logits", "broadcast_to", "clip",
    "concatenate", "cos", "cross_entropy", "cumsum", "div", "dropout", "einsum", "elu", "erf", "exp", "expm1",
    "gelu", "getitem", "huber_loss", "identity", "l1_loss", "leaky_relu", "linear", "log", "log1p", "log_softmax",
    "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "mse_loss", "mul", "neg", "nll_loss", "pad",
    "pow", "relu", "reshape", "scatter", "selu", "sigmoid", "silu", "sin", "softmax", "softplus", "sqrt", "square",
    "squeeze", "stack", "sub", "sum", "tanh", "transpose", "unsqueeze", "var", "where",
]  # fmt: skip
