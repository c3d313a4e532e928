"""A formula with one place changed, for every change that would undo a known mistake; the simplest first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chainrule.derive.formula import Formula, Span, Words, letters, number, places, put, renamed

PRODUCTS = ("·", "*", "⊙", "@")
# Mistakes of a line of a derivation, beside those that the checker knows by name.
CAUSES = {
    "delta": "a Kronecker delta too few or too many, or with the wrong indices",
    "index": "a wrong index",
    "extra-sum": "a sum too many",
    "scope": "a factor with the index of a sum stands outside of it, or the reverse",
    "operator": "a wrong operation",
    "exponent": "a wrong exponent",
    "undefined": "no equation: an index or a shape does not fit",
}


@dataclass(frozen=True)
class Repair:
    """A change of a formula.

    Attributes:
        simplicity: how far-fetched the mistake is; small ones are tried first.
        cause: the name of the mistake.
        note: what is wrong, in words.
        formula: the whole formula, changed.
        span: the place in the text.
        before, after: the part, and what belongs there, in the writer's words.
    """

    simplicity: float
    cause: str
    note: str
    formula: Formula
    span: Span
    before: str
    after: str


@dataclass(frozen=True)
class Surroundings:
    """What a repair may use.

    Attributes:
        words: how the formula is written.
        free: the letters of the left side.
        arrays: the axes of every array that can be named.
        upstream: the array whose gradient comes in.
        sizes: the letters of sizes; the batch's first.
        alike: letters that run over the same size.
        symbols: hyper-parameters.
    """

    words: Words
    free: Sequence[str]
    arrays: dict[str, int]
    upstream: str
    sizes: Sequence[str]
    batch: str | None
    alike: dict[str, int]
    symbols: Sequence[str] = ()
    gradients: Sequence[str] = ()

    @property
    def index_notation(self) -> bool:
        """Does the equation speak of entries?"""
        return bool(self.alike)


Made = tuple[float, str, str, Formula]


def repairs(x: Formula, about: Surroundings) -> list[Repair]:
    """Every change of one place.

    >>> from chainrule.derive.reading import read
    >>> from chainrule.derive.words import Names
    >>> equation = read("gx = gy * 2", Names({"x": 1, "y": 1}, "y"))
    >>> about = Surroundings(equation.words, (), {"x": 1, "y": 1}, "y", ("n",), "n", {})
    >>> repairs(equation.sides[1], about)[0].after
    '-gy * 2'
    """
    found: list[Repair] = []
    for path, part, role, scope in _spots(x, (), "term", tuple(about.free)):
        for simplicity, cause, note, new in _changes(part, role, scope, about, whole=not path):
            formula = put(x, path, new)
            before, after = about.words.of(part), about.words.of(new)
            span = (
                part.parts[1].span
                if part.head in ("+", "-") and new.head in ("+", "-") and cause == "sign"
                else part.span
            )
            found.append(Repair(simplicity + 0.01 * len(path), cause, note, formula, span, before, after))
    found.sort(key=lambda repair: repair.simplicity)
    first: dict[Formula, Repair] = {}
    for repair in found:
        first.setdefault(repair.formula, repair)
    return [repair for formula, repair in first.items() if formula != x]


def pairs(single: Sequence[Repair], about: Surroundings) -> Iterator[tuple[Repair, Repair]]:
    """Two changes, simple ones first; the second is made in the formula that the first one gave."""
    second: dict[Formula, list[Repair]] = {}
    for least, most in ((0.0, 3.5), (3.5, 4.5), (4.5, 6.0)):
        for one in single:
            if one.simplicity > min(most - 1, 3.2):
                break
            others = (
                second.setdefault(one.formula, repairs(one.formula, about))
                if one.formula not in second
                else second[one.formula]
            )
            yield from ((one, other) for other in others if least <= one.simplicity + other.simplicity < most)


def _spots(x: Formula, path: tuple[int, ...], role: str, scope: tuple[str, ...]) -> Iterator[tuple]:
    """Every part, what it is there (a term, a factor, a divisor ...), and the letters in scope."""
    yield path, x, role, scope
    if x.head in ("entry", "partial"):
        return
    inner = (*scope, *(k for k in x.value if k not in scope)) if x.head == "sum" else scope
    for k, part in enumerate(x.parts):
        if x.head in PRODUCTS or (x.head == "/" and k == 0):
            own = "factor"
        elif x.head == "/":
            own = "divisor"
        elif x.head == "^":
            own = "base" if k == 0 else "exponent"
        elif x.head == "T":
            own = "base"
        elif x.head == "holds" or (x.head == "cases" and k == 1):
            own = "condition"
        elif x.head == "sum" and k == 1:
            continue
        else:
            own = "term"
        yield from _spots(part, (*path, k), own, inner)


def _changes(x: Formula, role: str, scope: tuple[str, ...], about: Surroundings, *, whole: bool) -> Iterator[Made]:
    if x.head == "holds":
        yield from _compared(x)
    if role == "condition":
        return
    yield from _flipped(x, about)
    if role == "term":
        yield from _signs(x, whole)
        yield from _factors_missing(x, scope, about)
        yield from _sums_missing(x, scope, about, whole)
    if role != "exponent":
        yield from _variables(x, scope, about)
        yield from _transposes(x, about)
        yield from _numbers(x, about)
        yield from _powers(x, role)
    yield from _letters(x, scope, about)
    yield from _left_out(x, about)
    yield from _sums(x, scope, about)
    yield from _operators(x)
    yield from _epsilons(x, role, about)
    if x.head == "cases":
        yield from _branches(x, about)


def _flipped(x: Formula, about: Surroundings) -> Iterator[Made]:
    if x.head in ("+", "-"):
        note = f"the sign before {about.words.of(x.parts[1])} is wrong"
        yield 1, "sign", note, Formula({"+": "-", "-": "+"}[x.head], x.parts)


def _signs(x: Formula, whole: bool) -> Iterator[Made]:
    if x.head not in ("+", "-", "neg") or whole:
        new = _negated(x)
        too_much = new.head != "neg" and x.head not in ("+", "-")
        yield 1.02, "sign", "the minus sign is too much" if too_much else "a minus sign is missing", new
    elif x.head == "neg":
        yield 1, "sign", "the minus sign is too much", x.parts[0]


def _negated(x: Formula) -> Formula:
    """Minus a term; a minus in front of its first factor is taken away."""
    stripped = _stripped(x)
    return Formula("neg", (x,)) if stripped is None else stripped


def _stripped(x: Formula) -> Formula | None:
    if x.head == "neg":
        return x.parts[0]
    if x.head in (*PRODUCTS, "/"):
        first = _stripped(x.parts[0])
        return None if first is None else Formula(x.head, (first, *x.parts[1:]))
    return None


def _numbers(x: Formula, about: Surroundings) -> Iterator[Made]:
    if x.head == "number":
        n = x.value
        for value in dict.fromkeys((n * 2, n / 2, n + 1, n - 1)):
            if value > 0 or n == 1:
                yield 2.5, "factor", f"{value} belongs there", number(value)
        for size in about.sizes:
            yield 2.6, "factor", f"{size} belongs there", Formula("size", (), size)
    if x.head == "size" and x.value in about.sizes:
        for size in about.sizes:
            if size != x.value:
                yield 2, "factor", f"the size {size} belongs there, not {x.value}", Formula("size", (), size)
        one_less = Formula("-", (x, number(1)))
        yield 2.8, "ddof", f"{x.value} - 1 belongs there", one_less
    if x.head in ("+", "-") and x.parts[1] == number(1) and x.parts[0].head == "size":
        yield 1.5, "ddof", f"{x.parts[0].value} belongs there", x.parts[0]


def _factors_missing(x: Formula, scope: tuple[str, ...], about: Surroundings) -> Iterator[Made]:
    """The term times something that was left out."""
    if x == number(0):
        return
    for size in about.sizes:
        is_batch = size == about.batch
        yield (
            2.2 - 0.1 * is_batch,
            "batch-mean-twice" if is_batch else "factor",
            f"the factor {size} is missing",
            _times(Formula("size", (), size), x),
        )
        cause = "batch-mean-missing" if is_batch else "factor"
        yield 2.2 - 0.1 * is_batch, cause, f"the factor 1/{size} is missing", _over(x, Formula("size", (), size))
    for value in (2, 3):
        yield 2.3, "factor", f"the factor {value} is missing", _times(number(value), x)
        yield 2.3, "factor", f"the factor 1/{value} is missing", _over(x, number(value))
    if about.index_notation:
        for a, b in itertools.combinations(scope, 2):
            if about.alike.get(a, 0) == about.alike.get(b, 1):
                missing = Formula("delta", (), (a, b))
                yield 1.8, "delta", f"a Kronecker delta is missing: {about.words.of(missing)}", _times(missing, x)
    for factor in _entries(scope, about):
        base = factor.parts[0] if factor.head == "entry" else factor
        is_upstream = base.head == "grad"
        cause = "upstream-ignored" if is_upstream else "parameter-missing"
        name = about.words.of(factor)
        yield (
            3 - 0.2 * is_upstream,
            cause,
            f"the factor {name} is missing",
            Formula("·" if about.index_notation else "⊙", (factor, x)),
        )
        if not is_upstream:
            yield 3.3, "parameter-missing", f"{name} is missing below the line", _over(x, factor)


def _times(factor: Formula, x: Formula) -> Formula:
    if x.head == "neg":
        return Formula("neg", (_times(factor, x.parts[0]),))
    return Formula("·", (factor, x))


def _over(x: Formula, divisor: Formula) -> Formula:
    if x.head == "/":
        return Formula("/", (x.parts[0], Formula("·", (divisor, x.parts[1]))))
    return Formula("/", (x, divisor))


def _entries(scope: tuple[str, ...], about: Surroundings) -> Iterator[Formula]:
    """Arrays, or their entries with letters in scope."""
    bases = [(Formula("array", (), name), axes) for name, axes in about.arrays.items()]
    bases += [(Formula("grad", (), name), about.arrays[name]) for name in about.gradients]
    for base, axes in bases:
        if not about.index_notation or not axes:
            yield base
        elif axes <= 2:
            for items in itertools.product(scope, repeat=axes):
                if len(set(items)) == len(items):
                    yield Formula("entry", (base,), items)


def _left_out(x: Formula, about: Surroundings) -> Iterator[Made]:
    """A product without one of its factors."""
    if x.head in PRODUCTS:
        for kept, gone in (x.parts, x.parts[::-1]):
            yield (
                2 + 0.5 * (gone.head == "sum"),
                _factor_cause(gone, about),
                f"the factor {about.words.of(gone)} is too much",
                kept,
            )
    if x.head == "/":
        divisor = x.parts[1]
        batch = divisor.head in ("size", "extent") and (divisor.value == about.batch or divisor.head == "extent")
        yield (
            2,
            "batch-mean-twice" if batch else "factor",
            f"the factor 1/{about.words.of(divisor)} is too much",
            x.parts[0],
        )
        yield 2.4, "operator", f"times {about.words.of(divisor)}, not divided by it", Formula("·", x.parts)
    if x.head == "delta":
        yield 2, "delta", "this Kronecker delta is too much", number(1)


def _factor_cause(x: Formula, about: Surroundings) -> str:
    base = x.parts[0] if x.head == "entry" else x
    if base.head == "delta":
        return "delta"
    if base.head == "grad" and base.value == about.upstream:
        return "upstream-twice"
    if base.head == "/" and base.parts[1].head in ("size", "extent"):
        return "batch-mean-twice" if base.parts[1].value in (about.batch, 0) else "factor"
    return "factor"


def _variables(x: Formula, scope: tuple[str, ...], about: Surroundings) -> Iterator[Made]:
    """Another array, or an entry where a whole array stands."""
    base = x.parts[0] if x.head == "entry" else x
    if base.head not in ("array", "grad") or base.value not in about.arrays:
        return
    for head, names in (("array", about.arrays), ("grad", about.gradients)):
        for name in names:
            if (head, name) != (base.head, base.value) and about.arrays[name] == about.arrays[base.value]:
                other = Formula(head, (), name)
                new = Formula("entry", (other,), x.value) if x.head == "entry" else other
                note = f"{about.words.of(other)} belongs there, not {about.words.of(base)}"
                yield 2 + 0.3 * (head != base.head), "wrong-saved", note, new
    if not about.index_notation:
        return
    for other in _entries(scope, about):
        own = other.parts[0] if other.head == "entry" else other
        if x.head != "entry" and own == base and about.arrays[base.value]:
            yield 1.4, "index", f"its indices are missing: {about.words.of(other)}", other
        elif x.head == "entry" and own != base:
            yield 2.9, "wrong-saved", f"{about.words.of(other)} belongs there, not {about.words.of(x)}", other


def _letters(x: Formula, scope: tuple[str, ...], about: Surroundings) -> Iterator[Made]:
    """Another letter at one place, two letters exchanged."""
    if x.head in ("entry", "delta"):
        items = x.value
        if len(items) == 2 and items[0] != items[1] and x.head == "entry":
            yield 1.5, "transposed", "its two indices are exchanged", Formula(x.head, x.parts, items[::-1])
        for k, item in enumerate(items):
            for letter in scope:
                if letter != item and isinstance(item, str):
                    changed = (*items[:k], letter, *items[k + 1 :])
                    cause = "delta" if x.head == "delta" else "index"
                    yield (
                        1.6 + (letter in items),
                        cause,
                        f"the index {letter} belongs there, not {item}",
                        Formula(x.head, x.parts, changed),
                    )
    if x.head in (*PRODUCTS, "sum", "/") and about.index_notation:
        inside = sorted(letters(x) | set(scope))
        for a, b in itertools.combinations(inside, 2):
            yield 2.2, "index", f"the indices {a} and {b} are exchanged", renamed(x, {a: b, b: a})
    if x.head == "sum" and len(x.value) == 1:
        (bound,) = x.value
        for letter in sorted(letters(x) - set(scope)):
            note = f"the sum must run over {letter}, not over {bound}"
            yield 1.3, "index", note, Formula("sum", x.parts, (letter,))
        for letter in scope:
            if letter != bound and letter in letters(x.parts[0]):
                body = renamed(x.parts[0], {letter: bound, bound: letter})
                yield (
                    1.9,
                    "index",
                    f"the sum runs over the wrong index: over {letter}, not {bound}",
                    Formula("sum", (body, *x.parts[1:]), x.value),
                )


def _sums(x: Formula, scope: tuple[str, ...], about: Surroundings) -> Iterator[Made]:
    if x.head == "sum":
        if not set(x.value) & letters(x.parts[0]) or set(x.value) <= set(scope):
            yield 1.5, "extra-sum", "this sum is too much", x.parts[0]
        for a in scope:
            for b in x.value:
                if about.alike.get(a) == about.alike.get(b) or b not in about.alike:
                    yield (
                        2.7,
                        "extra-sum",
                        f"only the term {b} = {a} of this sum belongs there",
                        renamed(x.parts[0], {b: a}),
                    )
        yield from _moved_out(x, scope)
    if x.head in PRODUCTS:
        yield from _moved_in(x)
        yield from _diagonals(x, scope)
    if x.head == "reduce":
        kind, axis, keepdims = x.value
        if kind == "mean":
            yield (
                1.5,
                "mean-for-sum",
                "a sum belongs there, not a mean",
                Formula("reduce", x.parts, ("sum", axis, keepdims)),
            )
        if kind == "sum":
            yield 1.7, "factor", "a mean belongs there, not a sum", Formula("reduce", x.parts, ("mean", axis, keepdims))
        for other in (0, -1, 1, None):
            if other != axis:
                note = f"it must run over axis {other}, not {axis}"
                yield 1.8, "index", note, Formula("reduce", x.parts, (kind, other, keepdims))
                yield 1.85, "index", note, Formula("reduce", x.parts, (kind, other, not keepdims))
        if not keepdims:
            yield 1.9, "index", "keepdims=True is missing", Formula("reduce", x.parts, (kind, axis, True))
        yield 2, "extra-sum", "this sum is too much", x.parts[0]


def _diagonals(x: Formula, scope: tuple[str, ...]) -> Iterator[Made]:
    """A product with the derivative of one entry, where every output depends on the input: g_i ∂y_i/∂x_i."""
    slopes = [part for part in x.parts if part.head == "partial" and all(end.head == "entry" for end in part.parts)]
    for slope in slopes:
        of, by = slope.parts
        for letter in sorted(set(of.value) & set(by.value) - {None, ":"}):
            other = next(k for k in "kslmnpqrtuv" if k not in letters(x) and k not in scope)
            rest = [renamed(part, {letter: other}) for part in x.parts if part is not slope]
            moved = Formula("partial", (renamed(of, {letter: other}), by))
            whole = Formula("sum", (Formula("·", (*rest, moved)),), (other,))
            yield (
                1.4,
                "elementwise-for-jacobian",
                f"every output {other} depends on the input {letter}: a sum is missing",
                whole,
            )


def _moved_in(x: Formula) -> Iterator[Made]:
    """A factor before a sum belongs under it, with the sum's index."""
    for before, other in (x.parts, x.parts[::-1]):
        if other.head != "sum":
            continue
        for factor, rest in _each_factor(before):
            for letter in sorted(letters(factor)):
                for bound in other.value:
                    inner = Formula("·", (other.parts[0], renamed(factor, {letter: bound})))
                    whole = Formula("sum", (inner, *other.parts[1:]), other.value)
                    note = f"it belongs under the sum, with the index {bound}"
                    yield 2.1, "scope", note, whole if rest is None else Formula(x.head, (rest, whole))


