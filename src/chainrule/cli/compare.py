"""`chainrule compare`: the same training by several engines, side by side."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import ConfigCommand, debug_option, examples, given, json_option
from chainrule.errors import UsageError


@click.command(
    cls=ConfigCommand,
    epilog=examples(
        "chainrule compare digits",
        "chainrule compare mnist --hidden 300 --batch-size 100 --engines tape,torch --steps 100",
        "chainrule compare cifar10 --model convnet-uva-2018 --json",
    ),
)
@click.option(
    "--engines",
    default="tape,layers,torch",
    help="Engines, the one first that the others are compared with (default: tape,layers,torch).",
)
@click.option("--steps", type=int, default=20, help="Steps that each engine takes (default: 20).")
@click.option("-c", "--config", "file", metavar="FILE", help="Read settings from a YAML file; those given here win.")
@click.option("--picture", metavar="FILE", help="Where the picture goes (default: a new file in runs/).")
@json_option("the comparison")
@debug_option
@click.pass_context
def compare(
    context: click.Context,
    engines: str,
    steps: int,
    file: str | None,
    picture: str | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Take the same steps on DATASET with each engine, from the same weights on the same batches.

    Printed: how far outputs, loss and gradients are apart at step 1 (in float64 and float32, relative to the largest
    entry), how far the losses part over the steps, the time of a step, the memory. Each engine has a process of its
    own. The exit code is 1 if they do not agree.
    """
    from chainrule import lab, train
    from chainrule.lab.picture import comparison_figure
    from chainrule.train.folder import new_path
    from chainrule.train.pictures import save_figure

    config = train.configure(given(parameters), file=file)
    path = new_path(f"compare-{config.model}", ".png") if picture is None else Path(picture)
    if path.suffix.lower() != ".png":
        raise UsageError(f"the picture is a PNG: name it {path.with_suffix('.png')}")
    names = [name.strip() for name in engines.split(",") if name.strip()]
    with show.console(stderr=True).status("loading the data") as status:
        found = lab.compare(
            config, names, steps=steps, progress=lambda name: status.update(f"{name}: {steps} steps, and step 1 twice")
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(comparison_figure(found), path)
    show.console(stderr=as_json).print(show.comparison(found), show.unbroken(f"\n  {path}"), crop=False)
    if as_json:
        show.json_line(asdict(found) | {"agrees": found.agrees, "picture": str(path)})
    context.exit(0 if found.agrees else 1)
