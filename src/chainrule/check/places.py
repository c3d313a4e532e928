"""The places of a function that may be edited: its expressions, what each one is, and the names in scope there."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

ABOUT_SHAPE = {"shape", "size", "ndim", "dtype", "device", "itemsize", "nbytes"}
REDUCTIONS = {"sum", "mean", "var", "std", "max", "min", "prod", "argmax", "argmin", "amax", "amin", "logsumexp"}
PRODUCTS = {"dot", "matmul", "mm", "bmm", "einsum", "outer", "where", "multiply", "add", "subtract", "divide"}
SIZED = {"zeros", "ones", "empty", "full", "arange", "eye", "len", "range"}  # calls whose arguments are sizes
LIKE = {"zeros_like", "ones_like", "empty_like", "full_like"}
ARRANGED = {  # calls whose arguments after the array are axes, sizes or shifts
    *(
        "reshape",
        "view",
        "transpose",
        "permute",
        "swapaxes",
        "moveaxis",
        "expand_dims",
        "squeeze",
        "unsqueeze",
        "repeat",
    ),
    *(
        "tile",
        "roll",
        "flip",
        "pad",
        "flatten",
        "ravel",
        "rot90",
        "broadcast_to",
        "expand",
        "astype",
        "split",
        "sum_to",
    ),
}
NOT_EDITED = {"print", "isinstance", "hasattr", "getattr", "setattr", "type", "super", "open", "save_for_backward"}
GRADIENT_NAMES = ("gy", "dy", "dout", "grad", "g_", "upstream", "delta", "dl", "d_out")


@dataclass(frozen=True)
class Scope:
    """What may be named in a repair at one statement. Names are expressions: ``"x"``, ``"self.gamma"``."""

    upstream: tuple[str, ...] = ()  # the gradient coming in, and what is only another view of it
    values: tuple[str, ...] = ()  # arrays and numbers
    sizes: Mapping[str, int | None] = field(default_factory=dict)  # a size -> the axis it belongs to, where known
    masks: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()  # loop variables
    unused: tuple[str, ...] = ()  # assigned and never read
    finished: tuple[str, ...] = ()  # read only to be returned: gradients that are ready


@dataclass(frozen=True)
class Place:
    """One expression, and where it hangs in the tree.

    ``role`` is ``value`` (its number enters the gradient), ``compared`` (it enters a comparison), ``index``, ``size``
    (a shape, an axis, the end of a range) or ``test`` (of an ``if``).
    """

    node: ast.expr
    parent: ast.AST
    field: str
    index: int | None
    role: str
    statement: ast.AST
    scope: Scope

    @property
    def term(self) -> bool:
        """Is it a whole term: not a factor inside a product, whose neighbours could be edited as well?"""
        if self.role != "value" or isinstance(self.node, ast.Constant | ast.Tuple | ast.List | ast.Dict | ast.Lambda):
            return False
        if isinstance(self.node, ast.Starred | ast.GeneratorExp | ast.ListComp | ast.IfExp | ast.JoinedStr):
            return False
        if isinstance(self.parent, ast.UnaryOp) or (
            isinstance(self.node, ast.Attribute) and self.node.attr in ABOUT_SHAPE
        ):
            return False
        if isinstance(self.parent, ast.BinOp):
            factor = isinstance(self.parent.op, ast.Mult) or (
                isinstance(self.parent.op, ast.Div) and self.field == "left"
            )
            return not factor
        return True


def text(node: ast.AST) -> str:
    """The source of an expression."""
    return ast.unparse(node)


def called(node: ast.AST) -> str:
    """The last part of a called function's name: ``sum`` for ``np.sum(x)`` and for ``x.sum()``; empty if no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def is_method(node: ast.Call) -> bool:
    """Is it ``x.sum()``, not ``np.sum(x)``?"""
    return isinstance(node.func, ast.Attribute) and not _is_library(node.func.value)


def array_of(node: ast.Call) -> ast.expr | None:
    """The array in ``x.sum()`` and in ``np.sum(x)``."""
    if is_method(node) and isinstance(node.func, ast.Attribute):
        return node.func.value
    return node.args[0] if node.args else None


def _is_library(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"np", "numpy", "torch", "jnp", "jax", "math", "F", "xp", "cp"}


# ------------------------------------------------------------------------------------------------------ expressions


def _walk(
    parent: ast.AST, name: str, index: int | None, role: str, statement: ast.AST, scope: Scope
) -> Iterator[Place]:
    node = getattr(parent, name) if index is None else getattr(parent, name)[index]
    if node is None:
        return
    yield Place(node, parent, name, index, role, statement, scope)
    for inner, child, at in _children(node, role):
        yield from _walk(node, child, at, inner, statement, scope)
    if isinstance(node, ast.Call) and called(node) not in NOT_EDITED:
        if is_method(node):
            yield from _walk(node.func, "value", None, role, statement, scope)
        for i, inner in enumerate(_arguments(node, role)):
            yield from _walk(node, "args", i, inner, statement, scope)


