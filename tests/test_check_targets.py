"""Every form of target: what it is called with, what its gradients are called, and what is said when it fails."""

import builtins
import functools
import sys
import types

import numpy as np
import pytest

from chainrule import nn
from chainrule.check.adapters import as_target, of_op
from chainrule.check.target import Unusable
from chainrule.engine import OPS, Tensor
from chainrule.errors import UsageError

X = np.array([[1.0, 2.0, -1.0], [0.5, -3.0, 4.0]])
W = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.5]])
B = np.array([0.25, -0.75])
GY = np.array([[0.3, -1.1], [2.0, 0.7]])
INPUTS = {"x": X, "w": W, "b": B}
GRADIENTS = {"x": GY @ W.T, "w": X.T @ GY, "b": GY.sum(0)}  # of y = x w + b


def run(target, values, gy):
    session = as_target(target).start()
    return session.forward(values), session.backward(gy)


def assert_linear(target, values=INPUTS, gradients=GRADIENTS):
    y, found = run(target, values, GY)
    np.testing.assert_allclose(y, X @ W + B)
    assert found.keys() == gradients.keys()
    for name, expected in gradients.items():
        np.testing.assert_allclose(found[name], expected)


# ---------------------------------------------------------------------------------------------------- two functions


def linear(x, w, b):
    return x @ w + b


def linear_saving(x, w, b):
    y = x @ w + b
    cache = (x, w)
    return y, cache


def from_cache(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(0)


def linear_ctx(ctx, x, w, b):
    ctx.save_for_backward(x, w)
    ctx.size = len(x)
    return x @ w + b


def from_ctx(ctx, gy):
    x, w = ctx.saved_tensors
    assert ctx.saved_values == (x, w)
    assert ctx.size == len(gy)
    return gy @ w.T, x.T @ gy, gy.sum(0)


PAIRS = {
    "cache": (linear_saving, from_cache),
    "cache first": (linear_saving, lambda cache, dout: from_cache(dout, cache)),
    "a cache of another name": (linear_saving, lambda g, stuff: from_cache(g, stuff)),
    "the cache taken apart": (linear_saving, lambda gy, a, c: from_cache(gy, (a, c))),
    "the cache as *saved": (linear_saving, lambda gy, *saved: from_cache(gy, saved)),
    "values returned beside y": (lambda x, w, b: (x @ w + b, x, w), lambda gy, a, c: from_cache(gy, (a, c))),
    "inputs by name": (linear, lambda gy, x, w, b: from_cache(gy, (x, w))),
    "inputs by name, some of them": (linear, lambda w, x, grad_output: from_cache(grad_output, (x, w))),
    "inputs by place": (linear, lambda gy, one, two, three: from_cache(gy, (one, two))),
    "*inputs": (linear, lambda gy, *inputs: from_cache(gy, inputs[:2])),
    "ctx": (linear_ctx, from_ctx),
    "a dictionary": (
        linear_saving,
        lambda gy, cache: dict(zip(("dx", "w", "grad_b"), from_cache(gy, cache), strict=True)),
    ),
    "a list": (linear_saving, lambda gy, cache: list(from_cache(gy, cache))),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_pair_of_functions(pair):
    assert as_target(pair).arguments == ("x", "w", "b")
    assert_linear(pair)


def test_a_pair_that_keeps_its_state_outside():
    kept = {}

    def forward(x, w, b):
        kept["cache"] = x, w
        return x @ w + b

    assert_linear((forward, lambda gy: from_cache(gy, kept["cache"])))


def sigmoid(x):
    s = 1 / (1 + np.exp(-x))
    return s


@pytest.mark.parametrize(
    "backward",
    [
        lambda gy, y: gy * y * (1 - y),
        lambda gy, s: gy * s * (1 - s),
        lambda gy, x, y: gy * y * (1 - y),
        lambda dout, z: dout * sigmoid(z) * (1 - sigmoid(z)),
    ],
    ids=["y", "forward's own name", "x and y", "the input by another name"],
)
def test_backward_is_given_the_output_or_the_input(backward):
    _, found = run((sigmoid, backward), {"x": X}, X)
    np.testing.assert_allclose(found["x"], X * np.exp(-X) / (1 + np.exp(-X)) ** 2)


@pytest.mark.parametrize(
    "backward",
    [lambda dnext_h, dnext_c, cache: dnext_h * cache[1] + 2 * dnext_c, lambda gy, cache: gy[0] * cache[1] + 2 * gy[1]],
    ids=["one by one", "as a tuple"],
)
def test_two_outputs_and_a_cache(backward):
    def forward(x, m):
        next_h, next_c = x * m, 2 * x
        return next_h, next_c, (x, m)

    m = np.array([2.0, 3.0, 5.0])
    session = as_target((forward, backward)).start()
    y = session.forward({"x": X, "m": np.array([2, 3, 5])})  # integers: no gradient
    assert isinstance(y, tuple)
    np.testing.assert_allclose(y[0], X * m)
    np.testing.assert_allclose(session.backward((X, X + 1))["x"], X * m + 2 * (X + 1))


def test_two_outputs_and_no_cache():
    session = as_target((lambda x: (2 * x, 3 * x), lambda g1, g2: 2 * g1 + 3 * g2)).start()
    session.forward({"x": X})
    np.testing.assert_allclose(session.backward((X, X + 1))["x"], 5 * X + 3)


def test_what_forward_calls_g_is_not_the_gradient_coming_in():
    def forward(x):
        g = np.exp(x)
        return g * x, g

    _, found = run((forward, lambda dh, g: dh * 2 * g), {"x": X}, X)
    np.testing.assert_allclose(found["x"], X * 2 * np.exp(X))


def test_a_default_may_be_left_out_and_names_may_skip_one():
    pair = (lambda x, scale=3.0, shift=1.0: (scale * x + shift, scale), lambda gy, cache: gy * cache)
    assert as_target(pair).arguments == ("x", "scale", "shift")
    session = as_target(pair).start()
    np.testing.assert_allclose(session.forward({"x": X, "shift": 5.0}), 3 * X + 5)
    np.testing.assert_allclose(session.backward(X)["x"], 3 * X)


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([0.5, 1.0])], ids=["integers", "floats"])
def test_targets_may_have_no_gradient(labels):
    pair = (lambda x, target: (x * target[:, None], target), lambda gy, cache: gy * cache[:, None])
    _, found = run(pair, {"x": X, "target": labels}, X)
    assert found.keys() == {"x"}
    np.testing.assert_allclose(found["x"], X * labels[:, None])


