"""The training loop: steps, evaluations, checkpoints.

The state of a run is everything that decides its next step: the weights, the optimizer, the schedule, the place in the
epoch, every generator, and the best evaluation so far. `Training.checkpoint` holds all of it, `Training.restore` takes
it back, and nothing else is kept between two steps: that is why a resumed run goes on bit for bit.

Where several processes share a run (`parallel`), all hold the same state and take the same decisions. Each computes its
share of every batch and of every evaluation; rank 0 alone writes, and has listeners.
"""

import dataclasses
import math
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np

import chainrule
from chainrule import optim
from chainrule.data import Augment, Batches, Dataset, Samples
from chainrule.engine import using
from chainrule.errors import UsageError, UserError
from chainrule.nn import CrossEntropyLoss, Module
from chainrule.train import checkpoint, folder, parallel
from chainrule.train.checkpoint import Checkpoint
from chainrule.train.config import TrainConfig
from chainrule.train.engines import make_engine
from chainrule.train.evaluation import measure_together
from chainrule.train.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Finished,
    Interrupted,
    Listener,
    Measure,
    Result,
    Started,
    StepDone,
)
from chainrule.train.finish import finish
from chainrule.train.interrupt import first_ctrl_c
from chainrule.train.metrics import Metrics
from chainrule.train.nonfinite import all_finite, blame
from chainrule.train.optimise import LearningRate, make_optimizer
from chainrule.train.tensorboard import TensorBoard, require_tensorboardx


