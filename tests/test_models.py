"""The named networks against the same networks written in torch.nn: sizes, names, outputs, gradients, first values."""

import functools

import numpy as np
import pytest
import torch
from torch import nn as tnn

from chainrule import Tensor, models, nn
from chainrule.errors import UsageError

torch.set_num_threads(1)

# ------------------------------------------------------------------------------------------ the witnesses, in torch.nn


def uva_2018(channels, n_classes):
    sizes = [channels, 64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"]
    layers, width = [], sizes.pop(0)
    for size in sizes:
        if size == "pool":
            layers.append(tnn.MaxPool2d(3, 2, 1))
        else:
            layers += [tnn.Conv2d(width, size, 3, 1, 1), tnn.BatchNorm2d(size), tnn.ReLU()]
            width = size
    return tnn.Sequential(*layers, tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(512, n_classes))


class PreAct(tnn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = tnn.BatchNorm2d(channels)
        self.conv = tnn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x):
        return x + self.conv(torch.relu(self.norm(x)))


def uva_2020(channels, n_classes):
    layers = [tnn.Conv2d(channels, 64, 3, 1, 1), PreAct(64), tnn.Conv2d(64, 128, 1), tnn.MaxPool2d(3, 2, 1)]
    layers += [PreAct(128), PreAct(128), tnn.Conv2d(128, 256, 1), tnn.MaxPool2d(3, 2, 1)]
    layers += [PreAct(256), PreAct(256), tnn.Conv2d(256, 512, 1), tnn.MaxPool2d(3, 2, 1)]
    layers += [PreAct(512), PreAct(512), tnn.MaxPool2d(3, 2, 1), PreAct(512), PreAct(512), tnn.MaxPool2d(3, 2, 1)]
    layers += [tnn.BatchNorm2d(512), tnn.ReLU(), tnn.AdaptiveAvgPool2d(1), tnn.Flatten(), tnn.Linear(512, n_classes)]
    return tnn.Sequential(*layers)


def vu(channels, n_classes):
    return tnn.Sequential(
        *[tnn.Conv2d(channels, 6, 5), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Conv2d(6, 16, 5), tnn.ReLU(), tnn.MaxPool2d(2)],
        *[tnn.Flatten(), tnn.LazyLinear(120), tnn.ReLU(), tnn.Linear(120, 84), tnn.ReLU(), tnn.Linear(84, n_classes)],
    )


class BasicBlock(tnn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1, self.bn1 = tnn.Conv2d(channels, out, 3, stride, 1, bias=False), tnn.BatchNorm2d(out)
        self.conv2, self.bn2 = tnn.Conv2d(out, out, 3, 1, 1, bias=False), tnn.BatchNorm2d(out)
        if stride != 1:
            self.downsample = tnn.Sequential(tnn.Conv2d(channels, out, 1, stride, bias=False), tnn.BatchNorm2d(out))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet18(tnn.Module):
    """torchvision's attribute names."""

    def __init__(self, channels, n_classes):
        super().__init__()
        self.conv1, self.bn1 = tnn.Conv2d(channels, 64, 7, 2, 3, bias=False), tnn.BatchNorm2d(64)
        self.maxpool = tnn.MaxPool2d(3, 2, 1)
        self.layer1 = tnn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = tnn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = tnn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = tnn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.fc = tnn.Linear(512, n_classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


class Fire(tnn.Module):
    def __init__(self, channels, squeezed, expanded):
        super().__init__()
        self.squeeze = tnn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = tnn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = tnn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(tnn.Module):
    """torchvision's attribute names."""

    def __init__(self, channels, n_classes, ceil_mode=True):
        super().__init__()
        pool = functools.partial(tnn.MaxPool2d, 3, 2, ceil_mode=ceil_mode)
        self.features = tnn.Sequential(
            *[tnn.Conv2d(channels, 64, 3, 2), tnn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool()],
            *[Fire(128, 32, 128), Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192)],
            *[Fire(384, 64, 256), Fire(512, 64, 256)],
        )
        head = [tnn.Dropout(0.5), tnn.Conv2d(512, n_classes, 1), tnn.ReLU(), tnn.AdaptiveAvgPool2d(1)]
        self.classifier = tnn.Sequential(*head)

    def forward(self, x):
        return self.classifier(self.features(x)).flatten(1)


WITNESSES = {
    "convnet-uva-2018": uva_2018,
    "convnet-uva-2020": uva_2020,
    "convnet-vu": vu,
    "resnet18": ResNet18,
    "squeezenet1_1": SqueezeNet,
}
SHAPES = [(3, 32, 32), (1, 35, 19)]
LARGE = ("convnet-uva-2018", "convnet-uva-2020", "resnet18")
every_network = pytest.mark.parametrize("name", WITNESSES)
every_network_slowly = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in WITNESSES]
)


def made(name, shape, n_classes=7, dtype="float64", **settings):
    return models.build(
        name, input_shape=shape, n_classes=n_classes, dtype=dtype, rng=np.random.default_rng(3), **settings
    )


