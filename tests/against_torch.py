"""The comparison with PyTorch that the tests of several ops need."""

import numpy as np
import torch

from chainrule import Tensor

TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}


def assert_equals_torch(ours, theirs, *inputs):
    """``ours`` on Tensors and ``theirs`` on PyTorch's have the same value, gradients, shapes and dtypes."""
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    witnesses = [torch.tensor(x, requires_grad=True) for x in inputs]
    y, expected = ours(*tensors), theirs(*witnesses)
    gy = np.random.default_rng(9).standard_normal(y.shape).astype(y.dtype)
    y.backward(gy)
    expected.backward(torch.tensor(gy))
    _assert_close(y.value, expected.detach().numpy())
    for tensor, witness in zip(tensors, witnesses, strict=True):
        _assert_close(tensor.grad, witness.grad.numpy())


def _assert_close(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    tolerance = TOLERANCE[expected.dtype]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
