"""Runs side by side: settings with their intervals, the differences between them, what a person should notice.

What chooses among settings is what chooses within a run: the validation accuracy, or the training loss where there is
no validation part. The test part only measures. Whether two settings differ is asked of seeds, never of one run.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule.errors import UsageError, UserError
from chainrule.lab import remarks, settings, statistics, words
from chainrule.lab.metric import METRICS, Metric
from chainrule.lab.settings import FinishedRun, LeftOut, Setting
from chainrule.lab.statistics import ALPHA, Difference, Estimate
from chainrule.train.events import Remark

FIGURES = (
    *("test_accuracy", "test_loss", "val_accuracy", "val_loss", "train_accuracy", "train_loss"),
    *("seconds", "weights_step", "test_samples"),
)
SEVERAL = 4  # settings without a common line from which on the edges of their values mean something
ALL_PAIRS = 6  # settings up to which each is compared with each; of more, the chosen one with each

Verdict = Literal["higher", "lower", "not shown", "equal", "refused"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity on one part over the epochs, over the seeds of a setting.

    A row of `runs` is a run; all have the same evaluations: those that every run of the setting reached.
    """

    part: Literal["train", "val"]
    quantity: Literal["loss", "accuracy"]
    epochs: tuple[float, ...]
    runs: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as the report shows it."""

    name: str  #: A, B, ...
    label: str  #: what distinguishes it from the others
    values: dict[str, Any]
    seeds: tuple[int, ...]
    estimates: dict[str, Estimate]  #: by the names of result.json
    figures: dict[str, dict[int, float]]  #: the same, of each seed
    curves: tuple[Curve, ...]
    runs: tuple[str, ...]  #: their folders
    unfinished: tuple[int, ...]  #: seeds of its runs without a result
    remarks: tuple[Remark, ...]  #: what its runs showed by themselves, and how many of them

    @property
    def n(self) -> int:
        """Its runs."""
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class Networks:
    """Two trained networks on the same test samples."""

    only_first: int  #: samples that only the first one got right
    only_second: int
    p: float  #: McNemar's test, exact
    p_corrected: float  #: by Holm's method, for all such pairs on the same data


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two settings, and what may be said of them."""

    first: str
    second: str
    seeds: tuple[int, ...]  #: that both have, if they were compared in pairs
    difference: Difference
    p_corrected: float | None  #: by Holm's method, for all comparisons on the same data
    verdict: Verdict  #: is the first one's figure higher?
    needed: int | None  #: seeds of each that would show a difference of this size, by estimate
    networks: Networks | None
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Everything on one data set: its settings, the chosen one first."""

    data: str
    common: dict[str, Any]
    varied: tuple[str, ...]
    chosen: str | None
    chosen_by: Literal["validation accuracy", "training loss"]
    settings: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    remarks: tuple[Remark, ...]
    lead: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `report` found in the runs."""

    metric: Metric
    sections: tuple[Section, ...]
    left_out: tuple[LeftOut, ...]
    environments: tuple[dict[str, Any], ...] = field(repr=False)

    @property
    def runs(self) -> int:
        """How many runs it is made of."""
        return sum(row.n for section in self.sections for row in section.settings)


def report(
    runs: Sequence[str | Path],
    *,
    metric: str = "test-accuracy",
    compare: Sequence[str] | Sequence[tuple[str, str]] | None = None,
    samples: bool = False,
) -> Report:
    """Groups finished runs by setting and compares the settings.

    Args:
        runs: run folders, or folders that hold some, such as a sweep's.
        metric: one of `METRICS`, which settings are compared by; all of them are reported.
        compare: names of the settings to compare with each other, as an earlier report gave them, or pairs of names.
            Left out: up to six settings each with each, of more the chosen one with each.
        samples: compare networks on the test samples where both settings have one run; loads the data.

    Raises:
        UsageError: no such metric or setting, or nothing to compare in `compare`.
        UserError: no finished run.

    >>> import tempfile
    >>> from chainrule.train import TrainConfig, run
    >>> folder = tempfile.mkdtemp()
    >>> for seed in (0, 1):
    ...     _ = run(TrainConfig(dataset="moons", hidden=4, max_steps=3, seed=seed), run_dir=f"{folder}/{seed}")
    >>> found = report([folder])
    >>> found.sections[0].settings[0].estimates["test_accuracy"].n
    2
    """
    if metric not in METRICS:
        raise UsageError(f"metric is {metric!r}, expected one of {', '.join(METRICS)}")
    found, left_out, unfinished = settings.read(settings.find(runs))
    if not found:
        first = left_out[0]
        raise UserError(f"none of {len(left_out)} runs can be used; {first.path}: {first.reason}")
    if all(run.result.get(METRICS[metric].field) is None for run in found):
        raise UsageError(f"none of {len(found)} runs has a {METRICS[metric].name}: choose another metric")
    made = _Sections(METRICS[metric], compare, samples)
    sections = tuple(made.section(data, groups) for data, groups in settings.group(found, unfinished).items())
    made.require_known()
    environments = {str(run.environment): run.environment for run in found if run.environment}
    return Report(METRICS[metric], sections, tuple(left_out), tuple(environments.values()))


