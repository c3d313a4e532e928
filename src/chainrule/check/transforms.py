"""The first witness: the whole truth transformed (negated, scaled, transposed, ...) equals the user's gradient."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from chainrule.check.probes import Probe, is_float
from chainrule.check.record import Tape

JACOBIAN = 400  # outputs up to which the whole Jacobian is computed
TINY = 1e-3  # a constant factor this close to 1 is no factor
CHANGES = "a number that changes with the sizes or the point"
CLOSE = 1e-6  # relative: two ratios that differ by less are the same number


@dataclass
class Explanation:
    """A mistake that would give the user's numbers at every probe.

    Attributes:
        cause: the code.
        evidence: what is equal to what.
        fix: the repair.
        where: the place in the user's code, if it is known.
        firm: is this what the numbers say, whatever edit of the source would mend them, too?
        sized: is it a factor that was recognised as a size, and not that of the batch?
    """

    cause: str
    evidence: str
    fix: str = ""
    where: str = ""
    firm: bool = False
    sized: bool = False


def whole(probes: Sequence[Probe], name: str, expected: Sequence[str]) -> Iterator[Explanation]:
    """The mistakes that explain the gradient of ``name`` as a transformation of the whole truth, simplest first."""
    yield from _missing(probes, name, expected)
    if all(p.matches(name, -p.truth[name]) for p in probes):
        yield Explanation("sign", "yours = -1 x the expected gradient", "change its sign", firm=True)
    yield from _firm(_swapped(probes, name, expected))
    yield from scaled(probes, name, lambda p: p.truth[name], "the expected gradient")
    yield from _firm(_upstream(probes, name))
    yield from _firm(_shape(probes, name))
    yield from _parameter(probes, name)
    yield from _rearranged(probes, name)
    yield from _firm(_jacobian(probes, name))


def masked(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """Entries that are zero where they should not be, or the reverse: to be tried after everything that says more."""
    if all(np.shape(p.found[name]) == p.truth[name].shape for p in probes):
        yield from _masked(probes, name)


def _firm(explanations: Iterator[Explanation]) -> Iterator[Explanation]:
    for explanation in explanations:
        explanation.firm = True
        yield explanation


# ------------------------------------------------------------------------------------------------------------ ratios


def ratio(found: Any, candidate: Any, probe: Probe, name: str) -> float | None:
    """The number ``c`` with ``found = c * candidate``; None if there is none."""
    if found is None or candidate is None or np.shape(found) != np.shape(candidate):
        return None
    found, candidate = np.asarray(found, float), np.asarray(candidate, float)
    square = float(np.sum(candidate * candidate))
    if not square or not np.isfinite(square):
        return None
    c = float(np.sum(found * candidate)) / square
    return c if c and probe.matches(name, c * candidate) else None


def scaled(
    probes: Sequence[Probe], name: str, candidate: Callable[[Probe], Any], what: str, place: str = ""
) -> Iterator[Explanation]:
    """Is the user's gradient a multiple of ``candidate``, and what is that multiple?"""
    ratios = []
    for probe in probes:
        c = ratio(probe.found.get(name), candidate(probe), probe, name)
        if c is None:
            return
        ratios.append(c)
    yield from named_ratio(ratios, probes, name, what, place)


