"""The numbers of a run as files: every evaluation, every batch's loss, the times.

| file | a line for each | columns |
|---|---|---|
| metrics.csv, metrics.jsonl | evaluation | step, epoch, lr, the losses in nats, the accuracies |
| steps.csv | step | step, loss of the batch before the update, lr |
| times.csv | evaluation | step, seconds of the run so far |

Clock times stand in times.csv alone, so that a run that was interrupted and resumed leaves the same bytes in the
others as one that was not. Numbers are written in full: reading them back gives the same floats.
"""

import csv
import json
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from chainrule.errors import UserError
from chainrule.files import naming_the_file, write_atomically
from chainrule.train.events import Evaluated, Event, StepDone

HEADERS = {
    "metrics.csv": "step,epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n",
    "metrics.jsonl": "",
    "steps.csv": "step,loss,lr\n",
    "times.csv": "step,seconds\n",
}


class Metrics:
    """A listener that writes the files above, after the lines up to `keep`, the step at which a run is gone on with.

    What they hold of later steps is cut off, for it will be written again; None, a new run, keeps nothing.

    Raises `UserError` when a file cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with Metrics(folder, keep=None) as metrics:
    ...     metrics(StepDone(step=1, epoch=1, loss=2.5, lr=0.1))
    >>> read_csv(folder / "steps.csv")
    [{'step': 1.0, 'loss': 2.5, 'lr': 0.1}]
    """

    def __init__(self, run_dir: Path, *, keep: int | None) -> None:
        self._run_dir = run_dir
        self._opened = ExitStack()
        self._files: dict[str, IO[str]] = {}
        for name, header in HEADERS.items():
            _cut_back(run_dir / name, header, -1 if keep is None else keep)
        times = read_csv(run_dir / "times.csv")
        for name in HEADERS:
            with naming_the_file(run_dir / name):
                file = open(run_dir / name, "a", encoding="utf-8", newline="")  # noqa: SIM115
            self._files[name] = self._opened.enter_context(file)
        self._began = time.perf_counter() - ((times[-1]["seconds"] or 0.0) if times else 0.0)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *exception: object) -> None:
        with naming_the_file(self._run_dir):
            self._opened.close()

    @property
    def seconds(self) -> float:
        """Time the run has taken so far, interruptions left out."""
        return time.perf_counter() - self._began

    def __call__(self, event: Event) -> None:
        """Adds the lines of a step or an evaluation; other events have none."""
        with naming_the_file(self._run_dir):
            if isinstance(event, StepDone):
                self._files["steps.csv"].write(_csv_line((event.step, event.loss, event.lr)))
            elif isinstance(event, Evaluated):
                row = _row(event)
                self._files["metrics.csv"].write(_csv_line(row.values()))
                self._files["metrics.jsonl"].write(json.dumps(row) + "\n")
                self._files["times.csv"].write(_csv_line((event.step, round(self.seconds, 3))))

    def sync(self) -> None:
        """Puts every line so far safely on the disk; called before a checkpoint that counts on them."""
        with naming_the_file(self._run_dir):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())


def read_csv(path: Path) -> list[dict[str, float | None]]:
    """The lines of one of the files as dictionaries of numbers; an empty cell is None.

    Raises `UserError` if the file is missing or holds something else.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        return [{name: float(cell) if cell else None for name, cell in line.items()} for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not as the run wrote it: {error}") from error


def _row(event: Evaluated) -> dict[str, float | None]:
    return {
        "step": event.step,
        "epoch": event.epoch,
        "lr": event.lr,
        "train_loss": event.train.loss,
        "train_accuracy": event.train.accuracy,
        "val_loss": event.validation.loss if event.validation else None,
        "val_accuracy": event.validation.accuracy if event.validation else None,
    }


def _csv_line(numbers: Iterable[float | None]) -> str:
    return ",".join("" if number is None else repr(number) for number in numbers) + "\n"


def _cut_back(path: Path, header: str, step: int) -> None:
    """Leaves the header and the lines up to `step`; later ones go, and so does a line torn by a crash.

    Raises `UserError` if the file holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines[header.count("\n") :] if line.endswith("\n") and _step_of(line) <= step]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not as the run wrote it: {error}") from error
    write_atomically(path, (header + "".join(kept)).encode())


def _step_of(line: str) -> int:
    return json.loads(line)["step"] if line.startswith("{") else int(line.split(",", 1)[0])
