"""SqueezeNet 1.1, with torchvision's parameter names, so that its weights can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.models.images import image_size
from chainrule.nn import AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, MaxPool2d, Module, ReLU, Sequential, init


def squeezenet1_1(
    input_shape: Sequence[int],
    n_classes: int,
    *,
    ceil_mode: bool = True,
    dtype: str = "float32",
    rng: np.random.Generator,
) -> Module:
    """Eight :class:`Fire` modules and three poolings; a 1 x 1 convolution to the classes, averaged over the image.

    Args:
        input_shape: of one image, (c, h, w); 17 x 17 pixels or more, 31 x 31 without ``ceil_mode``.
        n_classes: number of logits.
        ceil_mode: of the poolings, as in torchvision; weights that Caffe trained were made without it. At 64, 96 or
            224 pixels a side it makes no difference.
        dtype: of the parameters.
        rng: draws the first values, torchvision's, and the dropout masks.

    Raises:
        UsageError: the inputs are not images, or too small.

    Source: Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5 MB model size*
    (2016), release 1.1; ``torchvision.models``.

    >>> model = squeezenet1_1((3, 224, 224), 1000, rng=np.random.default_rng(0))
    >>> f"{sum(parameter.size for parameter in model.parameters()):,}"
    '1,235,496'
    """
    channels, _, _ = image_size("squeezenet1_1", input_shape, smallest=17 if ceil_mode else 31)
    new: dict[str, Any] = {"dtype": dtype, "rng": rng}
    pool: dict[str, Any] = {"stride": 2, "ceil_mode": ceil_mode}
    features = Sequential(
        Conv2d(channels, 64, 3, stride=2, **new), ReLU(), MaxPool2d(3, **pool),
        Fire(64, 16, 64, **new), Fire(128, 16, 64, **new), MaxPool2d(3, **pool),
        Fire(128, 32, 128, **new), Fire(256, 32, 128, **new), MaxPool2d(3, **pool),
        Fire(256, 48, 192, **new), Fire(384, 48, 192, **new), Fire(384, 64, 256, **new), Fire(512, 64, 256, **new),
    )  # fmt: skip
    classes = Conv2d(512, n_classes, 1, **new)
    classifier = Sequential(Dropout(0.5, rng=rng), classes, ReLU(), AdaptiveAvgPool2d(1))
    model = Sequential({"features": features, "classifier": classifier, "flatten": Flatten()})
    for module in model.modules():
        if isinstance(module, Conv2d):
            init.kaiming_uniform_(module.weight, rng=rng)
            if module.bias is not None:
                init.zeros_(module.bias)
    init.normal_(classes.weight, std=0.01, rng=rng)
    return model


class Fire(Module):
    """A 1 x 1 convolution to few channels, read by a 1 x 1 and a 3 x 3 convolution, whose outputs are joined.

    >>> Fire(8, 2, 5, rng=np.random.default_rng(0))(np.zeros((1, 8, 4, 4), np.float32)).shape
    (1, 10, 4, 4)
    """

    def __init__(
        self, channels: int, squeezed: int, expanded: int, *, dtype: str = "float32", rng: np.random.Generator
    ):
        self.squeeze = Conv2d(channels, squeezed, 1, dtype=dtype, rng=rng)
        self.expand1x1 = Conv2d(squeezed, expanded, 1, dtype=dtype, rng=rng)
        self.expand3x3 = Conv2d(squeezed, expanded, 3, padding=1, dtype=dtype, rng=rng)
        self.relu = ReLU()

    def __call__(self, x: Any) -> Any:
        """Squeeze, expand twice, join along the channels; ReLU after each convolution."""
        x = self.relu(self.squeeze(x))
        return np.concatenate([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], axis=1)
