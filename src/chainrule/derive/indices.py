"""Index notation: expressions for one entry of an array, as sums over indices of products of entries.

Expressions are immutable and built by the functions below the classes, which keep them in normal form: sums and
products are flat, like terms and equal factors are collected, a factor without the index of a sum stands before it. An
index has a name of its own wherever it is bound, so nothing can be captured. An entry outside of its array's bounds is
0, as in a convolution with padding.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True)
class Num:
    """A number."""

    value: Fraction


@dataclass(frozen=True)
class Symbol:
    """A size, or a hyper-parameter: a number that is not yet known, and that nothing is differentiated by."""

    name: str


@dataclass(frozen=True)
class Index:
    """An index that runs from 0 to its size. ``letter`` is how it would like to be printed."""

    name: str
    size: Expr
    letter: str = "i"


@dataclass(frozen=True)
class Entry:
    """One entry of an array; with ``bar``, of the loss's gradient with respect to it."""

    name: str
    at: tuple[Expr, ...]
    bar: bool = False


@dataclass(frozen=True)
class Add:
    """A sum of terms."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class Mul:
    """A product of factors."""

    factors: tuple[Expr, ...]


@dataclass(frozen=True)
class Pow:
    """A power with a number as exponent."""

    base: Expr
    exponent: Fraction


@dataclass(frozen=True)
class Fn:
    """A function of one number."""

    name: str
    arg: Expr


@dataclass(frozen=True)
class Sum:
    """The sum over some indices."""

    over: tuple[Index, ...]
    body: Expr


@dataclass(frozen=True)
class Max:
    """The largest value over some indices; entries outside of an array do not count."""

    over: tuple[Index, ...]
    body: Expr


@dataclass(frozen=True)
class Delta:
    """Kronecker's delta: 1 where two index expressions are equal, else 0."""

    left: Expr
    right: Expr


@dataclass(frozen=True)
class Holds:
    """Iverson's bracket: 1 where ``left relation right`` holds, else 0."""

    relation: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Within:
    """1 where an index expression lies from 0 to below ``size``, else 0."""

    index: Expr
    size: Expr


@dataclass(frozen=True)
class Partial:
    """A partial derivative that was not worked out yet."""

    of: Entry
    by: Entry


Expr = Num | Symbol | Index | Entry | Add | Mul | Pow | Fn | Sum | Max | Delta | Holds | Within | Partial

ZERO, ONE = Num(Fraction(0)), Num(Fraction(1))
LARGEST = 64  # powers of numbers beyond this one are left as they are
OPPOSITE = {">": "<=", "<=": ">", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}
_serial = itertools.count()


def fresh(size: Expr, letter: str = "i") -> Index:
    """An index that occurs nowhere else."""
    return Index(f"{letter}{next(_serial)}", size, letter)


def num(value: float | Fraction) -> Num:
    """A number as an expression.

    >>> num(0.5)
    Num(value=Fraction(1, 2))
    """
    return Num(value if isinstance(value, Fraction) else Fraction(str(value)))


# ------------------------------------------------------------------------------------------------------- construction


def add(*terms: Expr) -> Expr:
    """The sum, like terms collected.

    >>> x = Entry("x", ())
    >>> add(x, num(2), x) == add(num(2), mul(num(2), x))
    True
    """
    counts: dict[Expr, list] = {}
    for term in _flat(Add, terms):
        factor, rest = coefficient(term)
        counts.setdefault(canonical(rest), [rest, Fraction(0)])[1] += factor
    kept = [mul(Num(count), rest) for rest, count in counts.values() if count]
    if not kept:
        return ZERO
    return kept[0] if len(kept) == 1 else Add(tuple(sorted(kept, key=_place_in_sum)))