class _Sections:
    """How the sections of one report are made. Names go on from one section to the next."""

    def __init__(
        self, metric: Metric, compare: Sequence[str] | Sequence[tuple[str, str]] | None, samples: bool
    ) -> None:
        self.metric, self.samples = metric, samples
        self.wanted = None if compare is None else _pairs(compare)
        self.given = [name.upper() for each in compare or [] for name in ([each] if isinstance(each, str) else each)]
        self.names: list[str] = []
        self.compared = 0

    def require_known(self) -> None:
        unknown = [name for name in self.given if name not in self.names]
        if unknown:
            raise UsageError(f"there is no setting {unknown[0]}, expected some of {', '.join(self.names)}")
        if self.wanted is not None and not self.compared:
            named = ", ".join(self.given) or "none"
            raise UsageError(f"nothing to compare in {named}: expected two settings or more on the same data")

    def section(self, data: str, found: Sequence[Setting]) -> Section:
        validated = any(run.result.get("val_accuracy") is not None for setting in found for run in setting.runs)
        by: Literal["validation accuracy", "training loss"] = "validation accuracy" if validated else "training loss"
        ordered = sorted(found, key=lambda setting: _rank(setting, validated))
        names = [settings.letter(len(self.names) + i) for i in range(len(ordered))]
        self.names += names
        rows = [_row(name, setting) for name, setting in zip(names, ordered, strict=True)]
        chosen = rows[0].name
        comparisons = self._comparisons(rows, ordered)
        self.compared += len(comparisons)
        return Section(
            data=data,
            common=settings.common(ordered),
            varied=tuple(ordered[0].values),
            chosen=chosen,
            chosen_by=by,
            settings=tuple(rows),
            comparisons=tuple(comparisons),
            remarks=tuple(_remarks(data, rows, ordered, validated, by)),
            lead=words.lead(self.metric, rows, comparisons, by),
        )

    # comparisons

    def _comparisons(self, rows: Sequence[Row], found: Sequence[Setting]) -> list[Comparison]:
        usable = [row for row in rows if self.metric.field in row.estimates]
        pairs = [(a, b) for a, b in itertools.combinations(usable, 2) if self._wanted(a, b, rows)]
        differences = [self._difference(a, b) for a, b in pairs]
        told = [d for d in differences if d.p is not None]
        family = len(told)
        if len(pairs) < len(usable) * (len(usable) - 1) // 2 and self.wanted is None:
            family = len(usable) * (len(usable) - 1) // 2  # the chosen one may lead by luck: it was picked from all
        corrected = iter(statistics.holm([d.p or 0.0 for d in told], family))
        signed = iter(statistics.holm([(d.p if d.wilcoxon_p is None else d.wilcoxon_p) or 0.0 for d in told], family))
        networks = self._networks(pairs, dict(zip((row.name for row in rows), found, strict=True)))
        spread = _spread(rows, self.metric)
        alpha = ALPHA / max(family, len(pairs), 1)  # what Holm's correction asks of the clearest of them
        made = []
        for (a, b), difference in zip(pairs, differences, strict=True):
            p, by_signs = (None, None) if difference.p is None else (next(corrected), next(signed))
            verdict, effect, basis = _verdict(difference, p), difference.effect, ""
            if verdict == "refused":
                effect, basis = _effect_of_one(difference.mean, spread, a, b, self.metric, found)
            needed = None if effect is None else statistics.seeds_needed(effect, paired=difference.paired, alpha=alpha)
            shared = tuple(sorted(set(a.seeds) & set(b.seeds))) if difference.paired else ()
            on_samples = networks.get((a.name, b.name))
            said = words.Words(
                self.metric, a, b, difference, p, by_signs, verdict, needed, alpha, basis, family, on_samples
            )
            made.append(Comparison(a.name, b.name, shared, difference, p, verdict, needed, on_samples, said.text()))
        return made

    def _networks(self, pairs: Sequence[tuple[Row, Row]], found: dict[str, Setting]) -> dict[tuple[str, str], Networks]:
        """The networks of settings with one run each, on the test samples."""
        single = [(a.name, b.name) for a, b in pairs if self.samples and a.n == b.n == 1]
        right = {name: _right(found[name].runs[0]) for name in dict.fromkeys(itertools.chain(*single))}
        only = [[int((right[a] & ~right[b]).sum()), int((right[b] & ~right[a]).sum())] for a, b in single]
        p_values = [statistics.mcnemar(*counts) for counts in only]
        corrected = statistics.holm(p_values)
        return {
            pair: Networks(first, second, p_values[i], corrected[i])
            for i, (pair, (first, second)) in enumerate(zip(single, only, strict=True))
        }

    def _wanted(self, a: Row, b: Row, rows: Sequence[Row]) -> bool:
        if self.wanted is not None:
            return frozenset((a.name, b.name)) in self.wanted
        return len(rows) <= ALL_PAIRS or a is rows[0]

    def _difference(self, a: Row, b: Row) -> Difference:
        of_a, of_b = a.figures[self.metric.field], b.figures[self.metric.field]
        shared = sorted(of_a.keys() & of_b.keys())
        # Few common seeds among many would leave most runs out of a test in pairs.
        if (len(shared) >= 2 and 2 * len(shared) >= max(len(of_a), len(of_b))) or len(of_a) == len(of_b) == len(shared):
            return statistics.paired([of_a[seed] for seed in shared], [of_b[seed] for seed in shared])
        return statistics.welch(list(of_a.values()), list(of_b.values()))


