"""Is a formula for a gradient right, and if not, what is wrong with it?

The formula is compared with numbers: the gradient of the program at several points, with two sets of sizes. Where they
differ, the mistake is named by the smallest change that makes the formula right, and by the checker's diagnosis of it.
"""

from __future__ import annotations

import difflib
import inspect
import itertools
import linecache
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.check.causes import CAUSES as CHECKED
from chainrule.check.diagnose import diagnose
from chainrule.check.report import Finding
from chainrule.derive.calculus import Calculus
from chainrule.derive.code import Source
from chainrule.derive.definitions import ALIASES, DEFINITIONS, WITHOUT, Definition, definition_of, program_of
from chainrule.derive.derivation import derive
from chainrule.derive.formula import Formula, Span, walk
from chainrule.derive.indices import Holds, Max, Symbol, has
from chainrule.derive.language import UNKNOWN, Program, parse, read_shapes
from chainrule.derive.meaning import Mismatch, Reading, frame_of
from chainrule.derive.points import Point, Sampler
from chainrule.derive.reading import Equation, read
from chainrule.derive.repairs import CAUSES as OWN
from chainrule.derive.repairs import Repair, Surroundings, pairs, repairs
from chainrule.derive.words import Names, Unreadable
from chainrule.errors import UsageError, UserError

POINTS = 4
TOLERANCE = 1e-8  # of what the complex step gives; differences are less exact
ROUGH = 1e-6
SEARCH = 4.0  # seconds for a repair of one line
READINGS = 4  # derivatives in one line that may be meant as total or as direct ones
CAUSES = {**CHECKED, **OWN}


@dataclass
class Task:
    """What answers are about: a program, the names that may be used, and where answers are tried."""

    program: Program
    what: str
    shapes: str | None = None
    definition: Definition | None = None
    defined: dict[str, Callable[[Point], np.ndarray]] = field(default_factory=dict)

    @cached_property
    def sampler(self) -> Sampler:
        """Points for all values of the inputs."""
        return Sampler(self.program, self.definition)

    @cached_property
    def points(self) -> list[Point]:
        """Where everything is compared."""
        return self._drawn(self.sampler)

    def _drawn(self, sampler: Sampler) -> list[Point]:
        points = [sampler.draw(seed) for seed in range(POINTS)]
        for point in points:
            point.defined = self.defined  # one dictionary for all: a line adds to it
        return points

    def special(self) -> Iterator[tuple[str, list[Point]]]:
        """Points at which more formulas are right, with the words for it."""
        targets = frozenset({*self.sampler.targets(), *self.program.one_hot})
        tiny = [name for name in self.program.symbols if "eps" in name]
        rows = f"right for one-hot {', '.join(sorted(targets))}, and only for those"
        without = f"right for {' and '.join(tiny)} = 0: your formula leaves it out"
        kinds: list[tuple[str, dict[str, Any]]] = []
        if targets:
            kinds.append((rows, {"one_hot": targets}))
        if tiny:
            kinds.append((without, {"epsilon": 0.0}))
        if targets and tiny:
            kinds.append((f"{rows}; {without}", {"one_hot": targets, "epsilon": 0.0}))
        for words, how in kinds:
            try:
                sampler = Sampler(self.program, self.definition, **how)
            except UsageError:
                continue
            yield words, self._drawn(sampler)

    @cached_property
    def names(self) -> Names:
        """What a formula may speak of."""
        arrays = {name: len(self.points[0].value(name).shape) for name in self.points[0].values}
        sizes = {name for name in self.points[0].sizes if name not in self.program.symbols}
        words = set(re.findall(r"\w+", self.program.text))
        functions = {name for name in UNKNOWN if name in words and name not in arrays and name not in sizes}
        aliases = {other: name for name, other in self.definition.names.items()} if self.definition else {}
        return Names(
            arrays,
            self.program.output.name,
            sizes,
            self.batch,
            set(self.program.symbols),
            functions,
            set(self.program.shapes),
            aliases,
        )

    @cached_property
    def batch(self) -> str | None:
        """The size that B stands for: of the first axis of the first input that is a matrix."""
        for shape in self.program.shapes.values():
            if len(shape) > 1 and isinstance(shape[0], Symbol):
                return shape[0].name
        return None

    def surroundings(
        self, equation: Equation, frame: Sequence[tuple[str, int]], free: Sequence[str], gradients: Sequence[str]
    ) -> Surroundings:
        """What a repair of an equation may use."""
        arrays = {**self.names.arrays, **{name: self.points[0].value(name).ndim for name in self.points[0].defined}}
        shown = sorted(self.names.sizes, key=lambda size: size != self.batch)
        return Surroundings(
            equation.words,
            free,
            arrays,
            self.program.output.name,
            shown,
            self.batch,
            dict(frame),
            sorted(self.program.symbols),
            gradients,
        )