def mul(*factors: Expr) -> Expr:
    """The product, equal factors collected.

    >>> x = Entry("x", ())
    >>> mul(x, num(3), x, power(x, -2))
    Num(value=Fraction(3, 1))
    """
    number, powers = Fraction(1), dict[Expr, list]()
    for factor in _flat(Mul, factors):
        if isinstance(factor, Num):
            number *= factor.value
            continue
        base, exponent = as_power(factor)
        powers.setdefault(canonical(base), [base, Fraction(0)])[1] += exponent
    if not number:
        return ZERO
    kept = [power(base, exponent) for base, exponent in powers.values() if exponent]
    if any(isinstance(factor, (Num, Mul)) for factor in kept):  # a power of a number, or of a product
        return mul(Num(number), *kept)
    kept.sort(key=_place_in_product)
    if number != 1:
        if number == -1 and len(kept) == 1 and isinstance(kept[0], Add):
            return add(*[mul(Num(number), term) for term in kept[0].terms])
        kept.insert(0, Num(number))
    return ONE if not kept else kept[0] if len(kept) == 1 else Mul(tuple(kept))


def power(base: Expr, exponent: Fraction | int) -> Expr:
    """The power; that of a product is the product of the powers."""
    exponent = Fraction(exponent)
    match base:
        case _ if exponent == 0:
            return ONE
        case _ if exponent == 1:
            return base
        case Num(value) if exponent.denominator == 1 and (value or exponent > 0) and abs(exponent) <= LARGEST:
            return Num(value**exponent.numerator)
        case Num(value) if value == 1:
            return ONE
        case Pow(inner, first) if exponent.denominator == 1 or first.denominator > 1:
            return power(inner, first * exponent)
        case Mul(factors):
            return mul(*[power(factor, exponent) for factor in factors])
        case Delta() | Holds() | Within() if exponent > 0:
            return base
    return Pow(base, exponent)


def negative(x: Expr) -> Expr:
    """Minus x."""
    return mul(num(-1), x)


def total(over: Iterable[Index], body: Expr) -> Expr:
    """The sum over some indices: what does not have them stands before it, sums in sums are one.

    >>> k = fresh(Symbol("n"), "k")
    >>> total([k], num(2)) == mul(num(2), Symbol("n"))
    True
    """
    over = tuple(over)
    if not over or body == ZERO:
        return body
    if isinstance(body, Sum):
        return total((*over, *body.over), body.body)
    before: list[Expr] = []
    inside: list[Expr] = []
    for factor in factors_of(body):
        (inside if depends(factor, over) else before).append(factor)
    rest = mul(*inside)
    bound = tuple(k for k in over if depends(rest, (k,)))
    counts = [k.size for k in over if k not in bound]
    return mul(*before, *counts, Sum(bound, rest) if bound else rest)


def function(name: str, arg: Expr) -> Expr:
    """The function's value, where it is simple."""
    match name, arg:
        case "exp", Num(value) if value == 0:
            return ONE
        case "log", Num(value) if value == 1:
            return ZERO
        case ("exp", Fn("log", inner)) | ("log", Fn("exp", inner)):
            return inner
        case "sqrt", _:
            return power(arg, Fraction(1, 2))
    return Fn(name, arg)


def delta(left: Expr, right: Expr) -> Expr:
    """Kronecker's delta; 1 where both sides are the same."""
    return ONE if left == right else Delta(left, right)


def holds(relation: str, left: Expr, right: Expr) -> Expr:
    """Iverson's bracket; -a = -b is a = b."""
    if relation in ("==", "!=") and coefficient(left)[0] < 0 and coefficient(right)[0] < 0:
        return Holds(relation, negative(left), negative(right))
    return Holds(relation, left, right)


def _flat(kind: type, parts: Iterable[Expr]) -> Iterator[Expr]:
    for part in parts:
        if isinstance(part, kind):
            yield from part.terms if isinstance(part, Add) else part.factors  # type: ignore[union-attr]
        else:
            yield part


# ---------------------------------------------------------------------------------------------------------- structure


