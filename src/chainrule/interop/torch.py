"""PyTorch: networks, ops, functions and optimizers, translated.

    to_torch(model)                   the same network in `torch.nn`, on the same memory
    from_torch(module)                the same network in `chainrule.nn`, with a copy of the weights
    to_function(op)                   an op as a `torch.autograd.Function`
    from_function(f, "n d -> n")      a function of PyTorch tensors as an op
    to_torch_optimizer(optimizer, …)  the same rule in `torch.optim`, with the same state

A layer has the same name, arguments and parameter names in both libraries. So it is translated by calling the other
library's class of that name with the arguments of the same names; there is no list of layers here.
"""

import inspect
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, get_overloads

import numpy as np

from chainrule import nn, optim
from chainrule.engine import NUMPY, OPS, Op, Parameter, Signature, Tensor, grad, using
from chainrule.errors import UsageError

try:
    import torch
    from torch.nn import functional
except ImportError:
    raise UsageError("PyTorch is not installed: pip install 'chainrule[torch]'") from None

__all__ = ["as_tensor", "from_function", "from_torch", "to_function", "to_torch", "to_torch_optimizer"]


def as_tensor(array: Any) -> torch.Tensor:
    """The array's memory as a tensor; a copy where PyTorch cannot hold it: read-only, or strides below 0."""
    array = np.asarray(array)
    shareable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if shareable else array.copy())


# -------------------------------------------------------------------------------------------------------- networks


def to_torch(model: nn.Module) -> torch.nn.Module:
    """The same network as a `torch.nn.Module`.

    Its parameters and running statistics lie in the model's own memory: what PyTorch trains, the model has, and the
    other way round. The names in `state_dict()` are the model's.

    A layer of `chainrule.nn` becomes PyTorch's layer of that name; `Dropout` draws its masks from the layer's `rng`, so
    that both networks drop the same units. A module with a `__call__` of its own becomes a `Translated`.

    Raises:
        TypeError: a layer has a setting that PyTorch's does not have, or misses a parameter that PyTorch's has.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    >>> twin = to_torch(model)
    >>> twin
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
    )
    >>> _ = twin[0].bias.data.zero_()
    >>> model[0].bias.value
    array([0., 0., 0.], dtype=float32)
    """
    return _translated(model, {})


def _translated(model: nn.Module, done: dict[Any, Any]) -> torch.nn.Module:
    """`done` holds what was translated already, modules and parameters, so that what is shared stays shared."""
    if model not in done:
        done[model] = _new(model, done)
        done[model].training = model.training
    return done[model]


def _new(model: nn.Module, done: dict[Any, Any]) -> torch.nn.Module:
    name = type(model).__name__
    if type(model) is not getattr(nn, name, None) or not hasattr(torch.nn, name):
        return Translated(model, done)
    if isinstance(model, nn.Sequential):
        made = torch.nn.Sequential()
        for child_name, child in model.named_children():
            made.add_module(child_name, _translated(child, done))
        return made
    theirs = {"Dropout": Dropout, "MultiheadAttention": MultiheadAttention}.get(name) or getattr(torch.nn, name)
    settings = _settings(model, theirs)
    with torch.device("meta"):  # no memory of its own, and nothing is drawn
        made = theirs(**settings)
    if isinstance(model, nn.Dropout):
        made.rng = model.rng
    for path, value in model._state():
        owner, _, leaf = path.rpartition(".")
        setattr(made.get_submodule(owner), leaf, _shared(value, done))
    missing = [path for path, value in made.state_dict().items() if value.is_meta]
    if missing:
        raise TypeError(f"to_torch: {name} has no {', '.join(missing)}, which torch.nn.{name} has")
    return made


def _shared(value: Parameter | np.ndarray, done: dict[Any, Any]) -> torch.Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if value not in done:
        done[value] = torch.nn.Parameter(torch.from_numpy(value.value), value.requires_grad)
    return done[value]