def _each_factor(x: Formula) -> Iterator[tuple[Formula, Formula | None]]:
    """Every factor of a product, and the others; of a square, one of two."""
    yield x, None
    for path, part in places(x):
        if part.head == "^" and part.parts[1] == number(2):
            yield part.parts[0], put(x, path, part.parts[0])
        elif path and part.head == "entry" and (rest := _without(x, path)) is not None:
            yield part, rest


def _moved_out(x: Formula, scope: tuple[str, ...]) -> Iterator[Made]:
    """A factor under a sum belongs before it, with an index from outside."""
    body = x.parts[0]
    for path, part in places(body):
        if part.head not in ("entry",) or not set(part.value) & set(x.value):
            continue
        rest = _without(body, path)
        if rest is None:
            continue
        for bound in x.value:
            for letter in scope:
                outside = renamed(part, {bound: letter})
                if outside != part:
                    note = f"it belongs before the sum, with the index {letter}"
                    yield 2.4, "scope", note, Formula("·", (outside, Formula("sum", (rest, *x.parts[1:]), x.value)))


def _without(x: Formula, path: tuple[int, ...]) -> Formula | None:
    """A product without the factor at a place; None if it is no factor."""
    if not path or x.head not in PRODUCTS:
        return None
    if len(path) == 1:
        return x.parts[1 - path[0]]
    inner = _without(x.parts[path[0]], path[1:])
    return None if inner is None else put(x, path[:1], inner)


