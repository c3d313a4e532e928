"""A report written down: one HTML page, Markdown, LaTeX, each with the same tables, sentences and charts."""

import functools
import html
import io
import itertools
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chainrule import latex, mathml
from chainrule.errors import UserError
from chainrule.files import naming_the_file, write_atomically
from chainrule.lab import charts
from chainrule.lab.metric import METRICS, Metric, p_value, signed
from chainrule.lab.report import Comparison, Report, Row, Section
from chainrule.lab.settings import written
from chainrule.lab.statistics import ALPHA, CONFIDENCE, Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = ("val_accuracy", "test_accuracy")
OPEN = 6  # settings whose curves are shown without asking for them


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; a heading that begins with ">" is of numbers, flush right, one with "=" of code.

    A cell between dollar signs is a formula in LaTeX.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A figure, the name of its file, and what it shows, in words."""

    name: str
    figure: "Figure"
    caption: str

    @functools.cached_property
    def svg(self) -> str:
        """The picture, for a page."""
        return charts.svg(self.figure, self.name, self.caption)

    @functools.cached_property
    def pdf(self) -> bytes:
        """The picture, for LaTeX."""
        import matplotlib as mpl

        written = io.BytesIO()
        with mpl.rc_context({"pdf.fonttype": 42}):
            self.figure.savefig(written, format="pdf", metadata={"CreationDate": None})
        return written.getvalue()


@dataclass(frozen=True)
class Page:
    """A section with its tables and charts."""

    section: Section
    remarks: list[str]
    common: str
    settings: Table
    comparisons: Table
    runs: Table
    overview: list[Chart]
    differences: list[Chart]
    curves: list[Chart]  #: of the first settings
    more: list[Chart]  #: of the others

    @property
    def printed(self) -> list[Chart]:
        """The charts that Markdown and LaTeX show."""
        return [*self.overview, *self.differences, *self.curves]


class Pages:
    """A report with its charts drawn, to be written as often as it is wanted.

    >>> import tempfile
    >>> from chainrule.lab.report import report
    >>> from chainrule.train import TrainConfig, run
    >>> folder = tempfile.mkdtemp()
    >>> _ = run(TrainConfig(dataset="moons", hidden=4, max_steps=3), run_dir=folder)
    >>> Pages(report([folder])).markdown().splitlines()[0]
    '# moons: 1 setting, 1 run'
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.pages = [_page(report.metric, section) for section in report.sections]

    def html(self) -> str:
        """One page: nothing in it is loaded from elsewhere."""
        environment = templates(autoescape=True)
        marks = {row.name: i for page in self.pages for i, row in enumerate(page.section.settings[: len(charts.CYCLE)])}
        return environment.get_template("report.html").render(**self._facts(), style=style(), marks=marks)

    def markdown(self, figures: str = "figures") -> str:
        """Markdown, whose charts are files in the folder `figures` beside it."""
        return templates().get_template("report.md").render(**self._facts(), figures=figures)

    def latex(self, figures: str = "figures") -> str:
        """A document for pdflatex, whose charts are files in the folder `figures` beside it."""
        environment = templates(
            block_start_string="<%",
            block_end_string="%>",
            variable_start_string="<<",
            variable_end_string=">>",
            finalize=lambda value: escaped(value) if isinstance(value, str) else value,
        )
        return environment.get_template("report.tex").render(**self._facts(), figures=figures)

    def write(self, folder: str | Path, *, with_latex: bool = False) -> dict[str, str]:
        """Writes report.html, report.md and their charts; with LaTeX also report.tex and, by pdflatex, report.pdf.

        Returns the files by kind; there is no PDF where pdflatex is not installed.

        Raises `UserError` if a file cannot be written, or pdflatex fails.
        """
        folder = Path(folder)
        with naming_the_file(folder):
            (folder / "figures").mkdir(parents=True, exist_ok=True)
        files = {"page": folder / "report.html", "markdown": folder / "report.md"}
        write_atomically(files["page"], self.html().encode())
        write_atomically(files["markdown"], self.markdown().encode())
        printed = [chart for page in self.pages for chart in page.printed]
        for chart in printed:
            write_atomically(folder / "figures" / f"{chart.name}.svg", charts.standing_alone(chart.svg).encode())
        if with_latex:
            for chart in printed:
                write_atomically(folder / "figures" / f"{chart.name}.pdf", chart.pdf)
            files["latex"] = folder / "report.tex"
            write_atomically(files["latex"], self.latex().encode())
            if pdf := _compiled(files["latex"]):
                files["pdf"] = pdf
        return {kind: str(path) for kind, path in files.items()}

    def notes(self) -> list[str]:
        """How the figures came about."""
        return list(_notes(self.report))

    def _facts(self) -> dict[str, Any]:
        """What the templates lay out."""
        return {
            "report": self.report,
            "pages": self.pages,
            "title": _title(self.report),
            "notes": self.notes(),
            "version": version("chainrule"),
        }


