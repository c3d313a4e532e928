"""Pooling against PyTorch, over drawn sizes, windows and paddings."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch
from torch.nn import functional

from chainrule import Tensor, hvp, nn, ops

torch.set_num_threads(1)
DTYPES = [np.float64, np.float32]


def draw_size(rng):
    """Batch, channels, height and width; often a single one."""
    return tuple(int(n) for n in rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 9], 4))


def draw_windows(rng, dilated):
    """Keyword arguments of a pool, ints and pairs; not all fit every image."""

    def one_or_two(least, most):
        return (
            int(rng.integers(least, most + 1))
            if rng.random() < 0.5
            else tuple(rng.integers(least, most + 1, 2).tolist())
        )

    given = {"kernel_size": one_or_two(1, 4), "ceil_mode": bool(rng.random() < 0.5)}
    if rng.random() < 0.7:
        given["stride"] = one_or_two(1, 4)
    if rng.random() < 0.6:
        half = min(np.ravel(given["kernel_size"]).tolist()) // 2
        given["padding"] = one_or_two(0, half)
    if dilated and rng.random() < 0.4:
        given["dilation"] = one_or_two(1, 3)
    return given


def draw_images(rng, size, dtype):
    """Images in either memory order, in which half of the entries are whole numbers, so that many are tied."""
    x = rng.standard_normal(size)
    x = np.where(rng.random(size) < 0.5, np.rint(x), x).astype(dtype)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if rng.random() < 0.5 else x


def configurations(count, dilated=False, seed=0):
    """Windows and images that PyTorch takes; those that it refuses must be refused here too."""
    rng = np.random.default_rng(seed)
    pool = (functional.max_pool2d, ops.max_pool2d) if dilated else (functional.avg_pool2d, ops.avg_pool2d)
    refused = 0
    while count:
        given, size = draw_windows(rng, dilated), draw_size(rng)
        images = draw_images(rng, size, DTYPES[count % 2])
        try:
            y = pool[0](torch.tensor(images), **given)
        except RuntimeError:
            with pytest.raises(ValueError, match=f"^{pool[1].name}: "):
                pool[1](images, **given)
            refused += 1
            continue
        if torch.isinf(y).any():  # a dilated window around the image: PyTorch's gradient is written anywhere
            continue
        count -= 1
        yield images, given, rng
    assert refused > 10


def test_max_pool_is_pytorchs_with_many_ties():
    for x, given, _ in configurations(300, dilated=True):
        assert_equals_torch(partial(ops.max_pool2d, **given), partial(functional.max_pool2d, **given), x)


def test_avg_pool_is_pytorchs():
    for x, given, rng in configurations(300, seed=1):
        given["count_include_pad"] = bool(rng.random() < 0.5)
        given["divisor_override"] = [None, 3, -2][rng.choice(3, p=[0.7, 0.2, 0.1])]
        assert_equals_torch(partial(ops.avg_pool2d, **given), partial(functional.avg_pool2d, **given), x)


def test_adaptive_avg_pool_is_pytorchs():
    rng = np.random.default_rng(2)
    for i in range(300):
        x = draw_images(rng, draw_size(rng), DTYPES[i % 2])
        out = [1, int(rng.integers(1, 9)), tuple(rng.integers(1, 9, 2).tolist()), (None, 3), (2, None)][i % 5]
        assert_equals_torch(
            partial(ops.adaptive_avg_pool2d, output_size=out),
            partial(functional.adaptive_avg_pool2d, output_size=out),
            x,
        )


POOLS = {
    "max": (
        lambda x: ops.max_pool2d(x, kernel_size=3, stride=2, padding=1, ceil_mode=True),
        lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    ),
    "max, dilated": (
        lambda x: ops.max_pool2d(x, kernel_size=2, stride=1, dilation=(3, 1)),
        lambda x: functional.max_pool2d(x, 2, 1, 0, (3, 1)),
    ),
    "avg": (
        lambda x: ops.avg_pool2d(x, kernel_size=3, stride=2, padding=1, count_include_pad=False),
        lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "adaptive": (
        lambda x: ops.adaptive_avg_pool2d(x, output_size=(3, 2)),
        lambda x: functional.adaptive_avg_pool2d(x, (3, 2)),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), POOLS.values(), ids=POOLS)
def test_hessian_times_vector_is_pytorchs_double_backward(ours, theirs):
    x, v = np.random.default_rng(3).standard_normal((2, 2, 3, 7, 6))
    witness = torch.tensor(x, requires_grad=True)
    [gx] = torch.autograd.grad((theirs(witness**2) ** 3).sum(), witness, create_graph=True)
    [expected] = torch.autograd.grad((gx * torch.tensor(v)).sum(), witness)
    found = hvp(lambda x: (ours(x**2) ** 3).sum())(x, v)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("given", [{"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2}])
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_of_infinities_and_nan_is_pytorchs(given, dtype):
    rng = np.random.default_rng(4)
    for _ in range(30):
        x = rng.choice([-np.inf, -np.inf, -np.inf, 0.0, 1.0, np.inf], (2, 3, 5, 7)).astype(dtype)
        assert_equals_torch(partial(ops.max_pool2d, **given), partial(functional.max_pool2d, **given), x)
        x[rng.random(x.shape) < 0.1] = np.nan
        np.testing.assert_array_equal(
            ops.max_pool2d(x, **given), functional.max_pool2d(torch.tensor(x), **given).numpy()
        )


def test_one_entry_that_wins_in_several_windows_gets_the_sum():
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 1, 1] = 5
    y, (gx,) = ops.max_pool2d.rule(x, kernel_size=2, stride=1)
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), 5.0))
    np.testing.assert_array_equal(gx(np.array([[[[1.0, 2.0], [3.0, 4.0]]]])), x * 2)


def test_a_window_of_more_than_256_entries():
    x = np.random.default_rng(5).standard_normal((2, 1, 19, 18))
    assert_equals_torch(
        lambda x: ops.max_pool2d(x, kernel_size=17, stride=1), lambda x: functional.max_pool2d(x, 17, 1), x
    )


def channels_last(x):
    return x.strides[1] == x.itemsize


@pytest.mark.parametrize("pool", [ops.max_pool2d, ops.avg_pool2d], ids=lambda op: op.name)
@pytest.mark.parametrize("padding", [0, 1])
def test_channels_stay_last_in_memory(pool, padding):
    x = np.moveaxis(np.random.default_rng(6).standard_normal((2, 6, 8, 5)), -1, 1)
    y, (gx,) = pool.rule(x, kernel_size=2, padding=padding)
    assert channels_last(y)
    assert channels_last(gx(y))
    y, (gx,) = pool.rule(x.copy(), kernel_size=2, padding=padding)
    assert not channels_last(y)
    assert not channels_last(gx(y))


# -------------------------------------------------------------------------------------------------------- mistakes

IMAGES = np.zeros((2, 3, 4, 5))
WRONG = {
    "padding is 2, expected at most half of kernel_size=3": {"kernel_size": 3, "padding": 2},
    "padding is (0, 1), expected at most half of kernel_size=(3, 1)": {"kernel_size": (3, 1), "padding": (0, 1)},
    "kernel_size is 0, expected an int of at least 1": {"kernel_size": 0},
    "stride is (1, 2, 3), expected an int of at least 1, or 2 of them": {"kernel_size": 2, "stride": (1, 2, 3)},
    "padding is -1, expected an int of at least 0": {"kernel_size": 2, "padding": -1},
    "the kernel (5, 5) is larger than the padded input (4, 5)": {"kernel_size": 5},
}


@pytest.mark.parametrize(("message", "given"), WRONG.items(), ids=WRONG)
@pytest.mark.parametrize("pool", [ops.max_pool2d, ops.avg_pool2d], ids=lambda op: op.name)
def test_windows_that_cannot_be(pool, message, given):
    with pytest.raises(ValueError, match=f"^{pool.name}: {re.escape(message)}"):
        pool(IMAGES, **given)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("max_pool2d: dilation is 0, expected", lambda: ops.max_pool2d(IMAGES, kernel_size=2, dilation=0)),
        ("avg_pool2d: divisor_override=0", lambda: ops.avg_pool2d(IMAGES, kernel_size=2, divisor_override=0)),
        ("adaptive_avg_pool2d: output_size is (0, 4)", lambda: ops.adaptive_avg_pool2d(IMAGES, output_size=(0, 4))),
        ("adaptive_avg_pool2d: output_size is", lambda: ops.adaptive_avg_pool2d(IMAGES, output_size=(1, 2, 3))),
        ("max_pool2d: x has shape (3, 4), expected", lambda: ops.max_pool2d(IMAGES[0, :, :, 0], kernel_size=2)),
        ("max_pool2d: the images are 4 x 0", lambda: ops.max_pool2d(IMAGES[..., :0], kernel_size=2)),
        ("avg_pool2d: the images are 4 x 0", lambda: ops.avg_pool2d(IMAGES[..., :0], kernel_size=2)),
        ("adaptive_avg_pool2d: the images are 4 x 0", lambda: ops.adaptive_avg_pool2d(IMAGES[..., :0], output_size=1)),
    ],
)
def test_other_mistakes_are_named(message, call):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()


# ---------------------------------------------------------------------------------------------------------- layers

LAYERS = {
    "MaxPool2d": [(3,), (2, 1), ((3, 2), (1, 2), (1, 0)), (2, 1, 1, 2)],
    "AvgPool2d": [
        (3,),
        (2, 1),
        ((3, 2), (1, 2), (1, 0)),
        (3, 2, 1, True),
        (3, 2, 1, True, False),
        (2, 2, 0, False, True, 3),
    ],
    "AdaptiveAvgPool2d": [(1,), ((3, 2),), ((None, 2),)],
}


@pytest.mark.parametrize(("name", "args"), [(name, args) for name, cases in LAYERS.items() for args in cases])
def test_layers_are_pytorchs(name, args):
    x = np.random.default_rng(7).standard_normal((2, 3, 7, 6))
    assert_equals_torch(getattr(nn, name)(*args), getattr(torch.nn, name)(*args), x)


def test_ceil_mode_of_the_max_pool_layer():
    x = np.random.default_rng(8).standard_normal((2, 3, 8, 6))
    assert_equals_torch(nn.MaxPool2d(3, 2, ceil_mode=True), torch.nn.MaxPool2d(3, 2, ceil_mode=True), x)
    layer = nn.MaxPool2d(3, 2, ceil_mode=True)
    assert layer.forward(x).shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(layer.backward(np.ones((2, 3, 4, 3))).sum((2, 3)), np.full((2, 3), 12.0))
    assert repr(layer) == "MaxPool2d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=True)"


def test_a_pool_is_recorded_as_one_op():
    y = ops.max_pool2d(Tensor(IMAGES, requires_grad=True), kernel_size=2)
    assert y.source.op is ops.max_pool2d
    assert y.source.inputs[0].source is None
