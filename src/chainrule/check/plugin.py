"""The pytest plugin: a fixture that checks a backward pass and fails with the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def gradcheck() -> Callable[..., Any]:
    """Check a backward pass as :func:`chainrule.check.diagnose` does; fail with its report unless all is right.

    In a test: ``gradcheck((forward, backward), shapes="n d, d m")``. Returns the report.
    """
    from chainrule.check import GradientError, diagnose

    def check(target: Any, inputs: Any = None, **how: Any) -> Any:
        __tracebackhide__ = True
        report = diagnose(target, inputs, **how)
        if report.status != "correct":
            raise GradientError(report)
        return report

    return check
