"""The language of derivations: NumPy's, read by a whitelist; nothing of the text is executed.

A statement is ``y = x @ w + b``, or in index notation ``y[i] = sum(w[i, k] * x[k], over=k)``.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from chainrule.derive import arrays
from chainrule.derive.arrays import LETTERS, Array, applied, constant, indices_for, named
from chainrule.derive.evaluate import UNKNOWN
from chainrule.derive.indices import (
    ONE,
    Entry,
    Expr,
    Index,
    Max,
    Sum,
    Symbol,
    depends,
    factors_of,
    free_indices,
    fresh,
    names_in,
    negative,
    num,
    total,
    walk,
)
from chainrule.errors import UsageError

DEEP = "the lines are nested too deeply; write them as several shorter ones"
TRIED = 3  # a size that no input has is tried with this number
SPARE = "ypuvqr"  # names for results that have none


@dataclass(frozen=True)
class Statement:
    """A line of the program: an array, and the expression of its entries.

    Attributes:
        name: what is defined.
        shape: its sizes, 1 where an axis is kept after a reduction.
        at: its indices, one for every axis that is not of size 1.
        body: the entry at these indices.
    """

    name: str
    shape: tuple[Expr, ...]
    at: tuple[Index, ...]
    body: Expr

    @property
    def entry(self) -> Entry:
        """The left-hand side."""
        return Entry(self.name, self.at)

    @property
    def contracts(self) -> bool:
        """Is it a product of matrices, or a convolution: a sum of products of entries with other indices?"""
        return any(_contraction(part) for part in walk(self.body))


def _contraction(x: Expr) -> bool:
    if not isinstance(x, Sum):
        return False
    sets = [free_indices(factor) for factor in factors_of(x.body) if names_in(factor) and depends(factor, x.over)]
    return len(set(sets)) > 1


@dataclass
class Program:
    """What is differentiated: inputs, statements in order, and what is known about them.

    Attributes:
        shapes: the inputs' sizes.
        statements: the lines; the last one is the output.
        constants: inputs that have no gradient.
        facts: expressions that are known to be equal, with the words for it.
        symbols: hyper-parameters with the numbers that they are tried with.
    """

    shapes: dict[str, tuple[Expr, ...]] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)
    one_hot: set[str] = field(default_factory=set)
    symbols: dict[str, float] = field(default_factory=dict)
    text: str = ""
    words: set[str] = field(default_factory=set)  # the names in the text
    indexed: bool = False  # are there lines in index notation?

    @property
    def output(self) -> Statement:
        """The last line."""
        return self.statements[-1]

    def define(self, name: str, array: Array) -> Array:
        """A new line, and the array by its name."""
        if checked_name(name) in self.shapes or any(s.name == name for s in self.statements):
            raise UsageError(f"{name} is assigned twice; give the second one a name of its own")
        places = indices_for(array.shape, self.letters(array.shape))
        at = tuple(k for k in places if isinstance(k, Index))
        self.statements.append(Statement(name, array.shape, at, array.entry(tuple(places))))
        return named(name, array.shape)

    def letters(self, shape: tuple[Expr, ...]) -> str:
        """The letters of an array's indices; a vector's has that of the axis of a matrix that it goes with."""
        others = [*(s.shape for s in self.statements), *self.shapes.values()]
        if len(shape) == 1:
            axes = [other.index(shape[0]) for other in others if len(other) > 1 and shape[0] in other]
            return LETTERS[axes[0]] if axes else LETTERS
        return LETTERS

    def spare(self, wanted: Sequence[str]) -> str:
        """A name that is not in use."""
        used = {*self.shapes, *(s.name for s in self.statements), *self.symbols, *self.words}
        numbered = (f"{wanted[0]}{k}" for k in range(2, 100))
        return next(name for name in (*wanted, *numbered) if name not in used)


MARKS = ("const", "one-hot")
RESERVED = {"np", "numpy", "torch", "math", "taken", "within", "erf", "self", "ctx", "cache", "dout", "rng"}


def checked_name(name: str) -> str:
    """A name that code can be written with.

    Raises:
        UsageError: it has a meaning in the code that is written.
    """
    if keyword.iskeyword(name) or name in RESERVED or name.startswith("_"):
        raise UsageError(f"{name} cannot be a variable here; give it another name")
    return name


def read_shapes(text: str, program: Program) -> None:
    """Read ``"x: n d, t: n c one-hot, a:"`` into a program's inputs: letters and numbers are sizes.

    >>> program = Program()
    >>> read_shapes("x: n d, s:", program)
    >>> program.shapes
    {'x': (Symbol(name='n'), Symbol(name='d')), 's': ()}
    """
    for part in filter(str.strip, re.split(r"[,;\n]", text)):
        name, colon, sizes = part.partition(":")
        name, words = name.strip(), sizes.split()
        if not colon or not name.isidentifier():
            raise UsageError(f"shapes: {part.strip()!r}, expected a name, a colon and sizes, as in 'x: n d, b: d'")
        if checked_name(name) in program.shapes:
            raise UsageError(f"shapes: {name} has two shapes")
        for mark in MARKS:
            if mark in words:
                words.remove(mark)
                program.constants.add(name)
                if mark == "one-hot":
                    program.one_hot.add(name)
        for word in words:
            if not re.fullmatch(r"[A-Za-z]\w*|[1-9]\d*", word):
                raise UsageError(f"shapes: {name} has the size {word!r}, expected a letter or a number")
            checked_name(word)
        program.shapes[name] = tuple(num(int(word)) if word.isdigit() else Symbol(word) for word in words)


def parse(text: str, program: Program) -> None:
    """Read the lines of a text into a program whose inputs are known."""
    program.text = text
    source = "\n".join(line.strip() for line in re.split(r"[;\n]", text) if line.strip())
    try:
        lines = ast.parse(source).body
    except RecursionError:
        raise UsageError(DEEP) from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "text", None) or source
        raise UsageError(f"{line.strip()[:80]!r} is not Python: {getattr(error, 'msg', error)}") from None
    if not lines:
        raise UsageError("nothing to derive: expected a line such as 'y = x @ w + b', or the name of an op")
    sizes = {
        size.name: constant(size) for shape in program.shapes.values() for size in shape if isinstance(size, Symbol)
    }
    scope = {
        **sizes,
        **{name: constant(Symbol(name)) for name in program.symbols},
        **{name: named(name, shape) for name, shape in program.shapes.items()},
    }
    used = {node.id for line in lines for node in ast.walk(line) if isinstance(node, ast.Name)} | scope.keys()
    program.words = used
    try:
        Reader(program, scope).run([new for line in lines for new in lifted(line, used)])
    except RecursionError:
        raise UsageError(DEEP) from None
    clash = [name for name in scope if f"g{name}" in {*scope, *(s.name for s in program.statements)}]
    if clash:
        raise UsageError(f"g{clash[0]} is the name of the gradient of {clash[0]}; give that variable another name")


def lifted(line: ast.stmt, used: set[str]) -> list[ast.stmt]:
    """A line with products of matrices inside of other calls and products moved to lines of their own.

    >>> [ast.unparse(new) for new in lifted(ast.parse("y = tanh(x @ w) @ v").body[0], {"x", "w", "v", "y"})]
    ['z = x @ w', 'h = tanh(z)', 'y = h @ v']
    """
    lift = _Lift(used)
    changed = lift.visit(line)
    return [*lift.lines, changed]


class _Lift(ast.NodeTransformer):
    def __init__(self, used: set[str]):
        self.used, self.lines = used, list[ast.stmt]()

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node = self.generic_visit(node)  # type: ignore[assignment]
        node.args = [self._named("z", a) if _multiplies(a) else a for a in node.args]
        if isinstance(node.func, ast.Attribute) and _multiplies(node.func.value):
            node.func.value = self._named("z", node.func.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        node = self.generic_visit(node)  # type: ignore[assignment]
        if isinstance(node.op, ast.MatMult):
            node.left, node.right = (self._named("h", x) if _computes(x) else x for x in (node.left, node.right))
        elif isinstance(node.op, ast.Pow) and _multiplies(node.left):
            node.left = self._named("z", node.left)
        elif isinstance(node.op, ast.Mult | ast.Div) and _multiplies(node.left) and _multiplies(node.right):
            node.left, node.right = self._named("z", node.left), self._named("z", node.right)
        return node

    def _named(self, letter: str, value: ast.expr) -> ast.expr:
        name = next(n for n in (letter, *(f"{letter}{k}" for k in range(2, 1000))) if n not in self.used)
        self.used.add(name)
        self.lines.append(ast.Assign([ast.Name(name, ast.Store())], value, lineno=1))
        return ast.Name(name, ast.Load())


def _multiplies(node: ast.expr) -> bool:
    return any(isinstance(part, ast.BinOp) and isinstance(part.op, ast.MatMult) for part in ast.walk(node))


def _computes(node: ast.expr) -> bool:
    """Is it more than an array with its axes in another order, a number times it, and the like?"""
    calls = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    names = [f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls]
    return _multiplies(node) or any(name not in ("transpose", "swapaxes", "sqrt") for name in names)


@dataclass
class Reader:
    """Walks over the syntax tree of a text; a name stands for an array, in index notation for an index."""

    program: Program
    scope: dict[str, Any]
    inner: bool = False  # are these the lines of a definition that is called?

    def run(self, lines: Sequence[ast.stmt]) -> Array:
        """The array of the last line."""
        result = None
        for k, line in enumerate(lines):
            last = k == len(lines) - 1
            match line:
                case ast.Assign([ast.Name(name)], value):
                    result = self._whole(value)
                    if not (self.inner and last):
                        own = self.program.spare([name]) if self.inner else name
                        result = self.program.define(own, result)
                    self.scope[name] = result
                case ast.Assign([ast.Subscript(ast.Name(name), at)], value):
                    result = self._entrywise(name, at, value)
                    self.scope[name] = result
                case ast.Expr(value) if last and not self.inner:
                    result = self.program.define(self.program.spare(["y", "z", "out"]), self._whole(value))
                case _:
                    raise UsageError(f"{ast.unparse(line)!r}: expected an assignment such as 'y = x @ w + b'")
        assert result is not None
        return result

    def _whole(self, node: ast.expr) -> Array:
        """The right-hand side of a line."""
        if isinstance(node, ast.Call) and self._called(node) in DEFINED:
            return self._defined(self._called(node), node)
        return self.array(node)

    def array(self, node: ast.expr) -> Array:
        """The array that an expression stands for."""
        found = self.value(node)
        if not isinstance(found, Array):
            raise UsageError(f"{ast.unparse(node)!r} is no array")
        return found

    def value(self, node: ast.expr) -> Any:
        """An array, or what stands in the place of an argument: a tuple, None, True."""
        match node:
            case ast.Constant(bool() | None | str()):
                return node.value
            case ast.Constant(int() | float() as number):
                return constant(num(number))
            case ast.Name(name) if name in self.scope:
                return self.scope[name]
            case ast.Name(name):
                known = ", ".join(sorted(self.scope)) or "none"
                raise UsageError(
                    f"{name} has no shape and no value; add it to the shapes ({name}: n d). Known: {known}"
                )
            case ast.BinOp(left, op, right) if type(op) in BINARY:
                a, b = self.array(left), self.array(right)
                try:
                    return BINARY[type(op)](a, b)
                except UsageError as error:
                    raise UsageError(f"{ast.unparse(node)}: {error}") from None
            case ast.UnaryOp(ast.USub(), operand):
                return -self.array(operand)
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.array(operand)
            case ast.Compare(left, [op], [right]) if type(op) in COMPARED:
                return arrays.compared(COMPARED[type(op)], self.array(left), self.array(right))
            case ast.Attribute(base, "T" | "mT") if not _is_numpy(base):
                return self.array(base).T
            case ast.Attribute(base, "shape"):
                return tuple(constant(size) for size in self.array(base).shape)
            case ast.Attribute(ast.Name("np" | "numpy"), "pi"):
                return constant(Symbol("π"))
            case ast.Attribute(ast.Name("np" | "numpy"), "newaxis"):
                return None
            case ast.Tuple(items) | ast.List(items):
                return tuple(self.value(item) for item in items)
            case ast.Subscript(base, at):
                return self._subscript(node, self.value(base), at)
            case ast.Call():
                return self._call(node)
        raise UsageError(
            f"{ast.unparse(node)!r} is not understood; expected NumPy's operators and functions: {known_names()}"
        )

    def number(self, node: ast.expr) -> int:
        """A whole number, as for an axis."""
        try:
            found = ast.literal_eval(node)
        except ValueError:
            found = None
        if not isinstance(found, int):
            raise UsageError(f"{ast.unparse(node)!r}, expected a whole number")
        return found

    def _subscript(self, node: ast.expr, base: Any, at: ast.expr) -> Any:
        items = at.elts if isinstance(at, ast.Tuple) else [at]
        if isinstance(base, tuple):
            return base[self.number(at)]
        if not isinstance(base, Array):
            raise UsageError(f"{ast.unparse(node)!r}: expected an array before the brackets")
        axis = 0
        for item in items:
            match item:
                case ast.Slice(None, None, None):
                    axis += 1
                case ast.Constant(None) | ast.Attribute(ast.Name("np" | "numpy"), "newaxis"):
                    base = base.expanded(axis)
                    axis += 1
                case _:
                    raise UsageError(f"{ast.unparse(node)!r}: of brackets, only ':' and 'None' are understood here")
        return base

    def _called(self, node: ast.Call) -> str:
        match node.func:
            case ast.Name(name):
                return name
            case ast.Attribute(_, name):
                return name
        return ""

    def _call(self, node: ast.Call) -> Array:
        name = self._called(node)
        is_method = isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
        args: list[Any] = [node.func.value, *node.args] if is_method else list(node.args)  # type: ignore[attr-defined]
        given = {k.arg: k.value for k in node.keywords if k.arg}
        if not args:
            raise UsageError(f"{ast.unparse(node)!r}: expected an argument")
        if name in REDUCTIONS:
            axis = given.pop("axis", given.pop("dim", args[1] if len(args) > 1 else None))
            keep = given.pop("keepdims", given.pop("keepdim", None))
            self._nothing_left(node, given)
            kept = isinstance(keep, ast.Constant) and keep.value is True
            return REDUCTIONS[name](self.array(args[0]), None if axis is None else self._axis(axis), kept)
        if name in ("broadcast_to", "full", "ones", "zeros"):
            return self._with_shape(name, args)
        if name == "einsum":
            return arrays.einsum(self.value(args[0]), *map(self.array, args[1:]))
        if name in ("transpose", "swapaxes"):
            return self._transposed(name, args)
        if name in FUNCTIONS:
            self._nothing_left(node, given)
            try:
                return FUNCTIONS[name](*map(self.array, args))
            except TypeError:
                raise UsageError(f"{ast.unparse(node)!r}: {name} does not take {len(args)} argument(s)") from None
        if name in DEFINED:
            result = self._defined(name, node)
            return self.program.define(self.program.spare(list(SPARE)), result) if DEFINED[name][2] else result
        if name in UNKNOWN and not is_method and len(args) == 1:
            return applied(name)(self.array(args[0]))
        near = difflib.get_close_matches(name, known_names().split(", "), n=3, cutoff=0.6)
        hint = f"the nearest: {', '.join(near)}" if near else f"known: {known_names()}"
        raise UsageError(f"there is no derivation for {name}; {hint}")

    def _defined(self, name: str, node: ast.Call) -> Array:
        """The lines of a definition, with its inputs replaced by the arguments."""
        inputs, text, _, symbols = DEFINED[name]
        args = [self.array(a) for a in node.args]
        given = {k.arg: k.value for k in node.keywords if k.arg}
        if len(args) > len(inputs):
            raise UsageError(f"{ast.unparse(node)!r}: {name} takes {', '.join(inputs)}")
        scope: dict[str, Any] = dict(zip(inputs, args, strict=False))
        for key, value in given.items():
            if key not in (*inputs, *symbols):
                raise UsageError(f"{ast.unparse(node)!r}: {name} has no argument {key!r} here")
            scope[key] = self.array(value)
        for key, number in symbols.items():
            if key not in scope:
                own = self.program.spare([key])
                self.program.symbols[own] = number
                scope[key] = constant(Symbol(own))
        missing = [key for key in inputs if key not in scope]
        if missing:
            raise UsageError(f"{ast.unparse(node)!r}: {name} needs {', '.join(missing)}")
        shapes = Program()
        read_shapes(DEFINED_SHAPES[name], shapes)
        scope.update(_sizes(name, shapes.shapes, scope))
        return Reader(self.program, scope, inner=True).run(ast.parse(text).body)

    def _axis(self, node: ast.expr) -> int | tuple[int, ...]:
        return tuple(map(self.number, node.elts)) if isinstance(node, (ast.Tuple, ast.List)) else self.number(node)

    def _with_shape(self, name: str, args: list[ast.expr]) -> Array:
        node = args[-1] if name == "broadcast_to" else args[0]
        items = node.elts if isinstance(node, (ast.Tuple, ast.List)) else [node]
        for item in items:  # a size that only this shape has
            if isinstance(item, ast.Name) and item.id not in self.scope:
                self.scope[item.id] = constant(Symbol(item.id))
                self.program.symbols.setdefault(item.id, TRIED)
        shape = [self.array(item).entry(()) for item in items]
        if name == "broadcast_to":
            return self.array(args[0]).broadcast_to(shape)
        return arrays.filled(shape, int(name == "ones"))

    def _transposed(self, name: str, args: list[ast.expr]) -> Array:
        x, axes = self.array(args[0]), [self._axis(a) for a in args[1:]]
        flat = [k for a in axes for k in (a if isinstance(a, tuple) else (a,))]
        if name == "swapaxes":
            a, b = (k % x.ndim for k in flat)
            order = list(range(x.ndim))
            order[a], order[b] = b, a
            return x.transpose(*order)
        return x.transpose(*flat)

    def _nothing_left(self, node: ast.Call, given: Mapping[str, Any]) -> None:
        if given:
            raise UsageError(f"{ast.unparse(node)!r}: {', '.join(given)} is not understood here")

    # ------------------------------------------------------------------------------------------------ index notation

    def _entrywise(self, name: str, at: ast.expr, value: ast.expr) -> Array:
        """A line in index notation: ``y[i] = sum(w[i, k] * x[k], over=k)``."""
        letters = [k.id for k in (at.elts if isinstance(at, ast.Tuple) else [at]) if isinstance(k, ast.Name)]
        shape = self.program.shapes.pop(name, None)
        sizes = dict(zip(letters, shape, strict=True)) if shape is not None else {}
        sizes = {**self._sizes_of(value), **sizes}
        for letter in letters:
            if letter not in sizes:
                raise UsageError(
                    f"{name}[{', '.join(letters)}]: the size of {letter} is not known; add {name} to the shapes"
                )
        own = {letter: fresh(sizes[letter], letter) for letter in letters}
        self.program.indexed = True
        body = self.entry(value, own, sizes)
        self.program.statements.append(Statement(name, tuple(sizes[c] for c in letters), tuple(own.values()), body))
        return named(name, tuple(sizes[c] for c in letters))

    def _sizes_of(self, node: ast.expr) -> dict[str, Expr]:
        """The sizes of the indices that stand alone in a place of a known array."""
        sizes: dict[str, Expr] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id in self.scope:
                places = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
                shape = self.scope[part.value.id].shape
                if len(places) != len(shape):
                    raise UsageError(f"{ast.unparse(part)!r}: {part.value.id} has {len(shape)} axes")
                for place, size in zip(places, shape, strict=True):
                    if isinstance(place, ast.Name):
                        sizes.setdefault(place.id, size)
        return sizes

    def entry(self, node: ast.expr, indices: dict[str, Index], sizes: Mapping[str, Expr]) -> Expr:
        """An expression in index notation; the letters of ``indices`` are indices."""

        def of(part: ast.expr) -> Expr:
            return self.entry(part, indices, sizes)

        match node:
            case ast.Name(name) if name in indices:
                return indices[name]
            case ast.Subscript(ast.Name(name), at) if name in self.scope:
                places = at.elts if isinstance(at, ast.Tuple) else [at]
                return self.scope[name].entry(tuple(map(of, places)))
            case ast.Call(ast.Name("sum" | "max" as name), [body], [ast.keyword("over", over)]):
                letters = [
                    k.id for k in (over.elts if isinstance(over, ast.Tuple) else [over]) if isinstance(k, ast.Name)
                ]
                sizes = {**{c: Symbol(c) for c in self.program.symbols}, **sizes}
                missing = [c for c in letters if c not in sizes]
                if missing:
                    raise UsageError(f"{ast.unparse(node)!r}: the size of {missing[0]} is not known")
                bound = {c: fresh(sizes[c], c) for c in letters}
                inner = self.entry(body, {**indices, **bound}, sizes)
                return total(bound.values(), inner) if name == "sum" else Max(tuple(bound.values()), inner)
            case ast.BinOp(left, op, right) if type(op) in BINARY:
                return BINARY[type(op)](constant(of(left)), constant(of(right))).entry(())
            case ast.UnaryOp(ast.USub(), operand):
                return negative(of(operand))
            case ast.Compare(left, [op], [right]) if type(op) in COMPARED:
                return arrays.compared(COMPARED[type(op)], constant(of(left)), constant(of(right))).entry(())
            case ast.Call(_, args, []) if self._called(node) in FUNCTIONS:
                return FUNCTIONS[self._called(node)](*[constant(of(a)) for a in args]).entry(())
        return self.array(node).entry(())


def _sizes(name: str, shapes: Mapping[str, Sequence[Expr]], scope: Mapping[str, Any]) -> dict[str, Array]:
    """What the letters of a definition's shapes stand for in a call."""
    found: dict[str, Array] = {}
    for key, shape in shapes.items():
        array = scope.get(key)
        if not isinstance(array, Array):
            continue
        if array.ndim != len(shape) and name in OF_ANY_SHAPE:
            continue
        if array.ndim != len(shape):
            raise UsageError(f"{name}: {key} has {array.ndim} axes, expected {len(shape)}: {arrays.shown(shape)}")
        for letter, size in zip(shape, array.shape, strict=True):
            if isinstance(letter, Symbol):
                found.setdefault(letter.name, constant(size))
    return found


