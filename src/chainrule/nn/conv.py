"""Convolution layers. Arguments, defaults, parameters and their first values are PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.engine import Parameter
from chainrule.nn import init
from chainrule.nn.module import Module
from chainrule.ops.windows import per_axis

Rng = np.random.Generator | None
Sizes = int | tuple[int, ...]


def _first_values(
    layer: Any, axes: int, bias: bool, rng: Rng, dtype: Any, transposed: bool = False
) -> tuple[Parameter, Parameter | None]:
    r"""Weight and bias of a layer with so many spatial axes, from :math:`\mathcal U(-1/\sqrt f, 1/\sqrt f)`.

    Here :math:`f` is the fan-in: as many numbers as each output entry of a convolution is the sum of.

    Source: PyTorch's ``reset_parameters`` in ``torch.nn.modules.conv``.
    """
    name, groups, channels = type(layer).__name__, layer.groups, (layer.out_channels, layer.in_channels)
    if groups < 1 or any(n % groups for n in channels):
        found = f"in_channels={layer.in_channels} and out_channels={layer.out_channels}"
        raise ValueError(f"{name}: groups is {groups}, expected a positive divisor of {found}")
    kernel = per_axis(f"{name}: kernel_size", layer.kernel_size, axes)
    first, second = reversed(channels) if transposed else channels
    rng = rng or np.random.default_rng()
    shape = (first, second // groups, *kernel)
    # In memory the channels are last, as in the images and in the weight's gradient.
    memory = np.moveaxis(np.empty((first, *kernel, second // groups), dtype), -1, 1)
    weight = init.kaiming_uniform_(Parameter(memory), a=math.sqrt(5), rng=rng)
    bound = 1 / math.sqrt(init.fans(shape)[0])
    return weight, init.uniform_(
        Parameter(np.empty(layer.out_channels, dtype)), -bound, bound, rng=rng
    ) if bias else None


class Conv1d(Module):
    """A convolution over one spatial axis, :func:`chainrule.ops.conv1d`.

    Args:
        in_channels, out_channels: how many channels come in and go out.
        kernel_size, stride, padding, dilation: as in the op, ints; ``padding`` also ``"same"`` or ``"valid"``.
        groups: so many convolutions side by side, each with its share of the channels.
        bias: add one number per output channel?
        rng: draws the first values, uniform between plus and minus one over the root of the fan-in.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_channels, in_channels / groups, kernel_size)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: ``groups`` does not divide the channels, or ``kernel_size`` is not positive.

    >>> Conv1d(3, 8, kernel_size=5, padding=2)(np.zeros((2, 3, 7), np.float32)).shape
    (2, 8, 7)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = np.float32,
    ):
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.weight, self.bias = _first_values(self, 1, bias, rng, dtype)

    def __call__(self, x: Any) -> Any:
        where = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return ops.conv1d(x, self.weight, self.bias, **where, groups=self.groups)


class Conv2d(Module):
    """A convolution of images, :func:`chainrule.ops.conv2d`.

    Args:
        in_channels, out_channels: how many channels come in and go out.
        kernel_size, stride, padding, dilation: as in the op, an int or one per spatial axis; ``padding`` also
            ``"same"`` or ``"valid"``.
        groups: so many convolutions side by side, each with its share of the channels.
        bias: add one number per output channel?
        rng: draws the first values, uniform between plus and minus one over the root of the fan-in.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_channels, in_channels / groups, *kernel_size)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: ``groups`` does not divide the channels, or ``kernel_size`` is not positive.

    >>> Conv2d(3, 8, kernel_size=3, stride=2, padding=1)(np.zeros((2, 3, 7, 5), np.float32)).shape
    (2, 8, 4, 3)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: Rng = None,
        dtype: Any = np.float32,
    ):
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.weight, self.bias = _first_values(self, 2, bias, rng, dtype)

    def __call__(self, x: Any) -> Any:
        where = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return ops.conv2d(x, self.weight, self.bias, **where, groups=self.groups)


class ConvTranspose2d(Module):
    """A transposed convolution, from small images to larger ones, :func:`chainrule.ops.conv_transpose2d`.

    Args:
        in_channels, out_channels: how many channels come in and go out.
        kernel_size, stride, padding, output_padding, dilation: as in the op, an int or one per spatial axis.
        groups: so many side by side, each with its share of the channels.
        bias: add one number per output channel?
        rng: draws the first values, uniform between plus and minus one over the root of the fan-in, which PyTorch
            counts as for a convolution with this weight: ``out_channels / groups`` times the size of the kernel.
        dtype: of the parameters.

    Attributes:
        weight: ``(in_channels, out_channels / groups, *kernel_size)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: ``groups`` does not divide the channels, or ``kernel_size`` is not positive.

    >>> ConvTranspose2d(8, 3, kernel_size=4, stride=2, padding=1)(np.zeros((2, 8, 5, 7), np.float32)).shape
    (2, 3, 10, 14)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        rng: Rng = None,
        dtype: Any = np.float32,
    ):
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.output_padding = output_padding
        self.weight, self.bias = _first_values(self, 2, bias, rng, dtype, transposed=True)

    def __call__(self, x: Any) -> Any:
        where = {"stride": self.stride, "padding": self.padding, "output_padding": self.output_padding}
        return ops.conv_transpose2d(x, self.weight, self.bias, **where, groups=self.groups, dilation=self.dilation)
