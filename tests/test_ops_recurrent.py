"""Recurrent cells and their layers against PyTorch, over drawn sizes; saturated gates; what is refused."""

import re

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch

from chainrule import Tensor, hvp, nn, ops

torch.set_num_threads(1)
DTYPES = [np.float64, np.float32]
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-5}
CELLS = {  # our op, PyTorch's function, the number of states, the number of gates
    "rnn tanh": (ops.rnn_cell, torch.rnn_tanh_cell, 1, 1),
    "rnn relu": (lambda *inputs: ops.rnn_cell(*inputs, nonlinearity="relu"), torch.rnn_relu_cell, 1, 1),
    "lstm": (ops.lstm_cell, lambda x, h, c, *weights: torch.stack(torch.lstm_cell(x, (h, c), *weights)), 2, 4),
    "gru": (ops.gru_cell, torch.gru_cell, 1, 3),
}
each_cell = pytest.mark.parametrize(("ours", "theirs", "n_states", "n_gates"), CELLS.values(), ids=CELLS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def cell_inputs(rng, n_states, n_gates, dtype=np.float64):
    """Inputs of a cell of drawn sizes, half of the time without biases."""
    n, e, d = rng.integers(1, 8, 3)
    shapes = [(n, e), *[(n, d)] * n_states, (n_gates * d, e), (n_gates * d, d)]
    shapes += [(n_gates * d,)] * 2 * int(rng.integers(2))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@each_dtype
@each_cell
def test_cells_are_pytorchs(ours, theirs, n_states, n_gates, dtype):
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert_equals_torch(ours, theirs, *cell_inputs(rng, n_states, n_gates, dtype))


@each_cell
def test_cells_have_pytorchs_second_derivatives(ours, theirs, n_states, n_gates):
    """The Hessian of sum(g * y^2), with respect to each input, times a vector."""
    rng = np.random.default_rng(1)
    inputs = cell_inputs(rng, n_states, n_gates)
    g = rng.standard_normal(ours(*inputs).shape)
    for place, x in enumerate(inputs):
        v = rng.standard_normal(x.shape)
        found = hvp(lambda *xs: (g * ours(*xs) ** 2).sum(), argnums=place)(*inputs, v)
        witnesses = [torch.tensor(x, requires_grad=True) for x in inputs]
        loss = (torch.tensor(g) * theirs(*witnesses) ** 2).sum()
        [gx] = torch.autograd.grad(loss, witnesses[place], create_graph=True)
        [expected] = torch.autograd.grad((gx * torch.tensor(v)).sum(), witnesses[place])
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-10)


@each_dtype
@each_cell
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_saturated_gates_have_their_limits_without_a_warning(ours, theirs, n_states, n_gates, size, dtype):
    inputs = cell_inputs(np.random.default_rng(2), n_states, n_gates, dtype)
    inputs[0] = np.full_like(inputs[0], size)
    assert_equals_torch(ours, theirs, *inputs)


def test_an_open_forget_gate_keeps_value_and_gradient_for_a_hundred_steps():
    gates = np.array([-50.0, 50.0, 0.0, 0.0])  # one unit: input closed, forget open
    c = start = Tensor([[0.7]], requires_grad=True)
    h, weight = np.zeros((1, 1)), np.zeros((4, 1))
    for _ in range(100):
        h, c = ops.lstm_cell(np.ones((1, 1)), h, c, weight, weight, gates)
    c.sum().backward()
    np.testing.assert_allclose(c.value, 0.7, rtol=1e-14)
    np.testing.assert_allclose(start.grad, 1.0, rtol=1e-14)


@pytest.mark.parametrize(("cell", "gates", "n_states"), [(ops.lstm_cell, 4, 2), (ops.gru_cell, 3, 1)])
def test_a_wrong_number_of_gates_is_named(cell, gates, n_states):
    inputs = [np.ones((2, 3)), *[np.ones((2, 5))] * n_states, np.ones((10, 3)), np.ones((10, 5))]
    message = f"{cell.name}: weight_hh has shape (10, 5), expected ({5 * gates}, 5): {gates} gates of 5 units"
    with pytest.raises(ValueError, match=re.escape(message)):
        cell(*inputs)


