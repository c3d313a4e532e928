"""Windows and convolutions against PyTorch over drawn configurations: values, gradients, second derivatives, layers."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from against_torch import TOLERANCE, assert_equals_torch

from chainrule import Tensor, hvp, nn, ops
from chainrule.check import gradcheck

torch.set_num_threads(1)  # several, on inputs this small, wait for each other

DTYPES = [np.float64, np.float32]
CASES = 200


def channels_last(x):
    """The same numbers, in memory with the channels last."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def every_other(x):
    """The same numbers, with gaps in memory."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    wide[...] = x
    return wide


LAYOUTS = [lambda x: x, channels_last, every_other]


def convolutions(axes, dtype, transposed=False, count=CASES):
    """Drawn inputs, with and without bias, and hyper-parameters that fit."""
    rng = np.random.default_rng([axes, transposed, np.dtype(dtype).itemsize])
    found = 0
    while found < count:
        groups = int(rng.integers(1, 4))
        n, c, m = int(rng.integers(1, 4)), groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
        size, kernel = rng.integers(1, 9, axes), rng.integers(1, 6, axes)
        drawn = {"stride": rng.integers(1, 4, axes), "padding": rng.integers(0, 4, axes)}
        drawn["dilation"] = rng.integers(1, 4, axes)
        if transposed:
            drawn["output_padding"] = rng.integers(0, drawn["stride"])
            out = (size - 1) * drawn["stride"] - 2 * drawn["padding"] + drawn["output_padding"] + 1
            out += drawn["dilation"] * (kernel - 1)
        else:
            out = size + 2 * drawn["padding"] - drawn["dilation"] * (kernel - 1)
        if (out < 1).any():
            continue
        found += 1
        shape = (c, m // groups, *kernel) if transposed else (m, c // groups, *kernel)
        shapes = [(n, c, *size), shape, *([(m,)] if rng.random() < 0.7 else [])]
        inputs = [rng.standard_normal(s).astype(dtype) for s in shapes]
        inputs[0] = LAYOUTS[found % 3](inputs[0])
        inputs[1] = LAYOUTS[found // 3 % 3](inputs[1])
        params = {key: tuple(int(v) for v in value) for key, value in drawn.items()}
        params = {key: value[0] if len(set(value)) == 1 else value for key, value in params.items()}
        yield inputs, {**params, "groups": groups}


PAIRS = {
    "conv1d": (1, ops.conv1d, F.conv1d),
    "conv2d": (2, ops.conv2d, F.conv2d),
    "conv_transpose2d": (2, ops.conv_transpose2d, F.conv_transpose2d),
}
each_pair = pytest.mark.parametrize("name", PAIRS)


# ----------------------------------------------------------------------------------------------------- value, gradient


@pytest.mark.parametrize("dtype", DTYPES)
@each_pair
def test_convolutions_are_pytorchs(name, dtype):
    axes, ours, theirs = PAIRS[name]
    for inputs, params in convolutions(axes, dtype, "transpose" in name):
        assert_equals_torch(lambda *xs, p=params: ours(*xs, **p), lambda *xs, p=params: theirs(*xs, **p), *inputs)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")  # PyTorch's
@pytest.mark.parametrize("kernel", [(1, 1), (1, 4), (2, 3), (5, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_name_is_pytorchs(padding, kernel):
    rng = np.random.default_rng(0)
    for dilation in (1, 2, (2, 1)):
        x, weight = rng.standard_normal((2, 3, 9, 7)), rng.standard_normal((4, 3, *kernel))
        params = {"padding": padding, "dilation": dilation}
        assert_equals_torch(
            lambda *xs, p=params: ops.conv2d(*xs, **p), lambda *xs, p=params: F.conv2d(*xs, **p), x, weight
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_are_pytorchs_unfold_and_overlap_add_its_fold(dtype):
    for (x, weight, *_), params in convolutions(2, dtype, count=100):
        params.pop("groups")
        (n, c, *size), kernel = x.shape, weight.shape[2:]
        y = ops.windows(x, kernel_size=kernel, **params)
        flat = np.moveaxis(y, (2, 3), (4, 5)).reshape(n, c * np.prod(kernel), -1)
        np.testing.assert_array_equal(flat, F.unfold(torch.tensor(x.copy()), kernel, **params).numpy())
        folded = F.fold(torch.tensor(flat), tuple(size), kernel, **params).numpy()
        tolerance = TOLERANCE[np.dtype(dtype)]
        np.testing.assert_allclose(ops.overlap_add(y, size=tuple(size), **params), folded, tolerance, tolerance)


def test_windows_copy_nothing():
    x = np.arange(30.0).reshape(1, 1, 5, 6)
    assert np.may_share_memory(ops.windows(x, kernel_size=3, stride=2, dilation=2), x)


def test_results_have_the_channels_last_in_memory_if_the_input_has():
    """So that the next layer's windows are copied in long runs."""
    x, weight = channels_last(np.ones((2, 3, 5, 7))), np.ones((4, 3, 3, 3))
    y, (gx, *_) = ops.conv2d.rule(x, weight, padding=1)
    for images in (y, gx(y), ops.conv_transpose2d(y, weight)):
        assert images.strides[1] == images.itemsize


