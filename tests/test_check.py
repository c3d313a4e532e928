"""The checker: it finds planted mistakes and says where they are; its truth is true."""

import numpy as np
import pytest

from chainrule import Tensor, op, ops
from chainrule.check import GradcheckError, gradcheck, numeric_gradient
from chainrule.engine import OPS

X = np.array([[0.5, -1.5, 2.0], [1.0, 0.7, -1.2]])


def softmax_with(pullback):
    """Softmax over the last axis, with a pullback of its own: from (y, gy) to gx."""

    @op("n d -> n d")
    def planted(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        y = e / e.sum(-1, keepdims=True)
        return y, (lambda gy: pullback(y, gy),)

    OPS.pop("planted")
    return planted


MISTAKES = {
    "the Jacobian's diagonal only": lambda y, gy: gy * y * (1 - y),
    "a sign": lambda y, gy: -y * (gy - (gy * y).sum(-1, keepdims=True)),
    "a factor": lambda y, gy: y * (gy - (gy * y).sum(-1, keepdims=True)) / len(y),
    "the wrong axis": lambda y, gy: y * (gy - (gy * y).sum(0, keepdims=True)),
    "gy left out": lambda y, gy: y * (1 - y.sum(-1, keepdims=True)),
    "zero": lambda y, gy: np.zeros_like(y),
    "NaN": lambda y, gy: np.full_like(y, np.nan),
    "one entry": lambda y, gy: y * (gy - (gy * y).sum(-1, keepdims=True)) + 0.01 * np.eye(*y.shape, 2),
}


def test_a_right_gradient_passes():
    assert gradcheck(softmax_with(lambda y, gy: y * (gy - (gy * y).sum(-1, keepdims=True))), [X])


@pytest.mark.parametrize("pullback", MISTAKES.values(), ids=MISTAKES)
def test_a_planted_mistake_is_found(pullback):
    broken = softmax_with(pullback)
    with pytest.raises(GradcheckError, match="the gradient of input 0 at"):
        gradcheck(broken, [X])
    assert not gradcheck(broken, [X], raise_exception=False)


def test_the_message_names_input_entry_and_numbers():
    @op("..., ... -> ...")
    def planted(a, b):
        return a * b, (lambda gy: gy * b, lambda gy: np.where(np.arange(3) == 1, 2, 1) * gy * a)

    OPS.pop("planted")
    with pytest.raises(GradcheckError, match=r"input 1 at \(1,\) is -?\d.*, expected -?\d"):
        gradcheck(planted, [np.ones(3), np.ones(3)])


def test_an_input_that_is_not_used_has_gradient_zero_and_integers_are_passed_on():
    def func(x, unused, index):
        return x[index]

    assert gradcheck(func, [X, np.ones(2), np.array([1, 0, 1])])
    assert gradcheck(ops.tanh, Tensor(X.astype(np.float32)))


@pytest.mark.parametrize("x", [1e-2, 1e-4, 1e-7, 1e-11])
def test_truth_near_the_border_of_a_domain(x):
    assert gradcheck(np.log, [np.array([x, 1.0])])
    assert gradcheck(lambda p: ops.binary_cross_entropy(p, np.array([0.3, 0.9])), [np.array([x, 1 - x])])


def test_a_function_that_fails_everywhere_is_not_a_border():
    with pytest.raises(ValueError, match="reshape"):
        numeric_gradient(lambda x: x.reshape(5).sum(), X)


def abs_cubed(x):
    return (np.abs(x) ** 3).sum()


@pytest.mark.parametrize(
    ("func", "derivative", "method"),
    [
        (lambda x: np.exp(x).sum(), np.exp, "complex step"),
        (lambda x: (x**5).sum(), lambda x: 5 * x**4, "complex step"),
        (abs_cubed, lambda x: 3 * x * np.abs(x), "extrapolated differences"),
    ],
)
def test_truth_equals_the_closed_form(func, derivative, method):
    truth = numeric_gradient(func, X)
    assert truth.method == method
    np.testing.assert_allclose(truth.value, derivative(X), rtol=1e-11)
