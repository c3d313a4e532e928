"""Edits of how arrays are laid out: sums, transposes, orders of axes, matrix products, masks, indices."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from chainrule.check.edits import Change, change, index, is_operator, mentions, method, number, quote, read
from chainrule.check.places import Place, array_of, called, is_mask, is_method, is_size, text

AXES: tuple[str, ...] = (
    "0",
    "-1",
    "1",
    "(0, 1)",
    "(0, 2, 3)",
    "(2, 3)",
    "(1, 2)",
    "(1, 2, 3)",
    "(0, 2)",
    "(2, 3, 4)",
    "",
)


def _reductions(place: Place) -> Iterator[Change]:
    """A sum for a mean, another axis, a sum removed."""
    node = place.node
    name = called(node)
    if place.role != "value" or not isinstance(node, ast.Call) or name not in ("sum", "mean", "var", "std"):
        return
    func = node.func
    array = func.value if is_method(node) and isinstance(func, ast.Attribute) else (node.args or [func])[0]
    axis, keep, others = _reduction_options(node)
    if name in ("sum", "mean"):
        other = "mean" if name == "sum" else "sum"
        renamed = (
            ast.Attribute(func.value, other, ast.Load())
            if isinstance(func, ast.Attribute)
            else ast.Name(other, ast.Load())
        )
        over_batch = text(axis) in ("0", "None")
        cause = "mean-for-sum" if name == "mean" else "batch-mean-missing" if over_batch else "factor"
        note = f"a {name} where a {other} belongs: {quote(node)}"
        yield change(place, 1, cause, ast.Call(renamed, node.args, node.keywords), note)
        yield change(
            place, 5, "missing-sum" if name == "sum" else "mean-for-sum", array, f"{quote(node)} needs no {name}"
        )
    for other_axis, other_keep in itertools.product(AXES, (False, True)):
        words = list(others)
        if other_axis:
            words.append(ast.keyword("axis", read(other_axis)))
        if other_keep:
            words.append(ast.keyword("keepdims", ast.Constant(True)))
        arguments = node.args[:0] if is_method(node) else node.args[:1]
        simplicity = 2 if other_keep == keep else 3
        note = f"the axis of {quote(node)}"
        yield change(place, simplicity, "missing-sum", ast.Call(func, list(arguments), words), note)
    if name in ("var", "std"):
        ddof = [word for word in node.keywords if word.arg in ("ddof", "correction", "unbiased")]
        rest = [word for word in node.keywords if word not in ddof]
        if ddof:
            yield change(place, 2, "ddof", ast.Call(func, node.args, rest), f"{quote(node)} divides by n - 1")
        for value in (0, 1):
            words = [*rest, ast.keyword("ddof", ast.Constant(value))]
            yield change(place, 3, "ddof", ast.Call(func, node.args, words), f"{quote(node)} divides by another n")


def _reduction_options(node: ast.Call) -> tuple[ast.expr, bool, list[ast.keyword]]:
    """The axis, whether it is kept, and the other keywords of a sum or a mean."""
    axis: ast.expr = ast.Constant(None)
    positional = node.args if is_method(node) else node.args[1:]
    if positional:
        axis = positional[0]
    keep, others = len(positional) > 1, []
    for word in node.keywords:
        if word.arg in ("axis", "dim"):
            axis = word.value
        elif word.arg in ("keepdims", "keepdim"):
            keep = text(word.value) == "True"
        else:
            others.append(word)
    return axis, keep, others


def _missing_sum(place: Place) -> Iterator[Change]:
    node, scope = place.node, place.scope
    if not place.term or called(node) in ("sum", "mean") or is_size(node, scope) or is_mask(node, scope.masks):
        return
    if is_operator(place.parent, ast.Pow) or (isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.USub)):
        return
    for axis, keep in (*((axis, False) for axis in AXES), ("0", True), ("-1", True), ("1", True)):
        arguments = [read(axis)] if axis else []
        words = {"keepdims": ast.Constant(True)} if keep else {}
        over = f" over axis {axis}" if axis else ""
        note = f"{quote(node)} is not summed{over}"
        yield change(place, 4 if keep else 3, "missing-sum", method(node, "sum", *arguments, **words), note)


def _transposes(place: Place) -> Iterator[Change]:
    node = place.node
    if place.role != "value":
        return
    cause = "jacobian-transposed" if _beside_upstream(place) else "transposed"
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield change(place, 2, cause, node.value, f"the transpose of {quote(node.value)}")
    elif called(node) in ("t", "transpose") and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        plain = is_method(node) and not node.args
        array = node.func.value if plain else (node.args or [node.func.value])[0]
        if plain or (len(node.args) == 1 and not is_method(node)):
            yield change(place, 2, cause, array, f"the transpose of {quote(array)}")
    elif place.term and not is_size(node, place.scope):
        yield change(place, 2, cause, ast.Attribute(node, "T", ast.Load()), f"the transpose of {quote(node)}")
    if is_operator(node, ast.MatMult):
        new = ast.BinOp(node.right, node.op, node.left)
        jacobian = any(_is_jacobian(part) for part in (node.left, node.right))
        note = f"the order of the product {quote(node)}"
        yield change(place, 3, "jacobian-transposed" if jacobian else "transposed", new, note)
    if called(node) in ("dot", "matmul", "mm", "outer") and isinstance(node, ast.Call) and len(node.args) == 2:
        swapped = ast.Call(node.func, node.args[::-1], node.keywords)
        yield change(place, 3, "transposed", swapped, f"the order of the product {quote(node)}")
    if called(node) == "dot" and isinstance(node, ast.Call) and is_method(node):
        left = array_of(node)
        if left is not None and node.args:
            reversed_ = method(node.args[0], "dot", left)
            yield change(place, 3, "transposed", reversed_, f"the order of the product {quote(node)}")


def _beside_upstream(place: Place) -> bool:
    """Is it a Jacobian that is multiplied with the gradient coming in?"""
    if not is_operator(place.parent, ast.MatMult):
        return False
    left, right = place.parent.left, place.parent.right
    other = right if place.field == "left" else left
    return _is_jacobian(place.node) and mentions(other, place.scope.upstream)


def _is_jacobian(node: ast.AST) -> bool:
    """Is it called J, jac or jacobian, or made of a diagonal?"""
    names = {part.id.lower() for part in ast.walk(node) if isinstance(part, ast.Name)}
    names |= {part.attr.lower() for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    return any(name in ("j", "diag", "diagflat") or name.startswith("jac") for name in names)


def _layouts(place: Place) -> Iterator[Change]:
    """Axes in another order, entries in another order."""
    node = place.node
    if place.role != "value":
        return
    name = called(node)
    if isinstance(node, ast.Call) and name in ("transpose", "permute", "swapaxes", "moveaxis", "reshape", "view"):
        yield from _axes_permuted(place, node)
    if isinstance(node, ast.Call) and name == "einsum":
        yield from _subscripts_permuted(place, node)
    if isinstance(node, ast.Call) and name in REARRANGING:
        array = node.func.value if is_method(node) else (node.args or [node])[0]  # type: ignore[attr-defined]
        yield change(place, 5, REARRANGING[name], array, f"{quote(node)} needs no {name}")
    if isinstance(node, ast.Call) and name in JOINS and node.args and isinstance(node.args[0], ast.List | ast.Tuple):
        parts = node.args[0].elts
        for i, k in itertools.combinations(range(len(parts)), 2):
            swapped = list(parts)
            swapped[i], swapped[k] = parts[k], parts[i]
            joined = ast.Call(node.func, [ast.List(swapped, ast.Load()), *node.args[1:]], node.keywords)
            yield change(place, 2, "permuted", joined, f"the order of the parts in {quote(node)}")
    if not place.term or is_size(node, place.scope):
        return
    if isinstance(place.parent, ast.Return | ast.Assign):
        for other in place.scope.values:
            if other.isidentifier():
                new = method(node, "reshape", read(f"{other}.shape"))
                yield change(place, 5, "permuted", new, f"{quote(node)} is not reshaped like `{other}`")
    for axes in ("(0, 1)", "(1, 2)", "(-1, -2)"):
        cause = "transposed" if axes == "(-1, -2)" else "permuted"
        new = read(f"a.swapaxes{axes}")
        new.func.value = node  # type: ignore[attr-defined]
        yield change(place, 4, cause, new, f"the axes {axes} of {quote(node)} are not swapped")
    flipped = isinstance(node, ast.Subscript) and "::-1" in text(node.slice)
    if isinstance(node, ast.Name | ast.Attribute) or flipped:
        array = node.value if flipped else node  # type: ignore[attr-defined]
        for reversal in FLIPS:
            new = ast.Subscript(array, index(reversal), ast.Load())
            yield change(place, 5, "permuted", new, f"entries of {quote(array)} that must be reversed")


JOINS = frozenset({"concatenate", "hstack", "vstack", "stack", "column_stack"})
REARRANGING = {
    "roll": "shifted",
    "diag": "elementwise-for-jacobian",
    "diagflat": "elementwise-for-jacobian",
    **dict.fromkeys(("flip", "rot90", "fliplr", "flipud", "reshape"), "permuted"),
}
FLIPS = ("::-1", ":, ::-1", "::-1, ::-1", ":, :, ::-1, ::-1")


def _axes_permuted(place: Place, node: ast.Call) -> Iterator[Change]:
    name = called(node)
    first = 0 if is_method(node) else 1
    axes = node.args[first:]
    listed = len(axes) == 1 and isinstance(axes[0], ast.Tuple | ast.List)
    if listed:
        axes = axes[0].elts  # type: ignore[attr-defined]
    note = f"the order of the axes in {quote(node)}"
    if 2 <= len(axes) <= 4 and not any(isinstance(a, ast.Starred) for a in axes):
        for order in itertools.permutations(axes):
            new: list[ast.expr] = [ast.Tuple(list(order), ast.Load())] if listed else list(order)
            changed = ast.Call(node.func, [*node.args[:first], *new], node.keywords)
            yield change(place, 3, "permuted", changed, note)
    if name in ("reshape", "view"):
        words = [*(word for word in node.keywords if word.arg != "order"), ast.keyword("order", ast.Constant("F"))]
        yield change(
            place, 4, "permuted", ast.Call(node.func, node.args, words), f"the order of entries in {quote(node)}"
        )
    if any(word.arg == "order" for word in node.keywords):
        words = [word for word in node.keywords if word.arg != "order"]
        yield change(
            place, 2, "permuted", ast.Call(node.func, node.args, words), f"the order of entries in {quote(node)}"
        )
    elif name in ("transpose", "permute", "swapaxes", "moveaxis"):
        array = node.func.value if is_method(node) else node.args[0]  # type: ignore[attr-defined]
        yield change(place, 4, "permuted", array, f"{quote(node)} needs no {name}")


def _subscripts_permuted(place: Place, node: ast.Call) -> Iterator[Change]:
    """``"ij,jk->ik"`` with the letters of one operand, or of the output, in another order; or with another output."""
    if not node.args or not isinstance(node.args[0], ast.Constant) or not isinstance(node.args[0].value, str):
        return
    operands, arrow, output = node.args[0].value.replace(" ", "").partition("->")
    parts = [*operands.split(","), *([output] if arrow else [])]
    letters = sorted(set(operands) - {","})
    jacobian = any(_is_jacobian(array) for array in node.args[1:])
    for i, part in enumerate(parts):
        orders = ["".join(order) for order in itertools.permutations(part)] if len(part) <= 4 else []
        swaps = [part.replace(a, b) for a in part for b in letters if b not in part]
        for other in [*orders, *swaps]:
            changed = [*parts[:i], other, *parts[i + 1 :]]
            spec = ",".join(changed[: len(changed) - bool(arrow)]) + (f"->{changed[-1]}" if arrow else "")
            cause = (
                "jacobian-transposed"
                if jacobian
                else ("transposed" if len(part) == 2 and other == part[::-1] else "permuted")
            )
            new = ast.Call(node.func, [ast.Constant(spec), *node.args[1:]], node.keywords)
            yield change(place, 3, cause, new, f"the letters of {quote(node)}")
    if arrow:
        for i in range(len(output)):
            new_output = output[:i] + output[i + 1 :]
            new = ast.Call(node.func, [ast.Constant(f"{operands}->{new_output}"), *node.args[1:]], node.keywords)
            yield change(place, 3, "missing-sum", new, f"{quote(node)} is not summed over {output[i]}")


def _jacobians(place: Place) -> Iterator[Change]:
    """Element-wise products for matrix products; only the diagonal of softmax's Jacobian."""
    node, scope = place.node, place.scope
    if place.role != "value" or not isinstance(node, ast.BinOp):
        return
    note = f"{quote(node)} must be a matrix product"
    if isinstance(node.op, ast.Mult):
        for left, right in ((node.left, node.right), (node.right, node.left)):
            if number(left) is None and number(right) is None:
                yield change(place, 4, "elementwise-for-jacobian", ast.BinOp(left, ast.MatMult(), right), note)
        yield from _softmax(place, node)
    if isinstance(node.op, ast.MatMult):
        new = ast.BinOp(node.left, ast.Mult(), node.right)
        yield change(place, 6, "unknown", new, f"{quote(node)} must be taken entry by entry")
        for side, part in (("left", node.left), ("right", node.right)):
            other = node.right if side == "left" else node.left
            if mentions(part, scope.upstream) and isinstance(other, ast.Name | ast.Attribute):
                new = (
                    ast.BinOp(part, ast.MatMult(), other) if side == "right" else ast.BinOp(other, ast.MatMult(), part)
                )
                yield change(place, 3, "transposed", new, f"the order of the product {quote(node)}")


