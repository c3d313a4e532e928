"""The command `chainrule`: its commands, and the one place where an error becomes one line and an exit code."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import rich_click as click

from chainrule.cli import show
from chainrule.cli.check import check
from chainrule.cli.compare import compare
from chainrule.cli.derive import derive
from chainrule.cli.doctor import doctor
from chainrule.cli.evaluate import evaluate
from chainrule.cli.explain import explain
from chainrule.cli.export import export
from chainrule.cli.ops import ops
from chainrule.cli.options import CONTEXT_SETTINGS, examples, nearest
from chainrule.cli.predict import predict
from chainrule.cli.report import report
from chainrule.cli.study import study
from chainrule.cli.sweep import sweep
from chainrule.cli.train import train
from chainrule.errors import UserError

COMMANDS = [train, evaluate, predict, export, sweep, compare, report, study, check, derive, explain, ops, doctor]
HELP_STYLE = click.RichHelpConfiguration(
    theme="cargo-slim",
    options_table_column_types=["opt_short", "opt_long", "help"],
    text_markup="rich",
    commands_before_options=True,
    max_width=120,
)


@click.group(
    context_settings=CONTEXT_SETTINGS,
    epilog=examples("chainrule train digits --epochs 10", "chainrule check layers.py", "chainrule ops linear"),
)
@click.command_panel("Commands", commands=[str(command.name) for command in COMMANDS])
@click.version_option(package_name="chainrule", message="%(prog)s %(version)s")
@click.rich_config(HELP_STYLE)
def app() -> None:
    """Derive a gradient, check it, read it, and train with it."""


for command in COMMANDS:
    app.add_command(command)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave: 0 success, 1 the work failed, 2 the arguments are wrong, 130 after Ctrl-C.

    An error is one line on standard error; `--debug` puts its traceback above it.
    """
    args = list(sys.argv[1:] if args is None else args)
    try:
        code = app.main(args, prog_name="chainrule", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush at the end complains
        code = 1
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in args:
            traceback.print_exc()
        message, code = _in_one_line(error)
        show.error(message)
    sys.exit(code)


def _in_one_line(error: BaseException) -> tuple[str, int]:
    """The message and the exit code of an error."""
    match error:
        case click.NoSuchOption(ctx=click.Context() as ctx):
            known = [name for param in ctx.command.get_params(ctx) for name in param.opts if name.startswith("-")]
            near = nearest(error.option_name, known)
            return f"no such option {error.option_name}, the nearest is {near} (all: {ctx.command_path} --help)", 2
        case click.UsageError(ctx=click.Context() as ctx):
            return f"{error.format_message().rstrip('.')} (see {ctx.command_path} --help)", 2
        case click.ClickException():
            return error.format_message(), error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", 130
        case UserError():
            return str(error), error.exit_code
        case OSError():
            return f"{error.strerror}: {error.filename}" if error.filename else str(error), 1
        case MemoryError():
            return f"out of memory: {error}", 1
        case _:
            return f"internal error: {type(error).__name__}: {error}; run again with --debug for the traceback", 1