# -------------------------------------------------------------------------------------------------- second derivatives


def cubed(convolution, params, inputs, place):
    """The sum of the cubed outputs, a loss with a curvature, as a function of one of the inputs."""
    return lambda z: (convolution(*inputs[:place], z, *inputs[place + 1 :], **params) ** 3).sum()


@each_pair
def test_second_derivatives_are_pytorchs(name):
    """Of a loss that is not linear in the output: with respect to the input, the weight and the bias."""
    axes, ours, theirs = PAIRS[name]
    for inputs, params in convolutions(axes, np.float64, "transpose" in name, count=40):
        witnesses = [torch.tensor(x.copy()) for x in inputs]
        for place, x in enumerate(inputs):
            v = np.random.default_rng(place).standard_normal(x.shape)
            found = hvp(cubed(ours, params, inputs, place))(x, v)
            loss = cubed(theirs, params, witnesses, place)
            expected = torch.autograd.functional.hvp(loss, witnesses[place], torch.tensor(v))[1].numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(initial=1.0))


@each_pair
def test_derivatives_of_gradients_are_pytorchs(name):
    """Of the squared lengths of both gradients, that of the input and that of the weight, with respect to both."""
    axes, ours, theirs = PAIRS[name]
    for inputs, params in convolutions(axes, np.float64, "transpose" in name, count=40):
        tensors = [Tensor(z, requires_grad=True) for z in inputs[:2]]
        (ours(*tensors, **params) ** 2).sum().backward(create_graph=True)
        gradients = [z.grad for z in tensors]
        for z in tensors:
            z.grad = None
        sum((g**2).sum() for g in gradients).backward()
        witnesses = [torch.tensor(z, requires_grad=True) for z in inputs[:2]]
        gradients = torch.autograd.grad((theirs(*witnesses, **params) ** 2).sum(), witnesses, create_graph=True)
        expected = torch.autograd.grad(sum((g**2).sum() for g in gradients), witnesses)
        for z, truth in zip(tensors, expected, strict=True):
            np.testing.assert_allclose(z.grad, truth.numpy(), rtol=1e-9, atol=1e-9 * truth.abs().max().item())


@pytest.mark.parametrize("layer", ["Conv1d", "Conv2d", "ConvTranspose2d"])
def test_layers_pass_gradcheck(layer):
    axes = 1 if layer == "Conv1d" else 2
    made = getattr(nn, layer)(2, 4, 2, stride=2, padding=1, groups=2, rng=np.random.default_rng(0), dtype=np.float64)
    assert gradcheck(made, [np.random.default_rng(1).standard_normal((2, 2, *(4, 3)[:axes]))])


# -------------------------------------------------------------------------------------------------------------- layers

