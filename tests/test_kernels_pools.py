"""The compiled pools against their rules and PyTorch, over drawn sizes, windows and paddings."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch
from test_ops_pool import draw_images, draw_size, draw_windows
from torch.nn import functional

from chainrule import Tensor, grad, ops, using
from chainrule.kernels import pools

torch.set_num_threads(1)
EPS = np.finfo(np.float32).eps
POOLS = [ops.max_pool2d, ops.avg_pool2d, ops.adaptive_avg_pool2d]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def drawn(op, count, seed=0):
    """Images, half of whose entries are tied, with windows that the rule takes."""
    rng = np.random.default_rng(seed)
    while count:
        given, images = draw_windows(rng, dilated=op is ops.max_pool2d), draw_images(rng, draw_size(rng), np.float32)
        if op is ops.avg_pool2d:
            given |= {"count_include_pad": bool(rng.random() < 0.5), "divisor_override": rng.choice([None, 3])}
        try:
            op(images, **given)
        except ValueError as refused:
            with using("cpu"), pytest.raises(ValueError, match=re.escape(str(refused))):
                op(images, **given)
            continue
        count -= 1
        yield images, given


def assert_equals_rule(op, x, **params):
    """In float64 the rule gives the truth. A mean of k numbers rounds k times at most, a gradient of sums too."""
    y, (gx,) = op.rule(x.astype(np.float64), **params)
    gy = random(*y.shape, seed=1)
    with using("cpu"):
        found, (pull,) = op.run((x,), params)
    np.testing.assert_allclose(found, y, rtol=8 * EPS, atol=8 * EPS * np.abs(x).max(initial=0))
    np.testing.assert_allclose(
        pull(gy), gx(gy.astype(np.float64)), rtol=8 * EPS, atol=8 * EPS * np.abs(gy).max(initial=0)
    )
    for array, shape in [(found, y.shape), (pull(gy), x.shape)]:
        assert array.dtype == np.float32
        assert array.shape == shape


@pytest.mark.parametrize("op", POOLS[:2], ids=lambda op: op.name)
def test_the_rule_with_many_ties(op):
    for x, given in drawn(op, 300):
        assert_equals_rule(op, x, **given)


@pytest.mark.parametrize("output_size", [1, 2, 3, (None, 2), (5, 7), [4, 1]], ids=str)
def test_means_of_parts(output_size):
    for shape in [(2, 3, 4, 7), (1, 1, 1, 1), (3, 17, 5, 2), (0, 2, 3, 3), (4, 64, 13, 13)]:
        for x in (random(*shape), channels_last(random(*shape))):
            assert_equals_rule(ops.adaptive_avg_pool2d, x, output_size=output_size)


@pytest.mark.parametrize(
    ("ours", "theirs", "given"),
    [
        (ops.max_pool2d, functional.max_pool2d, {"kernel_size": 2}),
        (ops.max_pool2d, functional.max_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (ops.avg_pool2d, functional.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}),
        (ops.adaptive_avg_pool2d, functional.adaptive_avg_pool2d, {"output_size": 1}),
    ],
)
def test_pytorch_on_large_images(ours, theirs, given):
    x = np.rint(2 * random(3, 64, 31, 33))  # many ties; over several threads
    with using("cpu"):
        assert_equals_torch(partial(ours, **given), partial(theirs, **given), channels_last(x))


def test_the_mean_over_many_pixels_does_not_round_more_than_the_rules():
    x = random(2, 3, 224, 224) + 100
    found = pools.adaptive_avg_pool2d(x, output_size=1)[0]
    exact = x.mean((2, 3), dtype=np.float64, keepdims=True)
    assert np.abs(found - exact).max() <= 12 * EPS * 100


@pytest.mark.parametrize("op", POOLS, ids=lambda op: op.name)
def test_gradients_that_are_broadcast_or_in_another_order(op):
    x, given = random(2, 5, 6, 6), {"output_size": 3} if op is ops.adaptive_avg_pool2d else {"kernel_size": 2}
    with using("cpu"):
        y, (gx,) = op.run((x,), given)
    expected = gx(np.ones(y.shape, np.float32))
    for gy in [np.broadcast_to(np.float32(1), y.shape), np.asfortranarray(np.ones_like(y))]:
        np.testing.assert_array_equal(gx(gy), expected)


def test_no_gradient_is_left_out_or_left_over():
    """Pixels that no window sees have the gradient 0, whatever was in the memory."""
    x = random(1, 2, 5, 7)
    _, (gx,) = pools.max_pool2d(x, kernel_size=2, stride=3)
    gy = np.full((1, 2, 2, 2), np.float32(1))
    for _ in range(3):
        rubbish = np.full((1, 2, 5, 7), np.float32(np.nan))
        del rubbish
        assert gx(gy).sum() == 8
        assert np.count_nonzero(gx(gy)) == 8


def test_max_of_what_is_not_finite():
    x = np.float32([[[[np.nan, 1, -np.inf, -np.inf], [2, 3, -np.inf, -np.inf]]]])
    y, (gx,) = pools.max_pool2d(x, kernel_size=2)
    assert np.isnan(y[0, 0, 0, 0])
    assert y[0, 0, 0, 1] == -np.inf
    np.testing.assert_array_equal(gx(np.float32([[[[0, 1]]]]))[0, 0], [[0, 0, 1, 0], [0, 0, 0, 0]])
    for i in range(4):  # a NaN in any place
        x = np.arange(4, dtype=np.float32)
        x[i] = np.nan
        assert np.isnan(pools.max_pool2d(x.reshape(1, 1, 2, 2), kernel_size=2)[0]).all()


def test_the_conventions_at_kinks():
    for kink in ops.max_pool2d.kinks:
        x = np.asarray(kink.inputs[0], np.float32)
        y, (gx,) = pools.max_pool2d(x, **kink.params)
        np.testing.assert_array_equal(gx(np.ones_like(y)), kink.gives[0])


def test_windows_of_more_places_than_a_byte_counts_are_the_rules():
    x = random(1, 2, 20, 20)
    for size in (16, 17):  # 256 places and 289
        assert_equals_rule(ops.max_pool2d, x, kernel_size=size, stride=1)


@pytest.mark.parametrize("op", POOLS, ids=lambda op: op.name)
def test_second_derivatives_go_through_the_rule(op):
    given = {"output_size": 2} if op is ops.adaptive_avg_pool2d else {"kernel_size": 3, "stride": 2}
    x = random(1, 2, 5, 5)

    def penalty(x):
        return ops.sum(grad(lambda x: ops.sum(op(x, **given) ** 3))(x) ** 2)

    expected = grad(penalty)(x.astype(np.float64))
    with using("cpu"):
        np.testing.assert_allclose(grad(penalty)(x), expected, rtol=1e-4, atol=1e-4)


def test_a_replayed_step_has_the_same_bits():
    import chainrule

    weight = Tensor(random(1, 16, 1, 1), requires_grad=True)

    def step(x):
        weight.grad = None
        y = ops.max_pool2d(ops.mul(x, weight), kernel_size=3, stride=2, padding=1)
        y = ops.adaptive_avg_pool2d(ops.avg_pool2d(y, kernel_size=2), output_size=1)
        ops.sum(y**2).backward()
        return y.value, weight.grad

    compiled = chainrule.compile(step)
    with using("cpu"):
        for seed in range(5):
            x = channels_last(random(2, 16, 12, 12, seed=seed))
            expected = [a.copy() for a in step(x)]
            for a, b in zip(compiled(x), expected, strict=True):
                np.testing.assert_array_equal(a, b)