def named_ratio(
    ratios: Sequence[float], probes: Sequence[Probe], name: str, what: str, place: str = ""
) -> Iterator[Explanation]:
    """What a factor means: a sign, a constant, a size, an input, gy."""

    def everywhere(values: Sequence[float]) -> bool:
        return all(abs(r - v) <= CLOSE * abs(v) for r, v in zip(ratios, values, strict=True))

    if everywhere([1.0] * len(probes)):
        return
    if everywhere([-1.0] * len(probes)):
        yield Explanation("sign", f"yours = -1 x {what}", "change its sign", place)
        return
    sizes_differ = len({p.sizes for p in probes}) > 1
    constant = everywhere([ratios[0]] * len(probes))
    if constant and sizes_differ:
        if abs(ratios[0] - 1) < TINY:
            return  # what is left of an epsilon
        explanation = _constant_factor(ratios[0], probes, what, place)
        batches = {p.values[first].shape[0] for p in probes} if (first := _first(probes[0])) else set()
        explanation.sized = len(batches) > 1  # a factor that is the same for two batch sizes is not the batch's
        yield explanation
        return
    if all(len(p.gy) == 1 and p.gy[0].size == 1 for p in probes):
        g = [float(p.gy[0].ravel()[0]) for p in probes]
        if everywhere([1 / v for v in g]):
            yield Explanation("upstream-ignored", f"yours x gy = {what}", "multiply by gy", place, firm=True)
            return
        if everywhere(g):
            yield Explanation("upstream-twice", f"yours = gy x {what}", "multiply by gy once", place, firm=True)
            return
    for label, values, batch in _sizes(probes):
        for sign in (1.0, -1.0):
            for power in (1, -1, 2, -2) if sizes_differ else (1, -1):  # at one size, 4 is 4 rather than 2^2
                if max(values) > 1 and everywhere([sign * v**power for v in values]):
                    yield _size_factor(label, sign, power, batch, what, place, probes, name)
                    if sizes_differ:
                        return
        for text, change in (
            ("(n - 1) / n", lambda n: (n - 1) / n),
            ("n / (n - 1)", lambda n: n / (n - 1)),
            ("(n + 1) / n", lambda n: (n + 1) / n),
            ("n / (n + 1)", lambda n: n / (n + 1)),
            ("sqrt((n - 1) / n)", lambda n: math.sqrt((n - 1) / n)),
            ("sqrt(n / (n - 1))", lambda n: math.sqrt(n / (n - 1))),
        ):
            if min(values) > 1 and everywhere([change(v) for v in values]):
                evidence = f"yours = {text} x {what}, with n = {label}"
                yield Explanation("ddof", evidence, "divide by the n that forward divides by", place, firm=True)
                return
    yield from _value_factor(everywhere, probes, what, place)
    if constant:
        yield _constant_factor(ratios[0], probes, what, place)
    elif min(p.truth[name].size for p in probes) > 2:  # of a single number everything is a multiple
        yield _changing_factor(ratios, what, place)


def _changing_factor(ratios: Sequence[float], what: str, place: str) -> Explanation:
    """A factor that is another one at every size: n / (n - 1) for some n, or a number."""
    for text, of in (("n / (n - 1)", lambda r: r / (r - 1)), ("(n - 1) / n", lambda r: 1 / (1 - r))):
        counts = [of(r) if r != 1 else 0.0 for r in ratios]
        if all(n > 1.5 and abs(n - round(n)) <= CLOSE * n for n in counts):
            seen = ", ".join(dict.fromkeys(str(round(n)) for n in counts))
            evidence = f"yours = {text} x {what}, with n = {seen}"
            return Explanation("ddof", evidence, "divide by the n that forward divides by", place, firm=True)
    seen = ", ".join(dict.fromkeys(pretty(r) for r in ratios))
    return Explanation("factor", f"yours = {what} x {CHANGES}: {seen}", "", place)


def _constant_factor(c: float, probes: Sequence[Probe], what: str, place: str) -> Explanation:
    for label, value, divides in _constants(probes[0]):
        if abs(c - (value if divides else 1 / value)) <= CLOSE * abs(c):
            evidence = f"yours {'/' if divides else 'x'} {label} = {what}"
            verb = "divide" if divides else "multiply"
            return Explanation("parameter-missing", evidence, f"{verb} by {label}", place)
    text = pretty(c)
    return Explanation("factor", f"yours = {text} x {what}", f"multiply by {pretty(1 / c)}", place)


def _constants(probe: Probe) -> Iterator[tuple[str, float, bool]]:
    """Numbers with a name that the forward multiplies with or divides by: a slope, a temperature, a scale."""
    for node in probe.tape.nodes if probe.tape else []:
        if node.op is None or node.op.name not in ("mul", "div") or len(node.inputs) != 2:
            continue
        for place, x in enumerate(node.inputs):
            if not isinstance(x, int) and np.size(x) == 1:
                label = operand(node.place.text, place)
                value = float(np.ravel(x)[0])
                if label and not label.replace(".", "").isdecimal() and value != 0.0 and not value.is_integer():
                    yield label, value, node.op.name == "div"


