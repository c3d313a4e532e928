"""What a run tells those who listen: plain frozen values, in the order in which things happen.

A listener is any callable that takes an event. It is called on the training thread, so it must be quick; what it
raises ends the run.

>>> heard = []
>>> listener: Listener = heard.append
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chainrule.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Measure:
    """Mean loss in nats and share of right answers over a whole part of the data, with the model in eval mode."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a person should know about the run, in plain words, with what to try."""

    kind: str  #: short name, such as "plateau" or "dead-units"
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. Losses are in nats, accuracies between 0 and 1; None where there is no validation part."""

    run_dir: str
    steps: int  #: steps taken
    epochs: float  #: passes over the training set
    seconds: float  #: time spent training and evaluating, interruptions left out
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    test_loss: float
    test_accuracy: float
    test_samples: int
    weights_step: int  #: the step after which the weights were taken that all figures above belong to
    chosen_by: Literal["validation accuracy", "training loss"]  #: what chose them among the evaluations
    stopped_early: bool
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class Downloading:
    """A file of the data set is on its way; `total` is None where the server does not say."""

    file: str
    done: int  #: bytes
    total: int | None  #: bytes


@dataclass(frozen=True, slots=True)
class Started:
    """The data and the model are ready; `step` is 0, or the step at which an interrupted run goes on."""

    run_dir: Path
    config: TrainConfig
    step: int
    total_steps: int
    steps_per_epoch: int
    train_samples: int
    validation_samples: int
    test_samples: int
    parameters: int
    trained_parameters: int  #: all but the frozen ones


@dataclass(frozen=True, slots=True)
class StepDone:
    """One update of the parameters; `loss` is the batch's, before the update."""

    step: int
    epoch: int  #: counted from 1
    loss: float
    lr: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The model after `step` steps, measured on the training part (or a sample of it) and the whole validation part."""

    step: int
    epoch: float  #: passes over the training set so far
    lr: float
    train: Measure
    validation: Measure | None
    best: bool  #: better than every evaluation before it


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is safely on the disk."""

    step: int
    path: Path
    kind: Literal["best", "last"]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C was pressed; `resume` goes on from this step as if nothing had happened."""

    step: int
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is complete and every file of its folder is written."""

    result: Result


Event = Downloading | Started | StepDone | Evaluated | CheckpointSaved | Remark | Interrupted | Finished
Listener = Callable[[Event], None]