class Training:
    """A run in progress: the model, what trains it, how far it is, and the company it shares the work with."""

    def __init__(
        self, model: Module, data: Dataset, config: TrainConfig, company: parallel.Company | None = None
    ) -> None:
        self.model, self.data, self.config, self.company = model, data, config, company or parallel.Alone()
        if config.batch_size < self.company.size:
            raise UsageError(
                f"batch_size is {config.batch_size}, expected at least {self.company.size}, the number of processes: "
                "it counts the samples of a step in all of them together"
            )
        self.batches = Batches(
            data.train,
            config.batch_size,
            rng=generator(config.seed, "batches"),
            wrap=config.sampler == "wrap",
            rank=self.company.rank,
            ranks=self.company.size,
        )
        self.steps_per_epoch = len(self.batches)
        self.total_steps = config.max_steps or (config.epochs or 0) * self.steps_per_epoch
        self.eval_freq = config.eval_freq or self.steps_per_epoch
        self.parameters = [p for p in model.parameters() if p.requires_grad]  # not the frozen ones
        self.optimizer = make_optimizer(config, self.parameters)
        self.learning_rate = LearningRate(config, self.optimizer, self.total_steps)
        found = ((name, getattr(module, "rng", None)) for name, module in model.named_modules())
        self.generators = {name: rng for name, rng in found if isinstance(rng, np.random.Generator)}
        self.exchange = None
        if isinstance(self.company, parallel.Group):
            self.exchange = parallel.Exchange(self.company, self.parameters, parallel.statistics(model))
            parallel.share_draws(model, self.batches)
        self.engine = make_engine(config.engine, model, CrossEntropyLoss(), self.optimizer)
        self.augment = None
        if config.augment:
            rng = self.generators["augment"] = generator(config.seed, "augment")
            if self.exchange is not None:
                rng = parallel.SharedGenerator(rng.bit_generator, self.batches)
            self.augment = Augment(config.augment, crop_padding=config.crop_padding, rng=rng)
            self.augment.require_images(data.input_shape)
        self.measured = sampled(data.train, config.eval_train, generator(config.seed, "measured"))
        self.brightness = _brightness(data)
        self.step = 0
        self.best: dict[str, Any] | None = None  # step and score of the best evaluation; the lowest score is best
        self.evaluations_since_best = 0
        self.evaluation: dict[str, Any] | None = None  # the latest one
        self.saved_step: int | None = None
        self.stop_agreed = False  # of several processes: whether one was asked to stop
        if config.tensorboard:
            require_tensorboardx()

    def agree(self) -> None:
        """Sees to it that all processes begin alike. Raises `UsageError` if they were given different things."""
        settings = self.config.model_dump(mode="json", exclude={"data_dir", "pretrained"})
        self.company.require_same({"version": chainrule.__version__, "data": self.data.fingerprint} | settings)
        self.company.broadcast(parallel.arrays(self.model))
        self._draw_from(self.company.from_first(self._draws))

    def run(self, run_dir: Path, listeners: Sequence[Listener]) -> Result:
        """Trains from here to the end, writing to `run_dir`, which the first process holds (`folder.in_use`)."""
        self.run_dir = run_dir
        fresh = self.evaluation is None
        self.listeners: list[Listener] = []
        with ExitStack() as opened:
            if self.company.first:
                self._open(opened, listeners, fresh)
            opened.enter_context(using(self.config.backend))
            # The loss is looked at after every step: NumPy need not warn as well.
            opened.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))
            opened.callback(setattr, self.batches, "share", (0, 0, 0))  # what draws for it draws for itself again
            self.stop = threading.Event()  # once set, the step in progress is finished and saved
            opened.enter_context(first_ctrl_c(self.stop.set))
            started = self._started()
            before: list[Event] = [*parallel.remarks(self.model, self.company), started]
            for event in before:
                self._tell(event)
            try:
                return self._to_the_end(started, fresh)
            except parallel.BrokenError as error:
                kept = "" if self.saved_step is None else f" in step {self.step + 1}. {self._how_to_go_on()}"
                raise parallel.lost(self.company, error, kept) from error

    def _open(self, opened: ExitStack, listeners: Sequence[Listener], fresh: bool) -> None:
        self.metrics = opened.enter_context(Metrics(self.run_dir, keep=None if fresh else self.step))
        self.listeners += [self.metrics, *listeners]
        if self.config.tensorboard:
            self.listeners.append(
                opened.enter_context(TensorBoard(self.run_dir, first_step=0 if fresh else self.step + 1))
            )

    def _to_the_end(self, started: Started, fresh: bool) -> Result:
        if fresh:
            self._evaluate()
            self._save("last")
        self._train()
        result: Result = self.company.from_first(
            lambda: finish(self.model, self.data, self.measured, started, steps=self.step, seconds=self.metrics.seconds)
        )
        self.company.broadcast(parallel.arrays(self.model))  # the best weights
        self.model.eval()
        events: list[Event] = [*result.remarks, Finished(result)]
        for event in events:
            self._tell(event)
        return result

    def _train(self) -> None:
        self.model.train()
        while self.step < self.total_steps and not self._out_of_patience():
            if self._must_stop():
                self._interrupt()
            self._step()
            evaluates = self.step % self.eval_freq == 0 or self.step == self.total_steps
            if evaluates:
                self._evaluate()
            every = self.config.checkpoint_every
            saves = evaluates if every is None else self.step % every == 0
            if saves:
                self._save("last")
        if self.saved_step != self.step:
            self._save("last")
        if self._must_stop():
            self._interrupt()

    def _must_stop(self) -> bool:
        """Whether Ctrl-C was pressed; of several processes all see it after the same step."""
        return self.stop.is_set() if self.exchange is None else self.stop_agreed

    def _step(self) -> None:
        loss = self._gradients() if self.exchange is None else self._gradients_together(self.exchange)
        if self.config.clip_norm is not None:
            optim.clip_grad_norm_(self.parameters, self.config.clip_norm)
        if self.config.clip_value is not None:
            optim.clip_grad_value_(self.parameters, self.config.clip_value)
        lr = self.optimizer.lr
        self.engine.step()
        self.learning_rate.after_step()
        self.step += 1
        self._tell(StepDone(self.step, 1 + (self.step - 1) // self.steps_per_epoch, loss, lr))

    def _gradients(self) -> float:
        """Computes the next batch's gradients and returns its loss."""
        x, y = self.next_batch()
        loss = self._forward(x, y)
        if not math.isfinite(loss):  # before zero_grad: the gradients of the step before may be the cause
            raise self._not_finite(x, self.step + 1)
        self.optimizer.zero_grad()
        self.engine.backward()
        return loss

    def _gradients_together(self, exchange: parallel.Exchange) -> float:
        """The same where each process has a share of the batch: the whole batch's gradients, in every process."""
        before = self._before_a_step()
        try:
            x, y = self.next_batch()
            weight = len(x) / self.batches.share[-1]
            loss = self._forward(x, y) if len(x) else 0.0
            asked = self.stop.is_set() or self.company.ending.is_set()
            sums = exchange.begin(weight * loss, asked)
            if math.isfinite(loss):  # else the gradients of the step before stay, as above
                self.optimizer.zero_grad()
                if len(x):
                    self.engine.backward()
            batch_loss, self.stop_agreed = sums()
            if not math.isfinite(batch_loss):
                raise self._not_finite(x, self.step + 1, seen=not math.isfinite(loss))
            exchange.gradients(weight)
            if self.batches.share[-1] < self.company.size:
                self._follow_the_first()
            return batch_loss
        except parallel.BrokenError:
            self._undo(before)  # the weights are those of the step before, for nothing of this one was applied
            if self.company.first and self.saved_step != self.step:
                self._save("last")
            raise

    def _before_a_step(self) -> tuple[dict[str, Any], dict[str, Any], list[np.ndarray]]:
        """What the forward pass of a step changes: the place in the data, the generators, running statistics."""
        return self.batches.state_dict(), self._draws(), [a.copy() for a in parallel.unlearned(self.model)]

    def _undo(self, before: tuple[dict[str, Any], dict[str, Any], list[np.ndarray]]) -> None:
        place, draws, statistics = before
        self.batches.load_state_dict(place)
        self._draw_from(draws)
        for array, value in zip(parallel.unlearned(self.model), statistics, strict=True):
            array[...] = value

    def _follow_the_first(self) -> None:
        """A process without a sample of the batch has drawn and counted nothing: it takes the state of rank 0."""
        self._draw_from(self.company.from_first(self._draws))
        self.company.broadcast(parallel.unlearned(self.model))

    def _draws(self) -> dict[str, Any]:
        return {name: rng.bit_generator.state for name, rng in self.generators.items()}

    def _draw_from(self, states: dict[str, Any]) -> None:
        for name, rng in self.generators.items():
            rng.bit_generator.state = states[name]

    def _forward(self, x: np.ndarray, y: np.ndarray) -> float:
        try:
            return self.engine.forward(x, y)
        except ValueError as error:
            if len(x) > 1:
                raise
            whose = "a batch" if self.exchange is None else "a process with a share"
            raise UsageError(
                f"step {self.step + 1} has {whose} of one example, and the network cannot be trained on it ({error}): "
                "choose another --batch-size, or --sampler wrap, which leaves out the last, smaller batch"
            ) from error

    def next_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The next step's inputs, augmented if the config says so, and labels."""
        x, y = self.batches.next()
        if self.augment is not None:
            x = self.augment(x)
        return x.astype(self.config.dtype, copy=False), y

    def _evaluate(self) -> None:
        train = self._measure(self.measured)
        validation = None if self.data.validation is None else self._measure(self.data.validation)
        score = [train.loss] if validation is None else [-validation.accuracy, validation.loss]
        is_best = self.best is None or score < self.best["score"]
        event = Evaluated(
            self.step, self.step / self.steps_per_epoch, self.optimizer.lr, train, validation, best=is_best
        )
        self.evaluation = dataclasses.asdict(event)
        self.evaluations_since_best = 0 if is_best else self.evaluations_since_best + 1
        self.learning_rate.after_evaluation(self.step, (validation or train).loss)
        self._tell(event)
        if is_best:
            self.best = {"step": self.step, "score": score}
            self._save("best")

    def _measure(self, samples: Samples) -> Measure:
        found = measure_together(self.model, samples, self.company, dtype=self.config.dtype)
        if not math.isfinite(found.loss):
            raise self._not_finite(samples.x[:100].astype(self.config.dtype, copy=False), self.step + 1)
        return found

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.evaluations_since_best >= self.config.patience

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)

    def _started(self) -> Started:
        data = self.data
        return Started(
            run_dir=self.run_dir,
            config=self.config,
            step=self.step,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            train_samples=len(data.train),
            validation_samples=0 if data.validation is None else len(data.validation),
            test_samples=len(data.test),
            parameters=sum(parameter.size for parameter in self.model.parameters()),
            trained_parameters=sum(parameter.size for parameter in self.parameters),
        )

    # how it stops before the end

    def _interrupt(self) -> None:
        path = self._save("last")
        self._tell(Interrupted(self.step, path))
        raise KeyboardInterrupt

    def _not_finite(self, x: np.ndarray, step: int, *, seen: bool = True) -> UserError:
        """The error that names where; `seen` says whether this process has what is not finite before its eyes."""
        where = self.company.any(blame(self.model, x, step=step) if seen else None)
        kept = "There is no checkpoint yet"
        if self.saved_step is not None:
            kept = f"The last good checkpoint is from step {self.saved_step}, in {self.run_dir}"
        return UserError(
            f"training stopped: {where} is NaN or infinite. {kept}. "
            f"Try a learning rate below {self.config.lr:g}, --clip-norm 1, or scaled inputs"
        )

    def _how_to_go_on(self) -> str:
        which = f"The checkpoint of step {self.saved_step}" if self.company.first else "The last checkpoint"
        return f"{which} is in {self.run_dir}: go on with {parallel.command()} train --resume {self.run_dir}"

    # what a checkpoint holds

    def _save(self, kind: Literal["best", "last"]) -> Path:
        if not all_finite(self.model):
            raise self._not_finite(self.data.train.x[:1].astype(self.config.dtype, copy=False), self.step + 1)
        path = folder.checkpoint_path(self.run_dir, kind)
        if self.company.first:
            self.metrics.sync()
            checkpoint.save(path, self.checkpoint())
        if kind == "last":
            self.saved_step = self.step
        self._tell(CheckpointSaved(self.step, path, kind))
        return path

    def checkpoint(self) -> Checkpoint:
        """All that decides the next step, and what is needed to use the model without the data."""
        facts = {
            "config": self.config.model_dump(mode="json"),
            "step": self.step,
            "epoch": self.step / self.steps_per_epoch,
            "best": self.best,
            "evaluations_since_best": self.evaluations_since_best,
            "evaluation": self.evaluation,
            "batches": self.batches.state_dict(),
            "generators": self._draws(),
            "data": {
                "name": self.data.name,
                "classes": list(self.data.classes),
                "input_shape": list(self.data.input_shape),
                "preprocess": self.data.preprocess.to_dict(),
                "crc32": self.data.fingerprint,
                "brightness": self.brightness,
            },
        }
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate.state_dict(),
            "preprocess": self.data.preprocess.arrays(),
        }
        arrays = {f"{part}.{name}": array for part, found in parts.items() for name, array in found.items()}
        return Checkpoint(facts, arrays)

    def restore(self, saved: Checkpoint, path: Path) -> None:
        """Takes back the state of `checkpoint`, read from `path`. Raises `UserError` if it belongs to another run."""
        facts = saved.facts
        if not are_of(facts, self.data):
            raise UserError(
                f"the data are not those that {path} was trained on: going on would not be the same run. "
                "Give those data, or begin a new run"
            )
        if facts["generators"].keys() != self.generators.keys():
            raise UserError(f"{path} belongs to a network with other random layers than this one")
        try:
            self.model.load_state_dict(saved.arrays_under("model"))
            self.optimizer.load_state_dict(saved.arrays_under("optimizer"))
            self.learning_rate.load_state_dict(saved.arrays_under("learning_rate"))
        except UserError as error:
            raise UserError(f"{path} belongs to another run: {error}") from error
        self.batches.load_state_dict(facts["batches"])
        self._draw_from(facts["generators"])
        self.step = self.saved_step = facts["step"]
        self.best, self.evaluation = facts["best"], facts["evaluation"]
        self.evaluations_since_best = facts["evaluations_since_best"]