def _children(node: ast.AST, role: str) -> Iterator[tuple[str, str, int | None]]:
    """(role, field, index) of an expression's parts."""
    match node:
        case ast.BinOp():
            yield role, "left", None
            yield role, "right", None
        case ast.UnaryOp():
            yield role, "operand", None
        case ast.Compare():
            yield "compared", "left", None
            for i in range(len(node.comparators)):
                yield "compared", "comparators", i
        case ast.BoolOp():
            for i in range(len(node.values)):
                yield "test", "values", i
        case ast.IfExp():
            yield "test", "test", None
            yield role, "body", None
            yield role, "orelse", None
        case ast.Tuple() | ast.List():
            for i in range(len(node.elts)):
                yield role, "elts", i
        case ast.Dict():
            for i in range(len(node.values)):
                yield role, "values", i
        case ast.Slice():
            for name in ("lower", "upper", "step"):
                yield role, name, None
        case ast.Subscript():
            about_shape = isinstance(node.value, ast.Attribute) and node.value.attr in ABOUT_SHAPE
            yield "size" if about_shape else role, "value", None
            yield "size" if about_shape else "index", "slice", None
        case ast.Attribute():
            if node.attr in ("T", "mT"):
                yield role, "value", None
        case ast.Starred() | ast.Lambda():
            yield role, "value" if isinstance(node, ast.Starred) else "body", None
        case ast.ListComp() | ast.GeneratorExp():
            yield role, "elt", None


def _arguments(node: ast.Call, role: str) -> Iterator[str]:
    """The role of each argument."""
    name = called(node)
    for i in range(len(node.args)):
        is_array = name not in SIZED | LIKE | ARRANGED | REDUCTIONS or (
            i == 0 and name not in SIZED | LIKE and not is_method(node)
        )
        yield role if is_array else "size"


# ------------------------------------------------------------------------------------------------------- statements


@dataclass(frozen=True)
class Spot:
    """One statement (or lambda) of the function: where it hangs, and what is in scope there."""

    statement: ast.AST
    parent: ast.AST
    field: str
    index: int | None
    scope: Scope
    in_loop: bool

    def places(self) -> Iterator[Place]:
        """The expressions of the statement itself, not of the statements inside it."""
        for name, index in _parts(self.statement):
            yield from self._walk(name, index)

    def _unpacks(self) -> bool:
        """Is it ``x, w = cache``, whose right side is no array?"""
        match self.statement:
            case ast.Assign(targets=[ast.Tuple()], value=ast.Name() | ast.Attribute() | ast.Subscript()):
                return True
        return False

    def _walk(self, name: str, index: int | None) -> Iterator[Place]:
        role = "test" if name == "test" else "packed" if self._unpacks() else "value"
        for place in _walk(self.statement, name, index, role, self.statement, self.scope):
            target = name in ("targets", "target")  # of what is assigned to, only an index can be edited
            if not target or place.role == "index":
                yield place


def _parts(statement: ast.AST) -> Iterator[tuple[str, int | None]]:
    match statement:
        case ast.Assign():
            yield "value", None
            yield from (("targets", i) for i in range(len(statement.targets)))
        case ast.AugAssign() | ast.AnnAssign():
            yield "value", None
            yield "target", None
        case ast.Return() | ast.Expr():
            yield "value", None
        case ast.For():
            yield "iter", None
        case ast.If():
            yield "test", None
        case ast.Lambda():
            yield "body", None


def spots(
    node: FunctionNode, owner: ast.ClassDef | None, upstream: str | None, names: Mapping[str, Any], nested: bool
) -> list[Spot]:
    """The statements that may be edited, in order; with ``nested``, only those of the functions inside."""
    collector = _Collector(node, owner, names, nested)
    collector.function(node, upstream, editable=not nested)
    return collector.spots


