"""Losses: one number for how far predictions are from targets.

Every loss is an average of one loss per example or entry. The 1/B of that average is in :func:`_reduced` and nowhere
else: no layer before the loss divides by the batch size again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.engine import kink, op, sample
from chainrule.ops.domains import distinct, positive, probability

# ----------------------------------------------------------------------------------------------- what the losses share


def _reduced(name, losses, reduction, count):
    """The reduced loss, and the transpose of reducing: from its gradient to the gradient of every single loss.

    A sum passes its gradient on to every term; a mean divides it by ``count`` first.
    """
    if reduction == "none":
        return losses, lambda gy: gy
    if reduction == "sum":
        return losses.sum(), lambda gy: np.broadcast_to(gy, losses.shape)
    if reduction == "mean":
        return losses.sum() / count, lambda gy: np.broadcast_to(gy / count, losses.shape)
    raise ValueError(f"{name}: reduction={reduction!r}, expected 'mean', 'sum' or 'none'")


def _precision(x):
    """The dtype that weights, and targets that are integers, take beside ``x``: float32 beside float32."""
    return np.result_type(x.dtype, np.float32)


def _matching(name, target, x):
    """The target as floating-point numbers, if it has the shape of ``x``: (n, 1) and (n,) would broadcast to (n, n)."""
    if target.shape != x.shape:
        raise ValueError(f"{name}: target has shape {target.shape}, expected {x.shape}, the shape of x")
    return target if np.issubdtype(target.dtype, np.inexact) else target.astype(_precision(x))


def _factor(name, argument, weight, x):
    """A weight for every entry of ``x``, to whose shape it may broadcast; 1 if there is none."""
    if weight is None:
        return 1
    try:
        np.broadcast_to(weight, x.shape)
    except ValueError:
        expected = f"one that broadcasts to {x.shape}, the shape of x"
        raise ValueError(f"{name}: {argument} has shape {weight.shape}, expected {expected}") from None
    return weight.astype(_precision(x))


def _class_weight(name, weight, x):
    """A weight for every class, shaped to stand along axis 1 of ``x``; 1 if there is none."""
    if weight is None:
        return 1
    if weight.shape != x.shape[1:2]:
        expected = f"({x.shape[1]},): one weight for each class of x of shape {x.shape}"
        raise ValueError(f"{name}: weight has shape {weight.shape}, expected {expected}")
    return weight.astype(_precision(x)).reshape(-1, *[1] * (x.ndim - 2))


def _labels_shape(name, x):
    """The shape of ``x`` without its classes, axis 1: one label for each example (and place, in an image)."""
    if x.ndim < 2:
        raise ValueError(f"{name}: x has shape {x.shape}, expected (n, c) or (n, c, ...), the classes along axis 1")
    return x.shape[:1] + x.shape[2:]


def _one_hot(name, target, x):
    """1 where a label names the class, 0 elsewhere, of the shape of ``x``."""
    n_classes = x.shape[1]
    wrong = target[(target < 0) | (target >= n_classes)]
    if wrong.size:
        expected = f"0 to {n_classes - 1} for the {n_classes} classes of x of shape {x.shape}"
        raise ValueError(f"{name}: target holds the label {wrong[0]}, expected {expected}")
    t = np.zeros(x.shape, _precision(x))
    np.put_along_axis(t, np.expand_dims(target, 1), 1, axis=1)
    return t


def _expected_log(t, logy):
    """The sum over the classes of t ln y, where 0 times minus infinity is 0: an impossible class that is not wanted."""
    return (t * np.where(t == 0, 0, logy)).sum(1)


# ------------------------------------------------------------------------------------------------------------- classes


def _labels_or_probabilities(rng, shape, sizes):
    """Numbers that do not sum to 1 where axis 1 holds the classes, labels elsewhere."""
    if shape[1:2] == (sizes["c"],):
        return rng.uniform(0.1, 1.0, shape)
    return rng.integers(0, sizes["c"], shape)


REDUCE: dict[str, Callable] = {"mean": np.mean, "sum": np.sum, "none": np.positive}  # for the textbooks


def _cross_entropy_composed(x, target, weight=None, *, reduction="mean", label_smoothing=0.0):
    """The logarithm of the softmax, as on paper: right, and overflows early."""
    classes = (-1, *[1] * (x.ndim - 2))
    n_classes = x.shape[1]
    w = np.ones(n_classes).reshape(classes) if weight is None else weight.reshape(classes)
    y = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    cost = -w * np.log(y)
    if target.ndim == x.ndim:
        t = (1 - label_smoothing) * target + label_smoothing / n_classes
        return REDUCE[reduction]((t * cost).sum(1))
    chosen = np.arange(n_classes).reshape(classes) == np.expand_dims(target, 1)
    losses = (1 - label_smoothing) * np.where(chosen, cost, 0).sum(1) + label_smoothing * cost.mean(1)
    if reduction == "mean":
        return losses.sum() / np.where(chosen, w, 0).sum()
    return REDUCE[reduction](losses)


@op(
    "_, _, c -> _",
    domain={"target": _labels_or_probabilities, "weight": positive},
    samples=[
        "5 3, 5",
        "5 3, 5 3",
        "4 6, 4, 6",
        "4 6, 4 6, 6",
        sample("4 6, 4, 6", label_smoothing=0.1),
        sample("5 3, 5 3", label_smoothing=0.2, reduction="sum"),
        sample("4 6, 4, 6", reduction="sum"),
        sample("5 3, 5", reduction="none"),
        "2 3 4 5, 2 4 5",
        sample("2 4 3, 2 3, 4", reduction="none"),
        sample("2 4 3, 2 4 3, 4", label_smoothing=0.1),
        "1 3, 1",
        "4 1, 4, 1",
        sample("0 3, 0", reduction="sum"),
    ],
    textbook=_cross_entropy_composed,
)
def cross_entropy(x, target, weight=None, *, reduction="mean", label_smoothing=0.0):
    r"""Softmax and negative log-likelihood in one: how surprised the predicted distribution is by the target.

    Args:
        x: logits, any real numbers, ``(n, c)``; or ``(n, c, ...)``, one example for each pixel of an image.
        target: integer labels ``(n,)`` or ``(n, ...)``; or probabilities, one-hot or soft, of the shape of ``x``.
        weight: one factor for each class, ``(c,)``; or None.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which leaves one loss for each example.
        label_smoothing: the part of the target, from 0 to 1, that is spread evenly over the classes.

    Raises:
        ValueError: a label outside 0 to c - 1; a smoothing outside 0 to 1; shapes that do not fit; another reduction.

    Forward:
        .. math:: y_{nk} = \frac{e^{x_{nk}}}{\sum_j e^{x_{nj}}}, \qquad L_n = -\sum_k t_{nk} \ln y_{nk},
                  \qquad L = \frac{1}{B} \sum_n L_n
    Backward:
        .. math:: \bar x_{ni} = \bar L \, \frac{y_{ni} - t_{ni}}{B}, \qquad
                  \bar t_{ni} = -\bar L \, \frac{\ln y_{ni}}{B}
    Derivation:
        Take one example, and leave out its index n. The loss reaches a logit :math:`x_i` through every probability
        :math:`y_k`, because all of them share one denominator. So the chain rule has a sum over k:
        .. math:: \frac{\partial L}{\partial x_i}
                  = \sum_k \frac{\partial L}{\partial y_k} \frac{\partial y_k}{\partial x_i}
        The first factor is the derivative of a logarithm. Only one term of the loss has :math:`y_k` in it:
        .. math:: \frac{\partial L}{\partial y_k} = -\sum_j t_j \frac{\partial \ln y_j}{\partial y_k}
                  = -\sum_j \frac{t_j}{y_j} \delta_{jk} = -\frac{t_k}{y_k}
        The second factor is the derivative of the softmax, whose numerator holds one logit and whose denominator all:
        .. math:: y_k = \frac{e^{x_k}}{s}, \quad s = \sum_j e^{x_j}; \qquad
                  \frac{\partial e^{x_k}}{\partial x_i} = \delta_{ki} e^{x_k}, \quad
                  \frac{\partial s}{\partial x_i} = e^{x_i}
        This makes two cases of the quotient rule. The class's own logit, k = i, is above and below the line:
        .. math:: \frac{\partial y_i}{\partial x_i} = \frac{e^{x_i} s - e^{x_i} e^{x_i}}{s^2}
                  = \frac{e^{x_i}}{s} \left( 1 - \frac{e^{x_i}}{s} \right) = y_i (1 - y_i)
        Another class's logit, k different from i, is only below it:
        .. math:: \frac{\partial y_k}{\partial x_i} = \frac{0 \cdot s - e^{x_k} e^{x_i}}{s^2} = -y_k y_i
        Now the sum over k of the two factors' product: the term k = i first, then the others.
        .. math::
            \frac{\partial L}{\partial x_i}
            &= -\frac{t_i}{y_i} \, y_i (1 - y_i) + \sum_{k \ne i} \frac{t_k}{y_k} \, y_k y_i \\
            &= -t_i + t_i y_i + \sum_{k \ne i} t_k y_i \\
            &= -t_i + y_i \sum_k t_k \\
            &= y_i - t_i
        The logarithm's 1/y has met a y in both cases and is gone: that is why this op takes logits. The :math:`t_i y_i`
        that the first case leaves over is the very term that the sum over the others lacks; and a target that is a
        distribution sums to 1. What remains is prediction minus target. A step against it raises the logit of the
        wanted class and lowers the rest, each by as much as it is wrong.

        Now the batch. The loss is the mean of B losses, and :math:`L_n` holds the logits of example n alone:
        .. math:: \frac{\partial L}{\partial x_{mi}}
                  = \frac{1}{B} \sum_n \frac{\partial L_n}{\partial x_{mi}}
                  = \frac{1}{B} \sum_n \delta_{nm} (y_{ni} - t_{ni}) = \frac{y_{mi} - t_{mi}}{B}
        The 1/B enters here, once, because the loss is a mean. The layers before it pass on what they are given, and the
        gradients of their weights and biases *sum* over the batch: each term of that sum has its 1/B already. With
        ``reduction="sum"`` there is none anywhere.

        Class weights w and smoothing by :math:`\varepsilon` only change the target. Put
        .. math:: \tilde t_k = w_k \left( (1 - \varepsilon) \, t_k + \frac{\varepsilon}{C} \right)
        in its place. It no longer sums to 1, so the derivation stops a line earlier; and the loss is linear in it:
        .. math:: \frac{\partial L}{\partial x_i} = -\tilde t_i + y_i \sum_k \tilde t_k, \qquad
                  \frac{\partial L}{\partial t_i} = -w_i (1 - \varepsilon) \ln y_i
        With labels, the mean then divides by the sum of the labels' weights; with probabilities, still by B.

        In floating point no exponential may overflow and no logarithm meet a 0. For any m,
        .. math:: \ln y_k = \ln \frac{e^{x_k - m}}{\sum_j e^{x_j - m}} = (x_k - m) - \ln \sum_j e^{x_j - m}
        and with the largest logit as m every exponent is at most 0, and the sum at least 1.
    Source: Bridle, *Probabilistic interpretation of feedforward classification network outputs* (1990); Goodfellow,
    Bengio, Courville, *Deep Learning* (2016), section 6.2.2.3; label smoothing: Szegedy et al., *Rethinking the
    Inception architecture for computer vision* (2016); the weighted mean is PyTorch's.

    >>> cross_entropy(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1])).round(4)
    np.float64(0.41)
    >>> loss, (gx, _, _) = cross_entropy.rule(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1]))
    >>> gx(1.0).round(4)  # (y - t) / 2
    array([[-0.0596,  0.0596],
           [ 0.25  , -0.25  ]])
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing}, expected a number from 0 to 1")
    labels = _labels_shape("cross_entropy", x)
    are_labels = target.shape == labels and np.issubdtype(target.dtype, np.integer)
    if not are_labels and target.shape != x.shape:
        expected = f"integer labels of shape {labels} or probabilities of shape {x.shape}, the shape of x"
        raise ValueError(f"cross_entropy: target has shape {target.shape} and {target.dtype}, expected {expected}")
    t = _one_hot("cross_entropy", target, x) if are_labels else _matching("cross_entropy", target, x)
    w = _class_weight("cross_entropy", weight, x)
    wanted = w * ((1 - label_smoothing) * t + label_smoothing / x.shape[1])

    z = x - x.max(1, keepdims=True)
    e = np.exp(z)
    s = e.sum(1, keepdims=True)
    logy = z - np.log(s)
    losses = -_expected_log(wanted, logy)
    loss, spread = _reduced("cross_entropy", losses, reduction, (w * t).sum() if are_labels else losses.size)

    def gx(gy):
        return np.expand_dims(spread(gy), 1) * (e / s * wanted.sum(1, keepdims=True) - wanted)

    def gtarget(gy):
        return np.expand_dims(spread(gy), 1) * ((label_smoothing - 1) * w * logy)

    return loss, (gx, None if are_labels else gtarget, None)


