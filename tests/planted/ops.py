"""chainrule's own ops as rules, and the mistakes planted in them.

A copy of the source of an op's rule, edited in one place, is written to a file and run among the names of the op's
module. Some edits fit every pullback (`GENERAL`), others are of one op (`OWN`). Each is checked on the first of the
op's samples on which it really changes what the unedited rule gives.

    cd tests && python -m planted.ops [NAME ...]

prints the edits that change nothing, and the number of mistakes per cause.
"""

import ast
import functools
import inspect
import itertools
import sys
import tempfile
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
ELEMENTWISE = "... -> ..."


@dataclass(frozen=True, eq=False)
class OpRule:
    """An op on one of its samples; to be checked as `planted.Rule` is."""

    op: Op
    sample: Sample
    shapes = None  # inputs are drawn by `inputs`

    @property
    def name(self) -> str:
        """The op's name, with the sample's number."""
        return f"{self.op.name}[{self.op.samples.index(self.sample)}]"

    def inputs(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Inputs in the op's order."""
        return tuple(draw(self.op, self.sample, rng))

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
    for mistake in _edits(op):
        rule = next((rule for rule in (OpRule(op, s) for s in op.samples) if changes(rule, mistake)), None)
        if rule is not None:
            yield rule, mistake


def source(op: Op, mistake: Mistake | None = None) -> str:
    """The rule's source without its decorator, with the mistake in it if one is given."""
    lines = textwrap.dedent(inspect.getsource(op.rule))
    text = lines[lines.index(f"def {op.name}(") :]
    if mistake is None:
        return text
    if (count := text.count(mistake.old)) != 1:
        raise ValueError(f"{op.name} has {mistake.old!r} {count} times, a mistake needs it exactly once")
    return text.replace(mistake.old, mistake.new)


def load(rule: OpRule, mistake: Mistake | None = None, *, folder: Path | str) -> Any:
    """The function to check, from a real file under `folder`, with the sample's hyper-parameters as defaults."""
    path = Path(folder) / f"planted_{rule.op.name}_{next(_count)}.py"
    path.write_text(source(rule.op, mistake), encoding="utf-8")
    function = _made(rule.op, path.read_text(encoding="utf-8"), str(path))
    function.__kwdefaults__ = rule.op.params | rule.sample.params
    return function


def _made(op: Op, text: str, file: str) -> Any:
    """The function that this source defines, among the names of the op's module (where the op itself keeps its name)."""
    names, made = {**op.rule.__globals__, "__name__": f"planted_{op.name}"}, {}
    exec(compile(text, file, "exec"), names, made)
    return made[op.name]


# ------------------------------------------------------------------------------------------------------------- edits


class Pullback(NamedTuple):
    """A function of gy inside a rule: its source, the expression that it returns, and whose gradient this is."""

    text: str
    returned: str
    gradient: str
    is_lambda: bool

    def edited(self, new: str) -> str:
        """Its source, returning `new`."""
        start = self.text.rindex(self.returned)
        return self.text[:start] + new + self.text[start + len(self.returned) :]


# fmt: off
GENERAL = [  # {g} is the expression that the pullback returns
    ("sign", "-({g})"),
    ("factor", "2 * ({g})"),
    ("factor", "({g}) / 2"),
    ("missing", "None"),
    ("missing", "np.zeros_like({g})"),
    ("nondeterministic", "({g}) + 1e-3 * np.random.default_rng().standard_normal(np.shape({g}))"),
    ("dtype", "({g}).astype(np.float32)"),
    ("dtype", "({g}).astype(np.float16)"),
]
GENERAL_MATRIX = [  # where the gradient has two axes of different sizes
    ("transposed", "({g}).T"),
    ("permuted", "({g})[..., ::-1]"),
    ("permuted", "({g})[::-1]"),
    ("shifted", "np.roll({g}, 1, axis=-1)"),
]
# fmt: on


def _edits(op: Op) -> Iterator[Mistake]:
    """Edits of the rule; some of them may change nothing."""
    for pullback in _pullbacks(op):
        yield from _general(op, pullback)
    yield from _swapped(op)
    for cause, gradient, old, new in OWN.get(op.name, ()):
        yield Mistake(cause, gradient, old, new, OWN_COURSEWORK.get((op.name, new), ""))


def _pullbacks(op: Op) -> Iterator[Pullback]:
    text = source(op)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.Lambda) and [a.arg for a in node.args.args] == ["gy"]:
            is_lambda = isinstance(node, ast.Lambda)
            returned = node.body if isinstance(node, ast.Lambda) else node.body[-1].value
            name = op.inputs[0] + "[0]" if op.variadic else node.name[1:]
            yield Pullback(
                ast.get_source_segment(text, node), ast.get_source_segment(text, returned), name, is_lambda
            )


def _general(op: Op, pullback: Pullback) -> Iterator[Mistake]:
    """The mistakes that anyone may make in any pullback."""
    g, name = pullback.returned, pullback.gradient

    def mistake(cause: str, new: str) -> Mistake:
        return Mistake(cause, name, pullback.text, new)

    kinds = GENERAL + GENERAL_MATRIX * _is_matrix(op, name)
    yield from (mistake(cause, pullback.edited(new.format(g=g))) for cause, new in kinds)
    head, gap, body = pullback.text.partition(":")
    yield mistake("upstream-ignored", head + gap + _replaced(body, "gy", "np.ones_like(gy)"))
    yield mistake("upstream-twice", head + gap + _replaced(body, "gy", "(gy * gy)"))
    if _keeps_the_batch(op, name):
        yield mistake("batch-mean-twice", pullback.edited(f"({g}) / len(gy)"))
    if op.signature.text == ELEMENTWISE:
        yield mistake("mask", pullback.edited(f"({g}) * (x > 0)"))
    if g.startswith("sum_to("):
        summed = ast.get_source_segment(g, ast.parse(g).body[0].value.args[0])
        yield mistake("missing-sum", pullback.edited(summed))
        yield mistake("mean-for-sum", pullback.edited(f"({summed}).mean(0)"))
    if not pullback.is_lambda:
        indent = " " * 8
        in_place = pullback.edited(g).replace(f"return {g}", f"g = np.array({g})\n{indent}gy *= 2\n{indent}return g")
        yield Mistake("in-place", "gy", pullback.text, in_place)


def _replaced(text: str, name: str, new: str) -> str:
    """Python source with another expression for a name."""
    tree = ast.parse(textwrap.dedent(text).strip())
    lines = textwrap.dedent(text).strip().encode().splitlines()
    raise NotImplementedError


def _swapped(op: Op) -> Iterator[Mistake]:
    """The pullbacks returned in the wrong order."""
    raise NotImplementedError


OWN: dict[str, list] = {}
OWN_COURSEWORK: dict = {}
