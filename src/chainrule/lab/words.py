"""What is said of settings side by side, in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.lab.metric import Metric, equals, interval, signed
from chainrule.lab.statistics import ALPHA, Difference

if TYPE_CHECKING:
    from chainrule.lab.report import Comparison, Networks, Row, Verdict


def lead(metric: Metric, rows: Sequence["Row"], comparisons: Sequence["Comparison"], chosen_by: str) -> str:
    """What one would say of a section in two sentences."""
    best = rows[0]
    figure = f"no {metric.name}"
    if metric.field in best.estimates:
        figure = f"{interval(metric, best.estimates[metric.field])} {metric.name}"
    runs = f"{best.n} seeds" if best.n > 1 else "one seed, so without an interval"
    if len(rows) == 1:
        return f"{best.label}: {figure} over {runs}."
    first = f"By {chosen_by} setting {best.name} is chosen ({best.label}): {figure} over {runs}."
    shown = [each for each in comparisons if each.verdict in ("higher", "lower")]
    refused = sum(each.verdict == "refused" for each in comparisons)
    if not comparisons:
        return first
    if refused == len(comparisons):
        return f"{first} Whether the settings differ cannot be told from the runs there are."
    counted = f"{len(shown)} of {len(comparisons)} comparisons show{'s' * (len(shown) == 1)} a difference"
    return f"{first} {counted}" + (f"; {refused} cannot be told from the runs there are." if refused else ".")


@dataclass(frozen=True)
class Words:
    """What is said of two settings, in a sentence or three."""

    metric: Metric
    a: "Row"
    b: "Row"
    found: Difference
    p: float | None  #: corrected
    p_signed: float | None  #: the same of Wilcoxon's test
    verdict: "Verdict"
    needed: int | None
    alpha: float  #: at which `needed` are needed
    basis: str  #: what `needed` is an estimate from, where it is not these differences
    family: int
    networks: "Networks | None"

    def text(self) -> str:
        """All of it."""
        parts = [self._refusal() if self.verdict == "refused" else self._finding(), self._wilcoxon(), self._seeds()]
        return " ".join(part for part in [*parts, self._on_samples()] if part)

    def _finding(self) -> str:
        a, b, d = self.a.name, self.b.name, self.found
        better, worse = (a, b) if (d.mean < 0) != self.metric.is_share else (b, a)
        head = {
            "equal": f"{a} and {b} gave the same figures",
            "not shown": f"No difference is shown between {a} and {b}",
        }.get(self.verdict, f"{better} is better than {worse}")
        if self.verdict == "equal":
            return f"{head} with every one of {d.n[0]} seeds."
        of = f"{d.n[0]} common seeds" if d.paired else f"{d.n[0]} and {d.n[1]} seeds"
        tested = f"{d.test} test over {of}, {equals('p', d.p or 0.0)}"
        if self.family > 1 and self.p is not None:
            tested += f"; {equals('p', self.p)} after Holm's correction for {self.family} comparisons"
        size = ""
        if d.effect is not None and d.effect_low is not None and d.effect_high is not None:
            letter = "d_z" if d.paired else "d"
            size = f"; {letter} = {signed(d.effect)} [{signed(d.effect_low)}, {signed(d.effect_high)}]"
        same = " All differences are equal, so there is no spread for a t test." if d.effect is None else ""
        return f"{head}: {self._apart()} ({tested}{size}).{same}"

    def _apart(self) -> str:
        d, m = self.found, self.metric
        within = f" [{m.signed(d.low)}, {m.signed(d.high)}]" if d.low is not None and d.high is not None else ""
        return f"{self.a.name} \N{MINUS SIGN} {self.b.name} = {m.signed(d.mean)}{within} {m.unit}"

    def _refusal(self) -> str:
        a, b = self.a, self.b
        alone = [row.name for row in (a, b) if row.n == 1]
        if not alone:
            why = "each setting gave one value throughout, and there is no spread to judge by"
        elif len(alone) == 2:
            why = "each has one run, and another seed may turn it round"
        else:
            why = f"{alone[0]} has one run, and another seed may turn it round"
        return f"Nothing is called better: {self._apart()}, but {why}."

    def _wilcoxon(self) -> str:
        d = self.found
        if d.test != "paired t" or d.wilcoxon_least is None or self.p is None or self.p_signed is None:
            return ""
        unheard = self.family * d.wilcoxon_least >= ALPHA
        if unheard or (self.p_signed < ALPHA) == (self.p < ALPHA):
            return ""
        corrected = " after the same correction" if self.family > 1 else ""
        return (
            f"Wilcoxon's signed ranks say otherwise ({equals('p', self.p_signed)}{corrected}): look at the single "
            "differences before you believe either."
        )

    def _seeds(self) -> str:
        if self.verdict in ("higher", "lower", "equal"):
            return ""
        if self.needed is None:
            return "Run 5 seeds of each." if self.verdict == "refused" else ""
        basis = f" from the spread of {self.found.n[0]} differences" if self.found.paired else " from their spread"
        return (
            f"To find a difference of this size four times in five (power 0.8 at {self.alpha:.2g}) takes about "
            f"{self.needed:,} seeds of each: an estimate{self.basis or basis}."
        )

    def _on_samples(self) -> str:
        found = self.networks
        if found is None:
            return ""
        corrected = (
            "" if found.p == found.p_corrected else f"; {equals('p', found.p_corrected)} after Holm's correction"
        )
        return (
            f"These two networks, not their settings: {self.a.name} alone is right on {found.only_first} test samples, "
            f"{self.b.name} alone on {found.only_second} (McNemar's exact test, {equals('p', found.p)}{corrected})."
        )
