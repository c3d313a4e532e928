"""Attention and its layer against PyTorch, over drawn shapes and masks; rows that may attend to nothing; limits."""

import re

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as theirs

from chainrule import Tensor, hvp, nn
from chainrule.ops import scaled_dot_product_attention as ours

torch.set_num_threads(1)
DTYPES = [np.float64, np.float32]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def some_axes(rng, axes):
    """Leading axes that broadcast to these: some of size 1, some left out in front."""
    kept = axes[rng.integers(len(axes) + 1) :]
    return tuple(int(size) if rng.random() < 0.7 else 1 for size in kept)


def drawn(rng, dtype):
    """Query, key, value of odd sizes, and the shape of a mask that PyTorch takes."""
    n_queries, n_keys, e, v = (int(size) for size in rng.integers(1, 7, 4))
    axes = tuple(int(size) for size in rng.integers(1, 4, rng.integers(3)))
    leads = [some_axes(rng, axes) for _ in range(3)]
    sizes = [(n_queries, e), (n_keys, e), (n_keys, v)]
    arrays = [rng.standard_normal(lead + size).astype(dtype) for lead, size in zip(leads, sizes, strict=True)]
    mask = tuple(size if rng.random() < 0.7 else 1 for size in (n_queries, n_keys))
    return arrays, some_axes(rng, np.broadcast_shapes(*leads[:2])) + mask


def settings(rng):
    return {"scale": [None, 0.3, -2.0][rng.integers(3)]}


@each_dtype
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_is_pytorchs(is_causal, dtype):
    rng = np.random.default_rng(0)
    for _ in range(60):
        (query, key, value), _ = drawn(rng, dtype)
        params = {"is_causal": is_causal, **settings(rng)}
        assert_equals_torch(lambda *x, p=params: ours(*x, **p), lambda *x, p=params: theirs(*x, **p), query, key, value)


@each_dtype
def test_attention_with_a_boolean_mask_is_pytorchs(dtype):
    """Some of the masks let a query attend to nothing."""
    rng = np.random.default_rng(1)
    empty_rows = 0
    for _ in range(80):
        arrays, shape = drawn(rng, dtype)
        mask = rng.random(shape) < rng.choice([0.3, 0.8])
        empty_rows += int((~mask.any(-1)).sum())
        params = settings(rng)
        assert_equals_torch(
            lambda *x, m=mask, p=params: ours(*x, m, **p),
            lambda *x, m=mask, p=params: theirs(*x, torch.tensor(m), **p),
            *arrays,
        )
    assert empty_rows > 20


@each_dtype
def test_attention_with_numbers_as_a_mask_is_pytorchs(dtype):
    """Numbers have a gradient; some of them are minus infinity, in some rows all of them."""
    rng = np.random.default_rng(2)
    empty_rows = 0
    for _ in range(80):
        arrays, shape = drawn(rng, dtype)
        mask = np.where(rng.random(shape) < 0.5, rng.standard_normal(shape), -np.inf).astype(dtype)
        empty_rows += int(np.isinf(mask).all(-1).sum())
        params = settings(rng)
        assert_equals_torch(lambda *x, p=params: ours(*x, **p), lambda *x, p=params: theirs(*x, **p), *arrays, mask)
    assert empty_rows > 20


@each_dtype
def test_a_query_that_may_attend_to_nothing_gets_zero_and_gives_no_gradient(dtype):
    rng = np.random.default_rng(3)
    query, key, value = (
        Tensor(rng.standard_normal(s).astype(dtype), requires_grad=True) for s in [(3, 4), (5, 4), (5, 2)]
    )
    mask = np.ones((3, 5), bool)
    mask[1] = False
    y = ours(query, key, value, mask)
    y.backward(np.ones((3, 2)))
    np.testing.assert_array_equal(y.value[1], 0)
    np.testing.assert_array_equal(query.grad[1], 0)
    assert np.all(query.grad[[0, 2]] != 0)
    for tensor in (key, value):
        assert np.isfinite(tensor.grad).all()


