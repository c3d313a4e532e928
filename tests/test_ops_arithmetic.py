"""Arithmetic at the points where the formulas meet 0, infinity and negative numbers."""

import numpy as np
import pytest
import torch

from chainrule import Tensor, grad, hessian, jacobian

BASES = [-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]


@pytest.mark.parametrize("exponent", [-2, -1, 0, 1, 2, 3, 2.0, 0.0])
def test_powers_by_a_number_equal_pytorchs_to_the_third_derivative(exponent):
    for base in BASES:
        if base == 0 and exponent < 0:
            continue
        ours, theirs = lambda x: (x**exponent).sum(), lambda x: (x**exponent).sum()
        x = torch.tensor(base, dtype=torch.float64, requires_grad=True)
        y = theirs(x)
        for derivative in (ours, grad(ours), grad(grad(ours)), grad(grad(grad(ours)))):
            np.testing.assert_allclose(derivative(np.array(base)), y.item(), rtol=1e-14, err_msg=f"{base}**{exponent}")
            y = torch.autograd.grad(y, x, create_graph=True)[0] if y.requires_grad else torch.tensor(0.0)


@pytest.mark.parametrize(
    ("base", "exponent"), [(0.0, 2.0), (0.0, 0.0), (0.0, 0.5), (0.0, -1.0), (2.0, 0.0), (3.0, -1.5)]
)
def test_both_gradients_of_a_power_equal_pytorchs(base, exponent):
    ours = [Tensor(v, requires_grad=True) for v in (base, exponent)]
    theirs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (base, exponent)]
    with np.errstate(divide="ignore"):
        (ours[0] ** ours[1]).backward()
    (theirs[0] ** theirs[1]).backward()
    for tensor, witness in zip(ours, theirs, strict=True):
        assert tensor.grad == witness.grad.item()


def test_mixed_derivative_of_a_power_at_exponent_zero():
    r""":math:`\partial^2 a^b / \partial a \partial b = a^{b-1} (1 + b \ln a)`, which is 1/a at b = 0."""
    a, b = np.array([2.0, 0.5, 3.0]), np.array([0.0, 0.0, 2.0])
    expected = np.diag(a ** (b - 1) * (1 + b * np.log(a)))
    np.testing.assert_allclose(jacobian(grad(lambda a, b: (a**b).sum(), 0), 1)(a, b), expected, rtol=1e-14)
    np.testing.assert_allclose(jacobian(grad(lambda a, b: (a**b).sum(), 1), 0)(a, b), expected, rtol=1e-14)


def test_second_derivatives_of_a_quotient():
    a, b = np.array([1.5, -2.0]), np.array([0.5, 3.0])
    np.testing.assert_allclose(hessian(lambda b: (a / b).sum())(b), np.diag(2 * a / b**3), rtol=1e-14)
