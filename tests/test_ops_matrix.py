"""Matrix products and Einstein's summation against NumPy and PyTorch, over drawn shapes and subscripts."""

import re

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule import Tensor, hessian, ops

PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=200)
DTYPES = [np.float64, np.float32]
SEEDS = st.integers(0, 2**32 - 1)


def normal(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# --------------------------------------------------------------------------------------------------------- matmul


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((7, 3, 4), (4, 5)),
        ((3, 4), (7, 4, 5)),
        ((2, 1, 3, 4), (7, 4, 5)),
        ((4,), (2, 7, 4, 5)),
        ((2, 7, 3, 4), (4,)),
        ((0, 4), (4, 5)),
        ((3, 0), (0, 5)),
        ((1, 1), (1, 1)),
    ],
)
def test_matmul_is_pytorchs(a, b, dtype):
    assert_equals_torch(np.matmul, torch.matmul, *normal(a, b, dtype=dtype))


@PROPERTY
@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, min_side=0, max_side=4, max_dims=3), SEEDS)
def test_matmul_of_any_shapes_is_pytorchs(shapes, seed):
    assert_equals_torch(lambda a, b: a @ b, torch.matmul, *normal(*shapes.input_shapes, seed=seed))


def test_quadratic_form_has_the_hessian_a_plus_its_transpose():
    [A] = normal((4, 4))
    np.testing.assert_allclose(hessian(lambda x: x @ A @ x)(np.ones(4)), A + A.T, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("a", "b"), [((4,), (4,)), ((3, 4), (4,)), ((3, 4), (4, 2)), ((), (3, 4)), ((3,), ())])
def test_dot_is_numpys(a, b, dtype):
    a, b = normal(a, b, dtype=dtype)
    np.testing.assert_array_equal(np.dot(Tensor(a), Tensor(b)).value, np.dot(a, b))
    theirs = torch.mul if 0 in (a.ndim, b.ndim) else torch.matmul
    assert_equals_torch(np.dot, theirs, a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_is_pytorchs(dtype):
    assert_equals_torch(np.outer, torch.outer, *normal((3,), (5,), dtype=dtype))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 2, 3)])
def test_trace_is_numpys(shape):
    [x] = normal(shape)
    np.testing.assert_allclose(np.trace(Tensor(x)).value, np.trace(x), rtol=1e-14)
    assert_equals_torch(np.trace, lambda x: torch.diagonal(x).sum(-1), x)


# --------------------------------------------------------------------------------------------------------- einsum

