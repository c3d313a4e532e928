"""The second witness: the truth with one or two edges of the recorded forward changed equals the user's gradient.

An edge is one use of one value by one operation. What flows through it is one term of the gradient: without it a path
was dropped, with its sign changed one term has the wrong sign, with another array in the operation's place a wrong
value was saved.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.check.probes import Probe
from chainrule.check.record import Change, Edge, Tape
from chainrule.check.transforms import CLOSE, Explanation, broadcasts, left_out_or_twice, named_ratio, operand

Key = tuple  # where an edge stands in the source

SMALL = 2e-2  # a constant added to an array, up to this size, is an epsilon
PAIRS = 60  # groups of edges up to which two at a time are tried
LONG = 150  # operations in a tape from which other values are not tried as operands
SECONDS = 2.0  # so long the search may take for one gradient


def terms(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """The mistakes in one edge that explain the gradient of ``name``, the best named place first."""
    if not _recorded(probes, name):
        return
    end = time.monotonic() + SECONDS
    yield from _only_one_use(probes, name, 0, "first")
    for key in _keys(probes[0]):
        if time.monotonic() < end:
            yield from _fitted(probes, name, key)
    yield from _only_one_use(probes, name, -1, "last")
    yield from _epsilons(probes, name)


def operands(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """The mistakes in one operand of one operation: left out, or another array in its place."""
    if not _recorded(probes, name):
        return
    end = time.monotonic() + SECONDS
    yield from _values(probes, name)
    yield from _operands(probes, name, end)
    yield from _values_of_terms(probes, name, end)


def pairs(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """Two edges at once, each with a factor of its own: fitted by least squares."""
    if not _recorded(probes, name):
        return
    screen = min(probes, key=lambda p: sum(np.size(x) for x in p.values.values()))
    keys = [key for key in _keys(screen) if _matters(screen, name, key)]
    if not 2 <= len(keys) <= PAIRS:
        return
    for a, b in _fitting_pairs(screen, name, keys):
        fits = [_two_factors(p, name, a, b) for p in probes]
        if any(fit is None for fit in fits):
            continue
        found = [_factor(probes, name, key, [fit[k] for fit in fits if fit]) for k, key in enumerate((a, b))]
        if all(found):
            first, second = (e for e in found if e)
            yield Explanation(
                first.cause, f"{first.evidence}; and {second.evidence}", f"{first.fix}; {second.fix}", first.where
            )
            return


def _only_one_use(probes: Sequence[Probe], name: str, which: int, text: str) -> Iterator[Explanation]:
    """Of an input that the same line of a loop uses again and again, the contribution of one round alone."""
    if all(p.matches(name, _one_use(p, name, which)) for p in probes):
        tape = _tape(probes[0])
        uses = _uses(tape, name)
        place = tape.nodes[uses[0][0]].place
        yield Explanation(
            "overwrite",
            f"yours is the contribution of the {text} use of {name} alone; `{place.text}` uses it {len(uses)} times",
            f"add the contributions up: += where = stands for the gradient of {name}",
            f"forward, {place}",
        )


def _uses(tape: Tape, name: str) -> list[Edge]:
    return [e for edges in tape.edges.values() for e in edges if _input(tape, e) == tape.leaves[name]]


def _one_use(probe: Probe, name: str, which: int) -> Any:
    tape = _tape(probe)
    uses = sorted(_uses(tape, name))
    if len(uses) < 2 or len({tape.nodes[index].place.span for index, _ in uses}) > 1:
        return None
    return tape.gradients(probe.gy, {e: _zero for e in uses if e != uses[which]})[name]


def _fitting_pairs(probe: Probe, name: str, keys: Sequence[Key]) -> list[tuple[Key, Key]]:
    """The pairs of edges whose contributions, each times a number, add up to what is wrong here."""
    truth = probe.truth[name]
    difference = (np.asarray(probe.found[name], float) - truth).ravel()
    parts = np.array([(truth - _without(probe, name, key)).ravel() for key in keys])
    gram, along = parts @ parts.T, parts @ difference
    enough = 1e-9 * float(difference @ difference)
    found = []
    for a, b in itertools.combinations(range(len(keys)), 2):
        determinant = gram[a, a] * gram[b, b] - gram[a, b] ** 2
        if determinant > 1e-9 * gram[a, a] * gram[b, b]:
            x = (gram[b, b] * along[a] - gram[a, b] * along[b]) / determinant
            y = (gram[a, a] * along[b] - gram[a, b] * along[a]) / determinant
            rest = difference - x * parts[a] - y * parts[b]
            if float(rest @ rest) <= enough:
                found.append((keys[a], keys[b]))
    return found


def _two_factors(probe: Probe, name: str, a: Key, b: Key) -> tuple[float, float] | None:
    truth = probe.truth[name]
    if not {a, b} <= _tape(probe).edges.keys():
        return None
    parts = np.array([(truth - _without(probe, name, key)).ravel() for key in (a, b)])
    difference = (np.asarray(probe.found[name], float) - truth).ravel()
    factors = np.linalg.lstsq(parts.T, difference, rcond=None)[0]
    if not probe.matches(name, truth + (factors @ parts).reshape(truth.shape)):
        return None
    return float(1 + factors[0]), float(1 + factors[1])


def _factor(probes: Sequence[Probe], name: str, key: Key, ratios: Sequence[float]) -> Explanation | None:
    """What it means that an edge's contribution is taken ``ratios`` times."""
    if all(abs(c) <= CLOSE for c in ratios):
        return _dropped(probes[0], name, key)
    what = f"the term through {_described(probes[0], key)}"
    explanation = next(named_ratio(ratios, probes, name, what, _where(probes[0], key)), None)
    if explanation is not None:
        if explanation.cause == "sign":
            explanation.evidence = f"{what} has the wrong sign"
            explanation.fix = "change that term's sign"
        else:
            explanation.evidence = f"yours holds {explanation.evidence.replace('yours = ', '', 1)}"
    return explanation


