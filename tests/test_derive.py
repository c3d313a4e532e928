"""`chainrule.derive`: textbook forms, true lines, code that passes the checker, wrong derivations caught."""

import importlib.util
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from fractions import Fraction

import numpy as np
import pytest

from chainrule import OPS
from chainrule.check import diagnose, numeric_gradient
from chainrule.derive import DEFINITIONS, calculus, derive
from chainrule.derive.calculus import slope
from chainrule.derive.definitions import WITHOUT
from chainrule.derive.evaluate import evaluate
from chainrule.derive.indices import (
    ONE,
    Delta,
    Entry,
    Fn,
    Index,
    Num,
    Sum,
    Symbol,
    add,
    canonical,
    fresh,
    mul,
    num,
    power,
    same,
    total,
)
from chainrule.derive.notation import UNICODE
from chainrule.derive.rewriting import applied, contracted, expanded, factored, over_one_denominator, rules_of
from chainrule.errors import UserError

IMAGES = ("conv1d", "conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d")


def closed(derivation):
    """Every gradient in matrix notation."""
    return {g.name: derivation.matrix(g) for g in derivation.gradients}


# ------------------------------------------------------------------------------------------------- the textbook's forms

OPS_IN_PRINT = {
    "sigmoid": {"x": "ȳ ⊙ y ⊙ (1 − y)"},
    "tanh": {"x": "ȳ ⊙ (1 − y²)"},
    "relu": {"x": "ȳ ⊙ [x > 0]"},
    "elu": {"x": "ȳ ⊙ ([x > 0] + α exp(x) ⊙ [x ≤ 0])"},
    "leaky_relu": {"x": "ȳ ⊙ ([x > 0] + α [x ≤ 0])"},
    "silu": {"x": "ȳ ⊙ s ⊙ (1 + x ⊙ (1 − s))"},
    "exp": {"x": "ȳ ⊙ y"},
    "dropout": {"x": "1/(1 − p) ȳ ⊙ m"},
    "div": {"a": "ȳ/b", "b": "−ȳ ⊙ a / b²"},
    "mul": {"a": "ȳ ⊙ b", "b": "ȳ ⊙ a"},
    "maximum": {"a": "ȳ ⊙ [a > b]", "b": "ȳ ⊙ [a ≤ b]"},
    "broadcast_to": {"x": "colsum(ȳ)"},
    "sum": {"x": "ȳ"},
    "mean": {"x": "ȳ/n"},
    "var": {"x": "2/n ȳ ⊙ (x − μ)"},
    "max": {"x": "ȳ ⊙ [x = y]"},
    "linear": {"x": "ȳ w", "w": "ȳᵀ x", "b": "colsum(ȳ)"},
    "matmul": {"a": "ȳ bᵀ", "b": "aᵀ ȳ"},
    "embedding": {"w": "tᵀ ȳ"},
    "softmax": {"x": "y ⊙ (ȳ − rowsum(ȳ ⊙ y))"},
    "log_softmax": {"x": "ȳ − exp(y) ⊙ rowsum(ȳ)"},
    "cross_entropy": {"x": "(y − t) / B"},
    "mse_loss": {"x": "2/(k n) (x − t)", "t": "2/(k n) (t − x)"},
    "binary_cross_entropy": {"x": "(x − t) / (k n x ⊙ (1 − x))", "t": "(log(1 − x) − log(x)) / (k n)"},
    "binary_cross_entropy_with_logits": {"x": "(y − t) / (k n)", "t": "(log(1 − y) − log(y)) / (k n)"},
    "batch_norm": {
        "x": "γ/(B s) ⊙ (B ȳ − colsum(ȳ) − x̂ ⊙ colsum(ȳ ⊙ x̂))",
        "gamma": "colsum(ȳ ⊙ x̂)",
        "beta": "colsum(ȳ)",
    },
    "layer_norm": {
        "x": "(d ȳ ⊙ γ − rowsum(ȳ ⊙ γ) − x̂ ⊙ rowsum(ȳ ⊙ γ ⊙ x̂)) / (d s)",
        "gamma": "colsum(ȳ ⊙ x̂)",
        "beta": "colsum(ȳ)",
    },
    "rms_norm": {"x": "(d ȳ ⊙ γ − x̂ ⊙ rowsum(ȳ ⊙ γ ⊙ x̂)) / (d q)", "gamma": "colsum(ȳ ⊙ x̂)"},
    "attention": {"v": "Pᵀ Ȳ", "P": "Ȳ vᵀ", "S": "P ⊙ (P̄ − rowsum(P̄ ⊙ P))", "q": "1/√e S̄ k", "k": "1/√e S̄ᵀ q"},
}
LINEAR = "z1 = x @ w1.T + b1; h = {f}(z1); z2 = h @ w2.T + b2; y = {g}(z2); "
BY_LAYERS = {"h": "z̄₂ w₂", "w2": "z̄₂ᵀ h", "b2": "colsum(z̄₂)", "w1": "z̄₁ᵀ x", "b1": "colsum(z̄₁)", "x": "z̄₁ w₁"}
NETWORK = "x: n d, w1: m d, b1: m, w2: k m, b2: k, t: n k const"
SQUARED, BINARY = "L = ((y - t)**2).mean()", "L = -(t * log(y) + (1 - t) * log(1 - y)).mean()"
LINES_IN_PRINT = [
    ("y = x @ w + b", "x: n d, w: d m, b: m", {"x": "ȳ wᵀ", "w": "xᵀ ȳ", "b": "colsum(ȳ)"}),
    ("y = f(x)", "x: n d", {"x": "ȳ ⊙ f′(x)"}),
    ("y = x / a", "x: n d, a: n d", {"x": "ȳ/a", "a": "−ȳ ⊙ x / a²"}),
    ("y = broadcast_to(x[:, None], (n, d))", "x: n", {"x": "rowsum(ȳ)"}),
    ("y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)", "x: n c", {"x": "y ⊙ (ȳ − rowsum(ȳ ⊙ y))"}),
    ("y = softmax(x); L = -(t * log(y)).sum() / B", "x: B c, t: B c one-hot", {"x": "(y − t) / B"}),
    ("L = cross_entropy(x @ w, t)", "x: n d, w: d c, t: n c one-hot", {"z": "(y − t) / n", "x": "z̄ wᵀ", "w": "xᵀ z̄"}),
    (
        LINEAR.format(f="relu", g="identity") + SQUARED,
        NETWORK,
        {**BY_LAYERS, "z2": "2/(k n) (y − t)", "z1": "h̄ ⊙ [z₁ > 0]"},
    ),
    (
        LINEAR.format(f="sigmoid", g="sigmoid") + SQUARED,
        NETWORK,
        {**BY_LAYERS, "z2": "2/(k n) y ⊙ (1 − y) ⊙ (y − t)", "z1": "h̄ ⊙ h ⊙ (1 − h)"},
    ),
    (
        LINEAR.format(f="sigmoid", g="sigmoid") + BINARY,
        NETWORK,
        {**BY_LAYERS, "z2": "(y − t) / (k n)", "z1": "h̄ ⊙ h ⊙ (1 − h)"},
    ),
    (
        "mu = x.mean(0); v = ((x - mu)**2).mean(0); xhat = (x - mu) / sqrt(v + 1e-5); y = gamma * xhat + beta",
        "x: B d, gamma: d, beta: d",
        {"gamma": "colsum(ȳ ⊙ x̂)", "beta": "colsum(ȳ)"},
    ),
    ("y = tanh(x @ w) @ v", "x: n d, w: d m, v: m k", {"z": "h̄ ⊙ (1 − h²)", "h": "ȳ vᵀ", "v": "hᵀ ȳ"}),
    ("y = x @ a @ x", "x: n, a: n n", {"x": "a h̄ + h", "a": "x h̄ᵀ"}),
    ("y = einsum('ij,jk->ik', a, b)", "a: n k, b: k m", {"a": "ȳ bᵀ", "b": "aᵀ ȳ"}),
    ("y[i] = sum(w[i, k] * x[k], over=k)", "w: m d, x: d", {"x": "wᵀ ȳ"}),
]


