"""What `diagnose` promises: no right gradient is accused, no wrong one passes, a mistake is told in plain words."""

import functools
import importlib
import json
import pickle
import types
from typing import NamedTuple

import numpy as np
import pytest

from chainrule import nn
from chainrule.check import CAUSES, Finding, GradReport, assert_gradients, diagnose, gradcheck
from chainrule.engine import OPS, op
from chainrule.errors import UsageError

search = importlib.import_module("chainrule.check.diagnose")  # the package has a function of the same name
RNG = np.random.default_rng(7)
X = RNG.standard_normal((4, 3))
W = RNG.standard_normal((3, 5))
V = RNG.standard_normal(6)
SPD = (lambda a: a @ a.T + 3 * np.eye(4))(RNG.standard_normal((4, 4)))


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """The verdict does not depend on how long a repair is looked for."""
    for limit in ("SEARCH", "LOOK", "CONFIRM"):
        monkeypatch.setattr(search, limit, 0.05)


def soft(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Batch(NamedTuple):
    x: np.ndarray
    w: np.ndarray


# ------------------------------------------------------------------------------------------------ right rules
# name: (target, how it is called)
RIGHT = {}


def right(name=None, **how):
    def keep(make):
        RIGHT[name or make.__name__.replace("_", " ")] = (make, how)
        return make

    return keep


def pair(forward, backward):
    return lambda: (forward, backward)


def add(name, forward, backward, **how):
    RIGHT[name] = (pair(forward, backward), how)


# algebraically equal forms
add("sigmoid by its output", lambda x: ((y := 1 / (1 + np.exp(-x))), y), lambda gy, y: gy * y * (1 - y), inputs=V)
add(
    "sigmoid by exponentials",
    lambda x: (1 / (1 + np.exp(-x)), x),
    lambda gy, x: gy * np.exp(-x) / (1 + np.exp(-x)) ** 2,
    inputs=V,
)
add("tanh by 1/cosh^2", lambda x: (np.tanh(x), x), lambda gy, x: gy / np.cosh(x) ** 2, inputs=V)
add(
    "softmax by its Jacobian",
    lambda x: ((y := soft(x)), y),
    lambda gy, y: np.stack([(np.diag(p) - np.outer(p, p)) @ g for p, g in zip(y, gy, strict=True)]),
    shapes="n d",
)
add(
    "softmax without the shift",
    lambda x: ((y := np.exp(x) / np.exp(x).sum(-1, keepdims=True)), y),
    lambda gy, y: y * gy - y * np.einsum("nd,nd->n", y, gy)[:, None],
    shapes="n d",
)
add(
    "logsumexp",
    lambda x: ((m := x.max(-1)) + np.log(np.exp(x - m[:, None]).sum(-1)), x),
    lambda gy, x: gy[:, None] * soft(x),
    shapes="n d",
)
add(
    "cross-entropy with 1e-12 in the logarithm",
    lambda x, t: (-np.log(soft(x)[np.arange(len(t)), t] + 1e-12).mean(), (soft(x), t)),
    lambda gy, cache: gy * (cache[0] - np.eye(cache[0].shape[1])[cache[1]]) / len(cache[1]),
    shapes="n c, n in c",
)
add(
    "cross-entropy of clipped probabilities",
    lambda p, t: (-np.log(np.clip(p, 1e-7, 1 - 1e-7))[np.arange(len(t)), t].sum(), (p, t)),
    lambda gy, cache: gy * -np.eye(cache[0].shape[1])[cache[1]] / cache[0],
    inputs=(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), np.array([1, 0])),
)
add(
    "variance by the mean of squares",
    lambda x: ((x**2).mean(0) - x.mean(0) ** 2, x),
    lambda gy, x: gy * 2 * (x - x.mean(0)) / len(x),
    shapes="n d",
)
add(
    "batch norm in one line",
    lambda x, g, b: ((xh := (x - x.mean(0)) / (s := np.sqrt(x.var(0) + 1e-5))) * g + b, (xh, s, g)),
    lambda gy, c: (
        c[2] / (len(gy) * c[1]) * (len(gy) * gy - gy.sum(0) - c[0] * (gy * c[0]).sum(0)),
        (gy * c[0]).sum(0),
        gy.sum(0),
    ),
    shapes="n d, d, d",
)
add("matmul by einsum", lambda x, w: (x @ w, (x, w)), lambda gy, c: (np.einsum("no,io->ni", gy, c[1]),
    np.einsum("ni,no->io", c[0], gy)), shapes="n d, d m")  # fmt: skip
add("weights (out, in)", lambda x, w: (x @ w.T, (x, w)), lambda gy, c: (gy @ c[1], gy.T @ c[0]), shapes="n d, m d")
add("columns as examples", lambda w, x: (w @ x, (w, x)), lambda gy, c: (gy @ c[1].T, c[0].T @ gy), shapes="m d, d n")
add("a power with a saved output", lambda x: ((y := x**3), (x, y)), lambda gy, c: 3 * gy * c[1] / c[0], inputs=V)
add("norm", lambda x: (np.linalg.norm(x), x), lambda gy, x: gy * x / np.linalg.norm(x), inputs=V)
add("cumulative sum", lambda x: (np.cumsum(x), x), lambda gy, x: np.cumsum(gy[::-1])[::-1], shapes="n")
add("difference", lambda x: (np.diff(x), x), lambda gy, x: np.pad(gy, (1, 0)) - np.pad(gy, (0, 1)), shapes="n")
add("outer", lambda a, b: (np.outer(a, b), (a, b)), lambda gy, c: (gy @ c[1], c[0] @ gy), shapes="n, m")
add("sort", lambda x: (np.sort(x), np.argsort(x)), lambda gy, i: gy[np.argsort(i)], shapes="n")
add("roll", lambda x: (np.roll(x, 2), None), lambda gy, _: np.roll(gy, -2), shapes="n")
add("product", lambda x: (x.prod(), x), lambda gy, x: gy * x.prod() / x, inputs=V)

# kinks, ties, jumps
KINKED = np.array([-1.0, 0.0, 2.0, 0.0])
for _at_zero in (0.0, 1.0, 0.5):
    add(
        f"relu with slope {_at_zero} at 0",
        lambda x: (np.maximum(x, 0), x),
        lambda gy, x, c=_at_zero: gy * np.where(x == 0, c, x > 0),
        inputs=KINKED,
    )
    add(
        f"|x| with slope {_at_zero} at 0",
        lambda x: (np.abs(x), x),
        lambda gy, x, c=_at_zero: gy * np.where(x == 0, c, np.sign(x)),
        inputs=KINKED,
    )
TIED = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.5, -1.0, 0.2]])
add(
    "max: the first of ties",
    lambda x: (x.max(1), x),
    lambda gy, x: gy[:, None] * (np.arange(3) == x.argmax(1)[:, None]),
    inputs=TIED,
)
add(
    "max: all of ties", lambda x: (x.max(1), x), lambda gy, x: gy[:, None] * (x == x.max(1, keepdims=True)), inputs=TIED
)
add(
    "max: ties share",
    lambda x: (x.max(1), x),
    lambda gy, x: gy[:, None] * (m := x == x.max(1, keepdims=True)) / m.sum(1, keepdims=True),
    inputs=TIED,
)


