"""`chainrule predict`: what a trained network takes an image for."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import checkpoint_option, debug_option, examples, json_option
from chainrule.errors import UsageError

if TYPE_CHECKING:
    from chainrule.train import Prediction


@click.command(
    epilog=examples(
        "chainrule predict runs/my-run seven.png cat.jpg",
        "chainrule predict runs/my-run --sample 0 --sample 1",
        "chainrule predict runs/my-run seven.png --json",
    )
)
@click.argument("run")
@click.argument("images", metavar="IMAGE", nargs=-1)
@click.option(
    "--sample",
    "samples",
    type=click.IntRange(min=0),
    multiple=True,
    help="Number of a test sample of the run's data set, in place of image files; may be given several times.",
)
@checkpoint_option
@json_option("the predictions")
@debug_option
def predict(run: str, images: tuple[str, ...], samples: tuple[int, ...], checkpoint: str | None, as_json: bool) -> None:
    """Classify image files with the trained network of RUN, the folder of a run."""
    from chainrule import train as training

    if bool(images) == bool(samples):
        raise UsageError("expected image files, or --sample N for test samples of the run's data set: one of the two")
    found = _of_samples(run, samples, checkpoint) if samples else training.predict(run, images, checkpoint=checkpoint)
    if as_json:
        show.json_line({"run_dir": run, "predictions": [asdict(prediction) for prediction in found]})
    else:
        show.console().print(show.predictions(found))


def _of_samples(run: str, samples: Sequence[int], checkpoint: str | None) -> "list[Prediction]":
    from chainrule import data
    from chainrule import train as training

    config = training.load_run(run, checkpoint=checkpoint).config
    raw = data.load(config.dataset, data_dir=config.data_dir, image_size=config.image_size, preprocess="none")
    if max(samples) >= len(raw.test):
        raise UsageError(f"--sample is {max(samples)}, expected 0 to {len(raw.test) - 1}: test samples of {raw.name}")
    found = training.predict(run, raw.test.x[list(samples)], checkpoint=checkpoint)
    labels = [raw.classes[label] for label in raw.test.y[list(samples)]]
    return [
        replace(prediction, input=f"test sample {sample}", note=f"labelled {label}")
        for prediction, sample, label in zip(found, samples, labels, strict=True)
    ]
