"""Interruptions: kill -9 anywhere, Ctrl-C, a full disk, damaged files. A resumed run ends as if never stopped."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from chainrule.errors import UserError
from chainrule.train import TrainConfig, evaluate, events, load_run, predict, resume, run
from chainrule.train.folder import in_use

# Everything with a state of its own: dropout's generator, momentum, warm-up and cosine; and checkpoints at odd steps.
SETTINGS = {
    "hidden": [12, 9],
    "dropout": 0.3,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup_steps": 7,
    "batch_size": 48,
    "max_steps": 60,
    "eval_freq": 9,
    "checkpoint_every": 4,
    "seed": 11,
}

# A process that goes on with the run in argv[1], or begins it with the settings in argv[2]. With argv[3], it kills
# itself at that call of os.fsync: the moments at which files are half written.
PROCESS = """
import json, os, signal, sys
from chainrule.train import TrainConfig, resume, run
run_dir, settings, fatal = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
calls, fsync = 0, os.fsync
def counted(handle):
    global calls
    calls += 1
    if calls == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = counted
tell = [lambda event: print(type(event).__name__, flush=True)]
if os.path.exists(os.path.join(run_dir, "config.yaml")):
    resume(run_dir, listeners=tell)
else:
    run(TrainConfig(**settings), run_dir=run_dir, listeners=tell)
