"""Reductions against PyTorch and closed forms: axes, ties, extreme values, nothing at all to reduce."""

import re

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch

from chainrule import Tensor, grad, hessian, ops

DTYPES = [np.float64, np.float32]
AXES = [
    ((3, 5), None),
    ((3, 5), 0),
    ((3, 5), -1),
    ((2, 3, 5), (0, 2)),
    ((2, 3, 5), (-1, 1)),
    ((2, 3, 5), (0, 1, 2)),
    ((7,), 0),
    ((), None),
    ((1, 4), 0),
    ((3, 0, 2), -1),
]
every_axis = pytest.mark.parametrize(("shape", "axis"), AXES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def dims(axis, shape):
    """PyTorch's argument for NumPy's axis: all of them by name, since some functions do not take None."""
    return tuple(range(len(shape))) if axis is None else axis


# ----------------------------------------------------------------------------------------------- against PyTorch


@every_dtype
@every_axis
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(np.sum, torch.sum), (np.mean, torch.mean), (np.max, torch.amax), (np.min, torch.amin)]
)
def test_reduction_is_pytorchs(ours, theirs, keepdims, shape, axis, dtype):
    assert_equals_torch(
        lambda x: ours(x, axis=axis, keepdims=keepdims),
        lambda x: theirs(x, dim=dims(axis, shape), keepdim=keepdims),
        normal(shape, dtype),
    )


BIASED = [(shape, axis, 0) for shape, axis in AXES if 0 not in shape]  # PyTorch warns of an empty result
UNBIASED = [(shape, axis, 1) for shape, axis, _ in BIASED if shape not in [(), (1, 4)]]  # of one entry there is none


@every_dtype
@pytest.mark.parametrize(("shape", "axis", "ddof"), [*BIASED, *UNBIASED])
def test_var_is_pytorchs(shape, axis, ddof, dtype):
    for keepdims in [False, True]:
        assert_equals_torch(
            lambda x: np.var(x, axis, ddof=ddof, keepdims=keepdims),  # noqa: B023
            lambda x: torch.var(x, dims(axis, shape), correction=ddof, keepdim=keepdims),  # noqa: B023
            normal(shape, dtype),
        )


@every_dtype
@every_axis
def test_logsumexp_is_pytorchs(shape, axis, dtype):
    for keepdim in [False, True]:
        assert_equals_torch(
            lambda x: ops.logsumexp(x, dim=dims(axis, shape), keepdim=keepdim),  # noqa: B023
            lambda x: torch.logsumexp(x, dims(axis, shape), keepdim=keepdim),  # noqa: B023
            normal(shape, dtype),
        )


@every_dtype
@pytest.mark.parametrize(("shape", "axis"), [((3, 5), 0), ((2, 3, 5), -2), ((6,), -1), ((3, 0), 1), ((), 0)])
def test_cumsum_is_pytorchs(shape, axis, dtype):
    assert_equals_torch(
        lambda x: np.cumsum(x, axis).reshape(shape),  # NumPy gives the sums of a single number the shape (1,)
        lambda x: torch.cumsum(x, axis),
        normal(shape, dtype),
    )


def test_cumsum_without_an_axis_is_of_the_flat_array():
    assert_equals_torch(np.cumsum, lambda x: torch.cumsum(x.ravel(), 0), normal((3, 4)))


@every_dtype
@pytest.mark.parametrize(("shape", "axis"), [((4, 5), 0), ((4, 5), None), ((3, 2, 4), (0, 2))])
@pytest.mark.parametrize(("ours", "theirs"), [(np.max, torch.amax), (np.min, torch.amin)])
def test_ties_share_evenly_as_in_pytorch(ours, theirs, shape, axis, dtype):
    for seed in range(5):
        x = np.random.default_rng(seed).integers(0, 3, shape).astype(dtype)
        assert_equals_torch(lambda x: ours(x, axis), lambda x: theirs(x, dims(axis, shape)), x)


# ------------------------------------------------------------------------------------------------ extreme values


@every_dtype
@pytest.mark.parametrize(
    "x", [[1e4, -1e4, 9999.0], [-1e4, -1e4], [1e30, 0.0], [-1e30, -1e30, 0.0], [-np.inf, 2.0, 2.0], [88.0, 89.0]]
)
def test_logsumexp_of_extremes(x, dtype):
    """PyTorch's own gradient in float32 is right to three digits at -1e4: the witness computes in float64."""
    x = Tensor(np.array(x, dtype), requires_grad=True)
    exact = torch.tensor(x.value.astype(np.float64))
    y = ops.logsumexp(x)
    y.backward()
    assert y.dtype == x.grad.dtype == dtype
    tolerance = {"rtol": 1e-10 if dtype == np.float64 else 1e-6, "atol": 1e-40}
    np.testing.assert_allclose(y.value, torch.logsumexp(exact, -1).numpy(), **tolerance)
    np.testing.assert_allclose(x.grad, torch.softmax(exact, -1).numpy(), **tolerance)


