"""The learning curve and the confusion matrix of a run, as matplotlib figures. Colours are Okabe and Ito's."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.files import write_atomically
from chainrule.train.events import Result
from chainrule.train.metrics import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINING, VALIDATION, TEST, BATCH, INK = "#0072B2", "#D55E00", "#000000", "#BFDCEB", "#444444"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#EBEBEB",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.edgecolor": "#AAAAAA",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes the figure as a PNG, atomically."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomically(path, picture.getvalue())


def learning_curve(run_dir: Path, result: Result, *, title: str, steps_per_epoch: int) -> "Figure":
    """The loss and the accuracy on every part over the epochs, read from metrics.csv and steps.csv of the run.

    The loss of every batch stands behind as a faint line; a star is the test part, measured once.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = read_csv(run_dir / "metrics.csv")
    epochs = np.array([row["epoch"] for row in rows], float)
    steps = read_csv(run_dir / "steps.csv")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")
        losses, accuracies = figure.subplots(1, 2)
        averaged = _faint_batches(losses, np.array([row["loss"] for row in steps], float), steps_per_epoch)
        for axes, quantity, test, written in (
            (losses, "loss", result.test_loss, "{:.3f}".format),
            (accuracies, "accuracy", result.test_accuracy, percent),
        ):
            ends = []
            for part, colour in (("train", TRAINING), ("val", VALIDATION)):
                curve = np.array([row[f"{part}_{quantity}"] for row in rows], float)
                if not np.isnan(curve).all():
                    axes.plot(epochs, curve, color=colour, lw=2)
                    name = {"train": "training", "val": "validation"}[part]
                    ends.append((curve[-1], f"{name} {written(curve[-1])}", colour))
            tested = result.weights_step / steps_per_epoch
            axes.plot(tested, test, "*", color=TEST, ms=11, mec="white", clip_on=False, zorder=5)
            star = "★ " if tested < epochs[-1] else ""
            ends.append((test, f"{star}test {written(test)}", TEST))
            axes.set(xlabel=f"epochs of {steps_per_epoch:,} steps", xlim=(0, epochs[-1]))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=bool(epochs[-1] >= 4)))
            _scale(axes, quantity, rows, test)
            _label_at_the_right(axes, ends)
        batches = "each batch" if averaged == 1 else f"means of {averaged} batches"
        losses.set_title(f"Loss: cross-entropy in nats (faint: {batches})")
        accuracies.set_title("Accuracy: samples classified rightly")
    return figure


def percent(share: float) -> str:
    """A share as it is written everywhere in a run.

    >>> percent(0.978)
    '97.8 %'
    """
    return f"{100 * share:.1f} %"


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], *, title: str) -> "Figure":
    """How often each true class (row) was taken for each class (column), `counts` of shape (classes, classes).

    Shades are shares of the row; every cell says its count.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    n = len(classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.6, 0.52 * n + 1.6)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(side + 0.9, side), layout="constrained")
        axes = figure.subplots()
        shading = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
        long_names = max(len(name) for name in classes) > 3
        axes.set_xticks(range(n), classes, rotation=45 if long_names else 0, ha="right" if long_names else "center")
        axes.set_yticks(range(n), classes)
        axes.set(xlabel="class the network chose", ylabel="true class")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=1.5)
        axes.tick_params(which="minor", length=0)
        if n <= 30:
            for row, column in np.argwhere(counts):
                colour = "white" if shares[row, column] > 0.55 else INK
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=8.5, color=colour)
        bar = figure.colorbar(shading, ax=axes, shrink=0.8, format=PercentFormatter(1, symbol=" %"))
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
    return figure


def _faint_batches(axes: "Axes", losses: np.ndarray, steps_per_epoch: int) -> int:
    """Draws the batches' losses, averaged so that at most 500 points are left; returns over how many."""
    together = -(-len(losses) // 500)
    whole = len(losses) // together * together
    steps = np.arange(1, whole + 1).reshape(-1, together).mean(1)
    axes.plot(steps / steps_per_epoch, losses[:whole].reshape(-1, together).mean(1), color=BATCH, lw=0.8)
    return together


def _scale(axes: "Axes", quantity: str, rows: Sequence[dict[str, float | None]], test: float) -> None:
    """What was measured decides the range, not the noise of the batches; a loss that falls far is shown in powers.

    The accuracy before the first step is that of guessing: the curve may come in from below.
    """
    from matplotlib.ticker import PercentFormatter

    shown = rows[1:] if quantity == "accuracy" and len(rows) > 1 else rows
    curves = [row[f"{part}_{quantity}"] for row in shown for part in ("train", "val")]
    values = [test, *(value for value in curves if value is not None)]
    low, high = min(values), max(values)
    if quantity == "accuracy":
        axes.set_ylim(max(0.0, low - 0.02), min(1.005, high + 0.02))
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    elif low > 0 and high / low > 20:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5)
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(0, high * 1.1)


def _label_at_the_right(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes each curve's name beside its end, pushed apart where ends are close."""
    apart = 0.065
    heights = np.array([(axes.transScale + axes.transLimits).transform((0.0, value))[1] for value, _, _ in ends])
    order = np.argsort(heights)
    ladder = apart * np.arange(len(ends))
    placed = np.maximum.accumulate(np.clip(heights[order], 0.0, 1.0) - ladder) + ladder
    placed = np.minimum(placed, 1.0 - ladder[::-1])
    for height, (_, text, colour) in zip(placed, (ends[i] for i in order), strict=True):
        axes.text(1.02, height, text, color=colour, transform=axes.transAxes, va="center")
