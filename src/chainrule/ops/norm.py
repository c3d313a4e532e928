"""Normalisations: mean 0 and variance 1, over the batch, over an example's features, or over groups of its channels.

They differ in what they take the mean and the variance over. Each views ``x`` in a shape in which that is a choice of
axes; from there on they are one, and the gradient is the one that is derived in full at :func:`batch_norm`.
"""

from __future__ import annotations

import math
from string import ascii_lowercase

import numpy as np

from chainrule.engine import op, sample
from chainrule.ops.domains import positive

# ------------------------------------------------------------------------------------------ what they have in common


def _sum(axes, *factors):
    """The sum over ``axes``, kept with size 1, of the product of the factors, without that product in memory."""
    shape = factors[0].shape
    letters = ascii_lowercase[: len(shape)]
    kept = "".join(letter for axis, letter in enumerate(letters) if axis not in axes)
    total = np.einsum(f"{','.join([letters] * len(factors))}->{kept}", *factors)
    return total.reshape([1 if axis in axes else size for axis, size in enumerate(shape)])


def _count(x, axes):
    return math.prod(x.shape[axis] for axis in axes) or 1  # the mean of nothing is asked for where there is no result


def moments(x, axes):
    """The mean over ``axes``, the deviations from it, and the mean of their squares: the biased variance.

    In float32 the mean of large numbers is rounded. What that leaves in the deviations is their own mean.

    >>> moments(np.array([[1.0, 3.0], [2.0, 6.0]]), axes=(1,))[2]
    array([[1.],
           [4.]])
    """
    count = _count(x, axes)
    mean = _sum(axes, x) / count
    centred = x - mean
    rest = _sum(axes, centred) / count
    centred -= rest
    return mean + rest, centred, _sum(axes, centred, centred) / count


def _standardise(x, axes, eps):
    """``x`` with mean 0 and variance 1 over ``axes``, and its pullback: the derivation is that of batch_norm."""
    count = _count(x, axes)
    _, xhat, var = moments(x, axes)
    rstd = (var + eps) ** -0.5
    xhat *= rstd  # in place, here and below: a new array of this size takes longer than the product

    def gx(g):
        terms = xhat * (_sum(axes, g, xhat) / -count)
        terms -= _sum(axes, g) / count
        terms += g
        terms *= rstd
        return terms

    return xhat, gx


def _shift_and_scale(x, mean, var, eps):
    """``x`` with the mean and the variance of other data, which are constants, and its pullback."""
    rstd = (var + eps) ** -0.5

    def gx(g):
        return g * rstd

    return (x - mean) * rstd, gx


def _divide_by_rms(x, axes, eps):
    """``x`` with mean square 1 over ``axes``, and its pullback: the derivation is that of rms_norm."""
    count = _count(x, axes)
    rrms = (_sum(axes, x, x) / count + eps) ** -0.5
    xhat = x * rrms

    def gx(g):
        return rrms * (g - xhat * (_sum(axes, g, xhat) / count))

    return xhat, gx


def _scaled(xhat, weight, bias, shape):
    y = xhat if weight is None else xhat * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _affine(normalised, x, weight, bias, shape):
    """What was normalised, times ``weight`` plus ``bias``, both in ``shape``; the pullbacks of ``x`` and of these."""
    xhat, gx_of = normalised
    copies = [axis for axis, size in enumerate(shape) if size == 1]  # along these a weight is used many times

    def gx(gy):
        return gx_of(_scaled(gy.reshape(xhat.shape), weight, None, shape)).reshape(x.shape)

    def gweight(gy):
        return _sum(copies, gy.reshape(xhat.shape), xhat).reshape(weight.shape)

    def gbias(gy):
        return _sum(copies, gy.reshape(xhat.shape)).reshape(bias.shape)

    return _scaled(xhat, weight, bias, shape).reshape(x.shape), (gx, gweight, gbias)