def _nll_loss_composed(x, target, weight=None, *, reduction="mean"):
    """Minus the log-probabilities under a mask."""
    classes = (-1, *[1] * (x.ndim - 2))
    chosen = np.arange(x.shape[1]).reshape(classes) == np.expand_dims(target, 1)
    w = np.where(chosen, 1.0 if weight is None else weight.reshape(classes), 0)
    losses = (-w * x).sum(1)
    return losses.sum() / w.sum() if reduction == "mean" else REDUCE[reduction](losses)


@op(
    "_, _, c -> _",
    domain={"target": _labels_or_probabilities, "weight": positive},
    samples=[
        "5 3, 5",
        "4 6, 4, 6",
        sample("4 6, 4, 6", reduction="sum"),
        sample("4 6, 4, 6", reduction="none"),
        "2 3 4 5, 2 4 5",
        "2 4 3, 2 3, 4",
        "4 1, 4, 1",
        sample("0 3, 0", reduction="sum"),
    ],
    textbook=_nll_loss_composed,
)
def nll_loss(x, target, weight=None, *, reduction="mean"):
    r"""Minus the log-probability of the right class.

    Args:
        x: log-probabilities, ``(n, c)`` or ``(n, c, ...)``, as log_softmax gives them.
        target: integer labels ``(n,)`` or ``(n, ...)``.
        weight: ``(c,)``, one factor for each class, or None; ``"mean"`` divides by the sum of the labels' weights.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: a label outside 0 to c - 1; a target or a weight of another shape; an unknown reduction.

    Forward:
        .. math:: L = -\frac{1}{W} \sum_n \sum_k w_k t_{nk} x_{nk}, \qquad W = \sum_n \sum_k w_k t_{nk}
        where :math:`t_{nk}` is 1 if k is the label of example n, else 0.
    Backward:
        .. math:: \bar x_{ni} = -\bar L \, \frac{w_i t_{ni}}{W}
    Derivation:
        .. math:: \frac{\partial L}{\partial x_{mi}}
                  = -\frac{1}{W} \sum_n \sum_k w_k t_{nk} \, \delta_{nm} \delta_{ki} = -\frac{w_i t_{mi}}{W}
        Only the right class's log-probability gets a gradient. Without weights W is the batch size B: the 1/B of the
        mean. Through log_softmax this becomes :math:`(y - t) / B`, as cross_entropy derives.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 5.5; the weighted mean is PyTorch's.

    >>> nll_loss(np.log(np.array([[0.5, 0.5], [0.25, 0.75]])), np.array([0, 0])).round(4)
    np.float64(1.0397)
    """
    labels = _labels_shape("nll_loss", x)
    if target.shape != labels or not np.issubdtype(target.dtype, np.integer):
        expected = f"integer labels of shape {labels} for x of shape {x.shape}"
        raise ValueError(f"nll_loss: target has shape {target.shape} and {target.dtype}, expected {expected}")
    wt = _class_weight("nll_loss", weight, x) * _one_hot("nll_loss", target, x)
    loss, spread = _reduced("nll_loss", -_expected_log(wt, x), reduction, wt.sum())

    def gx(gy):
        return np.expand_dims(spread(gy), 1) * -wt

    return loss, (gx, None, None)