@pytest.mark.parametrize("name", OPS_IN_PRINT)
def test_an_op_has_its_textbook_form(name):
    assert closed(derive(name)) == OPS_IN_PRINT[name]


@pytest.mark.parametrize(("lines", "shapes", "expected"), LINES_IN_PRINT, ids=[lines for lines, *_ in LINES_IN_PRINT])
def test_lines_have_their_textbook_form(lines, shapes, expected):
    found = closed(derive(lines, shapes))
    assert {name: found[name] for name in expected} == expected


IMAGES_IN_PRINT = {
    "conv2d": [
        "x̄[n, c, h, w] = Σ[m, p, q] ȳ[n, m, p, q] w[m, c, h + a − s p, w + a − s q]",
        "w̄[m, c, k, l] = Σ[n, p, q] ȳ[n, m, p, q] x[n, c, s p + k − a, s q + l − a]",
        "b̄ₘ = Σ[n, p, q] ȳ[n, m, p, q]",
    ],
    "max_pool2d": [
        "x̄[n, c, h, w] = Σ[p, q] ȳ[n, c, p, q] [x[n, c, h, w] = y[n, c, p, q]] "
        "[0 ≤ h + a − s p < k] [0 ≤ w + a − s q < l]"
    ],
}


@pytest.mark.parametrize("name", IMAGES_IN_PRINT)
def test_convolutions_and_pools_stay_in_index_notation(name):
    assert [g["index"] for g in derive(name).json()["gradients"]] == IMAGES_IN_PRINT[name]


