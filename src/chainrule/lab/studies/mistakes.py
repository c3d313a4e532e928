"""Backward passes with the write-ups' mistakes, as their code would have them: what the checker must name."""

from typing import Any

import numpy as np

Pair = tuple[Any, Any]


def softmax_element_wise() -> tuple[Pair, Any]:
    """uva-2018: the gradient coming in times the diagonal of the Jacobian."""

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        e = np.exp(x - x.max(1, keepdims=True))
        y = e / e.sum(1, keepdims=True)
        return y, y

    def backward(gy: np.ndarray, y: np.ndarray) -> np.ndarray:
        return gy * y * (1 - y)

    return (forward, backward), _normal(5, 3)


def linear_averaged() -> tuple[Pair, Any]:
    """uva-2018: the weights' gradient averaged over the batch, although the loss does that."""

    def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        return x @ w.T + b, (x, w)

    def backward(gy: np.ndarray, cache: Any) -> tuple[np.ndarray, ...]:
        x, w = cache
        return gy @ w, gy.T @ x / len(x), gy.mean(0)

    return (forward, backward), (_normal(5, 4), _normal(3, 4), _normal(3))


def gamma_over_features() -> tuple[Pair, Any]:
    """uva-2018: the gradient of batch norm's scale summed over the features, where it is the batch."""

    def forward(x: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, Any]:
        s = np.sqrt(x.var(0) + 1e-5)
        xhat = (x - x.mean(0)) / s
        return gamma * xhat, (xhat, gamma, s)

    def backward(gy: np.ndarray, cache: Any) -> tuple[np.ndarray, ...]:
        xhat, gamma, s = cache
        g = gy * gamma
        return (g - g.mean(0) - xhat * (g * xhat).mean(0)) / s, (gy * xhat).sum(1)

    return (forward, backward), (_normal(4, 4), _normal(4))


def layer_norm_none() -> tuple[Pair, Any]:
    """uva-2020: a backward that returns None for every input."""

    def forward(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, None]:
        xhat = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return gamma * xhat + beta, None

    def backward(gy: np.ndarray, cache: None) -> tuple[None, None, None]:
        return None, None, None

    return (forward, backward), (_normal(5, 3), _normal(3), _normal(3))


def division_without_minus() -> tuple[Pair, Any]:
    """vu-2021: the gradient of the divisor without its minus sign."""

    def forward(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, Any]:
        return x / y, (x, y)

    def backward(gz: np.ndarray, cache: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y = cache
        return gz / y, gz * x / y**2

    return (forward, backward), (_normal(4, 3), 1.5 + _normal(4, 3) ** 2)


def bias_from_dh() -> tuple[Pair, Any]:
    """vu-2023: the gradient of the bias read before the activation's derivative."""

    def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        h = 1 / (1 + np.exp(-(x @ w + b)))
        return h, (x, w, h)

    def backward(dh: np.ndarray, cache: Any) -> tuple[np.ndarray, ...]:
        x, w, h = cache
        dk = dh * h * (1 - h)
        return dk @ w.T, x.T @ dk, dh.sum(0)

    return (forward, backward), (_normal(5, 4), _normal(4, 3), _normal(3))


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)
