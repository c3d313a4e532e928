"""One-place edits of a backward: the simplest one that restores a planted mistake's numbers names that mistake."""

from __future__ import annotations

import ast
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from chainrule.check.repair import Edit, edits
from chainrule.check.truth import numeric_gradient

HEAD = "import numpy as np\n\n\n"
PAIR = """

def value(*inputs):
    return forward(*inputs)[0]


def gradients(gy, *inputs):
    return backward(gy, forward(*inputs)[1])
"""
CTX = """

def value(*inputs):
    return F.forward(Context(), *inputs)


def gradients(gy, *inputs):
    ctx = Context()
    F.forward(ctx, *inputs)
    return F.backward(ctx, gy)


class Context:
    def save_for_backward(self, *values):
        self.saved_tensors = values
"""
NESTED = """

def value(*inputs):
    return rule(*inputs)[0]


def gradients(gy, *inputs):
    return tuple(pullback(gy) for pullback in rule(*inputs)[1])
"""


@dataclass(frozen=True)
class Rule:
    """A right forward and backward, as source; what is edited; inputs of a size (0 or 1)."""

    source: str
    inputs: Callable[[np.random.Generator, int], tuple]
    edited: str = "backward"
    nested: bool = False


def normal(*shapes: str) -> Callable[[np.random.Generator, int], tuple]:
    """Arrays of shapes written in letters; each letter is another size."""
    sizes = [
        dict(zip("ndmcthwfk", row, strict=True)) for row in ((3, 4, 5, 2, 3, 6, 7, 3, 2), (4, 3, 2, 3, 2, 5, 6, 2, 3))
    ]
    return lambda rng, size: tuple(rng.standard_normal([sizes[size][x] for x in shape.split()]) for shape in shapes)


def positive(*shapes: str) -> Callable[[np.random.Generator, int], tuple]:
    draw = normal(*shapes)
    return lambda rng, size: tuple(np.abs(x) + 0.5 for x in draw(rng, size))


def labelled(rng: np.random.Generator, size: int) -> tuple:
    n, c = [(5, 3), (4, 6)][size]
    return rng.standard_normal((n, c)), rng.integers(0, c, n)


