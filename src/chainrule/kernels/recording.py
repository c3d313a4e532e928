"""Recording a step: every computation on numbers as a function and its arguments, in order.

Three things compute while a step runs, and each is recorded in its own way:

* **kernels** run compiled functions through :func:`chainrule.kernels.registry.call`: those calls are recorded;
* **rules** of ops without a kernel run as a whole, and are run as a whole again: :class:`Rule`, :class:`Pullback`;
* **NumPy elsewhere**, as in the sum of two gradients, is seen because arrays are :class:`Seen` while recording.

A recorded array is a :class:`View`: which memory, and where in it. The recording keeps no array alive, so that a step
takes no more memory while it is recorded.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from chainrule.engine import ARRAYS, Op, Tensor, _during, _state
from chainrule.kernels.registry import BACKEND
from chainrule.nn.module import Module, observe
from chainrule.optim import Optimizer, ReduceLROnPlateau, Schedule, SequentialLR


class View(NamedTuple):
    """An array as a part of a memory."""

    memory: int  # its number in the recording
    offset: int  # bytes from the beginning of the memory
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    writeable: bool


class Memory:
    """An array that owns its entries, by the order of first use in the step."""

    def __init__(self, owner: np.ndarray, forget: Callable):
        self.start, self.nbytes = _address(owner), owner.nbytes
        self.owner = weakref.ref(owner, forget)
        self.input: int | None = None  # which of the step's inputs this is
        self.constant: np.ndarray | None = None  # a number that was written in the code
        self.claimed: str | None = None  # what read it, where nothing that was recorded had written it


class Slot(NamedTuple):
    """The place of an array in nested arguments."""

    place: int
    tensor: bool = False  # was it inside a Tensor?


class Again:
    """A NumPy function with the arguments that are no arrays; it is run again, and its results copied into ours."""

    def __init__(self, function: Callable, tree: Any, results: int):
        self.what = (function, tree, results)
        self.__name__ = getattr(function, "__name__", str(function))

    def __call__(self, *arrays: np.ndarray) -> None:
        """With the arrays of the results first."""
        function, tree, results = self.what
        args, kwargs = put_together(tree, arrays[results:])
        found = function(*args, **kwargs)
        for ours, new in zip(arrays[:results], found if isinstance(found, (tuple, list)) else [found], strict=False):
            copy_into(ours, new)


class Rule:
    """A rule that is run again as a whole; it holds the pullbacks of the latest run until they were used."""

    def __init__(self, op: Op, rule: Callable, tree: Any):
        self.what = (op, rule, tree)
        self.__name__ = op.name
        self.pullbacks: Sequence[Callable | None] | None = None
        self.keeps = True  # is a pullback used later in the step?
        self.returns = True  # does the result have memory of its own, or is it a view of an input?

    def __call__(self, *arrays: np.ndarray) -> None:
        """With the array of the result first, if it has memory of its own."""
        _, rule, tree = self.what
        args, params = put_together(tree, arrays[self.returns :])
        y, pullbacks = rule(*args, **params)
        self.pullbacks = pullbacks if self.keeps else None
        if self.returns:
            copy_into(arrays[0], y)


class Pullback:
    """One pullback of a :class:`Rule`. Its closure holds the rule's inputs, which are its arguments for that reason."""

    def __init__(self, rule: Rule, place: int):
        self.what = (rule.what, place)
        self.rule, self.place = rule, place
        self.__name__ = f"the pullback of {rule.__name__}"
        self.last = False  # the pullbacks, and what they hold, are let go after this one

    def __call__(self, gx: np.ndarray, gy: np.ndarray, *held: np.ndarray) -> None:
        """With the array of the result first."""
        copy_into(gx, self.rule.pullbacks[self.place](gy))  # type: ignore[index, misc]
        if self.last:
            self.rule.pullbacks = None


