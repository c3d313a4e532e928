"""A change of a function's syntax tree, and the pieces that changes are made of.

The catalogue stands in ``edits_terms``, ``edits_arrays`` and ``edits_statements``: for each known mistake, the changes
that would undo it. The first number of a change is its simplicity: among changes that give the same numbers the smaller
one names the cause.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

from chainrule.check.places import Place, Scope, is_batch, is_mask, is_size, text

Slot = tuple[ast.AST, str, int | None, Any]  # parent, field, index, what is put there; a list replaces a statement


@dataclass(frozen=True)
class Change:
    """One place of the tree changed."""

    simplicity: int
    cause: str
    note: str
    statement: ast.AST
    slots: tuple[Slot, ...]

    @contextmanager
    def made(self) -> Iterator[None]:
        """The change, as long as the block runs."""
        undo = []
        for parent, name, index, new in self.slots:
            if index is None:
                undo.append((parent, name, getattr(parent, name)))
                located(new, undo[-1][2])
                setattr(parent, name, new)
                continue
            old = getattr(parent, name)
            undo.append((parent, name, old))
            news = new if isinstance(new, list) else [new]
            for node in news:
                located(node, old[index])
            setattr(parent, name, [*old[:index], *news, *old[index + 1 :]])
        try:
            yield
        finally:
            for parent, name, old in reversed(undo):
                setattr(parent, name, old)

    def after(self) -> str:
        """The changed statement's source; to be read while the change is made."""
        for parent, name, index, new in self.slots:
            if index is not None and getattr(parent, name)[index] is not self.statement and name == "body":
                return "; ".join(header(node) for node in (new if isinstance(new, list) else [new]))
        return header(self.statement)


def located(new: Any, old: Any) -> None:
    """New nodes get the old one's place in the file."""
    if not isinstance(new, ast.AST) or not isinstance(old, ast.AST):
        return
    for node in ast.walk(new):
        if isinstance(node, ast.expr | ast.stmt | ast.keyword) and not hasattr(node, "lineno"):
            ast.copy_location(node, old)


def header(statement: ast.AST) -> str:
    """A statement in one line; of a loop or a condition, its first."""
    if isinstance(statement, ast.For | ast.If | ast.While | ast.With):
        return ast.unparse(statement).partition("\n")[0]
    line = " ".join(ast.unparse(statement).split("\n"))
    if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple) and len(statement.value.elts) > 1:
        return f"return {line.removeprefix('return ')[1:-1]}"  # as people write it
    return line


# -------------------------------------------------------------------------------------------------- building blocks


def change(place: Place, simplicity: int, cause: str, new: ast.expr, note: str) -> Change:
    """The change that puts ``new`` at a place."""
    return Change(simplicity, cause, note, place.statement, ((place.parent, place.field, place.index, new),))


def read(source: str) -> ast.expr:
    """An expression; its nodes have no place in a file yet."""
    node = ast.parse(source, mode="eval").body
    for part in ast.walk(node):
        if isinstance(part, ast.expr | ast.keyword):
            del part.lineno
    return node


def index(source: str) -> ast.expr:
    """What stands between brackets: ``1:``, ``::-1, ::-1``."""
    whole = read(f"a[{source}]")
    assert isinstance(whole, ast.Subscript)
    return whole.slice


def quote(node: ast.AST) -> str:
    """An expression as a note shows it."""
    source = text(node)
    return f"`{source}`" if len(source) <= 60 else f"`{source[:57]}...`"


def negated(node: ast.expr) -> ast.expr:
    """``-a * b`` for ``a * b``: the minus stands where a person would write it."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div | ast.MatMult):
        return ast.BinOp(negated(node.left), node.op, node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    return ast.UnaryOp(ast.USub(), node)


def times(node: ast.expr, factor: ast.expr) -> ast.expr:
    """``node * factor``."""
    return ast.BinOp(node, ast.Mult(), factor)


def over(node: ast.expr, divisor: ast.expr) -> ast.expr:
    """``node / divisor``."""
    return ast.BinOp(node, ast.Div(), divisor)


def method(node: ast.expr, name: str, *arguments: ast.expr, **keywords: ast.expr) -> ast.expr:
    """``node.name(arguments, keywords)``."""
    words = [ast.keyword(key, value) for key, value in keywords.items()]
    return ast.Call(ast.Attribute(node, name, ast.Load()), list(arguments), words)


def is_number(node: ast.AST) -> bool:
    """Is it a literal number?"""
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)


def number(node: ast.AST) -> float | None:
    """The value of a literal number, or of a quotient of two."""
    if isinstance(node, ast.Constant) and is_number(node):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        top, bottom = number(node.left), number(node.right)
        return top / bottom if top is not None and bottom else None
    return None


def mentions(node: ast.AST, names: tuple[str, ...]) -> bool:
    """Does an expression use one of these names?"""
    return any(isinstance(part, ast.Name | ast.Attribute) and text(part) in names for part in ast.walk(node))


def is_operator(node: ast.AST, *kinds: type[ast.operator]) -> TypeGuard[ast.BinOp]:
    """Is it an operation of one of these kinds?"""
    return isinstance(node, ast.BinOp) and isinstance(node.op, kinds)


def factor_cause(factor: ast.expr, scope: Scope, missing: bool, divides: bool = False) -> str:
    """The name of the mistake that leaves a factor out, or has it once too often."""
    if text(factor) in scope.upstream:
        return "upstream-ignored" if missing else "upstream-twice"
    if isinstance(factor, ast.BinOp) and isinstance(factor.op, ast.Div) and number(factor.left) is not None:
        return factor_cause(factor.right, scope, missing, not divides)
    if number(factor) is not None:
        return "factor"
    if is_size(factor, scope):
        if not is_batch(factor, scope):
            return "factor"
        return "batch-mean-missing" if missing == divides else "batch-mean-twice"
    if is_mask(factor, scope.masks):
        return "mask"
    return "parameter-missing" if missing else "unknown"


def is_epsilon(node: ast.expr) -> bool:
    """Is it a name for epsilon, or a small literal?"""
    value = number(node)
    return "eps" in text(node).lower() if value is None else 0 < abs(value) <= 1e-2


def sizes(scope: Scope) -> list[str]:
    """The sizes that a repair may name, those that the function has names for first."""
    named = set(scope.sizes.values())
    gy = [f"{name}.shape[{axis}]" for name in scope.upstream[:1] for axis in (0, -1) if axis not in named]
    plain = [name for name in scope.values if name.isidentifier() and name not in scope.upstream][:3]
    lengths = [] if named else [f"len({name})" for name in plain]
    return [*scope.sizes, *gy, *(f"{name}.size" for name in plain), *lengths]
