"""The engine: graphs, operators, second derivatives, and what it says when something is wrong."""

import gc
import math
import operator

import numpy as np
import pytest
import torch

from chainrule import OPS, Parameter, Tensor, grad, hessian, hvp, jacobian, no_grad, op, ops, using
from chainrule.check import numeric_gradient


def leaf(*shape, seed=0, dtype=np.float64):
    return Tensor(np.random.default_rng(seed).uniform(0.5, 2.0, shape).astype(dtype), requires_grad=True)


def unregister(name):
    OPS.pop(name)


# ------------------------------------------------------------------------------------------------ graphs


def test_gradients_add_up_over_uses():
    x = leaf(3)
    (x * x + x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.value + 1)


def test_gradients_add_up_over_backwards():
    x = leaf(3)
    for _ in range(2):
        (3 * x).sum().backward()
    np.testing.assert_allclose(x.grad, 6)


def test_a_branch_that_does_not_reach_the_loss_changes_nothing():
    x = leaf(3)
    y = x * x
    aside = np.exp(y) * x
    y.sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.value)
    assert aside.grad is None


def test_diamond_is_walked_once_per_edge():
    calls = []

    @op("... -> ...")
    def counted(x):
        def gx(gy):
            calls.append(1)
            return 2 * gy

        return 2 * x, (gx,)

    try:
        x = leaf(2)
        y = counted(x)
        (y * y + y + np.exp(y)).sum().backward()
        assert len(calls) == 1
        np.testing.assert_allclose(x.grad, 2 * (2 * y.value + 1 + np.exp(y.value)))
    finally:
        unregister("counted")


def test_deep_chain_needs_no_recursion():
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad == 1.0
    del y
    gc.collect()


def test_exponential_reuse_takes_linear_time():
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(200):
        y = (y + y) / 2
    y.backward()
    assert x.grad == 1.0


def test_a_gradient_nobody_wants_is_not_computed():
    @op("..., ... -> ...")
    def picky(a, b):
        def ga(gy):
            return gy

        def gb(gy):
            raise AssertionError("computed")

        return a + b, (ga, gb)

    try:
        x = leaf(2)
        picky(x, np.ones(2)).sum().backward()
        picky(x, Tensor(np.ones(2))).sum().backward()
        np.testing.assert_array_equal(x.grad, 2)
    finally:
        unregister("picky")


def test_a_graph_used_twice_raises_unless_retained():
    x = leaf(2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 4 * x.value)
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    z = x * 2
    z.sum().backward()
    with pytest.raises(RuntimeError, match="walked before"):
        (z * z).sum().backward()


def test_walk_by_hand():
    a, b = leaf(2), leaf(2, seed=1)
    y = a * b
    assert y.source.op.name == "mul"
    assert y.source.inputs[0] is a
    np.testing.assert_array_equal(y.source.inputs[1].value, b.value)
    assert a.source is None
    y.retain_grad()
    (3 * y).sum().backward()
    np.testing.assert_array_equal(y.grad, 3)


def test_gradients_of_two_leaves_are_not_one_array():
    a, b = leaf(3), leaf(3)
    (a + b).backward(np.ones(3))
    a.grad *= 100
    np.testing.assert_array_equal(b.grad, 1)


def test_the_callers_gy_is_not_the_gradient():
    x = leaf(3)
    gy = np.ones(3)
    (+x).backward(gy)
    x.grad += 5
    np.testing.assert_array_equal(gy, 1)


def test_a_parameter_is_updated_through_its_value_or_not_at_all():
    """As in PyTorch's hand-written SGD, which would rebind the loop's name and train nothing."""
    p = Parameter(np.array([1.0, 2.0]))
    seen = p.value
    for update in (operator.isub, operator.iadd, operator.imul, operator.itruediv):
        with no_grad(), pytest.raises(TypeError, match=r"p\.value -= step"):
            update(p, np.ones(2))
    p.value -= 1.0
    np.testing.assert_array_equal(seen, [0, 1])


def test_no_grad_records_nothing_and_nests():
    x = leaf(2)
    with no_grad():
        with no_grad():
            pass
        assert (x * 2).source is None
    assert (x * 2).source is not None


def test_no_grad_is_a_decorator_and_survives_an_exception():
    @no_grad()
    def broken():
        raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert (leaf(1) * 2).source is not None


