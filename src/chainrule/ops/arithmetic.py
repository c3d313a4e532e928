"""Arithmetic of two arrays, element by element, with broadcasting."""

from __future__ import annotations

import numpy as np

from chainrule.engine import kink, op
from chainrule.ops.broadcast import sum_to
from chainrule.ops.domains import distinct, mask, nonzero, positive

PAIRS = ("3 4, 3 4", "3 4, 4", "3 1, 1 4", "1, 2 3", ", 3", "0 3, 3")


@op("..., ... -> ...", numpy=np.add, samples=PAIRS)
def add(a, b):
    r"""The sum of two arrays.

    Forward:
        .. math:: y_i = a_i + b_i
    Backward:
        .. math:: \bar a_i = \bar y_i, \qquad \bar b_i = \bar y_i
    Derivation:
        .. math:: \bar a_j = \sum_i \bar y_i \frac{\partial (a_i + b_i)}{\partial a_j}
                  = \sum_i \bar y_i \, \delta_{ij} = \bar y_j
        Where broadcasting has copied an entry, its gradient is the sum over the copies.
    Source: sum rule of differentiation.

    >>> add(np.array([1.0, 2.0]), 3.0)
    array([4., 5.])
    """

    def ga(gy):
        return sum_to(gy, a.shape)

    def gb(gy):
        return sum_to(gy, b.shape)

    return a + b, (ga, gb)


@op("..., ... -> ...", numpy=np.subtract, samples=PAIRS)
def sub(a, b):
    r"""The difference of two arrays.

    Forward:
        .. math:: y_i = a_i - b_i
    Backward:
        .. math:: \bar a_i = \bar y_i, \qquad \bar b_i = -\bar y_i
    Derivation:
        .. math:: \bar b_j = \sum_i \bar y_i \frac{\partial (a_i - b_i)}{\partial b_j}
                  = -\sum_i \bar y_i \, \delta_{ij} = -\bar y_j
        Where broadcasting has copied an entry, its gradient is the sum over the copies.
    Source: sum rule of differentiation.

    >>> sub(np.array([1.0, 2.0]), 3.0)
    array([-2., -1.])
    """

    def ga(gy):
        return sum_to(gy, a.shape)

    def gb(gy):
        return sum_to(-gy, b.shape)

    return a - b, (ga, gb)


@op("..., ... -> ...", numpy=np.multiply, samples=PAIRS)
def mul(a, b):
    r"""The product of two arrays, element by element.

    Forward:
        .. math:: y_i = a_i b_i
    Backward:
        .. math:: \bar a_i = \bar y_i b_i, \qquad \bar b_i = \bar y_i a_i
    Derivation:
        .. math:: \bar a_j = \sum_i \bar y_i \frac{\partial (a_i b_i)}{\partial a_j}
                  = \sum_i \bar y_i \, \delta_{ij} b_i = \bar y_j b_j
        Where broadcasting has copied an entry, its gradient is the sum over the copies.
    Source: product rule of differentiation.

    >>> mul(np.array([1.0, 2.0]), 3.0)
    array([3., 6.])
    """

    def ga(gy):
        return sum_to(gy * b, a.shape)

    def gb(gy):
        return sum_to(gy * a, b.shape)

    return a * b, (ga, gb)


@op("..., ... -> ...", numpy=np.divide, domain={"b": nonzero}, samples=PAIRS)
def div(a, b):
    r"""The quotient of two arrays, element by element.

    Forward:
        .. math:: y_i = a_i / b_i
    Backward:
        .. math:: \bar a_i = \bar y_i / b_i, \qquad \bar b_i = -\bar y_i \, a_i / b_i^2
    Derivation:
        .. math:: \bar b_j = \sum_i \bar y_i \frac{\partial (a_i b_i^{-1})}{\partial b_j}
                  = \sum_i \bar y_i \, a_i (-b_i^{-2}) \, \delta_{ij} = -\bar y_j a_j / b_j^2
        The minus sign comes from the power rule for :math:`b^{-1}`. With :math:`y = a / b` at hand the same is
        :math:`-\bar y_j y_j / b_j`, which does not overflow where :math:`b^2` would.
    Source: quotient rule of differentiation.

    >>> div(np.array([1.0, 2.0]), 4.0)
    array([0.25, 0.5 ])
    """
    y = a / b

    def ga(gy):
        return sum_to(gy / b, a.shape)

    def gb(gy):
        return sum_to(-gy * y / b, b.shape)

    return y, (ga, gb)


@op("... -> ...", numpy=np.positive)
def identity(x):
    r"""The same numbers (the studies' Id).

    Forward:
        .. math:: y_i = x_i
    Backward:
        .. math:: \bar x_i = \bar y_i
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \, \delta_{ij} = \bar y_j
    Source: the identity.

    >>> identity(np.array([1.0, -2.0]))
    array([ 1., -2.])
    """

    def gx(gy):
        return +gy

    return +x, (gx,)


@op("... -> ...", numpy=np.negative)
def neg(x):
    r"""The numbers with the other sign.

    Forward:
        .. math:: y_i = -x_i
    Backward:
        .. math:: \bar x_i = -\bar y_i
    Derivation:
        .. math:: \bar x_j = \sum_i \bar y_i \, (-\delta_{ij}) = -\bar y_j
    Source: linearity of differentiation.

    >>> neg(np.array([1.0, -2.0]))
    array([-1.,  2.])
    """

    def gx(gy):
        return -gy

    return -x, (gx,)


