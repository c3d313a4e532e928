"""`chainrule explain` as a user meets it: examples, files, runs, pages, LaTeX, JSON, and what can go wrong."""

import json
import textwrap

import numpy as np
import pytest

from chainrule.cli import main

LAYERS = """
    import numpy as np

    def affine(x, w, b=[0.5, -0.5]):
        y = x @ w + b
        return y

    def looping(x=1.0):
        while True:
            pass

    def failing(x=1.0):
        print("before")
        return np.linalg.inv(x)

    def leaving(x=1.0):
        raise SystemExit(0)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with layers.py: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "layers.py").write_text(textwrap.dedent(LAYERS))

    def explain(*args):
        with pytest.raises(SystemExit) as left:
            main(["explain", *args])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return explain


def test_text_goes_forward_then_backward_and_shows_the_numbers(run):
    code, out, _ = run("vu-2023")
    assert code == 0
    assert out.index("Forward") < out.index("loss = neg") < out.index("Backward") < out.rindex("x @ W = matmul")
    assert "[[-0.4404  0.4404]" in out
    assert "0.693147" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_course_tables_are_printed(run):
    _, out, _ = run("nyu-2021-sigmoid-sigmoid-bce")
    assert "Layer by layer" in out
    assert "Parameter by parameter" in out
    assert "…" not in out


def test_the_list_names_every_example(run):
    code, out, _ = run("--list")
    assert code == 0
    assert "nyu-2021-relu-identity-mse" in out
    known = json.loads(run("--list", "--json")[1])["examples"]
    for name in ("vu-2023", "attention", "conv-net", "batch-norm", "layer-norm", "softmax-cross-entropy"):
        assert name in known


def test_json_is_one_line_with_full_numbers(run):
    code, out, _ = run("vu-2023", "--json")
    found = json.loads(out)
    assert code == 0
    assert out.count("\n") == 1
    assert found["nodes"][-1]["value"]["values"] == 0.6931471805599453
    assert {"index", "name", "kind", "op", "params", "module", "place", "inputs", "value", "gradient"} == set(
        found["nodes"][0]
    )


def test_a_function_in_a_file_with_shapes_and_defaults(run):
    code, out, _ = run("layers.py:affine", "--shapes", "3 4, 4 2", "--json")
    assert code == 0
    nodes = {node["name"]: node for node in json.loads(out)["nodes"]}
    assert nodes["x"]["value"]["shape"] == [3, 4]
    assert nodes["b"]["value"]["values"] == [0.5, -0.5]
    assert nodes["b"]["gradient"]["values"] == [3.0, 3.0]
    assert nodes["y"]["place"] == "layers.py, line 5"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["vu-203"], 2, "the nearest is vu-2023"),
        ([], 2, "nothing to explain"),
        (["no.py"], 2, "no such file: no.py"),
        (["layers.py"], 2, "several functions, choose one as layers.py:NAME"),
        (["layers.py:afine"], 2, "the nearest is affine"),
        (["layers.py:affine"], 2, "x has neither a shape nor a default value"),
        (["layers.py:affine", "--shapes", "3 4, 4 2, 2, 7"], 2, "takes x, w, b"),
        (["layers.py:affine", "--shapes", "3 4, 5 2"], 1, "layers.py, line 5: y = x @ w + b"),
        (["layers.py:failing"], 1, "before"),
        (["layers.py:leaving"], 1, "SystemExit"),
        (["layers.py:looping", "--timeout", "1"], 1, "not done after 1 s"),
        (["batch-norm", "--batch-size", "1"], 2, "more than 1 value per channel"),
        (["vu-2023", "--page", "no/such/folder/page.html"], 1, "cannot write"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(run, args, code, said):
    found, out, err = run(*args)
    assert found == code
    assert said in err
    assert "Traceback" not in err
    assert not out


def test_a_page_and_latex_are_written_and_named(run, tmp_path):
    code, out, _ = run("vu-2023", "--page", "a.html", "--latex", "a.tex")
    assert code == 0
    assert "a.html" in out
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert r"\begin{document}" in (tmp_path / "a.tex").read_text()
    run("vu-2023", "--page")
    assert (tmp_path / "vu-2023.html").exists()
    run("layers.py:affine", "--shapes", "3 4, 4 2", "--page")
    assert (tmp_path / "layers-affine.html").exists()


def test_a_run_is_explained_on_a_batch_of_its_data(run, tmp_path):
    from chainrule.data import load
    from chainrule.train import TrainConfig, load_run
    from chainrule.train import run as train

    train(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=tmp_path / "run")
    code, out, _ = run("run", "--batch-size", "3", "--seed", "1", "--json")
    assert code == 0
    nodes = {node["name"]: node for node in json.loads(out)["nodes"]}
    x = np.array(nodes["x"]["value"]["values"], np.float32)
    assert x.shape == (3, 2)
    test = load("moons").test
    rows = [int(np.abs(test.x - row).sum(1).argmin()) for row in x]
    np.testing.assert_array_equal(test.x[rows], x)
    assert nodes["labels"]["value"]["values"] == test.y[rows].tolist()
    logits = [node for node in nodes.values() if node["op"] == "linear"][-1]["value"]["values"]
    np.testing.assert_allclose(load_run(tmp_path / "run").model(x).value, logits, rtol=1e-5)
    assert json.loads(run("run", "--batch-size", "3", "--seed", "1", "--json")[1]) == json.loads(out)


def test_help_has_an_example(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "chainrule explain vu-2023" in out
