"""`chainrule report`: finished runs side by side, with what may be said of their differences."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from chainrule.cli import show
from chainrule.cli.options import debug_option, examples, json_option

if TYPE_CHECKING:
    from chainrule.lab.metric import Metric
    from chainrule.lab.pages import Page, Pages

IN_WORDS = 3  # comparisons that are told in sentences


@click.command(
    epilog=examples(
        "chainrule report runs/sweep-digits-3f2a91",
        "chainrule report runs/first runs/second --samples",
        "chainrule report runs --metric val-accuracy --compare A,C --output report --latex",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="RUNS...")
@click.option(
    "--metric",
    type=click.Choice(["test-accuracy", "val-accuracy", "test-loss", "val-loss"]),
    default="test-accuracy",
    help="Figure to compare by: test-accuracy, val-accuracy, test-loss, val-loss (default: test-accuracy).",
)
@click.option(
    "--compare",
    metavar="A,B,...",
    help="Settings to compare with each other, by their letters (default: up to 6 each with each, of more the chosen "
    "one with each).",
)
@click.option(
    "--samples",
    is_flag=True,
    help="Where settings have one run each, compare the two networks on the test samples; this loads the data.",
)
@click.option("--output", "-o", metavar="FOLDER", help="Where the report goes (default: a new folder in runs/).")
@click.option("--latex", is_flag=True, help="Write report.tex too and, where pdflatex is installed, report.pdf.")
@click.option("--open", "opening", is_flag=True, help="Open the page in the browser.")
@json_option("settings, intervals, curves, comparisons and remarks")
@debug_option
def report(
    runs: tuple[str, ...],
    metric: str,
    compare: str | None,
    samples: bool,
    output: str | None,
    latex: bool,
    opening: bool,
    as_json: bool,
) -> None:
    """Compare finished runs: by setting, over their seeds.

    RUNS are run folders, or folders that hold some, such as a sweep's. Runs that differ in their seed alone are one
    setting. Written are report.html, one file that needs no network, and report.md with its pictures.

    Of one run nothing is called better. How the figures come about: docs/report.md.
    """
    from chainrule.lab.pages import Pages
    from chainrule.lab.report import report as report_of
    from chainrule.train.folder import new_path

    names = None if compare is None else [name.strip() for name in compare.split(",") if name.strip()]
    with show.console(stderr=True).status("reading the runs") as status:
        found = report_of(runs, metric=metric, compare=names, samples=samples)
        status.update("drawing the charts")
        pages = Pages(found)
        written = pages.write(Path(output) if output else new_path("report"), with_latex=latex)
    show.console(stderr=as_json).print(_shown(pages, written), crop=False)
    if as_json:
        show.json_line(asdict(found) | {"files": written})
    if opening:
        click.launch(written["page"])


def _shown(pages: "Pages", written: dict[str, str]) -> RenderableType:
    sections = (part for page in pages.pages for part in _section(page, pages.report.metric))
    left_out = [
        Padding(Text.assemble(("left out ", "magenta"), f"{each.path}: {each.reason}"), (1, 0, 0, 0))
        for each in pages.report.left_out
    ]
    files = [show.unbroken(f"  {path}", "cyan") for path in written.values()]
    return Group(*sections, *left_out, Text("\nWritten", "bold"), *files)


def _section(page: "Page", metric: "Metric") -> list[RenderableType]:
    others = () if metric.name == "test loss" else (">test loss",)
    return [
        Text(f"\n{page.section.data}", "bold"),
        Text(page.section.lead),
        Text(f"\nall: {page.common}", "dim"),
        show.as_text(page.settings, leave_out=others),
        *_comparisons(page),
        *(Padding(Text.assemble(("! ", "bold magenta"), text), (1, 0, 0, 0)) for text in page.remarks),
    ]


def _comparisons(page: "Page") -> list[RenderableType]:
    """A few in words; of many what fits on a line, the rest stands in the page."""
    if len(page.section.comparisons) > IN_WORDS:
        return ["", show.as_text(page.comparisons, leave_out=(">p", "test", ">effect"))]
    return [Padding(each.text, (1, 0, 0, 0)) for each in page.section.comparisons]