class _Collector:
    """Walks a function in order and remembers which names stand for what."""

    def __init__(self, node: FunctionNode, owner: ast.ClassDef | None, names: Mapping[str, Any], nested: bool):
        self.spots: list[Spot] = []
        self.names = names
        self.nested = nested
        self.upstream: list[str] = []
        self.values: list[str] = []
        self.sizes: dict[str, int | None] = {}
        self.masks: list[str] = []
        self.indices: list[str] = []
        self.loops = 0
        read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        self.read = read
        returned = [n for n in ast.walk(node) if isinstance(n, ast.Return)]
        ready = [n for statement in returned for n in ast.walk(statement)]
        inside = {id(n) for n in ready}
        used = {
            n.id
            for n in ast.walk(node)
            if isinstance(n, ast.Name) and id(n) not in inside and n.id in read and isinstance(n.ctx, ast.Load)
        }
        self.finished = tuple(sorted({n.id for n in ready if isinstance(n, ast.Name)} - used))
        self.stored = _stored(owner or node, node)
        self.editable = not nested
        for expression, value in names.items():
            self._seen(expression, value)

    def _seen(self, expression: str, value: Any) -> None:
        dtype = str(getattr(value, "dtype", ""))
        if "bool" in dtype:
            self.masks.append(expression)
        elif isinstance(value, int) and not isinstance(value, bool):
            self.sizes[expression] = None
        elif isinstance(value, float) or dtype:
            self.values.append(expression)

    def scope(self) -> Scope:
        unused = tuple(name for name in self.values if name.isidentifier() and name not in self.read)
        values = dict.fromkeys([*reversed(self.values), *self.stored])
        usable = [name for name in values if self._usable(name)]
        masks = dict.fromkeys([*self.masks, *(name for name in usable if _called_mask(name))])
        plain = tuple(name for name in usable if name not in masks)
        upstream, indices = tuple(self.upstream), tuple(self.indices)
        return Scope(upstream, plain, dict(self.sizes), tuple(masks), indices, unused, self.finished)

    def _usable(self, expression: str) -> bool:
        """An expression whose value was seen must have been an array or a number."""
        value = self.names.get(expression, 0.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return expression not in self.sizes and (number or hasattr(value, "dtype"))

    def function(self, node: FunctionNode, upstream: str | None, editable: bool) -> None:
        arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        arguments = [name for name in arguments if name not in ("self", "cls", "ctx")]
        starred = [node.args.vararg.arg] if node.args.vararg else []
        if editable:
            coming_in = upstream or _coming_in(arguments)
            self.upstream = [coming_in] if coming_in else []
        self.values += [name for name in arguments if name not in self.values]
        self.values = [name for name in self.values if name not in starred]
        before, self.editable = self.editable, editable
        if isinstance(node, ast.Lambda):
            self.spots.append(Spot(node, node, "body", None, self.scope(), False))
        else:
            self.block(node, "body")
        self.editable = before

    def block(self, parent: ast.AST, name: str) -> None:
        for index, statement in enumerate(getattr(parent, name)):
            if isinstance(statement, ast.FunctionDef):
                self._inner(statement)
                continue
            if self.editable:
                self.spots.append(Spot(statement, parent, name, index, self.scope(), self.loops > 0))
            elif self.nested:
                for lambda_ in (n for n in ast.walk(statement) if isinstance(n, ast.Lambda)):
                    self._inner(lambda_)
            self._assigned(statement)
            is_loop = isinstance(statement, ast.For | ast.While)
            self.loops += is_loop
            for inner in ("body", "orelse", "finalbody"):
                if hasattr(statement, inner) and isinstance(getattr(statement, inner), list):
                    self.block(statement, inner)
            self.loops -= is_loop

    def _inner(self, node: FunctionNode) -> None:
        """A function inside sees what is outside; what it assigns is its own."""
        own = self.upstream, self.values, self.sizes, self.masks, self.indices, self.loops
        self.values, self.sizes, self.masks = list(self.values), dict(self.sizes), list(self.masks)
        self.indices, self.loops = list(self.indices), 0
        self.function(node, None, editable=True)
        self.upstream, self.values, self.sizes, self.masks, self.indices, self.loops = own

    def _assigned(self, statement: ast.AST) -> None:
        match statement:
            case ast.For(target=target, iter=source):
                counts = called(source) in ("range", "reversed", "enumerate", "product", "ndindex")
                for n in _names(target):
                    (self.indices if counts else self.values).append(n)
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, value)
            case ast.With(items=items):
                for item in items:
                    self.values += _names(item.optional_vars) if item.optional_vars else []

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for to, of in zip(target.elts, value.elts, strict=True):
                self._bind(to, of)
            return
        axes = isinstance(value, ast.Attribute) and value.attr == "shape"
        for axis, name in enumerate(_names(target)):
            if axes:
                self.sizes[name] = axis
            elif _is_size(value, self.sizes):
                self.sizes[name] = _axis(value, self.sizes)
            elif is_mask(value, self.masks) or _called_mask(name):
                self.masks.append(name)
            elif isinstance(value, ast.Lambda | ast.Dict | ast.List | ast.ListComp | ast.JoinedStr):
                continue
            else:
                if _is_view(value, self.upstream):
                    self.upstream.append(name)
                self.values = [*(v for v in self.values if v != name), name]


def _coming_in(arguments: list[str]) -> str | None:
    """The argument that is the gradient coming in: known by its name, or else the first."""
    named = [name for name in arguments if name.lower().startswith(GRADIENT_NAMES) or name == "g"]
    return next(iter(named or arguments), None)


