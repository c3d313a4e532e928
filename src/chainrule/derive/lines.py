"""A whole derivation, line by line: which line is the first wrong one, what is wrong with it, what follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.derive.answer import Answer, Difference, Search, Task, Verdict, difference, put_in, task
from chainrule.derive.formula import Formula, walk
from chainrule.derive.meaning import Mismatch, Reading, frame_of
from chainrule.derive.points import Point
from chainrule.derive.reading import ASSIGNS, Equation, read
from chainrule.derive.words import Unreadable
from chainrule.errors import UsageError

COMMENT = re.compile(r"(^|\s)#.*$")
REASON = re.compile(
    r"(\s{2,}[\[(][^\[\]]*[\])]|\s\[[^\[\]=≠<>≤≥]*\]|\s\([A-Za-z][A-Za-z ,.:'’-]*\s[A-Za-z ,.:'’-]*\))\s*$"
)
NOTHING = "0 "  # what is read as the left side of a line that has none
CONDITION = re.compile(r"\(\s*\w'?\s*(=|≠|!=|==)\s*\w'?\s*\)\s*$")


@dataclass
class Line:
    """One line of a derivation, judged.

    Attributes:
        number: counted from 1, with empty lines and comments.
        text: the equation.
        status: ``"right"``, ``"defines"`` (a new name), ``"wrong"``, or ``"follows"`` (wrong as well, but it follows
            from an earlier wrong line).
        verdict: what is wrong; notes.
        follows: the line that it follows from.
    """

    number: int
    text: str
    status: str
    verdict: Verdict
    follows: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "number": self.number,
            "text": self.text,
            "status": self.status,
            "follows": self.follows,
            **self._details(),
        }

    def _details(self) -> dict[str, Any]:
        kept = self.verdict.to_dict()
        return {key: kept[key] for key in kept if key not in ("text", "status", "name")}


@dataclass
class Review:
    """All lines of a derivation."""

    lines: list[Line] = field(default_factory=list)

    @property
    def first_wrong(self) -> Line | None:
        """The first line that is wrong."""
        return next((line for line in self.lines if line.status == "wrong"), None)

    @property
    def status(self) -> str:
        """``"right"`` or ``"wrong"``."""
        return "right" if self.first_wrong is None else "wrong"

    def __bool__(self) -> bool:
        return self.status == "right"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first_wrong
        return {
            "status": self.status,
            "first_wrong": first.number if first else None,
            "lines": [line.to_dict() for line in self.lines],
        }


def review(what: str, text: str, shapes: str | None = None) -> Review:
    """Judge a derivation, one equation a line.

    Args:
        what: an op by name, or lines of a program.
        text: the derivation; ``#`` begins a comment, a reason in brackets at a line's end is left out.
        shapes: of the program's inputs.

    Raises:
        Unreadable: a line cannot be read; the message has its number.

    >>> found = review("y = x @ w", "dy_ij/dw_kl = x_ik\\ndL/dw_kl = Σ_i ȳ_il x_ik", "x: n d, w: d m")
    >>> found.first_wrong.number, found.first_wrong.verdict.cause, found.first_wrong.verdict.repair
    (1, 'delta', 'dy_ij/dw_kl = delta_jl x_ik')
    """
    return Reviewer(task(what, shapes)).of(text)


class Reviewer:
    """Goes through the lines, and remembers what they define and what is wrong."""

    def __init__(self, about: Task):
        self.task = about
        self.wrong: list[tuple[int, Equation, Formula]] = []
        self.before: Equation | None = None

    def of(self, text: str) -> Review:
        """All lines, judged."""
        found = Review()
        for number, line in enumerate(text.splitlines(), 1):
            own = equation_of(line)
            if own:
                found.lines.append(self._line(number, own))
        if not found.lines:
            raise UsageError("the derivation is empty, expected an equation a line, such as dL/dw_jk = Σ_i ȳ_ik x_ij")
        return found

    def _line(self, number: int, text: str) -> Line:
        equation = self._read(number, text)
        if equation.defines is not None:
            self._define(number, equation)
        self.before = equation
        for left, right in zip(equation.sides, equation.sides[1:], strict=False):
            if equation.defines is not None and left is equation.sides[0]:
                continue
            verdict = self._update(equation, right) if equation.relation == "←" else self._pair(equation, left, right)
            if verdict is not None:
                return _as_written(self._judged(number, text, equation, left, right, verdict))
        status = "right" if equation.defines is None else "defines"
        return Line(number, text, status, Verdict(text, "right", notes=self._notes(equation)))

    def _read(self, number: int, text: str) -> Equation:
        continued = text.startswith(ASSIGNS) and self.before is not None
        try:
            if continued:
                assert self.before is not None
                own = read(f"{NOTHING}{text}", self.task.names)
                return Equation(
                    (self.before.sides[0], *own.sides[1:]), "=", own.words, own.unless or self.before.unless
                )
            equation = read(text, self.task.names, may_define=True)
        except Unreadable as error:
            shift = len(NOTHING) if continued else 0
            raise Unreadable(text, max(error.at - shift, 0), f"line {number}: {error.reason}") from None
        if len(equation.sides) < 2:
            raise Unreadable(text, len(text), f"line {number}: expected '=' and another side")
        return equation

    # ------------------------------------------------------------------------------------------------------ defining

    def _define(self, number: int, equation: Equation) -> None:
        left, right = equation.sides[:2]
        name = equation.defines
        assert name is not None
        items = left.value if left.head == "entry" else ()
        try:
            values = [_value_of(point, items, right) for point in self.task.points]
        except Mismatch as mismatch:
            raise Unreadable(
                equation.words.text, mismatch.span[0], f"line {number}: {name} is defined here, but {mismatch}"
            ) from None
        self.task.defined[name] = lambda point: _value_of(point, items, right)
        self.task.names.arrays[name] = values[0].ndim

    # ------------------------------------------------------------------------------------------------------- judging

    def _pair(self, equation: Equation, left: Formula, right: Formula) -> Verdict | None:
        """What is wrong with one step; None if nothing is."""
        found = difference(left, right, self.task.points, equation.unless)
        if found is None or self._special(left, right, equation) is not None:
            return None
        verdict = Verdict(equation.words.text, "wrong", span=right.span, cause="unknown")
        _located(verdict, found)
        return verdict

    def _special(self, left: Formula, right: Formula, equation: Equation) -> str | None:
        """Words for what the sides are equal under."""
        for words, points in self.task.special():
            if difference(left, right, points, equation.unless) is None:
                return words
        return None

    def _notes(self, equation: Equation) -> list[str]:
        """Assumptions under which the line is right, and conventions."""
        notes = []
        for left, right in zip(equation.sides, equation.sides[1:], strict=False):
            if equation.relation == "←" or equation.defines is not None:
                continue
            if difference(left, right, self.task.points, equation.unless) is not None:
                notes.append(self._special(left, right, equation) or "")
        notes += self._conventions(equation)
        return [note for note in notes if note]

    def _conventions(self, equation: Equation) -> list[str]:
        """A derivative that is chosen at a kink."""
        left = equation.sides[0]
        base = left.parts[0] if left.head == "entry" else left
        if base.head == "grad" and equation.relation == "=":
            return Answer(self.task, equation).kinks(equation.sides[-1])
        relations = [part for side in equation.sides[1:] for part in walk(side) if part.head == "holds"]
        if (
            any(part.value in (">=", "<=") and part.parts[1].head == "number" for part in relations)
            and left.head == "partial"
        ):
            return [
                "where both sides of the condition are equal there is a kink: the derivative there is a convention, "
                "not an error (PyTorch: 0 for ReLU)"
            ]
        return []

    def _judged(
        self, number: int, text: str, equation: Equation, left: Formula, right: Formula, verdict: Verdict
    ) -> Line:
        origin = self._origin(equation, left, right)
        if origin is not None:
            return Line(number, text, "follows", verdict, origin)
        if equation.relation == "←":
            self._mended_update(equation, right, verdict)
        else:
            self._mended(equation, right, verdict)
        self.wrong.append((number, equation, right))
        return Line(number, text, "wrong", verdict)

    def _mended(self, equation: Equation, right: Formula, verdict: Verdict) -> None:
        target = equation.sides[0]
        base = target.parts[0] if target.head == "entry" else target
        if base.head == "grad" and base.value in self.task.program.shapes:
            Answer(self.task, Equation((target, right), "=", equation.words, equation.unless)).explain(verdict, right)
            return

        def is_right(side: Formula, points: Sequence[Point]) -> bool:
            return difference(target, side, points, equation.unless) is None

        self._search(equation, right, target, is_right, verdict)

    def _search(
        self, equation: Equation, right: Formula, target: Formula, is_right: Callable, verdict: Verdict
    ) -> None:
        search = Search(self.task, equation, right, target, is_right)
        mended = search.one() or search.two()
        if mended:
            put_in(verdict, mended, equation, right)

    def _origin(self, equation: Equation, left: Formula, right: Formula) -> int | None:
        """The wrong line that this one follows from."""
        for number, earlier, side in reversed(self.wrong):
            points = [_believing(point, earlier.sides[0], side) for point in self.task.points]
            if any(point is None for point in points):
                continue
            if difference(left, right, points, equation.unless) is None:  # type: ignore[arg-type]
                return number
        return None

    # ------------------------------------------------------------------------------------------------------- updates

    def _update(self, equation: Equation, right: Formula) -> Verdict | None:
        """Is it a step against the gradient?"""
        left = equation.sides[0]
        verdict = Verdict(equation.words.text, "wrong", span=right.span, cause="unknown")
        if left.head != "array" or left.value not in self.task.program.shapes:
            raise Unreadable(equation.words.text, left.span[0], "expected an input of the program before the arrow")
        reason = self._no_step(left, right, self.task.points)
        if reason is None:
            return None
        verdict.evidence = reason
        return verdict

    def _no_step(self, left: Formula, right: Formula, points: Sequence[Point]) -> str | None:
        for point in points:
            try:
                after = Reading(point).of(right)
            except Mismatch as mismatch:
                return str(mismatch)
            gradient, before = point.gradient(left.value), point.value(left.value)
            if after.shape != before.shape:
                return "the new value has another shape than the old one"
            moving = np.abs(gradient) > 1e-9
            if not np.allclose(before[~moving], after[~moving]):
                return f"{left.value} changes where its gradient is 0"
            if not moving.any():
                continue
            rates = (before - after)[moving] / gradient[moving]
            if not np.allclose(rates, rates.flat[0], rtol=1e-7):
                return f"the change of {left.value} is not a multiple of its gradient"
            if rates.flat[0] < 0:
                return "it goes along the gradient, which makes the loss larger"
            if rates.flat[0] == 0:
                return "nothing changes"
        return None

    def _mended_update(self, equation: Equation, right: Formula, verdict: Verdict) -> None:
        left = equation.sides[0]

        def is_right(side: Formula, points: Sequence[Point]) -> bool:
            return self._no_step(left, side, points) is None

        self._search(equation, right, left, is_right, verdict)


def _as_written(line: Line) -> Line:
    """Without the left side that was read in front of a line that has none."""
    verdict = line.verdict
    if verdict.text != line.text:
        start, end = verdict.span
        verdict.span = (start - len(NOTHING), end - len(NOTHING)) if end else verdict.span
        verdict.text, verdict.repair = line.text, verdict.repair.removeprefix(NOTHING)
    return line


def _located(verdict: Verdict, found: Difference) -> None:
    """Where the sides differ."""
    if found.mismatch is not None:
        verdict.evidence, verdict.span, verdict.cause = str(found.mismatch), found.mismatch.span, "undefined"
    verdict.place, verdict.expected, verdict.yours = found.place, found.left, found.right


def _value_of(point: Point, items: Sequence[Any], side: Formula) -> np.ndarray:
    """The array whose entries at some letters are a formula."""
    left = [k for k in items if isinstance(k, str)]
    frame = frame_of([side], point)
    found = Reading(point, frame).of(side)
    names = [letter for letter, _ in frame]
    if sorted(left) != sorted(names):
        extra = sorted(set(names) ^ set(left))
        raise Mismatch(f"the index {', '.join(extra)} stands on one side only", side.span)
    whole = np.broadcast_to(found, [size for _, size in frame] + list(found.shape[len(frame) :]))
    return whole.transpose([names.index(k) for k in left] + list(range(len(frame), whole.ndim)))


def _believing(point: Point, left: Formula, side: Formula) -> Point | None:
    """The point where a wrong line is taken for right; None where it does not say what an array is."""
    base, items = (left.parts[0], left.value) if left.head == "entry" else (left, ())
    if left.head == "partial":
        ends = [part if part.head == "entry" else Formula("entry", (part,), ()) for part in left.parts]
        items = tuple(k for end in ends for k in end.value)
        key: Any = ("partial", ends[0].parts[0].value, ends[1].parts[0].value)
    elif base.head == "grad":
        key = ("grad", base.value)
    else:
        return None
    if len(set(items)) != len(items):
        return None
    try:
        frame = frame_of([left, side], point)
        found = Reading(point, frame).of(side)
    except Mismatch:
        return None
    names = [letter for letter, _ in frame]
    if set(names) != set(items) or (items and found.ndim != len(frame)):
        return None
    if items:
        found = np.broadcast_to(found, [size for _, size in frame]).transpose([names.index(k) for k in items])
    believing = Point(
        point.program,
        point.sizes,
        point.inputs,
        point.upstream,
        point.free,
        point.defined,
        {**point.settled, key: found},
    )
    believing.differences = point.differences
    return believing


def equation_of(line: str) -> str:
    """A line without its comment and its reason.

    >>> equation_of("dL/db_k = Σ_i ȳ_ik   [sum over the batch]  # done")
    'dL/db_k = Σ_i ȳ_ik'
    """
    text = COMMENT.sub("", line).rstrip()
    if not CONDITION.search(text):
        text = REASON.sub("", text)
    return text.strip()
