"""Engines side by side: the command and the call, and that a wrong engine is found out."""

import json
import subprocess
import sys

import numpy as np
import pytest

from chainrule.errors import UsageError, UserError
from chainrule.lab import compare
from chainrule.lab.compare import TOLERANCE, _row
from chainrule.lab.engine_process import EngineRun, Step
from chainrule.train import TrainConfig


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "chainrule", "compare", *args], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_command_compares_three_engines(tmp_path):
    picture = tmp_path / "sub" / "engines.png"
    done = command("digits", "--hidden", "16", "--dropout", "0.2", "--steps", "8", "--picture", str(picture), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["agrees"]
    assert [row["engine"] for row in found["rows"]] == ["tape", "layers", "torch"]
    for row in found["rows"]:
        assert len(row["losses"]) == 8
        assert row["step_ms"] > 0
        for dtype, tolerance in TOLERANCE.items():
            step = row["step1"][dtype]
            assert max(step["outputs"], step["loss"], step["gradient"]) < tolerance
            assert step["parameter"] in ("1.weight", "1.bias", "4.weight", "4.bias")
    tape, layers, torch = found["rows"]
    assert layers["losses"] == tape["losses"]  # the same code in another order of calls: not one bit apart
    assert 0 < torch["step1"]["float64"]["outputs"] < 1e-13  # another library: not the same numbers handed back
    assert torch["losses"][-1] < torch["losses"][0]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["convnet-vu", "convnet-uva-2018"])
def test_conv_nets_agree(model):
    config = TrainConfig(dataset="digits", image_size=32, model=model, batch_size=4, dtype="float64", lr=1e-4)
    found = compare(config, steps=3)
    assert found.agrees, found.rows
    assert all(row.divergence < 1e-8 for row in found.rows)


def run_of(engine, gradient, loss=1.0, outputs=1.0):
    step = Step(np.full((2, 3), outputs), loss, {"weight": np.array([1.0, gradient]), "bias": np.array([1e-9])})
    return EngineRun(engine, "", 1, dict.fromkeys(TOLERANCE, step), [loss, loss], [1.0, 0.5], 100.0, 107.0)


@pytest.mark.parametrize("wrong", [{"gradient": 0.5 + 1e-4}, {"loss": 1 + 1e-4}, {"outputs": 1 + 1e-4}])
def test_an_engine_that_is_off_does_not_agree(wrong):
    reference = run_of("tape", 0.5)
    row = _row(run_of("torch", **({"gradient": 0.5} | wrong)), reference)
    assert not any(difference.agrees for difference in row.step1.values())
    assert all(difference.agrees for difference in _row(reference, reference).step1.values())
    assert (row.step_ms, row.peak_mb) == (500.0, 7.0)  # the first step is not timed; what was there before not counted


def test_the_rounding_of_a_gradient_that_is_zero_is_no_difference():
    found = run_of("torch", 0.5)
    found.step1["float64"].gradients["bias"][:] = -1e-15
    row = _row(found, run_of("tape", 0.5))
    assert row.step1["float64"].gradient < 1e-5


@pytest.mark.parametrize(
    ("engines", "steps", "message"),
    [(["tap"], 3, "tap"), ([], 3, "none"), (["tape", "tape"], 3, "each once"), (["tape"], 1, "at least 2")],
)
def test_misuse_is_named(engines, steps, message):
    with pytest.raises(UsageError, match=message):
        compare(TrainConfig(), engines, steps=steps)


def test_an_error_in_an_engines_process_is_one_line(tmp_path):
    with pytest.raises(UserError, match="batch size"):
        compare(TrainConfig(batch_size=10**6), ["tape"], steps=2)


def test_the_help_has_an_example_and_misuse_exits_with_2():
    assert "chainrule compare digits" in command("--help").stdout
    done = command("digits", "--engines", "jax")
    assert done.returncode == 2
    assert "jax" in done.stderr
    assert "Traceback" not in done.stderr
