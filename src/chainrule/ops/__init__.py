"""Every operation, one function each: its value, its derivative, the derivation and the source together.

On arrays an op returns an array; on Tensors, a Tensor. ``op.rule(*arrays)`` returns the value and the pullbacks.
"""

from chainrule.ops.arithmetic import add, div, identity, maximum, minimum, mul, neg, pow, sub, where
from chainrule.ops.matrix import linear

__all__ = ["add", "div", "identity", "linear", "maximum", "minimum", "mul", "neg", "pow", "sub", "where"]
