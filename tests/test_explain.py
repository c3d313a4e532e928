"""The tape with its numbers: values, gradients, contributions, Jacobians, names, and what is said about them."""

import json
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

from chainrule import OPS, Tensor, grad, mathml, nn, ops
from chainrule.check import numeric_gradient
from chainrule.docstrings import section
from chainrule.errors import UserError
from chainrule.explain import explain
from chainrule.explain.arrays import described, histogram, panels
from chainrule.explain.examples import EXAMPLES, example, explain_classifier
from chainrule.explain.latex import document
from chainrule.explain.layout import CARDS, HEIGHT, PILL_WIDTH, WIDTH, drawing
from chainrule.explain.page import page
from chainrule.explain.tape import restored

SMALL = [name for name in EXAMPLES if name != "resnet18"]


def network(seed=0):
    rng = np.random.default_rng(seed)
    layers = nn.Linear(4, 5, rng=rng, dtype=np.float64), nn.Tanh(), nn.Linear(5, 3, rng=rng, dtype=np.float64)
    return nn.Sequential(*layers), rng.standard_normal((6, 4)), rng.integers(0, 3, 6)


def test_gradients_are_those_of_backward_bit_for_bit():
    model, x, labels = network()
    found = explain_classifier(model, x, labels)
    inputs = Tensor(x, requires_grad=True)
    loss = nn.CrossEntropyLoss()(model(inputs), labels)
    loss.backward()
    assert found.result.value == loss.value
    assert np.array_equal(found["x"].gradient, inputs.grad)
    for name, parameter in model.named_parameters():
        assert np.array_equal(found[name].gradient, parameter.grad)
        assert found[name].kind == "parameter"


def test_gradients_of_leaves_and_of_every_op_are_numeric_truth():
    def after(h, w):
        y = h * h + w
        return (y * h).sum()

    x, w = np.array([0.3, -1.2, 2.0]), np.array([1.0, 0.5, -2.0])
    found = explain(lambda x, w: after(np.sin(x), w), x, w)
    truth = numeric_gradient(lambda x: after(np.sin(x), w), x).value
    np.testing.assert_allclose(found["x"].gradient, truth, rtol=1e-8)
    inner = numeric_gradient(lambda h: after(h, w), np.sin(x)).value
    np.testing.assert_allclose(next(n for n in found.ops if n.op == "sin").gradient, inner, rtol=1e-8)


def test_a_gradient_is_the_sum_of_what_its_users_pass_back():
    found = explain(lambda x: (np.exp(x) + x * x + 3 * x).sum(), np.array([0.5, -1.0]))
    x = found["x"]
    parts = [edge.gradient for _, edge in found.users_of(x)]
    assert len(parts) == 4  # exp, both factors of x * x, 3 * x
    np.testing.assert_allclose(sum(parts), x.gradient)
    np.testing.assert_allclose(x.gradient, np.exp(x.value) + 2 * x.value + 3)


def test_local_jacobians_are_numeric_truth_in_numerator_layout():
    found = explain(lambda x: ops.softmax(x)[0], np.array([0.2, -0.4, 1.0]))
    softmax = found.ops[0]
    x = found["x"].value
    rows = [numeric_gradient(lambda x, i=i: ops.softmax(x)[i], x).value for i in range(3)]
    np.testing.assert_allclose(softmax.inputs[0].jacobian, rows, atol=1e-9)
    weight = explain(lambda w: ops.linear(np.array([[1.0, 2.0]]), w).sum(), np.ones((3, 2))).ops[0].inputs[1]
    np.testing.assert_allclose(weight.jacobian, np.kron(np.eye(3), [[1.0, 2.0]]))


def test_large_ops_have_no_jacobian():
    assert explain(lambda x: (x * x).sum(), np.ones(17)).ops[0].inputs[0].jacobian is None


def test_nothing_of_the_user_changes_and_the_graph_can_still_be_walked():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    found = explain(y, names={"x": x, "y": y})
    assert x.grad is None
    assert [node.name for node in found.nodes] == ["x", "mul", "y"]
    y.backward()
    assert np.array_equal(x.grad, found["x"].gradient)
    x.grad[:] = 0
    assert np.array_equal(found["x"].gradient, [2.0, 4.0])


def test_a_walked_graph_is_a_users_error():
    y = (Tensor([1.0], requires_grad=True) * 2).sum()
    y.backward()
    with pytest.raises(UserError, match="retain_graph=True"):
        explain(y)


def test_what_is_no_tensor_is_a_users_error():
    def f(x):
        return 1.0

    with pytest.raises(UserError, match="f returns a float"):
        explain(f, np.ones(2))


def test_a_given_gy_is_where_the_walk_starts():
    found = explain(lambda x: x * x, np.array([1.0, 2.0]), gy=[10.0, 1.0])
    np.testing.assert_array_equal(found["x"].gradient, [20.0, 4.0])
    with pytest.raises(UserError, match=r"gy has shape \(3,\), expected \(2,\)"):
        explain(lambda x: x * x, np.array([1.0, 2.0]), gy=np.ones(3))


