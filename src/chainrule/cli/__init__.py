"""The command `chainrule`: arguments to one call. Every command is one file; what they print is in `show`."""

from chainrule.cli.app import main

__all__ = ["main"]
