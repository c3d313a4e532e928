"""What a run left behind, put to use: the trained network, its evaluation, its predictions."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.data import Dataset, Preprocess, read_images
from chainrule.engine import using
from chainrule.errors import UsageError, UserError
from chainrule.nn import Module
from chainrule.train import folder
from chainrule.train.config import TrainConfig
from chainrule.train.evaluation import confusion, logits_of, measure, outputs
from chainrule.train.loop import are_of
from chainrule.train.metrics import read_csv
from chainrule.train.runs import load_data, network, stored

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedRun:
    """A network with the weights of one checkpoint, and all that is needed to use it."""

    run_dir: Path
    config: TrainConfig
    model: Module  #: in eval mode
    preprocess: Preprocess  #: from raw inputs (pixels 0 to 255) to what the model reads
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]  #: without the batch
    checkpoint: str  #: best or last
    step: int  #: the step after which the weights were taken
    facts: dict[str, Any] = dataclasses.field(repr=False)  #: everything else that the checkpoint records

    def require_same_data(self, data: Dataset) -> None:
        """Raises `UserError` unless `data` are those that the run was trained on: the same samples in the same parts.

        A part that is drawn holds other samples once the data change, samples of the training among them.

        >>> import tempfile
        >>> from chainrule.data import load
        >>> from chainrule.train import run
        >>> result = run(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=tempfile.mkdtemp())
        >>> load_run(result.run_dir).require_same_data(load("moons", seed=1))
        Traceback (most recent call last):
        chainrule.errors.UserError: moons is not as it was when ... was trained: ...
        """
        if (data.classes, data.input_shape) != (self.classes, self.input_shape):
            raise UserError(
                f"the data have {data.n_classes} classes and inputs of shape {data.input_shape}, "
                f"the run was trained on {len(self.classes)} and {self.input_shape}"
            )
        if not are_of(self.facts, data):
            raise UserError(
                f"{data.name} is not as it was when {self.run_dir} was trained: its test part may hold samples of the "
                "training. Give the data that the run was trained on, or train anew"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """One part of the data measured with the weights of a checkpoint, beside what the run had recorded of them.

    Losses are in nats, accuracies between 0 and 1; None is what was neither recorded nor measured now.
    """

    run_dir: str
    checkpoint: str
    part: str
    samples: int
    loss: float
    accuracy: float
    steps: int  #: the step after which the weights were taken
    epochs: float
    seconds: float  #: that the training took up to the run's last evaluation
    train_loss: float | None
    val_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  #: rows: the true class; columns: the one chosen


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What the network takes one input for."""

    input: str  #: the file, or the number of the row
    label: str  #: the most probable class
    probability: float
    probabilities: dict[str, float]  #: of every class, the most probable first
    note: str  #: what was done to the image before the network saw it; empty for arrays


def load_run(run_dir: str | Path, *, checkpoint: str | None = None, model: Module | None = None) -> TrainedRun:
    """The network of a run with its trained weights.

    Args:
        run_dir: the folder of the run.
        checkpoint: best (the one that the run itself measured on the test part) or last; left out, best.
        model: the network given to `fit`, if it was not built from the config; its weights are replaced.

    Raises:
        UserError: no such run or checkpoint; the checkpoint is damaged or belongs to another network or config.

    >>> import tempfile
    >>> from chainrule.train import run
    >>> result = run(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=tempfile.mkdtemp())
    >>> load_run(result.run_dir).model(np.zeros((1, 2), np.float32)).shape
    (1, 2)
    """
    run_dir = Path(run_dir)
    path = folder.checkpoint_path(run_dir, checkpoint or "best")
    config, saved = stored(run_dir, path.stem)
    data = saved.facts["data"]
    loaded = network(config, data["input_shape"], len(data["classes"])) if model is None else model
    try:
        loaded.load_state_dict(saved.arrays_under("model"))
    except UserError as error:
        own = "; a network given to fit is given here as model=" if model is None else ""
        raise UserError(f"{path} belongs to another network: {error}{own}") from error
    return TrainedRun(
        run_dir=run_dir,
        config=config,
        model=loaded.eval(),
        preprocess=Preprocess.from_dict(data["preprocess"], saved.arrays_under("preprocess")),
        classes=tuple(data["classes"]),
        input_shape=tuple(data["input_shape"]),
        checkpoint=path.stem,
        step=saved.facts["step"],
        facts=saved.facts,
    )