def test_the_softmax_has_both_cases():
    text = derive("softmax").text(steps=True)
    assert "yᵢⱼ (1 − yᵢⱼ)   for j = r, i = p" in text
    assert "−yᵢⱼ yᵢᵣ        for j ≠ r, i = p" in text


def test_the_steps_of_a_linear_layer_are_those_on_paper():
    chain = derive("y = x @ w + b", "x: n d, w: d m, b: m").gradient("w")
    rows = [row for each in (*chain.jacobians, chain.chain) for row in _rows(each)]
    assert rows == [
        ("Σₖ xᵢₖ ∂wₖⱼ/∂wₚᵣ", "sum rule"),
        ("δⱼᵣ Σₖ xᵢₖ δₖₚ", "∂`w`/∂`w` is δ: 1 for the same entry, else 0"),
        ("xᵢₚ δⱼᵣ", "δ contracted: one term of the sum is left"),
        ("Σᵢⱼ ȳᵢⱼ ∂yᵢⱼ/∂wₚᵣ", "chain rule: over every entry of `y`"),
        ("Σᵢⱼ ȳᵢⱼ xᵢₚ δⱼᵣ", "the derivative put in"),
        ("Σᵢ xᵢₚ ȳᵢᵣ", "δ contracted: one term of the sum is left"),
    ]


def _rows(chain):
    derivation = derive("y = x @ w + b", "x: n d, w: d m, b: m")
    return [(row.right, row.why) for row in derivation._rows(chain, UNICODE)]


# ------------------------------------------------------------------------------------------------------------ the proof


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_definition_is_verified_against_the_op_and_numeric_truth(name):
    verified = derive(name).verified
    assert verified.points >= 4
    assert verified.error < 1e-9
    assert {"the emitted code", f"the rule of {name}", "numeric truth"} <= set(verified.witnesses)


def test_a_new_op_is_derived_from_its_textbook(monkeypatch):
    for name in ("square", "tanh"):  # as if they had no definition here
        monkeypatch.delitem(DEFINITIONS, name)
        d = derive(name)
        assert f"the rule of {name}" in d.verified.witnesses
        assert d.verified.error < 1e-9
    monkeypatch.delitem(DEFINITIONS, "softmax")  # whose textbook has more than one entry in it
    with pytest.raises(UserError, match="there is no derivation for softmax: write its lines"):
        derive("softmax")


def test_every_op_is_derived_or_says_why_not():
    assert {*DEFINITIONS, *WITHOUT} <= set(OPS)
    for name in set(OPS) - {*DEFINITIONS, *WITHOUT}:
        with pytest.raises(UserError, match=f"there is no derivation for {name}"):
            derive(name)
    assert not DEFINITIONS.keys() & WITHOUT.keys()
    for name, reason in WITHOUT.items():
        with pytest.raises(UserError, match=re.escape(reason)):
            derive(name)


def test_lines_are_compared_with_the_engine():
    verified = derive("y = tanh(x @ w + b)", "x: n d, w: d m, b: m").verified
    assert "the engine's gradient" in verified.witnesses
    assert re.fullmatch(r"verified: 4 points, largest relative error \d\.\de-1\d", verified.text)


def test_a_wrong_derivative_is_never_printed(monkeypatch):
    monkeypatch.setattr(calculus, "slope", lambda x: mul(num(2), slope(x)))
    with pytest.raises(UserError, match="not verified: the gradient of x"):
        derive("y = tanh(x)", "x: n d")
    with pytest.raises(UserError, match="the rule of softmax"):
        derive("softmax")