SETTINGS = {
    "Conv1d": [(3, 4, 3), (4, 6, 2, 2, 1, 2, 2), (3, 5, 4, 1, "same", 1, 1, False)],
    "Conv2d": [
        (3, 4, 3),
        (4, 6, (2, 3), (2, 1), (1, 0), (1, 2), 2),
        (4, 4, 1, 1, 0, 1, 4, False),
        (2, 3, 2, 1, "same"),
    ],
    "ConvTranspose2d": [
        (3, 4, 3),
        (4, 6, (2, 3), (2, 1), (1, 0), (1, 0), 2, True, (1, 2)),
        (3, 3, 2, 2, 0, 1, 3, False),
    ],
}


@pytest.mark.parametrize(("name", "arguments"), [(name, args) for name, many in SETTINGS.items() for args in many])
def test_layers_are_pytorchs(name, arguments):
    """The same arguments in the same order, the same parameters, the same forward and backward."""
    ours = getattr(nn, name)(*arguments, dtype=np.float64)
    theirs = getattr(torch.nn, name)(*arguments, dtype=torch.float64)
    expected = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, value.shape) for key, value in expected.items()
    ]
    ours.load_state_dict(expected)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, arguments[0], 7, 5)[: 3 if name == "Conv1d" else 4])
    tx = torch.tensor(x, requires_grad=True)
    y, ty = ours.forward(x), theirs(tx)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-12, atol=1e-12)
    gy = rng.standard_normal(y.shape)
    ty.backward(torch.tensor(gy))
    np.testing.assert_allclose(ours.backward(gy), tx.grad.numpy(), rtol=1e-12, atol=1e-12)
    for key, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad, getattr(theirs, key).grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "arguments"), [(name, many[1]) for name, many in SETTINGS.items()])
def test_first_values_have_pytorchs_distribution(name, arguments):
    """Uniform, up to the bound of PyTorch: the largest of many draws and their standard deviation."""
    wide = (200 * arguments[0], 200 * arguments[1], *arguments[2:])
    theirs = getattr(torch.nn, name)(*wide)
    ours = getattr(nn, name)(*wide, rng=np.random.default_rng(0))
    for key, parameter in ours.named_parameters():
        expected = getattr(theirs, key).detach().numpy()
        np.testing.assert_allclose(np.abs(parameter.value).max(), np.abs(expected).max(), rtol=0.01)
        np.testing.assert_allclose(parameter.value.std(), expected.std(), rtol=0.05)
        assert parameter.dtype == np.float32
        assert abs(parameter.value.mean()) < 0.1 * parameter.value.std()