def evaluate(
    run_dir: str | Path,
    part: str = "test",
    *,
    checkpoint: str | None = None,
    model: Module | None = None,
    data: Dataset | None = None,
) -> Evaluation:
    """Measures a trained network on a part of the data: train, validation or test.

    `checkpoint` and `model` are as in `load_run`; `data` is the one given to `fit`, if it was not loaded by the config.

    Raises:
        UsageError: no such part.
        UserError: as `load_run`; or the data are not there, or not those that the run was trained on.

    >>> import tempfile
    >>> from chainrule.train import run
    >>> result = run(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=tempfile.mkdtemp())
    >>> evaluate(result.run_dir).accuracy == result.test_accuracy
    True
    """
    if part not in PARTS:
        raise UsageError(f"part is {part!r}, expected one of {', '.join(PARTS)}")
    trained = load_run(run_dir, checkpoint=checkpoint, model=model)
    data = load_data(trained.config) if data is None else data
    trained.require_same_data(data)
    samples = getattr(data, part)
    if samples is None:
        raise UsageError(f"{data.name} was trained without a validation part: choose train or test")
    with using(trained.config.backend):
        logits = logits_of(trained.model, samples, dtype=trained.config.dtype)
        found = measure(logits, samples.y)
    recorded = trained.facts["evaluation"]
    if recorded["step"] != trained.step:  # the run was interrupted between two evaluations
        recorded = {"train": None, "validation": None}
    if part in recorded:
        recorded = recorded | {part: dataclasses.asdict(found)}
    times = read_csv(trained.run_dir / "times.csv")
    return Evaluation(
        run_dir=str(run_dir),
        checkpoint=trained.checkpoint,
        part=part,
        samples=len(samples),
        loss=found.loss,
        accuracy=found.accuracy,
        steps=trained.step,
        epochs=trained.facts["epoch"],
        seconds=times[-1]["seconds"] or 0.0 if times else 0.0,
        train_loss=(recorded["train"] or {}).get("loss"),
        val_accuracy=(recorded["validation"] or {}).get("accuracy"),
        test_loss=found.loss if part == "test" else None,
        test_accuracy=found.accuracy if part == "test" else None,
        classes=data.classes,
        confusion=tuple(tuple(row) for row in confusion(logits, samples.y).tolist()),
    )


def predict(
    run_dir: str | Path,
    inputs: Sequence[str | Path] | np.ndarray,
    *,
    checkpoint: str | None = None,
    model: Module | None = None,
) -> list[Prediction]:
    """Classifies image files, or an array of raw inputs, with the network of a run.

    An image becomes grey or RGB, and has its size changed, as the network needs; the prediction's note says what was
    done. An array holds raw values as the data set does (pixels from 0 to 255), of shape (n, ...) or one input alone.

    `checkpoint` and `model` are as in `load_run`.

    Raises:
        UserError: as `load_run`; an image cannot be read, or the network does not read images; an array has another
            shape, is not of real numbers, or holds NaN or what float32 cannot hold.

    >>> import tempfile
    >>> from chainrule.train import run
    >>> result = run(TrainConfig(dataset="moons", hidden=8, max_steps=3), run_dir=tempfile.mkdtemp())
    >>> [prediction.input for prediction in predict(result.run_dir, np.zeros((2, 2)))]
    ['0', '1']
    """
    trained = load_run(run_dir, checkpoint=checkpoint, model=model)
    if not len(inputs):
        return []
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind not in "biuf":
            raise UserError(f"the inputs are {inputs.dtype}, expected real numbers")
        raw = inputs if inputs.shape != trained.input_shape else inputs[None]
        names, notes = [str(i) for i in range(len(raw))], [""] * len(raw)
    else:
        raw, notes = _images([Path(path) for path in inputs], trained.input_shape)
        names = [str(path) for path in inputs]
    x = trained.preprocess.apply(raw)
    bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
    if len(bad):
        raise UserError(f"input {names[bad[0]]} holds NaN, infinity, or a number that float32 cannot hold")
    if not isinstance(inputs, np.ndarray):
        notes = [
            _with_brightness(note, image, trained.facts["data"]["brightness"])
            for note, image in zip(notes, x, strict=True)
        ]
    with using(trained.config.backend):
        logits = np.concatenate(list(outputs(trained.model, x, dtype=trained.config.dtype)))
    probabilities = ops.softmax(logits.astype(np.float64))
    return [_prediction(*each, trained.classes) for each in zip(names, notes, probabilities.tolist(), strict=True)]


def _prediction(name: str, note: str, probabilities: list[float], classes: Sequence[str]) -> Prediction:
    ranked = dict(sorted(zip(classes, probabilities, strict=True), key=lambda pair: -pair[1]))
    label, probability = next(iter(ranked.items()))
    return Prediction(name, label, probability, ranked, note)


def _images(paths: Sequence[Path], input_shape: tuple[int, ...]) -> tuple[np.ndarray, list[str]]:
    """The files as pixels of the network's shape, and for each what was done to it."""
    from PIL import Image

    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        raise UserError(f"this network reads arrays of shape {input_shape}, not images")
    channels, height, width = input_shape
    pixels = read_images(paths, channels=channels, size=(height, width))
    notes = []
    for path in paths:
        with Image.open(path) as image:
            done = []
            if (channels == 1) != (image.mode in ("1", "L")):
                done.append("made grey" if channels == 1 else "made RGB")
            if image.size != (width, height):
                done.append(f"resized from {image.width} x {image.height} to {width} x {height}")
        notes.append(", ".join(done))
    return pixels, notes


def _with_brightness(note: str, image: np.ndarray, usual: dict[str, float]) -> str:
    """The note, and a warning if the image is far brighter or darker than those of the training part."""
    deviation = float(image.mean()) - usual["mean"]
    if abs(deviation) < 4 * usual["std"]:
        return note
    warning = f"much {'brighter' if deviation > 0 else 'darker'} than the images of the training: is it inverted?"
    return f"{note}; {warning}" if note else warning