# ------------------------------------------------------------------------------------------------------------- numbers

SAME = (
    "3 4, 3 4",
    sample("5, 5", reduction="sum"),
    sample("2 1 3, 2 1 3", reduction="none"),
    ",",
    sample("0 3, 0 3", reduction="sum"),
)


def _between(rng, shape, sizes):
    """Multiples of 0.2, which the numbers of the domain ``distinct`` avoid by 0.05: no difference is at a kink."""
    return 0.2 * rng.integers(-7, 8, shape)


@op("_, _ -> _", samples=SAME, textbook=lambda x, target, *, reduction="mean": REDUCE[reduction]((x - target) ** 2))
def mse_loss(x, target, *, reduction="mean"):
    r"""The squared difference, averaged over all entries.

    Args:
        x: predictions, of any shape.
        target: numbers of the same shape; nothing is broadcast.
        reduction: ``"mean"`` (over every entry: N x K of them for K outputs), ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ; an unknown reduction.

    Forward:
        .. math:: L = \frac{1}{N} \sum_i (x_i - t_i)^2
    Backward:
        .. math:: \bar x_i = \frac{2}{N} \bar L \, (x_i - t_i), \qquad \bar t_i = -\bar x_i
    Derivation:
        .. math:: \frac{\partial L}{\partial x_j} = \frac{1}{N} \sum_i 2 (x_i - t_i) \, \delta_{ij}
                  = \frac{2}{N} (x_j - t_j)
        N counts entries, not examples. The 2 stays: there is no 1/2 in the forward formula to cancel it.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 5.1.4.

    >>> mse_loss(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    np.float64(2.0)
    """
    d = x - _matching("mse_loss", target, x)
    loss, spread = _reduced("mse_loss", d**2, reduction, d.size)

    def gx(gy):
        return spread(gy) * 2 * d

    def gtarget(gy):
        return spread(gy) * -2 * d

    return loss, (gx, gtarget)


