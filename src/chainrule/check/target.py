"""What is checked, in one form, whatever the user wrote: a thing that is started, run forward, and run back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Protocol

import numpy as np


class Session(Protocol):
    """One use of the user's code, with whatever state it keeps. It may be run several times."""

    def forward(self, values: Mapping[str, Any]) -> Any:
        """The output, an array or a tuple of arrays, for inputs and parameters by name (arrays, or Tensors to record).

        Raises:
            Unusable: the user's forward raised.
        """

    def backward(self, gy: Any) -> dict[str, Any]:
        """The gradients of inputs and parameters by name, as the user returned them; those not returned are absent.

        Raises:
            Unusable: the user's backward raised, or what it returned cannot be matched with the inputs.
        """


@dataclass
class Target:
    """What is checked.

    Attributes:
        name: as the report calls it.
        arguments: the names of forward's inputs, in order.
        parameters: what a module holds, by name, with its present values; empty for functions.
        start: makes a session that shares nothing with earlier ones.
        code: the user's Python functions, ``"forward"`` and ``"backward"``, where there are any.
        replaced: the same target with another backward function in place of the user's; None where that cannot be done.
        accumulates: does a parameter's gradient add up over calls by its own contract (a ``.grad`` beside a value)?
    """

    name: str
    arguments: tuple[str, ...]
    start: Callable[[], Session]
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    code: dict[str, FunctionType] = field(default_factory=dict)
    replaced: Callable[[Callable], Target] | None = None
    accumulates: bool = False


class Unusable(Exception):  # noqa: N818
    """The user's code could not be run, or returned what no check can use.

    Attributes:
        stage: ``"forward"`` or ``"backward"``.
        where: the user's own line, ``"file.py, line 12: y = x @ w"``; empty where it is not known.
        error: the exception that the user's code raised, if it did.
    """

    def __init__(self, stage: str, message: str, where: str = "", error: BaseException | None = None):
        super().__init__(message)
        self.stage, self.where, self.error = stage, where, error
