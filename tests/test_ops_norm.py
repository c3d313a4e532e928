"""Normalisations, as ops and as layers: PyTorch's numbers, closed forms, invariances, and the mistakes often made."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from against_torch import assert_equals_torch

from chainrule import Tensor, grad, hvp, nn, no_grad, ops

torch.set_num_threads(1)
DTYPES = [np.float64, np.float32]


def channels_last(x):
    """The same numbers; images with the channels next to each other in memory."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).swapaxes(1, -1).swapaxes(2, -1) if x.ndim == 4 else x


def images(rng, dtype=np.float64, least=1):
    """A batch of drawn odd sizes, (n, c), (n, c, l) or (n, c, h, w), and a weight and a bias for its channels."""
    spatial = tuple(int(size) for size in rng.choice([1, 2, 3, 5], rng.integers(0, 3)))
    n, c = (int(size) for size in rng.integers(1, 7, 2))
    if n * np.prod(spatial) < least:
        n = least
    x = (rng.standard_normal((n, c, *spatial)) * rng.uniform(0.3, 3) + rng.uniform(-2, 2)).astype(dtype)
    return x, rng.uniform(0.5, 2, c).astype(dtype), rng.standard_normal(c).astype(dtype)


def assert_is_pytorchs(ours, theirs, *inputs):
    """Also in float32, where PyTorch computes in float64: its own rounding is larger than ours."""

    def exact(*tensors):
        return theirs(*(tensor.double() for tensor in tensors)).to(tensors[0].dtype)

    assert_equals_torch(ours, exact, *inputs)


def without(rng, weight, bias):
    """The weight and the bias, one of them, or none."""
    return [(weight, bias), (weight,), ()][rng.integers(3)]


