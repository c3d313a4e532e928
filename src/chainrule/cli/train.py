"""`chainrule train`: the settings on the command line to one call of `chainrule.train`."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import rich_click as click

from chainrule import processor
from chainrule.cli import show
from chainrule.cli.options import ConfigCommand, debug_option, examples, given, json_option
from chainrule.errors import UsageError


@contextmanager
def _one_voice() -> Iterator[None]:
    """Of the processes of one run the first tells of an error; the others end with the same exit code, in silence."""
    rank, size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    first = not (rank.isdecimal() and size.isdecimal() and 0 < int(rank) < int(size))
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if first or getattr(error, "speaker", False):
            raise
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)) from error


def _divide_the_cores() -> None:
    """Several processes on one machine get their share of its cores, unless CHAINRULE_NUM_THREADS says otherwise."""
    here = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if here.isdecimal() and int(here) > 1:
        os.environ.setdefault(processor.THREADS, str(max(1, processor.cores() // int(here))))


class _TrainCommand(ConfigCommand):
    """`train`, of which torchrun may begin several processes with the same, wrong arguments."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_voice():
            return super().make_context(*args, **kwargs)


@click.command(
    cls=_TrainCommand,
    epilog=examples(
        "chainrule train digits --epochs 10",
        "chainrule train mnist --hidden 300 --activation sigmoid --batch-size 100",
        "chainrule train --preset uva-2018 --learning_rate 1e-3",
        "chainrule train --resume runs/digits-1",
    ),
)
@click.option("-c", "--config", "file", metavar="FILE", help="Read settings from a YAML file; those given here win.")
@click.option("--print-config", is_flag=True, help="Print all settings as YAML, as -c reads it, and do nothing else.")
@click.option("--run-dir", metavar="FOLDER", help="Folder for everything the run leaves (default: a new one in runs/).")
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run, bit for bit as if it had not stopped.")
@click.option(
    "--log",
    type=click.Choice(["mlflow"]),
    help="Log to MLflow too (needs the mlflow extra; MLFLOW_TRACKING_URI says where): mlflow.",
)
@json_option("run_dir, steps, epochs, seconds, losses and accuracies")
@debug_option
@_one_voice()
def train(
    file: str | None,
    print_config: bool,
    run_dir: str | None,
    resume: str | None,
    log: str | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train a network on DATASET.

    DATASET is a name that `chainrule doctor` lists (left out: digits), a folder of class-named image folders, or an
    .npz file.

    The test set is looked at once, at the end. Ctrl-C stops with everything saved, and --resume goes on from there.

    Begun by torchrun, several processes share every batch and give the same run (docs/parallel.md).
    """
    _divide_the_cores()
    from chainrule import train as training
    from chainrule.cli.progress import View
    from chainrule.train import parallel
    from chainrule.train.mlflow import MLflow

    settings = given(parameters)
    first = parallel.rank() == 0
    view = View(show.console(stderr=True))
    logs = [MLflow()] if log and first else []
    if resume:
        if settings or file or run_dir or print_config:
            raise UsageError("--resume goes on with the settings and in the folder of its run: give no others")
        with view, ExitStack() as opened:
            result = training.resume(resume, listeners=[view, *map(opened.enter_context, logs)])
    else:
        config = training.configure(settings, file=file)
        if print_config:
            if first:
                click.echo(config.to_yaml(), nl=False)
            return
        with view, ExitStack() as opened:
            result = training.run(config, run_dir=run_dir, listeners=[view, *map(opened.enter_context, logs)])
    if not first:
        return
    show.console(stderr=as_json).print(show.result(result), crop=False)
    if as_json:
        show.json_line(asdict(result))
