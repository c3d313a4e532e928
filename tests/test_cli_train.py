"""Train, evaluate, predict through the command, on the embedded digits: figures, files, streams, interruptions."""

import io
import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from chainrule import data
from chainrule import train as training
from chainrule.cli import main, progress
from chainrule.train import TrainConfig, events

COMMAND = [sys.executable, "-m", "chainrule"]
FIGURES = {"run_dir", "steps", "epochs", "seconds", "train_loss", "val_accuracy", "test_loss", "test_accuracy"}
SETTINGS = ["digits", "--hidden", "30", "--epochs", "3", "--batch-size", "50", "--lr", "0.01"]


@pytest.fixture
def call(capsys):
    """Runs the command: (exit code, standard output, standard error)."""

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One run for all tests: (its folder, standard output, standard error)."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = subprocess.run(
        [*COMMAND, "train", *SETTINGS, "--run-dir", folder, "--json"], capture_output=True, text=True, check=True
    )
    return folder, done.stdout, done.stderr


@pytest.fixture
def run_copy(trained, tmp_path):
    """A copy of the run, to be damaged."""
    return shutil.copytree(trained[0], tmp_path / "copy")


def last_line(out):
    return json.loads(out.splitlines()[-1])


# ------------------------------------------------------------------------------------------------------------ train


def test_train_json_is_the_only_line_on_standard_output(trained):
    folder, out, err = trained
    assert out.count("\n") == 1
    found = last_line(out)
    assert found.keys() >= FIGURES
    steps = 3 * math.ceil(1297 / 50)
    assert (found["run_dir"], found["steps"], found["epochs"]) == (str(folder), steps, 3.0)
    assert 0.9 < found["test_accuracy"] <= 1
    assert "training" in err
    assert "\x1b" not in err


def test_train_shows_every_evaluation_and_ends_with_what_to_do_next(call, tmp_path):
    code, out, err = call("train", *SETTINGS, "--run-dir", tmp_path / "run")
    assert code == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    rows = [line.split() for line in err.splitlines() if line.strip()[:1].isdigit()]
    assert [float(row[0]) for row in rows] == [0, 1, 2, 3]
    recorded = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row[2] for row in rows] == [f"{line['train_loss']:.4f}" for line in recorded]
    assert f"{100 * result['test_accuracy']:.2f} %" in out
    next_steps = [line.split() for line in out.splitlines() if line.startswith("  chainrule")]
    assert len(next_steps) == 3
    for program, *arguments in next_steps:
        assert program == "chainrule"
        assert call(*arguments)[0] == 0


