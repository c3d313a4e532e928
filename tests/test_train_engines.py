"""The tape, explicit backprop and PyTorch: the same training, and each resumes bit for bit."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from chainrule import data, nn, optim
from chainrule.cli import main
from chainrule.errors import UserError
from chainrule.models import MODELS, build
from chainrule.train import TrainConfig, events, fit, resume, run
from chainrule.train.engines import ENGINES, make_engine
from chainrule.train.runs import build_model

torch.set_num_threads(1)
SHORT = {"dtype": "float64", "hidden": (20, 11), "max_steps": 20, "eval_freq": 10, "batch_size": 33, "seed": 5}
CONFIGS = {
    "SGD": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "Nesterov": {"optimizer": "sgd", "momentum": 0.8, "nesterov": True},
    "Adam": {"optimizer": "adam", "weight_decay": 0.1},
    "AdamW": {"optimizer": "adamw", "weight_decay": 0.1},
    "RMSprop": {"optimizer": "rmsprop", "momentum": 0.5},
    "Adagrad": {"optimizer": "adagrad", "weight_decay": 0.01},
    "clipped norm": {"clip_norm": 0.01},
    "clipped values": {"optimizer": "sgd", "clip_value": 0.001},
    "dropout": {"dropout": 0.4},
    "warm-up and cosine": {"schedule": "cosine", "warmup_steps": 5, "activation": "tanh"},
    "steps": {"schedule": "step", "step_size": 4, "gamma": 0.5},
    "plateau": {"schedule": "plateau", "plateau_patience": 0, "lr": 0.5, "optimizer": "sgd"},
}


class Stop(Exception):  # noqa: N818
    """Ends a run before its pictures are drawn."""


def train(config, run_dir):
    """Losses, learning rates and final weights of the run that the config describes."""
    heard = []

    def hear(event):
        if isinstance(event, events.StepDone):
            heard.append(event)
            if event.step == config.max_steps:
                raise Stop

    samples = data.load("digits", seed=config.seed)
    model = build_model(config, samples)
    with pytest.raises(Stop):
        fit(model, samples, config, run_dir=run_dir, listeners=[hear])
    return np.array([s.loss for s in heard]), [s.lr for s in heard], model.state_dict()


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_engines_agree_over_twenty_steps(tmp_path, changes):
    runs = {engine: train(TrainConfig(**SHORT | changes, engine=engine), tmp_path / engine) for engine in ENGINES}
    losses, rates, weights = runs["tape"]
    assert len(losses) == 20
    assert len(set(losses)) == 20
    for engine in ("layers", "torch"):
        assert runs[engine][1] == rates
        tolerance = 0 if engine == "layers" else 1e-10
        np.testing.assert_allclose(runs[engine][0], losses, rtol=0, atol=tolerance)
        for name, value in weights.items():
            np.testing.assert_allclose(runs[engine][2][name], value, rtol=0, atol=tolerance, err_msg=name)


SMALL = ("convnet-vu", "squeezenet1_1")
NETWORKS = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(set(MODELS) - {"mlp", *SMALL}))]


@pytest.mark.parametrize("name", NETWORKS)
def test_engines_agree_on_the_image_networks(name):
    """One step in training mode, dropout and batch norm included; then the running statistics."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 2, 17, 17)), rng.integers(0, 3, 4)
    found = {}
    for engine_name in ENGINES:
        model = build(name, input_shape=(2, 17, 17), n_classes=3, dtype="float64", rng=np.random.default_rng(1))
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        engine = make_engine(engine_name, model, nn.CrossEntropyLoss(), optimizer)
        loss = engine.forward(x, y)
        engine.backward()
        gradients = {f"{name}.grad": p.grad.copy() for name, p in model.named_parameters()}
        engine.step()
        found[engine_name] = {"loss": np.array(loss)} | gradients | model.state_dict() | optimizer.state_dict()
    for engine_name in ("layers", "torch"):
        assert found[engine_name].keys() == found["tape"].keys()
        for key, expected in found["tape"].items():
            scale = max(1.0, np.abs(expected).max())
            tolerance = 0 if engine_name == "layers" else 1e-10 * scale
            np.testing.assert_allclose(found[engine_name][key], expected, rtol=0, atol=tolerance, err_msg=key)


RESUMED = {
    "hidden": [12, 9],
    "dropout": 0.3,
    "schedule": "cosine",
    "warmup_steps": 7,
    "batch_size": 48,
    "max_steps": 40,
    "eval_freq": 9,
    "checkpoint_every": 4,
    "seed": 11,
}
COMPARED = ("metrics.csv", "steps.csv", "checkpoints/best.safetensors", "checkpoints/last.safetensors")


