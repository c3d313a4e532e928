"""The machine and the versions behind a run: what a figure depends on besides the config."""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

from chainrule import processor


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
        "threads": processor.threads(),
        "blas": {key: blas.get(key) for key in ("name", "version", "openblas configuration")},
        "packages": {name: version(name) for name in packages},
        "variables": {name: os.environ[name] for name in names if name in os.environ},
    }
