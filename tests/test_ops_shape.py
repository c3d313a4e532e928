"""Shapes, parts and joins, and broadcasting: against NumPy, PyTorch and the definition of a transposed map."""

import re

import numpy as np
import pytest
import torch
from against_torch import assert_equals_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule import Tensor, hvp, ops
from chainrule.ops.broadcast import sum_to

PROPERTY = settings(deadline=None, derandomize=True, database=None, max_examples=200)
SEEDS = st.integers(0, 2**32 - 1)


def whole_numbers(shape, seed=0):
    """Whole numbers as float64, on which sums and products are exact."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float64)


def assert_moves_entries(func, shape, seed=0):
    """``func`` only moves, repeats or drops entries, as NumPy does; every gradient goes back to where its entry was."""
    x = Tensor(whole_numbers(shape, seed), requires_grad=True)
    y = func(x)
    np.testing.assert_array_equal(y.value, func(x.value))
    gy = whole_numbers(y.shape, seed + 1)
    y.backward(gy)
    came_from = func(np.arange(x.size).reshape(shape))
    expected = np.bincount(np.ravel(came_from), gy.ravel(), minlength=x.size).reshape(shape)
    np.testing.assert_array_equal(x.grad, expected)
    assert x.grad.dtype == x.dtype


# --------------------------------------------------------------------------------------------------- broadcasting


@PROPERTY
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=4, max_dims=4), SEEDS)
def test_sum_to_is_the_transpose_of_broadcasting(shapes, seed):
    """The scalar product of gy with broadcast x is that of sum_to(gy) with x."""
    for shape in shapes.input_shapes:
        x, gy = whole_numbers(shape, seed), whole_numbers(shapes.result_shape, seed + 1)
        gx = sum_to(gy, shape)
        assert gx.shape == shape
        assert (gy * np.broadcast_to(x, gy.shape)).sum() == (gx * x).sum()
        np.testing.assert_array_equal(gx, sum_to(Tensor(gy), shape).value)


@PROPERTY
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=4, max_dims=4), SEEDS)
def test_arithmetic_broadcasts_as_in_pytorch(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0.5, 2.0, shape) for shape in shapes.input_shapes)
    for func in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a**b):
        assert_equals_torch(func, func, a, b)
    assert_equals_torch(np.maximum, torch.maximum, a, b)
    assert_equals_torch(np.minimum, torch.minimum, a, b)


@PROPERTY
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_side=4, max_dims=3), SEEDS)
def test_where_broadcasts_as_in_pytorch(shapes, seed):
    rng = np.random.default_rng(seed)
    mask_shape, *others = shapes.input_shapes
    mask = rng.random(mask_shape) < 0.5
    assert_equals_torch(
        lambda a, b: np.where(mask, a, b),
        lambda a, b: torch.where(torch.tensor(mask), a, b),
        *(rng.standard_normal(shape) for shape in others),
    )


@PROPERTY
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_side=4, max_dims=4), SEEDS)
def test_broadcast_to_copies_entries(shapes, seed):
    assert_moves_entries(lambda x: np.broadcast_to(x, shapes.result_shape), shapes.input_shapes[0], seed)


# ------------------------------------------------------------------------------------------------------- indexing


@st.composite
def mixed_indices(draw, shape):
    """Integers, slices, arrays of integers (these broadcast) for the first axes; None in between; perhaps ``...``."""
    common = draw(hnp.array_shapes(max_dims=2, max_side=3))
    parts = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        integers = st.integers(-size, size - 1)
        arrays = [hnp.arrays(np.intp, array_shape, elements=integers) for array_shape in (common, (1,))]
        parts.append(draw(st.one_of(integers, st.slices(size), *arrays)))
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return tuple(parts)


def masks(shape):
    """Boolean masks over some of the first axes."""
    return st.integers(1, len(shape)).flatmap(lambda n: hnp.arrays(bool, shape[:n]))


@st.composite
def shapes_and_indices(draw):
    shape = draw(hnp.array_shapes(max_dims=4, max_side=4))
    kinds = [
        hnp.basic_indices(shape, allow_newaxis=True),
        hnp.integer_array_indices(shape),
        masks(shape),
        mixed_indices(shape),
        st.lists(st.integers(-shape[0], shape[0] - 1), max_size=5),
    ]
    return shape, draw(st.one_of(kinds))


@PROPERTY
@given(shapes_and_indices(), SEEDS)
def test_any_index_selects_as_numpy_and_sends_gradients_back(case, seed):
    shape, index = case
    assert_moves_entries(lambda x: x[index], shape, seed)


@PROPERTY
@given(shapes_and_indices(), SEEDS)
def test_scatter_is_the_transpose_of_getitem(case, seed):
    """The scalar product of x with z[index] is that of scatter(x) with z; and the way back selects again."""
    shape, index = case
    z = whole_numbers(shape, seed)
    x = Tensor(whole_numbers(z[index].shape, seed + 1), requires_grad=True)
    y = ops.scatter(x, index=index, shape=shape)
    assert (x.value * z[index]).sum() == (y.value * z).sum()
    y.backward(z)
    np.testing.assert_array_equal(x.grad, z[index])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "index",
    [
        0,
        (..., -1),
        (slice(1, None), None, 2),
        [2, 2, 0],
        ([2, 2, 2], [0, 1, 0]),
        (slice(None), [[0], [3]], [1, 1]),
        np.arange(12).reshape(3, 4) % 3 == 1,
    ],
)
def test_getitem_is_pytorchs(index, dtype):
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(dtype)
    theirs = torch.from_numpy(index) if isinstance(index, np.ndarray) else index
    assert_equals_torch(lambda x: x[index], lambda x: x[theirs], x)


@pytest.mark.parametrize("index", [True, False, np.True_, np.array(2), np.int64(1), (np.array(1), 0), ()])
def test_unusual_indices(index):
    assert_moves_entries(lambda x: x[index], (3, 4))


@pytest.mark.parametrize("index", [[3, 3, 1], 2, [True, False, True, True], [[0], [2]]])
def test_an_index_may_be_a_tensor(index):
    for wrap in (lambda i: i, lambda i: (i, 0), lambda i: (None, i)):
        found, expected = (Tensor(whole_numbers((4, 3)), requires_grad=True) for _ in range(2))
        y, y_expected = found[wrap(Tensor(index))], expected[wrap(np.array(index))]
        np.testing.assert_array_equal(y.value, y_expected.value)
        (y**2).sum().backward()
        (y_expected**2).sum().backward()
        np.testing.assert_array_equal(found.grad, expected.grad)
        assert not any(isinstance(part, Tensor) for part in y.source.params["index"])


def test_second_derivative_through_repeated_indices():
    """sum of x_2^3 three times over: its Hessian holds 3 * 6 x_2."""
    product = hvp(lambda x: (x[[2, 2, 2]] ** 3).sum())
    np.testing.assert_array_equal(product(np.array([1.0, 2.0, 5.0]), np.array([1.0, 1.0, 10.0])), [0, 0, 900])


def test_scatter_copies_what_broadcasts():
    x = Tensor([2.0], requires_grad=True)
    y = ops.scatter(x, index=slice(1, 4), shape=(5,))
    np.testing.assert_array_equal(y.value, [0, 2, 2, 2, 0])
    y.backward(np.arange(5.0))
    np.testing.assert_array_equal(x.grad, [6])


@pytest.mark.parametrize(("index", "message"), [(3, "out of bounds"), ((0, 0, 0), "too many"), (2.0, "only integers")])
def test_an_index_that_is_not_there_is_numpys_error(index, message):
    with pytest.raises(IndexError, match=message):
        Tensor(np.ones((3, 2)), requires_grad=True)[index]


# ----------------------------------------------------------------------------------- moving entries, NumPy's functions

MOVES = {
    "reshape": (lambda x: np.reshape(x, (4, -1)), (2, 3, 4)),
    "reshape to one axis": (lambda x: np.reshape(x, 24), (2, 3, 4)),
    "ravel": (np.ravel, (2, 3, 4)),
    "ravel a number": (np.ravel, ()),
    "transpose": (np.transpose, (2, 3, 4)),
    "transpose with axes": (lambda x: np.transpose(x, (-1, 0, 1)), (2, 3, 4)),
    "T of one axis": (lambda x: x.T, (3,)),
    "swapaxes": (lambda x: np.swapaxes(x, 0, -1), (2, 3, 4)),
    "swapaxes by name": (lambda x: np.swapaxes(x, axis1=1, axis2=2), (2, 3, 4)),
    "moveaxis": (lambda x: np.moveaxis(x, 0, 2), (2, 3, 4, 5)),
    "moveaxis of several": (lambda x: np.moveaxis(x, [0, -1], [-2, 0]), (2, 3, 4, 5)),
    "flip": (np.flip, (2, 3)),
    "flip one axis": (lambda x: np.flip(x, -2), (2, 3, 4)),
    "flip two axes": (lambda x: np.flip(x, axis=(0, 2)), (2, 3, 4)),
    "expand_dims": (lambda x: np.expand_dims(x, 1), (2, 3)),
    "expand_dims of several": (lambda x: np.expand_dims(x, axis=(0, -1)), (2, 3)),
    "squeeze": (np.squeeze, (1, 3, 1, 2)),
    "squeeze one axis": (lambda x: np.squeeze(x, -2), (1, 3, 1, 2)),
    "atleast_1d": (np.atleast_1d, ()),
    "atleast_1d of two axes": (np.atleast_1d, (2, 3)),
    "atleast_2d": (np.atleast_2d, (3,)),
    "atleast_2d of nothing": (np.atleast_2d, (0,)),
    "concatenate with itself": (lambda x: np.concatenate([x, x[:1], x]), (2, 3)),
    "concatenate last": (lambda x: np.concatenate((x, x), axis=-1), (2, 3)),
    "concatenate by position": (lambda x: np.concatenate((x, x), 1), (2, 0)),
    "stack with itself": (lambda x: np.stack([x, x]), (2, 3)),
    "stack last": (lambda x: np.stack((x, x, x), axis=-1), (2, 3)),
    "stack numbers": (lambda x: np.stack([x, x]), ()),
}


@pytest.mark.parametrize(("func", "shape"), MOVES.values(), ids=MOVES)
def test_move_is_numpys_and_sends_gradients_back(func, shape):
    assert_moves_entries(func, shape)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_joins_are_pytorchs(dtype):
    a, b, c = (np.random.default_rng(n).standard_normal((2, n, 3)).astype(dtype) for n in (4, 1, 5))
    for axis in (1, -2):
        assert_equals_torch(
            lambda *xs: np.concatenate(xs, axis),  # noqa: B023
            lambda *xs: torch.cat(xs, axis),  # noqa: B023
            a, b, c,
        )  # fmt: skip
    for axis in (0, 2, -1, -4):
        assert_equals_torch(
            lambda *xs: np.stack(xs, axis),  # noqa: B023
            lambda *xs: torch.stack(xs, axis),  # noqa: B023
            a, 2 * a, a**2,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_unsqueeze_and_squeeze_are_pytorchs(dtype):
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(dtype)
    for dim in (0, 1, -1, -3):
        assert_equals_torch(lambda x: ops.unsqueeze(x, dim=dim), lambda x: torch.unsqueeze(x, dim), x)  # noqa: B023


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("constant", [0, -2.5])
def test_pad_is_pytorchs(dtype, constant):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(dtype)
    assert_equals_torch(
        lambda x: np.pad(x, ((0, 0), (1, 2), (3, 0)), constant_values=constant),
        lambda x: torch.nn.functional.pad(x, (3, 0, 1, 2), value=constant),
        x,
    )


@pytest.mark.parametrize("pad_width", [2, (1, 2), [(1, 2)], ((0, 1), (2, 0))])
def test_pad_takes_numpys_widths(pad_width):
    x = Tensor(whole_numbers((3, 4)), requires_grad=True)
    y = np.pad(x, pad_width, "constant", constant_values=7)
    np.testing.assert_array_equal(y.value, np.pad(x.value, pad_width, constant_values=7))
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.value)


def test_joined_arrays_keep_their_own_precision():
    a, b = (Tensor(np.ones(3, dtype), requires_grad=True) for dtype in (np.float32, np.float64))
    y = np.concatenate([a, b, np.ones(2)])
    assert y.dtype == np.float64
    y.sum().backward()
    assert (a.grad.dtype, b.grad.dtype) == (np.float32, np.float64)


def test_astype_sends_the_gradient_back_in_the_first_precision():
    x = Tensor(np.array([0.1, 0.2]), requires_grad=True)
    y = x.astype(np.float32) * 3
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float64
    np.testing.assert_array_equal(x.grad, 3)
    assert not x.astype(np.int64).requires_grad


# -------------------------------------------------------------------------------------------------------- mistakes

MISTAKES = {
    "reshape: cannot reshape array of size 6 into shape (4,) (x has shape (2, 3), shape=4)": lambda x: x.reshape(4),
    "transpose: axes don't match array (x has shape (2, 3), axes=(0, 1, 2))": lambda x: x.transpose(0, 1, 2),
    "squeeze: cannot select an axis to squeeze out": lambda x: x.squeeze(0),
    "unsqueeze: axis 5 is out of bounds": lambda x: np.expand_dims(x, 5),
    "xs[1] has shape (2, 2), axis=0": lambda x: np.concatenate([x, x[:, :2]]),
    "stack: all input arrays must have the same shape": lambda x: np.stack([x, x.T]),
    "concatenate: need at least one array": lambda x: ops.concatenate(),
    "pad: mode='edge', expected 'constant'": lambda x: np.pad(x, 1, "edge"),
    "pad: index can't contain negative values": lambda x: np.pad(x, -1),
    "broadcast_to: operands could not be broadcast": lambda x: np.broadcast_to(x, (3, 2)),
}


@pytest.mark.parametrize(("message", "mistake"), MISTAKES.items(), ids=[m.split(":")[0] for m in MISTAKES])
def test_mistake_is_named(message, mistake):
    with pytest.raises(ValueError, match=re.escape(message)):
        mistake(Tensor(np.ones((2, 3)), requires_grad=True))


def test_complex_numbers_do_not_become_real_unnoticed():
    with pytest.raises(TypeError, match="astype: x is complex128; as float64 its imaginary part would be lost"):
        Tensor(np.array([1j])).astype(np.float64)