# ------------------------------------------------------------------------------------------------------------ contents


def _page(metric: Metric, section: Section) -> Page:
    shown, hidden = section.settings[:OPEN], section.settings[OPEN:]
    return Page(
        section=section,
        remarks=_remarks(section),
        common=", ".join(f"{name.replace('_', ' ')} {written(value)}" for name, value in section.common.items()),
        settings=settings_table(metric, section),
        comparisons=comparisons_table(metric, section),
        runs=runs_table(section),
        overview=list(_overview(metric, section)),
        differences=list(_differences(metric, section)),
        curves=list(_curves(section, shown)),
        more=list(_curves(section, hidden)),
    )


def _title(report: Report) -> str:
    count = sum(len(section.settings) for section in report.sections)
    data = ", ".join(section.data for section in report.sections)
    return f"{data}: {counted(count, 'setting')}, {counted(report.runs, 'run')}"


def counted(count: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "seed"), counted(1200, "seed")
    ('1 seed', '1,200 seeds')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def settings_table(metric: Metric, section: Section) -> Table:
    """The settings, the chosen one first: means with their intervals."""
    metrics = dict.fromkeys([METRICS["val-accuracy"], metric, METRICS["test-accuracy"], METRICS["test-loss"]])
    shown = [each for each in metrics if any(each.field in row.estimates for row in section.settings)]
    return Table(
        (
            *("", *(name.replace("_", " ") for name in section.varied), ">n"),
            *(f">{each.name}{', %' * each.is_share}" for each in shown),
            ">time",
        ),
        tuple(
            (
                *(row.name, *map(written, row.values.values()), str(row.n)),
                *(_estimated(each, row.estimates.get(each.field)) for each in shown),
                duration(row.estimates["seconds"].mean) if "seconds" in row.estimates else "",
            )
            for row in section.settings
        ),
    )


def _estimated(metric: Metric, found: Estimate | None) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return metric.number(found.mean) + (" (all equal)" if found.n > 1 else "")
    return f"{metric.number(found.mean)} [{metric.number(found.low)}, {metric.number(found.high)}]"


def comparisons_table(metric: Metric, section: Section) -> Table:
    """The comparisons, with what was tested and what may be said."""
    return Table(
        ("", "verdict", f">difference, {metric.unit}", ">p (Holm)", ">p", "test", ">effect", ">seeds needed"),
        tuple(_compared(metric, each) for each in section.comparisons),
    )


def _compared(metric: Metric, each: Comparison) -> tuple[str, ...]:
    d = each.difference
    within = f" [{metric.signed(d.low)}, {metric.signed(d.high)}]" if d.low is not None and d.high is not None else ""
    effect = ""
    if d.effect is not None and d.effect_low is not None and d.effect_high is not None:
        letter = "d_z" if d.paired else "d"
        effect = f"{letter} = {signed(d.effect)} [{signed(d.effect_low)}, {signed(d.effect_high)}]"
    n = counted(d.n[0], "pair") if d.paired else f"{d.n[0]} and {d.n[1]} runs"
    return (
        f"{each.first} \N{MINUS SIGN} {each.second}",
        _verdict(metric, each),
        metric.signed(d.mean) + within,
        "" if each.p_corrected is None else p_value(each.p_corrected),
        "" if d.p is None else p_value(d.p),
        n if d.test == "none" else f"{d.test}, {n}",
        effect,
        "" if each.needed is None or each.verdict in ("higher", "lower") else f"about {each.needed:,}",
    )


def _verdict(metric: Metric, each: Comparison) -> str:
    if each.verdict in ("higher", "lower"):
        return f"{each.first if (each.verdict == 'higher') == metric.is_share else each.second} is better"
    return {"equal": "equal", "not shown": "no difference shown", "refused": "cannot be told"}[each.verdict]


