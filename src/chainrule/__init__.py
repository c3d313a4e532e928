"""chainrule: derive a gradient, check it, read it, and train with it."""

from importlib import import_module

from chainrule import processor  # noqa: F401  before NumPy is loaded, whose BLAS it tells which kernels to take

# isort: split
from collections.abc import Callable

from chainrule import ops
from chainrule.engine import (
    BACKENDS,
    OPS,
    Op,
    Parameter,
    Tensor,
    grad,
    hessian,
    hvp,
    jacobian,
    kink,
    no_grad,
    op,
    sample,
    using,
)

__version__ = "0.1.0"
BACKENDS["cpu"] = lambda: import_module("chainrule.kernels.machine").in_use()  # loads all kernels, when first used
__all__ = [
    "OPS", "Op", "Parameter", "Tensor", "compile", "grad", "hessian", "hvp", "jacobian", "kink", "no_grad", "op", "ops", "sample",
    "using",
]  # fmt: skip


def compile(step: Callable) -> Callable:
    """The same step, which is replayed from its third call on; see :mod:`chainrule.kernels.replay`."""
    from chainrule.kernels.replay import Compiled  # with the compiler, which takes long to load

    return Compiled(step)