# ------------------------------------------------------------------------------------------------------ the ops


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm_in_training_is_pytorchs(dtype):
    rng = np.random.default_rng(0)
    for _ in range(150):
        x, weight, bias = images(rng, dtype, least=2)
        eps = float(rng.choice([1e-5, 1e-2]))
        assert_is_pytorchs(
            lambda x, w=None, b=None, eps=eps: ops.batch_norm(x, None, None, w, b, training=True, eps=eps),
            lambda x, w=None, b=None, eps=eps: F.batch_norm(x, None, None, w, b, training=True, eps=eps),
            x,
            *without(rng, weight, bias),
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm_after_training_is_pytorchs(dtype):
    rng = np.random.default_rng(1)
    for _ in range(100):
        x, weight, bias = images(rng, dtype)
        mean, var = rng.standard_normal(x.shape[1]).astype(dtype), rng.uniform(0.2, 2, x.shape[1]).astype(dtype)
        assert_is_pytorchs(
            lambda x, w=None, b=None, m=mean, v=var: ops.batch_norm(x, m, v, w, b),
            lambda x, w=None, b=None, m=mean, v=var: F.batch_norm(
                x, torch.tensor(m).double(), torch.tensor(v).double(), w, b
            ),
            x,
            *without(rng, weight, bias),
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm_and_rms_norm_are_pytorchs(dtype):
    rng, spacing = np.random.default_rng(2), float(np.finfo(dtype).eps)
    for _ in range(150):
        shape = tuple(int(size) for size in rng.integers(1, 6, rng.integers(1, 5)))
        last = shape[-int(rng.integers(1, len(shape) + 1)) :]
        x = (rng.standard_normal(shape) + 0.5).astype(dtype)
        weight, bias = rng.uniform(0.5, 2, last).astype(dtype), rng.standard_normal(last).astype(dtype)
        eps = float(rng.choice([1e-5, 1e-2]))
        assert_is_pytorchs(
            lambda x, w=None, b=None, last=last, eps=eps: ops.layer_norm(x, w, b, normalized_shape=last, eps=eps),
            lambda x, w=None, b=None, last=last, eps=eps: F.layer_norm(x, last, w, b, eps),
            x,
            *without(rng, weight, bias),
        )
        eps = [None, 1e-5, 1e-2][rng.integers(3)]
        assert_is_pytorchs(
            lambda x, w=None, last=last, eps=eps: ops.rms_norm(x, w, normalized_shape=last, eps=eps),
            lambda x, w=None, last=last, eps=eps or spacing: F.rms_norm(x, last, w, eps),
            x,
            *without(rng, weight, bias)[:1],
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_group_norm_and_instance_norm_are_pytorchs(dtype):
    rng = np.random.default_rng(3)
    for _ in range(150):
        x, weight, bias = images(rng, dtype)
        c = x.shape[1]
        groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
        if x.size > groups:  # else PyTorch sees groups of one number in a batch of one, and refuses
            assert_is_pytorchs(
                lambda x, w=None, b=None, groups=groups: ops.group_norm(x, w, b, num_groups=groups),
                lambda x, w=None, b=None, groups=groups: F.group_norm(x, groups, w, b),
                x,
                *without(rng, weight, bias),
            )
        if x[0, 0].size > 1:
            assert_is_pytorchs(
                ops.instance_norm,
                lambda x, w=None, b=None: F.instance_norm(x, weight=w, bias=b),
                x,
                *without(rng, weight, bias),
            )


def test_nothing_to_normalise():
    assert_equals_torch(
        lambda x: ops.layer_norm(x, normalized_shape=(0,)), lambda x: F.layer_norm(x, (0,)), np.ones((2, 0))
    )
    assert_equals_torch(lambda x: ops.group_norm(x, num_groups=2), lambda x: F.group_norm(x, 2), np.ones((0, 4, 3)))
    assert_equals_torch(ops.instance_norm, F.instance_norm, np.ones((2, 4, 0)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_has_pytorchs_default_eps(dtype):
    x = np.array([[3e-4, -4e-4, 1e-4]], dtype)
    found = ops.rms_norm(x, normalized_shape=(3,))
    np.testing.assert_allclose(found, F.rms_norm(torch.tensor(x), (3,)).numpy(), rtol=1e-6)
    assert np.abs(found - ops.rms_norm(x, normalized_shape=(3,), eps=0.0)).max() > (0.1 if dtype == np.float32 else 0)


NORMS = {
    "batch_norm": (
        lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    ),
    "group_norm": (lambda x, w, b: ops.group_norm(x, w, b, num_groups=2), lambda x, w, b: F.group_norm(x, 2, w, b)),
    "instance_norm": (ops.instance_norm, lambda x, w, b: F.instance_norm(x, weight=w, bias=b)),
    "layer_norm": (
        lambda x, w, b: ops.layer_norm(x.swapaxes(1, -1), w, b, normalized_shape=w.shape),
        lambda x, w, b: F.layer_norm(x.swapaxes(1, -1), w.shape, w, b),
    ),
    "rms_norm": (
        lambda x, w, b: ops.rms_norm(x.swapaxes(1, -1), w, normalized_shape=w.shape) + b,
        lambda x, w, b: F.rms_norm(x.swapaxes(1, -1), w.shape, w) + b,
    ),
}
each_norm = pytest.mark.parametrize("name", NORMS)


@each_norm
def test_second_derivatives_are_pytorchs(name):
    """Of sum(y^3), where all terms of the rule matter, along a direction: with respect to x, weight and bias."""
    ours, theirs = NORMS[name]
    rng = np.random.default_rng(4)
    inputs = [rng.standard_normal((3, 4, 2, 5)), rng.uniform(0.5, 2, 4), rng.standard_normal(4)]
    for place, z in enumerate(inputs):
        v = rng.standard_normal(z.shape)
        witnesses = [torch.tensor(z, requires_grad=True) for z in inputs]
        [first] = torch.autograd.grad((theirs(*witnesses) ** 3).sum(), witnesses[place], create_graph=True)
        [expected] = torch.autograd.grad((first * torch.tensor(v)).sum(), witnesses[place])
        found = hvp(lambda *args: (ours(*args) ** 3).sum(), place)(*inputs, v)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-10)


@each_norm
@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last])
def test_a_large_mean_costs_float32_few_digits(name, order):
    """PyTorch's own results are 1e-4 off at this size, and 7e-3 for batch norm with channels last."""
    ours, _ = NORMS[name]
    rng = np.random.default_rng(5)
    w, b = rng.uniform(0.5, 2, 4).astype(np.float32), np.zeros(4, np.float32)
    x = order((rng.standard_normal((16, 4, 32, 32)) + 1000).astype(np.float32))
    exact = ours(*(z.astype(np.float64) for z in (x, w, b)))
    assert np.abs(ours(x, w, b) - exact).max() < 1e-4


def test_running_statistics_keep_the_digits_of_a_large_mean():
    x = channels_last((np.random.default_rng(17).standard_normal((16, 4, 32, 32)) + 1000).astype(np.float32))
    layer = nn.BatchNorm2d(4, momentum=1.0)
    layer(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(layer.running_mean, exact.mean((0, 2, 3)), rtol=1.2e-7)  # two float32 roundings
    np.testing.assert_allclose(layer.running_var, exact.var((0, 2, 3), ddof=1), rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_memory_order_is_kept(training):
    rng = np.random.default_rng(6)
    x = channels_last(rng.standard_normal((3, 4, 2, 5)))
    y, (gx, *_) = ops.batch_norm.rule(x, np.zeros(4), np.ones(4), np.full(4, 2.0), np.ones(4), training=training)
    for array in (y, gx(channels_last(rng.standard_normal(x.shape)))):
        assert array.strides == x.strides


# ------------------------------------------------------------------------------------------------ closed forms


def published(x, gamma, gy, eps=1e-5):
    """The gradient of uva-2018's batch normalisation for (B, features), with its mistakes mended; and s and xhat."""
    B = len(x)
    s = np.sqrt(x.var(0) + eps)
    xhat = (x - x.mean(0)) / s
    return gamma / (B * s) * (B * gy - gy.sum(0) - xhat * (gy * xhat).sum(0)), s, xhat


def test_rule_is_the_three_term_form():
    rng = np.random.default_rng(7)
    x, gamma, beta, gy = (rng.standard_normal(shape) for shape in [(5, 3), (3,), (3,), (5, 3)])
    expected, _, xhat = published(x, gamma, gy)
    _, (gx, _, _, gweight, gbias) = ops.batch_norm.rule(x, None, None, gamma, beta, training=True)
    np.testing.assert_allclose(gx(gy), expected, rtol=1e-12)
    np.testing.assert_allclose(gweight(gy), (gy * xhat).sum(0), rtol=1e-12)
    np.testing.assert_allclose(gbias(gy), gy.sum(0), rtol=1e-12)
    _, (gx, _, _) = ops.layer_norm.rule(x.T, normalized_shape=(5,))
    np.testing.assert_allclose(gx(gy.T), published(x, 1, gy)[0].T, rtol=1e-12)


def test_mistakes_of_the_write_ups_give_other_numbers():
    rng = np.random.default_rng(8)
    B, d = 5, 3
    x, gamma, gy = rng.standard_normal((B, d)), rng.uniform(0.5, 2, d), rng.standard_normal((B, d))
    _, s, xhat = published(x, gamma, gy)
    _, (gx, _, _, gweight, gbias) = ops.batch_norm.rule(x, None, None, gamma, np.zeros(d), training=True)
    centring = np.where(np.eye(B, dtype=bool), 1 - 1 / B, 1)  # d(x_r - mu) / dx_i
    wrong = {
        "1 where it is -1/B": gamma / s * (centring @ gy - xhat * (gy * xhat).mean(0)),
        "a factor 2 of the variance kept": gamma / (B * s) * (B * gy - gy.sum(0) - 2 * xhat * (gy * xhat).sum(0)),
        "s factored out twice": gamma / (B * s**2) * (B * gy - gy.sum(0) - xhat * (gy * xhat).sum(0)),
        "xhat taken out of the sum": gamma / (B * s) * (B * gy - gy.sum(0) - xhat**2 * gy.sum(0)),
        "no path through the mean": gamma / (B * s) * (B * gy - xhat * (gy * xhat).sum(0)),
        "no path through the variance": gamma / (B * s) * (B * gy - gy.sum(0)),
        "gamma forgotten": published(x, 1, gy)[0],
    }
    for name, found in wrong.items():
        assert np.abs(found - gx(gy)).max() > 0.02, name
    for found in ((gy * xhat).mean(0), np.resize((gy * xhat).sum(1), d)):  # averaged; summed over features
        assert np.abs(found - gweight(gy)).max() > 0.02
    assert np.abs(gy.mean(0) - gbias(gy)).max() > 0.02


# ------------------------------------------------------------------------------------------------- invariances


def over(name, x):
    """``x`` normalised alone, with hardly any eps."""
    settings = {
        "batch_norm": {"training": True},
        "layer_norm": {"normalized_shape": x.shape[1:]},
        "group_norm": {"num_groups": 2},
        "instance_norm": {},
        "rms_norm": {"normalized_shape": x.shape[1:]},
    }
    return getattr(ops, name)(x, eps=1e-12, **settings[name])


@each_norm
def test_scale_does_not_matter_and_the_gradient_is_at_right_angles(name):
    rng = np.random.default_rng(9)
    x, c = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5))
    np.testing.assert_allclose(over(name, 7 * x), over(name, x), rtol=1e-9)
    np.testing.assert_allclose(over(name, -x), -over(name, x), rtol=1e-12)
    gx = grad(lambda x: (over(name, x) * c).sum())(x)
    assert abs((gx * x).sum()) < 1e-9  # Euler: a function that scaling does not change has no slope along x
    assert np.abs(gx).max() > 0.1


@pytest.mark.parametrize("name", sorted(NORMS.keys() - {"rms_norm"}))
def test_a_shift_does_not_matter_and_the_gradient_sums_to_zero(name):
    rng = np.random.default_rng(10)
    x, c = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5))
    np.testing.assert_allclose(over(name, x + 3), over(name, x), rtol=1e-9, atol=1e-12)
    gx = grad(lambda x: (over(name, x) * c).sum())(x)
    axes = {"batch_norm": (0, 2), "instance_norm": 2, "layer_norm": (1, 2)}
    sums = gx.reshape(3, 2, -1).sum(2) if name == "group_norm" else gx.sum(axes[name])
    np.testing.assert_allclose(sums, 0, atol=1e-12)
    assert np.abs(over("rms_norm", x + 3) - over("rms_norm", x)).max() > 0.1