def parts_of(x: Expr) -> tuple[Expr, ...]:
    """The expressions that this one is made of."""
    match x:
        case Entry(_, at):
            return at
        case Add(parts) | Mul(parts):
            return parts
        case Pow(part, _) | Fn(_, part) | Sum(_, part) | Max(_, part):
            return (part,)
        case Delta(left, right) | Holds(_, left, right) | Within(left, right):
            return (left, right)
        case Partial(of, by):
            return (of, by)
    return ()


def rebuilt(x: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The same expression with its parts changed, again in normal form."""
    match x:
        case Entry(name, at, bar):
            return Entry(name, tuple(map(change, at)), bar)
        case Add(terms):
            return add(*map(change, terms))
        case Mul(factors):
            return mul(*map(change, factors))
        case Pow(base, exponent):
            return power(change(base), exponent)
        case Fn(name, arg):
            return function(name, change(arg))
        case Sum(over, body):
            return total(over, change(body))
        case Max(over, body):
            return Max(over, change(body))
        case Delta(left, right):
            return delta(change(left), change(right))
        case Holds(relation, left, right):
            return holds(relation, change(left), change(right))
        case Within(index, size):
            return Within(change(index), size)
        case Partial(of, by):
            return Partial(change(of), change(by))  # type: ignore[arg-type]
    return x


def walk(x: Expr) -> Iterator[Expr]:
    """The expression and everything in it."""
    yield x
    for part in parts_of(x):
        yield from walk(part)


@lru_cache(maxsize=65536)
def free_indices(x: Expr) -> frozenset[Index]:
    """The indices that no sum in it binds."""
    if isinstance(x, Index):
        return frozenset([x])
    inner = frozenset().union(*[free_indices(part) for part in parts_of(x)])
    return inner - frozenset(x.over) if isinstance(x, (Sum, Max)) else inner


def depends(x: Expr, indices: Iterable[Index]) -> bool:
    """Does it have one of these indices?"""
    return not free_indices(x).isdisjoint(indices)


def names_in(x: Expr) -> set[str]:
    """The arrays whose entries occur in it, gradients apart."""
    return {part.name for part in walk(x) if isinstance(part, Entry) and not part.bar}


def has(x: Expr, kind: type | tuple[type, ...]) -> bool:
    """Does such a node occur in it?"""
    return any(isinstance(part, kind) for part in walk(x))


def substitute(x: Expr, values: Mapping[Index, Expr]) -> Expr:
    """The expression with other index expressions in the place of its free indices."""
    if not values or not depends(x, values):
        return x
    if isinstance(x, Index):
        return values[x]
    return rebuilt(x, lambda part: substitute(part, values))


def replaced(x: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """The expression with some of its parts replaced."""
    return values[x] if x in values else rebuilt(x, lambda part: replaced(part, values))


def renewed(x: Expr) -> Expr:
    """The same with fresh indices wherever one is bound, to be used a second time in one expression."""
    if isinstance(x, (Sum, Max)):
        new = {k: fresh(k.size, k.letter) for k in x.over}
        body = renewed(substitute(x.body, new))
        return total(new.values(), body) if isinstance(x, Sum) else Max(tuple(new.values()), body)
    return rebuilt(x, renewed) if has(x, (Sum, Max)) else x


@lru_cache(maxsize=65536)
def canonical(x: Expr) -> Expr:
    """The same expression with bound indices named by their place, so that two can be compared."""
    return _canonical(x, {}) if has(x, (Sum, Max)) else x


def _canonical(x: Expr, names: dict[Index, Expr]) -> Expr:
    if isinstance(x, Index):
        return names.get(x, x)
    if isinstance(x, (Sum, Max)):
        order = [part for part in walk(x.body) if part in x.over]
        over = sorted(x.over, key=order.index)
        inner = {k: Index(f"#{len(names) + i}", k.size, "") for i, k in enumerate(over)}
        return type(x)(tuple(inner.values()), _canonical(x.body, {**names, **inner}))
    match x:
        case Add(terms):
            return Add(tuple(_canonical(term, names) for term in terms))
        case Mul(factors):
            return Mul(tuple(_canonical(factor, names) for factor in factors))
        case Pow(base, exponent):
            return Pow(_canonical(base, names), exponent)
    return rebuilt(x, lambda part: _canonical(part, names))


def same(x: Expr, y: Expr) -> bool:
    """Are they equal but for the names of bound indices?"""
    return canonical(x) == canonical(y)


def factors_of(x: Expr) -> tuple[Expr, ...]:
    """The factors; a single expression is its only one."""
    return x.factors if isinstance(x, Mul) else (x,)


def terms_of(x: Expr) -> tuple[Expr, ...]:
    """The terms; a single expression is its only one."""
    return x.terms if isinstance(x, Add) else (x,)


def coefficient(x: Expr) -> tuple[Fraction, Expr]:
    """The number in front, and the rest."""
    match x:
        case Num(value):
            return value, ONE
        case Mul((Num(value), *rest)):
            return value, rest[0] if len(rest) == 1 else Mul(tuple(rest))
    return Fraction(1), x


def as_power(x: Expr) -> tuple[Expr, Fraction]:
    """The base and the exponent."""
    return (x.base, x.exponent) if isinstance(x, Pow) else (x, Fraction(1))


# -------------------------------------------------------------------------------------------------------------- order


def _place_in_product(x: Expr) -> tuple:
    base, exponent = as_power(x)
    rank = {Num: 0, Symbol: 1, Index: 1.5, Entry: 3, Fn: 4, Delta: 5, Within: 6, Holds: 6, Add: 7, Max: 8, Sum: 9}
    place = 2 if isinstance(base, Entry) and base.bar else rank.get(type(base), 10)
    return (place, _skeleton(base), exponent < 0)


def _place_in_sum(x: Expr) -> tuple:
    number, rest = coefficient(x)
    if number < 0:
        return (2, rest != ONE, cost(rest), _skeleton(rest))
    length = cost(rest) if has(rest, Holds) else -len(factors_of(rest))
    return (1, rest != ONE, isinstance(rest, Symbol), not has(x, Sum), length, cost(rest), _skeleton(rest))


@lru_cache(maxsize=65536)
def _skeleton(x: Expr) -> str:
    """What it looks like without the names of indices: an order that renaming does not change."""
    match x:
        case Index(_, _, letter):
            return f"i{letter}"
        case Num(value):
            return str(value)
        case Symbol(name):
            return name
        case Entry(name, at, bar):
            return f"{name}{bar:d}[{','.join(map(_skeleton, at))}]"
        case Fn(name, _) | Holds(name, _, _):
            return f"{name}({','.join(map(_skeleton, parts_of(x)))})"
        case Pow(base, exponent):
            return f"{_skeleton(base)}^{exponent}"
    return f"{type(x).__name__}({','.join(map(_skeleton, parts_of(x)))})"


def _is_fraction(x: Expr) -> bool:
    powers = map(as_power, factors_of(x))
    return any(exponent < 0 and not isinstance(base, Symbol) for base, exponent in powers)


@lru_cache(maxsize=65536)
def cost(x: Expr) -> float:
    """How much there is to write: what simplifying makes smaller."""
    inner = sum(map(cost, parts_of(x))) if not isinstance(x, (Entry, Delta, Within)) else 0.0
    match x:
        case Num(value):
            return 0.3 if value == 1 else 0.5 + (0.2 if value.denominator > 1 else 0)
        case Symbol() | Index():
            return 0.6
        case Entry():
            return 1.0
        case Add(terms):
            return inner + 0.4 * (len(terms) - 1) + 1.2 * any(map(_is_fraction, terms))
        case Mul((Num(value), *_)) if value == -1:
            return inner - 0.4
        case Pow(_, exponent):
            return inner + 0.1 + (0.2 if exponent not in (2, -1, -2) else 0)
        case Fn() | Sum() | Max() | Delta() | Holds() | Within() | Partial():
            return inner + 1.0
    return inner
