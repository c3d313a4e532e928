"""`chainrule train`: the settings on the command line to one call of `chainrule.train`."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import rich_click as click

from chainrule.cli import show
from chainrule.cli.options import ConfigCommand, debug_option, examples, given, json_option
from chainrule.errors import UsageError


@click.command(
    cls=ConfigCommand,
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
    """
    from chainrule import train as training
    from chainrule.cli.progress import View
    from chainrule.train.mlflow import MLflow

    settings = given(parameters)
    view = View(show.console(stderr=True))
    logs = [MLflow()] if log else []
    if resume:
        if settings or file or run_dir or print_config:
            raise UsageError("--resume goes on with the settings and in the folder of its run: give no others")
        with view, ExitStack() as opened:
            result = training.resume(resume, listeners=[view, *map(opened.enter_context, logs)])
    else:
        config = training.configure(settings, file=file)
        if print_config:
            click.echo(config.to_yaml(), nl=False)
            return
        with view, ExitStack() as opened:
            result = training.run(config, run_dir=run_dir, listeners=[view, *map(opened.enter_context, logs)])
    show.console(stderr=as_json).print(show.result(result), crop=False)
    if as_json:
        show.json_line(asdict(result))
