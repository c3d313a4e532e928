"""Products and convolutions against float64, at odd sizes; the error of Winograd's way is stated here."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d as by_torch

from chainrule import compile, nn, no_grad, ops, using
from chainrule.kernels import replay

EPS = np.finfo(np.float32).eps


def relative_errors(found, expected):
    """The largest difference over the largest entry, in units of float32's rounding."""
    pairs = zip(found, expected, strict=True)
    return [np.abs(one - other).max() / np.abs(other).max() / EPS for one, other in pairs]


@pytest.mark.parametrize("batch", [1, 2, 13, 14, 15, 100, 333])
@pytest.mark.parametrize(("d", "m"), [(1, 1), (3, 10), (31, 33), (300, 17), (257, 96), (1024, 130), (3072, 5)])
def test_linear_in_every_size_of_tile(batch, d, m):
    rng = np.random.default_rng(0)
    x, weight, bias, gy = (rng.standard_normal(s).astype(np.float32) for s in ((batch, d), (m, d), m, (batch, m)))
    with using("cpu"):
        y, pullbacks = ops.linear.run([x, weight, bias], {})
        found = [y, *(pullback(gy) for pullback in pullbacks)]
    doubles = [a.astype(np.float64) for a in (x, weight, bias)]
    y, pullbacks = ops.linear.rule(*doubles)
    expected = [y, *(pullback(gy.astype(np.float64)) for pullback in pullbacks)]
    # A sum of K terms, each rounded once, in the worst case by half a unit of the sum so far: here K <= 3072.
    assert max(relative_errors(found, expected)) < 8 + np.sqrt(max(d, batch, m))


WAYS = {
    "few channels": ((2, 3, 9, 7), 5, 3, 1, 1),
    "few channels, wide": ((3, 6, 7, 75), 16, (5, 4), 1, (2, 1)),
    "few channels, 16 wide": ((2, 16, 3, 18), 16, (2, 3), 1, 0),
    "few channels, 17 wide": ((2, 2, 3, 17), 1, (1, 5), 1, (0, 2)),
    "few channels, 33 wide": ((1, 1, 6, 33), 3, (4, 1), 1, (3, 0)),
    "few channels, a kernel of 16": ((2, 1, 3, 40), 2, (2, 16), 1, (1, 15)),
    "few channels, wide padding": ((2, 3, 2, 3), 4, 3, 1, 3),
    "windows, many channels": ((2, 17, 9, 7), 5, (2, 3), 1, 1),
    "windows, a kernel of 17": ((2, 1, 3, 40), 2, (2, 17), 1, (1, 3)),
    "windows, stride 2": ((3, 16, 9, 8), 16, 3, 2, 1),
    "windows, 7 x 7": ((1, 3, 15, 14), 6, 7, 2, 3),
    "windows, oblong": ((2, 4, 6, 8), 7, (2, 3), (1, 2), (0, 1)),
    "windows, wide padding": ((2, 3, 2, 3), 17, 3, 1, 3),
    "product": ((2, 24, 5, 7), 9, 1, 1, 0),
    "1 x 1 with stride": ((2, 24, 5, 7), 9, 1, 2, 0),
    "winograd 2": ((2, 16, 5, 3), 32, 3, 1, 1),
    "winograd 2, no padding": ((1, 32, 8, 9), 16, 3, 1, 0),
    "winograd 2, wide padding": ((2, 16, 3, 2), 48, 3, 1, 2),
    "winograd 2, more channels than tiles": ((2, 16, 2, 2), 80, 3, 1, 1),
    "winograd 4": ((9, 16, 11, 13), 48, 3, 1, 1),
    "winograd 4, no padding": ((17, 32, 10, 9), 16, 3, 1, 0),
    "winograd 4, many channels": ((8, 128, 12, 12), 128, 3, 1, 1),
}


def convolved(x, weight, bias, gy, **params):
    with using("cpu"):
        y, pullbacks = ops.conv2d.run([x, weight, bias], params)
        return [y, *(pullback(gy) for pullback in pullbacks)]


def expected_of(x, weight, bias, gy, **params):
    tensors = [
        torch.tensor(np.ascontiguousarray(a), dtype=torch.float64, requires_grad=True) for a in (x, weight, bias)
    ]
    y = by_torch(*tensors, **params)
    return [a.detach().numpy() for a in (y, *torch.autograd.grad(y, tensors, torch.tensor(gy, dtype=torch.float64)))]


def drawn(shape, m, kernel, stride, padding):
    rng = np.random.default_rng(0)
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    x = rng.standard_normal(shape).astype(np.float32)
    weight = rng.standard_normal((m, shape[1], *kernel)).astype(np.float32)
    bias = rng.standard_normal(m).astype(np.float32)
    params = {"stride": stride, "padding": padding}
    gy = rng.standard_normal(ops.conv2d(x, weight, bias, **params).shape).astype(np.float32)
    return (x, weight, bias, gy), params


