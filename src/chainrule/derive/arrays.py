"""Arrays of symbols: a shape, and the expression of an entry for given indices. They behave as NumPy's do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.derive.indices import (
    ONE,
    OPPOSITE,
    ZERO,
    Entry,
    Expr,
    Holds,
    Index,
    Max,
    Num,
    add,
    delta,
    fresh,
    function,
    mul,
    negative,
    num,
    power,
    total,
)
from chainrule.errors import UsageError

LETTERS = "ijklmnopqrstuvabcdefgh"


@dataclass(frozen=True)
class Array:
    """An array whose entry at some indices is an expression of them.

    >>> from chainrule.derive.indices import Symbol
    >>> x = named("x", (Symbol("n"), Symbol("d")))
    >>> [size.name for size in (x @ x.T).shape]
    ['n', 'n']
    """

    shape: tuple[Expr, ...]
    entry: Callable[[tuple[Expr, ...]], Expr]

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def T(self) -> Array:  # noqa: N802
        """The axes in reverse order."""
        return Array(self.shape[::-1], lambda at: self.entry(at[::-1]))

    def __add__(self, other: Array) -> Array:
        return elementwise(add, self, other)

    def __sub__(self, other: Array) -> Array:
        return elementwise(lambda a, b: add(a, negative(b)), self, other)

    def __mul__(self, other: Array) -> Array:
        return elementwise(mul, self, other)

    def __truediv__(self, other: Array) -> Array:
        return elementwise(lambda a, b: mul(a, power(b, -1)), self, other)

    def __neg__(self) -> Array:
        return elementwise(negative, self)

    def __pow__(self, other: Array) -> Array:
        return elementwise(_to_the_power, self, other)

    def __matmul__(self, other: Array) -> Array:
        if not self.ndim or not other.ndim:
            raise UsageError("a matrix product with a single number, expected vectors or matrices; see *")
        left = self if self.ndim > 1 else self.expanded(0)
        right = other if other.ndim > 1 else other.expanded(1)
        inner, also = left.shape[-1], right.shape[-2]
        if inner != also:
            shapes = f"({shown(self.shape)}) @ ({shown(other.shape)})"
            raise UsageError(f"{shapes}: the inner sizes {shown([inner])} and {shown([also])} differ")
        leading = broadcast([left.shape[:-2], right.shape[:-2]])

        def entry(at: tuple[Expr, ...]) -> Expr:
            k = fresh(inner, "k")
            return total([k], mul(left.at((*at[:-1], k)), right.at((*at[:-2], k, at[-1]))))

        y = Array((*leading, left.shape[-2], right.shape[-1]), entry)
        y = y.squeezed(y.ndim - 2) if self.ndim == 1 else y
        return y.squeezed(y.ndim - 1) if other.ndim == 1 else y

    def at(self, indices: Sequence[Expr]) -> Expr:
        """The entry at the indices of a shape that this one broadcasts to."""
        own = indices[len(indices) - self.ndim :]
        return self.entry(tuple(ZERO if size == ONE else k for k, size in zip(own, self.shape, strict=True)))

    def axes(self, axis: int | Sequence[int] | None) -> tuple[int, ...]:
        """Axes counted from the front; all of them for None."""
        wanted = range(self.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        for k in wanted:
            if not -self.ndim <= k < self.ndim:
                raise UsageError(f"axis {k} of an array of shape ({shown(self.shape)}), which has {self.ndim} axes")
        return tuple(sorted(k % self.ndim for k in wanted))

    def reduced(self, axis: int | Sequence[int] | None, keepdims: bool, how: Callable[..., Expr]) -> Array:
        """One entry for all those along some axes: ``how(indices, body)``."""
        gone = self.axes(axis)
        kept = [k for k in range(self.ndim) if k not in gone]

        def entry(at: tuple[Expr, ...]) -> Expr:
            own: dict[int, Expr] = dict(zip(kept, [at[k] for k in kept] if keepdims else at, strict=True))
            bound = {k: fresh(self.shape[k], LETTERS[k]) for k in gone if self.shape[k] != ONE}
            return how(list(bound.values()), self.at([bound.get(k, own.get(k, ZERO)) for k in range(self.ndim)]))

        shape = [ONE if k in gone else size for k, size in enumerate(self.shape) if keepdims or k in kept]
        return Array(tuple(shape), entry)

    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The sum along some axes."""
        return self.reduced(axis, keepdims, total)

    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The mean along some axes."""
        count = mul(*[self.shape[k] for k in self.axes(axis)])
        return self.sum(axis, keepdims) * constant(power(count, -1))

    def var(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The biased variance along some axes."""
        return ((self - self.mean(axis, True)) ** constant(num(2))).mean(axis, keepdims)

    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The largest along some axes."""
        return self.reduced(axis, keepdims, lambda over, body: Max(tuple(over), body) if over else body)

    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Array:
        """The smallest along some axes."""
        return -((-self).max(axis, keepdims))

    def transpose(self, *axes: int) -> Array:
        """The axes in another order; reversed unless one is given."""
        order = [k % self.ndim for k in axes] or list(range(self.ndim))[::-1]
        shape = tuple(self.shape[k] for k in order)
        return Array(shape, lambda at: self.entry(tuple(at[order.index(k)] for k in range(self.ndim))))

    def expanded(self, axis: int) -> Array:
        """With a new axis of size 1."""
        shape = (*self.shape[:axis], ONE, *self.shape[axis:])
        return Array(shape, lambda at: self.entry((*at[:axis], *at[axis + 1 :])))

    def squeezed(self, axis: int) -> Array:
        """Without an axis of size 1."""
        shape = (*self.shape[:axis], *self.shape[axis + 1 :])
        return Array(shape, lambda at: self.entry((*at[:axis], ZERO, *at[axis:])))

    def broadcast_to(self, shape: Sequence[Expr]) -> Array:
        """Repeated along new axes and those of size 1."""
        if broadcast([self.shape, tuple(shape)]) != tuple(shape):
            raise UsageError(f"an array of shape ({shown(self.shape)}) does not broadcast to ({shown(shape)})")
        return Array(tuple(shape), self.at)


def named(name: str, shape: tuple[Expr, ...], *, bar: bool = False) -> Array:
    """An array that is known by its name; axes of size 1 need no index."""
    return Array(shape, lambda at: Entry(name, tuple(k for k, size in zip(at, shape, strict=True) if size != ONE), bar))


def constant(x: Expr) -> Array:
    """A single number."""
    return Array((), lambda at: x)


def indices_for(shape: Sequence[Expr], letters: str = LETTERS) -> list[Expr]:
    """A fresh index for every axis; 0 for one of size 1."""
    return [ZERO if size == ONE else fresh(size, letter) for size, letter in zip(shape, letters, strict=False)]


def shown(shape: Sequence[Expr]) -> str:
    """A shape for a message.

    >>> shown([num(3), num(4)])
    '3, 4'
    """
    return ", ".join(str(size.value) if isinstance(size, Num) else getattr(size, "name", "?") for size in shape)


def broadcast(shapes: Sequence[tuple[Expr, ...]]) -> tuple[Expr, ...]:
    """The shape that all of these broadcast to."""
    longest = max(map(len, shapes), default=0)
    result: list[Expr] = [ONE] * longest
    for shape in shapes:
        for k, size in enumerate(shape, longest - len(shape)):
            if size == ONE:
                continue
            if result[k] not in (ONE, size):
                found = " and ".join(f"({shown(s)})" for s in shapes if s)
                raise UsageError(f"shapes {found} do not broadcast: {shown([result[k]])} beside {shown([size])}")
            result[k] = size
    return tuple(result)


def elementwise(how: Callable[..., Expr], *arrays: Array) -> Array:
    """A function of one entry of each array, which broadcast."""
    return Array(broadcast([a.shape for a in arrays]), lambda at: how(*[a.at(at) for a in arrays]))


def applied(name: str) -> Callable[[Array], Array]:
    """An elementwise function by name."""
    return lambda x: elementwise(lambda e: function(name, e), x)


def compared(relation: str, a: Array, b: Array) -> Array:
    """1 where the relation holds, 0 elsewhere."""
    return elementwise(lambda x, y: Holds(relation, x, y), a, b)


def where(condition: Array, a: Array, b: Array) -> Array:
    """Entries of ``a`` where the condition holds, of ``b`` elsewhere."""
    return elementwise(lambda c, x, y: add(mul(c, x), mul(opposite(c), y)), condition, a, b)


def opposite(condition: Expr) -> Expr:
    """1 where a condition does not hold."""
    if isinstance(condition, Holds):
        return Holds(OPPOSITE[condition.relation], condition.left, condition.right)
    return add(ONE, negative(condition))


def maximum(a: Array, b: Array) -> Array:
    """The larger of two."""
    return where(compared(">", a, b), a, b)


def minimum(a: Array, b: Array) -> Array:
    """The smaller of two."""
    return where(compared("<", a, b), a, b)


def einsum(subscripts: str, *arrays: Array) -> Array:
    """Products summed over the indices that the output does not have, as ``np.einsum`` writes them."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow or "." in subscripts or [len(term) for term in terms] != [a.ndim for a in arrays]:
        raise UsageError(f"einsum: {subscripts!r}, expected as many letters as axes, and '->' with those of the result")
    sizes = {
        letter: size for term, a in zip(terms, arrays, strict=True) for letter, size in zip(term, a.shape, strict=True)
    }

    def entry(at: tuple[Expr, ...]) -> Expr:
        own: dict[str, Expr] = dict(zip(output, at, strict=True))
        bound: dict[str, Index] = {c: fresh(size, c) for c, size in sizes.items() if c not in own}
        entries = [a.at([{**own, **bound}[c] for c in term]) for term, a in zip(terms, arrays, strict=True)]
        return total(bound.values(), mul(*entries))

    return Array(tuple(sizes[c] for c in output), entry)


def eye(size: Expr) -> Array:
    """The identity matrix."""
    return Array((size, size), lambda at: delta(*at))


def filled(shape: Sequence[Expr], value: int) -> Array:
    """An array of one number."""
    return Array(tuple(shape), lambda at: num(value))


def _to_the_power(base: Expr, exponent: Expr) -> Expr:
    if isinstance(exponent, Num):
        return power(base, exponent.value)
    return function("exp", mul(exponent, function("log", base)))