def _brightness(data: Dataset) -> dict[str, float]:
    """Mean and standard deviation of the training inputs' means: `predict` warns of an image far outside."""
    x = data.train.x
    means = np.array([x[i].mean(dtype=np.float64) for i in range(0, len(x), max(1, len(x) // 1000))])
    return {"mean": float(means.mean()), "std": float(means.std())}


def are_of(facts: dict[str, Any], data: Dataset) -> bool:
    """Whether a checkpoint's facts are of these data. A checkpoint without a checksum of its data is taken to be so."""
    return bool(facts["data"].get("crc32", data.fingerprint) == data.fingerprint)


def sampled(samples: Samples, size: int | None, rng: np.random.Generator) -> Samples:
    """`size` of the samples, drawn without replacement and left in their order; all of them if there are no more.

    >>> sampled(Samples(np.eye(4), np.arange(4)), 2, np.random.default_rng(0))
    Samples(x=float64 (2, 4), y=int64 (2,))
    """
    if size is None or size >= len(samples):
        return samples
    chosen = np.sort(rng.choice(len(samples), size, replace=False))
    return samples.subset(chosen)


PURPOSES = ("model", "batches", "augment", "measured", "settings")


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Independent streams of one seed, one for each of `PURPOSES`, so that another network sees the same batches.

    >>> bool(generator(0, "model").random() == generator(0, "batches").random())
    False
    """
    return np.random.default_rng([seed, PURPOSES.index(purpose)])
