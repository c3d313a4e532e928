"""`chainrule derive --answer` and `--answer-file`: each formula quoted, its wrong part marked, and what is wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from chainrule.cli import show
from chainrule.derive.answer import CAUSES, Judgement, Verdict, judge
from chainrule.derive.lines import Line, Review, review
from chainrule.derive.words import Unreadable
from chainrule.errors import UsageError

MARKS = {
    "right": ("✓", "green"),
    "defines": ("✓", "green"),
    "layout": ("✓", "yellow"),
    "wrong": ("✗", "red"),
    "follows": ("↳", "yellow"),
}
WORDS = {"right": "right", "layout": "right in another layout", "wrong": "wrong"}


def judge_answer(what: str, shapes: str | None, answer: str | None, file: str | None, *, as_json: bool) -> int:
    """Judge formulas, or a file of lines, and print the verdict: the exit code is 0 right, 1 wrong, 2 unreadable."""
    if answer is not None and file is not None:
        raise UsageError("both --answer and --answer-file were given; give one of them")
    try:
        found = judge(what, answer, shapes) if answer is not None else review(what, _read(str(file)), shapes)
    except Unreadable as error:
        if as_json:
            show.json_line({"status": "unreadable", "error": error.reason, "text": error.text, "column": error.at + 1})
        else:
            show.console(stderr=True).print(unreadable(error), soft_wrap=True)
        return 2
    if as_json:
        show.json_line(found.to_dict())
    else:
        show.console().print(judged(found) if isinstance(found, Judgement) else reviewed(found), crop=False)
    return 0 if found else 1


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from None


def judged(found: Judgement) -> RenderableType:
    """All formulas of an answer."""
    return Group(*(part for verdict in found.verdicts for part in _answer(verdict)))


def _answer(verdict: Verdict) -> Iterator[RenderableType]:
    mark, style = MARKS[verdict.status]
    yield Text(f"{mark} {WORDS[verdict.status]}", style)
    yield Padding(_quoted(verdict), (0, 0, 0, 2), expand=False)
    if verdict.status == "wrong":
        yield Padding(_details(verdict, verdict.name), (0, 0, 0, 2), expand=False)
    for note in verdict.notes:
        yield Padding(Text(f"note: {note}", "dim"), (0, 0, 0, 2), expand=False)


def reviewed(found: Review) -> RenderableType:
    """All lines of a derivation, and which one is the first that is wrong."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column()
    table.add_column(overflow="fold")
    for line in found.lines:
        mark, style = MARKS[line.status]
        table.add_row(str(line.number), Text(mark, style), _line(line))
    return Group(table, "", _summary(found))


def _line(line: Line) -> RenderableType:
    verdict = line.verdict
    parts: list[RenderableType] = [_quoted(verdict)]
    if line.status == "wrong":
        parts += [_details(verdict, ""), ""]
    if line.status == "follows":
        parts.append(Text(f"follows from line {line.follows}", "yellow"))
    if line.status == "defines":
        parts = [Text.assemble(verdict.text, ("   defined here", "dim"))]
    parts += [Text(f"note: {note}", "dim") for note in verdict.notes]
    return Group(*parts)


def _summary(found: Review) -> Text:
    first = found.first_wrong
    if first is None:
        return Text(f"right: {_count(len(found.lines))}", "green")
    later = [line for line in found.lines if line.number > first.number]
    said = Text.assemble(("the first wrong line is line ", "bold red"), (str(first.number), "bold red"))
    for status, words in (("follows", "follow from a wrong line"), ("wrong", "wrong as well"), ("right", "right")):
        numbers = [str(line.number) for line in later if line.status == status]
        if numbers:
            said.append(
                f"; {words if status != 'follows' or len(numbers) > 1 else 'follows from it'}: {', '.join(numbers)}"
            )
    return said


def _count(lines: int) -> str:
    return "1 line" if lines == 1 else f"all {lines} lines"


def _quoted(verdict: Verdict) -> Text:
    """The text, with carets under its wrong part."""
    start, end = verdict.span
    if verdict.status != "wrong" or end <= start:
        return show.unbroken(verdict.text)
    text = show.unbroken(verdict.text)
    text.stylize("bold red", start, end)
    carets = " " * cell_len(verdict.text[:start]) + "^" * cell_len(verdict.text[start:end])
    return text.append(f"\n{carets}", "red")


def _details(verdict: Verdict, name: str) -> RenderableType:
    cause = verdict.cause or "unknown"
    head = Text.assemble((cause, "bold"), f", {CAUSES[cause]}")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column(overflow="fold")
    for label, text in _parts(verdict, name):
        rows.add_row(label, Text(text))
    return Group(head, rows)


def _parts(verdict: Verdict, name: str) -> Iterator[tuple[str, str]]:
    if verdict.note:
        yield "what", verdict.note
    if verdict.evidence:
        yield "seen", verdict.evidence
    if verdict.yours is not None and verdict.expected is not None:
        sides = ("yours", "expected") if name else ("right side", "left side")
        place = verdict.place or "there"
        yield "where", f"{place}: {sides[0]} {verdict.yours:.6g}, {sides[1]} {verdict.expected:.6g}"
    if verdict.repair:
        yield "repair", verdict.repair
    elif verdict.closed_form:
        yield "right is", verdict.closed_form


def unreadable(error: Unreadable) -> RenderableType:
    """What cannot be read, with a caret under the place."""
    head, *quoted = str(error).splitlines()
    return Group(Text.assemble(("error: ", "bold red"), head), *(show.unbroken(line) for line in quoted))
