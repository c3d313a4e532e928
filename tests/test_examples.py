"""The examples run, and say what the studies say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_by_hand_gives_the_published_gradients(capsys):
    """Published: the vu-2023 worked example."""
    loss, dW, db, dV, dc = load("by_hand").main()
    assert loss == pytest.approx(0.6931471805599453, abs=1e-15)
    np.testing.assert_allclose(dW, np.zeros((2, 3)), atol=1e-15)
    np.testing.assert_allclose(db, np.zeros(3), atol=1e-15)
    np.testing.assert_allclose(dV, [[-0.44039854, 0.44039854]] * 3, atol=5e-9)
    np.testing.assert_allclose(dc, [-0.5, 0.5], atol=1e-15)
    printed = capsys.readouterr().out
    assert "0.6931471805599453" in printed
    assert "[-0.44039854  0.44039854]" in printed


def test_engine_walk_answers_by_looking(capsys):
    k, _, W = load("engine_walk").main()
    expected = np.outer([1.0, 2.0], np.exp(k.value))
    np.testing.assert_allclose(W.grad, expected)
    printed = capsys.readouterr().out
    assert "k.source.op.name = matmul" in printed
    assert "k.source.inputs[1] is W: True" in printed
    assert printed.count("engine.py:") == 2


def test_two_layers_agree_with_numeric_truth_in_every_combination(capsys):
    errors = load("two_layers").main()
    assert len(errors) == 18
    assert max(errors) < 1e-10


def test_three_versions_of_each_normalisation_agree(capsys):
    batch, layer, differences = load("three_versions").main()
    assert len(differences) == 6
    assert 0 < max(differences) < 1e-13
    np.testing.assert_allclose(batch["by hand"][1].sum(0), 0, atol=1e-14)  # over the examples
    np.testing.assert_allclose(layer["by hand"][1].sum(1), 0, atol=1e-14)  # over the features
    assert np.abs(batch["by hand"][0] - layer["by hand"][0]).max() > 0.1
    assert "by hand" in capsys.readouterr().out