@right(inputs=np.array([[[[1.0, 1.0, 2.0, 0.0], [1.0, 0.5, 2.0, 2.0]]]]))
def max_pooling_with_ties():
    def forward(x):
        n, c, h, w = x.shape
        windows = x.reshape(n, c, h // 2, 2, w // 2, 2)
        return windows.max((3, 5)), (x, windows)

    def backward(gy, cache):
        x, windows = cache
        gx = np.zeros_like(x)
        n, c, h, w = x.shape
        for i, j, k, m in np.ndindex(n, c, h // 2, w // 2):
            best = windows[i, j, k, :, m, :].argmax()
            gx[i, j, 2 * k + best // 2, 2 * m + best % 2] += gy[i, j, k, m]
        return gx

    return forward, backward


for _name, _f in {"floor": np.floor, "sign": np.sign, "round": np.round, "heaviside": lambda x: 1.0 * (x > 0)}.items():
    add(f"{_name}: zero", lambda x, f=_f: (f(x), x), lambda gy, x: np.zeros_like(x), shapes="n d")
add("argmax: zero", lambda x: (x.argmax(-1), x), lambda gy, x: np.zeros_like(x), shapes="n d")
add("fractional part", lambda x: (x - np.floor(x), x), lambda gy, x: gy, shapes="n d")
add("hinge", lambda s, t: (np.maximum(0, 1 - s * t).mean(), (s, t)),
    lambda gy, c: gy * -(c[1] * (1 - c[0] * c[1] > 0)) / c[0].size,
    inputs=(np.array([0.5, -2.0, 1.0]), np.array([1, -1, 1])))  # fmt: skip
add("clip", lambda x: (np.clip(x, -0.5, 0.5), x), lambda gy, x: gy * (np.abs(x) <= 0.5), shapes="n d")

# shapes and scales
add("0-d", lambda x: (x * x, x), lambda gy, x: 2 * gy * x, inputs=np.array(1.5))
add("0-d that returns a number", lambda x: (float(x) ** 2, x), lambda gy, x: float(2 * gy * x), inputs=np.array(1.5))
add("1-d", lambda x, w: (x @ w, (x, w)), lambda gy, c: (gy * c[1], gy * c[0]), shapes="n, n")
add("one example", lambda x, w: (x @ w, (x, w)), lambda gy, c: (gy @ c[1].T, c[0].T @ gy), inputs=(X[:1], W))
add("one of everything", lambda x, w: (x @ w, (x, w)), lambda gy, c: (gy @ c[1].T, c[0].T @ gy),
    inputs=(X[:1, :1], W[:1, :1]))  # fmt: skip
add("no examples", lambda x, w: (x @ w, (x, w)), lambda gy, c: (gy @ c[1].T, c[0].T @ gy), inputs=(X[:0], W))
for _scale in (1e-9, 1e-6, 1e6, 1e9):
    add(f"square at {_scale:g}", lambda x: ((x**2).sum(), x), lambda gy, x: 2 * gy * x, inputs=_scale * X)
    add(f"fft at {_scale:g}", lambda x: (np.abs(np.fft.fft(x)) ** 2, x),
        lambda gy, x: 2 * np.real(np.fft.fft(gy * np.conj(np.fft.fft(x)))), inputs=_scale * V)  # fmt: skip
    add(f"sigmoid times {_scale:g}", lambda x, s=_scale: (s / (1 + np.exp(-x)), x),
        lambda gy, x, s=_scale: s * gy * np.exp(-x) / (1 + np.exp(-x)) ** 2, inputs=V)  # fmt: skip
add("100 x 50", lambda x, w: (x @ w, (x, w)), lambda gy, c: (gy @ c[1].T, c[0].T @ gy),
    inputs=(RNG.standard_normal((20, 100)), RNG.standard_normal((100, 50))))  # fmt: skip
add("a quarter of a million parameters", lambda x, w: (x @ w, (x, w)), lambda gy, c: (gy @ c[1].T, c[0].T @ gy),
    inputs=(RNG.standard_normal((2, 500)), RNG.standard_normal((500, 500))))  # fmt: skip
add("a large fft", lambda x: (np.real(np.fft.fft(x)), x), lambda gy, x: np.real(np.fft.fft(gy)),
    inputs=RNG.standard_normal((100, 50)))  # fmt: skip
add("a long power", lambda x: (x**20, x), lambda gy, x: 20 * gy * x**19, inputs=V)

# number types
for _kind in (np.float32, np.float16):
    add(
        f"{_kind.__name__} code",
        lambda x, w, k=_kind: ((x.astype(k) @ w.astype(k)), (x.astype(k), w.astype(k))),
        lambda gy, c, k=_kind: (gy.astype(k) @ c[1].T, c[0].T @ gy.astype(k)),
        inputs=(X.astype(_kind), W.astype(_kind)),
    )
    add(
        f"{_kind.__name__} arrays",
        lambda x: (np.tanh(x), np.tanh(x)),
        lambda gy, y: gy * (1 - y**2),
        inputs=X.astype(_kind),
    )
    add(
        f"a layer in {_kind.__name__}",
        lambda x, k=_kind: (np.tanh(x.astype(k)), x.astype(k)),
        lambda gy, c: gy * (1 - np.tanh(c) ** 2),
        shapes="n d",
    )


def narrow(x):
    """A cast that stands outside of forward."""
    return np.asarray(x, np.float32)


add("a cast to float32 in another function", lambda x: (np.tanh(narrow(x)), narrow(x)),
    lambda gy, c: gy * (1 - np.tanh(c) ** 2), shapes="n d")  # fmt: skip
add("a cast to float32 and back", lambda x: (np.tanh(narrow(x)).astype(np.float64), x),
    lambda gy, c: gy * (1 - np.tanh(c) ** 2), shapes="n d")  # fmt: skip
add(
    "float32 softmax",
    lambda x: (soft(x.astype(np.float32)), soft(x.astype(np.float32))),
    lambda gy, y: (y * (gy - (gy * y).sum(-1, keepdims=True))).astype(np.float32),
    shapes="n d",
)
add("integer inputs beside", lambda x, i: (x[i], (x.shape, i)), lambda gy, c: _scattered(c[0], c[1], gy),
    inputs=(X, np.array([1, 1, 0])))  # fmt: skip


def _scattered(shape, index, gy):
    gx = np.zeros(shape)
    np.add.at(gx, index, gy)
    return gx


add("a boolean mask", lambda x, mask: (np.where(mask, x, 0), mask), lambda gy, mask: gy * mask, inputs=(X, X > 0))
add("boolean indexing", lambda x, m: (x[m], (x.shape, m)), lambda gy, c: _masked(c, gy), inputs=(X, X > 0))


def _masked(cache, gy):
    gx = np.zeros(cache[0])
    gx[cache[1]] = gy
    return gx


# how arguments and caches are passed
add("a python scalar", lambda x, p: (x**p, (x, p)), lambda gy, c: gy * c[1] * c[0] ** (c[1] - 1), inputs=(V, 3))
add("a flag", lambda x, twice: ((2 if twice else 1) * x, twice), lambda gy, t: gy * (2 if t else 1), inputs=(V, True))
add("a string", lambda x, how: (np.tanh(x) if how == "tanh" else x, (x, how)),
    lambda gy, c: gy / np.cosh(c[0]) ** 2, inputs=(V, "tanh"))  # fmt: skip
add("a dict as cache", lambda x, w: (x @ w, {"x": x, "w": w}), lambda gy, c: (gy @ c["w"].T, c["x"].T @ gy),
    shapes="n d, d m")  # fmt: skip
add("a dict of gradients", lambda x, w: (x @ w, (x, w)), lambda gy, c: {"dw": c[0].T @ gy, "dx": gy @ c[1].T},
    shapes="n d, d m")  # fmt: skip
add("a list as cache", lambda x, w: (x @ w, [x, w]), lambda gy, c: [gy @ c[1].T, c[0].T @ gy], shapes="n d, d m")
add("a named tuple as cache", lambda x, w: (x @ w, Batch(x, w)), lambda gy, c: Batch(gy @ c.w.T, c.x.T @ gy),
    shapes="n d, d m")  # fmt: skip
add("a namespace as cache", lambda x, w: (x @ w, types.SimpleNamespace(x=x, w=w)),
    lambda gy, c: (gy @ c.w.T, c.x.T @ gy), shapes="n d, d m")  # fmt: skip
add("a nested cache", lambda x, w: (np.tanh(x @ w), ((x, w), (np.tanh(x @ w),))),
    lambda gy, c: ((gy * (1 - c[1][0] ** 2)) @ c[0][1].T, c[0][0].T @ (gy * (1 - c[1][0] ** 2))),
    shapes="n d, d m")  # fmt: skip
add("gy returned as it came", lambda a, b: (a + b, None), lambda gy, _: (gy, gy), shapes="n d, n d")
add("an input returned as it came", lambda a, b: ((a * b).sum(), (a, b)), lambda gy, c: (gy * c[1], gy * c[0]),
    shapes="n d, n d")  # fmt: skip
add("a view returned", lambda x: (x.T, None), lambda gy, _: gy.T, shapes="n d")
add("a broadcast view returned", lambda x: (x.sum(0), x.shape), lambda gy, s: np.broadcast_to(gy, s), shapes="n d")
add("an unused input", lambda x, z: (x**2, x), lambda gy, x: (2 * gy * x, None), shapes="n d, m")
add("an unused input with zeros", lambda x, z: (x**2, (x, z)), lambda gy, c: (2 * gy * c[0], np.zeros_like(c[1])),
    shapes="n d, m")  # fmt: skip
add("one input used three times", lambda x: (x * x * x.sum(), x),
    lambda gy, x: gy * 2 * x * x.sum() + (gy * x * x).sum(), shapes="n d")  # fmt: skip
add("the same array given twice", lambda a, b: (a * b, (a, b)), lambda gy, c: (gy * c[1], gy * c[0]), inputs=(X, X))


def _sign(text):
    def decorate(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapped

    return decorate


@right(shapes="n d")
def decorated():
    @_sign("f")
    def forward(x):
        return np.sin(x), x

    @_sign("b")
    def backward(gy, x):
        return gy * np.cos(x)

    return forward, backward


@right(shapes="n d")
def partials():
    return functools.partial(lambda k, x: (k * x, k), 3.0), functools.partial(lambda s, gy, k: s * gy * k, 1.0)


@right(shapes="n d")
def recursion():
    def power(x, k):
        return x if k == 1 else x * power(x, k - 1)

    return (lambda x: (power(x, 4), x)), (lambda gy, x: 4 * gy * power(x, 3))


@right(shapes="n d")
def nested_functions():
    def forward(x):
        def inner(z):
            return np.exp(z)

        return inner(inner(x) / 5), x

    return forward, lambda gy, x: gy * np.exp(np.exp(x) / 5) * np.exp(x) / 5


@right(shapes="n d")
def a_generator_inside():
    return (lambda x: (sum(row for row in x), x)), (lambda gy, x: np.stack([gy for _ in x]))


@right(shapes="n d")
def gradients_from_a_list_comprehension():
    return (lambda x: (x[::-1] ** 2, x)), (
        lambda gy, x: np.array([2 * g * r for g, r in zip(gy[::-1], x, strict=True)])
    )


@right(shapes="n d")
def a_plain_list_returned():
    return (lambda x: (x * 2, x)), (lambda gy, x: [(2 * gy).tolist()])


@right(shapes="n d")
def out_and_buffers():
    def forward(x):
        y = np.empty_like(x)
        np.multiply(x, x, out=y)
        y += 1
        return y, x

    def backward(gy, x):
        gx = gy.copy()
        gx *= 2
        gx *= x
        return gx

    return forward, backward


@right(shapes="n d")
def code_without_source():
    names = {"np": np}
    exec("def forward(x):\n    return np.sin(x), x\ndef backward(gy, x):\n    return gy * np.cos(x)", names)
    return names["forward"], names["backward"]


@right(shapes="n d")
def a_module():
    module = types.ModuleType("layer")
    module.forward = lambda x: (np.sin(x), x)
    module.backward = lambda gy, x: gy * np.cos(x)
    return module


add("a copy of the input, backward calls it x", lambda x: (np.tanh(x), x.copy()),
    lambda gy, x: gy * (1 - np.tanh(x) ** 2), shapes="n d")  # fmt: skip
add("a flat input, backward calls it x", lambda x: (x.reshape(len(x), -1) ** 2, x.reshape(len(x), -1)),
    lambda dout, x: 2 * dout * x, shapes="n d")  # fmt: skip
add(
    "a setting that has a default",
    lambda x, eps=1e-5: (x * (1 + eps), eps),
    lambda gy, eps: gy * (1 + eps),
    shapes="n d",
)
add(
    "None for a setting", lambda x, eps=1e-5: (x * (1 + eps), eps), lambda gy, eps: (gy * (1 + eps), None), shapes="n d"
)
add("an input by keyword only", lambda x, *, s: (s * x, (x, s)), lambda gy, c: {"x": gy * c[1], "s": (gy * c[0]).sum()},
    inputs={"x": X, "s": np.array(3.0)})  # fmt: skip
add("the input itself", lambda x: (x, None), lambda gy, _: gy, shapes="n d")
add("a constant", lambda x: (np.ones(3), x), lambda gy, x: np.zeros_like(x), shapes="n d")
add("a constant, no gradient", lambda x: (np.ones(3), x), lambda gy, x: None, shapes="n d")
add("a gradient that is zero", lambda x: (soft(x).sum(-1), soft(x)),
    lambda gy, y: y * (gy[:, None] - (gy[:, None] * y).sum(-1, keepdims=True)), shapes="n d")  # fmt: skip
add(
    "at the border of the domain",
    lambda x: (x**2.5, x),
    lambda gy, x: 2.5 * gy * x**1.5,
    inputs=np.array([0.0, 1.0, 2.0]),
)
add("near the border of the domain", lambda x: (np.log(x), x), lambda gy, x: gy / x, inputs=np.array([1e-8, 1.0, 4.0]))
add(
    "saturated",
    lambda x: (np.tanh(x), x),
    lambda gy, x: gy * (1 - np.tanh(x) ** 2),
    inputs=np.array([20.0, -30.0, 0.1]),
)
add("a million and a little", lambda x: (x - x.mean(), x), lambda gy, x: gy - gy.mean(), inputs=1e6 + V)


@right(
    "batch norm with a dictionary of settings that it changes", inputs=(X, np.ones(3), np.zeros(3), {"mode": "train"})
)
def _():
    def forward(x, gamma, beta, bn_param):
        mu, var = x.mean(0), x.var(0)
        bn_param["running_mean"] = 0.9 * bn_param.get("running_mean", np.zeros(x.shape[1])) + 0.1 * mu
        xhat = (x - mu) / np.sqrt(var + 1e-5)
        return gamma * xhat + beta, (xhat, gamma, var)

    def backward(dout, cache):
        xhat, gamma, var = cache
        g = dout * gamma
        gx = (g - g.mean(0) - xhat * (g * xhat).mean(0)) / np.sqrt(var + 1e-5)
        return gx, (dout * xhat).sum(0), dout.sum(0)

    return forward, backward


# forwards that cannot be recorded
add("inverse", lambda a: ((y := np.linalg.inv(a)), y), lambda gy, y: -y.T @ gy @ y.T, inputs=SPD)
add(
    "determinant", lambda a: (np.linalg.det(a), a), lambda gy, a: gy * np.linalg.det(a) * np.linalg.inv(a).T, inputs=SPD
)
add("solve", lambda a, b: ((x := np.linalg.solve(a, b)), (a, x)),
    lambda gy, c: (-np.outer(g := np.linalg.solve(c[0].T, gy), c[1]), g), inputs=(SPD, V[:4]))  # fmt: skip
add("log determinant", lambda a: (np.linalg.slogdet(a)[1], a), lambda gy, a: gy * np.linalg.inv(a).T, inputs=SPD)
add("fft", lambda x: (np.real(np.fft.fft(x)), x), lambda gy, x: np.real(np.fft.fft(gy)), shapes="n d")
add("singular values", lambda a: (np.linalg.svd(a, compute_uv=False), a),
    lambda gy, a: (s := np.linalg.svd(a, full_matrices=False))[0] @ np.diag(gy) @ s[2], inputs=W)  # fmt: skip
add("eigenvalues", lambda a: (np.linalg.eigvalsh((a + a.T) / 2), a),
    lambda gy, a: (u := np.linalg.eigh((a + a.T) / 2)[1]) @ np.diag(gy) @ u.T, inputs=SPD)  # fmt: skip
add("interpolation", lambda x: (np.interp(x, np.linspace(-5, 5, 11), np.linspace(-5, 5, 11) ** 2), x),
    lambda gy, x: gy * (2 * np.floor(x) + 1), shapes="n")  # fmt: skip
add("convolution", lambda x, w: (np.convolve(x, w, "valid"), (x, w)),
    lambda gy, c: (np.convolve(gy, c[1][::-1]), np.convolve(c[0][::-1], gy, "valid")[::-1][::-1]),
    inputs=(V, np.array([0.5, -1.0, 2.0])))  # fmt: skip


@right(shapes="n d")
def loops_over_entries():
    def forward(x):
        y = np.zeros(x.shape)
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                y[i, j] = float(x[i, j]) ** 2 if x[i, j] > 0 else -float(x[i, j])
        return y, x

    return forward, lambda gy, x: gy * np.where(x > 0, 2 * x, -1)


# randomness
@right("dropout with the global generator", shapes="n d")
def _():
    return (
        lambda x: ((m := (np.random.rand(*x.shape) > 0.5) / 0.5) * x, m),  # noqa: NPY002
        lambda gy, m: gy * m,
    )


@right("dropout with a seed", inputs=(X, 3))
def _():
    return (
        lambda x, seed: ((m := (np.random.default_rng(seed).random(x.shape) > 0.5) / 0.5) * x, m),
        lambda gy, m: gy * m,
    )


@right("dropout with a Generator given", inputs=(X, np.random.default_rng(3)))
def _():
    return (lambda x, rng: ((m := (rng.random(x.shape) > 0.5) / 0.5) * x, m)), (lambda gy, m: gy * m)


@right("dropout with a Generator in a closure", shapes="n d")
def _():
    rng = np.random.default_rng(0)
    return (lambda x: ((m := (rng.random(x.shape) > 0.5) / 0.5) * x, m)), (lambda gy, m: gy * m)


@right("dropout with a Generator in the layer", shapes="n d")
def _():
    class Dropout:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def forward(self, x):
            self.mask = (self.rng.random(x.shape) > 0.5) / 0.5
            return x * self.mask

        def backward(self, gy):
            return gy * self.mask

    return Dropout()


# losses
add("a loss without gy", lambda y_hat, y: np.mean((y_hat - y) ** 2), lambda y_hat, y: 2 * (y_hat - y) / y_hat.size,
    shapes="n d, n d")  # fmt: skip
add("a loss that sums", lambda y_hat, y: (0.5 * np.sum((y_hat - y) ** 2), (y_hat, y)),
    lambda gy, c: (gy * (c[0] - c[1]), gy * (c[1] - c[0])), shapes="n d, n d")  # fmt: skip
add("a python float as loss", lambda x: (float(np.sum(x**2)), x), lambda gy, x: 2 * gy * x, shapes="n d")


def hinge_and_gradient(scores, y):
    """The loss of a support vector machine, and its gradient, as one function."""
    rows = np.arange(len(y))
    margins = np.maximum(0, scores - scores[rows, y][:, None] + 1)
    margins[rows, y] = 0
    dscores = (margins > 0) * 1.0
    dscores[rows, y] -= dscores.sum(1)
    return margins.sum() / len(y), dscores / len(y)


def regularized(w, x, strength):
    dw = 2 * strength * w + x.T @ (x @ w)
    return strength * np.sum(w**2) + 0.5 * np.sum((x @ w) ** 2), dw


RIGHT["a loss and its gradient"] = lambda: hinge_and_gradient, {"shapes": "n c, n in c"}
RIGHT["a loss and one of its gradients, by name"] = lambda: regularized, {"inputs": (W, X, 0.1), "wrt": "w"}
RIGHT["a loss and a dictionary of gradients"] = lambda: lambda x: (np.sum(x**2), {"dx": 2 * x}), {"inputs": X}
add("one example beside a row of parameters", lambda x, b: (x + b, None), lambda gy, _: (gy, gy.sum(0, keepdims=True)),
    inputs=(X[:1], W[:1, :3]))  # fmt: skip
add("one example of two inputs", lambda a, b: (a * b, (a, b)), lambda gy, c: (gy * c[1], gy * c[0]),
    inputs=(X[:1], X[1:2]))  # fmt: skip

# several outputs
add("two outputs", lambda x: ((x.sum(0), x.prod(0)), x), lambda gy, x: gy[0] + gy[1] * x.prod(0) / x, shapes="n d")
add("two outputs, one not differentiable", lambda x: ((x.max(1), x.argmax(1)), x),
    lambda gy, x: gy[0][:, None] * (np.arange(x.shape[1]) == x.argmax(1)[:, None]), shapes="n d")  # fmt: skip


@right("two outputs of a ctx function", shapes="n d")
def _():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2, np.sin(x)

    def backward(ctx, ga, gb):
        (x,) = ctx.saved_tensors
        return 2 * x * ga + np.cos(x) * gb

    return forward, backward


# objects
class Linear:
    def __init__(self):
        self.params = {"W": W.copy(), "b": np.zeros(5)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, gy):
        self.grads["W"], self.grads["b"] = self.x.T @ gy, gy.sum(0)
        return gy @ self.params["W"].T


class Tanh(Linear):
    """Through inheritance."""

    def forward(self, x):
        self.y = np.tanh(super().forward(x))
        return self.y

    def backward(self, gy):
        return super().backward(gy * (1 - self.y**2))


class Slots:
    __slots__ = ("dw", "w", "x")

    def __init__(self):
        self.w, self.dw = W.copy(), np.zeros_like(W)

    def forward(self, x):
        self.x = x
        return x @ self.w

    def backward(self, gy):
        self.dw = self.x.T @ gy
        return gy @ self.w.T


class Property:
    def __init__(self):
        self._w, self.dw = np.ones(3), None

    @property
    def w(self):
        return self._w

    @w.setter
    def w(self, value):
        self._w = value

    def forward(self, x):
        self.x = x
        return x * self.w

    def backward(self, gy):
        self.dw = (gy * self.x).sum(0)
        return gy * self.w


class Caller(Linear):
    def __call__(self, x):
        return self.forward(x)


class Accumulates(Property):
    def __init__(self):
        self.w, self.dw = np.ones(3), np.zeros(3)

    def backward(self, gy):
        self.dw += (gy * self.x).sum(0)
        return gy * self.w

    w = None


class Stack:
    """Values of several forwards, the last first."""

    def __init__(self):
        self.saved = []

    def forward(self, x):
        self.saved.append(x)
        return x**2

    def backward(self, gy):
        return 2 * gy * self.saved.pop()


for _cls in (Linear, Tanh, Slots, Property, Caller, Accumulates, Stack):
    RIGHT[f"an object: {_cls.__name__}"] = (_cls, {"inputs": X})
    RIGHT[f"a class: {_cls.__name__}"] = ((lambda c=_cls: c), {"inputs": X})
RIGHT["methods of an object"] = ((lambda: (layer := Linear()) and (layer.forward, layer.backward)), {"inputs": X})


# Forwards that are no function of their inputs as they are called, or too coarse to differentiate: nothing can be said.
OPEN = {
    "dropout with the global generator",
    "dropout with a Generator given",
    "dropout with a Generator in a closure",
    "dropout with a Generator in the layer",
    "a layer in float16",
    "float16 code",
}


def marked(names, reasons):
    """The names, those in ``reasons`` expected to fail."""
    assert set(reasons) <= set(names)
    return [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=reasons[name])) if name in reasons else name
        for name in names
    ]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_is_not_accused(name):
    make, how = RIGHT[name]
    report = diagnose(make(), **how)
    assert report.status == "correct" or (name in OPEN and report.status == "inconclusive"), str(report)


# ------------------------------------------------------------------------------------------------ wrong rules

WRONG = {}


def bad(name, forward, backward, **how):
    WRONG[name] = (pair(forward, backward), how)


def linear(x, w):
    return x @ w, (x, w)


def linear_back(gy, cache):
    return gy @ cache[1].T, cache[0].T @ gy


def off(change):
    """The gradients of `linear`, changed: `change(gx, gw, gy, x, w)` works in place, or returns others."""

    def backward(gy, cache):
        x, w = cache
        gx, gw = linear_back(gy, cache)
        returned = change(gx, gw, gy, x, w)
        return returned if isinstance(returned, tuple) else (gx, gw)

    return backward


def put(array, index, value):
    array[index] = value


for _by in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
    bad(
        f"all entries off by {_by:g}",
        linear,
        off(lambda gx, gw, gy, x, w, e=_by: (gx, gw * (1 + e))),
        shapes="n d, d m",
    )
for _by in (1e-2, 1e-3, 1e-4, 1e-5):
    bad(f"one entry off by {_by:g} of itself", linear,
        off(lambda gx, gw, gy, x, w, e=_by: put(gw, (1, 2), gw[1, 2] * (1 + e))), shapes="n d, d m")  # fmt: skip
    bad(f"one entry of many off by {_by:g}", linear,
        off(lambda gx, gw, gy, x, w, e=_by: put(gw, (1, 2), gw[1, 2] * (1 + e))),
        inputs=(RNG.standard_normal((20, 100)), RNG.standard_normal((100, 50))))  # fmt: skip
    bad(f"one entry of a large fft off by {_by:g}", lambda x: (np.real(np.fft.fft(x)), x.shape),
        lambda gy, s, e=_by: np.real(np.fft.fft(gy)) * (1 + e * (np.arange(s[1]) == 3)),
        inputs=RNG.standard_normal((100, 50)))  # fmt: skip
    bad(f"one entry without a record off by {_by:g}", lambda a: (np.linalg.inv(a), np.linalg.inv(a)),
        lambda gy, y, e=_by: -y.T @ gy @ y.T * (1 + e * (np.arange(len(y)) == 1)), inputs=SPD)  # fmt: skip
bad("one of very many entries is zero", linear, off(lambda gx, gw, gy, x, w: put(gw, (1, 2), 0)),
    inputs=(RNG.standard_normal((2, 500)), RNG.standard_normal((500, 500))))  # fmt: skip
bad("the smallest of entries of different sizes", lambda x: ((x**4).sum(), x),
    lambda gy, x: np.where(np.abs(x) < 0.1, 0.5, 1) * 4 * gy * x**3,
    inputs=np.array([0.01, -0.02, 100.0, 50.0]))  # fmt: skip
bad("a small gradient among large ones", lambda x, a: ((1e6 * x**2).sum() + a**2, (x, a)),
    lambda gy, c: (2e6 * gy * c[0], 2.001 * gy * c[1]), inputs=(V, np.array(0.3)))  # fmt: skip
bad("the last row", linear, off(lambda gx, gw, gy, x, w: put(gx, -1, gx[0])), shapes="n d, d m")
bad("the first column", linear, off(lambda gx, gw, gy, x, w: put(gx, (slice(None), 0), 0)), shapes="n d, d m")
bad("negative inputs", lambda x: (x**2, x), lambda gy, x: gy * np.where(x > 0, 2 * x, x), shapes="n d")
bad("positive inputs", lambda x: (x**2, x), lambda gy, x: gy * np.where(x < 0, 2 * x, x), shapes="n d")
bad("x above 1.5, given", lambda x: (x**2, x), lambda gy, x: gy * np.where(x < 1.5, 2 * x, x),
    inputs=np.array([0.5, 1.8, -1.0]))  # fmt: skip
bad("square weights only", linear, off(lambda gx, gw, gy, x, w: (gx, gw.T if gw.shape == gw.T.shape else gw * 2)),
    shapes="n d, d m")  # fmt: skip
bad("transposed, with square weights given", linear, off(lambda gx, gw, gy, x, w: (gx, gw.T)), inputs=(X, W[:, :3]))
bad("transposed, with symmetric inputs given", lambda a: (a @ a, a), lambda gy, a: gy @ a + a @ gy, inputs=SPD)
bad("right for one example", lambda x, w: ((x @ w).mean(0), (x, w)),
    lambda gy, c: (np.broadcast_to(gy @ c[1].T, c[0].shape) * 1.0, np.outer(c[0].sum(0), gy)),
    inputs=(X[:1], W))  # fmt: skip
bad("right if gy sums to zero", lambda x: (x - x.mean(), x), lambda gy, x: gy, shapes="n d")
bad("right if gy is all ones", lambda x: (x**2, x), lambda gy, x: 2 * x, shapes="n d")
bad("right if gy is constant", lambda x: (x**2, x), lambda gy, x: gy.mean() * 2 * x, shapes="n d")
bad("right if gy is positive", lambda x: (x**2, x), lambda gy, x: np.abs(gy) * 2 * x, shapes="n d")
bad("right if gy is small", lambda x: (x**2, x), lambda gy, x: np.clip(gy, -1, 1) * 2 * x, shapes="n d")
bad("not linear in gy, slightly", lambda x: (x**2, x), lambda gy, x: (gy + 1e-4 * gy**2) * 2 * x, shapes="n d")
for _eps in (1e-3, 1e-5):
    bad(f"eps of {_eps:g} outside the root", lambda x, e=_eps: (x / np.sqrt((x**2).mean() + e), x),
        lambda gy, x, e=_eps: gy / ((s := np.sqrt((x**2).mean())) + e) - x * (gy * x).mean() / (s + e) ** 3,
        shapes="n d")  # fmt: skip
    bad(f"eps of {_eps:g} left out", lambda x, e=_eps: (np.log(x + e), x), lambda gy, x: gy / x, shapes="n d")
bad("only the second of two outputs", lambda x: ((x**2, np.sin(x)), x),
    lambda gy, x: gy[0] * 2 * x + gy[1] * np.cos(x) * 1.01, shapes="n d")  # fmt: skip
bad("the second of two outputs is ignored", lambda x: ((x**2, np.sin(x)), x), lambda gy, x: gy[0] * 2 * x, shapes="n d")
bad("only the second of two inputs", linear, off(lambda gx, gw, gy, x, w: (gx, -gw)), shapes="n d, d m")
bad("None for one", linear, off(lambda gx, gw, gy, x, w: (gx, None)), shapes="n d, d m")
bad("None for all", linear, lambda gy, cache: None, shapes="n d, d m")
bad("zero for one", linear, off(lambda gx, gw, gy, x, w: (gx, 0 * gw)), shapes="n d, d m")
bad("swapped, of one shape", lambda a, b: (a * b, (a, b)), lambda gy, c: (gy * c[0], gy * c[1]), shapes="n d, n d")
bad("broadcast shape not summed", lambda x, b: (x + b, None), lambda gy, _: (gy, gy), shapes="n d, d")
bad("kept axis", lambda x, b: (x + b, None), lambda gy, _: (gy, gy.sum(0, keepdims=True)), shapes="n d, d")
bad("a vector for a matrix", lambda x: (x.sum(0), None), lambda gy, _: gy, shapes="n d")
bad("a number for an array", lambda x: (x.sum(), None), lambda gy, _: gy, shapes="n d")
bad("integers returned", lambda x: (x**2, x), lambda gy, x: (2 * gy * x).astype(int), shapes="n d")
bad("float32 returned", lambda x: (x**2, x), lambda gy, x: (2 * gy * x).astype("f4"), shapes="n d")
bad("float16 inside", lambda x: (x**2, x), lambda gy, x: 2 * gy * x.astype("f2"), shapes="n d")
bad("complex returned", lambda x: (x**2, x), lambda gy, x: 2 * gy * x + 0.1j, shapes="n d")
bad("NaN in one entry", lambda x: (x**2, x), lambda gy, x: np.where(x == x.max(), np.nan, 2 * gy * x), shapes="n d")
bad("gy changed in place", lambda x: (2 * x, x), lambda gy, x: np.multiply(gy, 2, out=gy), shapes="n d")
bad(
    "an input changed in place by forward",
    lambda x: (np.maximum(x, 0, out=x), x),
    lambda gy, x: gy * (x > 0),
    shapes="n d",
)
bad(
    "an input changed in place by backward",
    lambda x: (x**2, x),
    lambda gy, x: np.multiply(x, 2 * gy, out=x),
    shapes="n d",
)
bad(
    "np.add.at forgotten", lambda x, i: (x[i], (x.shape, i)), lambda gy, c: _set(c, gy), inputs=(X, np.array([1, 1, 0]))
)


def _set(cache, gy):
    gx = np.zeros(cache[0])
    gx[cache[1]] = gy
    return gx


bad("|x| by its input", lambda x: (np.abs(x), x), lambda gy, x: gy * x, shapes="n d")
bad("relu's mask from gy", lambda x: (np.maximum(x, 0), x), lambda gy, x: gy * (gy > 0), shapes="n d")
bad(
    "relu with a slope of 0.01",
    lambda x: (np.maximum(x, 0), x),
    lambda gy, x: gy * np.where(x > 0, 1, 0.01),
    shapes="n d",
)
bad("floor as identity", lambda x: (np.floor(x), x), lambda gy, x: gy, shapes="n d")
bad("clip passed through", lambda x: (np.clip(x, -0.5, 0.5), x), lambda gy, x: gy, shapes="n d")
bad(
    "a loss's mean missing",
    lambda y_hat, y: np.mean((y_hat - y) ** 2),
    lambda y_hat, y: 2 * (y_hat - y),
    shapes="n d, n d",
)
bad("labels shifted by one", lambda x, t: (-np.log(soft(x))[np.arange(len(t)), t].sum(), (x, t)),
    lambda gy, c: gy * (soft(c[0]) - np.roll(np.eye(c[0].shape[1])[c[1]], 1, 1)), shapes="n c, n in c")  # fmt: skip
bad(
    "a float scalar's gradient",
    lambda x, a: (a * x, (x, a)),
    lambda gy, c: (gy * c[1], 2 * (gy * c[0]).sum()),
    inputs=(V, 1.5),
)
bad("a NumPy scalar's gradient", lambda x, a: (a * x, (x, a)), lambda gy, c: (gy * c[1], 2 * (gy * c[0]).sum()),
    inputs=(V, np.float64(1.5)))  # fmt: skip
bad("a temperature called t with gradient zero", lambda x, t: (x / t, (x, t)),
    lambda gy, c: (gy / c[1], np.zeros_like(c[1])), inputs=(V, np.array(1.5)))  # fmt: skip
bad("a matrix called p without a gradient", lambda x, p: (x @ p, (x, p)), lambda gy, c: (gy @ c[1].T, None),
    shapes="n d, d m")  # fmt: skip
bad("weights as a list of arrays", lambda x, *ws: (x @ ws[0] @ ws[1], (x, ws)),
    lambda gy, c: (gy @ c[1][1].T @ c[1][0].T, c[0].T @ gy @ c[1][1].T, 2 * (c[0] @ c[1][0]).T @ gy),
    shapes="n d, d m, m k")  # fmt: skip
WRONG["a loss and its gradient, without the mean"] = (
    lambda: lambda scores, y: (hinge_and_gradient(scores, y)[0], len(y) * hinge_and_gradient(scores, y)[1]),
    {"shapes": "n c, n in c"},
)
for _scale in (1e-9, 1e-6, 1e6, 1e9):
    bad(
        f"square at {_scale:g}, 1e-4 off", lambda x: ((x**2).sum(), x), lambda gy, x: 2.0002 * gy * x, inputs=_scale * X
    )
    bad(f"fft at {_scale:g}, 1e-4 off", lambda x: (np.abs(np.fft.fft(x)) ** 2, x),
        lambda gy, x: 2.0002 * np.real(np.fft.fft(gy * np.conj(np.fft.fft(x)))), inputs=_scale * V)  # fmt: skip
    bad(f"sigmoid times {_scale:g}, 1e-3 off", lambda x, s=_scale: (s / (1 + np.exp(-x)), x),
        lambda gy, x, s=_scale: 1.001 * s * gy * np.exp(-x) / (1 + np.exp(-x)) ** 2, inputs=V)  # fmt: skip
    bad(f"inverse at {_scale:g}, doubled", lambda a: ((y := np.linalg.inv(a)), y), lambda gy, y: -2 * y.T @ gy @ y.T,
        inputs=_scale * SPD)  # fmt: skip
bad("a cube of small numbers from a factory", lambda x: (x**3, x), lambda gy, x: 2 * gy * x**2,
    inputs=lambda rng: 1e-6 * rng.standard_normal(5))  # fmt: skip
bad("inverse, with a large constant added", lambda a: (np.linalg.inv(a) + 1e8, a),
    lambda gy, a: -1.01 * np.linalg.inv(a).T @ gy @ np.linalg.inv(a).T, inputs=SPD)  # fmt: skip


class Second:
    """Right at the first call of backward."""

    calls = 0

    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, gy):
        self.calls += 1
        return 2 * gy * self.x * (1 if self.calls < 2 else 2)


class Stale:
    def forward(self, x):
        if not hasattr(self, "x"):
            self.x = x
        return x**2

    def backward(self, gy):
        return 2 * gy * self.x


class Bias(Linear):
    """The gradient of one parameter is wrong."""

    def backward(self, gy):
        gx = super().backward(gy)
        self.grads["b"] = gy.mean(0)
        return gx


class NoGradient(Linear):
    def backward(self, gy):
        gx = super().backward(gy)
        del self.grads["b"]
        return gx


class WrongProperty(Property):
    def backward(self, gy):
        self.dw = (gy * self.x).mean(0)
        return gy * self.w


class Once(Linear):
    """The gradient of W is made at the first call only."""

    def backward(self, gy):
        self.grads.setdefault("W", self.x.T @ gy)
        self.grads["b"] = gy.sum(0)
        return gy @ self.params["W"].T


class Shared(Linear):
    """One weight used twice."""

    def __init__(self):
        super().__init__()
        self.params["W"] = W[:, :3] * 0.5
        self.params["b"] = np.zeros(3)

    def forward(self, x):
        self.h = np.tanh(x @ self.params["W"])
        return super().forward(self.h) + 0 * x

    def backward(self, gy):
        gh = super().backward(gy) * (1 - self.h**2)
        return gh @ self.params["W"].T


for _cls in (Second, Stale, Bias, NoGradient, WrongProperty, Once, Shared):
    WRONG[f"an object: {_cls.__name__}"] = (_cls, {"inputs": X})


PASSED = {
    "the smallest of entries of different sizes": "the tolerance is relative to the largest entry",
    "inverse at 1e+06, doubled": "below the absolute floor of 1e-12 of the tolerance",
    "inverse at 1e+09, doubled": "below the absolute floor of 1e-12 of the tolerance",
}


@pytest.mark.parametrize("name", marked(WRONG, PASSED))
def test_a_wrong_gradient_does_not_pass(name):
    make, how = WRONG[name]
    report = diagnose(make(), **how)
    assert report.status == "wrong", str(report)
    assert all(f.evidence for f in report.findings if f.cause)


# ------------------------------------------------------------------------------------------------ seeds


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("RIGHT", "round: zero"),
        ("RIGHT", "clip"),
        ("RIGHT", "float32 softmax"),
        ("RIGHT", "batch norm in one line"),
        ("WRONG", "one entry off by 1e-05 of itself"),
        ("WRONG", "eps of 1e-05 outside the root"),
        ("WRONG", "right if gy is small"),
        ("WRONG", "negative inputs"),
    ],
)
def test_every_seed_gives_the_same_verdict(table, name):
    make, how = globals()[table][name]
    assert {diagnose(make(), seed=seed, **how).status for seed in range(10)} == {
        "correct" if table == "RIGHT" else "wrong"
    }