def test_names_are_the_users():
    w = Tensor([2.0, 3.0], requires_grad=True)

    def f(x):
        hidden = np.tanh(x)
        scaled = hidden * w
        return scaled.sum()

    found = explain(f, np.array([0.1, 0.2]))
    assert [node.name for node in found.nodes] == ["x", "hidden", "w", "scaled", "scaled.sum()"]
    assert found["hidden"].place.startswith("test_explain.py, line ")
    assert found.expression(found["scaled"]) == "mul(hidden, w)"


def test_layers_give_their_paths():
    model, x, labels = network()
    found = explain_classifier(model, x, labels)
    assert [(node.name, node.module) for node in found.ops] == [
        ("0.linear", "0"), ("1.tanh", "1"), ("2.linear", "2"), ("loss", "loss"),
    ]  # fmt: skip


def test_a_number_in_two_places_is_two_constants_and_a_shared_array_one_node():
    table = np.array([1.0, 2.0])
    found = explain(lambda x: (x * 2 + table * 2 * x + table).sum(), np.array([1.0, 1.0]))
    assert [node.name for node in found.nodes if node.op is None and node.value.size == 1] == ["2"]
    assert sum(node.value.shape == (2,) and node.name == "table" for node in found.nodes) == 1


def test_an_argument_left_out_does_not_shift_the_others():
    x = np.random.default_rng(0).standard_normal((4, 3))
    found = explain(lambda x, bias: ops.batch_norm(x, None, None, None, bias, training=True).sum(), x, np.zeros(3))
    assert [edge.argument for edge in found.ops[0].inputs] == ["x", "bias"]


def test_integers_are_settings():
    def f(x, times=2, kind="plain"):
        for _ in range(times):
            x = x * x
        return x

    assert float(explain(f, np.array(3.0), 2, "plain").result.value) == 81.0


def test_a_batch_that_does_not_fit_is_a_users_error():
    with pytest.raises(UserError, match="more than 1 value per channel"):
        example("batch-norm", batch_size=1)
    assert example("batch-norm", batch_size=7)["x"].value.shape == (7, 2)


@pytest.mark.parametrize("name", SMALL)
def test_every_example_is_right(name):
    found = example(name)
    assert found.result.value.size == 1
    for node in found.nodes:
        if node.gradient is not None:
            passed = [edge.gradient for _, edge in found.users_of(node)]
            np.testing.assert_allclose(sum(passed) if passed else 1.0, node.gradient, rtol=1e-12)
        if node.op:
            inputs = [source.value for _, source in found.inputs_of(node)]
            if all(edge.argument in OPS[node.op].inputs[: len(inputs)] for edge in node.inputs):
                assert np.array_equal(OPS[node.op](*inputs, **node.params), node.value)


def test_vu_2023_has_the_numbers_of_the_course():
    found = example("vu-2023")
    assert found["loss"].value == 0.6931471805599453
    assert not found["W"].gradient.any()
    assert not found["b"].gradient.any()
    np.testing.assert_allclose(found["V"].gradient, [[-0.44039854, 0.44039854]] * 3, atol=1e-8)
    np.testing.assert_allclose(found["c"].gradient, [-0.5, 0.5], rtol=1e-15)


@pytest.mark.parametrize("name", [name for name in SMALL if name.startswith("nyu")])
def test_the_course_tables_agree_with_truth(name):
    found = example(name)
    layers, gradients, jacobians = found.tables
    assert [row[0] for row in layers.rows] == ["Linear 1", "f", "Linear 2", "g", "Loss"]
    f = {"relu": lambda z: z * (z.real > 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z)), "identity": lambda z: z}
    f1, g1 = f[found["z2"].op], f[found["y_hat"].op]
    x, y = found["x"].value, np.array([1.0, 0.0])

    def loss(W1, b1, W2, b2):
        p = g1(W2 @ f1(W1 @ x + b1) + b2)
        entries = (p - y) ** 2 if found["J"].op == "mse_loss" else -(y * np.log(p) + (1 - y) * np.log(1 - p))
        return entries.mean()

    values = [found[name].value for name in ("W1", "b1", "W2", "b2")]
    assert loss(*values) == pytest.approx(float(found["J"].value))
    for place, row in enumerate(gradients.rows):
        at = [lambda v, p=place: loss(*values[:p], v, *values[p + 1 :])]
        truth = numeric_gradient(at[0], values[place]).value
        np.testing.assert_allclose(row[-1].T.reshape(truth.shape), truth, atol=1e-8)
    assert jacobians.rows[0][-1].shape == (3, 3)


# --------------------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_ops_formulas_become_mathml(op):
    for title in ("Forward", "Backward", "Derivation"):
        parts = section(OPS[op], title)
        assert parts, f"{op} has no {title}"
        for part in parts:
            made = mathml.display(part.text) if part.is_math else mathml.sentence(part.text)
            ElementTree.fromstring(f"<p>{made}</p>")  # well-formed
            assert "\\" not in made
            assert "<mi>&</mi>" not in made


