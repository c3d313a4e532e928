"""Objects with forward and backward, and where they keep their parameters and the gradients of these."""

from __future__ import annotations

import ast
import contextlib
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MemberDescriptorType, MethodType
from typing import Any

import numpy as np

from chainrule.check.calling import Protocol, arguments, called, functions, matched, plain, running, spelled, times
from chainrule.check.target import Target
from chainrule.engine import Tensor
from chainrule.errors import UsageError
from chainrule.nn import Module

PARAMETERS = ("params", "parameters", "_params")  # attributes that hold many parameters, in a dictionary or a list
GRADIENTS = ("grads", "gradients", "_grads", "dparams")  # and their gradients
VALUES = ("value", "data", "array")  # where an object with .grad keeps its array


@dataclass
class Held:
    """A parameter of an object: where its array is, and where its gradient will be.

    Attributes:
        name: the report's; dotted within parts of the object, ``"layers.0.W"``.
        owner, key: ``owner.key`` or ``owner[key]`` is the parameter.
        inside: the attribute of the parameter that is the array; None where the parameter is the array itself.
        holder: gives the object, dictionary or list where the gradient is kept now; None while there is none.
        places: the names that the gradient may have there.
    """

    name: str
    owner: Any
    key: Any
    inside: str | None
    holder: Callable[[], Any]
    places: list[Any]

    @property
    def value(self) -> Any:
        """The array."""
        held = _get(self.owner, self.key)
        return held if self.inside is None else getattr(held, self.inside)

    def put(self, x: Any) -> None:
        """Let the object compute with ``x``."""
        held = _get(self.owner, self.key)
        if self.inside is None or (isinstance(held, Tensor) and isinstance(x, Tensor)):
            _put(self.owner, self.key, x)
        else:
            setattr(held, self.inside, x)

    @property
    def gradient(self) -> Any:
        """What is kept as the gradient now."""
        holder, place = self._kept()
        return None if place is None else _get(holder, place)

    def forget(self) -> None:
        """Start the gradient at zero: the object may have been used before."""
        holder, place = self._kept()
        if isinstance(holder, Tensor):
            holder.grad = None
        elif isinstance(self.gradient, np.ndarray):
            _put(holder, place, np.zeros_like(self.gradient))

    def _kept(self) -> tuple[Any, Any]:
        """Where the gradient is now; (..., None) while it is nowhere."""
        holder = self.holder()
        return holder, next((place for place in self.places if _has(holder, place)), None)


def _always(x: Any) -> Callable[[], Any]:
    return lambda: x


def _has(holder: Any, key: Any) -> bool:
    if isinstance(holder, list):
        return key < len(holder)
    return key in holder if isinstance(holder, dict) else hasattr(holder, key)


def _get(holder: Any, key: Any) -> Any:
    return holder[key] if isinstance(holder, (dict, list)) else getattr(holder, key)


def _put(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, (dict, list)):
        holder[key] = value
    else:
        setattr(holder, key, value)


# ------------------------------------------------------------------------------------------------ finding parameters


def held(obj: Any) -> list[Held]:
    """The parameters of an object and of its parts, each array once.

    A parameter is an array beside which there is a place for its gradient: ``W`` and ``dW``, ``params`` and ``grads``,
    ``weight.data`` and ``weight.grad``.

    >>> class Scale:
    ...     def __init__(self): self.w, self.dw = np.ones(2), None
    >>> [h.name for h in held(Scale())]
    ['w']
    """
    seen: set[int] = set()
    return list(_held(obj, "", seen))


