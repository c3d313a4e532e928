"""The end of a run: the test part measured once, the remarks, the pictures, result.json."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data import Dataset, Samples
from chainrule.errors import UserError
from chainrule.files import write_atomically
from chainrule.nn import CrossEntropyLoss, Module
from chainrule.train import checkpoint, folder, pictures, remarks
from chainrule.train.evaluation import activation_units, confusion, logits_of, measure
from chainrule.train.events import Remark, Result, Started
from chainrule.train.metrics import read_csv


def finish(model: Module, data: Dataset, measured: Samples, started: Started, *, steps: int, seconds: float) -> Result:
    """Measures the test part, remarks on the run, and writes the pictures and result.json into its folder.

    `measured` are the training samples that the run's evaluations looked at. The weights are the best checkpoint's;
    `model` has them afterwards, and is in eval mode.

    Raises `UserError` if the loss of a test sample is NaN or infinite, or a file cannot be written.
    """
    run_dir, dtype = started.run_dir, started.config.dtype
    best = checkpoint.load(folder.checkpoint_path(run_dir, "best"))
    model.load_state_dict(best.arrays_under("model"))
    logits = logits_of(model.eval(), data.test, dtype=dtype)
    _require_finite_losses(logits, data.test.y, run_dir)
    test = measure(logits, data.test.y)
    recorded = best.facts["evaluation"]
    validation = recorded["validation"] or {"loss": None, "accuracy": None}
    result = Result(
        run_dir=str(run_dir),
        steps=steps,
        epochs=steps / started.steps_per_epoch,
        seconds=round(seconds, 3),
        train_loss=recorded["train"]["loss"],
        train_accuracy=recorded["train"]["accuracy"],
        val_loss=validation["loss"],
        val_accuracy=validation["accuracy"],
        test_loss=test.loss,
        test_accuracy=test.accuracy,
        test_samples=len(data.test),
        weights_step=best.facts["step"],
        chosen_by="training loss" if data.validation is None else "validation accuracy",
        stopped_early=steps < started.total_steps,
        remarks=tuple(_remarks(model, data, measured, run_dir, dtype)),
    )
    _draw(data, confusion(logits, data.test.y), started, result)
    write_atomically(run_dir / "result.json", (json.dumps(dataclasses.asdict(result), indent=2) + "\n").encode())
    return result


def _require_finite_losses(logits: np.ndarray, labels: np.ndarray, run_dir: Path) -> None:
    bad = np.flatnonzero(~np.isfinite(CrossEntropyLoss(reduction="none")(logits, labels)))
    if len(bad):
        raise UserError(
            f"training is complete and its checkpoints are in {run_dir}, but there is no test result: the loss of test "
            f"sample {bad[0]} is NaN or infinite. Clean the test part and train again; until then predict and "
            "evaluate --part train work with these weights"
        )


def _remarks(model: Module, data: Dataset, measured: Samples, run_dir: Path, dtype: str) -> Iterator[Remark]:
    rows: list[dict[str, Any]] = list(read_csv(run_dir / "metrics.csv"))
    train_losses = [row["train_loss"] for row in rows]
    shares = np.bincount(data.train.y, minlength=data.n_classes) / len(data.train)
    units = activation_units(model, measured, dtype=dtype)
    found = [remarks.plateau(train_losses, shares.tolist()), remarks.dead_units(units), remarks.saturation(units)]
    if data.validation is not None:
        steps = [int(row["step"]) for row in rows]
        found.append(remarks.overfitting(train_losses[-1], [row["val_loss"] for row in rows], steps))
    return (remark for remark in found if remark is not None)


def _draw(data: Dataset, counts: np.ndarray, started: Started, result: Result) -> None:
    config, accuracy = started.config, pictures.percent(result.test_accuracy)
    how = f"{started.parameters:,} parameters, {config.optimizer}, lr {config.lr:g}, batches of {config.batch_size}"
    curve = pictures.learning_curve(
        started.run_dir,
        result,
        title=f"{data.name}: {accuracy} test accuracy   ({how})",
        steps_per_epoch=started.steps_per_epoch,
    )
    title = f"{data.name}: {accuracy} of {len(data.test):,} test samples right"
    pictures.save_figure(curve, started.run_dir / "learning_curve.png")
    pictures.save_figure(
        pictures.confusion_matrix(counts, data.classes, title=title), started.run_dir / "confusion_matrix.png"
    )
