"""What every test and docstring example can use."""

import numpy as np
import pytest

import chainrule


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    """`np` and chainrule's public names in docstring examples."""
    doctest_namespace["np"] = np
    doctest_namespace.update({name: getattr(chainrule, name) for name in chainrule.__all__})
