"""PyTorch and chainrule, translated both ways: the same numbers, gradients, names and memory."""

import inspect

import numpy as np
import pytest
import torch

from chainrule import OPS, Parameter, Tensor, grad, jacobian, nn, ops, optim
from chainrule.check import draw, gradcheck, numeric_gradient
from chainrule.interop.torch import from_function, from_torch, to_function, to_torch, to_torch_optimizer
from chainrule.models import MODELS, build

torch.set_num_threads(1)
F64 = {"dtype": np.float64, "rng": np.random.default_rng(3)}
NORM = {"dtype": np.float64}
LABELS = np.array([2, 0, 1])

# A layer of every class, and its inputs: shapes, or arrays.
LAYERS = {
    "Linear": (nn.Linear(5, 4, **F64), [(3, 5)]),
    "Linear without bias": (nn.Linear(5, 4, bias=False, **F64), [(3, 5)]),
    "Conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2, **F64), [(2, 4, 9)]),
    "Conv2d": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), dilation=2, **F64), [(2, 4, 7, 5)]),
    "Conv2d same": (nn.Conv2d(2, 3, 3, padding="same", bias=False, **F64), [(2, 2, 4, 5)]),
    "ConvTranspose2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, **F64), [(2, 4, 3, 5)]),
    "MaxPool2d": (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), [(2, 3, 7, 6)]),
    "AvgPool2d": (nn.AvgPool2d((3, 2), padding=(1, 0), count_include_pad=False), [(2, 3, 7, 6)]),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d((3, 2)), [(2, 3, 7, 5)]),
    "BatchNorm1d": (nn.BatchNorm1d(4, momentum=0.3, **NORM), [(5, 4)]),
    "BatchNorm2d": (nn.BatchNorm2d(4, eps=1e-3, **NORM), [(3, 4, 2, 3)]),
    "BatchNorm2d plain": (nn.BatchNorm2d(4, affine=False, track_running_stats=False, **NORM), [(3, 4, 2, 3)]),
    "LayerNorm": (nn.LayerNorm((3, 4), **NORM), [(2, 3, 4)]),
    "LayerNorm without bias": (nn.LayerNorm(4, bias=False, **NORM), [(2, 3, 4)]),
    "LayerNorm plain": (nn.LayerNorm(4, elementwise_affine=False, **NORM), [(2, 3, 4)]),
    "RMSNorm": (nn.RMSNorm(4, **NORM), [(2, 3, 4)]),
    "GroupNorm": (nn.GroupNorm(2, 6, **NORM), [(3, 6, 2, 3)]),
    "InstanceNorm1d": (nn.InstanceNorm1d(4, affine=True, **NORM), [(3, 4, 5)]),
    "InstanceNorm2d": (nn.InstanceNorm2d(4, **NORM), [(3, 4, 2, 3)]),
    "Embedding": (nn.Embedding(7, 3, padding_idx=1, **F64), [np.array([[1, 6, 0], [4, 4, 2]])]),
    "RNNCell": (nn.RNNCell(4, 3, nonlinearity="relu", **F64), [(2, 4), (2, 3)]),
    "LSTMCell": (nn.LSTMCell(4, 3, bias=False, **F64), [(2, 4)]),
    "GRUCell": (nn.GRUCell(4, 3, **F64), [(2, 4), (2, 3)]),
    "RNN": (nn.RNN(4, 3, num_layers=2, nonlinearity="relu", **F64), [(5, 2, 4)]),
    "LSTM": (nn.LSTM(4, 3, num_layers=2, batch_first=True, **F64), [(2, 5, 4)]),
    "GRU": (nn.GRU(4, 3, bias=False, **F64), [(5, 2, 4), (1, 2, 3)]),
    "MultiheadAttention": (nn.MultiheadAttention(6, 2, batch_first=True, **F64), [(3, 5, 6)]),
    "MultiheadAttention of three": (nn.MultiheadAttention(6, 3, bias=False, **F64), [(5, 2, 6), (4, 2, 6), (4, 2, 6)]),
    "Flatten": (nn.Flatten(1, 2), [(2, 3, 4, 5)]),
    "Identity": (nn.Identity(), [(2, 3)]),
    "ReLU": (nn.ReLU(), [(2, 3)]),
    "LeakyReLU": (nn.LeakyReLU(0.2), [(2, 3)]),
    "ELU": (nn.ELU(0.7), [(2, 3)]),
    "SELU": (nn.SELU(), [(2, 3)]),
    "GELU": (nn.GELU("tanh"), [(2, 3)]),
    "SiLU": (nn.SiLU(), [(2, 3)]),
    "Softplus": (nn.Softplus(2.0, threshold=1.0), [(2, 3)]),
    "Sigmoid": (nn.Sigmoid(), [(2, 3)]),
    "Tanh": (nn.Tanh(), [(2, 3)]),
    "Softmax": (nn.Softmax(dim=0), [(2, 3)]),
    "LogSoftmax": (nn.LogSoftmax(dim=1), [(2, 3)]),
    "CrossEntropyLoss": (nn.CrossEntropyLoss(np.array([1.0, 2, 3]), label_smoothing=0.1), [(3, 3), LABELS]),
    "NLLLoss": (nn.NLLLoss(reduction="sum"), [(3, 3), LABELS]),
    "MSELoss": (nn.MSELoss(), [(3, 4), (3, 4)]),
    "L1Loss": (nn.L1Loss(reduction="none"), [(3, 4), (3, 4)]),
    "HuberLoss": (nn.HuberLoss(delta=0.5), [(3, 4), (3, 4)]),
    "BCELoss": (nn.BCELoss(), [np.full((3, 4), 0.3), np.full((3, 4), 0.6)]),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(pos_weight=np.array([1.0, 2, 3, 4])), [(3, 4), np.full((3, 4), 0.6)]),
}
each_layer = pytest.mark.parametrize(("layer", "inputs"), LAYERS.values(), ids=LAYERS)