def runs_table(section: Section) -> Table:
    """Every run: its setting, seed, figures, folder."""
    metrics = [each for each in METRICS.values() if any(each.field in row.estimates for row in section.settings)]
    return Table(
        ("", ">seed", *(f">{each.name}{', %' * each.is_share}" for each in metrics), "folder"),
        tuple(
            (row.name, str(seed), *(_figure(each, row, seed) for each in metrics), path)
            for row in section.settings
            for seed, path in zip(row.seeds, row.runs, strict=True)
        ),
    )


def _figure(metric: Metric, row: Row, seed: int) -> str:
    value = row.figures.get(metric.field, {}).get(seed)
    return "" if value is None else metric.number(value)


def _remarks(section: Section) -> list[str]:
    """The remarks on the settings side by side, then those on their runs, each kind once."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in section.settings:
        for remark in row.remarks:
            found.setdefault(remark.kind, []).append((row.name, remark.text))
    of_runs = []
    for (name, text), *others in found.values():
        likewise = f" Likewise {', '.join(other for other, _ in others)}." if others else ""
        of_runs.append((f"{name}: " if len(section.settings) > 1 else "") + text + likewise)
    return [*(remark.text for remark in section.remarks), *of_runs]


def duration(seconds: float) -> str:
    """A time for the eye.

    >>> duration(0.432), duration(75), duration(8000)
    ('0.43 s', '1.2 min', '2.2 h')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _notes(report: Report) -> Iterator[str]:
    """How the figures came about: what a reader must know to trust or to doubt them."""
    percent = f"{100 * CONFIDENCE:.0f} %"
    yield (
        f"Brackets are {percent} t intervals of the mean over seeds, on this test part: where the mean of many more "
        "seeds is expected. A single seed spreads wider. The validation part is drawn anew with every seed. Where "
        "there is no bracket there is one run, or no spread."
    )
    accuracies = [
        row.estimates[name]
        for section in report.sections
        for row in section.settings
        for name in row.estimates
        if name in SHARES
    ]
    if any(
        each.low is not None and each.high is not None and not 0 <= each.low <= each.high <= 1 for each in accuracies
    ):
        yield (
            "A t interval knows nothing of 0 and 100 %: one that reaches beyond them is not cut off, for it shows how "
            "little so few seeds say."
        )
    yield (
        "The tables show the weights that each run chose among its evaluations; curves end with its last one. "
        "Times are those of the runs, side by side or not."
    )
    for section in report.sections:
        if sizes := _test_sizes(section):
            accuracy = section.settings[0].estimates["test_accuracy"].mean
            margin = 196 * math.sqrt(accuracy * (1 - accuracy) / min(sizes))
            yield (
                f"{section.data} has {min(sizes):,} test samples: another draw of them would move an accuracy of "
                f"{100 * accuracy:.1f} % by {margin:.1f} points or less, 19 times of 20. Differences between settings "
                "move with it, by less: verdicts are about these test samples. No number of seeds makes this smaller."
            )
    found = [each for section in report.sections for each in section.comparisons]
    if any(each.difference.paired for each in found):
        yield (
            "Settings are compared over the seeds that both have: the same seed is the same split and order of "
            "samples. "
            "d_z is the mean difference over the standard deviation of the differences."
        )
    if any(each.difference.test == "Welch's t" for each in found):
        yield (
            "Settings of which fewer than half of the seeds are common are compared by Welch's t test; "
            "d is the difference over the root of the mean variance."
        )
    if any(each.p_corrected is not None for each in found):
        yield (
            "p-values are two-sided. The verdict is by Holm's correction, over all comparisons on the same data (where "
            "only the chosen setting is compared, over all pairs: it was picked from them); the brackets of "
            "differences are not corrected."
        )
    if any((each.difference.wilcoxon_least or 0) >= ALPHA for each in found):
        yield (
            "Wilcoxon's signed-rank test can be heard from 6 pairs on, among several comparisons from some more on: "
            "with fewer its p-value is never below 0.05, whatever the data. Above that it is mentioned where it "
            "disagrees with the t test."
        )
    if any(each.needed is not None for each in found):
        yield (
            "The number of seeds needed takes the difference and the spread seen here for the true ones. With few "
            "seeds they are not: read it as an order of magnitude."
        )


def _test_sizes(section: Section) -> list[int]:
    return [int(size) for row in section.settings for size in row.figures.get("test_samples", {}).values()]


# --------------------------------------------------------------------------------------------------------------- charts


