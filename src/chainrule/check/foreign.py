"""Rules written for PyTorch and JAX. Both are imported only here, and only when such a rule is given."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np

from chainrule.check.calling import arguments, functions, name_of, running
from chainrule.check.target import Target, Unusable
from chainrule.engine import Tensor


def of_torch(function: Any, name: str | None = None) -> Target:
    """A subclass of ``torch.autograd.Function``, run by PyTorch itself on float64 tensors.

    Args:
        function: the class.
        name: what reports call it; by default the class's name.
    """
    import torch

    apart = function.setup_context is not torch.autograd.Function.setup_context  # then forward takes no ctx
    names = arguments(function.forward, skip=0 if apart else 1)
    code = functions(forward=function.forward, backward=function.backward)

    def replaced(backward: Any) -> Target:
        return of_torch(type(function.__name__, (function,), {"backward": staticmethod(backward)}), name)

    return Target(name or function.__name__, names, lambda: _Torch(function, names, code), code=code, replaced=replaced)


class _Torch:
    """A session of a torch.autograd.Function."""

    def __init__(self, function: Any, names: tuple[str, ...], code: dict[str, FunctionType]):
        self.function, self.names, self.code = function, names, code

    def forward(self, values: Mapping[str, Any]) -> Any:
        _refuse_tensors(values)
        import torch

        given = {name: values[name] for name in self.names if name in values}
        self.inputs = {
            name: torch.tensor(x, requires_grad=x.dtype.kind in "fc") if isinstance(x, np.ndarray) else x
            for name, x in given.items()
        }
        with running("forward", self.code):
            self.y = self.function.apply(*self.inputs.values())
        return _each(_to_numpy, self.y)

    def backward(self, gy: Any) -> dict[str, Any]:
        import torch

        wanted = {n: x for n, x in self.inputs.items() if isinstance(x, torch.Tensor) and x.requires_grad}
        pairs = [
            (y, torch.tensor(np.asarray(g), dtype=y.dtype))
            for y, g in zip(_tuple(self.y), _tuple(gy), strict=True)
            if y.requires_grad
        ]
        if not pairs:
            raise Unusable("backward", "no output of forward wants a gradient: it is not of a floating-point type")
        outputs, incoming = zip(*pairs, strict=True)
        with running("backward", self.code):
            found = torch.autograd.grad(outputs, list(wanted.values()), incoming, allow_unused=True)
        return {n: None if g is None else g.detach().numpy() for n, g in zip(wanted, found, strict=True)}


def _to_numpy(y: Any) -> np.ndarray:
    import torch

    y = y.detach().cpu()
    return np.asarray(y.float() if y.dtype == torch.bfloat16 else y)  # NumPy has no bfloat16


def of_jax(function: Any, name: str | None = None) -> Target:
    """A ``jax.custom_vjp`` function, run by JAX itself in float64.

    Args:
        function: it, with its ``defvjp`` done.
        name: what reports call it; by default the function's name.
    """
    import jax  # type: ignore[import-not-found, unused-ignore]

    names = arguments(function.fun)
    code = functions(forward=function.fun, **({"backward": function.bwd} if function.bwd else {}))

    def replaced(backward: Any) -> Target:
        edited = jax.custom_vjp(function.fun, nondiff_argnums=function.nondiff_argnums)
        edited.defvjp(function.fwd, backward)
        return of_jax(edited, name)

    label = name or name_of(function.fun)
    return Target(label, names, lambda: _Jax(function, names, code), code=code, replaced=replaced)


class _Jax:
    """A session of a jax.custom_vjp function."""

    def __init__(self, function: Any, names: tuple[str, ...], code: dict[str, FunctionType]):
        self.function, self.names, self.code = function, names, code

    def forward(self, values: Mapping[str, Any]) -> Any:
        _refuse_tensors(values)
        import jax

        self.given = {name: values[name] for name in self.names if name in values}
        with jax.enable_x64(True), running("forward", self.code):
            y = self.function(*map(_to_jax, self.given.values()))
            return _each(np.array, tuple(y) if isinstance(y, list) else y)

    def backward(self, gy: Any) -> dict[str, Any]:
        import jax

        wanted = [name for name, x in self.given.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"]

        def of_wanted(*xs: Any) -> Any:
            now = {**self.given, **dict(zip(wanted, xs, strict=True))}
            return self.function(*map(_to_jax, now.values()))

        with jax.enable_x64(True), running("backward", self.code):
            y, pull = jax.vjp(of_wanted, *(_to_jax(self.given[name]) for name in wanted))
            leaves = [jax.numpy.asarray(g) for g in _tuple(gy)]
            found = pull(jax.tree.unflatten(jax.tree.structure(y), leaves))
            return {name: np.array(g) for name, g in zip(wanted, found, strict=True)}


def _to_jax(x: Any) -> Any:
    import jax

    return jax.numpy.asarray(x) if isinstance(x, np.ndarray) else x


def _refuse_tensors(values: Mapping[str, Any]) -> None:
    """Their operations are not NumPy's, so that chainrule cannot record them."""
    if any(isinstance(x, Tensor) for x in values.values()):
        raise Unusable("forward", "this forward computes outside NumPy")


def _tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _each(convert: Any, y: Any) -> Any:
    return tuple(map(convert, y)) if isinstance(y, tuple) else convert(y)
