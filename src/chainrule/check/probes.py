"""Probes: a point, a gradient coming in, what the user's backward gives there, and what it must give."""

from __future__ import annotations

import functools
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.check.record import Edge, NotRecordable, Tape, lifted, record
from chainrule.check.target import Target, Unusable
from chainrule.check.truth import numeric_gradient

EXACT = 1e-7  # relative difference that rounding in float64 may make, with room; the truth itself is good to 1e-10
ENTRIES = 4000  # so many partial derivatives are taken one by one where the forward cannot be recorded
LOOKED_AT = 12  # entries that differ are looked at for kinks first; all others only if there is one among them
ONE_SIDED = 1e-6  # the step of one-sided differences, which tell a kink
SECONDS = 3.0  # or so long at most; otherwise along a few random directions
DIRECTIONS = 3  # random directions along which a recorded truth is compared with differences of the forward


@dataclass
class Probe:
    """One point.

    Attributes:
        values: all inputs and parameters, by name.
        gy: the gradient coming in, one array for each output.
        y: the outputs.
        found: the user's gradients; None where none was returned.
        truth: what they must be.
        error: how far the truth may be off, by name.
        slopes: of a gradient that is too large for one difference an entry: random directions, and the slopes there.
        blind: entries that lie on a kink, where no gradient is the only right one: they are not compared.
        tape: the recorded forward; None where it cannot be recorded.
        single: does forward return one array, not a tuple?
        rounding: the relative rounding of a forward that computes in less than float64; 0 otherwise.
        failure: what backward raised, if it did; then nothing was found.
    """

    values: dict[str, Any]
    gy: list[np.ndarray]
    y: list[np.ndarray]
    found: dict[str, Any]
    truth: dict[str, np.ndarray] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    slopes: dict[str, list[tuple[np.ndarray, float, float]]] = field(default_factory=dict)
    blind: dict[str, np.ndarray] = field(default_factory=dict)
    tape: Tape | None = None
    single: bool = True
    rounding: float = 0.0
    failure: Unusable | None = None

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of all inputs: two probes of the same sizes compare equal here."""
        return tuple(np.shape(x) for x in self.values.values())

    @functools.cached_property
    def shifts(self) -> list[Edge]:
        """The edges into a maximum that changes no gradient, as in ``exp(x - x.max())``: nobody derives through it."""
        if self.tape is None:
            return []
        edges = [(i, 0) for i, n in enumerate(self.tape.nodes) if n.op is not None and n.op.name == "max"]
        if edges:
            without = self.tape.gradients(self.gy, dict.fromkeys(edges, lambda gy, g: np.zeros_like(g)))
            if not all(self.right(name, g) for name, g in without.items()):
                return []
        return edges

    @property
    def slack(self) -> float:
        """The relative difference that a narrow forward's rounding may make; 0 for float64."""
        return self.rounding * (1e4 if self.rounding < 1e-5 else 30)

    def tolerance(self, name: str) -> float:
        """A difference of this size or less is none."""
        size = float(np.max(np.abs(self.truth.get(name, 0)), initial=0))
        return max(EXACT, self.slack) * size + self._floor(size) + 4 * self.error.get(name, 0.0)

    def _floor(self, size: float) -> float:
        """What rounding leaves of a gradient that is zero."""
        incoming = max((float(np.max(np.abs(g), initial=0)) for g in self.gy), default=0.0)
        floor = max(1e-12, 10 * self.rounding) * max(1.0, incoming)
        return floor if size <= 10 * floor else 0.0

    def informs(self, name: str) -> bool:
        """Is the truth known here well enough to judge by?"""
        size = float(np.max(np.abs(self.truth.get(name, 0)), initial=0))
        if name in self.slopes:
            return True
        hidden = name in self.blind and bool(self.blind[name].all())
        known = self.error.get(name, 0.0) <= max(1e-4, self.slack) * max(size, 1e-3)
        return name in self.truth and not hidden and bool(np.isfinite(size)) and known

    def right(self, name: str, found: Any) -> bool:
        """Is this the gradient of ``name``?"""
        if name in self.slopes:
            return self._right_along(name, found)
        close = self.same(found, self.truth[name], self.tolerance(name), name)
        return close and (self.tape is None or self.rounding > 0 or self._right_everywhere(name, found))

    def _right_everywhere(self, name: str, found: Any) -> bool:
        """Are the small entries right, too, beside large ones?"""
        truth = self.truth[name]
        size = float(np.max(np.abs(truth), initial=0))
        room = 1e-10 * size + 1e-4 * np.abs(truth) + self._floor(size) + 4 * self.error.get(name, 0.0)
        off = np.abs(np.asarray(found, float) - truth)
        return bool(np.all((off <= room) | self.blind.get(name, np.zeros(truth.shape, bool))))

    def _right_along(self, name: str, found: Any) -> bool:
        """Does it give the slopes along the random directions?"""
        found = np.asarray(found)
        if found.shape != np.shape(self.values[name]) or found.dtype.kind not in "fiub":
            return False
        return all(
            abs(float(np.sum(found * v)) - slope) <= 1e-6 * float(np.linalg.norm(found)) + 10 * error + 1e-9
            for v, slope, error in self.slopes[name]
        )

    def same(self, a: Any, b: Any, tolerance: float, name: str = "") -> bool:
        """Two arrays of the same shape, equal within the tolerance, apart from the entries of ``name`` on a kink."""
        if np.shape(a) != np.shape(b) or np.asarray(a).dtype.kind not in "fiub":
            return False
        with np.errstate(all="ignore"):
            close = np.abs(np.asarray(a, float) - b) <= tolerance
        blind = self.blind.get(name)
        return bool(np.all(close if blind is None or blind.shape != close.shape else close | blind))

    def matches(self, name: str, candidate: Any) -> bool:
        """Is ``candidate`` what the user returned for ``name``? Its own size sets the tolerance."""
        found = self.found.get(name)
        if found is None or candidate is None or np.shape(candidate) != np.shape(found):
            return False
        size = float(np.max(np.abs(candidate), initial=0))
        if not np.isfinite(size):
            return False
        room = max(EXACT, self.slack) * size + self._floor(size) + 4 * self.error.get(name, 0.0)
        return self.same(found, candidate, room, name)


