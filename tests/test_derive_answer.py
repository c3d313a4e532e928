"""Judging formulas and derivations: right in every notation, the write-ups' mistakes, nothing wrong let through."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from chainrule import grad
from chainrule.cli import main
from chainrule.derive import DEFINITIONS, answer, derive
from chainrule.derive.answer import CAUSES, judge, task
from chainrule.derive.indices import Index, walk
from chainrule.derive.lines import equation_of, review
from chainrule.derive.notation import UNICODE, Writer
from chainrule.derive.reading import read
from chainrule.derive.words import Unreadable
from chainrule.errors import UsageError
from chainrule.lab import studies

LINEAR = ("y = x @ w + b", "x: n d, w: d m, b: m")
COLUMN = ("y = w @ x + b", "w: m d, x: d, b: m")
SOFTMAX = ("softmax", None)
CROSS_ENTROPY = ("cross_entropy", None)
BATCH_NORM = ("batch_norm", None)
LAYER_NORM = ("layer_norm", None)
SIGMOID = ("sigmoid", None)
RELU = ("relu", None)
NETWORK = (
    "k = x @ W + b; h = sigmoid(k); o = h @ V + c; L = ((o - t)**2).mean()",
    "x: n d, W: d e, b: e, V: e m, c: m, t: n m const",
)

RIGHT = {
    LINEAR: [
        "gw = x.T @ gy",
        "dw = np.dot(x.T, dy)",
        "w.grad = x.T @ dout",
        'grad_w = np.einsum("ni,nj->ij", x, gy)',
        "dW = X.T.dot(dY)",
        "dL_dw = np.matmul(x.T, gy)",
        "w_bar = xᵀ g",
        "gb = gy.sum(axis=0)",
        "gb = np.sum(gy, 0)",
        "gx = np.dot(gy, w.T)",
        "w̄ = xᵀ ȳ",
        "W̄ = XᵀȲ",
        "∂L/∂W = Xᵀ·G",
        "b̄ = 1ᵀ ȳ",
        "X̄ = Ȳ Wᵀ",
        "gX = gW^T",
        "∇_W L = X^T g",
        "b̄_k = ∑_i ȳ_ik",
        "∂L/∂W_jk = Σ_i x_ij ȳ_ik",
        "dL/dw_jk = sum_i dL/dy_ik * x_ij",
        "dL/dx_ij = sum_k gy[i,k] w[j,k]",
        "gw[j,k] = sum_i x[i,j]*gy[i,k]",
        "w̄ⱼₖ = Σᵢ xᵢⱼ ȳᵢₖ",
        "dL/dw = Σ_i x_i ȳ_iᵀ",
        r"\bar W = X^\top \bar Y",
        r"\frac{\partial L}{\partial W} = X^{T} G",
        r"\frac{\partial L}{\partial W_{jk}} = \sum_{i=1}^{n} x_{ij} \frac{\partial L}{\partial y_{ik}}",
        r"\nabla_{W} L = \mathbf{X}^{\top} \bar{Y}",
        r"\bar{b} = \mathbf{1}^\top \bar{Y}",
        r"\frac{dL}{dX} = \bar Y W^T",
        r"\frac{\partial \mathcal{L}}{\partial b_k} = \sum_{i} \sum_{j} \delta_{jk} \bar{y}_{ij}",
        r"\dfrac{\partial L}{\partial W_{jk}} = \sum_{i,l} \delta_{lk} \, x_{ij} \cdot \bar y_{il}",
    ],
    COLUMN: [
        "gw = np.outer(gy, x)",
        "gw = gy[:, None] * x[None, :]",
        "W̄ = ȳ xᵀ",
        "x̄ = Wᵀ ȳ",
        "x̄ᵀ = ȳᵀ W",
        "dL/dW_jk = g_j x_k",
    ],
    SOFTMAX: [
        "gx = y * (gy - (gy * y).sum(-1, keepdims=True))",
        "gx = softmax(x) * (gy - (gy*softmax(x)).sum(1)[:, None])",
        "x̄ = y ⊙ (ȳ − rowsum(y ⊙ ȳ))",
        "dL/dx_ij = y_ij (g_ij - Σ_k g_ik y_ik)",
        "x̄_ij = Σ_k ȳ_ik y_ik (δ_kj − y_ij)",
        "dL/dx_ij = y_ij Σ_k g_ik ([j = k] - y_ik)",
        r"\frac{\partial L}{\partial x_{ij}} = \sum_k \bar{y}_{ik} y_{ik} (\delta_{jk} - y_{ij})",
        r"\bar{x}_{ij} = \frac{\exp(x_{ij})}{\sum_k \exp(x_{ik})} \left( \bar y_{ij} - "
        r"\frac{\sum_k \bar y_{ik} e^{x_{ik}}}{\sum_k e^{x_{ik}}} \right)",
    ],
    CROSS_ENTROPY: [
        "gx = (y - t) / len(x)",
        "dx = (softmax(x) - t)/x.shape[0]",
        "x̄ = 1/B (y − t)",
        "gx = (y - target) / N",
        "dL/dx_ij = (y_ij - t_ij)/B",
        r"\frac{\partial L}{\partial x_{ij}} = \frac{y_{ij} - t_{ij}}{B}",
    ],
    BATCH_NORM: [
        "dgamma = (gy * xhat).sum(0)",
        "gweight = np.sum(gy * xhat, axis=0)",
        "γ̄ = colsum(ȳ ⊙ x̂)",
        "∂L/∂β_j = Σ_s ȳ_sj",
        "gx = gamma / (B * s) * (B * gy - gy.sum(0) - xhat * (gy * xhat).sum(0))",
        "gx = gamma / np.sqrt(v + eps) * (gy - gy.mean(0) - xhat * (gy*xhat).mean(0))",
        "x̄_rj = γ_j/(B s_j) (B ȳ_rj − Σ_s ȳ_sj − x̂_rj Σ_s ȳ_sj x̂_sj)",
        "dL/dx_rj = γ_j/(B √(v_j + ε)) (B g_rj - Σ_s g_sj - x̂_rj Σ_s g_sj x̂_sj)",
        "dL/dx_rj = γ_j (var_j + ε)^(-1/2) (g_rj - 1/B Σ_s g_sj - 1/B x̂_rj Σ_s g_sj x̂_sj)",
        r"\frac{\partial L}{\partial x_{rj}} = \frac{\gamma_j}{B\sqrt{\sigma_j^2 + \epsilon}} \left( B g_{rj} - "
        r"\sum_{s=1}^{B} g_{sj} - \hat x_{rj} \sum_{s=1}^B g_{sj}\hat x_{sj} \right)",
    ],
    SIGMOID: [
        "x̄ = ȳ ⊙ σ(x) ⊙ (1 − σ(x))",
        "x̄ = ȳ ⊙ σ'(x)",
        r"\bar x = \bar y \circ \sigma'(x)",
        "dL/dx_ij = g_ij y_ij (1 - y_ij)",
    ],
    RELU: [
        "gx = np.where(x > 0, gy, 0)",
        "x̄ = ȳ ⊙ 1[x > 0]",
        r"\bar x = \bar y \odot \mathbb{1}[x > 0]",
        "dL/dx_ij = g_ij if x_ij > 0 else 0",
    ],
    NETWORK: [
        "dW = xᵀ dk",
        "do = 2 (o - t)/(n m)",
        "dh = do Vᵀ",
        "dk = dh ⊙ h ⊙ (1 - h)",
        "db = dk.sum(0)",
        "dL/dW = x.T @ (dh * h * (1-h))",
    ],
    ("y = f(x)", "x: n d"): ["gx = gy * f'(x)", "dL/dx_ij = g_ij f'(x_ij)"],
    ("scaled_dot_product_attention", None): ["v̄ = Pᵀ Ȳ", "S̄ = P ⊙ (P̄ − rowsum(P̄ ⊙ P))", "q̄ = S̄ k / √e"],
    ("conv2d", None): ["gb = gy.sum((0, 2, 3))"],
}

# Answers that are wrong: the cause, and what is proposed in their place (None: no single change mends it).
WRONG = [
    (LINEAR, "gb = gy", "missing-sum", "gb = gy.sum(0)"),
    (LINEAR, "gb = gy.mean(0)", "batch-mean-twice", "gb = gy.sum(0)"),
    (LINEAR, "gw = x.T @ gy / n", "batch-mean-twice", "gw = x.T @ gy"),
    (LINEAR, "gx = -gy @ w.T", "sign", "gx = gy @ w.T"),
    (LINEAR, "gx = gy @ w", "transposed", "gx = gy @ w.T"),
    (LINEAR, "gw = x.T @ y", "wrong-saved", "gw = x.T @ gy"),
    (LINEAR, "dL/dw_jk = gy_ik x_ij", "missing-sum", "dL/dw_jk = sum_i gy_ik x_ij"),
    (LINEAR, "gw = None", "missing", None),
    (COLUMN, "dL/dW_jk = g_i x_k", "index", "dL/dW_jk = g_j x_k"),
    (SOFTMAX, "gx = gy * y * (1 - y)", "elementwise-for-jacobian", None),
    (SOFTMAX, "gx = y * (gy + (gy*y).sum(-1, keepdims=True))", "sign", "gx = y * (gy - (gy*y).sum(-1, keepdims=True))"),
    (CROSS_ENTROPY, "gx = y - t", "batch-mean-missing", "gx = (y - t) / B"),
    (CROSS_ENTROPY, "gx = (t - y)/B", "sign", "gx = -(t - y)/B"),
    (BATCH_NORM, "gx = gamma / s * gy", "path-dropped", None),
    (BATCH_NORM, "dgamma = (gy * x).sum(0)", "wrong-saved", "dgamma = (gy * xhat).sum(0)"),
    (BATCH_NORM, "dL/dγ_j = Σ_j g_sj x̂_sj", "index", "dL/dγ_j = Σ_s g_sj x̂_sj"),
    (BATCH_NORM, "dgamma = (gy * xhat).sum(1)", "missing-sum", "dgamma = (gy * xhat).sum(0)"),
    (LAYER_NORM, "gx = None", "missing", None),
    (SIGMOID, "gx = y * (1 - y)", "upstream-ignored", "gx = gy * y * (1 - y)"),
    (RELU, "gx = gy * (x < 0)", "mask", "gx = gy * (x > 0)"),
    (("div", None), "gb = gy a / b^2", "sign", "gb = -gy a / b^2"),
    (NETWORK, "db = dh.sum(0)", "wrong-saved", "db = dk.sum(0)"),
]
DERIVATIONS = sorted((Path(studies.__file__).parent / "lines").glob("*.txt"))


@pytest.mark.parametrize(("what", "text"), [(what, text) for what, texts in RIGHT.items() for text in texts])
def test_right_in_every_notation(what, text):
    verdict = judge(what[0], text, what[1]).verdicts[0]
    assert (verdict.status, verdict.notes) == ("right", [])


@pytest.mark.parametrize(("what", "text", "cause", "repair"), WRONG, ids=[case[1] for case in WRONG])
def test_what_is_wrong_is_named(what, text, cause, repair):
    verdict = judge(what[0], text, what[1]).verdicts[0]
    assert (verdict.status, verdict.cause) == ("wrong", cause)
    assert cause in CAUSES
    assert verdict.part in text
    if repair is None:
        assert not verdict.repair
    else:
        assert re.sub(r"[()\s]", "", verdict.repair) == re.sub(r"[()\s]", "", repair)
        assert judge(what[0], verdict.repair, what[1])


def test_the_closed_form_stands_where_no_repair_does():
    verdict = judge("softmax", "gx = gy * y * (1 - y)").verdicts[0]
    assert judge("softmax", verdict.closed_form)
    assert "Jacobian" in verdict.evidence


def test_what_is_taken_for_a_constant_is_named():
    assert "mu and v as constants" in judge("batch_norm", "gx = gamma / s * gy").verdicts[0].evidence


def test_another_layout_is_not_wrong():
    found = judge(LINEAR[0], "gw = gy.T @ x", LINEAR[1])
    assert found
    assert found.verdicts[0].status == "layout"
    assert "(m, d)" in found.verdicts[0].notes[0]


@pytest.mark.parametrize(
    ("what", "shapes", "text", "note"),
    [
        (
            "L = -(t * log(exp(x) / exp(x).sum(-1, keepdims=True))).sum()",
            "x: n c, t: n c const",
            "gx = softmax(x) - t",
            "one-hot t",
        ),
        (
            "batch_norm",
            None,
            "gx = gamma / sqrt(v) * (gy - gy.mean(0) - (x - mu) / sqrt(v) * (gy * (x - mu)).mean(0) / sqrt(v))",
            "eps = 0",
        ),
        ("relu", None, "gx = gy * (x >= 0)", "a convention"),
        ("y = x @ w + b", "x: n d, w: d m, b: m", "gb = gy.sum(0, keepdims=True)", "axis of size 1"),
    ],
)
def test_assumptions_and_conventions_are_said(what, shapes, text, note):
    verdict = judge(what, text, shapes).verdicts[0]
    assert verdict.status == "right"
    assert note in " ".join(verdict.notes)


def test_relu_as_usual_needs_no_remark():
    assert judge("relu", "gx = gy * (x > 0)").verdicts[0].notes == []


# --------------------------------------------------------------------------------------------------------- derivations


def _header(text, key):
    found = re.search(rf"^# {key}: (.*)$", text, re.MULTILINE)
    return found and found[1]


def _expected(line):
    """What is said behind a line: (status, cause or line that it follows from, the right line)."""
    found = re.search(r"# (wrong|follows): ([\w-]+); right: (.*)$", line)
    return found.groups() if found else None


@functools.cache
def _reviewed(path):
    text = path.read_text(encoding="utf-8")
    return review(_header(text, "program"), text, _header(text, "shapes"))


@pytest.mark.parametrize("path", DERIVATIONS, ids=lambda path: path.stem)
def test_a_write_up_is_wrong_where_it_is(path):
    text, found = path.read_text(encoding="utf-8"), _reviewed(path)
    lines = text.splitlines()
    for line in found.lines:
        expected = _expected(lines[line.number - 1])
        if expected is None:
            assert line.status in ("right", "defines"), line
        elif expected[0] == "wrong":
            assert (line.status, line.verdict.cause) == ("wrong", expected[1])
            assert line.verdict.repair
        else:
            assert (line.status, line.follows) == ("follows", int(expected[1]))
    first = next((k for k, line in enumerate(lines, 1) if (_expected(line) or "")[:1] == ("wrong",)), None)
    assert (found.first_wrong and found.first_wrong.number) == first


@pytest.mark.parametrize("path", DERIVATIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("by", ["hand", "repair"])
def test_a_corrected_write_up_is_right(path, by):
    text = path.read_text(encoding="utf-8")
    program, shapes = _header(text, "program"), _header(text, "shapes")
    lines = text.splitlines()
    for line in _reviewed(path).lines:
        expected = _expected(lines[line.number - 1])
        if expected:
            lines[line.number - 1] = line.verdict.repair if by == "repair" and line.verdict.repair else expected[2]
    assert review(program, "\n".join(lines), shapes).status == "right"


def test_every_write_up_has_its_fixture():
    assert {path.stem.rpartition("-")[0] or path.stem for path in DERIVATIONS} >= {
        "uva-2018",
        "uva-2020",
        "vu-2021",
        "vu-2023",
        "nyu-2021",
    }


def test_lines_may_define_and_go_on():
    found = review(
        "softmax",
        """
        s_i = Σ_k exp(x_ik)
        y_ij = exp(x_ij) / s_i                  [by definition]
             = exp(x_ij) / Σ_k exp(x_ik)        (s put in)
        Σ_k y_ik = 1
        ∂s_i/∂x_pq = δ_ip exp(x_iq)             # through a name that a line defined
        ∂y_ij/∂x_ik = -y_ij y_ik  (j ≠ k)
        """,
    )
    assert [line.status for line in found.lines] == ["defines", "right", "right", "right", "right", "right"]


def test_partial_derivatives_may_hold_what_lies_between():
    text = r"""
    \frac{\partial L}{\partial x_{rj}} = \frac{\partial L}{\partial \hat x_{rj}} \frac{1}{s_j}
        + \sum_k \frac{\partial L}{\partial v_k} \frac{2}{B}\delta_{kj}(x_{rj}-\mu_j)
        + \frac{1}{B} \frac{\partial L}{\partial \mu_j}
    """
    assert review("batch_norm", " ".join(text.split()))


@pytest.mark.parametrize(
    "op", ["softmax", "linear", "batch_norm", "layer_norm", "cross_entropy", "mse_loss", "gelu", "relu"]
)
def test_what_derive_derives_is_right_line_by_line(op):
    lines = []
    for chain in derive(op).steps:
        writer = Writer(UNICODE, list(dict.fromkeys(part for part in walk(chain.left) if isinstance(part, Index))))
        lines += [f"{writer.text(chain.left)} = {writer.text(line.right)}" for line in chain.lines]
    found = review(op, "\n".join(lines))
    assert len(found.lines) == len(lines) > 3
    assert [line.text for line in found.lines if line.status != "right"] == []


@pytest.mark.slow
@pytest.mark.parametrize("op", [name for name in DEFINITIONS if name != "logsumexp"])  # repeats ȳ along rows
def test_every_closed_form_is_right(op):
    found = derive(op)
    forms = {g.name: found.matrix(g) for g in found.gradients}
    answers = [f"{name}̄ = {form}" for name, form in forms.items() if form is not None]
    assert not answers or judge(op, ";".join(answers))


def test_a_reason_is_no_part_of_the_line():
    assert equation_of("a_i = b_i   (chain rule)") == "a_i = b_i"
    assert equation_of("a_i = b_i [sum over the batch]") == "a_i = b_i"
    assert equation_of("a_ij = b_i [i = j]") == "a_ij = b_i [i = j]"
    assert equation_of("a_ij = b_i c_j  (i ≠ j)") == "a_ij = b_i c_j  (i ≠ j)"
    assert equation_of("a = b (x + y)") == "a = b (x + y)"


# ------------------------------------------------------------------------------------------------- nothing let through


def _at(rng, n, d):
    a, b = rng.standard_normal((2, n, d))
    b += np.sign(b)
    gamma = rng.standard_normal(d)
    gy = rng.standard_normal((n, d))
    return a, b, gamma, gy


def _softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def _standardised(x, gamma):
    centred = x - x.mean(0)
    return gamma * centred / np.sqrt((centred**2).mean(0) + 0.3)


# A right formula in Python, the program, and all arrays at a point with the true gradient, by the engine.
def _softmax_case(rng, n, d):
    x, _, _, gy = _at(rng, n, d)
    truth = grad(lambda x: (_softmax(x) * gy).sum())(x)
    return {"x": x, "y": _softmax(x), "gy": gy}, truth


def _division_case(rng, n, d):
    a, b, _, gy = _at(rng, n, d)
    return {"a": a, "b": b, "y": a / b, "gy": gy}, grad(lambda b: (a / b * gy).sum())(b)


def _batch_norm_case(rng, n, d):
    x, _, gamma, gy = _at(rng, n, d)
    mu, v = x.mean(0), x.var(0)
    s = np.sqrt(v + 0.3)
    truth = grad(lambda x: (_standardised(x, gamma) * gy).sum())(x)
    return {"x": x, "gamma": gamma, "mu": mu, "v": v, "s": s, "xhat": (x - mu) / s, "gy": gy, "B": n}, truth


CASES = {
    "gx = y * (gy - (gy * y).sum(-1, keepdims=True))": (SOFTMAX, _softmax_case),
    "gb = -gy * a / b**2": (("div", None), _division_case),
    "gx = gamma / (B * s) * (B * gy - gy.sum(0) - xhat * (gy * xhat).sum(0))": (BATCH_NORM, _batch_norm_case),
}


def _edited(text, names, rng):
    """The formula with one or two words of its right side replaced or left out."""
    left, _, right = text.partition(" = ")
    words = re.findall(r"\w+=\w+|\w+|\*\*|\S", right)
    for _ in range(rng.integers(1, 3)):
        k = rng.integers(len(words))
        choices = ["", "-"]
        if words[k] in names:
            choices = [*names]
        elif words[k] in ("+", "-", "*", "/", "@"):
            choices = ["+", "-", "*", "/", "@"]
        elif words[k].isdecimal():
            choices = ["0", "1", "2", "3"]
        elif words[k] in ("sum", "mean", "max"):
            choices = ["sum", "mean", "max"]
        words[k] = choices[rng.integers(len(choices))]
    return f"{left} = {' '.join(words)}"


def _value(text, arrays):
    """The right side by Python itself; None where it has no value."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(eval(text.partition(" = ")[2], {"__builtins__": {}}, arrays), float)
    except Exception:
        return None


