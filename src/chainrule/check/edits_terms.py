"""Edits of what is added and multiplied: signs, factors, saved values, epsilon, terms."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chainrule.check.edits import (
    Change,
    change,
    factor_cause,
    is_epsilon,
    is_number,
    is_operator,
    mentions,
    negated,
    number,
    over,
    quote,
    read,
    sizes,
    times,
)
from chainrule.check.places import LIKE, Place, called, is_mask, is_size, text


def _sign(place: Place) -> Iterator[Change]:
    node = place.node
    if place.role not in ("value", "compared"):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not is_number(node.operand):
        yield change(place, 1, "sign", node.operand, f"the sign of {quote(node.operand)}")
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        new = ast.BinOp(node.left, other, node.right)
        yield change(place, 1, "sign", new, f"the sign of {quote(node.right)}")
    right_operand = is_operator(place.parent, ast.Add, ast.Sub) and place.field == "right"
    if place.term and not right_operand:
        yield change(place, 3, "sign", negated(node), f"the sign of {quote(node)}")


def _literals(place: Place) -> Iterator[Change]:
    """Literal numbers and exponents."""
    node, parent = place.node, place.parent
    value = number(node)
    if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.USub):
        return  # the number with its sign is one literal
    if place.role not in ("value", "compared") or value is None or not isinstance(node, ast.Constant | ast.UnaryOp):
        return
    if is_operator(parent, ast.Pow) and place.field == "right":
        yield from _exponents(place, value)
    elif 0 < abs(value) <= 1e-2:
        for other in (1e-5, 1e-8, 1e-6, 1e-7, 1e-12, 1e-3, 1e-10, 0.0):
            yield change(place, 4, "eps", read(repr(other)), f"epsilon: `{other}`, not {quote(node)}")
    elif place.role == "compared":
        for other in (0, 1, -value):
            yield change(place, 4, "mask", read(repr(other)), f"the bound of a comparison: {other}, not {quote(node)}")
    else:
        product = is_operator(parent, ast.Mult, ast.Div)
        for other in (1, 2, 0.5, 3, 4, 0.25, 6, value * 2, value / 2, -value):
            cause = "factor" if product or not is_operator(parent, ast.Add, ast.Sub) else "unknown"
            cause = "sign" if other == -value else cause
            simplicity = 2 if cause == "factor" else 6
            yield change(place, simplicity, cause, read(f"{other:g}"), f"the factor {quote(node)}: {other:g}")
        for name in place.scope.upstream if abs(value) == 1 else ():
            yield change(place, 3, "upstream-ignored", read(name), f"{quote(node)} stands where `{name}` belongs")


def _exponents(place: Place, value: float) -> Iterator[Change]:
    base = place.parent.left  # type: ignore[attr-defined]
    for other in (value + 1, value - 1, -value, value / 2, value * 2, -0.5, -1.5, -1, -2, 2, 3):
        more = other == value + (1 if value > 0 else -1)
        cause = "parameter-missing" if more else "unknown"
        note = f"one factor {quote(base)} too few" if more else f"the exponent of {quote(base)}"
        yield change(place, 2 if more else 6, cause, read(f"{other:g}"), note)


def _factors(place: Place) -> Iterator[Change]:
    """A factor of a product removed; a literal factor, a size, an array multiplied or divided in."""
    node, scope = place.node, place.scope
    if place.role != "value":
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        divides = isinstance(node.op, ast.Div)
        for rest, factor in ((node.left, node.right), (node.right, node.left)):
            if divides and factor is node.left:
                continue
            cause = factor_cause(factor, scope, missing=False, divides=divides)
            simplicity = {"unknown": 7, "upstream-twice": 1}.get(cause, 2)
            sign = "division by" if divides else "factor"
            yield change(place, simplicity, cause, rest, f"the {sign} {quote(factor)}, which does not belong here")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield change(place, 6, "unknown", times(node.left, node.right), f"a division by {quote(node.right)}")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and not is_mask(node.right, scope.masks):
        yield change(place, 6, "unknown", over(node.left, node.right), f"a multiplication by {quote(node.right)}")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.right, ast.Name):
        yield from _out_of_the_sum(place, node)
    if place.term and not is_mask(node, scope.masks):
        yield from _multiplied(place)


def _out_of_the_sum(place: Place, node: ast.BinOp) -> Iterator[Change]:
    """``x * sum(gy)`` where ``sum(x * gy)`` belongs."""
    outside, inside = (node.left.left, node.left.right) if is_operator(node.left, ast.Mult) else (None, node.left)
    for name in place.scope.upstream:
        for axis in ("0", "-1, keepdims=True"):
            total: ast.expr = read(f"(({text(inside)}) * {name}).sum({axis})")
            new = total if outside is None else times(outside, total)
            note = f"`{text(inside)}` stands outside a sum over `{name}`"
            yield change(place, 6, "missing-sum", new, note)


def _multiplied(place: Place) -> Iterator[Change]:
    node, scope = place.node, place.scope
    for value in (2, 3):
        yield change(place, 4, "factor", times(read(str(value)), node), f"the factor {value} of {quote(node)}")
        yield change(place, 4, "factor", over(node, read(str(value))), f"the factor 1/{value} of {quote(node)}")
    if is_size(node, scope) or is_operator(place.parent, ast.Pow):
        return
    for size in sizes(scope):
        divisor = read(size)
        cause = factor_cause(divisor, scope, missing=True, divides=True)
        yield change(place, 3, cause, over(node, divisor), f"{quote(node)} is not divided by `{size}`")
        cause = factor_cause(divisor, scope, missing=True)
        yield change(place, 4, cause, times(node, divisor), f"{quote(node)} is not multiplied by `{size}`")
    for name in scope.upstream:
        simplicity = 6 if mentions(node, scope.upstream) else 2
        yield change(place, simplicity, "upstream-ignored", times(node, read(name)), f"{quote(node)} lacks `{name}`")
        for axis in ("-1", "0") if simplicity == 2 else ():
            total = f"{name}.sum({axis}, keepdims=True)"
            yield change(place, 6, "upstream-ignored", times(node, read(total)), f"{quote(node)} lacks `{total}`")
    for name in scope.masks:
        yield change(place, 3, "mask", times(node, read(name)), f"{quote(node)} is not masked by `{name}`")
    for name in scope.values:
        if name in scope.upstream or "eps" in name.lower():
            continue
        again = 1 if mentions(node, (name,)) else 0
        missing = f"{quote(node)} is not multiplied by `{name}`"
        yield change(place, 4 + again, "parameter-missing", times(node, read(name)), missing)
        missing = f"{quote(node)} is not divided by `{name}`"
        yield change(place, 5 + again, "parameter-missing", over(node, read(name)), missing)
        missing = f"{quote(node)} is not divided by `{name} ** 2`"
        yield change(place, 6 + again, "parameter-missing", over(node, read(f"{name} ** 2")), missing)
        for rest in (f"(1 - {name})", f"(1 - {name} ** 2)", f"np.exp({name})"):  # of a sigmoid, a tanh, a log-softmax
            missing = f"{quote(node)} is not multiplied by `{rest}`"
            yield change(place, 6 + again, "parameter-missing", times(node, read(rest)), missing)


# ----- saved


def _names(place: Place) -> Iterator[Change]:
    """Another name where this one stands."""
    node, scope = place.node, place.scope
    old = text(node) if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) else ""
    if place.role not in ("value", "compared") or not old:
        if called(node) in LIKE | {"ones"} and isinstance(node, ast.Call) and called(node) != "zeros_like":
            for name in scope.upstream:
                yield change(place, 1, "upstream-ignored", read(name), f"{quote(node)} stands where `{name}` belongs")
        return
    known = old in scope.values or old in scope.upstream or old in scope.masks
    if not known and not _is_entry(node):
        return
    for name in dict.fromkeys((*scope.values, *scope.upstream, *scope.masks)):
        if name == old:
            continue
        cause = "wrong-saved"
        if place.role == "compared" or (name in scope.masks) or (old in scope.masks):
            cause = "mask"
        elif name in scope.upstream and old not in scope.upstream and not mentions(place.statement, scope.upstream):
            cause = "upstream-ignored"
        if isinstance(node, ast.Subscript) and text(node.value) == name:  # the whole for a part of it
            cause = "permuted" if "-1" in text(node.slice) else "shifted"
        simplicity = 6 if name in scope.finished else 2
        yield change(place, simplicity, cause, read(name), f"`{old}` stands where `{name}` belongs")
    if place.role == "value" and is_operator(place.parent, ast.Mult):
        for bound in (f"({old} > 0)", f"({old} < 0)"):
            yield change(place, 5, "mask", read(bound), f"`{old}` stands where `{bound}` belongs")
        for function in ("np.exp", "np.log", "np.sqrt", "np.sign"):
            new = read(f"{function}({old})")
            yield change(place, 6, "wrong-saved", new, f"`{old}` stands where `{function}({old})` belongs")
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
        for other in range(6):
            new = ast.Subscript(node.value, ast.Constant(other), ast.Load())
            if "cache" in text(node.value) or "saved" in text(node.value):
                yield change(place, 2, "wrong-saved", new, f"`{old}` stands where {quote(new)} belongs")


def _is_entry(node: ast.expr) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name | ast.Attribute)


def _epsilon(place: Place) -> Iterator[Change]:
    """Epsilon left out, added, or on the wrong side of a root or a power."""
    node, parent = place.node, place.parent
    if place.role != "value":
        return
    root = called(node) in ("sqrt", "rsqrt") or (is_operator(node, ast.Pow) and number(node.right) in (0.5, -0.5))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and is_epsilon(node.right):
        yield change(place, 2, "eps", node.left, f"epsilon in {quote(node)}")
        inner = node.left
        if called(inner) in ("sqrt", "std") and isinstance(inner, ast.Call) and inner.args:
            inside = ast.Call(inner.func, [ast.BinOp(inner.args[0], ast.Add(), node.right)], inner.keywords)
            yield change(place, 2, "eps", inside, f"epsilon belongs inside the root in {quote(node)}")
        if is_operator(inner, ast.Pow):
            base = ast.BinOp(inner.left, ast.Add(), node.right)
            new = ast.BinOp(base, ast.Pow(), inner.right)
            yield change(place, 2, "eps", new, f"epsilon belongs inside the power in {quote(node)}")
    if root:
        inner = node.args[0] if isinstance(node, ast.Call) and node.args else getattr(node, "left", node)
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Add) and is_epsilon(inner.right):
            if isinstance(node, ast.Call):
                bare: ast.expr = ast.Call(node.func, [inner.left], node.keywords)
            else:
                bare = ast.BinOp(inner.left, node.op, node.right)  # type: ignore[attr-defined]
            outside = ast.BinOp(bare, ast.Add(), inner.right)
            yield change(place, 2, "eps", outside, f"epsilon belongs outside the root in {quote(node)}")
    inside_root = isinstance(parent, ast.Call) and called(parent) in ("sqrt", "log", "rsqrt")
    below = is_operator(parent, ast.Div) and place.field == "right"
    powered = is_operator(parent, ast.Pow) and place.field == "left"
    if inside_root or below or powered:
        names = [name for name in (*place.scope.values, *place.scope.sizes) if "eps" in name.lower()] or [
            "1e-05",
            "1e-08",
        ]
        for name in names:
            new = ast.BinOp(node, ast.Add(), read(name))
            yield change(place, 3, "eps", new, f"epsilon is left out of {quote(node)}")


def _other_sizes(place: Place) -> Iterator[Change]:
    """The size of another axis, or of the whole."""
    in_product = is_operator(place.parent, ast.Mult, ast.Div)
    if (
        place.role != "value"
        or isinstance(place.node, ast.BinOp)
        or not in_product
        or not is_size(place.node, place.scope)
    ):
        return
    for size in sizes(place.scope):
        if size != text(place.node):
            note = f"{quote(place.node)} stands where `{size}` belongs"
            yield change(place, 2, "factor", read(size), note)


def _degrees(place: Place) -> Iterator[Change]:
    """n - 1 for n."""
    node, scope = place.node, place.scope
    if place.role != "value":
        return
    if is_operator(node, ast.Sub) and is_size(node.left, scope) and text(node.right) == "1":
        yield change(place, 2, "ddof", node.left, f"{quote(node)} for {quote(node.left)}")
    below = is_operator(place.parent, ast.Div, ast.Mult) and not is_operator(place.parent, ast.Sub)
    if is_size(node, scope) and below:
        new = ast.BinOp(node, ast.Sub(), ast.Constant(1))
        yield change(place, 3, "ddof", new, f"{quote(node)} for {quote(new)}")


# ----- terms


def _terms(place: Place) -> Iterator[Change]:
    """A term that was computed and not added; a term too much."""
    node, scope = place.node, place.scope
    if place.role != "value":
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and not is_epsilon(node.right):
        yield change(place, 7, "unknown", node.left, f"the term {quote(node.right)}, which does not belong here")
        if isinstance(node.op, ast.Add):
            yield change(place, 7, "unknown", node.right, f"the term {quote(node.left)}, which does not belong here")
    whole = isinstance(place.parent, ast.Return | ast.Tuple | ast.Assign | ast.AugAssign | ast.Lambda | ast.Dict)
    inner = is_operator(place.parent, ast.Mult) and is_operator(node, ast.Add, ast.Sub)
    if not (place.term and whole) and not inner:
        return
    for name in scope.values:
        if name == text(node) or "eps" in name.lower():
            continue
        simplicity = 2 if name in scope.unused else 5
        yield from _added(place, name, simplicity, f"`{name}`")
        for size in scope.sizes if name in scope.unused else ():
            yield from _added(place, f"{name} / {size}", simplicity, f"`{name} / {size}`")
    if is_operator(node, ast.Mult, ast.Add, ast.Sub, ast.Div) or isinstance(node, ast.Name):
        for axis in ("0", "-1", "axis=-1, keepdims=True"):
            mean = f"({text(node)}).mean({axis})"
            yield from _added(place, mean, 4, "the path through the mean")


def _added(place: Place, term: str, simplicity: int, what: str) -> Iterator[Change]:
    for op, done in ((ast.Add(), "added"), (ast.Sub(), "subtracted")):
        new = ast.BinOp(place.node, op, read(term))
        yield change(place, simplicity + (done == "subtracted"), "path-dropped", new, f"{what} is not {done}")


SIBLINGS: dict[str, tuple[str, ...]] = {
    "sin": ("cos",),
    "cos": ("sin",),
    "tanh": ("sinh", "cosh"),
    "exp": ("expm1", "log"),
    "log": ("exp", "log2", "log10"),
    "maximum": ("minimum",),
    "minimum": ("maximum",),
    "max": ("min", "argmax"),
    "argmax": ("argmin",),
    "argmin": ("argmax",),
    "sqrt": ("square",),
}


def _functions(place: Place) -> Iterator[Change]:
    node = place.node
    if place.role not in ("value", "compared", "index") or not isinstance(node, ast.Call):
        return
    name = called(node)
    for other in SIBLINGS.get(name, ()):
        func: ast.expr = ast.Name(other, ast.Load())
        if isinstance(node.func, ast.Attribute):
            func = ast.Attribute(node.func.value, other, ast.Load())
        new = ast.Call(func, node.args, node.keywords)
        yield change(place, 6, "unknown", new, f"the function {name} for {other}")
        if name in ("sin", "cos"):
            yield change(place, 6, "unknown", ast.UnaryOp(ast.USub(), new), f"the function {name} for -{other}")


EDITS = (_sign, _literals, _factors, _names, _epsilon, _other_sizes, _degrees, _terms, _functions)