def test_a_wrong_step_between_right_ones_is_caught(monkeypatch):
    def wrongly(x):
        return mul(num(2), contracted(x))

    monkeypatch.setattr(calculus, "contracted", wrongly)
    with pytest.raises(UserError, match=r"not verified: a line of the gradient of x \(δ contracted"):
        derive("y = x @ w", "x: n d, w: d m")


def test_a_wrong_definition_is_caught(monkeypatch):
    import dataclasses

    wrong = dataclasses.replace(DEFINITIONS["silu"], lines="s = 1 / (1 + exp(-x)); y = x * s**2")
    monkeypatch.setitem(DEFINITIONS, "silu", wrong)
    with pytest.raises(UserError, match=r"not verified: y is .* away from the rule of silu"):
        derive("silu")


# --------------------------------------------------------------------------------------------------------- the calculus


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sin", "cos", "abs", "erf"])
def test_every_slope_in_the_table_is_the_numeric_one(name):
    rng = np.random.default_rng(0)
    u = Entry("u", ())
    for at in rng.uniform(0.2, 2, 3):
        truth = numeric_gradient(lambda t: evaluate(Fn(name, u), {"u": t[0]})[()], np.array([at]))
        assert evaluate(slope(Fn(name, u)), {"u": at}) == pytest.approx(truth.value[0], rel=1e-8)


N, D = Symbol("n"), Symbol("d")
I, J, K = (Index(letter, size, letter) for letter, size in zip("ijk", (N, D, D), strict=True))


def x(i, j):
    return Entry("x", (i, j))


def test_bound_indices_have_no_names():
    k, m = fresh(D, "k"), fresh(D, "m")
    assert same(total([k], x(I, k)), total([m], x(I, m)))
    assert add(total([k], x(I, k)), mul(num(-1), total([m], x(I, m)))) == Num(Fraction(0))
    assert canonical(total([k], x(I, k))) != canonical(total([k], x(k, I)))


def test_a_delta_takes_one_term_of_a_sum():
    k = fresh(D, "k")
    assert contracted(total([k], mul(x(I, k), Delta(k, J)))) == x(I, J)
    both = total([k], mul(x(I, k), add(Delta(k, J), num(-1))))
    assert same(contracted(both), add(x(I, J), mul(num(-1), total([k], x(I, k)))))


def test_a_delta_of_an_index_expression_shifts_and_stays_within_bounds():
    k, p = fresh(num(3), "k"), Index("p", N, "p")
    body = mul(Entry("w", (k,)), Delta(add(p, k), I))
    found = contracted(total([k], body))
    rng = np.random.default_rng(0)
    values = {"w": rng.standard_normal(3), N: 5}
    assert np.array_equal(evaluate(found, values, [p, I]), evaluate(Sum((k,), body), values, [p, I]))
    bare = total([k], Delta(add(p, k), I))
    assert np.array_equal(evaluate(contracted(bare), values, [p, I]), evaluate(bare, values, [p, I]))


@pytest.mark.parametrize("change", [expanded, factored, over_one_denominator])
def test_rewriting_does_not_change_the_value(change):
    a, b, c = (Entry(letter, (I,)) for letter in "abc")
    k = fresh(N, "k")
    s = total([k], mul(Entry("a", (k,)), add(Entry("b", (k,)), c)))
    forms = [
        mul(a, add(b, c), add(b, ONE)),
        add(mul(a, power(b, -1)), mul(num(-2), c, power(add(ONE, b), -1))),
        power(add(a, b, c), 3),
        add(mul(a, b), mul(a, c), mul(a, b, c), s),
        mul(s, add(a, s)),
    ]
    rng = np.random.default_rng(0)
    values = {letter: rng.uniform(0.5, 2, 4) for letter in "abc"} | {N: 4}
    for form in forms:
        np.testing.assert_allclose(evaluate(change(form), values, [I]), evaluate(form, values, [I]), rtol=1e-12)


def test_a_definition_is_folded_back():
    y, e = Entry("y", (I, J)), Fn("exp", x(I, J))
    s = total([K], Fn("exp", x(I, K)))
    rules = rules_of(y, mul(e, power(s, -1)), "")
    p = Index("p", N, "p")
    folded = applied(
        next(r for r in rules if r.pattern == e), mul(Fn("exp", x(p, K)), power(total([J], Fn("exp", x(p, J))), -1))
    )
    assert folded == Entry("y", (p, K))


