"""Every kernel on every sample of its op, made larger: its error beside its time, and the time of the rule it replaces.

The error is the largest difference of the value or of a gradient from the rule in float64, over the largest entry (of
the gradient that comes in, too), in units of float32's rounding. The rule's own float32 error stands beside it.
"""

import statistics
import time

import numpy as np
from rich.table import Table

from chainrule import OPS, using
from chainrule.check import draw
from chainrule.kernels.warm import enlarged

EPS = float(np.finfo(np.float32).eps)
COLUMNS = {"op": "left", "shapes": "left", "kernel ms": "right", "rule ms": "right", "kernel eps": "right"}
COLUMNS |= {"rule eps": "right"}


def measured(settings, tell):
    """A row for each op and sample."""
    rows = []
    with using("cpu"):
        ops = [op for op in OPS.values() if "cpu" in op.kernels]
    for op in ops:
        for sample in op.samples:
            tell(op.name)
            rng = np.random.default_rng(0)
            doubles = enlarged(op, draw(op, sample, rng))
            singles = [x.astype(np.float32) if x.dtype == np.float64 else x for x in doubles]
            exact = [x.astype(np.float64) if x.dtype == np.float32 else x for x in singles]
            try:
                y = np.asarray(op.rule(*exact, **sample.params)[0])
            except ValueError:  # the sample's shapes belong together in a way that the op does not declare
                continue
            gy = rng.standard_normal(y.shape).astype(np.float32)
            truth = _run(op, exact, sample.params, gy.astype(np.float64), "numpy")
            row = {"op": op.name, "shapes": ", ".join(str(x.shape) for x in singles)}
            for name, backend in (("kernel", "cpu"), ("rule", "numpy")):
                run = lambda backend=backend: _run(op, singles, sample.params, gy, backend)  # noqa: B023
                row[f"{name} eps"] = _error(run(), truth, gy)
                row[f"{name} ms"] = 1e3 * statistics.median(_seconds(run) for _ in range(settings.rounds))
            rows.append(row)
    return rows


def _run(op, inputs, params, gy, backend):
    with using(backend):
        y, pullbacks = op.run(inputs, params)
        wanted = [p for x, p in zip(inputs, pullbacks, strict=False) if x.dtype.kind == "f" and p is not None]
        return [y, *(pullback(gy) for pullback in wanted)]


def _seconds(run):
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _error(found, truth, gy):
    worst = 0.0
    for one, other in zip(found, truth, strict=True):
        scale = np.max(np.abs(other), initial=np.max(np.abs(gy), initial=0.0))
        worst = max(worst, float(np.max(np.abs(one - other), initial=0.0) / scale) / EPS if scale else 0.0)
    return worst


def table(rows):
    made = Table(title="kernels: error beside time, forward and backward", title_justify="left", box=None)
    for heading, justify in COLUMNS.items():
        made.add_column(heading, justify=justify)
    for row in rows:
        slower = row["kernel ms"] > row["rule ms"]
        cells = [
            row[c] if isinstance(row[c], str) else f"{row[c]:.3f}" if "ms" in c else f"{row[c]:.1f}" for c in COLUMNS
        ]
        made.add_row(*cells, style="red" if slower else "")
    return made
