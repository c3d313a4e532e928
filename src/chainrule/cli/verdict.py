"""The verdicts of `chainrule check` on a screen: a table of all, then what is not right in full."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from chainrule.check.causes import CAUSES
from chainrule.check.isolate import FileReport
from chainrule.cli import show
from chainrule.cli.page import CODE_THEME

MARKS = {"correct": ("✓", "green"), "wrong": ("✗", "red"), "inconclusive": ("?", "yellow")}
LABELS = {"evidence": "seen", "where": "where", "fix": "repair"}


def verdicts(report: FileReport) -> RenderableType:
    """All that `chainrule check` prints."""
    return Group(
        table(report.items),
        *(Group("", full(item)) for item in report.items if item["status"] != "correct"),
        *_remarks(report),
        "",
        summary(report),
    )


def table(items: list[dict[str, Any]]) -> Table:
    """A line for each thing; where it is not right, one for each gradient that is not."""
    made = show.table("name", "verdict", "gradient", "cause", "line", "inputs")
    for item in items:
        right = ", ".join(f["name"] for f in item["findings"] if f["status"] == "correct")
        rows = [(f["status"], f["name"], f["cause"], _line(f)) for f in item["findings"] if f["status"] != "correct"]
        rows += [("correct", right, "", "")] if right else []
        for number, (status, gradient, cause, line) in enumerate(rows):
            name, inputs = ("", "") if number else (item["name"], _inputs(item))
            made.add_row(Text(name, "bold"), _verdict(status), gradient, cause, line, Text(inputs, "dim"))
    return made


def full(item: dict[str, Any]) -> RenderableType:
    """One report: what is not right, with the evidence, the place and the repair; then the notes."""
    found = [_finding(finding) for finding in item["findings"] if finding["status"] != "correct"]
    notes = [Text(f"note: {note}", "dim") for note in item["notes"]]
    head = Text.assemble((item["name"], "bold"), ": ", _verdict(item["status"]))
    return Group(head, *(Padding(each, (0, 0, 0, 2), expand=False) for each in (*found, *notes)))


def summary(report: FileReport) -> Text:
    """How many are what."""
    count = Counter(item["status"] for item in report.items)
    parts = [Text(f"{count[status]} {status}", style) for status, (_, style) in MARKS.items() if count[status]]
    return Text.assemble(f"{report.file}: ", Text(", ").join(parts))


def _finding(finding: dict[str, Any]) -> RenderableType:
    head = Text.assemble((finding["name"], "bold"), ": ", (finding["cause"] or finding["status"], "bold"))
    if finding["cause"] not in (None, "unusable"):  # of what could not be used, the evidence says all
        head.append(f", {CAUSES[finding['cause']]}")
    if finding["confidence"] == "likely":
        head.append(" (likely, not proved)", "dim")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column(overflow="fold")
    for part, label in LABELS.items():
        if finding[part]:
            rows.add_row(label, _code(finding[part]) if part == "fix" else Text(finding[part]))
    return Group(head, Padding(rows, (0, 0, 0, 2), expand=False))


def _code(fix: str) -> RenderableType:
    """A repair: `line 7: code`, the code coloured, or a sentence."""
    match = re.fullmatch(r"(line \d+): (.*)", fix, re.DOTALL)
    if match is None:
        return Text(fix)
    code = Table.grid(padding=(0, 1))
    code.add_row(Text(f"{match[1]}:"), Syntax(match[2], "python", theme=CODE_THEME, word_wrap=True))
    return code


def _verdict(status: str) -> Text:
    mark, style = MARKS[status]
    return Text(f"{mark} {status}", style)


def _line(finding: dict[str, Any]) -> str:
    match = re.search(r"line (\d+)", finding["where"] + finding["fix"])
    return match[1] if match else ""


def _inputs(item: dict[str, Any]) -> str:
    shapes = item["shapes"] or ""
    return f"{shapes} (guessed)" if item["guessed"] and shapes else shapes


def _remarks(report: FileReport) -> Iterator[RenderableType]:
    """What should be known about those that are right, and about all."""
    notes = [
        f"{item['name']}: {note}" for item in report.items if item["status"] == "correct" for note in item["notes"]
    ]
    if notes or report.notes:
        yield ""
    for note in (*notes, *report.notes):
        yield Text(f"note: {note}", "dim")
