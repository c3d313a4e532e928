"""Logging to MLflow: what is sent, resuming, and that it is no dependency."""

import json
import sys
import types

import pytest

from chainrule.errors import UserError
from chainrule.train import TrainConfig, events, resume, run
from chainrule.train.mlflow import MLflow

CONFIG = TrainConfig(dataset="moons", hidden=4, max_steps=6, eval_freq=3, backend="numpy")


class Client:
    """An MLflow client that keeps what it is told."""

    def __init__(self):
        self.params, self.metrics, self.files, self.ends, self.calls = {}, [], [], [], 0
        self.outage = False

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        self.experiment = name
        return "1"

    def create_run(self, experiment, run_name):
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))

    def update_run(self, run, status):
        self.resumed = (run, status)

    def get_metric_history(self, run, name):
        return [types.SimpleNamespace(step=step) for key, _, step in self.metrics if key == name]

    def log_batch(self, run, metrics=(), params=()):
        if self.outage:
            raise ConnectionError("no server at http://nowhere")
        assert len(metrics) <= 1000
        self.calls += 1
        self.params |= {param.key: param.value for param in params}
        self.metrics += [(metric.key, metric.value, metric.step) for metric in metrics]

    def log_artifact(self, run, path):
        self.files.append(path.rsplit("/", 1)[-1])

    def set_terminated(self, run, status):
        if self.outage:
            raise ConnectionError("no server at http://nowhere")
        self.ends.append(status)


@pytest.fixture
def client(monkeypatch):
    made = Client()
    entities = types.SimpleNamespace(
        Metric=lambda key, value, timestamp, step: types.SimpleNamespace(key=key, value=value, step=step),
        Param=lambda key, value: types.SimpleNamespace(key=key, value=value),
    )
    module = types.ModuleType("mlflow")
    module.entities = entities
    module.tracking = types.SimpleNamespace(MlflowClient=lambda: made)
    module.exceptions = types.SimpleNamespace(MlflowException=ConnectionError)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return made


def test_everything_of_a_run_is_sent(client, tmp_path):
    with MLflow() as log:
        result = run(CONFIG, run_dir=tmp_path / "run", listeners=[log])
    assert client.experiment == "moons"
    assert client.params["lr"] == "0.001"
    assert client.params.keys() >= TrainConfig.model_fields.keys()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    sent = {(name, step): value for name, value, step in client.metrics}
    for row in rows:
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert sent[name, row["step"]] == row[name]
    assert [step for name, _, step in client.metrics if name == "batch_loss"] == [1, 2, 3, 4, 5, 6]
    assert sent["test_accuracy", result.weights_step] == result.test_accuracy
    assert set(client.files) == {"learning_curve.png", "confusion_matrix.png", "config.yaml", "result.json"}
    assert client.ends == ["FINISHED"]
    assert client.calls < 8  # not one call for a step


def test_a_resumed_run_goes_on_in_the_same_one(client, tmp_path):
    with MLflow() as log:
        run(CONFIG, run_dir=tmp_path / "run", listeners=[log])
    with MLflow() as log:
        resume(tmp_path / "run", listeners=[log])
    assert client.resumed == ("abc", "RUNNING")


def test_what_was_sent_before_a_crash_is_not_sent_again(client, tmp_path):
    def crash(event):
        if isinstance(event, events.Evaluated) and event.step == 6:  # the last checkpoint is of step 3
            raise SystemExit

    config = CONFIG.model_copy(update={"max_steps": 9})
    with pytest.raises(SystemExit), MLflow() as log:
        run(config, run_dir=tmp_path / "run", listeners=[log, crash])
    sent = {(name, step) for name, _, step in client.metrics}
    assert {("lr", 6), ("val_accuracy", 6)} <= sent
    with MLflow() as log:
        result = resume(tmp_path / "run", listeners=[log])
    for name, steps in {"batch_loss": range(1, 10), "lr": range(1, 10), "train_loss": (0, 3, 6, 9)}.items():
        assert [step for key, _, step in client.metrics if key == name] == list(steps)
    assert ("test_loss", result.test_loss, result.weights_step) in client.metrics


def test_an_outage_in_the_middle_costs_nothing(client, tmp_path):
    def fail(event):
        if isinstance(event, events.StepDone):
            client.outage = event.step in (2, 3)  # at the evaluation after step 3

    with MLflow() as log:
        run(CONFIG, run_dir=tmp_path / "run", listeners=[log, fail])
    for name, steps in {"batch_loss": range(1, 7), "train_loss": (0, 3, 6)}.items():
        assert [step for key, _, step in client.metrics if key == name] == list(steps)
    assert client.ends == ["FINISHED"]


def test_an_outage_at_the_end_is_told(client, tmp_path):
    def fail(event):
        client.outage = isinstance(event, events.Finished)

    with pytest.raises(UserError, match="MLflow: no server at http://nowhere"), MLflow() as log:
        run(CONFIG, run_dir=tmp_path / "run", listeners=[fail, log])
    assert (tmp_path / "run" / "result.json").exists()


def test_an_outage_does_not_hide_why_a_run_ends(client, tmp_path):
    def fail(event):
        if getattr(event, "step", 0) == 4:
            client.outage = True
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), MLflow() as log:
        run(CONFIG, run_dir=tmp_path / "run", listeners=[log, fail])


def test_many_steps_are_sent_in_pieces(client, tmp_path):
    def see(event):
        if isinstance(event, events.StepDone):
            assert client.calls == 2  # the settings; step 0

    config = TrainConfig(dataset="moons", hidden=2, max_steps=1200, eval_freq=1200, batch_size=4, eval_train=4)
    with MLflow() as log:
        run(config, run_dir=tmp_path / "run", listeners=[log, see])
    assert [step for name, _, step in client.metrics if name == "lr"] == list(range(1, 1201))
    assert client.calls == 2 + 3 + 1  # those; 2,404 numbers; the test part


def test_a_failure_is_told(client, tmp_path):
    def fail(event):
        if getattr(event, "step", 0) == 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), MLflow() as log:
        run(CONFIG, run_dir=tmp_path / "run", listeners=[log, fail])
    assert client.ends == ["FAILED"]


def test_what_mlflow_does_not_take_is_one_line(client, tmp_path):
    def refuse(*_, **__):
        raise ConnectionError("no server at http://nowhere")

    client.create_run = refuse
    with pytest.raises(UserError, match="MLflow: no server at http://nowhere"), MLflow() as log:
        run(CONFIG, run_dir=tmp_path / "run", listeners=[log])


def test_without_mlflow_the_next_step_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install 'chainrule\[mlflow\]'"):
        MLflow()


@pytest.mark.slow
def test_the_real_one_keeps_what_it_is_sent(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    with MLflow() as log:
        result = run(CONFIG, run_dir=tmp_path / "run", listeners=[log])
    client = mlflow.tracking.MlflowClient()
    kept = client.get_run(json.loads((tmp_path / "run/mlflow.json").read_text())["run_id"])
    assert kept.info.status == "FINISHED"
    assert kept.data.params["hidden"] == "[4]"
    assert kept.data.metrics["test_accuracy"] == result.test_accuracy
    with MLflow() as log:
        resume(tmp_path / "run", listeners=[log])
    for name, times in {"batch_loss": 6, "lr": 6, "train_loss": 3}.items():
        assert len(client.get_metric_history(kept.info.run_id, name)) == times
    assert "learning_curve.png" in {file.path for file in client.list_artifacts(kept.info.run_id)}