def operand(expression: str, place: int) -> str:
    """The text of one side of a product, quotient, sum; empty for anything else.

    >>> operand("a * (b + c)", 1)
    'b + c'
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError:
        return ""
    return ast.unparse((tree.left, tree.right)[place]) if isinstance(tree, ast.BinOp) and place < 2 else ""


def _size_factor(
    label: str, sign: float, power: int, batch: bool, what: str, place: str, probes: Sequence[Probe], name: str
) -> Explanation:
    minus = "-" if sign < 0 else ""
    shown = {1: label, -1: f"1 / {label}", 2: f"({label})^2", -2: f"1 / ({label})^2"}[power]
    evidence = f"yours = {minus}{shown} x {what}"
    if batch and power in (1, 2):
        return Explanation(
            "batch-mean-missing",
            f"{evidence}; it would be right for a forward that sums over the batch instead of taking the mean",
            f"divide by {label}",
            place,
            firm=True,
        )
    if batch:
        return Explanation(
            "batch-mean-twice",
            f"{evidence}; it would be right for a forward that divides by {label} once more. "
            "A mean over the batch belongs to the loss, once; the gradients of weight and bias sum over the batch",
            f"multiply by {label}: sum over the batch, do not average",
            place,
        )
    if power < 0 and not place and _summed_out(label, name, probes):
        return Explanation("mean-for-sum", evidence, "sum, do not average", place)
    verb = "divide" if power > 0 else "multiply"
    return Explanation("factor", evidence, f"{verb} by {shown.removeprefix('1 / ')}", place, firm=power > 0, sized=True)


def _summed_out(label: str, name: str, probes: Sequence[Probe]) -> bool:
    """Was the gradient summed over the axes that ``label`` counts? Not, if the input has an axis of that size, too."""
    if label.startswith((f"{name}.", "the number")):
        return False
    sizes = next((values for key, values, _ in _sizes(probes) if key == label), [])
    own = [p.truth[name].shape for p in probes]
    return not any(all(shape[k] == n for shape, n in zip(own, sizes, strict=True)) for k in range(len(own[0])))


def _value_factor(
    everywhere: Callable[[Sequence[float]], bool], probes: Sequence[Probe], what: str, place: str
) -> Iterator[Explanation]:
    for other, x in probes[0].values.items():
        if isinstance(x, (int, float, np.ndarray)) and np.size(x) == 1 and not isinstance(x, bool):
            values = [float(np.ravel(p.values[other])[0]) for p in probes]
            if any(v in (0.0, 1.0) for v in values):
                continue
            for power in (-2, -1, 1, 2):
                if everywhere([v**power for v in values]):
                    verb = "multiply" if power < 0 else "divide"
                    how = f"{other}{'^2' if abs(power) == 2 else ''}"
                    yield Explanation(
                        "parameter-missing",
                        f"yours {'x' if power < 0 else '/'} {how} = {what}",
                        f"{verb} by {how}",
                        place,
                    )
                    return


def _sizes(probes: Sequence[Probe]) -> Iterator[tuple[str, list[float], bool]]:
    """Sizes that could be a factor: the batch first, then numbers of elements, then other axes."""
    first = _first(probes[0])
    if first is None:
        return
    yield f"{first}.shape[0]", [float(p.values[first].shape[0]) for p in probes], True
    yield "the number of elements of y", [float(sum(part.size for part in p.y)) for p in probes], False
    for key, arrays in _arrays(probes):
        for count in range(1, arrays[0].ndim + 1):
            for axes in itertools.combinations(range(arrays[0].ndim), count):
                label = " * ".join(f"{key}.shape[{a}]" for a in axes) if count < arrays[0].ndim else f"{key}.size"
                if label != f"{first}.shape[0]":
                    yield label, [float(math.prod(x.shape[a] for a in axes)) for x in arrays], False


def _first(probe: Probe) -> str | None:
    """The first input that has axes: its first axis is taken for the batch."""
    return next((k for k, x in probe.values.items() if isinstance(x, np.ndarray) and x.ndim), None)


def _arrays(probes: Sequence[Probe]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Inputs and outputs by name, at every probe; those with the same number of axes everywhere."""
    names: list[tuple[str, list[Any]]] = [(key, [p.values[key] for p in probes]) for key in probes[0].values]
    names += [("y" if probes[0].single else f"y[{k}]", [p.y[k] for p in probes]) for k in range(len(probes[0].y))]
    for key, arrays in names:
        first = arrays[0]
        if isinstance(first, np.ndarray) and 0 < first.ndim <= 5 and all(x.ndim == first.ndim for x in arrays):
            yield key, arrays


