"""The command `chainrule`: its commands, and the one place where an error becomes one line and an exit code."""

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import rich_click as click
from rich.text import Text

from chainrule.cli import show
from chainrule.cli.options import CONTEXT_SETTINGS, nearest
from chainrule.errors import UserError