def task(what: str, shapes: str | None = None) -> Task:
    """The program that answers are about: an op by name, or lines with the shapes of their inputs.

    Raises:
        UsageError: there is no such op, or the lines are not understood.

    >>> task("softmax").program.output.name
    'y'
    """
    name = what.strip().replace("-", "_")
    if re.fullmatch(r"\w+", name) and shapes is None:
        name = ALIASES.get(name, name)
        if name in WITHOUT:
            raise UsageError(f"there is no derivation for {name}: {WITHOUT[name]}")
        definition = definition_of(name)
        if definition is None:
            near = ", ".join(difflib.get_close_matches(name, [*DEFINITIONS, *ALIASES], n=3, cutoff=0.5))
            raise UsageError(
                f"no such op {name}, "
                + (f"the nearest: {near}" if near else "expected an op or a line such as 'y = x @ w + b'")
            )
        return Task(program_of(definition), name, None, definition)
    program = Program()
    read_shapes(shapes or "", program)
    parse(what, program)
    return Task(program, what, shapes)


# ------------------------------------------------------------------------------------------------------------ verdicts


@dataclass
class Verdict:
    """What is found about one formula, or one line.

    Attributes:
        text: as it was written.
        status: ``"right"``, ``"layout"`` (right, but transposed), or ``"wrong"``.
        name: whose gradient it is; empty for a line of another kind.
        cause: the name of the mistake, one of :data:`CAUSES`.
        evidence: what was seen.
        span: the part of the text that is wrong; empty where it is not known.
        note: what is wrong with this part.
        repair: the text with the mistake mended; empty where none is known.
        closed_form: where none is, the gradient as ``chainrule derive`` writes it.
        place: where the sides differ, as ``"i = 1, j = 2"``.
        yours, expected: the numbers there.
        notes: assumptions, conventions, another layout.
    """

    text: str
    status: str
    name: str = ""
    cause: str | None = None
    evidence: str = ""
    span: Span = (0, 0)
    note: str = ""
    repair: str = ""
    closed_form: str = ""
    place: str = ""
    yours: float | None = None
    expected: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def part(self) -> str:
        """The wrong part of the text."""
        return self.text[slice(*self.span)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "span": list(self.span), "part": self.part, "meaning": CAUSES.get(self.cause or "")}


@dataclass
class Judgement:
    """The verdicts on all formulas of an answer."""

    verdicts: list[Verdict]

    @property
    def status(self) -> str:
        """``"right"`` or ``"wrong"``."""
        return "wrong" if any(v.status == "wrong" for v in self.verdicts) else "right"

    def __bool__(self) -> bool:
        return self.status == "right"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"status": self.status, "answers": [v.to_dict() for v in self.verdicts]}


@dataclass
class Difference:
    """Where two sides differ."""

    place: str = ""
    left: float | None = None
    right: float | None = None
    mismatch: Mismatch | None = None


def judge(what: str, answer: str, shapes: str | None = None) -> Judgement:
    """Judge formulas for gradients.

    Args:
        what: an op by name, or lines such as ``"y = x @ w + b"``.
        answer: one formula, or several with semicolons between: ``"gw = x.T @ gy; gb = gy.sum(0)"``.
        shapes: of the lines' inputs, as in ``"x: n d, w: d m, b: m"``.

    Raises:
        Unreadable: a formula cannot be read.
        UsageError: the program cannot.

    >>> judge("y = x @ w", "gw = xᵀ ȳ", "x: n d, w: d m").status
    'right'
    >>> verdict = judge("y = x @ w", "gw = x.T @ gy / n", "x: n d, w: d m").verdicts[0]
    >>> verdict.status, verdict.cause, verdict.repair
    ('wrong', 'batch-mean-twice', 'gw = x.T @ gy')
    """
    about = task(what, shapes)
    parts = [part.strip() for part in re.split(r"[;\n]", answer) if part.strip()]
    if not parts:
        raise UsageError("the answer is empty, expected a formula such as 'gw = x.T @ gy'")
    equations = [_gradient_equation(about, part) for part in parts]
    return Judgement([Answer(about, equation).verdict() for equation in equations])


