"""Pooling as layers. Each is the op of the same name, which has the formula and its derivation."""

from __future__ import annotations

from typing import Any

from chainrule import ops
from chainrule.nn.module import Module


class MaxPool2d(Module):
    """:func:`chainrule.ops.max_pool2d`: the largest entry of every window of an image.

    >>> MaxPool2d(3, stride=2, padding=1)(np.zeros((1, 8, 32, 32))).shape
    (1, 8, 16, 16)
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: bool = False
    ):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def __call__(self, x: Any) -> Any:
        where = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return ops.max_pool2d(x, kernel_size=self.kernel_size, **where, ceil_mode=self.ceil_mode)


class AvgPool2d(Module):
    """:func:`chainrule.ops.avg_pool2d`: the mean of every window of an image.

    >>> AvgPool2d(2)(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    array([[[[2.5]]]])
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: float | None = None,
    ):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def __call__(self, x: Any) -> Any:
        where = {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil_mode}
        divisor = {"count_include_pad": self.count_include_pad, "divisor_override": self.divisor_override}
        return ops.avg_pool2d(x, kernel_size=self.kernel_size, **where, **divisor)


class AdaptiveAvgPool2d(Module):
    """:func:`chainrule.ops.adaptive_avg_pool2d`: means of parts of an image, ``output_size`` of them.

    >>> AdaptiveAvgPool2d(1)(np.ones((2, 8, 7, 5))).shape
    (2, 8, 1, 1)
    """

    def __init__(self, output_size: Any):
        self.output_size = output_size

    def __call__(self, x: Any) -> Any:
        return ops.adaptive_avg_pool2d(x, output_size=self.output_size)
