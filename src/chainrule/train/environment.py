"""The machine and the versions behind a run: what a figure depends on besides the config."""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

from chainrule import processor
from chainrule.errors import UsageError


def environment() -> dict[str, Any]:
    """Python, the platform, the versions, the kernels' threads, NumPy's BLAS and what sets its, as JSON-able values.

    PyTorch is among them where it is loaded, as it is by the engine of that name.

    Results are bit for bit the same where all of these are.

    >>> sorted(environment())
    ['blas', 'cpus', 'packages', 'platform', 'processor', 'python', 'threads', 'variables']
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    names = (processor.THREADS, processor.VARIABLE, *processor.OTHER_THREADS)
    torch = ["torch"] if "torch" in sys.modules else []
    packages = ["chainrule", "numpy", "numba", "safetensors", "pydantic", *torch]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor.name(),
        "cpus": processor.cores(),
        "threads": _threads(),
        "blas": {key: blas.get(key) for key in ("name", "version", "openblas configuration")},
        "packages": {name: version(name) for name in packages},
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }


def _threads() -> int | None:
    """Of the kernels; None where CHAINRULE_NUM_THREADS is no number: `chainrule doctor` and the kernels say so."""
    try:
        return processor.threads()
    except UsageError:
        return None
