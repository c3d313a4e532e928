"""The small convolutional networks of the course studies, layer by layer. First values are PyTorch's defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.models.images import image_size
from chainrule.nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential


def convnet_uva_2018(
    input_shape: Sequence[int], n_classes: int, *, dtype: str = "float32", rng: np.random.Generator
) -> Module:
    """VGG's pattern in eight convolutions: each 3 x 3 with batch norm and ReLU, five poolings, one linear layer.

    Args:
        input_shape: of one image, (c, h, w). Five poolings halve 32 pixels to one; of larger images, the average of
            what is left is classified.
        n_classes: number of logits.
        dtype: of the parameters.
        rng: draws the first values.

    Raises:
        UsageError: the inputs are not images.

    >>> model = convnet_uva_2018((3, 32, 32), 10, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """
    channels, _, _ = image_size("convnet-uva-2018", input_shape)
    new: dict[str, Any] = {"dtype": dtype, "rng": rng}
    return Sequential(
        *_conv(channels, 64, **new), _halve(),
        *_conv(64, 128, **new), _halve(),
        *_conv(128, 256, **new), *_conv(256, 256, **new), _halve(),
        *_conv(256, 512, **new), *_conv(512, 512, **new), _halve(),
        *_conv(512, 512, **new), *_conv(512, 512, **new), _halve(),
        AdaptiveAvgPool2d(1), Flatten(), Linear(512, n_classes, **new),
    )  # fmt: skip


def convnet_uva_2020(
    input_shape: Sequence[int], n_classes: int, *, dtype: str = "float32", rng: np.random.Generator
) -> Module:
    """Pre-activation residual blocks (:class:`PreAct`), widened by 1 x 1 convolutions, between five poolings.

    Args:
        input_shape: of one image, (c, h, w). Five poolings halve 32 pixels to one; of larger images, the average of
            what is left is classified.
        n_classes: number of logits.
        dtype: of the parameters.
        rng: draws the first values.

    Raises:
        UsageError: the inputs are not images.

    >>> model = convnet_uva_2020((1, 28, 28), 10, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 10)
    """
    channels, _, _ = image_size("convnet-uva-2020", input_shape)
    new: dict[str, Any] = {"dtype": dtype, "rng": rng}
    return Sequential(
        Conv2d(channels, 64, 3, padding=1, **new),
        PreAct(64, **new), Conv2d(64, 128, 1, **new), _halve(),
        PreAct(128, **new), PreAct(128, **new), Conv2d(128, 256, 1, **new), _halve(),
        PreAct(256, **new), PreAct(256, **new), Conv2d(256, 512, 1, **new), _halve(),
        PreAct(512, **new), PreAct(512, **new), _halve(),
        PreAct(512, **new), PreAct(512, **new), _halve(),
        BatchNorm2d(512, dtype=dtype), ReLU(), AdaptiveAvgPool2d(1), Flatten(), Linear(512, n_classes, **new),
    )  # fmt: skip


def convnet_vu(
    input_shape: Sequence[int], n_classes: int, *, dtype: str = "float32", rng: np.random.Generator
) -> Module:
    """LeNet's pattern, as in PyTorch's CIFAR-10 tutorial: two 5 x 5 convolutions and poolings, three linear layers.

    Args:
        input_shape: of one image, (c, h, w); 16 x 16 pixels or more.
        n_classes: number of logits.
        dtype: of the parameters.
        rng: draws the first values.

    Raises:
        UsageError: the inputs are not images, or too small.

    >>> model = convnet_vu((3, 32, 32), 10, rng=np.random.default_rng(0))
    >>> sum(parameter.size for parameter in model.parameters())
    62006
    """
    channels, height, width = image_size("convnet-vu", input_shape, smallest=16)
    left = [((size - 4) // 2 - 4) // 2 for size in (height, width)]  # a 5 x 5 convolution takes 4, pooling halves
    new: dict[str, Any] = {"dtype": dtype, "rng": rng}
    return Sequential(
        Conv2d(channels, 6, 5, **new), ReLU(), MaxPool2d(2),
        Conv2d(6, 16, 5, **new), ReLU(), MaxPool2d(2),
        Flatten(),
        Linear(16 * left[0] * left[1], 120, **new), ReLU(),
        Linear(120, 84, **new), ReLU(),
        Linear(84, n_classes, **new),
    )  # fmt: skip


class PreAct(Module):
    """Batch norm, ReLU and a 3 x 3 convolution, added to the input: a pre-activation residual block.

    Source: He, Zhang, Ren, Sun, *Identity mappings in deep residual networks* (2016), with one convolution.

    >>> PreAct(4, rng=np.random.default_rng(0))(np.zeros((2, 4, 5, 5), np.float32)).shape
    (2, 4, 5, 5)
    """

    def __init__(self, channels: int, *, dtype: str = "float32", rng: np.random.Generator):
        self.norm = BatchNorm2d(channels, dtype=dtype)
        self.relu = ReLU()
        self.conv = Conv2d(channels, channels, 3, padding=1, dtype=dtype, rng=rng)

    def __call__(self, x: Any) -> Any:
        """The input, plus what the convolution makes of it."""
        return x + self.conv(self.relu(self.norm(x)))


def _conv(channels: int, out_channels: int, *, dtype: str, rng: np.random.Generator) -> list[Module]:
    conv = Conv2d(channels, out_channels, 3, padding=1, dtype=dtype, rng=rng)
    return [conv, BatchNorm2d(out_channels, dtype=dtype), ReLU()]


def _halve() -> MaxPool2d:
    return MaxPool2d(3, stride=2, padding=1)
