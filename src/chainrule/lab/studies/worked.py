"""The worked example of vu-2023, and what a loss of ln 10 means."""

import math

import numpy as np

from chainrule.explain.examples import example
from chainrule.explain.tape import Table as Tabulated
from chainrule.lab.pages import Table
from chainrule.lab.study import Shown, Stated
from chainrule.train.evaluation import measure
from chainrule.train.remarks import plateau

CLASSES = 10
REPORTED = (2.31, 2.36)  # the batch losses after 100 epochs lie between these
RIGHT = {  # worked out by hand
    "loss": 0.6931471805599453,
    "W": [[0.0] * 3, [0.0] * 3],
    "b": [0.0] * 3,
    "V": [[-0.44039854, 0.44039854]] * 3,
    "c": [-0.5, 0.5],
}


def worked_example(quick: bool) -> Shown:
    """The loss and every gradient of the network with three units, by the engine, beside those worked out by hand."""
    found = example("vu-2023")
    loss = float(found.result.value)
    rows = [Stated("loss", f"{RIGHT['loss']:.16f}", f"{loss:.16f}", _verdict(loss, RIGHT["loss"], 1e-15))]
    for name in ("W", "b", "V", "c"):
        g = found[name].gradient
        rows.append(Stated(f"gradient of {name}", _short(RIGHT[name]), _short(g), _verdict(g, RIGHT[name], 5e-9)))
    return Shown(tuple(rows), "x = [1, -1], three sigmoid units, two classes; the right one is the first.")


def layer_by_layer(network: str, quick: bool) -> Shown:
    """Every layer's input and output, every parameter's gradient, the Jacobians: in symbols, beside their numbers."""
    text = "Column vectors, numerator layout: gradients are the transposes of those in the parameters' shapes."
    return Shown((), text, tables=tuple(map(_as_text, example(network).tables)))


def _as_text(table: Tabulated) -> Table:
    """A table of symbols and arrays, the arrays written out under headings of code."""
    numbers = [any(not isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
    headings = tuple("=" * holds + name for name, holds in zip(table.columns, numbers, strict=True))
    return Table(headings, tuple(tuple(c if isinstance(c, str) else _short(c) for c in row) for row in table.rows))


def nothing_learned(quick: bool) -> Shown:
    """What the reported losses say, by arithmetic alone."""
    blind = measure(np.zeros((CLASSES, CLASSES)), np.arange(CLASSES))
    sure = math.exp(-7.6e-5)
    remark = plateau(REPORTED, [1 / CLASSES] * CLASSES)
    said = remark.text.partition(":")[0] if remark else "nothing"
    return Shown(
        (
            Stated(
                "the loss of a network to which all classes are alike", "2.31 to 2.36", f"{blind.loss:.4f}", "ln 10"
            ),
            Stated("what is said of losses like the reported ones", "nothing", said, _remarked(said)),
            Stated("its accuracy where every class is as frequent", "0.1428", f"{blind.accuracy:.4f}", "guessing"),
            Stated(
                "the probability of the right class at a loss of 7.6e-5",
                "accuracy 0.1428",
                f"{sure:.6f}",
                "contradicts it",
            ),
        ),
        "Batch losses of 2.31 to 2.36 after 100 epochs are those of a network that has learned nothing; they were "
        "reported without remark. A loss of 7.6e-5 after 1,000 epochs means that the right class gets nearly all of "
        "the probability: a network of which that is true is right more often than 14 times of a hundred.",
    )


def _remarked(said: str) -> str:
    return "wrong" if said == "nothing" else "right"


def _verdict(found: object, right: object, tolerance: float) -> str:
    return "right" if np.allclose(found, right, rtol=0, atol=tolerance) else "wrong"  # type: ignore[arg-type]


def _short(values: object) -> str:
    """An array on one line, with as many digits as eight allow; equal rows once."""
    array = np.asarray(values) + 0.0  # no minus zero
    if array.ndim == 0:
        return f"{float(array):.8g}"
    if array.ndim == 2 and len(array) > 1 and np.allclose(array, array[0]):
        return f"each row {_short(array[0])}"
    if array.ndim == 2:
        return f"[{', '.join(map(_short, array))}]"
    return "[" + ", ".join(f"{value:.8g}" for value in array.ravel()) + "]"
