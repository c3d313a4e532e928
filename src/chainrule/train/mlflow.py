"""The metrics for MLflow's tracking, on request: a local store or a server, as MLflow's own variables say."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from chainrule.errors import UserError
from chainrule.files import write_atomically
from chainrule.train.events import Evaluated, Event, Finished, Interrupted, Started, StepDone

RUN_FILE = "mlflow.json"
PICTURES = ("learning_curve.png", "confusion_matrix.png")
_AT_ONCE = 1000  # metrics that MLflow takes in one call


class MLflow:
    """A listener that logs settings, every evaluation, the batches' losses and, at the end, figures and pictures.

    The experiment is the data set's, the run is named after its folder. Where a run is resumed, so is the one in
    MLflow, whose id stands in `mlflow.json`, and what is there already is not sent again. MLFLOW_TRACKING_URI and
    MLflow's other variables say where all goes. While the store cannot be reached in the middle of a run, the metrics
    wait for the next evaluation.

    Raises `UserError` if mlflow is not installed, or does not take what it is given at the beginning or the end.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError:
            raise UserError("logging to MLflow needs mlflow-skinny: pip install 'chainrule[mlflow]'") from None
        self._mlflow: Any = mlflow
        with self._in_one_line():
            self._client: Any = mlflow.tracking.MlflowClient()
        self._run: str | None = None
        self._there = {"lr": -1, "train_loss": -1}  # the last step of each that an earlier process sent
        self._waiting: list[Any] = []
        self._over = False

    def __enter__(self) -> "MLflow":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._run is not None and not self._over:
            with suppress(self._mlflow.exceptions.MlflowException):  # it would hide why the run ends
                self._end("FAILED")

    def __call__(self, event: Event) -> None:
        """Logs what an event tells."""
        with self._in_one_line():
            self._log(event)

    def _log(self, event: Event) -> None:
        match event:
            case Started():
                self._begin(event)
            case StepDone() if event.step > self._there["lr"]:
                self._add(event.step, batch_loss=event.loss, lr=event.lr)
            case Evaluated() if event.step > self._there["train_loss"]:
                if event.validation is not None:
                    self._add(event.step, val_loss=event.validation.loss, val_accuracy=event.validation.accuracy)
                self._add(event.step, train_accuracy=event.train.accuracy, train_loss=event.train.loss)
                with suppress(self._mlflow.exceptions.MlflowException):  # they wait for the next evaluation
                    self._send()
            case Interrupted():
                self._end("KILLED")
            case Finished():
                result = event.result
                self._add(result.weights_step, test_loss=result.test_loss, test_accuracy=result.test_accuracy)
                for name in (*PICTURES, "config.yaml", "result.json"):
                    path = Path(result.run_dir) / name
                    if path.exists():
                        self._client.log_artifact(self._run, str(path))
                self._end("FINISHED")

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            raise UserError(f"MLflow: {error}") from error

    def _begin(self, event: Started) -> None:
        file = event.run_dir / RUN_FILE
        if file.exists():
            try:
                self._run = json.loads(file.read_text(encoding="utf-8"))["run_id"]
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise UserError(f"{file} is not as the run wrote it: {error}") from error
            self._client.update_run(self._run, "RUNNING")
            for name in self._there:
                sent = self._client.get_metric_history(self._run, name)
                self._there[name] = max((metric.step for metric in sent), default=-1)
            return
        found = self._client.get_experiment_by_name(event.config.dataset)
        experiment = found.experiment_id if found else self._client.create_experiment(event.config.dataset)
        self._run = self._client.create_run(experiment, run_name=event.run_dir.name).info.run_id
        write_atomically(file, (json.dumps({"run_id": self._run}) + "\n").encode())
        settings = event.config.model_dump(mode="json") | {"parameters": event.parameters}
        params = [self._mlflow.entities.Param(name, str(value)) for name, value in settings.items()]
        self._client.log_batch(self._run, params=params)

    def _add(self, step: int, **values: float) -> None:
        now = int(1000 * time.time())
        self._waiting += [self._mlflow.entities.Metric(name, value, now, step) for name, value in values.items()]

    def _send(self) -> None:
        while self._waiting:
            self._client.log_batch(self._run, metrics=self._waiting[:_AT_ONCE])
            del self._waiting[:_AT_ONCE]

    def _end(self, status: str) -> None:
        self._send()
        self._client.set_terminated(self._run, status)
        self._over = True