def test_one_group_is_layer_norm_and_a_group_for_every_channel_instance_norm():
    x = np.random.default_rng(11).standard_normal((3, 4, 2, 5))
    one, each = ops.group_norm(x, num_groups=1), ops.group_norm(x, num_groups=4)
    np.testing.assert_allclose(one, ops.layer_norm(x, normalized_shape=(4, 2, 5)), rtol=1e-12)
    np.testing.assert_allclose(each, ops.instance_norm(x), rtol=1e-12)
    np.testing.assert_allclose(
        ops.instance_norm(x[:1]), ops.batch_norm(x[:1], training=True), rtol=1e-12, err_msg="a batch of one"
    )


# ------------------------------------------------------------------------------------------------------ layers

LAYERS = {
    "BatchNorm1d rows": ("BatchNorm1d", (4,), {}, (5, 4)),
    "BatchNorm1d sequences": ("BatchNorm1d", (4,), {"eps": 0.01, "momentum": 0.3}, (5, 4, 3)),
    "BatchNorm2d": ("BatchNorm2d", (4,), {}, (3, 4, 2, 5)),
    "BatchNorm2d of one image": ("BatchNorm2d", (4,), {}, (1, 4, 2, 1)),
    "BatchNorm2d of one-pixel images": ("BatchNorm2d", (4,), {}, (3, 4, 1, 1)),
    "BatchNorm2d cumulative": ("BatchNorm2d", (4,), {"momentum": None}, (3, 4, 2, 5)),
    "BatchNorm2d without affine": ("BatchNorm2d", (4,), {"affine": False}, (3, 4, 2, 5)),
    "BatchNorm2d without statistics": ("BatchNorm2d", (4,), {"track_running_stats": False}, (3, 4, 2, 5)),
    "LayerNorm": ("LayerNorm", (4,), {}, (5, 4)),
    "LayerNorm of two axes": ("LayerNorm", ((2, 5),), {"eps": 0.01}, (3, 4, 2, 5)),
    "LayerNorm without bias": ("LayerNorm", (4,), {"bias": False}, (5, 4)),
    "LayerNorm without affine": ("LayerNorm", ([4],), {"elementwise_affine": False}, (5, 4)),
    "GroupNorm": ("GroupNorm", (2, 4), {}, (3, 4, 2, 5)),
    "GroupNorm without affine": ("GroupNorm", (2, 4), {"eps": 0.01, "affine": False}, (3, 4, 5)),
    "InstanceNorm1d": ("InstanceNorm1d", (4,), {}, (3, 4, 5)),
    "InstanceNorm2d": ("InstanceNorm2d", (4,), {"eps": 0.01, "affine": True}, (3, 4, 2, 5)),
    "RMSNorm": ("RMSNorm", (4,), {}, (5, 4)),
    "RMSNorm of two axes": ("RMSNorm", ((2, 5),), {"eps": 0.01, "elementwise_affine": False}, (3, 4, 2, 5)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "args", "settings", "shape"), LAYERS.values(), ids=LAYERS)
