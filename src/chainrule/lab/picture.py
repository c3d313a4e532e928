"""The comparison of engines as a matplotlib figure: losses, how far they part, time, memory."""

from typing import TYPE_CHECKING

import numpy as np

from chainrule.lab.compare import Comparison
from chainrule.train.pictures import INK, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"tape": "#0072B2", "layers": "#E69F00", "torch": "#D55E00"}  # Okabe and Ito


def comparison_figure(found: Comparison) -> "Figure":
    """Left the losses, in the middle their distance from the first engine, right what a step costs."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    steps = np.arange(1, found.steps + 1)
    first = found.rows[0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 4.2), layout="constrained")
        title = (
            f"{found.model} on {found.dataset}: {found.parameters:,} parameters, {found.optimizer}, "
            f"batches of {found.batch_size}, {found.dtype}"
        )
        figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold")
        losses, distances, costs = figure.subplots(1, 3)
        for i, row in enumerate(found.rows):
            colour = COLOURS[row.engine]
            # Lines over one another: the first is the widest, so that each is seen.
            losses.plot(steps, row.losses, color=colour, lw=2 + 3 * (len(found.rows) - 1 - i), label=row.engine)
            if row is not first:
                apart = np.maximum.accumulate(np.abs(np.subtract(row.losses, first.losses)))
                label = row.engine if row.divergence else f"{row.engine}: no difference"
                distances.plot(steps, np.where(apart > 0, apart, np.nan), color=colour, lw=2, label=label)
        losses.set_title("Loss of each batch, in nats")
        distances.set_title(f"Largest difference from {first.engine} so far")
        for axes in (losses, distances):
            axes.set(xlabel="step", xlim=(1, found.steps))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False)
        largest = max((row.divergence for row in found.rows if np.isfinite(row.divergence)), default=0.0)
        if largest > 0:
            distances.set(yscale="log", ylim=(largest / 1e4, largest * 10))
        _draw_costs(costs, found)
    return figure


def _draw_costs(axes, found: Comparison) -> None:
    """A bar for each engine's median step, a whisker over its quartiles; the memory is written at its end."""
    names = [row.engine for row in found.rows]
    medians = np.array([row.step_ms for row in found.rows])
    low, high = np.array([row.step_ms_quartiles for row in found.rows]).T
    axes.barh(names, medians, color=[COLOURS[name] for name in names], height=0.5)
    axes.errorbar(medians, names, xerr=[medians - low, high - medians], fmt="none", ecolor=INK, capsize=3)
    for i, row in enumerate(found.rows):
        axes.text(high.max() * 1.04, i, f"{row.step_ms:.3g} ms\n{row.peak_mb:,.0f} MB", va="center", color=INK)
    axes.set_xlim(0, high.max() * 1.3)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title("Median step and its quartiles, memory added")
    axes.set_xlabel(f"milliseconds, with {found.threads} thread{'s' * (found.threads > 1)}")