@pytest.mark.parametrize("names", ["x, y", "y_hat, y", "scores, labels"])
def test_one_gradient_for_a_prediction_and_its_target(names):
    prediction, target = names.split(", ")
    forward = eval(f"lambda {names}: ({prediction} * {target}, {target})")
    _, found = run((forward, lambda gy, cache: gy * cache), {prediction: X, target: X + 1}, X)
    assert found.keys() == {prediction}
    np.testing.assert_allclose(found[prediction], X * (X + 1))


def test_an_input_returned_beside_the_output_is_no_output():
    y, found = run((lambda z: (z * (z > 0), z), lambda da, z: da * (z >= 0)), {"z": X}, X)
    np.testing.assert_allclose(y, np.maximum(X, 0))
    np.testing.assert_allclose(found["z"], X * (X > 0))


def test_a_loss_whose_backward_takes_no_gradient_coming_in():
    pair = (lambda x, t: (((x - t) ** 2).sum(), x - t), lambda cache: 2 * cache)
    _, found = run(pair, {"x": X, "t": X + 1}, np.array(3.0))
    np.testing.assert_allclose(found["x"], np.full(X.shape, -6.0))


def test_names_of_targets():
    def affine_forward(x):
        return x, None

    assert as_target((affine_forward, from_cache)).name == "affine"
    assert as_target((affine_forward, from_cache), name="mine").name == "mine"
    assert as_target((affine_forward, from_cache)).code == {"forward": affine_forward, "backward": from_cache}


def test_another_backward_can_be_tried():
    target = as_target((linear_saving, from_cache)).replaced(lambda gy, cache: (gy, gy, gy))
    session = target.start()
    session.forward(INPUTS)
    assert session.backward(GY)["w"] is GY


# -------------------------------------------------------------------------------------------------------- pullbacks


def pulls(x, w, b):
    return x @ w + b, (lambda gy: gy @ w.T, lambda gy: x.T @ gy, lambda gy: gy.sum(0))


PULLBACKS = {
    "a tuple": pulls,
    "a list": lambda x, w, b: (pulls(x, w, b)[0], list(pulls(x, w, b)[1])),
    "one for all": lambda x, w, b: (x @ w + b, lambda gy: from_cache(gy, (x, w))),
    "a dictionary": lambda x, w, b: (x @ w + b, dict(zip(("x", "dw", "b"), pulls(x, w, b)[1], strict=True))),
    "with a setting filled in": functools.partial(lambda scale, x, w, b: pulls(x, w, b), 2.0),
    "flat": lambda x, w, b: (pulls(x, w, b)[0], *pulls(x, w, b)[1]),
}