def _softmax(place: Place, node: ast.BinOp) -> Iterator[Change]:
    """``y * (1 - y) * gy`` is only the diagonal of ``y * (gy - (gy * y).sum(-1, keepdims=True))``."""
    factors = [text(factor) for factor in _chain(node)]
    for gy in scope_upstream(place, factors):
        rest = [factor for factor in factors if factor != gy]
        for y in rest:
            if sorted(rest) == sorted([y, f"1 - {y}"]) or sorted(rest) == sorted([y, f"1.0 - {y}"]):
                for axis in (-1, 0):
                    new = read(f"{y} * ({gy} - ({gy} * {y}).sum({axis}, keepdims=True))")
                    note = f"{quote(node)} has only the diagonal of the Jacobian"
                    yield change(place, 2, "elementwise-for-jacobian", new, note)


def scope_upstream(place: Place, factors: list[str]) -> list[str]:
    """The names of the gradient coming in among some factors."""
    return [name for name in place.scope.upstream if name in factors]


def _chain(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [*_chain(node.left), *_chain(node.right)]
    return [node]


# ----- masks

FLIPPED: dict[type, tuple[type, ...]] = {
    ast.Gt: (ast.Lt, ast.LtE, ast.GtE),
    ast.GtE: (ast.Lt, ast.LtE, ast.Gt),
    ast.Lt: (ast.Gt, ast.GtE, ast.LtE),
    ast.LtE: (ast.Gt, ast.GtE, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}


def _masks(place: Place) -> Iterator[Change]:
    node, scope = place.node, place.scope
    if place.role not in ("value", "index", "test") or (place.role == "test" and not isinstance(node, ast.Compare)):
        return
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in FLIPPED.get(type(node.ops[0]), ()):
            new = ast.Compare(node.left, [other()], node.comparators)
            yield change(place, 1, "mask", new, f"the comparison {quote(node)}")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.Not):
        yield change(place, 0, "mask", node.operand, f"the mask {quote(node)} is inverted")
    elif is_mask(node, scope.masks) and not isinstance(node, ast.Compare):
        yield change(place, 2, "mask", ast.UnaryOp(ast.Invert(), node), f"the mask {quote(node)} is inverted")
        yield change(
            place, 3, "mask", ast.BinOp(ast.Constant(1), ast.Sub(), node), f"the mask {quote(node)} is inverted"
        )
    if is_operator(node, ast.Sub) and text(node.left) in ("1", "1.0") and is_mask(node.right, scope.masks):
        yield change(place, 1, "mask", node.right, f"the mask {quote(node)} is inverted")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        op = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
        yield change(place, 2, "mask", ast.BinOp(node.left, op, node.right), f"the mask {quote(node)}")
        yield change(place, 3, "mask", node.left, f"the mask {quote(node)}")
        yield change(place, 3, "mask", node.right, f"the mask {quote(node)}")
    if called(node) == "where" and isinstance(node, ast.Call) and len(node.args) == 3:
        test, yes, no = node.args
        yield change(place, 1, "mask", ast.Call(node.func, [test, no, yes], []), f"the two branches of {quote(node)}")
        yield change(place, 5, "mask", yes, f"{quote(node)} needs no mask")
        yield change(place, 5, "mask", no, f"{quote(node)} needs no mask")


def _shifts(place: Place) -> Iterator[Change]:
    """Off by one in an index, a bound, a shift, a stride; one index for another."""
    node, scope = place.node, place.scope
    if place.role not in ("index", "size"):
        return
    value = number(node)
    if value is not None and isinstance(value, int):
        about_shape = isinstance(place.parent, ast.Subscript) and place.role == "size"
        axis = isinstance(place.parent, ast.Call) and called(place.parent) in (
            "sum",
            "mean",
            "var",
            "std",
            "max",
            "min",
        )
        if not axis:
            for other in (value - 1, value + 1):
                cause = "factor" if about_shape else "shifted"
                yield change(place, 3, cause, read(str(other)), f"{quote(node)} for {other}")
    elif isinstance(node, ast.Name | ast.BinOp) or is_size(node, scope):
        for op in (ast.Add(), ast.Sub()):
            new = ast.BinOp(node, op, ast.Constant(1))
            yield change(place, 3, "shifted", new, f"{quote(node)} for {quote(new)}")
        if is_operator(node, ast.Add, ast.Sub):
            yield change(place, 2, "shifted", node.left, f"{quote(node)} for {quote(node.left)}")
            other_op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            new = ast.BinOp(node.left, other_op, node.right)
            yield change(place, 3, "shifted", new, f"{quote(node)} for {quote(new)}")
    if isinstance(node, ast.Name) and place.role == "index":
        for other_name in dict.fromkeys((*scope.indices, *(scope.sizes if node.id in scope.sizes else ()))):
            if other_name != node.id:
                yield change(place, 3, "permuted", read(other_name), f"the index `{node.id}` for `{other_name}`")
    if isinstance(node, ast.Tuple) and isinstance(place.parent, ast.Subscript):
        for i, k in itertools.combinations(range(len(node.elts)), 2):
            elements = list(node.elts)
            elements[i], elements[k] = elements[k], elements[i]
            cause = "transposed" if len(elements) == 2 else "permuted"
            yield change(place, 3, cause, ast.Tuple(elements, ast.Load()), f"the order of the indices {quote(node)}")
    if isinstance(node, ast.Slice):
        yield from _slices(place, node)


def _slices(place: Place, node: ast.Slice) -> Iterator[Change]:
    bounds = tuple(bound and text(bound) for bound in (node.lower, node.upper))
    step = node.step and text(node.step)
    ends: dict[tuple, list[str]] = {("1", None): [":-1", ":"], (None, "-1"): ["1:", ":"], (None, None): ["1:", ":-1"]}
    others = ends.get(bounds, []) if step is None else []
    for other in others:
        new = index(other)
        yield change(place, 3, "shifted", new, f"`{text(node)}` for `{other}`")
    pads = [name for name in (*place.scope.sizes, *place.scope.values) if "pad" in name]
    for shift in ("1", "-1", *pads) if bounds != (None, None) else ():
        lower = f"{bounds[0] or 0} + {shift}"
        new = index(f"{lower} : {bounds[1]} + {shift}" if bounds[1] else f"{lower}:")
        yield change(place, 3, "shifted", new, f"`{text(node)}` is off by {shift}")
    if bounds[0] is None and bounds[1] is not None and step is None:  # the first entries for the last
        for name in dict.fromkeys((*place.scope.sizes, *place.scope.values)):
            new = index(f"{name}:")
            yield change(place, 4, "shifted", new, f"`{text(node)}` for `{name}:`")
    if step == "-1":
        yield change(place, 2, "permuted", ast.Slice(node.lower, node.upper, None), "entries in the reversed order")
    elif bounds == (None, None) and step is None:
        yield change(place, 4, "permuted", index("::-1"), "entries that must be reversed")


EDITS = (_reductions, _missing_sum, _transposes, _layouts, _jacobians, _masks, _shifts)
