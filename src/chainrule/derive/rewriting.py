"""Rewriting expressions: deltas contracted, products multiplied out, definitions folded back, factors taken out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from chainrule.derive.indices import (
    Add,
    Delta,
    Entry,
    Expr,
    Fn,
    Holds,
    Index,
    Max,
    Mul,
    Num,
    Pow,
    Sum,
    Symbol,
    Within,
    add,
    as_power,
    canonical,
    coefficient,
    cost,
    depends,
    factors_of,
    free_indices,
    function,
    has,
    mul,
    names_in,
    negative,
    parts_of,
    power,
    rebuilt,
    renewed,
    same,
    substitute,
    terms_of,
    total,
    walk,
)

# ------------------------------------------------------------------------------------------------------- distributing


def expanded(x: Expr, wanted: Callable[[Add], bool] = lambda _: True) -> Expr:
    """Products of sums multiplied out, and sums over sums split; only those sums that are wanted.

    >>> a, b = Entry("a", ()), Entry("b", ())
    >>> expanded(mul(a, add(a, b))) == add(power(a, 2), mul(a, b))
    True
    """
    x = rebuilt(x, lambda part: expanded(part, wanted))
    if isinstance(x, Sum):
        body = x.body
        if isinstance(body, Add) and wanted(body):
            return add(*[expanded(total(x.over, term), wanted) for term in body.terms])
        return x
    factors = factors_of(x)
    for k, factor in enumerate(factors):
        base, exponent = as_power(factor)
        if isinstance(base, Add) and exponent in (1, 2, 3) and (len(factors) > 1 or exponent > 1) and wanted(base):
            rest = mul(*factors[:k], *factors[k + 1 :], power(base, exponent - 1))
            return add(*[expanded(mul(rest, term), wanted) for term in base.terms])
    return x


def split(x: Expr) -> Expr:
    """Sums over sums split, and nothing else."""
    x = rebuilt(x, split)
    return add(*[total(x.over, term) for term in x.body.terms]) if isinstance(x, Sum) and isinstance(x.body, Add) else x


# -------------------------------------------------------------------------------------------------------- contracting


def contracted(x: Expr) -> Expr:
    """Every delta under a sum over one of its indices used up: only the term where its sides are equal is left.

    >>> i, k = Index("i", Symbol("n")), Index("k", Symbol("n"))
    >>> contracted(total([k], mul(Entry("x", (k,)), Delta(k, i)))) == Entry("x", (i,))
    True
    """
    x = rebuilt(x, contracted)
    if not isinstance(x, (Sum, Mul)) or not has(x, Delta):
        return x
    if isinstance(x, Mul):
        return x
    body = expanded(x.body, lambda sum_: has(sum_, Delta) and depends(sum_, x.over))
    return add(*[_one_term(x.over, term) for term in terms_of(body)])


def _one_term(over: tuple[Index, ...], term: Expr) -> Expr:
    """The sum over some indices of a product."""
    flat: list[Expr] = []
    for factor in factors_of(term):
        if isinstance(factor, Sum) and has(factor, Delta):
            factor = renewed(factor)
            assert isinstance(factor, Sum)
            over = (*over, *factor.over)
            flat += factors_of(factor.body)
        else:
            flat.append(factor)
    choices = sorted(_solutions(over, flat), key=lambda choice: choice[0])
    if not choices:
        return total(over, mul(*flat))
    rank, k, value, used = choices[0]
    rest = [substitute(factor, {k: value}) for factor in flat if factor is not used]
    if rank == 2:
        rest.append(Within(value, k.size))
    return contracted(total([i for i in over if i != k], mul(*rest)))


def _solutions(over: Iterable[Index], factors: list[Expr]) -> Iterator[tuple[int, Index, Expr, Expr]]:
    """How a delta can be solved for an index: rank 0 by another index, 1 within bounds anyway, 2 within bounds only."""
    for factor in factors:
        if not isinstance(factor, Delta):
            continue
        for k in over:
            value = _solved(factor, k)
            if value is None:
                continue
            if isinstance(value, Index) and value.size == k.size:
                yield 0, k, value, factor
            elif any(isinstance(other, Entry) and k in other.at for other in factors):
                yield 1, k, value, factor
            else:
                yield 2, k, value, factor


def _solved(equation: Delta, k: Index) -> Expr | None:
    """The value of k for which both sides are equal, if k stands in it with factor 1 or -1."""
    difference = expanded(add(equation.left, negative(equation.right)))
    own = [term for term in terms_of(difference) if depends(term, (k,))]
    if len(own) != 1 or coefficient(own[0])[1] != k or abs(coefficient(own[0])[0]) != 1:
        return None
    rest = add(*[term for term in terms_of(difference) if term is not own[0]])
    return negative(rest) if coefficient(own[0])[0] == 1 else rest


# ---------------------------------------------------------------------------------------------------------- factoring


def factored(x: Expr) -> Expr:
    """Common factors of terms taken out, from the inside to the outside.

    >>> a, b = Entry("a", ()), Entry("b", ())
    >>> factored(add(mul(a, b), power(a, 2))) == mul(a, add(a, b))
    True
    """
    x = rebuilt(x, factored)
    return _common_taken_out(x) if isinstance(x, Add) else x


def _common_taken_out(x: Add) -> Expr:
    powers = [_powers(term) for term in x.terms]
    bases = {canonical(base): base for term in powers for base, _ in term.values()}
    common: list[Expr] = []
    sizes: list[Expr] = []
    for key, base in bases.items():
        exponents = [term.get(key, (base, Fraction(0)))[1] for term in powers]
        smallest = min(exponents, key=abs)
        if smallest and all((e > 0) == (smallest > 0) for e in exponents):
            common.append(power(base, smallest))
        elif isinstance(base, Symbol) and min(exponents) < 0 and max(exponents) == 0 and base.name != "π":
            sizes.append(power(base, min(exponents)))
    if common and any(not isinstance(as_power(factor)[0], Symbol) for factor in common):
        common += sizes
    number = _common_number([coefficient(term)[0] for term in x.terms])
    if not common and (number.denominator == 1 and abs(number) == 1):
        return _grouped(x)
    common.append(Num(number))
    outside = mul(*common)
    inverse = power(outside, -1)
    inner = add(*[mul(term, inverse) for term in x.terms])
    inner = _grouped(inner) if isinstance(inner, Add) else inner
    return mul(outside, inner)


def _grouped(x: Expr) -> Expr:
    """Terms that share a factor put together, where that is shorter: 1 + x - x s is 1 + x (1 - s)."""
    if not isinstance(x, Add) or len(x.terms) < 3:
        return x
    best: Expr = x
    for base in dict.fromkeys(base for term in x.terms for base, e in _powers(term).values() if e > 0):
        own = [term for term in x.terms if _powers(term).get(canonical(base), (base, 0))[1] > 0]
        if 1 < len(own) < len(x.terms):
            rest = [term for term in x.terms if term not in own]
            inner = add(*[mul(term, power(base, -1)) for term in own])
            together = factored(inner) if isinstance(inner, Add) else inner
            candidate = add(*rest, mul(base, together))
            best = min(best, candidate, key=cost)
    return best


def _powers(term: Expr) -> dict[Expr, tuple[Expr, Fraction]]:
    powers = (as_power(factor) for factor in factors_of(term) if not isinstance(factor, Num))
    return {canonical(base): (base, exponent) for base, exponent in powers}


def _common_number(numbers: list[Fraction]) -> Fraction:
    """What can be taken out of all: the greatest common divisor, negative if all are."""
    top = math.gcd(*[abs(n.numerator) for n in numbers])
    bottom = math.lcm(*[n.denominator for n in numbers])
    sign = -1 if all(n < 0 for n in numbers) else 1
    if len({n.denominator for n in numbers}) > 1 and top == 1 and bottom > 4:
        return Fraction(sign)
    return Fraction(sign * top, bottom)


def over_one_denominator(x: Expr) -> Expr:
    """Terms with different denominators as one fraction."""
    x = rebuilt(x, over_one_denominator)
    if not isinstance(x, Add):
        return x
    lowest: dict[Expr, tuple[Expr, Fraction]] = {}
    for term in x.terms:
        for key, (base, exponent) in _powers(term).items():
            if (
                exponent < 0
                and not isinstance(base, (Num, Symbol))
                and exponent < lowest.get(key, (base, Fraction(0)))[1]
            ):
                lowest[key] = (base, exponent)
    if not lowest:
        return x
    denominator = mul(*[power(base, exponent) for base, exponent in lowest.values()])
    above = power(denominator, -1)
    return mul(denominator, expanded(add(*[expanded(mul(term, above)) for term in x.terms])))


def tidied(x: Expr) -> Expr:
    """Minus a difference, as the difference the other way round."""
    number, rest = coefficient(x)
    for factor in factors_of(rest) if number < 0 else ():
        if isinstance(factor, Add) and any(coefficient(term)[0] < 0 for term in factor.terms):
            others = [other for other in factors_of(rest) if other is not factor]
            return mul(Num(-number), *others, negative(factor))
    return x


# ------------------------------------------------------------------------------------------------------------ folding


@dataclass(frozen=True)
class Rule:
    """What may be written for what, for all values of the free indices of ``pattern``."""

    pattern: Expr
    result: Expr
    why: str


def rules_of(left: Expr, right: Expr, why: str, fixed: frozenset[str] = frozenset()) -> list[Rule]:
    """Ways to use ``left = right``: solved for what stands on the right, as far as that has one solution.

    Entries of the arrays in ``fixed`` are never replaced.

    >>> y, a, b = Entry("y", ()), Entry("a", ()), Entry("b", ())
    >>> [rule.result == mul(y, b) for rule in rules_of(y, mul(a, power(b, -1)), "") if rule.pattern == a]
    [True]
    """
    if isinstance(right, (Num, Symbol)) or same(left, right):
        return []
    found = [] if isinstance(right, (Entry, Mul)) else [Rule(right, left, why)]
    if isinstance(right, Entry):
        return [] if right.name in fixed else [Rule(right, left, why)]
    match right:
        case Mul(factors):
            below = [as_power(f)[1] < 0 and names_in(f) != set() for f in factors]
            quotient = any(below) and sum(below) == len(factors) - 1
            for factor in factors:
                base, exponent = as_power(factor)
                if (
                    isinstance(base, Entry)
                    and base.name in fixed
                    and quotient
                    and exponent == 1
                    and not free_indices(left) - free_indices(base)
                ):
                    found.append(Rule(base, mul(left, power(mul(*[f for f in factors if f is not factor]), -1)), why))
                if isinstance(factor, Num) or free_indices(left) - free_indices(base):
                    continue
                if isinstance(base, (Symbol, Holds)) or (exponent.numerator % 2 == 0):
                    continue
                rest = mul(*[other for other in factors if other is not factor])
                found += rules_of(power(mul(left, power(rest, -1)), 1 / exponent), base, why, fixed)
        case Pow(base, exponent) if exponent.numerator % 2:
            found += rules_of(power(left, 1 / exponent), base, why, fixed)
        case Add(terms):
            for term in terms:
                others = [other for other in terms if other is not term]
                if all(isinstance(other, (Num, Symbol)) for other in others):
                    found += rules_of(add(left, *map(negative, others)), term, why, fixed)
                if (isinstance(term, Fn) and term.name == "log") or _is_minus_log(term):
                    found += _exponentials(left, right, why, fixed)
                    break
    return found


def _is_minus_log(x: Expr) -> bool:
    number, rest = coefficient(x)
    return number == -1 and isinstance(rest, Fn) and rest.name == "log"


def _exponentials(left: Expr, right: Add, why: str, fixed: frozenset[str]) -> list[Rule]:
    """y = x - log s is e^y = e^x / s: solved for e^x."""
    product: list[Expr] = []
    for term in right.terms:
        number, rest = coefficient(term)
        product.append(power(function("exp", rest), number))
    return rules_of(Fn("exp", left), mul(*product), why, fixed)


def match(pattern: Expr, x: Expr, found: dict[Index, Expr]) -> dict[Index, Expr] | None:
    """The values of the pattern's indices with which it is ``x``; None if there are none."""
    if isinstance(pattern, Index):
        if pattern in found:
            return found if found[pattern] == x else None
        fits = isinstance(x, Index) and x.size == pattern.size
        return {**found, pattern: x} if fits else None
    if type(pattern) is not type(x):
        return None
    match pattern, x:
        case (Num(), _) | (Symbol(), _):
            return found if pattern == x else None
        case Entry(name, at, bar), Entry(other, there, bar2):
            return (
                _all(zip(at, there, strict=True), found) if (name, len(at), bar) == (other, len(there), bar2) else None
            )
        case Fn(name, arg), Fn(other, arg2):
            return match(arg, arg2, found) if name == other else None
        case Pow(base, exponent), Pow(base2, exponent2):
            return match(base, base2, found) if exponent == exponent2 else None
        case (Sum(over, body), Sum(over2, body2)) | (Max(over, body), Max(over2, body2)):
            return match(body, body2, found) if len(over) == len(over2) else None
        case Holds(relation, left, right), Holds(relation2, left2, right2):
            return _all([(left, left2), (right, right2)], found) if relation == relation2 else None
        case (Delta(), _) | (Within(), _):
            return _all(zip(parts_of(pattern), parts_of(x), strict=True), found)
    ours, theirs = parts_of(pattern), parts_of(x)
    if len(ours) != len(theirs):
        return None
    orders = itertools.permutations(theirs) if len(theirs) <= 4 else [theirs]
    return next((m for order in orders if (m := _all(zip(ours, order, strict=True), found)) is not None), None)