@op("..., ... -> ...", numpy=np.power, domain={"a": positive}, samples=PAIRS, kinks=[kink((0.0, 2.0), (0.0, 0.0))])
def pow(a, b):
    r"""A base to the power of an exponent, element by element.

    Forward:
        .. math:: y_i = a_i^{b_i}
    Backward:
        .. math:: \bar a_i = \bar y_i \, b_i a_i^{b_i - 1}, \qquad \bar b_i = \bar y_i \, a_i^{b_i} \ln a_i
    Derivation:
        .. math:: y_i = e^{b_i \ln a_i} \;\Rightarrow\; \frac{\partial y_i}{\partial b_j} = \delta_{ij} \, y_i \ln a_i,
                  \qquad \frac{\partial y_i}{\partial a_j} = \delta_{ij} \, y_i \frac{b_i}{a_i}
        At :math:`a = 0` the limit of :math:`a^b \ln a` for positive :math:`b` is 0, and that is what is returned; so it
        is for :math:`b = 0`, where neither gradient has a limit. For negative :math:`a` the exponent has no real
        derivative: its gradient is NaN.
    Source: power rule of differentiation; the convention at 0 is PyTorch's.

    >>> pow(np.array([2.0, 3.0]), 2)
    array([4., 9.])
    """
    y = a**b

    def ga(gy):
        return sum_to(gy * b * np.where((a == 0) & (b == 0), 1, a) ** (b - 1), a.shape)

    def gb(gy):
        return sum_to(gy * y * np.log(np.where((a == 0) & (b >= 0), 1, a)), b.shape)

    return y, (ga, gb)


@op(
    "..., ... -> ...",
    numpy=np.maximum,
    domain={"a": distinct},
    samples=PAIRS,
    textbook=lambda a, b: (a + b + np.abs(a - b)) / 2,
    kinks=[kink((1.0, 1.0), (0.5, 0.5))],
)
def maximum(a, b):
    r"""The larger of two numbers, element by element.

    Forward:
        .. math:: y_i = \max(a_i, b_i)
    Backward:
        .. math:: \bar a_i = \bar y_i \, [a_i > b_i], \qquad \bar b_i = \bar y_i \, [b_i > a_i]
    Derivation:
        .. math:: \frac{\partial y_i}{\partial a_j} = \delta_{ij} [a_i > b_i] \quad \text{where } a_i \ne b_i
        At a tie there is no derivative; by convention each side gets half.
    Source: piecewise differentiation; the convention at ties is PyTorch's.

    >>> maximum(np.array([1.0, -2.0]), 0.0)
    array([1., 0.])
    """

    def ga(gy):
        return sum_to(np.where(a == b, gy / 2, np.where(a > b, gy, 0)), a.shape)

    def gb(gy):
        return sum_to(np.where(a == b, gy / 2, np.where(b > a, gy, 0)), b.shape)

    return np.maximum(a, b), (ga, gb)


@op(
    "..., ... -> ...",
    numpy=np.minimum,
    domain={"a": distinct},
    samples=PAIRS,
    textbook=lambda a, b: (a + b - np.abs(a - b)) / 2,
    kinks=[kink((1.0, 1.0), (0.5, 0.5))],
)
def minimum(a, b):
    r"""The smaller of two numbers, element by element.

    Forward:
        .. math:: y_i = \min(a_i, b_i)
    Backward:
        .. math:: \bar a_i = \bar y_i \, [a_i < b_i], \qquad \bar b_i = \bar y_i \, [b_i < a_i]
    Derivation:
        .. math:: \frac{\partial y_i}{\partial a_j} = \delta_{ij} [a_i < b_i] \quad \text{where } a_i \ne b_i
        At a tie there is no derivative; by convention each side gets half.
    Source: piecewise differentiation; the convention at ties is PyTorch's.

    >>> minimum(np.array([1.0, -2.0]), 0.0)
    array([ 0., -2.])
    """

    def ga(gy):
        return sum_to(np.where(a == b, gy / 2, np.where(a < b, gy, 0)), a.shape)

    def gb(gy):
        return sum_to(np.where(a == b, gy / 2, np.where(b < a, gy, 0)), b.shape)

    return np.minimum(a, b), (ga, gb)


@op("..., ..., ... -> ...", numpy=np.where, domain={"condition": mask}, samples=["3 4, 3 4, 4", "3 1, , 1 4"])
def where(condition, a, b):
    r"""Entries of ``a`` where the condition holds, of ``b`` elsewhere.

    Forward:
        .. math:: y_i = m_i a_i + (1 - m_i) b_i, \qquad m_i \in \{0, 1\}
    Backward:
        .. math:: \bar a_i = m_i \bar y_i, \qquad \bar b_i = (1 - m_i) \bar y_i
    Derivation:
        .. math:: \bar a_j = \sum_i \bar y_i m_i \delta_{ij} = m_j \bar y_j
        The condition is no number and has no gradient. An entry that is not chosen gets exactly 0.
    Source: piecewise differentiation.

    >>> where(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
    array([1., 0.])
    """

    def ga(gy):
        return sum_to(np.where(condition, gy, 0), a.shape)

    def gb(gy):
        return sum_to(np.where(condition, 0, gy), b.shape)

    return np.where(condition, a, b), (None, ga, gb)