def _gradient_equation(about: Task, text: str) -> Equation:
    equation = read(text, about.names)
    left = equation.sides[0]
    base = _array_of(left)
    if len(equation.sides) < 2:
        wanted = [name for name in about.program.shapes if name not in about.program.constants]
        if len(wanted) != 1 or any(part.head == "entry" for part in walk(left)):
            raise Unreadable(text, len(text), f"expected '=': say whose gradient it is, as in g{wanted[0]} = ...")
        made = Formula("grad", (), wanted[0])
        return Equation((made, left), "=", equation.words)
    if base.head != "grad":
        known = ", ".join(f"g{name}" for name in about.program.shapes)
        raise Unreadable(text, left.span[0], f"expected a gradient on the left side, such as {known}")
    return equation


def _array_of(x: Formula) -> Formula:
    """The array in an entry, or in a transpose."""
    return x.parts[0] if x.head in ("entry", "T") else x


# ----------------------------------------------------------------------------------------------------------- comparing


def close(a: np.ndarray, b: np.ndarray, point: Point) -> np.ndarray:
    """Where two arrays agree."""
    tolerance = ROUGH if point.differences else TOLERANCE
    scale = max(float(np.max(np.abs(a), initial=0.0)), float(np.max(np.abs(b), initial=0.0)), 1e-3)
    return np.isfinite(a) & np.isfinite(b) & (np.abs(a - b) <= tolerance * scale)


def directs(sides: Sequence[Formula]) -> Iterator[dict[Span, bool]]:
    """The ways to understand the derivatives of a line: through everything, or with what lies between held constant."""
    spans = list(dict.fromkeys(part.span for side in sides for part in walk(side) if part.head == "partial"))
    few = spans[:READINGS]
    for choice in itertools.product((False, True), repeat=len(few)):
        yield dict(zip(few, choice, strict=True))


def difference(
    left: Formula, right: Formula, points: Sequence[Point], unless: Formula | None = None
) -> Difference | None:
    """Where two sides differ first; None if they are equal at all points, understood in one of the ways.

    Derivatives of intermediate results may be total or direct: the way in which the sides are equal counts.
    """
    first = None
    for direct in directs((left, right)):
        found = next((d for p in points if (d := _apart(left, right, p, direct, unless)) is not None), None)
        if found is None:
            return None
        first = first or found
    return first


def _apart(
    left: Formula, right: Formula, point: Point, direct: dict[Span, bool], unless: Formula | None
) -> Difference | None:
    try:
        frame = frame_of([left, right, *([unless] if unless else [])], point)
        reading = Reading(point, frame, direct)
        a, b = reading.of(left), reading.of(right)
        said = reading.of(unless) if unless is not None else np.ones(())
        a, b = fitted(a, b, reading, right)
    except Mismatch as mismatch:
        return Difference(mismatch=mismatch)
    a, b, said = np.broadcast_arrays(a, b, said.reshape(said.shape + (1,) * (a.ndim - said.ndim)))
    with np.errstate(all="ignore"):
        off = ~close(np.real(a), np.real(b), point) & (said != 0)
    if not off.any():
        return None
    at = tuple(
        int(k) for k in np.unravel_index(int(np.argmax(off * np.nan_to_num(np.abs(a - b), nan=np.inf))), off.shape)
    )
    names = [letter for letter, _ in frame]
    own = at[len(names) :]
    place = ", ".join(f"{letter} = {k + 1}" for letter, k in zip(names, at, strict=False))
    place = place or (f"entry [{', '.join(map(str, own))}]" if own else "")
    return Difference(place, float(np.real(a[at])), float(np.real(b[at])))


def fitted(a: np.ndarray, b: np.ndarray, reading: Reading, right: Formula) -> tuple[np.ndarray, np.ndarray]:
    """Both sides with the same own axes; those of size 1 may be left out, and a side may be repeated along an axis."""
    own, other = a.shape[reading.depth :], b.shape[reading.depth :]
    if own == other:
        return a, b
    before = b.shape[: reading.depth]
    if [n for n in own if n != 1] == [n for n in other if n != 1]:
        return a, b.reshape(before + own)
    try:
        if np.broadcast_shapes(own, other) == own:
            return a, b.reshape(before + (1,) * (len(own) - len(other)) + other)
    except ValueError:
        pass
    raise Mismatch(f"the left side is {reading.kind(a)}, the right side {reading.kind(b)}", right.span)