@pytest.mark.parametrize(
    ("lines", "shapes"),
    [
        ("y = (x @ w).sum() * a", "x: n d, w: d m, a:"),
        ("y = q @ swapaxes(k, -1, -2)", "q: b n e, k: b m e"),
        ("y = einsum('bij,bjk->bik', a, c)", "a: b n k, c: b k m"),
        ("y = ((x[:, None, :] - c[None, :, :])**2).sum(-1)", "x: n d, c: k d"),
        ("y = x - x.mean(0)", "x: n d"),
        ("y = x / sqrt((x**2).sum(-1, keepdims=True))", "x: n d"),
        ("y = x @ x.T", "x: n d"),
        ("y = (x @ a) @ x", "x: n, a: n n"),
        ("h = relu(x @ w + b); y = h @ v + x", "x: n d, w: d m, b: m, v: m d"),
        ("y = maximum(x.max(-1), 0)", "x: n d"),
        ("y = x**3 + 2.5 * x - np.log(1 + x**2)", "x: n"),
        ("y = outer(a, b)", "a: n, b: m"),
        ("y = layer_norm(x @ w, gamma, beta)", "x: n k, w: k d, gamma: d, beta: d"),
        ("y[i] = sum(x[i + k - 1] * w[k], over=k)", "x: n, w: 3, y: n"),
        ("y = sigmoid(x) * relu(relu(x))", "x: n"),
        ("y = minimum(x, 1) + maximum(x, 0)", "x: n"),
        ("y = -where(x > 0, x, 0)", "x: n"),
        (
            "i = sigmoid(x @ wi + h @ ui); f = sigmoid(x @ wf + h @ uf); u = tanh(x @ wg + h @ ug); y = f * c + i * u",
            "x: n e, h: n d, c: n d, wi: e d, ui: d d, wf: e d, uf: d d, wg: e d, ug: d d",
        ),
    ],
)
def test_any_lines_are_derived_and_verified(lines, shapes):
    verified = derive(lines, shapes).verified
    assert verified.error < 1e-9