def pretty(c: float) -> str:
    """A number as a person writes it: 2, 1/2, 0.3.

    >>> pretty(0.5), pretty(-2.0), pretty(0.123)
    ('1/2', '-2', '0.123')
    """
    fraction = Fraction(c).limit_denominator(12)
    if abs(float(fraction) - c) <= CLOSE * abs(c):
        return str(fraction)
    return f"{c:.6g}"


# --------------------------------------------------------------------------------------- missing, swapped, upstream


def _missing(probes: Sequence[Probe], name: str, expected: Sequence[str]) -> Iterator[Explanation]:
    if all(p.found.get(name) is None for p in probes):
        for other in probes[0].found:
            if other not in expected and all(p.right(name, p.found.get(other)) for p in probes):
                evidence = f"what is returned for {other} is the gradient of {name}"
                yield Explanation(
                    "order-swapped", evidence, "return the gradients in the order of the inputs", firm=True
                )
                return
        yield Explanation("missing", "no gradient was returned (None)", f"return the gradient of {name}", firm=True)
    elif all(_is_zero(p, name) for p in probes):
        yield Explanation("missing", "all entries are zero", f"return the gradient of {name}")


def _is_zero(probe: Probe, name: str) -> bool:
    found = probe.found.get(name)
    return found is not None and bool(np.max(np.abs(found), initial=0) <= probe.tolerance(name))


def _swapped(probes: Sequence[Probe], name: str, expected: Sequence[str]) -> Iterator[Explanation]:
    for other in expected:
        if other == name or all(other in p.truth and p.right(other, p.found.get(other)) for p in probes):
            continue
        if all(other in p.truth and p.matches(name, p.truth[other]) for p in probes):
            yield Explanation(
                "order-swapped",
                f"what is returned for {name} is the gradient of {other}",
                f"return the gradients in the order of forward's inputs: {', '.join(expected)}",
            )


def _with_gy(change: Callable[[np.ndarray], np.ndarray], name: str) -> Callable[[Probe], Any]:
    """The truth for another gradient coming in."""

    def candidate(probe: Probe) -> Any:
        return probe.tape.gradients([change(g) for g in probe.gy])[name] if probe.tape else None

    return candidate