# ------------------------------------------------------------------------------------------------------------- answers


@dataclass
class Answer:
    """One formula for a gradient."""

    task: Task
    equation: Equation

    @property
    def target(self) -> Formula:
        """The left side."""
        return self.equation.sides[0]

    @property
    def name(self) -> str:
        """Whose gradient it is."""
        return str(_array_of(self.target).value)

    def verdict(self) -> Verdict:
        """Right, right in another layout, or what is wrong."""
        text = self.equation.words.text
        if self.name not in self.task.program.shapes and self.name not in self.task.names.arrays:
            raise UsageError(f"{self.name} is no array of the program")
        for side in self.equation.sides[1:]:
            found = difference(self.target, side, self.task.points, self.equation.unless)
            if found is None:
                continue
            layout = self._layout(side)
            if layout:
                return Verdict(text, "layout", self.name, notes=[layout])
            for words, points in self.task.special():
                if difference(self.target, side, points, self.equation.unless) is None:
                    return Verdict(text, "right", self.name, notes=[words, *self._remarks(side)])
            return self._wrong(side, found)
        return Verdict(text, "right", self.name, notes=list(self._remarks(self.equation.sides[-1])))

    def _layout(self, side: Formula) -> str | None:
        """Is it the transpose, with the letters of the left side or as a matrix?"""
        letter = self.equation.words.of
        if self.target.head == "entry" and len(self.target.value) == 2:
            turned = Formula("entry", self.target.parts, self.target.value[::-1])
        elif self.target.head == "grad" and self.task.names.arrays[self.name] == 2:
            turned = Formula("T", (self.target,), "python")
        else:
            return None
        if difference(turned, side, self.task.points) is not None:
            return None
        sizes = [getattr(size, "name", "1") for size in self.task.points[0].shape(self.name)]
        return (
            f"it is the transpose of {letter(self.target)}: the gradient where {self.name} is stored as "
            f"({', '.join(sizes[::-1])}); here {self.name} is ({', '.join(sizes)})"
        )

    def _remarks(self, side: Formula) -> Iterator[str]:
        """What should be known about a right formula."""
        point = self.task.points[0]
        if self.target.head == "grad":
            truth, mine = point.gradient(self.name).shape, Reading(point).of(side).shape
            if truth != mine and len(mine) > len(truth):
                if self.equation.words.notation == "python":  # on paper a row is a row
                    yield "right numbers; your formula keeps an axis of size 1 that the gradient does not have"
            elif truth != mine:
                yield f"right numbers; they have to be repeated to the shape of {self.name}"
        yield from self.kinks(side)

    def kinks(self, side: Formula) -> list[str]:
        """The convention of a formula at a kink of the program."""
        return list(self._kinks(side))

    def _kinks(self, side: Formula) -> Iterator[str]:
        """The convention of a formula where the program has no derivative: at 0."""
        if not any(has(s.body, (Holds, Max)) or "abs" in str(s.body) for s in self.task.program.statements):
            return
        point = self.task.sampler.draw(0)
        if self.target.head != "grad" or self.name not in point.inputs:
            return
        point.inputs[self.name] = np.zeros_like(point.inputs[self.name])
        point._values = None
        truth = [self._one_sided(point, sign) for sign in (1, -1)]
        try:
            mine = np.ravel(np.broadcast_to(Reading(point).of(side), point.inputs[self.name].shape))[0]
        except (Mismatch, ValueError):
            return
        scale = np.ravel(point.upstream)[0]
        if (
            not np.isclose(truth[0], truth[1], rtol=1e-3, atol=1e-6)
            and mine
            and point.upstream.shape == point.inputs[self.name].shape
        ):
            yield (
                f"at {self.name} = 0, a kink, your formula takes the derivative {mine / scale:g}: a convention, not an "
                f"error (the slopes to the left and right are {truth[1] / scale:.3g} and {truth[0] / scale:.3g})"
            )

    def _one_sided(self, point: Point, sign: int) -> float:
        x = point.inputs[self.name].copy()
        x.flat[0] = sign * 1e-6
        return float((point.moved(self.name, x, direct=False).loss - point.loss) / (sign * 1e-6))

    # what is wrong

    def _wrong(self, side: Formula, found: Difference) -> Verdict:
        verdict = Verdict(self.equation.words.text, "wrong", self.name, span=side.span)
        if side.head == "none":
            verdict.cause, verdict.evidence = "missing", "no gradient is given, but the output depends on it"
            return verdict
        if found.mismatch is not None:
            verdict.evidence, verdict.span, verdict.cause = str(found.mismatch), found.mismatch.span, "undefined"
        else:
            place = found.place.replace("entry ", self.equation.words.of(self.target))
            verdict.place, verdict.expected, verdict.yours = place, found.left, found.right
        self.explain(verdict, side)
        return verdict

    def _is_right(self, side: Formula, points: Sequence[Point]) -> bool:
        return difference(self.target, side, points, self.equation.unless) is None

    def explain(self, verdict: Verdict, side: Formula) -> None:
        """Name the mistake: one change that mends it, what the checker says about it, or two changes."""
        fits = verdict.cause != "undefined"
        search = Search(self.task, self.equation, side, self.target, self._is_right)
        mended = search.one()
        if mended:
            put_in(verdict, mended, self.equation, side)
        if (fits or mended) and not (not mended and self._constants(verdict, side)):
            self._diagnosed(verdict, side, bool(mended))
        if not mended and verdict.cause in (None, "unknown", "undefined") and (mended := search.two()):
            put_in(verdict, mended, self.equation, side)
        if not mended:
            verdict.closed_form = closed_form(self.task, self.name)
        verdict.cause = verdict.cause or "unknown"

    def _constants(self, verdict: Verdict, side: Formula) -> bool:
        """Are intermediate results treated as constants?"""
        constant = treated_as_constant(self.task, self.name, self.target, side)
        if not constant:
            return False
        verdict.cause, verdict.span = "path-dropped", side.span
        many = len(constant) > 1
        verdict.evidence = (
            f"your formula treats {' and '.join(constant)} as constant{'s' * many}; "
            f"{'they depend' if many else 'it depends'} on {self.name}"
        )
        return True

    def _diagnosed(self, verdict: Verdict, side: Formula, mended: bool) -> None:
        """The checker's diagnosis of the formula as a backward pass."""
        finding = diagnosis(self.task, self.name, self.target, side)
        if finding is None or finding.cause in (None, "unknown", "unusable"):
            return
        evidence = _in_letters(finding.evidence, self.task)
        vague = finding.cause in ("factor", "mask", "permuted") or finding.confidence != "proved"
        if mended and (vague or verdict.cause in (finding.cause, "delta")):
            verdict.evidence = verdict.evidence or evidence
            return
        verdict.cause, verdict.evidence = finding.cause, evidence


