"""What is found in a file, under which name, and which shapes are guessed for its inputs."""

import sys
import textwrap
from itertools import count

import numpy as np
import pytest

from chainrule.check import diagnose
from chainrule.check.discover import discover, load, pick, skipped
from chainrule.check.guess import guess, made, prepared
from chainrule.check.target import Unusable
from chainrule.errors import UsageError

NUMBER = count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Imports a source text under a name of its own."""
    monkeypatch.setattr("sys.path", [*sys.path])

    def imported(source):
        path = tmp_path / f"found_{next(NUMBER)}.py"
        path.write_text("import numpy as np\n" + textwrap.dedent(source))
        return load(path)

    return imported


@pytest.fixture
def names(module):
    return lambda source: [item.name for item in discover(module(source))]


# --------------------------------------------------------------------------------------------------------- discovery


@pytest.mark.parametrize(
    ("forward", "backward", "name"),
    [
        ("affine_forward", "affine_backward", "affine"),
        ("forward_affine", "backward_affine", "affine"),
        ("forward", "backward", "forward"),
        ("f", "f_backward", "f"),
        ("f", "f_grad", "f"),
        ("f", "f_vjp", "f"),
        ("f", "f_prime", "f"),
        ("f", "grad_f", "f"),
        ("f", "d_f", "f"),
        ("relu_fwd", "relu_bwd", "relu"),
        ("conv_forward_naive", "conv_backward_naive", "conv_naive"),
        ("norm_forward", "norm_backward_alt", "norm_alt"),
    ],
)
def test_two_functions_are_a_pair_by_their_names(module, forward, backward, name):
    found = module(f"def {forward}(x): return x, x\ndef {backward}(gy, cache): return gy\n")
    (item,) = discover(found)
    assert item.name == name
    assert item.target == (getattr(found, forward), getattr(found, backward))
    for word in (name, forward, backward):
        assert pick([item], word, "f.py") == [item]


def test_a_forward_is_named_once_though_two_backwards_belong_to_it(names):
    source = """
    def norm_forward(x): return x, x
    def norm_backward(gy, cache): return gy
    def norm_backward_alt(gy, cache): return gy
    """
    assert names(source) == ["norm", "norm_alt"]


def test_no_two_things_have_one_name(names):
    source = """
    def softmax_forward(x): return x, x
    def softmax_backward(gy, cache): return gy
    def softmax(x): return x, lambda gy: gy
    """
    assert names(source) == ["softmax_backward", "softmax"]


def test_a_derivative_that_takes_no_gradient_coming_in_is_left_out_and_said_so(module):
    found = module("def tanh(x): return np.tanh(x)\ndef tanh_grad(x): return 1 - np.tanh(x) ** 2\n")
    assert discover(found) == []
    assert "tanh_grad was not checked" in skipped(found)[0]


def test_functions_that_return_pullbacks_are_found_and_other_nested_functions_are_not(names):
    source = """
    def nested(x):
        def pullback(gy): return 2 * gy
        return 2 * x, pullback
    def several(x, w):
        return x * w, (lambda gy: gy * w, lambda gy: gy * x)
    def assigned(x):
        back = lambda gy: gy
        return x, back
    def keyed(x):
        return x, {"x": lambda gy: gy}
    def decorator(f):
        def inner(x): return f(x)
        return inner
    def statistics(x):
        def centred(): return x - x.mean()
        return x.mean(), centred()
    """
    assert names(source) == ["nested", "several", "assigned", "keyed"]


def test_classes_objects_static_methods_and_ops(module):
    found = module(
        """
        from chainrule import op
        from chainrule.engine import OPS
        from chainrule.ops import linear
        class Base:
            def forward(self, x): raise NotImplementedError
            def backward(self, gy): raise NotImplementedError
        class Double(Base):
            def forward(self, x): return 2 * x
            def backward(self, gy): return 2 * gy
        class Scale(Double):
            def __init__(self, by): self.by = by
        scale = Scale(3)
        class Exp:
            @staticmethod
            def forward(ctx, x): return np.exp(x)
            @staticmethod
            def backward(ctx, gy): return gy
        @op("..., -> ...")
        def thrice(x): return 3 * x, (lambda gy: 3 * gy,)
        OPS.pop("thrice")
        class Config:
            def forward(self): return None
        """
    )
    items = {item.name: item for item in discover(found)}
    assert list(items) == ["Double", "scale", "Exp", "thrice"]
    assert items["Exp"].target == (found.Exp.forward, found.Exp.backward)
    assert items["scale"].target is found.scale
    assert items["thrice"].target is found.thrice


def test_torch_functions_are_found_as_they_are(module):
    pytest.importorskip("torch")
    found = module(
        """
        import torch
        from torch import nn
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x
            @staticmethod
            def backward(ctx, gy): return 2 * gy * ctx.saved_tensors[0]
        layer = nn.Linear(2, 3)
        """
    )
    (item,) = discover(found)
    assert item.target is found.Square
    assert prepared(item).target is found.Square


def test_imported_things_are_not_of_this_file(module, tmp_path):
    (tmp_path / "neighbour.py").write_text(
        "def f(x): return x, x\ndef f_backward(gy, cache): return gy\n"
        "class Layer:\n  def forward(self, x): return x\n  def backward(self, gy): return gy\n"
    )
    found = module("from neighbour import f, f_backward, Layer\ndef g(x): return x, lambda gy: gy\n")
    assert [item.name for item in discover(found)] == ["g"]


def test_a_file_in_a_package_may_import_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    package = tmp_path / "layers_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("TWO = 2\n")
    (package / "double.py").write_text("from .base import TWO\ndef double(x): return TWO * x, lambda gy: TWO * gy\n")
    assert [item.name for item in discover(load(package / "double.py"))] == ["double"]


def test_a_file_named_like_a_library_does_not_take_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    path = tmp_path / "numpy.py"
    path.write_text("def f(x): return x, lambda gy: gy\n")
    assert [item.name for item in discover(load(path))] == ["f"]
    assert __import__("numpy") is np


def test_an_unknown_name_is_answered_with_the_nearest_and_all(module):
    items = discover(module("def affine(x): return x, lambda gy: gy\ndef relu(x): return x, lambda gy: gy\n"))
    with pytest.raises(UsageError, match=r"no afine to check in f.py, the nearest is affine \(all: affine, relu\)"):
        pick(items, "afine", "f.py")
    with pytest.raises(UsageError, match=r"nothing to check in f.py; what would be recognised: .* pullback"):
        pick([], None, "f.py")


# ------------------------------------------------------------------------------------------------------ inputs, given


def test_shapes_and_inputs_that_the_author_declares_are_used(module):
    found = module(
        """
        def f(x, w): return x @ w, (x, w)
        def f_backward(gy, cache): return gy @ cache[1].T, cache[0].T @ gy
        f.shapes = "batch in, in out"
        def g(x): return x * x, lambda gy: 2 * x * gy
        g.inputs = lambda rng: (rng.standard_normal(4),)
        class Double:
            shapes = "n 3"
            def forward(self, x): return 2 * x
            def backward(self, gy): return 2 * gy
        class Half:
            def check_inputs(rng): return (rng.standard_normal((2, 3)),)
            def forward(self, x): return x / 2
            def backward(self, gy): return gy / 2
        """
    )
    f, g, double, half = discover(found)
    assert prepared(f).shapes == "batch in, in out"
    assert prepared(f, "n d, d m").shapes == "n d, d m"
    assert prepared(g).inputs(np.random.default_rng(0))[0].shape == (4,)
    assert prepared(double).shapes == "n 3"
    assert isinstance(prepared(double).target, found.Double)
    assert prepared(half).inputs(np.random.default_rng(0))[0].shape == (2, 3)
    assert not any(prepared(item).guessed for item in (f, g, double, half))


# ---------------------------------------------------------------------------------------------------- inputs, guessed


@pytest.mark.parametrize(
    ("forward", "shapes"),
    [
        ("def f(x): return np.tanh(x)", "x: n d"),
        ("def f(x, w, b): return x @ w + b", "x: n d, w: d m, b: m"),
        ("def f(x, weight, bias=None): return x @ weight.T + bias", "x: n d, weight: m d, bias: m"),
        (
            "def f(x, gamma, beta, eps=1e-5): return gamma * x / np.sqrt(x.var(0) + eps) + beta",
            "x: n d, gamma: d, beta: d",
        ),
        ("def f(a, b): return a @ b", "a: n d, b: d m"),
        ("def f(x, y): return x * y", "x: n d, y: n d"),
        ("def f(logits, labels): return logits[np.arange(len(labels)), labels].sum()", "logits: n d, labels: n in d"),
        ("def f(x, w1, b1, w2, b2): return np.tanh(x @ w1 + b1) @ w2 + b2", "x: n d, w1: d m, b1: m, w2: m p, b2: p"),
        ("def f(x, h, Wx, Wh, b): return np.tanh(x @ Wx + h @ Wh + b)", "x: n d, h: n m, Wx: d m, Wh: m m, b: m"),
        ("def f(q, k, v): return q @ k.swapaxes(-1, -2) @ v", "q: n t d, k: n s d, v: n s e"),
        ("def f(images): return images.sum((2, 3)) + 0 * images.shape[3]", "images: n c 4 6"),
        ("def f(W, x, b): return W @ x + b", "W: m d, x: d n, b: m 1"),
        ("def f(x): return np.log(x)", "x: n d"),
        ("def f(A, x): return A @ x", "A: m d, x: d n"),
        ("def f(A, B): return A @ B", "A: n d, B: d m"),
    ],
)
def test_shapes_are_guessed_from_the_names_by_trying(module, forward, shapes):
    found = module(forward + "\ndef f_backward(gy, *inputs): return None\n")
    assert guess((found.f, found.f_backward), "f").shapes == shapes


def test_a_layer_is_made_and_its_input_fits_its_parameters(module):
    found = module(
        """
        class Linear:
            def __init__(self, n_in, n_out, *, rng):
                self.W = rng.standard_normal((n_in, n_out)); self.dW = None
            def forward(self, x):
                self.x = x
                return x @ self.W
            def backward(self, gy):
                self.dW = self.x.T @ gy
                return gy @ self.W.T
        """
    )
    ready = prepared(discover(found)[0])
    assert ready.target.W.shape == (5, 7)
    assert (ready.shapes, ready.guessed) == ("x: n 5", True)


def test_a_constructor_that_wants_something_else_is_named(module):
    found = module("class Net:\n    def __init__(self, layers): self.first = layers[0]\n")
    with pytest.raises(Unusable, match=r"Net\(layers=5\) raises TypeError: .*; make an object in the file"):
        made(found.Net)


@pytest.mark.parametrize(
    ("forward", "gradients", "shapes", "name"),
    [
        ("f(x, w, b): return x @ w + b", "gy @ inputs[1].T, inputs[0].T @ gy, gy", "x: n d, w: d m, b: m", "b"),
        ("f(x, gamma): return x * gamma", "gy * inputs[1], gy * inputs[0]", "x: n d, gamma: d", "gamma"),
    ],
)
def test_what_examples_share_is_guessed_without_the_batch_so_that_a_missing_sum_is_seen(
    module, forward, gradients, shapes, name
):
    found = module(f"def {forward}\ndef f_backward(gy, *inputs): return {gradients}\n")
    pair = found.f, found.f_backward
    assert guess(pair, "f").shapes == shapes
    assert {f.name: f.cause for f in diagnose(pair, shapes=shapes).findings}[name] == "missing-sum"


def test_where_layouts_differ_the_one_that_backward_returns_is_taken(module):
    found = module(
        """
        def f(x, w, b): return x @ w + b, (x, w)
        def f_backward(gy, cache): return gy @ cache[1].T, cache[0].T @ gy, gy.sum(0, keepdims=True)
        def softmax(x):
            y = np.exp(x) / np.exp(x).sum()
            return y, lambda gy: (np.diag(y) - np.outer(y, y)) @ gy
        """
    )
    assert guess((found.f, found.f_backward), "f").shapes == "x: n d, w: d m, b: 1 m"
    assert guess(found.softmax, "softmax").shapes == "x: d"


def test_numbers_that_are_no_arrays_get_values_and_no_gradient_is_asked_for_them(module):
    found = module(
        """
        def f(x, eps): return 1 / np.sqrt(x**2 + eps), (x, eps)
        def f_backward(gy, cache):
            x, eps = cache
            return -gy * x * (x**2 + eps) ** -1.5
        """
    )
    ready = guess((found.f, found.f_backward), "f")
    assert ready.shapes == "x: n d"
    drawn = [ready.inputs(np.random.default_rng(seed)) for seed in range(10)]
    assert {d["x"].shape for d in drawn} == {(4, 3), (3, 5)}
    assert {d["eps"] for d in drawn} == {1e-5}


def test_where_nothing_runs_the_first_error_and_the_user_s_line_are_given(module):
    found = module("def f(x, table_of_mine): return x + table_of_mine['a']\ndef f_backward(gy, x): return gy\n")
    with pytest.raises(
        Unusable, match=r'--shapes "x: \.\.\., table_of_mine: \.\.\."; with x: n d.* IndexError'
    ) as error:
        guess((found.f, found.f_backward), "f")
    assert "line 2" in error.value.where


def test_an_error_that_no_shapes_mend_ends_the_guessing(module):
    found = module("calls = []\ndef f(x):\n    calls.append(1)\n    return missing\ndef f_backward(gy, x): return gy\n")
    with pytest.raises(Unusable, match="NameError"):
        guess((found.f, found.f_backward), "f")
    assert len(found.calls) == 1