def pair(name, shape, n_classes=7):
    """The network here and in PyTorch, float64, with the same weights, drawn by PyTorch; without dropout."""
    torch.manual_seed(5)
    theirs = WITNESSES[name](shape[0], n_classes).double()
    theirs(torch.zeros(2, *shape, dtype=torch.float64))
    for parameter in theirs.parameters():
        if parameter.ndim == 1:  # so that no bias or gamma is 0 or 1
            tnn.init.uniform_(parameter, 0.5, 1.5)
    ours = made(name, shape, n_classes)
    ours.load_state_dict(weights_of(theirs))
    for module in (*ours.modules(), *theirs.modules()):
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return ours, theirs


def weights_of(module):
    """A PyTorch module's state as arrays."""
    return {name: array.numpy() for name, array in module.state_dict().items()}


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * max(1, np.abs(expected).max(initial=0)))


# ---------------------------------------------------------------------------------------------- sizes and names


@every_network
def test_names_and_sizes_are_those_of_the_network_in_pytorch(name):
    theirs = WITNESSES[name](3, 10)
    theirs(torch.zeros(2, 3, 32, 32))
    ours = made(name, (3, 32, 32), 10)
    assert {k: v.shape for k, v in ours.named_parameters()} == {k: v.shape for k, v in theirs.named_parameters()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in weights_of(theirs).items()}


@pytest.mark.parametrize(
    ("name", "shape", "n_classes", "published"),
    [
        ("resnet18", (3, 224, 224), 1000, 11_689_512),  # torchvision's documentation
        ("squeezenet1_1", (3, 224, 224), 1000, 1_235_496),  # the same
        ("convnet-vu", (3, 32, 32), 10, 62_006),  # PyTorch's CIFAR-10 tutorial
    ],
)
def test_the_number_of_parameters_is_the_published_one(name, shape, n_classes, published):
    model = made(name, shape, n_classes, dtype="float32")
    assert sum(parameter.size for parameter in model.parameters()) == published


@every_network
def test_summary_counts_as_pytorch_does(name):
    theirs = WITNESSES[name](3, 10)
    theirs(torch.zeros(2, 3, 32, 32))
    found = nn.summary(made(name, (3, 32, 32), 10), (3, 32, 32))
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert found.parameters == sum(row.parameters for row in found.rows) == count
    assert found.rows[-1].shape == (1, 10)


# ------------------------------------------------------------------------------------------- outputs and gradients


@every_network_slowly
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_outputs_gradients_and_statistics_are_those_of_pytorch(name, shape, training):
    ours, theirs = pair(name, shape)
    ours.train(training), theirs.train(training)
    rng = np.random.default_rng(1)
    x, gy = rng.standard_normal((3, *shape)), rng.standard_normal((3, 7))
    input, witness = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(input), theirs(witness)
    y.backward(gy), expected.backward(torch.tensor(gy))
    assert_close(y.value, expected.detach().numpy())
    assert_close(input.grad, witness.grad.numpy())
    gradients = {key: parameter.grad.numpy() for key, parameter in theirs.named_parameters()}
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[key])
    found = ours.state_dict()
    for key, statistic in theirs.named_buffers():
        assert_close(found[key], statistic.numpy())


@every_network_slowly
def test_layer_by_layer_equals_the_tape_bit_for_bit(name):
    shape = (3, 33, 32)
    explicit, taped = (made(name, shape, dtype="float32") for _ in range(2))  # the same dropout masks
    rng = np.random.default_rng(1)
    x, gy = rng.standard_normal((2, *shape), np.float32), rng.standard_normal((2, 7), np.float32)
    input = Tensor(x, requires_grad=True)
    y = taped(input)
    y.backward(gy)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(explicit.forward(x), y.value)
    np.testing.assert_array_equal(explicit.backward(gy), input.grad)
    for a, b in zip(explicit.parameters(), taped.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


def test_squeezenet_without_ceil_mode():
    shape = (3, 40, 35)  # where it makes a difference
    theirs = SqueezeNet(3, 5, ceil_mode=False).double().eval()
    ours = models.squeezenet1_1(shape, 5, ceil_mode=False, dtype="float64", rng=np.random.default_rng(0)).eval()
    ours.load_state_dict(weights_of(theirs))
    x = np.random.default_rng(1).standard_normal((2, *shape))
    found = ours(x).value
    assert_close(found, theirs(torch.tensor(x)).detach().numpy())
    for i in (2, 5, 8):
        theirs.features[i].ceil_mode = True
    assert not np.allclose(found, theirs(torch.tensor(x)).detach().numpy())


@pytest.mark.parametrize("name", ["convnet-uva-2018", "convnet-uva-2020"])
def test_the_average_at_the_end_changes_nothing_at_32_pixels(name):
    model = made(name, (3, 32, 32)).eval()
    row = next(row for row in nn.summary(model, (3, 32, 32)).rows if row.type == "AdaptiveAvgPool2d")
    before = nn.summary(model[: int(row.name)], (3, 32, 32)).rows[-1]
    assert before.shape == row.shape == (1, 512, 1, 1)


@every_network
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 96, 96)], ids=str)
def test_other_images_are_read_too(name, shape):
    model = made(name, shape, 4, dtype="float32")
    assert model(np.zeros((2, *shape), np.float32)).shape == (2, 4)