def _is_true(text, case):
    for seed, (n, d) in enumerate([(3, 4), (2, 5)]):
        arrays, truth = case(np.random.default_rng(seed), n, d)
        value = _value(text, arrays)
        try:
            fits = value is not None and np.broadcast_shapes(value.shape, truth.shape) == truth.shape
        except ValueError:
            fits = False
        if not fits or not np.allclose(value, truth, rtol=1e-7, atol=1e-9):
            return False
    return True


@pytest.mark.parametrize("text", CASES)
def test_an_edited_formula_is_right_only_if_it_is_true(text, monkeypatch):
    monkeypatch.setattr(answer.Answer, "explain", lambda *args: None)
    (what, shapes), case = CASES[text]
    names = [name for name in case(np.random.default_rng(0), 3, 4)[0] if name != "B"]
    rng = np.random.default_rng(0)
    assert _is_true(text, case)
    about = task(what, shapes)
    monkeypatch.setattr(answer, "task", lambda *args: about)  # the same points for all
    judged = {}
    for edited in {_edited(text, names, rng) for _ in range(300)}:
        try:
            judged[edited] = judge(what, edited, shapes).verdicts[0].status
        except Unreadable:
            continue
    assert len(judged) > 40
    assert [edited for edited, status in judged.items() if (status == "right") != _is_true(edited, case)] == []


