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
    "OPS", "Op", "Parameter", "Tensor", "compile", "grad", "hessian", "hvp", "jacobian", "kink", "no_grad", "op", "ops",
    "sample", "using",
]  # fmt: skip


def compile(step: Callable) -> Callable:
    """The same step, of which only the computation is repeated, without Tensors and tape, from its third call on.

    ``step`` is a function of arrays or Tensors, for example one training step or a network's output. What it returns is
    copied and has no source. All results are those of the step itself, bit for bit. Every shape and type of inputs, a
    ``module.training`` that changed and every backend have a recording of their own.

    A step that cannot be repeated so stays as it is, with one warning that names the reason: random numbers, a number
    taken out of an array inside of it (``float(loss)``), arrays made by code that is not recorded. Other Python code in
    it is not run again, except the ``step`` of optimizers and schedules: hyper-parameters of layers stay those of the
    second call. The gradients are arrays that the next step overwrites.

    >>> weight = Parameter(np.array([1.0, 2.0]))
    >>> def step(x):
    ...     weight.grad = None
    ...     loss = (weight * x).sum()
    ...     loss.backward()
    ...     weight.value -= 0.5 * weight.grad
    ...     return loss
    >>> step = compile(step)
    >>> [float(step(np.array([1.0, 0.0]))) for _ in range(4)]
    [1.0, 0.5, 0.0, -0.5]
    """
    from chainrule.kernels.replay import Compiled  # with the compiler, which takes long to load

    return Compiled(step)