def _in_letters(text: str, about: Task) -> str:
    """Sizes by their letters: n for x.shape[0]."""
    for name, shape in about.program.shapes.items():
        for axis, size in enumerate(shape):
            if isinstance(size, Symbol):
                text = text.replace(f"{name}.shape[{axis}]", size.name)
    return text


def treated_as_constant(about: Task, name: str, target: Formula, side: Formula) -> list[str]:
    """The intermediate results that a formula takes for constants, if that is what is wrong with it."""
    between = [s.name for s in about.program.statements[:-1]]
    if target.head not in ("grad", "entry") or name not in about.program.shapes or len(between) > 6:
        return []
    for count in range(1, len(between) + 1):
        for frozen in itertools.combinations(between, count):
            points = [point.holding(name, frozen) for point in about.points]
            if all(
                np.array_equal(p.gradient(name), q.gradient(name)) for p, q in zip(points, about.points, strict=True)
            ):
                continue
            if difference(target, side, points) is None:
                return list(frozen)
    return []


@dataclass
class Search:
    """The search for the simplest change of a side that makes it right at all points.

    Attributes:
        target: the left side.
        is_right: of a changed side, at some points.
    """

    task: Task
    equation: Equation
    side: Formula
    target: Formula
    is_right: Callable[[Formula, Sequence[Point]], bool]

    def __post_init__(self) -> None:
        self.end = time.monotonic() + SEARCH
        ends = self.target.parts if self.target.head == "partial" else (self.target,)
        items = [k for end in ends if end.head == "entry" for k in end.value]
        free = list(dict.fromkeys(k for k in items if isinstance(k, str) and k != ":"))
        try:
            frame = frame_of([self.target, self.side], self.task.points[0])
        except Mismatch:
            frame = tuple((k, 0) for k in free)
        gradients = [statement.name for statement in self.task.program.statements]
        self.about = self.task.surroundings(self.equation, frame, free, gradients)
        self.single = repairs(self.side, self.about)

    def one(self) -> list[Repair]:
        """One change; empty if there is none."""
        return next(([repair] for repair in self.single if self._holds(repair)), [])

    def two(self) -> list[Repair]:
        """Two changes."""
        return next(([one, other] for one, other in pairs(self.single, self.about) if self._holds(other)), [])

    def _holds(self, repair: Repair) -> bool:
        points = self.task.points
        if time.monotonic() > self.end or repair.formula == self.target:  # y = y says nothing
            return False
        return self.is_right(repair.formula, points[:1]) and self.is_right(repair.formula, points)