WORDS = r"""
x gx gy ȳ x̂ γ_j \gamma \hat x \frac { } { ( ) [ ] ^ ^T _ _{ij} _j Σ_s sum_s \sum_{ i = δ_ij + - * / @ ⊙ ² ᵀ 1 2.5 . T
sum axis keepdims if else ∂ ∂L/∂x d dL / dx ' : , None np . √ \sqrt \left( \right) [ i = j ] ≠ < 1e- σ( B \\ & $ " '" é
∇ ← len where(
"""


@pytest.mark.parametrize("seed", range(3))
def test_any_text_is_read_or_refused_with_its_place(seed):
    rng = np.random.default_rng(seed)
    names = task("batch_norm").names
    words = WORDS.split()
    read_, refused = 0, 0
    for _ in range(700):
        text = "gx = " * rng.integers(2) + " ".join(rng.choice(words, rng.integers(1, 9)))
        try:
            read(text, names)
            read_ += 1
        except Unreadable as error:
            refused += 0 <= error.at <= len(error.text) and str(error).endswith("^")
    assert read_ > 20
    assert read_ + refused == 700


def test_nothing_of_the_text_is_executed(tmp_path):
    target = tmp_path / "made"
    for text in (
        f"gx = open({str(target)!r}, 'w')",
        f"gx = __import__('pathlib').Path({str(target)!r}).touch()",
        "gx = (lambda: 1)()",
    ):
        with pytest.raises(Unreadable):
            judge("softmax", text)
    assert not target.exists()


