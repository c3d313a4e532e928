"""The proof of a derivation: at random sizes and points, its results are compared with everything else that is known.

Every gradient is computed twice, from its index notation and from the code that its matrix notation becomes. Both must
equal the op's own rule, or for a user's lines the engine's gradient, and numeric truth along random directions.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.check.truth import numeric_gradient
from chainrule.derive.calculus import Gradient
from chainrule.derive.code import Source
from chainrule.derive.definitions import Definition, as_labels
from chainrule.derive.evaluate import BAR, evaluate
from chainrule.derive.indices import ONE, Index, Num, Partial, Symbol, has
from chainrule.derive.language import Program
from chainrule.engine import OPS, grad
from chainrule.errors import UserError

POINTS = 4
MOST = 5000  # lines are compared where they have at most this many entries
LINES = "every line with the one before it"
TOLERANCE = 1e-9  # relative, between results that are exact but for rounding
SIZES = ((3, 4, 2, 5, 6, 7, 8), (4, 3, 5, 2, 7, 6, 9))  # distinct, so that no transpose can hide


@dataclass(frozen=True)
class Verified:
    """What was compared: at how many points, with what, and how far apart the results were at most.

    Attributes:
        points: random inputs, each of other sizes than the one before.
        error: the largest difference, relative to the largest entry.
        witnesses: with what the gradients were compared.
    """

    points: int
    error: float
    witnesses: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line for people."""
        return f"verified: {self.points} points, largest relative error {self.error:.1e}"