@pytest.mark.parametrize("function", PULLBACKS.values(), ids=PULLBACKS)
def test_a_function_that_returns_its_pullbacks(function):
    target = as_target(function)
    assert (
        target.code.get("forward") is target.code.get("backward") is (None if hasattr(function, "func") else function)
    )
    assert_linear(function)


def test_a_pullback_of_none():
    _, found = run(lambda x, k: (x * k, (lambda gy: gy * k, None)), {"x": X, "k": np.array(2)}, X)
    assert found["k"] is None
    np.testing.assert_allclose(found["x"], 2 * X)


def test_an_input_left_out_is_not_pulled_to():
    def shifted(x, shift=None, scale=2.0):
        return x * scale, (lambda gy: gy * scale, lambda gy: gy + shift, lambda gy: (gy * x).sum())

    _, found = run(shifted, {"x": X, "scale": np.array(3.0)}, GY @ W.T)
    np.testing.assert_allclose(found["x"], 3 * GY @ W.T)
    np.testing.assert_allclose(found["scale"], np.sum(X * (GY @ W.T)))


def test_an_op():
    values = {"x": X, "weight": W.T, "bias": B}
    assert_linear(OPS["linear"], values, {"x": GY @ W.T, "weight": GY.T @ X, "bias": GY.sum(0)})
    assert as_target(OPS["linear"]).name == "linear"
    session = of_op(OPS["softmax"], params={"dim": 0}).start()
    np.testing.assert_allclose(session.forward({"x": X}).sum(0), 1)


def test_an_op_of_many_inputs():
    y, found = run(OPS["concatenate"], {"xs[0]": X, "xs[1]": X + 1}, np.arange(12.0).reshape(4, 3))
    assert y.shape == (4, 3)
    np.testing.assert_allclose(found["xs[1]"], np.arange(6.0, 12).reshape(2, 3))


def test_recording_passes_tensors_through():
    y = as_target((linear_saving, from_cache)).start().forward({n: Tensor(v, True) for n, v in INPUTS.items()})
    y.backward(GY)
    assert isinstance(y, Tensor)


# ---------------------------------------------------------------------------------------------------------- objects


class Layer:
    """A linear layer; the subclasses keep their parameters and gradients in their own places."""

    def forward(self, x):
        self.x = x
        w, b = self.values()
        return x @ w + b

    def backward(self, gy):
        self.keep(self.x.T @ gy, gy.sum(0))
        return gy @ self.values()[0].T


class Prefixed(Layer):
    def __init__(self):
        self.W, self.b, self.unrelated = W.copy(), B.copy(), np.ones(3)

    def values(self):
        return self.W, self.b

    def keep(self, dw, db):
        self.dW, self.db = dw, db


class Suffixed(Prefixed):
    def keep(self, dw, db):
        self.W_grad, self.grad_b = dw, db


class InDicts(Layer):
    def __init__(self):
        self.params, self.grads = {"W": W.copy(), "b": B.copy()}, {}

    def values(self):
        return self.params["W"], self.params["b"]

    def keep(self, dw, db):
        self.grads["W"], self.grads["b"] = dw, db


class InDictsPrefixed(InDicts):
    def keep(self, dw, db):
        self.grads = {"dW": dw, "dJdb": db}  # another dictionary than the one at first


class InLists(Layer):
    def __init__(self):
        self.params, self.grads = [W.copy(), B.copy()], [np.zeros_like(W), np.zeros_like(B)]

    def values(self):
        return self.params

    def keep(self, dw, db):
        self.grads[0][...], self.grads[1][...] = dw, db


class Holder:
    def __init__(self, data):
        self.data, self.grad = data, np.ones_like(data)  # used before: not zero

    def zero_grad(self):
        self.grad[...] = 0


class InHolders(Layer):
    def __init__(self):
        self.W, self.b = Holder(W.copy()), Holder(B.copy())

    def values(self):
        return self.W.data, self.b.data

    def keep(self, dw, db):
        self.W.grad += dw
        self.b.grad += db


class Returning(Prefixed):
    def backward(self, gy):
        dW, db = self.x.T @ gy, gy.sum(0)
        dx = gy @ self.W.T
        self.dW, self.db = dW, db
        return dx, db, dW


class Keeping(Prefixed):
    def backward(self, gy):
        self.dx = super().backward(gy)


LAYERS = [Prefixed, Suffixed, InDicts, InDictsPrefixed, InHolders, Returning, Keeping]


