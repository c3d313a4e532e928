"""Options: those that every command has, and those of `train`, which are the fields of its config."""

import difflib
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import rich_click as click

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda token: token.replace("_", "-"),
}


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like this one.

    >>> nearest("--hiden-units", ["--hidden", "--hidden-units", "--lr"])
    '--hidden-units'
    """
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0)[0]


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


class ConfigCommand(click.RichCommand):
    """A command whose first options are the settings of a run, made when they are needed: pydantic takes its time."""

    @cached_property
    def settings(self) -> list[click.Parameter]:
        """An option for every field of the config; for a positional one an argument too."""
        from chainrule.train.config import options

        made: list[click.Parameter] = []
        for option in options():
            if option.positional:
                made.append(click.RichArgument([f"{option.name}_argument"], required=False, metavar=option.name.upper()))
            made.append(_click_option(option))
        return made

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The settings, then the options declared on the command itself."""
        return [*self.settings, *super().get_params(ctx)]


def _click_option(option: Any) -> click.Option:
    """The values stay text and unset ones None: the config itself reads, checks and fills in."""
    help = option.help
    if option.choices:
        help = f"{help.rstrip('.')}: {', '.join(option.choices)}."
    if option.default is not None and not option.flag:
        default = option.default if isinstance(option.default, str) else _plain(option.default)
        help += f" (default: {default})"
    first, *others = option.spellings
    spellings = [f"{first}/--no-{first.removeprefix('--')}" if option.flag else first, *others]
    return click.RichOption(
        [*spellings, option.name],
        default=None,
        help=help,
        panel=f"{option.group.capitalize()} settings",
        metavar=None if option.flag else "VALUE",
    )


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