def _pairs(compare: Sequence[str] | Sequence[tuple[str, str]]) -> set[frozenset[str]]:
    """The pairs that are given, or all of the names."""
    given = [each for each in compare if not isinstance(each, str)]
    names = [each for each in compare if isinstance(each, str)]
    return {frozenset((a.upper(), b.upper())) for a, b in [*given, *itertools.combinations(names, 2)]}


def _verdict(difference: Difference, p: float | None) -> Verdict:
    if p is None:
        return "refused"
    if p < ALPHA:
        return "higher" if difference.mean > 0 else "lower"
    return "equal" if not difference.mean and difference.effect is None else "not shown"


def _spread(rows: Sequence[Row], metric: Metric) -> float | None:
    """The standard deviation between seeds, pooled over the settings that have several."""
    known = [row.estimates[metric.field] for row in rows if metric.field in row.estimates]
    pooled = [(each.n - 1, each.sd**2) for each in known if each.sd]
    return float(np.sqrt(np.average([v for _, v in pooled], weights=[df for df, _ in pooled]))) if pooled else None


def _effect_of_one(
    difference: float, spread: float | None, a: Row, b: Row, metric: Metric, found: Sequence[Setting]
) -> tuple[float | None, str]:
    """The size of a difference whose spread is not known, against what was taken for it; and what that was."""
    basis = " from the spread of the settings here that have several seeds"
    if spread is None:
        tested = {run.result.get("test_samples") for setting in found for run in setting.runs}
        size = next(iter(tested)) if len(tested) == 1 else None
        if not (metric.field == "test_accuracy" and size):
            return None, ""
        shares = [row.estimates[metric.field].mean for row in (a, b)]
        spread = float(np.sqrt(np.mean([share * (1 - share) / size for share in shares])))
        basis = f", on the guess that seeds spread accuracies as draws of {size:,} test samples do"
    if not spread or not difference:
        return None, ""
    return difference / spread, basis


def _right(run: FinishedRun) -> np.ndarray:
    """Which test samples the network of a run classifies rightly."""
    from chainrule.engine import using
    from chainrule.train import load_run
    from chainrule.train.evaluation import logits_of
    from chainrule.train.runs import load_data

    trained, data = load_run(run.path), load_data(run.config)
    trained.require_same_data(data)
    with using(run.config.backend):
        return logits_of(trained.model, data.test, dtype=run.config.dtype).argmax(1) == data.test.y


# ---------------------------------------------------------------------------------------------------------- settings


def _rank(setting: Setting, validated: bool) -> tuple[bool, float, float]:
    """The lower the better: as a run chooses among its evaluations. Survivors say too little: they come last."""

    def mean(name: str) -> float:
        known = setting.figures(name)
        return float(np.mean(list(known.values()))) if known else np.inf

    lacking = bool(setting.unfinished)
    if not validated:
        return lacking, mean("train_loss"), 0.0
    return lacking, -mean("val_accuracy") if setting.figures("val_accuracy") else np.inf, mean("val_loss")


def _row(name: str, setting: Setting) -> Row:
    figures = {each: found for each in FIGURES if (found := setting.figures(each))}
    return Row(
        name=name,
        label=setting.label,
        values=setting.values,
        seeds=tuple(run.seed for run in setting.runs),
        estimates={each: statistics.estimate(list(found.values())) for each, found in figures.items()},
        figures=figures,
        curves=tuple(_curves(setting)),
        runs=tuple(str(run.path) for run in setting.runs),
        unfinished=setting.unfinished,
        remarks=tuple(_of_runs(setting)),
    )