def _recorded(probes: Sequence[Probe], name: str) -> bool:
    return all(p.tape is not None and np.shape(p.found[name]) == p.truth[name].shape for p in probes)


def _keys(probe: Probe) -> list[Key]:
    """Groups of edges: those first that are the only use of a value with a name, then uses of inputs, then others."""
    tape = _tape(probe)
    groups = tape.edges
    uses = Counter(_input(tape, edges[0]) for edges in groups.values())

    def rank(item: tuple[Key, list[Edge]]) -> int:
        index = _input(tape, item[1][0])
        if tape.nodes[index].op is None:
            return 2
        return 3 if not tape.nodes[index].place.name else 0 if uses[index] == 1 else 1

    return [key for key, _ in sorted(groups.items(), key=rank)]


def _tape(probe: Probe) -> Tape:
    if probe.tape is None:
        raise ValueError("this probe was not recorded")
    return probe.tape


def _input(tape: Tape, edge: Edge) -> int:
    return tape.nodes[edge[0]].inputs[edge[1]]


def _without(probe: Probe, name: str, *keys: Key) -> np.ndarray:
    """The gradient without what flows through these edges."""
    edges = _tape(probe).edges
    dropped = [edge for key in keys for edge in edges.get(key, [])]
    return _tape(probe).gradients(probe.gy, dict.fromkeys([*dropped, *probe.shifts], _zero))[name]


def _zero(gy: np.ndarray, g: np.ndarray) -> np.ndarray:
    return np.zeros_like(g)


def _matters(probe: Probe, name: str, key: Key) -> bool:
    return not probe.right(name, _without(probe, name, key))


