"""Every shape in which people write a backward pass, as one :class:`Target`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from chainrule.check.calling import (
    Context,
    Protocol,
    arguments,
    arraylike,
    called,
    functions,
    matched,
    name_of,
    parameters,
    returning,
    running,
    spelled,
    times,
)
from chainrule.check.foreign import of_jax, of_torch
from chainrule.check.objects import of_object, returned_names
from chainrule.check.target import Target, Unusable
from chainrule.engine import Op
from chainrule.errors import UsageError

CONTEXTS = frozenset({"ctx", "context", "self_"})  # forward's first parameter, where values are saved on it
FORMS = (
    "a pair of functions (forward, backward), a function that returns (y, pullback) or a loss and its gradients, an "
    "object or a class with forward and backward, a chainrule op, a torch.autograd.Function, a jax.custom_vjp function"
)


def as_target(target: Any, *, name: str | None = None) -> Target:
    """The target as something that can be started, run forward and run back.

    Args:
        target: any of the forms that :func:`chainrule.check.diagnose` takes.
        name: what reports call it; by default what the user calls it.

    Raises:
        UsageError: it is none of these forms.

    >>> target = as_target((lambda x, w: (x @ w, (x, w)), lambda gy, cache: (gy @ cache[1].T, cache[0].T @ gy)))
    >>> session = target.start()
    >>> session.forward({"x": np.ones((1, 2)), "w": np.ones((2, 3))})
    array([[2., 2., 2.]])
    >>> session.backward(np.ones((1, 3)))["x"]
    array([[3., 3.]])
    """
    if isinstance(target, (tuple, list)):
        if len(target) != 2 or not all(callable(part) for part in target):
            found = ", ".join(type(part).__name__ for part in target)
            raise UsageError(f"expected two functions (forward, backward), found {len(target)} things: {found}")
        if _methods_of_one_object(target[0], target[1]):
            return of_object(target[0].__self__, name)
        return _of_pair(target[0], target[1], name)
    if isinstance(target, Op):
        return of_op(target, name)
    if _comes_from(target, "torch.autograd", "Function"):
        return of_torch(target, name)
    if _comes_from(type(target), "jax", "custom_vjp"):
        return of_jax(target, name)
    if isinstance(target, type):
        return _of_class(target, name)
    if callable(getattr(target, "forward", None)) and callable(getattr(target, "backward", None)):
        return (
            _of_pair(target.forward, target.backward, name)
            if isinstance(target, ModuleType)
            else of_object(target, name)
        )
    if inspect.isroutine(target) or isinstance(target, partial):
        return _of_pullbacks(target, name) if parameters(target) else as_target(_made(target), name=name)
    what = getattr(target, "__name__", None) or f"an object of type {type(target).__name__}"
    raise UsageError(f"{what} cannot be checked: expected {FORMS}")


def of_op(op: Op, name: str | None = None, params: Mapping[str, Any] | None = None) -> Target:
    """An op with these hyper-parameters: its rule, which returns the value and the pullbacks.

    >>> from chainrule.ops import linear
    >>> of_op(linear).arguments
    ('x', 'weight', 'bias')
    """
    return _of_pullbacks(op.rule, name or op.name, params or {})


def _comes_from(cls: Any, module: str, name: str) -> bool:
    """Is this class, or one that it is made from, of that name and module? Answered without importing the module."""
    bases = cls.__mro__ if isinstance(cls, type) else ()
    return any(base.__name__ == name and base.__module__.startswith(module) for base in bases)


def _methods_of_one_object(forward: Any, backward: Any) -> bool:
    """Are these ``layer.forward`` and ``layer.backward``? Then a session can work on a copy of the layer."""
    if not (isinstance(forward, MethodType) and isinstance(backward, MethodType)):
        return False
    owner = forward.__self__
    return owner is backward.__self__ and not isinstance(owner, type) and forward == getattr(owner, "forward", None)


def _of_class(cls: type, name: str | None) -> Target:
    if not (hasattr(cls, "forward") and hasattr(cls, "backward")):
        raise UsageError(f"class {cls.__name__} has no forward and backward: expected {FORMS}")
    if isinstance(inspect.getattr_static(cls, "forward"), (staticmethod, classmethod)):
        return _of_pair(cls.forward, cls.backward, name or cls.__name__)
    return of_object(_made(cls), name)


def _made(make: Callable) -> Any:
    """What a class or a factory makes without arguments."""
    try:
        return make()
    except Exception as err:
        raise UsageError(
            f"{make.__name__}() raised {type(err).__name__}: {err}; pass an object, as {make.__name__}(...)"
        ) from err


# --------------------------------------------------------------------------------------- (forward, backward) functions


@dataclass
class _Pair:
    """A session of two functions."""

    do_forward: Callable
    do_backward: Callable
    names: tuple[str, ...]
    context: bool
    code: dict[str, FunctionType]
    given: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.protocol = None if self.context else Protocol(self.do_forward, self.do_backward, self.names)

    def forward(self, values: Mapping[str, Any]) -> Any:
        self.given = {name: values[name] for name in self.names if name in values}
        self.ctx = Context()
        self.ctx.needs_input_grad = (True,) * len(self.given)
        with running("forward", self.code):
            returned = called(self.do_forward, self.given, *([self.ctx] if self.context else []))
        if self.protocol is None:
            return tuple(returned) if isinstance(returned, list) else returned
        self.y, self.saved = self.protocol.split(returned, self.given)
        return self.y

    def backward(self, gy: Any) -> dict[str, Any]:
        if self.protocol is None:
            incoming = gy if isinstance(gy, tuple) else (gy,)
            with running("backward", self.code):
                result = self.do_backward(self.ctx, *incoming)
            return matched(result, self.given, self.names, self.code)
        values = self.protocol.supply(gy, self.y, self.saved, self.given)
        with running("backward", self.code):
            result = self.do_backward(*values)
        return times(matched(result, self.given, self.names, self.code), gy, self.protocol)


def _of_pair(forward: Callable, backward: Callable, name: str | None) -> Target:
    first = next(iter(parameters(forward)), None)
    context = first is not None and first.name in CONTEXTS
    names = arguments(forward, skip=int(context))
    code = functions(forward=forward, backward=backward)
    return Target(
        name or name_of(forward),
        names,
        lambda: _Pair(forward, backward, names, context, code),
        code=code,
        replaced=lambda backward: _of_pair(forward, backward, name),
    )


# -------------------------------------------------------------------------------- one function that returns pullbacks


@dataclass
class _Pullbacks:
    """A session of one function that returns its value and the way back."""

    function: Callable
    names: tuple[str, ...]
    settings: Mapping[str, Any]
    code: dict[str, FunctionType]

    back: Any = None  # one function of gy, or one for each input

    def forward(self, values: Mapping[str, Any]) -> Any:
        self.given = {name: values[name] for name in self.names if name in values}
        with running("forward", self.code):
            returned = called(self.function, self.given, **self.settings)
        match returned:
            case (y, dict() | tuple() | list() as back) if _pulls(back.values() if isinstance(back, dict) else back):
                self.back = back
            case (y, back) if callable(back):
                self.back = back
            case (y, _, _, *_) if _pulls(returned[1:]):
                self.back = returned[1:]
            case (y, *rest) if np.ndim(y) == 0 and (gradients := self._gradients(rest)) is not None:
                self.back = lambda gy: _times(gradients, gy)
            case _:
                raise Unusable(
                    "forward",
                    f"{name_of(self.function)} returned {_kind(returned)}, expected (y, pullback): the value and a "
                    "function of gy; or pass two functions (forward, backward)",
                    returning(self.code.get("forward")),
                )
        return tuple(y) if isinstance(y, list) else y

    def backward(self, gy: Any) -> dict[str, Any]:
        with running("backward", self.code):
            result = self._pulled(gy)
        return matched(result, self.given, self.names, self.code)

    def _gradients(self, rest: list[Any]) -> Any:
        """What a function returns beside a loss, if it is gradients: by the names it gives them, or in order."""
        found = rest[0] if len(rest) == 1 and isinstance(rest[0], (dict, tuple, list)) else rest
        parts = list(found.values() if isinstance(found, dict) else found)
        saved = any(part is x for part in parts for x in self.given.values())  # a cache for a backward
        if saved or not any(map(arraylike, parts)) or not all(part is None or arraylike(part) for part in parts):
            return None
        if found is rest:
            names = returned_names(self.code.get("forward"))[1:]
            known = {spelling for name in self.names for spelling in spelled(name)}
            if len(names) == len(rest) and set(names) <= known:
                return dict(zip(names, rest, strict=True))
        return found

    def _pulled(self, gy: Any) -> Any:
        if callable(self.back):
            many = isinstance(gy, tuple) and len(parameters(self.back)) == len(gy)
            return self.back(*gy) if many else self.back(gy)
        if isinstance(self.back, dict):
            return {key: pull and pull(gy) for key, pull in self.back.items()}
        pulls = list(self.back)
        if len(pulls) == len(self.names):
            pulls = [pull for name, pull in zip(self.names, pulls, strict=True) if name in self.given]
        return tuple(pull and pull(gy) for pull in pulls)


def _pulls(parts: Any) -> bool:
    """Are these pullbacks, with None for inputs that have none?"""
    return any(callable(part) for part in parts) and all(part is None or callable(part) for part in parts)


def _times(gradients: Any, gy: Any) -> Any:
    """The gradients of a loss, times the gradient coming in."""
    if isinstance(gradients, dict):
        return {key: _times(g, gy) for key, g in gradients.items()}
    if isinstance(gradients, (tuple, list)):
        return tuple(_times(g, gy) for g in gradients)
    return None if gradients is None else np.asarray(gradients) * np.asarray(gy)


def _kind(x: Any) -> str:
    """What this is, in words."""
    if isinstance(x, (tuple, list)):
        return f"{len(x)} things ({', '.join(_kind(part) for part in x)})"
    return "None" if x is None else f"an array of shape {x.shape}" if hasattr(x, "shape") else f"a {type(x).__name__}"


def _of_pullbacks(function: Any, name: str | None, settings: Mapping[str, Any] | None = None) -> Target:
    names = tuple(n for n in arguments(function) if n not in (settings or {}))
    code = functions(forward=function, backward=function)
    return Target(
        name or name_of(function),
        names,
        lambda: _Pullbacks(function, names, settings or {}, code),
        code=code,
        replaced=lambda backward: _of_pullbacks(backward, name, settings),
    )
