"""Where a backward pass is tried: several points, two sets of sizes, nothing that could hide a mistake."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from chainrule.check.probes import Prober, is_float
from chainrule.check.shapes import SIZES, distribution, draw, normal, one_hot, parse, positive
from chainrule.check.target import Target, Unusable
from chainrule.errors import UsageError

# Arguments that a backward need not give a gradient for.
# fmt: off
TARGETS = frozenset({
    "t", "target", "targets", "label", "labels", "y_true", "ytrue", "true", "truth", "onehot", "one_hot", "tgt", "gt",
    "mask", "keep", "drop_mask", "dropout_mask", "lengths", "index", "indices", "idx",
})
PREDICTIONS = frozenset({
    "y_hat", "yhat", "y_pred", "ypred", "pred", "preds", "prediction", "predictions", "logits", "scores", "probs", "p",
    "out", "output",
})
# fmt: on
LARGE = 200_000  # entries of all inputs together from which fewer points are tried
SAMPLERS: dict[str, Callable] = {"normal": normal, "between 0.1 and 0.9": positive}
TARGET_SAMPLERS: dict[str, Callable] = {"rows that sum to 1": distribution, "one-hot rows": one_hot}

Values = dict[str, Any]


def looks_like_target(name: str, beside: Iterable[str] = ()) -> bool:
    """Is this argument, by its name, data that nobody wants the gradient of? ``y`` is, beside a prediction.

    >>> looks_like_target("labels"), looks_like_target("w"), looks_like_target("y", beside=("y_hat", "y"))
    (True, False, True)
    """
    if name in ("y", "Y"):
        return any(other.lower() in PREDICTIONS for other in beside)
    return name == name.lower() and name.strip("_") in TARGETS


class Points:
    """Draws the values of all inputs and parameters, again and again."""

    def __init__(self, target: Target, prober: Prober, inputs: Any, shapes: str | None, seed: int):
        self.target, self.prober, self.seed = target, prober, seed
        self.inputs, self.shapes = inputs, shapes
        self.notes: list[str] = []
        if inputs is None and shapes is None:
            raise UsageError(
                f"{target.name}: no inputs to check with; pass inputs=(x, w, ...), a function of a NumPy Generator "
                'that returns them, or shapes="n d, d m"'
            )

    def draw(self, targets: Callable | None = None) -> list[Values]:
        """Values for every point, those given first; ``targets`` draws the arguments that look like targets.

        Raises:
            Unusable: forward runs at none of them.
        """
        if self.shapes is not None:
            return self._by_shapes(targets)
        if callable(self.inputs):
            rngs = [np.random.default_rng([self.seed, i]) for i in range(5)]
            drawn = [self._named(self.inputs(rng) if _wants_generator(self.inputs) else self.inputs()) for rng in rngs]
            return [{**values, **self._parameters(rng)} for values, rng in zip(drawn, rngs, strict=True)]
        return self._around(self._named(self.inputs), targets)

    def _by_shapes(self, targets: Callable | None) -> list[Values]:
        parts = parse(self.shapes or "")
        names = [part.name or name for part, name in zip(parts, self.target.arguments, strict=False)]
        if len(parts) > len(self.target.arguments):
            raise UsageError(
                f"{self.target.name}: shapes has {len(parts)} parts, forward has {len(self.target.arguments)} inputs: "
                f"{', '.join(self.target.arguments)}"
            )
        unknown = set(names) - set(self.target.arguments)
        if unknown:
            raise UsageError(
                f"{self.target.name}: shapes names {', '.join(sorted(unknown))}, forward's inputs are "
                f"{', '.join(self.target.arguments)}"
            )
        error: Unusable | None = None
        for label, sampler in SAMPLERS.items():
            points: list[Values] = []
            kinds = 0
            for k, sizes in enumerate(SIZES):
                if kinds == 2:
                    break
                here = []
                try:
                    for i in range(2):
                        rng = np.random.default_rng([self.seed, k, i])
                        arrays = draw(parts, rng, sizes, sampler)
                        values = dict(zip(names, arrays, strict=True))
                        if targets is not None:
                            values = {n: targets(rng, x.shape) if self._is_data(n, x) else x for n, x in values.items()}
                        values = {n: values[n] for n in self.target.arguments if n in values}
                        here.append({**values, **self._parameters(rng)})
                        self._tried(here[-1])
                except Unusable as err:
                    error = error or err
                    continue
                points += here
                kinds += 1
            if points:
                if label != "normal":
                    self._note(f"inputs are drawn {label}: forward gives no finite number for normal ones")
                if kinds == 1 and len({a for p in parts for a in p.axes if not a.isdecimal()}):
                    self._note("forward ran with one set of sizes only")
                return points
        raise error or Unusable("forward", "forward gives no finite number at random inputs; pass inputs=...")

    def _is_data(self, name: str, x: Any) -> bool:
        return is_float(x) and looks_like_target(name, self.target.arguments)

    def _tried(self, values: Values) -> None:
        y, _ = self.prober.forward(values)
        if not all(np.all(np.isfinite(part)) for part in y):
            raise Unusable("forward", "forward gives NaN or an infinite number")

    def _parameters(self, rng: np.random.Generator) -> Values:
        """A module's parameters, random: at their first values (zeros, ones) they would hide mistakes."""
        return {name: _near(rng, x) for name, x in self.target.parameters.items()}

    def _named(self, inputs: Any) -> Values:
        if isinstance(inputs, Mapping):
            unknown = set(inputs) - {*self.target.arguments, *self.target.parameters}
            if unknown:
                raise UsageError(
                    f"{self.target.name}: inputs names {', '.join(sorted(unknown))}; forward's inputs are "
                    f"{', '.join(self.target.arguments)}"
                )
            given = dict(inputs)
        else:
            parts = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
            if len(parts) > len(self.target.arguments):
                raise UsageError(
                    f"{self.target.name}: {len(parts)} inputs were given, forward takes {len(self.target.arguments)}: "
                    f"{', '.join(self.target.arguments)}"
                )
            given = dict(zip(self.target.arguments, parts, strict=False))
        return {name: _lifted(x) for name, x in given.items()}

    def _around(self, given: Values, targets: Callable | None) -> list[Values]:
        """The given point, points near it, and the same with fewer examples."""
        rng = np.random.default_rng(self.seed)
        if targets is not None:
            given = {n: targets(rng, x.shape) if self._is_data(n, x) else x for n, x in given.items()}
        self._warn(given)
        present = {name: np.array(x, np.float64) for name, x in self.target.parameters.items()}
        points = [{**present, **given}]
        points[0] = {**given, **{k: v for k, v in present.items() if k not in given}}
        large = sum(np.size(x) for x in points[0].values()) > LARGE
        fewer = self._fewer(given)
        for base in [given] * (1 if large else 2) + [fewer] * (0 if fewer is None else 1 if large else 2):
            for scale in (0.5, 0.05):
                near = {n: self._moved(n, x, rng, scale) for n, x in (base or {}).items()}
                values = {**near, **{n: x for n, x in self._parameters(rng).items() if n not in near}}
                try:
                    self._tried(values)
                except Unusable:
                    continue
                points.append(values)
                break
        return points

    def _moved(self, name: str, x: Any, rng: np.random.Generator, scale: float) -> Any:
        return _near(rng, x, scale) if is_float(x) and not self._is_data(name, x) else x

    def _fewer(self, given: Values) -> Values | None:
        """The same without the first example, where the first axis of the first array is that of the examples."""
        arrays = [x for x in given.values() if isinstance(x, np.ndarray) and x.ndim]
        if not arrays or arrays[0].shape[0] < 3:
            return None
        n = arrays[0].shape[0]
        first = next(name for name, x in given.items() if x is arrays[0])
        try:
            y, _ = self.prober.forward({**self.target.parameters, **given})
            per_example = any(part.ndim and part.shape[0] == n for part in y)
            choices: list[Callable[[str, Any], bool]] = [
                lambda name, x: name == first,
                lambda name, x: isinstance(x, np.ndarray) and x.ndim > 0 and x.shape[0] == n,
            ]
            for chosen in choices if per_example else choices[1:]:
                fewer = {k: x[1:] if chosen(k, x) else x for k, x in given.items()}
                try:
                    z, _ = self.prober.forward({**self.target.parameters, **fewer})
                except Unusable:
                    continue
                if not per_example or any(part.ndim and part.shape[0] == n - 1 for part in z):
                    return fewer
        except Unusable:
            return None
        return None

    def _warn(self, given: Values) -> None:
        """Values that cannot show a mistake are said."""
        for name, x in {**self.target.parameters, **given}.items():
            if not is_float(x) or x.size == 0 or self._is_data(name, x):
                continue
            if np.all(x == 1):
                self._note(f"with {name} = 1 the given point cannot see a missing {name}; others were tried, too")
            elif np.all(x == 0) and name in given:
                self._note(
                    f"with {name} = 0 the given point cannot see a mistake that {name} multiplies; see the others"
                )
            if name in given and x.ndim == 2 and x.shape[0] == x.shape[1] > 1 and np.array_equal(x, x.T):
                self._note(
                    f"{name} is symmetric: the given point cannot see a missing transpose; others were tried, too"
                )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _lifted(x: Any) -> Any:
    """Floats as float64 arrays; integers, flags and everything else as they are."""
    if isinstance(x, (list, tuple)):
        x = np.asarray(x)
    if hasattr(x, "value") and isinstance(x.value, np.ndarray):
        x = x.value
    elif not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
        x = np.asarray(x)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.array(x, np.float64)
    return x


def _near(rng: np.random.Generator, x: np.ndarray, scale: float = 0.5) -> np.ndarray:
    """Random numbers around an array, as far away as its own are from each other."""
    x = np.array(x, np.float64)
    spread = float(np.std(x)) if x.size > 1 else abs(float(np.sum(x)))
    return x + scale * (spread if spread > 1e-3 else 1.0) * rng.standard_normal(x.shape)


def _wants_generator(factory: Callable) -> bool:
    return len(inspect.signature(factory).parameters) > 0