class Method:
    """A method that reads what may change from step to step, such as a learning rate: called again as it is.

    Before that the tensors get the gradients they have at this place of the step.
    """

    def __init__(self, function: Callable, owner: Any, tree: Any, tensors: list[Tensor]):
        self.what = (function, owner, tree, [id(t) for t in tensors])
        self.tensors = tensors
        self.__name__ = f"{type(owner).__name__}.{function.__name__}"

    def __call__(self, *arrays: np.ndarray) -> None:
        """With the gradients first."""
        function, owner, tree, _ = self.what
        for tensor, g in zip(self.tensors, arrays, strict=False):
            tensor.grad = g
        args, kwargs = put_together(tree, arrays[len(self.tensors) :])
        function(owner, *args, **kwargs)


class Recording:
    """What a step computes. ``calls`` holds functions with their arguments, arrays as :class:`View`."""

    def __init__(self, inputs: Sequence[np.ndarray], modules: Iterable[Module]):
        self.calls: list[tuple[Callable, list[Any]]] = []
        self.memories: list[Memory] = []
        self.problem: str | None = None  # why the calls are not all that the step does
        self.tensors: dict[Tensor, None] = {}  # those whose gradient was kept
        self.leaves: dict[Tensor, np.ndarray] = {}  # the tensors that the step found, and their arrays then
        self.modules: dict[Module, None] = dict.fromkeys(modules)
        self.owners: dict[Any, None] = {}  # whose methods are called again
        self._numbers: dict[int, int] = {}  # id of a living owner -> its number
        self.inputs: Sequence[np.ndarray] = inputs
        for i, x in enumerate(inputs):
            self._memory(x).input = i

    def record(self, step: Callable, given: Sequence[Any], names: Sequence[str]) -> Any:
        """Run the step; what it returns is copied, and has no source."""
        own = iter(map(seen, self.inputs))
        args = [next(own) if isinstance(x, (np.ndarray, Tensor)) else x for x in given]
        args = [Tensor(a) if isinstance(x, Tensor) else a for a, x in zip(args, given, strict=True)]
        if any(isinstance(x, Tensor) and x.requires_grad for x in given):
            self.refuse("one of its inputs wants a gradient")
        with self._lent(), observe(self._note), _during(recorder=self):
            unnamed = len(args) - len(names)
            result = step(*args[:unnamed], **dict(zip(names, args[unnamed:], strict=True)))
        self.inputs = ()  # no batch is held longer than its step
        arrays: list[np.ndarray] = []
        tree = taken_apart(result, arrays)
        if self.problem is None:
            for array in arrays:
                self.claim("what the step returns", array)
            self.result = tree, [self.view(array) for array in arrays]
            self.grads = [(t, None if t.grad is None else self.view(t.grad)) for t in self.tensors]
        return put_together(tree, [array.copy("K") for array in arrays])

    def _note(self, module: Module, inputs: Any, output: Any) -> None:
        if _state.recorder is self:
            self.modules[module] = None

    @contextmanager
    def _lent(self) -> Iterator[None]:
        """The modules' own arrays are seen while they compute; nothing that is seen stays behind."""
        arrays = [(m, name, x) for m in self.modules for name, x in vars(m).items() if isinstance(x, np.ndarray)]
        for module, name, array in arrays:
            setattr(module, name, seen(array))
        try:
            yield
        finally:
            for module, name, _ in arrays:
                setattr(module, name, plain(getattr(module, name)))
            for tensor in self.tensors:
                tensor.grad = plain(tensor.grad)

    # arrays

    def _memory(self, array: np.ndarray) -> Memory:
        return self.memories[self._number(array)]

    def _number(self, array: np.ndarray) -> int:
        owner = owner_of(array)
        key = id(owner)
        if key not in self._numbers:
            if type(owner) is Seen:
                self.refuse("an array was copied by a method that cannot be recorded")
            self._numbers[key] = len(self.memories)
            self.memories.append(Memory(owner, lambda _: self._numbers.pop(key, None)))
        return self._numbers[key]

    def view(self, array: np.ndarray) -> View:
        """Where this array lies."""
        number, a = self._number(array), array
        offset = _address(a) - self.memories[number].start
        return View(number, offset, a.shape, a.strides, a.dtype, a.flags.writeable)

    def claim(self, reader: str, array: np.ndarray) -> None:
        """This array is read. Memory that was not there before must be there before every step."""
        count = len(self.memories)
        if self._number(array) == count:
            self.memories[count].claimed = reader

    def refuse(self, problem: str) -> None:
        """The step cannot be replayed."""
        self.problem = self.problem or problem

    def append(self, function: Callable, *args: Any) -> None:
        """Record a call."""
        self.calls.append((function, [self.view(a) if isinstance(a, np.ndarray) else a for a in args]))

    # what computes

    def call(self, function: Callable, args: Sequence[Any]) -> None:
        """Run a compiled function, which writes into arrays among its arguments."""
        args = [plain(a) for a in args]
        function(*args)
        self.append(function, *args)

    def run(self, op: Op, inputs: Sequence[Any], values: Sequence[Any], params: dict[str, Any]) -> tuple[Any, tuple]:
        """Run an op: in the engine's place, see :meth:`chainrule.engine.Op.run`."""
        for name, x, value in zip(op._names(inputs), inputs, values, strict=False):
            if isinstance(x, (bool, int, float, complex, np.generic, list, tuple)):
                self._memory(value).constant = value
            elif isinstance(value, np.ndarray) and type(value) is not Seen:
                self.claim(f"{op.name}: its input {name}", value)
            if isinstance(x, Tensor) and x.source is None and type(value) is not Seen:
                self.leaves[x] = value
        if _state.backend != BACKEND or BACKEND not in op.kernels:
            return self.rule(op, op.kernels.get(_state.backend, op.rule), values, params)
        y, pullbacks = op.run(values, params)
        return self._known(op, y), tuple(p and self._followed(op, p) for p in pullbacks)

    def _known(self, op: Op, y: Any) -> Any:
        """The result of a kernel, which a recorded call must have written."""
        count, result = len(self.memories), np.asanyarray(y)
        if self._number(result) == count:
            self.refuse(f"the kernel of {op.name} computed a result without call()")
        return seen(result)

    def _followed(self, op: Op, pullback: Callable) -> Callable:
        return lambda gy: pullback(gy) if isinstance(gy, Tensor) else self._known(op, pullback(gy))

    def rule(self, op: Op, rule: Callable, values: Sequence[Any], params: dict[str, Any]) -> tuple[Any, tuple]:
        """Run a rule as a whole."""
        arrays: list[np.ndarray] = []
        recorded = Rule(op, rule, taken_apart((tuple(values), params), arrays))
        args, params = put_together(recorded.what[2], arrays)
        with _during(recorder=None):
            y, pullbacks = rule(*args, **params) if _state.backend == BACKEND else op.run(args, params)
        result, recorded.returns = self._result(y, arrays)
        if recorded.returns or not op.linear:
            self.append(recorded, *([result] if recorded.returns else []), *arrays)
        else:
            recorded.pullbacks = pullbacks  # of a view: they hold shapes alone
        return seen(result), tuple(
            pullback and self._pullback(recorded, i, pullback, arrays) for i, pullback in enumerate(pullbacks)
        )

    def _pullback(self, rule: Rule, place: int, pullback: Callable, held: list[np.ndarray]) -> Callable:
        def recorded(gy: Any) -> Any:
            if isinstance(gy, Tensor):
                return pullback(gy)
            gy = plain(gy)
            with _during(recorder=None):
                gx = pullback(gy)
            result, own = self._result(gx, [gy, *held])
            if own:
                self.append(Pullback(rule, place), result, gy, *held)
            return seen(result)

        return recorded

    def _result(self, y: Any, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, bool]:
        """A result as an array, and whether it has memory of its own."""
        result = plain(np.asanyarray(y))
        return result, not any(owner_of(result) is owner_of(x) for x in inputs)

    def keep(self, found: dict[Tensor, Any]) -> None:
        """Be shown the tensors whose gradient was kept."""
        self.tensors.update({t: None for t in found if t.source is None})
        if any(isinstance(t.grad, Tensor) for t in self.tensors):
            self.refuse("a gradient that is kept can be differentiated again")

    def method(self, function: Callable, owner: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run a method of an optimizer or a schedule on plain arrays."""
        tensors = [t for t in self.tensors if t.grad is not None]
        grads = [plain(t.grad) for t in tensors]
        arrays: list[np.ndarray] = []
        recorded = Method(function, owner, taken_apart((args, kwargs), arrays), tensors)
        self.owners[owner] = None
        with _during(recorder=None):
            recorded(*grads, *arrays)
        self.append(recorded, *grads, *arrays)
        for tensor in tensors:
            tensor.grad = seen(tensor.grad)

    def numpy(self, function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Run a NumPy function of which an argument is :class:`Seen`."""
        arrays: list[np.ndarray] = []
        tree = taken_apart((args, kwargs), arrays)
        plain_args, plain_kwargs = put_together(tree, arrays)
        result = function(*plain_args, **plain_kwargs)
        name = getattr(function, "__name__", str(function))
        if function in ABOUT_SHAPES:
            return result
        if function in (np.empty_like, np.ones_like):
            self._memory(result).constant = result if function is np.ones_like else None
            return seen(result)
        if isinstance(function, np.ufunc) and kwargs.keys() == {"out"}:
            self.append(function, *plain_args, *plain_kwargs["out"])
            return kwargs["out"][0] if len(kwargs["out"]) == 1 else kwargs["out"]
        if result is None or kwargs.get("out") is not None:
            self.append(Again(function, tree, 0), *arrays)
            return None if result is None else kwargs["out"][0] if type(kwargs["out"]) is tuple else kwargs["out"]
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        if not all(isinstance(r, (np.ndarray, np.generic)) for r in results):
            self.refuse(f"{name} takes a number out of an array")
            return result
        if function in SIZED_BY_VALUES or (function is GETITEM and _has_mask(args[1])):
            self.refuse(f"the size of what {name} returns depends on the numbers")
        made = [np.asarray(r) for r in results]
        if not all(any(owner_of(m) is owner_of(a) for a in arrays) for m in made):  # else they are views
            for array in arrays:
                self.claim(name, array)
            if isinstance(function, np.ufunc) and not kwargs and len(made) == 1:
                self.append(function, *plain_args, *made)
            else:
                self.append(Again(function, tree, len(made)), *made, *arrays)
        return seen(made[0]) if result is results[0] else type(result)(map(seen, made))


class Seen(np.ndarray):
    """An array while a step is recorded: what NumPy does with it is recorded too."""

    plain: np.ndarray | None = None

    @property
    def base(self) -> Any:
        """What the plain array is a view of."""
        return np.ndarray.base.__get__(self) if self.plain is None else self.plain.base

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        return _numpy(ufunc if method == "__call__" else getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, func: Callable, types: Any, args: Any, kwargs: Any) -> Any:
        return NotImplemented if any(issubclass(t, Tensor) for t in types) else _numpy(func, args, kwargs)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return repr(plain(self))

    __str__ = __repr__


def _numpy(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    recorder = _state.recorder
    if recorder is not None:
        return recorder.numpy(function, args, kwargs)
    arrays: list[np.ndarray] = []
    args, kwargs = put_together(taken_apart((args, kwargs), arrays), arrays)
    return function(*args, **kwargs)


def _recorded(name: str) -> Callable:
    method = getattr(np.ndarray, name)

    def recorded(self: Seen, *args: Any, **kwargs: Any) -> Any:
        return _numpy(method, (self, *args), kwargs)

    return recorded


def _leak(name: str) -> Callable:
    def leak(self: Seen, *args: Any) -> Any:
        if _state.recorder is not None:
            _state.recorder.refuse(f"{name}() takes a number out of an array; return the array and take it from that")
        return getattr(plain(self), name)(*args)

    return leak


GETITEM = np.ndarray.__getitem__
ABOUT_SHAPES = (
    np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory, np.shares_memory, np.iscomplexobj,
    np.isrealobj, np.broadcast_shapes,
)  # fmt: skip
SIZED_BY_VALUES = (np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress, np.ndarray.nonzero)

# NumPy's methods that make or change arrays without a function that `Seen` could see.
for _name in (
    "__getitem__", "__setitem__", "argmax", "argmin", "argsort", "astype", "choose", "compress", "conj", "copy", "dot",
    "fill", "flatten", "nonzero", "partition", "put", "ravel", "repeat", "reshape", "round", "searchsorted", "sort",
    "take", "trace",
):  # fmt: skip
    setattr(Seen, _name, _recorded(_name))
for _name in ("__bool__", "__float__", "__int__", "__index__", "__complex__", "item", "tolist", "tobytes"):
    setattr(Seen, _name, _leak(_name))
ARRAYS.add(Seen)


def _has_mask(index: Any) -> bool:
    return any(
        isinstance(i, np.ndarray) and i.dtype.kind == "b" for i in (index if isinstance(index, tuple) else (index,))
    )


def seen(array: Any) -> Any:
    """``array`` as a :class:`Seen` that shares its entries."""
    if type(array) is Seen:
        return array
    array = np.asarray(array)
    made = array.view(Seen)
    made.plain = array
    return made


def plain(x: Any) -> Any:
    """``x``, if it is :class:`Seen`, as a plain array with the same entries."""
    if type(x) is not Seen:
        return x
    return x.view(np.ndarray) if x.plain is None else x.plain


def taken_apart(tree: Any, arrays: list[np.ndarray]) -> Any:
    """``tree`` with a :class:`Slot` for each array, and these arrays, plain, appended to ``arrays``."""
    if isinstance(tree, (np.ndarray, Tensor)):
        arrays.append(plain(tree.value if isinstance(tree, Tensor) else tree))
        return Slot(len(arrays) - 1, isinstance(tree, Tensor))
    if type(tree) in (tuple, list):
        return type(tree)(taken_apart(part, arrays) for part in tree)
    if type(tree) is dict:
        return {key: taken_apart(part, arrays) for key, part in tree.items()}
    return tree


def put_together(tree: Any, arrays: Sequence[np.ndarray]) -> Any:
    """The inverse of :func:`taken_apart`."""
    if not arrays:
        return tree
    if type(tree) is Slot:
        return Tensor(arrays[tree.place]) if tree.tensor else arrays[tree.place]
    if type(tree) in (tuple, list):
        return type(tree)(put_together(part, arrays) for part in tree)
    if type(tree) is dict:
        return {key: put_together(part, arrays) for key, part in tree.items()}
    return tree


def copy_into(ours: np.ndarray, new: Any) -> None:
    """Copy a result into the array that stands for it; along an axis with stride 0 there is one entry."""
    if np.shape(new) != ours.shape:
        raise RuntimeError(f"chainrule.compile: a result has shape {np.shape(new)}, when recorded {ours.shape}")
    entries = tuple([slice(None) if step else slice(1) for step in ours.strides])
    ours, new = ours[(*entries, ...)], np.asarray(new)[(*entries, ...)]
    ours.flags.writeable = True
    np.copyto(ours, new)


def owner_of(array: Any) -> np.ndarray:
    """The array that has the memory that this one is a view of."""
    while isinstance(array.base, np.ndarray) or getattr(array, "plain", None) is not None:
        array = plain(array) if type(array) is Seen and array.plain is not None else array.base
    return array


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _called_again(method: Callable) -> Callable:
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _state.recorder is None:
            return method(self, *args, **kwargs)
        return _state.recorder.method(method, self, args, kwargs)

    called.__name__, called.__doc__ = method.__name__, method.__doc__
    return called


for _class in (Optimizer, Schedule, SequentialLR, ReduceLROnPlateau):
    _class.step = _called_again(_class.step)  # type: ignore[method-assign]