class Prober:
    """Makes probes of one target."""

    def __init__(self, target: Target, seed: int):
        self.target = target
        self.seed = seed

    def forward(self, values: Mapping[str, Any]) -> tuple[list[np.ndarray], bool]:
        """The outputs, and whether there is one that is no tuple.

        Raises:
            Unusable: the forward raised, or what it returned is no array of numbers.
        """
        with quietly(self.seed), lifted(self.target):
            y = self.target.start().forward(copied(values))
        return outputs(y), not isinstance(y, tuple)

    def gradients(
        self, values: Mapping[str, Any], gy: Sequence[np.ndarray], single: bool
    ) -> dict[str, np.ndarray | None]:
        """What the user's backward returns, on a fresh session."""
        with quietly(self.seed), lifted(self.target):
            session = self.target.start()
            session.forward(copied(values))
            return {name: _numbers(g) for name, g in session.backward(packed(gy, single)).items()}

    def probe(self, values: Mapping[str, Any], rng: np.random.Generator) -> Probe:
        """A probe here, with a random gradient coming in; its truth is computed for every float input.

        Raises:
            Unusable: the forward raised, or did not return real numbers.
        """
        y, single = self.forward(values)
        for part in y:
            if part.dtype.kind == "c":
                raise Unusable("forward", f"forward returned complex numbers ({part.dtype}), expected real ones")
            if part.size and np.isnan(part).all():
                raise Unusable("forward", "forward returned NaN everywhere, for inputs without one")
        gy = [incoming(rng, part) for part in y]
        probe = Probe(dict(values), gy, y, {}, single=single)
        try:
            probe.found = self.gradients(values, gy, single)
        except Unusable as err:
            probe.failure = err
        probe.rounding = self.rounding(probe)
        self.find_truth(probe, rng)
        return probe

    def rounding(self, probe: Probe) -> float:
        """The relative rounding of forward, if it is coarser than float64's: it does not see smaller changes."""
        floats = [name for name, x in probe.values.items() if is_float(x) and x.size]
        for unit in (2.0**-8, 2.0**-10, 2.0**-23):  # bfloat16, float16, float32
            near = {name: probe.values[name] * (1 + unit / 64) for name in floats}
            far = {name: probe.values[name] * (1 + 64 * unit) for name in floats}
            try:
                y, _ = self.forward({**probe.values, **near})
                z, _ = self.forward({**probe.values, **far})
            except Unusable:
                continue
            same = [float(np.mean(a == b)) for a, b in zip(probe.y, y, strict=True) if a.size]
            moved = [float(np.mean(a != b)) for a, b in zip(probe.y, z, strict=True) if a.size]
            if same and min(same) > 0.5 and max(moved) > 0.5:
                return unit
        return 0.0

    def find_truth(self, probe: Probe, rng: np.random.Generator) -> None:
        """By the recorded forward where differences of the plain one confirm it; otherwise by numbers alone."""
        names = [name for name, x in probe.values.items() if is_float(x)]
        tape = self._recorded(probe)
        if tape is not None:
            truth = tape.gradients(probe.gy)
            if all(
                self.confirmed(probe, n, truth[n], rng) or self._apart_from_kinks(probe, n, truth[n]) for n in names
            ):
                probe.tape = tape
                probe.truth.update(truth)
                for name in names:
                    self._note_kinks(probe, name)
                return
        for name in names:
            probe.blind.pop(name, None)
            self.numeric(probe, name)

    def _recorded(self, probe: Probe) -> Tape | None:
        """The tape of this probe, if it gives what the plain forward gave."""
        try:
            with quietly(self.seed):
                tape, y = record(self.target, probe.values)
        except NotRecordable:
            return None
        agree = len(y) == len(probe.y) and all(np.allclose(a, b, 1e-9, 1e-12) for a, b in zip(y, probe.y, strict=True))
        return tape if agree else None

    def _apart_from_kinks(self, probe: Probe, name: str, gradient: np.ndarray) -> bool:
        """Is this the gradient but for entries on a kink? These are noted."""
        if gradient.size > ENTRIES // 10 or probe.rounding:
            return False
        differs = np.zeros(gradient.shape, bool)
        for j in np.ndindex(gradient.shape):
            v = np.zeros(gradient.shape)
            v[j] = 1.0
            slope = self.slope(probe, name, v)
            differs[j] = not abs(slope.value - gradient[j]) <= 1e-6 * (1 + abs(gradient[j])) + 10 * float(slope.error)
        probe.blind[name] = self._kinks(probe, name, differs)
        return bool(np.all(probe.blind[name] | ~differs))

    def _note_kinks(self, probe: Probe, name: str) -> None:
        """Where the user's gradient differs from the truth, is it at kinks? There both may be right."""
        found, truth = probe.found.get(name), probe.truth[name]
        if probe.rounding or found is None or found.shape != truth.shape or found.dtype.kind not in "fiub":
            return
        differs = ~(np.abs(found - truth) <= np.maximum(1e-6 * (1 + np.abs(truth)), probe.tolerance(name)))
        first = np.zeros(truth.shape, bool)
        first.flat[np.flatnonzero(differs)[:LOOKED_AT]] = True
        kinks = self._kinks(probe, name, first)
        if kinks.any() and differs.sum() <= ENTRIES // 10:
            kinks = self._kinks(probe, name, differs)
        if kinks.any():
            probe.blind[name] = kinks | probe.blind.get(name, False)

    def _kinks(self, probe: Probe, name: str, among: np.ndarray) -> np.ndarray:
        """Which of these entries lie on a kink?"""
        kinks = np.zeros(among.shape, bool)
        for j in zip(*np.nonzero(among), strict=True) if among.ndim else [()] * int(among):
            left, right = self.one_sided(probe, name, tuple(int(i) for i in j))
            kinks[j] = abs(right - left) > 1e-3 * max(1.0, abs(right), abs(left))
        return kinks

    def one_sided(self, probe: Probe, name: str, j: tuple[int, ...]) -> tuple[float, float]:
        """The slopes to the left and to the right of an entry."""
        x = probe.values[name]
        here = self.loss(probe, name, x)
        up, down = x.copy(), x.copy()
        up[j] += ONE_SIDED
        down[j] -= ONE_SIDED
        right = (self.loss(probe, name, up) - here) / ONE_SIDED
        left = (here - self.loss(probe, name, down)) / ONE_SIDED
        return float(left), float(right)

    def confirmed(self, probe: Probe, name: str, gradient: np.ndarray, rng: np.random.Generator) -> bool:
        """Does the loss change along random directions as this gradient says?"""
        x = probe.values[name]
        for _ in range(DIRECTIONS):
            v = rng.standard_normal(x.shape)
            slope = self.slope(probe, name, v)
            expected = float(np.sum(gradient * v))
            room = max(1e-6, probe.slack) * float(np.sqrt(np.sum((gradient * v) ** 2))) + 1e-9
            room += 10 * float(slope.error)
            if not abs(slope.value - expected) <= room:
                return False
        return True

    def slope(self, probe: Probe, name: str, v: np.ndarray) -> Any:
        """The derivative of sum(gy * y) along ``v``, with its error."""
        x = probe.values[name]
        return self._by_differences(probe, lambda t: self.loss(probe, name, x + t * v), np.zeros(()))

    def _by_differences(self, probe: Probe, f: Callable[[Any], Any], x: np.ndarray) -> Any:
        """Raises: Unusable: the forward raises however close to this point, where it ran before."""
        step = 1e-3 if probe.rounding == 0 else 0.03 if probe.rounding < 1e-5 else 0.2
        try:
            return numeric_gradient(f, x, step=step)
        except ValueError as err:
            if isinstance(err.__cause__, Unusable):
                raise err.__cause__ from None
            raise

    def loss(self, probe: Probe, name: str, x: np.ndarray) -> Any:
        """Sum of gy * y with ``x`` in the place of an input. Complex where ``x`` is."""
        try:
            y, _ = self.forward({**probe.values, name: x})
        except Unusable as err:
            raise ValueError(str(err)) from err
        return sum((g * part).sum() for g, part in zip(probe.gy, y, strict=True))

    def numeric(self, probe: Probe, name: str) -> None:
        """The truth of one gradient from values of the forward alone."""
        x = probe.values[name]
        start = time.perf_counter()
        try:
            self.loss(probe, name, x)
        except ValueError:
            return  # forward does not run a second time
        if x.size > ENTRIES or x.size * 14 * (time.perf_counter() - start) > SECONDS:
            rng = np.random.default_rng(self.seed)
            for v in (rng.standard_normal(x.shape) for _ in range(2 * DIRECTIONS)):
                slope = self.slope(probe, name, v)
                probe.slopes.setdefault(name, []).append((v, float(slope.value), float(slope.error)))
            return
        truth = self._by_differences(probe, lambda x: self.loss(probe, name, x), x)
        probe.truth[name] = truth.value
        self._note_kinks(probe, name)
        seen = ~probe.blind.get(name, np.zeros(x.shape, bool))
        probe.error[name] = float(np.max(truth.error[seen], initial=0))


