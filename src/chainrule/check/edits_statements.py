"""Edits of whole statements: the order of gradients, ``=`` for ``+=``, values kept from an earlier call."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

from chainrule.check.edits import Change, change, quote, read
from chainrule.check.places import FunctionNode, Place, Spot, called, text


def _order(spot: Spot) -> Iterator[Change]:
    """Gradients returned, or saved values unpacked, in another order."""
    statement = spot.statement
    if isinstance(statement, ast.Return | ast.Assign) and isinstance(statement.value, ast.Tuple | ast.List):
        note = "the order of the returned gradients" if isinstance(statement, ast.Return) else "the order of the values"
        yield from _permuted(statement, statement.value, note)
    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Dict):
        yield from _permuted(statement, statement.value, "the names of the returned gradients")
    match statement:
        case ast.Assign(
            targets=[ast.Tuple() as target], value=ast.Name() | ast.Attribute() | ast.Subscript() as packed
        ):
            if not text(packed).endswith(".shape"):
                note = f"the order in which {quote(packed)} is unpacked"
                yield from _permuted(statement, target, note, 4, "wrong-saved")


def _permuted(
    statement: ast.AST,
    node: ast.Tuple | ast.List | ast.Dict,
    note: str,
    simplicity: int = 1,
    cause: str = "order-swapped",
) -> Iterator[Change]:
    name = "values" if isinstance(node, ast.Dict) else "elts"
    elements = getattr(node, name)
    orders = []
    for i, k in itertools.combinations(range(len(elements)), 2):
        order = list(range(len(elements)))
        order[i], order[k] = k, i
        orders.append(order)
    if len(elements) in (3, 4):
        orders += [list(o) for o in itertools.permutations(range(len(elements)))]
    for order in orders:
        slots = tuple((node, name, i, elements[k]) for i, k in enumerate(order) if i != k)
        if slots:
            yield Change(simplicity + (len(slots) > 2), cause, note, statement, slots)


def pullbacks_swapped(node: FunctionNode) -> Iterator[Change]:
    """The pullbacks that a function returns beside its value, in another order."""
    inner = {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef)}
    for statement in ast.walk(node):
        if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple):
            for part in statement.value.elts:
                functions = [e for e in getattr(part, "elts", []) if isinstance(e, ast.Lambda) or text(e) in inner]
                if isinstance(part, ast.Tuple | ast.List) and len(functions) == len(part.elts):
                    yield from _permuted(statement, part, "the order of the returned pullbacks")


def _overwrite(spot: Spot) -> Iterator[Change]:
    """``=`` where ``+=`` belongs, and the reverse on what outlives the call."""
    statement = spot.statement
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        assigned_before = text(target) in spot.scope.values
        if isinstance(target, ast.Attribute | ast.Subscript) or (isinstance(target, ast.Name) and assigned_before):
            new: ast.stmt = ast.AugAssign(target, ast.Add(), statement.value)
            simplicity = 1 if spot.in_loop or isinstance(target, ast.Subscript) else 2
            yield _statement(spot, simplicity, "overwrite", new, f"{quote(target)} is overwritten, not added to")
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add | ast.Sub):
        other = ast.Sub() if isinstance(statement.op, ast.Add) else ast.Add()
        new = ast.AugAssign(statement.target, other, statement.value)
        yield _statement(spot, 1, "sign", new, f"the sign of {quote(statement.value)}")
        if text(statement.target).startswith("self"):
            new = ast.Assign([statement.target], statement.value)
            yield _statement(spot, 3, "stale", new, f"{quote(statement.target)} still holds an earlier call's value")
    if isinstance(statement, ast.Assign | ast.AugAssign):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        if isinstance(target, ast.Subscript):
            call = ast.Call(read("np.add.at"), [target.value, target.slice, statement.value], [])
            note = f"entries of {quote(target)} that are named twice are not added up"
            yield _statement(spot, 2, "overwrite", ast.Expr(call), note)


def _statement(spot: Spot, simplicity: int, cause: str, new: ast.stmt, note: str) -> Change:
    return Change(simplicity, cause, note, spot.statement, ((spot.parent, spot.field, spot.index, new),))


def _guard(spot: Spot) -> Iterator[Change]:
    """A value kept from an earlier call: ``if self.x is None: self.x = x``."""
    statement = spot.statement
    if not isinstance(statement, ast.If) or statement.orelse:
        return
    test = statement.test
    kept = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.NotIn)
    if kept or "hasattr" in text(test) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        slot = (spot.parent, spot.field, spot.index, list(statement.body))
        yield Change(1, "stale", f"done only if {quote(test)}", statement, (slot,))


def _not_returned(spot: Spot) -> Iterator[Change]:
    """None or zeros returned, though another gradient was computed."""
    statement = spot.statement
    if not isinstance(statement, ast.Return) or statement.value is None:
        return
    for place in spot.places():
        empty = text(place.node) == "None" or called(place.node) in ("zeros_like", "zeros")
        if empty and place.parent in (statement, statement.value):
            for name in (*spot.scope.unused, *spot.scope.upstream):
                simplicity = 1 if name in spot.scope.unused else 4
                note = f"`{name}` is computed and not returned" if simplicity == 1 else f"`{name}` is not returned"
                yield change(place, simplicity, "missing", read(name), note)


def _backwards(spot: Spot) -> Iterator[Change]:
    """A loop in the other direction."""
    statement = spot.statement
    if not isinstance(statement, ast.For) or called(statement.iter) not in ("range", "reversed"):
        return
    node = statement.iter
    assert isinstance(node, ast.Call)
    new = node.args[0] if called(node) == "reversed" else ast.Call(ast.Name("reversed", ast.Load()), [node], [])
    yield Change(3, "permuted", "the loop runs in the other direction", statement, ((statement, "iter", None, new),))


def _exchanged(spot: Spot) -> Iterator[Change]:
    """Two names that stand in each other's place."""
    uses: dict[str, list[Place]] = {}
    for place in spot.places():
        if place.role == "value" and isinstance(place.node, ast.Name):
            uses.setdefault(place.node.id, []).append(place)
    for a, b in itertools.combinations(uses, 2):
        slots = [(p.parent, p.field, p.index, read(b)) for p in uses[a]]
        slots += [(p.parent, p.field, p.index, read(a)) for p in uses[b]]
        yield Change(5, "wrong-saved", f"`{a}` and `{b}` stand in each other's place", spot.statement, tuple(slots))


def _renamed(spot: Spot) -> Iterator[Change]:
    """One name replaced wherever the statement uses it."""
    uses: dict[str, list[Place]] = {}
    for place in spot.places():
        if place.role == "value" and isinstance(place.node, ast.Name | ast.Attribute | ast.Subscript):
            uses.setdefault(text(place.node), []).append(place)
    for old, places in uses.items():
        if len(places) < 2 or old not in spot.scope.values:
            continue
        for name in spot.scope.values:
            if name != old:
                slots = tuple((p.parent, p.field, p.index, read(name)) for p in places)
                yield Change(3, "wrong-saved", f"`{old}` stands where `{name}` belongs", spot.statement, slots)


EDITS = (_order, _overwrite, _guard, _not_returned, _renamed, _backwards, _exchanged)
