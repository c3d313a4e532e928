"""The losses against PyTorch, closed forms, and the studies' worked examples."""

import itertools
import re

import numpy as np
import pytest
import torch
from against_torch import TOLERANCE, assert_equals_torch

from chainrule import Tensor, hessian, ops

F = torch.nn.functional
REDUCTIONS = ["mean", "sum", "none"]
DTYPES = [np.float64, np.float32]


def assert_like_torch(name, inputs, theirs=None, **params):
    """The loss equals PyTorch's, as do its gradients of x and of a float target; PyTorch may be given ``theirs``."""
    count = 2 if np.issubdtype(inputs[1].dtype, np.floating) else 1
    fixed = [None if a is None else torch.tensor(a) for a in (theirs or inputs)[count:]]
    named = dict(zip(("target", "weight", "pos_weight")[count - 1 :], fixed, strict=False))
    assert_equals_torch(
        lambda *tensors: getattr(ops, name)(*tensors, *inputs[count:], **params),
        lambda *tensors: getattr(F, name)(*tensors, **named, **params),
        *inputs[:count],
    )


# ------------------------------------------------------------------------------------------------------------- classes


def class_targets(rng, kind, shape, dtype):
    """Targets of a kind for logits of this shape, and the same as PyTorch takes them."""
    labels = rng.integers(0, shape[1], shape[:1] + shape[2:])
    one_hot = np.moveaxis(np.eye(shape[1], dtype=np.int64)[labels], -1, 1)
    soft = rng.uniform(0, 2, shape).astype(dtype)
    return {
        "labels": (labels, labels),
        "small labels": (labels.astype(np.uint8), labels),
        "integer one-hot": (one_hot, one_hot.astype(dtype)),
        "boolean one-hot": (one_hot.astype(bool), one_hot.astype(dtype)),
        "soft": (soft, soft),
    }[kind]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 5), (1, 3), (3, 2, 5), (2, 7, 3, 4)])
@pytest.mark.parametrize("kind", ["labels", "small labels", "integer one-hot", "boolean one-hot", "soft"])
def test_cross_entropy_is_pytorchs(kind, shape, dtype):
    rng = np.random.default_rng(len(shape))
    for reduction, weighted, smoothing in itertools.product(REDUCTIONS, [False, True], [0.0, 0.3, 1.0]):
        x = (3 * rng.standard_normal(shape)).astype(dtype)
        target, theirs = class_targets(rng, kind, shape, dtype)
        weight = rng.uniform(0.2, 3.0, shape[1]).astype(dtype) if weighted else None
        params = {"reduction": reduction, "label_smoothing": smoothing}
        assert_like_torch("cross_entropy", [x, target, weight], [x, theirs, weight], **params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 5), (1, 3), (3, 2, 5), (2, 7, 3, 4)])
def test_nll_loss_is_pytorchs(shape, dtype):
    rng = np.random.default_rng(len(shape))
    for reduction, weighted in itertools.product(REDUCTIONS, [False, True]):
        x = np.log(rng.uniform(0.01, 1.0, shape)).astype(dtype)
        target, _ = class_targets(rng, "labels", shape, dtype)
        weight = rng.uniform(0.2, 3.0, shape[1]).astype(dtype) if weighted else None
        assert_like_torch("nll_loss", [x, target, weight], reduction=reduction)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["labels", "soft"])
def test_cross_entropy_of_huge_logits(kind, dtype):
    rng = np.random.default_rng(0)
    x = rng.choice([-1e4, -80.0, 0.0, 80.0, 1e4], (40, 6)).astype(dtype)
    target, _ = class_targets(rng, kind, x.shape, dtype)
    for reduction in REDUCTIONS:
        assert_like_torch("cross_entropy", [x, target], reduction=reduction)


def test_cross_entropy_of_huge_logits_in_closed_form():
    x = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    losses, (gx, _, _) = ops.cross_entropy.rule(x, np.array([0, 1, 2]), reduction="none")
    np.testing.assert_allclose(losses, [0, 2e4, np.log(3)], rtol=1e-15)
    np.testing.assert_allclose(gx(np.ones(3)), [[0, 0, 0], [1, -1, 0], [1 / 3, 1 / 3, -2 / 3]], rtol=1e-15)


