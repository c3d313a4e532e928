"""Is a backward pass right, and if not, what is wrong with it?"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.check import paths, transforms
from chainrule.check.adapters import as_target, of_op
from chainrule.check.behaviour import misbehaviour
from chainrule.check.kinks import at_kinks
from chainrule.check.points import TARGET_SAMPLERS, Points, checked_settings, looks_like_target
from chainrule.check.probes import Probe, Prober, is_float
from chainrule.check.regions import regions
from chainrule.check.repair import Edit, edits
from chainrule.check.report import Finding, GradReport
from chainrule.check.samples import draw
from chainrule.check.saved import wrongly_saved
from chainrule.check.target import Target, Unusable
from chainrule.check.transforms import Explanation
from chainrule.engine import Op
from chainrule.errors import UsageError

SEARCH = 5.0  # seconds that the search for a repair may take where nothing else explains the numbers
LOOK = 1.5  # where something does, but the source may tell more
CONFIRM = 1.0  # and where a cause is known already and only its line is looked for


def diagnose(
    target: Any,
    inputs: Any = None,
    *,
    shapes: str | None = None,
    wrt: Sequence[str] | None = None,
    name: str | None = None,
    seed: int = 0,
) -> GradReport:
    """Compare a backward pass with the truth about its forward; where it is wrong, say what the mistake is.

    Args:
        target: a pair of functions ``(forward, backward)``, where forward returns ``(y, cache)`` or takes a ``ctx``; a
            function that returns the value and its pullbacks, or a loss and its gradients; an object with ``forward``
            and ``backward``; an op; a ``torch.autograd.Function``; a ``jax.custom_vjp`` function.
        inputs: forward's inputs (one array, a sequence, or a dictionary by name), or a function that draws them from a
            NumPy Generator. Points near them are tried, too.
        shapes: in place of inputs: ``"n d, d m, m"``, a part for each input, a letter for each size; ``n in c`` stands
            for integer labels. Numbers are drawn, with two sets of sizes.
        wrt: the names of the inputs whose gradients are wanted; by default all floating-point ones, but those that
            look like targets only if a gradient is returned for them.
        name: what the report calls it.
        seed: of everything drawn.

    Raises:
        UsageError: the target is none of these; the inputs or shapes do not fit it.

    >>> def forward(x, w):
    ...     return x @ w, (x, w)
    >>> def backward(gy, cache):
    ...     x, w = cache
    ...     return gy @ w.T, x.T @ gy / len(x)
    >>> report = diagnose((forward, backward), shapes="n d, d m")
    >>> report.status, report.findings[0].name, report.findings[0].cause
    ('wrong', 'w', 'batch-mean-twice')
    """
    wrt = checked_settings(wrt, name, seed)
    if isinstance(target, Op) and inputs is None and shapes is None:
        return _op(target, wrt, name, seed)
    return _Diagnosis(as_target(target, name=name), inputs, shapes, wrt, seed).report()


def assert_gradients(target: Any, inputs: Any = None, **how: Any) -> None:
    """Raise an AssertionError whose message is the report, unless :func:`diagnose` finds every gradient right.

    >>> assert_gradients(lambda x: (x**2, lambda gy: 2 * x * gy), np.array([1.0, 2.0]))
    """
    report = diagnose(target, inputs, **how)
    if report.status != "correct":
        raise GradientError(report)


class GradientError(AssertionError):
    """A gradient is wrong, or could not be judged; the message is the report.

    Attributes:
        report: the :class:`GradReport`.
    """

    def __init__(self, report: GradReport):
        super().__init__(str(report))
        self.report = report


def _op(op: Op, wrt: Sequence[str] | None, name: str | None, seed: int) -> GradReport:
    """An op on the samples it declares: the first report that is not right, or else all in one."""
    reports = []
    for sample in op.samples:
        target = of_op(op, name, sample.params)
        inputs = draw(op, sample, np.random.default_rng(seed))
        pullbacks = op.run(inputs, sample.params)[1]  # None where the op declares that there is no gradient
        present = target.arguments[: len(inputs)]
        declared = [n for n, pullback in zip(present, pullbacks, strict=False) if pullback is not None]
        judged = None if op.variadic else [n for n in wrt or declared if n in present]
        if wrt and not judged and not op.variadic:
            continue
        report = _Diagnosis(target, lambda rng, s=sample: tuple(draw(op, s, rng)), None, judged, seed).report()
        if report.status != "correct":
            return report
        reports.append(report)
    if not reports:
        raise UsageError(f"{op.name}: wrt names {', '.join(wrt or ())}, expected any of {', '.join(op.inputs)}")
    return GradReport(name or op.name, reports[0].findings, [f"on {len(reports)} of its samples"])


@dataclass
class _Hit:
    """An edit of the user's source after which these gradients are right, and no other is wrong that was right."""

    edit: Edit
    names: frozenset[str]


