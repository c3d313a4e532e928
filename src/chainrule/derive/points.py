"""A program's numbers at random points: values, derivatives and gradients, by the complex step or by differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.check.points import looks_like_target
from chainrule.check.truth import COMPLEX_STEP
from chainrule.derive.definitions import Definition
from chainrule.derive.evaluate import evaluate
from chainrule.derive.indices import Expr, Num, Symbol
from chainrule.derive.language import Program, Statement
from chainrule.derive.proof import arithmetic
from chainrule.errors import UsageError

SIZES = ((3, 4, 2, 5, 6, 7), (2, 5, 4, 3, 7, 6))
EPSILON = 0.3  # large enough that a formula without it shows
STEP = 1e-3

Values = dict[str, np.ndarray]


def differences(of: Callable[[float], np.ndarray]) -> np.ndarray:
    """The derivative at 0 by central differences, extrapolated twice."""
    rough, fine, finest = ((of(h) - of(-h)) / (2 * h) for h in (STEP, STEP / 2, STEP / 4))
    better, best = (4 * fine - rough) / 3, (4 * finest - fine) / 3
    return (16 * best - better) / 15


@dataclass
class Point:
    """Numbers for everything in a program.

    Attributes:
        program: whose they are.
        sizes: numbers for the letters of shapes, and for hyper-parameters.
        inputs: numbers for its inputs.
        upstream: the gradient of the loss with respect to the output; 1 where that is a single number.
        free: numbers that only formulas speak of, such as a learning rate.
        defined: what lines of a derivation have defined: from a point to an array.
        settled: gradients and derivatives that are taken as given, right or not.
    """

    program: Program
    sizes: dict[str, Any]
    inputs: Values
    upstream: np.ndarray
    free: dict[str, float] = field(default_factory=dict)
    defined: dict[str, Callable[[Point], np.ndarray]] = field(default_factory=dict)
    settled: dict[Any, np.ndarray] = field(default_factory=dict)
    differences: bool = False  # has the program a function that the complex step does not see?
    _values: Values | None = None
    _found: dict[Any, np.ndarray] = field(default_factory=dict)

    @property
    def values(self) -> Values:
        """Inputs, and everything that is computed from them."""
        if self._values is None:
            self._values = self.run(self.inputs)
        return self._values

    def run(self, given: Mapping[str, np.ndarray]) -> Values:
        """All values where some are given."""
        values: Values = {**self.inputs, **given}
        for statement in self.program.statements:
            if statement.name not in given:
                values[statement.name] = self._of(statement, values)
        return values

    def _of(self, statement: Statement, values: Values) -> np.ndarray:
        with np.errstate(all="ignore"):
            known: dict[Any, Any] = {Symbol(letter): size for letter, size in self.sizes.items()}
            known |= {name: self._without_ones(name, array) for name, array in values.items()}
            found = evaluate(statement.body, known, statement.at)
        return found.reshape([self.size(size) for size in statement.shape])

    def _without_ones(self, name: str, array: np.ndarray) -> np.ndarray:
        return array.reshape([n for n, size in zip(array.shape, self.shape(name), strict=True) if size != Num(1)])  # type: ignore[arg-type]

    def shape(self, name: str) -> tuple[Expr, ...]:
        """The sizes of an array of the program."""
        if name in self.program.shapes:
            return self.program.shapes[name]
        return next(s.shape for s in self.program.statements if s.name == name)

    def size(self, size: Expr) -> int:
        """A size as a number."""
        return int(evaluate(size, {Symbol(letter): n for letter, n in self.sizes.items()}))

    def value(self, name: str) -> np.ndarray:
        """An array of the program, or of an earlier line."""
        if name in self.defined:
            if name not in self._found:
                self._found[name] = self.defined[name](self)
            return self._found[name]
        return self.values[name]

    @property
    def loss(self) -> np.ndarray:
        """A number whose gradient with respect to the output is the one that comes in."""
        return np.sum(self.upstream * self.values[self.program.output.name])

    def moved(self, name: str, values: np.ndarray, *, direct: bool) -> Point:
        """Another value for one array, and what follows from it; with ``direct`` all else in between stays as it is."""
        given = {name: values}
        point = Point(self.program, self.sizes, self.inputs, self.upstream, self.free, self.defined)
        point._values = {**self.values, **given} if direct else self.run({**self._before(name), **given})
        return point

    def _before(self, name: str) -> Values:
        """What is computed before an array: it does not move with it."""
        if name in self.program.shapes:
            return {}
        order = [s.name for s in self.program.statements]
        return {other: self.values[other] for other in order[: order.index(name)]}

    def again(self, name: str) -> Point:
        """With one line of the program computed anew from the values as they are."""
        statement = next((s for s in self.program.statements if s.name == name), None)
        if statement is not None:
            assert self._values is not None
            self._values = {**self._values, name: self._of(statement, self._values)}
        return self

    def holding(self, name: str, frozen: Sequence[str]) -> Point:
        """The same point, where the gradient of ``name`` takes some intermediate results for constants."""
        point = Point(
            self.program, self.sizes, self.inputs, self.upstream, self.free, self.defined, differences=self.differences
        )
        held = {other: self.values[other] for other in frozen}

        def loss(moved: Point) -> np.ndarray:
            return (
                Point(self.program, self.sizes, moved.inputs, self.upstream)
                ._with(self.run({name: moved.values[name], **held}))
                .loss
            )

        point.settled["grad", name] = self.derivative(loss, name)
        return point

    def _with(self, values: Values) -> Point:
        self._values = values
        return self

    def derivative(self, of: Callable[[Point], np.ndarray], by: str, *, direct: bool = False) -> np.ndarray:
        """The derivatives of an array by every entry of another: the axes of the first, then those of the second."""
        x = np.asarray(self.value(by), float)
        slopes = [self._slope(of, by, x, at, direct) for at in np.ndindex(x.shape)]
        return np.stack(slopes, -1).reshape(*slopes[0].shape, *x.shape)

    def jacobian(self, of: str, by: str, *, direct: bool = False) -> np.ndarray:
        """The derivatives of one array of the program by another; with ``direct``, of its own line alone."""
        key = ("jacobian", of, by, direct)
        if key not in self._found:

            def there(point: Point) -> np.ndarray:
                return (point.again(of) if direct and of != by else point).values[of]

            self._found[key] = self.derivative(there, by, direct=direct)
        return self._found[key]

    def _slope(
        self, of: Callable[[Point], np.ndarray], by: str, x: np.ndarray, at: tuple[int, ...], direct: bool
    ) -> np.ndarray:
        def there(step: complex) -> np.ndarray:
            z = x.astype(complex if isinstance(step, complex) else float)
            z[at] += step
            return np.asarray(of(self.moved(by, z, direct=direct)))

        if not self.differences:
            return np.imag(there(1j * COMPLEX_STEP)) / COMPLEX_STEP
        return differences(there)

    def gradient(self, name: str) -> np.ndarray:
        """The loss's gradient with respect to an array."""
        key = ("grad", name)
        if key in self.settled:
            return self.settled[key]
        if key not in self._found:
            output = self.program.output.name
            if name == output:
                self._found[key] = self.upstream
            elif ("partial", output, name) in self.settled:
                self._found[key] = np.tensordot(
                    self.upstream, self.settled["partial", output, name], self.upstream.ndim
                )
            else:
                self._found[key] = self.derivative(lambda point: point.loss, name)
        return self._found[key]


