"""Normalisations as layers: around ops that hold the formulas, weights that are trained and running statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.engine import Parameter, Tensor
from chainrule.nn.module import Module
from chainrule.ops.norm import moments


def _ones_and_zeros(
    shape: Any, dtype: Any, weight: bool = True, bias: bool = True
) -> tuple[Parameter | None, Parameter | None]:
    """The first weight and bias: with them a layer only normalises."""
    return (Parameter(np.ones(shape, dtype)) if weight else None, Parameter(np.zeros(shape, dtype)) if bias else None)


def _expect(layer: Any, x: Any, shapes: str, axes: tuple[int, ...]) -> None:
    if x.ndim not in axes or x.shape[1] != layer.num_features:
        expected = f"expected {shapes} with c = {layer.num_features}, the num_features"
        raise ValueError(f"{type(layer).__name__}: x has shape {x.shape}, {expected}")


# -------------------------------------------------------------------------------------------------------- batch norm


def _give_state(layer: Any, dtype: Any) -> None:
    """The parameters and running statistics of a batch norm, in the order of PyTorch's state dict."""
    shape, tracks = layer.num_features, layer.track_running_stats
    layer.weight, layer.bias = _ones_and_zeros(shape, dtype, layer.affine, layer.affine)
    layer.running_mean = np.zeros(shape, dtype) if tracks else None
    layer.running_var = np.ones(shape, dtype) if tracks else None
    layer.num_batches_tracked = np.zeros((), np.int64) if tracks else None


# The step of the running statistics by a kernel, which returns False, with nothing changed, where it cannot take it.
FUSED: Callable[[Any, np.ndarray], bool] | None = None


def _batch_norm(layer: Any, x: Any) -> Any:
    """The op; then, in training, the running statistics go a step towards those of the batch, under no_grad too."""
    y = ops.batch_norm(
        x,
        layer.running_mean,
        layer.running_var,
        layer.weight,
        layer.bias,
        training=layer.training or not layer.track_running_stats,
        eps=layer.eps,
    )
    if layer.training and layer.track_running_stats and not (FUSED and FUSED(layer, getattr(y, "value", y))):
        batch = (x.value if isinstance(x, Tensor) else x).reshape(*x.shape[:2], -1)
        mean, _, var = moments(batch, (0, 2))  # once more: an op is pure, and returns one array
        count = x.size // layer.num_features
        layer.num_batches_tracked += 1
        step = 1 / layer.num_batches_tracked if layer.momentum is None else layer.momentum
        layer.running_mean += step * (mean.ravel() - layer.running_mean)
        layer.running_var += step * (var.ravel() * count / (count - 1) - layer.running_var)
    return y


class BatchNorm1d(Module):
    r"""Batch normalisation of rows or sequences: :func:`chainrule.ops.batch_norm`, with running statistics.

    Args:
        num_features: how many channels c.
        eps: added to the variance.
        momentum: the share m of a batch in the running statistics, :math:`r \leftarrow (1 - m) r + m b`; with None
            they are the mean over all batches so far.
        affine: have a weight and a bias?
        track_running_stats: have running statistics? Without them, the batch's are used after training too.
        dtype: of all arrays.

    Attributes:
        weight, bias: ``(c,)`` each, at first 1 and 0, or None.
        running_mean, running_var: ``(c,)`` each, at first 0 and 1, or None. The variance of a batch that goes into it
            is the unbiased one, as in PyTorch; the one it is divided by is the biased one.
        num_batches_tracked: how many batches went into them, int64.

    Raises:
        ValueError: ``x`` is not (n, c) or (n, c, l), or has a single value per channel in training.

    >>> layer = BatchNorm1d(2)
    >>> layer(np.array([[1.0, 10.0], [3.0, 30.0]])).value.round(4)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.running_mean, layer.running_var
    (array([0.2, 2. ], dtype=float32), array([ 1.1, 20.9], dtype=float32))
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _give_state(self, dtype)

    def __call__(self, x: Any) -> Any:
        _expect(self, x, "(n, c) or (n, c, l)", (2, 3))
        return _batch_norm(self, x)


class BatchNorm2d(Module):
    r"""Batch normalisation of images: :func:`chainrule.ops.batch_norm`, with running statistics.

    Args:
        num_features: how many channels c.
        eps: added to the variance.
        momentum: the share m of a batch in the running statistics, :math:`r \leftarrow (1 - m) r + m b`; with None
            they are the mean over all batches so far.
        affine: have a weight and a bias?
        track_running_stats: have running statistics? Without them, the batch's are used after training too.
        dtype: of all arrays.

    Attributes:
        weight, bias: ``(c,)`` each, at first 1 and 0, or None.
        running_mean, running_var: ``(c,)`` each, at first 0 and 1, or None. The variance of a batch that goes into it
            is the unbiased one, as in PyTorch; the one it is divided by is the biased one.
        num_batches_tracked: how many batches went into them, int64.

    Raises:
        ValueError: ``x`` is not (n, c, h, w), or has a single value per channel in training.

    >>> layer = BatchNorm2d(3).eval()
    >>> layer(np.ones((2, 3, 5, 7), np.float32)).shape
    (2, 3, 5, 7)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _give_state(self, dtype)

    def __call__(self, x: Any) -> Any:
        _expect(self, x, "(n, c, h, w)", (4,))
        return _batch_norm(self, x)


