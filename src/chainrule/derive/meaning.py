"""The numbers of a formula at a point: every free letter is an axis, the axes of matrices come behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.derive.evaluate import FUNCTIONS
from chainrule.derive.formula import Formula, Span, letters, walk
from chainrule.derive.points import Point

erf = np.vectorize(math.erf, otypes=[float])


class Mismatch(Exception):  # noqa: N818
    """Shapes or sizes that do not fit, and where in the text."""

    def __init__(self, message: str, span: Span):
        super().__init__(message)
        self.span = span


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def _softmax(x: Any) -> Any:
    e = np.exp(x - np.max(np.real(x), -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _real(x: Any) -> Any:
    return np.real(x)


UNARY: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "cosh": np.cosh,
    "sinh": np.sinh,
    "abs": lambda x: x * np.sign(_real(x)),
    "sign": lambda x: np.sign(_real(x)),
    "erf": lambda x: erf(_real(x)),
    "square": lambda x: x * x,
    "relu": lambda x: x * (_real(x) > 0),
    "sigmoid": sigmoid,
    "softmax": _softmax,
    "sigmoid′": lambda x: sigmoid(x) * (1 - sigmoid(x)),
    "tanh′": lambda x: 1 - np.tanh(x) ** 2,
    "relu′": lambda x: (_real(x) > 0) * 1.0,
    "exp′": np.exp,
    "log′": lambda x: 1 / x,
    "sin′": np.cos,
    "cos′": lambda x: -np.sin(x),
    "ones_like": lambda x: np.ones(np.shape(x)),
    "zeros_like": lambda x: np.zeros(np.shape(x)),
}
RELATIONS = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}


@dataclass
class Reading:
    """How a formula is understood at a point.

    Attributes:
        point: the numbers.
        frame: the letters in scope with their sizes, an axis each; the last of a name counts.
        direct: which derivatives hold what lies between as constant, by their place among the line's derivatives.
    """

    point: Point
    frame: tuple[tuple[str, int], ...] = ()
    direct: Mapping[Span, bool] = field(default_factory=dict)

    def of(self, x: Formula) -> np.ndarray:
        """The value: as many axes as the frame has letters, then the formula's own."""
        try:
            with np.errstate(all="ignore"):
                return self._of(x)
        except (ValueError, IndexError) as error:  # what NumPy refuses
            raise Mismatch(str(error), x.span) from None

    @property
    def depth(self) -> int:
        """How many letters there are."""
        return len(self.frame)

    def _flat(self, array: Any) -> np.ndarray:
        """An array that has no letters."""
        array = np.asarray(array)
        return array.reshape((1,) * self.depth + array.shape)

    def _of(self, x: Formula) -> np.ndarray:
        match x.head:
            case "number":
                return self._flat(float(x.value))
            case "array":
                return self._flat(self.point.value(x.value))
            case "grad":
                if x.value in self.point.defined:
                    raise Mismatch(
                        f"the gradient of {x.value}, which a line of the derivation defines, is not known", x.span
                    )
                return self._flat(self.point.gradient(x.value))
            case "none":
                return self._flat(0.0)
            case "loss":
                return self._flat(self.point.loss)
            case "size":
                return self._flat(math.pi if x.value == "π" else self.point.sizes[x.value])
            case "free":
                return self._flat(self.point.free[x.value])
            case "letter":
                return self._axis(x.value, x.span)
            case "delta":
                return (self._item(x.value[0], x.span) == self._item(x.value[1], x.span)) * 1.0
            case "entry":
                return self._entry(x)
            case "neg":
                return -self._of(x.parts[0])
            case "+" | "-" | "*" | "⊙" | "/" | "^":
                return self._elementwise(x)
            case "·" | "@":
                return self._product(x)
            case "T":
                return self._transposed(x)
            case "sum":
                return self._sum(x)
            case "reduce":
                return self._reduced(x)
            case "call":
                return self._call(x)
            case "holds":
                left, right = self._both(x, *map(self._of, x.parts))
                return RELATIONS[x.value](np.real(left), np.real(right)) * 1.0
            case "cases":
                first, condition, other = map(self._of, x.parts)
                first, condition = self._both(x, first, condition)
                first, other = self._both(x, first * condition, other)
                condition, other = self._both(x, condition, other)
                return first + (1 - condition) * other
            case "partial":
                return self._partial(x)
            case "einsum":
                return self._einsum(x)
            case "extent":
                inner = self._of(x.parts[0])
                shape = inner.shape[self.depth :]
                return self._flat(float(math.prod(shape) if x.value is None else shape[x.value]))
        raise Mismatch(f"{x.head} has no value on its own", x.span)

    # letters

    def _axis(self, letter: str, span: Span) -> np.ndarray:
        for k in range(self.depth - 1, -1, -1):
            if self.frame[k][0] == letter:
                return np.arange(self.frame[k][1]).reshape([-1 if i == k else 1 for i in range(self.depth)])
        raise Mismatch(f"the index {letter} has no size: it stands below no array", span)

    def _item(self, item: Any, span: Span) -> np.ndarray:
        if isinstance(item, int):
            return self._flat(item - 1)  # on paper, indices are counted from 1
        return self._axis(item, span)

    def _entry(self, x: Formula) -> np.ndarray:
        base = self._of(x.parts[0])
        own = base.shape[self.depth :]
        items = list(x.value)
        if ":" in items or None in items:
            return self._sliced(x, base, items)
        if len(items) > len(own):
            raise Mismatch(f"{len(items)} indices below an array of {len(own)} axes", x.span)
        if len(items) < len(own):  # an axis of size 1 needs no index
            ones = [k for k, n in enumerate(own) if n == 1]
            if len(own) - len(ones) == len(items):
                base = base.reshape(base.shape[: self.depth] + tuple(n for n in own if n != 1))
                own = base.shape[self.depth :]
        rest = len(own) - len(items)
        at: list[Any] = []
        for k in range(self.depth):
            at.append(np.arange(base.shape[k]).reshape([-1 if i == k else 1 for i in range(self.depth)] + [1] * rest))
            if base.shape[k] == 1:
                at[-1] = np.zeros([1] * (self.depth + rest), int)
        for item, size in zip(items, own, strict=False):
            index = self._item(item, x.span)
            if np.max(index, initial=0) >= size or (isinstance(item, str) and self._size(item) != size):
                raise Mismatch(self._clash(x, item, size), x.span)
            at.append(index.reshape(index.shape + (1,) * rest))
        for k in range(rest):
            at.append(
                np.arange(own[len(items) + k]).reshape([1] * self.depth + [-1 if i == k else 1 for i in range(rest)])
            )
        return base[tuple(at)] if at else base

    def _size(self, letter: str) -> int:
        return next(size for name, size in reversed(self.frame) if name == letter)

    def _clash(self, x: Formula, item: Any, size: int) -> str:
        name = self._letter_of(size)
        return f"the index {item} runs over {self._letter_of(self._size(item))}, but this axis has size {name}"

    def _letter_of(self, size: int) -> str:
        found = [letter for letter, n in self.point.sizes.items() if n == size]
        return found[0] if found else str(size)

    def _sliced(self, x: Formula, base: np.ndarray, items: list[Any]) -> np.ndarray:
        if any(isinstance(k, str) and k != ":" for k in items):
            raise Mismatch("letters beside ':' in one bracket", x.span)
        if sum(k is not None for k in items) > base.ndim - self.depth:
            raise Mismatch("more indices than axes", x.span)
        index = tuple(slice(None) if k == ":" else k for k in items)
        return base[(slice(None),) * self.depth + index]

    # operators

    def _both(self, x: Formula, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two values whose own axes broadcast, aligned at the end."""
        own = max(a.ndim, b.ndim) - self.depth
        a, b = (
            v.reshape(v.shape[: self.depth] + (1,) * (own + self.depth - v.ndim) + v.shape[self.depth :])
            for v in (a, b)
        )
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise Mismatch(f"shapes {self.shown(a)} and {self.shown(b)} do not fit together", x.span) from None
        return a, b

    def shown(self, a: np.ndarray) -> str:
        """A shape in the letters of the program."""
        own = [self._letter_of(n) if n > 1 else "1" for n in a.shape[self.depth :]]
        return f"({', '.join(own)})"

    def kind(self, a: np.ndarray) -> str:
        """What a value is, in words."""
        return f"an array of shape {self.shown(a)}" if a.ndim > self.depth else "a single number"

    def _elementwise(self, x: Formula) -> np.ndarray:
        if any(part.head == "eye" for part in x.parts):
            return self._with_identity(x)
        a, b = self._both(x, *map(self._of, x.parts))
        match x.head:
            case "+":
                return a + b
            case "-":
                return a - b
            case "/":
                return a / b
            case "^":
                return np.power(a if np.iscomplexobj(a) or np.all(b == np.round(b)) else np.asarray(a, float), b)
        return a * b

    def _with_identity(self, x: Formula) -> np.ndarray:
        other = self._of(next(part for part in x.parts if part.head != "eye"))
        if other.ndim - self.depth < 2 or other.shape[-1] != other.shape[-2]:
            raise Mismatch(f"the identity beside an array of shape {self.shown(other)}", x.span)
        eye = self._flat(np.eye(other.shape[-1]))
        a, b = (eye, other) if x.parts[0].head == "eye" else (other, eye)
        return a + b if x.head == "+" else a - b if x.head == "-" else a * b

    def _product(self, x: Formula) -> np.ndarray:
        left, right = x.parts
        if left.head == "eye" or right.head == "eye":
            return self._of(right if left.head == "eye" else left)
        if left.head == "T" and left.parts[0].head == "ones":
            return self._of(right).sum(self.depth, keepdims=True)
        if right.head == "ones" or (
            right.head == "number" and right.value == 1 and x.head == "·" and self._of(left).ndim > self.depth + 1
        ):
            return self._of(left).sum(-1)
        a, b = self._of(left), self._of(right)
        one, other = a.ndim - self.depth, b.ndim - self.depth
        if not one or not other:
            if x.head == "@":
                raise Mismatch("a matrix product with a single number", x.span)
            a, b = self._both(x, a, b)
            return a * b
        return self._matrix_product(x, a, b, one, other)

    def _matrix_product(self, x: Formula, a: np.ndarray, b: np.ndarray, one: int, other: int) -> np.ndarray:
        column = x.head == "·" and one == 1 and other == 2 and b.shape[-2] == 1
        if column:  # a column times a row
            return a[..., :, None] * b
        left = a[..., None, :] if one == 1 else a
        right = b[..., :, None] if other == 1 else b
        if left.shape[-1] != right.shape[-2]:
            if (
                x.head == "·" and a.shape[self.depth :] == b.shape[self.depth :]
            ):  # written side by side: X Y of alike shapes
                return a * b
            raise Mismatch(f"a product of shapes {self.shown(a)} and {self.shown(b)}: the inner sizes differ", x.span)
        most = max(left.ndim, right.ndim) - self.depth
        left, right = (
            v.reshape(v.shape[: self.depth] + (1,) * (most + self.depth - v.ndim) + v.shape[self.depth :])
            for v in (left, right)
        )
        y = left @ right
        y = y[..., 0] if other == 1 else y
        y = np.squeeze(y, -1 if other == 1 else -2) if one == 1 else y
        is_number = x.head == "·" and one == 2 and other == 1 and y.ndim - self.depth == 1 and y.shape[-1] == 1
        return y[..., 0] if is_number else y

    def _transposed(self, x: Formula) -> np.ndarray:
        a = self._of(x.parts[0])
        own = a.ndim - self.depth
        if own == 1 and x.value == "matrix":
            return a[..., None, :]
        if own > 2 and x.value == "matrix":
            return np.swapaxes(a, -1, -2)
        return a.transpose(*range(self.depth), *range(a.ndim - 1, self.depth - 1, -1))

    # sums and functions

    def _sum(self, x: Formula) -> np.ndarray:
        sizes = sizes_of(x.parts[0], self)
        over = []
        for letter in x.value:
            size = sizes.get(letter)
            if size is None and len(x.parts) > 1:
                size = int(np.ravel(self._of(x.parts[1]))[0])
            if size is None:
                size = next(
                    (n for name, n in reversed(self.frame) if name in (letter, *_equal_to(letter, x.parts[0]))), None
                )
            if size is None:
                raise Mismatch(f"the index {letter} of the sum stands below no array", x.span)
            over.append((letter, size))
        inner = replace(self, frame=(*self.frame, *over))
        body = inner._of(x.parts[0])
        axes = tuple(range(self.depth, inner.depth))
        whole = list(body.shape)
        for axis, (_, size) in zip(axes, over, strict=True):
            whole[axis] = size
        return np.broadcast_to(body, whole).sum(axes)

    def _reduced(self, x: Formula) -> np.ndarray:
        kind, axis, keepdims = x.value
        a = self._of(x.parts[0])
        own = a.ndim - self.depth
        wanted = range(own) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        for k in wanted:
            if not -own <= k < own:
                raise Mismatch(f"axis {k} of an array of shape {self.shown(a)}", x.span)
        axes = tuple(self.depth + k % own for k in wanted)
        if kind == "max":
            return np.max(np.real(a), axis=axes, keepdims=keepdims)
        mean = np.mean(a, axis=axes, keepdims=True)
        if kind == "var":
            return np.mean((a - mean) ** 2, axis=axes, keepdims=keepdims)
        return np.mean(a, axis=axes, keepdims=keepdims) if kind == "mean" else np.sum(a, axis=axes, keepdims=keepdims)

    def _call(self, x: Formula) -> np.ndarray:
        name = x.value
        if name == "sigma?":
            raise Mismatch("σ is neither an array of the program nor followed by a bracket", x.span)
        parts = [self._of(part) for part in x.parts]
        if name == "where":
            condition, a, b = parts
            condition, a = self._both(x, condition, a)
            condition, b = self._both(x, condition, b)
            a, b = self._both(x, a, b)
            return np.where(condition != 0, a, b)
        if name in ("maximum", "minimum"):
            a, b = self._both(x, *parts)
            larger = np.real(a) > np.real(b)
            return np.where(larger if name == "maximum" else ~larger, a, b)
        if name == "outer":
            return parts[0][..., :, None] * parts[1][..., None, :]
        if name in ("diag", "trace") and parts[0].ndim - self.depth < 1 + (name == "trace"):
            raise Mismatch(f"{name} of {self.kind(parts[0])}", x.span)
        if name == "diag":
            a = parts[0]
            if a.ndim - self.depth == 1:
                return a[..., :, None] * np.eye(a.shape[-1])
            return np.diagonal(a, axis1=-2, axis2=-1)
        if name == "trace":
            return np.trace(parts[0], axis1=-2, axis2=-1)
        function = UNARY.get(name) or FUNCTIONS.get(name)
        if function is None:
            raise Mismatch(f"{name} has no numbers: the program does not say which function it is", x.span)
        return function(parts[0])

    def _einsum(self, x: Formula) -> np.ndarray:
        if any(part.shape[: self.depth] != (1,) * self.depth for part in map(self._of, x.parts)):
            raise Mismatch("einsum of entries", x.span)
        arrays = [self._of(part).reshape(self._of(part).shape[self.depth :]) for part in x.parts]
        try:
            return self._flat(np.einsum(x.value, *arrays))
        except ValueError as error:
            raise Mismatch(str(error), x.span) from None

    def _partial(self, x: Formula) -> np.ndarray:
        """The derivative of a formula by an array, or by one entry of it."""
        of, by = x.parts
        base, items = (by.parts[0], by.value) if by.head == "entry" else (by, ())
        if base.head != "array":
            raise Mismatch("expected an array or its entry as what is differentiated by", x.span)
        direct = self.direct.get(x.span, False)
        settled = self._settled(of, base, items)
        if settled is not None:
            return settled
        if base.value in self.point.defined:
            raise Mismatch(
                f"derivatives by {base.value}, which a line of the derivation defines, are not known", x.span
            )
        whole, above = (of.parts[0], of.value) if of.head == "entry" else (of, ())
        if whole.head == "array" and whole.value not in self.point.defined and ":" not in above and None not in above:
            found = self._flat(self.point.jacobian(whole.value, base.value, direct=direct))
            return self._below(found, (*above, *items), x) if above or items else found
        found = self.point.derivative(lambda point: replace(self, point=point)._of(of), base.value, direct=direct)
        own = self.point.value(base.value).ndim
        if not items:
            return found
        return self._below(
            np.moveaxis(found, range(found.ndim - own, found.ndim), range(self.depth, self.depth + own)), items, x
        )

    def _below(self, array: np.ndarray, items: Sequence[Any], x: Formula) -> np.ndarray:
        """The entries of an array that was computed before."""
        given = _Given(self.point, self.frame, self.direct, array)
        return given._entry(Formula("entry", (Formula("given"),), tuple(items), x.span))

    def _settled(self, of: Formula, by: Formula, items: Sequence[Any]) -> np.ndarray | None:
        base, above = (of.parts[0], of.value) if of.head == "entry" else (of, ())
        given = self.point.settled.get(("partial", base.value, by.value)) if base.head == "array" else None
        if given is None or given.ndim != len(above) + len(items):
            return None
        return self._below(self._flat(given), (*above, *items), of)


@dataclass
class _Given(Reading):
    """A reading in which one formula has a value that was computed before."""

    array: np.ndarray = field(default_factory=lambda: np.zeros(()))

    def _of(self, x: Formula) -> np.ndarray:
        return self.array if x.head == "given" else super()._of(x)


def sizes_of(x: Formula, reading: Reading) -> dict[str, int]:
    """The size of every free letter, from the arrays that it stands below; the first place counts."""
    found: dict[str, int] = {}
    for part, bound in _entries(x, frozenset()):
        shape = _shape(part.parts[0], reading)
        items = [k for k in part.value if k is not None]
        if shape is None:
            continue
        if len(items) < len(shape):
            without = [n for n in shape if n != 1]
            shape = tuple(without) if len(without) == len(items) else shape
        for item, size in zip(items, shape, strict=False):
            if isinstance(item, str) and item != ":" and item not in bound:
                found.setdefault(item, size)
    return found


def _equal_to(letter: str, x: Formula) -> list[str]:
    """The letters that stand in a Kronecker delta with this one."""
    pairs = [part.value for part in walk(x) if part.head == "delta" and letter in part.value]
    return [other for pair in pairs for other in pair if other != letter]


def _entries(x: Formula, bound: frozenset[str]) -> Any:
    if x.head == "entry":
        yield x, bound
    inner = bound | set(x.value) if x.head == "sum" else bound
    for part in x.parts:
        yield from _entries(part, inner)


def _shape(x: Formula, reading: Reading) -> tuple[int, ...] | None:
    """The shape of what stands before a subscript."""
    if x.head in ("array", "grad"):
        return reading.point.value(x.value).shape
    if any(part.head in ("letter", "entry", "delta") for part in walk(x)):
        return None
    try:
        return replace(reading, frame=())._of(x).shape
    except Mismatch:
        return None


def frame_of(sides: Sequence[Formula], point: Point) -> tuple[tuple[str, int], ...]:
    """The free letters of an equation, in the order in which they are met, with their sizes.

    Raises:
        Mismatch: a letter stands below no array.
    """
    reading = Reading(point)
    sizes: dict[str, int] = {}
    for side in sides:
        for letter, size in sizes_of(side, reading).items():
            sizes.setdefault(letter, size)
    for side in sides:
        for part in walk(side):
            if part.head in ("delta", "holds"):  # δ_ij gives i the size of j
                pair = part.value if part.head == "delta" else [p.value for p in part.parts if p.head == "letter"]
                known = [sizes[k] for k in pair if k in sizes]
                for k in pair:
                    if isinstance(k, str) and known:
                        sizes.setdefault(k, known[0])
    free = set().union(*map(letters, sides))
    missing = sorted(free - sizes.keys())
    if missing:
        raise Mismatch(f"the index {missing[0]} has no size: it stands below no array", sides[0].span)
    return tuple((letter, size) for letter, size in sizes.items() if letter in free)
