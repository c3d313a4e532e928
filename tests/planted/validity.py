"""Are the right rules right, and are the planted mistakes wrong? By central differences, with nothing of chainrule.

    cd tests && python -m planted.validity [NAME ...]

prints every rule that is not right, every mistake that is none, and the number of mistakes per cause.
"""

import copy
import inspect
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from planted import Mistake, Rule, load, planted_mistakes, planted_rules

POINTS = 3
BEHAVIOURS = {"in-place", "nondeterministic", "dtype"}


class Fault(NamedTuple):
    """Something wrong with a rule: `kind` is value, shape, missing, raises, overwrite, or one of BEHAVIOURS."""

    kind: str
    gradient: str
    text: str


def draw(rule: Rule, rng: np.random.Generator) -> tuple[Any, ...]:
    """Inputs in forward's order; a letter of `shapes` is one size, other letters have other sizes."""
    if rule.inputs:
        return tuple(rule.inputs(rng))
    assert rule.shapes, f"{rule.name} has neither shapes nor inputs"
    parts = [part.split(":")[-1].split() for part in rule.shapes.split("->")[0].split(",")]
    letters = list(dict.fromkeys(word for part in parts for word in part if word != "in" and not word.isdigit()))
    sizes = dict(zip(letters, rng.permutation(np.arange(3, max(8, 3 + len(letters)))), strict=False))
    size = lambda word: int(word) if word.isdigit() else int(sizes[word])
    return tuple(
        rng.integers(size(part[2]), size=size(part[0]))
        if "in" in part
        else rng.standard_normal([size(word) for word in part])
        for part in parts
    )