def put_in(verdict: Verdict, mended: Sequence[Repair], equation: Equation, side: Formula) -> None:
    """Say which change makes it right."""
    first = mended[0]
    text = equation.words.text
    verdict.cause = "delta" if any(repair.cause == "delta" for repair in mended) else first.cause
    verdict.span = first.span if first.span[1] else side.span
    verdict.note = "; and ".join(repair.note for repair in mended)
    before, new = text[: side.span[0]], equation.words.of(mended[-1].formula)
    if new.startswith("-") and before.rstrip().endswith("+"):
        before = before.rstrip()[:-1]
    verdict.repair = f"{before}{new}{text[side.span[1] :]}"


# ----------------------------------------------------------------------------------------------------------- diagnosis


def closed_form(about: Task, name: str) -> str:
    """The gradient as it is derived; empty where there is no closed form."""
    try:
        derivation = derive(about.what, about.shapes)
        form = derivation.matrix(derivation.gradient(name))
    except (UserError, StopIteration):
        return ""
    return f"{name}̄ = {form}" if form else ""


class _Backward:
    """A formula as a backward pass; an object, so that its code is not taken for the user's."""

    def __init__(self, about: Task, name: str, target: Formula, side: Formula):
        self.task, self.name, self.target, self.side = about, name, target, side

    def __call__(self, gy: Any, cache: Any) -> dict[str, Any]:
        point = self.task.sampler.draw(0)
        sizes = {
            letter.name: n
            for key, shape in self.task.program.shapes.items()
            for letter, n in zip(shape, cache[key].shape, strict=True)
            if isinstance(letter, Symbol)
        }
        single = np.ndim(gy) == 0
        here = Point(
            self.task.program, {**point.sizes, **sizes}, dict(cache), np.ones(()) if single else gy, point.free
        )
        here.differences = point.differences
        found = self._value(here)
        return {self.name: found * gy if single else found}

    def _value(self, point: Point) -> np.ndarray:
        shape = point.inputs[self.name].shape
        if self.target.head != "entry":
            found = Reading(point).of(self.side)
            return np.broadcast_to(found, shape).copy() if found.ndim == 0 else found
        frame = frame_of([self.target, self.side], point)
        found = Reading(point, frame).of(self.side)
        letters = [letter for letter, _ in frame]
        if set(letters) != set(self.target.value) or found.ndim != len(frame):
            raise ValueError("letters that the left side does not have")
        found = np.broadcast_to(found, [size for _, size in frame])
        return found.transpose([letters.index(k) for k in self.target.value]).reshape(shape)


def diagnosis(about: Task, name: str, target: Formula, side: Formula) -> Finding | None:
    """What the checker says about a formula; None where it cannot be asked."""
    if name not in about.program.shapes:
        return None
    forward = compiled(about)
    if forward is None:
        return None
    order = itertools.count()

    def inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
        return about.sampler.draw(next(order)).inputs

    try:
        report = diagnose((forward, _Backward(about, name, target, side)), inputs, wrt=[name], name="answer")
    except UserError:
        return None
    return next((f for f in report.findings if f.name == name), None)


def compiled(about: Task) -> Callable | None:
    """The program's forward as a function of its inputs, from the code that is written for it."""
    try:
        source = Source(
            about.program,
            Calculus(about.program, seed=False).gradients(),
            "",
            "answer",
            about.definition.sizes if about.definition else {},
        )
        text = source.numpy()
    except UserError:
        return None
    scope: dict[str, Any] = {}
    linecache.cache["<program>"] = (len(text), None, text.splitlines(keepends=True), "<program>")
    exec(compile(text, "<program>", "exec"), scope)
    symbols = about.sampler.draw(0).sizes
    settings = {name: symbols[name] for name in about.program.symbols}
    names = list(about.program.shapes)

    def forward(*given: Any) -> Any:
        return scope["answer_forward"](*given, **settings)[0], dict(zip(names, given, strict=True))

    return _named(forward, names)


def _named(function: Callable, names: Sequence[str]) -> Callable:
    """The function with named arguments."""
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function