def from_torch(module: Any) -> nn.Module:
    """The same network in `chainrule.nn`, with a copy of the weights.

    Args:
        module: a layer of `torch.nn`, or a `torch.nn.Sequential` of such. A layer that occurs twice becomes two.

    Raises:
        TypeError: a layer is not in `chainrule.nn`, or has a setting that is not there. The message names it.

    >>> from_torch(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LeakyReLU(0.2)))
    Sequential(
      (0): Linear(in_features=4, out_features=3)
      (1): LeakyReLU(negative_slope=0.2)
    )
    """
    if isinstance(module, torch.nn.Sequential):
        made: nn.Module = nn.Sequential({name: from_torch(child) for name, child in module.named_children()})
        made.training = module.training
        return made
    name = type(module).__name__
    ours = getattr(nn, name, None)
    if ours is None or not type(module).__module__.startswith(("torch.nn.", __name__)):
        raise TypeError(
            f"from_torch: {type(module).__module__}.{name} is not a layer of chainrule.nn: write it as a Module, "
            "and load its state_dict"
        )
    state = {path: value.detach().cpu().numpy() for path, value in module.state_dict().items()}
    settings = _settings(module, ours)
    if "dtype" in inspect.signature(ours).parameters:
        settings["dtype"] = next((value.dtype for value in state.values() if value.dtype.kind == "f"), np.float32)
    made = ours(**settings)
    made.load_state_dict(state)
    made.training = module.training
    for path, parameter in made.named_parameters():
        parameter.requires_grad = module.get_parameter(path).requires_grad
    return made


# Arguments of a layer's class that are no settings: how its numbers are kept, what draws its first values; and sizes
# that the shapes of the weights tell.
_NO_SETTINGS = ("self", "device", "dtype", "rng", "inplace", "kdim", "vdim")


def _settings(layer: Any, target: type) -> dict[str, Any]:
    """The arguments that make a `target` with the settings of `layer`.

    Raises `TypeError` if the layer has a setting, other than by default, that `target` does not have.
    """
    known = _arguments(target)
    settings = {}
    for name, argument in _arguments(type(layer)).items():
        value = _bias(layer) if name == "bias" else getattr(layer, name, argument.default)
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        elif isinstance(value, torch.Tensor):
            value = value.numpy(force=True).copy()
        if name in known and not (name == "dim" and value is None):  # a missing dim is guessed by PyTorch alone
            settings[name] = value
        elif name in known or (value is not argument.default and value != argument.default):
            library = target.__module__.partition(".")[0]
            raise TypeError(f"{type(layer).__name__}: {library}'s has no {name}={value!r}")
    return settings


def _arguments(layer: Any) -> dict[str, inspect.Parameter]:
    """What a layer's class is called with. PyTorch's recurrent ones take `*args` and say what in overloads."""
    overloads = get_overloads(layer.__init__) if inspect.isfunction(layer.__init__) else []
    named = inspect.signature(overloads[0] if overloads else layer).parameters.values()
    return {a.name: a for a in named if a.name not in _NO_SETTINGS and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)}


def _bias(layer: Any) -> bool:
    """Whether a layer, of either library, has biases; one without any parameters may have them."""
    names = [name for name, _ in layer.named_parameters()]
    return not names or any("bias" in name for name in names)