def test_a_graph_asked_for_under_no_grad_is_made():
    """Two paths, so that gradients are added up on the way."""
    x = Tensor(3.0, requires_grad=True)
    y = x * x + x * x * x
    with no_grad():
        y.backward(create_graph=True)
        y.backward(create_graph=True)  # and added up in grad
    gx, x.grad = x.grad, None
    gx.backward()
    np.testing.assert_allclose(x.grad, 2 * (2 + 6 * 3.0))


def test_kernel_replaces_a_rule_only_while_in_use():
    @op("... -> ...")
    def twice(x):
        return 2 * x, (lambda gy: 2 * gy,)

    @twice.kernel("loud")
    def _(x):
        return 2 * x + 100, (lambda gy: 2 * gy,)

    try:
        assert twice(np.float64(1)) == 2
        with using("loud"):
            assert twice(np.float64(1)) == 102
            with using("numpy"):
                assert twice(np.float64(1)) == 2
            assert np.exp(leaf(1)).shape == (1,)
        assert twice(np.float64(1)) == 2
    finally:
        unregister("twice")


# --------------------------------------------------------------------------------------------- operators

M = np.array([[0.5, 1.5, 2.0], [1.0, 0.7, 1.2]])
EXPRESSIONS = {
    "x / 2": lambda x: x / 2,
    "2 / x": lambda x: 2 / x,
    "x ** 3": lambda x: x**3,
    "2 ** x": lambda x: 2**x,
    "x ** x": lambda x: x**x,
    "-x": lambda x: -x,
    "+x": lambda x: +x,
    "abs(x)": abs,
    "2 * x": lambda x: 2 * x,
    "1 - x": lambda x: 1 - x,
    "array - x": lambda x: M - x,
    "x @ x.T": lambda x: x @ x.T,
    "array @ x": lambda x: M.T @ x,
    "x[0]": lambda x: x[0],
    "x[:, 1:]": lambda x: x[:, 1:],
    "x[..., None]": lambda x: x[..., None],
    "x[x > 1]": lambda x: x[x > 1],
    "x[[1, 0, 1]]": lambda x: x[[1, 0, 1]],
    "x[[0, 1], [2, 0]]": lambda x: x[[0, 1], [2, 0]],
    "x.sum()": lambda x: x.sum(),
    "x.sum(0)": lambda x: x.sum(0),
    "x.sum(axis=1, keepdims=True)": lambda x: x.sum(axis=1, keepdims=True),
    "x.mean(-1)": lambda x: x.mean(-1),
    "x.var(1)": lambda x: x.var(1),
    "x.std(1)": lambda x: x.std(1),
    "np.std(x, axis=0, ddof=1)": lambda x: np.std(x, axis=0, ddof=1),
    "np.sum(a=x, axis=-1)": lambda x: np.sum(a=x, axis=-1),
    "np.max(x, (0, 1))": lambda x: np.max(x, (0, 1)),
    "np.amax(a=x, axis=0)": lambda x: np.amax(a=x, axis=0),
    "np.expand_dims(a=x, axis=0)": lambda x: np.expand_dims(a=x, axis=0),
    "np.full_like(x, x.sum())": lambda x: np.full_like(x, x.sum()),
    "np.float64(2) * x": lambda x: np.float64(2) * x,
    "sum([x, x])": lambda x: sum([x, x]),
    "x.max(1)": lambda x: x.max(1),
    "x.min(0, keepdims=True)": lambda x: x.min(0, keepdims=True),
    "x.reshape(3, 2)": lambda x: x.reshape(3, 2),
    "x.reshape((6,))": lambda x: x.reshape((6,)),
    "x.transpose(1, 0)": lambda x: x.transpose(1, 0),
    "np.exp(x)": np.exp,
    "np.log(x)": np.log,
    "np.sqrt(x)": np.sqrt,
    "np.sum(x, axis=0)": lambda x: np.sum(x, axis=0),
    "np.maximum(x, 1)": lambda x: np.maximum(x, 1),
    "np.where(x > 1, x, 0)": lambda x: np.where(x > 1, x, 0),
    "np.concatenate": lambda x: np.concatenate([x, 2 * x], axis=1),
    "np.stack": lambda x: np.stack([x, M], axis=0),
    "np.clip": lambda x: np.clip(x, 0.6, 1.4),
    "np.tanh(x)": np.tanh,
    "np.cumsum(x, 1)": lambda x: np.cumsum(x, 1),
    "np.einsum": lambda x: np.einsum("ij,kj->ik", x, M),
    "x += 1": lambda x: operator.iadd(x, 1),
    "list(x)": lambda x: list(x)[1],
}


