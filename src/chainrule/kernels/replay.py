"""``chainrule.compile``: a training step that is recorded, proved to be repeatable, and from then on replayed.

What a step computes is a list of calls on arrays (:mod:`chainrule.kernels.recording`). To replay it is to run that list
with the inputs of this step, and nothing else: no Tensors, no tape, no allocation. Arrays that are never needed at the
same time share memory. A recording is used once two things were seen:

* two steps in a row made the same calls with the same constants, on memory made in the step or there before it;
* the second step, done once more by replaying, from the same state in memory filled with rubbish, gave the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import types
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.lib.stride_tricks import as_strided

from chainrule.engine import Tensor, _state
from chainrule.kernels.machine import release_freed_memory
from chainrule.kernels.recording import Pullback, Recording, Rule, View, owner_of, put_together, taken_apart
from chainrule.nn.module import Module, _observers
from chainrule.optim import Optimizer

PLANS = 8  # so many shapes of inputs are kept at a time: each has memory of its own
LINE = 64  # bytes; arrays begin where a line of the cache does
LARGE = 1 << 16  # bytes; a result as large is computed where it stays, not copied from memory that is used again

FUSED: dict[tuple[Callable, Callable], Callable] = {}
"""Two compiled functions called one after the other -> one that does both. It is called with the arguments of
both, less the arrays that nothing but these two functions use."""


class Compiled:
    """A step that is replayed; see :func:`chainrule.compile`."""

    def __init__(self, step: Callable):
        functools.update_wrapper(self, step)
        self._step = step
        self._plans: dict[tuple, Plan | Recording | None] = {}  # by what is given; None: this stays eager
        self._modules: dict[Module, None] = {}  # that the step was seen to call
        self._lock = threading.RLock()
        self._warned = False

    def __get__(self, owner: Any, cls: type | None = None) -> Any:
        """As a method."""
        return self if owner is None else types.MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The step: replayed, or eager."""
        if _state.recorder is not None or _state.watcher is not None or _observers:
            return self._step(*args, **kwargs)
        with self._lock:
            given = (*args, *kwargs.values()) if kwargs else args
            inputs = [x.value if isinstance(x, Tensor) else x for x in given if isinstance(x, (np.ndarray, Tensor))]
            key = self._key(inputs, given, kwargs)
            plan = self._plans.get(key, self)
            if plan is None or (isinstance(plan, Plan) and plan.fits() and not plan.starts_alike()):
                return _detached(self._step(*args, **kwargs))
            if isinstance(plan, Plan) and plan.fits():
                return plan.run(inputs)
            return self._record(inputs, given, kwargs, self._plans.pop(key, None))

    def _key(self, inputs: Sequence[np.ndarray], given: Sequence[Any], names: Any) -> tuple:
        return (
            *[(x.shape, x.strides, x.dtype, x.flags.writeable) for x in inputs],
            *[type(x) if isinstance(x, (np.ndarray, Tensor)) else (type(x), x) for x in given],
            *names,
            *[module.training for module in self._modules],
            _state.backend,
            _state.recording,
        )

    def _record(self, inputs: list[np.ndarray], given: Sequence[Any], kwargs: dict[str, Any], before: Any) -> Any:
        """An eager step that is recorded; out of the second one in a row a plan is made."""
        first = before if isinstance(before, Recording) else None
        state = first and State(first)
        recording = Recording(list(map(_of_its_own, inputs)), self._modules)
        result = recording.record(self._step, given, list(kwargs))
        new = recording.modules.keys() - self._modules.keys()
        self._modules = recording.modules
        if any(isinstance(x, np.ndarray) for module in new for x in vars(module).values()):
            return result  # what they do with their own arrays is seen from the next step on
        plan: Plan | Recording | None = recording
        problem = recording.problem
        if first and state and not problem:
            problem = difference(first, recording)
            if not problem:
                release_freed_memory()  # that of the eager step: the plan has its own
                plan = Plan(first, recording, state.ungraded)
                problem = state.other_bits(plan, inputs, result)
        if len(self._plans) >= PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[self._key(inputs, given, kwargs)] = None if problem else plan
        if problem and not self._warned:
            self._warned = True
            name = getattr(self, "__name__", "the step")
            warnings.warn(f"chainrule.compile: {name} stays eager: {problem}", stacklevel=3)
        return result