def _names(target: ast.expr) -> list[str]:
    """The plain names that an assignment's target binds, in order."""
    if isinstance(target, ast.Tuple | ast.List):
        return [name for part in target.elts for name in _names(part)]
    if isinstance(target, ast.Starred):
        return []
    return [target.id] if isinstance(target, ast.Name) else []


def _is_view(node: ast.expr, upstream: list[str]) -> bool:
    """Is it the gradient coming in, at most in another shape?"""
    while True:
        if isinstance(node, ast.Name):
            return node.id in upstream
        if isinstance(node, ast.Subscript | ast.Attribute):
            node = node.value
        elif isinstance(node, ast.Call) and called(node) in ARRANGED | {"asarray", "array", "contiguous", "copy"}:
            array = array_of(node)
            if array is None:
                return False
            node = array
        else:
            return False


def _is_size(node: ast.expr, sizes: Mapping[str, int | None]) -> bool:
    match node:
        case ast.Name():
            return node.id in sizes
        case ast.Constant():
            return isinstance(node.value, int) and not isinstance(node.value, bool)
        case ast.BinOp():
            return _is_size(node.left, sizes) and _is_size(node.right, sizes) and not isinstance(node.op, ast.Div)
        case ast.Subscript(value=ast.Attribute(attr="shape")):
            return True
        case ast.Attribute():
            return node.attr in ("size", "ndim")
        case ast.Call():
            of_size = called(node) in ("float", "int") and bool(node.args) and _is_size(node.args[0], sizes)
            return of_size or called(node) in ("len", "numel", "size")
    return False


def is_size(node: ast.expr, scope: Scope) -> bool:
    """Is it a size, such as ``n`` after ``n, d = x.shape``, ``len(x)`` or ``x.shape[0]``? A literal number is not."""
    return not isinstance(node, ast.Constant) and _is_size(node, scope.sizes)


def _axis(node: ast.expr, sizes: Mapping[str, int | None]) -> int | None:
    match node:
        case ast.Name():
            return sizes.get(node.id)
        case ast.Subscript(value=ast.Attribute(attr="shape"), slice=ast.Constant(value=int() as axis)):
            return axis
        case ast.Subscript(value=ast.Attribute(attr="shape")):
            return -1
        case ast.Call():
            return 0 if called(node) == "len" else None
    return None


def is_batch(node: ast.expr, scope: Scope) -> bool:
    """May this size be the batch's (the first axis), or is it another axis's?"""
    return _axis(node, scope.sizes) in (0, None)


def is_mask(node: ast.expr, masks: list[str] | tuple[str, ...]) -> bool:
    """Is it a truth value per entry: a comparison, or made of comparisons?"""
    match node:
        case ast.Compare():
            return True
        case ast.UnaryOp(op=ast.Invert() | ast.Not()):
            return is_mask(node.operand, masks)
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return True
        case ast.Call(func=ast.Attribute(attr="astype" | "float" | "double", value=array)):
            return is_mask(array, masks)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return text(node) in masks or _called_mask(text(node))
    return False


def _called_mask(expression: str) -> bool:
    return "mask" in expression.rpartition(".")[2]


def _stored(where: ast.AST, function: FunctionNode) -> list[str]:
    """Attributes (``self.x``, ``ctx.x``), entries (``cache["x"]``) and broadcast views (``w[None, :]``) that stand
    anywhere in the class, and whose first name is known in the function."""
    known = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    known |= {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
    calls = {id(n.func) for n in ast.walk(where) if isinstance(n, ast.Call)}
    methods = {n.name for n in ast.walk(where) if isinstance(n, ast.FunctionDef)}
    found: dict[str, None] = {}
    for n in ast.walk(where):
        if id(n) in calls or not isinstance(n, ast.Attribute | ast.Subscript):
            continue
        root = _root(n)
        if root is None or root not in known or _is_library(ast.Name(root)):
            continue
        if isinstance(n, ast.Attribute):
            plain = isinstance(n.value, ast.Name) and n.attr not in ABOUT_SHAPE | {"T", "mT", "saved_tensors"} | methods
            if plain and root in ("self", "ctx", "cache"):
                found[text(n)] = None
        elif isinstance(n.slice, ast.Constant) and not (isinstance(n.value, ast.Attribute) and n.value.attr == "shape"):
            if isinstance(n.slice.value, str) or (isinstance(n.value, ast.Name) and "cache" in n.value.id):
                found[text(n)] = None
        elif isinstance(n.slice, ast.Tuple) and any(
            isinstance(e, ast.Constant) and e.value is None for e in n.slice.elts
        ):
            found[text(n)] = None
    return list(found)


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