# ------------------------------------------------------------------------------------------- over each example's own


class LayerNorm(Module):
    """Normalisation of every example over its features: :func:`chainrule.ops.layer_norm`.

    Args:
        normalized_shape: the sizes of the last axes of the input, those of the features; an int for one axis.
        eps: added to the variance.
        elementwise_affine: have a weight and, if also ``bias``, a bias?
        bias: have a bias?
        dtype: of both.

    Attributes:
        weight, bias: of shape ``normalized_shape``, at first 1 and 0, or None.

    >>> LayerNorm(2)(np.array([[1.0, 3.0], [10.0, 30.0]])).value.round(4)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        self.normalized_shape, self.eps, self.elementwise_affine = normalized_shape, eps, elementwise_affine
        affine = elementwise_affine
        self.weight, self.bias = _ones_and_zeros(self.normalized_shape, dtype, affine, affine and bias)

    def __call__(self, x: Any) -> Any:
        return ops.layer_norm(x, self.weight, self.bias, normalized_shape=self.normalized_shape, eps=self.eps)


class RMSNorm(Module):
    """Division of every example by its root mean square: :func:`chainrule.ops.rms_norm`.

    Args:
        normalized_shape: the sizes of the last axes of the input, those of the features; an int for one axis.
        eps: added to the mean square; None stands for the spacing of numbers at 1 in the dtype of the input.
        elementwise_affine: have a weight?
        dtype: of the weight.

    Attributes:
        weight: of shape ``normalized_shape``, at first 1, or None.

    >>> RMSNorm(2)(np.array([[3.0, 4.0]])).value.round(4)
    array([[0.8485, 1.1314]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = np.float32,
    ):
        self.normalized_shape, self.eps, self.elementwise_affine = normalized_shape, eps, elementwise_affine
        self.weight, _ = _ones_and_zeros(self.normalized_shape, dtype, elementwise_affine, bias=False)

    def __call__(self, x: Any) -> Any:
        return ops.rms_norm(x, self.weight, normalized_shape=self.normalized_shape, eps=self.eps)


class GroupNorm(Module):
    """Normalisation of groups of channels of every example: :func:`chainrule.ops.group_norm`.

    Args:
        num_groups: how many groups; it divides ``num_channels``.
        num_channels: how many channels c.
        eps: added to the variance.
        affine: have a weight and a bias?
        dtype: of both.

    Attributes:
        weight, bias: ``(c,)`` each, at first 1 and 0, or None.

    Raises:
        ValueError: ``num_groups`` does not divide ``num_channels``, or the input has other channels.

    >>> GroupNorm(2, 4)(np.array([[1.0, 3.0, 10.0, 30.0]])).value.round(4)
    array([[-1.,  1., -1.,  1.]])
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype: Any = np.float32
    ):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups is {num_groups}, expected a divisor of num_channels={num_channels}"
            )
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight, self.bias = _ones_and_zeros(num_channels, dtype, affine, affine)

    def __call__(self, x: Any) -> Any:
        return ops.group_norm(x, self.weight, self.bias, num_groups=self.num_groups, eps=self.eps)


class InstanceNorm1d(Module):
    """Normalisation of every channel of every sequence: :func:`chainrule.ops.instance_norm`.

    Args:
        num_features: how many channels c.
        eps: added to the variance.
        affine: have a weight and a bias?
        dtype: of both.

    Attributes:
        weight, bias: ``(c,)`` each, at first 1 and 0, or None.

    Raises:
        ValueError: ``x`` is not (n, c, l), or has a single position.

    >>> InstanceNorm1d(1)(np.array([[[1.0, 3.0]], [[10.0, 30.0]]])).round(4)
    array([[[-1.,  1.]],
    <BLANKLINE>
           [[-1.,  1.]]])
    """

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False, dtype: Any = np.float32):
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.weight, self.bias = _ones_and_zeros(num_features, dtype, affine, affine)

    def __call__(self, x: Any) -> Any:
        _expect(self, x, "(n, c, l)", (3,))
        return ops.instance_norm(x, self.weight, self.bias, eps=self.eps)


class InstanceNorm2d(Module):
    """Normalisation of every channel of every image: :func:`chainrule.ops.instance_norm`.

    Args:
        num_features: how many channels c.
        eps: added to the variance.
        affine: have a weight and a bias?
        dtype: of both.

    Attributes:
        weight, bias: ``(c,)`` each, at first 1 and 0, or None.

    Raises:
        ValueError: ``x`` is not (n, c, h, w), or has a single position.

    >>> InstanceNorm2d(3, affine=True)(np.ones((2, 3, 5, 7), np.float32)).shape
    (2, 3, 5, 7)
    """

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False, dtype: Any = np.float32):
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.weight, self.bias = _ones_and_zeros(num_features, dtype, affine, affine)

    def __call__(self, x: Any) -> Any:
        _expect(self, x, "(n, c, h, w)", (4,))
        return ops.instance_norm(x, self.weight, self.bias, eps=self.eps)
