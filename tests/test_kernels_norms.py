"""The compiled normalisations against their rules in float64, and what is special to them."""

from functools import partial

import numpy as np
import pytest
import torch

import chainrule
from chainrule import Parameter, Tensor, grad, nn, ops, using
from chainrule.kernels import elementwise, norms, replay
from chainrule.nn.module import Module

EPS = np.finfo(np.float32).eps
torch.set_num_threads(1)


def random(*shape, seed=0, mean=0.0, std=1.0):
    return np.random.default_rng(seed).normal(mean, std, shape).astype(np.float32)


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def layouts(x):
    """The same numbers in memory of different orders."""
    yield x
    yield channels_last(x)
    yield np.asfortranarray(x)
    yield np.repeat(x, 2, axis=0)[::2]


def results(run, op, inputs, gy, **params):
    """The value and the gradients."""
    y, pullbacks = run(op)(*inputs, **params)
    return [y, *(pull(gy) for x, pull in zip(inputs, pullbacks, strict=True) if x is not None and pull)]


def by_kernel(op, inputs, gy, **params):
    def refused(*inputs, **params):
        raise AssertionError("the kernel refused")

    with using("cpu"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(op, "rule", refused)
        return results(lambda op: op.kernels["cpu"], op, inputs, gy, **params)


def by_rule(op, inputs, gy, **params):
    wide = [None if x is None else x.astype(np.float64) for x in inputs]
    return results(lambda op: op.rule, op, wide, gy.astype(np.float64), **params)


def magnitudes(op, inputs, gy, eps=None, **params):
    """How large the numbers are whose sums are the value and the gradients of x, weight and bias: they may cancel."""
    x, *given, weight, bias = [*inputs, None][: len(op.inputs)] if op is not ops.rms_norm else [*inputs, None]
    last = len(params.get("normalized_shape", ()))
    axes = tuple(range(-last, 0)) if last else (0, *range(2, x.ndim))
    x, gy = x.astype(np.float64), np.abs(gy.astype(np.float64))
    per_channel = (-1, *[1] * (x.ndim - 2))
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    if op is ops.rms_norm:
        mean, var = 0, (x**2).mean(axes, keepdims=True)
    elif given and given[0] is not None:
        mean, var = (v.reshape(per_channel) for v in given)
    rstd = (var + (1e-5 if eps is None else eps)) ** -0.5
    xhat = np.abs(x - mean) * rstd
    w, b = (0 if v is None else np.abs(v) if last else np.abs(v).reshape(per_channel) for v in (weight, bias))
    w = 1 if weight is None else w
    others = tuple(range(x.ndim - last)) if last else axes
    yield xhat * w + b
    yield rstd * (gy * w + (gy * w).mean(axes, keepdims=True) + xhat * (gy * w * xhat).mean(axes, keepdims=True))
    if weight is not None:
        yield (gy * (xhat + 1)).sum(others)
    if bias is not None:
        yield gy.sum(others)


# A rounding error in the deviations, one in 1 / s, and two or three more in the products: 4 units. Where x lies far
# from 0 its own rounding, which the rule in float64 shares, does not count. The sums over rows round less than that.
TOLERANCE = 4


def assert_agree(op, inputs, gy, **params):
    expected, sizes = by_rule(op, inputs, gy, **params), magnitudes(op, inputs, gy, **params)
    for found, exact, size in zip(by_kernel(op, inputs, gy, **params), expected, sizes, strict=True):
        assert found.dtype == np.float32
        assert found.shape == exact.shape
        assert np.max(np.abs(found - exact)) <= TOLERANCE * EPS * size.max()


SHAPES = [(2, 1), (3, 5), (17, 3), (1000, 5), (1000, 64), (3, 5, 7), (1, 3, 2, 1), (3, 5, 7, 9), (2, 64, 17, 13)]


@pytest.mark.parametrize("shape", [*SHAPES, (4, 600, 6, 6)], ids=str)
@pytest.mark.parametrize("mean", [0, 100])
def test_batch_norm_is_the_rule(shape, mean):
    c = shape[1]
    weight, bias = random(c, seed=1), random(c, seed=2)
    for x, gy in zip(layouts(random(*shape, mean=mean)), layouts(random(*shape, seed=3)), strict=True):
        assert_agree(ops.batch_norm, (x, None, None, weight, bias), gy, training=True, eps=1e-3)
    var = random(c, seed=5) ** 2
    assert_agree(ops.batch_norm, (x, random(c, seed=4, mean=mean), var, weight, bias), gy)
    assert_agree(ops.batch_norm, (x, None, None, None, None), gy, training=True)
    assert_agree(ops.batch_norm, (x, None, None, weight, None), gy, training=True)


def test_batch_norm_takes_a_gradient_that_is_broadcast():
    x, weight = random(6, 5, 8, 8), random(5, seed=1)
    gy = np.broadcast_to(np.float32(0.25), x.shape)
    _, (gx, *_, gbias) = norms.batch_norm(x, None, None, weight, weight, training=True)
    assert np.abs(gx(gy)).max() < 1e-6  # a constant is what batch norm takes away
    np.testing.assert_allclose(gbias(gy), np.full(5, 0.25 * 6 * 64), rtol=1e-6)


def test_statistics_of_many_numbers_far_from_zero():
    x = random(40_000, 3, mean=1000, std=0.1) * np.float32([1, 10, -0.01])
    x[0] = 0  # no first row to shift by
    y = by_kernel(ops.batch_norm, (x, None, None, None, None), x, training=True)[0]
    exact = by_rule(ops.batch_norm, (x, None, None, None, None), x, training=True)[0]
    assert np.abs(y - exact).max() <= 4 * EPS * np.abs(exact).max()


def test_a_constant_channel_becomes_zero():
    x = np.full((3, 5, 9, 9), np.float32(0.1))
    y, (gx, *_) = norms.batch_norm(x, training=True)
    assert not y.any()
    assert np.isfinite(gx(random(*x.shape))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_channel(bad):
    x = random(4, 3, 5, 5)
    x[1, 1, 2, 2] = bad
    y, (gx, *_) = norms.batch_norm(x, training=True)
    gx = gx(random(*x.shape, seed=1))
    for array in (y, gx):
        assert np.isnan(array[:, 1]).all()
        assert np.isfinite(array[:, [0, 2]]).all()


@pytest.mark.parametrize(
    ("inputs", "params"),
    [
        ((random(1, 3),), {"training": True}),
        ((random(4, 3),), {}),
        ((random(4, 3), None, None, random(2)), {"training": True}),
        ((random(4),), {"training": True}),
    ],
)
def test_batch_norm_refuses_what_the_rule_refuses(inputs, params):
    with pytest.raises(ValueError, match=r"^batch_norm: ") as expected:
        ops.batch_norm(*inputs, **params)
    with using("cpu"), pytest.raises(ValueError, match=r"^batch_norm: ") as found:
        ops.batch_norm(*inputs, **params)
    assert str(found.value) == str(expected.value)


def test_pullbacks_in_any_order_alone_and_again():
    x, gy, other = random(9, 4, 3, 3), random(9, 4, 3, 3, seed=1), random(9, 4, 3, 3, seed=2)
    pull = norms.batch_norm(x, None, None, x[0, :, 0, 0], None, training=True)[1]
    first = {i: pull[i](gy) for i in (0, 3, 4)}
    changing = gy.copy()
    for order in [(4, 3, 0), (3, 0), (0,), (3,), (4, 0, 3)]:
        fresh = norms.batch_norm(x, None, None, x[0, :, 0, 0], None, training=True)[1]
        for i in order:
            np.testing.assert_array_equal(fresh[i](changing), first[i])
            np.testing.assert_array_equal(pull[i](gy), first[i])
        assert not np.array_equal(pull[0](other), first[0])
    for i in (0, 3, 4):
        pull[i](changing)
    changing *= 2
    for i in (0, 3, 4):
        np.testing.assert_array_equal(pull[i](changing), 2 * first[i])


def test_second_derivatives_go_through_the_rule():
    x, weight = random(4, 3, 2, 2).astype(np.float64), random(3).astype(np.float64)

    def loss(x, w):
        y = ops.batch_norm(x, None, None, w, None, training=True)
        return ops.sum(y**3)

    def penalty(dtype, x):
        w = weight.astype(dtype)
        return ops.sum(grad(loss)(x, w) ** 2)

    expected = grad(partial(penalty, np.float64))(x)
    with using("cpu"):
        found = grad(partial(penalty, np.float32))(x.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_results_do_not_depend_on_the_number_of_threads():
    import numba

    x, gy = channels_last(random(8, 16, 32, 32)), channels_last(random(8, 16, 32, 32, seed=1))
    both, before = [], numba.get_num_threads()
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            both.append(by_kernel(ops.batch_norm, (x, None, None, None, None), gy, training=True))
    finally:
        numba.set_num_threads(before)
    for one, many in zip(*both, strict=True):
        np.testing.assert_array_equal(one, many)


# ---------------------------------------------------------------------------------------------------------- the layer


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_are_pytorchs(momentum):
    layer, witness = nn.BatchNorm2d(5, momentum=momentum), torch.nn.BatchNorm2d(5, momentum=momentum)
    for seed in range(3):
        x = channels_last(random(4, 5, 7, 9, seed=seed, mean=3))
        with using("cpu"):
            layer(Tensor(x))
        witness(torch.tensor(x))
    np.testing.assert_allclose(layer.running_mean, witness.running_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, witness.running_var, rtol=1e-5)
    assert layer.num_batches_tracked == 3


def test_the_moments_are_computed_once(monkeypatch):
    monkeypatch.setattr("chainrule.nn.norm.moments", None)
    layer = nn.BatchNorm1d(3)
    with using("cpu"):
        layer(random(5, 3))
    with pytest.raises(TypeError):  # by the rule, the layer has to
        layer(random(5, 3))


class Net(Module):
    """Batch norm before an activation, twice, and before a sum."""

    def __init__(self, activation):
        self.first, self.second = nn.BatchNorm2d(16), nn.BatchNorm2d(16, track_running_stats=False)
        self.third = nn.BatchNorm2d(16, track_running_stats=False)
        self.activation = activation

    def __call__(self, x):
        x = self.activation(self.first(x))
        return self.third(self.activation(self.second(x))) + x


@pytest.mark.parametrize("activation", [ops.relu, ops.sigmoid])
@pytest.mark.parametrize("size", [3, 20])
def test_a_replayed_step_is_fused_and_has_the_same_bits(activation, size, monkeypatch):
    used = []
    for pair, function in replay.FUSED.copy().items():
        if pair[0] is norms._normalise or pair[1] is norms._back:
            monkeypatch.setitem(replay.FUSED, pair, lambda *args, f=function: (used.append(f), f(*args)))
    nets = Net(activation), Net(activation)

    def step(net, x):
        weights = list(net.parameters())
        for weight in weights:
            weight.grad = None
        loss = ops.mean(net(x) ** 2)
        loss.backward()
        return [loss.value, *(weight.grad for weight in weights)]

    compiled = chainrule.compile(partial(step, nets[0]))
    with using("cpu"):
        for seed in range(6):
            x = channels_last(random(4, 16, size, size, seed=seed))
            for found, expected in zip(compiled(x), step(nets[1], x), strict=True):
                np.testing.assert_array_equal(found, expected)
    assert {norms._normalise_and_more, norms._more_and_back} <= set(used)
    a, b = nets[0].first, nets[1].first
    np.testing.assert_array_equal(a.running_mean, b.running_mean)
    np.testing.assert_array_equal(a.running_var, b.running_var)
    assert a.num_batches_tracked == b.num_batches_tracked == 6


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_batch_norm_with_relu_in_one_pass_is_both_in_two(bad):
    """Also at numbers that are exactly 0 before ReLU, or not numbers."""
    rows, gy = random(3000, 16), random(3000, 16, seed=1)
    rows[5] = bad
    moments, of_parts = np.empty((3, 16), np.float32), np.empty((norms.PARTS, 2, 16))
    weight, bias = random(16, seed=2), random(16, seed=3)
    weight[3] = bias[3] = 0
    norms._moments(rows, of_parts, moments)
    y, z, fused, g = (np.empty_like(rows) for _ in range(4))
    norms._normalise(rows, moments, weight, bias, 1e-5, False, y)
    elementwise.compute(elementwise.RELU, 0.0, y.ravel(), y.ravel(), z.ravel())
    norms._normalise(rows, moments, weight, bias, 1e-5, True, fused)
    np.testing.assert_array_equal(fused, z)
    elementwise.compute(elementwise.RELU_GX, 0.0, gy.ravel(), z.ravel(), g.ravel())
    found, expected = ([np.empty_like(rows), np.empty(16, "f"), np.empty(16, "f")] for _ in range(2))
    norms._back(rows, z, gy, moments, weight, 1e-5, True, False, of_parts, *found)
    norms._back(rows, rows, g, moments, weight, 1e-5, False, False, of_parts, *expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------------------------------- layer norm and RMS norm

ENDINGS = [
    ((5,), (5,)),
    ((4, 1), (1,)),
    ((17, 3), (3,)),
    ((1000, 64), (64,)),
    ((3, 5, 7), (5, 7)),
    ((7, 3001), (3001,)),
]


@pytest.mark.parametrize(("shape", "last"), ENDINGS, ids=str)
@pytest.mark.parametrize("mean", [0, 100])
def test_layer_norm_is_the_rule(shape, last, mean):
    weight, bias = random(*last, seed=1), random(*last, seed=2)
    both = random(*shape, mean=mean), random(*shape, seed=3)
    for x, gy in [both, map(np.asfortranarray, both)]:
        assert_agree(ops.layer_norm, (x, weight, bias), gy, normalized_shape=last)
        assert_agree(ops.layer_norm, (x, None, None), gy, normalized_shape=last, eps=0.1)


@pytest.mark.parametrize(("shape", "last"), ENDINGS, ids=str)
def test_rms_norm_is_the_rule(shape, last):
    x, weight, gy = random(*shape, mean=1), random(*last, seed=1), random(*shape, seed=3)
    assert_agree(ops.rms_norm, (x, weight), gy, normalized_shape=last, eps=0.1)
    assert_agree(ops.rms_norm, (x, None), gy, normalized_shape=last, eps=0.1)
    y, _ = norms.rms_norm(x, weight, normalized_shape=last)  # eps is then that of float32, in the rule too
    np.testing.assert_allclose(y, ops.rms_norm(x, weight, normalized_shape=last), rtol=1e-5, atol=1e-6)


def test_layers_train_as_pytorchs():
    x = random(33, 40)
    for ours, theirs in [(nn.LayerNorm(40), torch.nn.LayerNorm(40)), (nn.RMSNorm(40), torch.nn.RMSNorm(40))]:
        ours.weight = Parameter(random(40, seed=1))
        theirs.weight.data = torch.tensor(ours.weight.value)
        tensor, witness = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        with using("cpu"):
            ops.sum(ours(tensor) ** 3).backward()
        (theirs(witness) ** 3).sum().backward()
        np.testing.assert_allclose(tensor.grad, witness.grad, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-3)


def test_layer_norm_refuses_what_the_rule_refuses():
    for given in [{"normalized_shape": (3,)}, {"normalized_shape": ()}]:
        with using("cpu"), pytest.raises(ValueError, match=r"^layer_norm: normalized_shape"):
            ops.layer_norm(random(2, 4), **given)