def test_an_unknown_nonlinearity_is_named():
    with pytest.raises(ValueError, match="rnn_cell: nonlinearity='sigmoid', expected 'tanh' or 'relu'"):
        nn.RNNCell(2, 3, nonlinearity="sigmoid")(np.ones((1, 2), np.float32))


# -------------------------------------------------------------------------------------------------------------- layers


def twins(name, *sizes, rng, dtype=np.float64, **settings):
    """PyTorch's module, and ours with its weights."""
    torch.manual_seed(int(rng.integers(1000)))
    theirs = getattr(torch.nn, name)(*sizes, **settings).to(torch.float64 if dtype == np.float64 else torch.float32)
    ours = getattr(nn, name)(*sizes, **settings, dtype=dtype)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def flat(result):
    """The arrays of a result such as (output, (h_n, c_n))."""
    if isinstance(result, tuple):
        return [array for part in result for array in flat(part)]
    return [result]


def assert_same(ours, theirs, x, states, dtype, rng):
    """The same results, and the same gradients of inputs, first states and parameters, with all results in the loss."""
    tensors = [Tensor(a, requires_grad=True) for a in (x, *states)]
    witnesses = [torch.tensor(a, requires_grad=True) for a in (x, *states)]

    def call(module, x, *hx):
        return flat(module(x, *([] if not hx else [hx[0] if len(hx) == 1 else hx])))

    found, expected = call(ours, *tensors), call(theirs, *witnesses)
    weights = [rng.standard_normal(y.shape).astype(dtype) for y in found]
    sum((w * y).sum() for w, y in zip(weights, found, strict=True)).backward()
    sum((torch.tensor(w) * y).sum() for w, y in zip(weights, expected, strict=True)).backward()
    pairs = [(y.value, z.detach()) for y, z in zip(found, expected, strict=True)]
    pairs += [(a.grad, b.grad) for a, b in zip(tensors, witnesses, strict=True)]
    pairs += [(p.grad, theirs.get_parameter(key).grad) for key, p in ours.named_parameters()]
    for a, b in pairs:
        assert a.dtype == dtype
        assert a.shape == tuple(b.shape)
        tolerance = TOLERANCE[dtype] * max(1.0, float(b.abs().max()))
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=tolerance)


@each_dtype
@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cell_layers_are_pytorchs(name, dtype):
    rng = np.random.default_rng(3)
    for i in range(12):
        n, e, d = rng.integers(1, 8, 3)
        settings = {"bias": bool(i % 3)}
        if name == "RNNCell":
            settings["nonlinearity"] = ["tanh", "relu"][i % 2]
        ours, theirs = twins(name, int(e), int(d), rng=rng, dtype=dtype, **settings)
        n_states = (2 if name == "LSTMCell" else 1) * int(rng.integers(2))
        states = [rng.standard_normal((n, d)).astype(dtype) for _ in range(n_states)]
        assert_same(ours, theirs, rng.standard_normal((n, e)).astype(dtype), states, dtype, rng)


@each_dtype
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_sequence_layers_are_pytorchs(name, batch_first, dtype):
    rng = np.random.default_rng(4)
    for i in range(16):
        n, length, e, d = rng.integers(1, 7, 4)
        length = 1 if i == 0 else length
        settings = {"num_layers": 1 + i % 3, "bias": bool(i % 4), "batch_first": batch_first}
        if name == "RNN":
            settings["nonlinearity"] = ["tanh", "relu"][i % 2]
        ours, theirs = twins(name, int(e), int(d), rng=rng, dtype=dtype, **settings)
        n_states = (2 if name == "LSTM" else 1) * int(rng.integers(2))
        states = [rng.standard_normal((settings["num_layers"], n, d)).astype(dtype) for _ in range(n_states)]
        x = rng.standard_normal((n, length, e) if batch_first else (length, n, e)).astype(dtype)
        assert_same(ours, theirs, x, states, dtype, rng)


