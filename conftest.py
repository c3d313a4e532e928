"""What every test and docstring example can use."""

import os

# Several test processes side by side, each with threads that spin on every core, would slow each other tenfold.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("CHAINRULE_NUM_THREADS", "1")

import numpy as np
import pytest

import chainrule
from chainrule import engine


@pytest.fixture(autouse=True)
def _nothing_stays():
    """A test that leaves kernels in use would change the bits of those after it."""
    yield
    assert engine._state.backend is None


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    """`np` and chainrule's public names in docstring examples."""
    doctest_namespace["np"] = np
    doctest_namespace.update({name: getattr(chainrule, name) for name in chainrule.__all__})