def interrupted(run_dir, config, *steps):
    """The run, begun, interrupted after each of these steps, and gone on with."""
    for at in steps:

        def press(event, at=at):
            if isinstance(event, events.StepDone) and event.step == at:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            resume(run_dir, listeners=[press]) if run_dir.exists() else run(config, run_dir=run_dir, listeners=[press])


def assert_same(one, other):
    for name in COMPARED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, engine, rule):
    momentum = {"momentum": 0.9} if rule in ("sgd", "rmsprop") else {}
    config = TrainConfig(**RESUMED | momentum, engine=engine, optimizer=rule, clip_norm=1.0)
    interrupted(tmp_path / "whole", config, 33)
    interrupted(tmp_path / "run", config, 1, 17, 33)
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_run_of_pytorch_goes_on_in_another_process(tmp_path):
    """With PyTorch's own number of threads, and memory that lies elsewhere."""
    program = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_train_engines import RESUMED, TrainConfig, interrupted
import torch
torch.set_num_threads(2)
interrupted(Path(sys.argv[2]), TrainConfig(**RESUMED, engine="torch"), int(sys.argv[3]))
"""
    for folder, at in (("whole", 33), ("run", 17), ("run", 33)):
        here = str(Path(__file__).parent)
        subprocess.run([sys.executable, "-c", program, here, str(tmp_path / folder), str(at)], check=True)
    assert_same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("engine", ["layers", "torch"])
def test_the_command(tmp_path, engine, capsys):
    for command in (["train", "digits", "--engine", engine, "--max-steps", "20", "--run-dir"], ["evaluate"]):
        with pytest.raises(SystemExit) as done:
            main([*command, str(tmp_path)])
        assert not done.value.code
        assert "accuracy" in capsys.readouterr().out
    assert f"engine: {engine}" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_is_not_finite_is_blamed_on_its_layer(tmp_path, engine):
    config = TrainConfig(dataset="digits", engine=engine, optimizer="sgd", lr=1e20, hidden=(8, 8), max_steps=50)
    with pytest.raises(UserError, match=r"the (output|gradient) of layer \d \(\w+\) at step \d+ is NaN"):
        run(config, run_dir=tmp_path)


class Root(nn.Module):
    """A square root at 0: its value is finite, its gradient is not."""

    def __call__(self, x):
        return np.sqrt(np.maximum(x * 0, 0)) + x


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_that_is_not_finite_is_blamed_on_the_step_before(tmp_path, engine):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=rng), Root(), nn.Linear(5, 10, rng=rng))
    config = TrainConfig(engine=engine, optimizer="sgd", lr=0.1, max_steps=9, eval_freq=9)
    with pytest.raises(UserError, match=r"the gradient of layer 1 \(Linear\) at step 1 is NaN"):
        fit(model, data.load("digits"), config, run_dir=tmp_path)


@pytest.mark.parametrize("engine", ENGINES)
def test_frozen_parameters_stay_and_gradients_add_up(engine):
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(4, 5, rng=rng, dtype=np.float64), nn.Linear(5, 3, rng=rng, dtype=np.float64))
    model[0].weight.requires_grad = False
    frozen = model[0].weight.value.copy()
    trained = [p for p in model.parameters() if p.requires_grad]
    made = make_engine(engine, model, nn.CrossEntropyLoss(), optim.Adam(trained))
    x, y = rng.standard_normal((6, 4)), np.array([0, 1, 2, 2, 1, 0])
    x.flags.writeable = False
    for times in (1, 2):
        made.forward(x, y)
        made.backward()
        if times == 1:
            once = [p.grad.copy() for p in trained]
    for p, g in zip(trained, once, strict=True):
        np.testing.assert_allclose(p.grad, 2 * g, rtol=1e-12)
    assert model[0].weight.grad is None
    made.step()
    np.testing.assert_array_equal(model[0].weight.value, frozen)


def test_without_pytorch_the_error_says_what_to_install(tmp_path):
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from chainrule.cli import main
sys.exit(main(["train", "digits", "--engine", sys.argv[1], "--max-steps", "1", "--run-dir", sys.argv[2]]))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run([*command, "torch", str(tmp_path / "a")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'chainrule[torch]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a").exists()
    done = subprocess.run([*command, "layers", str(tmp_path / "b")], capture_output=True, text=True, check=False)
    assert done.returncode == 0
