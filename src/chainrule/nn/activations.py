"""Activations as layers. Each is the op of the same name, which has the formula and its derivation."""

from __future__ import annotations

from typing import Any

from chainrule import ops
from chainrule.nn.module import Module


class ReLU(Module):
    """:func:`chainrule.ops.relu`: the positive part.

    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def __call__(self, x: Any) -> Any:
        return ops.relu(x)


class LeakyReLU(Module):
    """:func:`chainrule.ops.leaky_relu`: negative numbers times ``negative_slope``.

    >>> LeakyReLU(0.1)(np.array([-1.0, 2.0]))
    array([-0.1,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def __call__(self, x: Any) -> Any:
        return ops.leaky_relu(x, negative_slope=self.negative_slope)


class ELU(Module):
    """:func:`chainrule.ops.elu`: negative numbers bend towards ``-alpha``.

    >>> ELU()(np.array([0.0, 2.0]))
    array([0., 2.])
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def __call__(self, x: Any) -> Any:
        return ops.elu(x, alpha=self.alpha)


class SELU(Module):
    """:func:`chainrule.ops.selu`: the ELU scaled so that activations keep mean 0 and variance 1.

    >>> SELU()(np.array([1.0])).round(4)
    array([1.0507])
    """

    def __call__(self, x: Any) -> Any:
        return ops.selu(x)


class GELU(Module):
    """:func:`chainrule.ops.gelu`: each number times the normal probability of being below it.

    >>> GELU()(np.array([1.0])).round(4)
    array([0.8413])
    """

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate

    def __call__(self, x: Any) -> Any:
        return ops.gelu(x, approximate=self.approximate)


class SiLU(Module):
    """:func:`chainrule.ops.silu`: each number times its sigmoid.

    >>> SiLU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7311])
    """

    def __call__(self, x: Any) -> Any:
        return ops.silu(x)


class Softplus(Module):
    """:func:`chainrule.ops.softplus`: a smooth ReLU.

    >>> Softplus()(np.array([0.0])).round(4)
    array([0.6931])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = beta, threshold

    def __call__(self, x: Any) -> Any:
        return ops.softplus(x, beta=self.beta, threshold=self.threshold)


class Sigmoid(Module):
    """:func:`chainrule.ops.sigmoid`: the logistic function.

    >>> Sigmoid()(np.array([0.0]))
    array([0.5])
    """

    def __call__(self, x: Any) -> Any:
        return ops.sigmoid(x)


class Tanh(Module):
    """:func:`chainrule.ops.tanh`: the hyperbolic tangent.

    >>> Tanh()(np.array([0.0]))
    array([0.])
    """

    def __call__(self, x: Any) -> Any:
        return ops.tanh(x)


class Softmax(Module):
    """:func:`chainrule.ops.softmax` along ``dim``: positive numbers that sum to 1.

    >>> Softmax()(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return ops.softmax(x, dim=self.dim)


class LogSoftmax(Module):
    """:func:`chainrule.ops.log_softmax` along ``dim``: the logarithm of the softmax.

    >>> LogSoftmax()(np.array([0.0, 0.0])).round(4)
    array([-0.6931, -0.6931])
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return ops.log_softmax(x, dim=self.dim)
