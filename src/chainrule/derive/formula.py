"""A formula as its writer wrote it: a tree that is not simplified and knows its place in the text, and its words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

Span = tuple[int, int]
Item = str | int | None  # of a subscript: a letter, a number, ":" for a whole axis, None for a new one

PRECEDENCE = {
    "+": 1,
    "-": 1,
    "⊙": 2,
    "*": 3,
    "/": 3,
    "@": 3,
    "·": 3,
    "neg": 2,
    "sum": 2,
    "cases": 0,
    "holds": 0,
    "^": 5,
}
ATOM = 9


@dataclass(frozen=True)
class Formula:
    """A part of a formula.

    Attributes:
        head: what it is: an operator (``+ - * / @ ^``, ``⊙``, ``·`` for a product of whatever kind), or ``number``,
            ``array``, ``grad`` (the loss's gradient with respect to an array), ``loss``, ``size``, ``free`` (a number
            that the program does not have, such as a learning rate), ``letter``, ``entry``, ``neg``, ``T``, ``call``,
            ``reduce``, ``sum`` (over letters), ``delta``, ``holds``, ``cases``, ``partial``, ``einsum``, ``ones``,
            ``eye``.
        parts: what it is made of.
        value: what is not a formula: a name, a number, letters.
        span: where it stands in the text; empty for what was not in it.
        closed: does it stand in brackets there?
    """

    head: str
    parts: tuple[Formula, ...] = ()
    value: Any = None
    span: Span = field(default=(0, 0), compare=False)
    closed: bool = field(default=False, compare=False)

    @property
    def written(self) -> bool:
        """Does it stand in the text?"""
        return self.span[1] > self.span[0]

    @property
    def precedence(self) -> int:
        """How closely it holds together."""
        return PRECEDENCE.get(self.head, ATOM)


def number(value: int | Fraction) -> Formula:
    """A number.

    >>> number(2).value
    Fraction(2, 1)
    """
    return Formula("number", (), Fraction(value))


def walk(x: Formula) -> Iterator[Formula]:
    """The formula and everything in it."""
    yield x
    for part in x.parts:
        yield from walk(part)


def places(x: Formula, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Formula]]:
    """Every part, with the way to it."""
    yield path, x
    for k, part in enumerate(x.parts):
        yield from places(part, (*path, k))


def put(x: Formula, path: tuple[int, ...], new: Formula) -> Formula:
    """The formula with another part at a place; what holds it no longer stands in the text as it was.

    >>> put(Formula("neg", (number(1),)), (0,), number(2)).parts[0].value
    Fraction(2, 1)
    """
    if not path:
        return new
    k, rest = path[0], path[1:]
    parts = (*x.parts[:k], put(x.parts[k], rest, new), *x.parts[k + 1 :])
    return replace(x, parts=parts, span=(0, 0), closed=False)


def letters(x: Formula) -> set[str]:
    """The letters that no sum in it binds."""
    found = {k for k in x.value if isinstance(k, str) and k != ":"} if x.head in ("entry", "delta") else set()
    if x.head == "letter":
        found = {x.value}
    for part in x.parts:
        found |= letters(part)
    return found - set(x.value) if x.head == "sum" else found


def renamed(x: Formula, names: dict[str, str]) -> Formula:
    """With other letters in the place of free ones."""
    if not letters(x) & names.keys():
        return x
    value = x.value
    if x.head in ("entry", "delta"):
        value = tuple(names.get(k, k) if isinstance(k, str) else k for k in value)
    elif x.head == "letter":
        value = names.get(value, value)
    elif x.head == "sum":
        names = {old: new for old, new in names.items() if old not in value}
    return Formula(x.head, tuple(renamed(part, names) for part in x.parts), value)


def _ends_in_sum(x: Formula) -> bool:
    """Would a factor behind it be taken for a part of its last sum?"""
    if x.head == "sum":
        return not x.closed
    return x.head in ("·", "*", "⊙", "@") and not x.closed and _ends_in_sum(x.parts[-1])


# -------------------------------------------------------------------------------------------------------------- words


@dataclass(frozen=True)
class Words:
    """How a writer writes: the text that a formula stands in, the notation, and the spelling of every name.

    Attributes:
        text: the source.
        notation: ``python``, ``unicode`` or ``latex``.
        spelling: of (head, name), as in the text.
    """

    text: str
    notation: str = "unicode"
    spelling: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, x: Formula, above: int = 0) -> str:
        """A formula in the writer's own notation; parts that stand in the text are copied from it."""
        if x.written:
            own = self.text[x.span[0] : x.span[1]]
            return f"({own})" if x.precedence < above and not x.closed else own
        own = self._new(x)
        return f"({own})" if x.precedence < above else own

    def _new(self, x: Formula) -> str:
        python, latex = self.notation == "python", self.notation == "latex"
        part = [self.of(p, x.precedence) for p in x.parts]
        match x.head:
            case "number":
                return self._number(x.value)
            case "array" | "grad" | "size" | "free" | "loss":
                return self._name(x)
            case "letter":
                return str(x.value)
            case "entry":
                return self._subscripted(self.of(x.parts[0], ATOM), x.value)
            case "neg":
                return f"-{self.of(x.parts[0], 3)}"
            case "+":
                return f"{part[0]} + {part[1]}"
            case "-":
                return f"{part[0]} - {self.of(x.parts[1], 2)}"
            case "/" if latex:
                return rf"\frac{{{self.of(x.parts[0])}}}{{{self.of(x.parts[1])}}}"
            case "/" | "@":
                return f"{part[0]} {x.head} {self.of(x.parts[1], 4)}"
            case "*" if python:
                return f"{part[0]} * {self.of(x.parts[1], 4)}"
            case "⊙":
                return f"{part[0]} {chr(92) + 'odot' if latex else '*' if python else '⊙'} {self.of(x.parts[1], 3)}"
            case "·" | "*":
                operator = " * " if python and x.head == "*" else " "
                left = f"({part[0]})" if _ends_in_sum(x.parts[0]) else part[0]
                return f"{left}{operator}{self.of(x.parts[1], 2 if x.parts[1].head == 'sum' else 4)}"
            case "^":
                return self._power(x)
            case "T":
                return self.of(x.parts[0], ATOM) + (".T" if python else r"^\top" if latex else "ᵀ")
            case "sum":
                return self._sum(x)
            case "delta":
                return self._subscripted(r"\delta" if latex else "delta" if python else "δ", x.value)
            case "call":
                name = f"\\{x.value}" if latex and x.value in ("exp", "log", "tanh") else x.value
                return f"{name}({', '.join(map(self.of, x.parts))})"
            case "reduce":
                return self._reduced(x)
            case "holds":
                return f"{part[0]} {x.value} {part[1]}"
            case "cases":
                return f"{part[0]} if {part[1]} else {part[2]}"
            case "partial":
                top, bottom = (f"{chr(92) + 'partial ' if latex else '∂'}{self.of(p, ATOM)}" for p in x.parts)
                return rf"\frac{{{top}}}{{{bottom}}}" if latex else f"{top}/{bottom}"
            case "ones":
                return "1"
            case "eye":
                return "I"
        return f"{x.head}({', '.join(part)})"

    def _number(self, value: Fraction) -> str:
        if value.denominator == 1:
            return str(value.numerator)
        if self.notation == "latex":
            return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
        return f"{value.numerator}/{value.denominator}"

    def _name(self, x: Formula) -> str:
        if (x.head, x.value) in self.spelling:
            return self.spelling[x.head, x.value]
        if x.head != "grad":
            return str(x.value)
        for (head, name), spelling in self.spelling.items():  # as the writer writes the gradient of another array
            if head == "grad" and spelling.endswith(name):
                return spelling.removesuffix(name) + str(x.value)
        return {"python": f"g{x.value}", "latex": rf"\bar {x.value}"}.get(self.notation, f"{x.value}̄")

    def _subscripted(self, base: str, items: tuple[Item, ...]) -> str:
        if "/" in base:  # ∂L/∂w as a whole
            return base + self._subscript(items)
        return (
            f"{base}[{', '.join(map(str, items))}]"
            if "[" in self.text and self.notation == "python"
            else base + self._subscript(items)
        )

    def _subscript(self, items: tuple[Item, ...]) -> str:
        joined = "".join(map(str, items))
        return f"_{{{joined}}}" if self.notation == "latex" and len(items) > 1 else f"_{joined}" if joined else ""

    def _sum(self, x: Formula) -> str:
        body = self.of(x.parts[0], 2)
        over = "".join(x.value)
        sign = {"latex": r"\sum", "python": "sum"}.get(self.notation, "Σ")
        return f"{sign}_{{{over}}} {body}" if self.notation == "latex" else f"{sign}_{over} {body}"

    def _power(self, x: Formula) -> str:
        base, exponent = self.of(x.parts[0], 6), self.of(x.parts[1], ATOM)
        if self.notation == "python":
            return f"{base}**{exponent}"
        return f"{base}^{{{exponent}}}" if self.notation == "latex" and len(exponent) > 1 else f"{base}^{exponent}"

    def _reduced(self, x: Formula) -> str:
        kind, axis, keepdims = x.value
        arguments = [str(axis)] if axis is not None else []
        arguments += ["keepdims=True"] if keepdims else []
        if self.notation == "python":
            return f"{self.of(x.parts[0], ATOM)}.{kind}({', '.join(arguments)})"
        word = {("sum", -1, True): "rowsum", ("sum", 0, False): "colsum"}.get(x.value)
        inner = self.of(x.parts[0])
        return f"{word}({inner})" if word else f"{kind}({', '.join([inner, *[f'axis={axis}'] * (axis is not None)])})"
