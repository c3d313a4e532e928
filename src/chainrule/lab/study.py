"""A write-up done again: its derivations proved, its gradients checked, its experiments run, its claims judged.

A `Study` says what a write-up derives, builds, tries and reports; it holds no result. `rerun` does all of it and
returns a `StudyReport`. Every training is a run folder under the study's folder, keyed by its config, so experiments
share runs, and a study that was stopped goes on where it was.
"""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.data.fetch import named_folder
from chainrule.lab.jobs import result_of
from chainrule.lab.pages import Table
from chainrule.lab.plan import Plan
from chainrule.lab.report import Comparison, Report, Row, Section, report
from chainrule.lab.statistics import Estimate
from chainrule.lab.sweep import Progress, Sweep, sweep
from chainrule.train.config import TrainConfig, by_field, overlay
from chainrule.train.environment import environment
from chainrule.train.events import Listener
from chainrule.train.folder import RUNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUICK_SEEDS = 2
BY = "test_accuracy"  # what the write-ups report
RIGHT = "correct"  # what the checker calls a gradient that is
WRONG = "wrong"  # how the verdict begins on a statement that should be right and is not
NOT_RUN = "not run", "No run of it is finished."
NOT_JUDGED = "not judged", "A quick rerun trains too briefly to judge a claim."


# -------------------------------------------------------------------------------------------------- what a study says


@dataclass(frozen=True, slots=True)
class Derived:
    """A gradient that the write-up derives: an op, or lines with the shapes of their inputs."""

    title: str
    program: str
    shapes: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A backward pass that the write-up has, as `chainrule.check.diagnose` takes it."""

    title: str
    target: Callable[[], tuple[Any, Any]]  #: makes what is checked, and its inputs


@dataclass(frozen=True, slots=True)
class Planted:
    """A backward pass with a mistake of the write-up's, and what the checker may call it."""

    title: str
    target: Callable[[], tuple[Any, Any]]
    causes: tuple[str, ...]  #: several where one mistake has two names: a derivative left out is a wrong array, too


@dataclass(frozen=True, slots=True)
class Experiment:
    """Trainings that answer one question: settings, each with the same seeds.

    The plans may name a file of pretrained weights; it is looked for in the folder `pretrained` of the data's folder.
    """

    name: str
    title: str
    plans: tuple[Plan, ...]
    quick: Mapping[str, Any]  #: settings of a quick rerun, over the first plan's and in place of its grid; and `seeds`
    batch_losses: bool = False  #: draw the loss of every batch too


@dataclass(frozen=True, slots=True)
class Claim:
    """An accuracy that the write-up reports, and the setting that it is reported for."""

    text: str
    reported: float
    experiment: str
    setting: Mapping[str, Any] | None  #: what the write-up set; None where another network takes its place
    among: Mapping[str, Any] | None = None  #: what a selection on the validation part may not change
    samples: int | None = None  #: test samples that the figure was measured on, if not on all of them
    doubtful: bool = False  #: far too low for the method: it is not to be reached, but to be refuted
    note: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference between two settings that the write-up reports: that the first is better, or that neither is."""

    text: str
    experiment: str
    first: Mapping[str, Any]
    second: Mapping[str, Any]
    better: bool  #: the claim: is the first one better, or is there no difference?


@dataclass(frozen=True, slots=True)
class Stated:
    """Something else that the write-up says, beside what is so."""

    what: str
    reported: str
    ours: str
    verdict: str


@dataclass(frozen=True)
class Shown:
    """What a demonstration found: statements, tables, and a picture where it has one."""

    statements: tuple[Stated, ...] = ()
    text: str = ""
    figure: "Figure | None" = None
    caption: str = ""
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Something shown by numbers without a training of its own. It is told whether the rerun is a quick one."""

    name: str
    title: str
    show: Callable[[bool], Shown]