# -------------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("gw = x.T @@ gy", "@ gy", "expected a number, a name or a bracket"),
        ("gw = q @ gy", "q", "known are the arrays x, w, b, y; gradients gx, gw, gb, gy; sizes d, m, n"),
        ("gw = (x.T @ gy", "", "expected ')', found the end"),
        ("gw = x.foo @ gy", "foo", "expected T"),
        ("y = x @ w", "y", "expected a gradient on the left side"),
        ("x.T @ gy", "", "say whose gradient it is"),
        ("dL/dw_jk = Σ x_ij", "x_ij", "expected the index of the sum"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(text, at, words):
    with pytest.raises(Unreadable, match=re.escape(words)) as caught:
        judge(LINEAR[0], text, LINEAR[1])
    assert text[caught.value.at :].startswith(at)
    line, caret = str(caught.value).splitlines()[-2:]
    assert line.strip() == text
    assert caret.index("^") == line.index(text) + caught.value.at


def test_a_caret_stands_under_its_place_behind_combining_marks():
    with pytest.raises(Unreadable) as caught:
        judge(LINEAR[0], "w̄ = q", LINEAR[1])
    assert str(caught.value).splitlines()[-1] == " " * 4 + " " * 4 + "^"  # w with its bar is one column


def test_a_line_that_cannot_be_read_has_its_number():
    with pytest.raises(Unreadable, match="line 3: 'q' is not known"):
        review(LINEAR[0], "\n# linear\ndL/dw = q", LINEAR[1])


def test_an_empty_answer_is_an_error():
    with pytest.raises(UsageError, match="empty"):
        judge("softmax", " ; ")
    with pytest.raises(UsageError, match="empty"):
        review("softmax", "# nothing\n")


def _run(capsys, *args):
    with pytest.raises(SystemExit) as left:
        main(["derive", *args])
    out = capsys.readouterr()
    return left.value.code, out.out, out.err


def test_command(capsys):
    code, out, _ = _run(capsys, LINEAR[0], "--shapes", LINEAR[1], "--answer", "gw = x.T @ gy / n; gb = gy.sum(0)")
    assert code == 1
    rows = out.splitlines()
    quoted = next(k for k, row in enumerate(rows) if "gw = x.T @ gy / n" in row)
    assert rows[quoted + 1].index("^") == rows[quoted].index("x.T")
    assert re.search(r"repair +gw = x\.T @ gy\s*$", out, re.MULTILINE)
    assert "✓ right" in out
    assert _run(capsys, "softmax", "--answer", "x̄ = y ⊙ (ȳ − rowsum(ȳ ⊙ y))")[0] == 0
    code, out, err = _run(capsys, "softmax", "--answer", "gx = (y")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].strip() == "^"


