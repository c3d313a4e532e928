"""The engine: ops that carry their derivative, tensors that remember how they were made, and the walk back.

An *op* is one plain-NumPy function, its *rule*. It returns its value and, for each input, a *pullback*: the map from
``gy``, the gradient of the loss with respect to the output, to ``gx``, the gradient with respect to that input.

The same rule is read in several ways:

* **run** on arrays: ``op(x)`` gives the value; ``op.rule(x)`` gives ``(value, pullbacks)``, backprop by hand;
* **recorded** on :class:`Tensor`: the op runs on the arrays inside, and its result remembers inputs and pullbacks;
* **differentiated again**: the rule's own body runs on Tensors, which speak NumPy's protocols.

The engine knows no op's mathematics. Reading order: :class:`Op`, :class:`Tensor`, :func:`_sweep`.
"""

from __future__ import annotations

import inspect
import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from chainrule.docstrings import section

Pullback = Callable[[Any], Any]
Rule = Callable[..., tuple[Any, tuple[Any, ...]]]

OPS: dict[str, Op] = {}  # every op, by name
NUMPY: dict[Callable, Callable] = {}  # a NumPy function -> what a Tensor does instead
BACKENDS: dict[str, Callable[[], AbstractContextManager]] = {}  # name -> what is entered while its kernels are in use
ARRAYS: set[type] = {np.ndarray}  # the types of array that a Tensor holds as they are


class _State(threading.local):
    recording = True  # are results given a source?
    differentiating = False  # would a number taken out of a Tensor now lose a derivative?
    backend: str | None = None  # whose kernels replace the rules
    watcher: Callable[[Tensor], None] | None = None  # is shown every result that is given a source
    recorder: Any = None  # runs the ops in their place, and is shown the gradients that are kept


_state = _State()


# ---------------------------------------------------------------------------------------------------------- shapes


class Signature:
    """The shapes an op accepts, written as on paper: ``"n d, m d, m -> n m"``.

    A letter stands for one size, the same wherever it appears. ``...`` stands for any leading axes, which broadcast
    between inputs. ``_`` stands for any shape at all. The last input's part may be missing when that input is optional.

    >>> Signature("n d, m d -> n m").explain({"x": (2, 3), "weight": (5, 7)})
    'weight has shape (5, 7), expected (m, d) with d = 3, as in x of shape (2, 3)'
    """

    def __init__(self, text: str):
        inputs, _, output = text.partition("->")
        self.text = text
        self.inputs = [part.split() for part in inputs.split(",")]
        self.output = output.split()

    def explain(self, shapes: dict[str, tuple[int, ...] | None]) -> str | None:
        """What is wrong with these shapes, by argument name; None if nothing is."""
        sizes: dict[str, tuple[int, str]] = {}  # letter -> (size, the argument that set it)
        leading: dict[str, tuple[int, ...]] = {}  # argument -> what its "..." stands for
        for (name, shape), letters in zip(shapes.items(), self.inputs, strict=False):
            if shape is None or letters == ["_"]:
                continue
            own = [letter for letter in letters if letter != "..."]
            expected = f"expected ({', '.join(letters)})"
            if len(shape) < len(own) or (len(shape) > len(own) and "..." not in letters):
                return f"{name} has shape {shape}, {expected}"
            split = len(shape) - len(own)
            for letter, size in zip(own, shape[split:], strict=True):
                known, where = sizes.setdefault(letter, (size, name))
                if size != known:
                    seen = f"as in {where} of shape {shapes[where]}" if where != name else "twice"
                    return f"{name} has shape {shape}, {expected} with {letter} = {known}, {seen}"
            if "..." in letters:
                leading[name] = shape[:split]
        try:
            np.broadcast_shapes(*leading.values())
        except ValueError:
            found = ", ".join(f"{name} has shape {shapes[name]}" for name in leading)
            return f"{found}: these do not broadcast to one shape"
        return None


# ------------------------------------------------------------------------------------------------------------- ops


@dataclass(frozen=True)
class Sample:
    """Inputs on which an op is tested and shown: their shapes (None: as its signature says), its hyper-parameters."""

    shapes: str | None
    params: dict[str, Any]