def _sums_missing(x: Formula, scope: tuple[str, ...], about: Surroundings, whole: bool) -> Iterator[Made]:
    if about.index_notation:
        for letter in sorted(letters(x) - set(scope)):
            yield 1.2, "missing-sum", f"the sum over {letter} is missing", Formula("sum", (x,), (letter,))
        missing = tuple(sorted(letters(x) - set(scope)))
        if len(missing) > 1:
            yield (
                1.25,
                "missing-sum",
                f"the sums over {' and '.join(missing)} are missing",
                Formula("sum", (x,), missing),
            )
        return
    for axis in (0, -1):
        yield 2.0, "missing-sum", f"the sum over axis {axis} is missing", Formula("reduce", (x,), ("sum", axis, False))
        yield 2.1, "missing-sum", f"the sum over axis {axis} is missing", Formula("reduce", (x,), ("sum", axis, True))
    yield 2.2, "missing-sum", "the sum over all entries is missing", Formula("reduce", (x,), ("sum", None, False))


def _transposes(x: Formula, about: Surroundings) -> Iterator[Made]:
    if about.index_notation:
        return
    if x.head == "T":
        yield 1.4, "transposed", "this transpose is too much", x.parts[0]
    kind = "python" if about.words.notation == "python" else "matrix"
    if x.head in ("array", "grad") and about.arrays.get(x.value, 0) == 2:
        yield 1.4, "transposed", f"{about.words.of(x)} must be transposed", Formula("T", (x,), kind)
    if x.head in ("·", "@"):
        a, b = x.parts
        yield 1.6, "transposed", "the factors are in the wrong order", Formula(x.head, (b, a))
        first, second = (Formula("T", (p,), kind) if p.head != "T" else p.parts[0] for p in (a, b))
        yield (
            1.7,
            "transposed",
            f"{about.words.of(a)} must be transposed, and so must the other",
            Formula(x.head, (first, second)),
        )
        yield (
            1.75,
            "transposed",
            f"{about.words.of(a)} must be transposed and stand in front of the other",
            Formula(x.head, (second, first)),
        )
        yield (
            1.65,
            "transposed",
            f"{about.words.of(b)} must be transposed and stand in front",
            Formula(x.head, (second, a)),
        )
        yield (
            1.65,
            "transposed",
            f"{about.words.of(a)} must be transposed and stand behind",
            Formula(x.head, (b, first)),
        )
    if x.head in ("*", "⊙", "·"):
        yield 2.3, "operator", "a matrix product belongs there", Formula("@", x.parts)
    if x.head in ("@", "·"):
        yield (
            2.3,
            "operator",
            "an element-wise product belongs there",
            Formula("*" if kind == "python" else "⊙", x.parts),
        )