def drawn(inputs, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(x) if isinstance(x, tuple) else x for x in inputs]


def flat(y):
    """One result, or several in tuples, as a list."""
    return [part for item in y for part in flat(item)] if isinstance(y, tuple) else [y]


def close(found, expected, tolerance=1e-10):
    found, expected = (x.value if isinstance(x, Tensor) else x for x in (found, expected))
    assert found.shape == tuple(expected.shape)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def assert_agree(ours, theirs, inputs):
    """Values, and the gradients of the inputs and of the parameters."""
    xs = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    ts = [torch.from_numpy(x.copy()).requires_grad_(x.dtype.kind == "f") for x in inputs]
    ours.zero_grad()
    theirs.zero_grad()
    rng = np.random.default_rng(9)
    for y, expected in zip(flat(ours(*xs)), flat(theirs(*ts)), strict=True):
        close(y, expected.detach().numpy())
        gy = np.asarray(rng.standard_normal(y.shape))
        y.backward(gy, retain_graph=True)
        expected.backward(torch.from_numpy(gy), retain_graph=True)
    for x, t in zip(xs, ts, strict=True):
        if x.grad is not None:
            close(x.grad, t.grad.numpy())
    of = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        close(p.grad, of[name].grad.numpy())


def test_every_layer_is_here():
    classes = {c for c in vars(nn).values() if inspect.isclass(c) and issubclass(c, nn.Module)}
    assert {type(layer) for layer, _ in LAYERS.values()} == classes - {nn.Module, nn.Sequential, nn.Dropout}


@each_layer
def test_a_layer_to_torch(layer, inputs):
    twin = to_torch(layer)
    assert isinstance(twin, getattr(torch.nn, type(layer).__name__))
    assert list(twin.state_dict()) == list(layer.state_dict())
    for name, p in layer.named_parameters():
        assert np.shares_memory(twin.get_parameter(name).detach().numpy(), p.value)
    assert_agree(layer, twin, drawn(inputs))