def _overview(metric: Metric, section: Section) -> Iterator[Chart]:
    """The charts of all settings of a section together."""
    stem, rows = _slug(section), section.settings
    if any(metric.field in row.estimates for row in rows):
        several = any(row.n > 1 for row in rows)
        caption = f"{metric.name.capitalize()} of every setting: each seed a ring"
        caption += ", the mean a diamond, its 95 % interval a bar (beyond an arrowhead it goes on)" * several + "."
        yield Chart(f"{stem}-settings", charts.settings_chart(rows, metric), caption)
    parts = {curve.part for row in rows for curve in row.curves}
    if len(rows) > 1 and parts:
        part: Literal["train", "val"] = "val" if "val" in parts else "train"
        name = charts.PARTS[part][0].capitalize()
        caption = f"{name} accuracy over the epochs: the mean over the seeds of each setting."
        limits = charts.limits(rows, "accuracy")
        yield Chart(f"{stem}-curves", charts.overlay_chart(rows, part, limits), caption)


def _differences(metric: Metric, section: Section) -> Iterator[Chart]:
    if any(each.verdict != "refused" for each in section.comparisons):
        caption = "Differences with their 95 % intervals; filled where a difference is shown after Holm's correction."
        yield Chart(f"{_slug(section)}-differences", charts.differences_chart(section.comparisons, metric), caption)


def _curves(section: Section, rows: Sequence[Row]) -> Iterator[Chart]:
    """Loss and accuracy of each of these settings."""
    quantities: tuple[Literal["loss", "accuracy"], ...] = ("loss", "accuracy")
    limits = {quantity: charts.limits(section.settings, quantity) for quantity in quantities}
    for row, quantity in itertools.product(rows, quantities):
        if any(curve.quantity == quantity for curve in row.curves):
            band = ", the band a 95 % interval of the mean" if row.n >= charts.FEWEST else ""
            caption = f"Setting {row.name}, {quantity} in training and validation: {counted(row.n, 'seed')}{band}."
            figure = charts.curves_chart(row, quantity, limits[quantity])
            yield Chart(f"{_slug(section)}-{row.name}-{quantity}", figure, caption)


def _slug(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", Path(section.data).stem.lower()).strip("-") + f"-{section.settings[0].name}"


def style() -> str:
    """The style of a page, with the charts' colours, light and dark."""
    each = "".join(f"{name}: light-dark({charts.LIGHT[name]}, {charts.DARK[name]}); " for name in charts.LIGHT)
    return _part("report.css") + f":root {{ {each}}}\n"


# ------------------------------------------------------------------------------------------------------------ templates


class _Plain(str):
    """Text that LaTeX reads as it stands."""


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> escaped("d_z = 5 %")
    '$d_z$ = 5 \\%'
    """
    if isinstance(text, _Plain):
        return text
    return "$d_z$".join(map(latex.escaped, text.split("d_z")))


def _with_options(text: str) -> str:
    """A sentence as HTML, in which options of the command are code that is not broken."""
    return re.sub(
        r"--[a-z][a-z-]*(?: \d+(?:\.\d+)?(?![\d,]))?", lambda found: f"<code>{found[0]}</code>", html.escape(text)
    )


def _formula(cell: str) -> str:
    """A cell of a page: LaTeX between dollar signs as MathML, all else as it stands."""
    from markupsafe import Markup, escape

    return Markup(mathml.inline(cell.strip("$"))) if re.fullmatch(r"\$[^$]+\$", cell) else escape(cell)


def templates(**options: Any) -> Any:
    """The environment of the templates in this package's folder of that name."""
    import jinja2

    made = jinja2.Environment(loader=jinja2.FunctionLoader(_part), trim_blocks=True, lstrip_blocks=True, **options)
    made.filters |= {"plain": _Plain, "cell": lambda text: text.replace("|", "\\|"), "sentence": _with_options}
    made.filters["formula"] = _formula
    made.filters["code"] = lambda text, heading: f"`{text}`" if text and heading.startswith("=") else text
    return made


@functools.cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _compiled(path: Path) -> Path | None:
    """Makes the PDF, where pdflatex is installed; what else it leaves is taken away, but for the log of a failure."""
    program = shutil.which("pdflatex")
    if program is None:
        return None
    call = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", path.name]
    for _ in range(2):  # the second time it knows the widths of the tables
        if subprocess.run(call, cwd=path.parent, capture_output=True, check=False).returncode:
            raise UserError(f"pdflatex could not read {path}: {path.with_suffix('.log')} says why")
    for ending in (".aux", ".log", ".out"):
        path.with_suffix(ending).unlink(missing_ok=True)
    return path.with_suffix(".pdf")
