"""`chainrule study`: a write-up done again, its claims beside the evidence."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from chainrule.cli import show
from chainrule.cli.options import debug_option, examples, json_option
from chainrule.cli.sweep import View as SweepView
from chainrule.cli.sweep import retry_option
from chainrule.errors import UsageError

if TYPE_CHECKING:
    from chainrule.lab.study import At, Study, StudyReport
    from chainrule.lab.study_pages import StudyPages

WIDE = 130  # columns of a screen on which every column of the claims has room


@click.command(
    epilog=examples(
        "chainrule study --list",
        "chainrule study nyu-2021 --quick",
        "chainrule study vu-2023 --jobs 2",
        "chainrule study uva-2018 --output docs/studies",
    )
)
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--list", "listing", is_flag=True, help="List the studies, with what each takes.")
@click.option("--quick", is_flag=True, help="Fewer and shorter trainings, under two minutes; judges no claim.")
@click.option("--study-dir", metavar="FOLDER", help="Folder of its runs (default: runs/study-NAME).")
@click.option(
    "-j", "--jobs", type=int, metavar="N", help="Trainings at a time; they share the cores (default: the cores)."
)
@retry_option
@click.option("--output", "-o", metavar="FOLDER", help="Where NAME.html and NAME.md go (default: the study's folder).")
@click.option("--open", "opening", is_flag=True, help="Open the page in the browser.")
@json_option("claims, derivations, mistakes, checks and settings")
@debug_option
@click.pass_context
def study(
    context: click.Context,
    name: str | None,
    listing: bool,
    quick: bool,
    study_dir: str | None,
    jobs: int | None,
    retry: int,
    output: str | None,
    opening: bool,
    as_json: bool,
) -> None:
    """Do a study again: prove what it derives, check its gradients, run its experiments, judge its claims.

    A study is one of the five write-ups that chainrule grew from. What is finished is not run again: after Ctrl-C the
    same command goes on. The exit code is 1 if a gradient is wrong, a known mistake is not named, or a run failed;
    a claim that does not hold is a result, not a failure.
    """
    from chainrule.lab.studies import study as study_of
    from chainrule.lab.study import folder_of, rerun
    from chainrule.lab.study_pages import StudyPages

    if listing:
        _list(as_json=as_json)
        return
    if name is None:
        raise UsageError("which study? Give its name, as in chainrule study vu-2023; chainrule study --list has all")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}, expected at least 1")
    if retry < 0:
        raise UsageError(f"retry is {retry}, expected at least 0")
    wanted = study_of(name)
    folder = folder_of(wanted, quick=quick, study_dir=study_dir)
    errors = show.console(stderr=True)
    errors.print(Text.assemble((f"{wanted.name}: {wanted.title}", "bold")))
    errors.print(Text(_expected(wanted, folder, quick=quick)), soft_wrap=not errors.is_terminal)
    with View(errors) as view:
        try:
            found = rerun(
                wanted, quick=quick, study_dir=folder, jobs=jobs, retry=retry, listener=view, downloads=[view.downloads]
            )
        except KeyboardInterrupt:
            errors.print("stopped; everything is saved, and the same command goes on")
            raise
    pages = StudyPages(found)
    files = pages.write(output or folder)
    out = show.console(stderr=as_json)
    out.print(_shown(pages, files, out.width), crop=False)
    if as_json:
        show.json_line(_as_json(found) | {"files": files})
    if opening:
        click.launch(files["page"])
    context.exit(1 if found.failures else 0)


class View:
    """A study as it goes: a line for each part, and a sweep's table while trainings run."""

    def __init__(self, console: Console) -> None:
        from chainrule.cli.progress import View as Downloads

        self.console, self.downloads = console, Downloads(console)
        self._sweep: SweepView | None = None
        self._plan = 0

    def __enter__(self) -> "View":
        self.downloads.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_sweep()
        self.downloads.__exit__(None, None, None)

    def __call__(self, at: "At") -> None:
        """Show where it is."""
        if at.progress is None or at.plan != self._plan:
            self._end_sweep()
        if at.progress is None:
            line = Text.assemble((f"{at.part} {at.number}/{at.of}  ", "dim"), at.title)
            self.console.print(line, soft_wrap=not self.console.is_terminal)
            return
        if self._sweep is None:
            self._sweep, self._plan = SweepView(self.console, before=self.downloads), at.plan
        self._sweep(at.progress)

    def _end_sweep(self) -> None:
        if self._sweep is not None:
            self._sweep.__exit__(None, None, None)
            self._sweep = None