@dataclass
class Sampler:
    """Draws points of a program: entries away from 0, positive ones where the program needs them.

    Raises:
        UsageError: the program has no finite values at any of them.
    """

    program: Program
    definition: Definition | None = None
    one_hot: frozenset[str] = frozenset()
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        for positive in (False, True):
            self.positive = positive
            point = self.draw(0)
            if all(np.all(np.isfinite(x)) for x in point.values.values()):
                break
        else:
            raise UsageError(
                "the program gives no finite numbers, neither for inputs around 0 nor for those from 0.2 to 0.8"
            )
        self.differences = not self._complex_step_sees(point)

    @property
    def letters(self) -> list[str]:
        """The letters of its shapes."""
        shapes = [*self.program.shapes.values(), *(s.shape for s in self.program.statements)]
        return list(dict.fromkeys(size.name for shape in shapes for size in shape if isinstance(size, Symbol)))

    def draw(self, seed: int) -> Point:
        """The point of a seed; even and odd ones have different sizes."""
        rng = np.random.default_rng([7, seed])
        point = Point(self.program, self._sizes(SIZES[seed % 2]), {}, np.ones(()))
        point.inputs = {
            name: self._drawn(name, [point.size(k) for k in shape], rng) for name, shape in self.program.shapes.items()
        }
        output = point.values[self.program.output.name]
        if output.size > 1:
            point.upstream = self._entries(output.shape, rng)
        point.differences = getattr(self, "differences", False)
        point.free = _Free(rng.uniform(0.3, 0.7))
        return point

    def _sizes(self, wanted: Sequence[int]) -> dict[str, Any]:
        """Numbers for letters and hyper-parameters."""
        symbols = self.program.symbols
        found: dict[str, Any] = {name: self.epsilon if "eps" in name else value for name, value in symbols.items()}
        outputs = self.definition.sizes if self.definition else {}
        kernel = self.definition.kernel if self.definition else ()
        large, small = itertools.chain(wanted, itertools.count(8)), itertools.cycle((2, 3))
        for letter in self.letters:
            if letter not in found and letter not in outputs:
                found[letter] = next(small) if letter in kernel else next(large)
        return found | {letter: arithmetic(text, found) for letter, text in outputs.items()}

    def _drawn(self, name: str, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        labels = self.definition.labels if self.definition else ()
        if name in self.one_hot or name in labels:
            return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]
        if name in self.program.one_hot:
            return rng.dirichlet(np.full(shape[-1], 2.0), tuple(shape[:-1]))
        if self.definition and name in self.definition.flags:
            return (rng.random(shape) < 0.6) * 1.0
        return rng.uniform(0.2, 0.8, shape) if self.positive else self._entries(shape, rng)

    @staticmethod
    def _entries(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(0.3, 1.7, shape) * rng.choice([-1.0, 1.0], shape)

    def _complex_step_sees(self, point: Point) -> bool:
        """Does the complex step agree with differences, along a direction for each input?"""
        output = self.program.output.name
        for name, x in point.inputs.items():
            direction = self._entries(x.shape, np.random.default_rng(1))

            def along(step: Any, name: str = name, x: np.ndarray = x, direction: np.ndarray = direction) -> np.ndarray:
                return point.moved(name, x + step * direction, direct=False).values[output]

            try:
                exact = np.imag(along(1j * COMPLEX_STEP)) / COMPLEX_STEP
            except TypeError:  # a function of real numbers alone
                return False
            if not np.allclose(exact, differences(along), rtol=1e-6, atol=1e-7):
                return False
        return True

    def targets(self) -> list[str]:
        """Inputs that are data by their names."""
        return [name for name in self.program.shapes if looks_like_target(name, self.program.shapes)]


class _Free(dict[str, float]):
    """Numbers for whatever name, all different."""

    def __init__(self, first: float):
        super().__init__()
        self.first = first

    def __missing__(self, name: str) -> float:
        self[name] = self.first + 0.1 * len(self)
        return self[name]