def test_layer_is_pytorchs_through_training_and_after(name, args, settings, shape, dtype):
    """Output, gradients and state after each of several batches, then in evaluation, each loading the other's state."""
    rng = np.random.default_rng(12)
    ours = getattr(nn, name)(*args, **settings, dtype=dtype)
    theirs = getattr(torch.nn, name)(*args, **settings).to(torch.float64 if dtype == np.float64 else torch.float32)
    close = {"rtol": 1e-10, "atol": 1e-10} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-5}

    def agree(x):
        tensor, gy = torch.tensor(x, requires_grad=True), rng.standard_normal(shape).astype(dtype)
        y = theirs(tensor)
        y.backward(torch.tensor(gy))
        found = ours.forward(x)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, y.detach().numpy(), **close)
        np.testing.assert_allclose(ours.backward(gy), tensor.grad.numpy(), **close)
        state = ours.state_dict()
        assert list(state) == list(theirs.state_dict())
        for key, value in theirs.state_dict().items():
            assert state[key].dtype == value.numpy().dtype
            np.testing.assert_allclose(state[key], value.numpy(), **close, err_msg=key)
        for key, parameter in ours.named_parameters():
            np.testing.assert_allclose(parameter.grad, theirs.get_parameter(key).grad.numpy(), **close)

    for key, parameter in ours.named_parameters():
        np.testing.assert_array_equal(parameter.value, theirs.get_parameter(key).detach().numpy(), err_msg=key)
        parameter.value[...] = rng.uniform(0.5, 2, parameter.shape)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})
    for _ in range(4):
        agree((rng.standard_normal(shape) * 2 + 0.5).astype(dtype))
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    ours.eval(), theirs.eval()
    agree(rng.standard_normal(shape).astype(dtype))


