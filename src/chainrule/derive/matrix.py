"""Matrix notation: what an expression in index notation is for whole arrays. It is printed, and written as NumPy code.

A node knows its axes by their indices. A sum over the index that two factors share is a product of matrices, one over
an axis of a single array is a sum of its rows or columns, and any other is an einsum. Indices that are more than an
index (those of convolutions) become windows.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from chainrule.derive.evaluate import BAR, UNKNOWN
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
    Pow,
    Sum,
    Symbol,
    Within,
    as_power,
    coefficient,
    factors_of,
    free_indices,
    fresh,
    mul,
    negative,
    power,
    terms_of,
    walk,
)
from chainrule.derive.notation import ATOM, LATEX, POWER, PRODUCT, SUM, Printed, Unicode, Writer

Axes = tuple[Index, ...]


@dataclass(frozen=True)
class Leaf:
    """An array by its name, or an expression of indices alone; ``at`` are its places."""

    entry: Expr
    axes: Axes


@dataclass(frozen=True)
class Scalar:
    """A number, a size or a hyper-parameter."""

    value: Expr
    axes: Axes = ()


@dataclass(frozen=True)
class Plus:
    """The sum of arrays, element by element; minus signs apart."""

    terms: tuple[tuple[bool, Node], ...]
    axes: Axes


@dataclass(frozen=True)
class Times:
    """Products and quotients, element by element."""

    above: tuple[Node, ...]
    below: tuple[Node, ...]
    axes: Axes
    negative: bool = False


@dataclass(frozen=True)
class Raised:
    """A power, element by element."""

    base: Node
    exponent: Fraction
    axes: Axes


@dataclass(frozen=True)
class Called:
    """A function, element by element."""

    name: str
    arg: Node
    axes: Axes


@dataclass(frozen=True)
class Compared:
    """1 where a relation holds, else 0."""

    relation: str
    left: Node
    right: Node
    axes: Axes


@dataclass(frozen=True)
class Reduced:
    """The sum or the maximum over some axes."""

    how: str
    arg: Node
    over: Axes
    axes: Axes


@dataclass(frozen=True)
class Product:
    """The product of two matrices, or of a matrix and a vector; axes that both have stand in front."""

    left: Node
    right: Node
    over: Index
    axes: Axes


@dataclass(frozen=True)
class Einsum:
    """A sum of products over indices, written as such."""

    parts: tuple[Node, ...]
    over: Axes
    axes: Axes


Node = Leaf | Scalar | Plus | Times | Raised | Called | Compared | Reduced | Product | Einsum


# -------------------------------------------------------------------------------------------------------- recognition


def recognised(x: Expr, order: Sequence[Index]) -> Node:
    """The array whose entries over the indices in ``order`` are the expression."""
    return _Recogniser(list(order)).node(x, top=True)


class _Recogniser:
    def __init__(self, order: list[Index]):
        self.order = order

    def axes(self, indices: Iterable[Index]) -> Axes:
        wanted = set(indices)
        return tuple(k for k in self.order if k in wanted)

    def node(self, x: Expr, *, top: bool = False) -> Node:
        axes = self.axes(free_indices(x))
        match x:
            case Num() | Symbol():
                return Scalar(x)
            case Entry() | Delta() | Within() | Index():
                return Leaf(x, axes)
            case Add(terms):
                parts = []
                for term in terms:
                    minus = coefficient(term)[0] < 0
                    parts.append((minus, self.node(negative(term) if minus else term, top=top and len(axes) < 2)))
                return Plus(tuple(parts), axes)
            case Pow(base, exponent):
                if exponent < 0:
                    return Times((Scalar(ONE),), (self.node(power(base, -exponent)),), axes)
                return Raised(self.node(base), exponent, axes)
            case Fn(name, arg):
                return Called(name, self.node(arg), axes)
            case Holds(relation, left, right):
                return Compared(relation, self.node(left), self.node(right), axes)
            case Mul():
                return self._product(x, axes, top)
            case Sum(over, body):
                return self._sum(over, body, axes, top)
            case Max(over, body):
                return self._reduction("max", over, body, axes)
        raise TypeError(type(x).__name__)

    def _product(self, x: Mul, axes: Axes, top: bool) -> Node:
        number, rest = coefficient(x)
        above, below = list[Node](), list[Node]()
        if abs(number.numerator) != 1:
            above.append(Scalar(Num(Fraction(abs(number.numerator)))))
        if number.denominator != 1:
            below.append(Scalar(Num(Fraction(number.denominator))))
        sums = [f for f in factors_of(rest) if isinstance(f, Sum)]
        for factor in factors_of(rest):
            base, exponent = as_power(factor)
            alone = isinstance(factor, Sum) and len(sums) == 1 and top
            side = above if exponent > 0 else below
            side.append(self.node(power(base, abs(exponent)), top=alone))
        return Times(tuple(above), tuple(below), axes, number < 0)

    def _bound(self, over: Axes, body: Expr) -> None:
        """Give the indices of a sum a place in the order: that which they have in an array of the body."""
        for k in over:
            if k not in self.order:
                self.order.insert(self._place(k, body), k)

    def _place(self, k: Index, body: Expr) -> int:
        entries = [part.at for part in walk(body) if isinstance(part, Entry) and k in part.at]
        for at in sorted(entries, key=len, reverse=True):
            after = [self.order.index(other) for other in at[at.index(k) + 1 :] if other in self.order]
            before = [self.order.index(other) for other in at[: at.index(k)] if other in self.order]
            if before and (not after or max(before) < min(after)):
                return max(before) + 1
            if after:
                return min(after)
        return len(self.order)

    def _reduction(self, how: str, over: Axes, body: Expr, axes: Axes) -> Node:
        self._bound(over, body)
        inner = self.node(body)
        return Reduced(how, inner, self.axes(set(over) & set(inner.axes)), axes)

    def _sum(self, over: Axes, body: Expr, axes: Axes, top: bool) -> Node:
        factors = factors_of(body)
        sets = [free_indices(f) for f in factors]
        shared = frozenset.intersection(*sets) - set(over) if sets else frozenset()
        own = [s - shared - set(over) for s in sets]
        groups = _connected(own)
        affine = any(_is_affine(part) for part in walk(body))
        if len(groups) < 2 and not affine:
            vector = [k for k, s in enumerate(own) if not s]
            plain = top and len(factors) == 2 and len(vector) == 1 and len(over) == 1 and not shared
            if not (plain and all(isinstance(f, Entry) for f in factors) and len(axes) == 1):
                return self._reduction("sum", over, body, axes)
            groups = [{k} for k in range(2)]
        self._bound(over, body)
        if len(groups) == 2 and len(over) == 1 and not affine and all(len(own[k]) <= 1 for g in groups for k in g):
            loose = [k for k in range(len(factors)) if not any(k in g for g in groups)]
            left, right = sorted(groups, key=lambda g: self._first(own, g))
            left = {*left, *loose}
            sides = [self._side([factors[k] for k in sorted(g)]) for g in (left, right)]
            return Product(sides[0], sides[1], over[0], self.axes(axes))
        return Einsum(tuple(self.node(f) for f in factors), self.axes(over), axes)

    def _first(self, own: Sequence[frozenset[Index]], group: set[int]) -> int:
        return min((self.order.index(k) for g in group for k in own[g]), default=len(self.order))

    def _side(self, factors: Sequence[Expr]) -> Node:
        return self.node(mul(*factors))


def _connected(sets: Sequence[frozenset[Index]]) -> list[set[int]]:
    """Which of the sets hang together; those that are empty belong to none."""
    groups: list[tuple[set[int], set[Index]]] = []
    for k, s in enumerate(sets):
        if not s:
            continue
        touching = [g for g in groups if g[1] & s]
        merged = ({k}.union(*[g[0] for g in touching]), set(s).union(*[g[1] for g in touching]))
        groups = [g for g in groups if g not in touching] + [merged]
    return [g[0] for g in groups]


def _is_affine(x: Expr) -> bool:
    return (isinstance(x, Entry) and any(not isinstance(k, Index) for k in x.at)) or isinstance(x, (Delta, Within))


def is_matrix(node: Node) -> bool:
    """Can it be written in matrix notation: no einsum, no windows, at most two axes at a time?"""
    match node:
        case Leaf(entry, axes):
            return (
                isinstance(entry, Entry)
                and not _is_affine(entry)
                and len(axes) <= 2
                and len(set(entry.at)) == len(entry.at)
            )
        case Einsum():
            return False
        case Product(left, right, _, axes):
            return len(axes) <= 2 and is_matrix(left) and is_matrix(right)
        case Plus(terms, axes):
            return len(axes) <= 2 and all(is_matrix(part) for _, part in terms)
        case Times(above, below, axes):
            return len(axes) <= 2 and all(map(is_matrix, (*above, *below)))
        case Raised(base, _, axes) | Called(_, base, axes):
            return is_matrix(base)
        case Compared(_, left, right):
            return is_matrix(left) and is_matrix(right)
        case Reduced(_, arg):
            return len(arg.axes) <= 2 and is_matrix(arg)
    return True


# ----------------------------------------------------------------------------------------------------------- printing


class MatrixWriter:
    """Writes nodes in matrix notation."""

    def __init__(self, style: Unicode, order: Axes):
        self.style, self.order = style, order
        self.words: dict[str, None] = {}  # the names of operations that were used

    def text(self, node: Node) -> str:
        """The array as text."""
        return self.of(node, node.axes).text

    def of(self, node: Node, axes: Axes) -> Printed:
        """The array, and how strongly it holds together."""
        s = self.style
        match node:
            case Scalar(value):
                return Writer(s).of(value)
            case Leaf(Entry(name, at, bar)):
                places = tuple(k for k in at if isinstance(k, Index))
                swapped = len(places) == 2 and places != tuple(k for k in axes if k in places)
                return Printed(s.name(name, bar) + s.transposed * swapped, ATOM)
            case Plus(terms):
                written = ""
                for minus, part in terms:
                    printed = self.of(part, axes)
                    text = s.paren(printed.text) if minus and printed.level <= SUM else printed.text
                    sign = s.minus if minus else "+"
                    written += f" {sign} {text}" if written else f"{s.minus if minus else ''}{text}"
                return Printed(written, SUM)
            case Times():
                return self._times(node, axes)
            case Raised(base, exponent):
                inner = self.of(base, axes)
                if exponent == Fraction(1, 2):
                    return Printed(s.root(inner))
                number = (
                    str(exponent.numerator)
                    if exponent.denominator == 1
                    else f"{exponent.numerator}/{exponent.denominator}"
                )
                return Printed(s.power(inner, number), POWER)
            case Called(name, arg):
                return Printed(self._call(name, self.of(arg, axes).text))
            case Compared(relation, left, right):
                return Printed(s.holds(relation, self.of(left, axes).text, self.of(right, axes).text))
            case Reduced(how, arg, over):
                word = self._word(how, arg.axes, over)
                return Printed(f"{s.word(word)}{s.paren(self.of(arg, arg.axes).text)}")
            case Product(left, right, k, _):
                return self._matmul(left, right, k)
        raise TypeError(type(node).__name__)

    def _call(self, name: str, arg: str) -> str:
        if self.style is LATEX and name == "exp":
            return rf"\exp\left({arg}\right)"
        return self.style.call(name, arg)

    def _word(self, how: str, axes: Axes, over: Axes) -> str:
        matrix = len(axes) == 2 and len(over) == 1
        word = ("row" if axes.index(over[0]) == 1 else "col") * matrix + how
        self.words[word] = None
        return word

    def _matmul(self, left: Node, right: Node, k: Index) -> Printed:
        first = tuple(i for i in left.axes if i != k)
        a = self.of(left, (*first, k))
        b = self.of(right, (k, *(i for i in right.axes if i != k)))
        if not first:  # a row on the left
            a = (
                Printed(a.text + self.style.transposed)
                if a.level == ATOM
                else Printed(f"{self.style.paren(a.text)}{self.style.transposed}")
            )
        sides = [p.text if p.level >= POWER else self.style.paren(p.text) for p in (a, b)]
        return Printed(" ".join(sides), PRODUCT)

    def _times(self, node: Times, axes: Axes) -> Printed:
        s = self.style
        above = [n for n in node.above if n != Scalar(ONE)]
        early: list[Node] = [
            n for n in above if not isinstance(n, (Plus, Product, Reduced, Compared)) and (node.below or not n.axes)
        ]
        late = [n for n in above if n not in early]
        if not any(n.axes for n in node.below):
            early = [n for n in above if not n.axes]
            late = [n for n in above if n.axes]
        if not early and node.below and (len(late) == 1 and not isinstance(late[0], Product)):
            early, late = late, []
        sign = s.minus if node.negative else ""
        column, row = ([n for n in above if n.axes == axes[k : k + 1]] for k in (0, 1))
        if len(axes) == 2 and column and row and len(column) + len(row) == len([n for n in above if n.axes]):
            return self._outer(node, early, column, row, axes)
        parts: list[tuple[str, bool]] = []  # text, is it an array?
        if node.below:
            top, bottom = self._row(early, axes), self._row(list(node.below), axes)
            if len(early) == 1 and isinstance(early[0], (Plus,)):
                top = Printed(top.text, SUM)
            parts.append((s.fraction(top, bottom).text, any(n.axes for n in (*early, *node.below))))
        elif early:
            parts.append((self._row(early, axes).text, any(n.axes for n in early)))
        for n in late:
            printed = self.of(n, axes)
            alone = len(late) == 1 and not parts
            matrix = isinstance(n, Product) and not any(array for _, array in parts) and len(late) == 1
            bare = printed.level >= POWER or alone or matrix
            parts.append((printed.text if bare else s.paren(printed.text), bool(n.axes)))
        text = parts[0][0]
        for (_, array), (following, also) in itertools.pairwise(parts):
            text += (s.dot if array and also else s.times) + following
        if len(parts) == 1 and not sign:
            whole = self.of(above[0], axes) if not node.below and len(above) == 1 else Printed(text, PRODUCT)
            return Printed(text, whole.level if not node.below else PRODUCT)
        return Printed(sign + text, SUM if sign else PRODUCT)

    def _outer(self, node: Times, early: list[Node], column: list[Node], row: list[Node], axes: Axes) -> Printed:
        """A column times a row."""
        s = self.style
        numbers = [n for n in early if not n.axes]
        sides = [self._row(side, (k,)) for side, k in zip((column, row), axes, strict=True)]
        left, right = (p.text if p.level >= POWER else s.paren(p.text) for p in sides)
        product = f"{left} {right}{s.transposed}"
        if node.below:
            front = s.fraction(self._row(numbers, axes), self._row(list(node.below), axes)).text
        else:
            front = self._row(numbers, axes).text if numbers else ""
        return Printed(
            f"{s.minus if node.negative else ''}{front}{' ' if front else ''}{product}",
            SUM if node.negative else PRODUCT,
        )

    def _row(self, nodes: Sequence[Node], axes: Axes) -> Printed:
        if not nodes:
            return Printed("1")
        if len(nodes) == 1:
            return self.of(nodes[0], axes)
        numbers = [n for n in nodes if not n.axes]
        arrays = [n for n in nodes if n.axes]

        def each(n: Node) -> str:
            printed = self.of(n, axes)
            return printed.text if printed.level >= POWER else self.style.paren(printed.text)

        product = self.style.dot.join(map(each, arrays))
        joined = self.style.times.join([*map(each, numbers), *([product] if product else [])])
        return Printed(joined, PRODUCT)


# --------------------------------------------------------------------------------------------------------- NumPy code

ADD, MULTIPLY, UNARY, RAISE, CALL = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Dialect:
    """How a library spells what the others have too."""

    module: str
    permute: str
    maximum: str
    root: str  # of a number that is no array
    pi: str


NUMPY = Dialect("np", "transpose", "max", "np.sqrt", "np.pi")
TORCH = Dialect("torch", "permute", "amax", "math.sqrt", "math.pi")


def node_is_number(node: Node) -> bool:
    """Is it a number, a size, or made of these alone?"""
    return not _holds_array(node)


def _is_logical(node: Node) -> bool:
    """Is its code an array of booleans? Their sum would be another one."""
    if isinstance(node, Times):
        return not node.below and bool(node.above) and all(map(_is_logical, node.above))
    return isinstance(node, Compared) or (isinstance(node, Leaf) and isinstance(node.entry, (Within, Delta)))


def _holds_array(node: Node) -> bool:
    match node:
        case Scalar():
            return False
        case Plus(terms):
            return any(_holds_array(part) for _, part in terms)
        case Times(above, below):
            return any(map(_holds_array, (*above, *below)))
        case Raised(base) | Called(_, base):
            return _holds_array(base)
    return True


@dataclass
class Code:
    """Python source of an array; ``layout`` are its axes, None where one has size 1."""

    text: str
    level: int
    layout: tuple[Index | None, ...]

    def within(self, level: int) -> str:
        """In parentheses if something of this level stands around it."""
        return self.text if self.level >= level else f"({self.text})"


@dataclass
class Coder:
    """Writes nodes as code.

    Attributes:
        shapes: those of all arrays; size 1 where an axis is kept after a reduction.
        sizes: source text for sizes and hyper-parameters that have another name in the code.
        bars: the names of gradients that have another one than ``g`` and the array's.
        dialect: whose code.
        needs: the helper functions that were used: "taken", "within", "erf".
        used: the sizes and hyper-parameters that were used.
        read: the arrays that were used.
        lines: assignments that have to stand before the code.
        like: an array that has the precision of all.
    """

    shapes: Mapping[str, tuple[Expr, ...]]
    sizes: Mapping[str, str] = field(default_factory=dict)
    bars: Mapping[str, str] = field(default_factory=dict)
    dialect: Dialect = NUMPY
    needs: dict[str, None] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    read: dict[str, None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    like: str = ""

    def code(self, node: Node, axes: Axes, shape: Sequence[Expr]) -> str:
        """The array with exactly these axes, size 1 kept as in ``shape``; broadcast where it does not depend on one."""
        places = iter(axes)
        whole = tuple(fresh(ONE) if size == ONE else next(places) for size in shape)
        self.order = list(whole)
        found = self.of(node, whole)
        found = self._laid_out(found, self._desired(whole, found.layout))
        if found.layout == tuple(k if k in axes else None for k in whole):
            return found.text
        sizes = ", ".join(self.size(size) for size in shape) + ("," if len(shape) == 1 else "")
        text = (
            found.text
            if self.dialect is NUMPY or found.layout or not node_is_number(node)
            else f"torch.tensor({found.text})"
        )
        return f"{self.dialect.module}.broadcast_to({text}, ({sizes}))"

    def size(self, x: Expr) -> str:
        """A size, a hyper-parameter or an index expression without indices, as source."""
        match x:
            case Num(value) if value.denominator == 1:
                return str(value.numerator)
            case Num(value):
                exact = f"{value.numerator} / {value.denominator}"
                return exact if value.denominator < 1000 else repr(float(value))
            case Symbol("π"):
                return self.dialect.pi
            case Symbol(name):
                self.used[name] = None
                return self.sizes.get(name, name)
        raise TypeError(type(x).__name__)

    def of(self, node: Node, axes: Axes) -> Code:
        """Code whose value broadcasts against the given axes."""
        match node:
            case Scalar(Num(value)):
                return Code(
                    self.size(node.value), CALL if value.denominator == 1 or value.denominator >= 1000 else MULTIPLY, ()
                )
            case Scalar(value):
                text = self.size(value)
                return Code(text, CALL if text.replace(".", "").isidentifier() or text.endswith("]") else MULTIPLY, ())
            case Leaf(Entry() as entry):
                return self._entry(entry, axes)
            case Leaf(entry):
                return self._indicator(entry, axes)
            case Plus(terms):
                return self._sum(terms, axes)
            case Times():
                return self._times(node, axes)
            case Raised(base, exponent):
                inner = self.of(base, axes)
                if exponent == Fraction(1, 2):
                    root = f"{self.dialect.module}.sqrt" if base.axes or _holds_array(base) else self.dialect.root
                    return Code(f"{root}({inner.text})", CALL, inner.layout)
                number = (
                    str(exponent.numerator)
                    if exponent.denominator == 1
                    else f"({exponent.numerator} / {exponent.denominator})"
                )
                return Code(f"{inner.within(CALL)}**{number}", RAISE, inner.layout)
            case Called(name, arg):
                inner = self.of(arg, axes)
                return Code(f"{self._function(name)}({inner.text})", CALL, inner.layout)
            case Compared(relation, left, right):
                a, b = self.of(left, axes), self.of(right, axes)
                return Code(f"({a.within(ADD)} {relation} {b.within(ADD)})", CALL, self._joint([a, b], axes))
            case Reduced():
                return self._reduced(node, axes)
            case Product():
                return self._matmul(node, axes)
            case Einsum():
                return self._einsum(node, axes)
        raise TypeError(type(node).__name__)

    def _function(self, name: str) -> str:
        if name == "erf" and self.dialect is NUMPY:
            self.needs["erf"] = None
            return "erf"
        if name.rstrip("′") in UNKNOWN:
            self.needs[name] = None
            return name.replace("′", "_prime")
        return f"{self.dialect.module}.{name}"

    # ------------------------------------------------------------------------------------------------------- leaves

    def _name(self, entry: Entry) -> str:
        if not entry.bar:
            self.read[entry.name] = None
            return entry.name
        return self.bars.get(entry.name, BAR + entry.name)

    def _entry(self, entry: Entry, axes: Axes) -> Code:
        name = self._name(entry)
        places = list(entry.at)
        layout: list[Expr | None] = []
        for size in self.shapes[entry.name]:
            layout.append(None if size == ONE else places.pop(0))
        text, level = name, CALL
        if any(k is not None and not isinstance(k, Index) for k in layout):
            text, layout, level = self._taken(text, layout)
        if len({k for k in layout if k is not None}) < len([k for k in layout if k is not None]):
            text, layout = self._diagonal(text, layout)
        return self._laid_out(Code(text, level, tuple(layout)), self._desired(axes, layout))  # type: ignore[arg-type]

    def _desired(self, axes: Axes, layout: Iterable[Expr | None]) -> list[Index | None]:
        own = {k for k in layout if k is not None}
        return [k if k in own else None for k in axes]

    def _taken(self, text: str, layout: list[Expr | None]) -> tuple[str, list[Expr | None], int]:
        """Entries at index expressions: each such axis becomes the axes of the indices in it."""
        self.needs["taken"] = None
        axis, result, name = 0, list[Expr | None](), text
        for k in layout:
            if k is None or isinstance(k, Index):
                result.append(k)
                axis += 1
                continue
            inner = [i for i in self.order if i in free_indices(k)]
            text = f"taken({text}, {axis}, {self._affine(k, inner)})"
            result += inner
            axis += len(inner)
        window = f"{name}_windows"
        known = sum(line.startswith(window) for line in self.lines)
        window += str(known + 1) if known else ""
        self.lines.append(f"{window} = {text}")
        return window, result, CALL

    def _affine(self, x: Expr, inner: Sequence[Index]) -> str:
        """An index expression over the grid of its indices."""
        written = ""
        for term in terms_of(x):
            number, rest = coefficient(term)
            factors = []
            for factor in factors_of(rest):
                if isinstance(factor, Index):
                    tail = ", None" * (len(inner) - 1 - inner.index(factor))
                    grid = f"{self.dialect.module}.arange({self.size(factor.size)})"
                    factors.append(f"{grid}[:{tail}]" if tail else grid)
                elif factor != ONE:
                    factors.append(self.size(factor))
            if abs(number) != 1 or not factors:
                factors.insert(0, str(abs(number)))
            sign = "-" if number < 0 else "+"
            written += (
                f" {sign} {' * '.join(factors)}" if written else ("-" if number < 0 else "") + " * ".join(factors)
            )
        return written

    def _diagonal(self, text: str, layout: list[Expr | None]) -> tuple[str, list[Expr | None]]:
        letters = dict(zip(dict.fromkeys(layout), string.ascii_lowercase, strict=False))
        kept = list(dict.fromkeys(layout))
        subscripts = "->".join("".join(letters[k] for k in axes) for axes in (layout, kept))
        return f'{self.dialect.module}.einsum("{subscripts}", {text})', kept

    def _indicator(self, x: Expr, axes: Axes) -> Code:
        inner = [i for i in axes if i in free_indices(x)]
        if isinstance(x, Within):
            grid = self._affine(x.index, inner)
            self.needs["within"] = None
            return self._laid_out(
                Code(f"within({grid}, {self.size(x.size)})", CALL, tuple(inner)), self._desired(axes, inner)
            )
        if isinstance(x, Delta):
            text = f"({self._affine(x.left, inner)} == {self._affine(x.right, inner)})"
            return self._laid_out(Code(text, CALL, tuple(inner)), self._desired(axes, inner))
        return self._laid_out(Code(self._affine(x, inner), ADD, tuple(inner)), self._desired(axes, inner))

    def _laid_out(self, code: Code, wanted: Sequence[Index | None]) -> Code:
        """The same array with its axes in this order, size 1 where it has none; leading ones may be missing."""
        needed = list(wanted)
        while needed and needed[0] is None:
            needed.pop(0)
        have = list(code.layout)
        while have and have[0] is None and len(have) > len(needed):
            if have == needed:
                break
            return self._laid_out(Code(f"{code.within(CALL)}[0]", CALL, code.layout[1:]), wanted)
        if have == needed or (have[len(have) - len(needed) :] == needed and not any(have[: len(have) - len(needed)])):
            return code
        own = [k for k in have if k is not None]
        order = [k for k in needed if k is not None]
        text = code.within(CALL)
        if None in have:
            text += f"[{', '.join('0' if k is None else ':' for k in have)}]"
        if own != order:
            text += (
                ".T"
                if own == order[::-1]
                else f".{self.dialect.permute}({', '.join(str(own.index(k)) for k in order)})"
            )
        if None in needed:
            text += f"[{', '.join('None' if k is None else ':' for k in needed)}]"
        return Code(text, CALL, tuple(needed))

    def _joint(self, codes: Sequence[Code], axes: Axes) -> tuple[Index | None, ...]:
        own = {k for code in codes for k in code.layout if k is not None}
        longest = max((len(code.layout) for code in codes), default=0)
        layout = [k if k in own else None for k in axes]
        return tuple(layout[len(layout) - longest :]) if longest <= len(layout) else tuple(layout)

    # --------------------------------------------------------------------------------------------------- operations

    def _sum(self, terms: Sequence[tuple[bool, Node]], axes: Axes) -> Code:
        codes = [self.of(part, axes) for _, part in terms]
        if all(_is_logical(part) for _, part in terms):
            codes[0] = Code(f"1.0 * {codes[0].within(UNARY)}", MULTIPLY, codes[0].layout)
        written = ""
        for (minus, _), code in zip(terms, codes, strict=True):
            text = code.within(MULTIPLY) if minus else code.within(ADD)
            sign = "-" if minus else "+"
            written += f" {sign} {text}" if written else ("-" if minus else "") + text
        return Code(written, ADD, self._joint(codes, axes))

    def _times(self, node: Times, axes: Axes) -> Code:
        above = [self.of(n, axes) for n in node.above if n != Scalar(ONE)]
        below = [self.of(n, axes) for n in node.below]
        text = " * ".join(c.within(MULTIPLY if len(above) == 1 else UNARY) for c in above) or "1"
        if node.negative and all(map(_is_logical, node.above)):
            text = f"1.0 * {text}"
        if below:
            bottom = " * ".join(c.within(UNARY) for c in below)
            text += f" / ({bottom})" if len(below) > 1 else f" / {below[0].within(UNARY)}"
        single = len(above) == 1 and not below
        level = above[0].level if single else MULTIPLY
        if node.negative:
            text = f"-{text}" if level >= MULTIPLY else f"-({text})"
            level = MULTIPLY
        return Code(text, level, self._joint([*above, *below], axes))

    def _reduced(self, node: Reduced, axes: Axes) -> Code:
        inner_axes = node.arg.axes
        self.order = list(dict.fromkeys([*self.order, *inner_axes]))
        inner = self.of(node.arg, inner_axes)
        if None in inner.layout or len(inner.layout) < len(inner_axes):
            inner = self._laid_out(inner, [k for k in inner_axes if k in inner.layout])
        places = [k for k, index in enumerate(inner.layout) if index in node.over]
        kept = tuple(None if k in places else index for k, index in enumerate(inner.layout))
        gone = tuple(index for k, index in enumerate(inner.layout) if k not in places)
        wanted = self._desired(axes, gone)
        axis = ", ".join(map(str, places)) if len(places) == 1 else f"({', '.join(map(str, places))})"
        whole = len(places) == len(inner.layout)
        counts = "".join(f" * {self.size(k.size)}" for k in node.over if k not in inner.layout)
        how = self.dialect.maximum if node.how == "max" else node.how
        text = f"{inner.within(CALL)}.{how}({'' if whole else axis}"
        while wanted and wanted[0] is None:
            wanted.pop(0)
        if list(gone) == wanted or whole:
            found = Code(f"{text}){counts}", MULTIPLY if counts else CALL, gone)
        else:
            found = Code(f"{text}, keepdims=True){counts}", MULTIPLY if counts else CALL, kept)
        return self._laid_out(found, self._desired(axes, gone))

    def _matmul(self, node: Product, axes: Axes) -> Code:
        k = node.over
        batch = tuple(i for i in node.left.axes if i in node.right.axes and i != k)
        row = tuple(i for i in node.left.axes if i != k and i not in batch)
        column = tuple(i for i in node.right.axes if i != k and i not in batch)
        left = self._exactly(node.left, (*batch, *row, k))
        right = self._exactly(node.right, (*batch, k, *column))
        left, right = (
            Code(self._float(part, c), c.level, c.layout) for part, c in ((node.left, left), (node.right, right))
        )
        text = f"{left.within(MULTIPLY) if left.level >= UNARY else left.within(UNARY)} @ {right.within(UNARY)}"
        return self._laid_out(
            Code(text, MULTIPLY, (*batch, *row, *column)), self._desired(axes, (*batch, *row, *column))
        )

    def _exactly(self, node: Node, axes: Axes) -> Code:
        found = self.of(node, axes)
        return self._laid_out(found, axes) if found.layout != axes else found

    def _einsum(self, node: Einsum, axes: Axes) -> Code:
        self.order = list(dict.fromkeys([*self.order, *(k for part in node.parts for k in part.axes)]))
        used = dict.fromkeys(k for part in node.parts for k in part.axes)
        letters: dict[Index, str] = {}
        for k in used:
            free = [c for c in (k.letter[:1], *string.ascii_letters) if c not in letters.values() and c.isascii()]
            letters[k] = free[0]
        codes = [self._exactly_own(part) for part in node.parts]
        inputs = ",".join("".join(letters[k] for k in code.layout if k is not None) for code in codes)
        out = tuple(k for k in axes if k in used and k not in node.over)
        arrays = ", ".join(self._float(part, code) for part, code in zip(node.parts, codes, strict=True))
        text = f'{self.dialect.module}.einsum("{inputs}->{"".join(letters[k] for k in out)}", {arrays})'
        return self._laid_out(Code(text, CALL, out), self._desired(axes, out))

    def _float(self, part: Node, code: Code) -> str:
        """PyTorch multiplies no matrices of booleans."""
        logical = isinstance(part, Compared) or (isinstance(part, Leaf) and isinstance(part.entry, (Within, Delta)))
        return f"{code.within(CALL)}.to({self.like}.dtype)" if self.dialect is TORCH and logical else code.text

    def _exactly_own(self, part: Node) -> Code:
        """The array without axes of size 1, as it is stored where it is an array by its name."""
        if (
            isinstance(part, Leaf)
            and isinstance(part.entry, Entry)
            and all(isinstance(k, Index) for k in part.entry.at)
        ):
            shape = self.shapes[part.entry.name]
            if ONE not in shape and len(set(part.entry.at)) == len(part.entry.at):
                return Code(self._name(part.entry), CALL, part.entry.at)  # type: ignore[arg-type]
        found = self.of(part, part.axes)
        return self._laid_out(found, part.axes)