RULES = {
    "linear": Rule(
        HEAD
        + """def forward(x, w, b):
    return x @ w + b, (x, w)


def backward(gy, cache):
    x, w = cache
    gx = gy @ w.T
    gw = x.T @ gy
    gb = gy.sum(axis=0)
    return gx, gw, gb
"""
        + PAIR,
        normal("n d", "d m", "m"),
    ),
    "softmax": Rule(
        HEAD
        + """def forward(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def backward(gy, cache):
    y = cache
    return (y * (gy - (gy * y).sum(axis=-1, keepdims=True)),)
"""
        + PAIR,
        normal("n d"),
    ),
    "softmax_jacobian": Rule(
        HEAD
        + """def forward(x, w):
    z = w @ x
    e = np.exp(z - z.max())
    y = e / e.sum()
    return y, (x, w, y)


def backward(gy, cache):
    x, w, y = cache
    jacobian = (np.diag(y) - np.outer(y, y)) @ w
    gx = jacobian.T @ gy
    gw = np.outer((np.diag(y) - np.outer(y, y)) @ gy, x)
    return gx, gw
"""
        + PAIR,
        normal("d", "m d"),
    ),
    "cross_entropy": Rule(
        HEAD
        + """def forward(logits, labels):
    n = logits.shape[0]
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(n), labels]).mean()
    return loss, (p, labels)


def backward(gy, cache):
    p, labels = cache
    n = p.shape[0]
    glogits = p.copy()
    glogits[np.arange(n), labels] -= 1
    glogits = glogits / n
    return (gy * glogits,)
"""
        + PAIR,
        labelled,
    ),
    "mse": Rule(
        HEAD
        + """def forward(x, t):
    return ((x - t) ** 2).mean(), (x, t)


def backward(gy, cache):
    x, t = cache
    gx = gy * 2 * (x - t) / x.size
    gt = -gx
    return gx, gt
"""
        + PAIR,
        normal("n d", "n d"),
    ),
    "bce": Rule(
        HEAD
        + """def forward(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(), (p, t)


def backward(gy, cache):
    p, t = cache
    gp = gy * (p - t) / (p * (1 - p)) / p.size
    return (gp,)
"""
        + PAIR,
        lambda rng, size: (rng.uniform(0.1, 0.9, [(3, 4), (5, 2)][size]), rng.integers(0, 2, [(3, 4), (5, 2)][size])),
    ),
    "divide": Rule(
        HEAD
        + """def forward(a, b):
    return a / b, (a, b)


def backward(gy, cache):
    a, b = cache
    ga = gy / b
    gb = -gy * a / b**2
    return ga, gb
"""
        + PAIR,
        positive("n d", "n d"),
    ),
    "batch_norm": Rule(
        HEAD
        + """class Layer:
    def __init__(self, gamma, beta, eps=1e-2):
        self.gamma, self.beta, self.eps = gamma, beta, eps

    def forward(self, x):
        self.mu = x.mean(axis=0)
        self.xc = x - self.mu
        self.var = (self.xc**2).mean(axis=0)
        self.std = np.sqrt(self.var + self.eps)
        self.xhat = self.xc / self.std
        return self.gamma * self.xhat + self.beta

    def backward(self, gy):
        n, d = gy.shape
        self.ggamma = (gy * self.xhat).sum(axis=0)
        self.gbeta = gy.sum(axis=0)
        gxhat = gy * self.gamma
        gvar = (gxhat * self.xc).sum(axis=0) * -0.5 * self.std**-3
        gmu = -(gxhat / self.std).sum(axis=0)
        gx = gxhat / self.std + gvar * 2 * self.xc / n + gmu / n
        return gx


def value(x, gamma, beta):
    return Layer(gamma, beta).forward(x)


def gradients(gy, x, gamma, beta):
    layer = Layer(gamma, beta)
    layer.forward(x)
    gx = layer.backward(gy)
    return gx, layer.ggamma, layer.gbeta
""",
        normal("n d", "d", "d"),
        "Layer.backward",
    ),
    "layer_norm": Rule(
        HEAD
        + """def forward(x, gamma, beta, eps=1e-2):
    xc = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((xc**2).mean(axis=-1, keepdims=True) + eps)
    xhat = xc * rstd
    return gamma * xhat + beta, (x, xhat, rstd, gamma, eps)


def backward(gy, cache):
    x, xhat, rstd, gamma, eps = cache
    ggamma = (gy * xhat).sum(axis=0)
    gbeta = gy.sum(axis=0)
    g = gy * gamma
    a = g.mean(axis=-1, keepdims=True)
    b = (g * xhat).mean(axis=-1, keepdims=True)
    gx = rstd * (g - a - xhat * b)
    return gx, ggamma, gbeta
"""
        + PAIR,
        normal("n d", "d", "d"),
    ),
    "normalise": Rule(
        HEAD
        + """def forward(x):
    n = x.shape[0]
    xc = x - x.mean(axis=0)
    var = (xc**2).sum(axis=0) / (n - 1)
    return xc / np.sqrt(var + 0.01), (xc, var)


def backward(gy, cache):
    xc, var = cache
    n = xc.shape[0]
    std = np.sqrt(var + 0.01)
    gxc = gy / std - xc * (gy * xc).sum(axis=0) / (n - 1) / std**3
    return (gxc - gxc.mean(axis=0),)
"""
        + PAIR,
        normal("n d"),
    ),
    "standardise": Rule(
        HEAD
        + """def forward(x):
    return x / np.sqrt(x.var(axis=0) + 0.1), x


def backward(gy, cache):
    x = cache
    n = len(x)
    std = np.sqrt(x.var(axis=0) + 0.1)
    gstd = -(gy * x).sum(axis=0) / std**2
    gvar = gstd / (2 * std)
    return (gy / std + gvar * 2 * (x - x.mean(axis=0)) / n,)
"""
        + PAIR,
        normal("n d"),
    ),
    "conv": Rule(
        HEAD
        + """def forward(x, w, b):
    n, c, h, v = x.shape
    f, _, kh, kw = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    oh, ow = (h + 2 - kh) // 2 + 1, (v + 2 - kw) // 2 + 1
    y = np.zeros((n, f, oh, ow))
    for i in range(oh):
        for j in range(ow):
            patch = xp[:, :, 2 * i : 2 * i + kh, 2 * j : 2 * j + kw]
            y[:, :, i, j] = np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return y, (x, w)


def backward(gy, cache):
    x, w = cache
    n, c, h, v = x.shape
    f, _, kh, kw = w.shape
    oh, ow = gy.shape[2:]
    xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    gxp = np.zeros_like(xp)
    gw = np.zeros_like(w)
    gb = gy.sum(axis=(0, 2, 3))
    for i in range(oh):
        for j in range(ow):
            a, b = 2 * i, 2 * j
            patch = xp[:, :, a : a + kh, b : b + kw]
            gw += np.tensordot(gy[:, :, i, j], patch, axes=(0, 0))
            gxp[:, :, a : a + kh, b : b + kw] += np.tensordot(gy[:, :, i, j], w, axes=(1, 0))
    gx = gxp[:, :, 1 : 1 + h, 1 : 1 + v]
    return gx, gw, gb
"""
        + PAIR,
        lambda rng, size: tuple(
            rng.standard_normal(s)
            for s in [((2, 3, 5, 7), (4, 3, 3, 3), (4,)), ((3, 2, 7, 5), (3, 2, 3, 3), (3,))][size]
        ),
    ),
    "conv_full": Rule(
        HEAD
        + """def forward(x, w):
    oh, ow = x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1
    y = np.zeros((oh, ow))
    for i in range(oh):
        for j in range(ow):
            y[i, j] = (x[i : i + w.shape[0], j : j + w.shape[1]] * w).sum()
    return y, (x, w)


def backward(gy, cache):
    x, w = cache
    kh, kw = w.shape
    padded = np.pad(gy, ((kh - 1, kh - 1), (kw - 1, kw - 1)))
    flipped = w[::-1, ::-1]
    gx = np.zeros_like(x)
    gw = np.zeros_like(w)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            gx[i, j] = (padded[i : i + kh, j : j + kw] * flipped).sum()
    for i in range(kh):
        for j in range(kw):
            gw[i, j] = (gy * x[i : i + gy.shape[0], j : j + gy.shape[1]]).sum()
    return gx, gw
"""
        + PAIR,
        normal("h w", "k f"),
    ),
    "rnn": Rule(
        HEAD
        + """def forward(x, w, u, b):
    h = [np.zeros((x.shape[1], w.shape[0]))]
    for t in range(len(x)):
        h.append(np.tanh(x[t] @ w.T + h[-1] @ u.T + b))
    return np.stack(h[1:]), (x, w, u, h)


def backward(gy, cache):
    x, w, u, h = cache
    gx, gw, gu = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u)
    gb = np.zeros(w.shape[0])
    gnext = np.zeros_like(gy[0])
    for t in reversed(range(len(x))):
        gh = gy[t] + gnext
        ga = gh * (1 - h[t + 1] ** 2)
        gb += ga.sum(axis=0)
        gw += ga.T @ x[t]
        gu += ga.T @ h[t]
        gx[t] = ga @ w
        gnext = ga @ u
    return gx, gw, gu, gb
"""
        + PAIR,
        normal("t n d", "m d", "m m", "m"),
    ),
    "attention": Rule(
        HEAD
        + """def forward(q, k, v):
    scale = 1 / np.sqrt(q.shape[-1])
    s = np.einsum("bid,bjd->bij", q, k) * scale
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return np.einsum("bij,bjd->bid", p, v), (q, k, v, p, scale)


def backward(gy, cache):
    q, k, v, p, scale = cache
    gv = np.einsum("bij,bid->bjd", p, gy)
    gp = np.einsum("bid,bjd->bij", gy, v)
    gs = p * (gp - (gp * p).sum(axis=-1, keepdims=True)) * scale
    gq = np.einsum("bij,bjd->bid", gs, k)
    gk = np.einsum("bij,bid->bjd", gs, q)
    return gq, gk, gv
"""
        + PAIR,
        normal("n d m", "n t m", "n t f"),
    ),
    "heads": Rule(
        HEAD
        + """def forward(x, w):
    n, t, d = x.shape
    split = x.reshape(n, t, 2, d // 2).transpose(0, 2, 1, 3)
    return split @ w, (split, w, x)


def backward(gy, cache):
    split, w, x = cache
    gsplit = gy @ w.T
    gw = (split.transpose(0, 1, 3, 2) @ gy).sum(axis=(0, 1))
    gx = gsplit.transpose(0, 2, 1, 3).reshape(x.shape)
    return gx, gw
"""
        + PAIR,
        lambda rng, size: tuple(rng.standard_normal(s) for s in [((3, 5, 4), (2, 3)), ((2, 3, 6), (3, 2))][size]),
    ),
    "relu": Rule(
        HEAD
        + """def forward(x, w):
    z = x @ w
    return np.maximum(z, 0), (x, w, z)


def backward(gy, cache):
    x, w, z = cache
    mask = z > 0
    gz = gy * mask
    return gz @ w.T, x.T @ gz
"""
        + PAIR,
        normal("n d", "d m"),
    ),
    "elu": Rule(
        HEAD
        + """def forward(x):
    y = np.where(x > 0, x, 0.7 * (np.exp(x) - 1))
    return y, (x, y)


def backward(gy, cache):
    x, y = cache
    return (gy * np.where(x > 0, 1, y + 0.7),)
"""
        + PAIR,
        normal("n d"),
    ),
    "dropout": Rule(
        HEAD
        + """class Layer:
    def forward(self, x, mask):
        self.mask = mask
        return x * self.mask / 0.7

    def backward(self, gy):
        return gy * self.mask / 0.7


def value(x, mask):
    return Layer().forward(x, mask)


def gradients(gy, x, mask):
    layer = Layer()
    layer.forward(x, mask)
    return (layer.backward(gy),)
""",
        lambda rng, size: (
            rng.standard_normal([(3, 4), (5, 6)][size]),
            np.arange(np.prod([(3, 4), (5, 6)][size])).reshape([(3, 4), (5, 6)][size]) % 3 > 0,
        ),
        "Layer.backward",
    ),
    "sigmoid": Rule(
        HEAD
        + """class F:
    @staticmethod
    def forward(ctx, x, w):
        z = x * w
        y = 1 / (1 + np.exp(-z))
        ctx.save_for_backward(x, w, y)
        return y

    @staticmethod
    def backward(ctx, gy):
        x, w, y = ctx.saved_tensors
        gz = gy * y * (1 - y)
        return gz * w, (gz * x).sum(axis=0)
"""
        + CTX,
        normal("n d", "d"),
        "F.backward",
    ),
    "tanh_nested": Rule(
        HEAD
        + """def rule(x, w):
    z = x @ w
    y = np.tanh(z)

    def gx(gy):
        return (gy * (1 - y**2)) @ w.T

    def gw(gy):
        gz = gy * (1 - y * y)
        return x.T @ gz

    return y, (gx, gw)
"""
        + NESTED,
        normal("n d", "d m"),
        "rule",
        True,
    ),
    "lambda_nested": Rule(
        HEAD
        + """def rule(x, w):
    y = np.sin(x) * w
    return y, (lambda gy: gy * np.cos(x) * w, lambda gy: (gy * np.sin(x)).sum(axis=0))
"""
        + NESTED,
        normal("n d", "d"),
        "rule",
        True,
    ),
    "embedding": Rule(
        HEAD
        + """def forward(w, rows):
    return w[rows], (w, rows)


def backward(gy, cache):
    w, rows = cache
    gw = np.zeros_like(w)
    np.add.at(gw, rows, gy)
    return (gw,)
"""
        + PAIR,
        lambda rng, size: (
            rng.standard_normal([(4, 3), (3, 5)][size]),
            np.array([[0, 2, 2, 1], [1, 1, 0, 2, 1]][size]),
        ),
    ),
    "residual": Rule(
        HEAD
        + """class Layer:
    def __init__(self, w, temperature):
        self.params = {"w": w, "temperature": temperature}
        self.grads = {}

    def forward(self, x):
        self.cache = {"x": x, "h": np.tanh(x @ self.params["w"])}
        return x + self.cache["h"] / self.params["temperature"]

    def backward(self, gy):
        h = self.cache["h"]
        gh = gy / self.params["temperature"]
        gz = gh * (1 - h**2)
        self.grads["w"] = self.cache["x"].T @ gz
        self.grads["temperature"] = -(gy * h).sum() / self.params["temperature"] ** 2
        gx = gz @ self.params["w"].T
        return gx + gy


def value(x, w, temperature):
    return Layer(w, temperature).forward(x)


def gradients(gy, x, w, temperature):
    layer = Layer(w, temperature)
    layer.forward(x)
    gx = layer.backward(gy)
    return gx, layer.grads["w"], layer.grads["temperature"]
""",
        lambda rng, size: (
            rng.standard_normal([(3, 4), (5, 2)][size]),
            rng.standard_normal([(4, 4), (2, 2)][size]),
            np.array(rng.uniform(1.5, 3)),
        ),
        "Layer.backward",
    ),
    "tied": Rule(
        HEAD
        + """class Layer:
    def __init__(self, w):
        self.w = w
        self.gw = np.zeros_like(w)

    def forward(self, x):
        self.x = x
        self.h = np.tanh(x @ self.w)
        return self.h @ self.w.T

    def backward(self, gy):
        gh = gy @ self.w
        self.gw += gy.T @ self.h
        gz = gh * (1 - self.h**2)
        self.gw += self.x.T @ gz
        return gz @ self.w.T


def value(x, w):
    return Layer(w).forward(x)


def gradients(gy, x, w):
    layer = Layer(w)
    layer.forward(x)
    return layer.backward(gy), layer.gw
""",
        normal("n d", "d m"),
        "Layer.backward",
    ),
    "helper": Rule(
        HEAD
        + """def tanh_gradient(y):
    return 1 - y**2


def forward(x):
    y = np.tanh(x)
    return y, y


def backward(gy, cache):
    return (gy * tanh_gradient(cache),)
"""
        + PAIR,
        normal("n d"),
    ),
    "helper_nested": Rule(
        HEAD
        + """def tanh_gradient(y):
    return 1 - y**2


def squashed(x):
    return np.tanh(x)


def rule(x):
    y = squashed(x)

    def gx(gy):
        return gy * tanh_gradient(y)

    return y, (gx,)
"""
        + NESTED,
        normal("n d"),
        "rule",
        True,
    ),
    "difference": Rule(
        HEAD
        + """def forward(x):
    return x[1:] * x[:-1], x


def backward(gy, cache):
    x = cache
    gx = np.zeros_like(x)
    gx[1:] += gy * x[:-1]
    gx[:-1] += gy * x[1:]
    return (gx,)
"""
        + PAIR,
        normal("h d"),
    ),
    "torch_linear": Rule(
        """import torch


class F:
    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return x.mm(w.t()) + b

    @staticmethod
    def backward(ctx, gy):
        x, w = ctx.saved_tensors
        gx = gy.mm(w)
        gw = gy.t().mm(x)
        gb = gy.sum(0)
        return gx, gw, gb


class Context:
    def save_for_backward(self, *values):
        self.saved_tensors = values


def value(*inputs):
    return F.forward(Context(), *map(torch.from_numpy, inputs)).numpy()


def gradients(gy, *inputs):
    ctx = Context()
    F.forward(ctx, *map(torch.from_numpy, inputs))
    return [g.numpy() for g in F.backward(ctx, torch.from_numpy(gy))]
""",
        normal("n d", "m d", "m"),
        "F.backward",
    ),
    "pool": Rule(
        HEAD
        + """def forward(x):
    n, d = x.shape
    y = np.zeros((n, d // 2))
    for j in range(d // 2):
        y[:, j] = x[:, 2 * j : 2 * j + 2].max(axis=1)
    return y, (x, y)


def backward(gy, cache):
    x, y = cache
    gx = np.zeros_like(x)
    for j in range(y.shape[1]):
        window = x[:, 2 * j : 2 * j + 2]
        largest = window == y[:, j : j + 1]
        gx[:, 2 * j : 2 * j + 2] += largest * gy[:, j : j + 1]
    return (gx,)
"""
        + PAIR,
        lambda rng, size: (rng.standard_normal([(3, 4), (5, 6)][size]),),
    ),
}