def _of_its_own(x: Any) -> np.ndarray:
    """``x`` in the same memory, but not as a view of another array; texts, dates and objects are copied."""
    return x.copy() if x.dtype.kind in "mMOSUV" else np.asarray(memoryview(x))


def _detached(result: Any) -> Any:
    arrays: list[np.ndarray] = []
    return put_together(taken_apart(result, arrays), arrays)


class Plan:
    """A recording with memory: arrays that are not needed at the same time share it."""

    def __init__(self, first: Recording, recording: Recording, ungraded: list[Tensor]):
        self.ungraded = ungraded
        self._leaves = list(recording.leaves.items())
        self._memories = recording.memories
        pairs = zip(first.memories, recording.memories, strict=True)
        self._outside = [a.owner() if a.owner() is b.owner() else None for a, b in pairs]  # there before the step
        self._anew = self._made_anew(recording)
        kept = [*recording.result[1], *[view for _, view in recording.grads if view]]
        calls = fused(recording.calls, {view.memory for view in kept})
        _let_go(calls)
        used: dict[int, list[int]] = {}
        anew = {view.memory for view in self._anew}
        for time, (_, args) in enumerate([*calls, (None, kept)]):
            for view in args:
                if isinstance(view, View) and self._own(view.memory) and view.memory not in anew:
                    used.setdefault(view.memory, []).append(time)
        sizes = {m: (min(times), max(times), self._memories[m].nbytes) for m, times in used.items()}
        places, size = arranged(sizes)
        self._arena = np.empty(size + LINE, np.uint8)
        start = -(-_address(self._arena) // LINE) * LINE
        self._starts = {m: start + place for m, place in places.items()}
        self._given: list[tuple[list, int, int, View]] = []  # where the inputs go: arguments, place, input, view
        self._made: dict[View, np.ndarray] = {}
        self._calls = [(function, self._arrays(args)) for function, args in calls]
        self._result = recording.result[0], self._arrays(recording.result[1])
        self._copied = [view not in self._anew for view in recording.result[1]]
        grads = self._arrays([view for _, view in recording.grads])
        self._grads = [(tensor, g) for (tensor, _), g in zip(recording.grads, grads, strict=True)]

    def _made_anew(self, recording: Recording) -> dict[View, list[tuple[list, int, View]]]:
        """Large results, each all of its memory: every run makes it anew. And the arguments that lie in it."""
        kept = {view.memory for _, view in recording.grads if view}
        large = (v for v in recording.result[1] if self._memories[v.memory].nbytes >= LARGE)
        return {v: [] for v in large if self._own(v.memory) and v.memory not in kept and self._is_whole(v)}

    def _is_whole(self, view: View) -> bool:
        made = empty(view)
        return made.nbytes == self._memories[view.memory].nbytes and made.strides == view.strides

    def _own(self, memory: int) -> bool:
        m = self._memories[memory]
        return m.input is None and m.constant is None and self._outside[memory] is None

    def _arrays(self, args: Sequence[Any]) -> list[Any]:
        arrays = list(args)
        for place, view in enumerate(args):
            if isinstance(view, View):
                number = self._memories[view.memory].input
                result = next((v for v in self._anew if v.memory == view.memory), None)
                if number is not None:
                    self._given.append((arrays, place, number, view))
                elif result is not None:
                    self._anew[result].append((arrays, place, view))
                else:
                    arrays[place] = self._made.setdefault(view, self._array(view))
        return arrays

    def _array(self, view: View) -> np.ndarray:
        memory = self._memories[view.memory]
        if view.memory in self._starts:
            return array_at(self._arena, self._starts[view.memory], view)
        owner = memory.constant if memory.constant is not None else self._outside[view.memory]
        return array_at(owner, memory.start, view)

    def fits(self) -> bool:
        """Do the parameters still have the arrays that were recorded?"""
        return all(tensor.value is value for tensor, value in self._leaves)

    def starts_alike(self) -> bool:
        """Are there no gradients yet where there were none?"""
        return all(tensor.grad is None for tensor in self.ungraded)

    def run(self, inputs: Sequence[np.ndarray], forget: bool = False) -> Any:
        """Replay the step; if told to forget, in memory that was filled with rubbish: not a number."""
        if forget:
            self._arena[...] = 255
        for args, place, number, view in self._given:
            x = inputs[number]
            whole = view.shape == x.shape and view.strides == x.strides and view.offset == 0
            args[place] = x if whole else array_at(x, _address(x), view)
        for result, uses in self._anew.items():
            self._make(result, uses, forget)
        for function, args in self._calls:
            function(*args)
        for tensor, g in self._grads:
            tensor.grad = g
        tree, arrays = self._result
        found = [array.copy("K") if own else array for array, own in zip(arrays, self._copied, strict=True)]
        for uses in self._anew.values():
            for args, place, _ in uses:
                args[place] = None  # it is the caller's now
        return put_together(tree, found)

    def _make(self, result: View, uses: Sequence[tuple[list, int, View]], forget: bool) -> None:
        """Memory for a result."""
        made = empty(result)
        if forget:
            made.ravel("K").view(np.uint8)[...] = 255
        for args, place, view in uses:
            args[place] = made if view == result else array_at(made, _address(made), view)


class State:
    """What a step may change: arrays that were there before it, gradients, optimizers and schedules."""

    def __init__(self, recording: Recording):
        arrays = [x for module in recording.modules for x in vars(module).values() if isinstance(x, np.ndarray)]
        found = [(owner_of(x), x) for x in (*arrays, *recording.leaves.values())]
        made = {view.memory for _, view in recording.grads if view}
        for view in {a for _, args in recording.calls for a in args if isinstance(a, View)}:
            owner = recording.memories[view.memory].owner()
            if owner is not None and view.memory not in made:
                found.append((owner, array_at(owner, _address(owner), view)))
        spans: dict[int, tuple[np.ndarray, int, int]] = {}
        for owner, array in found:
            if array.flags.writeable:
                low, high = byte_bounds(array)
                _, lowest, highest = spans.get(id(owner), (owner, low, high))
                spans[id(owner)] = owner, min(low, lowest), max(high, highest)
        self._bytes = [
            array_at(owner, low, View(0, 0, (high - low,), (1,), np.dtype(np.uint8), True))
            for owner, low, high in spans.values()
        ]
        self._tensors = list(recording.tensors)
        self.ungraded = [t for t in self._tensors if t.grad is None]
        self._saved = [array.copy() for array in self._bytes]
        self._owned = [(owner, owner.state_dict()) for owner in recording.owners]
        self._grads = [t.grad for t in self._tensors]

    def exchange(self) -> None:
        """Go to the state that is saved, and save the one it was."""
        for array, saved in zip(self._bytes, self._saved, strict=True):
            _exchange(array, saved)
        states = [_state_of(owner) for owner, _ in self._owned]  # before any: a schedule's is also its optimizer's
        for (owner, saved), state in zip(self._owned, states, strict=True):
            for name, array in state.items():
                _exchange(array, saved[name])
            owner.load_state_dict(state)
        for place, tensor in enumerate(self._tensors):
            tensor.grad, self._grads[place] = self._grads[place], tensor.grad

    def other_bits(self, plan: Plan, inputs: Sequence[np.ndarray], result: Any) -> str | None:
        """What replaying from this state, in place of the step that was just run, does in another way."""
        self.exchange()
        try:
            replayed = plan.run(inputs, forget=True)
            name = _first_other(
                ("what it returns", result, replayed),
                *[("a gradient", g, t.grad) for g, t in zip(self._grads, self._tensors, strict=True)],
                *[("an array that it changes", a, b) for a, b in zip(self._saved, self._bytes, strict=True)],
                *[(type(owner).__name__, saved, _state_of(owner)) for owner, saved in self._owned],
            )
        except Exception as err:
            name = f"an error ({err})"
        if name is None:
            return None
        self.exchange()
        return f"replaying it gives another result ({name}): part of what it computes was not seen"


def _first_other(*pairs: tuple[str, Any, Any]) -> str | None:
    """The name of the first pair whose bits differ."""
    for name, *both in pairs:
        arrays: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        trees = [taken_apart(tree, found) for tree, found in zip(both, arrays, strict=True)]
        kinds = [[(a.shape, a.dtype) for a in found] for found in arrays]
        if trees[0] != trees[1] or kinds[0] != kinds[1] or not all(map(_same_bits, *arrays)):
            return name
    return None


def _state_of(owner: Any) -> dict[str, np.ndarray]:
    return owner.state_dict(copy=False) if isinstance(owner, Optimizer) else owner.state_dict()


def _exchange(a: np.ndarray, b: np.ndarray) -> None:
    a[...], b[...] = b.copy(), a.copy()


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() == b.tobytes()


def difference(first: Recording, second: Recording) -> str | None:
    """In what two recordings are not the same step."""
    for a, b in zip(first.memories, second.memories, strict=False):
        if b.claimed and (a.owner() is None or a.owner() is not b.owner()):
            return f"{b.claimed} is an array that code which is not recorded makes anew in each step"
        if a.constant is not None and b.constant is not None and _first_other(("number", a.constant, b.constant)):
            return f"a number in it changes from step to step: {a.constant} and then {b.constant}"
    for (f, args), (g, others) in zip(first.calls, second.calls, strict=False):
        if getattr(f, "what", f) != getattr(g, "what", g):
            return f"it computed {_name(f)} and in the next step {_name(g)} in its place"
        for x, y in zip(args, others, strict=False):
            if type(x) is not type(y) or not (x is y or x == y):
                return f"{_name(f)} was given {x} and in the next step {y}"
    if len(first.calls) != len(second.calls) or len(first.memories) != len(second.memories):
        return "the next step computed more or less than the one before"
    if first.result != second.result or [v for _, v in first.grads] != [v for _, v in second.grads]:
        return "it returned something else in the next step"
    return None


def fused(calls: Sequence[tuple[Callable, list]], kept: set[int]) -> list[tuple[Callable, list]]:
    """Pairs of calls that :data:`FUSED` knows as one function, where nothing else uses what is between them.

    The second one is moved to the first, past calls with which it has no memory in common.
    """
    users = Counter(m for _, args in calls for m in _memories(args))
    done: list[tuple[Callable, list]] = []
    for function, args in calls:
        place = len(done) - 1
        while place >= 0 and not _memories(done[place][1]) & _memories(args):
            place -= 1
        if place >= 0 and (done[place][0], function) in FUSED:
            before, earlier = done[place]
            both = (_memories(earlier) & _memories(args)) - kept
            between = {m for m in both if users[m] == 2}
            if between:
                rest = [a for a in (*earlier, *args) if not (isinstance(a, View) and a.memory in between)]
                done[place] = FUSED[before, function], rest
                continue
        done.append((function, list(args)))
    return done


def _memories(args: Sequence[Any]) -> set[int]:
    return {a.memory for a in args if isinstance(a, View)}


def _let_go(calls: Sequence[tuple[Callable, list]]) -> None:
    """Rules hold their pullbacks until the last of them was used."""
    asked: set[Rule] = set()
    for function, _ in reversed(calls):
        if isinstance(function, Pullback):
            function.last = function.rule not in asked
            asked.add(function.rule)
        elif isinstance(function, Rule):
            function.keeps = function in asked


def arranged(lifetimes: dict[int, tuple[int, int, int]]) -> tuple[dict[int, int], int]:
    """Places for memories with a first and a last use and a size, so that those in use at a time do not overlap.

    The largest first, each in the lowest gap that is large enough.

    >>> arranged({0: (0, 1, 64), 1: (1, 2, 128), 2: (2, 3, 64)})
    ({1: 0, 0: 128, 2: 128}, 192)
    """
    places: dict[int, int] = {}
    end = 0
    for m in sorted(lifetimes, key=lambda m: -lifetimes[m][2]):
        first, last, size = lifetimes[m]
        beside = [o for o in places if lifetimes[o][0] <= last and first <= lifetimes[o][1]]
        place = 0
        for o in sorted(beside, key=places.__getitem__):
            if place + size <= places[o]:
                break
            place = max(place, places[o] + -(-lifetimes[o][2] // LINE) * LINE)
        places[m] = place
        end = max(end, place + size)
    return places, end


def array_at(owner: Any, start: int, view: View) -> np.ndarray:
    """The array that a view describes, in memory that begins at this address and that ``owner`` keeps alive."""
    ends = [(n - 1) * step for n, step in zip(view.shape, view.strides, strict=True)]
    low, high = sum(min(0, e) for e in ends), sum(max(0, e) for e in ends) + view.dtype.itemsize
    memory: Any = (ctypes.c_char * max(high - low, 1)).from_address(start + view.offset + low)
    memory.owner = owner
    array = np.ndarray(view.shape, view.dtype, memory, -low, view.strides)
    array.flags.writeable = view.writeable
    return array


def empty(view: View) -> np.ndarray:
    """An array like the one that a view describes, with memory of its own, without gaps."""
    return np.empty_like(as_strided(np.empty(1, view.dtype), view.shape, view.strides))


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _name(function: Callable) -> str:
    return getattr(function, "__name__", str(function))
