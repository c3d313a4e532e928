"""Modules: what they hold, layer-by-layer backprop against the tape, and agreement with torch.nn."""

import numpy as np
import pytest
import torch

from chainrule import Parameter, Tensor, nn, no_grad
from chainrule.errors import UserError
from chainrule.models import ACTIVATIONS, INITIALISERS, activation_layer, build

RNG = np.random.default_rng(7)
LAYERS = {
    "Linear": lambda: nn.Linear(6, 4, rng=np.random.default_rng(0), dtype=np.float64),
    "Linear without bias": lambda: nn.Linear(6, 4, bias=False, rng=np.random.default_rng(0), dtype=np.float64),
    "ReLU": nn.ReLU,
    "LeakyReLU": lambda: nn.LeakyReLU(0.02),
    "ELU": lambda: nn.ELU(0.7),
    "SELU": nn.SELU,
    "GELU": nn.GELU,
    "GELU tanh": lambda: nn.GELU("tanh"),
    "SiLU": nn.SiLU,
    "Softplus": lambda: nn.Softplus(2.0),
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "Softmax": lambda: nn.Softmax(dim=1),
    "LogSoftmax": lambda: nn.LogSoftmax(dim=0),
    "Identity": nn.Identity,
    "Flatten": nn.Flatten,
    "Dropout": lambda: nn.Dropout(0.3, rng=np.random.default_rng(5)),
    "Sequential": lambda: build(
        "mlp", input_shape=(6,), n_classes=3, hidden=(5, 4), dropout=0.2, dtype="float64", rng=np.random.default_rng(3)
    ),
}
TORCH = {
    "Linear": lambda: torch.nn.Linear(6, 4),
    "ReLU": torch.nn.ReLU,
    "LeakyReLU": lambda: torch.nn.LeakyReLU(0.02),
    "ELU": lambda: torch.nn.ELU(0.7),
    "SELU": torch.nn.SELU,
    "GELU": torch.nn.GELU,
    "GELU tanh": lambda: torch.nn.GELU("tanh"),
    "SiLU": torch.nn.SiLU,
    "Softplus": lambda: torch.nn.Softplus(2.0),
    "Sigmoid": torch.nn.Sigmoid,
    "Tanh": torch.nn.Tanh,
    "Softmax": lambda: torch.nn.Softmax(dim=1),
    "LogSoftmax": lambda: torch.nn.LogSoftmax(dim=0),
    "Flatten": torch.nn.Flatten,
}
LOSSES = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss, RNG.integers(0, 6, 5)),
    "NLLLoss": (nn.NLLLoss, RNG.integers(0, 6, 5)),
    "MSELoss": (nn.MSELoss, RNG.standard_normal((5, 6))),
    "L1Loss": (nn.L1Loss, RNG.standard_normal((5, 6))),
    "HuberLoss": (nn.HuberLoss, RNG.standard_normal((5, 6))),
    "BCELoss": (nn.BCELoss, RNG.uniform(0, 1, (5, 6))),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss, RNG.uniform(0, 1, (5, 6))),
}
X = np.random.default_rng(1).standard_normal((5, 6))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layer_by_layer_equals_the_tape_bit_for_bit(make, dtype):
    explicit, taped = make(), make()
    for model in (explicit, taped):
        for parameter in model.parameters():
            parameter.value = parameter.value.astype(dtype)
    x = Tensor(X.astype(dtype), requires_grad=True)
    y = taped(x)
    gy = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
    y.backward(gy)
    np.testing.assert_array_equal(explicit.forward(X.astype(dtype)), y.value)
    np.testing.assert_array_equal(explicit.backward(gy), x.grad)
    assert y.dtype == x.grad.dtype == dtype
    for a, b in zip(explicit.parameters(), taped.parameters(), strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)


@pytest.mark.parametrize("name", TORCH)
def test_layer_equals_pytorchs(name):
    ours, theirs = LAYERS[name](), TORCH[name]().double()
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})
    x = torch.tensor(X, requires_grad=True)
    y = theirs(x)
    gy = np.random.default_rng(2).standard_normal(tuple(y.shape))
    y.backward(torch.tensor(gy))
    np.testing.assert_allclose(ours.forward(X), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours.backward(gy), x.grad.numpy(), rtol=1e-11, atol=1e-13)
    for key, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad, theirs.get_parameter(key).grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_equals_pytorchs(name, reduction):
    ours, target = LOSSES[name]
    start = X if name != "BCELoss" else 1 / (1 + np.exp(-X))
    x = torch.tensor(start, requires_grad=True)
    expected = getattr(torch.nn, name)(reduction=reduction)(x, torch.tensor(target))
    gy = np.random.default_rng(3).standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(gy))
    loss = ours(reduction=reduction)
    np.testing.assert_allclose(loss.forward(start, target), expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(loss.backward(gy), x.grad.numpy(), rtol=1e-11, atol=1e-14)


def test_class_weights_and_smoothing_reach_the_loss():
    weight = np.arange(1.0, 7.0)
    target = LOSSES["CrossEntropyLoss"][1]
    ours = nn.CrossEntropyLoss(weight, label_smoothing=0.1)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight), label_smoothing=0.1)
    assert ours(X, target) == pytest.approx(theirs(torch.tensor(X), torch.tensor(target)).item())
    positive = nn.BCEWithLogitsLoss(pos_weight=weight)(X, np.ones_like(X))
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))(torch.tensor(X), torch.ones(5, 6).double())
    assert positive == pytest.approx(expected.item())


