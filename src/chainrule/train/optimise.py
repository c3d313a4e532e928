"""The optimizer and the course of the learning rate that a config describes."""

from collections.abc import Iterable, Mapping

import numpy as np

from chainrule import optim
from chainrule.errors import UsageError
from chainrule.train.config import TrainConfig


def make_optimizer(config: TrainConfig, params: Iterable[optim.Trainable]) -> optim.Optimizer:
    """The config's optimizer over `params`.

    >>> from types import SimpleNamespace
    >>> make_optimizer(TrainConfig(optimizer="adamw"), [SimpleNamespace(value=np.ones(2), grad=None)]).lr
    0.001
    """
    lr, decay = config.lr, config.weight_decay
    match config.optimizer:
        case "sgd":
            return optim.SGD(params, lr, config.momentum, weight_decay=decay, nesterov=config.nesterov)
        case "adam":
            return optim.Adam(params, lr, weight_decay=decay)
        case "adamw":
            return optim.AdamW(params, lr, weight_decay=decay)
        case "rmsprop":
            return optim.RMSprop(params, lr, weight_decay=decay, momentum=config.momentum)
        case "adagrad":
            return optim.Adagrad(params, lr, weight_decay=decay)


class LearningRate:
    """The course of the learning rate over a run of `total_steps`: a linear warm-up, then the config's schedule.

    Step and cosine count the steps after the warm-up, plateau the evaluations after it.

    Raises `UsageError` if the warm-up is longer than the run.

    >>> from types import SimpleNamespace
    >>> config = TrainConfig(optimizer="sgd", lr=1.0, schedule="cosine", warmup_steps=2)
    >>> optimizer = make_optimizer(config, [SimpleNamespace(value=np.ones(2), grad=None)])
    >>> rate = LearningRate(config, optimizer, total_steps=6)
    >>> rates = []
    >>> for _ in range(6):
    ...     rates.append(round(optimizer.lr, 3))
    ...     rate.after_step()
    >>> rates
    [0.5, 0.75, 1.0, 0.854, 0.5, 0.146]
    """

    def __init__(self, config: TrainConfig, optimizer: optim.Optimizer, total_steps: int) -> None:
        warmup = config.warmup_steps
        if warmup >= total_steps:
            raise UsageError(f"warmup_steps is {warmup}, expected less than the {total_steps} steps of the run")
        stages: list[optim.Schedule] = []
        if warmup:
            stages.append(optim.LinearLR(optimizer, 1 / warmup, total_iters=warmup))
        if config.schedule == "step":
            stages.append(optim.StepLR(optimizer, config.step_size or -(-total_steps // 3), config.gamma))
        elif config.schedule == "cosine":
            stages.append(optim.CosineAnnealingLR(optimizer, total_steps - warmup))
        self._by_steps = optim.SequentialLR(optimizer, stages, [warmup] if len(stages) == 2 else []) if stages else None
        self._plateau = (
            optim.ReduceLROnPlateau(optimizer, factor=config.gamma, patience=config.plateau_patience)
            if config.schedule == "plateau"
            else None
        )
        self._warmup = warmup

    def after_step(self) -> None:
        """Sets the learning rate of the next step."""
        if self._by_steps is not None:
            self._by_steps.step()

    def after_evaluation(self, step: int, loss: float) -> None:
        """Tells the plateau schedule the loss that an evaluation after `step` steps found."""
        if self._plateau is not None and step > self._warmup:
            self._plateau.step(loss)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The state of the schedules, as arrays by flat names."""
        return {
            f"{name}.{key}": array
            for name, schedule in self._schedules().items()
            for key, array in schedule.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from a `state_dict`, the optimizer's learning rate included."""
        for name, schedule in self._schedules().items():
            own = {key.removeprefix(f"{name}."): array for key, array in state.items() if key.startswith(f"{name}.")}
            schedule.load_state_dict(own)

    def _schedules(self) -> dict[str, optim.SequentialLR | optim.ReduceLROnPlateau]:
        both = {"by_steps": self._by_steps, "plateau": self._plateau}
        return {name: schedule for name, schedule in both.items() if schedule is not None}