class _Diagnosis:
    """One diagnosis, step by step."""

    def __init__(self, target: Target, inputs: Any, shapes: str | None, wrt: Sequence[str] | None, seed: int):
        self.target, self.wrt, self.seed = target, wrt, seed
        self.prober = Prober(target, seed)
        self.points = Points(target, self.prober, inputs, shapes, seed, wrt)

    def report(self) -> GradReport:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            try:
                findings = self._findings()
            except Unusable as err:
                findings = [_unusable(err)]
        return GradReport(self.target.name, findings, self.points.notes)

    def _findings(self) -> list[Finding]:
        probes = self._probes(None)
        failed = next((p.failure for p in probes if p.failure), None)
        if failed is not None:
            return self._failing(probes, failed)
        expected = self._expected(probes[0])
        self.points.note_unjudged(expected, probes[0].values)
        wrong = self._wrong(probes, expected)
        best, still = self._with_proper_targets(probes, expected) if wrong else (probes, [])
        usable = not any(_malformed(best, name) for name in expected)
        behaviour = list(misbehaviour(self.prober, best, expected)) if usable else []
        causes = self._causes(best, still, expected) if still else {}
        if still and best is not probes and all(f.cause == "unknown" for f in causes.values()):
            causes = self._causes(probes, wrong, expected)
        return self._merged(behaviour, causes, expected, best)

    def _with_proper_targets(self, probes: list[Probe], expected: Sequence[str]) -> tuple[list[Probe], list[str]]:
        """Probes with targets as they should be, one-hot for example, and what is wrong there.

        A backward that is right for these is right, if no gradient of the targets is wanted.
        """
        best, wrong = probes, self._wrong(probes, expected)
        if not any(is_float(x) and self._optional(n) and n not in expected for n, x in probes[0].values.items()):
            return best, wrong
        for label, sampler in TARGET_SAMPLERS.items():
            try:
                again = self._probes(sampler)
            except Unusable:
                continue
            if not self._wrong(again, expected):
                self.points.notes.append(f"right for targets that are {label}, and only for those")
                return again, []
            if best is probes:
                best, wrong = again, self._wrong(again, expected)
        return best, wrong

    def _merged(
        self, behaviour: list[Finding], causes: dict[str, Finding], expected: Sequence[str], probes: list[Probe]
    ) -> list[Finding]:
        """A finding for each gradient, beside those about what the code does."""
        misbehaving = {f.name: f.cause for f in behaviour if f.status == "wrong"}
        narrow = [f for f in behaviour if f.cause == "dtype"]
        counted = {f.name for f in narrow if probes[0].found[f.name].dtype.kind in "iub"}
        findings = [f for f in behaviour if f.cause != "dtype"]
        for name in expected:
            if name not in causes:
                findings += [] if name in misbehaving else [self._right(name, probes)]
                continue
            said = name in misbehaving and causes[name].cause in ("unknown", misbehaving[name])
            cut = name in counted and not causes[name].evidence.startswith("yours")  # integers: no wonder it is wrong
            findings += [] if said or cut else [causes[name]]
        return findings + narrow

    def _failing(self, probes: list[Probe], failure: Unusable) -> list[Finding]:
        """Backward raises; an edit after which it runs and is right names the mistake."""
        if failure.error is None:  # it ran; what it returned cannot be matched with the inputs
            return [_unusable(failure)]
        expected = self._expected(probes[0])
        hits = self._repairs(probes, expected, expected, dict.fromkeys(expected), {})
        hit = self._chosen(None, hits)
        if hit is None:
            return [_unusable(failure)]
        e = hit.edit
        evidence = f"backward raises: {failure}; with {e.note} it runs, and is right at all {len(probes)} points"
        where = f"{Path(e.file).name}, line {e.line}: {e.before}"
        name = next(n for n in expected if n in hit.names)
        return [Finding(name, "wrong", e.cause, "proved", where, evidence, f"line {e.line}: {e.after}")]

    # probes and verdicts

    def _probes(self, targets: Any) -> list[Probe]:
        values = self.points.draw(targets)
        return [self.prober.probe(v, np.random.default_rng([self.seed, 99, i])) for i, v in enumerate(values)]

    def _expected(self, probe: Probe) -> list[str]:
        """The inputs and parameters whose gradients are judged."""
        floats = [name for name, x in probe.values.items() if is_float(x)]
        if self.wrt is not None:
            return [name for name in floats if name in self.wrt]
        return [n for n in floats if not self._optional(n) or probe.found.get(n) is not None]

    def _optional(self, name: str) -> bool:
        return looks_like_target(name, self.target.arguments)

    def _wrong(self, probes: Sequence[Probe], expected: Sequence[str]) -> list[str]:
        return [name for name in expected if any(not self._is_right(p, name) for p in probes if p.informs(name))]

    def _is_right(self, probe: Probe, name: str) -> bool:
        found = probe.found.get(name)
        if found is None:
            return name in probe.truth and not np.any(probe.truth[name])
        return probe.right(name, found)

    def _right(self, name: str, probes: Sequence[Probe]) -> Finding:
        kink = at_kinks(self.prober, probes, name)
        if kink is not None:
            return kink
        if not any(p.informs(name) for p in probes):
            evidence = "the forward's own rounding hides the gradient: differences of its values are all noise"
            return Finding(name, "inconclusive", "dtype", "unknown", "", evidence, "let forward compute in float64")
        if probes[0].found.get(name) is None:
            return Finding(name, "correct", evidence="no gradient is returned, and the output does not depend on it")
        return Finding(name, "correct")

    # causes

    def _causes(self, probes: list[Probe], wrong: Sequence[str], expected: Sequence[str]) -> dict[str, Finding]:
        broken = {name: f for name in wrong if (f := _malformed(probes, name))}
        known = {name: None if name in broken else self._transformed(probes, name, expected) for name in wrong}
        saved = self._saved(probes, wrong, expected, known)
        hits = self._repairs(probes, wrong, expected, known, saved)
        findings = {}
        for name in wrong:
            own = [h for h in hits if name in h.names]
            if name in broken and not own:
                findings[name] = broken[name]
            elif name in saved and self._says_more(saved, known[name], own, name):
                findings[name] = self._finding(probes, name, saved[name], [])
            else:
                findings[name] = self._finding(probes, name, known[name], own)
        return findings

    def _says_more(
        self, saved: Mapping[str, Explanation], known: Explanation | None, hits: Sequence[_Hit], name: str
    ) -> bool:
        """Is another saved array a better account of this gradient than a changed line? If it mends more at once."""
        if known is not None and known.firm:
            return False
        mended = sum(explanation is saved[name] for explanation in saved.values())
        return all(h.edit.cause == "unknown" or len(h.names) < mended for h in hits)

    def _saved(
        self,
        probes: list[Probe],
        wrong: Sequence[str],
        expected: Sequence[str],
        known: Mapping[str, Explanation | None],
    ) -> dict[str, Explanation]:
        """Gradients that are right once forward has saved another array."""
        if all(explanation is not None and explanation.firm for explanation in known.values()):
            return {}

        def mended(found: dict[str, Any], probe: Probe) -> frozenset[str]:
            return _mended(found, probe, wrong, expected)

        found = list(wrongly_saved(self.prober, [p for p in probes if p.tape], mended))
        explained: dict[str, Explanation] = {}
        for explanation, names in sorted(found, key=lambda pair: -len(pair[1])):
            for name in names:
                explained.setdefault(name, explanation)
        return explained

    def _transformed(self, probes: list[Probe], name: str, expected: Sequence[str]) -> Explanation | None:
        """The simplest mistake in the numbers that reproduces them."""
        informed = [p for p in probes if p.informs(name) and name in p.truth]  # not those known along directions only
        if not informed:
            return None
        first = next(transforms.whole(informed, name, expected), None)
        if first is not None or informed[0].found.get(name) is None:
            return first
        for search in (paths.terms, regions, paths.operands, transforms.masked):
            found = next(search(informed, name), None)
            if found is not None:
                return found
        return None

    def _finding(self, probes: list[Probe], name: str, known: Explanation | None, hits: list[_Hit]) -> Finding:
        sizes = len({p.sizes for p in probes})
        confidence = "proved" if sizes > 1 else "likely"
        where = entry(probes, name)
        hit = self._chosen(known, hits)
        if known is None and hit is None:
            known = next(paths.pairs([p for p in probes if p.informs(name)], name), None)
        if known is None and hit is None:
            return Finding(name, "wrong", "unknown", "unknown", where, difference(probes, name), "")
        if hit is not None:
            e = hit.edit
            where = f"{where}; {Path(e.file).name}, line {e.line}: {e.before}"
            fix = f"line {e.line}: {e.after}"
            if known is None or known.cause != e.cause:
                cause = e.cause if known is None or _agrees(known, e.cause) else known.cause
                evidence = f"with {e.note}, yours is right at all {len(probes)} points"
                evidence = f"{known.evidence}; {evidence}" if known else evidence
                return Finding(name, "wrong", cause, confidence, where, evidence, fix)
            return Finding(name, "wrong", known.cause, confidence, where, known.evidence, fix)
        assert known is not None
        where = f"{where}; {known.where}" if known.where else where
        return Finding(name, "wrong", known.cause, confidence, where, known.evidence, known.fix)

    def _chosen(self, known: Explanation | None, hits: list[_Hit]) -> _Hit | None:
        """The repair that says the same as the numbers, or else the simplest."""
        if not hits:
            return None
        agreeing = [h for h in hits if _agrees(known, h.edit.cause)]
        return min(agreeing or hits, key=lambda h: (-len(h.names), h.edit.simplicity))

    # repairs

    def _repairs(
        self,
        probes: list[Probe],
        wrong: Sequence[str],
        expected: Sequence[str],
        known: Mapping[str, Explanation | None],
        saved: Mapping[str, Explanation],
    ) -> list[_Hit]:
        """Edits of the user's backward that make it right."""
        backward = self.target.code.get("backward")
        if backward is None or self.target.replaced is None or not wrong:
            return []
        nested = backward is self.target.code.get("forward")
        open_ = any(known[name] is None and name not in saved for name in wrong)
        firm = all(explanation is not None and explanation.firm for explanation in known.values())
        end = time.monotonic() + (SEARCH if open_ else CONFIRM if firm else LOOK)
        informed = [p for p in probes if all(name in p.truth for name in expected)] or probes
        screen = min(informed, key=lambda p: sum(np.size(x) for x in p.values.values()))
        hits: list[_Hit] = []
        for edit in edits(backward, nested=nested):
            if time.monotonic() > end or self._settled(hits, wrong, known):
                break
            if not any(_agrees(known[name], edit.cause) or not known[name] for name in wrong):
                continue
            names = self._mended_by(edit, screen, wrong, expected)
            for p in informed:
                if names and p is not screen:
                    names &= self._mended_by(edit, p, wrong, expected)
            if names:
                hits.append(_Hit(edit, names))
        return hits

    def _settled(self, hits: Sequence[_Hit], wrong: Sequence[str], known: Mapping[str, Explanation | None]) -> bool:
        """Is there a repair for every wrong gradient, of the cause that the numbers speak of?"""

        def covered(name: str) -> bool:
            explanation = known[name]
            return any(name in h.names and _agrees(explanation, h.edit.cause) for h in hits)

        return all(covered(name) for name in wrong)

    def _mended_by(self, edit: Edit, probe: Probe, wrong: Sequence[str], expected: Sequence[str]) -> frozenset[str]:
        """The wrong gradients that the edited backward gets right."""
        assert self.target.replaced is not None
        prober = Prober(self.target.replaced(edit.function), self.seed)
        try:
            return _mended(prober.gradients(probe.values, probe.gy, probe.single), probe, wrong, expected)
        except Exception:  # whatever an edited function may do
            return frozenset()


