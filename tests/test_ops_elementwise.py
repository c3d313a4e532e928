"""Element-wise functions against PyTorch, the standard library, and closed forms."""

import math

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch

from chainrule import Tensor, grad, ops

DTYPES = [np.float64, np.float32]
SHAPES = [(), (7,), (3, 1), (5, 3), (2, 3, 5), (0, 3)]
ABOVE = {"log": 0.05, "sqrt": 0.05, "log1p": -0.95}  # where the domain begins
NUMPY = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "square": np.square,
    "abs": np.abs, "sin": np.sin, "cos": np.cos,
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*NUMPY, "erf"])
def test_value_and_gradient_are_pytorchs(name, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        x = np.asarray(2 * rng.standard_normal(shape))
        if name in ABOVE:
            x = ABOVE[name] + np.abs(x)
        assert_equals_torch(getattr(ops, name), getattr(torch, name), x.astype(dtype))


@pytest.mark.parametrize("name", NUMPY)
def test_numpys_function_on_a_tensor_is_the_op(name):
    y = NUMPY[name](Tensor(0.5, requires_grad=True))
    assert y.source.op is getattr(ops, name)


def test_the_absolute_value_of_a_tensor_has_slope_0_at_0():
    x = Tensor([-2.0, 0.0, -0.0, 3.0], requires_grad=True)
    abs(x).backward(np.full(4, 5.0))
    np.testing.assert_array_equal(x.grad, [-5, 0, 0, 5])


# ---------------------------------------------------------------------------------------------- accuracy, and the ends


def test_tiny_arguments_keep_their_digits():
    x = np.array([1e-300, -1e-20, 3e-9])
    np.testing.assert_allclose(ops.log1p(x), [1e-300, -1e-20, 2.9999999955e-9], rtol=1e-15)
    np.testing.assert_allclose(ops.expm1(x), [1e-300, -1e-20, 3.0000000045e-9], rtol=1e-15)


def test_the_gradient_of_expm1_is_not_lost_where_its_value_is_minus_1():
    y, (gx,) = ops.expm1.rule(np.array([-50.0]))
    assert y == -1
    np.testing.assert_allclose(gx(np.ones(1)), [math.exp(-50)], rtol=1e-15)


@pytest.mark.parametrize(("name", "expected"), [("log", -math.inf), ("sqrt", 0.0)])
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_at_the_edge_of_the_domain_the_slope_is_infinite(name, expected):
    y, (gx,) = getattr(ops, name).rule(np.zeros(1))
    assert y == expected
    assert gx(np.ones(1)) == np.inf


# ------------------------------------------------------------------------------------------------------------------ erf


def test_erf_is_exact_to_a_few_units_in_the_last_place():
    rng = np.random.default_rng(0)
    x = np.concatenate([
        np.linspace(-7, 7, 20_011),
        np.logspace(-300, 1, 5_003),
        np.nextafter([0.46875, -0.46875, 6.0], 0),
        [0.46875, -0.46875, 6.0],
        rng.uniform(0.4, 0.6, 5_000),
    ])  # fmt: skip
    expected = np.array([math.erf(number) for number in x])
    np.testing.assert_allclose(ops.erf(x), expected, rtol=1e-15, atol=0)

    single = x[np.abs(x) > 1e-37].astype(np.float32)
    expected = np.array([math.erf(number) for number in single])
    np.testing.assert_allclose(ops.erf(single), expected, rtol=4e-7, atol=0)


def test_erf_at_the_ends():
    x = np.array([-np.inf, -1e300, -1e4, -0.0, 0.0, 1e4, 1e300, np.inf, np.nan])
    y = ops.erf(x)
    np.testing.assert_array_equal(y, [-1, -1, -1, 0, 0, 1, 1, 1, np.nan])
    np.testing.assert_array_equal(np.signbit(y[:-1]), np.signbit(x[:-1]))
    slopes = grad(lambda x: ops.erf(x).sum())(np.array([-np.inf, -1e4, 0.0, 1e4, np.inf]))
    np.testing.assert_allclose(slopes, [0, 0, 2 / math.sqrt(math.pi), 0, 0], rtol=1e-15)


# ----------------------------------------------------------------------------------------------------------------- clip

BOUNDS = [(-0.5, 0.7), (None, 0.3), (0.1, None), (-1, 1), (0.5, -0.5), (0.4, 0.4)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clip_is_pytorchs_clamp(low, high, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        x = np.asarray(rng.standard_normal(shape)).astype(dtype)
        assert_equals_torch(lambda t: ops.clip(t, min=low, max=high), lambda t: t.clamp(low, high), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_at_its_bounds_passes_the_gradient_on(dtype):
    x = np.array([-0.5, 0.75, np.nextafter(-0.5, -1, dtype=dtype), np.nextafter(0.75, 1, dtype=dtype)], dtype)
    gx = grad(lambda t: ops.clip(t, min=-0.5, max=0.75).sum())(x)
    np.testing.assert_array_equal(gx, [1, 1, 0, 0])
    assert_equals_torch(lambda t: ops.clip(t, min=-0.5, max=0.75), lambda t: t.clamp(-0.5, 0.75), x)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.clip(t, -0.5, 0.75),
        lambda t: np.clip(t, a_min=-0.5, a_max=0.75),
        lambda t: np.clip(t, -0.5, a_max=0.75),
        lambda t: t.clip(-0.5, 0.75),
        lambda t: t.clip(min=-0.5, max=0.75),
        lambda t: ops.clip(t, min=np.float64(-0.5), max=np.float32(0.75)),
    ],
)
def test_every_spelling_of_clip_is_the_op(call):
    x = np.random.default_rng(0).standard_normal((4, 3))
    y = call(Tensor(x, requires_grad=True))
    assert y.source.op is ops.clip
    np.testing.assert_array_equal(y.value, np.clip(x, -0.5, 0.75))


@pytest.mark.parametrize(("low", "high"), [(None, 0.5), (0.5, None)])
def test_numpys_clip_with_one_bound(low, high):
    x = np.array([0.0, 1.0])
    np.testing.assert_array_equal(np.clip(Tensor(x), low, high).value, np.clip(x, low, high))


def test_clip_keeps_integers_integers():
    found = ops.clip(np.array([-3, 0, 9]), min=0)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [0, 0, 9])


def test_clip_without_bounds_is_refused():
    with pytest.raises(ValueError, match=r"^clip: min and max are both None, expected at least one number"):
        ops.clip(np.ones(3))


@pytest.mark.parametrize("bound", [np.zeros(3), [0.0], "0", Tensor(0.0, requires_grad=True)])
def test_a_bound_that_is_no_number_is_refused(bound):
    with pytest.raises(ValueError, match=r"^clip: max=.*, expected a number or None; .*np\.minimum"):
        ops.clip(np.ones(3), max=bound)
    with pytest.raises(ValueError, match=r"^clip: min=.*, expected a number or None"):
        np.clip(Tensor(np.ones(3)), bound, 1.0)