def test_a_class_ruled_out_by_minus_infinity_costs_nothing_where_it_is_not_wanted():
    x = np.array([[0.5, -np.inf, 1.5], [1.0, 2.0, -np.inf]])
    labels = np.array([2, 0])
    assert_like_torch("cross_entropy", [x, labels])
    assert_like_torch("nll_loss", [x, labels])


def test_cross_entropy_is_nll_loss_of_log_probabilities():
    rng = np.random.default_rng(3)
    x, labels, weight = rng.standard_normal((6, 4)), rng.integers(0, 4, 6), rng.uniform(0.5, 2, 4)
    logy = np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True))
    for reduction in REDUCTIONS:
        found = ops.cross_entropy(x, labels, weight, reduction=reduction)
        np.testing.assert_allclose(found, ops.nll_loss(logy, labels, weight, reduction=reduction), rtol=1e-13)


def test_labels_and_one_hot_are_the_same_target_except_for_the_weighted_mean():
    rng = np.random.default_rng(4)
    x, labels, weight = rng.standard_normal((6, 4)), rng.integers(0, 4, 6), rng.uniform(0.5, 2, 4)
    one_hot = np.eye(4)[labels]
    for reduction in REDUCTIONS:
        np.testing.assert_array_equal(
            ops.cross_entropy(x, labels, reduction=reduction), ops.cross_entropy(x, one_hot, reduction=reduction)
        )
    by_labels, by_one_hot = ops.cross_entropy(x, labels, weight), ops.cross_entropy(x, one_hot, weight)
    np.testing.assert_allclose(by_labels * weight[labels].sum(), by_one_hot * 6, rtol=1e-14)
    assert abs(by_labels - by_one_hot) > 1e-3


@pytest.mark.parametrize("target", [[1, 2, 0], [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0]]])
def test_second_derivative_of_cross_entropy_at_equal_logits(target):
    """diag(y) - y y^T for each example, over B; at a tie of the maximum, which the stable form subtracts."""
    found = hessian(lambda x: ops.cross_entropy(x, np.array(target)))(np.zeros((3, 3)))
    block = np.eye(3) / 3 - np.ones((3, 3)) / 9
    expected = np.einsum("mn,ij->minj", np.eye(3), block) / 3
    np.testing.assert_allclose(found, expected, atol=1e-15)


# ------------------------------------------------------------------------------------------------- numbers, yes or no