def test_gradients_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((4, 3), (3, 5), (5,), (4, 5))]
    lines = "p = softmax(tanh(x @ w + b)); L = ((p - t)**2).sum() / 2"
    scope = {}
    exec(derive(lines, "x: n d, w: d m, b: m, t: n m const").numpy_code(), scope)
    _, cache = scope["L_forward"](*arrays)
    found = scope["L_backward"](1.0, cache)
    inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
    given, w, b, t = inputs
    (((torch.softmax(torch.tanh(given @ w + b), -1) - t) ** 2).sum() / 2).backward()
    for mine, tensor in zip(found[:3], inputs, strict=False):
        np.testing.assert_allclose(mine, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------------------------------------- the code


@pytest.fixture
def imported(tmp_path):
    def run(source, name="derived"):
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return run


def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


CHECKED = ["linear", "softmax", "batch_norm", "layer_norm", "cross_entropy", "elu", "erf", "cumsum", "rnn_cell"]
SLOW = sorted(set(DEFINITIONS) - set(CHECKED))
EMITTED = [*CHECKED, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.mark.parametrize("name", EMITTED)
def test_emitted_numpy_passes_the_checker(name, imported):
    d = derive(name)
    module = imported(d.numpy_code())
    forward, backward = getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")
    wanted = [g.name for g in d.gradients if g.name in d.program.shapes]
    report = diagnose((forward, backward), shapes=forward.shapes, wrt=wanted)
    assert report.status == "correct", str(report)


@pytest.mark.parametrize("name", EMITTED)
def test_emitted_torch_passes_the_checker(name, imported):
    pytest.importorskip("torch")
    d = derive(name)
    function = getattr(imported(d.torch_code()), camel(name))
    wanted = [g.name for g in d.gradients if g.name in d.program.shapes]
    report = diagnose(function, shapes=function.shapes, wrt=wanted)
    assert report.status == "correct", str(report)


MODULES = {
    "linear": ((5, 3), "n 3"),
    "batch_norm": ((3,), "n 3"),
    "conv2d": ((2, 3, 2, 2), "n 3 4 5"),
    "softmax": ((), "n c"),
    "cross_entropy": ((), "x: n c, t: n c"),
}


@pytest.mark.parametrize("name", MODULES)
def test_emitted_modules_pass_the_checker(name, imported):
    arguments, shapes = MODULES[name]
    made = getattr(imported(derive(name).module_code()), camel(name))(*arguments)
    report = diagnose(made, shapes=shapes)
    assert report.status == "correct", str(report)
    if name == "linear":
        assert {finding.name for finding in report.findings} == {"x", "w", "b"}


def test_a_network_as_code_passes_the_checker(imported):
    d = derive(LINEAR.format(f="relu", g="sigmoid") + SQUARED, NETWORK)
    module = imported(d.numpy_code())
    report = diagnose((module.L_forward, module.L_backward), shapes=module.L_forward.shapes)
    assert report.status == "correct", str(report)


def test_a_function_that_is_not_given_has_no_code():
    with pytest.raises(UserError, match="no code for a function that is not given"):
        derive("y = f(x)", "x: n d").numpy_code()


# ------------------------------------------------------------------------------------------------------------- in print


@pytest.mark.parametrize("name", ["softmax", "batch_norm", "conv2d", "gelu"])
def test_text_fits_a_terminal(name):
    from chainrule.derive.documents import width_of

    for width in (80, 100):
        lines = derive(name).text(steps=True, width=width).splitlines()
        assert max(map(width_of, lines)) <= width


def test_html_is_well_formed_mathml():
    for name in ("softmax", "conv2d", "gelu"):
        d = derive(name)
        tree = ET.fromstring(d.html())
        assert len(tree.findall(".//{*}math")) > 10
    assert d._repr_html_().endswith(d.html(steps=False))
    assert d._repr_latex_().startswith("$$")


def test_markdown_has_formulas_and_the_proof():
    text = derive("softmax").markdown()
    assert text.startswith("## softmax")
    assert r"\bar{x} &= y \odot" in text
    assert "*verified: 4 points" in text


def test_json_is_json():
    found = json.loads(json.dumps(derive("linear").json()))
    assert found["gradients"][1]["matrix"] == "ȳᵀ x"
    assert found["gradients"][1]["latex"] == r"\bar{w} = \bar{y}^\top x"
    assert found["verified"]["points"] == 4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize("name", DEFINITIONS)
def test_latex_compiles(name, tmp_path):
    (tmp_path / "d.tex").write_text(derive(name).latex())
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# -------------------------------------------------------------------------------------------------- the user's mistakes


@pytest.mark.parametrize(
    ("lines", "shapes", "message"),
    [
        ("y = x @ w", "x: n d", "w has no shape"),
        ("y = x @ w", "x: n d, w: m k", "inner sizes d and m differ"),
        ("y = x + b", "x: n d, b: n", "do not broadcast"),
        ("y = x +", "x: n d", "is not Python"),
        ("y = fft(x)", "x: n d", "no derivation for fft"),
        ("y = x.sum(2)", "x: n d", "axis 2"),
        ("y = x[0]", "x: n d", "only ':' and 'None'"),
        ("y = x; y = y + 1", "x: n d", "y is assigned twice"),
        ("x", "x n d", "a name, a colon and sizes"),
        ("y = 2", "", "no input with a gradient"),
        ("", "x: n", "nothing to derive"),
        ("sofmax", None, "no such op sofmax, the nearest: softmax"),
        ("y = gx * x", "x: n, gx: n", "gx is the name of the gradient"),
        ("y = np * 2", "np: n", "np cannot be a variable here"),
        ("for i in x: pass", "x: n", "expected an assignment"),
        ("y = lambda: 1", "x: n", "is not understood"),
        ("y = " + " + ".join(["x"] * 5000), "x: n", "nested too deeply"),
    ],
)
def test_a_mistake_is_named(lines, shapes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        derive(lines, shapes)


@pytest.mark.parametrize(
    "evil",
    [
        "__import__('os').system('touch {file}')",
        "open('{file}', 'w')",
        "x.__class__.__bases__[0].__subclasses__()",
        "exec(\"open('{file}', 'w')\")",
        "(lambda: open('{file}', 'w'))()",
        "[open('{file}', 'w') for _ in (1,)]",
        "np.load('{file}', allow_pickle=True)",
        'f\'{{open("{file}", "w")}}\'',
    ],
)
def test_nothing_of_the_text_is_executed(evil, tmp_path):
    file = tmp_path / "touched"
    with pytest.raises(UserError):
        derive(f"y = {evil.format(file=file)}", "x: n d")
    assert not file.exists()


def test_a_power_of_a_number_does_not_run_away():
    assert derive("y = x * 9**9**9 / 9**9**9", "x: n").verified.error < 1e-9


def test_an_independent_second_run_gives_the_same():
    for what in (("softmax",), ("y = x @ w", "x: n d, w: d m")):
        first, second = (str(derive(*what).text(steps=True)) for _ in range(2))
        assert first == second