# ------------------------------------------------------------------------------------------------ misuse


def square(x):
    return x**2, x


def square_back(gy, x):
    return 2 * gy * x


LINEAR, SQUARE = (linear, linear_back), (square, square_back)


class NeedsAnArgument:
    def __init__(self, n):
        self.n = n

    forward = backward = lambda self, x: x


def zero_by_zero(*_):
    raise ZeroDivisionError("my own words")


class Uncopyable:
    def __init__(self):
        self.rows = (row for row in X)

    forward = backward = lambda self, x: x


MISUSE = {
    "a layer that cannot be copied": (Uncopyable(), {"inputs": X}, "cannot be copied"),
    "complex inputs": (SQUARE, {"inputs": X + 1j}, "x is complex"),
    "a list of arrays of unequal shapes": (LINEAR, {"inputs": (X, [V, X])}, "w cannot be made an array"),
    "no text of shapes": (LINEAR, {"shapes": " "}, "shapes is ' ', expected a text"),
    "no classes": (SQUARE, {"shapes": "n in 0"}, "no classes"),
    "inputs that draw too few": (LINEAR, {"inputs": lambda rng: X}, "forward also needs w"),
    "no inputs": (LINEAR, {}, "no inputs"),
    "inputs and shapes": (LINEAR, {"inputs": (X, W), "shapes": "n d, d m"}, "both inputs and shapes were given"),
    "shapes of another type": (LINEAR, {"shapes": [(3, 4), (4, 5)]}, "shapes is [(3, 4), (4, 5)], expected a text"),
    "shapes as Python tuples": (LINEAR, {"shapes": "(3, 4), (4, 5)"}, "is no shape"),
    "shapes with a star": (LINEAR, {"shapes": "n*d, d m"}, "is no shape"),
    "shapes with a semicolon": (LINEAR, {"shapes": "n d; d m"}, "is no shape"),
    "shapes with a fraction": (LINEAR, {"shapes": "n 2.5, d m"}, "is no shape"),
    "shapes for too few": (LINEAR, {"shapes": "n d"}, "forward also needs w; its inputs are x, w"),
    "shapes for too many": (LINEAR, {"shapes": "n d, d m, k"}, "3 parts, forward has 2 inputs: x, w"),
    "shapes with an unknown name": (LINEAR, {"shapes": "x: n d, q: d m"}, "shapes names q, forward's inputs are x, w"),
    "shapes with a name twice": (LINEAR, {"shapes": "x: n d, x: d m"}, "shapes gives x twice"),
    "shapes too large for the memory": (SQUARE, {"shapes": "99999999999 99999"}, "99999999999"),
    "wrt of an unknown name": (LINEAR, {"shapes": "n d, d m", "wrt": ["q"]}, "wrt names q, expected any of x, w"),
    "wrt of nothing": (LINEAR, {"shapes": "n d, d m", "wrt": []}, "wrt is [], expected names"),
    "wrt by number": (LINEAR, {"shapes": "n d, d m", "wrt": [1]}, "wrt is [1], expected names"),
    "wrt a number": (LINEAR, {"shapes": "n d, d m", "wrt": 1}, "wrt is 1, expected names"),
    "a seed that is a text": (LINEAR, {"shapes": "n d, d m", "seed": "a"}, "seed is 'a', expected an integer"),
    "a negative seed": (LINEAR, {"shapes": "n d, d m", "seed": -1}, "seed is -1, expected an integer"),
    "a seed of 2**40": (LINEAR, {"shapes": "n d, d m", "seed": 2**40}, "expected an integer from 0 to 2**32 - 1"),
    "too few inputs": (LINEAR, {"inputs": (X,)}, "forward also needs w; its inputs are x, w"),
    "one array for two inputs": (LINEAR, {"inputs": X}, "forward also needs w; its inputs are x, w"),
    "too many inputs": (LINEAR, {"inputs": (X, W, V)}, "3 inputs were given, forward takes 2: x, w"),
    "an unknown input": (LINEAR, {"inputs": {"x": X, "q": W}}, "inputs names q; forward's inputs are x, w"),
    "numbers as names": (LINEAR, {"inputs": {"x": X, 3: W, "a": W}}, "inputs names 3, a; forward's inputs are x, w"),
    "integers only": (SQUARE, {"inputs": np.arange(3)}, "no input is a floating-point array"),
    "a NaN among the inputs": (SQUARE, {"inputs": np.array([1.0, np.nan])}, "there is a NaN in x"),
    "inputs that raise": (SQUARE, {"inputs": zero_by_zero}, "my own words"),
    "inputs that take two arguments": (SQUARE, {"inputs": lambda a, b: X}, "must take a NumPy Generator, or nothing"),
    "None": (None, {"inputs": X}, "cannot be checked"),
    "one function of two": ((square,), {"inputs": X}, "expected two functions"),
    "three functions": ((square, square_back, square), {"inputs": X}, "expected two functions"),
    "texts for functions": (("a", "b"), {"inputs": X}, "expected two functions"),
    "an object without backward": (types.SimpleNamespace(forward=square), {"inputs": X}, "cannot be checked"),
    "a class that needs an argument": (NeedsAnArgument, {"inputs": X}, "pass an object"),
    "a function of NumPy": (np.sin, {"inputs": X}, "cannot be checked"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_told_in_plain_words(name):
    target, how, words = MISUSE[name]
    with pytest.raises(UsageError) as caught:
        diagnose(target, **how)
    assert words in str(caught.value)


class Stored:
    """Looks like a sparse matrix."""

    shape, dtype = (4, 3), np.dtype(float)


def _generator(x):
    yield x


# name: (target, the name of the finding, words of its evidence)
CODE = {
    "forward raises": ((zero_by_zero, square_back), "forward", "ZeroDivisionError: my own words"),
    "forward exits": ((lambda x: exit(3), square_back), "forward", "SystemExit"),
    "forward recurses": ((recurse := lambda x: recurse(x), square_back), "forward", "RecursionError"),
    "forward is a generator": ((_generator, square_back), "forward", "expected an array of numbers"),
    "forward returns None": ((lambda x: None, square_back), "forward", "returned None, expected an array of numbers"),
    "forward returns a text": ((lambda x: ("y", x), square_back), "forward", "expected an array of numbers"),
    "forward returns objects": ((lambda x: (np.array([x, None], object), x), square_back), "forward", "object"),
    "forward returns rows of unequal length": (
        (lambda x: ([[1.0], [1.0, 2.0]], x), square_back),
        "forward",
        "expected",
    ),
    "forward returns NaN": ((lambda x: (np.log(-np.abs(x)), x), square_back), "forward", "NaN"),
    "forward returns complex numbers": ((lambda x: (np.fft.fft(x), x), square_back), "forward", "complex"),
    "forward fails now and then": (
        (lambda x, n=[]: (x**2, x) if not n.append(1) and len(n) < 20 else 1 / 0, square_back),
        "forward",
        "ZeroDivisionError",
    ),
    "backward raises": ((square, zero_by_zero), "backward", "ZeroDivisionError: my own words"),
    "backward exits": ((square, lambda gy, x: exit()), "backward", "SystemExit"),
    "backward returns None": ((square, lambda gy, x: None), "x", "no gradient was returned"),
    "backward returns a text": ((square, lambda gy, x: "gradient"), "x", "expected an array of real numbers"),
    "backward returns objects": (
        (square, lambda gy, x: np.full((4, 3), None)),
        "x",
        "expected an array of real numbers",
    ),
    "backward returns a set": ((square, lambda gy, x: {1.0}), "x", "expected an array of real numbers"),
    "backward returns a function": ((square, lambda gy, x: square), "x", "expected an array of real numbers"),
    "backward returns a sparse matrix": ((square, lambda gy, x: Stored()), "x", "expected an array of real numbers"),
    "backward returns a generator": (
        (square, lambda gy, x: (2 * g for g in gy)),
        "x",
        "expected an array of real numbers",
    ),
    "backward returns dates": (
        (square, lambda gy, x: np.zeros((4, 3), "M8[D]")),
        "x",
        "expected an array of real numbers",
    ),
    "backward returns complex numbers": ((square, lambda gy, x: 2 * gy * x + 0j), "x", "complex"),
    "backward returns rows of unequal length": (
        (square, lambda gy, x: [[[1.0], [1.0, 2.0]]]),
        "x",
        "expected an array",
    ),
    "backward returns too many": (
        (square, lambda gy, x: (gy, gy)),
        "backward",
        "2 gradients, forward has one input: x",
    ),
    "backward returns an unknown name": ((square, lambda gy, x: {"dq": gy}), "backward", "'dq'"),
    "backward takes nothing": ((square, lambda: X), "backward", "takes no gradient coming in"),
    "backward takes too much": ((square, lambda gy, a, b, c, d: X), "backward", "return (y, cache)"),
    "no pullback": (lambda x: x**2, "forward", "expected (y, pullback)"),
    "None for a pullback": (lambda x: (x**2, None), "forward", "expected (y, pullback)"),
    "a pullback that raises": (lambda x: (x**2, zero_by_zero), "backward", "ZeroDivisionError: my own words"),
    "a pullback without gy": (lambda x: (x**2, lambda: 2 * x), "backward", "TypeError"),
}


@pytest.mark.parametrize("name", CODE)
def test_code_that_fails_is_a_finding_in_plain_words(name):
    target, subject, words = CODE[name]
    report = diagnose(target, X)
    worst = report.findings[0]
    assert report.status == "wrong"
    assert (worst.name, worst.cause) in ((subject, "unusable"), (subject, "missing"))
    assert words in worst.evidence
    assert "chainrule/check" not in str(report)


@pytest.mark.parametrize("target", [(zero_by_zero, square_back), (square, zero_by_zero)])
def test_the_line_that_raised_is_named(target):
    worst = diagnose(target, X).findings[0]
    assert "test_check_diagnose.py, line" in worst.where
    assert 'raise ZeroDivisionError("my own words")' in worst.where


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("target", [(interrupted, square_back), (square, interrupted), lambda x: (x, interrupted)])
def test_an_interrupt_passes_through(target):
    with pytest.raises(KeyboardInterrupt):
        diagnose(target, X)


def test_an_interrupt_passes_through_the_search_for_a_repair():
    calls = []

    def backward(gy, cache):
        calls.append(1)
        if len(calls) > 8:
            raise KeyboardInterrupt
        return -linear_back(gy, cache)[0], linear_back(gy, cache)[1]

    with pytest.raises(KeyboardInterrupt):
        diagnose((linear, backward), (X, W))


def test_the_users_arrays_generators_and_output_are_left_alone(capsys):
    def forward(x):
        print("noise")  # noqa: T201
        np.random.rand()  # noqa: NPY002
        x += 1
        return x**2, x

    given = X.copy()
    np.random.seed(3)  # noqa: NPY002
    expected = pickle.dumps(np.random.get_state())  # noqa: NPY002
    diagnose((forward, square_back), given)
    assert np.array_equal(given, X)
    assert pickle.dumps(np.random.get_state()) == expected  # noqa: NPY002
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------------ the report


def misnamed():
    """A wrong gradient whose report holds characters that HTML would take for tags."""
    return diagnose((linear, lambda gy, c: (gy @ c[1].T, -(c[0].T @ gy) if len(gy) < 99 else gy)), (X, W), name="<b>&")


def test_a_report_is_for_json_for_print_and_for_notebooks():
    report = misnamed()
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert again == report.to_dict()
    assert list(again) == ["name", "status", "findings", "notes"]
    assert set(again["findings"][0]) == {"name", "status", "cause", "confidence", "where", "evidence", "fix"}
    assert not report
    text = str(report)
    assert text.startswith("<b>&: wrong\n  w: sign")
    assert text.endswith("right: x")
    page = GradReport("<b>&", [Finding("w", "wrong", "sign", fix="gy if len(gy) < 99 else -gy")])._repr_html_()
    assert "<b>&lt;b&gt;&amp;</b>" in page
    assert "len(gy) &lt; 99" in page


def test_findings_come_worst_first_and_have_known_causes():
    report = diagnose((linear, off(lambda gx, gw, gy, x, w: (gx, gw * 1.2345))), (X, W))
    assert [f.status for f in report.findings] == ["wrong", "correct"]
    assert report.findings[0].cause in CAUSES
    assert GradReport("f", [Finding("a", "correct"), Finding("b", "inconclusive", "kink")]).status == "inconclusive"


def test_nothing_checked_is_not_correct():
    assert GradReport("f").status == "inconclusive"


def test_wrt_chooses_what_is_judged():
    target = linear, off(lambda gx, gw, gy, x, w: (gx, -gw))
    assert diagnose(target, (X, W), wrt=["x"]).status == "correct"
    report = diagnose(target, (X, W), wrt=["w"])
    assert [f.name for f in report.findings] == ["w"]
    assert report.status == "wrong"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((X, np.ones(3), np.zeros(3)), "with gamma = 1 the given point cannot see a missing gamma"),
        ((X, np.zeros(3), np.ones(3)), "with gamma = 0"),
        ((X, np.zeros(3), np.ones(3)), "with beta = 1"),
    ],
)
def test_a_degenerate_point_is_noted_and_others_see_the_mistake(given, words):
    def forward(x, gamma, beta):
        return gamma * x + beta, (x, gamma)

    report = diagnose((forward, lambda gy, c: (gy, (gy * c[0]).sum(0), gy.sum(0))), given)
    assert any(words in note for note in report.notes)
    assert (report.findings[0].name, report.findings[0].cause) == ("x", "parameter-missing")


