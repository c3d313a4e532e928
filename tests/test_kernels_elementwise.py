"""The compiled activations, softmax and cross-entropy against their rules in float64, and what is special to them."""

import numpy as np
import pytest
import torch

from chainrule import Tensor, grad, ops, using
from chainrule.kernels import elementwise

EPS = np.finfo(np.float32).eps
SHAPES = [(), (1,), (0, 3), (3, 17), (1000, 5), (41, 1000), (2, 3, 5, 7), (3, 64, 13, 17)]
ACTIVATIONS = [
    ("relu", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {}),
    ("elu", {"alpha": 2}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("silu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
]
each_activation = pytest.mark.parametrize(("name", "params"), ACTIVATIONS, ids=str)


def random(*shape, seed=0, scale=3.0):
    return np.asarray(np.random.default_rng(seed).normal(0, scale, shape), np.float32)


def kernel(name, *inputs, **params):
    """Value and pullbacks as the backend computes them, and whether a kernel was there to do it."""
    assert "cpu" in ops.__dict__[name].kernels
    with using("cpu"):
        return getattr(ops, name).run(inputs, params)


def exactly(name, *inputs, **params):
    wide = [x.astype(np.float64) if x is not None and x.dtype == np.float32 else x for x in inputs]
    return getattr(ops, name).rule(*wide, **params)


def error(found, expected):
    """The largest error, in units of the float32 rounding of a number as large as the largest expected one."""
    assert found.dtype == np.float32
    assert found.shape == np.shape(expected)
    return np.max(np.abs(found - expected), initial=0) / (EPS * np.max(np.abs(expected), initial=1e-30))


def layouts(x):
    """The same numbers in memory of different orders: C, channels last, with gaps, reversed."""
    yield x
    if x.ndim:
        yield (
            np.ascontiguousarray(np.moveaxis(x, 1 % x.ndim, -1))
            .transpose(*range(min(x.ndim, 1)), *[x.ndim - 1] * (x.ndim > 1), *range(1, x.ndim - 1))
            .reshape(x.shape)
            if x.ndim != 4
            else np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        )
        yield np.asfortranarray(x)
        yield np.repeat(x, 2, axis=-1)[..., ::2]
        yield np.ascontiguousarray(x[::-1])[::-1]


@each_activation
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_activations_agree_with_their_rules(name, params, shape):
    gy = random(*shape, seed=1)
    y, (gx,) = exactly(name, random(*shape), **params)
    expected = gx(gy.astype(np.float64))
    for x in layouts(random(*shape)):
        found, (kernel_gx,) = kernel(name, x, **params)
        assert error(found, y) < 2
        for incoming in layouts(gy):
            assert error(kernel_gx(incoming), expected) < 4
        assert np.array_equal(kernel_gx(gy), kernel_gx(gy))
    broadcast = np.broadcast_to(np.float32(0.5), shape)
    assert error(kernel_gx(broadcast), gx(broadcast.astype(np.float64))) < 4


@each_activation
def test_activations_at_extreme_numbers(name, params):
    """As the rule, at the front of an array (vector loop) and at its end (the entries left over)."""
    extreme = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e-30, -1e-30, 88, -88, 200, -200, 1e30, -1e30], np.float32)
    x = np.concatenate([extreme, random(30), extreme[::-1]])
    with np.errstate(all="ignore"):
        y, (gx,) = exactly(name, x, **params)
        expected = gx(np.ones(len(x))).astype(np.float32)
        y = y.astype(np.float32)
    found, (kernel_gx,) = kernel(name, x, **params)
    np.testing.assert_allclose(found, y, rtol=4 * EPS, atol=4 * EPS if name == "gelu" else 1e-35)
    if name == "gelu":  # in the rule 0 times infinity, by an overflow of x^2 or x^3
        usual = np.abs(x) < 1e18
        found_gx, expected = kernel_gx(np.ones_like(x))[usual], expected[usual]
    else:
        found_gx = kernel_gx(np.ones_like(x))
    np.testing.assert_allclose(found_gx, expected, rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize(("name", "points"), [("relu", [0.0]), ("leaky_relu", [0.0]), ("elu", [0.0])])
def test_activations_at_their_kinks(name, points):
    x = np.array(points, np.float32)
    assert np.array_equal(kernel(name, x)[1][0](np.ones_like(x)), getattr(ops, name).rule(x)[1][0](np.ones_like(x)))


def test_the_exponential_is_right_to_the_last_place_and_a_bit():
    x = np.linspace(-103, 88.7, 400_001).astype(np.float32)
    y = np.empty_like(x)
    _exponentials(x, y)
    expected = np.exp(x.astype(np.float64))
    assert np.max(np.abs(y - expected) / np.spacing(expected.astype(np.float32))) < 1.1


def test_the_exponential_minus_one_is_right_near_zero():
    x = -np.logspace(-30, 2, 100_001).astype(np.float32)
    y = np.empty_like(x)
    _exponentials_minus_one(x, y)
    expected = np.expm1(x.astype(np.float64))
    assert np.max(np.abs(y - expected) / np.spacing(np.abs(expected).astype(np.float32))) < 2


@elementwise.jit
def _exponentials(x, y):
    for i in range(len(x)):
        y[i] = elementwise.exp(x[i])


@elementwise.jit
def _exponentials_minus_one(x, y):
    for i in range(len(x)):
        y[i] = elementwise.expm1_below(x[i])


@pytest.mark.parametrize("shape", [(3, 5), (2, 64, 20, 31)], ids=str)
def test_sums_and_dropout(shape):
    rng = np.random.default_rng(0)
    a, gy, mask = random(*shape), random(*shape, seed=2), rng.random(shape) < 0.6
    for b in layouts(random(*shape, seed=1)):
        y, (ga, gb) = kernel("add", a, b)
        assert np.array_equal(y, a + b)
        assert np.array_equal(ga(gy), gy)
        assert np.array_equal(gb(gy), gy)
        y, (gx, _) = kernel("dropout", b, mask, p=0.3)
        expected, (rule_gx, _) = exactly("dropout", b, mask, p=0.3)
        assert error(y, expected) < 1
        assert error(gx(gy), rule_gx(gy)) < 1
    assert not kernel("dropout", a, mask, p=1)[0].any()


def test_what_dropout_refuses():
    x = random(3, 4)
    with using("cpu"):
        with pytest.raises(ValueError, match=r"dropout: p=1\.5"):
            ops.dropout(x, x > 0, p=1.5)
        with pytest.raises(ValueError, match="dropout: mask holds float32"):
            ops.dropout(x, x)
        assert ops.dropout(x, np.ones((3, 1), bool), p=0.0).shape == (3, 4)


# ------------------------------------------------------------------------------------------------------------- softmax


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((5,), -1), ((3, 1), 1), ((0, 3), 1), ((4, 0, 3), 2), ((17, 10), 1), ((17, 10), 0), ((2, 3, 5, 7), 1),
     ((201, 10), -1), ((64, 1001), -1), ((3, 70_000), 1), ((7000, 3), 1)],
    ids=str,
)  # fmt: skip
def test_softmax(name, shape, dim):
    gy = random(*shape, seed=1)
    expected, (expected_gx,) = exactly(name, random(*shape), dim=dim)
    expected_gx = expected_gx(gy.astype(np.float64))
    for x in layouts(random(*shape)):
        y, (gx,) = kernel(name, x, dim=dim)
        assert error(y, expected) < 4
        for incoming in layouts(gy):
            assert error(gx(incoming), expected_gx) < 8


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_extreme_logits(name):
    x = np.array([[1000, 0, -1000], [np.nan, 0, 1], [0, np.inf, 1], [-np.inf, 0, 0], [-np.inf] * 3], np.float32)
    x = np.concatenate([x, x[:, ::-1]])
    with np.errstate(all="ignore"):
        expected = exactly(name, x)[0].astype(np.float32)
    np.testing.assert_allclose(kernel(name, x)[0], expected, rtol=4 * EPS, atol=1e-35)