def _held(obj: Any, prefix: str, seen: set[int]) -> Iterator[Held]:
    if id(obj) in seen:
        return
    seen.add(id(obj))
    attributes = _attributes(obj)
    known = set(attributes) | _attributes_used(type(obj))
    for found in (*_in_containers(obj, known), *_in_attributes(obj, known)):
        if id(found.value) not in seen:
            seen.add(id(found.value))
            found.name = prefix + found.name
            yield found
    for name, value in attributes.items():
        for path, part in _parts(name, value):
            if _is_layer(part):
                yield from _held(part, f"{prefix}{path}.", seen)


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value, or what is in it if it is a list or a dictionary."""
    if isinstance(value, (list, tuple)):
        yield from ((f"{name}.{i}", part) for i, part in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"{name}.{key}", part) for key, part in value.items())
    else:
        yield name, value


def _is_layer(x: Any) -> bool:
    return not isinstance(x, (type, np.ndarray)) and callable(getattr(x, "backward", None))


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _in_containers(obj: Any, known: set[str]) -> Iterator[Held]:
    """``params["W"]`` and ``grads["W"]``, or lists of both."""
    values = next((x for name in PARAMETERS if isinstance(x := _attributes(obj).get(name), (dict, list))), None)
    gradients = next((name for name in GRADIENTS if name in known), None)
    if values is None or gradients is None:
        return
    for key, x in values.items() if isinstance(values, dict) else enumerate(values):
        if _is_array(x):
            places = spelled(key) if isinstance(key, str) else [key]
            name = key if isinstance(key, str) else f"params[{key}]"
            yield Held(name, values, key, None, lambda: getattr(obj, gradients, None), places)


def _in_attributes(obj: Any, known: set[str]) -> Iterator[Held]:
    """``W`` and ``dW``; ``weight.data`` and ``weight.grad``; lists and dictionaries of the latter."""
    for name, value in _attributes(obj).items():
        if _is_array(value):
            places = [place for place in spelled(name)[1:] if place in known]
            if places:
                yield Held(name, obj, name, None, _always(obj), places)
            continue
        for path, part in _parts(name, value):
            inside = next((v for v in VALUES if _is_array(getattr(part, v, None))), None)
            if inside and hasattr(part, "grad") and not isinstance(part, np.ndarray):
                whole = part is value
                key = name if whole else (int if isinstance(value, list) else str)(path.split(".", 1)[1])
                if not isinstance(value, tuple):
                    yield Held(path, obj if whole else value, key, inside, _always(part), ["grad"])


def _attributes(obj: Any) -> dict[str, Any]:
    """What an object keeps: in its ``__dict__``, in its ``__slots__``, behind properties that can be set."""
    described = [
        name
        for base in type(obj).__mro__
        for name, x in vars(base).items()
        if isinstance(x, MemberDescriptorType) or (isinstance(x, property) and x.fset is not None)
    ]
    kept = dict(getattr(obj, "__dict__", {}))
    for name in described:
        with contextlib.suppress(Exception):  # an empty slot; a property that computes what is not there yet
            kept[name] = getattr(obj, name)
    return kept


def _attributes_used(cls: type) -> set[str]:
    """The names that the methods of a class speak of: backward may make ``self.dW`` only when it runs."""
    code = [plain(f) for base in cls.__mro__ for f in vars(base).values() if callable(f) or hasattr(f, "__func__")]
    return {name for function in code if function is not None for name in function.__code__.co_names}


# ---------------------------------------------------------------------------------------------------------- sessions


class _Object:
    """A session of an object: a copy of it."""

    def __init__(self, obj: Any, edited: Callable | None, names: tuple[str, ...], code: dict[str, FunctionType]):
        try:
            self.obj = copy.deepcopy(obj)
        except Exception as err:
            raise UsageError(
                f"a {type(obj).__name__} cannot be copied to start afresh: {type(err).__name__}: {err}; make it "
                "without open files, modules and the like in its attributes"
            ) from err
        self.names, self.code = names, code
        self.held = {h.name: h for h in held(self.obj)}
        for parameter in self.held.values():
            parameter.forget()
        self.do_backward = MethodType(edited, self.obj) if edited else self.obj.backward
        self.protocol = Protocol(self.obj.forward, self.do_backward, names)

    def forward(self, values: Mapping[str, Any]) -> Any:
        for name, parameter in self.held.items():
            if name in values:
                parameter.put(values[name])
        self.given = {name: values[name] for name in self.names if name in values}
        recording = any(isinstance(x, Tensor) for x in values.values())
        do_forward = self.obj if recording and isinstance(self.obj, Module) else self.obj.forward
        with running("forward", self.code):
            returned = called(do_forward, self.given)
        self.y, self.saved = self.protocol.split(returned, self.given)
        return self.y

    def backward(self, gy: Any) -> dict[str, Any]:
        values = self.protocol.supply(gy, self.y, self.saved, self.given)
        with running("backward", self.code):
            result = self.do_backward(*values)
        found = self._returned(result)
        found.update({name: h.gradient for name, h in self.held.items() if name not in found})
        return times(found, gy, self.protocol)

    def _returned(self, result: Any) -> dict[str, Any]:
        """Gradients of inputs, and of parameters where backward returns them as well."""
        if result is None:
            return {name: getattr(self.obj, kept) for name in self.given if (kept := self._kept(name))}
        if isinstance(result, tuple) and len(result) == len(self.given) + len(self.held) > len(self.given):
            own = returned_names(self.code.get("backward"))[len(self.given) :]
            by_spelling = {spelling: name for name in self.held for spelling in spelled(name)}
            names = [by_spelling.get(name, "") for name in own]
            if sorted(names) != sorted(self.held):
                names = list(self.held)
            return dict(zip([*self.given, *names], result, strict=True))
        return matched(result, self.given, [*self.names, *self.held], self.code)

    def _kept(self, name: str) -> str | None:
        """The attribute in which the object keeps the gradient of an input: ``dx``, ``dinputs``."""
        places = [
            *spelled(name)[1:],
            *(["dx", "gx", "grad_input", "dinput", "dinputs"] if len(self.given) == 1 else []),
        ]
        return next((place for place in places if hasattr(self.obj, place)), None)


def returned_names(function: FunctionType | None) -> list[str]:
    """The names in a function's last ``return a, self.b``; others are empty.

    >>> def loss(x):
    ...     dx = 2 * x
    ...     return (x**2).sum(), dx
    >>> returned_names(loss)
    ['', 'dx']
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))) if function else None
    except (OSError, SyntaxError, TypeError):
        tree = None
    returns = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)] if tree else []
    elements = returns[-1].elts if returns and isinstance(returns[-1], ast.Tuple) else []
    return [getattr(element, "id", getattr(element, "attr", "")) for element in elements]


def _resets(obj: Any, parameter: Held) -> bool:
    """Can the gradient be set to zero by a method? Then it adds up until that is called."""
    holder = parameter.holder()
    return isinstance(holder, Tensor) or hasattr(obj, "zero_grad") or hasattr(holder, "zero_grad")


def of_object(obj: Any, name: str | None = None, edited: Callable | None = None) -> Target:
    """An object with ``forward`` and ``backward``, such as a layer.

    Args:
        obj: it; every session works on a copy.
        name: what reports call it; by default its class.
        edited: a function ``(self, gy)`` in place of its backward.

    >>> from chainrule.nn import ReLU
    >>> target = of_object(ReLU())
    >>> target.name, target.arguments
    ('ReLU', ('x',))
    """
    names = arguments(obj if isinstance(obj, Module) else obj.forward)
    code = functions(forward=obj.forward, backward=edited or obj.backward)
    parameters = held(obj)
    return Target(
        name or type(obj).__name__,
        names,
        lambda: _Object(obj, edited, names, code),
        {h.name: np.array(h.value) for h in parameters},
        code,
        replaced=lambda backward: of_object(obj, name, backward),
        accumulates=any(h.inside is not None and _resets(obj, h) for h in parameters),
    )
