"""The charts of a report: matplotlib figures, and the same as SVG whose colours follow the page, light or dark.

Colours are Okabe and Ito's. Whatever a colour says, a marker or the kind of a line says too.
"""

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule.lab.metric import Metric
from chainrule.lab.report import Comparison, Curve, Row
from chainrule.lab.statistics import Estimate
from chainrule.train.pictures import INK, STYLE, TRAINING, VALIDATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CYCLE = [
    ("#0072B2", "-", "o"),
    ("#D55E00", (0, (5, 2)), "s"),
    ("#009E73", (0, (1.2, 1.6)), "^"),
    ("#CC79A7", (0, (6, 1.6, 1.2, 1.6)), "D"),
    ("#E69F00", (0, (9, 2)), "v"),
    ("#56B4E9", (0, (3, 1.2, 1, 1.2, 1, 1.2)), "P"),
]
REST, FRAME, GRID, PAPER = "#9A9A9A", "#AAAAAA", "#EBEBEB", "#FFFFFF"
PARTS = {"train": ("training", TRAINING, "-"), "val": ("validation", VALIDATION, (0, (5, 2)))}
WIDTH = 4.2  # inches: on a phone the text keeps its size
FEWEST = 3  # seeds for a band: of two it would be 13 standard errors wide
GAP = "\u2002"  # kept where SVG makes several spaces one
LONGEST = 28  # characters of a label in a chart; the table has all of them
MOST_DRAWN = 10  # seeds that are drawn one by one

# What stands in the SVG in place of a colour: the page, or the picture itself, gives these their values.
VARIABLES = {
    INK: "--ink",
    FRAME: "--frame",
    GRID: "--grid",
    PAPER: "--sheet",
    REST: "--rest",
    **{colour: f"--c{i}" for i, (colour, _, _) in enumerate(CYCLE)},
}
LIGHT = {name: colour for colour, name in VARIABLES.items()}
DARK = {
    "--ink": "#D6D4CE",
    "--frame": "#5A606C",
    "--grid": "#2C3038",
    "--sheet": "#1C1F25",
    "--rest": "#7D828C",
    "--c0": "#4FA3E0",
    "--c1": "#F08A4B",
    "--c2": "#35C29A",
    "--c3": "#E3A0C6",
    "--c4": "#F0B93A",
    "--c5": "#8CCDF2",
}


@dataclass(frozen=True, slots=True)
class End:
    """What stands beside the end of a curve: its name, after its marker if it has one."""

    value: float
    text: str
    ink: str
    mark: str = ""
    marker: str = ""


def settings_chart(rows: Sequence[Row], metric: Metric) -> "Figure":
    """Every setting on a line: its seeds as dots, the mean as a diamond, the 95 % interval as a bar.

    An arrowhead at the edge says that an interval goes on outside.
    """
    shown = [row for row in rows if metric.field in row.estimates]
    with _figure(0.34 * len(shown) + 0.75) as (figure, axes):
        for place, row in enumerate(shown):
            found, values = row.estimates[metric.field], _scaled(list(row.figures[metric.field].values()), metric)
            mean = _scaled([found.mean], metric)[0]
            if found.low is not None and found.high is not None:
                axes.plot(_scaled([found.low, found.high], metric), [place, place], color=CYCLE[0][0], lw=2.2, zorder=2)
            below = np.full(len(values), place + 0.26) if len(values) > 1 else np.array([place])
            axes.plot(values, below, "o", ms=3.4, mfc="none", mec=INK, mew=0.8, zorder=3)
            if len(values) > 1:
                axes.plot(mean, place, "D", ms=6.5, color=CYCLE[0][0], mec=PAPER, mew=0.8, zorder=4)
        axes.set_yticks(range(len(shown)), _names(shown))
        axes.set_ylim(len(shown) - 0.35, -0.5)
        _across(axes, metric, f"{metric.name}, {'%' if metric.is_share else 'nats'}")
        _inside(axes, [value for row in shown for value in _drawn(row, metric)])
        for place, row in enumerate(shown):
            _point_at_what_is_outside(axes, row.estimates[metric.field], place, metric)
    return figure