def test_softmax_refuses_what_the_rule_refuses():
    with using("cpu"):
        with pytest.raises(ValueError, match="softmax"):
            ops.softmax(np.zeros((3, 0), np.float32))
        with pytest.raises(ValueError, match="softmax"):
            ops.softmax(np.zeros((3, 2), np.float32), dim=2)


# ------------------------------------------------------------------------------------------------------- cross-entropy

CASES = [
    {"reduction": reduction, "label_smoothing": smoothing}
    for reduction in ("mean", "sum", "none")
    for smoothing in (0, 0.1)
]


@pytest.mark.parametrize("params", CASES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (17, 10), (200, 10), (64, 1001), (3000, 7), (2, 40_000)], ids=str)
def test_cross_entropy(shape, params):
    target = np.random.default_rng(1).integers(0, shape[1], shape[0])
    y, pullbacks = exactly("cross_entropy", random(*shape), target, **params)
    gy = random(*y.shape, seed=2)
    expected = pullbacks[0](gy.astype(np.float64))
    theirs = torch.tensor(random(*shape).astype(np.float64), requires_grad=True)
    torch.nn.functional.cross_entropy(theirs, torch.tensor(target), **params).backward(torch.tensor(gy.astype(float)))
    assert np.allclose(theirs.grad, expected)
    for x in layouts(random(*shape)):
        for labels in (target, target.astype(np.int32)):
            loss, (gx, gtarget, gweight) = kernel("cross_entropy", x, labels, **params)
            assert isinstance(loss, np.ndarray)
            assert gtarget is None
            assert gweight is None
            assert error(loss, y) < 4
            assert error(gx(gy), expected) < 8
            assert np.array_equal(gx(gy), gx(gy))
    assert error(gx(np.broadcast_to(np.float32(2), y.shape)), pullbacks[0](np.full(y.shape, 2.0))) < 8


