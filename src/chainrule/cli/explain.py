"""`chainrule explain`: a network's tape with its numbers, forward and backward."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import checkpoint_option, debug_option, examples, json_option, nearest
from chainrule.errors import UsageError

if TYPE_CHECKING:
    from chainrule.explain import Explanation

DEFAULT = "\0"  # --page without a value


@click.command(
    epilog=examples(
        "chainrule explain vu-2023",
        "chainrule explain attention --page attention.html --open",
        "chainrule explain runs/my-run --batch-size 2 --page",
        "chainrule explain layers.py:attention --page",
        "chainrule explain --list",
    )
)
@click.argument("thing", required=False)
@click.option("--list", "listing", is_flag=True, help="List the example networks.")
@click.option(
    "--page",
    is_flag=False,
    flag_value=DEFAULT,
    metavar="FILE.html",
    help="Write a page to step through, one file that needs no network (without a name: THING.html).",
)
@click.option("--latex", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.tex", help="Write tables.")
@click.option("--open", "opening", is_flag=True, help="Open the page in the browser; implies --page.")
@click.option(
    "--shapes",
    metavar="SHAPES",
    help="Shapes of the inputs of a function in a file, as in 'n d, d m' or 'x: 3 4' (default: its default values).",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples of the batch, for runs and examples (default: 4 of a run, an example's own).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of all that is drawn (default: 0).")
@checkpoint_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=60.0,
    help="Seconds for a function in a file (default: 60).",
)
@click.option(
    "--memory",
    type=click.IntRange(min=1),
    metavar="MIB",
    default=4096,
    help="Memory that the code of a file may use, in MiB (default: 4096).",
)
@json_option("the nodes with their values, gradients and edges")
@debug_option
def explain(
    thing: str | None,
    listing: bool,
    page: str | None,
    latex: Path | None,
    opening: bool,
    shapes: str | None,
    batch_size: int | None,
    seed: int,
    checkpoint: str | None,
    timeout: float,
    memory: int,
    as_json: bool,
) -> None:
    """Show every op of a network with its numbers: first forward, then backward.

    THING is the folder of a run (a batch of its test part), an example network, or a function in a Python file,
    FILE.py or FILE.py:NAME, which is run in a process of its own.
    """
    from chainrule.explain.examples import listed

    if listing:
        _list(listed(), as_json)
        return
    if thing is None:
        raise UsageError("nothing to explain: expected a run, a file, or an example (all: chainrule explain --list)")
    if _is_file(thing):
        from chainrule.explain.apart import explain_file

        file, _, name = thing.partition(".py:")
        path = Path(file + ".py") if name else Path(thing.rstrip(":"))
        found = explain_file(path, name or None, shapes=shapes, seed=seed, timeout=timeout, memory=memory)
    elif Path(thing).is_dir():
        found = _of_run(thing, checkpoint, batch_size or 4, seed)
    else:
        found = _example(thing, listed(), batch_size, seed)
    written = _write(found, thing, DEFAULT if opening and page is None else page, latex)
    if as_json:
        show.json_line({**found.to_dict(), **written})
    else:
        _print(found, written)
    if opening:
        click.launch(written["page"])


def _is_file(thing: str) -> bool:
    return thing.endswith(".py") or ".py:" in thing


def _example(name: str, known: dict[str, str], batch_size: int | None, seed: int) -> "Explanation":
    from chainrule.explain.examples import example

    if name.replace("_", "-") not in known:
        raise UsageError(
            f"{name} is no run, no Python file and no example, the nearest is {nearest(name, known)} "
            "(all: chainrule explain --list)"
        )
    return example(name, seed=seed, batch_size=batch_size)


def _of_run(run: str, checkpoint: str | None, batch_size: int, seed: int) -> "Explanation":
    """A batch of the test part, drawn by the seed, through the trained network."""
    import numpy as np

    from chainrule import train as training
    from chainrule.explain.examples import explain_classifier
    from chainrule.train.runs import load_data

    trained = training.load_run(run, checkpoint=checkpoint)
    samples = load_data(trained.config).test
    chosen = np.random.default_rng(seed).choice(len(samples), min(batch_size, len(samples)), replace=False)
    x = np.asarray(samples.x[chosen], trained.config.dtype)
    config = trained.config
    title = f"{Path(run).resolve().name}: {config.model} on {config.dataset}, {trained.checkpoint} weights"
    return explain_classifier(trained.model, x, samples.y[chosen], title=title)


def _write(found: "Explanation", thing: str, page: str | None, latex: Path | None) -> dict[str, str]:
    """Write what is wanted; the files by kind."""
    from chainrule.files import write_atomically

    written = {}
    if page is not None:
        from chainrule.explain.page import page as page_of

        name = Path(thing).resolve().name.replace(".py:", "-").removesuffix(".py")
        path = Path(f"{name}.html" if page == DEFAULT else page)
        write_atomically(path, page_of(found).encode())
        written["page"] = str(path)
    if latex is not None:
        from chainrule.explain.latex import document

        write_atomically(latex, document(found).encode())
        written["latex"] = str(latex)
    return written


def _print(found: "Explanation", written: dict[str, str]) -> None:
    from chainrule.cli import formula
    from chainrule.explain.text import text

    console = show.console()
    if not written:
        console.print(text(found, formula.display, console.width), soft_wrap=False)
    for kind, path in written.items():
        console.print(f"{kind}: ", show.unbroken(path, "cyan"), sep="", crop=False)


def _list(known: dict[str, str], as_json: bool) -> None:
    from rich.text import Text

    if as_json:
        show.json_line({"examples": known})
        return
    made = show.table("example", "what it shows")
    for name, what in known.items():
        made.add_row(Text(name, "cyan"), what)
    show.console().print(made)
