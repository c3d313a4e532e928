"""Repairs: the user's backward with one place changed, for every change that would undo a known mistake.

What is changed stands in the modules ``edits_*``; this file reads a function's source and builds it anew.
Nothing is judged here: the caller runs each edited function and keeps those whose gradient equals the truth.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import heapq
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.check import edits_arrays, edits_statements, edits_terms
from chainrule.check.discover import returns_pullback
from chainrule.check.edits import Change, header, located
from chainrule.check.places import FunctionNode, spots

COMPOUND = ast.For | ast.If | ast.While | ast.With


@dataclass(frozen=True)
class Edit:
    """One place of a function changed.

    Attributes:
        cause: the code of the mistake that this change undoes.
        line, file: where the changed statement begins.
        before, after: that statement as it is (in the user's own words, where it is one line) and changed.
        function: the changed function: same globals, defaults and closure cells.
        note: what is changed: ``"the sign of `x * s`"``.
        simplicity: how far-fetched the mistake is; small ones come first.
    """

    cause: str
    line: int
    file: str
    before: str
    after: str
    function: Callable
    note: str
    simplicity: int


@dataclass(frozen=True)
class _Source:
    """A function's own part of its file's syntax tree."""

    function: types.FunctionType
    node: FunctionNode
    owner: ast.ClassDef | None  # the class it stands in, if it is a method
    module: ast.Module  # the node in a world of its own, which is compiled for every change of the node
    lines: tuple[str, ...]  # the file

    @property
    def file(self) -> str:
        return self.function.__code__.co_filename


def edits(
    function: Any, *, names: Mapping[str, Any] | None = None, upstream: str | None = None, nested: bool = False
) -> Iterator[Edit]:
    """Every one-place edit of a function that would undo a known mistake, simplest first.

    Helper functions of the same module that it calls are edited too, and so are the pullbacks that a helper hands it. A
    function whose source cannot be read (a built-in, code typed at the prompt, a file changed since it was imported)
    has no edits.

    Args:
        function: a plain function, a method, a staticmethod or a closure.
        names: values seen in a run, by expression (``"x"``, ``"self.gamma"``): they add names that may be used in a
            repair, and rule out those that are neither arrays nor numbers.
        upstream: the name of the gradient coming in; by default the first argument that is not ``self`` or ``ctx``.
        nested: edit the pullbacks inside the function, not the function's own statements.

    >>> from chainrule.ops import sigmoid
    >>> edit = next(edit for edit in edits(sigmoid.rule, nested=True) if edit.cause == "sign")
    >>> edit.before, edit.after
    ('return gy * (y * (1 - y))', 'return gy * (y * (1 + y))')
    """
    function, rebind = _plain(function)
    source = _read(function) if function is not None else None
    if source is None:
        return
    for edit in _with_helpers(source, names, upstream, nested):
        yield rebind(edit)


def _with_helpers(
    source: _Source, names: Mapping[str, Any] | None, upstream: str | None, nested: bool, callers: tuple[str, ...] = ()
) -> Iterator[Edit]:
    """The edits of a function and of what it calls, the simplest first."""
    callers = (*callers, source.function.__name__)
    kinds = [_edits_of(source, names, upstream, nested)]
    for name, helper in _helpers(source, nested):
        kinds.append(_edits_of_helper(source, name, _edits_of(helper, None, None, False)))
    for name, maker in _makers(source) if nested else ():
        if name not in callers:
            kinds.append(_edits_of_helper(source, name, _with_helpers(maker, None, None, True, callers)))
    yield from heapq.merge(*kinds, key=lambda edit: edit.simplicity)


def _edits_of_helper(source: _Source, name: str, edited: Iterator[Edit]) -> Iterator[Edit]:
    """The function calling an edited helper."""
    for edit in edited:
        yield _with(edit, _calling(source.function, name, edit.function))


def _plain(function: Any) -> tuple[types.FunctionType | None, Callable[[Edit], Edit]]:
    """The function that holds the code, and how an edit of it becomes what the caller gave: a method stays bound."""
    if isinstance(function, staticmethod | classmethod):
        function = function.__func__
    function = inspect.unwrap(function)
    if isinstance(function, types.MethodType):
        plain, owner = function.__func__, function.__self__
        if isinstance(plain, types.FunctionType):
            return plain, lambda edit: _with(edit, types.MethodType(edit.function, owner))
    return (function if isinstance(function, types.FunctionType) else None), lambda edit: edit


def _with(edit: Edit, function: Callable) -> Edit:
    return dataclasses.replace(edit, function=function)


def _edits_of(source: _Source, names: Mapping[str, Any] | None, upstream: str | None, nested: bool) -> Iterator[Edit]:
    seen = set()
    for change in _changes(source, upstream, names or {}, nested):
        before = _own_words(source, change.statement)
        with change.made():
            after = change.after()
            key = (id(change.statement), after)
            if key in seen:
                continue
            seen.add(key)
            try:
                function = _built(source)
            except (SyntaxError, ValueError):
                continue
        if after != header(change.statement):
            line = change.statement.lineno  # type: ignore[attr-defined]
            yield Edit(change.cause, line, source.file, before, after, function, change.note, change.simplicity)


def _changes(source: _Source, upstream: str | None, names: Mapping[str, Any], nested: bool) -> list[Change]:
    """All changes of a function, the simplest first."""
    found: list[Change] = []
    for spot in spots(source.node, source.owner, upstream, names, nested):
        for of_statement in edits_statements.EDITS:
            found += of_statement(spot)
        for place in spot.places():
            for of_expression in (*edits_terms.EDITS, *edits_arrays.EDITS):
                found += of_expression(place)
    if nested:
        found += edits_statements.pullbacks_swapped(source.node)
    return sorted(found, key=lambda change: change.simplicity)


def _own_words(source: _Source, statement: Any) -> str:
    if isinstance(statement, COMPOUND) or statement.lineno != statement.end_lineno:
        return header(statement)
    line = source.lines[statement.lineno - 1].encode()
    return line[statement.col_offset : statement.end_col_offset].decode()


# ------------------------------------------------------------------------------------------- reading and building


def _read(function: types.FunctionType) -> _Source | None:
    """The function's part of its file; None where it cannot be read, or is no longer what runs."""
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        tree, whole = _parsed("".join(lines))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    written = [inner for inner in _codes(whole) if _same_place(inner, code)]
    if len(written) != 1 or written[0].co_code != code.co_code:
        return None
    for node, owner in _functions(tree, None):
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        if first == code.co_firstlineno and getattr(node, "name", "<lambda>") == code.co_name:
            return _Source(function, node, owner, _alone(node, owner, code), tuple(lines))
    return None


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> tuple[ast.Module, types.CodeType]:
    tree = ast.parse(text)
    return tree, compile(tree, "", "exec", dont_inherit=True)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """All code objects inside one."""
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield inner
            yield from _codes(inner)


def _same_place(one: types.CodeType, other: types.CodeType) -> bool:
    return (one.co_name, one.co_firstlineno) == (other.co_name, other.co_firstlineno)


def _functions(node: ast.AST, owner: ast.ClassDef | None) -> Iterator[tuple[FunctionNode, ast.ClassDef | None]]:
    """Every function in a tree, with the class it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode):
            yield child, owner
        yield from _functions(child, child if isinstance(child, ast.ClassDef) else owner)


def _alone(node: FunctionNode, owner: ast.ClassDef | None, code: types.CodeType) -> ast.Module:
    """A module with the function alone, in which its free variables and its class exist, so that it compiles alike."""
    body: ast.stmt = ast.Expr(node) if isinstance(node, ast.Lambda) else node
    if owner is not None:  # names such as self.__x are mangled in a class, and super() needs one
        body = ast.ClassDef(owner.name, [], [], [body], [])
    free = [name for name in code.co_freevars if name != "__class__"]
    cells = [ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)) for name in free]
    factory = ast.FunctionDef("factory", ast.arguments([], [], None, [], [], None, []), [*cells, body], [])
    for cell in cells:
        located(cell, node)
    for wrapper in (factory, body):
        if wrapper is not node:
            ast.copy_location(wrapper, node)
    return ast.Module([factory], [])


def _built(source: _Source) -> types.FunctionType:
    """The function compiled from its tree as it is now, with its own globals, defaults and closure cells."""
    function = source.function
    module = compile(source.module, source.file, "exec", dont_inherit=True)
    new = next(inner for inner in _codes(module) if _same_place(inner, function.__code__))
    known = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if not set(new.co_freevars) <= set(known):
        raise ValueError(f"{new.co_freevars} are not known in {function.__name__}")
    return _function(function, new, function.__globals__, tuple(known[name] for name in new.co_freevars))


def _function(
    like: types.FunctionType, code: types.CodeType, world: dict[str, Any], closure: tuple[types.CellType, ...] | None
) -> types.FunctionType:
    new = types.FunctionType(code, world, like.__name__, like.__defaults__, closure)
    new.__kwdefaults__ = like.__kwdefaults__
    new.__qualname__ = like.__qualname__
    return new


# ------------------------------------------------------------------------------------------------------ helpers


def _helpers(source: _Source, nested: bool) -> Iterator[tuple[str, _Source]]:
    """The functions of the same file that a function calls by name; with ``nested``, only those of its pullbacks."""
    names = _called_by(source.node) - (_called_outside_pullbacks(source.node) if nested else set())
    return _named(names, source)


def _makers(source: _Source) -> Iterator[tuple[str, _Source]]:
    """The functions of the same file that a function gets pullbacks from."""
    for name, helper in _named(_called_outside_pullbacks(source.node), source):
        if returns_pullback(helper.function):
            yield name, helper


def _named(names: set[str], source: _Source) -> Iterator[tuple[str, _Source]]:
    """The functions of these names in a function's file."""
    for name in sorted(names):
        helper = source.function.__globals__.get(name)
        if isinstance(helper, types.FunctionType) and helper.__code__.co_filename == source.file:
            read = _read(helper)
            if read is not None and helper is not source.function:
                yield name, read


def _called_outside_pullbacks(node: ast.AST) -> set[str]:
    return _called_by(node, without=[part for inner, _ in _functions(node, None) for part in ast.walk(inner)])


def _called_by(node: ast.AST, without: Sequence[ast.AST] = ()) -> set[str]:
    left_out = {id(part) for part in without}
    return {name for part in ast.walk(node) if id(part) not in left_out and (name := _called_name(part))}


def _called_name(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _calling(function: types.FunctionType, name: str, helper: Callable) -> types.FunctionType:
    """The same function in a world where a name means another helper."""
    return _function(function, function.__code__, {**function.__globals__, name: helper}, function.__closure__)