def test_a_symmetric_matrix_is_noted():
    report = diagnose((lambda x, a: (x @ a, (x, a)), lambda gy, c: (gy @ c[1], c[0].T @ gy)), (X, SPD[:3, :3]))
    assert any("a is symmetric" in note for note in report.notes)
    assert (report.findings[0].name, report.findings[0].cause) == ("x", "jacobian-transposed")


def test_a_single_example_is_noted():
    report = diagnose(LINEAR, (X[:1], W))
    assert any("one example" in note for note in report.notes)


def test_an_input_that_is_not_judged_is_noted():
    report = diagnose((lambda x, t: (x / t, (x, t)), lambda gy, c: (gy / c[1], None)), (V, np.array(1.5)))
    assert report.status == "correct"
    assert any(note.startswith("t is not judged: by its name it is data") for note in report.notes)


def test_assert_gradients_raises_the_report():
    assert_gradients(LINEAR, (X, W))
    with pytest.raises(AssertionError, match=r"w: sign") as caught:
        assert_gradients((linear, off(lambda gx, gw, gy, x, w: (gx, -gw))), (X, W), name="my layer")
    assert str(caught.value).strip() == str(caught.value.report)
    assert caught.value.report.name == "my layer"
    with pytest.raises(AssertionError, match="inconclusive"):
        assert_gradients(*_inconclusive())