# --------------------------------------------------------------------------------------------- Module


class Block(nn.Module):
    """Nested, with a list of layers, a shared layer, an array that is state, and private things."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.first = nn.Linear(3, 3, rng=rng)
        self.rest = [nn.Linear(3, 3, rng=rng), nn.Tanh(), nn.Linear(3, 2, rng=rng)]
        self.again = self.first
        self.running = np.zeros(4)
        self.scale = Parameter(np.ones(2, np.float32))
        self._private = Parameter(np.ones(1))

    def __call__(self, x):
        x = self.again(self.first(x))
        for layer in self.rest:
            x = layer(x)
        return self.scale * x


def test_parameters_are_found_once_with_dotted_names():
    names = [name for name, _ in Block().named_parameters()]
    assert names == [
        "scale",
        "first.weight",
        "first.bias",
        "rest.0.weight",
        "rest.0.bias",
        "rest.2.weight",
        "rest.2.bias",
    ]


def test_state_goes_out_and_in():
    a, b = Block(), Block()
    a.running[:] = 3
    a.scale.value[:] = 5
    kept = b.scale.value
    b.load_state_dict(a.state_dict())
    assert b.scale.value is kept, "values are copied into place: views and optimizers stay valid"
    np.testing.assert_array_equal(b.running, 3)
    np.testing.assert_array_equal(b.scale.value, 5)
    a.state_dict()["scale"][:] = 9
    np.testing.assert_array_equal(a.scale.value, 5)


def test_wrong_state_is_listed_and_changes_nothing():
    block = Block()
    before = block.state_dict()
    state = {**before, "scale": np.ones(3), "extra": np.ones(1), "running": np.ones(4)}
    del state["first.bias"]
    with pytest.raises(UserError) as caught:
        block.load_state_dict(state)
    for part in ("first.bias is missing", "extra is unknown", "scale has shape (3,), expected (2,)"):
        assert part in str(caught.value)
    for name, value in block.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_shared_layer_is_walked_in_the_right_order():
    block = Block()
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    explicit = nn.Sequential(block.first, block.first)
    tensor = Tensor(x, requires_grad=True)
    y = block.first(block.first(tensor))
    y.backward(np.ones(y.shape))
    expected = block.first.weight.grad
    block.zero_grad()
    explicit.forward(x)
    np.testing.assert_array_equal(explicit.backward(np.ones(y.shape, np.float32)), tensor.grad)
    np.testing.assert_allclose(block.first.weight.grad, expected, rtol=1e-6)


def test_backward_without_forward_is_an_error_and_no_grad_keeps_no_tape():
    layer = nn.Linear(3, 2)
    x = np.ones((1, 3), np.float32)
    with no_grad():
        layer.forward(x)
    with pytest.raises(RuntimeError, match=r"Linear\.backward"):
        layer.backward(np.ones((1, 2)))
    layer.forward(x)
    layer.zero_grad()
    with pytest.raises(RuntimeError, match=r"Linear\.backward"):
        layer.backward(np.ones((1, 2)))


def test_gradients_add_up_and_are_forgotten():
    layer = nn.Linear(3, 2)
    x = np.ones((4, 3), np.float32)
    for _ in range(2):
        layer.forward(x)
        layer.backward(np.ones((4, 2), np.float32))
    np.testing.assert_array_equal(layer.bias.grad, 8)
    layer.zero_grad()
    assert layer.bias.grad is None


def test_train_and_eval_reach_every_module():
    model = build("mlp", input_shape=(6,), n_classes=3, dropout=0.5, rng=np.random.default_rng(0))
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    first, second = model.forward(X.astype(np.float32)), model.forward(X.astype(np.float32))
    np.testing.assert_array_equal(first, second)
    model.train()
    assert all(m.training for m in model.modules())
    assert np.any(model.forward(X.astype(np.float32)) != first)


def test_dropout_keeps_the_mean_and_reuses_its_mask():
    layer = nn.Dropout(0.25, rng=np.random.default_rng(0))
    x = np.ones((200, 300))
    y = layer.forward(x)
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert y.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(layer.backward(x), y)


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match="probability"):
        nn.Dropout(p)


def test_dropout_of_everything_is_zero():
    layer = nn.Dropout(1.0)
    np.testing.assert_array_equal(layer.forward(np.ones(5)), 0)


def test_repr_is_the_structure():
    text = repr(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.1))))
    assert text.splitlines() == [
        "Sequential(",
        "  (0): Linear(in_features=2, out_features=3)",
        "  (1): Sequential(",
        "    (0): LeakyReLU(negative_slope=0.2)",
        "    (1): Dropout(p=0.1)",
        "  )",
        ")",
    ]


def test_sequential_is_a_sequence():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3
    assert isinstance(model[-1], nn.Linear)
    assert model[1:][1] is model[2]


def test_summary_counts_and_leaves_the_model_as_it_was():
    model = build(
        "mlp", input_shape=(3, 32, 32), n_classes=10, hidden=(100,), dropout=0.5, rng=np.random.default_rng(0)
    )
    model[1].eval()
    table = nn.summary(model, (3, 32, 32))
    assert table.parameters == 3072 * 100 + 100 + 100 * 10 + 10
    assert [row.shape for row in table.rows] == [(1, 3072), (1, 100), (1, 100), (1, 100), (1, 10)]
    assert "308,310" in str(table)
    assert not model[1].training
    assert model[2].training


def test_flatten_needs_the_axes_it_flattens():
    with pytest.raises(ValueError, match="Flatten: axis 1 is out of bounds"):
        nn.Flatten()(np.ones(3))


def test_a_wrong_input_names_the_op_and_both_shapes():
    with pytest.raises(ValueError, match=r"linear: weight has shape \(3, 2\), expected \(m, d\) with d = 5"):
        nn.Linear(2, 3)(np.ones((4, 5), np.float32))


# ----------------------------------------------------------------------------------- first values, models


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.init.xavier_uniform_, torch.nn.init.xavier_uniform_),
        (nn.init.xavier_normal_, torch.nn.init.xavier_normal_),
        (nn.init.kaiming_uniform_, torch.nn.init.kaiming_uniform_),
        (nn.init.kaiming_normal_, torch.nn.init.kaiming_normal_),
        (
            lambda p, rng: nn.init.kaiming_normal_(p, 0.2, "fan_out", rng=rng),
            lambda t: torch.nn.init.kaiming_normal_(t, 0.2, "fan_out"),
        ),
        (lambda p, rng: nn.init.normal_(p, 1.0, 0.3, rng=rng), lambda t: torch.nn.init.normal_(t, 1.0, 0.3)),
        (lambda p, rng: nn.init.uniform_(p, -1.0, 3.0, rng=rng), lambda t: torch.nn.init.uniform_(t, -1.0, 3.0)),
    ],
)  # fmt: skip
def test_initialisers_draw_from_pytorchs_distributions(ours, theirs):
    """Two-sample Kolmogorov-Smirnov distance of 120,000 draws: 0.0068 is exceeded once in a hundred by chance."""
    torch.manual_seed(0)
    a = np.sort(ours(Parameter(np.empty((300, 400))), rng=np.random.default_rng(0)).value.ravel())
    b = np.sort(theirs(torch.empty(300, 400)).numpy().ravel().astype(np.float64))
    grid = np.concatenate([a, b])
    distance = np.abs(np.searchsorted(a, grid, "right") - np.searchsorted(b, grid, "right")).max() / a.size
    assert distance < 0.0068


def test_linear_starts_as_pytorchs():
    layer = nn.Linear(400, 300, rng=np.random.default_rng(0))
    for value in (layer.weight.value, layer.bias.value):
        assert value.dtype == np.float32
        assert np.abs(value).max() <= 1 / 20
        assert value.std() == pytest.approx(1 / 20 / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize("nonlinearity", ["linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"])
def test_gains_are_pytorchs(nonlinearity):
    assert nn.init.calculate_gain(nonlinearity) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity))


def test_the_same_seed_gives_the_same_model():
    a, b = (build("mlp", input_shape=(4,), n_classes=2, rng=np.random.default_rng(3)).state_dict() for _ in range(2))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("init", INITIALISERS)
def test_models_start_from_the_named_initialiser(init):
    model = build(
        "mlp", input_shape=(400,), n_classes=10, hidden=(300,), init=init, init_std=1e-4, rng=np.random.default_rng(0)
    )
    reference = Parameter(np.empty((300, 400), np.float32))
    INITIALISERS[init](reference, rng=np.random.default_rng(1), **({"std": 1e-4} if init == "normal" else {}))
    assert model[1].weight.value.std() == pytest.approx(reference.value.std(), rel=0.02)
    np.testing.assert_array_equal(model[1].bias.value, 0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_makes_a_model_that_runs(name):
    model = build("mlp", input_shape=(2, 3), n_classes=4, activation=name, rng=np.random.default_rng(0))
    assert type(model[2]) is type(activation_layer(name))
    assert model.forward(np.ones((5, 2, 3), np.float32)).shape == (5, 4)


@pytest.mark.parametrize(
    "wrong", [{"name": "perceptron"}, {"name": "mlp", "activation": "swash"}, {"name": "mlp", "init": "zeros"}]
)
def test_unknown_names_are_listed(wrong):
    with pytest.raises(ValueError, match=r"expected one of .*"):
        build(**{"input_shape": (2,), "n_classes": 2, "rng": np.random.default_rng(0), **wrong})