def _fitted(probes: Sequence[Probe], name: str, key: Key) -> Iterator[Explanation]:
    """Is the user's gradient the truth with this edge's contribution taken ``c`` times?"""
    ratios = []
    for probe in probes:
        if key not in _tape(probe).edges:
            return
        truth = probe.truth[name]
        contribution = truth - _without(probe, name, key)
        square = float(np.sum(contribution**2))
        if square <= probe.tolerance(name) ** 2:
            return
        difference = np.asarray(probe.found[name], float) - truth
        a = float(np.sum(difference * contribution)) / square
        if abs(a) <= CLOSE or not probe.matches(name, truth + a * contribution):
            return
        ratios.append(1 + a)
    explanation = _factor(probes, name, key, ratios)
    if explanation is not None:
        if explanation.cause != "path-dropped":
            explanation.evidence += "; the other terms are right"
        yield explanation


def _dropped(probe: Probe, name: str, key: Key) -> Explanation:
    tape = _tape(probe)
    edges = tape.edges[key]
    node = tape.nodes[_input(tape, edges[0])]
    user = tape.nodes[edges[0][0]].place
    value = _operand(tape, edges)
    evidence = f"yours treats `{value}` as a constant in `{user.text}`"
    if node.op is None and len(edges) == 1:
        evidence = f"yours is the gradient without the use of `{value}` in `{user.text}`"
    elif node.op is not None and node.place.line and node.place.text != value:
        evidence += f"; it comes from {node.place}"
    return Explanation("path-dropped", evidence, "add the term of this path", _where(probe, key))


def _operand(tape: Tape, edges: Sequence[Edge]) -> str:
    """What the user writes for the value that flows through an edge."""
    index, place = edges[0]
    return operand(tape.nodes[index].place.text, place) or tape.name(_input(tape, edges[0]))


def _described(probe: Probe, key: Key) -> str:
    tape = _tape(probe)
    edges = tape.edges[key]
    return f"`{_operand(tape, edges)}` in `{tape.nodes[edges[0][0]].place.text}`"


def _where(probe: Probe, key: Key) -> str:
    tape = _tape(probe)
    place = tape.nodes[tape.edges[key][0][0]].place
    return f"forward, {place}" if place.line else ""


# ------------------------------------------------------------------------------------------------- epsilons, operands


