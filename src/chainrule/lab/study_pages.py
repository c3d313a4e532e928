"""A study's report written down: one HTML page, and Markdown with its pictures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.files import naming_the_file, write_atomically
from chainrule.lab import charts
from chainrule.lab.metric import METRICS, interval
from chainrule.lab.pages import Chart, Page, Pages, Table, duration, style, templates
from chainrule.lab.statistics import Estimate
from chainrule.lab.study import RIGHT, Done, Stated, StudyReport
from chainrule.lab.sweep import SweepRun
from chainrule.train.metrics import read_csv

ACCURACY = METRICS["test-accuracy"]
SMOOTHED = 100  # batches in a mean of their losses
POINTS = 120  # of a curve of batch losses


@dataclass(frozen=True)
class Part:
    """A heading with a text, tables and pictures; of an experiment also sentences and remarks."""

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    sentences: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class StudyPages:
    """A `StudyReport` with its charts drawn."""

    def __init__(self, found: StudyReport) -> None:
        self.found = found
        self.experiments = [_experiment(done) for done in found.experiments]

    def html(self) -> str:
        """One page: nothing in it is loaded from elsewhere."""
        return templates(autoescape=True).get_template("study.html").render(**self._facts(), style=style())

    def markdown(self, figures: str) -> str:
        """Markdown, whose charts are files in the folder `figures` beside it."""
        return templates().get_template("study.md").render(**self._facts(), figures=figures)

    def write(self, folder: str | Path) -> dict[str, str]:
        """Writes NAME.html, NAME.md and the charts in a folder NAME beside them; returns the files by kind."""
        folder, name = Path(folder), self.found.study.name
        with naming_the_file(folder):
            (folder / name).mkdir(parents=True, exist_ok=True)
        files = {"page": folder / f"{name}.html", "markdown": folder / f"{name}.md"}
        write_atomically(files["page"], self.html().encode())
        write_atomically(files["markdown"], self.markdown(name).encode())
        for chart in (chart for part in [*self.shown, *self.experiments] for chart in part.charts):
            write_atomically(folder / name / f"{chart.name}.svg", charts.standing_alone(chart.svg).encode())
        return {kind: str(path) for kind, path in files.items()}

    @property
    def claims(self) -> Table:
        """Accuracies that were reported, beside those that were found."""
        return Table(
            ("claim", ">reported", ">the same settings, %", ">chosen by validation, %", "verdict", "chosen"),
            tuple(
                (each.text, each.reported, _share(each.first), _share(each.second), each.verdict, each.label)
                for each in self.found.claims
                if not each.contrast
            ),
        )

    @property
    def contrasts(self) -> Table:
        """Differences that were reported, beside both accuracies that were found."""
        return Table(
            ("claim", ">the first, %", ">the second, %", "verdict"),
            tuple(
                (each.text, _share(each.first), _share(each.second), each.verdict)
                for each in self.found.claims
                if each.contrast
            ),
        )

    @property
    def derivations(self) -> Table:
        """Every gradient that was derived, and how far it is from the truth."""
        return Table(
            ("", "=gradient of", "=is", ">points", ">largest error"),
            tuple(
                (each.title if first else "", name, formula, str(each.points), f"{each.error:.0e}")
                for each in self.found.proofs
                for first, (name, formula) in zip([True] + [False] * len(each.gradients), each.gradients, strict=False)
            ),
        )

    @property
    def mistakes(self) -> Table:
        """Lines and backward passes that are wrong, named."""
        return Table(
            ("", "=mistake", "=what is wrong", "=repair"),
            tuple(
                ("in code" if each.code else "on paper", each.text, each.cause or "not found", each.repair)
                for each in self.found.mistakes
            ),
        )

    @property
    def checks(self) -> Table:
        """Backward passes, judged."""
        return Table(
            ("backward pass", "gradients", "verdict"),
            tuple((each.title, ", ".join(each.gradients), each.status) for each in self.found.checks),
        )

    @property
    def shown(self) -> list[Part]:
        """The demonstrations."""
        parts = []
        for demonstration, shown in self.found.demonstrations:
            pictures = () if shown.figure is None else (Chart(demonstration.name, shown.figure, shown.caption),)
            stated = (_stated(shown.statements),) if shown.statements else ()
            parts.append(Part(demonstration.title, shown.text, (*stated, *shown.tables), pictures))
        return parts

    def lead(self) -> str:
        """What one would say of the study in a sentence or two."""
        found = self.found
        right = sum(each.status == RIGHT for each in found.checks)
        named = sum(each.found for each in found.mistakes)
        trainings = len({run.key for run in self._runs()})
        verdicts = Counter(each.verdict for each in found.claims)
        return (
            f"{len(found.proofs)} derivations proved, {right} of {len(found.checks)} backward passes right, "
            f"{named} of {len(found.mistakes)} mistakes named, {trainings} trainings. "
            f"Claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.items())}."
        )

    def witnesses(self) -> str:
        """What the derivations were compared with, each once; the rule of an op is the one that it derives."""
        named = (name for proof in self.found.proofs for name in proof.witnesses)
        return ", ".join(dict.fromkeys("the op's own rule" if n.startswith("the rule of") else n for n in named))

    def machines(self) -> list[str]:
        """The versions and the machines that the trainings were made with, or this one where there were none."""
        each = [e for done in self.found.experiments if done.report for e in done.report.environments]
        found = {_machine(environment): None for environment in each or [self.found.environment]}
        return list(found)

    def seconds(self) -> float:
        """The time of all trainings, one after the other."""
        return sum({run.key: run.seconds or 0.0 for run in self._runs()}.values())

    def _runs(self) -> Iterator[SweepRun]:
        return (run for done in self.found.experiments for found in done.sweeps for run in found.runs)

    def _facts(self) -> dict[str, Any]:
        return {
            "found": self.found,
            "study": self.found.study,
            "lead": self.lead(),
            "claims": self.claims,
            "contrasts": self.contrasts,
            "derivations": self.derivations,
            "witnesses": self.witnesses(),
            "mistakes": self.mistakes,
            "checks": self.checks,
            "shown": self.shown,
            "experiments": self.experiments,
            "notes": list(_notes(self.found)),
            "machines": self.machines(),
            "time": duration(self.seconds()),
            "version": version("chainrule"),
        }


def _stated(statements: Sequence[Stated]) -> Table:
    """Statements, without the columns in which none has anything."""
    rows = [(each.what, each.reported, each.ours, each.verdict) for each in statements]
    headings = ("", "the write-up", "=here", "")
    kept = [i for i in range(len(headings)) if any(row[i] for row in rows)]
    return Table(tuple(headings[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))


def _experiment(done: Done) -> Part:
    if done.report is None or done.section is None:
        return Part(done.experiment.title, f"Not run: {done.skipped}." if done.skipped else "No run of it is finished.")
    page = Pages(done.report).pages[0]
    pictures = [*page.overview, *page.differences, *page.curves[:2]]
    renamed = [replace(chart, name=f"{done.experiment.name}-{chart.name.split('-', 1)[1]}") for chart in pictures]
    losses = [_batch_losses(done)] if done.experiment.batch_losses else []
    sentences = tuple(each.text for each in done.section.comparisons)
    return Part(
        done.experiment.title, _common(page), (page.settings,), (*renamed, *losses), sentences, tuple(page.remarks)
    )


def _common(page: Page) -> str:
    """The sentence over a table of settings."""
    ordered = f"Ordered by {page.section.chosen_by}. " if len(page.section.settings) > 1 else ""
    return f"{ordered}On {page.section.data}; {page.common}."


def _batch_losses(done: Done) -> Chart:
    """The loss of every batch of every setting, all seeds."""
    lines = {}
    for row in done.rows[: len(charts.CYCLE)]:
        losses = [
            [np.nan if step["loss"] is None else step["loss"] for step in read_csv(Path(run) / "steps.csv")]
            for run in row.runs
        ]
        width = min(SMOOTHED, max(1, len(losses[0]) // 10))
        means = np.array([np.convolve(each, np.full(width, 1 / width), "valid") for each in losses])
        every = max(1, means.shape[1] // POINTS)
        lines[row.label] = (np.arange(width, width + means.shape[1])[::every], means[:, ::every])
    caption = f"The loss of every batch before its step, in means of {width}: the median over the seeds, and each seed."
    figure = charts.lines_chart(lines, x="step", y="loss of the batches, nats")
    return Chart(f"{done.experiment.name}-batches", figure, caption)


def _share(found: Estimate | None) -> str:
    if found is None:
        return ""
    return interval(ACCURACY, found).replace(" %", "") + (f", n = {found.n}" if found.n > 1 else "")


def _machine(environment: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    processor = ", ".join(filter(None, [environment.get("processor"), f"{environment['cpus']} cores"]))
    return f"Python {environment['python']}, {packages}; {processor}; {environment['platform']}"


def _notes(found: StudyReport) -> Iterator[str]:
    """How the figures came about, each note once."""
    if not all(each.contrast for each in found.claims):
        yield (
            '"The same settings" are those of the write-up, but for the validation part: it is held out of the '
            "training part, and a write-up without one trained on all of it."
        )
    seen: dict[str, str] = {}
    for done in found.experiments:
        for note in Pages(done.report).notes() if done.report else []:
            seen.setdefault(note.partition(":")[0], note)  # of one data set's test part once
    yield from seen.values()