PRODUCTS = {
    "ij,jk->ik": [(3, 4), (4, 5)],
    "ij,jk": [(3, 4), (4, 5)],
    "bA": [(3, 4)],
    "i,j->ji": [(3,), (4,)],
    "ij->": [(3, 4)],
    "ij->i": [(3, 4)],
    "ij,kl->jl": [(3, 4), (5, 2)],
    "ii": [(3, 3)],
    "ii->i": [(3, 3)],
    "iij->j": [(3, 3, 4)],
    "iiji,ij->j": [(3, 3, 4, 3), (3, 4)],
    "ii,ii->": [(3, 3), (3, 3)],
    "ij,ij,ij->ij": [(3, 4), (3, 4), (3, 4)],
    " b h n d , b h m d -> b h n m ": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "...ij,...jk->...ik": [(2, 1, 3, 4), (7, 4, 5)],
    "i...,i...->...": [(3, 2, 4), (3, 4)],
    "...ii->...i": [(2, 3, 3)],
    "...,...": [(2, 3), (3,)],
    "...i": [(2, 3)],
    "i,i->i": [(1,), (4,)],
    "i,i->": [(4,), (1,)],
    ",->": [(), ()],
    "ij,jk->ki": [(0, 4), (4, 5)],
    "ij,j->i": [(3, 0), (0,)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("subscripts", "shapes"), PRODUCTS.items(), ids=PRODUCTS)
def test_einsum_is_pytorchs_and_numpys(subscripts, shapes, dtype):
    arrays = normal(*shapes, dtype=dtype)
    assert_equals_torch(lambda *xs: np.einsum(subscripts, *xs), lambda *xs: torch.einsum(subscripts, *xs), *arrays)
    np.testing.assert_array_equal(ops.einsum(*arrays, subscripts=subscripts), np.einsum(subscripts, *arrays))


@st.composite
def products(draw):
    """Subscripts of one to three terms over letters a to d, and shapes for them; a letter may come twice in a term."""
    sizes = dict(zip("abcd", draw(st.permutations([1, 2, 3, 4])), strict=True))
    terms = draw(st.lists(st.text("abcd", max_size=4), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    output = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
    leading = draw(st.sampled_from([(), (2,), (3, 2)]))
    shapes = []
    for i, term in enumerate(terms):
        own = leading[draw(st.integers(0, len(leading))) :]
        shapes.append((*own, *(sizes[letter] for letter in term)))
        terms[i] = "..." + term
    subscripts = ",".join(terms) + draw(st.sampled_from(["", "->..." + "".join(output)]))
    return subscripts, shapes


@PROPERTY
@given(products(), SEEDS)
def test_any_einsum_is_pytorchs(product, seed):
    subscripts, shapes = product
    arrays = normal(*shapes, seed=seed)
    assert_equals_torch(
        lambda *xs: ops.einsum(*xs, subscripts=subscripts), lambda *xs: torch.einsum(subscripts, *xs), *arrays
    )


def test_einsum_of_one_tensor_in_two_places():
    """x_i A_ij x_j: both places count, and the Hessian is A plus its transpose."""
    [A] = normal((3, 3))
    np.testing.assert_allclose(
        hessian(lambda x: np.einsum("i,ij,j", x, A, x))(np.array([1.0, 2.0, 3.0])), A + A.T, rtol=1e-14
    )


def test_hessian_through_a_diagonal():
    """The squared trace: every pair of diagonal entries has the second derivative 2."""
    found = hessian(lambda x: np.einsum("ii", x) ** 2)(np.arange(9.0).reshape(3, 3))
    np.testing.assert_array_equal(found, 2 * np.multiply.outer(np.eye(3), np.eye(3)))


# -------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("a", "b"), [((3, 4), (5, 6)), ((3,), (4,)), ((2, 3), (4,)), ((3,), (4, 3)), ((), (3,))])
def test_matmul_names_both_shapes(a, b):
    message = f"matmul: a has shape {a} and b has shape {b}, expected (..., n, k) and (..., k, m)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Tensor(np.ones(a)) @ np.ones(b)


def test_leading_axes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"^matmul: .*a has shape \(2, 3, 4\), b has shape \(3, 4, 5\)"):
        ops.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5)))


def test_dot_of_many_axes_is_refused():
    with pytest.raises(ValueError, match=re.escape("np.dot: shapes (2, 3, 4) and (4, 5), expected at most 2 axes")):
        np.dot(Tensor(np.ones((2, 3, 4))), np.ones((4, 5)))


@pytest.mark.parametrize("subscripts", ["ij,kj->ik", "ij->i", "ijk,jk->i", "ij,jk->im", "i?,jk"])
def test_subscripts_that_do_not_fit(subscripts):
    given = f"(xs[0] has shape (3, 4), xs[1] has shape (4, 5), subscripts={subscripts!r})"
    with pytest.raises(ValueError, match=f"^einsum: .*{re.escape(given)}"):
        np.einsum(subscripts, Tensor(np.ones((3, 4))), np.ones((4, 5)))


def test_einsum_takes_subscripts_as_a_string_alone():
    with pytest.raises(TypeError, match="einsum: subscripts is a Tensor, expected a string"):
        np.einsum(Tensor(np.ones((3, 4))), [0, 1])
    with pytest.raises(TypeError, match=r"einsum: .*optimize"):
        np.einsum("ij", Tensor(np.ones((3, 4))), optimize=True)
