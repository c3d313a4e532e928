"""Small networks and their inputs for the gradient checks: float64, with sizes that differ."""

from typing import Any

import numpy as np

from chainrule import nn, ops
from chainrule.engine import Parameter

Made = tuple[Any, Any]
EPS = 1e-5
GAMMA, BETA = np.array([0.5, 2.0, -1.5]), np.array([0.3, -0.2, 0.7])


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
    """Batch normalisation of features, as it is in training: the module."""
    return nn.BatchNorm1d(3, dtype=np.float64), _normal(5, 3)


def layer_norm() -> Made:
    """Layer normalisation over the features: the module."""
    return nn.LayerNorm(3, dtype=np.float64), _normal(5, 3)


class Normalisation(nn.Module):
    """Over the batch (axis 0) or the features (axis 1), in the engine's operations: its backward is the engine's."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.gamma, self.beta = Parameter(GAMMA.copy()), Parameter(BETA.copy())

    def __call__(self, x: Any) -> Any:
        """gamma (x - mean) / sqrt(variance + eps) + beta."""
        centred = x - np.mean(x, self.axis, keepdims=True)
        variance = np.mean(centred**2, self.axis, keepdims=True)
        return self.gamma * centred / np.sqrt(variance + EPS) + self.beta


def norm_of_tensors(axis: int) -> Made:
    """A normalisation that is differentiated automatically."""
    return Normalisation(axis), _normal(5, 3)


def norm_by_hand(axis: int) -> Made:
    """The same as a pair of functions: dL/dx = (g - mean(g) - xhat mean(g xhat)) / s with g = dL/dy gamma."""

    def forward(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, Any]:
        s = np.sqrt(x.var(axis, keepdims=True) + EPS)
        xhat = (x - x.mean(axis, keepdims=True)) / s
        return gamma * xhat + beta, (xhat, gamma, s)

    def backward(gy: np.ndarray, cache: Any) -> tuple[np.ndarray, ...]:
        xhat, gamma, s = cache
        g = gy * gamma
        gx = (g - g.mean(axis, keepdims=True) - xhat * (g * xhat).mean(axis, keepdims=True)) / s
        return gx, (gy * xhat).sum(0), gy.sum(0)

    return (forward, backward), (_normal(5, 3), GAMMA, BETA)


def perceptron(activation: type[nn.Module]) -> Made:
    """Linear, activation, linear: every parameter, by `forward` and `backward`, layer by layer."""
    return nn.Sequential(_linear(4, 5), activation(), _linear(5, 3)), _normal(6, 4)


def perceptron_with_norm() -> Made:
    """Linear, batch norm, ReLU, linear: a bias before a batch norm has the gradient 0."""
    return nn.Sequential(_linear(4, 3), nn.BatchNorm1d(3, dtype=np.float64), nn.ReLU(), _linear(3, 2)), _normal(5, 4)


def division() -> Made:
    """X / Y, entry by entry."""
    return ops.div, (_normal(4, 3), 1.5 + _normal(4, 3) ** 2)


def product() -> Made:
    """X W."""
    return ops.matmul, (_normal(4, 3), np.random.default_rng(2).normal(size=(3, 2)))


class Select(nn.Module):
    """The third entry of every row."""

    def __call__(self, x: Any) -> Any:
        """x[i, 2] of every i."""
        return x[np.arange(len(x)), [2] * len(x)]


def select() -> Made:
    """Entries of every row, with a batch of one: what the write-up's engine stumbled over."""
    return Select(), _normal(1, 3)
