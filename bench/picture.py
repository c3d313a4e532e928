"""All works at one glance: how many times chainrule's time each peer takes, and the targets."""

import numpy as np

from bench.works import INFER, TRAIN, targets

COLOURS = {  # Okabe and Ito's
    "torch": "#D55E00",
    "torch-cl": "#E69F00",
    "torch-compile": "#CC79A7",
    "jax": "#009E73",
    "sklearn": "#56B4E9",
    "tinygrad": "#999999",
    "autograd": "#000000",
    "chainrule-numpy": "#0072B2",
}


def figure(everything, machine):
    """A row for each work, a dot for each peer: right of 1, chainrule is faster. Bars are quartiles, ticks targets."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from chainrule.train.pictures import STYLE

    names = list(dict.fromkeys(found.work.name for found in everything))
    height = 1.8 + 0.34 * len(names)  # inches, of which 0.95 above the panels and 0.85 below
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(12, height))
        made.text(
            0.01, 1 - 0.3 / height, "Time of a step, as a multiple of chainrule's", fontsize=13, fontweight="bold"
        )
        panels = made.subplots(1, 2, sharex=True, sharey=True)
        made.subplots_adjust(0.13, 0.85 / height, 0.96, 1 - 0.95 / height, wspace=0.12)
        for axes, phase in zip(panels, (TRAIN, INFER), strict=True):
            axes.set_title({TRAIN: "training step", INFER: "inference"}[phase])
            _panel(axes, names, {found.work.name: found for found in everything if found.phase == phase})
        low, high = panels[0].get_xlim()
        panels[0].set_xlim(min(low, 0.45), max(high, 3.0))
        for axes in panels:
            axes.axvspan(axes.get_xlim()[0], 1, color="#D55E00", alpha=0.08, lw=0)
        handles = _handles({name for found in everything for name in found.seconds})
        place = {"loc": "center left", "bbox_to_anchor": (0, 1 - 0.5 / height), "borderaxespad": 0.3}
        made.legend(handles=handles, ncols=len(handles), frameon=False, handletextpad=0, columnspacing=1.2, **place)
        footer = f"A hollow dot computes something else and is not compared.\n{machine}"
        made.text(0.01, 0.1 / height, footer, fontsize=7.5, color="#777777")
    return made


def _handles(shown):
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], ls="", marker="o", color=COLOURS[name], label=name) for name in COLOURS if name in shown]
    return [*dots, Line2D([], [], ls="", marker="|", ms=12, mew=2.5, color="#777777", label="target")]


def _panel(axes, names, of_phase):
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    for y, name in enumerate(names):
        found = of_phase.get(name)
        if found is None or "chainrule" not in found.seconds:
            continue
        ours = found.median("chainrule")
        for peer in found.seconds.keys() & COLOURS.keys():
            times = np.quantile(found.seconds[peer], [0.25, 0.5, 0.75]) / ours
            filled = COLOURS[peer] if found.agrees(peer) else "none"
            axes.plot(times[[0, 2]], [y, y], color=COLOURS[peer], lw=2, alpha=0.5)
            axes.plot(times[1], y, "o", ms=7, mfc=filled, mec=COLOURS[peer])
        for target in targets(found.work, found.phase):
            colour = COLOURS.get(target.peers, "#777777")
            axes.plot(target.factor, y, "|", ms=12, mew=2.5, color=colour, zorder=1.9)
        ratio = found.ratio()
        if ratio is not None:
            style = {"color": "#B04A00", "fontweight": "bold"} if ratio < 1 else {"color": "#444444"}
            axes.text(1.01, y, f"{ratio:.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9, **style)
    axes.text(1.01, -0.75, "best\npeer", transform=axes.get_yaxis_transform(), va="center", fontsize=8, color="#444444")
    axes.axvline(1, color="#444444", lw=1)
    axes.text(0.97, -0.75, "peer faster", ha="right", va="center", fontsize=8, color="#B04A00")
    axes.text(1.03, -0.75, "chainrule faster", ha="left", va="center", fontsize=8, color="#444444")
    axes.set(ylim=(len(names) - 0.5, -1.1), yticks=range(len(names)), yticklabels=names)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