def test_logsumexp_of_infinity_is_infinity():
    assert ops.logsumexp(np.array([np.inf, 0.0])) == np.inf


def test_logsumexp_curvature_is_the_covariance_of_softmax():
    x = np.array([1e4, 1e4 + 1, 1e4 - 2, -1e4])
    p = torch.softmax(torch.tensor(x), 0).numpy()
    np.testing.assert_allclose(hessian(ops.logsumexp)(x), np.diag(p) - np.outer(p, p), atol=1e-12)


def test_var_of_numbers_far_from_zero():
    """The mean square minus the squared mean would have no right digit here."""
    x = 1e8 + np.array([1.0, 2.0, 4.0])
    assert ops.var(x) == pytest.approx(14 / 9, rel=1e-12)
    np.testing.assert_allclose(grad(ops.var)(x), 2 / 3 * np.array([-4, -1, 5]) / 3, rtol=1e-7)


@pytest.mark.parametrize("reduction", [ops.max, ops.min])
def test_extreme_of_infinities(reduction):
    x = Tensor([np.inf, -np.inf, np.inf, -np.inf], requires_grad=True)
    reduction(x).backward()
    np.testing.assert_array_equal(x.grad, 0.5 * (x.value == reduction(x.value)))


# ------------------------------------------------------------------------------------------- nothing, one, integers


@pytest.mark.parametrize(("shape", "axis"), [((0, 3), 0), ((2, 0), (0, 1)), ((0,), None)])
def test_sum_of_nothing_is_zero(shape, axis):
    x = Tensor(np.zeros(shape), requires_grad=True)
    y = x.sum(axis)
    np.testing.assert_array_equal(y.value, np.zeros(np.sum(np.zeros(shape), axis).shape))
    y.backward(np.ones(y.shape))
    assert x.grad.shape == shape


@pytest.mark.parametrize("name", ["max", "min", "logsumexp"])
def test_extreme_of_nothing_is_numpys_error(name):
    with pytest.raises(ValueError, match=f"^{name}: zero-size array to reduction operation .*shape \\(3, 0\\)"):
        getattr(ops, name)(np.zeros((3, 0)), **{"dim" if name == "logsumexp" else "axis": 1})


@pytest.mark.parametrize(("shape", "axis", "ddof", "n"), [((4, 1), 1, 1, 1), ((3,), None, 5, 3), ((0, 2), 0, 0, 0)])
def test_var_without_degrees_of_freedom(shape, axis, ddof, n):
    with pytest.raises(ValueError, match=f"^var: ddof={ddof}, expected less than {n}, the number of entries"):
        np.var(Tensor(np.ones(shape), requires_grad=True), axis=axis, ddof=ddof)


def test_integers_are_reduced_as_numpy_does():
    x = np.array([[1, 2], [3, 5]])
    for function in (np.sum, np.mean, np.max, np.min, np.cumsum):
        y = function(Tensor(x))
        np.testing.assert_array_equal(y.value, function(x))
        assert y.dtype == function(x).dtype


@pytest.mark.parametrize("function", [np.amax, np.amin])
def test_the_other_names_of_max_and_min(function):
    x = Tensor(normal((3, 4)), requires_grad=True)
    y = function(x, 1, keepdims=True)
    np.testing.assert_array_equal(y.value, function(x.value, 1, keepdims=True))
    assert y.source.op.name == function.__name__.removeprefix("a")


# -------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min", "cumsum"])
def test_an_axis_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=rf"^{name}: axis 2 is out of bounds .*x has shape \(3, 4\), axis=2"):
        getattr(ops, name)(np.ones((3, 4)), axis=2)


def test_an_axis_given_twice():
    with pytest.raises(ValueError, match=r"^sum: .*axis.*\(0, -2\)"):
        ops.sum(np.ones((3, 4)), axis=(0, -2))


def test_an_argument_that_has_no_op_is_refused():
    with pytest.raises(TypeError, match=re.escape("sum(x, *, axis=None, keepdims=False)")):
        np.sum(Tensor([1.0], requires_grad=True), where=[True])