def test_train_without_a_folder_makes_a_new_one_under_runs(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for count in (1, 2):
        code, out, _ = call("train", "moons", "--max-steps", "3", "--json")
        assert code == 0
        assert len(list(Path("runs").iterdir())) == count
        assert Path(last_line(out)["run_dir"]).parent == Path("runs")


def test_a_config_file_gives_the_same_run_as_its_options(trained, call, tmp_path):
    _, out, _ = call("train", *SETTINGS, "--print-config")
    (tmp_path / "config.yaml").write_text(out)
    code, out, _ = call("train", "-c", tmp_path / "config.yaml", "--run-dir", tmp_path / "again", "--json")
    assert code == 0
    first, second = last_line(trained[1]), last_line(out)
    assert {k: v for k, v in first.items() if k not in ("run_dir", "seconds")} == {
        k: v for k, v in second.items() if k not in ("run_dir", "seconds")
    }


def test_remarks_are_printed(call, tmp_path):
    stuck = ["moons", "--optimizer", "sgd", "--lr", "1e-12", "--max-steps", "40", "--eval-freq", "10"]
    stuck += ["--init", "normal", "--init-std", "1e-9"]
    code, out, _ = call("train", *stuck, "--run-dir", tmp_path / "run")
    assert code == 0
    assert "! Nothing was learned" in out


def test_a_run_that_diverges_is_exit_code_1_and_says_where(call, tmp_path):
    code, out, err = call(
        "train", "digits", "--optimizer", "sgd", "--lr", "1e30", "--run-dir", tmp_path / "run", "--json"
    )
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: training stopped")
    assert "step" in last


def test_an_earlier_run_is_not_written_over(trained, call):
    before = {path: path.read_bytes() for path in trained[0].rglob("*") if path.is_file()}
    code, out, err = call("train", *SETTINGS, "--run-dir", trained[0])
    assert (code, out) == (1, "")
    assert str(trained[0]) in err
    assert {path: path.read_bytes() for path in trained[0].rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_ctrl_c_saves_everything_and_resume_ends_as_if_it_had_not_been(tmp_path):
    def arguments(folder):
        return [*COMMAND, "train", "digits", "--epochs", "30", "--hidden", "200", "--run-dir", tmp_path / folder]

    process = subprocess.Popen(arguments("cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.split()[:1] == ["1.0"]:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    *_, next_step, last = filter(None, err.splitlines())
    assert last == "error: interrupted"
    assert next_step.split() == ["chainrule", "train", "--resume", str(tmp_path / "cut")]
    assert not (tmp_path / "cut/result.json").exists()

    resumed = subprocess.run([*COMMAND, *next_step.split()[1:], "--json"], capture_output=True, text=True, check=True)
    assert "going on after step" in resumed.stderr
    whole = subprocess.run([*arguments("whole"), "--json"], capture_output=True, text=True, check=True)
    last = "checkpoints/last.safetensors"
    assert (tmp_path / "cut" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()
    assert last_line(resumed.stdout)["test_loss"] == last_line(whole.stdout)["test_loss"]


# --------------------------------------------------------------------------------------------------------- evaluate


def test_evaluate_finds_what_training_reported(trained, call):
    folder, out, _ = trained
    code, evaluated, err = call("evaluate", folder, "--json")
    assert (code, err, evaluated.count("\n")) == (0, "", 1)
    found, reported = last_line(evaluated), last_line(out)
    assert found.keys() >= FIGURES
    for figure in ("run_dir", "train_loss", "val_accuracy", "test_loss", "test_accuracy"):
        assert found[figure] == reported[figure], figure
    assert sum(map(sum, found["confusion"])) == found["samples"] == 300


def test_evaluate_shows_each_class(trained, call):
    folder, out, _ = trained
    code, text, _ = call("evaluate", folder)
    assert code == 0
    assert f"accuracy {100 * last_line(out)['test_accuracy']:.2f} %" in text
    rows = {line.split()[0]: line.split(" %")[-1].strip() for line in text.splitlines() if line[:1].isdigit()}
    counts = [int(line.split()[1]) for line in text.splitlines() if line[:1].isdigit()]
    assert counts == np.bincount(data.load("digits").test.y).tolist()
    confusion = last_line(call("evaluate", folder, "--json")[1])["confusion"]
    assert sum(map(sum, confusion)) > sum(confusion[i][i] for i in range(10)), "no mistake to show"
    for label, row in enumerate(confusion):
        wrong = {f"{other} ({count})" for other, count in enumerate(row) if count and other != label}
        shown = set(filter(None, rows[str(label)].split(", ")))
        assert shown <= wrong
        assert len(shown) == min(3, len(wrong))


def test_evaluate_takes_a_part_and_a_checkpoint(trained, call):
    found = last_line(call("evaluate", trained[0], "--part", "validation", "--checkpoint", "last", "--json")[1])
    assert (found["part"], found["checkpoint"], found["samples"]) == ("validation", "last", 200)
    assert (found["steps"], found["test_accuracy"]) == (last_line(trained[1])["steps"], None)
    code, out, err = call("evaluate", trained[0], "--part", "tset")
    assert (code, out) == (2, "")
    assert "tset" in err


@pytest.mark.parametrize("command", ["evaluate", "predict", "train"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "config", "other"])
def test_a_damaged_run_folder_is_one_line(run_copy, call, command, damage):
    for checkpoint in (run_copy / "checkpoints").iterdir():
        content = bytearray(checkpoint.read_bytes())
        if damage == "cut":
            checkpoint.write_bytes(content[: len(content) // 2])
        elif damage == "flipped":
            content[-5] ^= 1
            checkpoint.write_bytes(content)
        elif damage == "other":
            checkpoint.write_bytes(b"no checkpoint at all")
        elif damage == "gone":
            checkpoint.unlink()
    if damage == "config":
        (run_copy / "config.yaml").write_text("hidden: [30\n")
    if damage == "gone" and command == "train":
        (run_copy / "config.yaml").unlink()
    arguments = {"evaluate": [run_copy], "predict": [run_copy, "--sample", "0"], "train": ["--resume", run_copy]}
    code, out, err = call(command, *arguments[command])
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert str(run_copy) in err


# ---------------------------------------------------------------------------------------------------------- predict


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The first test samples of digits as files."""
    folder = tmp_path_factory.mktemp("pictures")
    raw = data.load("digits", preprocess="none").test
    for i in range(3):
        Image.fromarray(raw.x[i, 0].astype(np.uint8)).save(folder / f"{i}.png")
    return [folder / f"{i}.png" for i in range(3)], raw


def test_predict_says_of_pictures_what_the_network_says(trained, pictures, call):
    files, raw = pictures
    code, out, err = call("predict", trained[0], *files, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = last_line(out)["predictions"]
    assert [prediction["input"] for prediction in found] == [str(file) for file in files]
    run = training.load_run(trained[0])
    logits = run.model(run.preprocess.apply(raw.x[:3].astype(np.uint8).astype(np.float32)))
    logits = np.asarray(getattr(logits, "value", logits), np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for prediction, row in zip(found, expected, strict=True):
        assert prediction["label"] == str(row.argmax())
        assert prediction["probability"] == pytest.approx(row.max(), rel=1e-5)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_predict_shows_class_probability_and_bar(trained, pictures, call):
    files, _ = pictures
    found = last_line(call("predict", trained[0], files[0], "--json")[1])["predictions"][0]
    code, out, _ = call("predict", trained[0], files[0])
    assert code == 0
    assert f"{100 * found['probability']:.2f} %" in out
    assert "█" in out


def test_predict_takes_samples_of_the_data_set(trained, pictures, call):
    _, raw = pictures
    code, out, _ = call("predict", trained[0], "--sample", "0", "--sample", "2")
    assert code == 0
    for sample in (0, 2):
        assert f"test sample {sample}" in out
        assert f"labelled {raw.y[sample]}" in out
    found = last_line(call("predict", trained[0], "--sample", "0", "--sample", "2", "--json")[1])["predictions"]
    expected = training.predict(trained[0], raw.x[[0, 2]])
    assert [each["probabilities"] for each in found] == [each.probabilities for each in expected]
    code, out, err = call("predict", trained[0], "--sample", "300")
    assert (code, out) == (2, "")
    assert "expected 0 to 299" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "image files"),
        (["a.png", "--sample", "0"], 2, "one of the two"),
        (["--sample", "-1"], 2, "--sample"),
        (["no/such.png"], 1, "no/such.png"),
        ([__file__], 1, __file__),
    ],
)
def test_predict_of_what_is_no_picture_is_one_line(trained, call, arguments, code, words):
    found, out, err = call("predict", trained[0], *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


# --------------------------------------------------------------------------------------------------------- progress


@pytest.fixture
def clock(monkeypatch):
    """Time goes on by 0.02 s whenever it is looked at."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(progress, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(ticks) / 50)}))


def view_of(happened, *, terminal=False, width=80):
    printed = io.StringIO()
    with progress.View(Console(file=printed, force_terminal=terminal, width=width, color_system=None)) as view:
        for event in happened:
            view(event)
    return printed.getvalue()


def started(step=0):
    config = TrainConfig(dataset="moons", hidden=8, max_steps=2000)
    return events.Started(Path("runs/a"), config, step, 2000, 20, 1000, 200, 300, 42, 42)


def test_a_download_is_a_bar_on_a_terminal_and_a_line_elsewhere():
    happened = [events.Downloading("a.gz", done, 2_000_000) for done in (0, 1_000_000, 2_000_000)]
    assert view_of(happened) == "downloading a.gz (2.0 MB)\n"
    assert "2.0/2.0 MB" in view_of(happened, terminal=True)
    assert view_of([events.Downloading("a.gz", 5, None)]) == "downloading a.gz\n"


def test_steps_are_silent_without_a_terminal_until_the_heartbeat(clock):
    steps = [events.StepDone(step, 1, 0.5, 0.1) for step in range(1, 1001)]
    lines = [line for line in view_of([started(), *steps]).splitlines() if line.startswith("step")]
    assert len(lines) == 2  # 1,000 steps of 0.02 s, a line every 10 s
    assert lines[0].startswith("step 5")
    assert "/2,000" in lines[0]
    assert "loss 0.5000" in lines[0]


def happened_with_many_evaluations():
    measure = events.Measure(0.25, 0.875)
    yield started()
    for step in range(1, 1001):
        yield events.StepDone(step, 1, 0.5, 0.1)
        if step % 2 == 0:
            yield events.Evaluated(step, 1.0, 0.1, measure, None, best=False)


def test_an_evaluation_takes_the_place_of_a_heartbeat(clock):
    lines = view_of(happened_with_many_evaluations()).splitlines()
    assert not [line for line in lines if line.startswith("step")]
    assert len([line for line in lines if line.strip().startswith("1.0")]) == 500


def test_the_bar_moves_however_often_there_are_evaluations(clock):
    assert "loss 0.5000" in view_of(happened_with_many_evaluations(), terminal=True)


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_fits_the_terminal(monkeypatch, width):
    monkeypatch.setattr(progress, "REFRESH", 0)
    measure = events.Measure(0.25, 0.875)
    happened = [
        started(),
        events.StepDone(1999, 1, 0.5, 0.1),
        events.Evaluated(1999, 1.0, 0.1, measure, measure, best=True),
        events.StepDone(2000, 1, 0.5, 0.1),
    ]
    shown = view_of(happened, terminal=True, width=width)
    bars = [line for line in shown.replace("\r", "\n").splitlines() if "step 2000/2000" in line]
    assert bars
    assert "loss 0.5000" in bars[-1]
    assert "val 87.5 %" in bars[-1]


def test_a_resumed_run_says_where_it_goes_on():
    assert "going on after step 70" in view_of([started(step=70)])