# ------------------------------------------------------------------------------------------------------ small things


def is_float(x: Any) -> bool:
    """Is this an array that can have a gradient?"""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same arrays, apart, so that what the user's code does to them stays with it."""
    return {name: x.copy() if isinstance(x, np.ndarray) else x for name, x in values.items()}


def outputs(y: Any) -> list[np.ndarray]:
    """What forward returned, as arrays of numbers.

    Raises:
        Unusable: it is something else.
    """
    try:
        arrays = [np.asarray(part) for part in (y if isinstance(y, tuple) else (y,))]
    except ValueError:
        raise Unusable("forward", "forward returned lists of unequal lengths, expected an array of numbers") from None
    for part in arrays:
        if part.dtype.kind not in "fiubc":
            found = "None" if y is None else f"an array of {part.dtype}"
            raise Unusable("forward", f"forward returned {found}, expected an array of numbers")
    return arrays


def _numbers(g: Any) -> np.ndarray | None:
    """A gradient as an array; one that is none becomes an array of objects."""
    if g is None:
        return None
    try:
        return np.asarray(g)
    except ValueError:  # lists of unequal length
        return np.array(str(type(g)), object)


def packed(gy: Sequence[np.ndarray], single: bool) -> Any:
    """``gy`` as backward takes it."""
    copies = tuple(g.copy() for g in gy)
    return copies[0] if single else copies


def incoming(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """A gradient coming in: random, of both signs, nowhere near 0 or 1."""
    return np.asarray(rng.uniform(0.3, 0.9, y.shape) * rng.choice([-1.0, 1.0], y.shape) * 2.3)


@contextmanager
def quietly(seed: int | None = None) -> Iterator[None]:
    """Run the user's code without its warnings; the global generators are left as they came.

    With a seed they are seeded before; without one, what is random is so.
    """
    state, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for one, complex numbers that lose their imaginary part
            yield
    finally:
        random.setstate(state)
        np.random.set_state(legacy)  # noqa: NPY002