def _curves(setting: Setting) -> Iterator[Curve]:
    length = min(len(run.evaluations) for run in setting.runs)
    epochs = tuple(float(row["epoch"] or 0.0) for row in setting.runs[0].evaluations[:length])
    for quantity, part in itertools.product(("loss", "accuracy"), ("train", "val")):
        rows = [[row[f"{part}_{quantity}"] for row in run.evaluations[:length]] for run in setting.runs]
        known = [tuple(float(value) for value in row if value is not None) for row in rows]
        if length and all(len(row) == length for row in known):
            each = [statistics.estimate(at) for at in zip(*known, strict=True)]
            low, high, mean = zip(*((e.low, e.high, e.mean) for e in each), strict=True)
            yield Curve(part, quantity, epochs, tuple(known), mean, low, high)  # type: ignore[arg-type]


def _of_runs(setting: Setting) -> Iterator[Remark]:
    """What the runs of a setting were remarked on, each kind once, with how many of them it was."""
    found: dict[str, list[tuple[int, str]]] = {}
    for run in setting.runs:
        rows = run.evaluations
        told = [(remark["kind"], remark["text"]) for remark in run.result.get("remarks", [])]
        early = remarks.before_training(*(_column(rows, name) for name in ("step", "epoch", "train_accuracy")))
        for kind, text in told + ([(early.kind, early.text)] if early else []):
            found.setdefault(kind, []).append((run.seed, text))
    for kind, texts in found.items():
        of = f" (seed {texts[0][0]}; {len(texts)} of {len(setting.runs)} runs)" if len(setting.runs) > 1 else ""
        yield Remark(kind, texts[0][1] + of)


def _column(rows: Sequence[dict[str, float | None]], name: str) -> list[float]:
    return [row[name] or 0.0 for row in rows]


# ----------------------------------------------------------------------------------------------------------- remarks


def _remarks(
    data: str, rows: Sequence[Row], found: Sequence[Setting], validated: bool, chosen_by: str
) -> Iterator[Remark]:
    best = rows[0]
    for name in best.values:
        tried = [row.values[name] for row in _beside(best, name, rows)]
        yield from _present(remarks.edge(name, best.values[name], tried, chosen_by))
    tested = {row.name: row.estimates["test_accuracy"].mean for row in rows if "test_accuracy" in row.estimates}
    if tested:
        highest = max(tested, key=lambda name: (tested[name], name == best.name))
        chosen = best.name if validated else None
        yield from _present(remarks.selected_on_test(chosen, highest, tested, chosen_by))
    sizes = [run.result["test_samples"] for s in found for run in s.runs if "test_samples" in run.result]
    yield from _present(remarks.part_of_test(data, sizes))
    yield from _unfinished(rows)
    yield from _present(remarks.one_run([row.name for row in rows if row.n == 1]))
    yield from _present(remarks.several_environments(_differing(found)))


def _unfinished(rows: Sequence[Row]) -> Iterator[Remark]:
    for row in (row for row in rows if row.unfinished):
        every = row.n + len(row.unfinished)
        yield Remark(
            "unfinished",
            f"{row.name}: {len(row.unfinished)} of its {every} runs have no result. Those that have one may be the "
            "lucky ones, so it is set behind the settings whose runs are all there.",
        )


def _beside(best: Row, name: str, rows: Sequence[Row]) -> list[Row]:
    """The settings that show how good a value of `name` is: those that differ from the best in nothing else.

    Where there are none, as in a random search, all with the same optimizer, activation and so on, if they are several.
    """
    others = {row.name: {key: value for key, value in row.values.items() if key != name} for row in rows}
    line = [row for row in rows if others[row.name] == others[best.name]]
    if len(line) > 1:
        return line
    words = {key: value for key, value in best.values.items() if isinstance(value, str | bool)}
    alike = [row for row in rows if words.items() <= row.values.items()]
    return alike if len(alike) >= SEVERAL else []


def _present(remark: Remark | None) -> list[Remark]:
    return [] if remark is None else [remark]


def _differing(found: Sequence[Setting]) -> dict[str, list[str]]:
    """The versions and machines that are not the same for all runs."""
    values: dict[str, dict[str, None]] = {}
    for run in (run for setting in found for run in setting.runs):
        told = {name: run.environment.get(name.lower()) for name in ("Python", "platform", "processor")}
        told["cores"] = run.environment.get("cpus")
        if blas := run.environment.get("blas"):
            told["BLAS"] = f"{blas.get('name')} {blas.get('version')}"
        for name, value in (told | run.environment.get("packages", {})).items():
            if value is not None:
                values.setdefault(name, {})[str(value)] = None
    return {name: sorted(each) for name, each in values.items() if len(each) > 1}