def test_command_json(capsys):
    code, out, _ = _run(capsys, "softmax", "--answer", "gx = gy * y * (1 - y)", "--json")
    found = json.loads(out.splitlines()[-1])
    assert (code, found["status"], found["answers"][0]["cause"]) == (1, "wrong", "elementwise-for-jacobian")
    code, out, _ = _run(capsys, "softmax", "--answer", "gx = (y", "--json")
    assert (code, json.loads(out)["status"], json.loads(out)["column"]) == (2, "unreadable", 8)


def test_command_on_a_file(capsys, tmp_path):
    path = DERIVATIONS[0].parent / "uva-2020-linear-indices.txt"
    text = path.read_text(encoding="utf-8")
    args = (_header(text, "program"), "--shapes", _header(text, "shapes"), "--answer-file", str(path))
    code, out, _ = _run(capsys, *args)
    assert code == 1
    assert "the first wrong line is line 3; follows from it: 5; right: 4" in out
    code, out, _ = _run(capsys, *args, "--json")
    found = json.loads(out)
    assert (found["first_wrong"], found["lines"][2]["follows"]) == (3, 3)
    assert _run(capsys, "softmax", "--answer-file", str(tmp_path / "none"))[0] == 2
    assert _run(capsys, "softmax", "--answer", "gx = y", "--answer-file", str(path))[0] == 2