def _mended(found: Mapping[str, Any], probe: Probe, wrong: Sequence[str], expected: Sequence[str]) -> frozenset[str]:
    """The wrong gradients that are right among these, unless one that was right is spoilt."""
    right = {n for n in expected if found.get(n) is not None and n in probe.truth and probe.right(n, found[n])}
    if not right.issuperset(n for n in expected if n not in wrong and probe.found.get(n) is not None):
        return frozenset()
    return frozenset(right & set(wrong))


# What the numbers say, and the edits of the source that may say it better; of any other cause all edits may.
REFINED: dict[str, set[str]] = {
    "missing": {"overwrite", "mask", "stale", "upstream-ignored", "elementwise-for-jacobian", "missing-sum", "shifted"},
    "factor": {"batch-mean-missing", "batch-mean-twice", "mean-for-sum", "ddof", "eps", "parameter-missing"},
    "batch-mean-twice": {"mean-for-sum"},
    "mean-for-sum": set(),
    "mask": {"shifted", "overwrite", "parameter-missing"},
    "shifted": {"overwrite"},
    "permuted": {"overwrite", "shifted", "mask"},
    "sign": {"mask"},
}


def _agrees(known: Explanation | None, cause: str) -> bool:
    """Does an edit of this cause say the same as the numbers, or say it better?"""
    if known is None or known.cause == cause:
        return True
    if known.firm or cause == "unknown":
        return False
    if known.sized and cause.startswith("batch"):
        return False
    if known.cause == "factor" and cause == "parameter-missing":
        return "yours = " not in known.evidence  # of the whole gradient it is said by a number
    return known.cause not in REFINED or cause in REFINED[known.cause]


