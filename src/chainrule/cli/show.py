"""What the commands print: tables for people, one line of JSON for programs, one line for an error."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from chainrule.cli.doctor import Finding, Warmed
    from chainrule.lab import Comparison
    from chainrule.lab.pages import Table as Tabulated
    from chainrule.train import Evaluation, Prediction, Result


def console(*, stderr: bool = False) -> Console:
    """Where a command prints; colours and width follow the terminal, NO_COLOR is respected.

    Brackets are brackets: names of data, folders and classes are the user's.
    """
    return Console(stderr=stderr, highlight=False, markup=False)


def error(message: str) -> None:
    """One line on standard error, however wide."""
    line = "; ".join(part.strip() for part in message.splitlines())
    console(stderr=True).print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)


def json_line(found: Any) -> None:
    """One JSON object on one line of standard output; what is no finite number is null."""
    click.echo(json.dumps(_finite(found), allow_nan=False, default=str))


def _finite(found: Any) -> Any:
    match found:
        case float() if not math.isfinite(found):
            return None
        case dict():
            return {key: _finite(value) for key, value in found.items()}
        case list() | tuple():
            return [_finite(value) for value in found]
    return found


def unbroken(text: str, style: str = "") -> Text:
    """Text to copy: on one line even where it is wider than the terminal. Printed with `crop=False`."""
    return Text(text, style, no_wrap=True, overflow="ignore")


def percent(share: float, digits: int = 2) -> str:
    """A share of 1 in percent.

    >>> percent(0.975)
    '97.50 %'
    """
    return f"{100 * share:.{digits}f} %"


def table(*columns: str) -> Table:
    """An empty table in the house style: no frame, headings dim; the column of a heading ">name" is flush right."""
    made = Table(box=None, header_style="dim", pad_edge=False, show_header=any(columns))
    for name in columns:
        made.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return made


def as_text(made: "Tabulated", *, leave_out: Sequence[str] = ()) -> Table:
    """A page's table without the columns of some headings; its numbers are not broken over lines."""
    kept = [i for i, heading in enumerate(made.headings) if heading not in leave_out]
    drawn = table(*(made.headings[i].removeprefix("=") for i in kept))
    for column, i in zip(drawn.columns, kept, strict=True):
        column.no_wrap = made.headings[i].startswith(">")
    for row in made.rows:
        drawn.add_row(*(Text(row[i]) for i in kept))
    return drawn


def result(found: "Result") -> RenderableType:
    """How a run ended: the figures, what should be known about them, where everything is, what to do next."""
    figures = table("", ">loss", ">accuracy")
    for name, part in (("training", "train"), ("validation", "val"), ("test", "test")):
        loss, accuracy = getattr(found, f"{part}_loss"), getattr(found, f"{part}_accuracy")
        if loss is not None:
            figures.add_row(name, f"{loss:.4f}", percent(accuracy), style="bold" if part == "test" else "")
    remarks = [Padding(Text.assemble(("! ", "bold magenta"), remark.text), (1, 0, 0, 0)) for remark in found.remarks]
    next_steps = [
        f"chainrule evaluate {found.run_dir}",
        f"chainrule predict {found.run_dir} --sample 0",
        "chainrule ops linear",
    ]
    return Group(
        "",
        figures,
        f"{found.steps:,} steps, {found.epochs:.1f} epochs, {found.seconds:.1f} s"
        + (", stopped early" if found.stopped_early else ""),
        f"weights of step {found.weights_step:,}, the best by {found.chosen_by}",
        *remarks,
        "\nLearning curve, confusion matrix, metrics and checkpoints are in",
        unbroken(f"  {found.run_dir}"),
        Text("\nNext:", "bold"),
        *(unbroken(f"  {step}", "cyan") for step in next_steps),
    )