def test_positional_arguments_have_pytorchs_order():
    assert repr(nn.RNN(2, 3, 2, "relu", False, True)) == (
        "RNN(input_size=2, hidden_size=3, num_layers=2, nonlinearity='relu', batch_first=True)"
    )
    assert nn.LSTM(2, 3, 1, False).bias_ih_l0 is None
    assert nn.GRU(2, 3, 1, False, True).batch_first


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_first_values_are_drawn_as_pytorchs(name):
    layer = getattr(nn, name)(50, 64, rng=np.random.default_rng(0))
    for parameter in layer.parameters():
        assert parameter.dtype == np.float32
        assert np.abs(parameter.value).max() <= 1 / 8
        assert parameter.value.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.2)
    again = getattr(nn, name)(50, 64, rng=np.random.default_rng(0))
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, again.state_dict()[key])


def test_second_derivatives_through_time_are_pytorchs():
    rng = np.random.default_rng(5)
    ours, theirs = twins("LSTM", 3, 4, rng=rng, num_layers=2)
    x, v = rng.standard_normal((2, 5, 2, 3))
    found = hvp(lambda x: (ours(x)[0] ** 2).sum())(x, v)
    witness = torch.tensor(x, requires_grad=True)
    [gx] = torch.autograd.grad((theirs(witness)[0] ** 2).sum(), witness, create_graph=True)
    [expected] = torch.autograd.grad((gx * torch.tensor(v)).sum(), witness)
    np.testing.assert_allclose(found.value, expected.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "LSTMCell"])
def test_forward_of_a_layer_with_several_results_is_refused(name):
    x = np.ones((2, 3) if name == "LSTMCell" else (4, 2, 3), np.float32)
    with pytest.raises(TypeError, match=rf"^{name}\.forward: {name} returns a tuple, expected one array; call it on"):
        getattr(nn, name)(3, 5).forward(x)


def test_a_cell_with_one_result_has_forward_and_backward():
    rng = np.random.default_rng(6)
    cell = nn.GRUCell(3, 4, rng=rng, dtype=np.float64)
    x, h, gy = rng.standard_normal((2, 3)), rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    tensor = Tensor(x, requires_grad=True)
    cell(tensor, h).backward(gy)
    expected = cell.weight_hh.grad
    cell.zero_grad()
    cell.forward(x, h)
    np.testing.assert_array_equal(cell.backward(gy), tensor.grad)
    np.testing.assert_array_equal(cell.weight_hh.grad, expected)


class LastState(nn.Module):
    """A classifier of sequences."""

    def __init__(self, rng):
        self.lstm = nn.LSTM(2, 16, batch_first=True, rng=rng)
        self.out = nn.Linear(16, 1, rng=rng)

    def __call__(self, x):
        _, (h_n, _) = self.lstm(x)
        return self.out(h_n[-1])


def test_a_model_around_a_layer_has_a_summary_and_layer_by_layer_backprop():
    model = LastState(np.random.default_rng(0))
    table = nn.summary(model, (7, 2))
    assert [(row.name, row.shape) for row in table.rows] == [("lstm", (1, 7, 16)), ("out", (1, 1))]
    assert table.parameters == 4 * 16 * (2 + 16 + 2) + 17
    x = np.random.default_rng(1).standard_normal((3, 7, 2)).astype(np.float32)
    assert model.forward(x).shape == (3, 1)
    assert model.backward(np.ones((3, 1), np.float32)).shape == x.shape
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_wrong_sequences_and_states_are_named():
    layer = nn.GRU(3, 4, num_layers=2)
    for shape in [(5, 3), (0, 2, 3)]:
        message = f"GRU: x has shape {shape}, expected (l, n, input_size), l at least 1"
        with pytest.raises(ValueError, match=re.escape(message)):
            layer(np.ones(shape, np.float32))
    message = "GRU: hx holds a state of shape (1, 2, 4), expected (2, 2, 4): (num_layers, n, d)"
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(np.ones((5, 2, 3), np.float32), np.zeros((1, 2, 4), np.float32))
    with pytest.raises(ValueError, match=r"LSTM: x has shape \(2, 0, 3\), expected \(n, l, input_size\)"):
        nn.LSTM(3, 4, batch_first=True)(np.ones((2, 0, 3), np.float32))
