"""The things in a Python file that have a backward pass of their own, and so can be checked."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from chainrule.engine import Op
from chainrule.errors import UsageError

# How a forward function and its backward are named: the first pattern that fits a backward is its pair.
PAIRS = (
    ("{}_forward", "{}_backward"),
    ("forward_{}", "backward_{}"),
    ("{}_fwd", "{}_bwd"),
    ("{}", "{}_backward"),
    ("{}", "backward_{}"),
    ("{}", "{}_bwd"),
    ("{}", "{}_vjp"),
    ("{}", "{}_grad"),
    ("{}", "grad_{}"),
    ("{}", "{}_prime"),
    ("{}", "d_{}"),
)
DERIVATIVES = (
    "{}_grad",
    "grad_{}",
    "d_{}",
)  # such a function may also be a derivative, which takes no gradient coming in
UPSTREAM = r"(?!dim)d[a-z]{1,2}|dout|dloss|g[a-z]{0,3}|.*grad.*|upstream|delta|cotangent"
RECOGNISED = (
    "a pair of functions such as linear_forward and linear_backward, or f and f_backward, f_grad, f_vjp; "
    "a class, or an object, with forward and backward; a function that returns its value and a pullback; "
    "a chainrule op; a torch.autograd.Function; a jax.custom_vjp function"
)


@dataclass
class Item:
    """One thing to check.

    Attributes:
        name: as the report calls it.
        target: as :func:`chainrule.check.diagnose` takes it, or a class.
        forward: what holds ``shapes`` or ``inputs``, where the author declared them: the forward function, the class.
        aliases: other names by which it may be asked for.
        make: is the target a class of which an object must be made?
    """

    name: str
    target: Any
    forward: Any
    aliases: tuple[str, ...] = ()
    make: bool = False

    @property
    def shapes(self) -> str | None:
        """The shapes that the author declared, ``linear_forward.shapes = "n d, d m, m"``."""
        declared = getattr(self.forward, "shapes", None)
        return declared if isinstance(declared, str) else None

    @property
    def inputs(self) -> Callable | None:
        """The factory of inputs, from a random generator to a tuple, that the author declared."""
        holder = self.forward if isinstance(self.forward, type | FunctionType) else type(self.forward)
        for name in ("check_inputs", "inputs"):
            declared = inspect.getattr_static(holder, name, None)
            if isinstance(declared, FunctionType | staticmethod | classmethod):
                return getattr(self.forward, name)
        return None


def load(path: Path) -> ModuleType:
    """Import a file as Python would: its folder, or the folder of the package that it belongs to, is on the path.

    Whatever the file raises passes through.

    >>> load(Path(inspect.__file__)).__name__  # a file that is imported already is not imported again
    'inspect'
    """
    path = path.resolve()
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == str(path) and module.__name__ != "__main__":
            return module
    package: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        package.insert(0, folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    if package:
        return importlib.import_module(".".join([*package, path.stem]))
    name = path.stem if path.stem not in sys.modules else f"checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def discover(module: ModuleType) -> list[Item]:
    """What in a module can be checked, in the order of the file; imported things are not its own.

    >>> import types
    >>> [item.name for item in discover(types.ModuleType("empty"))]
    []
    """
    file = getattr(module, "__file__", None)
    held = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    functions = {
        name: value for name, value in held.items() if isinstance(value, FunctionType) and _file(value) == file
    }
    items = list(_pairs(functions))
    paired = {alias for item in items for alias in item.aliases}
    items += [
        Item(name, function, function)
        for name, function in functions.items()
        if name not in paired and returns_pullback(function)
    ]
    items += _objects(held, module)
    names = Counter(item.name for item in items)
    for item in items:
        if names[item.name] > 1 and item.aliases:  # softmax_forward and softmax_backward beside a function softmax
            item.name = item.aliases[1]
    return sorted(items, key=lambda item: _line(item.forward))


def skipped(module: ModuleType) -> list[str]:
    """Why functions that look like a gradient are none that can be checked, one sentence each."""
    file = getattr(module, "__file__", None)
    functions = {n: f for n, f in vars(module).items() if isinstance(f, FunctionType) and _file(f) == file}
    return [
        f"{backward} was not checked: it takes no gradient coming in (gy) beside the inputs of {forward}"
        for _, forward, backward in _named_pairs(functions)
        if _is_derivative(functions[forward], functions[backward], backward)
    ]


def pick(items: list[Item], name: str | None, file: str) -> list[Item]:
    """All items, or the one of this name.

    Raises:
        UsageError: there is none; the message names the nearest, or says what would have been recognised.

    >>> pick([Item("linear", None, None, ("linear_forward", "linear_backward"))], "linear_forward", "nn.py")[0].name
    'linear'
    """
    if not items:
        raise UsageError(f"nothing to check in {file}; what would be recognised: {RECOGNISED}")
    if name is None:
        return items
    known = {alias: item for item in items for alias in (*item.aliases, item.name)}
    if name not in known:
        nearest = known[difflib.get_close_matches(name, known, n=1, cutoff=0)[0]].name
        found = ", ".join(item.name for item in items)
        raise UsageError(f"no {name} to check in {file}, the nearest is {nearest} (all: {found})")
    return [known[name]]


def returns_pullback(function: FunctionType) -> bool:
    """Does the source of a function return a pair whose second part is a nested function, or several?

    >>> returns_pullback(lambda x: (2 * x, lambda gy: 2 * gy))  # only functions with a name are looked at
    False
    """
    tree = _syntax(function)
    if tree is None:
        return False
    inner = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node != tree
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            inner |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    own = [node for statement in tree.body for node in _outside_functions(statement) if isinstance(node, ast.Return)]
    return any(
        isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2 and _is_pullback(node.value.elts[1], inner)
        for node in own
    )


# ------------------------------------------------------------------------------------------------- functions in pairs


def _pairs(functions: dict[str, FunctionType]) -> Iterator[Item]:
    for stem, forward, backward in _named_pairs(functions):
        if not _is_derivative(functions[forward], functions[backward], backward):
            pair = functions[forward], functions[backward]
            yield Item(stem, pair, functions[forward], (forward, backward))


def _named_pairs(functions: dict[str, FunctionType]) -> Iterator[tuple[str, str, str]]:
    """The stem, the name of the forward and of the backward; every backward once."""
    for backward in functions:
        for first, second in PAIRS:
            before, after = second.split("{}")
            stem = backward.removeprefix(before).removesuffix(after)
            forward = first.format(stem)
            if stem and backward == second.format(stem) and forward != backward and forward in functions:
                yield stem, forward, backward
                break
        else:
            yield from _pair_with_more_words(backward, functions)


def _pair_with_more_words(backward: str, functions: dict[str, FunctionType]) -> Iterator[tuple[str, str, str]]:
    """`backward`, `conv_backward_naive`, and `batchnorm_backward_alt`, whose forward is `batchnorm_forward`."""
    before, word, after = backward.partition("backward")
    for forward in (f"{before}forward{after}", f"{before}forward"):
        if word and forward in functions:
            yield (before + after.lstrip("_")).strip("_") or "forward", forward, backward
            return


def _is_derivative(forward: FunctionType, backward: FunctionType, name: str) -> bool:
    """Is this the derivative f'(x), with nothing that could be the gradient coming in?"""
    if not any(name.startswith(p.split("{}")[0]) and name.endswith(p.split("{}")[1]) for p in DERIVATIVES):
        return False
    taken = list(inspect.signature(backward).parameters)
    named = any(re.fullmatch(UPSTREAM, parameter.lower()) for parameter in taken)
    return not named and len(taken) <= len(inspect.signature(forward).parameters)