@pytest.mark.parametrize("cls", LAYERS)
@pytest.mark.parametrize("made", [False, True], ids=["class", "object"])
def test_an_object(cls, made):
    target = as_target(cls() if made else cls)
    assert target.name == cls.__name__
    assert target.arguments == ("x",)
    assert set(target.parameters) == {"W", "b"}
    np.testing.assert_array_equal(target.parameters["W"], W)
    values = {"x": X, "W": W + 1, "b": B * 2}
    session = target.start()
    np.testing.assert_allclose(session.forward(values), X @ (W + 1) + B * 2)
    found = session.backward(GY)
    np.testing.assert_allclose(found["x"], GY @ (W + 1).T)
    np.testing.assert_allclose(found["W"], X.T @ GY)
    np.testing.assert_allclose(found["b"], GY.sum(0))


def test_parameters_in_lists():
    assert_linear(InLists, {"x": X, "params[0]": W, "params[1]": B}, {
        "x": GRADIENTS["x"], "params[0]": GRADIENTS["w"], "params[1]": GRADIENTS["b"],
    })  # fmt: skip


def test_a_factory_and_two_methods():
    expected = {"x": GRADIENTS["x"], "W": GRADIENTS["w"], "b": GRADIENTS["b"]}
    layer = Prefixed()
    assert_linear(lambda: Prefixed(), {"x": X}, expected)
    assert_linear((layer.forward, layer.backward), {"x": X}, expected)
    assert not hasattr(layer, "x")  # a copy was used


def test_what_adds_up_over_calls_is_seen():
    for cls, times in ((InHolders, 2), (Prefixed, 1)):
        target = as_target(cls)
        assert target.accumulates is (times == 2)
        session = target.start()
        for _ in range(2):
            session.forward({"x": X})
            found = session.backward(GY)
        np.testing.assert_allclose(found["b"], times * GY.sum(0))
        again = target.start()
        again.forward({"x": X})
        np.testing.assert_allclose(again.backward(GY)["b"], GY.sum(0))


class Chain:
    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, gy):
        for layer in reversed(self.layers):
            gy = layer.backward(gy)
        return gy


def test_parts_of_an_object():
    first, second = Prefixed(), InDicts()
    second.params = {"W": W[:2] @ W.T, "b": np.zeros(3)}
    target = as_target(Chain(first, Chain(second)))
    assert set(target.parameters) == {"layers.0.W", "layers.0.b", "layers.1.layers.0.W", "layers.1.layers.0.b"}
    session = target.start()
    y = session.forward({"x": X, "layers.0.b": B + 1})
    np.testing.assert_allclose(y, (X @ W + B + 1) @ second.params["W"])
    found = session.backward(X)
    np.testing.assert_allclose(found["layers.0.W"], X.T @ (X @ second.params["W"].T))


@pytest.mark.parametrize("recorded", [False, True])
def test_a_chainrule_module(recorded):
    layer = nn.Linear(3, 2)
    target = as_target(layer)
    assert target.name == "Linear"
    assert set(target.parameters) == {"weight", "bias"}
    assert target.accumulates
    values = {"x": X, "weight": W.T.copy(), "bias": B}
    session = target.start()
    if recorded:
        tensors = {name: Tensor(x, True) for name, x in values.items()}
        y = session.forward(tensors)
        y.backward(GY)
        found = {name: x.grad for name, x in tensors.items()}
    else:
        y = session.forward(values)
        found = session.backward(GY)
    np.testing.assert_allclose(getattr(y, "value", y), X @ W + B)
    for name, expected in {"x": GY @ W.T, "weight": GY.T @ X, "bias": GY.sum(0)}.items():
        np.testing.assert_allclose(found[name], expected)


def test_a_namespace_of_functions():
    module = types.ModuleType("rules")
    module.forward, module.backward = linear_saving, from_cache
    assert_linear(module)

    class Static:
        forward, backward = staticmethod(linear_ctx), staticmethod(from_ctx)

    assert_linear(Static)


# -------------------------------------------------------------------------------------------------- PyTorch and JAX


def torch_linear():
    torch = pytest.importorskip("torch")

    class TorchLinear(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, b, index):
            ctx.save_for_backward(x, w)
            return x @ w + b[index]

        @staticmethod
        def backward(ctx, gy):
            x, w = ctx.saved_tensors
            return gy @ w.T, x.T @ gy, gy.sum(0), None

    return TorchLinear


def test_a_torch_function():
    function = torch_linear()
    assert as_target(function).arguments == ("x", "w", "b", "index")
    assert_linear(function, {**INPUTS, "index": np.array([0, 1])})
    session = as_target(function).replaced(lambda ctx, gy: (None, None, -gy.sum(0), None)).start()
    session.forward({**INPUTS, "index": np.array([0, 1])})
    found = session.backward(GY)
    assert found["x"] is None
    np.testing.assert_allclose(found["b"], -GY.sum(0))


