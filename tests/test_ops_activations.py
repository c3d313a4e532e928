"""Activations against PyTorch and closed forms, also where naive formulas overflow."""

import math
import re

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch

from chainrule import Tensor, grad, jacobian, ops

F = torch.nn.functional
DTYPES = [np.float64, np.float32]
SHAPES = [(), (7,), (3, 1), (5, 3), (2, 3, 5), (0, 3)]

ELEMENTWISE = [
    ("relu", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("leaky_relu", {"negative_slope": -0.5}),
    ("leaky_relu", {"negative_slope": 2.0}),
    ("elu", {}),
    ("elu", {"alpha": 0.3}),
    ("elu", {"alpha": 2.5}),
    ("selu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("softplus", {}),
    ("softplus", {"beta": 3.0}),
    ("softplus", {"beta": 0.5, "threshold": 1.5}),
    ("softplus", {"beta": -2.0}),
    ("softplus", {"threshold": -3.0}),
    ("sigmoid", {}),
    ("tanh", {}),
]
each_elementwise = pytest.mark.parametrize(("name", "params"), ELEMENTWISE, ids=lambda part: str(part))
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def assert_like_torch(name, x, **params):
    """Value and gradient."""
    assert_equals_torch(lambda t: getattr(ops, name)(t, **params), lambda t: getattr(F, name)(t, **params), x)


def assert_second_derivative_like_torch(name, x, **params):
    """The derivative of the gradient of a weighted sum; plus x, so that there is one where the gradient is constant."""
    w = np.random.default_rng(9).standard_normal(x.shape).astype(x.dtype)

    def ours(t):
        return grad(lambda x: (w * getattr(ops, name)(x, **params)).sum())(t) + t

    def theirs(t):
        loss = (torch.tensor(w) * getattr(F, name)(t, **params)).sum()
        return torch.autograd.grad(loss, t, create_graph=True)[0] + t

    assert_equals_torch(ours, theirs, x)


@each_dtype
@each_elementwise
def test_value_and_gradient_are_pytorchs(name, params, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        assert_like_torch(name, np.asarray(3 * rng.standard_normal(shape)).astype(dtype), **params)


@each_elementwise
def test_second_derivative_is_pytorchs(name, params):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        assert_second_derivative_like_torch(name, np.asarray(3 * rng.standard_normal(shape)), **params)


@each_dtype
@each_elementwise
def test_zeros_and_huge_numbers_are_pytorchs(name, params, dtype):
    sizes = [0.0, 1e-30, 1e-6, 15.0, 19.9, 20.1, 50.0, 90.0, 120.0, 720.0, 800.0, 1e4]
    x = np.array([sign * size for size in sizes for sign in (1, -1)], dtype)
    assert_like_torch(name, x, **params)
    # At 0, PyTorch's ELU takes its slope from below and its curvature from above.
    assert_second_derivative_like_torch(name, x[x != 0] if name in ("elu", "selu") else x, **params)


@each_dtype
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "softplus", "sigmoid", "tanh"])
def test_infinity_has_its_limit(name, dtype):
    x = np.array([-np.inf, np.inf], dtype)
    y, (gx,) = getattr(ops, name).rule(x)
    limit, (limit_gx,) = getattr(ops, name).rule(np.array([-1e30, 1e30], dtype))
    np.testing.assert_array_equal(y, np.where(np.abs(limit) > 1e20, x, limit))
    np.testing.assert_array_equal(gx(np.ones_like(x)), limit_gx(np.ones_like(x)))


@each_elementwise
def test_nan_stays_nan(name, params):
    assert np.isnan(getattr(ops, name)(np.array([np.nan]), **params)).all()


def test_a_number_gives_a_number_of_its_precision():
    for name, params in ELEMENTWISE:
        assert getattr(ops, name)(np.float32(0.5), **params).dtype == np.float32


# ------------------------------------------------------------------------------------------------- the sigmoid family


def test_sigmoid_of_very_negative_numbers_keeps_its_digits():
    np.testing.assert_allclose(ops.sigmoid(np.array([-700.0, -40.0])), np.exp([-700.0, -40.0]), rtol=1e-14)
    single = ops.sigmoid(np.array([-80.0, -20.0], np.float32))
    np.testing.assert_allclose(single, np.exp([-80.0, -20.0]), rtol=1e-5)


def test_softplus_of_very_negative_numbers_keeps_its_digits():
    np.testing.assert_allclose(ops.softplus(np.array([-700.0, -40.0])), np.exp([-700.0, -40.0]), rtol=1e-14)


def test_softplus_without_a_threshold_does_not_overflow():
    x = np.array([-1e4, 1e4])
    y, (gx,) = ops.softplus.rule(x, beta=2.0, threshold=np.inf)
    np.testing.assert_array_equal(y, [0, 1e4])
    np.testing.assert_array_equal(gx(np.ones(2)), [0, 1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", [1 / 4, 0, -1 / 8, 0, 1 / 4]),
        ("softplus", [1 / 2, 1 / 4, 0, -1 / 8, 0]),
        ("tanh", [1, 0, -2, 0, 16]),
        ("silu", [1 / 2, 1 / 2, 0, -1 / 2, 0]),
    ],
)
def test_every_derivative_at_0_where_the_stable_formulas_meet(name, expected):
    """The Taylor coefficients at 0 times n!, through the rules differentiated again and again."""
    derivative = getattr(ops, name)
    for value in expected:
        derivative = grad(derivative)
        assert derivative(np.array(0.0)) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize(("name", "expected"), [("elu", [1, 1, 1]), ("selu", [1.7580993408473766] * 3)])
def test_every_derivative_at_a_kink_is_the_one_from_below(name, expected):
    derivative = getattr(ops, name)
    for value in expected:
        derivative = grad(derivative)
        assert derivative(np.array(0.0)) == pytest.approx(value, abs=1e-15)


def test_elu_of_tiny_numbers_keeps_its_digits():
    x = np.array([-1e-300, -1e-20, -3e-9])
    np.testing.assert_allclose(ops.elu(x), [-1e-300, -1e-20, -2.9999999955e-9], rtol=1e-15)


def test_selu_keeps_mean_0_and_variance_1():
    z = np.linspace(-12, 12, 240_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    y = ops.selu(z)
    assert np.trapezoid(y * density, z) == pytest.approx(0, abs=1e-8)
    assert np.trapezoid(y**2 * density, z) == pytest.approx(1, abs=1e-8)


def test_gelu_weighs_by_the_normal_distribution():
    z = np.array([-3.0, -0.7, 0.2, 2.5])
    below = [0.5 * math.erfc(-number / math.sqrt(2)) for number in z]
    np.testing.assert_allclose(ops.gelu(z), z * below, rtol=1e-13)


# ------------------------------------------------------------------------------------------------------- distributions

each_distribution = pytest.mark.parametrize("name", ["softmax", "log_softmax"])
ALONG = [((7,), -1), ((5, 3), -1), ((5, 3), 0), ((5, 3), 1), ((5, 3), -2), ((2, 3, 5), 1), ((3, 1), 1), ((0, 3), 1),
         ((0, 3), -1), ((4, 2, 3, 5), -3)]  # fmt: skip


@each_dtype
@pytest.mark.parametrize(("shape", "dim"), ALONG)
@each_distribution
def test_softmax_is_pytorchs_along_any_axis(name, shape, dim, dtype):
    x = (3 * np.random.default_rng(1).standard_normal(shape)).astype(dtype)
    assert_like_torch(name, x, dim=dim)
    assert_second_derivative_like_torch(name, x, dim=dim)


@each_dtype
@each_distribution
def test_softmax_of_huge_and_equal_logits_is_pytorchs(name, dtype):
    rng = np.random.default_rng(2)
    for _ in range(20):
        x = rng.choice([-1e4, -100.0, 0.0, 100.0, 1e4], (6, 4)).astype(dtype)
        assert_like_torch(name, x, dim=-1)
        assert_second_derivative_like_torch(name, x, dim=-1)


@each_distribution
def test_a_class_ruled_out_by_minus_infinity_gets_no_gradient(name):
    logits = np.array([0.5, -np.inf, 1.5])
    y, (gx,) = getattr(ops, name).rule(logits)
    rest, (gx_rest,) = getattr(ops, name).rule(logits[[0, 2]])
    np.testing.assert_array_equal(y, [rest[0], {"softmax": 0, "log_softmax": -np.inf}[name], rest[1]])
    found, (first, last) = gx(np.array([0.3, 0.0, -1.2])), gx_rest(np.array([0.3, -1.2]))
    np.testing.assert_array_equal(found, [first, 0, last])


def test_the_jacobian_of_softmax_has_its_two_cases():
    x = np.array([0.3, -1.0, 2.0])
    y = np.exp(x) / np.exp(x).sum()
    found = jacobian(ops.softmax)(x)
    for k in range(3):
        for j in range(3):
            expected = y[j] * (1 - y[j]) if k == j else -y[k] * y[j]
            assert found[k, j] == pytest.approx(expected, abs=1e-15)


def test_the_jacobian_of_log_softmax():
    x = np.array([0.3, -1.0, 2.0])
    y = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(jacobian(ops.log_softmax)(x), np.eye(3) - y, atol=1e-15)


def test_softmax_is_a_distribution_that_a_shift_of_the_logits_leaves_alone():
    x = np.random.default_rng(3).standard_normal((4, 5))
    for dim in (0, 1):
        y = ops.softmax(x, dim=dim)
        np.testing.assert_allclose(y.sum(dim), 1, rtol=1e-15)
        np.testing.assert_allclose(ops.softmax(x + 1e3, dim=dim), y, rtol=1e-12)
        np.testing.assert_allclose(np.exp(ops.log_softmax(x, dim=dim)), y, rtol=1e-14)


def test_log_softmax_is_finite_where_the_probability_rounds_to_0():
    np.testing.assert_array_equal(ops.log_softmax(np.array([0.0, 1e4])), [-1e4, 0])


@each_distribution
def test_an_axis_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=rf"^{name}: .*axis 2.*x has shape \(5, 3\), dim=2"):
        getattr(ops, name)(np.ones((5, 3)), dim=2)
    with pytest.raises(ValueError, match=rf"^{name}: .*x has shape \(5, 0\)"):
        getattr(ops, name)(np.ones((5, 0)))


# -------------------------------------------------------------------------------------------------------------- dropout


@each_dtype
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_dropout_is_pytorchs_given_its_mask(shape, p, dtype):
    x = np.asarray(np.random.default_rng(4).standard_normal(shape)).astype(dtype)
    torch.manual_seed(0)
    mask = F.dropout(torch.ones(shape), p).numpy() != 0
    torch.manual_seed(0)
    assert_equals_torch(lambda t: ops.dropout(t, mask, p=p), lambda t: F.dropout(t, p), x)


def test_dropout_of_everything_is_zero_whatever_the_mask():
    y, (gx, _) = ops.dropout.rule(np.ones(3), np.array([True, False, True]), p=1.0)
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(gx(np.ones(3)), 0)


def test_dropout_keeps_the_mean_over_masks():
    mask = np.random.default_rng(5).random((40_000, 3)) >= 0.3
    y = ops.dropout(np.array([1.0, -2.0, 3.0]), mask, p=0.3)
    np.testing.assert_allclose(y.mean(0), [1, -2, 3], rtol=0.02)


def test_a_mask_for_whole_channels():
    x = np.random.default_rng(6).standard_normal((2, 3, 4, 5))
    mask = np.array([[True, False, True], [False, True, True]])[..., None, None]
    own_x = Tensor(x, requires_grad=True)
    y = ops.dropout(own_x, mask, p=0.5)
    y.backward(np.ones(x.shape))
    np.testing.assert_array_equal(y.value, np.where(mask, 2 * x, 0))
    np.testing.assert_array_equal(own_x.grad, np.where(mask, 2.0, np.zeros(x.shape)))


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_mask_that_is_not_boolean_is_refused(dtype):
    with pytest.raises(ValueError, match=rf"^dropout: mask holds {np.dtype(dtype)}, expected bool"):
        ops.dropout(np.ones(3), np.ones(3, dtype))


@pytest.mark.parametrize("p", [-0.1, 1.5, np.nan])
def test_dropout_with_no_probability_is_refused(p):
    with pytest.raises(ValueError, match=re.escape(f"dropout: p={p}, expected a probability from 0 to 1")):
        ops.dropout(np.ones(3), np.ones(3, bool), p=p)


# ----------------------------------------------------------------------------------------------- wrong hyper-parameters


def test_gelu_knows_two_forms():
    with pytest.raises(ValueError, match=r"^gelu: approximate='erf', expected 'none' or 'tanh'"):
        ops.gelu(np.ones(3), approximate="erf")


def test_softplus_with_beta_0_is_refused():
    with pytest.raises(ValueError, match=r"^softplus: beta=0, expected"):
        ops.softplus(np.ones(3), beta=0.0)
