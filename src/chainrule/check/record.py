"""The user's forward, recorded on Tensors: every operation, the line it stands on, what flows through each edge.

The tape here is a list of its own, not the engine's graph: it remembers every version of a buffer that the user's code
fills in place, and it can be walked back with an edge changed.
"""

from __future__ import annotations

import ast
import functools
import linecache
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import chainrule
from chainrule.check.target import Target
from chainrule.engine import NUMPY, Op, Signature, Tensor, watching

HOUSE = tuple(os.path.join(Path(module.__file__).parent, "") for module in (chainrule, np) if module.__file__)

RETURNED = "return"

Edge = tuple[int, int]  # a node, and the place of one of its inputs
Change = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (gradient coming in, gradient going out) -> going out instead


class NotRecordable(Exception):  # noqa: N818
    """The forward does something that a Tensor cannot follow; the truth must be found by numbers alone."""


@dataclass(frozen=True)
class Place:
    """Where in the user's source an operation stands."""

    file: str
    line: int
    text: str  # the expression
    name: str  # the variable that the expression's value is assigned to; empty if none
    span: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


@dataclass
class Node:
    """One operation, or one input (``op`` is None)."""

    op: Op | None
    params: dict[str, Any]
    inputs: list[Any]  # an int: the index of a node; anything else: a constant
    value: np.ndarray
    pullbacks: Sequence[Any]
    place: Place


@dataclass
class Tape:
    """A recorded forward. Nodes stand in the order in which they were made, the inputs first."""

    nodes: list[Node]
    leaves: dict[str, int]  # input name -> node
    outputs: list[int | None]  # one for each array that forward returned; None for a constant

    def gradients(
        self, gy: Sequence[np.ndarray], changes: Mapping[Edge, Change] | None = None
    ) -> dict[str, np.ndarray]:
        """The gradients of all inputs, with some edges' contributions changed on their way."""
        found = self.sweep(dict(_seeds(self.outputs, gy)), changes or {})
        return {name: found.get(i, np.zeros(self.nodes[i].value.shape)) for name, i in self.leaves.items()}

    def sweep(self, adjoints: dict[int, np.ndarray], changes: Mapping[Edge, Change]) -> dict[int, np.ndarray]:
        """Gradients by node, from those given; the walk back, newest first."""
        for index in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[index]
            gy = adjoints.get(index)
            if gy is None or node.op is None:
                continue
            for place, source in enumerate(node.inputs):
                if isinstance(source, int):
                    g = node.pullbacks[place](gy)
                    if (index, place) in changes:
                        g = changes[index, place](gy, g)
                    adjoints[source] = adjoints[source] + g if source in adjoints else g
        return adjoints

    @functools.cached_property
    def edges(self) -> dict[tuple, list[Edge]]:
        """The edges, grouped by where they stand in the source: one entry for an expression that a loop repeats."""
        groups: dict[tuple, list[Edge]] = {}
        for index, node in enumerate(self.nodes):
            for place, source in enumerate(node.inputs):
                if isinstance(source, int):
                    key = (node.place.file, node.place.span or index, node.op.name if node.op else "", place)
                    groups.setdefault(key, []).append((index, place))
        return groups

    def values(self, node: Node) -> list[Any]:
        """The arrays an operation was run on."""
        return [self.nodes[x].value if isinstance(x, int) else x for x in node.inputs]

    def replayed(self, constants: Mapping[int, Mapping[int, Any]]) -> Tape:
        """The same operations run again, with other constants: node -> place -> value."""
        nodes: list[Node] = []
        again = Tape(nodes, self.leaves, self.outputs)
        for index, node in enumerate(self.nodes):
            inputs = [constants.get(index, {}).get(place, x) for place, x in enumerate(node.inputs)]
            if node.op is None:
                nodes.append(node)
                continue
            new = Node(node.op, node.params, inputs, node.value, (), node.place)
            new.value, new.pullbacks = node.op.run(again.values(new), node.params)
            nodes.append(new)
        return again

    def name(self, index: int) -> str:
        """What the user calls a node: the variable it is assigned to, or else its expression."""
        node = self.nodes[index]
        return node.place.name or node.place.text


