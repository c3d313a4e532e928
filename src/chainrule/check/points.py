"""Where a backward pass is tried: several points, two sets of sizes, nothing that could hide a mistake."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
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
MORE = 3  # examples in place of a single one
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


def checked_settings(wrt: Any, name: Any, seed: Any) -> tuple[str, ...] | None:
    """``wrt`` as names, for a call whose ``name`` and ``seed`` can be used.

    Raises:
        UsageError: one of the three is of another kind.

    >>> checked_settings("w", None, 0), checked_settings(["x", "w"], "mine", 3)
    (('w',), ('x', 'w'))
    """
    if name is not None and not isinstance(name, str):
        raise UsageError(f"name is {name!r}, expected a text: what the report calls the target")
    integer = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not integer or not 0 <= seed < 2**32:  # NumPy's global generator takes no others
        raise UsageError(f"seed is {seed!r}, expected an integer from 0 to 2**32 - 1")
    if wrt is None:
        return None
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt) if isinstance(wrt, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise UsageError(f'wrt is {wrt!r}, expected names of inputs or parameters, as in wrt=["w"]')
    return names


class Points:
    """Draws the values of all inputs and parameters, again and again.

    Raises:
        UsageError: the inputs, the shapes or the names in ``wrt`` do not fit the target.
    """

    def __init__(
        self,
        target: Target,
        prober: Prober,
        inputs: Any,
        shapes: str | None,
        seed: int,
        wrt: Sequence[str] | None = None,
    ):
        self.target, self.prober, self.seed = target, prober, seed
        self.inputs, self.shapes, self.wrt = inputs, shapes, wrt
        self.notes: list[str] = []
        known = [*target.arguments, *target.parameters]
        unknown = [name for name in wrt or () if name not in known]
        if unknown:
            raise UsageError(
                f"{target.name}: wrt names {', '.join(unknown)}, expected any of {', '.join(known) or 'no names'}"
            )
        if inputs is not None and shapes is not None:
            raise UsageError(f"{target.name}: both inputs and shapes were given; give one of them")
        if inputs is None and shapes is None:
            raise UsageError(
                f"{target.name}: no inputs to check with; pass inputs=(x, w, ...), a function of a NumPy Generator "
                'that returns them, or shapes="n d, d m"'
            )

    def draw(self, targets: Callable | None = None) -> list[Values]:
        """Values for every point, those given first; ``targets`` draws the arguments that look like targets.

        Raises:
            Unusable: forward runs at none of them.
            UsageError: the inputs are not what forward takes, or cannot have a gradient.
        """
        if self.shapes is not None:
            points = self._by_shapes(targets)
        elif callable(self.inputs):
            rngs = [np.random.default_rng([self.seed, i]) for i in range(5)]
            drawn = [self._named(self._made(rng)) for rng in rngs]
            judged = self._judged_numbers(drawn[0])
            points = [
                {**values, **_arrays(values, judged), **self._parameters(rng)}
                for values, rng in zip(drawn, rngs, strict=True)
            ]
        else:
            given = self._named(self.inputs)
            points = self._around({**given, **_arrays(given, self._judged_numbers(given))}, targets)
        self._refuse_without_floats(points[0])
        return points

    def note_unjudged(self, expected: Iterable[str], values: Values) -> None:
        """Say which floating-point inputs are taken for targets, so that no gradient of them is judged."""
        for name, x in values.items():
            if self.wrt is None and is_float(x) and name not in expected:
                self._note(
                    f"{name} is not judged: by its name it is data, and no gradient came back for it; name it in wrt "
                    "if its gradient is wanted"
                )

    def _made(self, rng: np.random.Generator) -> Any:
        """What the user's function of a generator draws."""
        wants_generator = _wants_generator(self.inputs)
        try:
            return self.inputs(rng) if wants_generator else self.inputs()
        except Exception as err:
            raise UsageError(
                f"{self.target.name}: the function given as inputs raised {type(err).__name__}: {err}"
            ) from err

    def _refuse_without_floats(self, values: Values) -> None:
        kinds = {name: str(x.dtype) if isinstance(x, np.ndarray) else type(x).__name__ for name, x in values.items()}
        if not any(map(is_float, values.values())):
            raise UsageError(
                f"{self.target.name}: no input is a floating-point array, so that there is no gradient to check: "
                f"{', '.join(f'{name} is {kind}' for name, kind in kinds.items()) or 'there are no inputs'}"
            )
        other = [name for name in self.wrt or () if not is_float(values.get(name))]
        if other:
            found = kinds.get(other[0], "not given")
            raise UsageError(
                f"{self.target.name}: wrt names {other[0]}, which is {found}; only floating-point arrays have gradients"
            )

    def _refuse_missing(self, names: Iterable[str]) -> None:
        """Fewer inputs than forward needs are the caller's mistake, not the forward's."""
        missing = [name for name in _required(self.target) if name not in names]
        if missing:
            raise UsageError(
                f"{self.target.name}: forward also needs {', '.join(missing)}; its inputs are "
                f"{', '.join(self.target.arguments)}"
            )

    def _judged_numbers(self, given: Values) -> list[str]:
        """The Python floats for which a gradient is wanted or comes back; the others are settings."""
        numbers = [name for name, x in given.items() if isinstance(x, float)]
        found = self._gradients(given) if numbers else None
        return [name for name in numbers if name in (self.wrt or ()) or (found or {}).get(name) is not None]

    def _gradients(self, given: Values) -> dict[str, Any] | None:
        """What comes back here; None where forward or backward does not run."""
        values = {**self.target.parameters, **given}
        try:
            y, single = self.prober.forward(values)
            return self.prober.gradients(values, [np.ones(part.shape) for part in y], single)
        except Unusable:
            return None

    def _by_shapes(self, targets: Callable | None) -> list[Values]:
        parts = parse(self.shapes)
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
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise UsageError(f"{self.target.name}: shapes gives {twice[0]} twice; name all parts, or none")
        self._refuse_missing(names)
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
            unknown = [str(key) for key in inputs if key not in (*self.target.arguments, *self.target.parameters)]
            if unknown:
                raise UsageError(
                    f"{self.target.name}: inputs names {', '.join(unknown)}; forward's inputs are "
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
        self._refuse_missing(given)
        given = {name: self._lifted(name, x) for name, x in given.items()}
        for name, x in given.items():
            if is_float(x) and np.isnan(x).any() and not self._is_data(name, x):
                raise UsageError(f"{self.target.name}: there is a NaN in {name}; no gradient can be checked there")
        return given

    def _lifted(self, name: str, x: Any) -> Any:
        try:
            x = lifted(x)
        except (TypeError, ValueError, RuntimeError) as err:
            reason = str(err).partition(".")[0]
            raise UsageError(
                f"{self.target.name}: {name} cannot be made an array ({reason}); pass one array for each input"
            ) from err
        if getattr(getattr(x, "dtype", None), "kind", "") == "c" or isinstance(x, complex):
            raise UsageError(
                f"{self.target.name}: {name} is complex, expected real numbers: pass its two parts as inputs"
            )
        return x

    def _around(self, given: Values, targets: Callable | None) -> list[Values]:
        """The given point, points near it, and the same with fewer examples, or with more than a single one."""
        rng = np.random.default_rng(self.seed)
        if targets is not None:
            given = {n: targets(rng, x.shape) if self._is_data(n, x) else x for n, x in given.items()}
        self._warn(given)
        present = {name: np.array(x, np.float64) for name, x in self.target.parameters.items()}
        points = [{**given, **{k: v for k, v in present.items() if k not in given}}]
        large = sum(np.size(x) for x in points[0].values()) > LARGE
        resized = self._fewer(given) or self._more(given)
        for base in [given, resized] if large else [given, given, resized, resized]:
            if base is None:
                continue
            for scale in (0.5, 0.05):
                near = {n: self._moved(n, x, rng, scale) for n, x in base.items()}
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

    def _more(self, given: Values) -> Values | None:
        """The same with more examples, where the first axis of the first array says that there is one.

        Whether a row beside it belongs to the example or is a parameter, the gradients tell: theirs are the shapes of
        the inputs in one of both cases only.
        """
        arrays = {name: x for name, x in given.items() if isinstance(x, np.ndarray) and x.ndim}
        first = next(iter(arrays), "")
        if not first or arrays[first].shape[0] != 1:
            return None
        rows = [name for name, x in arrays.items() if x.shape[0] == 1]
        for repeated in (rows, [first]):
            more = {**given, **{name: np.repeat(arrays[name], MORE, 0) for name in repeated}}
            found = self._gradients(more)
            if found is not None and all(g is None or g.shape == np.shape(more.get(n, g)) for n, g in found.items()):
                self._note(
                    f"{first} holds one example, which hides sums and means over examples: {MORE} were tried, too"
                )
                return more
        self._note(f"{first} holds one example, which hides sums and means over examples; pass inputs with several")
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


def lifted(x: Any) -> Any:
    """Arrays of any library as NumPy's, floats as float64; integers, flags and everything else as they are.

    Raises:
        ValueError: it is a list of arrays that do not fit together.

    >>> lifted(np.float32(0.5)), lifted([1, 2]), lifted("tanh")
    (array(0.5), array([1, 2]), 'tanh')
    """
    if isinstance(x, (list, tuple)):
        x = np.asarray(x)
    if hasattr(x, "value") and isinstance(x.value, np.ndarray):
        x = x.value
    elif hasattr(x, "detach") and hasattr(x, "is_floating_point"):  # torch: NumPy has no bfloat16, and no graph
        x = x.detach().cpu()
        x = np.asarray(x.double() if x.is_floating_point() else x)
    elif not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
        x = np.asarray(x)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.array(x, np.float64)
    return x


def _arrays(values: Values, names: Iterable[str]) -> Values:
    return {name: np.array(values[name], np.float64) for name in names}


def _required(target: Target) -> list[str]:
    """The inputs that forward cannot do without, where its signature says so."""
    forward = target.code.get("forward")
    parameters = inspect.signature(forward).parameters.values() if forward else ()
    return [
        p.name
        for p in parameters
        if p.name in target.arguments and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def _near(rng: np.random.Generator, x: np.ndarray, scale: float = 0.5) -> np.ndarray:
    """Random numbers around an array, as far away as its own are from each other."""
    x = np.array(x, np.float64)
    spread = float(np.std(x)) if x.size > 1 else abs(float(np.sum(x)))
    return x + scale * (spread if spread > 1e-3 else 1.0) * rng.standard_normal(x.shape)


def _wants_generator(factory: Callable) -> bool:
    """Does this function take a generator, or nothing?

    Raises:
        UsageError: it needs more.
    """
    for arguments in ((None,), ()):
        with contextlib.suppress(TypeError, ValueError):  # not called so; no signature to read
            inspect.signature(factory).bind(*arguments)
            return bool(arguments)
    raise UsageError("the function given as inputs must take a NumPy Generator, or nothing: lambda rng: (x, w)")
