"""Losses as layers. Each is the op of the same name, which has the formula, the derivation, and the shapes it takes.

``reduction`` is ``"mean"``, ``"sum"`` or ``"none"``. Explicitly, ``loss.forward(x, target)`` gives the number and
``loss.backward()`` the gradient with respect to ``x``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.nn.module import Module


class CrossEntropyLoss(Module):
    """:func:`chainrule.ops.cross_entropy` of logits ``(n, c)`` and labels ``(n,)`` or probabilities ``(n, c)``.

    >>> loss = CrossEntropyLoss()
    >>> loss.forward(np.zeros((2, 10)), np.array([3, 7])).round(4)  # guessing among ten: ln 10
    np.float64(2.3026)
    >>> loss.backward().shape
    (2, 10)
    """

    def __init__(self, weight: np.ndarray | None = None, *, reduction: str = "mean", label_smoothing: float = 0.0):
        self.weight = weight
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.cross_entropy(x, target, self.weight, reduction=self.reduction, label_smoothing=self.label_smoothing)


class NLLLoss(Module):
    """:func:`chainrule.ops.nll_loss` of log-probabilities ``(n, c)`` and labels ``(n,)``.

    >>> float(NLLLoss()(np.log([[0.5, 0.5]]), np.array([0])).round(4))
    0.6931
    """

    def __init__(self, weight: np.ndarray | None = None, *, reduction: str = "mean"):
        self.weight, self.reduction = weight, reduction

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.nll_loss(x, target, self.weight, reduction=self.reduction)


class MSELoss(Module):
    """:func:`chainrule.ops.mse_loss`: the mean squared difference.

    >>> float(MSELoss()(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    2.0
    """

    def __init__(self, *, reduction: str = "mean"):
        self.reduction = reduction

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.mse_loss(x, target, reduction=self.reduction)


class L1Loss(Module):
    """:func:`chainrule.ops.l1_loss`: the mean absolute difference.

    >>> float(L1Loss()(np.array([1.0, 3.0]), np.array([1.0, 1.0])))
    1.0
    """

    def __init__(self, *, reduction: str = "mean"):
        self.reduction = reduction

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.l1_loss(x, target, reduction=self.reduction)


class HuberLoss(Module):
    """:func:`chainrule.ops.huber_loss`: squared for differences up to ``delta``, straight beyond.

    >>> float(HuberLoss()(np.array([0.0]), np.array([3.0])))
    2.5
    """

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0):
        self.reduction, self.delta = reduction, delta

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.huber_loss(x, target, reduction=self.reduction, delta=self.delta)


class BCELoss(Module):
    """:func:`chainrule.ops.binary_cross_entropy` of probabilities and targets of one shape.

    >>> float(BCELoss()(np.array([0.5]), np.array([1.0])).round(4))
    0.6931
    """

    def __init__(self, weight: np.ndarray | None = None, *, reduction: str = "mean"):
        self.weight, self.reduction = weight, reduction

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.binary_cross_entropy(x, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Module):
    """:func:`chainrule.ops.binary_cross_entropy_with_logits` of logits and targets of one shape.

    >>> float(BCEWithLogitsLoss()(np.array([0.0]), np.array([1.0])).round(4))
    0.6931
    """

    def __init__(
        self, weight: np.ndarray | None = None, *, reduction: str = "mean", pos_weight: np.ndarray | None = None
    ):
        self.weight, self.pos_weight, self.reduction = weight, pos_weight, reduction

    def __call__(self, x: Any, target: Any) -> Any:
        return ops.binary_cross_entropy_with_logits(x, target, self.weight, self.pos_weight, reduction=self.reduction)
