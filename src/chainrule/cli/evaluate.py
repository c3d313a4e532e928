"""`chainrule evaluate`: measure what a run has trained."""

from dataclasses import asdict

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import checkpoint_option, debug_option, examples, json_option


@click.command(
    epilog=examples(
        "chainrule evaluate runs/my-run",
        "chainrule evaluate runs/my-run --part validation --checkpoint last",
        "chainrule evaluate runs/my-run --json",
    )
)
@click.argument("run")
@click.option(
    "--part",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    help="Part of the data: train, validation or test (default: test).",
)
@checkpoint_option
@json_option("run_dir, steps, epochs, seconds, losses, accuracies and the confusion matrix")
@debug_option
def evaluate(run: str, part: str, checkpoint: str | None, as_json: bool) -> None:
    """Measure the trained network of RUN, the folder of a run, on a part of its data."""
    from chainrule import train as training

    found = training.evaluate(run, part, checkpoint=checkpoint)
    if as_json:
        show.json_line(asdict(found))
    else:
        show.console().print(show.evaluation(found))