@op(
    "_, _ -> _",
    domain={"x": distinct, "target": _between},
    samples=SAME,
    textbook=lambda x, target, *, reduction="mean": REDUCE[reduction](np.abs(x - target)),
    kinks=[kink((1.0, 1.0), (0.0, 0.0))],
)
def l1_loss(x, target, *, reduction="mean"):
    r"""The absolute difference, averaged over all entries.

    Args:
        x: predictions, of any shape.
        target: numbers of the same shape; nothing is broadcast.
        reduction: ``"mean"`` (over every entry), ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ; an unknown reduction.

    Forward:
        .. math:: L = \frac{1}{N} \sum_i |x_i - t_i|
    Backward:
        .. math:: \bar x_i = \frac{1}{N} \bar L \, \operatorname{sign}(x_i - t_i), \qquad \bar t_i = -\bar x_i
    Derivation:
        .. math:: \frac{\partial L}{\partial x_j} = \frac{1}{N} \sum_i \operatorname{sign}(x_i - t_i) \, \delta_{ij}
                  = \frac{1}{N} \operatorname{sign}(x_j - t_j)
        Where prediction and target are equal there is no derivative; by convention it is 0.
    Source: piecewise differentiation; the convention at 0 is PyTorch's.

    >>> l1_loss(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    np.float64(1.0)
    """
    d = x - _matching("l1_loss", target, x)
    loss, spread = _reduced("l1_loss", np.abs(d), reduction, d.size)

    def gx(gy):
        return spread(gy) * np.sign(d)

    def gtarget(gy):
        return spread(gy) * -np.sign(d)

    return loss, (gx, gtarget)