class Dropout(torch.nn.Dropout):
    """PyTorch's dropout with the masks of chainrule's: drawn from `rng`, whose state belongs to a run's state.

    >>> ours = nn.Dropout(0.5, rng=np.random.default_rng(0))
    >>> theirs = to_torch(nn.Dropout(0.5, rng=np.random.default_rng(0)))
    >>> x = np.ones(100)
    >>> bool((ours(x) == theirs(torch.from_numpy(x)).numpy()).all())
    True
    """

    rng: np.random.Generator

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Where the draw is below `p` zero, elsewhere the input over 1 - p."""
        if not self.training or self.p == 0:
            return input
        kept = torch.from_numpy(np.asarray(self.rng.random(tuple(input.shape), dtype=np.float32) >= self.p))
        return torch.where(kept, input / (1 - self.p) if self.p < 1 else input, 0)


class MultiheadAttention(torch.nn.MultiheadAttention):
    """PyTorch's attention, called as chainrule's is: `query` may stand for all three, and the output is all there is.

    >>> to_torch(nn.MultiheadAttention(6, 2))(torch.zeros(5, 3, 6)).shape
    torch.Size([5, 3, 6])
    """

    def forward(  # type: ignore[override]
        self,
        query: torch.Tensor,
        key: Any = None,
        value: Any = None,
        *,
        attn_mask: torch.Tensor | None = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """As `chainrule.nn.MultiheadAttention`."""
        if key is None and value is None:
            key = value = query
        if is_causal:
            time = int(self.batch_first)
            attn_mask = torch.ones(query.shape[time], key.shape[time], dtype=torch.bool).triu(1)
        return super().forward(query, key, value, attn_mask=attn_mask, need_weights=False)[0]


class Translated(torch.nn.Module):
    """A module with a `__call__` of its own: that same code, run on PyTorch's tensors with the translated children.

    Children are PyTorch's; operators and methods are those of PyTorch's tensors. A NumPy function or an op becomes
    PyTorch's function of the same meaning; an op that is not in `_SAME` runs its own rule, as in `to_function`. Code
    that asks for a tensor's `dtype` or calls a method that PyTorch's tensors have not cannot be translated.

    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         self.inner = nn.Linear(3, 3)
    ...     def __call__(self, x):
    ...         return np.concatenate([x, self.inner(x)], axis=1)
    >>> twin = to_torch(Residual())
    >>> sorted(twin.state_dict()), twin(torch.ones(2, 3)).shape
    (['inner.bias', 'inner.weight'], torch.Size([2, 6]))
    """

    def __init__(self, model: nn.Module, done: dict[Any, Any]):
        super().__init__()
        self._model = model
        for op in OPS.values():
            op.kernels.setdefault("torch", _kernel(op))
        for name, value in vars(model).items():
            if name.startswith("_"):
                continue
            several = list(value) if isinstance(value, list | tuple) else []
            if isinstance(value, nn.Module):
                value = _translated(value, done)
            elif isinstance(value, Parameter):
                value = _shared(value, done)
            elif isinstance(value, np.ndarray):
                value = torch.nn.Buffer(_shared(value, done))
            elif several and all(isinstance(item, nn.Module) for item in several):
                value = torch.nn.ModuleList([_translated(item, done) for item in several])
            elif several and all(isinstance(item, Parameter) for item in several):
                value = torch.nn.ParameterList([_shared(item, done) for item in several])
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """What PyTorch registered; else what the model's class has, its methods run on this module; else a private."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_model" or not (name.startswith("_") or hasattr(type(self._model), name)):
                raise
        found = inspect.getattr_static(type(self._model), name, None)
        if inspect.isfunction(found):
            return MethodType(found, self)
        return found.__get__(self) if isinstance(found, property) else getattr(self._model, name)

    def _get_name(self) -> str:
        return type(self._model).__name__

    def forward(self, *inputs: Any) -> Any:
        """The model's `__call__`."""
        with using("torch"):
            call: Callable = type(self._model).__call__
            y = call(self, *(_retyped(x, _Array) for x in inputs))
        return _retyped(y, type(inputs[0]))


def _retyped(value: Any, tensor: type) -> Any:
    """A tensor, or the tensors in a tuple or list, as this kind of tensor."""
    if isinstance(value, tuple | list):
        return type(value)(_retyped(item, tensor) for item in value)
    return value.as_subclass(tensor) if isinstance(value, torch.Tensor) else value