def _inconclusive():
    return RIGHT["dropout with the global generator"][0](), X


# ------------------------------------------------------------------------------------------------ torch


def torch_functions():
    torch = pytest.importorskip("torch")

    class Tanh(torch.autograd.Function):
        kind, factor = torch.float64, 1.0

        @classmethod
        def forward(cls, ctx, x):
            ctx.save_for_backward(x.to(cls.kind))
            return torch.tanh(x.to(cls.kind))

        @classmethod
        def backward(cls, ctx, gy):
            (x,) = ctx.saved_tensors
            return cls.factor * gy * (1 - torch.tanh(x) ** 2)

    return torch, Tanh


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
def test_a_torch_function_in_any_number_type_is_not_accused(kind):
    torch, function = torch_functions()
    function.kind = getattr(torch, kind)
    report = diagnose(function, X)
    assert report.status in ("correct", "inconclusive"), str(report)
    function.factor = -1.0
    assert diagnose(function, X).status in (("wrong",) if kind in ("float64", "float32") else ("wrong", "inconclusive"))


def test_torch_tensors_that_require_gradients_are_inputs():
    torch, function = torch_functions()
    assert diagnose(function, torch.tensor(X, requires_grad=True)).status == "correct"


FUNCTIONS = {
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
    "square": (np.square, lambda x: 2 * x),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "log1p of a square": (lambda x: np.log1p(x**2), lambda x: 2 * x / (1 + x**2)),
}
ERRORS = {
    "none": lambda g: g,
    "below rtol": lambda g: g * (1 + 5e-4),
    "above rtol": lambda g: g * 1.01,
    "below atol": lambda g: g + 5e-6,
    "above atol": lambda g: g + 2e-3,
    "sign": lambda g: -g,
    "one entry": lambda g: g * np.where(np.arange(g.size).reshape(g.shape) == 1, 1.1, 1),
    "zero": lambda g: 0 * g,
}