def test_cross_entropy_gives_the_same_bits_every_time():
    x, target = random(4096, 33), np.random.default_rng(0).integers(0, 33, 4096)
    first = kernel("cross_entropy", x, target)[0]
    assert all(np.array_equal(first, kernel("cross_entropy", x, target)[0]) for _ in range(20))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_wrong_label_is_named(label):
    target = np.array([3, label, 0])
    with using("cpu"), pytest.raises(ValueError, match=f"cross_entropy: target holds the label {label}"):
        ops.cross_entropy(random(3, 10), target)


def test_what_the_compiled_cross_entropy_leaves_to_the_rule():
    x, target = random(6, 4), np.array([0, 1, 2, 3, 1, 1])
    soft, weight = np.abs(random(6, 4, seed=1)), np.array([1, 2, 0.5, 1], np.float32)
    cases = [((x, soft), {}), ((x, target, weight), {"label_smoothing": 0.1}), ((x[:, :, None], target[:, None]), {})]
    for inputs, params in cases:
        with using("cpu"):
            found = ops.cross_entropy(*inputs, **params)
        assert np.array_equal(found, ops.cross_entropy(*inputs, **params))
    with using("cpu"), pytest.raises(ValueError, match="reduction='max'"):
        ops.cross_entropy(x, target, reduction="max")


def test_impossible_classes_that_nobody_wants_cost_nothing():
    x = np.array([[0, -np.inf, 0], [-np.inf, 5, -np.inf]], np.float32)
    target = np.array([2, 1])
    loss, (gx, _, _) = kernel("cross_entropy", x, target)
    expected, (rule_gx, _, _) = exactly("cross_entropy", x, target)
    assert error(loss, expected) < 2
    assert error(gx(np.float32(1).reshape(())), rule_gx(1.0)) < 2


# ------------------------------------------------------------------------------------------------------------- together


def test_second_derivatives_still_go_through_the_rules():
    def energy(x):
        y = ops.tanh(x) + ops.sigmoid(x) * ops.gelu(x)
        return (ops.log_softmax(y) ** 2).sum() + ops.cross_entropy(y, np.array([1, 0, 2]))

    def curvature(x):
        return grad(lambda t: (grad(energy)(t) ** 2).sum())(x)

    x = random(3, 4, scale=1)
    with using("cpu"):
        found = curvature(x)
    assert error(found, curvature(x.astype(np.float64))) < 100


def test_a_chain_has_the_gradients_of_the_rules():
    """Central differences in float32 would be right to three digits; the rules in float64 are the sharper witness."""
    rng = np.random.default_rng(0)
    x, target, mask = random(3000, 10, scale=1), rng.integers(0, 10, 3000), rng.random((3000, 10)) < 0.7
    gradients = []
    for backend, dtype in (("cpu", np.float32), (None, np.float64)):
        leaf = Tensor(x.astype(dtype), requires_grad=True)
        with using(backend):
            hidden = ops.relu(ops.tanh(leaf) + ops.dropout(leaf, mask, p=0.3))
            ops.cross_entropy(ops.silu(hidden), target).backward()
        gradients.append(leaf.grad)
    assert error(*gradients) < 16


def test_a_directional_derivative_is_that_of_the_value():
    """The value's own differences, in float32 with a step of 0.01, to the accuracy that they have: 1e-3."""
    rng = np.random.default_rng(0)
    for name, params in ACTIVATIONS:
        x = random(5000, scale=1)
        x = np.where(np.abs(x) < 0.1, np.float32(0.2), x)  # away from the kinks
        v = rng.choice([-1, 1], 5000).astype(np.float32) * np.float32(0.01)
        up, down = kernel(name, x + v, **params)[0], kernel(name, x - v, **params)[0]
        slopes = (up.astype(np.float64) - down) / 0.02
        along = kernel(name, x, **params)[1][0](np.ones_like(x)) * v / np.float32(0.01)
        assert np.allclose(slopes, along, atol=1e-3)