def evaluation(found: "Evaluation") -> RenderableType:
    """One part of the data measured: the figures, and for each class how many are right and what the others became."""
    classes = table("class", ">samples", ">right", "taken for")
    for i, (name, row) in enumerate(zip(found.classes, found.confusion, strict=True)):
        wrong = sorted((count, other) for other, count in enumerate(row) if other != i and count)
        taken_for = ", ".join(f"{found.classes[other]} ({count})" for count, other in reversed(wrong[-3:]))
        classes.add_row(name, f"{sum(row):,}", percent(row[i] / sum(row)) if sum(row) else "", Text(taken_for, "dim"))
    return Group(
        f"{found.part} part, {found.samples:,} samples; weights {found.checkpoint}, step {found.steps:,}",
        Text(f"loss {found.loss:.4f}, accuracy {percent(found.accuracy)}\n", "bold"),
        classes,
    )


def predictions(found: Iterable["Prediction"]) -> Table:
    """For each input the most probable class, a bar as long as it is probable, and the next two classes."""
    made = table("", "class", ">probability", "", "then")
    for each in found:
        others = [other for other in list(each.probabilities.items())[1:3] if other[1] >= 0.001]
        then = ", ".join(f"{label} {percent(probability, 1)}" for label, probability in others)
        name = Text(each.input)
        if each.note:
            name.append(f"\n{each.note}", "dim")
        bar = Bar(1, 0, each.probability, width=20, color="cyan")
        made.add_row(name, Text(each.label, "bold"), percent(each.probability), bar, Text(then, "dim"))
    return made


def comparison(found: "Comparison") -> RenderableType:
    """Engines side by side: how far from the first one at step 1 and after, the time of a step, the memory."""
    first = found.rows[0]
    apart = table("step 1, relative", ">outputs", ">loss", ">gradient", "of", ">rounding")
    for row in found.rows[1:]:
        for dtype, difference in row.step1.items():
            figures = [f"{value:.1e}" for value in (difference.outputs, difference.loss, difference.gradient)]
            mark = Text("✓ ", "green") if difference.agrees else Text("✗ ", "bold red")
            apart.add_row(
                mark + Text(f"{row.engine}, {dtype}"),
                *figures,
                Text(difference.parameter, "dim"),
                f"{difference.rounding:.1e}",
            )
    parting: list[RenderableType] = ["", Text(f"How far from {first.engine}", "bold"), apart] if found.rows[1:] else []
    costs = table("engine", ">median step", ">quartiles", ">memory", ">last loss", ">losses apart")
    for row in found.rows:
        low, high = row.step_ms_quartiles
        costs.add_row(
            row.engine,
            f"{row.step_ms:.3g} ms",
            f"{low:.3g} – {high:.3g}",
            f"{row.peak_mb:,.0f} MB",
            f"{row.losses[-1]:.6f}",
            "" if row is first else f"{row.divergence:.1e}",
        )
    return Group(
        f"{found.model} on {found.dataset}: {found.parameters:,} parameters; {found.optimizer}, learning rate "
        f"{found.lr:g}; {found.steps} steps of {found.batch_size} samples",
        *parting,
        Text(f"\nWhat {found.steps} steps in {found.dtype} cost", "bold"),
        costs,
        Text(f"{', '.join(sorted({row.version for row in found.rows}))}; threads: {found.threads}", "dim"),
    )


def findings(found: Iterable["Finding"]) -> Table:
    """One line for each finding; where something could be better, the next step below it."""
    made = table("", "", "")
    for finding in found:
        mark = Text("!", "bold magenta") if finding.advice else Text("✓", "green")
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", "magenta")
        made.add_row(mark, finding.topic, text)
    return made


def warmed(found: "Warmed") -> RenderableType:
    """How many kernels were compiled, in what time, and where they are."""
    done = f"compiled {found.compiled} functions in {found.seconds:.1f} s" if found.compiled else "nothing to compile"
    return Group(f"{done}; {found.kept} are in", unbroken(f"  {found.folder}"))