class _Array(torch.Tensor):
    """A PyTorch tensor on which NumPy's functions work too, as on chainrule's: each finds its op."""

    def __array_function__(self, function: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
        if function not in NUMPY:
            raise TypeError(f"np.{function.__name__} on a PyTorch tensor: there is no op for it")
        return NUMPY[function](*args, **kwargs)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self.__array_function__(getattr(ufunc, method) if method != "__call__" else ufunc, (), inputs, kwargs)


# PyTorch's functions that have the name, the arguments and the meaning of an op.
_SAME = {
    name: getattr(functional, name, None) or getattr(torch, name)
    for name in (
        "abs", "adaptive_avg_pool2d", "add", "avg_pool2d", "conv1d", "conv2d", "conv_transpose2d", "cos",
        "cross_entropy", "div", "elu", "erf", "exp", "expm1", "gelu", "leaky_relu", "linear", "log", "log1p", "matmul",
        "max_pool2d", "maximum", "minimum", "mse_loss", "mul", "neg", "pow", "relu", "selu", "sigmoid", "silu", "sin",
        "softplus", "sqrt", "square", "sub", "tanh", "where",
    )
} | {
    "concatenate": lambda *xs, axis=0: torch.cat(xs, axis),
    "stack": lambda *xs, axis=0: torch.stack(xs, axis),
}  # fmt: skip


def _kernel(op: Op) -> Callable:
    """The op on PyTorch's tensors. They have their own autograd, so there are no pullbacks."""

    def kernel(*inputs: Any, **params: Any) -> tuple[Any, tuple[None, ...]]:
        tensors = [as_tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if op.name in _SAME:
            y = _SAME[op.name](*tensors, **params)
        else:
            with using(None):
                y = to_function(op, **params).apply(*tensors)
        return y.as_subclass(_Array), (None,) * len(inputs)

    return kernel


# ------------------------------------------------------------------------------------------------ ops and functions


def to_function(op: Callable, **params: Any) -> type[torch.autograd.Function]:
    """An op, or any function of Tensors that returns one, as a `torch.autograd.Function`: call its `apply`.

    It can be differentiated any number of times. Memory is shared where PyTorch can hold it; a result that would share
    the input's is a copy.

    Args:
        op: called on Tensors of CPU memory, and None for an input that is None.
        params: its hyper-parameters, which `apply` does not take.

    >>> from chainrule import ops
    >>> softmax = to_function(ops.softmax, dim=0)
    >>> x = torch.zeros(2, requires_grad=True)
    >>> softmax.apply(x)
    tensor([0.5000, 0.5000], grad_fn=<FunctionBackward>)
    """

    def gradient_of(i: int) -> type[torch.autograd.Function]:
        def gradient(*inputs: Any) -> Any:
            *xs, gy = inputs
            return grad(lambda *xs: (op(*xs, **params) * gy).sum(), i)(*xs)

        return to_function(gradient)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: torch.Tensor | None) -> torch.Tensor:
            ctx.save_for_backward(*inputs)
            ctx.xs = [
                None if x is None else Tensor(x.detach().numpy(), requires_grad=wanted)
                for x, wanted in zip(inputs, ctx.needs_input_grad, strict=True)
            ]
            ctx.y = op(*ctx.xs, **params)
            y = np.asarray(ctx.y.value if isinstance(ctx.y, Tensor) else ctx.y)
            return as_tensor(y.copy() if any(np.may_share_memory(y, x.value) for x in ctx.xs if x is not None) else y)

        @staticmethod
        def backward(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            wanted = ctx.needs_input_grad
            if torch.is_grad_enabled():  # the gradient is to be differentiated again
                return tuple(gradient_of(i).apply(*ctx.saved_tensors, gy) if w else None for i, w in enumerate(wanted))
            for x in ctx.xs:
                if x is not None:
                    x.grad = None
            if isinstance(ctx.y, Tensor) and ctx.y.requires_grad:
                ctx.y.backward(gy.numpy(), retain_graph=True)
            grads = [None if x is None else np.zeros_like(x.value) if x.grad is None else x.grad for x in ctx.xs]
            return tuple(as_tensor(g) if w else None for g, w in zip(grads, wanted, strict=True))

    return Function


def from_function(function: Callable, signature: str, **params: Any) -> Op:
    """A function of PyTorch tensors as an op: its value is the function's, its pullbacks are PyTorch's autograd.

    It can be differentiated any number of times. It is not in the registry.

    Args:
        function: takes the inputs as tensors and returns one tensor.
        signature: the shapes, as for `chainrule.op`; it says how many inputs there are.
        params: given to the function by name, each time.

    >>> normalize = from_function(torch.nn.functional.normalize, "... d -> ... d", dim=-1)
    >>> normalize(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    >>> grad(lambda x: normalize(x)[0])(np.array([3.0, 4.0]))
    array([ 0.128, -0.096])
    """
    n_inputs = len(Signature(signature).inputs)

    def gradient_of(i: int) -> Op:
        def gradient(*inputs: torch.Tensor) -> torch.Tensor:
            *xs, gy = inputs
            y = function(*xs, **params)
            return torch.autograd.grad(y, xs[i], gy, create_graph=True, materialize_grads=True)[0]

        return from_function(gradient, ", ".join("_" * (n_inputs + 1)) + " -> _")

    def rule(*inputs: Any) -> tuple[Any, tuple[Any, ...]]:
        xs = [as_tensor(x.value if isinstance(x, Tensor) else x) for x in inputs]
        with torch.enable_grad():
            for x in xs:
                x.requires_grad_(x.is_floating_point())
            y = function(*xs, **params)

        def pullback(i: int) -> Callable:
            def gx(gy: Any) -> Any:
                if any(isinstance(x, Tensor) for x in (*inputs, gy)):
                    return gradient_of(i)(*inputs, gy)
                if not y.requires_grad:
                    return np.zeros(xs[i].shape, inputs[i].dtype)
                found = torch.autograd.grad(y, xs[i], as_tensor(gy), retain_graph=True, materialize_grads=True)
                return found[0].numpy()

            return gx

        return y.detach().numpy(), tuple(pullback(i) if x.requires_grad else None for i, x in enumerate(xs))

    rule.__name__ = getattr(function, "__name__", type(function).__name__)
    rule.__doc__ = function.__doc__
    places = [inspect.Parameter(f"x{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(n_inputs)]
    rule.__signature__ = inspect.Signature(places)  # type: ignore[attr-defined]
    return Op(rule, Signature(signature))


# ------------------------------------------------------------------------------------------------------- optimizers


def to_torch_optimizer(optimizer: optim.Optimizer, params: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    """PyTorch's optimizer of the same name and hyper-parameters, whose state lies in this one's memory.

    So `optimizer.state_dict()` and `load_state_dict` save and restore the state of both. The learning rate is copied:
    set `param_groups[0]["lr"]` when it changes.

    Args:
        optimizer: one of `chainrule.optim`; without dampening, whose first step PyTorch treats apart.
        params: PyTorch's parameter for each of `optimizer.params`, in that order.

    >>> model = nn.Linear(2, 1)
    >>> to_torch_optimizer(optim.SGD(model.parameters(), 0.5), to_torch(model).parameters()).param_groups[0]["lr"]
    0.5
    """
    rule = getattr(torch.optim, type(optimizer).__name__)
    params = list(params)
    settings = {name: getattr(optimizer, name) for name in inspect.signature(type(optimizer)).parameters}
    made = rule(params, **{name: value for name, value in settings.items() if name != "params"})
    for param, state in zip(params, optimizer.state, strict=True):
        made.state[param] = {name: torch.from_numpy(array) for name, array in state.items()}
    return made