@each_layer
def test_a_layer_from_torch(layer, inputs):
    theirs = to_torch(layer)
    back = from_torch(theirs)
    assert type(back) is type(layer)
    state = back.state_dict()
    for name, array in layer.state_dict().items():
        assert state[name].dtype == array.dtype
        np.testing.assert_array_equal(state[name], array)
        assert not np.shares_memory(dict(back._state())[name], dict(layer._state())[name])
    assert_agree(back, theirs, drawn(inputs))


@pytest.mark.parametrize(
    ("theirs", "shape"),
    [
        (torch.nn.Linear(5, 4, bias=False), (3, 5)),
        (torch.nn.Conv2d(4, 6, 3, padding="same", groups=2), (2, 4, 5, 7)),
        (torch.nn.BatchNorm2d(4, affine=False), (3, 4, 2, 5)),
        (torch.nn.LSTM(4, 3, 2, batch_first=True), (2, 5, 4)),
        (torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2), torch.nn.ReLU(inplace=True), torch.nn.Flatten()), (2, 2, 5)),
        (torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Sequential(torch.nn.Linear(4, 2))), (3, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pytorchs_own_layers_from_torch(theirs, shape, dtype):
    theirs = theirs.to(torch.float64 if dtype is np.float64 else torch.float32)
    ours = from_torch(theirs)
    assert {p.dtype for p in ours.parameters()} <= {np.dtype(dtype)}
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    with torch.no_grad():
        expected = flat(theirs(torch.from_numpy(x)))
    for y, z in zip(flat(ours(x)), expected, strict=True):
        close(y, z.numpy(), 1e-12 if dtype is np.float64 else 2e-6)


def test_modes_and_frozen_parameters_are_kept():
    ours = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
    ours[0].weight.requires_grad = False
    twin = to_torch(ours)
    for model in (twin, from_torch(twin)):
        assert (model[0].training, model[1].training) == (True, False)
        assert [p.requires_grad for _, p in sorted(model.named_parameters())] == [True, False, True, True]


@pytest.mark.parametrize("momentum", [0.3, None])
def test_running_statistics_are_the_models_own(momentum):
    ours, same = (nn.BatchNorm2d(3, momentum=momentum, dtype=np.float64) for _ in range(2))
    twin = to_torch(ours)
    for x in np.random.default_rng(0).normal(2, 3, (4, 5, 3, 2, 2)):
        twin(torch.from_numpy(x))
        same(x)
    assert ours.num_batches_tracked == 4
    for name, array in same.state_dict().items():
        close(ours.state_dict()[name], array)
    x = np.ones((2, 3, 1, 1))
    close(ours.eval()(x), twin.eval()(torch.from_numpy(x)).detach().numpy())


def test_dropout_drops_the_same_units_and_shares_the_generator():
    ours, same = (nn.Dropout(0.3, rng=np.random.default_rng(5)) for _ in range(2))
    twin, x = to_torch(ours), np.random.default_rng(0).standard_normal((4, 50))
    for _ in range(2):
        t = torch.from_numpy(x).requires_grad_()
        expected = Tensor(x, requires_grad=True)
        y, z = twin(t), same(expected)
        close(y.detach().numpy(), z)
        y.sum().backward()
        z.sum().backward()
        close(t.grad.numpy(), expected.grad)
    assert ours.rng.bit_generator.state == same.rng.bit_generator.state
    assert (twin.eval()(t) == t).all()
    assert not to_torch(nn.Dropout(1.0))(torch.full((3,), np.inf)).any()


@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_with_a_mask(is_causal):
    ours = nn.MultiheadAttention(6, 2, **F64)
    x, mask = np.random.default_rng(0).standard_normal((4, 3, 6)), np.random.default_rng(1).random((4, 4)) < 0.3
    settings = {"is_causal": True} if is_causal else {"attn_mask": mask}
    theirs = {"is_causal": True} if is_causal else {"attn_mask": torch.from_numpy(mask)}
    close(ours(x, **settings), to_torch(ours)(torch.from_numpy(x), **theirs).detach().numpy())


# ----------------------------------------------------------------------------------------------- whole networks


@pytest.mark.parametrize("name", MODELS)
def test_the_named_networks(name):
    side = {"mlp": 4, "squeezenet1_1": 32, "resnet18": 33}.get(name, 32)
    ours = build(name, input_shape=(2, side, side), n_classes=3, dtype="float64", rng=np.random.default_rng(0))
    twin = to_torch(ours)
    assert twin.state_dict().keys() == ours.state_dict().keys()
    # In eval mode, where batch norm does not magnify the differences of tiny variances.
    assert_agree(ours.eval(), twin.eval(), [np.random.default_rng(1).standard_normal((2, 2, side, side))])
    types = {type(m).__module__.split(".")[0] for m in twin.modules() if not any(m.children())}
    assert types <= {"torch", "chainrule"}
    assert all(
        isinstance(m, torch.nn.Dropout) for m in twin.modules() if not any(m.children()) and "chainrule" in str(type(m))
    )


class Everything(nn.Module):
    """What a module of a user's own may do."""

    def __init__(self, rng):
        self.layers = [nn.Linear(4, 4, rng=rng, dtype=np.float64), nn.Tanh()]
        self.scale = Parameter(rng.standard_normal(4))
        self.shift = rng.standard_normal(4)
        self.several = [Parameter(rng.standard_normal((4, 3))), Parameter(rng.standard_normal(3))]
        self.times, self.none, self._private = 3, None, 0.5

    @property
    def twice(self):
        return 2 * self.times

    def residual(self, x):
        for layer in self.layers:
            x = x + layer(x) * self._private
        return x

    def __call__(self, x):
        assert self.none is None
        x = self.residual(x) * self.scale + self.shift
        if self.training:
            x = self.twice * x
        weight, bias = self.several
        y = ops.softmax(x @ weight + bias, dim=1)
        return np.concatenate([np.exp(y), ops.relu(x), np.cumsum(x, axis=1)], axis=1), x[:, :2].sum(axis=1)


def test_a_module_of_ones_own():
    ours = Everything(np.random.default_rng(0))
    twin = to_torch(nn.Sequential(ours))[0]
    assert twin.state_dict().keys() == ours.state_dict().keys()
    x = np.random.default_rng(1).standard_normal((3, 4))
    assert_agree(ours, twin, [x])
    assert_agree(ours.eval(), twin.eval(), [x])
    assert type(twin(torch.from_numpy(x))[0]) is torch.Tensor
    assert str(twin).startswith("Everything(")
    with pytest.raises(AttributeError, match="absent"):
        twin.absent  # noqa: B018


def test_what_numpy_function_has_no_op():
    class Sorted(nn.Module):
        def __call__(self, x):
            return np.sort(x)

    with pytest.raises(TypeError, match=r"np\.sort on a PyTorch tensor: there is no op"):
        to_torch(Sorted())(torch.ones(3))


def test_shared_layers_and_parameters_stay_shared():
    layer, other = nn.Linear(3, 3, **F64), nn.Linear(3, 3, **F64)
    other.weight = layer.weight
    ours = nn.Sequential(layer, other, layer)
    twin = to_torch(ours)
    assert twin[0] is twin[2]
    assert twin[0].weight is twin[1].weight
    assert_agree(ours, twin, [np.random.default_rng(0).standard_normal((2, 3))])


LIBRARY = {name: op for name, op in OPS.items() if op.__module__.startswith("chainrule.ops.")}


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch's remark that it copies
@pytest.mark.parametrize("op", LIBRARY.values(), ids=LIBRARY)
def test_every_op_inside_a_module(op):
    """On every sample it declares, by PyTorch's function or by its own rule: the same value and gradients."""
    for sample in op.samples:
        inputs = draw(op, sample, np.random.default_rng(1))
        y, pullbacks = op.run(inputs, sample.params)
        gy = np.asarray(np.random.default_rng(2).standard_normal(np.shape(y)))

        class Uses(nn.Module):
            def __call__(self, *xs, params=sample.params):
                return op(*xs, **params)

        ts = [
            torch.from_numpy(x).requires_grad_(x.dtype == np.float64 and pullback is not None)
            for x, pullback in zip(inputs, pullbacks, strict=False)
        ]
        found = to_torch(Uses())(*ts)
        close(found.detach().numpy(), np.asarray(y))
        if found.requires_grad:
            found.backward(torch.from_numpy(gy))
        for t, pullback in zip(ts, pullbacks, strict=False):
            if t.requires_grad:
                close(np.zeros(t.shape) if t.grad is None else t.grad.numpy(), pullback(gy))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Bilinear(2, 2, 2), r"torch\.nn\.modules\.linear\.Bilinear is not a layer of chainrule"),
        (torch.nn.Sequential(torch.nn.PReLU()), "PReLU is not a layer of chainrule"),
        (torch.nn.Conv2d(1, 1, 2, padding_mode="reflect"), "Conv2d: chainrule's has no padding_mode='reflect'"),
        (torch.nn.LSTM(2, 2, bidirectional=True), "LSTM: chainrule's has no bidirectional=True"),
        (torch.nn.Softmax(), "Softmax: chainrule's has no dim=None"),
        (torch.nn.CrossEntropyLoss(ignore_index=3), "CrossEntropyLoss: chainrule's has no ignore_index=3"),
        (type("Linear", (torch.nn.Linear,), {})(2, 2), "Linear is not a layer of chainrule"),
    ],
)
def test_what_chainrule_does_not_have_is_named(module, message):
    with pytest.raises(TypeError, match=message):
        from_torch(module)