def _all(pairs: Iterable[tuple[Expr, Expr]], found: dict[Index, Expr]) -> dict[Index, Expr] | None:
    result: dict[Index, Expr] | None = found
    for ours, theirs in pairs:
        if result is None:
            return None
        result = match(ours, theirs, result)
    return result


def applied(rule: Rule, x: Expr) -> Expr:
    """The rule used wherever it fits."""
    values = match(rule.pattern, x, {})
    if values is not None and not (free_indices(rule.result) - values.keys()):
        return renewed(substitute(rule.result, values))
    if isinstance(x, (Sum, Max)) and any(isinstance(p, type(x)) and match(p, x, {}) for p in walk(rule.result)):
        return x  # what the rule itself writes is left alone
    if isinstance(x, Pow) and isinstance(rule.result, Pow) and match(rule.pattern, x.base, {}) is not None:
        inner = applied(rule, x.base)  # s is a root, so the root of its square is s itself
        return power(inner.base, inner.exponent * x.exponent) if isinstance(inner, Pow) else power(inner, x.exponent)
    return rebuilt(x, lambda part: applied(rule, part))


# -------------------------------------------------------------------------------------------------------- simplifying

TRIES = 12


def simplified(x: Expr, rules: Iterable[Rule]) -> Iterator[tuple[Expr, str]]:
    """Ever shorter forms, each with the reason why it is equal to the one before."""
    rules = list(rules)
    shortest = cost(factored(x))
    for _ in range(TRIES):
        candidates = list(_shorter(x, rules, shortest))
        if not candidates:
            return
        shortest, _, x, why = min(candidates, key=lambda c: c[:2])
        yield x, why


def _shorter(x: Expr, rules: list[Rule], limit: float) -> Iterator[tuple[float, int, Expr, str]]:
    open_ = expanded(x)
    fraction = over_one_denominator(x)
    tried: list[tuple[Expr, str]] = [(open_, "multiplied out"), (fraction, "over one denominator")]
    for rule in rules:
        for form in (x, split(x), open_):
            changed = applied(rule, form)
            if changed != form:
                tried.append((changed, rule.why))
                tried.append((expanded(changed), rule.why))
    for k, (form, why) in enumerate(tried):
        worth = cost(factored(form))
        if worth < limit - 0.05:
            yield round(worth, 3), k, form, why