@pytest.mark.parametrize("kind", ["none", "boolean", "numbers", "causal"])
def test_attention_has_pytorchs_second_derivatives(kind):
    rng = np.random.default_rng(4)
    inputs = [rng.standard_normal(shape) for shape in [(2, 3, 4), (5, 4), (2, 5, 3)]]
    params, extra = {"is_causal": kind == "causal"}, []
    if kind == "boolean":
        extra = [np.array([[True, False, True, True, False], [False] * 5, [True] * 5])]
    elif kind == "numbers":
        inputs.append(rng.standard_normal((3, 5)))
    g = rng.standard_normal((2, 3, 3))
    for place, x in enumerate(inputs):
        v = rng.standard_normal(x.shape)
        found = hvp(lambda *xs: (g * ours(*xs, *extra, **params) ** 2).sum(), argnums=place)(*inputs, v)
        witnesses = [torch.tensor(x, requires_grad=True) for x in inputs]
        with sdpa_kernel(SDPBackend.MATH):
            y = theirs(*witnesses, *(torch.tensor(m) for m in extra), **params)
        [gx] = torch.autograd.grad((torch.tensor(g) * y**2).sum(), witnesses[place], create_graph=True)
        [expected] = torch.autograd.grad((gx * torch.tensor(v)).sum(), witnesses[place])
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-12)


@each_dtype
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_scores_choose_one_key_without_a_warning(size, dtype):
    query, key = np.array([[1.0], [-1.0]], dtype) * dtype(size), np.array([[-1.0], [0.0], [1.0]], dtype) * dtype(1e4)
    value = np.array([[1.0], [2.0], [3.0]], dtype)
    assert_equals_torch(ours, theirs, query, key, value)
    np.testing.assert_array_equal(ours(query, key, value), [[3.0], [1.0]] if size > 0 else [[1.0], [3.0]])


def test_a_boolean_mask_has_no_gradient_and_one_of_numbers_has():
    query, key, value = np.ones((3, 4)), np.ones((5, 4)), np.ones((5, 2))
    assert ours.rule(query, key, value, np.ones((3, 5), bool))[1][3] is None
    assert ours.rule(query, key, value, np.zeros((3, 5)))[1][3].__name__ == "gattn_mask"


@pytest.mark.parametrize(
    ("mask", "params", "message"),
    [
        (np.ones((3, 5), bool), {"is_causal": True}, "is_causal=True is a mask itself, expected no attn_mask"),
        (np.ones((3, 5), int), {}, "attn_mask holds int64, expected bool or float32, the dtype of the scores"),
        (np.ones((3, 5)), {}, "attn_mask holds float64, expected bool or float32, the dtype of the scores"),
        (np.ones((5, 3), bool), {}, "attn_mask has shape (5, 3), expected one that broadcasts to (3, 5)"),
        (np.ones((7, 3, 5), bool), {}, "attn_mask has shape (7, 3, 5), expected one that broadcasts to (3, 5)"),
    ],
)
def test_masks_that_do_not_fit_are_named(mask, params, message):
    arrays = [np.ones(shape, np.float32) for shape in [(3, 4), (5, 4), (5, 2)]]
    with pytest.raises(ValueError, match=re.escape(f"scaled_dot_product_attention: {message}")):
        ours(*arrays, mask, **params)


def test_without_keys_there_is_nothing_to_attend_to():
    with pytest.raises(ValueError, match=r"^scaled_dot_product_attention: .*key has shape \(0, 4\)"):
        ours(np.ones((3, 4)), np.ones((0, 4)), np.ones((0, 2)))


# -------------------------------------------------------------------------------------------------- MultiheadAttention


def twins(embed_dim, num_heads, dtype, **settings):
    """PyTorch's layer with biases that are not 0, and ours with its weights."""
    witness = torch.nn.MultiheadAttention(embed_dim, num_heads, **settings)
    witness = witness.to(torch.float64 if dtype == np.float64 else torch.float32)
    for key, parameter in witness.named_parameters():
        if "bias" in key:
            torch.nn.init.normal_(parameter)
    layer = nn.MultiheadAttention(embed_dim, num_heads, **settings, dtype=dtype)
    layer.load_state_dict({key: value.numpy() for key, value in witness.state_dict().items()})
    return layer, witness