# --------------------------------------------------------------------------------------------------- classes, objects


def _objects(held: dict[str, Any], module: ModuleType) -> Iterator[Item]:
    instances = {
        name: value
        for name, value in held.items()
        if not isinstance(value, type | ModuleType | Op | FunctionType) and _has_both(type(value))
    }
    for name, value in instances.items():
        yield Item(name, value, value)
    made = {type(value) for value in instances.values()}
    for name, value in held.items():
        if isinstance(value, type):
            own = value.__module__ == module.__name__ and value.__qualname__ == name
            if own and value not in made and _has_both(value) and not _is_only_a_base(value):
                target = _class_target(value)
                yield Item(name, target, value, make=target is value and not _is_torch_function(value))
        elif (rule := _rule(value)) is not None and _file(rule) == module.__file__:
            yield Item(name, value, rule)


def _rule(value: Any) -> Any:
    """The function of a chainrule op, or of a jax.custom_vjp; None for all else."""
    if isinstance(value, Op):
        return value.rule
    kind = type(value)
    return value.fun if kind.__name__ == "custom_vjp" and kind.__module__.split(".")[0] == "jax" else None


def _has_both(kind: type) -> bool:
    return all(callable(getattr(kind, name, None)) for name in ("forward", "backward"))


def _class_target(kind: type) -> Any:
    """A class whose methods are static is a pair of functions, unless PyTorch runs them."""
    static = isinstance(inspect.getattr_static(kind, "forward"), staticmethod | classmethod)
    return (kind.forward, kind.backward) if static and not _is_torch_function(kind) else kind  # type: ignore[attr-defined]


def _is_torch_function(kind: type) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and issubclass(kind, torch.autograd.Function)


def _is_only_a_base(kind: type) -> bool:
    """Are forward and backward left to the classes derived from it?"""
    if inspect.isabstract(kind):
        return True
    tree = _syntax(kind.forward)  # type: ignore[attr-defined]
    if tree is None:
        return False
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return all(isinstance(node, ast.Pass) or _raises_not_implemented(node) or _is_ellipsis(node) for node in body)


def _raises_not_implemented(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise) and node.exc is not None and "NotImplemented" in ast.unparse(node.exc)


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


# ------------------------------------------------------------------------------------------------------------- source


def _file(function: Any) -> str | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_filename if code else None


def _line(thing: Any) -> int:
    """Where in its file a thing begins; an object stands where its class does."""
    thing = thing if isinstance(thing, type | FunctionType) else type(thing)
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return 0


def _syntax(function: Any) -> ast.FunctionDef | None:
    """The definition of a function; None where its source cannot be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return None
    return tree.body[0] if tree.body and isinstance(tree.body[0], ast.FunctionDef) else None


def _outside_functions(node: ast.AST) -> Iterable[ast.AST]:
    """The nodes of a statement, without those inside nested functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_functions(child)


def _is_pullback(node: ast.expr, inner: set[str]) -> bool:
    match node:
        case ast.Lambda():
            return True
        case ast.Name(id=name):
            return name in inner
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Dict(values=parts):
            return bool(parts) and all(_is_pullback(part, inner) for part in parts)
    return False