@dataclass(frozen=True)
class Kink:
    """A point without a derivative, and the gradients an op gives there by convention (for ``gy`` = 1)."""

    inputs: tuple[Any, ...]
    gives: tuple[Any, ...]
    params: dict[str, Any]


def sample(shapes: str | None = None, **params: Any) -> Sample:
    """Inputs of these shapes (``"3 4, 4"``) and these hyper-parameters, for the generated tests and pages.

    >>> sample("3 4", axis=0)
    Sample(shapes='3 4', params={'axis': 0})
    """
    return Sample(shapes, params)


def kink(inputs: Sequence[Any], gives: Sequence[Any], **params: Any) -> Kink:
    """At these inputs the op has no derivative; by convention it gives these gradients.

    >>> kink([0.0], [0.01], negative_slope=0.01)
    Kink(inputs=(0.0,), gives=(0.01,), params={'negative_slope': 0.01})
    """
    return Kink(tuple(inputs), tuple(gives), params)


@dataclass(eq=False)
class Op:
    """One rule and what is declared about it. Made by :func:`op`.

    Calling an op on arrays returns an array; as soon as one input is a :class:`Tensor`, it returns a Tensor.
    ``op.rule(*arrays)`` returns the value and the pullbacks, for backprop by hand.
    """

    rule: Rule
    signature: Signature
    textbook: Callable | None = None  # the same map composed of simpler ops: an independent witness
    linear: bool = False  # linear in its inputs: the pullbacks hold shapes and indices, never values
    domain: dict[str, Callable] = field(default_factory=dict)  # input -> how to draw it; default: normal numbers
    kinks: tuple[Kink, ...] = ()
    samples: tuple[Sample, ...] = ()
    kernels: dict[str | None, Rule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the names of inputs and hyper-parameters off the rule."""
        self.name = self.__name__ = self.rule.__name__
        self.__doc__ = self.rule.__doc__
        self.__module__ = self.rule.__module__
        self.__wrapped__ = self.rule  # what inspect.signature and doctest look through
        args = inspect.signature(self.rule).parameters.values()
        self.variadic = any(a.kind is a.VAR_POSITIONAL for a in args)
        self.inputs = [a.name for a in args if a.kind is not a.KEYWORD_ONLY]
        self.params = {a.name: a.default for a in args if a.kind is a.KEYWORD_ONLY}
        self._accepted: set[tuple] = set()  # combinations of input shapes that were looked at before

    def __repr__(self) -> str:
        """Name and shapes."""
        return f"<op {self.name}: {self.signature.text}>"

    def _repr_latex_(self) -> str | None:
        """In a notebook: the formulas of its docstring, forward and backward."""
        parts = [*section(self, "Forward"), *section(self, "Backward")]
        lines = [part.text for part in parts if part.is_math]
        aligned = r" \\ ".join(line if "&" in line else f"& {line}" for line in lines)
        return rf"$$\begin{{aligned}} {aligned} \end{{aligned}}$$" if lines else None

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Run the op; on Tensors, remember how the result was made."""
        if self.variadic and len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = tuple(inputs[0])  # arrays in a list, as NumPy wants those that it joins
        if not self.params.keys() >= params.keys() or (len(inputs) > len(self.inputs) and not self.variadic):
            inputs, params = self._bind(inputs, params)
        values = _arrays(inputs)
        recorder = _state.recorder
        y, pullbacks = self.run(values, params) if recorder is None else recorder.run(self, inputs, values, params)
        if not any(isinstance(x, Tensor) for x in inputs):
            return y
        result = Tensor(y)
        wanted = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
        if _state.recording and any(wanted) and result.dtype.kind in "fc":
            if result.dtype.kind == "c":
                raise TypeError(f"{self.name}: the result is {result.dtype}; only real numbers have gradients here")
            result.requires_grad = True
            result.source = Source(self, inputs, values, params, pullbacks)
            for name, wants, pullback in zip(self._names(inputs), wanted, pullbacks, strict=False):
                if wants and pullback is None:
                    raise TypeError(f"{self.name}: there is no gradient with respect to {name}; pass it as an array")
            if _state.watcher is not None:
                _state.watcher(result)
        return result

    def run(self, values: Sequence[Any], params: dict[str, Any]) -> tuple[Any, tuple[Pullback | None, ...]]:
        """Value and pullbacks, by the kernel in use or by the rule; ValueError on shapes that do not fit."""
        shapes = tuple([None if v is None else v.shape for v in values])
        if shapes not in self._accepted:
            wrong = self.signature.explain(dict(zip(self._names(values), shapes, strict=False)))
            if wrong:
                raise ValueError(f"{self.name}: {wrong}")
            self._accepted.add(shapes)
        rule = self.kernels.get(_state.backend, self.rule)
        try:
            result = rule(*values, **params)
        except (ValueError, IndexError) as err:
            if str(err).startswith(f"{self.name}: "):
                raise
            found = [f"{name} has shape {shape}" for name, shape in zip(self._names(values), shapes, strict=False)]
            found += [f"{key}={value!r}" for key, value in params.items()]
            raise type(err)(f"{self.name}: {err} ({', '.join(found)})") from err
        match result:
            case (_, tuple(pullbacks)) if len(pullbacks) >= len(values):
                return result
        raise TypeError(
            f"{self.name}: a rule returns its value and a tuple with one pullback per input, (y, (gx, ...))"
        )

    def kernel(self, backend: str) -> Callable[[Rule], Rule]:
        """Register a faster version of the whole rule, used while ``backend`` is in use (see :func:`using`)."""

        def register(rule: Rule) -> Rule:
            self.kernels[backend] = rule
            return rule

        return register

    def _names(self, inputs: Sequence[Any]) -> list[str]:
        return [f"{self.inputs[0]}[{i}]" for i in range(len(inputs))] if self.variadic else self.inputs

    def _bind(self, inputs: tuple, params: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Inputs that were passed by name, as ``linear(x, weight=w)``, put in their places."""
        try:
            bound = inspect.signature(self.rule).bind(*inputs, **params)
        except TypeError as err:
            usage = f"{self.name}{inspect.signature(self.rule)}: inputs come first, hyper-parameters by name"
            raise TypeError(f"{self.name}: {err}; expected {usage}") from None
        return bound.args, bound.kwargs


def op(
    signature: str, *, numpy: Callable | None = None, samples: Iterable[Sample | str | None] = (None,), **declared: Any
) -> Callable[[Rule], Op]:
    """Make an op of a rule. Adding an op to the library is writing this one function.

    Args:
        signature: the shapes, for example ``"n d, m d -> n m"`` (see :class:`Signature`).
        numpy: the NumPy function that this op is, so that ``np.exp(tensor)`` finds it.
        samples: where it is tested; a string means these shapes, None those of the signature.
        declared: ``textbook``, ``linear``, ``domain``, ``kinks`` (see :class:`Op`).

    >>> @op("... -> ...")
    ... def cube(x):
    ...     def gx(gy): return gy * 3 * x**2
    ...     return x**3, (gx,)
    >>> cube(np.array([1.0, 2.0]))
    array([1., 8.])
    >>> grad(lambda x: cube(x).sum())(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """

    def make(rule: Rule) -> Op:
        given = tuple(s if isinstance(s, Sample) else sample(s) for s in samples)
        made = Op(rule, Signature(signature), samples=given, **declared)
        OPS[made.name] = made
        if numpy is not None:
            NUMPY[numpy] = made if isinstance(numpy, np.ufunc) else _called_like(numpy, made)
        return made

    return make


def implements(function: Callable) -> Callable[[Callable], Callable]:
    """Register what a Tensor does when this NumPy function is called on it."""

    def register(func: Callable) -> Callable:
        func.__qualname__ = f"np.{function.__name__}"  # what Python calls it in an error about its arguments
        NUMPY[function] = func
        return func

    return register


def _called_like(function: Callable, made: Op) -> Callable:
    """``made``, accepting its arguments by position and by name as a NumPy function does."""
    names = list(inspect.signature(function).parameters)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        inputs = [given.pop(name) for name in names[: len(made.inputs)] if name in given]
        return made(*inputs, **given)

    return call


@contextmanager
def _during(**settings: Any) -> Iterator[None]:
    before = {key: getattr(_state, key) for key in settings}
    vars(_state).update(settings)
    try:
        yield
    finally:
        vars(_state).update(before)


@contextmanager
def using(backend: str | None) -> Iterator[None]:
    """Use the kernels of ``backend``; ops without one, and any name without kernels, use the NumPy rules.

    >>> with using("numpy"):
    ...     OPS["exp"](np.array([0.0]))
    array([1.])
    """
    with BACKENDS.get(backend or "", nullcontext)(), _during(backend=backend):
        yield


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing: results have no source and need no gradient. Also a decorator.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = 2 * x
    >>> y.source is None
    True
    """
    with _during(recording=False):
        yield


@contextmanager
def watching(watcher: Callable[[Tensor], None]) -> Iterator[None]:
    """Show ``watcher`` every result that is given a source, when it is made; no number may leave a Tensor meanwhile.

    >>> seen = []
    >>> with watching(lambda y: seen.append(y.source.op.name)):
    ...     y = np.exp(Tensor([1.0], requires_grad=True)) * 2
    >>> seen
    ['exp', 'mul']
    """
    with _during(watcher=watcher, recording=True, differentiating=True):
        yield


def _arrays(inputs: Iterable[Any]) -> list[Any]:
    """The arrays inside the inputs; a Python number takes the dtype NumPy would give it beside the arrays."""
    values = [x.value if isinstance(x, Tensor) else x for x in inputs]
    for i, x in enumerate(values):
        if isinstance(x, (bool, int, float, complex)):
            beside = [v.dtype for v in values if isinstance(v, np.ndarray)]
            values[i] = np.asarray(x, np.result_type(*beside, x))
        elif isinstance(x, (list, tuple, np.generic)):
            values[i] = np.asarray(x)
        elif x is not None and not hasattr(x, "shape"):
            raise TypeError(f"expected an array, a Tensor or a number, found {x!r}, a {type(x).__name__}")
    return values


# --------------------------------------------------------------------------------------------------------- tensors

_serial = itertools.count()  # order of creation is a topological order


class Source:
    """How a tensor was made: the op, its inputs and hyper-parameters, and the way back to each input."""

    __slots__ = ("_inputs", "_values", "op", "params", "pullbacks", "serial")

    def __init__(self, op: Op, inputs: Sequence[Any], values: Sequence[Any], params: dict, pullbacks: tuple):
        self.op, self.params = op, params
        self.pullbacks: tuple | None = pullbacks  # None once the graph was walked and freed
        self._inputs, self._values = inputs, values
        self.serial = next(_serial)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The op's inputs, as Tensors (those that were arrays or numbers too)."""
        pairs = zip(self._inputs, self._values, strict=True)
        return tuple(x if isinstance(x, Tensor) else Tensor(v) for x, v in pairs if v is not None)

    def edges(self) -> list[tuple[Tensor, int]]:
        """The inputs that want a gradient, and their places."""
        return [(x, i) for i, x in enumerate(self._inputs) if isinstance(x, Tensor) and x.requires_grad]

    def rerun(self) -> tuple[Any, ...]:
        """Pullbacks that are themselves differentiable: the rule's body run on the input Tensors."""
        if self.op.linear:
            return self.pullbacks or ()
        inputs = list(self._values)
        for x, i in self.edges():
            inputs[i] = x
        return self.op.rule(*inputs, **self.params)[1]

    def __repr__(self) -> str:
        """Op, input shapes, hyper-parameters."""
        shapes = ", ".join(str(x.shape) for x in self.inputs)
        params = "".join(f", {key}={value!r}" for key, value in self.params.items())
        return f"{self.op.name}({shapes}{params})"


def _method(function: Callable) -> Callable[..., Any]:
    """A NumPy function as a method."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__doc__ = f"``np.{function.__name__}(self, ...)``"
    return method


class Tensor(NDArrayOperatorsMixin):
    """An array that remembers how it was made.

    Args:
        value: anything ``np.asarray`` takes. float32 and float64 are kept; so are integers, which can want no gradient.
        requires_grad: is a gradient with respect to this tensor wanted?

    Attributes:
        value: the array.
        grad: the gradient of the loss with respect to this tensor, of the same shape; None before ``backward``.
        source: the op that made it and that op's inputs; None for a tensor that the user made.

    Every NumPy operator, and every NumPy function that has an op, works on it; so do slices and index arrays.
    Comparisons and functions such as ``np.sign`` and ``np.argmax``, which have no useful derivative, return arrays.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> y = (x * np.exp(x)).sum()
    >>> y.backward()
    >>> bool(np.allclose(x.grad, (1 + x.value) * np.exp(x.value)))
    True
    >>> y.source.op.name, y.source.inputs[0].source.op.name
    ('sum', 'mul')
    """

    __slots__ = ("_keeps_grad", "grad", "requires_grad", "source", "value")

    def __init__(self, value: Any, requires_grad: bool = False):
        self.value = value if type(value) in ARRAYS else np.asarray(value)
        self.grad: Any = None
        self.source: Source | None = None
        self.requires_grad = requires_grad
        self._keeps_grad = False
        if self.value.dtype.kind not in "fiubc":
            raise TypeError(f"a Tensor holds numbers, found {self.value.dtype} from {type(value).__name__}")
        if requires_grad and self.value.dtype.kind != "f":
            raise TypeError(
                f"a gradient was asked of a tensor of {self.value.dtype}; only real floating-point numbers have one: "
                "pass float32 or float64, for example np.asarray(x, np.float64)"
            )

    # what it looks like

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the array's numbers."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.value.size

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        numbers = np.array2string(self.value, separator=", ", threshold=20, prefix="Tensor(")
        dtype = "" if self.dtype == np.float64 else f", dtype={self.dtype}"
        origin = (
            f", from {self.source.op.name}" if self.source else ", requires_grad=True" if self.requires_grad else ""
        )
        return f"{type(self).__name__}({numbers}{dtype}{origin})"

    def _repr_html_(self) -> str:
        """In a notebook: its numbers, and where they come from."""
        import html

        rows = {"value": self.value, "grad": self.grad, "from": self.source}
        given = ((name, html.escape(str(x))) for name, x in rows.items() if x is not None)
        cells = "".join(f"<tr><th>{name}</th><td><pre>{text}</pre></td></tr>" for name, text in given)
        return f"<table><caption>{type(self).__name__} {self.shape}, {self.dtype}</caption>{cells}</table>"

    # numbers out of it

    def detach(self) -> Tensor:
        """The same numbers, with no source and wanting no gradient."""
        return Tensor(self.value)

    def item(self) -> Any:
        """The single entry, as a Python number.

        Raises:
            TypeError: a derivative is being taken of what this number is for, and would lose it.
        """
        if _state.differentiating and self.requires_grad:
            raise TypeError(
                "a Tensor that wants a gradient was turned into a Python number, which would lose a derivative: "
                "use NumPy functions that have an op, or take its numbers with .value"
            )
        return self.value.item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value if spec else str(self), spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(
                "a Tensor that wants a gradient was about to be turned into an array, which would lose the gradient: "
                "use NumPy functions that have an op, or take its numbers with .value"
            )
        return np.array(self.value, dtype=dtype, copy=copy)

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            how = f"np.{ufunc.__name__}" + (f".{method}" if method != "__call__" else "")
            raise TypeError(
                f"{how}({', '.join(kwargs)}) on a Tensor: only the plain call is known, without out= (which "
                "array += tensor asks for too: write array = array + tensor) or where="
            )
        return _dispatch(ufunc, inputs, {})

    def __array_function__(self, func: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
        return _dispatch(func, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        """A part: slices, integers, boolean masks, index arrays, None, Ellipsis."""
        return NUMPY[operator.getitem](self, index)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("a Tensor is never changed in place; write np.where(mask, new, tensor) or np.concatenate")

    # `t += u` makes a new tensor, as for Python's numbers.
    __iadd__ = NDArrayOperatorsMixin.__add__
    __isub__ = NDArrayOperatorsMixin.__sub__
    __imul__ = NDArrayOperatorsMixin.__mul__
    __itruediv__ = NDArrayOperatorsMixin.__truediv__
    __ipow__ = NDArrayOperatorsMixin.__pow__
    __imatmul__ = NDArrayOperatorsMixin.__matmul__
    __hash__ = object.__hash__

    sum, mean, var, std = _method(np.sum), _method(np.mean), _method(np.var), _method(np.std)
    max, min, cumsum = _method(np.max), _method(np.min), _method(np.cumsum)
    squeeze, swapaxes, ravel = _method(np.squeeze), _method(np.swapaxes), _method(np.ravel)
    clip, astype = _method(np.clip), _method(np.astype)
    argmax, argmin = _method(np.argmax), _method(np.argmin)

    def reshape(self, *shape: Any) -> Any:
        """``np.reshape``; the shape as one tuple or as several integers."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        """``np.transpose``; the axes as one tuple or as several integers."""
        return np.transpose(self, (axes[0] if len(axes) == 1 else axes) or None)

    @property
    def T(self) -> Any:  # noqa: N802
        """The transpose."""
        return np.transpose(self)

    # the way back

    def retain_grad(self) -> None:
        """Keep ``grad`` here too: by default only tensors without a source keep theirs."""
        self._keeps_grad = True

    def backward(self, gy: Any = None, *, create_graph: bool = False, retain_graph: bool | None = None) -> None:
        """Add the gradient of this tensor to the ``grad`` of every tensor it was made from.

        Args:
            gy: the gradient of the loss with respect to this tensor, of its shape; may be left out if this is the loss.
            create_graph: make the gradients Tensors that can be differentiated again.
            retain_graph: keep the graph for another walk (default: as ``create_graph``).

        Raises:
            RuntimeError: nothing here wants a gradient, or the graph was walked before and not retained.
            ValueError: ``gy`` is missing though this tensor is not a single number, or has another shape.
        """
        with _during(recording=True):  # also under no_grad: what is made here is asked for by create_graph
            found = _sweep(self, gy, None, create_graph, create_graph if retain_graph is None else retain_graph)
            for tensor, g in found.items():
                tensor.grad = g if tensor.grad is None else tensor.grad + g
            if _state.recorder is not None:
                _state.recorder.keep(found)


class Parameter(Tensor):
    """A tensor that is trained: it wants a gradient, and a :class:`chainrule.nn.Module` lists it as its own.

    >>> weight = Parameter([1.0, 2.0])
    >>> weight.value -= 0.5  # in place: the module and the optimizer see it
    >>> weight
    Parameter([0.5, 1.5], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, value: Any, requires_grad: bool = True):
        super().__init__(value, requires_grad)

    def __isub__(self, step: Any) -> Any:
        raise TypeError("p -= step would make a new tensor and train nothing; write p.value -= step for a Parameter p")

    __iadd__ = __imul__ = __itruediv__ = __isub__


# NumPy functions that are constant between jumps, or whose result holds no number of the input: they return arrays.
# fmt: off
WITHOUT_DERIVATIVE = frozenset({
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or,
    np.logical_not, np.logical_xor, np.isnan, np.isinf, np.isfinite, np.sign, np.signbit, np.floor, np.ceil, np.rint,
    np.trunc, np.round, np.floor_divide, np.argmax, np.argmin, np.argsort, np.nonzero, np.count_nonzero, np.zeros_like,
    np.ones_like, np.empty_like, np.shape, np.ndim, np.size, np.result_type, np.iscomplexobj, np.isrealobj,
    np.allclose, np.isclose, np.array_equal, np.any, np.all, np.may_share_memory, np.shares_memory, np.searchsorted,
})
# fmt: on


def _dispatch(function: Callable, args: tuple, kwargs: dict) -> Any:
    """A NumPy function was called on a Tensor."""
    if function in NUMPY:
        return NUMPY[function](*args, **kwargs)
    if function in WITHOUT_DERIVATIVE:
        numbers = [x.value if isinstance(x, Tensor) else x for x in (*args, *kwargs.values())]
        return function(*numbers[: len(args)], **dict(zip(kwargs, numbers[len(args) :], strict=True)))
    known = ", ".join(sorted({f.__name__ for f in NUMPY if f is not operator.getitem}))
    name = f"{function.__module__}.{function.__name__}".replace("numpy", "np")
    raise TypeError(f"{name} on a Tensor: there is no op for it. Those that have one: {known}")


# -------------------------------------------------------------------------------------------------------- the walk


def _sweep(y: Tensor, gy: Any, wanted: set[Tensor] | None, create_graph: bool, retain_graph: bool) -> dict[Tensor, Any]:
    """The gradients of ``y`` with respect to ``wanted`` (None: every tensor that keeps its own)."""
    tape = _tape(y)
    useful = _useful(tape, wanted)
    gradients: dict[Tensor, Any] = {y: _seed(y, gy, create_graph)}
    shared = {y}  # tensors whose gradient may be an array that others hold too
    found = {}
    for tensor in tape:  # newest first, so that a gradient is complete before it is passed on
        g = gradients.pop(tensor, None)
        if g is None:
            continue
        source = tensor.source
        if tensor in wanted if wanted is not None else (source is None or tensor._keeps_grad):
            copied = tensor in shared and not isinstance(g, Tensor)
            found[tensor] = np.copy(g, subok=True) if copied else g if isinstance(g, Tensor) else np.asanyarray(g)
        if source is None:
            continue
        edges = [(x, i) for x, i in source.edges() if x in useful]
        for (x, _), gx in zip(edges, _pull(source, [i for _, i in edges], g, create_graph), strict=True):
            if x in gradients:
                gradients[x] = gradients[x] + gx
                shared.discard(x)
            else:
                gradients[x] = gx
                if gx is g or getattr(gx, "base", None) is not None:
                    shared.add(x)
        if not retain_graph:
            source.pullbacks = None
    return found


def _tape(y: Tensor) -> list[Tensor]:
    """Every tensor that ``y`` was made from and that wants a gradient, newest first, those without a source last."""
    if not y.requires_grad:
        raise RuntimeError(
            "backward on a tensor that needs no gradient: nothing it was made from has requires_grad=True"
        )
    seen, stack = {y: None}, [y]  # a dictionary, for the same order in every walk
    while stack:
        tensor = stack.pop()
        if tensor.source is not None:
            for x, _ in tensor.source.edges():
                if x not in seen:
                    seen[x] = None
                    stack.append(x)
    return sorted(seen, key=lambda t: t.source.serial if t.source else -1, reverse=True)


def _useful(tape: list[Tensor], wanted: set[Tensor] | None) -> set[Tensor]:
    """The tensors on a path to a wanted one: the others' gradients need not be computed."""
    if wanted is None:
        return set(tape)
    useful = set(wanted)
    for tensor in reversed(tape):
        if tensor.source is not None and any(x in useful for x, _ in tensor.source.edges()):
            useful.add(tensor)
    return useful


def _seed(y: Tensor, gy: Any, create_graph: bool) -> Any:
    """The gradient the walk starts with."""
    if gy is None:
        if y.size != 1:
            raise ValueError(f"backward on a tensor of shape {y.shape}: only a single number needs no gy; pass one")
        gy = np.ones_like(y.value)
    shape = gy.shape if isinstance(gy, Tensor) else np.shape(gy)
    if shape != y.shape:
        raise ValueError(f"gy has shape {shape}, expected {y.shape}, the shape of the tensor it is the gradient of")
    if create_graph:
        return gy if isinstance(gy, Tensor) else Tensor(np.asarray(gy, y.dtype))
    return np.asarray(gy.value if isinstance(gy, Tensor) else gy, y.dtype)


def _pull(source: Source, places: list[int], gy: Any, create_graph: bool) -> list[Any]:
    """The gradients of one op's inputs at these places, each of its input's shape and dtype."""
    if source.pullbacks is None:
        raise RuntimeError(
            f"this graph was walked before (at {source}), and what it held was freed; "
            "pass retain_graph=True to the first backward, or compute the loss again"
        )
    if not create_graph:
        return [_fitting(source, i, source.pullbacks[i](gy)) for i in places]
    try:
        with _during(differentiating=True):
            pullbacks = source.rerun()
            return [_fitting(source, i, _followed(pullbacks[i](gy))) for i in places]
    except TypeError as err:
        raise TypeError(f"{source.op.name}: its rule cannot be differentiated again: {err}") from err


def _followed(gx: Any) -> Tensor:
    """``gx`` as a Tensor; a pullback whose result lost its connection to ``gy`` is caught, unless it is zero."""
    if not isinstance(gx, Tensor):
        if np.any(gx):
            raise TypeError("a pullback returned an array, not a Tensor: its dependence on gy was lost")
        gx = Tensor(gx)
    return gx


def _fitting(source: Source, place: int, gx: Any) -> Any:
    x = source._inputs[place]
    shape = getattr(gx, "shape", None)
    if shape != x.shape:
        name = source.op._names(source._inputs)[place]
        found = type(gx).__name__ if shape is None else f"an array of shape {shape}"
        raise ValueError(f"{source.op.name}: the pullback of {name} returned {found}, expected shape {x.shape}")
    return gx if gx.dtype == x.dtype else gx.astype(x.dtype)


# ------------------------------------------------------------------------------------------- derivatives as functions


def grad(func: Callable, argnums: int | Sequence[int] = 0) -> Callable:
    """The function that computes the gradient of ``func``, a function of arrays that returns a single number.

    The result has the shape of argument ``argnums`` (a tuple of them for a sequence). It can be differentiated again.

    >>> square_sum = lambda x: (x**2).sum()
    >>> grad(square_sum)(np.array([1.0, 3.0]))
    array([2., 6.])
    """

    def gradient(*args: Any) -> Any:
        y, xs, nested = _traced(func, argnums, args)
        if y.size != 1:
            raise ValueError(f"grad: the function must return a single number, found shape {y.shape}; see jacobian")
        return _finished(argnums, xs, _gradients(y, None, xs, nested))

    return gradient


def jacobian(func: Callable, argnums: int | Sequence[int] = 0) -> Callable:
    """The function that computes all derivatives of ``func``: entry ``[i, j]`` is d y_i / d x_j.

    The result has shape ``y.shape + x.shape``: numerator layout. One walk back per entry of ``y``.

    >>> jacobian(lambda x: x**2)(np.array([1.0, 3.0]))
    array([[2., 0.],
           [0., 6.]])
    """

    def derivatives(*args: Any) -> Any:
        y, xs, nested = _traced(func, argnums, args)
        units = np.eye(y.size, dtype=y.dtype).reshape(y.size, *y.shape)
        rows = [_gradients(y, unit, xs, nested) for unit in units]
        columns = [
            np.reshape(np.stack([row[k] for row in rows]) if rows else np.zeros(0, x.dtype), y.shape + x.shape)
            for k, x in enumerate(xs)
        ]
        return _finished(argnums, xs, columns)

    return derivatives


def hessian(func: Callable, argnums: int = 0) -> Callable:
    """The function that computes the second derivatives of ``func``, which returns a single number.

    >>> hessian(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return jacobian(grad(func, argnums), argnums)


def hvp(func: Callable, argnums: int = 0) -> Callable:
    """The function ``(*args, v)`` that computes the Hessian of ``func`` times ``v``, without the Hessian.

    The gradient of ``sum(v * grad(func)(x))``: two walks back, whatever the size of ``x``.

    >>> hvp(lambda x: (x**3).sum())(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([  6., 120.])
    """

    def product(*args_and_v: Any) -> Any:
        *args, v = args_and_v
        return grad(lambda *a: (grad(func, argnums)(*a) * v).sum(), argnums)(*args)

    return product


def _traced(func: Callable, argnums: int | Sequence[int], args: tuple) -> tuple[Tensor, list[Tensor], bool]:
    """``func`` run on tensors of its own: its result, the tensors asked for, and whether others want a gradient too.

    Others do inside another ``grad``, or where ``func`` uses parameters: then the result must stay differentiable.
    """
    places = [argnums] if isinstance(argnums, int) else list(argnums)
    if not all(-len(args) <= i < len(args) for i in places):
        raise TypeError(f"argnums={argnums}, but the function was given {len(args)} positional argument(s)")
    traced = list(args)
    with _during(recording=True, differentiating=True):
        for i in places:
            x = args[i]
            traced[i] = +x if isinstance(x, Tensor) and x.requires_grad else Tensor(_arrays([x])[0], requires_grad=True)
        y = func(*traced)
    if not isinstance(y, Tensor):
        raise TypeError(f"the function must return a Tensor made from its argument, found {type(y).__name__}")
    xs = [traced[i] for i in places]
    others = y.requires_grad and any(t.source is None for t in set(_tape(y)).difference(xs))
    return y, xs, _state.recording and others


def _gradients(y: Tensor, gy: Any, xs: list[Tensor], create_graph: bool) -> list[Any]:
    found = _sweep(y, gy, set(xs), create_graph, retain_graph=True) if y.requires_grad else {}
    return [found[x] if x in found else np.zeros_like(x.value) for x in xs]


def _finished(argnums: int | Sequence[int], xs: list[Tensor], results: list[Any]) -> Any:
    """One result or all of them. Nobody outside can want the gradient of a leaf that was made here: it is let go."""
    for x in xs:
        x.requires_grad = x.source is not None
    return results[0] if isinstance(argnums, int) else tuple(results)
