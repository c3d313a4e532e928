"""How chainrule's training step grows with batch, width and depth, against the multiplications that it needs.

A step of an MLP multiplies batch * in * out times for every layer, forward; as often for the gradients of the weights;
and as often again for the gradients of the inputs, but for the first layer's. Against that number the time should grow
with an exponent of 1: the slope of the least-squares line through the logarithms of both. Below 1, fixed costs still
count; above 1, something grows faster than the work.
"""

import tempfile
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.table import Table

from bench.processes import REST, Engine
from bench.task import write
from bench.works import TRAIN, mlp

SIZES = {
    "batch": [(n, mlp(f"batch {n}", n, 3072, 500, 500, 500, 10)) for n in (50, 100, 200, 400, 800)],
    "width": [(w, mlp(f"width {w}", 200, 784, w, w, w, 10)) for w in (125, 250, 500, 1000, 2000)],
    "depth": [(d, mlp(f"depth {d}", 200, 784, *[500] * d, 10)) for d in (1, 2, 4, 8, 16)],
}


def multiplications(work):
    """Of one training step."""
    products = [a * b * work.shapes[0][0] for a, b in pairwise(work.widths)]
    return 3 * sum(products) - products[0]


def measured(settings, tell):
    """A row for each size: the median of the rounds."""
    rows = []
    for what, sizes in SIZES.items():
        with ExitStack() as stack:
            engines = []
            for size, work in sizes:
                tell(f"{what} {size} starts")
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chainrule-bench-"))
                write(Path(folder), work, TRAIN)
                engines.append(stack.enter_context(Engine("chainrule", folder, settings.threads)))
                engines[-1].answer()
            steps = [1 + int(settings.turn / engine.ask(do="check")["seconds"]) for engine in engines]
            seconds = [[] for _ in engines]
            for i in range(settings.rounds):
                tell(f"{what}: round {i + 1} of {settings.rounds}")
                for engine, k, found in zip(engines, steps, seconds, strict=True):
                    time.sleep(REST)
                    found.append(engine.ask(do="turn", untimed=1 + k // 10, steps=k)["seconds"] / k)
        for (size, work), found in zip(sizes, seconds, strict=True):
            median = float(np.median(found))
            count = multiplications(work)
            row = {"grows": what, "size": size, "multiplications": count, "median_ms": 1e3 * median}
            rows.append(row | {"gflops": 2e-9 * count / median})
    return rows


def exponent(rows):
    """The slope of log time over log multiplications."""
    count, milliseconds = (np.log([row[key] for row in rows]) for key in ("multiplications", "median_ms"))
    return float(np.polyfit(count, milliseconds, 1)[0])


def table(rows):
    made = Table(title="time of chainrule's step against its multiplications", title_justify="left", box=None)
    for heading in ("grows", "size", "multiplications", "ms", "GFLOP/s", "exponent"):
        made.add_column(heading, justify="left" if heading == "grows" else "right", no_wrap=True)
    for what in SIZES:
        of_one = [row for row in rows if row["grows"] == what]
        for row in of_one:
            last = f"{exponent(of_one):.2f}" if row is of_one[-1] else ""
            numbers = f"{row['multiplications']:.2e}", f"{row['median_ms']:.3g}", f"{row['gflops']:.0f}"
            made.add_row(what, str(row["size"]), *numbers, last)
        made.add_section()
    return made