# ------------------------------------------------------------------------------------------- ops and functions


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).requires_grad_()


@pytest.mark.parametrize(
    ("op", "params", "inputs"),
    [
        (ops.softmax, {"dim": 0}, [random(3, 4)]),
        (ops.linear, {}, [random(2, 3), random(4, 3, seed=1), None]),
        (ops.linear, {}, [random(2, 3), random(4, 3, seed=1), random(4, seed=2)]),
        (ops.mul, {}, [random(3, 1), random(4, seed=1)]),
        (ops.conv2d, {"padding": 1}, [random(1, 2, 3, 4), random(2, 2, 2, 3, seed=1)]),
        (ops.cross_entropy, {}, [random(3, 4), torch.tensor([1, 3, 0])]),
        (ops.reshape, {"shape": (4, 3)}, [random(3, 4)]),
        (ops.sum, {"axis": 1}, [random(3, 4)]),
        (lambda x, y: np.tanh(x) @ y, {}, [random(3, 4), random(4, 2, seed=1)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_op_as_a_function(op, params, inputs):
    apply = to_function(op, **params).apply
    assert torch.autograd.gradcheck(apply, inputs)
    assert torch.autograd.gradgradcheck(apply, inputs)


def test_a_third_derivative_of_an_op():
    x = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    y = to_function(ops.tanh).apply(x)
    for _ in range(3):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    t = torch.tanh(x)
    close(y.detach().numpy(), ((1 - t**2) * (6 * t**2 - 2)).detach().numpy())


def test_an_op_on_memory_of_every_kind():
    exp, x = to_function(ops.exp), torch.arange(12.0).reshape(3, 4)
    for view in (x.T, x[:, ::2], x[1], x[0, 0], x.double(), x[:0]):
        view = view.clone(memory_format=torch.preserve_format).requires_grad_()
        y = exp.apply(view)
        assert y.dtype == view.dtype
        assert torch.allclose(y, view.exp())
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        assert torch.allclose(view.grad, 2 * view.exp())
    frozen = torch.ones(3)
    assert not exp.apply(frozen).requires_grad


def test_a_result_of_an_op_is_not_the_memory_of_its_input():
    x = torch.zeros(4)
    to_function(ops.reshape, shape=(2, 2)).apply(x).add_(1)
    assert not x.any()
    to_function(ops.broadcast_to, shape=(2, 4)).apply(x).add_(1)
    assert not x.any()


def test_only_wanted_gradients_are_computed():
    asked = []

    class Recording(nn.Module):
        def __call__(self, a, b):
            asked.append((a.requires_grad, b.requires_grad))
            return a * b

    function = to_function(Recording())
    function.apply(torch.ones(2, requires_grad=True), torch.ones(2)).sum().backward()
    assert asked == [(True, False)]


def test_a_function_of_pytorch_as_an_op():
    logsumexp = from_function(torch.logsumexp, "n d -> n", dim=1)
    x = np.random.default_rng(0).standard_normal((3, 4))
    close(logsumexp(x), ops.logsumexp(x, dim=1))
    assert gradcheck(logsumexp, [x])
    _, (gx,) = logsumexp.rule(x)
    close(gx(np.ones(3)), ops.softmax(x, dim=1))
    assert logsumexp.name not in OPS or OPS[logsumexp.name] is not logsumexp


def test_a_function_of_several_inputs_in_the_middle_of_a_tape():
    bilinear = from_function(torch.nn.functional.bilinear, "n a, n b, m a b -> n m")
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape) for shape in ((2, 3), (2, 4), (5, 3, 4))]

    def loss(a, b, w):
        return (np.tanh(bilinear(np.exp(a), b, w)) ** 2).sum()

    def composed(a, b, w):
        return (np.tanh(np.einsum("na,mab,nb->nm", np.exp(a), w, b)) ** 2).sum()

    for i in range(3):
        close(grad(loss, i)(*inputs), grad(composed, i)(*inputs))
        close(jacobian(grad(loss, 0), i)(*inputs), jacobian(grad(composed, 0), i)(*inputs))
    with pytest.raises(ValueError, match=r"bilinear: x1 has shape \(3, 4\), expected \(n, b\) with n = 2"):
        bilinear(inputs[0], np.ones((3, 4)), inputs[2])


def test_functions_that_lose_an_input_and_integers():
    take = from_function(lambda x, index: x[index], "n, m -> m")
    x, index = np.arange(4.0), np.array([2, 0])
    assert grad(lambda x: take(x, index).sum())(x).tolist() == [1, 0, 1, 0]
    constant = from_function(lambda x: torch.ones(2, dtype=x.dtype), "n -> m")
    assert grad(lambda x: constant(x).sum())(x).tolist() == [0, 0, 0, 0]
    assert constant(x.astype(np.float32)).dtype == np.float32


def test_there_and_back_again():
    """An op of a function of an op."""
    again = from_function(to_function(ops.softmax).apply, "... d -> ... d")
    x = np.random.default_rng(0).standard_normal((2, 3))
    close(again(x[:, ::-1]), ops.softmax(x[:, ::-1]))
    weight = np.random.default_rng(1).standard_normal((2, 3))
    truth = numeric_gradient(lambda x: (weight * ops.softmax(x)).sum(), x)
    close(grad(lambda x: (weight * again(x)).sum())(x), truth.value, 1e-8)


# --------------------------------------------------------------------------------------------------- optimizers


RULES = {
    "SGD": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "SGD with momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, 0.1, weight_decay=0.2),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1, alpha=0.8, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1, lr_decay=0.3, initial_accumulator_value=0.2),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_optimizer_shares_its_state(rule, dtype):
    rng = np.random.default_rng(0)
    value, gradients = rng.standard_normal((3, 2)).astype(dtype), rng.standard_normal((5, 3, 2)).astype(dtype)
    ours, same = (Parameter(value.copy()) for _ in range(2))
    optimizer, expected = rule([ours]), rule([same])
    memory = dict(optimizer.state[0])
    twin = torch.nn.Parameter(torch.from_numpy(ours.value))
    translated = to_torch_optimizer(optimizer, [twin])
    assert type(translated) is getattr(torch.optim, type(optimizer).__name__)
    for g in gradients:
        twin.grad, same.grad = torch.from_numpy(g), g
        translated.step()
        expected.step()
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    close(ours.value, same.value, tolerance)
    for name, array in expected.state[0].items():
        assert optimizer.state[0][name] is memory[name]
        if name != "step" or not isinstance(optimizer, optim.SGD):  # PyTorch's SGD does not count
            close(memory[name], array, tolerance)
