"""Module: what every layer, loss and network is. It holds parameters and state, never a derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from chainrule.engine import Parameter, Tensor
from chainrule.errors import UserError

Observer = Callable[["Module", tuple, Any], None]
_observers: list[Observer] = []


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Call ``observer(module, inputs, output)`` after every module that is called, children before parents.

    >>> from chainrule.nn import ReLU, Sequential
    >>> with observe(lambda module, inputs, output: print(type(module).__name__, output)):
    ...     y = Sequential(ReLU())(np.array([-1.0, 2.0]))
    ReLU [0. 2.]
    Sequential [0. 2.]
    """
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def _observed(call: Callable) -> Callable:
    @wraps(call)
    def observed(self: Module, *inputs: Any, **settings: Any) -> Any:
        output = call(self, *inputs, **settings)
        for observer in _observers:
            observer(self, inputs, output)
        return output

    return observed


class Module:
    """A layer or a network. A subclass writes its mathematics once, in ``__call__``, in ops.

    Attributes of a module that are Parameters, arrays (state that is not trained) or modules, also in lists, are its
    own: they are found by ``parameters()``, ``state_dict()`` and the others. An attribute whose name begins with an
    underscore is private and is not.

    ``forward(x)`` and ``backward(gy)`` are inherited: backprop layer by layer, on arrays. ``forward`` runs ``__call__``
    with a tape of this module alone, ``backward`` walks that tape: autograd with a tape one layer long.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> layer = Scale()
    >>> layer.forward(np.array([1.0, 10.0]))
    array([ 2., 20.])
    >>> layer.backward(np.array([1.0, 1.0])), layer.factor.grad
    (array([2., 2.]), array([11.]))
    """

    training = True

    def __init_subclass__(cls) -> None:
        """Let observers see each call."""
        if "__call__" in vars(cls):
            cls.__call__ = _observed(cls.__call__)  # type: ignore[method-assign]

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        """The module's mathematics; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    # layer-by-layer backprop

    def forward(self, x: np.ndarray, *others: Any) -> np.ndarray:
        """The module's value at an array ``x``. Unless under ``no_grad``, its tape is kept for ``backward``.

        Further inputs, such as a loss's targets, get no gradient.

        Raises:
            TypeError: the module returns several arrays: call it on Tensors and walk back from what is made of them.
        """
        tensor = Tensor(x)
        tensor.requires_grad = tensor.dtype.kind == "f"
        y = self(tensor, *others)
        if not isinstance(y, Tensor):
            name = type(self).__name__
            raise TypeError(
                f"{name}.forward: {name} returns a {type(y).__name__}, expected one array; call it on Tensors"
            )
        if y.requires_grad:
            self._tapes.append((tensor, y))
        return y.value

    def backward(self, gy: Any = None) -> np.ndarray | None:
        """The gradient with respect to ``forward``'s input; parameters add theirs to ``grad``.

        Args:
            gy: the gradient of the loss with respect to what the latest ``forward`` returned, of the same shape; may be
                left out after a loss, which is a single number.

        Raises:
            RuntimeError: every ``forward`` has had its ``backward`` already.
        """
        if not self._tapes:
            raise RuntimeError(f"{type(self).__name__}.backward: there is no forward that still waits for it")
        x, y = self._tapes.pop()
        y.backward(gy)
        return x.grad

    @property
    def _tapes(self) -> list[tuple[Tensor, Tensor]]:
        return vars(self).setdefault("__tapes", [])

    # what it holds

    def _own(self) -> Iterator[tuple[str, Any]]:
        """Name and value of the public attributes, lists taken apart."""
        for name, value in vars(self).items():
            if name.startswith("_"):
                continue
            if isinstance(value, (list, tuple)):
                yield from ((f"{name}.{i}", item) for i, item in enumerate(value))
            else:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules this one is directly made of, by name."""
        return ((name, value) for name, value in self._own() if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module, named ``prefix``, and all modules in it, depth first, by dotted name."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all modules in it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, by dotted name; one that is shared has the first of its names."""
        seen = set()
        for name, value in self._state():
            if isinstance(value, Parameter) and value not in seen:
                seen.add(value)
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def _state(self) -> Iterator[tuple[str, Parameter | np.ndarray]]:
        for prefix, module in self.named_modules():
            for name, value in module._own():
                if isinstance(value, (Parameter, np.ndarray)):
                    yield (f"{prefix}.{name}" if prefix else name), value

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and other arrays, by dotted name."""
        return {name: np.array(_array(value)) for name, value in self._state()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Copy these arrays into the parameters and other arrays of the same names.

        Raises:
            UserError: a name is missing, unknown, or has another shape; all of them are listed, and nothing is changed.
        """
        own = {name: _array(value) for name, value in self._state()}
        wrong = [f"{name} is missing" for name in own.keys() - state.keys()]
        wrong += [f"{name} is unknown" for name in state.keys() - own.keys()]
        wrong += [
            f"{name} has shape {np.shape(state[name])}, expected {own[name].shape}"
            for name in own.keys() & state.keys()
            if np.shape(state[name]) != own[name].shape
        ]
        if wrong:
            raise UserError(f"these weights do not fit {type(self).__name__}: {'; '.join(sorted(wrong))}")
        for name, value in own.items():
            value[...] = state[name]

    # modes

    def train(self, mode: bool = True) -> Module:
        """Set this module and all in it to training (dropout drops) or, with False, to evaluation; returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set this module and all in it to evaluation; returns itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients, and every ``forward`` whose ``backward`` never came."""
        for parameter in self.parameters():
            parameter.grad = None
        for module in self.modules():
            module._tapes.clear()

    # what it looks like

    def __repr__(self) -> str:
        """Type and settings, and indented below it the modules it is made of."""
        settings = [
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if isinstance(value, (bool, int, float, str)) and not name.startswith("_") and name != "training"
        ]
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "\n  " + "\n  ".join(children) + "\n" if children else ", ".join(settings)
        return f"{type(self).__name__}({inside})"


def _array(value: Parameter | np.ndarray) -> np.ndarray:
    return value.value if isinstance(value, Parameter) else value


class Sequential(Module):
    """Modules one after the other. Its ``forward`` and ``backward`` are those of its modules in turn.

    One dictionary in place of the modules gives them names; otherwise they are numbered.

    >>> from chainrule.nn import Linear, ReLU
    >>> Sequential(Linear(4, 3), ReLU())
    Sequential(
      (0): Linear(in_features=4, out_features=3)
      (1): ReLU()
    )
    >>> [name for name, _ in Sequential({"fc": Linear(4, 3), "relu": ReLU()}).named_parameters()]
    ['fc.weight', 'fc.bias']
    """

    def __init__(self, *modules: Module | Mapping[str, Module]):
        match modules:
            case [Mapping() as named]:
                pass
            case _:
                named = {str(i): module for i, module in enumerate(modules)}
        for name, module in named.items():
            setattr(self, name, module)

    def __call__(self, x: Any) -> Any:
        """Each module's output is the next one's input."""
        for module in self:
            x = module(x)
        return x

    def forward(self, x: np.ndarray, *others: Any) -> np.ndarray:
        """Each module's ``forward``, first to last."""
        for module in self:
            x = module.forward(x, *others)
        return x

    def backward(self, gy: Any = None) -> np.ndarray | None:
        """Each module's ``backward``, last to first."""
        for module in reversed(list(self)):
            gy = module.backward(gy)
        return gy

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, index: int | slice) -> Module:
        """A module by its place, or a part as a Sequential of the same modules."""
        found = list(self)[index]
        return Sequential(*found) if isinstance(found, list) else found
