"""The training loop: steps, evaluations, checkpoints.

The state of a run is everything that decides its next step: the weights, the optimizer, the schedule, the place in the
epoch, every generator, and the best evaluation so far. `Training.checkpoint` holds all of it, `Training.restore` takes
it back, and nothing else is kept between two steps: that is why a resumed run goes on bit for bit.
"""

import dataclasses
import math
import signal
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule import optim
from chainrule.data import Augment, Batches, Dataset, ResizedImages, Samples
from chainrule.engine import using
from chainrule.errors import UsageError, UserError
from chainrule.nn import CrossEntropyLoss, Module
from chainrule.train import checkpoint, folder
from chainrule.train.checkpoint import Checkpoint
from chainrule.train.config import TrainConfig
from chainrule.train.engines import make_engine
from chainrule.train.evaluation import logits_of, measure
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
from chainrule.train.metrics import Metrics
from chainrule.train.nonfinite import all_finite, blame
from chainrule.train.optimise import LearningRate, make_optimizer
from chainrule.train.tensorboard import TensorBoard, require_tensorboardx


class Training:
    """A run in progress: the model, what trains it, and how far it is."""

    def __init__(self, model: Module, data: Dataset, config: TrainConfig) -> None:
        self.model, self.data, self.config = model, data, config
        self.batches = Batches(
            data.train, config.batch_size, rng=generator(config.seed, "batches"), wrap=config.sampler == "wrap"
        )
        self.steps_per_epoch = len(self.batches)
        self.total_steps = config.max_steps or (config.epochs or 0) * self.steps_per_epoch
        self.eval_freq = config.eval_freq or self.steps_per_epoch
        self.parameters = [p for p in model.parameters() if p.requires_grad]  # not the frozen ones
        self.optimizer = make_optimizer(config, self.parameters)
        self.learning_rate = LearningRate(config, self.optimizer, self.total_steps)
        self.engine = make_engine(config.engine, model, CrossEntropyLoss(), self.optimizer)
        found = ((name, getattr(module, "rng", None)) for name, module in model.named_modules())
        self.generators = {name: rng for name, rng in found if isinstance(rng, np.random.Generator)}
        self.augment = None
        if config.augment:
            self.generators["augment"] = generator(config.seed, "augment")
            self.augment = Augment(config.augment, crop_padding=config.crop_padding, rng=self.generators["augment"])
            self.augment.require_images(data.input_shape)
        self.measured = sampled(data.train, config.eval_train, generator(config.seed, "measured"))
        self.fingerprint, self.brightness = _fingerprint(data), _brightness(data)
        self.step = 0
        self.best: dict[str, Any] | None = None  # step and score of the best evaluation; the lowest score is best
        self.evaluations_since_best = 0
        self.evaluation: dict[str, Any] | None = None  # the latest one
        self.saved_step: int | None = None
        if config.tensorboard:
            require_tensorboardx()

    def run(self, run_dir: Path, listeners: Sequence[Listener]) -> Result:
        """Trains from here to the end, writing to `run_dir`."""
        self.run_dir = run_dir
        with ExitStack() as opened:
            opened.enter_context(folder.in_use(run_dir))
            opened.enter_context(using(self.config.backend))
            # The loss is looked at after every step: NumPy need not warn as well.
            opened.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))
            fresh = self.evaluation is None
            self.metrics = opened.enter_context(Metrics(run_dir, keep=None if fresh else self.step))
            self.listeners: list[Listener] = [self.metrics, *listeners]
            if self.config.tensorboard:
                self.listeners.append(opened.enter_context(TensorBoard(run_dir, step=self.step)))
            stop = opened.enter_context(_stop_asked_by_ctrl_c())
            started = self._started()
            self._tell(started)
            if fresh:
                self._evaluate()
                self._save("last")
            self._train(stop)
            result = finish(
                self.model, self.data, self.measured, started, steps=self.step, seconds=self.metrics.seconds
            )
            events: list[Event] = [*result.remarks, Finished(result)]
            for event in events:
                self._tell(event)
            return result

    def _train(self, stop: threading.Event) -> None:
        self.model.train()
        while self.step < self.total_steps and not self._out_of_patience():
            if stop.is_set():
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
        if stop.is_set():
            self._interrupt()

    def _step(self) -> None:
        x, y = self.next_batch()
        try:
            loss = self.engine.forward(x, y)
        except ValueError as error:
            if len(x) > 1:
                raise
            raise UsageError(
                f"step {self.step + 1} has a batch of one example, and the network cannot be trained on it ({error}): "
                "choose another --batch-size, or --sampler wrap, which leaves out the last, smaller batch"
            ) from error
        if not math.isfinite(loss):  # before zero_grad: the gradients of the step before may be the cause
            raise self._not_finite(x, self.step + 1)
        self.optimizer.zero_grad()
        self.engine.backward()
        if self.config.clip_norm is not None:
            optim.clip_grad_norm_(self.parameters, self.config.clip_norm)
        if self.config.clip_value is not None:
            optim.clip_grad_value_(self.parameters, self.config.clip_value)
        lr = self.optimizer.lr
        self.engine.step()
        self.learning_rate.after_step()
        self.step += 1
        self._tell(StepDone(self.step, 1 + (self.step - 1) // self.steps_per_epoch, loss, lr))

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
        found = measure(logits_of(self.model, samples, dtype=self.config.dtype), samples.y)
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

    def _not_finite(self, x: np.ndarray, step: int) -> UserError:
        where = blame(self.model, x, step=step)
        kept = "There is no checkpoint yet"
        if self.saved_step is not None:
            kept = f"The last good checkpoint is from step {self.saved_step}, in {self.run_dir}"
        return UserError(
            f"training stopped: {where} is NaN or infinite. {kept}. "
            f"Try a learning rate below {self.config.lr:g}, --clip-norm 1, or scaled inputs"
        )

    # what a checkpoint holds

    def _save(self, kind: Literal["best", "last"]) -> Path:
        if not all_finite(self.model):
            raise self._not_finite(self.data.train.x[:1].astype(self.config.dtype, copy=False), self.step + 1)
        self.metrics.sync()
        path = folder.checkpoint_path(self.run_dir, kind)
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
            "generators": {name: rng.bit_generator.state for name, rng in self.generators.items()},
            "data": {
                "name": self.data.name,
                "classes": list(self.data.classes),
                "input_shape": list(self.data.input_shape),
                "preprocess": self.data.preprocess.to_dict(),
                "fingerprint": self.fingerprint,
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
        if facts["data"]["fingerprint"] != self.fingerprint:
            raise UserError(
                f"the data are not those that {path} was trained on: going on would not be the same run. "
                "Give the same --data-dir, or begin a new run"
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
        for name, rng in self.generators.items():
            rng.bit_generator.state = facts["generators"][name]
        self.step = self.saved_step = facts["step"]
        self.best, self.evaluation = facts["best"], facts["evaluation"]
        self.evaluations_since_best = facts["evaluations_since_best"]


@contextmanager
def _stop_asked_by_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the step in progress is finished; a second one interrupts at once.

    Python lets only the main thread handle signals: elsewhere the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _brightness(data: Dataset) -> dict[str, float]:
    """Mean and standard deviation of the training inputs' means: `predict` warns of an image far outside."""
    x = data.train.x
    means = np.array([x[i].mean(dtype=np.float64) for i in range(0, len(x), max(1, len(x) // 1000))])
    return {"mean": float(means.mean()), "std": float(means.std())}


def _fingerprint(data: Dataset) -> int:
    """A checksum of the labels and of samples throughout the training part: other data have another one."""
    x = data.train.x
    stored = x.images if isinstance(x, ResizedImages) else x  # resized, the last bits would depend on the BLAS
    return zlib.crc32(stored[:: max(1, len(x) // 100)].tobytes(), zlib.crc32(data.train.y.tobytes()))


def sampled(samples: Samples, size: int | None, rng: np.random.Generator) -> Samples:
    """`size` of the samples, drawn without replacement and left in their order; all of them if there are no more.

    >>> sampled(Samples(np.eye(4), np.arange(4)), 2, np.random.default_rng(0))
    Samples(x=float64 (2, 4), y=int64 (2,))
    """
    if size is None or size >= len(samples):
        return samples
    chosen = np.sort(rng.choice(len(samples), size, replace=False))
    return samples.subset(chosen)


PURPOSES = ("model", "batches", "augment", "measured")


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Independent streams of one seed, one for each of `PURPOSES`, so that another network sees the same batches.

    >>> bool(generator(0, "model").random() == generator(0, "batches").random())
    False
    """
    return np.random.default_rng([seed, PURPOSES.index(purpose)])