# rule, a line of it, what is planted instead, the cause, the repaired line where it is not that line again
CASES = [
    ("linear", "gx = gy @ w.T", "gx = -gy @ w.T", "sign"),
    ("linear", "gw = x.T @ gy", "gw = gy.T @ x", "transposed", "gw = (gy.T @ x).T"),
    ("linear", "gw = x.T @ gy", "gw = x.T @ gy / x.shape[0]", "batch-mean-twice"),
    ("linear", "gb = gy.sum(axis=0)", "gb = gy.mean(axis=0)", "mean-for-sum"),
    ("linear", "gb = gy.sum(axis=0)", "gb = gy", "missing-sum", "gb = gy.sum(0)"),
    ("linear", "gb = gy.sum(axis=0)", "gb = gy.sum(axis=1)", "missing-sum"),
    ("linear", "gb = gy.sum(axis=0)", "gb = gy.sum()", "missing-sum"),
    ("linear", "gw = x.T @ gy", "gw = x.T @ np.ones_like(gy)", "upstream-ignored"),
    ("linear", "return gx, gw, gb", "return gx, gb, gw", "order-swapped"),
    ("linear", "return gx, gw, gb", "return gw, gb, gx", "order-swapped"),
    ("linear", "return gx, gw, gb", "return gx, None, gb", "missing"),
    ("linear", "return gx, gw, gb", "return np.zeros_like(x), gw, gb", "missing"),
    ("linear", "x, w = cache", "w, x = cache", "wrong-saved"),
    ("linear", "gx = gy @ w.T", "gx = 2 * gy @ w.T", "factor"),
    ("linear", "gx = gy @ w.T", "gx = gy @ w.T / 2", "factor"),
    ("softmax", "gy - (gy * y).sum(axis=-1, keepdims=True)", "gy + (gy * y).sum(axis=-1, keepdims=True)", "sign"),
    ("softmax", "(gy * y).sum(axis=-1, keepdims=True)", "(gy * y).sum(axis=0, keepdims=True)", "missing-sum"),
    (
        "softmax",
        "return (y * (gy - (gy * y).sum(axis=-1, keepdims=True)),)",
        "return (gy * y * (1 - y),)",
        "elementwise-for-jacobian",
        "return (y * (gy - (gy * y).sum(-1, keepdims=True)),)",
    ),
    ("softmax", "y * (gy - (gy * y)", "y * (gy - (gy)", "parameter-missing"),
    (
        "softmax_jacobian",
        "np.outer((np.diag(y) - np.outer(y, y)) @ gy, x)",
        "np.outer(x, (np.diag(y) - np.outer(y, y)) @ gy)",
        "transposed",
        None,
    ),
    ("cross_entropy", "glogits = glogits / n", "glogits = glogits", "batch-mean-missing"),
    ("cross_entropy", "glogits = glogits / n", "glogits = glogits / n / n", "batch-mean-twice"),
    ("cross_entropy", "glogits[np.arange(n), labels] -= 1", "glogits[np.arange(n), labels] += 1", "sign"),
    ("cross_entropy", "return (gy * glogits,)", "return (glogits,)", "upstream-ignored", None),
    (
        "mse",
        "gx = gy * 2 * (x - t) / x.size",
        "gx = gy * (x - t) / x.size",
        "factor",
        "gx = 2 * (gy * (x - t) / x.size)",
    ),
    (
        "mse",
        "gx = gy * 2 * (x - t) / x.size",
        "gx = gy * 2 * (x - t)",
        "batch-mean-missing",
        "gx = gy * 2 * (x - t) / t.size",
    ),
    (
        "mse",
        "gx = gy * 2 * (x - t) / x.size",
        "gx = gy * 2 * (x - t) / x.shape[0]",
        "factor",
        "gx = gy * 2 * (x - t) / t.size",
    ),
    (
        "mse",
        "gx = gy * 2 * (x - t) / x.size",
        "gx = 2 * (x - t) / x.size",
        "upstream-ignored",
        "gx = 2 * (x - t) / x.size * gy",
    ),
    ("mse", "gx = gy * 2 * (x - t) / x.size", "gx = gy * 2 * (x + t) / x.size", "sign"),
    ("mse", "gt = -gx", "gt = gx", "sign"),
    ("bce", "gp = gy * (p - t) / (p * (1 - p)) / p.size", "gp = gy * (t - p) / (p * (1 - p)) / p.size", "sign", None),
    ("bce", "/ (p * (1 - p)) / p.size", "/ (p * (1 - t)) / p.size", "wrong-saved"),
    ("divide", "gb = -gy * a / b**2", "gb = gy * a / b**2", "sign"),
    ("divide", "gb = -gy * a / b**2", "gb = -gy * a / b", "parameter-missing", "gb = -gy * a / (b * b)"),
    ("divide", "gb = -gy * a / b**2", "gb = -gy / b**2", "parameter-missing", "gb = -gy / b ** 2 * a"),
    ("divide", "gb = -gy * a / b**2", "gb = -gy * gy * a / b**2", "upstream-twice"),
    ("divide", "ga = gy / b", "ga = gy / a", "wrong-saved"),
    ("batch_norm", "gxhat = gy * self.gamma", "gxhat = gy", "parameter-missing"),
    ("batch_norm", "gvar * 2 * self.xc / n", "gvar * self.xc / n", "factor", None),
    ("batch_norm", "+ gmu / n", "- gmu / n", "sign", None),
    ("batch_norm", "+ gmu / n", "", "path-dropped", None),
    ("batch_norm", "+ gmu / n", "+ gmu", "batch-mean-missing", None),
    ("batch_norm", "(gy * self.xhat).sum(axis=0)", "(gy * self.xc).sum(axis=0)", "wrong-saved"),
    ("batch_norm", "(gy * self.xhat).sum(axis=0)", "(gy * self.xhat).sum(axis=1)", "missing-sum"),
    ("batch_norm", "(gy * self.xhat).sum(axis=0)", "gy.sum(axis=0)", "parameter-missing", None),
    (
        "batch_norm",
        "* self.std**-3",
        "* self.std**-2",
        "wrong-saved",
        "gvar = (gxhat * self.xhat).sum(axis=0) * -0.5 * self.std**-2",
    ),
    ("batch_norm", "* -0.5 * self.std**-3", "* 0.5 * self.std**-3", "sign", None),
    ("batch_norm", "* -0.5 * self.std**-3", "* -0.5 * self.var**-1.5", "eps", None),
    ("layer_norm", "g - a - xhat * b", "g - a + xhat * b", "sign"),
    ("layer_norm", "g - a - xhat * b", "g - xhat * b", "path-dropped", None),
    ("layer_norm", "gx = rstd * (g - a - xhat * b)", "gx = g - a - xhat * b", "parameter-missing", None),
    ("layer_norm", "g = gy * gamma", "g = gy", "parameter-missing"),
    ("layer_norm", "a = g.mean(axis=-1, keepdims=True)", "a = g.sum(axis=-1, keepdims=True)", "factor"),
    ("layer_norm", "a = g.mean(axis=-1, keepdims=True)", "a = g.mean(axis=0, keepdims=True)", "missing-sum"),
    ("layer_norm", "(g * xhat).mean(axis=-1, keepdims=True)", "(g * x).mean(axis=-1, keepdims=True)", "wrong-saved"),
    (
        "layer_norm",
        "ggamma = (gy * xhat).sum(axis=0)",
        "ggamma = gy * xhat",
        "missing-sum",
        "ggamma = (gy * xhat).sum(0)",
    ),
    ("normalise", "(gy * xc).sum(axis=0) / (n - 1)", "(gy * xc).sum(axis=0) / n", "ddof"),
    ("normalise", "std = np.sqrt(var + 0.01)", "std = np.sqrt(var) + 0.01", "eps"),
    ("normalise", "gxc - gxc.mean(axis=0)", "gxc", "path-dropped", None),
    ("standardise", "std = np.sqrt(x.var(axis=0) + 0.1)", "std = np.sqrt(x.var(axis=0, ddof=1) + 0.1)", "ddof"),
    ("standardise", "(x - x.mean(axis=0)) / n", "(x - x.mean(axis=0)) / (n - 1)", "ddof"),
    ("standardise", "(x - x.mean(axis=0)) / n", "(x - x.sum(axis=0)) / n", "batch-mean-missing"),
    ("conv", "gb = gy.sum(axis=(0, 2, 3))", "gb = gy.sum(axis=(2, 3))", "missing-sum"),
    ("conv", "gxp[:, :, a : a + kh, b : b + kw] += np", "gxp[:, :, a : a + kh, b : b + kw] = np", "overwrite"),
    ("conv", "gw += np.tensordot", "gw = np.tensordot", "overwrite"),
    ("conv", "gxp[:, :, 1 : 1 + h, 1 : 1 + v]", "gxp[:, :, 1 : 1 + h, 0:v]", "shifted", None),
    ("conv", "gxp[:, :, 1 : 1 + h, 1 : 1 + v]", "gxp[:, :, :h, 1 : 1 + v]", "shifted", None),
    ("conv", "a, b = 2 * i, 2 * j", "a, b = 2 * i, j", "factor", None),
    ("conv", "a, b = 2 * i, 2 * j", "a, b = 2 * j, 2 * i", "order-swapped"),
    ("conv_full", "flipped = w[::-1, ::-1]", "flipped = w", "permuted", None),
    ("conv_full", "flipped = w[::-1, ::-1]", "flipped = w[::-1]", "permuted", None),
    ("conv_full", "(kh - 1, kh - 1)", "(kh, kh - 1)", "shifted"),
    ("rnn", "gh = gy[t] + gnext", "gh = gy[t]", "path-dropped"),
    ("rnn", "gu += ga.T @ h[t]", "gu += ga.T @ h[t + 1]", "shifted"),
    ("rnn", "(1 - h[t + 1] ** 2)", "(1 - h[t] ** 2)", "shifted"),
    ("rnn", "gw += ga.T @ x[t]", "gw = ga.T @ x[t]", "overwrite"),
    ("rnn", "gb += ga.sum(axis=0)", "gb += gh.sum(axis=0)", "wrong-saved"),
    ("rnn", "gnext = ga @ u", "gnext = ga @ u.T", "transposed"),
    ("attention", "keepdims=True)) * scale", "keepdims=True))", "parameter-missing", None),
    (
        "attention",
        'gk = np.einsum("bij,bid->bjd", gs, q)',
        'gk = np.einsum("bij,bid->bjd", gs, k)',
        "wrong-saved",
        None,
    ),
    ("attention", "return gq, gk, gv", "return gk, gq, gv", "order-swapped"),
    ("heads", "gsplit.transpose(0, 2, 1, 3)", "gsplit", "permuted", None),
    ("heads", "gsplit.transpose(0, 2, 1, 3)", "gsplit.transpose(0, 3, 1, 2)", "permuted"),
    ("relu", "mask = z > 0", "mask = z < 0", "mask"),
    ("relu", "gz = gy * mask", "gz = gy * ~mask", "mask"),
    ("relu", "gz = gy * mask", "gz = gy", "mask"),
    ("relu", "mask = z > 0", "mask = z > 1", "mask"),
    ("elu", "np.where(x > 0, 1, y + 0.7)", "np.where(x > 0, y + 0.7, 1)", "mask"),
    ("elu", "np.where(x > 0, 1, y + 0.7)", "np.where(x > 0, 1, x + 0.7)", "wrong-saved"),
    ("elu", "np.where(x > 0, 1, y + 0.7)", "np.where(x <= 0, 1, y + 0.7)", "mask", None),
    ("dropout", "return gy * self.mask / 0.7", "return gy / 0.7", "mask", None),
    ("dropout", "return gy * self.mask / 0.7", "return gy * (1 - self.mask) / 0.7", "mask"),
    ("sigmoid", "gz = gy * y * (1 - y)", "gz = gy * (1 - y)", "parameter-missing", None),
    ("sigmoid", "gz = gy * y * (1 - y)", "gz = gy * x * (1 - x)", "wrong-saved"),
    ("sigmoid", "gz = gy * y * (1 - y)", "gz = y * (1 - y)", "upstream-ignored", "gz = y * (1 - y) * gy"),
    ("sigmoid", "(gz * x).sum(axis=0)", "(gy * x).sum(axis=0)", "wrong-saved"),
    ("sigmoid", "return gz * w, (gz * x).sum(axis=0)", "return (gz * x).sum(axis=0), gz * w", "order-swapped"),
    ("sigmoid", "x, w, y = ctx.saved_tensors", "y, w, x = ctx.saved_tensors", "wrong-saved"),
    ("tanh_nested", "return (gy * (1 - y**2)) @ w.T", "return (gy * (1 - y)) @ w.T", "parameter-missing", None),
    ("tanh_nested", "return (gy * (1 - y**2)) @ w.T", "return (gy * (1 - z**2)) @ w.T", "wrong-saved"),
    ("tanh_nested", "gz = gy * (1 - y * y)", "gz = gy * (1 - z * z)", "wrong-saved"),
    ("tanh_nested", "return x.T @ gz", "return gz.T @ x", "transposed", None),
    ("tanh_nested", "return y, (gx, gw)", "return y, (gw, gx)", "order-swapped"),
    ("lambda_nested", "lambda gy: gy * np.cos(x) * w", "lambda gy: gy * np.cos(x)", "parameter-missing"),
    ("lambda_nested", "lambda gy: (gy * np.sin(x)).sum(axis=0)", "lambda gy: gy * np.sin(x)", "missing-sum", None),
    ("lambda_nested", "lambda gy: gy * np.cos(x) * w", "lambda gy: -gy * np.cos(x) * w", "sign"),
    ("embedding", "np.add.at(gw, rows, gy)", "gw[rows] += gy", "overwrite"),
    ("embedding", "np.add.at(gw, rows, gy)", "gw[rows] = gy", "overwrite"),
    ("residual", "return gx + gy", "return gx", "path-dropped", None),
    (
        "residual",
        'gh = gy / self.params["temperature"]',
        "gh = gy",
        "parameter-missing",
        "gh = gy / self.params['temperature']",
    ),
    (
        "residual",
        'self.cache["x"].T @ gz',
        'self.cache["x"].T @ gh',
        "wrong-saved",
        "self.grads['w'] = self.cache['x'].T @ gz",
    ),
    ("residual", "= -(gy * h)", "= (gy * h)", "sign", None),
    ("tied", "self.gw += self.x.T @ gz", "self.gw = self.x.T @ gz", "overwrite"),
    ("helper", "return 1 - y**2", "return 1 + y**2", "sign"),
    ("helper_nested", "return 1 - y**2", "return 1 + y**2", "sign"),
    ("difference", "gx[:-1] += gy * x[1:]", "gx[:-1] = gy * x[1:]", "overwrite"),
    ("difference", "gx[1:] += gy * x[:-1]", "gx[1:] += gy * x[1:]", "shifted"),
    ("torch_linear", "gw = gy.t().mm(x)", "gw = x.t().mm(gy)", "transposed", None),
    ("torch_linear", "gb = gy.sum(0)", "gb = gy.mean(0)", "mean-for-sum"),
    ("torch_linear", "gb = gy.sum(0)", "gb = gy", "missing-sum"),
    ("torch_linear", "gx = gy.mm(w)", "gx = gy.mm(w) / x.shape[0]", "batch-mean-twice"),
    ("torch_linear", "return gx, gw, gb", "return gx, gb, gw", "order-swapped"),
    ("pool", "window == y[:, j : j + 1]", "window != y[:, j : j + 1]", "mask"),
]