@pytest.mark.parametrize("how", [{}, {"eps": 1e-4}, {"rtol": 0.05}, {"atol": 1e-8, "rtol": 1e-6}], ids=str)
@pytest.mark.parametrize("error", ERRORS)
def test_gradcheck_gives_the_verdicts_of_torch(error, how):
    torch = pytest.importorskip("torch")
    for f, derivative in FUNCTIONS.values():

        def forward(x, f=f, d=derivative):
            return f(x), (lambda gy: gy * ERRORS[error](d(x)),)

        planted = op("... -> ...")(forward)
        OPS.pop("forward")

        class Planted(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, f=f):
                ctx.save_for_backward(x)
                return torch.from_numpy(f(x.detach().numpy()))

            @staticmethod
            def backward(ctx, gy, d=derivative):
                (x,) = ctx.saved_tensors
                return gy * torch.from_numpy(ERRORS[error](d(x.numpy()))), None

        x = torch.tensor(X[:2], requires_grad=True)
        expected = torch.autograd.gradcheck(Planted.apply, (x,), raise_exception=False, **how)
        assert gradcheck(planted, [X[:2]], raise_exception=False, **how) == expected


def test_gradcheck_in_fast_mode_and_twice():
    rng = np.random.default_rng(0)

    @op("... -> ...")
    def noisy(x):
        return 2 * x, (lambda gy: 2 * gy + 1e-7 * rng.standard_normal(gy.shape),)

    OPS.pop("noisy")
    assert not gradcheck(noisy, [V], raise_exception=False)
    assert gradcheck(noisy, [V], nondet_tol=1e-5)
    assert gradcheck(np.tanh, [V], fast_mode=True)
    assert not gradcheck(lambda x: noisy(x).detach() * 1.0, [V], fast_mode=True, raise_exception=False)


@pytest.mark.parametrize(
    ("func", "inputs"),
    [
        (lambda x: x, [np.arange(3)]),
        (lambda x: None, [V]),
        (lambda x: {"y": x}, [V]),
        (lambda x: x, ["a"]),
        (lambda x: x, [None]),
        (LINEAR, [X, W]),
    ],
    ids=["integers only", "returns None", "returns a dictionary", "a text", "None", "a pair"],
)
def test_gradcheck_says_what_it_cannot_use(func, inputs):
    with pytest.raises(UsageError):
        gradcheck(func, inputs)


def test_a_gradient_that_is_zero_may_be_added_or_written_over():
    """A bias before a batch norm has the gradient 0, and what rounding leaves of it cannot tell how it was stored."""
    rng = np.random.default_rng(0)
    layers = [nn.Linear(4, 3, rng=rng, dtype=np.float64), nn.BatchNorm1d(3, dtype=np.float64)]
    assert diagnose(nn.Sequential(*layers), rng.normal(size=(5, 4))).status == "correct"
