"""ResNet-18, with torchvision's parameter names, so that its weights can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.models.images import image_size
from chainrule.nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)


def resnet18(input_shape: Sequence[int], n_classes: int, *, dtype: str = "float32", rng: np.random.Generator) -> Module:
    """A 7 x 7 convolution and a pooling, eight residual blocks of two convolutions, an average, a linear layer.

    Args:
        input_shape: of one image, (c, h, w), of any size. The network was made for 224 x 224 pixels and divides each
            side by 32.
        n_classes: number of logits.
        dtype: of the parameters.
        rng: draws the first values: convolutions by He's normal initialisation of the fan-out, the linear layer by
            PyTorch's default.

    Raises:
        UsageError: the inputs are not images.

    Source: He, Zhang, Ren, Sun, *Deep residual learning for image recognition* (2015), table 1; ``torchvision.models``.

    >>> model = resnet18((3, 224, 224), 1000, rng=np.random.default_rng(0))
    >>> f"{sum(parameter.size for parameter in model.parameters()):,}"
    '11,689,512'
    """
    channels, _, _ = image_size("resnet18", input_shape)
    new: dict[str, Any] = {"dtype": dtype, "rng": rng}
    model = Sequential(
        {
            "conv1": Conv2d(channels, 64, 7, stride=2, padding=3, bias=False, **new),
            "bn1": BatchNorm2d(64, dtype=dtype),
            "relu": ReLU(),
            "maxpool": MaxPool2d(3, stride=2, padding=1),
            "layer1": Sequential(BasicBlock(64, 64, **new), BasicBlock(64, 64, **new)),
            "layer2": Sequential(BasicBlock(64, 128, stride=2, **new), BasicBlock(128, 128, **new)),
            "layer3": Sequential(BasicBlock(128, 256, stride=2, **new), BasicBlock(256, 256, **new)),
            "layer4": Sequential(BasicBlock(256, 512, stride=2, **new), BasicBlock(512, 512, **new)),
            "avgpool": AdaptiveAvgPool2d(1),
            "flatten": Flatten(),
            "fc": Linear(512, n_classes, **new),
        }
    )
    for module in model.modules():
        if isinstance(module, Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", rng=rng)
    return model


class BasicBlock(Module):
    """Two 3 x 3 convolutions with batch norm, added to the input, then ReLU.

    Where the block halves the image or changes the channels, the input passes a strided 1 x 1 convolution first.

    >>> block = BasicBlock(4, 6, stride=2, rng=np.random.default_rng(0))
    >>> block(np.zeros((2, 4, 5, 5), np.float32)).shape
    (2, 6, 3, 3)
    """

    def __init__(
        self, channels: int, out_channels: int, *, stride: int = 1, dtype: str = "float32", rng: np.random.Generator
    ):
        # Without bias: it would vanish in the batch norm that follows.
        new: dict[str, Any] = {"bias": False, "dtype": dtype, "rng": rng}
        self.conv1 = Conv2d(channels, out_channels, 3, stride=stride, padding=1, **new)
        self.bn1 = BatchNorm2d(out_channels, dtype=dtype)
        self.relu = ReLU()
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, **new)
        self.bn2 = BatchNorm2d(out_channels, dtype=dtype)
        self.downsample = None
        if stride != 1 or channels != out_channels:
            fitting = Conv2d(channels, out_channels, 1, stride=stride, **new)
            self.downsample = Sequential(fitting, BatchNorm2d(out_channels, dtype=dtype))

    def __call__(self, x: Any) -> Any:
        """The input and what the two convolutions make of it, added and rectified."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(residual + shortcut)
