"""What forward saved for backward: another array put in its place tells whether the wrong one was saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.check.probes import Probe, Prober, copied, packed, quietly
from chainrule.check.record import Tape, lifted
from chainrule.check.transforms import Explanation, operand

TRIED = 1500  # runs of backward
ALMOST = 1e-2  # arrays that differ by less, relative to their size, differ by an epsilon

Path = tuple  # of keys and indices, from what a session keeps to one array


@dataclass(frozen=True)
class Slot:
    """One array that forward saved: what the user calls it, and how to get there."""

    label: str
    root: int
    path: Path


def wrongly_saved(
    prober: Prober, probes: Sequence[Probe], mended: Callable[[dict[str, Any], Probe], frozenset[str]]
) -> Iterator[tuple[Explanation, frozenset[str]]]:
    """Arrays that forward saved where another was needed, with the gradients that the other one mends.

    ``mended(found, probe)`` says which wrong gradients these numbers put right.
    """
    if not probes:
        return
    screen = min(probes, key=lambda p: sum(np.size(x) for x in p.values.values()))
    if screen.tape is None or any(p.tape is None for p in probes):
        return
    stale = _left_over(prober, probes)
    if stale is not None:
        yield stale, frozenset(screen.found)
        return
    runs = 0
    for slot, array in _slots(prober, screen):
        for which in _candidates(screen.tape):
            other = _value(screen.tape, which)
            if other is None or other.shape != array.shape or np.array_equal(other, array) or runs > TRIED:
                continue
            runs += 1
            names = mended(_with(prober, screen, slot, other), screen)
            for p in probes:
                if names and p is not screen and p.tape is not None:
                    names &= mended(_with(prober, p, slot, _value(p.tape, which)), p)
            if names:
                yield _explained(slot, array, other, which, screen.tape), names
                break


def _candidates(tape: Tape) -> list[tuple[int, int | None]]:
    """Every array of the forward: a node's value (place None), or a constant array that it was given."""
    found: list[tuple[int, int | None]] = [(i, None) for i in range(len(tape.nodes))]
    for i, node in enumerate(tape.nodes):
        found += [(i, place) for place, x in enumerate(node.inputs) if isinstance(x, np.ndarray) and x.ndim]
    return found


def _value(tape: Tape, which: tuple[int, int | None]) -> np.ndarray | None:
    index, place = which
    if index >= len(tape.nodes):
        return None
    return tape.nodes[index].value if place is None else tape.nodes[index].inputs[place]


def _left_over(prober: Prober, probes: Sequence[Probe]) -> Explanation | None:
    """What forward saved, if it is an earlier call's value and not this one's."""
    for k, later in enumerate(probes):
        for earlier in probes[:k]:
            if earlier.sizes != later.sizes or earlier.tape is None or later.tape is None:
                continue
            for slot, array in _slots(prober, later):
                for i, (then, now) in enumerate(zip(earlier.tape.nodes, later.tape.nodes, strict=False)):
                    differ = then.value.shape == now.value.shape and not np.array_equal(then.value, now.value)
                    if differ and np.array_equal(array, then.value) and array.size > 1:
                        return Explanation(
                            "stale",
                            f"{slot.label} holds `{earlier.tape.name(i)}` of an earlier call",
                            "save everything anew at every call",
                            firm=True,
                        )
    return None


def _explained(
    slot: Slot, array: np.ndarray, other: np.ndarray, which: tuple[int, int | None], tape: Tape
) -> Explanation:
    index, place = which
    belongs = tape.name(index) if place is None else operand(tape.nodes[index].place.text, place) or "another constant"
    holds = next((tape.name(i) for i, n in enumerate(tape.nodes) if np.array_equal(n.value, array)), "")
    text = f"{slot.label} holds `{holds}`" if holds else f"{slot.label} holds another array"
    almost = bool(np.max(np.abs(array - other)) <= ALMOST * np.max(np.abs(other)))
    return Explanation(
        "eps" if almost else "wrong-saved",
        f"{text}; with `{belongs}` in its place backward is right",
        f"save `{belongs}` where `{holds or slot.label}` is saved",
    )


def _with(prober: Prober, probe: Probe, slot: Slot, value: np.ndarray | None) -> dict[str, Any]:
    """The gradients when a saved array is replaced."""
    if value is None:
        return {}
    with quietly(prober.seed), lifted(prober.target):
        session = prober.target.start()
        session.forward(copied(probe.values))
        _, get, put = _roots(session)[slot.root]
        put(_replaced(get(), slot.path, value.copy()))
        try:
            return dict(session.backward(packed(probe.gy, probe.single)))
        except Exception:  # whatever backward does with an array it was not made for
            return {}


def _slots(prober: Prober, probe: Probe) -> list[tuple[Slot, np.ndarray]]:
    with quietly(prober.seed), lifted(prober.target):
        session = prober.target.start()
        session.forward(copied(probe.values))
    found = []
    for root, (label, get, _) in enumerate(_roots(session)):
        for path, array in _arrays(get(), ()):
            where = label + "".join(f"[{key!r}]" if isinstance(key, (int, str)) else "" for key in path)
            found.append((Slot(where, root, path), array))
    return found


def _roots(session: Any) -> list[tuple[str, Callable[[], Any], Callable[[Any], None]]]:
    """Where a session keeps what forward saved: the cache, a context, an object's attributes, a closure's cells."""
    roots: list[tuple[str, Callable[[], Any], Callable[[Any], None]]] = []
    saved = getattr(session, "saved", None)
    if isinstance(saved, list):
        for i in range(len(saved)):
            roots.append(("the cache", _getter(saved, i), _setter(saved, i)))
    for attribute, label in (("ctx", "ctx"), ("obj", "self")):
        holder = getattr(session, attribute, None)
        for key in list(vars(holder)) if hasattr(holder, "__dict__") else []:
            space = vars(holder)
            roots.append((f"{label}.{key.lstrip('_')}", _getter(space, key), _setter(space, key)))
    for pullback in _functions(getattr(session, "back", None)):
        for name, cell in zip(pullback.__code__.co_freevars, pullback.__closure__ or (), strict=True):
            roots.append((f"`{name}`", _cell_getter(cell), _cell_setter(cell)))
    return roots


def _functions(back: Any) -> list[Any]:
    parts = back.values() if isinstance(back, dict) else back if isinstance(back, (tuple, list)) else [back]
    return [part for part in parts if hasattr(part, "__code__")]


def _getter(space: Any, key: Any) -> Callable[[], Any]:
    return lambda: space[key]


def _setter(space: Any, key: Any) -> Callable[[Any], None]:
    return lambda value: space.__setitem__(key, value)


def _cell_getter(cell: Any) -> Callable[[], Any]:
    return lambda: cell.cell_contents


def _cell_setter(cell: Any) -> Callable[[Any], None]:
    return lambda value: setattr(cell, "cell_contents", value)


def _arrays(x: Any, path: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """The float arrays in nested tuples, lists and dictionaries, with the way to each."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        yield path, x
    elif isinstance(x, (tuple, list, dict)) and len(path) < 4:
        for key, part in x.items() if isinstance(x, dict) else enumerate(x):
            yield from _arrays(part, (*path, key))


def _replaced(x: Any, path: Path, value: np.ndarray) -> Any:
    """The same structure with another array at the end of the path."""
    if not path:
        return value
    key, *rest = path
    if isinstance(x, dict):
        return {**x, key: _replaced(x[key], tuple(rest), value)}
    parts = list(x)
    parts[key] = _replaced(parts[key], tuple(rest), value)
    if isinstance(x, tuple):
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return parts
