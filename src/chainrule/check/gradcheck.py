"""Compare the gradients of a function with numeric truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.check.truth import numeric_gradient
from chainrule.engine import Tensor, no_grad


class GradcheckError(AssertionError):
    """A gradient differs from numeric truth; the message says which, by how much, and where."""


def gradcheck(
    func: Callable, inputs: Sequence[Any], *, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True
) -> bool:
    """Are the gradients of ``func``, an op or a function composed of ops, right at these inputs?

    Every float input is checked against extrapolated differences or the complex step, in float64, for a random gradient
    of the output (drawn with a fixed seed): a gradient that ignores it cannot pass.

    Args:
        func: from Tensors to a Tensor of any shape.
        inputs: arrays or Tensors; integer and boolean ones are passed on as they are.
        atol, rtol: accepted difference, ``atol + rtol * |truth|`` entry by entry, as in PyTorch.
        raise_exception: raise :class:`GradcheckError` instead of returning False.

    >>> gradcheck(lambda x: np.exp(-(x**2)), [np.array([0.5, 1.5])])
    True
    """
    if isinstance(inputs, (np.ndarray, Tensor)):
        inputs = (inputs,)
    arrays = [x.value if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    arrays = [np.array(x, np.float64) if np.issubdtype(x.dtype, np.floating) else x for x in arrays]
    checked = [i for i, x in enumerate(arrays) if x.dtype == np.float64]
    tensors: list[Any] = [Tensor(x, requires_grad=True) if i in checked else x for i, x in enumerate(arrays)]
    y = func(*tensors)
    gy = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(gy)
    for i in checked:

        def loss(x: np.ndarray, i: int = i) -> Any:
            with no_grad():
                out = func(*(Tensor(x if k == i else a) if k in checked else a for k, a in enumerate(arrays)))
            return (gy * out.value).sum()

        truth = numeric_gradient(loss, arrays[i]).value
        found = np.zeros_like(truth) if tensors[i].grad is None else tensors[i].grad
        excess = np.abs(found - truth) - (atol + rtol * np.abs(truth))
        if not np.all(excess <= 0):
            at = np.unravel_index(np.argmax(np.nan_to_num(excess, nan=np.inf)), truth.shape)
            if raise_exception:
                where = f"input {i}" + (f" at {tuple(map(int, at))}" if truth.ndim else "")
                raise GradcheckError(f"the gradient of {where} is {found[at]:.6g}, expected {truth[at]:.6g}")
            return False
    return True