@pytest.mark.parametrize("way", WAYS)
def test_conv2d_equals_pytorch_in_float64(way):
    inputs, params = drawn(*WAYS[way])
    errors = relative_errors(convolved(*inputs, **params), expected_of(*inputs, **params))
    # Winograd's tiles of 4 x 4 pixels add numbers up to some hundred times larger than the result: about two digits
    # of float32's seven are lost in the worst entry. Tiles of 2 x 2 lose less than one, the other ways nothing.
    # The gradient of the kernels is summed in tiles of 4 x 4 also where the rest goes by tiles of 2 x 2.
    y, gx, gweight, gbias = errors
    assert max(y, gx, gbias) < (250 if "winograd 4" in way else 16)
    assert gweight < (250 if "winograd" in way else 16)


@pytest.mark.parametrize("way", ["few channels", "windows, stride 2", "product", "winograd 2", "winograd 4"])
def test_memory_layout_changes_no_bit(way):
    (x, weight, bias, gy), params = drawn(*WAYS[way])

    def last(a):
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)

    plain = convolved(x, weight, bias, gy, **params)
    for one, other in zip(convolved(last(x), last(weight), bias, last(gy), **params), plain, strict=True):
        assert np.array_equal(one, other)


def test_results_have_their_channels_last_in_memory():
    (x, weight, bias, gy), params = drawn(*WAYS["winograd 2"])
    y, gx, gweight, _ = convolved(x, weight, bias, gy, **params)
    for image in (y, gx, gweight):
        assert image.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("way", ["few channels", "windows, many channels", "winograd 2", "winograd 4"])
def test_float64_never_takes_winograds_way(way):
    (x, weight, bias, gy), params = drawn(*WAYS[way])
    doubles = [a.astype(np.float64) for a in (x, weight, bias, gy)]
    pairs = zip(convolved(*doubles, **params), expected_of(*doubles, **params), strict=True)
    assert all(np.abs(one - other).max() < 1e-12 * np.abs(other).max() for one, other in pairs)


@pytest.mark.parametrize("way", ["few channels", "windows, stride 2", "product", "winograd 2", "winograd 4"])
def test_gradients_pass_the_checker(way):
    # The checker works in float64; a convolution is linear in each input, so differences with a step of 1 are exact
    # but for rounding, and float32 is enough.
    (x, weight, bias, gy), params = drawn(*WAYS[way])
    inputs = [x, weight, bias]
    with using("cpu"):
        _, pullbacks = ops.conv2d.run(inputs, params)
        rng = np.random.default_rng(1)
        for i, pullback in enumerate(pullbacks):
            direction = rng.standard_normal(inputs[i].shape).astype(np.float32)
            ahead, behind = ([*inputs] for _ in range(2))
            ahead[i], behind[i] = inputs[i] + direction, inputs[i] - direction
            difference = (ops.conv2d(*ahead, **params).astype(np.float64) - ops.conv2d(*behind, **params)) / 2
            slope, expected = (pullback(gy).astype(np.float64) * direction).sum(), (gy * difference).sum()
            size = np.sqrt((gy.astype(np.float64) ** 2).sum() * (difference**2).sum())
            assert abs(slope - expected) < 1e-5 * size


def test_what_is_not_covered_goes_to_the_rule():
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal((2, 4, 6, 6)).astype(np.float32),
        rng.standard_normal((4, 2, 3, 3)).astype(np.float32),
    )
    for params in ({"groups": 2}, {"groups": 2, "dilation": 2}, {"groups": 2, "padding": "same"}):
        with using("cpu"):
            found = ops.conv2d(x, weight, **params)
        assert np.array_equal(found, ops.conv2d(x, weight, **params))
    with using("cpu"), pytest.raises(ValueError, match=r"conv2d: weight has shape \(4, 2, 3, 3\), expected"):
        ops.conv2d(x, weight)
    with using("cpu"), pytest.raises(ValueError, match=r"the kernel .* is larger than the padded input"):
        ops.conv2d(x, np.ones((4, 4, 9, 9), np.float32))


def test_padding_of_each_side_goes_to_the_rule():
    x, weight = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
    params = {"padding": ((0, 1), (2, 0))}
    with using("cpu"):
        found = ops.conv2d(x, weight, **params)
    assert np.array_equal(found, ops.conv2d(x, weight, **params))


@pytest.mark.parametrize("layer", ["linear", "winograd"])
def test_relu_in_the_same_pass_has_the_same_bits_for_nan_and_zeros(layer, monkeypatch):
    used = []
    for pair, function in replay.FUSED.copy().items():
        monkeypatch.setitem(replay.FUSED, pair, lambda *args, p=pair, f=function: (used.append(p), f(*args))[1])
    rng = np.random.default_rng(0)
    if layer == "linear":
        module, shape = nn.Linear(33, 50, rng=rng), (200, 33)
    else:
        module, shape = nn.Conv2d(16, 16, 3, padding=1, rng=rng), (4, 16, 9, 9)
    x = rng.standard_normal(shape).astype(np.float32)
    x[1] = 0
    module.bias.value[::2] = -0.0
    model = nn.Sequential(module, nn.ReLU())
    step = compile(no_grad()(lambda x: model(x)))
    spoilt = x.copy()
    spoilt[0], spoilt[2] = np.nan, -np.inf
    with using("cpu"):
        for _ in range(4):
            step(x)
        found, expected = step(spoilt), model(spoilt)
    by = "winograd" if layer == "winograd" else "products"
    assert {first.__module__ for first, _ in used} == {f"chainrule.kernels.{by}"}
    assert np.isnan(found.value[0]).all()
    assert found.value.tobytes() == expected.value.tobytes()