def _operators(x: Formula) -> Iterator[Made]:
    if x.head in PRODUCTS:
        a, b = x.parts
        yield 2.9, "operator", "a difference belongs there, not a product", Formula("-", (a, b))
        yield 2.95, "operator", "a sum belongs there, not a product", Formula("+", (a, b))
        yield 2.6, "operator", "a quotient belongs there, not a product", Formula("/", (a, b))
        if a.head in PRODUCTS:  # written as a chain: w eta gw
            first, middle = a.parts
            rest = Formula(x.head, (middle, b))
            yield 2.85, "operator", "a difference belongs there, not a product", Formula("-", (first, rest))
            yield 2.88, "operator", "a sum belongs there, not a product", Formula("+", (first, rest))
    if x.head in ("+", "-"):
        yield 3, "operator", "a product belongs there", Formula("·", x.parts)
        for kept, gone in (x.parts, x.parts[::-1]):
            yield 3.2, "unknown", f"the term {gone.head} is too much", kept


def _powers(x: Formula, role: str) -> Iterator[Made]:
    if x.head == "^":
        base, exponent = x.parts
        yield 2, "exponent", "this exponent is too much", base
        if exponent.head == "number":
            e = exponent.value
            for value in dict.fromkeys((e + 1, e - 1, -e, 2 * e, e / 2)):
                if value not in (0, e):
                    yield 2.2, "exponent", f"the exponent {value} belongs there", Formula("^", (base, _signed(value)))
        elif exponent.head == "neg" and exponent.parts[0].head == "number":
            e = -exponent.parts[0].value
            for value in dict.fromkeys((-e, e + 1, e - 1, 2 * e, e / 2)):
                if value not in (0, e):
                    yield 2.2, "exponent", f"the exponent {value} belongs there", Formula("^", (base, _signed(value)))
        return
    if role in ("exponent", "condition") or x.head in ("number", "neg", "+", "-", "sum", "delta", *PRODUCTS, "/"):
        return
    if x.head == "call" and x.value == "sqrt":
        yield 2, "exponent", "this root is too much", x.parts[0]
    yield 2.4, "exponent", "the exponent 2 is missing", Formula("^", (x, number(2)))
    yield 2.6, "exponent", "a root is missing", Formula("call", (x,), "sqrt")
    yield 2.7, "exponent", "the exponent 3 is missing", Formula("^", (x, number(3)))


