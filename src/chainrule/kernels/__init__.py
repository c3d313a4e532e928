"""Fast replacements of rules: loops compiled by Numba, used with ``using("cpu")``. No kernel is without its rule."""

from chainrule.kernels import attention, convolutions, elementwise, linear, norms, optimizers, pools, softmax

__all__ = ["attention", "convolutions", "elementwise", "linear", "norms", "optimizers", "pools", "softmax"]
