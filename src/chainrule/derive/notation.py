"""Expressions in print: index notation and matrix notation, in Unicode or in LaTeX, by one walk over the tree."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from chainrule.derive.indices import (
    ONE,
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
    Partial,
    Pow,
    Sum,
    Symbol,
    Within,
    as_power,
    coefficient,
    factors_of,
    free_indices,
    has,
    negative,
    power,
)

POOL = "ijklmnopruvabcdegh"
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eps": "ε", "epsilon": "ε", "theta": "θ", "kappa": "κ",
    "lam": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "psi": "ψ",
    "omega": "ω", "eta": "η", "Phi": "Φ", "Sigma": "Σ", "Delta": "Δ",
}  # fmt: skip
GREEK_TEX = {
    letter: "\\" + {"eps": "varepsilon", "epsilon": "varepsilon", "lam": "lambda"}.get(name, name)
    for name, letter in GREEK.items()
}
SUBSCRIPTS = dict(zip("0123456789aehijklmnoprstuvx+-−", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ₊₋₋", strict=True))
SUPERSCRIPTS = dict(zip("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", strict=True))
RELATIONS = {">": ">", "<": "<", ">=": "≥", "<=": "≤", "==": "=", "!=": "≠"}
RELATIONS_TEX = {">=": r"\ge", "<=": r"\le", "==": "=", "!=": r"\ne"}
ACCENTS = {"hat": ("\u0302", r"\hat"), "tilde": ("\u0303", r"\tilde")}

SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4  # how strongly a printed expression holds together


@dataclass(frozen=True)
class Printed:
    """Text, and how strongly it holds together; ``minus``: it begins with a minus sign."""

    text: str
    level: int = ATOM

    @property
    def minus(self) -> bool:
        """Does it begin with a minus sign?"""
        return self.text.startswith(("−", "-"))


class Unicode:
    """Plain text with Unicode's letters."""

    minus, times, dot, transposed = "−", " ", " ⊙ ", "ᵀ"
    space, followed = " ", " · "

    def name(self, name: str, bar: bool = False) -> str:
        """A variable: Greek letters, hats and bars over it, a number below it.

        >>> Unicode().name("xhat", bar=False), Unicode().name("z1", bar=True)
        ('x̂', 'z̄₁')
        """
        stem, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()  # type: ignore[union-attr]
        accent = ""
        for word, (mark, _) in ACCENTS.items():
            if stem.endswith(word) and len(stem) > len(word):
                stem, accent = stem.removesuffix(word), mark
        letter = GREEK.get(stem, stem)
        head, tail = letter[:1], letter[1:]
        return unicodedata.normalize("NFC", head + accent + "\u0304" * bar + tail) + self.subscript(digits)

    def index(self, letter: str) -> str:
        """An index."""
        return letter

    def subscript(self, text: str) -> str:
        """Below the line."""
        return "".join(SUBSCRIPTS[c] for c in text)

    def entry(self, name: str, bar: bool, at: Sequence[str]) -> str:
        """An entry: subscripts where there are such letters, else brackets."""
        if not at:
            return self.name(name, bar)
        if all(k in SUBSCRIPTS for k in at) and not name[-1:].isdigit():
            return self.name(name, bar) + "".join(SUBSCRIPTS[k] for k in at)
        if all(k in SUBSCRIPTS for k in at):
            return self.paren(self.name(name, bar)) + "".join(SUBSCRIPTS[k] for k in at)
        return f"{self.name(name, bar)}[{', '.join(at)}]"

    def delta(self, left: str, right: str) -> str:
        """Kronecker's delta."""
        both = left + right
        return (
            "δ" + "".join(SUBSCRIPTS[k] for k in both) if all(k in SUBSCRIPTS for k in both) else f"δ[{left}, {right}]"
        )

    def sum(self, sign: str, over: Sequence[str], body: str) -> str:
        """A sum, or a maximum, over indices."""
        letters = "".join(over)
        if all(k in SUBSCRIPTS for k in letters):
            return f"{sign}{''.join(SUBSCRIPTS[k] for k in letters)} {body}"
        return f"{sign}[{', '.join(over)}] {body}"

    sigma, largest = "Σ", "max"

    def fraction(self, above: Printed, below: Printed, followed: bool = False) -> Printed:
        """A quotient on one line; ``followed``: by another factor."""
        top = above.text if above.level >= PRODUCT else f"({above.text})"
        single = not followed and below.text.startswith((self.sigma, self.largest)) and below.level == PRODUCT
        bottom = below.text if below.level >= POWER or single else f"({below.text})"
        short = len(bottom) < 10 and not set("( ") & set(top) and "(" not in bottom[1:]
        return Printed(f"{top}/{bottom}" if short else f"{top} / {bottom}", PRODUCT)

    def power(self, base: Printed, exponent: str) -> str:
        """A power."""
        inner = base.text if base.level == ATOM else f"({base.text})"
        if all(c in SUPERSCRIPTS for c in exponent):
            return inner + "".join(SUPERSCRIPTS[c] for c in exponent)
        return f"{inner}^({exponent})"

    def root(self, inner: Printed) -> str:
        """A square root."""
        return f"√{inner.text}" if inner.level == ATOM else f"√({inner.text})"

    def call(self, name: str, arg: str) -> str:
        """A function's value."""
        return f"|{arg}|" if name == "abs" else f"{GREEK.get(name, name)}({arg})"

    def holds(self, relation: str, left: str, right: str) -> str:
        """Iverson's bracket."""
        return f"[{left} {RELATIONS[relation]} {right}]"

    def within(self, index: str, size: str) -> str:
        """A range."""
        return f"[0 ≤ {index} < {size}]"

    def partial(self, of: str, by: str) -> str:
        """A partial derivative."""
        return f"∂{of}/∂{by}"

    def paren(self, inner: str) -> str:
        """In parentheses."""
        return f"({inner})"

    def word(self, name: str) -> str:
        """The name of an operation on matrices."""
        return name