def test_running_statistics_move_under_no_grad_and_never_in_evaluation():
    x = np.random.default_rng(13).standard_normal((6, 3)).astype(np.float32) + 2
    taped, silent = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    taped(Tensor(x, requires_grad=True))
    with no_grad():
        silent(x)
    for name, value in taped.state_dict().items():
        np.testing.assert_array_equal(silent.state_dict()[name], value)
    np.testing.assert_allclose(taped.running_mean, 0.1 * x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(taped.running_var, 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-6)
    assert taped.num_batches_tracked.dtype == np.int64
    assert taped.num_batches_tracked == 1
    before = taped.state_dict()
    taped.eval()(x)
    for name, value in taped.state_dict().items():
        np.testing.assert_array_equal(before[name], value)


def test_a_refused_batch_leaves_no_trace():
    layer = nn.BatchNorm1d(3)
    before = layer.state_dict()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(np.ones((1, 3), np.float32))
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(before[name], value)


def test_layer_norm_does_not_look_at_the_batch_and_batch_norm_does():
    x = np.random.default_rng(14).standard_normal((6, 3)).astype(np.float32)
    layer, batch = nn.LayerNorm(3), nn.BatchNorm1d(3)
    np.testing.assert_array_equal(layer(x[:2]).value, layer(x).value[:2])
    assert np.abs(batch(x[:2]).value - batch(x).value[:2]).max() > 0.1


def test_textbook_rule_and_layer_are_one_function():
    """The studies' three versions."""
    rng = np.random.default_rng(15)
    x, gy = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    layer = nn.BatchNorm1d(4, dtype=np.float64)
    layer.weight.value[...], layer.bias.value[...] = rng.uniform(0.5, 2, 4), rng.standard_normal(4)
    gamma, beta = layer.weight.value, layer.bias.value
    tensors = [Tensor(z, requires_grad=True) for z in (x, gamma, beta)]
    y = ops.batch_norm.textbook(tensors[0], None, None, *tensors[1:], training=True)
    y.backward(gy)
    value, pullbacks = ops.batch_norm.rule(x, None, None, gamma, beta, training=True)
    np.testing.assert_allclose(value, y.value, rtol=1e-12)
    for tensor, pullback in zip(tensors, [pullbacks[0], *pullbacks[3:]], strict=True):
        np.testing.assert_allclose(pullback(gy), tensor.grad, rtol=1e-11)
    np.testing.assert_array_equal(layer.forward(x), value)
    np.testing.assert_array_equal(layer.backward(gy), pullbacks[0](gy))
    np.testing.assert_array_equal(layer.weight.grad, pullbacks[3](gy))


# ---------------------------------------------------------------------------------------------------- mistakes

ONES = np.ones((2, 4, 3))
REFUSED = {
    "batch_norm: Expected more than 1 value per channel when training, got input size [1, 4]: one value has no "
    "variance; use a larger batch": lambda: ops.batch_norm(np.ones((1, 4)), training=True),
    "batch_norm: Expected more than 1 value per channel when training, got input size [1, 4, 1, 1]": lambda: (
        nn.BatchNorm2d(4)(np.ones((1, 4, 1, 1)))
    ),
    "batch_norm: running_mean and running_var are missing; pass both, or training=True": lambda: ops.batch_norm(ONES),
    "batch_norm: x has shape (4,), expected (n, c)": lambda: ops.batch_norm(np.ones(4), training=True),
    "batch_norm: weight has shape (3,), expected (4,), as axis 1 of x of shape (2, 4, 3)": lambda: ops.batch_norm(
        ONES, None, None, np.ones(3), training=True
    ),
    "batch_norm: running_var has shape (3,), expected": lambda: ops.batch_norm(ONES, np.ones(4), np.ones(3)),
    "layer_norm: normalized_shape=(4,), expected the last sizes of x, which has shape (2, 4, 3)": lambda: (
        ops.layer_norm(ONES, normalized_shape=(4,))
    ),
    "layer_norm: normalized_shape=(), expected": lambda: ops.layer_norm(ONES, normalized_shape=()),
    "layer_norm: bias has shape (4,), expected (3,), the normalized_shape": lambda: ops.layer_norm(
        ONES, np.ones(3), np.ones(4), normalized_shape=(3,)
    ),
    "rms_norm: weight has shape (2,), expected (4, 3)": lambda: ops.rms_norm(ONES, np.ones(2), normalized_shape=(4, 3)),
    "group_norm: num_groups=3, expected a divisor of 4": lambda: ops.group_norm(ONES, num_groups=3),
    "group_norm: num_groups=0, expected a divisor of 4": lambda: ops.group_norm(ONES, num_groups=0),
    "instance_norm: Expected more than 1 spatial element when training, got input size [2, 4]": lambda: (
        ops.instance_norm(np.ones((2, 4)))
    ),
    "BatchNorm1d: x has shape (2, 4, 3, 3), expected (n, c) or (n, c, l) with c = 4": lambda: nn.BatchNorm1d(4)(
        np.ones((2, 4, 3, 3))
    ),
    "BatchNorm2d: x has shape (2, 4, 3), expected (n, c, h, w) with c = 4": lambda: nn.BatchNorm2d(4)(ONES),
    "BatchNorm1d: x has shape (2, 4, 3), expected (n, c) or (n, c, l) with c = 5": lambda: nn.BatchNorm1d(5)(ONES),
    "InstanceNorm2d: x has shape (2, 4, 3), expected (n, c, h, w)": lambda: nn.InstanceNorm2d(4)(ONES),
    "InstanceNorm1d: x has shape (2, 4, 3), expected (n, c, l) with c = 5": lambda: nn.InstanceNorm1d(5)(ONES),
    "GroupNorm: num_groups is 3, expected a divisor of num_channels=4": lambda: nn.GroupNorm(3, 4),
}


@pytest.mark.parametrize("message", REFUSED)
def test_mistakes_are_named(message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        REFUSED[message]()


def test_running_statistics_have_no_gradient():
    with pytest.raises(TypeError, match="batch_norm: there is no gradient with respect to running_mean"):
        ops.batch_norm(ONES, Tensor(np.zeros(4), requires_grad=True), np.ones(4))


@each_norm
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_constant_and_large_numbers_stay_finite(name, scale):
    ours, _ = NORMS[name]
    x = Tensor(np.full((3, 4, 2, 5), scale, np.float32), requires_grad=True)
    y = ours(x, np.ones(4, np.float32), np.zeros(4, np.float32))
    y.backward(np.random.default_rng(16).standard_normal(y.shape))
    np.testing.assert_allclose(y.value, 1.0 if name == "rms_norm" and scale else 0.0, rtol=1e-6)
    assert np.all(np.isfinite(x.grad))