class Prover:
    """Compares the gradients of a program with the truth about it."""

    def __init__(
        self,
        program: Program,
        gradients: Sequence[Gradient],
        source: Source | None,
        op: str | None,
        definition: Definition | None,
    ):
        self.program, self.gradients, self.source = program, gradients, source
        self.op, self.definition = op, definition
        self.error = 0.0
        self.witnesses: dict[str, None] = {}
        self.functions = _compiled(source) if source else {}

    def verified(self, seed: int = 0) -> Verified:
        """The result of all comparisons.

        Raises:
            UserError: one of them failed.
        """
        for point in range(POINTS):
            rng = np.random.default_rng([seed, point])
            with np.errstate(all="ignore"):
                self._at(self._point(rng, SIZES[point % len(SIZES)]), rng)
        return Verified(POINTS, self.error, tuple(self.witnesses))

    # ------------------------------------------------------------------------------------------------------- inputs

    def _point(self, rng: np.random.Generator, sizes: Sequence[int]) -> dict[Any, Any]:
        """Random inputs, and the sizes and hyper-parameters."""
        numbers: dict[str, Any] = dict(self.program.symbols)
        free, small = iter(sizes), iter((2, 3))
        outputs = self.definition.sizes if self.definition else {}
        kernel = self.definition.kernel if self.definition else ()
        shapes = [*self.program.shapes.values(), *(s.shape for s in self.program.statements)]
        for name in dict.fromkeys(size.name for shape in shapes for size in shape if isinstance(size, Symbol)):
            if name not in numbers and name not in outputs:
                numbers[name] = next(small) if name in kernel else next(free, 3)
        for name, text in outputs.items():
            numbers[name] = arithmetic(text, numbers)
        values: dict[Any, Any] = {Symbol(name): number for name, number in numbers.items()}
        for draw in (_normal, _fraction):
            for name, shape in self.program.shapes.items():
                values[name] = self._drawn(name, [_size(size, values) for size in shape], rng, draw)
            if all(np.all(np.isfinite(x)) for x in self.forward(values).values()):
                break
        return values

    def _drawn(self, name: str, shape: Sequence[int], rng: np.random.Generator, draw: Callable) -> np.ndarray:
        if name in self.program.one_hot:
            rows = np.zeros(shape)
            np.put_along_axis(rows, rng.integers(0, shape[-1], (*shape[:-1], 1)), 1, -1)
            return rows
        if self.definition and name in self.definition.flags:
            return (rng.random(shape) < 0.6) * 1.0
        if self.op and self.definition:
            domain = OPS[self.op].domain.get(self.definition.names.get(name, name))
            if domain is not None and name not in self.program.constants:
                return np.asarray(domain(rng, tuple(shape), {}), float)
        return draw(rng, shape)

    # ---------------------------------------------------------------------------------------------------- comparing

    def forward(self, values: Mapping[Any, Any]) -> dict[Any, np.ndarray]:
        """Every line's array, without the axes of size 1, from its index notation."""
        found = {name: _without_ones(values[name], shape) for name, shape in self.program.shapes.items()}
        known = {**values, **found}
        for s in self.program.statements:
            known[s.name] = found[s.name] = evaluate(s.body, known, s.at)
        return found

    def _at(self, values: dict[Any, Any], rng: np.random.Generator) -> None:
        forward = self.forward(values)
        output = self.program.output
        gy = rng.standard_normal([_size(size, values) for size in output.shape])
        if not output.at:
            gy = np.ones(gy.shape)
        known = {**values, **forward, BAR + output.name: _without_ones(gy, output.shape)}
        for g in self.gradients:
            known[BAR + g.name] = evaluate(g.value, known, g.entry.at)  # type: ignore[arg-type]
        self._compare_lines(known)
        mine = {g.name: np.reshape(known[BAR + g.name], [_size(s, values) for s in g.shape]) for g in self.gradients}
        if self.source:
            self._compare_code(values, forward, gy, mine)
        if self.op:
            self._compare_rule(values, forward, gy, mine)
        self._compare_numbers(values, gy, mine, rng)

    def _compare(self, name: str, found: Any, expected: Any, witness: str, tolerance: float = TOLERANCE) -> None:
        found, expected = np.asarray(found, float), np.asarray(expected, float)
        if found.shape != expected.shape:
            raise UserError(
                f"not verified: {name} has shape {found.shape}, by {witness} {expected.shape}; please report it"
            )
        scale = max(np.abs(expected).max(initial=0), 1e-3)
        error = float(np.abs(found - expected).max(initial=0) / scale)
        if not error <= tolerance:
            raise UserError(f"not verified: {name} is {error:.1e} (relative) away from {witness}; please report it")
        self.error = max(self.error, error)
        self.witnesses[witness] = None

    def _compare_lines(self, known: Mapping[Any, Any]) -> None:
        """Every line of every step is equal to the line before it."""
        for g in self.gradients:
            for chain in (*g.jacobians, g.chain):
                sides = (chain.left.of, chain.left.by) if isinstance(chain.left, Partial) else (chain.left,)
                free = [k for side in sides for k in side.at if isinstance(k, Index)]  # type: ignore[union-attr]
                if math.prod(int(evaluate(k.size, known)) for k in free) > MOST:
                    continue
                before = None
                for line in chain.lines:
                    if not has(line.right, Partial):
                        value = evaluate(line.right, known, free)
                        if before is not None:
                            self._compare(f"a line of the gradient of {g.name} ({line.why})", value, before, LINES)
                        before = value

    def _compare_code(
        self, values: Mapping[Any, Any], forward: Mapping[Any, Any], gy: np.ndarray, mine: Mapping[Any, Any]
    ) -> None:
        inputs = [values[name] for name in self.program.shapes]
        settings = {name: values[Symbol(name)] for name in self.program.symbols}
        y, cache = self.functions["forward"](*inputs, **settings)
        gradients = self.functions["backward"](gy, cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        output = self.program.output
        self._compare(output.name, _without_ones(y, output.shape), forward[output.name], "the emitted code")
        for name, g in zip(self.program.shapes, gradients, strict=True):
            if name in mine:
                self._compare(f"the gradient of {name}", g, mine[name], "the emitted code")
        if not self.op:
            self._compare_engine(inputs, settings, gy, mine)

    def _compare_engine(
        self, inputs: Sequence[Any], settings: Mapping[Any, Any], gy: np.ndarray, mine: Mapping[Any, Any]
    ) -> None:
        """The emitted forward recorded by the engine, where every function in it has an op."""
        for place, name in enumerate(self.program.shapes):
            if name not in mine:
                continue

            def along(x: Any, place: int = place) -> Any:
                given = [x if k == place else other for k, other in enumerate(inputs)]
                return (self.functions["forward"](*given, **settings)[0] * gy).sum()

            try:
                truth = grad(along)(inputs[place])
            except (TypeError, AttributeError, ValueError):
                return
            self._compare(f"the gradient of {name}", mine[name], truth, "the engine's gradient")

    def _compare_rule(
        self, values: Mapping[Any, Any], forward: Mapping[Any, Any], gy: np.ndarray, mine: Mapping[Any, Any]
    ) -> None:
        assert self.op
        assert self.definition
        op, definition = OPS[self.op], self.definition
        given = {}
        for name in self.program.shapes:
            x = values[name]
            x = as_labels(x) if name in definition.labels else x.astype(bool) if name in definition.flags else x
            given[definition.names.get(name, name)] = x
        arrays = [given.get(name) for name in op.inputs]
        while arrays and arrays[-1] is None:
            arrays.pop()
        numbers = {key.name: x for key, x in values.items() if isinstance(key, Symbol)}
        y, pullbacks = op.rule(*arrays, **definition.call(numbers))
        output = self.program.output
        self._compare(output.name, forward[output.name], y, f"the rule of {self.op}")
        for g in self.gradients:
            own = definition.names.get(g.name, g.name)
            if g.name in self.program.shapes and own in op.inputs and pullbacks[op.inputs.index(own)] is not None:
                truth = pullbacks[op.inputs.index(own)](gy)
                self._compare(f"the gradient of {g.name}", mine[g.name], truth, f"the rule of {self.op}")

    def _compare_numbers(
        self, values: Mapping[Any, Any], gy: np.ndarray, mine: Mapping[Any, Any], rng: np.random.Generator
    ) -> None:
        """The slope along a random direction of every input, by the complex step or by differences."""
        weights = _without_ones(gy, self.program.output.shape)
        for g in self.gradients:
            if g.name not in self.program.shapes:
                continue
            direction = rng.standard_normal(values[g.name].shape)

            def along(t: np.ndarray, name: str = g.name, v: np.ndarray = direction) -> Any:
                moved = {**values, name: values[name] + t[0] * v}
                return np.sum(self.forward(moved)[self.program.output.name] * weights)

            truth = numeric_gradient(along, np.zeros(1))
            slope = float((mine[g.name] * direction).sum())
            allowed = (10 * float(truth.error[0]) + 1e-9) / max(abs(float(truth.value[0])), 1e-3)
            self._compare(
                f"the slope along {g.name}", slope, float(truth.value[0]), "numeric truth", max(allowed, 1e-7)
            )


def _compiled(source: Source) -> dict[str, Callable]:
    """The functions of the code that was written here."""
    scope: dict[str, Any] = {}
    exec(compile(source.numpy(), f"<derivation of {source.name}>", "exec"), scope)
    return {which: scope[f"{source.name}_{which}"] for which in ("forward", "backward")}


def _size(size: Any, values: Mapping[Any, Any]) -> int:
    return int(size.value) if isinstance(size, Num) else int(values[size])


def _without_ones(x: Any, shape: Sequence[Any]) -> Any:
    axes = tuple(k for k, size in enumerate(shape) if size == ONE)
    return np.squeeze(x, axes) if axes else x


def _normal(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return rng.standard_normal(shape)


def _fraction(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return rng.uniform(0.1, 0.9, shape)


WHOLE = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}


def arithmetic(text: str, values: Mapping[Any, Any]) -> int:
    """A formula of whole numbers.

    >>> arithmetic("(h + 2 * a - k) // s + 1", {"h": 5, "a": 1, "k": 3, "s": 2})
    3
    """

    def of(node: ast.expr) -> int:
        match node:
            case ast.Constant(int(value)):
                return value
            case ast.Name(name):
                return int(values[name])
            case ast.BinOp(left, op, right):
                return WHOLE[type(op)](of(left), of(right))
        raise TypeError(ast.unparse(node))

    return of(ast.parse(text, mode="eval").body)