def _upstream(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    if not all(p.tape for p in probes):
        return
    ones = "what gy = 1 everywhere would give"
    for found in scaled_or_equal(probes, name, _with_gy(np.ones_like, name), ones):
        yield Explanation("upstream-ignored", found, "multiply by gy, the gradient coming in")
    for found in scaled_or_equal(probes, name, _with_gy(np.square, name), "what gy^2 would give"):
        yield Explanation("upstream-twice", found, "multiply by gy once")
    for found in scaled_or_equal(probes, name, lambda p: p.truth[name] ** 2, "the expected gradient, squared"):
        yield Explanation("upstream-twice", found, "multiply by gy once")
    for found in scaled_or_equal(
        probes,
        name,
        lambda p: p.truth[name] * p.gy[0] if p.gy[0].shape == p.truth[name].shape else None,
        "gy x the expected gradient",
    ):
        yield Explanation("upstream-twice", found, "multiply by gy once")


def scaled_or_equal(probes: Sequence[Probe], name: str, candidate: Callable[[Probe], Any], what: str) -> Iterator[str]:
    """``"yours = ..."`` if the user's gradient is the candidate, up to a sign or a factor that has a name."""
    candidates = [candidate(p) for p in probes]
    if any(
        c is None or np.max(np.abs(c), initial=0) <= p.tolerance(name) for p, c in zip(probes, candidates, strict=True)
    ):
        return
    if all(p.matches(name, c) for p, c in zip(probes, candidates, strict=True)):
        if not all(p.right(name, c) for p, c in zip(probes, candidates, strict=True)):
            yield f"yours = {what}"
        return
    ratios = [ratio(p.found.get(name), c, p, name) for p, c in zip(probes, candidates, strict=True)]
    if None not in ratios:
        for explanation in named_ratio([r for r in ratios if r is not None], probes, name, what):
            if CHANGES not in explanation.evidence:
                yield explanation.evidence
            return


# ------------------------------------------------------------------------------------------------- shapes and axes


def _shape(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    yield from _unsummed(probes, name)
    ndim = probes[0].truth[name].ndim
    for axes in itertools.permutations(range(ndim)):
        if axes == tuple(range(ndim)):
            continue
        cause = "transposed" if ndim == 2 or axes[:-2] == tuple(range(ndim - 2)) else "permuted"
        text = "the transpose" if ndim == 2 else f"transpose(expected, {axes})"
        for found in scaled_or_equal(probes, name, lambda p, axes=axes: np.transpose(p.truth[name], axes), text):  # type: ignore[misc]
            yield Explanation(cause, found, "transpose it" if ndim == 2 else f"put the axes in the order of {name}")
    if all(_cropped(p, name) for p in probes):
        shapes = f"yours has shape {np.shape(probes[0].found[name])}, expected {probes[0].truth[name].shape}"
        yield Explanation("shifted", f"{shapes}, which is a block of yours", "cut the border off")
    for order in "CF":
        if all(_reshaped(p, name, order) for p in probes):
            shapes = f"yours has shape {np.shape(probes[0].found[name])}, expected {probes[0].truth[name].shape}"
            yield Explanation("permuted", f"{shapes}: the same numbers, order {order}", f"reshape it to {name}'s shape")


def _cropped(probe: Probe, name: str) -> bool:
    """Is the expected gradient a block of yours?"""
    found, truth = np.asarray(probe.found[name]), probe.truth[name]
    if found.ndim != truth.ndim or found.size <= truth.size:
        return False
    if any(a < b for a, b in zip(found.shape, truth.shape, strict=True)):
        return False
    blocks = np.lib.stride_tricks.sliding_window_view(found, truth.shape)
    return bool(np.any(np.all(np.abs(blocks - truth) <= probe.tolerance(name), axis=tuple(range(-truth.ndim, 0)))))


def _reshaped(probe: Probe, name: str, order: Any) -> bool:
    found, truth = np.asarray(probe.found[name]), probe.truth[name]
    return found.size == truth.size and probe.right(name, found.reshape(truth.shape, order=order))


def _unsummed(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """A gradient that is right once it is summed; or one that is summed over other axes than it should be."""
    found, truth = probes[0].found[name], probes[0].truth[name]
    ndim = np.ndim(found)
    if np.shape(found) != truth.shape and ndim <= 6:
        for count in range(1, ndim + 1):
            for axes in itertools.combinations(range(ndim), count):
                if all(_right_when_summed(p, name, axes) for p in probes):
                    shapes = f"yours has shape {np.shape(found)}, expected {truth.shape}"
                    silent = broadcasts(truth.shape, np.shape(found))
                    yield Explanation(
                        "missing-sum",
                        f"{shapes}: summed over axis {_axes(axes)} it is the expected one"
                        + ("; an update would add the rows up silently or change the parameter's shape" * silent),
                        f"sum over axis {_axes(axes)}",
                    )
                    return
    if all(np.shape(p.found[name]) != p.truth[name].shape and p.matches(name, p.gy[0]) for p in probes):
        shapes = f"yours has shape {np.shape(found)}, expected {truth.shape}"
        evidence = f"{shapes}: yours is gy itself, not summed over the outputs that an entry of {name} goes to"
        yield Explanation("missing-sum", evidence, "sum over the outputs that an entry goes to")
        return
    if any(p.tape is None for p in probes):
        return
    adjoints = [_adjoints(p) for p in probes]
    for index, seen in adjoints[0].items():
        expected = _reduction(seen, truth, probes[0].tolerance(name))
        yours = _reduction(seen, found, probes[0].tolerance(name))
        if expected is None or yours is None or expected == yours:
            continue
        if all(
            index in a and p.matches(name, _reduced(a[index], yours, np.shape(p.found[name])))
            for p, a in zip(probes, adjoints, strict=True)
        ):
            yield Explanation(
                "missing-sum",
                f"yours sums over axis {_axes(yours)}, expected over axis {_axes(expected)}",
                f"sum over axis {_axes(expected)}",
            )
            return


def _adjoints(probe: Probe) -> dict[int, np.ndarray]:
    tape = probe.tape
    seeds = {i: g for i, g in zip(tape.outputs, probe.gy, strict=True) if i is not None} if tape else {}
    found = tape.sweep(seeds, {}) if tape else {}
    for index, node in enumerate(tape.nodes if tape else []):  # products that are summed where a factor was broadcast
        if index in found and node.op is not None and node.op.name == "mul" and tape is not None:
            for place, x in enumerate(tape.values(node)):
                if np.shape(x) == node.value.shape:
                    found[-2 * index - place - 1] = found[index] * x
    return found


def _reduction(array: np.ndarray, result: Any, tolerance: float) -> tuple[int, ...] | None:
    """The axes over which ``array`` must be summed to give ``result``."""
    for count in range(array.ndim + 1):
        for axes in itertools.combinations(range(array.ndim), count):
            summed = array.sum(axes)
            if summed.size == np.size(result) and np.all(np.abs(summed.ravel() - np.ravel(result)) <= tolerance):
                return axes
    return None


def _reduced(array: np.ndarray, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    summed = array.sum(axes)
    return summed.reshape(shape) if summed.size == math.prod(shape) else None


def _right_when_summed(probe: Probe, name: str, axes: tuple[int, ...]) -> bool:
    found, truth = np.asarray(probe.found[name]), probe.truth[name]
    if found.ndim <= max(axes):
        return False
    summed = found.sum(axes)
    if summed.size != truth.size or np.squeeze(summed).shape != np.squeeze(truth).shape:
        return False
    return probe.right(name, summed.reshape(truth.shape))


def broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Does an array of the small shape broadcast to the large one?

    >>> broadcasts((3,), (2, 3)), broadcasts((2,), (2, 3))
    (True, False)
    """
    try:
        return np.broadcast_shapes(small, large) == large
    except ValueError:
        return False


def _axes(axes: tuple[int, ...]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(axes) if axes else "none"


# --------------------------------------------------------------------------------------------------- whole Jacobians


def _parameter(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """An input that the whole gradient should have been multiplied with, or divided by."""
    for other, x in probes[0].values.items():
        if other == name or not is_float(x) or x.size <= 1:
            continue
        for change in (np.divide, np.multiply):

            def candidate(probe: Probe, other: str = other, change: Any = change) -> Any:
                return _same_shape(change, probe.truth[name], probe.values[other])

            for _ in scaled_or_equal(probes, name, candidate, other):
                tape = probes[0].tape
                if tape is None:
                    sign, verb = ("/", "multiply") if change is np.divide else ("x", "divide")
                    evidence = f"{other} is left out: yours = the expected gradient {sign} {other}"
                    yield Explanation("parameter-missing", evidence, f"{verb} by {other}")
                else:
                    yield left_out_or_twice(tape, tape.leaves[other], change is np.divide)


def left_out_or_twice(tape: Tape, index: int, divided: bool) -> Explanation:
    """The user's gradient is the expected one divided by a value (or times it): was it left out, or used too often?

    A forward that divides by a value leaves 1 / value in the gradient: one more division is one too many.
    """
    label = tape.name(index)
    uses = {
        (node.op.name, place)
        for node in tape.nodes
        for place, x in enumerate(node.inputs)
        if node.op is not None and isinstance(x, int) and x == index
    }
    divisor = ("div", 1) in uses and not any(op in ("mul", "matmul", "einsum", "linear") for op, _ in uses)
    sign = "/" if divided else "x"
    if divided == divisor:
        done, undo = ("divided by", "divide") if divided else ("multiplied with", "multiply")
        evidence = f"{done} `{label}` once too often: yours = the expected gradient {sign} {label}"
        return Explanation("factor", evidence, f"{undo} by {label} once less")
    evidence = f"`{label}` is left out: yours = the expected gradient {sign} {label}"
    return Explanation("parameter-missing", evidence, f"{'multiply' if divided else 'divide'} by {label}")


def _same_shape(change: Any, a: np.ndarray, b: np.ndarray) -> Any:
    with np.errstate(all="ignore"):
        try:
            y = change(a, b)
        except ValueError:
            return None
    return y if y.shape == a.shape and np.all(np.isfinite(y)) else None


def jacobian(probe: Probe, name: str) -> np.ndarray | None:
    """All derivatives, ``(outputs, inputs)``; None where the forward was not recorded or is too large."""
    if probe.tape is None or len(probe.y) != 1 or probe.y[0].size > JACOBIAN:
        return None
    shape = probe.y[0].shape
    rows = [probe.tape.gradients([unit.reshape(shape)])[name].ravel() for unit in np.eye(probe.y[0].size)]
    return np.array(rows).reshape(probe.y[0].size, -1)


def _jacobian(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    found = np.shape(probes[0].found[name])
    if any(len(p.y) != 1 or p.y[0].size != p.truth[name].size for p in probes):
        return
    jacobians = {id(p): jacobian(p, name) for p in probes}
    if any(J is None for J in jacobians.values()):
        return

    def of(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Probe], Any]:
        def candidate(p: Probe) -> Any:
            result = change(jacobians[id(p)], p.gy[0].ravel())  # type: ignore[arg-type]
            shape = np.shape(p.found[name])
            return result.reshape(shape) if result.size == math.prod(shape) else None

        return candidate

    if math.prod(found) == probes[0].truth[name].size:
        for text, cause, fix, change in (
            (
                "gy x the Jacobian's diagonal",
                "elementwise-for-jacobian",
                "multiply gy with the whole Jacobian (a sum over all outputs), not element by element",
                lambda J, g: np.diagonal(J) * g,
            ),
            (
                "the Jacobian's diagonal",
                "elementwise-for-jacobian",
                "multiply gy with the whole Jacobian (a sum over all outputs)",
                lambda J, g: np.diagonal(J),
            ),
            ("J gy", "jacobian-transposed", "use the transpose: gx = J^T gy", lambda J, g: J @ g),
            (
                "gy x the sum of the Jacobian's column",
                "elementwise-for-jacobian",
                "sum gy_i dy_i/dx_j over i, gy inside the sum",
                lambda J, g: g * J.sum(0),
            ),
            (
                "gy x the sum of the Jacobian's row",
                "elementwise-for-jacobian",
                "sum gy_i dy_i/dx_j over i, gy inside the sum",
                lambda J, g: g * J.sum(1),
            ),
        ):
            for evidence in scaled_or_equal(probes, name, of(change), text):
                yield Explanation(cause, evidence, fix)
    elif _is_elementwise_block(probes, name, jacobians):
        yield Explanation(
            "elementwise-for-jacobian",
            f"yours has shape {found}: gy times every entry of the Jacobian, not summed over the outputs",
            "sum over the outputs: gx_j = sum_i gy_i dy_i/dx_j",
        )


def _is_elementwise_block(probes: Sequence[Probe], name: str, jacobians: dict[int, Any]) -> bool:
    """``(n, d, d)``: for each example gy times its Jacobian, entry by entry."""
    for p in probes:
        found, y = np.asarray(p.found[name]), p.y[0]
        if y.ndim < 1 or found.shape != (*y.shape, y.shape[-1]):
            return False
        d = y.shape[-1]
        blocks = np.array([jacobians[id(p)][i * d : i * d + d, i * d : i * d + d] for i in range(y.size // d)])
        g = p.gy[0].reshape(-1, d)
        options = [blocks * g[:, :, None], blocks * g[:, None, :]]
        options += [b.swapaxes(1, 2) for b in options]
        if not any(p.same(found.reshape(blocks.shape), b, p.tolerance(name)) for b in options):
            return False
    return True


# ----------------------------------------------------------------------------------------------- moved, masked entries


def _rearranged(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    if any(np.shape(p.found[name]) != p.truth[name].shape for p in probes):
        return
    ndim = probes[0].truth[name].ndim
    for by in sorted(itertools.product(range(-2, 3), repeat=min(ndim, 2)), key=lambda by: sum(map(abs, by))):
        for axes in itertools.combinations(range(ndim), len(by)):
            if any(by) and all(_moved(p, name, axes, by) for p in probes):
                steps = ", ".join(f"{b} along axis {a}" for a, b in zip(axes, by, strict=True) if b)
                yield Explanation(
                    "shifted", f"yours is the expected gradient moved by {steps}", "move the index back by as much"
                )
                return
    if all(_same_numbers(p, name) for p in probes):
        chosen = all(3 * np.count_nonzero(p.truth[name] == 0) >= p.truth[name].size for p in probes)
        evidence = "yours holds the right numbers in other places"
        if chosen:
            yield Explanation("mask", f"{evidence}; most are 0: other entries were chosen", "choose those of forward")
        else:
            yield Explanation("permuted", evidence, "put the entries where their inputs stand")


def _moved(probe: Probe, name: str, axes: tuple[int, ...], by: tuple[int, ...]) -> bool:
    """Are they the same where the moved gradient and yours overlap? What moved in from outside is not looked at."""
    found, truth = np.asarray(probe.found[name], float), probe.truth[name]
    here, there = [slice(None)] * truth.ndim, [slice(None)] * truth.ndim
    for axis, b in zip(axes, by, strict=True):
        here[axis] = slice(max(b, 0), truth.shape[axis] + min(b, 0))
        there[axis] = slice(max(-b, 0), truth.shape[axis] + min(-b, 0))
    yours, moved = found[tuple(here)], truth[tuple(there)]
    tiny = probe.tolerance(name)
    distinct = np.unique(np.round(moved[np.abs(moved) > tiny], 9)).size
    enough = all(2 * (truth.shape[axis] - abs(b)) >= truth.shape[axis] for axis, b in zip(axes, by, strict=True))
    return distinct > 2 and enough and bool(np.all(np.abs(yours - moved) <= tiny))


def _same_numbers(probe: Probe, name: str) -> bool:
    found, truth = np.sort(np.ravel(probe.found[name])), np.sort(probe.truth[name].ravel())
    distinct = np.unique(np.round(truth, 9)).size
    return distinct > 2 and probe.same(found, truth, probe.tolerance(name)) and not probe.right(name, probe.found[name])


def _masked(probes: Sequence[Probe], name: str) -> Iterator[Explanation]:
    """Entries that are zero where they should not be, or the reverse, and right everywhere else."""
    border = None
    for p in probes:
        found, truth = np.asarray(p.found[name]), p.truth[name]
        if found.shape != truth.shape or not found.ndim:
            return
        wrong = np.abs(found - truth) > p.tolerance(name)
        tiny = p.tolerance(name)
        if not np.all((np.abs(found) <= tiny) | (np.abs(truth) <= tiny) | ~wrong):
            return
        border = _border(wrong, found, tiny) if border is None or border == _border(wrong, found, tiny) else ""
    if border:
        yield Explanation(
            "shifted", f"zero at {border}, and right everywhere else", f"let the index reach {border}, too"
        )
        return
    p = probes[0]
    found, truth = np.asarray(p.found[name]), p.truth[name]
    lost = int(np.sum((np.abs(found) <= p.tolerance(name)) & (np.abs(truth) > p.tolerance(name))))
    extra = int(np.sum((np.abs(found) > p.tolerance(name)) & (np.abs(truth) <= p.tolerance(name))))
    yield Explanation(
        "mask",
        f"of {truth.size} entries {lost} are 0 and should not be, {extra} should be 0 and are not; the rest is right",
        "use the mask of forward" + (": it is inverted" if lost and extra else ""),
    )


def _border(wrong: np.ndarray, found: np.ndarray, tiny: float) -> str:
    """The first or last slice along an axis, if exactly that one is wrong and zero."""
    for axis in range(wrong.ndim):
        if wrong.shape[axis] < 2:
            continue
        for text, i in (("first", 0), ("last", -1)):
            rest = np.delete(wrong, i, axis)
            edge = np.take(found, i, axis)
            if np.take(wrong, i, axis).any() and not rest.any() and np.all(np.abs(edge) <= tiny):
                return f"the {text} place along axis {axis}"
    return ""
