"""`chainrule check`: are the gradients in a file right, and if not, what is the mistake?"""

from pathlib import Path

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import debug_option, examples, json_option

EXIT_CODES = {"correct": 0, "wrong": 1, "inconclusive": 3}


@click.command(
    epilog=examples("chainrule check layers.py", "chainrule check layers.py:linear", "chainrule check layers.py --json")
)
@click.argument("target", metavar="FILE.py[:NAME]")
@click.option(
    "--shapes",
    metavar="SHAPES",
    help="Shapes of the inputs, with a letter for each size, as in 'n d, d m, m'; 'n in c' stands for integer labels "
    "(default: as declared in the file, or guessed from the names of the arguments).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the random inputs (default: 0).")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=60.0,
    help="Seconds for each thing that is checked (default: 60).",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MIB",
    default=4096,
    help="Memory that the code of the file may use, in MiB (default: 4096).",
)
@json_option("file, status and a report for each thing that was checked")
@debug_option
@click.pass_context
def check(
    context: click.Context, target: str, shapes: str | None, seed: int, timeout: float, memory: int, as_json: bool
) -> None:
    """Compare the gradients written in a Python file with the truth; name each mistake, its line and its repair.

    All that has a forward and a backward in FILE.py is checked, or NAME alone. The file is imported in a process of its
    own. Exit code: 0 all right, 1 something wrong, 2 usage, 3 nothing wrong but something inconclusive.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from chainrule.check.isolate import check_file
    from chainrule.cli import verdict

    file, name = _split(target)
    console = show.console(stderr=True)
    columns = SpinnerColumn(style="cyan"), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"importing {file.name}")

        def show_step(item: str, number: int, total: int) -> None:
            progress.update(task, description=f"checking {item}, {number} of {total}")

        report = check_file(file, name, shapes=shapes, seed=seed, timeout=timeout, memory=memory, progress=show_step)
    if as_json:
        show.json_line(report.to_dict())
    else:
        show.console().print(verdict.verdicts(report))
    if report.interrupted:
        raise KeyboardInterrupt
    context.exit(EXIT_CODES[report.status])


def _split(target: str) -> tuple[Path, str | None]:
    """The file, and the name in it.

    >>> _split("layers.py:linear")
    (PosixPath('layers.py'), 'linear')
    """
    file, colon, name = target.rpartition(":")
    return (Path(file), name or None) if colon and not Path(target).exists() else (Path(target), None)
