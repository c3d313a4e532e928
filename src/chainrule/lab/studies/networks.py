"""Small networks and their inputs for the gradient checks: float64, with sizes that differ."""

from typing import Any

import numpy as np

from chainrule import nn, ops

Made = tuple[Any, Any]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, rng=np.random.default_rng(0), dtype=np.float64)


def linear() -> Made:
    """A linear layer."""
    return _linear(4, 3), _normal(5, 4)


def relu() -> Made:
    """ReLU."""
    return nn.ReLU(), _normal(5, 3)


def elu() -> Made:
    """ELU with alpha 1."""
    return nn.ELU(), _normal(5, 3)


def sigmoid() -> Made:
    """The sigmoid."""
    return nn.Sigmoid(), _normal(5, 3)


def softmax() -> Made:
    """Softmax over the classes."""
    return nn.Softmax(dim=1), _normal(5, 3)


def cross_entropy() -> Made:
    """Cross-entropy of logits, a mean over the batch."""
    return ops.cross_entropy, (_normal(5, 3), np.array([0, 2, 1, 1, 0]))


def squared_error() -> Made:
    """The mean squared error over all entries."""
    return ops.mse_loss, (_normal(5, 3), np.random.default_rng(2).normal(size=(5, 3)))


def binary_cross_entropy() -> Made:
    """Binary cross-entropy of probabilities, a mean over all entries."""
    draw = np.random.default_rng(2).uniform
    return ops.binary_cross_entropy, (draw(0.1, 0.9, (5, 3)), draw(0.1, 0.9, (5, 3)))


def batch_norm() -> Made:
    """Batch normalisation of features, as it is in training."""
    return nn.BatchNorm1d(3, dtype=np.float64), _normal(5, 3)


def layer_norm() -> Made:
    """Layer normalisation over the features."""
    return nn.LayerNorm(3, dtype=np.float64), _normal(5, 3)


def perceptron(activation: type[nn.Module]) -> Made:
    """Linear, activation, linear: every parameter, by `forward` and `backward`, layer by layer."""
    return nn.Sequential(_linear(4, 5), activation(), _linear(5, 3)), _normal(6, 4)


def normalised() -> Made:
    """Linear, batch norm, ReLU, linear: a bias before a batch norm has the gradient 0."""
    return nn.Sequential(_linear(4, 3), nn.BatchNorm1d(3, dtype=np.float64), nn.ReLU(), _linear(3, 2)), _normal(5, 4)


def division() -> Made:
    """X / Y, entry by entry."""
    return ops.div, (_normal(4, 3), 1.5 + _normal(4, 3) ** 2)


def product() -> Made:
    """X W."""
    return ops.matmul, (_normal(4, 3), np.random.default_rng(2).normal(size=(3, 2)))


def select() -> Made:
    """Entries of every row, with a batch of one: what the write-up's engine stumbled over."""
    return (lambda x: x[np.arange(len(x)), [2] * len(x)]), _normal(1, 3)