class Latex(Unicode):
    """LaTeX, as inside of an amsmath display."""

    minus, times, dot, transposed = "-", " ", r" \odot ", r"^\top"
    space = followed = r"\,"
    sigma, largest = r"\sum", r"\max"

    def name(self, name: str, bar: bool = False) -> str:
        r"""A variable.

        >>> Latex().name("xhat"), Latex().name("z1", bar=True)
        ('\\hat{x}', '\\bar{z}_{1}')
        """
        stem, digits = re.fullmatch(r"(.*?)_?(\d*)", name).groups()  # type: ignore[union-attr]
        wrap = "{}"
        for word, (_, command) in ACCENTS.items():
            if stem.endswith(word) and len(stem) > len(word):
                stem, wrap = stem.removesuffix(word), command + "{{{}}}"
        letter = GREEK_TEX.get(
            GREEK.get(stem, stem), stem if len(stem) == 1 else rf"\mathit{{{stem}}}".replace("_", r"\_")
        )
        letter = wrap.format(letter)
        return (rf"\bar{{{letter}}}" if bar else letter) + (f"_{{{digits}}}" if digits else "")

    def index(self, letter: str) -> str:
        """An index."""
        return letter.replace("′", "'")

    def entry(self, name: str, bar: bool, at: Sequence[str]) -> str:
        """An entry."""
        whole = self.name(name, bar)
        short = all(len(k.rstrip("'")) == 1 for k in at)
        indices = "".join(at) if short else ", ".join(at)
        if not at:
            return whole
        return f"{whole[:-1]},{indices}}}" if re.search(r"_\{\d+\}$", whole) else f"{whole}_{{{indices}}}"

    def delta(self, left: str, right: str) -> str:
        """Kronecker's delta."""
        return (
            rf"\delta_{{{left}{right}}}"
            if len((left + right).replace("'", "")) == 2
            else rf"\delta_{{{left},\,{right}}}"
        )

    def sum(self, sign: str, over: Sequence[str], body: str) -> str:
        """A sum, or a maximum, over indices."""
        return f"{sign}_{{{' '.join(over)}}} {body}"

    def fraction(self, above: Printed, below: Printed, followed: bool = False) -> Printed:
        """A fraction."""
        return Printed(rf"\frac{{{above.text}}}{{{below.text}}}", PRODUCT)

    def power(self, base: Printed, exponent: str) -> str:
        """A power."""
        inner = f"{{{base.text}}}" if base.level == ATOM else rf"\left({base.text}\right)"
        return f"{inner}^{{{exponent}}}"

    def root(self, inner: Printed) -> str:
        """A square root."""
        return rf"\sqrt{{{inner.text}}}"

    def call(self, name: str, arg: str) -> str:
        """A function's value."""
        if name == "abs":
            return rf"\left|{arg}\right|"
        if name == "exp":
            return rf"e^{{{arg}}}"
        command = rf"\{name}" if name in ("log", "tanh", "sin", "cos") else GREEK_TEX.get(GREEK.get(name, ""))
        plain = name.replace("′", "'")
        command = command or (plain if len(plain.rstrip("'")) == 1 else rf"\operatorname{{{plain}}}")
        return rf"{command}\left({arg}\right)"

    def holds(self, relation: str, left: str, right: str) -> str:
        """Iverson's bracket."""
        return rf"\left[{left} {RELATIONS_TEX.get(relation, relation)} {right}\right]"

    def within(self, index: str, size: str) -> str:
        """A range."""
        return rf"\left[0 \le {index} < {size}\right]"

    def partial(self, of: str, by: str) -> str:
        """A partial derivative."""
        return rf"\frac{{\partial {of}}}{{\partial {by}}}"

    def paren(self, inner: str) -> str:
        """In parentheses."""
        return rf"\left({inner}\right)"

    def word(self, name: str) -> str:
        """The name of an operation on matrices."""
        return rf"\operatorname{{{name}}}"


