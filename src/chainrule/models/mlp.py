"""The multi-layer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.models.activation import activation_layer
from chainrule.nn import Dropout, Flatten, Linear, Sequential
from chainrule.nn.module import Module


def mlp(
    input_shape: Sequence[int],
    n_classes: int,
    *,
    hidden: Sequence[int] = (100,),
    activation: str = "relu",
    negative_slope: float = 0.01,
    dropout: float = 0.0,
    dtype: str = "float32",
    rng: np.random.Generator,
) -> Module:
    """Flatten; a linear layer, the activation and dropout for every hidden width; a linear layer to the logits.

    Args:
        input_shape: of one example, any number of axes.
        n_classes: number of logits.
        hidden: widths of the hidden layers; empty for a linear classifier.
        activation: see :data:`chainrule.models.ACTIVATIONS`.
        negative_slope: of the leaky ReLU.
        dropout: probability, after every activation; 0 leaves dropout out.
        dtype: of the parameters.
        rng: draws first values and dropout masks.

    >>> mlp((1, 8, 8), 10, hidden=(16,), rng=np.random.default_rng(0))
    Sequential(
      (0): Flatten(start_dim=1, end_dim=-1)
      (1): Linear(in_features=64, out_features=16)
      (2): ReLU()
      (3): Linear(in_features=16, out_features=10)
    )
    """
    layers: list[Module] = [Flatten()]
    width = math.prod(input_shape)
    for units in hidden:
        layers += [Linear(width, units, rng=rng, dtype=dtype), activation_layer(activation, negative_slope)]
        if dropout:
            layers.append(Dropout(dropout, rng=rng))
        width = units
    return Sequential(*layers, Linear(width, n_classes, rng=rng, dtype=dtype))
