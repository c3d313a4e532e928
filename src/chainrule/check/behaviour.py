"""What a backward pass must not do, whatever its numbers: change its inputs, answer twice differently, remember."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.check.probes import Probe, Prober, copied, packed, quietly
from chainrule.check.record import lifted
from chainrule.check.report import Finding
from chainrule.check.target import Target, Unusable

RUNS = 8  # of code that may be random


def misbehaviour(prober: Prober, probes: Sequence[Probe], expected: Sequence[str]) -> Iterator[Finding]:
    """A finding for each thing that the code does beside computing."""
    yield from _in_place(prober, probes[0])
    differing = list(_nondeterministic(prober.target, probes[0]))
    yield from differing
    if not differing:
        yield from _memory(prober, probes[0], expected)
    yield from _narrow(prober.target, probes[0], expected)


def _in_place(prober: Prober, probe: Probe) -> Iterator[Finding]:
    given = copied(probe.values)
    with quietly(prober.seed), lifted(prober.target):
        session = prober.target.start()
        session.forward(given)
        yield from _modified("forward", probe.values, given)
        given, gy = copied(probe.values), packed(probe.gy, probe.single)
        session = prober.target.start()
        session.forward(given)
        after_forward = copied(given)
        session.backward(gy)
    yield from _modified("backward", after_forward, given)
    for mine, theirs in zip(probe.gy, gy if isinstance(gy, tuple) else (gy,), strict=True):
        if not np.array_equal(mine, theirs, equal_nan=True):
            yield _changed("gy", "backward")
            return


def _modified(stage: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Finding]:
    for name, x in before.items():
        if isinstance(x, np.ndarray) and not np.array_equal(x, after[name], equal_nan=x.dtype.kind == "f"):
            yield _changed(name, stage)


def _changed(name: str, stage: str) -> Finding:
    return Finding(
        name,
        "wrong",
        "in-place",
        "proved",
        f"in {stage}",
        f"{stage} changes {name} itself: whoever else holds this array sees other numbers afterwards",
        f"work on a copy: {name} = {name}.copy(), or write a = a * b for a *= b and np.where for a[mask] = 0",
    )


def _nondeterministic(target: Target, probe: Probe) -> Iterator[Finding]:
    """Several runs with the generators as they come: two alone may agree by chance."""
    runs: list[tuple[Any, dict[str, Any]]] = []
    with quietly():
        for _ in range(RUNS):
            session = target.start()
            y = session.forward(copied(probe.values))
            runs.append((y, session.backward(packed(probe.gy, probe.single))))
    y, first = runs[0]
    z, second = next((run for run in runs if not _equal(run[0], y) or not _same(run[1], first)), runs[0])
    if not _equal(y, z):
        yield Finding(
            "forward",
            "inconclusive",
            "nondeterministic",
            "proved",
            "",
            "two calls of forward with the same inputs gave different outputs: it is not a function of its inputs, so "
            "it has no gradient to compare with; what is said of the gradients holds for one fixed seed of the global "
            "generators",
            "pass the random numbers in (a mask, a Generator made afresh), or check in evaluation mode",
        )
    elif any(not _equal(first[name], second.get(name)) for name in first):
        name = next(name for name in first if not _equal(first[name], second.get(name)))
        yield Finding(
            name,
            "wrong",
            "nondeterministic",
            "proved",
            "in backward",
            "two calls with the same inputs and the same gy gave different gradients",
            "take out what is random in backward, or save it in forward",
        )


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(_equal(a[name], b.get(name)) for name in a)


def _equal(a: Any, b: Any) -> bool:
    parts = (a, b) if isinstance(a, tuple) and isinstance(b, tuple) else ((a,), (b,))
    return len(parts[0]) == len(parts[1]) and all(
        np.shape(x) == np.shape(y) and np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f")
        for x, y in zip(*parts, strict=True)
        if x is not None
    )


def _memory(prober: Prober, first: Probe, expected: Sequence[str]) -> Iterator[Finding]:
    """The same object used for two calls in a row, against a fresh one: what is left over from the first?"""
    later = _later(prober, first, expected)
    if later is None:
        return
    with quietly(prober.seed), lifted(prober.target):
        session = prober.target.start()
        try:
            session.forward(copied(first.values))
            before = dict(session.backward(packed(first.gy, first.single)))
            before = {name: None if g is None else np.array(g) for name, g in before.items()}
            y = session.forward(copied(later.values))
            if not _equal(y, later.y[0] if later.single else tuple(later.y)):
                yield from _remembering(prober, later, y)
                return
            found = dict(session.backward(packed(later.gy, later.single)))
        except Unusable as err:
            yield Finding(
                "backward",
                "wrong",
                "stale",
                "likely",
                err.where,
                f"the second call on the same object fails, the first does not: {err}",
                "let forward save everything anew at every call",
            )
            return
    kept = {}
    for name in expected:
        alone, again, earlier = later.found.get(name), found.get(name), before.get(name)
        if alone is None or again is None or np.shape(alone) != np.shape(again):
            continue
        if not np.all(np.isfinite(np.asarray(alone, float))):
            continue
        if np.max(np.abs(alone), initial=0) <= later.tolerance(name):
            continue  # nothing, or what rounding leaves of it: written over or added up, it is the same
        tolerance = _tolerance(later, name, alone)
        if not np.isfinite(tolerance):
            continue  # the truth is NaN: the point lies at the border of where forward is defined
        if later.same(again, alone, tolerance):
            kept[name] = False
        elif earlier is not None and later.same(
            again, np.asarray(alone) + earlier, tolerance + _tolerance(first, name, earlier)
        ):
            kept[name] = True
        else:
            yield _stale(name, later, first, again)
    yield from _overwritten(prober.target, kept)


def _remembering(prober: Prober, later: Probe, y: Any) -> Iterator[Finding]:
    """A forward whose output depends on what went before: on earlier inputs, or only on how often it was called?"""
    session = prober.target.start()
    session.forward(copied(later.values))
    if not _equal(session.forward(copied(later.values)), y):  # with a generator or a counter it would be the same
        evidence = "after an earlier call on the same object forward gives another output than on a fresh object"
        fix = "let forward save its values anew at every call"
        yield Finding("forward", "wrong", "stale", "proved", "", evidence, fix)


def _later(prober: Prober, first: Probe, expected: Sequence[str]) -> Probe | None:
    """The same examples in the opposite order, and other numbers, where forward has examples along the first axis."""
    batch = next((x.shape[0] for x in first.values.values() if isinstance(x, np.ndarray) and x.ndim), 0)
    values = {
        name: x[::-1].copy() if isinstance(x, np.ndarray) and x.ndim and x.shape[0] == batch else x
        for name, x in first.values.items()
    }
    for name in expected:  # a batch in another order has the same mean; these numbers stay within (0, 1), or positive
        values[name] = values[name] * np.linspace(0.8, 0.95, values[name].size).reshape(values[name].shape)
    try:
        later = prober.probe(values, np.random.default_rng(prober.seed))
    except Unusable:
        return None
    return later if later.failure is None else None


def _tolerance(probe: Probe, name: str, g: Any) -> float:
    return 1e-9 * float(np.max(np.abs(g), initial=0)) + probe.tolerance(name)


def _stale(name: str, later: Probe, first: Probe, again: Any) -> Finding:
    evidence = "after an earlier call on the same object the gradient is another one than on a fresh object"
    if first.tape is not None:
        old = first.tape.gradients(later.gy)[name]
        if later.same(again, old, later.tolerance(name)):
            evidence += ": it is the gradient at the earlier call's inputs"
    return Finding(
        name,
        "wrong",
        "stale",
        "proved",
        "",
        evidence,
        "let forward save its values anew at every call, and backward use those",
    )


def _overwritten(target: Target, kept: Mapping[str, bool]) -> Iterator[Finding]:
    """Among parameters whose gradients add up over calls, those whose gradient does not."""
    held = {name: adds for name, adds in kept.items() if name in target.parameters}
    if not held or not (target.accumulates or any(held.values())):
        return
    others = [name for name, adds in held.items() if adds]
    for name, adds in held.items():
        if not adds:
            says = f"those of {', '.join(others)} do" if others else "a .grad adds up until zero_grad"
            yield Finding(
                name,
                "wrong",
                "overwrite",
                "proved",
                "in backward",
                f"after two calls the gradient is the second call's alone; gradients here add up ({says})",
                f"add to the gradient of {name}: += where = stands",
            )


def _narrow(target: Target, probe: Probe, expected: Sequence[str]) -> Iterator[Finding]:
    """Gradients in a number type that cannot hold them, though inputs and outputs are float64."""
    with quietly():
        session = target.start()
        own = {
            name: x.astype(target.parameters[name].dtype)
            for name, x in probe.values.items()
            if name in target.parameters
        }
        y = session.forward({**copied(probe.values), **own})
        found = session.backward(packed(probe.gy, probe.single))
    outputs = [np.asarray(part) for part in (y if isinstance(y, tuple) else (y,))]
    for name in expected:
        g = found.get(name)
        if not isinstance(g, np.ndarray | np.generic) or not g.size:
            continue
        widths = [part.dtype.itemsize for part in outputs] + [x.dtype.itemsize for x in own.values()]
        narrower = g.dtype.kind == "f" and g.dtype.itemsize < min(widths)
        if g.dtype.kind in "iub" or narrower:
            yield Finding(
                name,
                "wrong",
                "dtype",
                "proved",
                "in backward",
                f"the gradient is {g.dtype}; its input is {probe.values[name].dtype}, the output {outputs[0].dtype}",
                f"compute it in {name}'s own type: np.zeros_like({name}), np.zeros({name}.shape, {name}.dtype)",
            )