@dataclass(frozen=True, slots=True)
class Study:
    """One write-up."""

    name: str
    title: str
    text: str
    derivations: tuple[Derived, ...]
    checks: tuple[Checked, ...] = ()
    planted: tuple[Planted, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    claims: tuple[Claim | Contrast, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines like the write-up's, right and wrong: files as `chainrule derive --answer-file` reads them."""
        folder = resources.files("chainrule.lab.studies").joinpath("lines")
        files = sorted((each for each in folder.iterdir() if each.name.startswith(self.name)), key=lambda f: f.name)
        return tuple(each.read_text(encoding="utf-8") for each in files)

    def runs(self, *, quick: bool) -> int:
        """How many trainings it takes; those that experiments share count once."""
        plans = [plan for each in self.experiments for plan in planned(each, quick=quick)]
        return len({run.key for plan in plans for run in plan.runs()})


def planned(experiment: Experiment, *, quick: bool) -> list[Plan]:
    """The trainings of an experiment; of a quick rerun those of its first plan, cut short."""
    if not quick:
        return [_with_weights(plan) for plan in experiment.plans]
    plan, short = experiment.plans[0], dict(experiment.quick)
    seeds = short.pop("seeds", QUICK_SEEDS)
    grid = {name: values for name, values in plan.grid.items() if name not in short}
    settings = overlay(by_field(plan.settings), by_field(short))
    return [_with_weights(replace(plan, settings=settings, grid=grid, seeds=seeds))]


def seconds_left(study: Study, folder: str | Path) -> float | None:
    """How long the trainings take that are not finished in a full rerun's folder, by earlier measurements.

    The measurements, in seconds of one core, stand in times.json, which `python tools/study_times.py` writes. None if
    there is none of some of the trainings.
    """
    from joblib import cpu_count

    stored = json.loads(resources.files("chainrule.lab.studies").joinpath("times.json").read_text(encoding="utf-8"))
    plans = [plan for each in study.experiments for plan in planned(each, quick=False)]
    keys = {run.key for plan in plans for run in plan.runs()}
    wanted = [key for key in keys if result_of(Path(folder) / key) is None]
    return sum(stored[key] for key in wanted) / cpu_count() if all(key in stored for key in wanted) else None


def _with_weights(plan: Plan) -> Plan:
    """The plan with the places of the files of pretrained weights."""
    if "pretrained" not in plan.grid:
        return plan
    folder = (named_folder() or Path("data")) / "pretrained"
    files = [None if name is None else str(folder / name) for name in plan.grid["pretrained"]]
    return replace(plan, grid={**plan.grid, "pretrained": files})


# ------------------------------------------------------------------------------------------------- what a rerun found


@dataclass(frozen=True, slots=True)
class Proof:
    """A derivation, and what it was compared with."""

    title: str
    points: int
    error: float  #: largest relative difference
    witnesses: tuple[str, ...]
    gradients: tuple[tuple[str, str], ...]  #: of each input: its gradient, as the derivation prints it
    text: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong on paper or in code, as it was judged; `known` are its right names."""

    text: str
    code: bool
    cause: str | None
    repair: str
    known: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Was it named for what it is?"""
        return self.cause in self.known


@dataclass(frozen=True, slots=True)
class Verified:
    """A backward pass, as the checker judged it."""

    title: str
    status: str
    gradients: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """An experiment to its end."""

    experiment: Experiment
    sweeps: tuple[Sweep, ...]
    report: Report | None  #: None if no run of it was finished
    skipped: str = ""  #: why it was not run, where it was not

    @property
    def section(self) -> Section | None:
        """Its settings side by side."""
        return self.report.sections[0] if self.report else None

    @property
    def rows(self) -> tuple[Row, ...]:
        """Its settings, the one that the validation part chooses first."""
        return self.section.settings if self.section else ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim beside the evidence."""

    text: str
    reported: str
    contrast: bool  #: is it about a difference?
    first: Estimate | None  #: accuracy with the write-up's own setting; of a contrast, with its first
    second: Estimate | None  #: with the setting that the validation part chose; of a contrast, with its second
    label: str  #: what distinguishes the setting that was chosen, if it is not the write-up's
    verdict: str  #: a word or two
    evidence: str  #: a sentence


@dataclass(frozen=True)
class StudyReport:
    """Everything that a rerun found."""

    study: Study = field(repr=False)
    quick: bool
    folder: str
    proofs: tuple[Proof, ...]
    mistakes: tuple[Mistake, ...]
    checks: tuple[Verified, ...]
    demonstrations: tuple[tuple[Demonstration, Shown], ...] = field(repr=False)
    experiments: tuple[Done, ...] = field(repr=False)
    claims: tuple[Judged, ...]
    seconds: float  #: of this call; runs that were finished before are not in it
    environment: dict[str, Any] = field(repr=False)

    @property
    def failures(self) -> tuple[str, ...]:
        """What should not be: a number that is not right, a mistake that was not named, a run that failed."""
        runs = [
            f"{done.experiment.title}: run {run.key} {run.state}: {run.error or ''}".rstrip(": ")
            for done in self.experiments
            for found in done.sweeps
            for run in found.runs
            if run.state != "finished"
        ]
        return (
            *(f"the gradient of {each.title} was judged {each.status}" for each in self.checks if each.status != RIGHT),
            *(f"the mistake in {each.text!r} was called {each.cause}" for each in self.mistakes if not each.found),
            *(
                f"{part.title}: {each.what}: {each.ours}, {each.verdict}"
                for part, shown in self.demonstrations
                for each in shown.statements
                if each.verdict.startswith(WRONG)
            ),
            *runs,
        )


@dataclass(frozen=True, slots=True)
class At:
    """Where a rerun is: what listeners are told."""

    part: str  #: derivations, mistakes, gradient checks, demonstrations, or an experiment's name
    title: str
    number: int  #: of `of` in this part, from 1
    of: int
    plan: int = 0  #: of an experiment that is running: which of its plans
    progress: Progress | None = None  #: and how far that one is


def rerun(
    study: Study,
    *,
    quick: bool = False,
    study_dir: str | Path | None = None,
    jobs: int | None = None,
    retry: int = 0,
    listener: Callable[[At], None] = lambda at: None,
    downloads: Sequence[Listener] = (),
) -> StudyReport:
    """Does a study again; what is finished in its folder is not run again.

    Args:
        study: one of `chainrule.lab.studies`.
        quick: fewer and shorter trainings: a look at whether everything works, with which no claim is judged.
        study_dir: where the runs are (default: runs/study-NAME, or runs/study-NAME-quick).
        jobs: trainings at a time (default: the cores of this machine).
        retry: how often a training that fails is tried again, as for `sweep`.
        listener: told where it is.
        downloads: told of the data sets' downloads.

    Raises `UserError` and `KeyboardInterrupt` as `sweep` does.
    """
    began = time.monotonic()
    folder = folder_of(study, quick=quick, study_dir=study_dir)
    proofs = tuple(_proof(each) for each in _told(study.derivations, "derivations", listener))
    in_code = tuple(_planted(each) for each in _told(study.planted, "mistakes", listener))
    mistakes = (*itertools.chain(*(_mistakes(text) for text in study.lines)), *in_code)
    checks = tuple(_verified(each) for each in _told(study.checks, "gradient checks", listener))
    shown = tuple((each, each.show(quick)) for each in _told(study.demonstrations, "demonstrations", listener))
    runner = _Runner(study, quick, folder, jobs, retry, listener, downloads)
    done = tuple(runner.done(each, number) for number, each in enumerate(study.experiments, 1))
    by_name = {each.experiment.name: each for each in done}
    claims = tuple(judged(each, by_name[each.experiment], quick=quick) for each in study.claims)
    return StudyReport(
        study,
        quick,
        str(folder),
        proofs,
        mistakes,
        checks,
        shown,
        done,
        claims,
        time.monotonic() - began,
        environment(),
    )


def folder_of(study: Study, *, quick: bool, study_dir: str | Path | None = None) -> Path:
    """Where the runs of a study are."""
    return Path(study_dir) if study_dir else RUNS / f"study-{study.name}{'-quick' * quick}"


def _told(parts: Sequence[Any], name: str, listener: Callable[[At], None]) -> Iterator[Any]:
    for number, part in enumerate(parts, 1):
        listener(At(name, part.title, number, len(parts)))
        yield part


def _proof(derived: Derived) -> Proof:
    from chainrule.derive import derive

    found = derive(derived.program, derived.shapes)
    gradients = tuple((each["of"], each["matrix"] or each["index"]) for each in found.json()["gradients"])
    return Proof(
        derived.title,
        found.verified.points,
        found.verified.error,
        tuple(found.verified.witnesses),
        gradients,
        found.text(),
    )


def _mistakes(text: str) -> Iterator[Mistake]:
    """The lines of a file that say of themselves that they are wrong, as they are judged."""
    from chainrule.derive.lines import review

    about = dict(re.findall(r"^# (program|shapes): (.*)$", text, re.MULTILINE))
    found = {line.number: line for line in review(about["program"], text, about.get("shapes")).lines}
    for number, line in enumerate(text.splitlines(), 1):
        if known := re.search(r"# wrong: ([\w-]+)", line):
            judged = found[number]
            yield Mistake(judged.text, False, judged.verdict.cause, judged.verdict.repair or "", (known[1],))


def _planted(planted: Planted) -> Mistake:
    from chainrule.check import diagnose

    worst = diagnose(*planted.target()).findings[0]
    return Mistake(planted.title, True, worst.cause, worst.fix, planted.causes)


def _verified(checked: Checked) -> Verified:
    from chainrule.check import diagnose

    target, inputs = checked.target()
    found = diagnose(target, inputs)
    return Verified(checked.title, found.status, tuple(each.name for each in found.findings), tuple(found.notes))


@dataclass(frozen=True)
class _Runner:
    """How the experiments of one rerun are run."""

    study: Study
    quick: bool
    folder: Path
    jobs: int | None
    retry: int
    listener: Callable[[At], None]
    downloads: Sequence[Listener]

    def done(self, experiment: Experiment, number: int) -> Done:
        """An experiment to its end."""
        at = At(experiment.name, experiment.title, number, len(self.study.experiments))
        self.listener(at)
        plans = planned(experiment, quick=self.quick)
        if missing := _missing(plans):
            return Done(experiment, (), None, missing)
        sweeps = tuple(self._sweep(plan, replace(at, plan=number)) for number, plan in enumerate(plans))
        runs = [run for found in sweeps for run in found.runs]
        finished = any(run.state == "finished" for run in runs)
        # Also those that failed, for survivors are no sample; some fail before they have a folder.
        begun = [run.run_dir for run in runs if (Path(run.run_dir) / "config.yaml").is_file()]
        return Done(experiment, sweeps, self._report(experiment, begun) if finished else None)

    def _sweep(self, plan: Plan, at: At) -> Sweep:
        def progress(found: Progress) -> None:
            self.listener(replace(at, progress=found))

        return sweep(
            plan, sweep_dir=self.folder, jobs=self.jobs, retry=self.retry, progress=progress, listeners=self.downloads
        )

    def _report(self, experiment: Experiment, runs: Sequence[str]) -> Report:
        """The settings side by side; where claims are about differences, those are what is tested, and no others."""
        found = report(runs)
        contrasts = [c for c in self.study.claims if isinstance(c, Contrast) and c.experiment == experiment.name]
        rows = [(_row(found.sections[0], c.first), _row(found.sections[0], c.second)) for c in contrasts]
        pairs = [(first.name, second.name) for first, second in rows if first is not None and second is not None]
        return report(runs, compare=pairs) if pairs else found


def _missing(plans: Sequence[Plan]) -> str:
    """What is said of an experiment whose pretrained weights are not there."""
    files = [name for plan in plans for name in plan.grid.get("pretrained", ()) if name is not None]
    lacking = [name for name in files if not Path(name).is_file()]
    return f"there is no {lacking[0]}: put the file there, and run the study again" if lacking else ""


# ------------------------------------------------------------------------------------------------------------- claims


def judged(claim: Claim | Contrast, done: Done, *, quick: bool) -> Judged:
    """A claim beside what an experiment found."""
    if isinstance(claim, Claim):
        return _accuracy(claim, done, quick=quick)
    return _contrast(claim, done, quick=quick)


def _accuracy(claim: Claim, done: Done, *, quick: bool) -> Judged:
    reported = f"{100 * claim.reported:.4g} %" + (f" of {claim.samples} samples" if claim.samples else "")
    same = None if claim.setting is None else _row(done.section, claim.setting)
    selected = _row(done.section, claim.among or {})
    estimates = [None if row is None else row.estimates[BY] for row in (same, selected)]
    verdict, evidence = NOT_RUN
    if quick:
        verdict, evidence = NOT_JUDGED
    elif estimates[1] is not None:
        verdict, evidence = _reached(claim, estimates[1])
        evidence = f"{evidence} {claim.note}".strip()
    label = "" if selected is None or selected is same else selected.label
    return Judged(claim.text, reported, False, estimates[0], estimates[1], label, verdict, evidence)


def _reached(claim: Claim, found: Estimate) -> tuple[str, str]:
    seeds = f"{found.n} seeds"
    if found.low is None or found.high is None:
        word = ("does not hold" if claim.doubtful else "reached") if found.mean >= claim.reported else "not reached"
        if found.n == 1:
            return f"{word}, by one run", "One run has no interval."
        return word, f"All {seeds} gave the same figure, and there is no interval."
    if found.low >= claim.reported:
        verdict = "does not hold" if claim.doubtful else "beaten"
        return verdict, f"The whole interval over {seeds} lies above it."
    if found.mean >= claim.reported:
        return "reached", f"The mean over {seeds} is not below it; the interval holds it."
    short = 100 * (claim.reported - found.mean)
    if found.high >= claim.reported:
        return (
            "within the interval",
            f"The mean over {seeds} is {short:.1f} points below it, and the interval holds it.",
        )
    return "not reached", f"The whole interval over {seeds} lies below it, the mean by {short:.1f} points."


def _contrast(claim: Contrast, done: Done, *, quick: bool) -> Judged:
    first, second = _row(done.section, claim.first), _row(done.section, claim.second)
    compared = _comparison(done, first, second)
    estimates = [None if row is None else row.estimates[BY] for row in (first, second)]
    verdict, evidence = NOT_RUN
    if quick:
        verdict, evidence = NOT_JUDGED
    elif first is not None and second is not None and compared is not None:
        verdict, evidence = _difference(claim, first, second, compared)
    reported = "better" if claim.better else "no difference"
    return Judged(claim.text, reported, True, estimates[0], estimates[1], "", verdict, evidence)


def _difference(claim: Contrast, first: Row, second: Row, found: Comparison) -> tuple[str, str]:
    ahead = {"higher": found.first, "lower": found.second}.get(found.verdict)  # of accuracies the higher is better
    text = found.text
    for row in (first, second):
        text = re.sub(rf"\b{row.name}\b", row.label, text)
    if found.verdict == "refused":
        return "cannot be told", text
    if ahead is None:
        return ("not shown" if claim.better else "no difference shown"), text
    if not claim.better:
        return "does not hold", text
    return ("holds" if ahead == first.name else "the opposite holds"), text


def _comparison(done: Done, first: Row | None, second: Row | None) -> Comparison | None:
    if done.section is None or first is None or second is None:
        return None
    names = {first.name, second.name}
    return next((each for each in done.section.comparisons if {each.first, each.second} == names), None)


def _row(section: Section | None, setting: Mapping[str, Any]) -> Row | None:
    """The best by the validation part, of the settings that have these values: rows are in that order."""
    if section is None:
        return None
    everywhere = TrainConfig().model_dump(mode="json") | section.common
    for row in section.settings:
        values = everywhere | row.values
        if all(_alike(values[name], value) for name, value in setting.items()):
            return row
    return None


def _alike(stored: Any, given: Any) -> bool:
    """Whether a value as a run folder has it is the one that was given."""
    return (tuple(stored) if isinstance(stored, list) else stored) == given