@pytest.mark.parametrize("func", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expression_has_numpys_value_and_numeric_gradient(func):
    x = Tensor(M * 1.1, requires_grad=True)
    y = func(x)
    expected = func(x.value.copy())
    np.testing.assert_array_equal(y.value, expected)
    gy = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(gy)
    truth = numeric_gradient(lambda v: (gy * func(v)).sum(), M * 1.1)
    np.testing.assert_allclose(x.grad, truth.value, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(x.value, M * 1.1)


def test_comparisons_return_arrays():
    x = leaf(3)
    for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
        found = compare(x, 1.0)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, compare(x.value, 1.0))
    assert bool(x[0] == x[0])


def test_functions_without_derivative_take_tensors_by_name():
    x = Tensor(M, requires_grad=True)
    np.testing.assert_array_equal(np.argmax(a=x, axis=1), M.argmax(1))
    np.testing.assert_array_equal(np.isclose(M, b=x), True)
    np.testing.assert_array_equal(np.round(x, decimals=0), M.round())


def test_numbers_format_as_numpys():
    assert f"{Tensor(1.23456, requires_grad=True):.2f}" == "1.23"
    assert f"{Tensor(1.5)}" == "Tensor(1.5)"


def test_tensors_are_hashable_by_identity():
    a, b = leaf(1), leaf(1)
    assert {a: 1, b: 2}[a] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_python_numbers_keep_the_dtype(dtype):
    x = leaf(3, dtype=dtype)
    y = (2 * x + 1.5) / 3 - x**2
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.dtype == dtype


def test_mixed_precision_gives_each_its_own_dtype():
    a, b = leaf(3, dtype=np.float32), leaf(3)
    (a * b).sum().backward()
    assert a.grad.dtype == np.float32
    assert b.grad.dtype == np.float64


# ------------------------------------------------------------------------------------ second derivatives


def network(x):
    return np.tanh(x @ np.array([[1.0, -0.5], [0.3, 2.0], [0.7, 0.1]])).sum() * (x**2).mean()


def torch_network(x):
    return (
        torch.tanh(x @ torch.tensor([[1.0, -0.5], [0.3, 2.0], [0.7, 0.1]], dtype=torch.float64)).sum() * (x**2).mean()
    )


def test_hessian_equals_pytorchs():
    expected = torch.autograd.functional.hessian(torch_network, torch.tensor(M))
    np.testing.assert_allclose(hessian(network)(M), expected.numpy(), rtol=1e-12, atol=1e-13)


def test_hvp_equals_the_hessian_times_v():
    v = np.random.default_rng(3).standard_normal(M.shape)
    expected = np.tensordot(hessian(network)(M), v, 2)
    np.testing.assert_allclose(hvp(network)(M, v), expected, rtol=1e-12)


def test_jacobian_layout_is_numerator():
    W = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(jacobian(lambda x: W @ x)(np.ones(3)), W)


def test_jacobian_of_nothing_is_empty():
    found = jacobian(lambda x: x[:0])(np.ones(3, np.float32))
    assert (found.shape, found.dtype) == ((0, 3), np.float32)


def test_third_derivative():
    third = grad(grad(grad(lambda x: x**5)))
    assert third(2.0) == pytest.approx(60 * 4)


def test_several_arguments():
    ga, gb = grad(lambda a, b: (a * b**2).sum(), (0, 1))(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.testing.assert_array_equal(ga, [9, 16])
    np.testing.assert_array_equal(gb, [6, 16])


def test_inner_gradient_does_not_see_the_outer_use():
    """d/dx of x * d/dy (x + y) is 1: y's derivative must not pick up x's paths."""
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(x))(3.0) == 6.0


def test_create_graph_gives_gradients_that_are_tensors():
    x = Tensor(3.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    first, x.grad = x.grad, None
    assert isinstance(first, Tensor)
    first.backward()
    assert x.grad == pytest.approx(18)


def test_on_arrays_every_derivative_is_an_array():
    """Also where an inner derivative is taken at an array that the outer one knows nothing of."""
    a, b = np.array([2.0, 3.0]), np.array([0.0, 2.0])
    mixed = jacobian(grad(lambda a, b: (a**b).sum(), 0), 1)(a, b)
    assert type(mixed) is np.ndarray
    np.testing.assert_allclose(mixed, np.diag(a ** (b - 1) * (1 + b * np.log(a))))
    penalty = grad(lambda w: (grad(lambda z: (w * z**2).sum())(a) ** 2).sum())(b)
    assert type(penalty) is np.ndarray
    np.testing.assert_allclose(penalty, 8 * b * a**2)


@pytest.mark.parametrize(
    "func",
    [
        lambda x: (x * math.exp(x[0])).sum(),
        lambda x: (x * x[0].item()).sum(),
        lambda x: (x * int(x[0])).sum(),
        lambda x: (x * np.array([x[1], x[0]])).sum(),
    ],
)
def test_a_function_that_takes_numbers_out_is_not_differentiated_wrongly(func):
    with pytest.raises(TypeError, match=r"would lose .*\.value"):
        grad(func)(np.array([1.0, 2.0]))


def test_a_function_that_writes_into_an_array_is_not_differentiated_wrongly():
    def by_assignment(x):
        out = np.zeros(2)
        out[0] = x[0]
        return (x * out).sum()

    with pytest.raises((TypeError, ValueError)) as caught:
        grad(by_assignment)(np.array([1.0, 2.0]))
    assert "would lose" in str(caught.value.__cause__ or caught.value)


def test_numbers_come_out_where_no_derivative_is_lost():
    x = Tensor(1.5, requires_grad=True)
    assert float(x * 2) == 3.0
    assert grad(lambda z: z * Tensor(2.0).item())(1.0) == 2.0


def test_gradient_penalty_reaches_the_parameters():
    w = Parameter(np.array([1.0, -2.0]))
    x = np.array([0.5, 0.25])
    gx = grad(lambda z: (w * z**2).sum())(x)
    (gx**2).sum().backward()
    np.testing.assert_allclose(w.grad, 8 * w.value * x**2)


def test_a_rule_that_cannot_be_differentiated_again_says_so():
    @op("... -> ...")
    def through_an_array(x):
        y = np.asarray(x) * 3

        def gx(gy):
            return gy * y

        return y * x / 3, (gx,)

    @op("... -> ...")
    def through_a_number(x):
        scale = float(x.sum())

        def gx(gy):
            return gy * scale

        return x * 2, (gx,)

    @op("... -> ...")
    def through_a_buffer(x):
        buffer = np.zeros(x.shape)
        buffer[:] = x
        return buffer**2, (lambda gy: 2 * gy * buffer,)

    @op("... -> ...")
    def without_gy(x):
        return 2 * x, (lambda gy: np.full(x.shape, 2.0),)

    everyone = (through_an_array, through_a_number, through_a_buffer, without_gy)
    try:
        for broken in everyone:
            assert grad(lambda x, f=broken: f(x).sum())(np.ones(2)).shape == (2,)
            with pytest.raises(TypeError, match=f"{broken.name}: its rule cannot be differentiated again"):
                hessian(lambda x, f=broken: f(x).sum())(np.ones(2))
    finally:
        for broken in everyone:
            unregister(broken.name)


# ---------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.complex128])
def test_integers_and_complex_numbers_have_no_gradient(dtype):
    with pytest.raises(TypeError, match=r"floating-point.*np.float64"):
        Tensor(np.ones(3, dtype), requires_grad=True)
    with pytest.raises(TypeError, match="floating-point"):
        grad(lambda x: (x * x).sum())(np.ones(3, dtype))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: (x * 2).backward(), ValueError, r"shape \(2, 3\).*gy"),
        (lambda x: (x * 2).backward(np.ones(3)), ValueError, r"\(3,\), expected \(2, 3\)"),
        (lambda x: Tensor(1.0).backward(), RuntimeError, "requires_grad=True"),
        (lambda x: x + np.ones((4, 5)), ValueError, r"add: a has shape \(2, 3\), b has shape \(4, 5\)"),
        (lambda x: x.reshape(4, 2), ValueError, r"reshape: .*\(2, 3\)"),
        (lambda x: x[5], IndexError, r"getitem: .*out of bounds.*\(2, 3\)"),
        (lambda x: x.sum(axis=3), ValueError, r"sum: axis 3.*\(2, 3\)"),
        (lambda x: np.asarray(x), TypeError, r"\.value"),
        (lambda x: x.__setitem__(0, 1.0), TypeError, r"np\.where"),
        (lambda x: np.fft.fft(x), TypeError, r"np\.fft\.fft on a Tensor: there is no op"),
        (lambda x: x + "a", TypeError, "expected an array, a Tensor or a number, found 'a'"),
        (lambda x: x * 1j, TypeError, "mul: the result is complex"),
        (lambda x: operator.iadd(np.ones((2, 3)), x), TypeError, r"array = array \+ tensor"),
        (lambda x: np.clip(x, 0, 1, out=np.ones((2, 3))), TypeError, r"np\.clip\(\) got .*out"),
        (lambda x: np.add.reduce(x), TypeError, "reduce"),
        (lambda x: np.exp(x, out=np.zeros((2, 3))), TypeError, "out"),
        (lambda x: Tensor(np.array(["a"])), TypeError, "numbers"),
        (
            lambda x: OPS["linear"](x, np.ones((5, 7))),
            ValueError,
            r"linear: weight has shape \(5, 7\).*x of shape \(2, 3\)",
        ),
        (lambda x: OPS["softmax"](x, 1), TypeError, "hyper-parameters by name"),
        (lambda x: OPS["softmax"](x, axis=1), TypeError, "axis"),
        (lambda x: grad(lambda z: z * 2)(np.ones(3)), ValueError, "jacobian"),
        (lambda x: grad(lambda z: z, 1)(np.ones(3)), TypeError, "argnums=1.* 1 positional"),
        (lambda x: grad(lambda z: 3.0)(np.ones(3)), TypeError, "Tensor"),
    ],
)
def test_errors_name_the_thing(call, error, says):
    with pytest.raises(error, match=says):
        call(Tensor(np.ones((2, 3)), requires_grad=True))


