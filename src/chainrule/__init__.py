"""chainrule: derive a gradient, check it, read it, and train with it."""

from chainrule import ops
from chainrule.engine import OPS, Op, Parameter, Tensor, grad, hessian, hvp, jacobian, kink, no_grad, op, sample, using

__version__ = "0.1.0"
__all__ = [
    "OPS", "Op", "Parameter", "Tensor", "grad", "hessian", "hvp", "jacobian", "kink", "no_grad", "op", "ops", "sample",
    "using",
]  # fmt: skip