@each_dtype
@pytest.mark.parametrize("batch_first", [False, True])
def test_layer_is_pytorchs(batch_first, dtype):
    rng = np.random.default_rng(5)
    torch.manual_seed(0)
    for i in range(24):
        n, length, n_keys, heads, size = (int(k) for k in rng.integers(1, 5, 5))
        layer, witness = twins(heads * size, heads, dtype, batch_first=batch_first, bias=bool(i % 4))
        shapes = [(k, n, heads * size) for k in (length, n_keys, n_keys)]
        arrays = [rng.standard_normal(s).astype(dtype) for s in shapes]
        arrays = [a.swapaxes(0, 1) if batch_first else a for a in arrays]
        mask_shape = (length, n_keys) if rng.random() < 0.5 else (n * heads, length, n_keys)
        mask = [None, rng.random(mask_shape) < 0.4, rng.standard_normal(mask_shape).astype(dtype)][i % 3]

        def call(*x, layer=layer, mask=mask):
            return layer(*x, attn_mask=mask)

        def their_call(*x, witness=witness, mask=mask):
            return witness(*x, attn_mask=None if mask is None else torch.tensor(mask), need_weights=False)[0]

        assert_equals_torch(call, their_call, *arrays)
        for key, parameter in layer.named_parameters():
            expected = witness.get_parameter(key).grad.numpy()
            tolerance = 1e-10 if dtype == np.float64 else 1e-5 * max(1, np.abs(expected).max())
            np.testing.assert_allclose(parameter.grad, expected, rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("batch_first", [False, True])
def test_causal_self_attention_layer_by_layer_is_pytorchs(batch_first):
    rng = np.random.default_rng(6)
    torch.manual_seed(0)
    layer, witness = twins(6, 3, np.float64, batch_first=batch_first)
    x, gy = rng.standard_normal((2, 5, 4, 6))
    length = x.shape[1 if batch_first else 0]
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    t = torch.tensor(x, requires_grad=True)
    witness(t, t, t, attn_mask=future, need_weights=False)[0].backward(torch.tensor(gy))
    causal, masked = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    layer(causal, is_causal=True).backward(gy)
    layer(masked, masked, masked, attn_mask=future.numpy()).backward(gy)
    for tensor in (causal, masked):
        np.testing.assert_allclose(tensor.grad, t.grad.numpy(), rtol=1e-10, atol=1e-12)
    t.grad = None
    y = witness(t, t, t, need_weights=False)[0]
    y.backward(torch.tensor(gy))
    np.testing.assert_allclose(layer.forward(x), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(layer.backward(gy), t.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_layer_starts_as_pytorchs():
    layer = nn.MultiheadAttention(96, 4, rng=np.random.default_rng(0))
    bound = np.sqrt(6 / (96 + 3 * 96))
    assert np.abs(layer.in_proj_weight.value).max() <= bound
    assert layer.in_proj_weight.value.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert layer.out_proj.weight.value.std() == pytest.approx(1 / np.sqrt(96) / np.sqrt(3), rel=0.02)
    np.testing.assert_array_equal(layer.in_proj_bias.value, 0)
    np.testing.assert_array_equal(layer.out_proj.bias.value, 0)
    assert {p.dtype for p in layer.parameters()} == {np.dtype(np.float32)}
    assert [p.size for p in nn.MultiheadAttention(6, 2, bias=False).parameters()] == [108, 36]


def test_layer_names_what_does_not_fit():
    with pytest.raises(ValueError, match="MultiheadAttention: num_heads=4, expected a divisor of embed_dim=6"):
        nn.MultiheadAttention(6, 4)
    layer, x = nn.MultiheadAttention(6, 2), np.ones((5, 3, 6), np.float32)
    with pytest.raises(ValueError, match="MultiheadAttention: found one of key and value"):
        layer(x, x)
    with pytest.raises(
        ValueError, match=r"MultiheadAttention: an input has shape \(5, 6\), expected \(l, n, embed_dim"
    ):
        layer(x[:, 0])
    with pytest.raises(ValueError, match="is_causal=True is a mask itself"):
        layer(x, attn_mask=np.ones((5, 5), bool), is_causal=True)
    message = "MultiheadAttention: attn_mask has shape (3, 5, 5), expected (l, s) or (n * 2, l, s)"
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(x, attn_mask=np.ones((3, 5, 5), bool))