UNICODE, LATEX = Unicode(), Latex()


@dataclass
class Writer:
    """Writes expressions; ``letters`` are those of the free indices, whose order is also that of the factors.

    >>> i = Index("i0", Symbol("n"), "i")
    >>> Writer(UNICODE, [i]).text(negative(power(Entry("x", (i,)), -2)))
    '−1/xᵢ²'
    """

    style: Unicode
    free: Sequence[Index] = ()
    wanted: Mapping[Index, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give a letter to every free index."""
        self.letters: dict[Index, str] = {}
        self.depth = 0  # inside of how many sums
        for k in self.free:
            self.letters[k] = self._letter(self.wanted.get(k, k.letter))

    def _letter(self, wanted: str) -> str:
        used = set(self.letters.values())
        if wanted not in used:
            return wanted
        start = POOL.find(wanted) + 1
        return next((c for c in POOL[start:] + POOL if c not in used), wanted + "′")

    def text(self, x: Expr) -> str:
        """The expression as text."""
        return self.of(x).text

    def of(self, x: Expr) -> Printed:
        """The expression, and how strongly it holds together."""
        s = self.style
        match x:
            case Num(value):
                return self._number(value)
            case Symbol(name):
                return Printed(s.name(name))
            case Index():
                return Printed(s.index(self.letters.get(x, x.letter)))
            case Entry(name, at, bar):
                return Printed(s.entry(name, bar, [self._index(k) for k in at]))
            case Add(terms):
                return self._sum(terms)
            case Mul():
                return self._product(x)
            case Pow():
                return self._product(x)
            case Fn(name, arg):
                return Printed(s.call(name, self.text(arg)))
            case Sum(over, body):
                return self._bound(s.sigma, over, body)
            case Max(over, body):
                return self._bound(s.largest, over, body)
            case Delta(left, right):
                return Printed(s.delta(self._index(left), self._index(right)))
            case Holds(relation, left, right):
                return Printed(s.holds(relation, self.text(left), self.text(right)))
            case Within(index, size):
                return Printed(s.within(self.text(index), self.text(size)))
            case Partial(of, by):
                return Printed(s.partial(self.text(of), self.text(by)), POWER)
        raise TypeError(type(x).__name__)

    def _index(self, k: Expr) -> str:
        return self.text(k)

    def _number(self, value: Fraction) -> Printed:
        if value < 0:
            return Printed(self.style.minus + self._number(-value).text, SUM)
        if value.denominator == 1:
            return Printed(str(value.numerator))
        if value.denominator > 1000 or value.numerator > 1000:
            return Printed(f"{float(value):g}")
        return self.style.fraction(Printed(str(value.numerator)), Printed(str(value.denominator)))

    def _sum(self, terms: Iterable[Expr]) -> Printed:
        written = ""
        for term in terms:
            number, _ = coefficient(term)
            if number < 0:
                part = self.of(negative(term))
                text = part.text if part.level > SUM else self.style.paren(part.text)
                written += f" {self.style.minus} {text}" if written else f"{self.style.minus}{text}"
            else:
                written += f" + {self.text(term)}" if written else self.text(term)
        return Printed(written, SUM)

    def _product(self, x: Expr) -> Printed:
        number, rest = coefficient(x)
        if number < 0:
            inner = self.of(negative(x))
            return Printed(self.style.minus + inner.text, SUM)
        above: list[Expr] = [Num(Fraction(number.numerator))]
        below: list[Expr] = [Num(Fraction(number.denominator))]
        for factor in self._ordered(factors_of(rest) if rest != ONE else ()):
            base, exponent = as_power(factor)
            (above if exponent > 0 else below).append(power(base, abs(exponent)))
        above, below = ([f for f in side if f != ONE] for side in (above, below))
        if not below:
            return self._line(above)
        front = [f for f in above if isinstance(f, Delta)]
        early = [f for f in above if isinstance(as_power(f)[0], (Num, Symbol, Index, Entry, Fn))]
        late = [f for f in above if f not in early and f not in front]
        plain = all(isinstance(as_power(f)[0], (Num, Symbol)) for f in (*early, *below))
        summed = not early or any(has(f, Sum) for f in (*early, *below))
        with_sum = late and all(isinstance(f, (Sum, Max)) for f in late) and not plain and summed
        moving = any(isinstance(f, Partial) for f in late)
        if (
            late
            and not moving
            and (with_sum or not (early or plain) or (plain and isinstance(late[0], Add) and not early))
        ):
            early, late = [*early, *late], []
        numbers = [f for f in early if isinstance(as_power(f)[0], (Num, Symbol))]
        if all(isinstance(as_power(f)[0], (Num, Symbol)) for f in below) and numbers:
            late, front, early = [*early[len(numbers) :], *front, *late], [], numbers
        elif plain and not early[1:]:
            late, front = [*front, *late], []
        fraction = self.style.fraction(self._line(early or [ONE], closed=True), self._line(below), bool(late))
        parts = [self._line(front).text] if front else []
        parts.append(fraction.text)
        if not late:
            return Printed(self.style.times.join(parts), PRODUCT)
        rest_ = self._line(late, alone=False).text
        joined = self.style.followed if " " in fraction.text and not rest_.startswith("(") else self.style.space
        return Printed(self.style.times.join(parts) + joined + rest_, PRODUCT)

    def _ordered(self, factors: Sequence[Expr]) -> list[Expr]:
        """Entries of a product of matrices in the order of the product: by the place of their free index."""
        entries = [f for f in factors if isinstance(f, Entry)]
        places = [[k for k, index in enumerate(self.free) if index in free_indices(f)] for f in entries]
        if not self.depth or len(entries) != 2 or not all(places) or places[0][0] <= places[1][0]:
            return list(factors)
        return [f if not isinstance(f, Entry) else entries.pop() for f in factors]

    def _line(self, factors: Sequence[Expr], *, alone: bool = True, closed: bool = False) -> Printed:
        """A product without a fraction; ``alone``: nothing stands beside it; ``closed``: something follows."""
        if len(factors) == 1 and alone:
            base, exponent = as_power(factors[0])
            if exponent == 1:
                return self.of(factors[0])
            return Printed(self._power(base, exponent), ATOM if exponent == Fraction(1, 2) else POWER)
        parts = []
        for k, factor in enumerate(factors):
            base, exponent = as_power(factor)
            last = k == len(factors) - 1
            if exponent != 1:
                parts.append(self._power(base, exponent))
                continue
            part = self.of(factor)
            open_ = last and not (closed and self.style is UNICODE)
            bare = part.level >= POWER or (part.level == PRODUCT and open_ and isinstance(factor, (Sum, Max)))
            parts.append(part.text if bare else self.style.paren(part.text))
        return Printed(self.style.times.join(parts), PRODUCT)

    def _power(self, base: Expr, exponent: Fraction) -> str:
        inner = self.of(base)
        if exponent == Fraction(1, 2):
            return self.style.root(inner)
        if isinstance(base, Fn):
            inner = Printed(inner.text, PRODUCT) if self.style is LATEX and base.name == "exp" else inner
        written = (
            str(exponent.numerator) if exponent.denominator == 1 else f"{exponent.numerator}/{exponent.denominator}"
        )
        return self.style.power(inner, written)

    def _bound(self, sign: str, over: Sequence[Index], body: Expr) -> Printed:
        before = dict(self.letters)
        self.depth += 1
        for k in over:
            self.letters[k] = self._letter(k.letter)
        inner = self.of(body)
        letters = [self.style.index(self.letters[k]) for k in over]
        self.letters = before
        self.depth -= 1
        text = inner.text if inner.level >= PRODUCT else self.style.paren(inner.text)
        return Printed(self.style.sum(sign, letters, text), PRODUCT)