"""


def start(run_dir, settings, fatal=0):
    command = [sys.executable, "-c", PROCESS, str(run_dir), json.dumps(settings), str(fatal)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(run_dir, settings):
    process = start(run_dir, settings)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "Finished"


def assert_same(one: Path, other: Path):
    """All of both folders, less the clock and the folder's own name."""
    compared = (
        "config.yaml", "metrics.csv", "metrics.jsonl", "steps.csv", "confusion_matrix.png", "learning_curve.png",
        "checkpoints/best.safetensors", "checkpoints/last.safetensors",
    )  # fmt: skip
    for name in compared:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    for result in results:
        assert result.pop("seconds") > 0
        result.pop("run_dir")
    assert results[0] == results[1]
    assert not list(other.rglob("*.tmp"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A finished run for each of some settings, made once."""
    made = {}

    def make(**changes):
        key = json.dumps(changes)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("uninterrupted") / "run"
            run(TrainConfig(**SETTINGS | changes), run_dir=made[key])
        return made[key]

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"sampler": "wrap", "val_size": 0}, {"schedule": "plateau", "optimizer": "rmsprop"}]
)
def test_kill_9_at_random_moments(tmp_path, uninterrupted, changes):
    changes = {"max_steps": 240} | changes
    chance, killed = random.Random(str(changes)), 0
    for _ in range(6):
        process = start(tmp_path / "run", SETTINGS | changes)
        process.stdout.readline()  # it began, or went on
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed >= 3
    finish(tmp_path / "run", SETTINGS | changes)
    assert_same(uninterrupted(**changes), tmp_path / "run")


@pytest.mark.slow
def test_kill_9_while_files_are_written(tmp_path, uninterrupted):
    killed = 0
    for fatal in (5, 9, 13, 17, 18, 19, 23, 24, 25, 30, 41, 42):  # the config is there after the fourth
        process = start(tmp_path / "run", SETTINGS, fatal)
        process.communicate(timeout=120)
        killed += process.returncode == -signal.SIGKILL
    assert killed >= 10
    finish(tmp_path / "run", SETTINGS)
    assert_same(uninterrupted(), tmp_path / "run")


@pytest.mark.parametrize("at", [1, 9, 20, 60])
def test_ctrl_c_saves_tells_and_can_be_resumed(tmp_path, uninterrupted, at):
    heard = []

    def press(event):
        heard.append(event)
        if isinstance(event, events.StepDone) and event.step == at:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(TrainConfig(**SETTINGS), run_dir=tmp_path / "run", listeners=[press])
    assert signal.getsignal(signal.SIGINT) is before
    assert heard[-1] == events.Interrupted(at, tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert load_run(tmp_path / "run", checkpoint="last").step == at
    assert not (tmp_path / "run" / "result.json").exists()
    again = []
    resume(tmp_path / "run", listeners=[again.append])
    assert again[0].step == at
    assert_same(uninterrupted(), tmp_path / "run")


def test_a_crash_between_two_checkpoints_of_one_step_loses_neither(tmp_path):
    settings = SETTINGS | {"lr": 0.9, "checkpoint_every": 1, "eval_freq": 3}
    best = run(TrainConfig(**settings), run_dir=tmp_path / "whole").weights_step
    assert best < 60  # or it would be written again

    def crash(event):
        if isinstance(event, events.CheckpointSaved) and event.step == best:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run(TrainConfig(**settings), run_dir=tmp_path / "run", listeners=[crash])
    resume(tmp_path / "run")
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_patience_is_remembered_over_an_interruption(tmp_path):
    def press(event):
        if isinstance(event, events.StepDone) and event.step == 40:
            signal.raise_signal(signal.SIGINT)

    settings = SETTINGS | {"optimizer": "adagrad", "momentum": 0, "lr": 1e-9, "patience": 5}
    config = TrainConfig(**settings)
    whole = run(config, run_dir=tmp_path / "whole")
    assert whole.stopped_early
    assert whole.steps > 40
    with pytest.raises(KeyboardInterrupt):
        run(config, run_dir=tmp_path / "run", listeners=[press])
    resume(tmp_path / "run")
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def press(event):
        if isinstance(event, events.StepDone) and event.step == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    heard = []
    with pytest.raises(KeyboardInterrupt):
        run(TrainConfig(**SETTINGS), run_dir=tmp_path / "run", listeners=[press, heard.append])
    assert not any(isinstance(event, events.Interrupted) for event in heard)
    assert load_run(tmp_path / "run", checkpoint="last").step == 4  # what checkpoint_every had saved


def test_resuming_a_finished_run_changes_nothing(tmp_path, uninterrupted):
    run(TrainConfig(**SETTINGS), run_dir=tmp_path / "run")
    resume(tmp_path / "run")
    assert_same(uninterrupted(), tmp_path / "run")


def test_a_full_disk_is_one_clear_error_and_harms_nothing(tmp_path, uninterrupted):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event):
        if isinstance(event, events.StepDone) and event.step == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))

    try:
        with pytest.raises(UserError, match=r"cannot write .*last\.safetensors: File too large"):
            run(TrainConfig(**SETTINGS), run_dir=tmp_path / "run", listeners=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_run(tmp_path / "run", checkpoint="last").step == 28
    resume(tmp_path / "run")
    assert_same(uninterrupted(), tmp_path / "run")


def test_a_disk_that_fills_up_in_the_metrics(tmp_path, uninterrupted):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(event):
        if isinstance(event, events.StepDone) and event.step == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))

    try:
        with pytest.raises(UserError, match=r"cannot write .*: File too large"):
            run(TrainConfig(**SETTINGS), run_dir=tmp_path / "run", listeners=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    resume(tmp_path / "run")
    assert_same(uninterrupted(), tmp_path / "run")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        run(TrainConfig(**SETTINGS), run_dir=tmp_path / "file" / "run")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty", "missing", "of another version"])
def test_a_damaged_checkpoint_is_refused_and_nothing_is_changed(tmp_path, damage):
    run_dir = tmp_path / "run"
    run(TrainConfig(**SETTINGS), run_dir=run_dir)
    path = run_dir / "checkpoints" / "last.safetensors"
    content = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":  # one bit of one weight
            content[-100] ^= 1
            path.write_bytes(content)
        case "foreign":
            save_file({"w": np.ones(3, np.float32)}, path)
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "of another version":  # same length, so that only the number differs
            path.write_bytes(content.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    before = {file: file.read_bytes() for file in run_dir.rglob("*.*")}
    for use in (partial(load_run, checkpoint="last"), partial(evaluate, checkpoint="last"), resume):
        with pytest.raises(UserError, match=r"last\.safetensors"):
            use(run_dir)
    assert {file: file.read_bytes() for file in run_dir.rglob("*.*")} == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    for name, hidden in (("one", [12, 9]), ("other", [12, 8])):
        run(TrainConfig(**SETTINGS | {"hidden": hidden}), run_dir=tmp_path / name)
    other = load_run(tmp_path / "other").model
    with pytest.raises(UserError, match=r"another network.*shape \(9, 12\), expected \(8, 12\)"):
        load_run(tmp_path / "one", model=other)
    for kind in ("best", "last"):
        theirs = tmp_path / "other" / "checkpoints" / f"{kind}.safetensors"
        (tmp_path / "one" / "checkpoints" / f"{kind}.safetensors").write_bytes(theirs.read_bytes())
    for use in (load_run, resume):
        with pytest.raises(UserError, match=r"config\.yaml was changed"):
            use(tmp_path / "one")


def test_a_config_that_was_changed_is_refused_whatever_the_run_is_used_for(tmp_path):
    run(TrainConfig(dataset="moons", **SETTINGS), run_dir=tmp_path)
    file = tmp_path / "config.yaml"
    stored = file.read_text()
    file.write_text(stored.replace("activation: relu", "activation: tanh"))
    for use in (load_run, evaluate, resume, partial(predict, inputs=np.zeros((1, 2)))):
        with pytest.raises(UserError, match=r"config\.yaml was changed"):
            use(tmp_path)
    file.write_text(stored.replace("data_dir: null", f"data_dir: {tmp_path}"))  # the data may have moved
    assert load_run(tmp_path).config.data_dir == evaluate(tmp_path).run_dir == str(tmp_path)
    assert resume(tmp_path).steps == 60


def test_a_run_is_not_resumed_with_other_settings_or_other_data(tmp_path):
    def stop(event):
        if isinstance(event, events.StepDone) and event.step == 5:
            raise KeyboardInterrupt

    run_dir = tmp_path / "run"
    x, y = np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3
    np.savez(tmp_path / "data.npz", x=x, y=y)
    config = TrainConfig(dataset=str(tmp_path / "data.npz"), hidden=5, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        run(config, run_dir=run_dir, listeners=[stop])
    np.savez(tmp_path / "data.npz", x=x + 1, y=y)
    with pytest.raises(UserError, match="the data are not those"):
        resume(run_dir)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    stored = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(stored.replace("lr: 0.001", "lr: 0.002"))
    with pytest.raises(UserError, match=r"config\.yaml was changed"):
        resume(run_dir)
    (run_dir / "config.yaml").write_text(stored)
    assert resume(run_dir).steps > 5


def test_a_run_resumed_on_another_machine_says_that_rounding_may_differ(tmp_path):
    run(TrainConfig(**SETTINGS), run_dir=tmp_path)
    heard = []
    resume(tmp_path, listeners=[heard.append])
    assert isinstance(heard[0], events.Started)
    stored = json.loads((tmp_path / "environment.json").read_text())
    stored["packages"]["numpy"] = "1.0"
    (tmp_path / "environment.json").write_text(json.dumps(stored))
    resume(tmp_path, listeners=[heard.append])
    [remark] = [event for event in heard if isinstance(event, events.Remark) and event.kind == "environment"]
    assert "packages differ" in remark.text


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, uninterrupted):
    def stop(event):
        if isinstance(event, events.Started):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(TrainConfig(**SETTINGS), run_dir=tmp_path / "run", listeners=[stop])
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    resume(tmp_path / "run")
    assert_same(uninterrupted(), tmp_path / "run")


def test_checkpoints_hold_no_pickle(uninterrupted):
    """The metadata is JSON and the rest is numbers: nothing that Python would execute."""
    from safetensors import safe_open

    path = uninterrupted() / "checkpoints" / "last.safetensors"
    with safe_open(path, framework="np") as file:
        [(key, record)] = file.metadata().items()
        assert key == "chainrule"
        facts = json.loads(json.loads(record)["facts"])
        assert {"model.1.weight", "optimizer.0.momentum_buffer"} <= set(file.keys())
    assert facts["step"] == 60
    assert facts["generators"]["3"]["bit_generator"] == "PCG64"
    assert b"pickle" not in path.read_bytes()
    assert os.stat(path).st_size < 100_000


def test_a_run_in_use_is_not_even_read(tmp_path):
    """What is read before the lock is held may be older than what the other process leaves."""
    run(TrainConfig(dataset="moons", **SETTINGS), run_dir=tmp_path)
    (tmp_path / "checkpoints" / "last.safetensors").write_bytes(b"half of it")
    with in_use(tmp_path), pytest.raises(UserError, match="in progress in another process"):
        resume(tmp_path)
    with pytest.raises(UserError, match="damaged"):
        resume(tmp_path)


def test_a_run_in_progress_is_not_resumed_beside_itself(tmp_path):
    refused = []

    def resume_meanwhile(event):
        if isinstance(event, events.StepDone) and event.step == 20:
            with pytest.raises(UserError, match="in progress") as error:
                resume(tmp_path)
            refused.append(str(error.value))

    result = run(TrainConfig(dataset="moons", **SETTINGS), run_dir=tmp_path, listeners=[resume_meanwhile])
    assert len(refused) == 1
    assert resume(tmp_path).test_loss == result.test_loss