def _signed(value: Fraction) -> Formula:
    return number(value) if value > 0 else Formula("neg", (number(-value),))


def _compared(x: Formula) -> Iterator[Made]:
    if x.head == "holds":
        for relation in {"<": (">", ">="), ">": ("<", "<="), "<=": (">",), ">=": ("<",), "==": ("!=",), "!=": ("==",)}[
            x.value
        ]:
            yield 2, "mask", f"{relation} belongs there, not {x.value}", Formula("holds", x.parts, relation)


def _epsilons(x: Formula, role: str, about: Surroundings) -> Iterator[Made]:
    for name in about.symbols:
        if "eps" in name and x.head == "array" and role in ("base", "term"):
            yield 2.4, "eps", f"{name} is missing", Formula("+", (x, Formula("size", (), name)))
    if x.head in ("+", "-") and x.parts[1].head == "size" and "eps" in x.parts[1].value:
        yield 1.9, "eps", f"{x.parts[1].value} does not belong there", x.parts[0]


def _branches(x: Formula, about: Surroundings) -> Iterator[Made]:
    """One case of two."""
    first, condition, other = x.parts
    for size in about.sizes:
        fraction = Formula("/", (number(1), Formula("size", (), size)))
        for sign, new in (("", fraction), ("-", Formula("neg", (fraction,)))):
            yield 2.3, "factor", f"otherwise it is {sign}1/{size}", Formula("cases", (first, condition, new))
    for value in (0, 1):
        yield 2.2, "factor", f"otherwise it is {value}", Formula("cases", (first, condition, number(value)))
    yield 2, "operator", "the two cases are exchanged", Formula("cases", (other, condition, first))