def load(source: str, path: Path) -> ModuleType:
    """A module from source, in a file of its own."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def place(module: ModuleType, dotted: str) -> tuple[Any, str]:
    *owners, name = dotted.split(".")
    holder: Any = module
    for owner in owners:
        holder = getattr(holder, owner)
    return holder, name


@dataclass
class Point:
    inputs: tuple
    gy: Any
    expected: list[np.ndarray]


def points(rule: Rule, right: ModuleType) -> list[Point]:
    """Two random points in each of two sizes, with the right gradients."""
    found = []
    for seed, size in itertools.product((0, 1), (0, 1)):
        rng = np.random.default_rng(seed)
        inputs = rule.inputs(rng, size)
        y = right.value(*inputs)
        gy = rng.standard_normal(np.shape(y))
        found.append(Point(inputs, gy, [np.asarray(g) for g in right.gradients(gy, *inputs)]))
    return found


def is_right(module: ModuleType, at: list[Point]) -> bool:
    try:
        with np.errstate(all="ignore"):
            return all(is_right_at(module, point) for point in at)
    except Exception:  # an edit may do anything
        return False


def is_right_at(module: ModuleType, point: Point) -> bool:
    found = [np.asarray(g, float) for g in module.gradients(point.gy, *point.inputs)]
    return len(found) == len(point.expected) and all(
        g.shape == expected.shape and np.allclose(g, expected, rtol=1e-9, atol=1e-11)
        for g, expected in zip(found, point.expected, strict=True)
    )


def repairs(rule: Rule, module: ModuleType, at: list[Point]) -> Iterator[Edit]:
    """The edits after which the gradients are right."""
    holder, name = place(module, rule.edited)
    written = holder.__dict__[name]
    for edit in edits(written, nested=rule.nested):
        setattr(holder, name, staticmethod(edit.function) if isinstance(written, staticmethod) else edit.function)
        if is_right(module, at):
            yield edit
    setattr(holder, name, written)


@pytest.mark.parametrize("name", RULES)
def test_the_rules_before_planting_are_right(name: str, tmp_path: Path) -> None:
    rule = RULES[name]
    module = load(rule.source, tmp_path / f"{name}.py")
    for point in points(rule, module):
        for i, (x, g) in enumerate(zip(point.inputs, point.expected, strict=False)):
            if x.dtype.kind != "f" or (name == "bce" and i > 0):
                continue

            def loss(a: np.ndarray, i: int = i, point: Point = point) -> Any:
                if a.dtype != np.float64:
                    raise TypeError("these rules are for real numbers")
                inputs = (*point.inputs[:i], a, *point.inputs[i + 1 :])
                return (point.gy * module.value(*inputs)).sum()

            np.testing.assert_allclose(g, numeric_gradient(loss, x).value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[2]}")
def test_the_simplest_repair_names_the_planted_mistake(case: tuple, tmp_path: Path) -> None:
    name, old, new, cause, *after = case
    rule = RULES[name]
    assert rule.source.count(old) == 1, "the planted line must be in one place"
    at = points(rule, load(rule.source, tmp_path / "right.py"))
    planted = rule.source.replace(old, new)
    module = load(planted, tmp_path / "planted.py")
    assert not is_right(module, at)
    edit = next(repairs(rule, module, at), None)
    assert edit is not None, "no edit restores the gradient"
    line = planted[: planted.index(new)].count("\n") + 1 if new else None
    assert edit.cause == cause, edit
    if after != [None]:
        assert edit.line == line, edit
        text = after[0] if after else rule.source.splitlines()[line - 1].strip()
        assert same_code(edit.after, text), edit


def same_code(one: str, other: str) -> bool:
    """The same statement, however it is written; ``.sum(0)`` is ``.sum(axis=0)``."""

    def plain(source: str) -> str:
        return ast.unparse(ast.parse(source.rstrip(","))).replace("axis=", "")

    return plain(one) == plain(other) or plain(one) in plain(other)


# ------------------------------------------------------------------------------------- what is edited, and how it runs


def outer(scale: float) -> Callable:
    def backward(gy: float, *, shift: float = 0.5) -> float:
        return gy * scale + shift

    return backward


class Base:
    def offset(self) -> float:
        return 3.0


class Layer(Base):
    __hidden = 7.0

    def backward(self, gy: float) -> float:
        return gy + self.__hidden + super().offset()

    @staticmethod
    def static(gy: float, x: float) -> float:
        return gy * x

    def guarded(self, gy: float) -> Any:
        if not hasattr(self, "x"):
            self.x = gy
        return self.x


def signs(function: Any) -> Edit:
    return next(edit for edit in edits(function) if edit.cause == "sign")


def test_an_edited_closure_keeps_its_cells_and_its_defaults() -> None:
    edit = signs(outer(4.0))
    assert edit.after == "return gy * scale - shift"
    assert edit.function(2.0) == 7.5
    assert edit.function(2.0, shift=1.0) == 7.0


def test_an_edited_method_stays_bound_and_knows_its_class() -> None:
    assert signs(Layer().backward).function(1.0) == 1.0 + 7.0 - 3.0
    assert signs(Layer.backward).function(Layer(), 1.0) == 1.0 + 7.0 - 3.0


def test_a_staticmethod_is_edited_as_a_plain_function() -> None:
    edit = signs(Layer.__dict__["static"])
    assert edit.function(2.0, 3.0) == -6.0


def test_a_guard_is_dropped() -> None:
    edit = next(edit for edit in edits(Layer.guarded) if edit.cause == "stale")
    layer = Layer()
    assert [edit.function(layer, 1.0), edit.function(layer, 2.0)] == [1.0, 2.0]
    assert (edit.before, edit.after) == ("if not hasattr(self, 'x'):", "self.x = gy")


def test_two_lambdas_of_one_line_are_not_confused() -> None:
    first, second = (lambda gy: gy + 1.0), (lambda gy: gy - 2.0)
    assert [*edits(first), *edits(second)] == []
    third = lambda gy: gy + 1.0
    assert {edit.before for edit in edits(third)} == {"lambda gy: gy + 1.0"}


@pytest.mark.parametrize(
    "function", [len, np.add, eval("lambda gy: -gy"), 3], ids=["builtin", "numpy", "eval", "number"]
)
def test_what_has_no_source_has_no_edits(function: Any) -> None:
    assert list(edits(function)) == []


def test_a_file_changed_since_its_import_has_no_edits(tmp_path: Path) -> None:
    module = load("def backward(gy):\n    return -gy\n", tmp_path / "changed.py")
    assert list(edits(module.backward))
    (tmp_path / "changed.py").write_text("def backward(gy):\n    return gy * 3 + 1\n")
    assert list(edits(module.backward)) == []


def test_the_function_itself_is_left_alone(tmp_path: Path) -> None:
    module = load(RULES["linear"].source, tmp_path / "linear.py")
    first = [(edit.before, edit.after) for edit in edits(module.backward)]
    assert first == [(edit.before, edit.after) for edit in edits(module.backward)]
    assert is_right(module, points(RULES["linear"], module))


@pytest.mark.parametrize("name", RULES)
def test_edits_are_few_simplest_first_and_each_is_another(name: str, tmp_path: Path) -> None:
    rule = RULES[name]
    module = load(rule.source, tmp_path / f"{name}.py")
    holder, attribute = place(module, rule.edited)
    found = list(edits(holder.__dict__[attribute], nested=rule.nested))
    own = [edit for edit in found if edit.function.__globals__ is module.__dict__]
    assert 0 < len(found) < 5000
    assert [edit.simplicity for edit in own] == sorted(edit.simplicity for edit in own)
    assert all(edit.before != edit.after for edit in found)
    lines = rule.source.splitlines()
    simple = [edit for edit in found if not edit.before.endswith(":")]
    assert all(edit.before in lines[edit.line - 1] for edit in simple)


def test_a_helper_of_the_forward_part_is_not_edited(tmp_path: Path) -> None:
    module = load(RULES["helper_nested"].source, tmp_path / "helper_nested.py")
    lines = {edit.before for edit in edits(module.rule, nested=True)}
    assert lines == {"return gy * tanh_gradient(y)", "return 1 - y**2"}


def test_names_seen_in_a_run_decide_what_may_be_used() -> None:
    found = {edit.after for edit in edits(outer(4.0), names={"scale": "text", "extra": np.ones(2)})}
    assert "return gy * scale * extra + shift" in found
    assert not any("gy * scale * scale" in after for after in found)
