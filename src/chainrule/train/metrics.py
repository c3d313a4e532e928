"""The numbers of a run as files: every evaluation, every batch's loss, the times.

| file | a line for each | columns |
|---|---|---|
| metrics.csv, metrics.jsonl | evaluation | step, epoch, lr, the losses in nats, the accuracies |
| steps.csv | step | step, loss of the batch before the update, lr |
| times.csv | evaluation | step, seconds of training so far |

Clock times stand in times.csv alone, so that a run that was interrupted and resumed leaves the same bytes in the
others as one that was not. Numbers are written in full: reading them back gives the same floats.
"""

import csv
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from chainrule.train.events import Evaluated, Event, StepDone
from chainrule.train.files import naming_the_file, write_atomically

_EVALUATION = ("step", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
_HEADERS = {"metrics.csv": _EVALUATION, "metrics.jsonl": None, "steps.csv": ("step", "loss", "lr"), "times.csv": ("step", "seconds")}


class Metrics:
    """A listener that writes the files above; `step` is where the run begins, and later lines are cut off.

    Raises `UserError` when a file cannot be written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with Metrics(folder, step=0) as metrics:
    ...     metrics(StepDone(step=1, epoch=1, loss=2.5, lr=0.1))
    >>> (folder / "steps.csv").read_text()
    'step,loss,lr\\n1,2.5,0.1\\n'
    """

    def __init__(self, run_dir: Path, *, step: int) -> None:
        self._run_dir = run_dir
        self._opened = ExitStack()
        self._files: dict[str, IO[str]] = {}
        for name, header in _HEADERS.items():
            _cut_back(run_dir / name, header, step)
            self._files[name] = self._opened.enter_context(open(run_dir / name, "a", encoding="utf-8", newline=""))
        times = read_csv(run_dir / "times.csv")
        self._began = time.perf_counter() - (times[-1]["seconds"] if times else 0.0)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *exception: object) -> None:
        with naming_the_file(self._run_dir):
            self._opened.close()

    @property
    def seconds(self) -> float:
        """Time spent on the run so far, interruptions left out."""
        return time.perf_counter() - self._began

    def __call__(self, event: Event) -> None:
        with naming_the_file(self._run_dir):
            if isinstance(event, StepDone):
                self._files["steps.csv"].write(f"{event.step},{event.loss!r},{event.lr!r}\n")
            elif isinstance(event, Evaluated):
                row = _row(event)
                self._files["metrics.jsonl"].write(json.dumps(row) + "\n")
                self._files["metrics.csv"].write(_csv_line(row.values()))
                self._files["times.csv"].write(_csv_line((event.step, round(self.seconds, 3))))

    def sync(self) -> None:
        """Puts every line so far safely on the disk: called before a checkpoint that counts on them."""
        with naming_the_file(self._run_dir):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