def _channels(name, x, **per_channel):
    """The sizes n, c and l of ``x`` with everything after the channels as one axis."""
    if x.ndim < 2:
        raise ValueError(f"{name}: x has shape {x.shape}, expected (n, c) or (n, c, ...)")
    n, c, *spatial = x.shape
    for key, array in per_channel.items():
        if array is not None and array.shape != (c,):
            raise ValueError(
                f"{name}: {key} has shape {array.shape}, expected ({c},), as axis 1 of x of shape {x.shape}"
            )
    return n, c, math.prod(spatial)


def _features(name, x, normalized_shape, **per_feature):
    """The shape of ``x`` with the axes of ``normalized_shape``, its last ones, as one and all others as one."""
    last = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not last or x.shape[-len(last) :] != last:
        raise ValueError(f"{name}: normalized_shape={last}, expected the last sizes of x, which has shape {x.shape}")
    for key, array in per_feature.items():
        if array is not None and array.shape != last:
            raise ValueError(f"{name}: {key} has shape {array.shape}, expected {last}, the normalized_shape")
    return math.prod(x.shape[: -len(last)]), math.prod(last)


# ------------------------------------------------------------------------------------------- the textbook: step by step


def _standardised(x, axes, eps):
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) * (var + eps) ** -0.5


def _batch_norm_composed(x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, eps=1e-5):
    per_channel = (-1, *[1] * (x.ndim - 2))
    if training:
        xhat = _standardised(x, (0, *range(2, x.ndim)), eps)
    else:
        xhat = (x - running_mean.reshape(per_channel)) * (running_var.reshape(per_channel) + eps) ** -0.5
    return _scaled(xhat, weight, bias, per_channel)


