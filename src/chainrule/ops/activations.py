"""Activations: the functions between the linear layers of a network."""

from __future__ import annotations

import math

import numpy as np

from chainrule.engine import kink, op, sample
from chainrule.ops.broadcast import sum_to
from chainrule.ops.domains import mask as true_or_false
from chainrule.ops.domains import nonzero
from chainrule.ops.elementwise import SHAPES, erf

# --------------------------------------------------------------------------------------------------- the ReLU family


@op(
    "... -> ...",
    domain={"x": nonzero},
    samples=SHAPES,
    textbook=lambda x: (x + np.abs(x)) / 2,
    kinks=[kink((0.0,), (0.0,))],
)
def relu(x):
    r"""The positive part.

    Forward:
        .. math:: y_i = \max(x_i, 0)
    Backward:
        .. math:: \bar x_i = \bar y_i \, [x_i > 0]
    Derivation:
        .. math:: \frac{\partial y_i}{\partial x_j} = \delta_{ij} [x_i > 0] \quad \text{where } x_i \ne 0
        .. math:: \bar x_j = \sum_i \bar y_i \, \delta_{ij} [x_i > 0] = \bar y_j \, [x_j > 0]
        At 0 there is no derivative; by convention it is 0.
    Source: Nair, Hinton, *Rectified linear units improve restricted Boltzmann machines* (2010); the convention at 0 is
    PyTorch's.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def gx(gy):
        return gy * (x > 0)

    return np.maximum(x, 0), (gx,)


@op(
    "... -> ...",
    domain={"x": nonzero},
    samples=[*SHAPES, sample("3 4", negative_slope=0.3)],
    textbook=lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
    kinks=[kink((0.0,), (0.01,)), kink((0.0,), (0.3,), negative_slope=0.3)],
)
def leaky_relu(x, *, negative_slope=0.01):
    r"""A line that is less steep below 0.

    Args:
        x: any shape.
        negative_slope: the slope s below 0.

    Forward:
        .. math:: y_i = \max(x_i, 0) + s \min(x_i, 0)
    Backward:
        .. math:: \bar x_i = \bar y_i \left( [x_i > 0] + s \, [x_i \le 0] \right)
    Derivation:
        .. math:: \frac{\partial y_i}{\partial x_j} = \delta_{ij} \left( [x_i > 0] + s \, [x_i < 0] \right)
                  \quad \text{where } x_i \ne 0
        At 0 there is no derivative; by convention it is the slope below.
    Source: Maas, Hannun, Ng, *Rectifier nonlinearities improve neural network acoustic models* (2013); the convention
    at 0 is PyTorch's.

    >>> leaky_relu(np.array([-1.0, 2.0]))
    array([-0.01,  2.  ])
    """

    def gx(gy):
        return gy * (x > 0) + negative_slope * gy * (x <= 0)

    return np.maximum(x, 0) + negative_slope * np.minimum(x, 0), (gx,)


@op(
    "... -> ...",
    domain={"x": nonzero},
    samples=[*SHAPES, sample("3 4", alpha=0.3)],
    textbook=lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    kinks=[kink((0.0,), (0.3,), alpha=0.3)],
)
def elu(x, *, alpha=1.0):
    r"""A line above 0, below it an exponential that bends towards ``-alpha``.

    Args:
        x: any shape.
        alpha: minus the limit for very negative numbers.

    Forward:
        .. math:: y_i = \begin{cases} x_i & x_i > 0 \\ \alpha (e^{x_i} - 1) & x_i \le 0 \end{cases}
    Backward:
        .. math:: \bar x_i = \begin{cases} \bar y_i & x_i > 0 \\ \bar y_i \, \alpha e^{x_i} & x_i \le 0 \end{cases}
    Derivation:
        .. math:: \frac{\partial y_i}{\partial x_j}
                  = \delta_{ij} \left( [x_i > 0] + \alpha e^{x_i} [x_i < 0] \right) \quad \text{where } x_i \ne 0
        At 0 the two sides meet with slopes 1 and :math:`\alpha`; by convention the derivative is :math:`\alpha`.
        Nothing overflows, because the exponential is taken of :math:`\min(x, 0)`, for which both cases are one:
        .. math:: y = \max(x, 0) + \alpha \left( e^{\min(x, 0)} - 1 \right)
    Source: Clevert, Unterthiner, Hochreiter, *Fast and accurate deep network learning by exponential linear units*
    (2016); the convention at 0 is PyTorch's.

    >>> elu(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """
    below = np.clip(x, None, 0)  # and not np.minimum, whose slope at 0 is 1/2

    def gx(gy):
        return gy * (x > 0) + alpha * gy * np.exp(below) * (x <= 0)

    return np.maximum(x, 0) + alpha * np.expm1(below), (gx,)


SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@op(
    "... -> ...",
    domain={"x": nonzero},
    samples=SHAPES,
    textbook=lambda x: np.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * (np.exp(x) - 1)),
    kinks=[kink((0.0,), (SELU_SCALE * SELU_ALPHA,))],
)
def selu(x):
    r"""The ELU, scaled so that normal activations keep mean 0 and variance 1 from layer to layer.

    Forward:
        .. math:: y_i = \lambda \begin{cases} x_i & x_i > 0 \\ \alpha (e^{x_i} - 1) & x_i \le 0 \end{cases}
        with :math:`\lambda = 1.0507009873554805` and :math:`\alpha = 1.6732632423543772`.
    Backward:
        .. math:: \bar x_i = \lambda \bar y_i \begin{cases} 1 & x_i > 0 \\ \alpha e^{x_i} & x_i \le 0 \end{cases}
    Derivation:
        .. math:: y = \lambda \operatorname{elu}(x) \;\Rightarrow\;
                  \frac{\partial y_i}{\partial x_j} = \lambda \frac{\partial \operatorname{elu}(x_i)}{\partial x_j}
        At 0 there is no derivative; by convention it is the one from below, :math:`\lambda \alpha`.
    Source: Klambauer, Unterthiner, Mayr, Hochreiter, *Self-normalizing neural networks* (2017); the convention at 0 is
    PyTorch's.

    >>> selu(np.array([-1.0, 2.0])).round(4)
    array([-1.1113,  2.1014])
    """
    y, (elu_gx,) = elu.rule(x, alpha=SELU_ALPHA)

    def gx(gy):
        return elu_gx(SELU_SCALE * gy)

    return SELU_SCALE * y, (gx,)


# ------------------------------------------------------------------------------------------------- the sigmoid family


@op("... -> ...", samples=SHAPES, textbook=lambda x: 1 / (1 + np.exp(-x)))
def sigmoid(x):
    r"""The logistic function: from 0 to 1.

    Forward:
        .. math:: y_i = \frac{1}{1 + e^{-x_i}}
    Backward:
        .. math:: \bar x_i = \bar y_i \, y_i (1 - y_i)
    Derivation:
        .. math:: \frac{d y}{d x} = \frac{e^{-x}}{(1 + e^{-x})^2}
                  = \frac{1}{1 + e^{-x}} \left( 1 - \frac{1}{1 + e^{-x}} \right) = y (1 - y)
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial y_i}{\partial x_j}
                  = \sum_i \bar y_i \, \delta_{ij} \, y_i (1 - y_i) = \bar y_j \, y_j (1 - y_j)
        Nothing overflows, because the fraction is first multiplied, above and below, by :math:`e^{\min(x, 0)}`:
        .. math:: y = \frac{e^{\min(x, 0)}}{e^{\min(x, 0)} + e^{-\max(x, 0)}}
        as :math:`\min(x, 0) - x = -\max(x, 0)`. No exponent is above 0.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 3.10.

    >>> sigmoid(np.array([0.0, 1.0])).round(4)
    array([0.5   , 0.7311])
    """
    below, above = np.exp(np.minimum(x, 0)), np.exp(-np.maximum(x, 0))
    y = below / (below + above)

    def gx(gy):
        return gy * (y * (1 - y))

    return y, (gx,)


@op("... -> ...", numpy=np.tanh, samples=SHAPES, textbook=lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)))
def tanh(x):
    r"""The hyperbolic tangent: from -1 to 1.

    Forward:
        .. math:: y_i = \tanh x_i = \frac{e^{x_i} - e^{-x_i}}{e^{x_i} + e^{-x_i}}
    Backward:
        .. math:: \bar x_i = \bar y_i (1 - y_i^2)
    Derivation:
        .. math:: \frac{d y}{d x} = \frac{(e^x + e^{-x})^2 - (e^x - e^{-x})^2}{(e^x + e^{-x})^2} = 1 - y^2
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial y_i}{\partial x_j}
                  = \sum_i \bar y_i \, \delta_{ij} (1 - y_i^2) = \bar y_j (1 - y_j^2)
    Source: NIST Digital Library of Mathematical Functions, 4.28.4 and 4.34.

    >>> tanh(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7616])
    """
    y = np.tanh(x)

    def gx(gy):
        return gy * (1 - y * y)

    return y, (gx,)


@op("... -> ...", samples=SHAPES, textbook=lambda x: x / (1 + np.exp(-x)))
def silu(x):
    r"""Each number times its sigmoid (also called Swish).

    Forward:
        .. math:: y_i = x_i s_i, \qquad s_i = \frac{1}{1 + e^{-x_i}}
    Backward:
        .. math:: \bar x_i = \bar y_i \, s_i \left( 1 + x_i (1 - s_i) \right)
    Derivation:
        .. math:: \frac{d (x s)}{d x} = s + x \frac{d s}{d x} = s + x s (1 - s)
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial (x_i s_i)}{\partial x_j}
                  = \sum_i \bar y_i \, \delta_{ij} \, s_i \left( 1 + x_i (1 - s_i) \right)
                  = \bar y_j \, s_j \left( 1 + x_j (1 - s_j) \right)
    Source: Elfwing, Uchibe, Doya, *Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning* (2018).

    >>> silu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7311])
    """
    s = sigmoid(x)

    def gx(gy):
        return gy * (s * (1 + x * (1 - s)))

    return x * s, (gx,)


def _softplus_composed(x, *, beta=1.0, threshold=20.0):
    """As on paper: right, and overflows early."""
    return np.where(beta * x > threshold, x, np.log(1 + np.exp(beta * x)) / beta)


@op(
    "... -> ...",
    domain={"x": nonzero},
    samples=[*SHAPES, sample("3 4", beta=2.5), sample("3 4", beta=2.0, threshold=0.4), sample("3 4", beta=-1.5)],
    textbook=_softplus_composed,
)
def softplus(x, *, beta=1.0, threshold=20.0):
    r"""A smooth ReLU, its slope the sigmoid.

    Args:
        x: any shape.
        beta: how sharp the bend is; as it grows, softplus becomes the ReLU.
        threshold: where ``beta * x`` is above it, ``x`` itself is returned, with slope 1.

    Raises:
        ValueError: ``beta`` is 0.

    Forward:
        .. math:: y_i = \frac{1}{\beta} \ln(1 + e^{\beta x_i})
    Backward:
        .. math:: \bar x_i = \bar y_i \frac{1}{1 + e^{-\beta x_i}}
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial y_i}{\partial x_j}
                  = \sum_i \bar y_i \frac{1}{\beta} \frac{\delta_{ij} \, \beta e^{\beta x_i}}{1 + e^{\beta x_i}}
                  = \bar y_j \frac{1}{1 + e^{-\beta x_j}}
        Nothing overflows, because the larger of the two terms is taken out of the logarithm: with :math:`z = \beta x`,
        .. math:: \ln(1 + e^z) = \max(z, 0) + \ln(1 + e^{-|z|})
    Source: Dugas, Bengio, Bélisle, Nadeau, Garcia, *Incorporating second-order functional knowledge for better option
    pricing* (2001); the threshold is PyTorch's.

    >>> softplus(np.array([0.0, 30.0])).round(4)
    array([ 0.6931, 30.    ])
    """
    if beta == 0:
        raise ValueError("softplus: beta=0, expected any other number")
    z = beta * x
    smooth = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))

    def gx(gy):
        return gy * np.where(z > threshold, 1, sigmoid(z))

    return np.where(z > threshold, x, smooth / beta), (gx,)


def _gelu_composed(x, *, approximate="none"):
    """The two formulas as PyTorch documents them."""
    if approximate == "none":
        return x * (1 + erf(x / math.sqrt(2))) / 2
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@op("... -> ...", samples=[*SHAPES, sample("3 4", approximate="tanh")], textbook=_gelu_composed)
def gelu(x, *, approximate="none"):
    r"""Each number times the probability that a standard normal number is below it.

    Args:
        x: any shape.
        approximate: ``"none"`` for the normal distribution itself, ``"tanh"`` for its approximation by a hyperbolic
            tangent.

    Raises:
        ValueError: ``approximate`` is neither.

    Forward:
        .. math:: y_i = x_i \, \Phi(x_i), \qquad
                  \Phi(x) = \frac{1}{2} \left( 1 + \operatorname{erf}\left( \frac{x}{\sqrt 2} \right) \right)
        or, approximately,
        .. math:: \Phi(x) \approx \frac{1 + \tanh u}{2}, \qquad
                  u = \sqrt{\frac{2}{\pi}} \left( x + 0.044715 \, x^3 \right)
    Backward:
        .. math:: \bar x_i = \bar y_i \left( \Phi(x_i) + x_i \Phi'(x_i) \right)
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial (x_i \Phi(x_i))}{\partial x_j}
                  = \sum_i \bar y_i \, \delta_{ij} \left( \Phi(x_i) + x_i \Phi'(x_i) \right)
        .. math:: \Phi'(x) = \frac{1}{2} \cdot \frac{2}{\sqrt\pi} e^{-x^2 / 2} \cdot \frac{1}{\sqrt 2}
                  = \frac{1}{\sqrt{2 \pi}} e^{-x^2 / 2}
        or, approximately, with :math:`\tanh' = 1 - \tanh^2`,
        .. math:: \Phi'(x) \approx \frac{1 - \tanh^2 u}{2} \sqrt{\frac{2}{\pi}} \left( 1 + 0.134145 \, x^2 \right)
    Source: Hendrycks, Gimpel, *Gaussian error linear units* (2016).

    >>> gelu(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """
    if approximate == "none":
        cdf = (1 + erf(x / math.sqrt(2))) / 2
        pdf = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    elif approximate == "tanh":
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
        cdf = (1 + t) / 2
        pdf = (1 - t * t) / 2 * (math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x))
    else:
        raise ValueError(f"gelu: approximate={approximate!r}, expected 'none' or 'tanh'")

    def gx(gy):
        return gy * (cdf + x * pdf)

    return x * cdf, (gx,)


# ---------------------------------------------------------------------------------------------------- distributions

ALONG = ("3 4", sample("3 4", dim=0), sample("2 3 4", dim=1), "5", "3 1", "0 3")


@op("_ -> _", samples=ALONG, textbook=lambda x, dim=-1: np.exp(x) / np.exp(x).sum(dim, keepdims=True))
def softmax(x, *, dim=-1):
    r"""Positive numbers that sum to 1 along an axis: the larger the logit, the larger its share.

    Args:
        x: logits, any real numbers, of any shape.
        dim: the axis along which the results sum to 1.

    Raises:
        ValueError: ``x`` has no axis ``dim``, or that axis is empty.

    Forward:
        .. math:: y_k = \frac{e^{x_k}}{\sum_i e^{x_i}}
    Backward:
        .. math:: \bar x_j = y_j \left( \bar y_j - \sum_k \bar y_k y_k \right)
    Derivation:
        Write :math:`y_k = e^{x_k} / s` with :math:`s = \sum_i e^{x_i}`. The denominator holds every logit, the
        numerator only its own:
        .. math:: \frac{\partial s}{\partial x_j} = e^{x_j}, \qquad
                  \frac{\partial e^{x_k}}{\partial x_j} = \delta_{kj} e^{x_k}
        This makes two cases of the quotient rule. For k = j,
        .. math:: \frac{\partial y_j}{\partial x_j} = \frac{e^{x_j} s - e^{x_j} e^{x_j}}{s^2}
                  = \frac{e^{x_j}}{s} \left( 1 - \frac{e^{x_j}}{s} \right) = y_j (1 - y_j)
        and for k different from j,
        .. math:: \frac{\partial y_k}{\partial x_j} = \frac{0 \cdot s - e^{x_k} e^{x_j}}{s^2} = -y_k y_j
        Both in one:
        .. math:: \frac{\partial y_k}{\partial x_j} = y_k (\delta_{kj} - y_j)
        The gradient coming in is multiplied by this matrix, not entry by entry: every output depends on every logit.
        .. math:: \bar x_j = \sum_k \bar y_k \frac{\partial y_k}{\partial x_j}
                  = \sum_k \bar y_k y_k \delta_{kj} - \sum_k \bar y_k y_k y_j
                  = y_j \left( \bar y_j - \sum_k \bar y_k y_k \right)
        A constant added to all logits cancels in the quotient. Subtracting the largest one changes nothing and keeps
        every exponent at or below 0.
    Source: Bridle, *Probabilistic interpretation of feedforward classification network outputs* (1990); Goodfellow,
    Bengio, Courville, *Deep Learning* (2016), section 6.2.2.3.

    >>> softmax(np.array([0.0, 1.0])).round(4)
    array([0.2689, 0.7311])
    >>> y, (gx,) = softmax.rule(np.array([0.0, 0.0]))
    >>> gx(np.array([1.0, 0.0]))
    array([ 0.25, -0.25])
    """
    e = np.exp(x - x.max(dim, keepdims=True))
    y = e / e.sum(dim, keepdims=True)

    def gx(gy):
        return y * (gy - (gy * y).sum(dim, keepdims=True))

    return y, (gx,)


@op("_ -> _", samples=ALONG, textbook=lambda x, dim=-1: np.log(np.exp(x) / np.exp(x).sum(dim, keepdims=True)))
def log_softmax(x, *, dim=-1):
    r"""The logarithm of the softmax, which does not become minus infinity where a probability rounds to 0.

    Args:
        x: logits, any real numbers, of any shape.
        dim: the axis along which the exponentials of the results sum to 1.

    Raises:
        ValueError: ``x`` has no axis ``dim``, or that axis is empty.

    Forward:
        .. math:: y_k = x_k - \ln \sum_i e^{x_i}
    Backward:
        .. math:: \bar x_j = \bar y_j - e^{y_j} \sum_k \bar y_k
    Derivation:
        .. math:: \frac{\partial y_k}{\partial x_j}
                  = \delta_{kj} - \frac{1}{\sum_i e^{x_i}} \sum_i \delta_{ij} e^{x_i}
                  = \delta_{kj} - \frac{e^{x_j}}{\sum_i e^{x_i}} = \delta_{kj} - e^{y_j}
        .. math:: \bar x_j = \sum_k \bar y_k \frac{\partial y_k}{\partial x_j}
                  = \sum_k \bar y_k (\delta_{kj} - e^{y_j}) = \bar y_j - e^{y_j} \sum_k \bar y_k
        The exponential of the result is the softmax. As there, the largest logit is subtracted first.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 6.2.2.3.

    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    z = x - x.max(dim, keepdims=True)
    y = z - np.log(np.exp(z).sum(dim, keepdims=True))

    def gx(gy):
        return gy - np.exp(y) * gy.sum(dim, keepdims=True)

    return y, (gx,)


# ---------------------------------------------------------------------------------------------------------- dropout


@op(
    "..., ... -> ...",
    domain={"mask": true_or_false},
    samples=["3 4, 3 4", sample("3 4, 3 4", p=0.1), sample("3 4, 3 1", p=0.0), "4, 3 4", "0 3, 0 3", ","],
    textbook=lambda x, mask, p=0.5: np.where(mask, x / (1 - p), 0),
)
def dropout(x, mask, *, p=0.5):
    r"""Some entries set to 0, the others scaled up so that the mean over all masks is what it was.

    Args:
        x: any shape.
        mask: boolean, True where an entry is kept: an input, so that the op is pure. It may broadcast against ``x``.
        p: the probability with which an entry was dropped, from 0 to 1; at 1 everything is.

    Raises:
        ValueError: the mask is not boolean, or ``p`` is not a probability.

    Forward:
        .. math:: y_i = \frac{m_i x_i}{1 - p}
    Backward:
        .. math:: \bar x_i = \frac{m_i \bar y_i}{1 - p}
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \frac{\partial}{\partial x_j} \frac{m_i x_i}{1 - p}
                  = \sum_i \bar y_i \frac{m_i \delta_{ij}}{1 - p} = \frac{m_j \bar y_j}{1 - p}
        The mask is no number and has no gradient. Backward uses the mask that forward used.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, *Dropout* (2014), section 10, in the form that
    scales while training (inverted dropout), as PyTorch does.

    >>> dropout(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    array([2., 0., 6.])
    """
    if mask.dtype != bool:
        raise ValueError(f"dropout: mask holds {mask.dtype}, expected bool: True where an entry is kept")
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p}, expected a probability from 0 to 1")
    scale = 1 / (1 - p) if p < 1 else 0.0

    def gx(gy):
        return sum_to(gy * mask * scale, x.shape)

    return x * mask * scale, (gx, None)
