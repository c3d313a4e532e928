"""A recorded tape with its numbers: every op's inputs, value, gradient coming in and gradients going out."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from chainrule.check.record import HOUSE, Place, place_of
from chainrule.engine import Op, Parameter, Tensor, watching
from chainrule.errors import UserError
from chainrule.nn import Module

EXAMPLES = str(Path(__file__).with_name("examples.py"))  # whose lines are shown as a user's are
SHORT = 14  # characters of an expression that may stand for a name
JACOBIAN_SIDE = 16  # entries of input and of output up to which a local Jacobian is computed


@dataclass(frozen=True, eq=False)
class Edge:
    """One input of an op.

    Attributes:
        node: the index of the node that it comes from.
        argument: its name in the op, such as ``weight``.
        gradient: what the op passes back along this edge; None where no gradient is wanted.
        jacobian: the op's derivatives d y_i / d x_j, both flattened; None unless both are small.
    """

    node: int
    argument: str
    gradient: np.ndarray | None = None
    jacobian: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Node:
    """One array of the tape: an input, a parameter, a constant, or what an op made.

    Attributes:
        index: its place in forward order.
        name: what the user calls it.
        kind: input, parameter, constant or op.
        value: its numbers.
        gradient: of the result with respect to it, the sum over all that use it; None where none is wanted.
        op: the name of the op that made it; None for a leaf.
        params: the op's hyper-parameters, where they are not the default.
        inputs: the op's inputs.
        module: the dotted path of the layer in which the op ran; empty outside a layer.
        place: the line of the user's source on which the op stands; empty if there is none.
    """

    index: int
    name: str
    kind: str
    value: np.ndarray
    gradient: np.ndarray | None = None
    op: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Edge, ...] = ()
    module: str = ""
    place: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """A tape with its numbers, forward and backward. Made by :func:`explain`.

    Attributes:
        title: what is explained.
        nodes: leaves and ops in forward order; the last one is the result.
        tables: further tables that belong to it (see :class:`Table`).
    """

    title: str
    nodes: tuple[Node, ...]
    tables: tuple[Table, ...] = ()

    @property
    def ops(self) -> list[Node]:
        """The nodes that ops made, in forward order."""
        return [node for node in self.nodes if node.op is not None]

    @property
    def result(self) -> Node:
        """What was explained, in training the loss."""
        return self.nodes[-1]

    def __getitem__(self, name: str) -> Node:
        """The first node of this name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"no node {name!r}; there are {', '.join(node.name for node in self.nodes)}")

    def inputs_of(self, node: Node) -> Iterator[tuple[Edge, Node]]:
        """The edges into a node, each with the node that it comes from."""
        return ((edge, self.nodes[edge.node]) for edge in node.inputs)

    def users_of(self, node: Node) -> list[tuple[Node, Edge]]:
        """The ops that use a node's value, with the edge on which they do."""
        return self._users.get(node.index, [])

    @functools.cached_property
    def _users(self) -> dict[int, list[tuple[Node, Edge]]]:
        found: dict[int, list[tuple[Node, Edge]]] = {}
        for user in self.nodes:
            for edge in user.inputs:
                found.setdefault(edge.node, []).append((user, edge))
        return found

    def expression(self, node: Node) -> str:
        """How a node was made, as code.

        >>> y = explain(lambda x: np.exp(2 * x).sum(), np.array([0.0, 1.0]))
        >>> [y.expression(node) for node in y.ops]
        ['mul(2, x)', 'exp(2 * x)', 'sum(np.exp(2 * x))']
        """
        names = [source.name for _, source in self.inputs_of(node)]
        return f"{node.op}({', '.join([*names, *(f'{key}={value!r}' for key, value in node.params.items())])})"

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; small arrays in full precision, large ones summarised."""
        from chainrule.explain.arrays import described

        return {
            "title": self.title,
            "nodes": [
                {
                    "index": node.index,
                    "name": node.name,
                    "kind": node.kind,
                    "op": node.op,
                    "params": {key: _plain(value) for key, value in node.params.items()},
                    "module": node.module,
                    "place": node.place,
                    "inputs": [
                        {
                            "node": edge.node,
                            "argument": edge.argument,
                            "gradient": described(edge.gradient),
                            "jacobian": None if edge.jacobian is None else edge.jacobian.tolist(),
                        }
                        for edge in node.inputs
                    ],
                    "value": described(node.value),
                    "gradient": described(node.gradient),
                }
                for node in self.nodes
            ],
            "tables": [table.to_dict() for table in self.tables],
        }

    def save(self, path: Path) -> None:
        """Write all but the tables to an `.npz` file that holds arrays and JSON alone."""
        arrays: dict[str, np.ndarray] = {}

        def keep(array: np.ndarray | None) -> str | None:
            if array is None:
                return None
            arrays[str(len(arrays))] = array
            return str(len(arrays) - 1)

        facts = [
            {
                **{key: getattr(node, key) for key in ("index", "name", "kind", "op", "module", "place")},
                "params": {key: _plain(value) for key, value in node.params.items()},
                "value": keep(node.value),
                "gradient": keep(node.gradient),
                "inputs": [[e.node, e.argument, keep(e.gradient), keep(e.jacobian)] for e in node.inputs],
            }
            for node in self.nodes
        ]
        arrays["tape"] = np.array(json.dumps({"title": self.title, "nodes": facts}))
        np.savez(path, **arrays)  # type: ignore[arg-type]

    def _repr_html_(self) -> str:
        from chainrule.explain.page import embedded

        return embedded(self)

    def _repr_latex_(self) -> str:
        from chainrule.explain.latex import formula

        return formula(self)


@dataclass(frozen=True)
class Table:
    """A table of a course: symbols in LaTeX beside the numbers of nodes.

    Attributes:
        title: its heading.
        columns: the headings of its columns.
        rows: their cells: text, LaTeX between dollar signs, or arrays.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        rows = [[cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": rows}


def restored(path: Path) -> Explanation:
    """What :meth:`Explanation.save` has written; nothing in the file is executed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tape.npz"
    >>> explain(lambda x: x * x, np.array(3.0)).save(path)
    >>> restored(path).result.value
    array(9.)
    """
    with np.load(path, allow_pickle=False) as file:
        tape = json.loads(str(file["tape"]))

        def array(place: str | None) -> np.ndarray | None:
            return None if place is None else file[place]

        nodes = []
        for facts in tape["nodes"]:
            edges = tuple(Edge(node, name, array(g), array(j)) for node, name, g, j in facts.pop("inputs"))
            value, gradient = array(facts.pop("value")), array(facts.pop("gradient"))
            nodes.append(Node(**facts, value=value, gradient=gradient, inputs=edges))  # type: ignore[arg-type]
    return Explanation(tape["title"], tuple(nodes))


def explain(
    thing: Tensor | Callable[..., Any],
    *inputs: Any,
    names: Mapping[str, Any] | None = None,
    gy: Any = None,
    title: str = "",
) -> Explanation:
    """The tape behind a tensor, or behind what a function returns, with every number of its walk back.

    Nothing is changed: no ``grad``, and the graph can still be walked.

    Args:
        thing: a Tensor; or a function of arrays, or a module, that is run on ``inputs``.
        inputs: arrays; those of real numbers get a gradient.
        names: what to call tensors, arrays and modules, where the function has no name for them; a module gives its
            parameters and layers dotted names.
        gy: the gradient of the loss with respect to the result (default: ones, so that the loss is its sum).
        title: of the explanation.

    Raises:
        UserError: the function returns no Tensor, or the graph was walked before and not retained.

    >>> y = explain(lambda w, x: (w * x).sum(), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    >>> y.result.value, y["w"].gradient
    (array(11.), array([3., 4.]))
    """
    known = dict(names or {})
    if isinstance(thing, Tensor):
        return _collect(thing, known, _Recorder(known), gy, title)
    known = {**_names_in(thing, known), **known}
    recorder = _Recorder(known)
    if isinstance(thing, Module) and not any(value is thing for value in known.values()):
        recorder.add_module("", thing)
    tensors = [_leaf(x) for x in inputs]
    known.update(zip(_argument_names(thing, len(inputs)), tensors, strict=True))
    with watching(recorder.saw):
        y = thing(*tensors)
    called = title or getattr(thing, "__name__", type(thing).__name__).replace("<lambda>", "a function")
    if not isinstance(y, Tensor):
        raise UserError(f"{called} returns a {type(y).__name__}, expected one array made from its inputs by NumPy")
    return _collect(y, known, recorder, gy, called)


def _names_in(function: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, arrays and modules that a function uses from outside, by the names it has for them."""
    if not inspect.isfunction(function):
        return {}
    used = inspect.getclosurevars(function)
    there = {id(value) for value in known.values()}
    return {
        name: value
        for name, value in {**used.globals, **used.nonlocals}.items()
        if isinstance(value, Tensor | np.ndarray | Module) and id(value) not in there
    }


def _leaf(x: Any) -> Any:
    if x is None or isinstance(x, Tensor | str | int):  # an integer is a setting, such as a number of heads
        return x
    array = np.asarray(x)
    return Tensor(array, requires_grad=True) if array.dtype.kind == "f" else array


def _argument_names(function: Callable[..., Any], count: int) -> list[str]:
    called = type(function).__call__ if isinstance(function, Module) else function
    parameters = list(inspect.signature(called).parameters.values())[isinstance(function, Module) :]
    found = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return [*found, *(f"input {i + 1}" for i in range(len(found), count))]


class _Recorder:
    """Notes, as a tensor is made, the layer and the line of source that made it."""

    def __init__(self, names: Mapping[str, Any]):
        self.modules: dict[Module, str] = {}
        self.parameters: dict[Tensor, str] = {}
        self.made: dict[Tensor, tuple[str, Place | None]] = {}
        for name, value in names.items():
            if isinstance(value, Module):
                self.add_module(name, value)

    def add_module(self, prefix: str, module: Module) -> None:
        self.modules |= {part: name for name, part in module.named_modules(prefix)}
        self.parameters |= {p: f"{prefix}.{name}" if prefix else name for name, p in module.named_parameters()}

    def saw(self, tensor: Tensor) -> None:
        layer, place = None, None
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if layer is None and frame.f_code.co_name == "__call__" and isinstance(owner, Module):
                layer = self.modules.get(owner)
            file = frame.f_code.co_filename
            if place is None and (file == EXAMPLES or not file.startswith(HOUSE)):
                place = place_of(frame)
            frame = frame.f_back
        self.made[tensor] = layer or "", place if layer is None else None


def _collect(y: Tensor, names: Mapping[str, Any], recorder: _Recorder, gy: Any, title: str) -> Explanation:
    """The nodes of everything that ``y`` was made from, each with its gradient."""
    made = _made_by_ops(y)
    builder = _Builder(recorder, names, *_walked_back(made, y, gy))
    for tensor, label in zip(made, _labels(made, recorder, names), strict=True):
        builder.op(tensor, label)
    if not made:
        builder.leaf(y, y.value, "x")
    return Explanation(title, tuple(builder.nodes))


class _Builder:
    """Makes nodes of tensors, a leaf just before the first op that uses it."""

    def __init__(self, recorder: _Recorder, names: Mapping[str, Any], gradients: dict, passed: dict):
        self.recorder, self.gradients, self.passed = recorder, gradients, passed
        self.given = {id(value): name for name, value in names.items()}
        self.nodes: list[Node] = []
        self.index: dict[int, int] = {}  # id of a tensor or of a constant array -> its node

    def leaf(self, x: Any, value: np.ndarray, argument: str) -> int:
        name = self.given.get(id(x)) or (self.recorder.parameters.get(x) if isinstance(x, Tensor) else None)
        wants = isinstance(x, Tensor) and x.requires_grad
        if name is None:
            name = f"{value.item():.6g}" if value.size == 1 and not wants else argument
        kind = "parameter" if isinstance(x, Parameter) else "input" if id(x) in self.given or wants else "constant"
        self.nodes.append(Node(len(self.nodes), name, kind, value, self.gradients.get(x) if wants else None))
        return len(self.nodes) - 1

    def op(self, tensor: Tensor, label: str) -> None:
        source = tensor.source
        assert source is not None
        edges = []
        arguments = _arguments(source.op, len(source._inputs))
        for place, (x, value, argument) in enumerate(zip(source._inputs, source._values, arguments, strict=False)):
            if value is None:
                continue
            shared = isinstance(x, Tensor | np.ndarray)  # the number 2 in two places is two constants
            node = self.index.get(id(x)) if shared else None
            if node is None:
                node = self.leaf(x, np.asarray(value), argument)
                if shared:
                    self.index[id(x)] = node
            gradient = self.passed.get((tensor, place))
            jacobian = None if gradient is None else _jacobian(_pullback(source, place), tensor.value, x)
            edges.append(Edge(node, argument, gradient, jacobian))
        layer, at = self.recorder.made.get(tensor, ("", None))
        line = f"{Path(at.file).name}, line {at.line}" if at and at.line else ""
        gradient, op = self.gradients.get(tensor), source.op.name
        params = {key: value for key, value in source.params.items() if repr(value) != repr(source.op.params.get(key))}
        self.index[id(tensor)] = len(self.nodes)
        self.nodes.append(
            Node(len(self.nodes), label, "op", tensor.value, gradient, op, params, tuple(edges), layer, line)
        )


def _arguments(op: Op, count: int) -> list[str]:
    return [f"{op.inputs[0]}[{i}]" for i in range(count)] if op.variadic else op.inputs


def _made_by_ops(y: Tensor) -> list[Tensor]:
    """Every tensor with a source that ``y`` was made from, oldest first."""
    found, stack = {y}, [y]
    while stack:
        source = stack.pop().source
        for x, _ in source.edges() if source else ():
            if x not in found:
                found.add(x)
                stack.append(x)
    return sorted((t for t in found if t.source), key=lambda t: t.source.serial)  # type: ignore[union-attr]


def _walked_back(made: list[Tensor], y: Tensor, gy: Any) -> tuple[dict[Tensor, np.ndarray], dict]:
    """The gradient of every tensor, and what each op passes back to each of its inputs, by (tensor, place)."""
    seed = np.ones_like(y.value) if gy is None else np.asarray(gy, y.dtype)
    if seed.shape != y.shape:
        raise UserError(f"gy has shape {seed.shape}, expected {y.shape}, the shape of what is explained")
    gradients = {y: seed}
    passed = {}
    for tensor in reversed(made):
        if tensor not in gradients:
            continue
        source = tensor.source
        assert source is not None
        for x, place in source.edges():
            g = np.array(_pullback(source, place)(gradients[tensor]), x.dtype)  # a copy: pullbacks may share arrays
            passed[tensor, place] = g
            gradients[x] = gradients[x] + g if x in gradients else g
    return gradients, passed


def _pullback(source: Any, place: int) -> Callable[[Any], Any]:
    if source.pullbacks is None:
        raise UserError(
            f"this graph was walked before (at {source}), and what it held was freed: explain it before backward(), "
            "or pass retain_graph=True to backward"
        )
    return source.pullbacks[place]


def _jacobian(pullback: Callable[[Any], Any], y: np.ndarray, x: Any) -> np.ndarray | None:
    """Row i is what a gradient of 1 in entry i of ``y`` passes back to ``x``."""
    if not (0 < y.size <= JACOBIAN_SIDE and 0 < x.size <= JACOBIAN_SIDE):
        return None
    units = np.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
    with np.errstate(all="ignore"):  # rows that nobody asked for may divide 0 by 0
        return np.stack([np.array(pullback(unit), y.dtype).reshape(-1) for unit in units])


def _labels(made: list[Tensor], recorder: _Recorder, names: Mapping[str, Any]) -> list[str]:
    """What to call each tensor: as the user does, or after its layer, or after its op; numbered where two agree."""
    given = {id(value): name for name, value in names.items()}
    ops: dict[str, set[str]] = {}
    for tensor in made:
        assert tensor.source is not None
        ops.setdefault(recorder.made.get(tensor, ("", None))[0], set()).add(tensor.source.op.name)
    seen: Counter[str] = Counter(name for name, value in names.items() if not isinstance(value, Module))
    labels = []
    for tensor in made:
        layer, place = recorder.made.get(tensor, ("", None))
        assert tensor.source is not None
        label = given.get(id(tensor)) or (place.name if place else "")
        if not label and layer:
            whole = len(ops[layer]) == 1 and not layer.rpartition(".")[2].isdigit()
            label = layer if whole else f"{layer}.{tensor.source.op.name}"
        elif not label:
            label = place.text if place and 0 < len(place.text) <= SHORT else tensor.source.op.name
        seen[label] += id(tensor) not in given
        labels.append(f"{label} {seen[label]}" if seen[label] > 1 else label)
    return labels


def _plain(value: Any) -> Any:
    """A hyper-parameter as JSON can hold it."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(item) for item in value]
        case np.generic() | np.ndarray():
            return value.tolist()
    return repr(value)