def _epsilons(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """The truth of a forward in which a small constant is left out, or added after the root instead of under it."""
    for index, place in _small_constants(_tape(probes[0])):
        text = _tape(probes[0]).nodes[index].place
        for how, change in (("left out", _without_epsilon), ("added after the root", _after_root)):
            try:
                with np.errstate(all="ignore"):
                    tapes = [change(_tape(p), index, place) for p in probes]
                    if any(t is None for t in tapes):
                        continue
                    options = [_with_other_epsilon(p, t, name, index) for p, t in zip(probes, tapes, strict=True) if t]
            except (ValueError, IndexError):
                continue
            for candidates in zip(*options, strict=False):
                wrong = any(not p.right(name, c) for p, c in zip(probes, candidates, strict=True))
                if wrong and all(p.matches(name, c) for p, c in zip(probes, candidates, strict=True)):
                    evidence = f"yours is the gradient with the epsilon of `{text.text}` {how}"
                    yield Explanation(
                        "eps", evidence, "use the epsilon where forward does", f"forward, {text}", firm=True
                    )
                    return


def _with_other_epsilon(probe: Probe, tape: Tape, name: str, index: int) -> list[Any]:
    """The gradient of the other forward; and the right one, or one of its terms, with a single value of the other."""
    truth = probe.truth[name]
    candidates: list[Any] = [tape.gradients(probe.gy)[name]]
    terms = [np.zeros_like(truth)] + [_without(probe, name, key) for key in _tape(probe).edges]
    for here, there in zip(_tape(probe).nodes[index:], tape.nodes[index:], strict=True):
        if broadcasts(here.value.shape, truth.shape):
            for ratio in (here.value / there.value, there.value / here.value):
                for rest in terms if len(terms) <= PAIRS else terms[:1]:
                    candidates.append(rest + (truth - rest) * ratio if np.all(np.isfinite(ratio)) else None)
    return candidates


def _small_constants(tape: Tape) -> Iterator[tuple[int, int]]:
    for index, node in enumerate(tape.nodes):
        if node.op is not None and node.op.name in ("add", "maximum"):
            for place, x in enumerate(node.inputs):
                if not isinstance(x, int) and np.size(x) == 1 and 0 < abs(float(np.ravel(x)[0])) <= SMALL:
                    yield index, place


def _without_epsilon(tape: Tape, index: int, place: int) -> Tape | None:
    return tape.replayed({index: {place: np.zeros(())}}) if _tape_node(tape, index) == "add" else None


def _tape_node(tape: Tape, index: int) -> str:
    op = tape.nodes[index].op
    return op.name if op else ""


def _after_root(tape: Tape, index: int, place: int) -> Tape | None:
    """sqrt(v) + eps where forward has sqrt(v + eps): the next operation that uses it must be the root."""
    users = [
        i for i, n in enumerate(tape.nodes) if n.op is not None and index in [x for x in n.inputs if isinstance(x, int)]
    ]
    if not users or _tape_node(tape, users[0]) != "sqrt" or _tape_node(tape, index) != "add":
        return None
    eps = tape.nodes[index].inputs[place]
    again = tape.replayed({index: {place: np.zeros(())}})
    root = again.nodes[users[0]]
    root.value = root.value + eps
    return _continued(again, users[0])


def _continued(tape: Tape, index: int) -> Tape:
    """What comes after a node, run again with the node's changed value."""
    for node in tape.nodes[index + 1 :]:
        if node.op is not None:
            node.value, node.pullbacks = node.op.run(tape.values(node), node.params)
    return tape


def _values(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """A value of the forward that the whole gradient should have been multiplied with, or divided by."""
    for index, node in enumerate(_tape(probes[0]).nodes):
        if node.op is None or not broadcasts(node.value.shape, probes[0].truth[name].shape):
            continue
        for change in (np.divide, np.multiply):
            if all(_is_changed(p, name, index, change) for p in probes):
                found = left_out_or_twice(_tape(probes[0]), index, change is np.divide)
                found.where = f"forward, {node.place}"
                yield found


def _is_changed(probe: Probe, name: str, index: int, change: Callable) -> bool:
    nodes = _tape(probe).nodes
    if index >= len(nodes) or not broadcasts(nodes[index].value.shape, probe.truth[name].shape):
        return False
    with np.errstate(all="ignore"):
        return probe.matches(name, change(probe.truth[name], nodes[index].value))


def _values_of_terms(probes: Sequence[Probe], name: str, end: float) -> Iterator[Explanation]:
    """A value of the forward that one term of the gradient should have been multiplied with."""
    tape = _tape(probes[0])
    nodes = [i for i, n in enumerate(tape.nodes) if broadcasts(n.value.shape, probes[0].truth[name].shape)]
    for key in _keys(probes[0]):
        if time.monotonic() > end or len(nodes) * len(tape.edges) > 2000:
            return
        if not _matters(probes[0], name, key):
            continue
        rest = [_without(p, name, key) for p in probes]
        for index, (verb, change) in itertools.product(nodes, (("multiply", np.divide), ("divide", np.multiply))):
            if all(_is_term_changed(p, name, r, index, change) for p, r in zip(probes, rest, strict=True)):
                label = tape.name(index)
                yield Explanation(
                    "parameter-missing",
                    f"`{label}` is left out of the term through {_described(probes[0], key)}; the rest is right",
                    f"{verb} that term by {label}",
                    _where(probes[0], key),
                )
                return


def _is_term_changed(probe: Probe, name: str, rest: np.ndarray, index: int, change: Callable) -> bool:
    """Is the user's gradient ``rest + change(term, value)``, where ``rest + term`` is the truth?"""
    nodes = _tape(probe).nodes
    if index >= len(nodes) or not broadcasts(nodes[index].value.shape, rest.shape):
        return False
    with np.errstate(all="ignore"):
        candidate = rest + change(probe.truth[name] - rest, nodes[index].value)
    return probe.matches(name, candidate)


def _operands(probes: Sequence[Probe], name: str, end: float) -> Iterator[Explanation]:
    """One operand of one operation left out of its derivative, or another array in its place."""
    tape = _tape(probes[0])
    long = len(tape.nodes) > LONG
    for key, edges in tape.edges.items():
        if time.monotonic() > end:
            return
        node = tape.nodes[edges[0][0]]
        if node.op is None or not _matters(probes[0], name, key):
            continue
        others = _rearranged(tape, edges[0]) if long else _alternatives(tape, edges[0])
        for make, explanation in itertools.chain(_left_out_derivative(tape, edges[0]), others):
            if time.monotonic() > end:
                return
            candidates = _changed(probes, name, key, make)
            if candidates is not None and any(not p.right(name, c) for p, c in zip(probes, candidates, strict=True)):
                explanation.where = _where(probes[0], key)
                yield explanation


def _changed(
    probes: Sequence[Probe], name: str, key: Key, make: Callable[[Tape, Edge], Change | None]
) -> list[np.ndarray] | None:
    """The gradients with the edge's pullback replaced, if they are what the user returned at every probe."""
    candidates = []
    for p in probes:
        tape = _tape(p)
        try:
            changes = {edge: make(tape, edge) for edge in tape.edges.get(key, [])}
            if not changes or None in changes.values():
                return None
            with np.errstate(all="ignore"):
                candidate = tape.gradients(p.gy, _only(changes))[name]
        except (ValueError, IndexError, TypeError):
            return None
        if not p.matches(name, candidate):
            return None
        candidates.append(candidate)
    return candidates


def _only(changes: Mapping[Edge, Change | None]) -> dict[Edge, Change]:
    return {edge: change for edge, change in changes.items() if change is not None}


def _alternatives(tape: Tape, edge: Edge) -> Iterator[tuple[Callable[[Tape, Edge], Change | None], Explanation]]:
    """Other pullbacks that this edge might have been given."""
    index, place = edge
    node = tape.nodes[index]
    name = node.op.name if node.op else ""
    if name in ("mul", "div", "matmul") and len(node.inputs) == 2:
        other = node.inputs[1 - place]
        label = tape.name(other) if isinstance(other, int) else _constant(other)
        if name == "mul" or (name == "div" and place == 0):
            verb = "multiplied with" if name == "mul" else "divided by"
            yield (
                _one_operand,
                Explanation(
                    "parameter-missing",
                    f"{label} is left out: the gradient of `{node.place.text}` is {verb} {label}",
                    f"{'multiply' if name == 'mul' else 'divide'} by {label}",
                ),
            )
    if node.op is None or node.op.linear:
        return
    if name in ("mul", "div", "matmul", "einsum", "linear"):
        yield from _rearranged(tape, edge)
    for at, x in enumerate(node.inputs):
        present = tape.values(node)[at]
        if not isinstance(x, int):
            continue
        for candidate, other_node in enumerate(tape.nodes):
            fits = other_node.value.shape in (np.shape(present), node.value.shape if name == "mul" else None)
            if candidate != x and fits:
                output = " (the output for the input)" if candidate == index else ""
                yield (
                    _with_operand(at, functools.partial(_value_of, candidate)),
                    Explanation(
                        "wrong-saved",
                        f"yours uses `{tape.name(candidate)}` where the derivative of `{node.place.text}` needs "
                        f"`{tape.name(x)}`{output}",
                        f"use {tape.name(x)}",
                    ),
                )


def _left_out_derivative(tape: Tape, edge: Edge) -> Iterator[tuple[Callable[[Tape, Edge], Change | None], Explanation]]:
    """The whole derivative of an operation left out, where its output has the shape of its input."""
    index, place = edge
    node = tape.nodes[index]
    if node.value.shape != tape.values(node)[place].shape or (node.op is not None and node.op.linear):
        return
    text = f"`{node.place.text}`"
    changes: tuple[tuple[str, str, Change], ...] = (
        ("parameter-missing", f"the derivative of {text} is left out: yours passes gy on as it is", lambda gy, g: gy),
        ("upstream-twice", f"the derivative of {text} is multiplied by gy twice", lambda gy, g: g * gy),
    )
    for cause, evidence, change in changes:
        yield (lambda tape, edge, change=change: change), Explanation(cause, evidence, f"use the derivative of {text}")  # type: ignore[misc]


def _value_of(candidate: int, tape: Tape, present: np.ndarray) -> np.ndarray | None:
    return tape.nodes[candidate].value if candidate < len(tape.nodes) else None


def _rearranged(tape: Tape, edge: Edge) -> Iterator[tuple[Callable[[Tape, Edge], Change | None], Explanation]]:
    """The other operand moved by one, reversed, or transposed."""
    node = tape.nodes[edge[0]]
    at = 1 - edge[1]
    if len(node.inputs) != 2 or np.size(tape.values(node)[at]) <= 1:
        return
    ndim = np.ndim(tape.values(node)[at])
    label = operand(node.place.text, at) or "the other operand"
    options: list[tuple[str, str, Callable]] = []
    for axis in range(ndim):
        for by in (1, -1):
            options.append(
                ("shifted", f"moved by {by} along axis {axis}", functools.partial(np.roll, shift=by, axis=axis))
            )
            options.append(("shifted", f"moved by {by} along axis {axis}", functools.partial(_slid, by=by, axis=axis)))
        options.append(("permuted", f"reversed along axis {axis}", functools.partial(np.flip, axis=axis)))
    for axes in itertools.combinations(range(ndim), 2):
        options.append(("permuted", f"reversed along the axes {axes}", functools.partial(np.flip, axis=axes)))
        swapped = functools.partial(np.swapaxes, axis1=axes[0], axis2=axes[1])
        options.append(("transposed" if ndim == 2 else "permuted", f"with the axes {axes} swapped", swapped))
    for cause, text, change in options:
        evidence = f"yours uses `{label}` {text} in the derivative of `{node.place.text}`"
        make = _with_operand(at, lambda tape, x, change=change: change(x))  # type: ignore[misc]
        yield make, Explanation(cause, evidence, f"use `{label}` as forward does")


def _slid(x: np.ndarray, by: int, axis: int) -> np.ndarray:
    """Moved, with zeros moved in."""
    y = np.roll(x, by, axis)
    y[(slice(None),) * axis + (slice(0, by) if by > 0 else slice(by, None),)] = 0
    return y


def _constant(x: Any) -> str:
    return f"{float(np.ravel(x)[0]):g}" if np.size(x) == 1 else "the constant array"


def _one_operand(tape: Tape, edge: Edge) -> Change | None:
    """The pullback of a product or quotient with ones in the place of the other operand."""
    index, place = edge
    node = tape.nodes[index]
    values = tape.values(node)
    values[1 - place] = np.ones_like(values[1 - place])
    pullback = node.op.run(values, node.params)[1][place] if node.op else None
    return None if pullback is None else lambda gy, g: pullback(gy)


def _with_operand(
    at: int, other: Callable[[Tape, np.ndarray], np.ndarray | None]
) -> Callable[[Tape, Edge], Change | None]:
    """The pullback with another array as operand ``at``."""

    def make(tape: Tape, edge: Edge) -> Change | None:
        index, place = edge
        node = tape.nodes[index]
        values = tape.values(node)
        changed = other(tape, values[at])
        if changed is None or node.op is None:
            return None
        values[at] = changed
        pullback = node.op.run(values, node.params)[1][place]
        return None if pullback is None else lambda gy, g: pullback(gy)

    return make