def test_two_generators_with_one_seed_give_one_layer():
    layers = [nn.Conv2d(3, 4, 3, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(layers[0].weight.value, layers[1].weight.value)
    assert not np.array_equal(layers[0].weight.value, layers[2].weight.value)


# ------------------------------------------------------------------------------------------------------------ mistakes

X, W = np.ones((2, 4, 5, 6)), np.ones((6, 4, 3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.conv2d(X[0], W), "conv2d: x has shape (4, 5, 6), expected (n, c, h, w)"),
        (lambda: ops.conv2d(X, W[0]), "conv2d: weight has shape (4, 3, 3), expected (m, d, k, l)"),
        (lambda: ops.conv2d(X, W, np.ones(5)), "conv2d: bias has shape (5,), expected (m) with m = 6, as in weight"),
        (
            lambda: ops.conv2d(X[:, :3], W),
            "conv2d: weight has shape (6, 4, 3, 3), expected (m, 3 / groups, ...) for the 3 channels of x, with m a "
            "multiple of groups = 1",
        ),
        (lambda: ops.conv2d(X, W[:, :2], groups=4), "conv2d: weight has shape (6, 2, 3, 3), expected (m, 4 / groups,"),
        (lambda: ops.conv2d(X, W[:5, :2], groups=2), "with m a multiple of groups = 2"),
        (lambda: ops.conv2d(X, W, groups=0), "with m a multiple of groups = 0"),
        (
            lambda: ops.conv2d(X[..., :2, :2], W),
            "conv2d: the kernel (3, 3) is larger than the padded input (2, 2) (x has shape (2, 4, 2, 2)",
        ),
        (
            lambda: ops.conv2d(X, W, dilation=(1, 4), padding=1),
            "conv2d: the kernel (3, 3) with dilation (1, 4) is larger than the padded input (7, 8)",
        ),
        (lambda: ops.conv2d(X, W, stride=0), "conv2d: stride is 0, expected an int of at least 1, or 2 of them"),
        (lambda: ops.conv2d(X, W, stride=(1, -1)), "conv2d: stride is (1, -1), expected an int of at least 1"),
        (lambda: ops.conv2d(X, W, stride=1.5), "conv2d: stride is 1.5, expected an int of at least 1"),
        (lambda: ops.conv2d(X, W, padding=-1), "conv2d: padding is -1, expected an int of at least 0"),
        (lambda: ops.conv2d(X, W, padding=(1, 1, 1)), "conv2d: padding is (1, 1, 1), expected an int, or 2 of them"),
        (lambda: ops.conv2d(X, W, padding="full"), "conv2d: padding is 'full', expected an int"),
        (
            lambda: ops.conv2d(X, W, padding="same", stride=2),
            "conv2d: padding is 'same' and stride 2, expected stride 1",
        ),
        (lambda: ops.conv2d(X, W[:, :, :0]), "conv2d: kernel_size is [0, 3], expected an int of at least 1"),
        (lambda: ops.conv1d(X, W), "conv1d: x has shape (2, 4, 5, 6), expected (n, c, l)"),
        (lambda: ops.conv_transpose2d(X, W), "conv_transpose2d: weight has shape (6, 4, 3, 3), expected (c, d, k, l)"),
        (
            lambda: ops.conv_transpose2d(X, W[:4], groups=3),
            "conv_transpose2d: x has 4 channels, expected a multiple of",
        ),
        (
            lambda: ops.conv_transpose2d(X, W[:4], np.ones(3), groups=2),
            "conv_transpose2d: bias has shape (3,), expected (8,), as weight has (4, 4, 3, 3)",
        ),
        (
            lambda: ops.conv_transpose2d(X, W[:4], output_padding=1),
            "conv_transpose2d: output_padding is 1, expected less than the stride (1, 1)",
        ),
        (
            lambda: ops.conv_transpose2d(X, W[:4], padding=9),
            "conv_transpose2d: nothing is left of the output: its size would be (-11, -10)",
        ),
        (lambda: ops.windows(np.ones((2, 3)), kernel_size=2), "windows: there are no spatial axes"),
        (
            lambda: ops.overlap_add(np.ones((1, 1, 3, 2)), size=5),
            "overlap_add: over an input of size 5 lie (4,) windows, found (3,)",
        ),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: groups is 2, expected a positive divisor of in_channels=3 and"),
        (lambda: nn.Conv2d(3, 4, 0), "Conv2d: kernel_size is 0, expected an int of at least 1, or 2 of them"),
        (lambda: nn.Conv1d(3, 4, (3, 3)), "Conv1d: kernel_size is (3, 3), expected an int of at least 1"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("size", "kernel"), [(s, k) for s in [(1, 1), (1, 7)] for k in [(1, 1), (1, 3)]])
def test_one_pixel_and_an_empty_batch(size, kernel):
    weight = np.random.default_rng(0).standard_normal((3, 2, *kernel))
    padding = tuple(k // 2 for k in kernel)
    assert_equals_torch(
        lambda *xs: ops.conv2d(*xs, padding=padding),
        lambda *xs: F.conv2d(*xs, padding=padding),
        np.ones((1, 2, *size)),
        weight,
    )
    empty = Tensor(np.ones((0, 2, *size)), requires_grad=True)
    y = ops.conv2d(empty, Tensor(weight, requires_grad=True), padding=padding)
    y.backward(np.ones(y.shape))
    assert (y.shape, empty.grad.shape) == ((0, 3, *size), empty.shape)
