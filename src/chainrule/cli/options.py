"""Options: those that every command has, and those of `train`, which are the fields of its config."""

import difflib
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from chainrule.train.config import Option

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
}

GROUPS = ("data", "model", "optimiser", "run")  # in the order in which help shows them
ARGUMENT = "_argument"  # ends the name of an argument that has an option beside it


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like this one.

    >>> nearest("--hiden-units", ["--hidden", "--hidden-units", "--lr"])
    '--hidden-units'
    """
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0)[0]


def examples(*lines: str) -> str:
    """The end of a command's help: calls to copy."""
    return "\n\n".join(["[bold]Examples:[/]", *(f"  {line}" for line in lines)])


def json_option(contents: str) -> Callable[..., Any]:
    """`--json`: the result for programs, as the last line of standard output."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        help=f"Print {contents} as one JSON object, the last line of standard output; all else goes to standard error.",
    )


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--debug`, which `chainrule.cli.app.main` looks for when an error reaches it."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)


def checkpoint_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--checkpoint`, for the commands that use a trained network."""
    return click.option(
        "--checkpoint",
        type=click.Choice(["best", "last"]),
        help="Weights to use: best or last (default: those that the run measured on the test part).",
    )(command)


class ConfigCommand(click.RichCommand):
    """A command whose first options are the settings of a run, made when they are needed: pydantic takes its time."""

    @cached_property
    def settings(self) -> list[click.Parameter]:
        """An option for every field of the config; for a positional one an argument too."""
        from chainrule.train.config import options

        made: list[click.Parameter] = []
        for option in options():
            if option.positional:
                metavar = f"[{option.name.upper()}]"
                made.append(click.RichArgument([option.name + ARGUMENT], required=False, metavar=metavar))
            made.append(_click_option(option))
        return made

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, panels=[click.RichOptionPanel(_panel(group)) for group in GROUPS], **kwargs)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The settings, then the options declared on the command itself."""
        return [*self.settings, *super().get_params(ctx)]


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line, as `configure` takes them.

    >>> given({"dataset_argument": "mnist", "dataset": None, "lr": "0.1"})
    {'--dataset': 'mnist', 'lr': '0.1'}
    """
    return {
        "--" + name.removesuffix(ARGUMENT) if name.endswith(ARGUMENT) else name: value
        for name, value in parameters.items()
        if value is not None
    }


def _click_option(option: "Option") -> click.Option:
    """Values stay text, but for choices, and unset ones are None: the config itself reads, checks and fills in."""
    help = option.help.rstrip(".")
    if option.choices:
        help += ": " + ", ".join(option.choices)
    if option.default is not None and not option.flag:
        default = ",".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
        help += f" (default: {default})"
    first, *others = option.spellings
    return click.RichOption(
        [f"{first}/--no-{first.removeprefix('--')}" if option.flag else first, *others, option.name],
        default=None,
        type=click.Choice(option.choices, case_sensitive=False) if option.choices else None,
        help=help + ".",
        panel=_panel(option.group),
    )


def _panel(group: str) -> str:
    return f"{group.capitalize()} settings"