def differences_chart(comparisons: Sequence[Comparison], metric: Metric) -> "Figure":
    """Every comparison on a line: the difference with its 95 % interval, filled where it is shown."""
    shown = [each for each in comparisons if each.verdict != "refused"]
    with _figure(0.3 * len(shown) + 0.75) as (figure, axes):
        axes.axvline(0, color=INK, lw=0.9, zorder=1)
        for place, each in enumerate(shown):
            found = each.difference
            told = each.verdict in ("higher", "lower")
            colour = CYCLE[0][0] if told else REST
            if found.low is not None and found.high is not None:
                axes.plot(_scaled([found.low, found.high], metric), [place, place], color=colour, lw=2.2, zorder=2)
            fill = colour if told else PAPER
            axes.plot(_scaled([found.mean], metric), [place], "D", ms=6.5, mfc=fill, mec=colour, mew=1.4, zorder=3)
        names = [f"{each.first} \N{MINUS SIGN} {each.second}" for each in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        _across(axes, metric, f"difference in {metric.name}, {metric.unit}")
        ends = [end for each in shown for end in (each.difference.mean, each.difference.low, each.difference.high)]
        _inside(axes, [0.0, *_scaled([end for end in ends if end is not None], metric)])
    return figure


def curves_chart(row: Row, quantity: Literal["loss", "accuracy"], limits: tuple[float, float]) -> "Figure":
    """One setting's training and validation over the epochs: means, 95 % bands, and every seed as a faint line."""
    found = [curve for curve in row.curves if curve.quantity == quantity]
    with _figure(2.4) as (figure, axes):
        ends = []
        for curve in found:
            name, colour, dashes = PARTS[curve.part]
            _seeds(axes, curve, colour, quantity)
            mean = _percent(curve.mean, quantity)
            axes.plot(curve.epochs, mean, color=colour, ls=dashes, lw=1.9, zorder=4)
            ends.append(End(float(mean[-1]), f"{name} {_written(curve.mean[-1], quantity)}", colour))
        _over_epochs(axes, found[0].epochs if found else (0.0, 1.0), quantity, limits)
        _name_the_ends(axes, ends)
        axes.set_title(_title(row, quantity), fontsize=9.5, pad=9)
    return figure


def overlay_chart(rows: Sequence[Row], part: Literal["train", "val"], limits: tuple[float, float]) -> "Figure":
    """The mean accuracy of every setting on a part over the epochs; beyond the first six, in grey."""
    with _figure(2.9) as (figure, axes):
        ends = []
        for position, row in reversed(list(enumerate(rows))):
            for curve in (each for each in row.curves if (each.part, each.quantity) == (part, "accuracy")):
                colour, dashes, marker = CYCLE[position] if position < len(CYCLE) else (REST, "-", "")
                every = max(1, len(curve.epochs) // 6)
                mean = _percent(curve.mean, "accuracy")
                width = 1.8 if marker else 0.8
                axes.plot(curve.epochs, mean, color=colour, ls=dashes, lw=width, zorder=10 - min(position, 8))
                if marker:
                    marks: dict[str, Any] = {"color": colour, "ms": 5, "mec": PAPER, "mew": 0.6, "zorder": 11}
                    axes.plot(curve.epochs[::every], mean[::every], marker, **marks)
                    name = f"{row.name} {_written(curve.mean[-1], 'accuracy')}"
                    ends.append(End(float(mean[-1]), name, INK, colour, marker))
        epochs = max((curve.epochs for row in rows for curve in row.curves), key=lambda each: each[-1])
        _over_epochs(axes, epochs, "accuracy", limits)
        _name_the_ends(axes, ends)
        axes.set_title(f"{PARTS[part][0].capitalize()} accuracy, mean over the seeds", fontsize=9.5, pad=9)
    return figure


def lines_chart(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]], *, x: str, y: str, logarithmic: bool = False
) -> "Figure":
    """Named lines over one axis: of each the places and the values, a row for each draw; medians, all draws faintly."""
    with _figure(2.9) as (figure, axes):
        ends = []
        for (name, (places, values)), (colour, dashes, marker) in zip(lines.items(), itertools.cycle(CYCLE)):
            middle, every = np.median(values, axis=0), max(1, len(places) // 6)
            if 1 < len(values) <= MOST_DRAWN:
                axes.plot(places, values.T, color=colour, lw=0.5, alpha=0.35, zorder=3)
            elif len(values) > MOST_DRAWN:
                axes.fill_between(places, values.min(0), values.max(0), color=colour, alpha=0.14, lw=0, zorder=2)
            axes.plot(places, middle, color=colour, ls=dashes, lw=1.8, zorder=4)
            axes.plot(places[::every], middle[::every], marker, color=colour, ms=5, mec=PAPER, mew=0.6, zorder=5)
            ends.append((middle[-1], name, colour, marker))
        axes.set_yscale("log" if logarithmic else "linear")
        axes.set(xlabel=x, xlim=(places[0], places[-1]))
        axes.set_title(y, fontsize=9.5, pad=9)
        scale = np.log10 if logarithmic else np.asarray
        low, high = scale(axes.get_ylim())
        heights = [float((scale(value) - low) / (high - low)) for value, *_ in ends]
        _name_at(axes, heights, [End(0.0, name, INK, colour, marker) for _, name, colour, marker in ends])
    return figure


def limits(rows: Sequence[Row], quantity: Literal["loss", "accuracy"]) -> tuple[float, float]:
    """The range in which all the settings' curves lie, so that their charts can be compared by eye."""
    values = [v for row in rows for c in row.curves if c.quantity == quantity for run in c.runs for v in run]
    if not values:
        return 0.0, 1.0
    if quantity == "accuracy":  # the untrained network guesses: its curve may come in from below
        trained = [v for row in rows for c in row.curves if c.quantity == quantity for run in c.runs for v in run[1:]]
        values = trained or values
        low, high = 100 * min(values), 100 * max(values)
        margin = 0.08 * (high - low) + 0.4
        return max(0.0, low - margin), min(100.5, high + margin)
    return 0.0, 1.06 * float(np.quantile(values, 0.995))


def svg(figure: "Figure", name: str, described: str) -> str:
    """The figure as an SVG element with text as text, whose colours are the page's variables.

    `name` makes its inner references unlike those of other pictures on the page; `described` is read to the blind.
    """
    import matplotlib as mpl

    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    drawn = written.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'<g id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick)[^"]*">', "<g>", drawn)
    drawn = re.sub(r'(id="|url\(#|href="#)', lambda found: f"{found[1]}{name}-", drawn)
    for colour, variable in VARIABLES.items():
        drawn = re.sub(colour, f"var({variable})", drawn, flags=re.IGNORECASE)
    drawn = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans, sans-serif)", drawn)
    label = escape(described, quote=True)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def standing_alone(drawn: str) -> str:
    """An SVG of `svg` as a file of its own: it brings the colours along, for light and for dark."""
    light, dark = (";".join(f"{name}:{value}" for name, value in each.items()) for each in (LIGHT, DARK))
    style = (
        f"<style>svg{{{light};background:var(--sheet);--sans:system-ui,sans-serif}}"
        f"@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    )
    return '<?xml version="1.0" encoding="utf-8"?>\n' + re.sub(r"(<svg [^>]*>)", rf"\1{style}", drawn, count=1)


# ------------------------------------------------------------------------------------------------------------ drawing


@contextmanager
def _figure(height: float) -> "Iterator[tuple[Figure, Axes]]":
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = STYLE | {"font.size": 9, "text.color": INK, "axes.titlecolor": INK, "axes.edgecolor": FRAME}
    with mpl.rc_context(style | {"font.family": "sans-serif", "xtick.labelsize": 8.5, "ytick.labelsize": 8.5}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def _scaled(values: Sequence[float], metric: Metric) -> np.ndarray:
    return np.asarray(values) * (100.0 if metric.is_share else 1.0)


def _percent(values: Sequence[float], quantity: str) -> np.ndarray:
    return np.asarray(values) * (100.0 if quantity == "accuracy" else 1.0)


def _written(value: float, quantity: str) -> str:
    return f"{100 * value:.1f} %" if quantity == "accuracy" else f"{value:.3f}"


def _names(rows: Sequence[Row]) -> list[str]:
    """What stands beside each line: letters and labels, or letters alone if the labels leave no room for the chart."""
    fit = max(len(row.label) for row in rows) <= LONGEST
    return [f"{row.name}{GAP}{row.label}" if fit else row.name for row in rows]


def _title(row: Row, quantity: str) -> str:
    unit = "cross-entropy, nats" if quantity == "loss" else "accuracy, %"
    return f"{row.name}{GAP}{row.label}: {unit}" if len(row.label) <= LONGEST else f"{row.name}: {unit}"


def _drawn(row: Row, metric: Metric) -> list[float]:
    """What must be seen of a setting: its seeds, and of the interval as much as is no wider than twice their range."""
    found, values = row.estimates[metric.field], _scaled(list(row.figures[metric.field].values()), metric)
    if found.low is None or found.high is None:
        return values.tolist()
    reach = 2 * float(np.ptp(values))
    low, high = _scaled([found.low, found.high], metric)
    most = 100.0 if metric.is_share else np.inf
    return [*values, max(low, values.min() - reach, 0.0), min(high, values.max() + reach, most)]


def _point_at_what_is_outside(axes: "Axes", found: Estimate, place: int, metric: Metric) -> None:
    """An arrowhead where an interval goes on beyond the axis."""
    if found.low is None or found.high is None:
        return
    (low, high), (left, right) = _scaled([found.low, found.high], metric), axes.get_xlim()
    for beyond, at, marker in ((low < left, left, "<"), (high > right, right, ">")):
        if beyond:
            axes.plot(at, place, marker, ms=6, color=CYCLE[0][0], mec="none", clip_on=False, zorder=5)


def _inside(axes: "Axes", values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    axes.set_xlim(low - margin, high + margin)


def _across(axes: "Axes", metric: Metric, label: str) -> None:
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)


def _over_epochs(axes: "Axes", epochs: Sequence[float], quantity: str, limits: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epochs", xlim=(0, max(epochs[-1], 1e-9)), ylim=limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=bool(epochs[-1] >= 4)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))


def _seeds(axes: "Axes", curve: Curve, colour: str, quantity: str) -> None:
    """The band where there are seeds enough for one, and the seeds where there are few enough to draw."""
    if len(curve.runs) >= FEWEST:
        low = [curve.mean[i] if each is None else each for i, each in enumerate(curve.low)]
        high = [curve.mean[i] if each is None else each for i, each in enumerate(curve.high)]
        ends = _percent(low, quantity), _percent(high, quantity)
        axes.fill_between(curve.epochs, *ends, color=colour, alpha=0.14, lw=0, zorder=2)
    if 1 < len(curve.runs) <= MOST_DRAWN:
        for run in curve.runs:
            axes.plot(curve.epochs, _percent(run, quantity), color=colour, lw=0.5, alpha=0.4, zorder=3)


def _name_the_ends(axes: "Axes", ends: Sequence[End]) -> None:
    """Writes each curve's name beside its end, pushed apart where ends are close."""
    if not ends:
        return
    low, high = axes.get_ylim()
    _name_at(axes, [(end.value - low) / (high - low) for end in ends], ends)


def _name_at(axes: "Axes", at: Sequence[float], ends: Sequence[End]) -> None:
    """Names at these shares of the axes' height, pushed apart where they are close."""
    apart = 12.5 / (0.72 * 72 * axes.figure.bbox.height / axes.figure.dpi)  # a line of text, as a share of the axes
    heights = np.clip(np.array(at), 0.0, 1.0)
    order = np.argsort(heights, kind="stable")
    ladder = apart * np.arange(len(ends))
    placed = np.maximum.accumulate(heights[order] - ladder) + ladder
    placed = np.minimum(placed, 1.0 - ladder[::-1])
    for height, end in zip(placed, (ends[i] for i in order), strict=True):
        if end.marker:
            axes.plot(1.035, height, end.marker, color=end.mark, ms=5, transform=axes.transAxes, clip_on=False)
        place = 1.065 if end.marker else 1.02
        axes.text(place, height, end.text, color=end.ink, transform=axes.transAxes, va="center", fontsize=8.5)