def _list(*, as_json: bool) -> None:
    """Every study with what it takes."""
    from chainrule.lab.studies import NAMES
    from chainrule.lab.studies import study as study_of
    from chainrule.lab.study import folder_of, seconds_left

    rows = [
        {
            "name": each.name,
            "title": each.title,
            "trainings": each.runs(quick=False),
            "trainings_quick": each.runs(quick=True),
            "seconds_left": seconds_left(each, folder_of(each, quick=False)),
        }
        for each in map(study_of, NAMES)
    ]
    out = show.console(stderr=as_json)
    made = show.table("study", "", ">trainings", ">quick", ">left to run")
    for row in rows:
        name, title, trainings, quick, seconds = row.values()
        made.add_row(Text(str(name)), str(title), str(trainings), str(quick), _time(seconds))  # type: ignore[arg-type]
    out.print(made)
    out.print(Text("\nWith --quick a study takes a minute or two. What is left to run is an estimate.", "dim"))
    if as_json:
        show.json_line({"studies": rows})


def _expected(wanted: "Study", folder: Path, *, quick: bool) -> str:
    """What there is to do, and how long it will take."""
    from chainrule.lab.pages import counted

    numbers = {
        "derivation": len(wanted.derivations),
        "gradient check": len(wanted.checks),
        "experiment": len(wanted.experiments),
        "training": wanted.runs(quick=quick),
    }
    parts = ", ".join(counted(number, what) for what, number in numbers.items())
    if quick:
        return f"{parts}; quick: under two minutes on two cores"
    from chainrule.lab.study import seconds_left

    return f"{parts}; left to run: {_time(seconds_left(wanted, folder))}"


def _time(seconds: float | None) -> str:
    from chainrule.lab.pages import duration

    if seconds is None:
        return "not measured yet"
    return f"about {duration(seconds)}" if seconds else "nothing"


def _shown(pages: "StudyPages", files: dict[str, str], width: int) -> RenderableType:
    """What was found; on a narrow screen without the columns that only the pages have room for."""
    found = pages.found
    failures = [Padding(Text.assemble(("! ", "bold red"), each), (1, 0, 0, 0)) for each in found.failures]
    tables = [each for each in (pages.claims, pages.contrasts) if each.rows]
    leave_out = (">the same settings, %", "chosen") if width < WIDE else ()
    shown = [part for each in tables for part in (show.as_text(each, leave_out=leave_out), "")]
    written = [show.unbroken(f"  {path}", "cyan") for path in files.values()]
    return Group("", *shown, pages.lead(), *failures, Text("\nWritten", "bold"), *written)


def _as_json(found: "StudyReport") -> dict[str, Any]:
    return {
        "name": found.study.name,
        "quick": found.quick,
        "study_dir": found.folder,
        "seconds": round(found.seconds, 3),
        "failures": list(found.failures),
        "claims": [asdict(each) for each in found.claims],
        "derivations": [asdict(each) for each in found.proofs],
        "mistakes": [asdict(each) | {"found": each.found} for each in found.mistakes],
        "checks": [asdict(each) for each in found.checks],
        "demonstrations": [
            {"name": part.name, "title": part.title, "statements": [asdict(each) for each in shown.statements]}
            for part, shown in found.demonstrations
        ],
        "experiments": [
            {
                "name": done.experiment.name,
                "title": done.experiment.title,
                "skipped": done.skipped,
                "report": asdict(done.report) if done.report else None,
            }
            for done in found.experiments
        ],
        "environment": found.environment,
    }
