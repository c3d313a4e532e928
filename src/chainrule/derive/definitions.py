"""What the ops compute, in the language of derivations: independent of their rules, which they are compared with.

Lines that a textbook would name (a mean, a variance) have a name here, so that gradients come out in its terms. What
cannot be written for whole arrays, such as a convolution, is in index notation.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.derive import language
from chainrule.derive.language import Program, parse, read_shapes
from chainrule.engine import OPS


@dataclass(frozen=True)
class Definition:
    """One op in the language of derivations.

    Attributes:
        shapes: its inputs in the order of the op's, as :func:`chainrule.derive.language.read_shapes` reads them.
        lines: what it computes.
        params: hyper-parameters that stay symbols, with the numbers that they are tried with.
        names: the op's names of inputs that have another one here.
        call: the op's keyword arguments, from the sizes and hyper-parameters.
        sizes: sizes that are not free, in Python: those of a convolution's output.
        labels: inputs that are one-hot rows here and integer labels for the op.
        flags: inputs that are 0 or 1 here and booleans for the op.
        kernel: sizes that are to be small when it is tried.
        any_shape: do its lines hold for arrays with any number of axes?
        note: what is assumed.
    """

    shapes: str
    lines: str
    params: Mapping[str, float] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    call: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda values: {}
    sizes: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    any_shape: bool = False
    note: str = ""


def elementwise(lines: str, **more: Any) -> Definition:
    """A function of each entry of a matrix."""
    return Definition("x: n d", lines, any_shape=True, **more)


def pair(lines: str, **more: Any) -> Definition:
    """A function of two matrices, entry by entry."""
    return Definition("a: n d, b: n d", lines, any_shape=True, **more)


def _given(*names: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda values: {name: values[name] for name in names}


def _fixed(**params: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda values: params


STRIDED = {"s": 2, "a": 1}
OUTPUT = {"p": "(h + 2 * a - k) // s + 1", "q": "(w + 2 * a - l) // s + 1"}
SOFTMAX = "y = exp(x) / exp(x).sum(-1, keepdims=True)"
SIGMOID = "y = 1 / (1 + exp(-x))"
MOMENTS = """
mu = x.mean({axis}, keepdims=True)
v = ((x - mu)**2).mean({axis}, keepdims=True)
s = sqrt(v + eps)
xhat = (x - mu) / s
"""
ONE_HOT = "the rows of t sum to 1: one-hot labels, or probabilities"
LOSS = {"t": "target"}

DEFINITIONS: dict[str, Definition] = {
    # element by element
    "exp": elementwise("y = exp(x)"),
    "log": elementwise("y = log(x)"),
    "log1p": elementwise("y = log(1 + x)"),
    "expm1": elementwise("y = exp(x) - 1"),
    "sqrt": elementwise("y = sqrt(x)"),
    "square": elementwise("y = x**2"),
    "abs": elementwise("y = abs(x)"),
    "sin": elementwise("y = sin(x)"),
    "cos": elementwise("y = cos(x)"),
    "erf": elementwise("y = erf(x)"),
    "clip": elementwise(
        "y = where(x < a, a, where(x > b, b, x))",
        params={"a": -0.5, "b": 0.8},
        call=lambda v: {"min": v["a"], "max": v["b"]},
    ),
    "identity": elementwise("y = +x"),
    "neg": elementwise("y = -x"),
    "relu": elementwise("y = where(x > 0, x, 0)"),
    "leaky_relu": elementwise(
        "y = where(x > 0, x, alpha * x)", params={"alpha": 0.3}, call=lambda v: {"negative_slope": v["alpha"]}
    ),
    "elu": elementwise("y = where(x > 0, x, alpha * (exp(x) - 1))", params={"alpha": 0.7}, call=_given("alpha")),
    "selu": elementwise(
        "y = lam * where(x > 0, x, alpha * (exp(x) - 1))",
        params={"lam": 1.0507009873554805, "alpha": 1.6732632423543772},
    ),
    "sigmoid": elementwise(SIGMOID),
    "tanh": elementwise("y = tanh(x)"),
    "silu": elementwise("s = 1 / (1 + exp(-x)); y = x * s"),
    "softplus": elementwise("y = log(1 + exp(beta * x)) / beta", params={"beta": 1.5}, call=_given("beta")),
    "gelu": elementwise("Phi = (1 + erf(x / sqrt(2))) / 2; y = x * Phi"),
    "dropout": Definition(
        "x: n d, m: n d const",
        "y = m * x / (1 - p)",
        params={"p": 0.3},
        call=_given("p"),
        names={"m": "mask"},
        flags=("m",),
        note="m is 1 where an entry is kept, else 0",
    ),
    # two arrays
    "add": pair("y = a + b"),
    "sub": pair("y = a - b"),
    "mul": pair("y = a * b"),
    "div": pair("y = a / b"),
    "pow": pair("y = a**b"),
    "maximum": pair("y = maximum(a, b)"),
    "minimum": pair("y = minimum(a, b)"),
    "where": Definition(
        "m: n d const, a: n d, b: n d",
        "y = m * a + (1 - m) * b",
        names={"m": "condition"},
        flags=("m",),
        note="m is 1 where the condition holds, else 0",
    ),
    # matrices
    "linear": Definition("x: n d, w: m d, b: m", "y = x @ w.T + b", names={"w": "weight", "b": "bias"}),
    "matmul": Definition("a: n k, b: k m", "y = a @ b"),
    "transpose": Definition("x: n d", "y = x.T"),
    "broadcast_to": Definition("x: d", "y = broadcast_to(x, (n, d))", call=lambda v: {"shape": (v["n"], v["d"])}),
    "embedding": Definition(
        "t: n v one-hot, w: v d",
        "y = t @ w",
        names={"t": "input", "w": "weight"},
        labels=("t",),
        note="the row of t is 1 at the label, else 0",
    ),
    # reductions
    "sum": Definition("x: n d", "y = x.sum(0)", call=_fixed(axis=0)),
    "mean": Definition("x: n d", "y = x.mean(0)", call=_fixed(axis=0)),
    "var": Definition("x: n d", "mu = x.mean(0); y = ((x - mu)**2).mean(0)", call=_fixed(axis=0)),
    "max": Definition("x: n d", "y = x.max(0)", call=_fixed(axis=0), note="the largest entry occurs once"),
    "min": Definition("x: n d", "y = x.min(0)", call=_fixed(axis=0), note="the smallest entry occurs once"),
    "logsumexp": Definition("x: n d", "y = log(exp(x).sum(-1))"),
    "cumsum": Definition("x: n d, y: n d", "y[i, j] = sum(x[i, k] * (k <= j), over=k)", call=_fixed(axis=1)),
    "softmax": Definition("x: n c", SOFTMAX, any_shape=True),
    "log_softmax": Definition("x: n c", "y = x - log(exp(x).sum(-1, keepdims=True))", any_shape=True),
    # losses
    "cross_entropy": Definition(
        "x: B c, t: B c one-hot", f"{SOFTMAX}; L = -(t * log(y)).sum() / B", names=LOSS, note=ONE_HOT
    ),
    "nll_loss": Definition(
        "x: B c, t: B c one-hot",
        "L = -(t * x).sum() / B",
        names=LOSS,
        labels=("t",),
        note="the row of t is 1 at the label",
    ),
    "mse_loss": Definition("x: n k, t: n k", "L = ((x - t)**2).mean()", names=LOSS),
    "l1_loss": Definition("x: n k, t: n k", "L = abs(x - t).mean()", names=LOSS),
    "huber_loss": Definition(
        "x: n k, t: n k",
        "u = x - t; L = where(abs(u) <= delta, u**2 / 2, delta * (abs(u) - delta / 2)).mean()",
        params={"delta": 0.4},
        call=_given("delta"),
        names=LOSS,
    ),
    "binary_cross_entropy": Definition("x: n k, t: n k", "L = -(t * log(x) + (1 - t) * log(1 - x)).mean()", names=LOSS),
    "binary_cross_entropy_with_logits": Definition(
        "x: n k, t: n k", f"{SIGMOID}; L = -(t * log(y) + (1 - t) * log(1 - y)).mean()", names=LOSS
    ),
    # normalisations
    "batch_norm": Definition(
        "x: B d, gamma: d, beta: d",
        MOMENTS.format(axis=0).replace(", keepdims=True", "") + "y = gamma * xhat + beta",
        params={"eps": 1e-5},
        names={"gamma": "weight", "beta": "bias"},
        call=lambda v: {"eps": v["eps"], "training": True},
        note="training, where mean and variance are those of the batch",
    ),
    "layer_norm": Definition(
        "x: B d, gamma: d, beta: d",
        MOMENTS.format(axis=-1) + "y = gamma * xhat + beta",
        params={"eps": 1e-5},
        names={"gamma": "weight", "beta": "bias"},
        call=lambda v: {"eps": v["eps"], "normalized_shape": (v["d"],)},
    ),
    "rms_norm": Definition(
        "x: B d, gamma: d",
        "q = sqrt((x**2).mean(-1, keepdims=True) + eps); xhat = x / q; y = gamma * xhat",
        params={"eps": 1e-5},
        names={"gamma": "weight"},
        call=lambda v: {"eps": v["eps"], "normalized_shape": (v["d"],)},
    ),
    "instance_norm": Definition(
        "x: B c m, gamma: c, beta: c",
        MOMENTS.format(axis=-1) + "y = gamma[:, None] * xhat + beta[:, None]",
        params={"eps": 1e-5},
        names={"gamma": "weight", "beta": "bias"},
        call=_given("eps"),
    ),
    # images
    "conv1d": Definition(
        "x: n c h, w: m c k, b: m, y: n m p",
        "y[n, m, p] = sum(x[n, c, s*p + k - a] * w[m, c, k], over=(c, k)) + b[m]",
        params=STRIDED,
        names={"w": "weight", "b": "bias"},
        call=lambda v: {"stride": v["s"], "padding": v["a"]},
        kernel=("k", "l"),
        sizes={"p": "(h + 2 * a - k) // s + 1"},
        note="stride s, padding a; entries outside of an array are 0",
    ),
    "conv2d": Definition(
        "x: n c h w, w: m c k l, b: m, y: n m p q",
        "y[n, m, p, q] = sum(x[n, c, s*p + k - a, s*q + l - a] * w[m, c, k, l], over=(c, k, l)) + b[m]",
        params=STRIDED,
        names={"w": "weight", "b": "bias"},
        call=lambda v: {"stride": v["s"], "padding": v["a"]},
        kernel=("k", "l"),
        sizes=OUTPUT,
        note="stride s, padding a; entries outside of an array are 0",
    ),
    "conv_transpose2d": Definition(
        "x: n c p q, w: c m k l, b: m, y: n m h w",
        "y[n, m, h, w] = sum(x[n, c, p, q] * w[c, m, h + a - s*p, w + a - s*q], over=(c, p, q)) + b[m]",
        params=STRIDED,
        names={"w": "weight", "b": "bias"},
        call=lambda v: {"stride": v["s"], "padding": v["a"]},
        kernel=("k", "l"),
        sizes={"h": "(p - 1) * s - 2 * a + k", "w": "(q - 1) * s - 2 * a + l"},
        note="stride s, padding a; entries outside of an array are 0",
    ),
    "max_pool2d": Definition(
        "x: n c h w, y: n c p q",
        "y[n, c, p, q] = max(x[n, c, s*p + k - a, s*q + l - a], over=(k, l))",
        params={**STRIDED, "k": 3, "l": 2},
        call=lambda v: {"kernel_size": (v["k"], v["l"]), "stride": v["s"], "padding": v["a"]},
        sizes=OUTPUT,
        note="window k by l, stride s, padding a; the largest entry of a window occurs once",
    ),
    "avg_pool2d": Definition(
        "x: n c h w, y: n c p q",
        "y[n, c, p, q] = sum(x[n, c, s*p + k - a, s*q + l - a], over=(k, l)) / (k * l)",
        params={**STRIDED, "k": 3, "l": 2},
        call=lambda v: {"kernel_size": (v["k"], v["l"]), "stride": v["s"], "padding": v["a"]},
        sizes=OUTPUT,
        note="window k by l, stride s, padding a; entries outside of the image are 0 and count",
    ),
    # sequences
    "scaled_dot_product_attention": Definition(
        "q: l e, k: m e, v: m d",
        "S = q @ k.T / sqrt(e); P = exp(S) / exp(S).sum(-1, keepdims=True); Y = P @ v",
        names={"q": "query", "k": "key", "v": "value"},
    ),
    "rnn_cell": Definition(
        "x: n e, h: n d, w: d e, u: d d, b: d, c: d",
        "z = x @ w.T + b + h @ u.T + c; y = tanh(z)",
        names={"w": "weight_ih", "u": "weight_hh", "b": "bias_ih", "c": "bias_hh"},
    ),
}
ALIASES = {
    "attention": "scaled_dot_product_attention",
    "bce_loss": "binary_cross_entropy",
    "bce": "binary_cross_entropy",
}

# Ops that have no definition, and why.
WITHOUT = {
    **dict.fromkeys(
        ("reshape", "squeeze", "unsqueeze", "astype", "getitem", "scatter", "pad", "concatenate", "stack", "windows",
         "overlap_add"),
        "it only moves entries: the gradient moves them back, and there is nothing to derive",
    ),
    "einsum": "write its line instead: chainrule derive \"y = einsum('ij,jk->ik', a, b)\" --shapes \"a: n k, b: k m\"",
    "group_norm": "it is layer_norm over groups of channels: chainrule derive layer_norm",
    "adaptive_avg_pool2d": "its windows have several sizes, which index notation has no letters for: see avg_pool2d",
    **dict.fromkeys(
        ("lstm_cell", "gru_cell"),
        "write its lines, some for each gate, as in chainrule derive \"z = x @ w.T + b; i = sigmoid(z); y = i * c\"",
    ),
}  # fmt: skip

NOT_IN_A_LINE = (
    "broadcast_to",
    "transpose",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "max_pool2d",
    "avg_pool2d",
    "cumsum",
    "instance_norm",
)


def definition_of(name: str) -> Definition | None:
    """The definition of an op; of one that has none here, its textbook, if that is one formula for every entry."""
    if name in DEFINITIONS or name not in OPS or name in WITHOUT:
        return DEFINITIONS.get(name)
    op = OPS[name]
    if op.signature.text != "... -> ..." or op.params:
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(op.rule)))
    except (OSError, SyntaxError):  # it was not written in a file
        return None
    formulas = [k.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg == "textbook"]
    match formulas:
        case [ast.Lambda(args=ast.arguments(args=[ast.arg("x")]), body=body)]:
            return elementwise(f"y = {ast.unparse(body)}")
    return None


def program_of(definition: Definition) -> Program:
    """The lines of an op.

    >>> program_of(DEFINITIONS["softmax"]).output.name
    'y'
    """
    program = Program(symbols=dict(definition.params))
    read_shapes(definition.shapes, program)
    parse(definition.lines, program)
    return program


def _register() -> None:
    """Let the lines of a user call the ops that are defined here."""
    for name, definition in DEFINITIONS.items():
        if name in NOT_IN_A_LINE or name in language.FUNCTIONS or name in language.REDUCTIONS:
            continue
        inputs = Program()
        read_shapes(definition.shapes, inputs)
        worth = not definition.shapes.startswith("a:")
        language.DEFINED[name] = (list(inputs.shapes), definition.lines, worth, dict(definition.params))
        language.DEFINED_SHAPES[name] = definition.shapes
        if definition.any_shape:
            language.OF_ANY_SHAPE.add(name)
    for alias, name in ALIASES.items():
        language.DEFINED[alias] = language.DEFINED[name]
        language.DEFINED_SHAPES[alias] = language.DEFINED_SHAPES[name]


_register()


def as_labels(rows: np.ndarray) -> np.ndarray:
    """The labels of one-hot rows."""
    return rows.argmax(-1)
