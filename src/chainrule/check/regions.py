"""A part of the forward taken as one function, from one named value to another: was *its* Jacobian used rightly?

Softmax inside attention, an activation inside a cell: the user writes their derivative as one formula, and it is that
formula which has the mistake, not one of the operations that the tape knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.check.probes import Probe
from chainrule.check.record import Tape
from chainrule.check.transforms import Explanation

SIZE = 240  # entries of a value up to which the Jacobian of a region is computed
REGIONS = 60
LONG = 150  # operations in a tape from which regions are not looked at

Vjp = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (Jacobian, gy, u, v) -> gradient of u

# For a function whose outputs depend on many inputs.
COUPLED: tuple[tuple[str, str, Vjp], ...] = (
    (
        "elementwise-for-jacobian",
        "gy x its Jacobian's diagonal",
        lambda J, g, u, v: np.diagonal(J).reshape(g.shape) * g,
    ),
    ("jacobian-transposed", "J gy for J^T gy", lambda J, g, u, v: (J @ g.ravel()).reshape(g.shape)),
    ("upstream-ignored", "its Jacobian without gy", lambda J, g, u, v: J.sum(0).reshape(g.shape)),
    ("parameter-missing", "gy itself: the derivative is left out", lambda J, g, u, v: g),
)


def _diagonal(J: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.diagonal(J).reshape(g.shape)


# For an element-wise function: its derivative at each entry, replaced.
ELEMENTWISE: tuple[tuple[str, str, Vjp], ...] = (
    ("parameter-missing", "gy itself: the derivative is left out", lambda J, g, u, v: g),
    ("upstream-ignored", "the derivative without gy", lambda J, g, u, v: _diagonal(J, g)),
    ("upstream-twice", "gy^2 x the derivative", lambda J, g, u, v: _diagonal(J, g) * g * g),
)
# For one whose derivative is v (1 - v), 1 - v^2, or 0 and 1.
SIGMOID: tuple[tuple[str, str, Vjp], ...] = (
    ("wrong-saved", "u (1 - u), the input where the output belongs", lambda J, g, u, v: g * u * (1 - u)),
    ("sign", "v (1 + v)", lambda J, g, u, v: g * v * (1 + v)),
    ("parameter-missing", "1 - v: the factor v is left out", lambda J, g, u, v: g * (1 - v)),
    ("parameter-missing", "v: the factor 1 - v is left out", lambda J, g, u, v: g * v),
)
TANH: tuple[tuple[str, str, Vjp], ...] = (
    ("wrong-saved", "1 - u^2, the input where the output belongs", lambda J, g, u, v: g * (1 - u**2)),
    ("sign", "1 + v^2", lambda J, g, u, v: g * (1 + v**2)),
    ("parameter-missing", "1 - v, where v is squared", lambda J, g, u, v: g * (1 - v)),
)
STEP: tuple[tuple[str, str, Vjp], ...] = (
    ("mask", "1 - the derivative: the mask is inverted", lambda J, g, u, v: g * (1 - _diagonal(J, g))),
    ("mask", "the sign of gy where the input's belongs", lambda J, g, u, v: g * (g > 0)),
)


def _alternatives(J: np.ndarray, v: np.ndarray) -> tuple[tuple[str, str, Vjp], ...]:
    """What might have been written for this derivative."""
    derivative = np.diagonal(J)
    if np.any(J - np.diag(derivative)):
        return COUPLED
    v = v.ravel()
    if np.allclose(derivative, v * (1 - v), 1e-9):
        return ELEMENTWISE + SIGMOID
    if np.allclose(derivative, 1 - v**2, 1e-9):
        return ELEMENTWISE + TANH
    return ELEMENTWISE + (STEP if np.all((derivative == 0) | (derivative == 1)) else ())


def regions(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """Mistakes in the derivative of one part of the forward that explain the gradient of ``name``."""
    if any(p.tape is None or np.shape(p.found[name]) != p.truth[name].shape for p in probes):
        return
    screen = min(probes, key=lambda p: sum(np.size(x) for x in p.values.values()))
    tape = _tape(screen)
    if len(tape.nodes) > LONG:
        return
    for u, v in _pairs(tape):
        parts = [part for p in (screen, *probes) if (part := _part(p, name, u, v))]
        if len(parts) <= len(probes):
            continue
        for cause, text, vjp in _alternatives(parts[0].jacobian, tape.nodes[v].value):
            if all(part.explains(name, vjp) for part in parts):
                a, b = tape.name(u), tape.name(v)
                yield Explanation(
                    cause,
                    f"from `{b}` (v) back to `{a}` (u) yours uses {text}; the rest is right",
                    f"use the derivative of `{b}` with respect to `{a}`",
                    f"forward, {tape.nodes[v].place}",
                    firm=cause not in ("mask", "wrong-saved", "parameter-missing"),
                )
                return


@dataclass
class _Part:
    """The forward from one value to another, at one point."""

    probe: Probe
    jacobian: np.ndarray
    gy: np.ndarray
    u: int
    v: int

    def explains(self, name: str, vjp: Vjp) -> bool:
        """Is the user's gradient the right one with ``vjp`` in the place of this part's?"""
        tape = _tape(self.probe)
        yours = vjp(self.jacobian, self.gy, tape.nodes[self.u].value, tape.nodes[self.v].value)
        right = (self.gy.ravel() @ self.jacobian).reshape(self.gy.shape)
        flown = tape.sweep({self.u: yours - right}, {}).get(tape.leaves[name])
        return flown is not None and self.probe.matches(name, self.probe.truth[name] + flown)


def _tape(probe: Probe) -> Tape:
    assert probe.tape is not None
    return probe.tape


def _part(probe: Probe, name: str, u: int, v: int) -> _Part | None:
    tape = _tape(probe)
    if v >= len(tape.nodes) or tape.nodes[v].value.size > SIZE:
        return None
    seeds = {i: g for i, g in zip(tape.outputs, probe.gy, strict=True) if i is not None}
    adjoints = tape.sweep(seeds, {})
    if v not in adjoints or u not in adjoints or adjoints[u].shape != adjoints[v].shape:
        return None
    return _Part(probe, _jacobian(tape, u, v), adjoints[v], u, v)


def _pairs(tape: Tape) -> list[tuple[int, int]]:
    """Values of the same shape, the later one with a name and made from the earlier; near ones first."""
    named = [i for i, n in enumerate(tape.nodes) if (n.place.name or n.op is None) and n.value.size <= SIZE]
    named += [i for i in tape.outputs if i is not None and i not in named and tape.nodes[i].value.size <= SIZE]
    made = [i for i, n in enumerate(tape.nodes) if n.value.size <= SIZE]
    pairs = [(u, v) for u in made for v in named if u < v and tape.nodes[u].value.shape == tape.nodes[v].value.shape]
    pairs = [(u, v) for u, v in pairs if tape.nodes[u].value.ndim and _reaches(tape, u, v)]
    return sorted(pairs, key=lambda pair: pair[1] - pair[0])[:REGIONS]


def _reaches(tape: Tape, u: int, v: int) -> bool:
    seeds = {v: np.ones(tape.nodes[v].value.shape)}
    return u in tape.sweep(seeds, {})


def _jacobian(tape: Tape, u: int, v: int) -> np.ndarray:
    """``(v.size, u.size)``."""
    shape, size = tape.nodes[v].value.shape, tape.nodes[v].value.size
    rows = [tape.sweep({v: unit.reshape(shape)}, {}).get(u) for unit in np.eye(size)]
    return np.array([np.zeros(size) if row is None else row.ravel() for row in rows])