def _layer_norm_composed(x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
    return _scaled(_standardised(x, tuple(range(-np.size(normalized_shape), 0)), eps), weight, bias, normalized_shape)


def _group_norm_composed(x, weight=None, bias=None, *, num_groups, eps=1e-5):
    xhat = _standardised(x.reshape(len(x), num_groups, -1), (2,), eps).reshape(x.shape)
    return _scaled(xhat, weight, bias, (-1, *[1] * (x.ndim - 2)))


def _instance_norm_composed(x, weight=None, bias=None, *, eps=1e-5):
    return _scaled(_standardised(x, tuple(range(2, x.ndim)), eps), weight, bias, (-1, *[1] * (x.ndim - 2)))


def _rms_norm_composed(x, weight=None, *, normalized_shape, eps=None):
    eps = np.finfo(x.dtype).eps if eps is None else eps
    axes = tuple(range(-np.size(normalized_shape), 0))
    return _scaled(x * ((x**2).mean(axes, keepdims=True) + eps) ** -0.5, weight, None, normalized_shape)


# ------------------------------------------------------------------------------------------------------------------ ops


@op(
    "_, c, c, c, c -> _",
    domain={"running_var": positive},
    samples=[
        sample("5 4, 4, 4, 4, 4", training=True),
        sample("3 4 1 2, 4, 4, 4, 4", training=True, eps=0.1),
        sample("1 2 3, 2, 2, 2, 2", training=True),
        sample("3 1", training=True),
        sample("3 4, 4, 4, 4, 4"),
        sample("2 3 2 2, 3, 3, 3, 3", eps=0.1),
        sample("0 3 2, 3, 3"),
    ],
    textbook=_batch_norm_composed,
)
def batch_norm(x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, eps=1e-5):
    r"""Every channel shifted and scaled to mean 0 and variance 1 over the batch, then to a mean and scale of its own.

    Args:
        x: ``(n, c)`` or ``(n, c, ...)``, images ``(n, c, h, w)``; all axes but the channels' make up the batch.
        running_mean: ``(c,)``, the mean to use unless training, a constant; the op never changes it.
        running_var: ``(c,)``, the variance to use unless training, likewise.
        weight: ``(c,)``, the scale :math:`\gamma`, or None.
        bias: ``(c,)``, the mean :math:`\beta` afterwards, or None.
        training: use the mean and the variance of this batch?
        eps: added to the variance.

    Raises:
        ValueError: sizes do not fit, a channel has a single value in training, or running statistics are missing
            outside it.

    Forward:
        Over the :math:`B` entries :math:`r` of the batch, for every channel :math:`j`:
        .. math:: \mu_j = \frac{1}{B} \sum_r x_{rj}, \qquad
                  v_j = \frac{1}{B} \sum_r (x_{rj} - \mu_j)^2, \qquad s_j = \sqrt{v_j + \varepsilon}
        .. math:: \hat x_{rj} = \frac{x_{rj} - \mu_j}{s_j}, \qquad y_{rj} = \gamma_j \hat x_{rj} + \beta_j
    Backward:
        .. math:: \bar x_{rj} = \frac{\gamma_j}{B s_j} \left( B \bar y_{rj} - \sum_i \bar y_{ij}
                  - \hat x_{rj} \sum_i \bar y_{ij} \hat x_{ij} \right)
        .. math:: \bar \gamma_j = \sum_r \bar y_{rj} \hat x_{rj}, \qquad \bar \beta_j = \sum_r \bar y_{rj}
        Outside training :math:`\mu` and :math:`v` are constants, and :math:`\bar x_{rj} = \gamma_j \bar y_{rj} / s_j`.
    Derivation:
        Every entry of a channel moves the mean and the variance, and these move every output of that channel.
        Through the mean:
        .. math:: \frac{\partial \mu_j}{\partial x_{ik}} = \frac{\delta_{jk}}{B}, \qquad
                  \frac{\partial (x_{rj} - \mu_j)}{\partial x_{ik}}
                  = \delta_{jk} \left( \delta_{ri} - \frac{1}{B} \right)
        Through the variance, where the deviations from the mean sum to 0:
        .. math:: \frac{\partial v_j}{\partial x_{ik}}
                  = \frac{2}{B} \sum_r (x_{rj} - \mu_j) \, \delta_{jk} \left( \delta_{ri} - \frac{1}{B} \right)
                  = \delta_{jk} \frac{2}{B} (x_{ij} - \mu_j)
        .. math:: \frac{\partial}{\partial x_{ik}} \frac{1}{s_j}
                  = -\frac{1}{2} (v_j + \varepsilon)^{-3/2} \frac{\partial v_j}{\partial x_{ik}}
                  = -\delta_{jk} \frac{x_{ij} - \mu_j}{B s_j^3} = -\delta_{jk} \frac{\hat x_{ij}}{B s_j^2}
        Both together, by the product rule:
        .. math:: \frac{\partial \hat x_{rj}}{\partial x_{ik}}
                  &= \frac{1}{s_j} \delta_{jk} \left( \delta_{ri} - \frac{1}{B} \right)
                     - (x_{rj} - \mu_j) \, \delta_{jk} \frac{\hat x_{ij}}{B s_j^2} \\
                  &= \frac{\delta_{jk}}{B s_j} \left( B \delta_{ri} - 1 - \hat x_{rj} \hat x_{ij} \right)
        The three terms, summed with the gradient coming in; the last sum keeps its :math:`\hat x_{rk}`:
        .. math:: \bar x_{ik} &= \sum_{rj} \bar y_{rj} \gamma_j \frac{\partial \hat x_{rj}}{\partial x_{ik}} \\
                  &= \frac{\gamma_k}{B s_k} \sum_r \bar y_{rk}
                     \left( B \delta_{ri} - 1 - \hat x_{rk} \hat x_{ik} \right) \\
                  &= \frac{\gamma_k}{B s_k} \left( B \bar y_{ik} - \sum_r \bar y_{rk}
                     - \hat x_{ik} \sum_r \bar y_{rk} \hat x_{rk} \right)
        .. math:: \bar \gamma_k = \sum_{rj} \bar y_{rj} \, \delta_{jk} \hat x_{rj} = \sum_r \bar y_{rk} \hat x_{rk},
                  \qquad \bar \beta_k = \sum_{rj} \bar y_{rj} \, \delta_{jk} = \sum_r \bar y_{rk}
    Source: Ioffe, Szegedy, *Batch Normalization* (2015), section 3.

    >>> batch_norm(np.array([[1.0, 10.0], [3.0, 30.0]]), training=True).round(4)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    n, c, size = _channels(
        "batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    view = x.reshape(n, c, size)
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean and running_var are missing; pass both, or training=True")
        normalised = _shift_and_scale(view, running_mean[:, None], running_var[:, None], eps)
    elif n * size > 1:
        normalised = _standardise(view, (0, 2), eps)
    else:
        raise ValueError(
            f"batch_norm: Expected more than 1 value per channel when training, got input size {list(x.shape)}: one "
            "value has no variance; use a larger batch, or training=False (for a layer, model.eval())"
        )
    y, (gx, gweight, gbias) = _affine(normalised, x, weight, bias, (1, c, 1))
    return y, (gx, None, None, gweight, gbias)


@op(
    "_, _, _ -> _",
    samples=[
        sample("3 4, 4, 4", normalized_shape=(4,)),
        sample("2 3 4, 3 4, 3 4", normalized_shape=(3, 4), eps=0.1),
        sample("2 3 4", normalized_shape=(4,)),
        sample("5, 5, 5", normalized_shape=(5,)),
        sample("3 1, 1", normalized_shape=(1,)),
        sample("0 3, 3, 3", normalized_shape=(3,)),
    ],
    textbook=_layer_norm_composed,
)
def layer_norm(x, weight=None, bias=None, *, normalized_shape, eps=1e-5):
    r"""Every example shifted and scaled to mean 0 and variance 1 over its features.

    Args:
        x: any shape whose last sizes are ``normalized_shape``.
        weight: of shape ``normalized_shape``, the scale :math:`\gamma` of every feature, or None.
        bias: of shape ``normalized_shape``, the mean :math:`\beta` of every feature, or None.
        normalized_shape: the sizes of the last axes, those of the features, as a tuple; an int for one.
        eps: added to the variance.

    Raises:
        ValueError: ``x`` does not end in ``normalized_shape``, or a weight or bias does not have it.

    Forward:
        Over the :math:`D` features :math:`j`, for every example :math:`r`:
        .. math:: \mu_r = \frac{1}{D} \sum_j x_{rj}, \qquad
                  v_r = \frac{1}{D} \sum_j (x_{rj} - \mu_r)^2, \qquad s_r = \sqrt{v_r + \varepsilon}
        .. math:: \hat x_{rj} = \frac{x_{rj} - \mu_r}{s_r}, \qquad y_{rj} = \gamma_j \hat x_{rj} + \beta_j
    Backward:
        .. math:: \bar x_{rj} = \frac{1}{D s_r} \left( D \gamma_j \bar y_{rj} - \sum_k \gamma_k \bar y_{rk}
                  - \hat x_{rj} \sum_k \gamma_k \bar y_{rk} \hat x_{rk} \right)
        .. math:: \bar \gamma_j = \sum_r \bar y_{rj} \hat x_{rj}, \qquad \bar \beta_j = \sum_r \bar y_{rj}
    Derivation:
        As for batch_norm with batch and features exchanged: mean and variance belong to a row, not to a column.
        .. math:: \frac{\partial (x_{rj} - \mu_r)}{\partial x_{ik}}
                  = \delta_{ri} \left( \delta_{jk} - \frac{1}{D} \right), \qquad
                  \frac{\partial v_r}{\partial x_{ik}} = \delta_{ri} \frac{2}{D} (x_{rk} - \mu_r)
        .. math:: \frac{\partial \hat x_{rj}}{\partial x_{ik}}
                  = \frac{\delta_{ri}}{D s_r} \left( D \delta_{jk} - 1 - \hat x_{rj} \hat x_{rk} \right)
        The weights differ along the axis that is summed, so they stay inside the sums:
        .. math:: \bar x_{ik} &= \sum_{rj} \bar y_{rj} \gamma_j \frac{\partial \hat x_{rj}}{\partial x_{ik}}
                  = \frac{1}{D s_i} \sum_j \gamma_j \bar y_{ij}
                    \left( D \delta_{jk} - 1 - \hat x_{ij} \hat x_{ik} \right) \\
                  &= \frac{1}{D s_i} \left( D \gamma_k \bar y_{ik} - \sum_j \gamma_j \bar y_{ij}
                     - \hat x_{ik} \sum_j \gamma_j \bar y_{ij} \hat x_{ij} \right)
        Weight and bias are used once in every row, and their gradients are summed over the rows.
    Source: Ba, Kiros, Hinton, *Layer Normalization* (2016), section 3.

    >>> layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), normalized_shape=(2,)).round(4)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    rows, d = _features("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    return _affine(_standardise(x.reshape(rows, d), (1,), eps), x, weight, bias, (1, d))


@op(
    "_, c, c -> _",
    samples=[
        sample("3 4, 4, 4", num_groups=2),
        sample("2 6 1 2, 6, 6", num_groups=3, eps=0.1),
        sample("2 4 3", num_groups=1),
        sample("1 3 2, 3", num_groups=3),
    ],
    textbook=_group_norm_composed,
)
def group_norm(x, weight=None, bias=None, *, num_groups, eps=1e-5):
    r"""The channels of an example in groups, every group shifted and scaled to mean 0 and variance 1.

    Args:
        x: ``(n, c)`` or ``(n, c, ...)``, images ``(n, c, h, w)``.
        weight: ``(c,)``, the scale :math:`\gamma` of every channel, or None.
        bias: ``(c,)``, the mean :math:`\beta` of every channel, or None.
        num_groups: how many groups of neighbouring channels; it divides ``c``.
        eps: added to the variance.

    Raises:
        ValueError: sizes do not fit.

    Forward:
        Over the :math:`D` numbers :math:`x_{rcl}` of a group :math:`G` of channels :math:`c` at positions :math:`l`,
        for every example :math:`r`:
        .. math:: \mu_{rG} = \frac{1}{D} \sum_{c \in G, \, l} x_{rcl}, \qquad
                  v_{rG} = \frac{1}{D} \sum_{c \in G, \, l} (x_{rcl} - \mu_{rG})^2, \qquad
                  s_{rG} = \sqrt{v_{rG} + \varepsilon}
        .. math:: \hat x_{rcl} = \frac{x_{rcl} - \mu_{rG}}{s_{rG}}, \qquad y_{rcl} = \gamma_c \hat x_{rcl} + \beta_c
    Backward:
        .. math:: \bar x_{rcl} = \frac{1}{D s_{rG}} \Big( D \gamma_c \bar y_{rcl}
                  - \sum_{k \in G, \, m} \gamma_k \bar y_{rkm}
                  - \hat x_{rcl} \sum_{k \in G, \, m} \gamma_k \bar y_{rkm} \hat x_{rkm} \Big)
        .. math:: \bar \gamma_c = \sum_{rl} \bar y_{rcl} \hat x_{rcl}, \qquad \bar \beta_c = \sum_{rl} \bar y_{rcl}
    Derivation:
        As for layer_norm, with one group of one example for a row and the pair :math:`(c, l)` for a feature:
        .. math:: \frac{\partial \hat x_{rcl}}{\partial x_{ikm}} = \delta_{ri} \, [c, k \text{ in one group } G]
                  \, \frac{1}{D s_{rG}} \left( D \delta_{ck} \delta_{lm} - 1 - \hat x_{rcl} \hat x_{rkm} \right)
        The weight of a channel is used in every example at every position, and its gradient is summed over both.
        With one group this is layer_norm over channels and positions; with a group for every channel, instance_norm.
    Source: Wu, He, *Group Normalization* (2018), section 3.

    >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), num_groups=2).round(4)
    array([[-1.,  1., -1.,  1.]])
    """
    n, c, size = _channels("group_norm", x, weight=weight, bias=bias)
    if num_groups < 1 or c % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups}, expected a divisor of {c}, the channels of x")
    view = x.reshape(n, num_groups, c // num_groups, size)
    return _affine(_standardise(view, (2, 3), eps), x, weight, bias, (1, num_groups, c // num_groups, 1))


@op(
    "_, c, c -> _",
    samples=[sample("2 3 4, 3, 3"), sample("2 3 1 2, 3, 3", eps=0.1), "1 1 3", sample("0 3 2, 3")],
    textbook=_instance_norm_composed,
)
def instance_norm(x, weight=None, bias=None, *, eps=1e-5):
    r"""Every channel of every example shifted and scaled to mean 0 and variance 1 over its positions.

    Args:
        x: ``(n, c, ...)``, images ``(n, c, h, w)``.
        weight: ``(c,)``, the scale :math:`\gamma` of every channel, or None.
        bias: ``(c,)``, the mean :math:`\beta` of every channel, or None.
        eps: added to the variance.

    Raises:
        ValueError: sizes do not fit, or there is a single position.

    Forward:
        Over the :math:`L` positions :math:`l`, for every channel :math:`c` of every example :math:`r`:
        .. math:: \mu_{rc} = \frac{1}{L} \sum_l x_{rcl}, \qquad
                  v_{rc} = \frac{1}{L} \sum_l (x_{rcl} - \mu_{rc})^2, \qquad s_{rc} = \sqrt{v_{rc} + \varepsilon}
        .. math:: \hat x_{rcl} = \frac{x_{rcl} - \mu_{rc}}{s_{rc}}, \qquad y_{rcl} = \gamma_c \hat x_{rcl} + \beta_c
    Backward:
        .. math:: \bar x_{rcl} = \frac{\gamma_c}{L s_{rc}} \left( L \bar y_{rcl} - \sum_m \bar y_{rcm}
                  - \hat x_{rcl} \sum_m \bar y_{rcm} \hat x_{rcm} \right)
        .. math:: \bar \gamma_c = \sum_{rl} \bar y_{rcl} \hat x_{rcl}, \qquad \bar \beta_c = \sum_{rl} \bar y_{rcl}
    Derivation:
        As for batch_norm, with the positions for the batch; examples do not mix:
        .. math:: \frac{\partial \hat x_{rcl}}{\partial x_{ikm}} = \delta_{ri} \, \delta_{ck} \,
                  \frac{1}{L s_{rc}} \left( L \delta_{lm} - 1 - \hat x_{rcl} \hat x_{rcm} \right)
        .. math:: \bar x_{ikm} = \sum_{rcl} \bar y_{rcl} \gamma_c \frac{\partial \hat x_{rcl}}{\partial x_{ikm}}
                  = \frac{\gamma_k}{L s_{ik}} \left( L \bar y_{ikm} - \sum_l \bar y_{ikl}
                  - \hat x_{ikm} \sum_l \bar y_{ikl} \hat x_{ikl} \right)
    Source: Ulyanov, Vedaldi, Lempitsky, *Instance Normalization* (2016).

    >>> instance_norm(np.array([[[1.0, 3.0], [10.0, 30.0]]])).round(4)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    n, c, size = _channels("instance_norm", x, weight=weight, bias=bias)
    if size == 1:
        raise ValueError(
            f"instance_norm: Expected more than 1 spatial element when training, got input size {list(x.shape)}: one "
            "value has no variance; layer_norm and group_norm can do without positions"
        )
    return _affine(_standardise(x.reshape(n, c, size), (2,), eps), x, weight, bias, (1, c, 1))


@op(
    "_, _ -> _",
    samples=[
        sample("3 4, 4", normalized_shape=(4,)),
        sample("2 3 4, 3 4", normalized_shape=(3, 4), eps=0.1),
        sample("2 3 4", normalized_shape=(4,)),
        sample("5, 5", normalized_shape=(5,)),
        sample("0 3, 3", normalized_shape=(3,)),
    ],
    textbook=_rms_norm_composed,
)
def rms_norm(x, weight=None, *, normalized_shape, eps=None):
    r"""Every example divided by the root of the mean square of its features: layer_norm without the mean.

    Args:
        x: any shape whose last sizes are ``normalized_shape``.
        weight: of shape ``normalized_shape``, the scale :math:`\gamma` of every feature, or None.
        normalized_shape: the sizes of the last axes, those of the features, as a tuple; an int for one.
        eps: added to the mean square; None stands for the spacing of numbers at 1 in the dtype of ``x``.

    Raises:
        ValueError: ``x`` does not end in ``normalized_shape``, or the weight does not have it.

    Forward:
        Over the :math:`D` features :math:`j`, for every example :math:`r`:
        .. math:: q_r = \sqrt{\frac{1}{D} \sum_j x_{rj}^2 + \varepsilon}, \qquad
                  \hat x_{rj} = \frac{x_{rj}}{q_r}, \qquad y_{rj} = \gamma_j \hat x_{rj}
    Backward:
        .. math:: \bar x_{rj} = \frac{1}{D q_r} \left( D \gamma_j \bar y_{rj}
                  - \hat x_{rj} \sum_k \gamma_k \bar y_{rk} \hat x_{rk} \right), \qquad
                  \bar \gamma_j = \sum_r \bar y_{rj} \hat x_{rj}
    Derivation:
        .. math:: \frac{\partial}{\partial x_{ik}} \frac{1}{q_r}
                  = -\frac{1}{2 q_r^3} \frac{1}{D} \sum_j 2 x_{rj} \, \delta_{ri} \delta_{jk}
                  = -\delta_{ri} \frac{x_{rk}}{D q_r^3} = -\delta_{ri} \frac{\hat x_{rk}}{D q_r^2}
        .. math:: \frac{\partial \hat x_{rj}}{\partial x_{ik}}
                  = \frac{\delta_{ri} \delta_{jk}}{q_r} - x_{rj} \, \delta_{ri} \frac{\hat x_{rk}}{D q_r^2}
                  = \frac{\delta_{ri}}{D q_r} \left( D \delta_{jk} - \hat x_{rj} \hat x_{rk} \right)
        .. math:: \bar x_{ik} = \sum_{rj} \bar y_{rj} \gamma_j \frac{\partial \hat x_{rj}}{\partial x_{ik}}
                  = \frac{1}{D q_i} \left( D \gamma_k \bar y_{ik}
                    - \hat x_{ik} \sum_j \gamma_j \bar y_{ij} \hat x_{ij} \right)
        Nothing is subtracted, so the term of the mean is missing.
    Source: Zhang, Sennrich, *Root Mean Square Layer Normalization* (2019), section 4.

    >>> rms_norm(np.array([3.0, 4.0]), normalized_shape=(2,)).round(4)
    array([0.8485, 1.1314])
    """
    rows, d = _features("rms_norm", x, normalized_shape, weight=weight)
    eps = np.finfo(x.dtype).eps if eps is None else eps
    y, (gx, gweight, _) = _affine(_divide_by_rms(x.reshape(rows, d), (1,), eps), x, weight, None, (1, d))
    return y, (gx, gweight)
