"""chainrule's own ops as rules, and the mistakes planted in them.

A copy of the source of an op's rule and of the functions of its module that it uses, edited in one place, is written to
a file and run among the names of that module. Some edits fit every pullback (`ANYWHERE`), others are of one op (`OWN`).
Each is checked on the first of the op's samples on which it really changes what the unedited rule gives.

    cd tests && python -m planted.ops [NAME ...]

prints the edits that change nothing, and the number of mistakes per cause.
"""

import ast
import functools
import inspect
import itertools
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import chainrule.ops  # noqa: F401  registers the ops
from chainrule.check import draw
from chainrule.engine import OPS, Op, Sample
from planted import Mistake

_count = itertools.count()


@dataclass(frozen=True, eq=False)
class OpRule:
    """An op on one of its samples; to be checked as `planted.Rule` is."""

    op: Op
    sample: Sample
    shapes = None  # inputs are drawn by `inputs`

    @property
    def name(self) -> str:
        """`ops.`, the op's name, and the sample's number."""
        return f"ops.{self.op.name}[{next(i for i, each in enumerate(self.op.samples) if each is self.sample)}]"

    def inputs(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Inputs in the op's order."""
        return tuple(draw(self.op, self.sample, rng))

    @property
    def is_empty(self) -> bool:
        """Has an input no entries?"""
        return any(x.size == 0 for x in self.inputs(np.random.default_rng(0)))

    @functools.cached_property
    def names(self) -> list[str]:
        """The names of the inputs; `xs[0]`, `xs[1]`, ... where any number may be given."""
        count = len(self.inputs(np.random.default_rng(0)))
        return [f"{self.op.inputs[0]}[{i}]" for i in range(count)] if self.op.variadic else self.op.inputs[:count]

    @functools.cached_property
    def wrt(self) -> tuple[str, ...]:
        """The inputs that have a gradient."""
        _, pullbacks = self.op.rule(*self.inputs(np.random.default_rng(0)), **self.sample.params)
        return tuple(name for name, pullback in zip(self.names, pullbacks, strict=False) if pullback)


def op_rules() -> Iterator[OpRule]:
    """Every op on every one of its samples."""
    return (OpRule(op, sample) for op in OPS.values() for sample in op.samples)


def op_mistakes(op: Op) -> Iterator[tuple[OpRule, Mistake]]:
    """The mistakes planted in an op's rule, each with the first sample on which it changes something."""
    filled = [rule for rule in map(OpRule, itertools.repeat(op), op.samples) if not rule.is_empty]
    for mistake in _edits(op):
        rule = next((rule for rule in filled if changes(rule, mistake)), None)
        if rule is not None:
            yield rule, mistake


def source(op: Op, mistake: Mistake | None = None) -> str:
    """The rule's source without its decorator, with the mistake in it if one is given."""
    text = "\n\n".join(_sources(op.rule).values())
    if mistake is None:
        return text
    if (count := text.count(mistake.old)) != 1:
        raise ValueError(f"{op.name} has {mistake.old!r} {count} times, a mistake needs it exactly once")
    return text.replace(mistake.old, mistake.new)


@functools.cache
def _sources(function: Any) -> dict[str, str]:
    """A function's source without its decorator, after those of the functions of its module that it uses."""
    lines = textwrap.dedent(inspect.getsource(function))
    text = lines[lines.index(f"def {function.__name__}(") :]
    used: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        part = function.__globals__.get(node.id) if isinstance(node, ast.Name) else None
        if inspect.isfunction(part) and part.__module__ == function.__module__:
            used |= _sources(part)
    return used | {function.__name__: text}


def load(rule: OpRule, mistake: Mistake | None = None, *, folder: Path | str) -> Any:
    """The function to check, from a real file under `folder`, with the sample's hyper-parameters as defaults."""
    path = Path(folder) / f"planted_{rule.op.name}_{next(_count)}.py"
    path.write_text(source(rule.op, mistake), encoding="utf-8")
    function = _made(rule.op, path.read_text(encoding="utf-8"), str(path))
    function.__kwdefaults__ = rule.op.params | rule.sample.params
    return function


def _made(op: Op, text: str, file: str) -> Any:
    """The rule that this source defines, among the names of the op's module; the op keeps its own name there."""
    names = {**op.rule.__globals__, "__name__": f"planted_{op.name}"}
    made: dict[str, Any] = {}
    exec(compile(text, file, "exec"), names, made)
    rule = made.pop(op.name)
    names.update(made)
    return rule


# ------------------------------------------------------------------------------------- edits that fit every pullback

Kind = tuple[str | tuple[str, ...], str]  # a cause, and what a pullback returns by that mistake

ANYWHERE: list[Kind] = [  # {g} is the expression that the pullback returns
    ("sign", "-({g})"),
    ("factor", "2 * ({g})"),
    ("factor", "({g}) / 2"),
    ("missing", "None"),
    ("missing", "np.zeros_like({g})"),
    ("permuted", "({g})[..., ::-1]"),
    ("shifted", "np.roll({g}, 1, axis=-1)"),
    ("nondeterministic", "({g}) + 1e-3 * np.random.default_rng().standard_normal(np.shape({g}))"),
    ("dtype", "({g}).astype(np.float32)"),
    ("dtype", "({g}).astype(np.float16)"),
]
EXCHANGED = ("permuted", "shifted")  # of two entries, where both are the same
OF_A_MATRIX: list[Kind] = [("transposed", "({g}).T"), ("permuted", "({g})[::-1]")]
OF_A_BATCH: list[Kind] = [("batch-mean-twice", "({g}) / len(gy)")]
ELEMENT_BY_ELEMENT: list[Kind] = [(("mask", "parameter-missing"), "({g}) * (x > 0)")]
SUMMED: list[Kind] = [  # {summed} is what is summed over the axes that broadcasting added
    ("missing-sum", "{summed}"),
    (("mean-for-sum", "batch-mean-twice"), "({summed}).mean(0)"),
    ("mean-for-sum", "({summed}).mean(1, keepdims=True)"),
]


class Pullback(NamedTuple):
    """A function of gy inside a rule: its source and column, the expression that it returns, whose gradient this is."""

    text: str
    column: int
    returned: str
    gradient: str

    def returning(self, new: str) -> str:
        """Its source with another expression in place of the one that it returns."""
        before, _, after = self.text.rpartition(self.returned)
        return before + new + after

    def with_upstream(self, new: str) -> str:
        """Its source with another expression in place of gy."""
        head, colon, body = self.text.partition(":")
        return head + colon + re.sub(r"\bgy\b(?! = )", new, body)


def _pullbacks(op: Op) -> Iterator[Pullback]:
    text = source(op)
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Lambda(args=ast.arguments(args=[ast.arg("gy")]), body=returned) if op.variadic:
                gradient = f"{op.inputs[0]}[0]"
            case ast.FunctionDef(name, ast.arguments(args=[ast.arg("gy")]), [*_, ast.Return(ast.expr() as returned)]):
                gradient = f"{op.inputs[0]}[0]" if op.variadic else name.removeprefix("g")
            case _:
                continue
        if op.variadic or gradient in op.inputs:  # else it is a part that several pullbacks share
            yield Pullback(_segment(text, node), node.col_offset, _segment(text, returned), gradient)


def _segment(text: str, node: ast.AST) -> str:
    """A node's source."""
    found = ast.get_source_segment(text, node)
    assert found is not None
    return found


def _anywhere(op: Op, pullback: Pullback) -> Iterator[Mistake]:
    """The mistakes that can be made in any pullback."""
    first = next(rule for rule in map(OpRule, itertools.repeat(op), op.samples) if pullback.gradient in rule.wrt)
    y, gradients = _run(first, op.rule, seed=0)
    x = first.inputs(np.random.default_rng(0))[0]
    two = np.shape(gradients[pullback.gradient])[-1:] == (2,)
    kinds: list[Kind] = [(EXCHANGED if two and cause in EXCHANGED else cause, new) for cause, new in ANYWHERE]
    if np.ndim(gradients[pullback.gradient]) == 2:
        kinds += OF_A_MATRIX
    if np.ndim(y) > 1 and len(x) == len(y):
        kinds += OF_A_BATCH
    if op.signature.text == "... -> ...":
        kinds += ELEMENT_BY_ELEMENT
    summed = ""
    match ast.parse(pullback.returned, mode="eval").body:
        case ast.Call(ast.Name("sum_to"), [first_argument, _]):
            kinds += SUMMED
            summed = _segment(pullback.returned, first_argument)
    for cause, new in kinds:
        edited = pullback.returning(new.format(g=pullback.returned, summed=summed))
        yield Mistake(cause, pullback.gradient, pullback.text, edited)
    yield Mistake("upstream-ignored", pullback.gradient, pullback.text, pullback.with_upstream("np.ones_like(gy)"))
    yield Mistake("upstream-twice", pullback.gradient, pullback.text, pullback.with_upstream("(gy * gy)"))
    if pullback.text.startswith("def"):
        indent = " " * pullback.column
        lines = (f"g = np.array({pullback.returned})", "gy *= 2", "return g")
        edited = pullback.text.replace(f"return {pullback.returned}", f"\n{indent}    ".join(lines))
        yield Mistake("in-place", "gy", pullback.text, edited)


def _swapped(op: Op) -> Iterator[Mistake]:
    """The pullbacks returned in the wrong order."""
    text = source(op)
    for function in ast.parse(text).body:
        match function:
            case ast.FunctionDef(body=[*_, ast.Return(ast.Tuple([_, ast.Tuple(parts)])) as returned]):
                names = [part.id for part in parts if isinstance(part, ast.Name)]
                if len(names) > 1:
                    old, a, b = _segment(text, returned), *names[:2]
                    cause = (
                        ("order-swapped", "sign") if op.name.endswith("_loss") else "order-swapped"
                    )  # gtarget is -gx
                    yield Mistake(cause, a.removeprefix("g"), old, old.replace(f"{a}, {b}", f"{b}, {a}"))
            case ast.FunctionDef(op.name, body=[*_, ast.Return(ast.Tuple([_, ast.Call() as returned]))]):
                old = "return y, " + _segment(text, returned)
                yield Mistake("order-swapped", f"{op.inputs[0]}[0]", old, f"{old}[::-1]")


def _edits(op: Op) -> Iterator[Mistake]:
    """Every edit of an op's rule; some may change nothing."""
    for pullback in _pullbacks(op):
        yield from _anywhere(op, pullback)
    yield from _swapped(op)
    yield from OWN.get(op.name, ())


# --------------------------------------------------------------------------------------------------- is it a mistake?

OF_ANOTHER_SHAPE = {"missing-sum", "transposed", "order-swapped"}
RAISES = (ValueError, TypeError, IndexError, AttributeError)


def changes(rule: OpRule, mistake: Mistake) -> bool:
    """Does the edited rule run, and do what the mistake says, or give another gradient than the unedited rule?"""
    edited = _made(rule.op, source(rule.op, mistake), "<edited>")
    return any(_differs(rule, edited, mistake, seed) for seed in range(3))


def _differs(rule: OpRule, edited: Any, mistake: Mistake, seed: int) -> bool:
    _, expected = _run(rule, rule.op.rule, seed)
    try:
        _, found = _run(rule, edited, seed)
    except RAISES:
        return False
    if "in-place" in mistake.causes:
        return found["modified"]
    a, b = expected.get(mistake.gradient), found.get(mistake.gradient)
    if a is None or b is None or "dtype" in mistake.causes:
        return a is not None and (b is None or a.dtype != b.dtype)
    if a.shape != b.shape:
        return not OF_ANOTHER_SHAPE.isdisjoint(mistake.causes)
    return bool(np.any(np.abs(a - b) > 1e-6 * np.abs(a).max(initial=1e-3)))


def _run(rule: OpRule, function: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    """The value, the gradients by name, and whether an input or gy was modified."""
    rng = np.random.default_rng(seed)
    inputs = rule.inputs(rng)
    given = [x.copy() for x in inputs]
    y, pullbacks = function(*given, **rule.sample.params)
    gy = rng.standard_normal(np.shape(y))
    upstream = np.array(gy)
    found = {name: pull and pull(upstream) for name, pull in zip(rule.names, pullbacks, strict=False)}
    gradients: dict[str, Any] = {name: None if g is None else np.asarray(g) for name, g in found.items()}
    pairs = [*zip(inputs, given, strict=True), (gy, upstream)]
    return y, gradients | {"modified": not all(np.array_equal(a, b) for a, b in pairs)}


# ------------------------------------------------------------------------------------------------- edits of single ops


def _stamped(grid: str, line: str) -> str:
    """What overlap_add does, in a pullback of its own: where `line` adds a window's entries, `+=` belongs."""
    lines = (
        f"g = {grid}",
        "padded = np.zeros((*x.shape[:2], *g.padded))",
        "for at in np.ndindex(*g.kernel):",
        f"    {line}",
        "return padded[g.inside]",
    )
    return "\n        ".join(lines)


WINDOWS_GX = "return overlap_add(gy, size=size, stride=stride, padding=padding, dilation=dilation)"
CONVOLUTION_GX = "return overlap_add(gcolumns, size=size, **where)"
GWEIGHT = "_unmatrices(_transposed(_rows(gy, groups, axes)) @ columns, weight.shape)"

BIAS_OF_CHANNELS = [
    Mistake("missing-sum", "bias", "gy.sum((0, *range(2, gy.ndim)))", "gy.sum(0)"),
    Mistake("missing-sum", "bias", "gy.sum((0, *range(2, gy.ndim)))", "gy.sum(tuple(range(2, gy.ndim)))"),
    Mistake("mean-for-sum", "bias", "gy.sum((0, *range(2, gy.ndim)))", "gy.mean((0, *range(2, gy.ndim)))"),
]
CONVOLUTION = [
    *BIAS_OF_CHANNELS,
    Mistake("permuted", "x", "@ matrices, (n, c, *out, *kernel))", "@ matrices, (n, c, *out, *kernel))[..., ::-1]"),
    Mistake(EXCHANGED, "x", "_rows(gy, groups, axes) @ matrices", "_rows(gy, groups, axes)[::-1] @ matrices"),
    Mistake(
        EXCHANGED, "weight", "_transposed(_rows(gy, groups, axes)) @", "_transposed(_rows(gy, groups, axes))[::-1] @"
    ),
    Mistake(
        "overwrite",
        "x",
        CONVOLUTION_GX,
        _stamped("grid(size, kernel, **where)", "padded[g.seen(at)] = gcolumns[(..., *at)]"),
    ),
    Mistake(
        "shifted",
        "x",
        CONVOLUTION_GX,
        _stamped(
            "grid(size, kernel, **where)._replace(dilation=(1,) * axes)", "padded[g.seen(at)] += gcolumns[(..., *at)]"
        ),
    ),
    Mistake(("permuted", "transposed"), "weight", GWEIGHT, f"np.reshape{GWEIGHT.removeprefix('_unmatrices')}"),
    Mistake(
        ("permuted", "transposed"),
        "weight",
        "_transposed(_rows(gy, groups, axes)) @ columns",
        "np.reshape(_transposed(columns) @ _rows(gy, groups, axes), matrices.shape)",
    ),
    Mistake(("mean-for-sum", "factor"), "weight", GWEIGHT, f"{GWEIGHT} / columns.shape[1]"),
    Mistake(
        "missing-sum",
        "weight",
        "return " + GWEIGHT,
        "by_example = zip(np.split(_rows(gy, groups, axes), n, 1), np.split(columns, n, 1), strict=True)\n"
        "        return np.stack([_unmatrices(_transposed(g) @ seen, weight.shape) for g, seen in by_example])",
    ),
]

AFFINE_GX = "gx_of(_scaled(gy.reshape(xhat.shape), weight, None, shape)).reshape(x.shape)"
AFFINE_GWEIGHT = "_sum(copies, gy.reshape(xhat.shape), xhat)"
AFFINE = [
    Mistake("parameter-missing", "x", AFFINE_GX, AFFINE_GX.replace("weight", "None")),
    Mistake("wrong-saved", "weight", AFFINE_GWEIGHT, "_sum(copies, gy.reshape(xhat.shape), x.reshape(xhat.shape))"),
    Mistake("missing-sum", "weight", f"{AFFINE_GWEIGHT}.reshape(weight.shape)", "gy * xhat.reshape(x.shape)"),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"), "weight", AFFINE_GWEIGHT, f"({AFFINE_GWEIGHT} / _count(xhat, copies))"
    ),
]
SCALED_LAST = Mistake(  # of weights that differ among what is normalised together
    "jacobian-transposed",
    "x",
    AFFINE_GX,
    "_scaled(gx_of(gy.reshape(xhat.shape)), weight, None, shape).reshape(x.shape)",
)
STANDARDISED = [
    *AFFINE,
    Mistake("path-dropped", "x", "        terms -= _sum(axes, g) / count\n", ""),
    Mistake("path-dropped", "x", "terms = xhat * (_sum(axes, g, xhat) / -count)", "terms = np.zeros_like(xhat)"),
    Mistake(
        "ddof",
        "x",
        "terms = xhat * (_sum(axes, g, xhat) / -count)",
        "terms = xhat * (_sum(axes, g, xhat) / (1 - count))",
    ),
    Mistake("sign", "x", "terms -= _sum", "terms += _sum"),
    Mistake("eps", "x", "terms *= rstd", "terms /= var**0.5 + eps"),
    Mistake("eps", "x", "terms *= rstd", "terms *= var**-0.5"),
    Mistake("parameter-missing", "x", "        terms *= rstd\n", ""),
    Mistake("wrong-saved", "x", "terms = xhat * (_sum(axes, g, xhat)", "terms = xhat * (_sum(axes, g, x)"),
    Mistake("missing-sum", "x", "terms -= _sum(axes, g) / count", "terms -= g / count"),
]

OWN: dict[str, list[Mistake]] = {
    "exp": [Mistake("wrong-saved", "x", "gy * y", "gy * x"), Mistake("wrong-saved", "x", "gy * y", "gy * np.exp(y)")],
    "log": [
        Mistake("wrong-saved", "x", "gy / x", "gy / np.log(x)"),
        Mistake("parameter-missing", "x", "return gy / x", "return gy"),
    ],
    "log1p": [
        Mistake("wrong-saved", "x", "gy / (1 + x)", "gy / (1 + np.log1p(x))"),
        Mistake("sign", "x", "gy / (1 + x)", "gy / (1 - x)"),
    ],
    "expm1": [
        Mistake("wrong-saved", "x", "gy * np.exp(x)", "gy * np.expm1(x)"),
        Mistake("parameter-missing", "x", "return gy * np.exp(x)", "return gy"),
    ],
    "sqrt": [
        Mistake("wrong-saved", "x", "gy / (2 * y)", "gy / (2 * x)"),
        Mistake("factor", "x", "gy / (2 * y)", "gy / y"),
        Mistake("parameter-missing", "x", "gy / (2 * y)", "gy / 2"),
    ],
    "square": [
        Mistake("wrong-saved", "x", "gy * 2 * x", "gy * 2 * np.square(x)"),
        Mistake("factor", "x", "gy * 2 * x", "gy * x"),
        Mistake("parameter-missing", "x", "gy * 2 * x", "gy * 2"),
    ],
    "abs": [
        Mistake(("mask", "parameter-missing"), "x", "gy * np.sign(x)", "gy * (x > 0)"),
        Mistake(("parameter-missing", "wrong-saved"), "x", "gy * np.sign(x)", "gy * np.sign(np.abs(x))"),
    ],
    "clip": [
        Mistake("mask", "x", "np.where(above & below, gy, 0)", "np.where(above & below, 0, gy)"),
        Mistake("mask", "x", "np.where(above & below, gy, 0)", "np.where(above, gy, 0)"),
        Mistake("mask", "x", "np.where(above & below, gy, 0)", "gy"),
    ],
    "sin": [
        Mistake("wrong-saved", "x", "gy * np.cos(x)", "gy * np.cos(np.sin(x))"),
        Mistake("parameter-missing", "x", "return gy * np.cos(x)", "return gy"),
    ],
    "cos": [
        Mistake("wrong-saved", "x", "-gy * np.sin(x)", "-gy * np.sin(np.cos(x))"),
        Mistake("sign", "x", "-gy * np.sin(x)", "gy * np.sin(x)"),
    ],
    "erf": [
        Mistake("factor", "x", "2 / math.sqrt(math.pi)", "1 / math.sqrt(math.pi)"),
        Mistake("sign", "x", "np.exp(-x * x)", "np.exp(x * x)"),
        Mistake("wrong-saved", "x", "np.exp(-x * x)", "np.exp(-y * y)"),
    ],
    "relu": [
        Mistake("mask", "x", "gy * (x > 0)", "gy * (x < 0)"),
        Mistake(("mask", "wrong-saved"), "x", "gy * (x > 0)", "gy * (gy > 0)"),
        Mistake(("mask", "parameter-missing"), "x", "return gy * (x > 0)", "return gy"),
        Mistake("in-place", "gy", "return gy * (x > 0)", "gy[x <= 0] = 0\n        return gy"),
    ],
    "leaky_relu": [
        Mistake("parameter-missing", "x", "+ negative_slope * gy * (x <= 0)", "+ gy * (x <= 0)"),
        Mistake("path-dropped", "x", "gy * (x > 0) + negative_slope * gy * (x <= 0)", "gy * (x > 0)"),
        Mistake("sign", "x", "+ negative_slope * gy", "- negative_slope * gy"),
        Mistake(
            "mask",
            "x",
            "gy * (x > 0) + negative_slope * gy * (x <= 0)",
            "gy * (x <= 0) + negative_slope * gy * (x > 0)",
        ),
    ],
    "elu": [
        Mistake("parameter-missing", "x", "alpha * gy * np.exp(below)", "gy * np.exp(below)"),
        Mistake("parameter-missing", "x", "alpha * gy * np.exp(below)", "alpha * gy"),
        Mistake("wrong-saved", "x", "gy * np.exp(below)", "gy * np.expm1(below)"),
        Mistake("sign", "x", "+ alpha * gy", "- alpha * gy"),
        Mistake("path-dropped", "x", "gy * (x > 0) + alpha * gy * np.exp(below) * (x <= 0)", "gy * (x > 0)"),
    ],
    "selu": [
        Mistake(("factor", "parameter-missing"), "x", "elu_gx(SELU_SCALE * gy)", "elu_gx(gy)"),
        Mistake("factor", "x", "elu_gx(SELU_SCALE * gy)", "elu_gx(SELU_SCALE * SELU_SCALE * gy)"),
    ],
    "sigmoid": [
        Mistake("wrong-saved", "x", "y * (1 - y)", "x * (1 - x)"),
        Mistake("wrong-saved", "x", "gy * (y * (1 - y))", "gy * (y * (1 - x))"),
        Mistake("sign", "x", "gy * (y * (1 - y))", "gy * (y * (1 + y))"),
        Mistake("parameter-missing", "x", "gy * (y * (1 - y))", "gy * (1 - y)"),
    ],
    "tanh": [
        Mistake("wrong-saved", "x", "1 - y * y", "1 - x * x"),
        Mistake("sign", "x", "1 - y * y", "1 + y * y"),
        Mistake("parameter-missing", "x", "return gy * (1 - y * y)", "return gy"),
    ],
    "silu": [
        Mistake("path-dropped", "x", "gy * (s * (1 + x * (1 - s)))", "gy * s"),
        Mistake("path-dropped", "x", "gy * (s * (1 + x * (1 - s)))", "gy * (x * s * (1 - s))"),
        Mistake("sign", "x", "1 + x * (1 - s)", "1 - x * (1 - s)"),
        Mistake("parameter-missing", "x", "s * (1 + x * (1 - s))", "1 + x * (1 - s)"),
    ],
    "softplus": [
        Mistake("parameter-missing", "x", "1, sigmoid(z))", "1, sigmoid(x))"),
        Mistake(("factor", "parameter-missing"), "x", "1, sigmoid(z))", "1, beta * sigmoid(z))"),
        Mistake("wrong-saved", "x", "1, sigmoid(z))", "1, sigmoid(smooth))"),
    ],
    "gelu": [
        Mistake("path-dropped", "x", "gy * (cdf + x * pdf)", "gy * cdf"),
        Mistake("path-dropped", "x", "gy * (cdf + x * pdf)", "gy * (x * pdf)"),
        Mistake("sign", "x", "cdf + x * pdf", "cdf - x * pdf"),
        Mistake("parameter-missing", "x", "cdf + x * pdf", "cdf + pdf"),
        Mistake("sign", "x", "pdf = (1 - t * t) / 2", "pdf = (1 + t * t) / 2"),
        Mistake("factor", "x", "3 * 0.044715", "0.044715"),
    ],
    "softmax": [
        Mistake(
            ("elementwise-for-jacobian", "missing-sum"),
            "x",
            "y * (gy - (gy * y).sum(dim, keepdims=True))",
            "gy * y * (1 - y)",
            "uva-2018, softmax backward",
        ),
        Mistake("path-dropped", "x", "y * (gy - (gy * y).sum(dim, keepdims=True))", "gy * y"),
        Mistake("sign", "x", "y * (gy - (gy * y)", "y * (gy + (gy * y)"),
        Mistake("mean-for-sum", "x", "(gy * y).sum(dim", "(gy * y).mean(dim"),
        Mistake("parameter-missing", "x", "(gy * y).sum(dim", "gy.sum(dim"),
        Mistake("parameter-missing", "x", "y * (gy - (gy * y)", "(gy - (gy * y)"),
    ],
    "log_softmax": [
        Mistake("path-dropped", "x", "gy - np.exp(y) * gy.sum(dim, keepdims=True)", "gy.copy()"),
        Mistake("sign", "x", "gy - np.exp(y) * gy.sum", "gy + np.exp(y) * gy.sum"),
        Mistake("wrong-saved", "x", "np.exp(y) * gy.sum", "y * gy.sum"),
        Mistake("mean-for-sum", "x", "gy.sum(dim", "gy.mean(dim"),
        Mistake(
            "jacobian-transposed",
            "x",
            "np.exp(y) * gy.sum(dim, keepdims=True)",
            "(np.exp(y) * gy).sum(dim, keepdims=True)",
        ),
    ],
    "dropout": [
        Mistake(("parameter-missing", "factor"), "x", "gy * mask * scale", "gy * mask"),
        Mistake("mask", "x", "gy * mask * scale", "gy * ~mask * scale"),
        Mistake(("mask", "parameter-missing"), "x", "gy * mask * scale", "gy * scale"),
    ],
    "sub": [Mistake("sign", "b", "sum_to(-gy, b.shape)", "sum_to(gy, b.shape)")],
    "mul": [
        Mistake("wrong-saved", "a", "sum_to(gy * b, a.shape)", "sum_to(gy * a, a.shape)"),
        Mistake("wrong-saved", "b", "sum_to(gy * a, b.shape)", "sum_to(gy * b, b.shape)"),
        Mistake("parameter-missing", "a", "sum_to(gy * b, a.shape)", "sum_to(gy, a.shape)"),
    ],
    "div": [
        Mistake("sign", "b", "-gy * y / b", "gy * y / b", "vu-2021, division"),
        Mistake("parameter-missing", "b", "-gy * y / b", "-gy * y"),
        Mistake("parameter-missing", "a", "sum_to(gy / b, a.shape)", "sum_to(gy, a.shape)"),
        Mistake("wrong-saved", "b", "-gy * y / b", "-gy * a / b"),
    ],
    "pow": [
        Mistake("parameter-missing", "a", "gy * b * np.where(", "gy * np.where("),
        Mistake("parameter-missing", "b", "gy * y * np.log(", "gy * np.log("),
        Mistake("parameter-missing", "b", "gy * y * np.log(np.where((a == 0) & (b >= 0), 1, a))", "gy * y"),
        Mistake("wrong-saved", "b", "gy * y * np.log(", "gy * a * np.log("),
    ],
    "maximum": [
        Mistake("mask", "a", "np.where(a > b, gy, 0)", "np.where(a < b, gy, 0)"),
        Mistake(("mask", "parameter-missing"), "b", "np.where(b > a, gy, 0)", "gy"),
    ],
    "minimum": [
        Mistake("mask", "a", "np.where(a < b, gy, 0)", "np.where(a > b, gy, 0)"),
        Mistake(("mask", "parameter-missing"), "b", "np.where(b < a, gy, 0)", "gy"),
    ],
    "where": [
        Mistake("mask", "a", "np.where(condition, gy, 0)", "np.where(condition, 0, gy)"),
        Mistake("mask", "b", "np.where(condition, 0, gy)", "np.where(condition, gy, 0)"),
        Mistake(("mask", "parameter-missing"), "b", "np.where(condition, 0, gy)", "gy"),
    ],
    "cross_entropy": [
        Mistake("sign", "x", "keepdims=True) - wanted)", "keepdims=True) + wanted)"),
        Mistake("path-dropped", "x", "(e / s * wanted.sum(1, keepdims=True) - wanted)", "-wanted"),
        Mistake(
            "path-dropped",
            "x",
            "(e / s * wanted.sum(1, keepdims=True) - wanted)",
            "(e / s * wanted.sum(1, keepdims=True))",
        ),
        Mistake("parameter-missing", "x", "e / s * wanted.sum(1, keepdims=True)", "e / s"),
        Mistake("parameter-missing", "x", "e / s * wanted", "e * wanted"),
        Mistake(
            "batch-mean-missing",
            "x",
            "np.expand_dims(spread(gy), 1) * (e / s",
            "np.expand_dims(np.broadcast_to(gy, losses.shape), 1) * (e / s",
        ),
        Mistake("sign", "target", "(label_smoothing - 1) * w", "(1 - label_smoothing) * w"),
        Mistake("wrong-saved", "target", "* w * logy", "* w * z"),
    ],
    "nll_loss": [
        Mistake("sign", "x", "* -wt", "* wt"),
        Mistake(
            "batch-mean-missing", "x", "np.expand_dims(spread(gy), 1)", "np.expand_dims(np.broadcast_to(gy, labels), 1)"
        ),
        Mistake("batch-mean-twice", "x", "* -wt", "* -wt / len(x)"),
    ],
    "mse_loss": [
        Mistake("factor", "x", "spread(gy) * 2 * d", "spread(gy) * d"),
        Mistake("factor", "x", "spread(gy) * 2 * d", "np.broadcast_to(gy, d.shape) * 2 * d"),
        Mistake("wrong-saved", "x", "spread(gy) * 2 * d", "spread(gy) * 2 * x"),
        Mistake("sign", "target", "* -2 * d", "* 2 * d"),
    ],
    "l1_loss": [
        Mistake("wrong-saved", "x", "spread(gy) * np.sign(d)", "spread(gy) * np.sign(x)"),
        Mistake(("mask", "parameter-missing"), "x", "spread(gy) * np.sign(d)", "spread(gy) * (d > 0)"),
        Mistake("sign", "target", "* -np.sign(d)", "* np.sign(d)"),
    ],
    "huber_loss": [
        Mistake("wrong-saved", "x", "spread(gy) * q", "spread(gy) * d"),
        Mistake("sign", "target", "spread(gy) * -q", "spread(gy) * q"),
        Mistake(("path-dropped", "mask"), "x", "spread(gy) * q", "spread(gy) * np.where(d == q, d, 0)"),
    ],
    "binary_cross_entropy": [
        Mistake("sign", "x", "(w * (x - t) /", "(w * (t - x) /"),
        Mistake("parameter-missing", "x", "(w * (x - t) /", "((x - t) /"),
        Mistake("parameter-missing", "x", "(w * (x - t) / np.maximum(x * (1 - x), 1e-12))", "(w * (x - t))"),
        Mistake("sign", "target", "w * (log_no - log_yes)", "w * (log_yes - log_no)"),
        Mistake("path-dropped", "target", "w * (log_no - log_yes)", "w * -log_yes"),
    ],
    "binary_cross_entropy_with_logits": [
        Mistake("sign", "x", "(1 - t) * y - p * t * not_y", "(1 - t) * y + p * t * not_y"),
        Mistake("path-dropped", "x", "(1 - t) * y - p * t * not_y", "(1 - t) * y"),
        Mistake("parameter-missing", "x", "(1 - t) * y - p * t * not_y", "(1 - t) * y - t * not_y"),
        Mistake("parameter-missing", "target", "p * cost_yes - cost_no)", "cost_yes - cost_no)"),
        Mistake("sign", "target", "p * cost_yes - cost_no)", "p * cost_yes + cost_no)"),
    ],
    "linear": [
        Mistake("mean-for-sum", "bias", ".sum(0)", ".mean(0)", "uva-2018, batches"),
        Mistake("missing-sum", "bias", "weight.shape[0]).sum(0)", "weight.shape[0])"),
        Mistake("upstream-ignored", "x", "gy @ weight", "np.ones_like(gy) @ weight"),
    ],
    "sum": [Mistake("upstream-ignored", "x", "np.broadcast_to(np.reshape(gy, kept), shape)", "np.ones(shape)")],
    "mean": [
        Mistake(("factor", "batch-mean-missing"), "x", "np.reshape(gy, kept) / n", "np.reshape(gy, kept)"),
        Mistake(("factor", "batch-mean-twice"), "x", "np.reshape(gy, kept) / n", "np.reshape(gy, kept) / n / n"),
    ],
    "var": [
        Mistake("factor", "x", "(2 / (n - ddof))", "(1 / (n - ddof))"),
        Mistake("ddof", "x", "(2 / (n - ddof))", "(2 / n)"),
        Mistake("ddof", "x", "(2 / (n - ddof))", "(2 / (n - 1))"),
        Mistake(("wrong-saved", "path-dropped"), "x", "(2 / (n - ddof)) * centred", "(2 / (n - ddof)) * x"),
    ],
    "max": [
        Mistake("mask", "x", "_share(x, np.reshape(y, kept), axis)", "(x < np.reshape(y, kept))"),
        Mistake(("mask", "parameter-missing"), "x", "_share(x, np.reshape(y, kept), axis)", "np.ones_like(x)"),
    ],
    "min": [
        Mistake("mask", "x", "_share(x, np.reshape(y, kept), axis)", "(x > np.reshape(y, kept))"),
        Mistake(("mask", "parameter-missing"), "x", "_share(x, np.reshape(y, kept), axis)", "np.ones_like(x)"),
    ],
    "logsumexp": [
        Mistake("parameter-missing", "x", "(e / total)", "e"),
        Mistake(
            "parameter-missing",
            "x",
            "np.reshape(gy, total.shape) * (e / total)",
            "np.broadcast_to(np.reshape(gy, total.shape), x.shape)",
        ),
        Mistake(("mean-for-sum", "factor"), "x", "(e / total)", "(e / e.mean(axis=dim, keepdims=True))"),
    ],
    "cumsum": [
        Mistake("jacobian-transposed", "x", "np.flip(np.cumsum(np.flip(gy, axis), axis), axis)", "np.cumsum(gy, axis)"),
        Mistake("elementwise-for-jacobian", "x", "np.flip(np.cumsum(np.flip(gy, axis), axis), axis)", "gy"),
        Mistake(
            ("shifted", "path-dropped"),
            "x",
            "np.cumsum(np.flip(gy, axis), axis), axis)",
            "np.cumsum(np.flip(gy, axis), axis), axis) - gy",
        ),
    ],
    "reshape": [Mistake("permuted", "x", "np.reshape(gy, before)", 'np.reshape(gy, before, order="F")')],
    "transpose": [Mistake("permuted", "x", "np.transpose(gy, inverse)", "np.reshape(gy, x.shape)")],
    "getitem": [
        Mistake(
            "overwrite",
            "x",
            "return scatter(gy, index=index, shape=shape)",
            "g = np.zeros(shape)\n        g[index] = gy\n        return g",
        ),
        Mistake("shifted", "x", "scatter(gy, index=index,", "scatter(gy, index=index - 1,"),
    ],
    "scatter": [Mistake("shifted", "x", "sum_to(gy[index], before)", "sum_to(gy[index + 1], before)")],
    "pad": [
        Mistake("shifted", "x", "gy[inside]", "gy[tuple(slice(s.start - 1, s.stop - 1) for s in inside)]"),
        Mistake("shifted", "x", "gy[inside]", "gy[tuple(slice(s.start + 1, s.stop + 1) for s in inside)]"),
    ],
    "stack": [Mistake(("shifted", "order-swapped"), "xs[0]", "gy[(*before, k)]", "gy[(*before, k - 1)]")],
    "windows": [
        Mistake(
            "overwrite",
            "x",
            WINDOWS_GX,
            _stamped("grid(size, kernel_size, stride, padding, dilation)", "padded[g.seen(at)] = gy[(..., *at)]"),
        ),
        Mistake("shifted", "x", WINDOWS_GX, WINDOWS_GX.replace("padding=padding", "padding=[(0, 2 * padding)]")),
        Mistake("permuted", "x", "return overlap_add(gy, size", "return overlap_add(gy[..., ::-1], size"),
    ],
    "overlap_add": [
        Mistake(
            "shifted",
            "x",
            "padding=padding, dilation=dilation)\n\n    return",
            "padding=[(0, 2 * padding)], dilation=dilation)\n\n    return",
        ),
        Mistake("shifted", "x", "return windows(gy, kernel", "return windows(np.roll(gy, 1, axis=2), kernel"),
    ],
    "conv1d": [
        *CONVOLUTION,
        Mistake(EXCHANGED, "weight", GWEIGHT, f"{GWEIGHT}[..., ::-1]"),
        Mistake("shifted", "x", "size=size, **where)", 'size=size, **where | {"padding": [(0, 2 * padding)]})'),
    ],
    "conv2d": [
        *CONVOLUTION,
        Mistake("permuted", "weight", GWEIGHT, f"{GWEIGHT}[..., ::-1, ::-1]"),
        Mistake(
            "shifted", "x", "size=size, **where)", 'size=size, **where | {"padding": [(0, 2 * p) for p in padding]})'
        ),
    ],
    "conv_transpose2d": [
        *BIAS_OF_CHANNELS,
        Mistake(
            "shifted",
            "x",
            "windows(gy, kernel_size=kernel, **where)",
            'windows(gy, kernel_size=kernel, **where | {"padding": [(0, 2 * p) for p in padding]})',
        ),
        Mistake(
            "permuted",
            "x",
            "windows(gy, kernel_size=kernel, **where)",
            "windows(gy, kernel_size=kernel, **where)[..., ::-1, ::-1]",
        ),
        Mistake(EXCHANGED, "x", "gcolumns(gy) @ _transposed(matrices)", "gcolumns(gy)[::-1] @ _transposed(matrices)"),
        Mistake(EXCHANGED, "weight", "_transposed(rows) @ gcolumns(gy)", "_transposed(rows)[::-1] @ gcolumns(gy)"),
        Mistake(
            ("permuted", "transposed"),
            "weight",
            "_unmatrices(_transposed(rows) @ gcolumns(gy)",
            "np.reshape(_transposed(rows) @ gcolumns(gy)",
        ),
        Mistake(
            ("permuted", "transposed"),
            "weight",
            "_transposed(rows) @ gcolumns(gy)",
            "np.reshape(_transposed(gcolumns(gy)) @ rows, matrices.shape)",
        ),
        Mistake(
            ("mean-for-sum", "factor"),
            "weight",
            "_transposed(rows) @ gcolumns(gy)",
            "_transposed(rows) @ gcolumns(gy) / rows.shape[1]",
        ),
    ],
    "max_pool2d": [
        Mistake("mask", "x", "(winner == numbers[..", "(winner != numbers[.."),
        Mistake(
            ("mask", "parameter-missing"),
            "x",
            "gy * (winner == numbers[..., None, None, None, None])",
            "gy * np.ones((*kernel, 1, 1, 1, 1))",
        ),
        Mistake(
            "mask",
            "x",
            "(winner == numbers[..., None, None, None, None])",
            "np.full((*kernel, 1, 1, 1, 1), 1 / numbers.size)",
        ),
        Mistake(("shifted", "mask"), "x", "(winner == numbers[..", "(winner == 1 + numbers[.."),
        Mistake(
            ("permuted", "mask"),
            "x",
            "np.transpose(shares, (2, 3, 4, 5, 0, 1))",
            "np.transpose(shares, (2, 3, 4, 5, 0, 1))[..., ::-1, ::-1]",
        ),
        Mistake(
            ("overwrite", "path-dropped"),
            "x",
            "return overlap_add(np.transpose(shares, (2, 3, 4, 5, 0, 1)), size=size, **placement)",
            _stamped(
                "grid(size, kernel, **placement)",
                "padded[g.seen(at)][winner == numbers[at]] = gy[winner == numbers[at]]",
            ),
        ),
    ],
    "avg_pool2d": [
        Mistake(("factor", "parameter-missing"), "x", "np.expand_dims(gy / count,", "np.expand_dims(gy,"),
        Mistake(("factor", "wrong-saved"), "x", "np.expand_dims(gy / count,", "np.expand_dims(gy / math.prod(kernel),"),
        Mistake(
            ("overwrite", "path-dropped"),
            "x",
            "return overlap_add(np.broadcast_to(share, (*gy.shape, *kernel)), size=size, **placement)",
            _stamped("grid(size, kernel, **placement)", "padded[g.seen(at)] = gy / count"),
        ),
    ],
    "adaptive_avg_pool2d": [
        Mistake(("factor", "parameter-missing"), "x", "A.T @ gy @ B", "(A.T > 0) @ gy @ (B > 0)"),
        Mistake(("factor", "parameter-missing"), "x", "A.T @ gy @ B", "(A.T > 0) @ gy @ B"),
        Mistake("permuted", "x", "A.T @ gy @ B", "A.T @ gy @ B[::-1]"),
    ],
    "batch_norm": [
        *STANDARDISED,
        Mistake("parameter-missing", "x", "return g * rstd", "return g"),
        Mistake("eps", "x", "return g * rstd", "return g / (var**0.5 + eps)"),
    ],
    "layer_norm": [
        *STANDARDISED,
        SCALED_LAST,
        Mistake("missing-sum", "x", "terms -= _sum(axes, g) / count", "terms -= _sum((0,), g) / count"),
        Mistake("missing-sum", "x", "terms = xhat * (_sum(axes, g, xhat)", "terms = xhat * (_sum((0,), g, xhat)"),
    ],
    "group_norm": [*STANDARDISED, SCALED_LAST],
    "instance_norm": STANDARDISED,
    "rms_norm": [
        *AFFINE,
        SCALED_LAST,
        Mistake("path-dropped", "x", "rrms * (g - xhat * (_sum(axes, g, xhat) / count))", "rrms * g"),
        Mistake("sign", "x", "(g - xhat * (_sum", "(g + xhat * (_sum"),
        Mistake("parameter-missing", "x", "rrms * (g - xhat", "(g - xhat"),
        Mistake("factor", "x", "(_sum(axes, g, xhat) / count)", "_sum(axes, g, xhat)"),
        Mistake(
            ("elementwise-for-jacobian", "missing-sum"), "x", "(_sum(axes, g, xhat) / count)", "(g * xhat / count)"
        ),
    ],
    "embedding": [
        Mistake(
            ("overwrite", "path-dropped"),
            "weight",
            "return scatter(gy, index=input, shape=weight.shape)",
            "g = np.zeros(weight.shape)\n        g[input] = gy\n        return g",
        ),
        Mistake(
            ("overwrite", "path-dropped"),
            "weight",
            "return scatter(gy, index=input, shape=weight.shape)",
            "g = np.zeros(weight.shape)\n        g[input] += gy\n        return g",
        ),
        Mistake("shifted", "weight", "index=input,", "index=input - 1,"),
        Mistake("permuted", "weight", "index=input,", "index=np.sort(input),"),
        Mistake(
            "mean-for-sum",
            "weight",
            "scatter(gy, index=input, shape=weight.shape)",
            "scatter(gy / np.bincount(input.ravel())[input][..., None], index=input, shape=weight.shape)",
        ),
    ],
    "rnn_cell": [
        Mistake("wrong-saved", "x", "slope = 1 - y * y", "slope = 1 - a * a"),
        Mistake("sign", "h", "slope = 1 - y * y", "slope = 1 + y * y"),
        Mistake("mask", "h", "slope = a > 0", "slope = a < 0"),
        Mistake(("mask", "parameter-missing"), "x", "slope = a > 0", "slope = np.ones_like(a)"),
        Mistake(("parameter-missing", "wrong-saved"), "h", "(gy * slope) @ weight_hh", "gy @ weight_hh"),
        Mistake("jacobian-transposed", "h", "(gy * slope) @ weight_hh", "(gy * slope) @ weight_hh.T"),
        Mistake("transposed", "weight_ih", "(gy * slope).T @ x", "x.T @ (gy * slope)"),
        Mistake("transposed", "weight_hh", "(gy * slope).T @ h", "h.T @ (gy * slope)"),
        Mistake("wrong-saved", "weight_hh", "(gy * slope).T @ h", "(gy * slope).T @ y"),
        Mistake(
            "missing-sum",
            "bias_hh",
            "gbias_hh(gy):\n        return (gy * slope).sum(0)",
            "gbias_hh(gy):\n        return gy * slope",
        ),
        Mistake(
            ("mean-for-sum", "batch-mean-twice"),
            "bias_ih",
            "gbias_ih(gy):\n        return (gy * slope).sum(0)",
            "gbias_ih(gy):\n        return (gy * slope).mean(0)",
        ),
    ],
    "lstm_cell": [
        Mistake(("parameter-missing", "wrong-saved"), "weight_ih", "s * c * f * (1 - f)", "s * c * f"),
        Mistake(("parameter-missing", "wrong-saved"), "x", "s * i * (1 - g * g)", "s * i"),
        Mistake("parameter-missing", "h", "gy[0] * t * o * (1 - o)", "gy[0] * o * (1 - o)"),
        Mistake("path-dropped", "c", "gy[1] + gy[0] * o * (1 - t * t)", "gy[0] * o * (1 - t * t)"),
        Mistake("path-dropped", "c", "gy[1] + gy[0] * o * (1 - t * t)", "gy[1]"),
        Mistake("wrong-saved", "c", "(1 - t * t)", "(1 - new_c * new_c)"),
        Mistake("sign", "c", "(1 - t * t)", "(1 + t * t)"),
        Mistake("parameter-missing", "c", "gcell(gy) * f", "gcell(gy)"),
        Mistake("wrong-saved", "c", "gcell(gy) * f", "gcell(gy) * i"),
        Mistake("wrong-saved", "bias_ih", "gy[0] * t * o * (1 - o)", "s * t * o * (1 - o)"),
        Mistake("wrong-saved", "weight_hh", "s * g * i * (1 - i)", "s * i * i * (1 - i)"),
        Mistake(
            "permuted", "x", "s * c * f * (1 - f), s * i * (1 - g * g)", "s * i * (1 - g * g), s * c * f * (1 - f)"
        ),
    ],
    "gru_cell": [
        Mistake("parameter-missing", "h", "np.concatenate([gr, gz, gn * r]", "np.concatenate([gr, gz, gn]"),
        Mistake("wrong-saved", "x", "gn * hidden_n * r * (1 - r)", "gn * h * r * (1 - r)"),
        Mistake(("wrong-saved", "parameter-missing"), "weight_hh", "gb(gy).T @ h", "ga(gy).T @ h"),
        Mistake("parameter-missing", "bias_ih", "gn * hidden_n * r * (1 - r)", "gn * r * (1 - r)"),
        Mistake(("parameter-missing", "wrong-saved"), "bias_hh", "gy * (1 - z) * (1 - n * n)", "gy * (1 - z)"),
        Mistake("wrong-saved", "x", "gy * (1 - z) * (1 - n * n)", "gy * z * (1 - n * n)"),
        Mistake("sign", "x", "gy * (h - n)", "gy * (n - h)"),
        Mistake("path-dropped", "weight_ih", "gy * (h - n)", "gy * h"),
        Mistake("path-dropped", "h", "gb(gy) @ weight_hh + gy * z", "gb(gy) @ weight_hh"),
        Mistake("path-dropped", "h", "gb(gy) @ weight_hh + gy * z", "gy * z"),
    ],
    "scaled_dot_product_attention": [
        Mistake(("parameter-missing", "factor"), "query", "gscores(gy) @ key * c", "gscores(gy) @ key"),
        Mistake(("parameter-missing", "factor"), "key", "@ query * c", "@ query"),
        Mistake(
            ("elementwise-for-jacobian", "missing-sum"),
            "query",
            "p * (gy @ np.swapaxes(value, -1, -2) - (gy * y).sum(-1, keepdims=True))",
            "p * (1 - p) * (gy @ np.swapaxes(value, -1, -2))",
        ),
        Mistake("path-dropped", "key", " - (gy * y).sum(-1, keepdims=True))", ")"),
        Mistake("sign", "query", " - (gy * y).sum(-1", " + (gy * y).sum(-1"),
        Mistake("mean-for-sum", "query", "(gy * y).sum(-1", "(gy * y).mean(-1"),
        Mistake("parameter-missing", "key", "return p * (gy @", "return (gy @"),
        Mistake(
            "transposed",
            "key",
            "sum_to(np.swapaxes(gscores(gy), -1, -2) @ query * c, key.shape)",
            "np.swapaxes(sum_to(np.swapaxes(gscores(gy), -1, -2) @ query * c, key.shape), -1, -2)",
        ),
        Mistake("wrong-saved", "value", "np.swapaxes(p, -1, -2) @ gy", "np.swapaxes(scores, -1, -2) @ gy"),
        Mistake(
            ("factor", "batch-mean-twice"),
            "attn_mask",
            "sum_to(gscores(gy), attn_mask",
            "sum_to(gscores(gy) * c, attn_mask",
        ),
    ],
}


def main(names: list[str]) -> int:
    """List what the edits of the named ops, or of all, amount to; returns the number of those in OWN without effect."""
    per_cause, useless = Counter[str](), 0
    for op in OPS.values():
        if names and op.name not in names:
            continue
        planted = [mistake for _, mistake in op_mistakes(op)]
        per_cause.update(mistake.causes[0] for mistake in planted)
        for mistake in OWN.get(op.name, ()):
            if mistake not in planted:
                useless += 1
                print(f"{op.name}: {mistake.new!r} changes nothing, or raises")  # noqa: T201
    for cause, number in per_cause.most_common():
        print(f"{number:5d} {cause}")  # noqa: T201
    print(f"{len(OPS)} ops, {per_cause.total()} mistakes, {useless} edits without effect")  # noqa: T201
    return useless


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