class Subject:
    """One target, called in the way its form asks for."""

    def __init__(self, target: Any, rule: Rule) -> None:
        self.target, self.rule = target, rule
        self.pair = target if isinstance(target, tuple) else (getattr(target, "forward", target), None)
        if hasattr(target, "backward"):
            self.pair = (target.forward, target.backward)
        self.is_module = not isinstance(target, tuple) and self.pair[1] is not None
        signature = inspect.signature(self.pair[0]).parameters.values()
        names = [each.name for each in signature if each.default is each.empty]  # eps=1e-5 is a setting, not an input
        self.takes_context = names[0] == "ctx"
        self.arguments = names[self.takes_context :]

    def forward(self, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        """The value, and a function from gy to what the rule returns."""
        forward, backward = self.pair
        if self.takes_context:
            ctx = SimpleNamespace()
            ctx.save_for_backward = lambda *saved: setattr(ctx, "saved_tensors", saved)
            return forward(ctx, *inputs), lambda gy: backward(ctx, gy)
        y = forward(*inputs)
        if self.is_module:
            return y, self._splat(backward, 0)
        if backward is None:
            y, pullback = y
            return y, (lambda gy: tuple(each(gy) for each in pullback)) if isinstance(pullback, tuple) else pullback
        if isinstance(y, tuple):
            y, cache = y
            return y, self._splat(lambda *gy: backward(*gy, cache), len(inspect.signature(backward).parameters) - 1)
        return y, lambda gy: backward(gy, *inputs)

    @staticmethod
    def _splat(backward: Any, count: int) -> Any:
        """A backward that takes `count` upstream gradients one by one is given them so."""
        return lambda gy: backward(*gy) if count > 1 and isinstance(gy, tuple) else backward(gy)

    def parameters(self) -> dict[str, np.ndarray]:
        """A module's arrays that have a gradient beside them, which may appear with the first backward."""
        if not self.is_module:
            return {}
        if isinstance(getattr(self.target, "params", None), dict):
            return dict(self.target.params)
        found = [
            name
            for name, value in vars(self.target).items()
            if name not in self.arguments
            and (hasattr(value, "grad") or (isinstance(value, np.ndarray) and self._gradient_attribute(name)))
        ]
        return {name: self.array(name) for name in found}

    def array(self, name: str) -> np.ndarray:
        """A parameter's array: in `params`, an attribute, or an attribute's `data` or `value`."""
        if isinstance(getattr(self.target, "params", None), dict):
            return self.target.params[name]
        value = getattr(self.target, name)
        if isinstance(value, np.ndarray):
            return value
        return value.data if hasattr(value, "data") else value.value

    def _gradient_attribute(self, name: str) -> str | None:
        tried = (f"d{name}", f"{name}_grad", f"grad_{name}")
        return next((each for each in tried if hasattr(self.target, each)), None)

    def parameter_gradient(self, name: str) -> Any:
        if isinstance(getattr(self.target, "params", None), dict):
            return self.target.grads.get(name)
        attribute = self._gradient_attribute(name)
        return getattr(self.target, attribute) if attribute else getattr(self.target, name).grad

    def zero_grad(self) -> None:
        if hasattr(self.target, "zero_grad"):
            self.target.zero_grad()

    def named(self, returned: Any, inputs: tuple[Any, ...]) -> dict[str, Any]:
        """What backward returned, by argument, with the parameters' gradients."""
        floats = [name for name, each in zip(self.arguments, inputs, strict=True) if np.asarray(each).dtype.kind == "f"]
        names = list(self.rule.wrt or floats)
        if isinstance(returned, dict):
            gradients = {name: returned.get(name, returned.get(f"d{name}")) for name in names}
        else:
            values = list(returned) if isinstance(returned, tuple | list) else [returned]
            if all(each is None for each in values[len(self.arguments) :]):  # a setting's, as in PyTorch
                values = values[: len(self.arguments)]
            if len(values) == len(self.arguments):
                gradients = {k: v for k, v in zip(self.arguments, values, strict=True) if k in names}
            else:
                gradients = dict(zip(names, values, strict=True))
        return gradients | {name: self.parameter_gradient(name) for name in self.parameters()}


def inner(y: Any, gy: Any) -> float:
    """The sum of y * gy, over all outputs where there are several."""
    if isinstance(y, tuple):
        return sum(inner(*each) for each in zip(y, gy, strict=True))
    return float(np.sum(np.asarray(y, dtype=np.float64) * gy))


def numeric(loss: Any, array: np.ndarray, single: bool) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of loss() with respect to array, moved in place, and where to trust it (no kink)."""
    gradient, smooth = np.zeros(array.shape), np.ones(array.shape, dtype=bool)
    h = 2e-2 if single else 1e-5

    def at(index: tuple[int, ...], step: float) -> float:
        kept = array[index]
        array[index] = kept + step
        value = loss()
        array[index] = kept
        return value

    for index in np.ndindex(array.shape):
        right, left = at(index, h), at(index, -h)
        gradient[index] = (right - left) / (2 * h)
        if single:
            gradient[index] += (gradient[index] - (at(index, 2 * h) - at(index, -2 * h)) / (4 * h)) / 3
        else:
            middle = at(index, 0.0)
            smooth[index] = abs(right - 2 * middle + left) / h < 1e-2 * max(1.0, abs(float(gradient[index])))
    return gradient, smooth


def at_point(subject: Subject, fresh: Any, inputs: tuple[Any, ...], rng: np.random.Generator) -> list[Fault]:
    """What is wrong with one forward and backward of `subject`; `fresh()` gives an unused copy of it."""
    y, _ = fresh().forward(copy.deepcopy(inputs))
    draw_gy = lambda each: rng.standard_normal(np.shape(each)).astype(np.asarray(each).dtype)[()]
    gy = tuple(map(draw_gy, y)) if isinstance(y, tuple) else draw_gy(y)

    def run(on: Subject, arguments: tuple[Any, ...], upstream: Any) -> dict[str, Any]:
        on.zero_grad()
        backward = on.forward(arguments)[1]
        return copy.deepcopy(on.named(backward(upstream), arguments))

    arguments, upstream = copy.deepcopy(inputs), copy.deepcopy(gy)
    try:
        got = run(subject, arguments, upstream)
    except Exception as error:
        return [Fault("raises", "", f"{type(error).__name__}: {error}")]

    faults = []
    pairs = [*zip(subject.arguments, inputs, arguments, strict=True), ("gy", gy, upstream)]
    start = fresh()
    pairs += [(name, start.array(name), value) for name, value in subject.parameters().items()]
    faults += [Fault("in-place", name, "modified") for name, a, b in pairs if not _same(a, b)]
    again = [run(fresh(), copy.deepcopy(inputs), copy.deepcopy(gy)) for _ in range(2)]
    faults += [
        Fault("nondeterministic", name, "two runs differ") for name in got if not _same(again[0][name], again[1][name])
    ]

    moved, at = copy.deepcopy(inputs), fresh()
    loss = lambda: inner(copy.deepcopy(at).forward(copy.deepcopy(moved))[0], gy)
    arrays = dict(zip(at.arguments, moved, strict=True)) | {name: at.array(name) for name in subject.parameters()}
    wide = np.asarray(y[0] if isinstance(y, tuple) else y).dtype
    single = wide == np.float32
    for name, found in got.items():
        if found is None:
            faults.append(Fault("missing", name, "None"))
            continue
        expected, smooth = numeric(loss, arrays[name], single)
        found = np.asarray(found)
        if found.dtype.kind != "f" or found.dtype.itemsize < wide.itemsize:
            faults.append(Fault("dtype", name, f"{found.dtype} for {wide}"))
        if found.shape != expected.shape:
            faults.append(Fault("shape", name, f"{found.shape}, expected {expected.shape}"))
            continue
        off = np.max(np.abs(found - expected), where=smooth, initial=0) / max(1e-3, np.abs(expected).max(initial=0))
        if not off < (2e-3 if single else 1e-6):
            faults.append(Fault("value", name, f"off by {off:.1e} of the largest entry"))
    return faults


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(map(_same, a, b))
    return a is b is None or (a is not None and b is not None and np.array_equal(a, b, equal_nan=True))


def accumulates(subject: Subject, inputs: tuple[Any, ...]) -> dict[str, bool]:
    """For each parameter: does a second backward add to the gradient of the first?"""
    seen: list[dict[str, Any]] = []
    subject.zero_grad()
    for _ in range(2):
        y, backward = subject.forward(inputs)
        backward(tuple(map(np.ones_like, y)) if isinstance(y, tuple) else np.ones_like(y))
        seen.append({name: copy.deepcopy(subject.parameter_gradient(name)) for name in subject.parameters()})
    return {name: not _same(first, seen[1][name]) for name, first in seen[0].items()}


def faults(rule: Rule, mistake: Mistake | None, folder: Path, seed: int = 0) -> Iterator[Fault]:
    """Everything seen to be wrong with a rule, or with a mistake planted in it."""
    rng = np.random.default_rng(seed)
    fresh = lambda: Subject(load(rule, mistake, folder=folder), rule)
    subject = fresh()
    for _ in range(POINTS):
        inputs = draw(rule, rng)
        yield from at_point(subject, fresh, inputs, rng)
    if mistake and "stale" in mistake.causes:  # other values in the same shapes
        yield from at_point(subject, fresh, tuple(each[::-1].copy() for each in inputs), rng)
    if mistake and subject.is_module:
        inputs = draw(rule, rng)
        right = accumulates(Subject(load(rule, folder=folder), rule), inputs)
        for name, added in accumulates(fresh(), inputs).items():
            if added != right[name]:
                yield Fault("overwrite", name, "adds over calls" if added else "does not add over calls")


def complaint(rule: Rule, mistake: Mistake | None, folder: Path) -> str | None:
    """Why the rule is not right, or the mistake is none; None if all is as it should be."""
    found = []
    if mistake is None:
        with warnings.catch_warnings(action="error"):
            found = list(faults(rule, None, folder))
        return "; ".join(f"{each.gradient}: {each.kind}, {each.text}" for each in found) or None
    behaviours = BEHAVIOURS.intersection(mistake.causes)
    for each in faults(rule, mistake, folder):
        found.append(each)
        if each.kind in behaviours:
            return None
        if not behaviours and each.kind not in BEHAVIOURS and each.gradient in (mistake.gradient, ""):
            return None
    return f"{mistake.new!r} is not wrong in {mistake.gradient} (found: {found})"


def main(names: list[str]) -> int:
    """Judge the named rules, or all; returns the number of complaints."""
    complaints, per_cause, count = 0, Counter[str](), 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for rule in planted_rules():
            if names and rule.name not in names:
                continue
            count += 1
            for mistake in [None, *(each for _, each in planted_mistakes(rule))]:
                if mistake:
                    per_cause[mistake.causes[0]] += 1
                try:
                    said = complaint(rule, mistake, folder)
                except Exception as error:
                    said = f"{mistake and mistake.new!r}: {type(error).__name__}: {error}"
                if said:
                    complaints += 1
                    print(f"{rule.name}: {said}")  # noqa: T201
    for cause, number in per_cause.most_common():
        print(f"{number:5d} {cause}")  # noqa: T201
    print(f"{count} rules, {per_cause.total()} mistakes, {complaints} complaints")  # noqa: T201
    return complaints


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