def _seeds(outputs: Sequence[int | None], gy: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """The gradient of each output node, added up where the same node was returned twice."""
    seeds: dict[int, np.ndarray] = {}
    for index, g in zip(outputs, gy, strict=True):
        if index is not None:
            seeds[index] = seeds[index] + g if index in seeds else g
    yield from seeds.items()


def record(target: Target, values: Mapping[str, Any]) -> tuple[Tape, list[np.ndarray]]:
    """Run the forward on Tensors: its tape and its outputs.

    Raises:
        NotRecordable: it left NumPy, or used a function that has no op.
    """
    recorder = _Recorder({f.__code__.co_filename for f in target.code.values()})
    tensors = {
        name: recorder.leaf(name, x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for name, x in values.items()
    }
    try:
        with _following(recorder), lifted(target, buffers=True), watching(recorder.saw), np.errstate(all="ignore"):
            y = target.start().forward(tensors)
    except Exception as err:
        raise NotRecordable(str(err)) from err
    outputs = list(y) if isinstance(y, tuple) else [y]
    arrays = [np.asarray(part.value if isinstance(part, Tensor) else part) for part in outputs]
    return Tape(recorder.nodes, recorder.leaves, [recorder.index.get(id(part)) for part in outputs]), arrays


class _Recorder:
    """Builds the tape while the forward runs."""

    def __init__(self, files: set[str]):
        self.files = files
        self.nodes: list[Node] = []
        self.leaves: dict[str, int] = {}
        self.index: dict[int, int] = {}  # id of a Tensor -> the node that is its present value
        self.alive: list[Tensor] = []  # an id is only unique while its object lives

    def leaf(self, name: str, x: np.ndarray) -> Tensor:
        tensor = Tensor(x, requires_grad=True)
        self.leaves[name] = len(self.nodes)
        self._add(tensor, Node(None, {}, [], x, (), Place("", 0, name, name)))
        return tensor

    def saw(self, result: Tensor) -> None:
        """The engine gave this result a source."""
        source = result.source
        if source is None:
            return
        inputs = [
            self.index[id(x)] if isinstance(x, Tensor) and id(x) in self.index else value
            for x, value in zip(source._inputs, source._values, strict=True)
        ]
        node = Node(source.op, source.params, inputs, result.value, source.pullbacks or (), self._place())
        self._add(result, node)

    def _add(self, tensor: Tensor, node: Node) -> None:
        self.index[id(tensor)] = len(self.nodes)
        self.nodes.append(node)
        self.alive.append(tensor)

    def _place(self) -> Place:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            file = frame.f_code.co_filename
            if file in self.files or not file.startswith(HOUSE):
                return place_of(frame)
            frame = frame.f_back
        return Place("", 0, "", "")


def place_of(frame: FrameType) -> Place:
    """The expression that a frame is at, and the name that its result gets there."""
    file, line = frame.f_code.co_filename, frame.f_lineno
    for i, position in enumerate(frame.f_code.co_positions()):
        if i == frame.f_lasti // 2 and None not in position:
            first, last, start, end = (int(p) for p in position if p is not None)
            lines = [text.encode() for text in linecache.getlines(file)[first - 1 : last]]
            if not lines:
                break
            lines[-1] = lines[-1][:end]
            lines[0] = lines[0][start:]
            text = " ".join(b" ".join(part.strip() for part in lines).decode().split())
            span = (first, start, last, end)
            name = _assigned(file).get(span, "")
            if name == RETURNED:  # what the caller calls it
                caller = frame.f_back
                inside = caller is not None and not caller.f_code.co_filename.startswith(HOUSE)
                name = place_of(caller).name if inside and caller is not None else ""
            return Place(file, line, text, name, span)
    return Place(file, line, linecache.getline(file, line).strip(), "")


@functools.lru_cache(maxsize=64)
def _assigned(file: str) -> dict[tuple[int, ...], str]:
    """For each expression of a file whose value is assigned or returned, by its span: to which name."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return {}
    names: dict[tuple[int, ...], str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and node.value is not None:
            v: ast.expr = node.value
            names[v.lineno, v.col_offset, v.end_lineno or 0, v.end_col_offset or 0] = RETURNED
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for to, v in pairs:
                if isinstance(to, ast.Name | ast.Attribute):
                    names[v.lineno, v.col_offset, v.end_lineno or 0, v.end_col_offset or 0] = ast.unparse(to)
    return names


# --------------------------------------------------------------------- what a Tensor can do while a forward is recorded


def _assign(x, value, *, index):
    """``x[index] = value``, as a new array."""
    y = x.copy()
    y[index] = value

    def gx(gy):
        g = gy.copy()
        g[index] = 0
        return g

    def gvalue(gy):
        g = gy[index]
        while g.ndim > value.ndim:
            g = g.sum(0)
        return g.sum(tuple(i for i, n in enumerate(value.shape) if n == 1 != g.shape[i]), keepdims=True)

    return y, (gx, gvalue)


ASSIGN = Op(_assign, Signature("_, _ -> _"))


def _moved(function: Callable) -> Callable:
    """A NumPy function that only moves entries about, on a Tensor: what it does to their places tells where they go."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        places = function(np.arange(x.size).reshape(x.shape), *args, **kwargs)
        return np.ravel(x)[places]

    return call


def _norm(x, ord=None, axis=None, keepdims=False):
    if ord not in (None, 2) or (ord == 2 and axis is None and x.ndim > 1) or isinstance(axis, tuple):
        raise TypeError("only the Euclidean norm is followed")
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


def _prod(x, axis=None):
    if axis is None:
        x, axis = np.ravel(x), 0
    parts = [np.squeeze(part, axis) for part in np.split(np.arange(x.shape[axis]), x.shape[axis])]
    return functools.reduce(lambda a, i: a * _taken(x, int(i), axis), parts[1:], _taken(x, int(parts[0]), axis))


def _taken(x, i, axis):
    return x[(slice(None),) * (axis % x.ndim) + (i,)]


MOVES = (
    np.repeat, np.tile, np.roll, np.rot90, np.take, np.fliplr, np.flipud, np.diagonal, np.take_along_axis,
    np.lib.stride_tricks.sliding_window_view, np.rollaxis,
)  # fmt: skip
FOLLOWED: dict[Callable, Callable] = {
    **{function: _moved(function) for function in MOVES},
    np.linalg.norm: _norm,
    np.prod: _prod,
    np.copy: lambda a: +a,
    np.vstack: lambda parts: np.concatenate([np.atleast_2d(p) for p in parts], axis=0),
    np.hstack: lambda parts: np.concatenate(list(parts), axis=0 if parts[0].ndim == 1 else 1),
    np.nan_to_num: lambda x: +x,
    np.sinh: lambda x: (np.exp(x) - np.exp(-x)) / 2,
    np.cosh: lambda x: (np.exp(x) + np.exp(-x)) / 2,
    np.tan: lambda x: np.sin(x) / np.cos(x),
    np.reciprocal: lambda x: 1 / x,
    np.exp2: lambda x: np.exp(x * math.log(2)),
    np.log2: lambda x: np.log(x) / math.log(2),
    np.log10: lambda x: np.log(x) / math.log(10),
    np.logaddexp: lambda a, b: np.maximum(a, b) + np.log1p(np.exp(-np.abs(a - b))),
    np.triu: lambda m, k=0: np.where(np.triu(np.ones(m.shape, bool), k), m, 0.0),
    np.tril: lambda m, k=0: np.where(np.tril(np.ones(m.shape, bool), k), m, 0.0),
}


@contextmanager
def _following(recorder: _Recorder) -> Iterator[None]:
    """Tensors take item assignment and a few more of an array's methods while the forward is recorded."""

    def set_item(self: Tensor, index: Any, value: Any) -> None:
        parts = index if isinstance(index, tuple) else (index,)
        index = tuple(part.value if isinstance(part, Tensor) else part for part in parts)
        old = Tensor(self.value, self.requires_grad)
        if id(self) in recorder.index:
            recorder.index[id(old)] = recorder.index[id(self)]
            recorder.alive.append(old)
        new = ASSIGN(old, value if isinstance(value, Tensor) else np.asarray(value, self.dtype), index=index)
        self.value, self.requires_grad = new.value, new.requires_grad
        if id(new) in recorder.index:
            recorder.index[id(self)] = recorder.index[id(new)]
            recorder.alive.append(self)

    methods = {
        "__setitem__": set_item,
        "copy": lambda self, order="C": +self,
        "flatten": lambda self: np.ravel(self),
        "dot": lambda self, other: np.dot(self, other),
        "repeat": lambda self, *args, **kwargs: np.repeat(self, *args, **kwargs),
        "prod": lambda self, axis=None: np.prod(self, axis),
        "any": lambda self, axis=None: self.value.any(axis),
        "all": lambda self, axis=None: self.value.all(axis),
    }
    before = {name: vars(Tensor).get(name) for name in methods}
    added = [function for function in FOLLOWED if function not in NUMPY]
    try:
        for name, method in methods.items():
            setattr(Tensor, name, method)
        NUMPY.update({function: FOLLOWED[function] for function in added})
        yield
    finally:
        for name, old in before.items():
            if old is None:
                delattr(Tensor, name)
            else:
                setattr(Tensor, name, old)
        for function in added:
            del NUMPY[function]


# ----------------------------------------------------------------------------------- the module np, as the user sees it


class _NumPy:
    """The module ``np`` in which float32 means float64 and, while recording, new buffers are Tensors."""

    def __init__(self, buffers: bool):
        self._buffers = buffers

    def __getattr__(self, name: str) -> Any:
        if name in ("float32", "float16", "single", "half"):
            return np.float64
        found = getattr(np, name)
        if self._buffers and name in ("zeros", "empty", "ones", "full", "zeros_like", "empty_like", "ones_like"):
            return _made_tensor(np.zeros if name == "empty" else np.zeros_like if name == "empty_like" else found)
        if self._buffers and name in ("array", "asarray", "ascontiguousarray"):
            return functools.partial(_as_array, found)
        return found


def _made_tensor(make: Callable) -> Callable:
    def made(*args: Any, **kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        return Tensor(y) if y.dtype.kind == "f" else y

    return made


def _as_array(make: Callable, x: Any, *args: Any, **kwargs: Any) -> Any:
    """``np.array`` of a Tensor, or of a nested list in which there are some."""
    if isinstance(x, Tensor):
        return +x
    if isinstance(x, (list, tuple)) and any(isinstance(part, (Tensor, list, tuple)) for part in x):
        parts = [_as_array(make, part) for part in x]
        if any(isinstance(part, Tensor) for part in parts):
            return np.stack(parts)
    return make(x, *args, **kwargs)


def narrow(target: Target) -> bool:
    """Does the user's code name a float narrower than float64?"""
    return any(
        name in ("float32", "float16", "single", "half") for f in target.code.values() for name in _names(f.__code__)
    )


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if hasattr(const, "co_names"):
            yield from _names(const)


@contextmanager
def lifted(target: Target, buffers: bool = False) -> Iterator[None]:
    """Let the user's own functions see float64 where they write float32 (and Tensors where they make buffers)."""
    if not buffers and not narrow(target):
        yield
        return
    spaces: Iterable[dict] = {id(f.__globals__): f.__globals__ for f in target.code.values()}.values()
    changed = []
    stand_in = _NumPy(buffers)
    try:
        for space in spaces:
            for name, value in list(space.items()):
                if value is np:
                    changed.append((space, name, value))
                    space[name] = stand_in
        yield
    finally:
        for space, name, value in changed:
            space[name] = value