SHAPES = [(), (5,), (3, 1), (4, 3), (2, 3, 5), (0, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("huber_loss", {}),
        ("huber_loss", {"delta": 0.3}),
        ("huber_loss", {"delta": 4}),
    ],
)
def test_losses_of_differences_are_pytorchs(name, params, shape, dtype):
    rng = np.random.default_rng(5)
    for reduction in REDUCTIONS if np.prod(shape) else ["sum", "none"]:
        for scale in (0.0, 1.0, 1e4):
            x, target = np.asarray(scale * rng.standard_normal((2, *shape)), dtype)
            assert_like_torch(name, [x, target], reduction=reduction, **params)
    whole = rng.integers(-2, 3, shape)
    x = np.asarray(rng.integers(-2, 3, shape), dtype)  # many differences of exactly 0 and of exactly delta
    assert_like_torch(name, [x, whole], [x, whole.astype(dtype)], reduction="sum", **params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_binary_cross_entropy_is_pytorchs(shape, dtype):
    rng = np.random.default_rng(6)
    for reduction in REDUCTIONS if np.prod(shape) else ["sum", "none"]:
        for weight_shape in (None, shape, shape[-1:], (1,) * len(shape)):
            x, target = np.asarray(rng.uniform(0.01, 0.99, (2, *shape)), dtype)
            weight = None if weight_shape is None else np.asarray(rng.uniform(0, 3, weight_shape), dtype)
            assert_like_torch("binary_cross_entropy", [x, target, weight], reduction=reduction)
            x = np.asarray(4 * rng.standard_normal(shape), dtype)
            pos_weight = np.asarray(rng.uniform(0, 3, shape[-1:]), dtype)
            for yes in (None, pos_weight):
                inputs = [x, target, weight, yes]
                assert_like_torch("binary_cross_entropy_with_logits", inputs, reduction=reduction)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_of_certain_predictions(dtype):
    """Logarithms of at least -100, denominators of at least 1e-12.

    The gradients are written out: PyTorch's 1e-12 is 4e-9 off, a single-precision constant, and for the target PyTorch
    forgets the limit and gives infinity.
    """
    x = np.array([0, 0, 1, 1, 0, 1, 1e-30], dtype)
    target = np.array([0, 1, 0, 1, 0.25, 0.25, 1], dtype)
    for reduction in REDUCTIONS:
        found = ops.binary_cross_entropy(x, target, reduction=reduction)
        expected = F.binary_cross_entropy(torch.tensor(x), torch.tensor(target), reduction=reduction)
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE[np.dtype(dtype)])
    gx, gtarget, _ = ops.binary_cross_entropy.rule(x, target, reduction="none")[1]
    gy = np.ones(7, dtype)
    np.testing.assert_allclose(gx(gy), [0, -1e12, 1e12, 0, -0.25e12, 0.75e12, -1e12], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(gtarget(gy), [100, 100, -100, -100, 100, -100, -np.log(dtype(1e-30))], rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_of_huge_logits(dtype):
    x, target = (a.ravel().astype(dtype) for a in np.meshgrid([-1e4, -90, -5, 0, 5, 90, 1e4], [0, 0.25, 1]))
    pos_weight = np.array([2.5], dtype)
    for reduction in REDUCTIONS:
        assert_like_torch("binary_cross_entropy_with_logits", [x, target], reduction=reduction)
        assert_like_torch("binary_cross_entropy_with_logits", [x, target, None, pos_weight], reduction=reduction)


def test_a_tiny_loss_of_a_good_logit_is_not_lost():
    loss, (gx, *_) = ops.binary_cross_entropy_with_logits.rule(np.array([40.0, -40.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(loss, np.exp(-40.0), rtol=1e-15)
    np.testing.assert_allclose(gx(1.0), [-np.exp(-40.0) / 2, np.exp(-40.0) / 2], rtol=1e-15)


def test_second_derivative_of_binary_cross_entropy_at_logit_0():
    """y (1 - y) = 1/4, also where the stable form changes from one branch to the other."""
    found = hessian(lambda x: ops.binary_cross_entropy_with_logits(x, np.array([0.0, 0.3, 1.0])))(np.zeros(3))
    np.testing.assert_allclose(found, np.eye(3) / 12, rtol=1e-15)


def test_binary_cross_entropy_with_logits_is_binary_cross_entropy_after_the_sigmoid():
    rng = np.random.default_rng(8)
    x, target, weight = rng.standard_normal((4, 3)), rng.random((4, 3)), rng.random(3)
    y = 1 / (1 + np.exp(-x))
    for reduction in REDUCTIONS:
        found = ops.binary_cross_entropy_with_logits(x, target, weight, reduction=reduction)
        np.testing.assert_allclose(found, ops.binary_cross_entropy(y, target, weight, reduction=reduction), rtol=1e-13)


# --------------------------------------------------------------------------------------------------------- the studies


def test_worked_example_of_vu_2023():
    x, W = np.array([[1.0, -1.0]]), np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    V = np.array([[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    h = 1 / (1 + np.exp(-x @ W))
    loss, (go, _, _) = ops.cross_entropy.rule(h @ V, np.array([0]))
    assert loss == 0.6931471805599453
    np.testing.assert_allclose(go(1.0), [[-0.5, 0.5]], rtol=1e-15)  # dc, y - t
    np.testing.assert_allclose(h.T @ go(1.0), [[-0.44039854, 0.44039854]] * 3, rtol=1e-8)
    np.testing.assert_allclose(x.T @ (go(1.0) @ V.T * h * (1 - h)), np.zeros((2, 3)), atol=1e-16)


def test_the_sum_of_vu_2021_has_no_batch_size_in_it():
    rng = np.random.default_rng(10)
    x, labels = rng.standard_normal((5, 3)), rng.integers(0, 3, 5)
    y, t = np.exp(x) / np.exp(x).sum(1, keepdims=True), np.eye(3)[labels]
    total, (gx, _, _) = ops.cross_entropy.rule(x, labels, reduction="sum")
    mean, (gx_mean, _, _) = ops.cross_entropy.rule(x, labels)
    np.testing.assert_allclose(total, -np.log(y[np.arange(5), labels]).sum(), rtol=1e-14)
    np.testing.assert_allclose(gx(1.0), y - t, atol=1e-15)
    np.testing.assert_allclose(mean, total / 5, rtol=1e-15)
    np.testing.assert_allclose(gx_mean(1.0), (y - t) / 5, atol=1e-15)


def test_the_means_of_nyu_2021_are_over_all_entries():
    """N x K of them, not N."""
    yhat = np.array([[0.2, 0.5, 0.9], [0.6, 0.3, 0.1]])
    y = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    squared, (g_squared, _) = ops.mse_loss.rule(yhat, y)
    assert squared == pytest.approx((0.04 + 0.25 + 0.01 + 0.16 + 0.09 + 0.01) / 6, rel=1e-14)
    np.testing.assert_allclose(g_squared(1.0), 2 * (yhat - y) / 6, rtol=1e-14)
    entropy, (g_entropy, _, _) = ops.binary_cross_entropy.rule(yhat, y)
    assert entropy == pytest.approx(-np.log(0.8 * 0.5 * 0.9 * 0.6 * 0.7 * 0.9) / 6, rel=1e-14)
    expected = np.array([[1 / 0.8, -1 / 0.5, -1 / 0.9], [-1 / 0.6, 1 / 0.7, 1 / 0.9]]) / 6
    np.testing.assert_allclose(g_entropy(1.0), expected, rtol=1e-14)


# ------------------------------------------------------------------------------------------------------ types, mistakes


@pytest.mark.parametrize("target", [np.array([0, 1, 1]), np.array([[0, 1], [1, 0], [0, 1]])])
def test_labels_and_integer_one_hot_leave_a_float32_network_in_float32(target):
    loss, (gx, *_) = ops.cross_entropy.rule(np.zeros((3, 2), np.float32), target)
    assert loss.dtype == np.float32
    assert gx(loss).dtype == np.float32


@pytest.mark.parametrize("target", [np.array([0, 1, 1]), np.array([False, True, True])])
@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"]
)
def test_whole_numbers_are_targets_in_the_precision_of_x(name, target):
    x = np.array([0.5, 0.25, 0.75], np.float32)
    loss, (gx, *_) = getattr(ops, name).rule(x, target)
    assert loss.dtype == np.float32
    assert gx(loss).dtype == np.float32
    assert loss == getattr(ops, name)(x, target.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("cross_entropy", [np.ones(2)]),
        ("nll_loss", [np.array([1, 2])]),
        ("binary_cross_entropy", [np.ones(2)]),
        ("binary_cross_entropy_with_logits", [np.ones(2), np.array([1, 2])]),
    ],
)
def test_weights_take_the_precision_of_x(name, weights):
    x = np.full((3, 2), 0.5, np.float32)
    target = np.array([0, 1, 1]) if name in ("cross_entropy", "nll_loss") else np.eye(2, dtype=np.float32)[[0, 1, 1]]
    loss, (gx, *_) = getattr(ops, name).rule(x, target, *weights)
    assert loss.dtype == np.float32
    assert gx(loss).dtype == np.float32


def test_integer_logits_are_numbers_like_others():
    found = ops.cross_entropy(np.array([[1, 2, 3]]), np.array([0]), np.array([0.5, 1.0, 2.0]), reduction="sum")
    assert found == ops.cross_entropy(
        np.array([[1.0, 2, 3]]), np.array([0]), np.array([0.5, 1.0, 2.0]), reduction="sum"
    )


def test_weights_have_no_gradient():
    x, weight = np.zeros((2, 3)), Tensor(np.ones(3), requires_grad=True)
    for name, target in [("cross_entropy", np.array([0, 1])), ("binary_cross_entropy_with_logits", x)]:
        with pytest.raises(TypeError, match=f"{name}: there is no gradient with respect to weight"):
            getattr(ops, name)(x, target, weight)


PAIRED = ["mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"]


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize(("shape", "other"), [((4, 1), (4,)), ((4,), (4, 1)), ((3, 4), (4,)), ((3,), ())])
def test_nothing_is_broadcast_silently(name, shape, other):
    message = f"{name}: target has shape {other}, expected {shape}, the shape of x"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(ops, name)(np.full(shape, 0.5), np.full(other, 0.5))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", *PAIRED])
def test_an_unknown_reduction_is_named_with_the_three(name):
    x = np.full((2, 3), 0.5)
    target = x if name in PAIRED else np.array([0, 1])
    with pytest.raises(ValueError, match=f"^{name}: reduction='average', expected 'mean', 'sum' or 'none'$"):
        getattr(ops, name)(x, target, reduction="average")


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("label", [10, -1, 255])
def test_a_label_out_of_range_is_named(name, label):
    message = f"{name}: target holds the label {label}, expected 0 to 9 for the 10 classes of x of shape (3, 10)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(ops, name)(np.zeros((3, 10)), np.array([0, label, 9]))


@pytest.mark.parametrize(
    ("name", "inputs", "params", "parts"),
    [
        ("cross_entropy", [np.zeros((3, 4)), np.zeros(4, int)], {}, ["target has shape (4,)", "(3,)", "(3, 4)"]),
        ("cross_entropy", [np.zeros((3, 4)), np.zeros(3)], {}, ["float64", "integer labels of shape (3,)"]),
        ("cross_entropy", [np.zeros((3, 4)), np.zeros((3, 1), int)], {}, ["target has shape (3, 1)", "(3,)"]),
        ("cross_entropy", [np.zeros(4), np.zeros(4, int)], {}, ["x has shape (4,)", "(n, c)"]),
        ("cross_entropy", [np.zeros((3, 4)), np.zeros(3, int), np.ones(3)], {}, ["weight has shape (3,)", "(4,)"]),
        ("cross_entropy", [np.zeros((3, 4)), np.zeros(3, int)], {"label_smoothing": 1.1}, ["label_smoothing=1.1"]),
        ("cross_entropy", [np.zeros((3, 4)), np.zeros(3, int)], {"label_smoothing": np.nan}, ["label_smoothing=nan"]),
        ("nll_loss", [np.zeros((3, 4)), np.zeros((3, 4), int)], {}, ["target has shape (3, 4)", "(3,)"]),
        ("nll_loss", [np.zeros((3, 4)), np.zeros(3)], {}, ["float64", "integer labels of shape (3,)"]),
        ("nll_loss", [np.zeros((3, 4)), np.zeros(3, int), np.ones(3)], {}, ["weight has shape (3,)", "(4,)"]),
        ("huber_loss", [np.zeros(3), np.zeros(3)], {"delta": 0}, ["delta=0", "above 0"]),
        ("binary_cross_entropy", [np.array([0.5, 1.5]), np.zeros(2)], {}, ["x holds 1.5", "0 to 1"]),
        ("binary_cross_entropy", [np.array([0.5, 0.5]), np.array([0, -1.0])], {}, ["target holds -1.0", "0 to 1"]),
        ("binary_cross_entropy", [np.full((3, 4), 0.5)] * 2 + [np.ones(3)], {}, ["weight has shape (3,)", "(3, 4)"]),
        ("binary_cross_entropy", [np.full(4, 0.5)] * 2 + [np.ones((3, 4))], {}, ["weight has shape (3, 4)", "(4,)"]),
        ("binary_cross_entropy_with_logits", [np.ones((3, 4))] * 2 + [None, np.ones(3)], {}, ["pos_weight has"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named(name, inputs, params, parts):
    with pytest.raises(ValueError, match=f"^{name}: ") as found:
        getattr(ops, name)(*inputs, **params)
    for part in parts:
        assert part in str(found.value)


def test_no_number_stays_no_number():
    """A NaN is for the training loop to find: the loss hides none."""
    x = np.array([[0.5, np.nan]])
    for name in PAIRED:
        assert np.isnan(getattr(ops, name)(x, np.ones((1, 2))))
    assert np.isnan(ops.cross_entropy(x, np.array([0])))