def test_a_torch_function_that_raises():
    function = torch_linear()
    target = as_target(function).replaced(lambda ctx, gy: (gy,))
    session = target.start()
    session.forward({**INPUTS, "index": np.array([0, 1])})
    with pytest.raises(Unusable, match="incorrect number of gradients") as raised:
        session.backward(GY)
    assert raised.value.stage == "backward"
    assert raised.value.where.startswith("test_check_targets.py, line ")


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


def test_a_jax_function(jax):
    function = jax.custom_vjp(linear)
    function.defvjp(linear_saving, lambda cache, gy: from_cache(gy, cache))
    assert as_target(function).name == "linear"
    assert_linear(function)
    session = as_target(function).replaced(lambda cache, gy: from_cache(2 * gy, cache)).start()
    session.forward(INPUTS)
    np.testing.assert_allclose(session.backward(GY)["b"], 2 * GY.sum(0))


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (3, "an object of type int cannot be checked: expected a pair"),
        ((linear,), "expected two functions .forward, backward., found 1 things: function"),
        ((linear, 3), "found 2 things: function, int"),
        (functools.partial, "class partial has no forward"),
        (int, "class int has no forward and backward"),
        (nn.Linear, r"Linear\(\) raised TypeError: .*; pass an object, as Linear\(...\)"),
        (builtins.map, "class map has no forward"),
        (np.add, "add cannot be checked"),
    ],
)
def test_what_cannot_be_checked(target, says):
    with pytest.raises(UsageError, match=says):
        as_target(target)


@pytest.mark.parametrize(
    ("backward", "says"),
    [
        (
            lambda gy, cache: (gy, gy),
            r"returned 2 gradients, forward has 3 inputs: x, w, b; return one gradient for each",
        ),
        (lambda gy, cache: (gy, gy, gy, gy), "returned 4 gradients, forward has 3 inputs"),
        (lambda gy, cache: gy, "returned one gradient, forward has 3 inputs"),
        (lambda gy, cache: {"dq": gy}, "a gradient called 'dq', which is none of forward's inputs: x, w, b"),
        (lambda gy, cache: cache["x"], "backward raised TypeError: tuple indices must be integers"),
        (lambda gy, cache: sys.exit(3), "backward raised SystemExit: 3"),
        (lambda: 1, "backward takes no gradient coming in, and the output is not a single number"),
    ],
)
def test_a_backward_that_cannot_be_used(backward, says):
    session = as_target((linear_saving, backward)).start()
    session.forward(INPUTS)
    with pytest.raises(Unusable, match=says) as raised:
        session.backward(GY)
    assert raised.value.stage == "backward"


def test_the_wrong_number_is_shown_where_it_is_returned():
    def backward(gy, cache):
        x, w = cache
        return gy @ w.T, x.T @ gy

    session = as_target((linear_saving, backward)).start()
    session.forward(INPUTS)
    with pytest.raises(Unusable) as raised:
        session.backward(GY)
    line = backward.__code__.co_firstlineno + 2
    assert raised.value.where == f"test_check_targets.py, line {line}: return gy @ w.T, x.T @ gy"


def test_an_error_is_shown_at_the_users_innermost_line():
    def helper(x):
        return np.reshape(x, (7, 7))

    session = as_target((lambda x: (helper(x), x), from_cache)).start()
    with pytest.raises(Unusable, match=r"forward raised ValueError: cannot reshape array of size 6") as raised:
        session.forward({"x": X})
    line = helper.__code__.co_firstlineno + 1
    assert raised.value.where == f"test_check_targets.py, line {line}: return np.reshape(x, (7, 7))"
    assert isinstance(raised.value.error, ValueError)
    assert raised.value.stage == "forward"


def test_an_input_that_is_missing():
    with pytest.raises(Unusable, match=r"forward raised TypeError: .*missing 1 required positional argument: 'b'"):
        as_target((linear_saving, from_cache)).start().forward({"x": X, "w": W})


def test_a_function_without_a_pullback():
    with pytest.raises(Unusable, match=r"linear returned an array of shape \(2, 2\), expected \(y, pullback\)"):
        as_target(linear).start().forward(INPUTS)


def test_an_object_that_cannot_be_copied():
    layer = Prefixed()
    layer.log = (line for line in ())
    with pytest.raises(UsageError, match="a Prefixed cannot be copied to start afresh: TypeError"):
        as_target(layer).start()
