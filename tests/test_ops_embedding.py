"""Embedding against PyTorch, over drawn sizes and indices."""

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


def test_embedding_is_pytorchs():
    rng = np.random.default_rng(0)
    for i in range(300):
        rows, columns = int(rng.integers(1, 8)), int(rng.integers(1, 5))
        weight = rng.standard_normal((rows, columns)).astype(DTYPES[i % 2])
        index = rng.integers(0, rows, rng.integers(0, 5, rng.integers(0, 4))).astype([np.int64, np.int32][i % 2])
        padding_idx = [None, int(rng.integers(-rows, rows))][i // 2 % 2]
        assert_equals_torch(
            partial(ops.embedding, index, padding_idx=padding_idx),
            partial(functional.embedding, torch.tensor(index), padding_idx=padding_idx),
            weight,
        )


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_hessian_times_vector_is_pytorchs_double_backward(padding_idx):
    """Through the lookup and back, with a row that comes several times."""
    weight, v = np.random.default_rng(1).standard_normal((2, 5, 3))
    index = np.array([[2, 0, 2], [4, 2, 4]])
    witness = torch.tensor(weight, requires_grad=True)
    loss = (functional.embedding(torch.tensor(index), witness, padding_idx=padding_idx).prod(0) ** 2).sum()
    [gw] = torch.autograd.grad(loss, witness, create_graph=True)
    [expected] = torch.autograd.grad((gw * torch.tensor(v)).sum(), witness)

    def ours(w):
        y = ops.embedding(index, w, padding_idx=padding_idx)
        return ((y[0] * y[1]) ** 2).sum()

    np.testing.assert_allclose(hvp(ours)(weight, v), expected.numpy(), rtol=1e-10, atol=1e-10)


def test_a_row_looked_up_twice_gets_the_sum_and_the_padding_row_nothing():
    _, (gindex, gweight) = ops.embedding.rule(np.array([1, 1, 2]), np.zeros((4, 1)), padding_idx=2)
    assert gindex is None
    np.testing.assert_array_equal(gweight(np.array([[1.0], [10.0], [np.inf]])), [[0.0], [11.0], [0.0], [0.0]])


@pytest.mark.parametrize(("index", "wrong"), [([0, 5], 5), ([[1, -1]], -1), (-7, -7)])
def test_an_index_out_of_range_is_named(index, wrong):
    message = f"embedding: input holds the index {wrong}, expected 0 to 4 for the 5 rows of weight"
    with pytest.raises(ValueError, match=f"^{message}"):
        ops.embedding(np.array(index), Tensor(np.zeros((5, 2)), requires_grad=True))


@pytest.mark.parametrize("padding_idx", [5, -6])
def test_a_padding_row_that_is_not_there(padding_idx):
    with pytest.raises(ValueError, match=re.escape(f"embedding: padding_idx={padding_idx}, expected -5 to 4")):
        ops.embedding(np.array([0]), np.zeros((5, 2)), padding_idx=padding_idx)
    with pytest.raises(ValueError, match=re.escape(f"Embedding: padding_idx is {padding_idx}, expected -5 to 4")):
        nn.Embedding(5, 2, padding_idx)


@pytest.mark.parametrize("index", [np.array([0.0, 1.0]), np.array([True, False])])
def test_indices_that_are_no_integers(index):
    with pytest.raises(ValueError, match=f"^embedding: input is {index.dtype}, expected integers"):
        ops.embedding(index, np.zeros((5, 2)))


# ----------------------------------------------------------------------------------------------------------- layer


@pytest.mark.parametrize("padding_idx", [None, 0, -2])
def test_layer_is_pytorchs(padding_idx):
    theirs = torch.nn.Embedding(6, 4, padding_idx)
    ours = nn.Embedding(6, 4, padding_idx)
    if padding_idx is not None:
        np.testing.assert_array_equal(ours.weight.value[padding_idx], 0)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    index = np.array([[0, 4, 4, 3], [4, 1, 5, 4]])
    ours(index).backward(np.ones((2, 4, 4)))
    theirs(torch.tensor(index)).sum().backward()
    np.testing.assert_array_equal(ours(index).value, theirs(torch.tensor(index)).detach().numpy())
    np.testing.assert_array_equal(ours.weight.grad, theirs.weight.grad.numpy())


def test_layer_by_layer_on_integers():
    """The indices have no gradient; the weight gets its own."""
    layer = nn.Embedding(6, 4, dtype=np.float64)
    assert layer.forward(np.array([1, 1])).shape == (2, 4)
    assert layer.backward(np.ones((2, 4))) is None
    np.testing.assert_array_equal(layer.weight.grad, np.eye(6)[:, [1]] * np.full((1, 4), 2.0))


def test_first_values_are_standard_normal_and_repeat():
    draw = lambda seed: nn.Embedding(300, 200, rng=np.random.default_rng(seed)).weight.value
    assert draw(1).dtype == np.float32
    assert draw(1).mean() == pytest.approx(0, abs=0.02)
    assert draw(1).std() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))