def _huber_loss_composed(x, target, *, reduction="mean", delta=1.0):
    """The two pieces, chosen by the size of the difference."""
    far = np.abs(x - target)
    return REDUCE[reduction](np.where(far <= delta, far**2 / 2, delta * (far - delta / 2)))


@op(
    "_, _ -> _",
    domain={"x": distinct, "target": _between},
    samples=[*SAME, sample("3 4, 3 4", delta=0.4)],
    textbook=_huber_loss_composed,
)
def huber_loss(x, target, *, reduction="mean", delta=1.0):
    r"""Half the squared difference near the target, a straight line beyond ``delta``: outliers pull no harder.

    Args:
        x: predictions, of any shape.
        target: numbers of the same shape; nothing is broadcast.
        reduction: ``"mean"`` (over every entry), ``"sum"`` or ``"none"``.
        delta: the difference, above 0, at which the line begins.

    Raises:
        ValueError: the shapes differ; an unknown reduction; ``delta`` not above 0.

    Forward:
        .. math::
            d_i = x_i - t_i, \qquad q_i = \min(\max(d_i, -\delta), \delta), \\
            L = \frac{1}{N} \sum_i h(d_i), \qquad h(d_i) = q_i \left( d_i - \frac{q_i}{2} \right)
    Backward:
        .. math:: \bar x_i = \frac{1}{N} \bar L \, q_i, \qquad \bar t_i = -\bar x_i
    Derivation:
        Up to :math:`\delta` the clipped difference q is d itself and the loss :math:`d^2 / 2`; beyond, q is
        :math:`\pm \delta` and the loss :math:`\delta (|d| - \delta / 2)`. Their derivatives
        .. math:: \left( \frac{d^2}{2} \right)' = d = q, \qquad
                  \left( \delta \left( |d| - \frac{\delta}{2} \right) \right)' = \delta \operatorname{sign}(d) = q
        agree where the pieces meet, so there is no kink: the gradient is the difference, clipped.
        .. math:: \frac{\partial L}{\partial x_j} = \frac{1}{N} \sum_i h'(d_i) \, \delta_{ij} = \frac{1}{N} q_j
    Source: Huber, *Robust estimation of a location parameter* (1964).

    >>> huber_loss(np.array([0.5, 3.0]), np.array([0.0, 0.0]), reduction="none")
    array([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta={delta}, expected a number above 0")
    d = x - _matching("huber_loss", target, x)
    q = np.clip(d, -delta, delta)
    loss, spread = _reduced("huber_loss", q * (d - q / 2), reduction, d.size)

    def gx(gy):
        return spread(gy) * q

    def gtarget(gy):
        return spread(gy) * -q

    return loss, (gx, gtarget)


# ----------------------------------------------------------------------------------------------------------- yes or no

WEIGHTED = (
    "3 4, 3 4",
    "3 4, 3 4, 4",
    sample("3 4, 3 4, 3 1", reduction="sum"),
    sample("2 1 3, 2 1 3", reduction="none"),
    "5, 5, ",
    sample("0 3, 0 3", reduction="sum"),
)


def _within_0_and_1(name, argument, p):
    wrong = p[(p < 0) | (p > 1)]
    if wrong.size:
        raise ValueError(f"{name}: {argument} holds {wrong[0]}, expected probabilities, from 0 to 1")


def _binary_cross_entropy_composed(x, target, weight=1.0, *, reduction="mean"):
    """Minus the expected logarithm, as on paper."""
    return REDUCE[reduction](-weight * (target * np.log(x) + (1 - target) * np.log(1 - x)))


@op(
    "_, _, _ -> _",
    domain={"x": probability, "target": probability, "weight": positive},
    samples=WEIGHTED,
    textbook=_binary_cross_entropy_composed,
    kinks=[kink((0.0, 1.0), (-1e12, 100.0)), kink((0.0, 0.0), (0.0, 100.0))],
)
def binary_cross_entropy(x, target, weight=None, *, reduction="mean"):
    r"""Minus the log-probability of a yes-or-no target, averaged over all entries.

    Args:
        x: predicted probabilities of yes, of any shape. Of logits, take binary_cross_entropy_with_logits.
        target: probabilities from 0 to 1 of the same shape; nothing is broadcast.
        weight: a factor for every entry, broadcasting to the shape of ``x``; or None.
        reduction: ``"mean"`` (over every entry, whatever the weights), ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ; a number outside 0 to 1; an unknown reduction.

    Forward:
        .. math:: L = -\frac{1}{N} \sum_i w_i \left( t_i \ln x_i + (1 - t_i) \ln(1 - x_i) \right)
    Backward:
        .. math:: \bar x_i = \frac{w_i}{N} \bar L \, \frac{x_i - t_i}{x_i (1 - x_i)}, \qquad
                  \bar t_i = \frac{w_i}{N} \bar L \left( \ln(1 - x_i) - \ln x_i \right)
    Derivation:
        .. math:: \frac{\partial L}{\partial x_j}
                  = -\frac{w_j}{N} \left( \frac{t_j}{x_j} - \frac{1 - t_j}{1 - x_j} \right)
                  = -\frac{w_j}{N} \, \frac{t_j (1 - x_j) - (1 - t_j) x_j}{x_j (1 - x_j)}
                  = \frac{w_j}{N} \, \frac{x_j - t_j}{x_j (1 - x_j)}
        The minus sign inside comes from :math:`1 - x`. After a sigmoid, whose derivative is :math:`x (1 - x)`, the
        denominator cancels and :math:`x - t` is left. Where a probability is 0 or 1 the logarithm is taken to be no
        less than -100, and the denominator no less than :math:`10^{-12}`.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 6.2.2.2; both limits are PyTorch's.

    >>> binary_cross_entropy(np.array([0.5, 1.0]), np.array([1.0, 0.0]), reduction="none").round(4)
    array([  0.6931, 100.    ])
    """
    t = _matching("binary_cross_entropy", target, x)
    w = _factor("binary_cross_entropy", "weight", weight, x)
    _within_0_and_1("binary_cross_entropy", "x", x)
    _within_0_and_1("binary_cross_entropy", "target", t)
    with np.errstate(divide="ignore"):  # the logarithm of 0 is minus infinity, and becomes -100
        log_yes, log_no = np.maximum(np.log(x), -100), np.maximum(np.log(1 - x), -100)
    losses = -w * (t * log_yes + (1 - t) * log_no)
    loss, spread = _reduced("binary_cross_entropy", losses, reduction, x.size)

    def gx(gy):
        return spread(gy) * (w * (x - t) / np.maximum(x * (1 - x), 1e-12))

    def gtarget(gy):
        return spread(gy) * (w * (log_no - log_yes))

    return loss, (gx, gtarget, None)


def _binary_cross_entropy_with_logits_composed(x, target, weight=1.0, pos_weight=1.0, *, reduction="mean"):
    """The logarithms of the sigmoid, as on paper: right, and overflows early."""
    y = 1 / (1 + np.exp(-x))
    return REDUCE[reduction](-weight * (pos_weight * target * np.log(y) + (1 - target) * np.log(1 - y)))


@op(
    "_, _, _, _ -> _",
    domain={"target": probability, "weight": positive, "pos_weight": positive},
    samples=[*WEIGHTED, "3 4, 3 4, 3 1, 4", sample("2 3 4, 2 3 4, 4, 3 1", reduction="none")],
    textbook=_binary_cross_entropy_with_logits_composed,
)
def binary_cross_entropy_with_logits(x, target, weight=None, pos_weight=None, *, reduction="mean"):
    r"""Sigmoid and binary cross-entropy in one, averaged over all entries.

    Args:
        x: logits, any real numbers, of any shape.
        target: probabilities of the same shape; nothing is broadcast.
        weight: a factor for every entry, broadcasting to the shape of ``x``; or None.
        pos_weight: a factor for the yes part of every entry, broadcasting to the shape of ``x``; or None.
        reduction: ``"mean"`` (over every entry, whatever the weights), ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ; a weight that does not broadcast to the shape of ``x``; an unknown reduction.

    Forward:
        .. math:: y_i = \frac{1}{1 + e^{-x_i}}, \qquad
                  L = -\frac{1}{N} \sum_i w_i \left( p_i t_i \ln y_i + (1 - t_i) \ln(1 - y_i) \right)
    Backward:
        .. math:: \bar x_i = \frac{w_i}{N} \bar L \left( (1 - t_i) y_i - p_i t_i (1 - y_i) \right), \qquad
                  \bar t_i = \frac{w_i}{N} \bar L \left( \ln(1 - y_i) - p_i \ln y_i \right)
    Derivation:
        With :math:`y' = y (1 - y)`, the logarithms lose their denominators:
        .. math:: \frac{d \ln y}{d x} = \frac{y (1 - y)}{y} = 1 - y, \qquad
                  \frac{d \ln(1 - y)}{d x} = -\frac{y (1 - y)}{1 - y} = -y
        .. math:: \frac{\partial L}{\partial x_j}
                  = -\frac{w_j}{N} \sum_i \delta_{ij} \left( p_i t_i (1 - y_i) - (1 - t_i) y_i \right)
                  = \frac{w_j}{N} \left( (1 - t_j) y_j - p_j t_j (1 - y_j) \right)
        Without weights this is :math:`(y_j - t_j) / N`. Nothing overflows, because only :math:`z = e^{-|x|}` is used:
        .. math:: -\ln y = \ln(1 + z) + \max(-x, 0), \qquad -\ln(1 - y) = \ln(1 + z) + \max(x, 0)
        and y is :math:`1 / (1 + z)` for positive x, :math:`z / (1 + z)` for the others.
    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 6.2.2.2; the weights are PyTorch's.

    >>> binary_cross_entropy_with_logits(np.array([0.0, 1000.0]), np.array([1.0, 0.0]), reduction="none").round(4)
    array([6.931e-01, 1.000e+03])
    """
    t = _matching("binary_cross_entropy_with_logits", target, x)
    w = _factor("binary_cross_entropy_with_logits", "weight", weight, x)
    p = _factor("binary_cross_entropy_with_logits", "pos_weight", pos_weight, x)
    z = np.exp(np.where(x > 0, -x, x))
    y, not_y = np.where(x > 0, 1, z) / (1 + z), np.where(x > 0, z, 1) / (1 + z)
    cost_yes, cost_no = np.log1p(z) + np.where(x > 0, 0, -x), np.log1p(z) + np.where(x > 0, x, 0)
    losses = w * (p * t * cost_yes + (1 - t) * cost_no)
    loss, spread = _reduced("binary_cross_entropy_with_logits", losses, reduction, x.size)

    def gx(gy):
        return spread(gy) * (w * ((1 - t) * y - p * t * not_y))

    def gtarget(gy):
        return spread(gy) * (w * (p * cost_yes - cost_no))

    return loss, (gx, gtarget, None, None)
