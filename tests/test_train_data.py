"""Training on the real MNIST and CIFAR-10: the write-ups' settings, and a kill -9 at their size."""

import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif("CHAINRULE_DATA" not in os.environ, reason="CHAINRULE_DATA names no folder of data sets"),
]

# The settings in argv[1], the run folder in argv[2], kill -9 after step argv[3]; a folder that is there is resumed.
PROCESS = """
import json, os, signal, sys
from chainrule.train import configure, events, resume, run
settings, run_dir, fatal = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def die(event):
    if isinstance(event, events.StepDone) and event.step == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
if os.path.exists(run_dir):
    resume(run_dir, listeners=[die])
else:
    run(configure(settings), run_dir=run_dir, listeners=[die])
"""


def train(run_dir, *, fatal=0, **settings):
    """The exit status of a process of its own, with one BLAS thread: other tests run beside it."""
    command = [sys.executable, "-c", PROCESS, json.dumps(settings), str(run_dir), str(fatal)]
    return subprocess.run(command, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, timeout=600).returncode


def result(run_dir):
    return json.loads((run_dir / "result.json").read_text())


def test_mnist_with_the_sigmoid_network_of_vu_2023(tmp_path):
    assert not train(tmp_path / "run", dataset="mnist", hidden=300, activation="sigmoid", batch_size=100, epochs=20)
    assert result(tmp_path / "run")["test_accuracy"] >= 0.975


def test_cifar10_with_the_settings_of_uva_2018(tmp_path):
    assert not train(tmp_path / "run", preset="uva-2018")
    assert result(tmp_path / "run")["test_accuracy"] >= 0.46


def test_kill_9_and_resume_at_the_size_of_real_data(tmp_path):
    settings = {
        "dataset": "mnist", "hidden": "300,100", "dropout": 0.2, "batch_size": 100,
        "max_steps": 500, "eval_freq": 300, "checkpoint_every": 90,
    }  # fmt: skip
    assert train(tmp_path / "whole", **settings) == 0
    assert train(tmp_path / "run", fatal=170, **settings) == -signal.SIGKILL
    assert train(tmp_path / "run", fatal=310, **settings) == -signal.SIGKILL
    assert train(tmp_path / "run", **settings) == 0
    for name in (
        "metrics.csv",
        "metrics.jsonl",
        "steps.csv",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
    ):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole, resumed = result(tmp_path / "whole"), result(tmp_path / "run")
    assert {**whole, "seconds": 0, "run_dir": ""} == {**resumed, "seconds": 0, "run_dir": ""}
