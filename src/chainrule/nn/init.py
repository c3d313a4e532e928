"""First values of parameters. As in PyTorch a trailing underscore says: in place; the parameter is returned.

``rng`` is a NumPy Generator; without one, the values differ from call to call. Fans are those of a weight of shape
``(out, in, ...)``: ``fan_in`` counts what enters one output unit, ``fan_out`` what leaves one input unit.
"""

from __future__ import annotations

import math

import numpy as np

from chainrule.engine import Parameter

Rng = np.random.Generator | None

# Factors that keep the variance of activations from layer to layer; PyTorch's table in torch.nn.init.
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    r"""The factor by which weights before this nonlinearity are enlarged.

    Args:
        nonlinearity: linear, sigmoid, tanh, relu, selu or leaky_relu.
        param: the negative slope :math:`a` of leaky_relu, whose gain is :math:`\sqrt{2 / (1 + a^2)}`.

    >>> round(calculate_gain("leaky_relu", 0.0), 4)
    1.4142
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + param**2))
    if nonlinearity not in GAINS:
        known = ", ".join([*GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: nonlinearity is {nonlinearity!r}, expected one of {known}")
    return GAINS[nonlinearity]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a weight of shape ``(out, in, *kernel)``.

    >>> fans((16, 3, 5, 5))
    (75, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"fans: a weight has at least 2 axes, (out, in), found shape {shape}")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def constant_(tensor: Parameter, val: float) -> Parameter:
    """Every entry ``val``.

    >>> constant_(Parameter(np.empty(2)), 0.1)
    Parameter([0.1, 0.1], requires_grad=True)
    """
    tensor.value[...] = val
    return tensor


def zeros_(tensor: Parameter) -> Parameter:
    """Every entry 0.

    >>> zeros_(Parameter(np.empty(2)))
    Parameter([0., 0.], requires_grad=True)
    """
    return constant_(tensor, 0.0)


def normal_(tensor: Parameter, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None) -> Parameter:
    r"""Independent draws from :math:`\mathcal N(\text{mean}, \text{std}^2)`.

    >>> normal_(Parameter(np.zeros((2, 2))), std=1e-4, rng=np.random.default_rng(0)).shape
    (2, 2)
    """
    tensor.value[...] = (rng or np.random.default_rng()).normal(mean, std, tensor.shape)
    return tensor


def uniform_(tensor: Parameter, a: float = 0.0, b: float = 1.0, *, rng: Rng = None) -> Parameter:
    r"""Independent draws from :math:`\mathcal U(a, b)`.

    >>> draws = uniform_(Parameter(np.empty(1000)), 2.0, 3.0, rng=np.random.default_rng(0)).value
    >>> bool(draws.min() >= 2 and draws.max() < 3)
    True
    """
    tensor.value[...] = (rng or np.random.default_rng()).uniform(a, b, tensor.shape)
    return tensor


def xavier_uniform_(tensor: Parameter, gain: float = 1.0, *, rng: Rng = None) -> Parameter:
    r"""Glorot's uniform: :math:`\mathcal U(-a, a)` with :math:`a = \text{gain} \sqrt{6 / (\text{fan in + fan out})}`.

    Source: Glorot, Bengio, *Understanding the difficulty of training deep feedforward neural networks* (2010), eq. 16.

    >>> weight = xavier_uniform_(Parameter(np.empty((200, 400))), rng=np.random.default_rng(0)).value
    >>> float(np.abs(weight).max().round(3))  # the square root of 6 / 600
    0.1
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor.shape)))
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: Parameter, gain: float = 1.0, *, rng: Rng = None) -> Parameter:
    r"""Glorot's normal: standard deviation :math:`\text{gain} \sqrt{2 / (\text{fan in} + \text{fan out})}`.

    Source: Glorot, Bengio, *Understanding the difficulty of training deep feedforward neural networks* (2010).

    >>> weight = xavier_normal_(Parameter(np.empty((200, 600))), rng=np.random.default_rng(0)).value
    >>> float(weight.std().round(3))  # the square root of 2 / 800
    0.05
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor.shape))), rng=rng)


def kaiming_uniform_(
    tensor: Parameter, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, rng: Rng = None
) -> Parameter:
    r"""He's uniform: :math:`\mathcal U(-b, b)`, :math:`b = \text{gain} \sqrt{3 / \text{fan}}`.

    Source: He, Zhang, Ren, Sun, *Delving deep into rectifiers* (2015), section 2.2.

    >>> weight = kaiming_uniform_(Parameter(np.empty((200, 600))), rng=np.random.default_rng(0)).value
    >>> float(np.abs(weight).max().round(3))  # the square root of 2 times 3 / 600
    0.1
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(
    tensor: Parameter, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, rng: Rng = None
) -> Parameter:
    r"""He's normal: standard deviation :math:`\text{gain} / \sqrt{\text{fan}}`.

    Source: He, Zhang, Ren, Sun, *Delving deep into rectifiers* (2015), section 2.2.

    >>> weight = kaiming_normal_(Parameter(np.empty((200, 800))), rng=np.random.default_rng(0)).value
    >>> float(weight.std().round(3))  # the square root of 2 / 800
    0.05
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), rng=rng)


def _kaiming_std(tensor: Parameter, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming initialisation: mode is {mode!r}, expected 'fan_in' or 'fan_out'")
    fan = fans(tensor.shape)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)