def test_aligned_lines_are_rows_and_cases_stay_whole():
    assert mathml.display(r"a &= b \\ &= \begin{cases} 1 & x \\ 2 & y \end{cases}").count('class="right"') == 2


def test_json_is_whole_where_arrays_are_small_and_summarised_where_they_are_large():
    found = explain(lambda x, w: (x @ w).sum(), np.full((2, 3), 0.1), np.ones((3, 1000)))
    text = json.dumps(found.to_dict(), allow_nan=False)
    back = {node["name"]: node for node in json.loads(text)["nodes"]}
    assert back["x"]["value"]["values"] == np.full((2, 3), 0.1).tolist()
    assert back["w"]["value"]["values"] is None
    assert back["w"]["gradient"]["norm"] == pytest.approx(np.linalg.norm(found["w"].gradient))
    assert len(text) < 20_000


def test_a_coarse_picture_holds_the_means_of_its_blocks():
    x = np.random.default_rng(0).standard_normal((40, 70))
    (panel,) = panels(x)
    rows, columns = panel.block
    np.testing.assert_allclose(panel.cells[1, 2], x[rows : 2 * rows, 2 * columns : 3 * columns].mean())
    np.testing.assert_allclose(panel.cells[-1, -1], x[rows * 13 :, columns * 13 :].mean())
    assert panel.cells.size <= 400
    assert sum(histogram(x)) == x.size


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 0, 4), (1, 1), (500,), (3, 1, 2, 5, 5)])
def test_any_shape_can_be_described(shape):
    x = np.zeros(shape)
    assert described(x)["shape"] == list(shape)
    assert sum(p.cells.size for p in panels(x)) <= 400


def test_numbers_that_are_not_finite_are_shown_as_such():
    with np.errstate(divide="ignore"):
        found = explain(lambda x: np.log(x).sum(), np.array([0.0, 1.0]))
    assert found["x"].gradient[0] == np.inf
    made = page(found)
    assert '"Infinity"' in made
    document(found)


def test_a_saved_tape_comes_back(tmp_path):
    found = example("conv-net")
    found.save(tmp_path / "tape.npz")
    assert json.dumps(restored(tmp_path / "tape.npz").to_dict()) == json.dumps(found.to_dict())


# -------------------------------------------------------------------------------------------------------------- layout


def with_many_parameters():
    """Two ops with nine leaves of their own each, which need more height than a card."""
    first, second = ([Tensor(np.ones(2), requires_grad=True) for _ in range(9)] for _ in range(2))
    return explain(lambda x: np.stack([np.stack([x, *first]).sum(0), *second]).sum(), np.ones(2))


@pytest.mark.parametrize("name", [*SMALL, None])
def test_cards_do_not_overlap_and_lines_lead_down(name):
    explained = example(name) if name else with_many_parameters()
    found = drawing(explained)
    boxes = [(card.x, card.y, WIDTH, HEIGHT) for card in found.cards]
    boxes += [(pill.x, pill.y, PILL_WIDTH, 30) for card in found.cards for pill in card.pills]
    for i, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x <= found.width - w
        assert 0 <= y <= found.height - h
        assert not any(x < a + c and a < x + w and y < b + d and b < y + h for a, b, c, d in boxes[i + 1 :])
    at = {card.nodes[-1].index: card.y for card in found.cards}
    assert all(at[line.start] < at[line.end] for line in found.lines if line.start in at and line.end in at)
    assert len(found.lines) == len({(e.node, n.index) for n in explained.ops for e in n.inputs})


def test_a_large_network_is_drawn_by_its_parts_and_its_page_stays_small():
    found = example("resnet18")
    drawn = drawing(found)
    assert len(drawn.cards) <= CARDS
    assert "layer3.1" in [card.label for card in drawn.cards]
    shown = {node.index for card in drawn.cards for node in card.nodes}
    assert {node.index for node in found.ops} <= shown
    assert len(page(found).encode()) < 3_000_000


def test_a_long_chain_is_explained():
    def f(x):
        for _ in range(1000):
            x = np.sin(x)
        return x

    found = explain(f, np.array(0.5))
    assert found["x"].gradient == pytest.approx(grad(lambda x: f(x))(np.array(0.5)))
    assert len(drawing(found).cards) <= CARDS


# --------------------------------------------------------------------------------------------------------------- LaTeX


@pytest.mark.parametrize("name", SMALL)
def test_latex_is_balanced(name):
    text = document(example(name))
    assert text.isascii()  # what LaTeX prints whatever its fonts
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.count("{") == text.count("}")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
@pytest.mark.parametrize("name", ["vu-2023", "nyu-2021-sigmoid-sigmoid-bce", "conv-net", "attention"])
def test_latex_compiles(name, tmp_path):
    (tmp_path / "tape.tex").write_text(document(example(name)))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tape.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_notebooks_are_shown_the_page_and_a_formula():
    found = explain(lambda x: x * x, np.array(3.0))
    assert found._repr_html_().startswith("<iframe srcdoc=")
    assert found._repr_latex_().count("&") >= 4
