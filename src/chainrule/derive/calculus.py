"""Differentiation in index notation, line by line, each line with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from chainrule.derive.indices import (
    ONE,
    ZERO,
    Add,
    Entry,
    Expr,
    Fn,
    Index,
    Max,
    Mul,
    Num,
    Partial,
    Pow,
    Sum,
    Symbol,
    add,
    delta,
    factors_of,
    fresh,
    holds,
    mul,
    names_in,
    negative,
    num,
    power,
    rebuilt,
    renewed,
    same,
    substitute,
    total,
    walk,
)
from chainrule.derive.language import Program, Statement
from chainrule.derive.rewriting import Rule, applied, contracted, expanded, factored, rules_of, simplified, tidied

TARGET_LETTERS = "prstuv"


@dataclass(frozen=True)
class Line:
    """One line of a derivation: what it is equal to, and why."""

    right: Expr
    why: str


@dataclass
class Chain:
    """Lines that are equal, beginning with ``left``."""

    left: Expr
    lines: list[Line] = field(default_factory=list)

    def to(self, right: Expr, why: str) -> None:
        """A new line, unless it says the same as the one before."""
        if self.lines and same(self.lines[-1].right, right):
            return
        self.lines.append(Line(right, why))

    @property
    def result(self) -> Expr:
        """The last line."""
        return self.lines[-1].right


@dataclass
class Gradient:
    """The derivation of one gradient.

    Attributes:
        name: whose gradient it is.
        shape: its sizes.
        entry: the gradient's entry, the left-hand side.
        value: the closed form of this entry.
        jacobians: the derivatives of what lies between, then of what its gradient comes from.
        chain: the lines from the chain rule to the closed form.
        sources: the arrays whose gradients it is made from.
    """

    name: str
    shape: tuple[Expr, ...]
    entry: Entry
    jacobians: list[Chain]
    chain: Chain
    sources: list[str]

    @property
    def value(self) -> Expr:
        """The closed form of the entry."""
        return self.chain.result


# --------------------------------------------------------------------------------------------- the table of functions


def slope(x: Fn) -> Expr:
    """The derivative of a function of one number, at its argument."""
    u = x.arg
    match x.name:
        case "exp":
            return x
        case "log":
            return power(u, -1)
        case "tanh":
            return add(ONE, negative(power(x, 2)))
        case "sin":
            return Fn("cos", u)
        case "cos":
            return negative(Fn("sin", u))
        case "abs":
            return Fn("sign", u)
        case "sign":
            return ZERO
        case "erf":
            return mul(num(2), power(Symbol("π"), Fraction(-1, 2)), Fn("exp", negative(power(u, 2))))
    return Fn(x.name + "′", u)


RULES = {
    "exp": "exp′ = exp",
    "log": "log′ u = 1/u",
    "tanh": "tanh′ = 1 − tanh²",
    "sin": "sin′ = cos",
    "cos": "cos′ = −sin",
}
RULES |= {"abs": "|u|′ = sign u", "erf": "erf′ u = 2 exp(−u²)/√π"}


# ------------------------------------------------------------------------------------------------------ differentiate


def differentiate(x: Expr, by: Entry, reached: Iterable[str], why: dict[str, None]) -> Expr:
    """The derivative, with the derivatives of entries not yet worked out; the rules that were used go to ``why``."""
    reached = set(reached)

    def d(part: Expr) -> Expr:
        return differentiate(part, by, reached, why)

    match x:
        case _ if names_in(x).isdisjoint(reached):
            return ZERO
        case Entry():
            return Partial(x, by)
        case Add(terms):
            return add(*map(d, terms))
        case Mul(factors):
            moving = [k for k, factor in enumerate(factors) if not names_in(factor).isdisjoint(reached)]
            if len(moving) > 1:
                quotient = any(isinstance(factors[k], Pow) and factors[k].exponent < 0 for k in moving)  # type: ignore[union-attr]
                why["quotient rule" if quotient else "product rule"] = None
            return add(*[mul(*factors[:k], d(factors[k]), *factors[k + 1 :]) for k in moving])
        case Pow(base, exponent):
            if not isinstance(base, Entry) or exponent != 1:
                why["power rule"] = None
            return mul(Num(exponent), power(base, exponent - 1), d(base))
        case Fn(name, arg):
            if name in RULES:
                why[RULES[name]] = None
            if not isinstance(arg, Entry):
                why["chain rule"] = None
            return mul(slope(x), d(arg))
        case Sum(over, body):
            why["sum rule"] = None
            return total(over, d(body))
        case Max(over, body):
            why["only the largest counts"] = None
            new = {k: fresh(k.size, k.letter) for k in over}
            inner = substitute(body, new)
            return total(new.values(), mul(holds("==", inner, x), substitute(d(body), new)))
    return ZERO


def worked_out(x: Expr, known: Mapping[str, tuple[Entry, Expr]], by: Entry) -> Expr:
    """Every derivative of an entry that was left open put in."""
    if not isinstance(x, Partial):
        return rebuilt(x, lambda part: worked_out(part, known, by))
    if x.of.name == by.name:
        return mul(*[delta(i, p) for i, p in zip(x.of.at, by.at, strict=True)])
    entry, value = known[x.of.name]
    return renewed(substitute(value, dict(zip(entry.at, x.of.at, strict=True))))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- the calculus


class Calculus:
    """The gradients of a program's output: reverse mode, cut where arrays are multiplied as matrices."""

    def __init__(self, program: Program, *, seed: bool = True):
        self.program = program
        self.seed = seed  # is the gradient of a single number that comes out 1?
        self.output = program.output
        self.cuts = self._cuts()

    def _cuts(self) -> set[str]:
        """Whose gradients are worth a line: results and inputs of matrix products and convolutions."""
        cuts = {self.output.name}
        for statement in self.program.statements:
            if statement.contracts:
                cuts |= {statement.name, *names_in(statement.body)}
        return cuts

    def rules(self, until: Statement | None = None) -> list[Rule]:
        """What the definitions say, those of later lines apart."""
        rules, inputs = [], frozenset(self.program.shapes)
        for name in sorted(self.program.one_hot):
            shape = self.program.shapes[name]
            at = [fresh(size) for size in shape]
            rules.append(Rule(total(at[-1:], Entry(name, tuple(at))), ONE, f"the rows of `{name}` sum to 1"))
        for statement in self.program.statements:
            if not statement.contracts:
                rules += rules_of(statement.entry, statement.body, f"by the definition of `{statement.name}`", inputs)
                rules += self._known_sums(statement, rules)
            if statement is until:
                break
        return rules

    def _known_sums(self, s: Statement, rules: Iterable[Rule]) -> list[Rule]:
        """The sums of a line's entries that are numbers: the rows of a softmax sum to 1, deviations to 0."""
        found = []
        for k in s.at:
            value = expanded(total([k], s.body))
            for rule in rules:
                value = applied(rule, value)
            if isinstance(value, (Num, Symbol)):
                found.append(Rule(total([k], s.entry), value, f"by the definition of `{s.name}`, summed"))
        return found

    def gradients(self) -> list[Gradient]:
        """Every gradient, the last one first: those of what lies between, then those of the inputs."""
        between = [s.name for s in self.program.statements if s.name in self.cuts and s is not self.output]
        inputs = [name for name in self.program.shapes if name not in self.program.constants]
        wanted = [name for name in between[::-1] if self._depends_on(name, inputs)] + inputs
        return [self.gradient(name) for name in wanted]

    def _depends_on(self, name: str, inputs: Iterable[str]) -> bool:
        reached = set(inputs)
        for s in self.program.statements:
            if names_in(s.body) & reached:
                reached.add(s.name)
        return name in reached

    def shape(self, name: str) -> tuple[Expr, ...]:
        """The sizes of an input or of a result."""
        if name in self.program.shapes:
            return self.program.shapes[name]
        return next(s.shape for s in self.program.statements if s.name == name)

    def gradient(self, name: str) -> Gradient:
        """The gradient of an input, or of what lies between."""
        shape = self.shape(name)
        letters = self._target_letters(name, shape)
        sizes = [size for size in shape if size != ONE]
        by = Entry(name, tuple(fresh(size, letter) for size, letter in zip(sizes, letters, strict=False)))
        known: dict[str, tuple[Entry, Expr]] = {}
        jacobians, sources = [], []
        moving = {name}
        for s in self.program.statements:
            if s.name == name or not names_in(s.body) & moving:
                continue
            chain = self.jacobian(s, by, moving, known)
            jacobians.append(chain)
            known[s.name] = (s.entry, chain.result)
            if s.name in self.cuts:
                sources.append(s.name)
            else:
                moving.add(s.name)
        return Gradient(
            name, shape, Entry(name, by.at, True), jacobians, self._pulled_back(by, sources, known), sources
        )

    def _target_letters(self, name: str, shape: tuple[Expr, ...]) -> Iterable[str]:
        """Letters that no line has; where the lines are in index notation the names of the sizes, primed if taken."""
        if not self.program.indexed or len(self.output.at) < 3:
            return TARGET_LETTERS
        taken = {k.letter for s in self.program.statements for k in s.at}
        names = [
            size.name if isinstance(size, Symbol) and len(size.name) == 1 else c
            for size, c in zip(shape, TARGET_LETTERS, strict=False)
        ]
        return [name + "′" * (name in taken) for name in names]

    def jacobian(self, s: Statement, by: Entry, moving: set[str], known: Mapping[str, tuple[Entry, Expr]]) -> Chain:
        """The derivative of one line's entry by one entry of an array."""
        chain = Chain(Partial(s.entry, by))
        why: dict[str, None] = {}
        opened = differentiate(s.body, by, moving, why)
        if not all(isinstance(factor, (Num, Symbol, Partial)) for factor in factors_of(opened)):
            if "quotient rule" in why:
                why.pop("power rule", None)  # it is how a quotient is differentiated here
            chain.to(opened, ", ".join(why) or "a constant factor stays")
        used = sorted({part.of.name for part in walk(opened) if isinstance(part, Partial)} - {by.name})
        own = by.name in {part.of.name for part in walk(opened) if isinstance(part, Partial)}
        reasons = ([f"∂`{by.name}`/∂`{by.name}` is δ: 1 for the same entry, else 0"] if own and by.at else []) + [
            f"∂`{name}`/∂`{by.name}` from above" for name in used
        ]
        put_in = worked_out(opened, known, by)
        chain.to(put_in, "; ".join(reasons) or "put in")
        return self._finished(chain, s)

    def _finished(self, chain: Chain, until: Statement | None = None) -> Chain:
        """From a line with deltas under sums to the shortest form."""
        x = contracted(chain.result)
        chain.to(x, "δ contracted: one term of the sum is left")
        for form, why in simplified(x, self.rules(until)):
            chain.to(form, why)
        chain.to(factored(chain.result), "common factors taken out")
        if until is None or not until.at:
            chain.to(tidied(chain.result), "the sign taken in")
        return chain

    def _chain_rule(self, sources: list[str]) -> str:
        if sources == [self.output.name] and not self.output.at and self.seed:
            return f"`{sources[0]}` is the loss: its own gradient is 1"
        return f"chain rule: over every entry of {' and '.join(f'`{name}`' for name in sources)}"

    def _pulled_back(self, by: Entry, sources: list[str], known: Mapping[str, tuple[Entry, Expr]]) -> Chain:
        """The chain rule: what every output that the entry reaches passes back."""
        chain = Chain(Entry(by.name, by.at, True))
        if not sources:
            chain.to(ZERO, "the output does not depend on it")
            return chain
        opened, put_in = [], []
        for source in sources:
            entry, value = known[source]
            new: dict[Index, Expr] = {k: fresh(k.size, k.letter) for k in entry.at if isinstance(k, Index)}
            here = substitute(entry, new)
            assert isinstance(here, Entry)
            bar = ONE if self.seed and source == self.output.name and not entry.at else Entry(source, here.at, True)
            opened.append(total(new.values(), mul(bar, Partial(here, by))))  # type: ignore[arg-type]
            put_in.append(total(new.values(), mul(bar, renewed(substitute(value, new)))))  # type: ignore[arg-type]
        chain.to(add(*opened), self._chain_rule(sources))
        chain.to(add(*put_in), "the derivative put in")
        return self._finished(chain)