def _is_numpy(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "numpy")


def _is_module(node: ast.expr) -> bool:
    return (
        _is_numpy(node)
        or (isinstance(node, ast.Name) and node.id in ("ops", "math", "chainrule"))
        or (isinstance(node, ast.Attribute) and _is_module(node.value))
    )


def known_names() -> str:
    """What can be called, for a message."""
    return ", ".join(sorted({*REDUCTIONS, *FUNCTIONS, *DEFINED, "broadcast_to", "einsum", "transpose", "swapaxes"}))


BINARY: dict[type, Callable[[Array, Array], Array]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
}
COMPARED: dict[type, str] = {ast.Gt: ">", ast.Lt: "<", ast.GtE: ">=", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
REDUCTIONS: dict[str, Callable[..., Array]] = {
    "sum": Array.sum,
    "mean": Array.mean,
    "var": Array.var,
    "max": Array.max,
    "amax": Array.max,
    "min": Array.min,
    "amin": Array.min,
}
TWO, HALF = constant(num(2)), constant(num(Fraction(1, 2)))
FUNCTIONS: dict[str, Callable[..., Array]] = {
    **{name: applied(name) for name in ("exp", "log", "tanh", "sin", "cos", "abs", "sign", "erf", "sqrt")},
    "square": lambda x: x**TWO,
    "log1p": lambda x: applied("log")(constant(ONE) + x),
    "expm1": lambda x: applied("exp")(x) - constant(ONE),
    "maximum": arrays.maximum,
    "minimum": arrays.minimum,
    "where": arrays.where,
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "matmul": operator.matmul,
    "dot": operator.matmul,
    "outer": lambda a, b: a.expanded(1) * b,
    "negative": operator.neg,
}
# What `definitions` fills in: name -> (inputs, lines, is its result worth a name, hyper-parameters); and the shapes.
DEFINED: dict[str, tuple[list[str], str, bool, dict[str, float]]] = {}
DEFINED_SHAPES: dict[str, str] = {}
OF_ANY_SHAPE: set[str] = set()