# --------------------------------------------------------------------------------------------------- first values


def test_resnet_starts_as_torchvision_does():
    model = models.resnet18((3, 32, 32), 10, rng=np.random.default_rng(0))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 20
    for conv in convolutions:
        weight = conv.weight.value  # He's normal: variance 2 / (out_channels * kernel)
        assert weight.std() == pytest.approx((2 / (weight.shape[0] * weight[0, 0].size)) ** 0.5, rel=0.05)
        assert abs(weight.mean()) < 0.05 * weight.std()
        assert np.abs(weight).max() > 3 * weight.std()  # no uniform distribution reaches this
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert (norm.weight.value == 1).all()
        assert (norm.bias.value == 0).all()
    assert np.abs(model.fc.weight.value).max() == pytest.approx(1 / 512**0.5, rel=1e-3)


def test_squeezenet_starts_as_torchvision_does():
    model = models.squeezenet1_1((3, 32, 32), 100, rng=np.random.default_rng(0))
    *others, last = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert last.weight.value.std() == pytest.approx(0.01, rel=0.02)
    for conv in others:
        bound = (6 / conv.weight.value[0].size) ** 0.5  # He's uniform
        assert np.abs(conv.weight.value).max() == pytest.approx(bound, rel=0.02)
        assert conv.weight.value.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert all((conv.bias.value == 0).all() for conv in (*others, last))


@pytest.mark.parametrize("name", ["convnet-uva-2018", "convnet-uva-2020", "convnet-vu"])
def test_course_networks_start_with_pytorchs_defaults(name):
    torch.manual_seed(0)
    theirs = WITNESSES[name](3, 10)
    theirs(torch.zeros(2, 3, 32, 32))
    ours = dict(made(name, (3, 32, 32), 10).named_parameters())
    for key, witness in theirs.named_parameters():
        values, expected = ours[key].value, witness.detach().numpy()
        if np.ptp(expected) == 0:
            np.testing.assert_array_equal(values, expected)
        elif values.size > 1000:
            assert values.std() == pytest.approx(expected.std(), rel=0.08)
            assert np.abs(values).max() == pytest.approx(np.abs(expected).max(), rel=0.02)
        else:  # drawn from the same range, too few of them to be alike
            largest = np.abs(expected).max()
            assert 0.5 * largest < np.abs(values).max() < 2 * largest


@every_network
def test_another_initialiser_draws_convolutions_and_linear_layers_anew(name):
    model = made(name, (3, 32, 32), init="normal", init_std=0.25)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert layers
    for layer in layers:
        assert layer.weight.value.std() == pytest.approx(0.25, rel=0.2)
        assert layer.bias is None or (layer.bias.value == 0).all()


def test_initialisers_count_a_convolutions_kernel():
    model = made("convnet-vu", (3, 32, 32), init="kaiming-normal")
    assert model[3].weight.value.std() == pytest.approx((2 / (6 * 25)) ** 0.5, rel=0.1)


@every_network
def test_the_same_seed_gives_the_same_weights(name):
    first, second, other = (
        models.build(name, input_shape=(3, 32, 32), n_classes=3, rng=np.random.default_rng(seed)).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


# --------------------------------------------------------------------------------------------------------- misuse


@every_network
@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 3, 32, 32)], ids=str)
def test_inputs_that_are_no_images_are_refused(name, shape):
    with pytest.raises(UsageError) as error:
        made(name, shape)
    assert str(error.value).startswith(f"{name} reads images (c, h, w), but the inputs have shape {shape}")


@pytest.mark.parametrize(
    ("name", "settings", "smallest"),
    [("convnet-vu", {}, 16), ("squeezenet1_1", {}, 17), ("squeezenet1_1", {"ceil_mode": False}, 31)],
)
def test_images_that_are_too_small_are_refused_and_the_smallest_work(name, settings, smallest):
    factory, rng = models.MODELS[name], np.random.default_rng(0)
    shape = (3, smallest, smallest + 1)
    assert factory(shape, 4, rng=rng, **settings)(np.zeros((2, *shape), np.float32)).shape == (2, 4)
    with pytest.raises(UsageError, match=f"{name} reads images of {smallest} x {smallest} pixels or more"):
        factory((3, smallest + 1, smallest - 1), 4, rng=rng, **settings)


@pytest.mark.parametrize("name", ["convnet-uva-2018", "convnet-uva-2020", "resnet18"])
def test_one_pixel_is_an_image(name):
    assert made(name, (1, 1, 1), 4).eval()(np.ones((1, 1, 1, 1))).shape == (1, 4)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="model is 'lenet', expected one of mlp, convnet-uva-2018"):
        made("lenet", (3, 32, 32))
    with pytest.raises(ValueError, match="init is 'ones', expected one of pytorch, normal"):
        made("convnet-vu", (3, 32, 32), init="ones")