def _unusable(err: Unusable) -> Finding:
    return Finding(err.stage, "wrong", "unusable", "proved", err.where, str(err), "")


def _malformed(probes: Sequence[Probe], name: str) -> Finding | None:
    """A gradient that is no array of finite numbers."""
    for p in probes:
        g = p.found.get(name)
        if g is None:
            return None
        if np.asarray(g).dtype.kind not in "fiub":
            kind = f"{type(g).__name__} of {np.asarray(g).dtype}"
            evidence = f"the gradient is {kind}, expected an array of real numbers"
            return Finding(name, "wrong", "unusable", "proved", "", evidence, "")
        bad = ~np.isfinite(np.asarray(g, float))
        if bad.any() and np.all(np.isfinite(p.truth.get(name, 0))):
            at = tuple(int(i) for i in np.argwhere(bad)[0]) if np.ndim(g) else ()
            evidence = f"{int(bad.sum())} of {bad.size} entries are NaN or infinite; the expected gradient is finite"
            return Finding(name, "wrong", "unusable", "proved", f"entry {at}", evidence, "")
    return None


def difference(probes: Sequence[Probe], name: str) -> str:
    """Yours and expected, where they differ most."""
    for p in probes:
        if name not in p.truth or p.found.get(name) is None or p.right(name, p.found[name]):
            continue
        found, truth = np.asarray(p.found[name], float), p.truth[name]
        if found.shape != truth.shape:
            return f"yours has shape {found.shape}, expected {truth.shape}"
        off = np.abs(found - truth)
        wrong = int(np.sum(off > p.tolerance(name)))
        at = np.unravel_index(int(np.argmax(off)), off.shape)
        largest = f"yours {found[at]:.6g}, expected {truth[at]:.6g}"
        return f"{wrong} of {off.size} entries differ; the largest difference is {off[at]:.3g}: {largest}"
    return "the gradient does not agree with differences of the forward along random directions"


def entry(probes: Sequence[Probe], name: str) -> str:
    """The entry that differs most, with both numbers."""
    for p in probes:
        if name not in p.truth or p.found.get(name) is None or p.right(name, p.found[name]):
            continue
        found, truth = np.asarray(p.found[name], float), p.truth[name]
        if found.shape != truth.shape or not truth.size:
            return f"shape {found.shape}, expected {truth.shape}"
        off = np.abs(found - truth)
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
        place = f"{name}[{', '.join(map(str, at))}]" if at else name
        return f"{place}: yours {found[at]:.6g}, expected {truth[at]:.6g}"
    return name