@pytest.mark.parametrize("name", ["concatenate", "stack"])
def test_arrays_to_join_may_come_in_a_list(name):
    a, b = np.ones((2, 3)), np.zeros((2, 3))
    np.testing.assert_array_equal(OPS[name]([a, b], axis=1), getattr(np, name)([a, b], axis=1))
    x = leaf(2, 3)
    np.testing.assert_array_equal(OPS[name]([x, b]).value, getattr(np, name)([x.value, b]))


def test_inputs_may_be_named():
    x, w = np.ones((2, 3)), np.ones((5, 3))
    np.testing.assert_array_equal(OPS["linear"](x, weight=w), OPS["linear"](x, w))


def test_a_rule_of_the_wrong_form_is_named():
    @op("... -> ...")
    def formless(x):
        return x

    @op("... -> ...")
    def misshapen(x):
        return x, (lambda gy: gy[:1],)

    try:
        with pytest.raises(TypeError, match="formless: a rule returns its value"):
            formless(np.ones(3))
        with pytest.raises(ValueError, match=r"misshapen: the pullback of x returned an array of shape \(1,\)"):
            misshapen(leaf(3)).sum().backward()
    finally:
        unregister("formless")
        unregister("misshapen")


def test_repr_tells_the_numbers_and_the_origin():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "Tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "Tensor([2., 4.], from mul)"
    assert repr((x * 2).source) == "mul((2,), ())"


# -------------------------------------------------------------------------------------------------------- in notebooks


def test_what_a_notebook_shows_of_a_tensor_and_of_an_op():
    x = Tensor(np.array([[0.0, 1.0]]), requires_grad=True)
    y = ops.softmax(x)
    (y * np.array([1.0, 3.0])).sum().backward()
    shown = x._repr_html_()
    assert "Tensor (1, 2), float64" in shown
    assert str(x.grad) in shown
    assert "<th>from</th>" not in shown
    assert "softmax((1, 2))" in y._repr_html_()
    formulas = ops.softmax._repr_latex_()
    assert formulas.startswith(r"$$\begin{aligned} & y_k = \frac{e^{x_k}}{\sum_i e^{x_i}} \\")
    assert "sigma" not in formulas
    of_ops = [op._repr_latex_() for op in OPS.values() if op.rule.__module__.startswith("chainrule.ops")]
    assert all(found.count("{") == found.count("}") > 0 for found in of_ops)
