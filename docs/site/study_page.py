"""The five studies as pages: what each derives, verified as the site is built, and its mistakes, found."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from op_page import inner, title
from rich.console import Console

from chainrule.cli.answers import reviewed
from chainrule.derive import derive
from chainrule.derive.lines import review

FIXTURES = Path(__file__).parents[2] / "tests" / "derivations"
LAYERS = "z1 = x @ W1.T + b1; z2 = {f}(z1); z3 = z2 @ W2.T + b2; y = {g}(z3); J = {loss}(y, t)"
SHAPES = "x: n d, W1: h d, b1: h, W2: k h, b2: k, t: n k const"
Derived = tuple[str, str, str | None]  # a heading; an op or lines; the shapes of these

STUDIES: dict[str, list[Derived]] = {
    "uva-2018": [(op, op, None) for op in ("cross_entropy", "softmax", "relu", "linear", "batch_norm")],
    "uva-2020": [
        ("linear, as the course writes it", "Y = X @ W.T + B", "X: s n, W: m n, B: m"),
        ("an element-wise activation", "y = f(x)", "x: n d"),
        *[(op, op, None) for op in ("softmax", "cross_entropy", "layer_norm", "elu", "tanh")],
    ],
    "vu-2021": [
        ("division", "Z = X / Y", "X: n d, Y: n d"),
        ("an element-wise function", "Y = f(X)", "X: n d"),
        ("a product of matrices", "Y = X @ W", "X: n d, W: d m"),
        ("expand: a vector repeated to a matrix", "broadcast_to", None),
    ],
    "vu-2023": [
        ("softmax, both cases", "softmax", None),
        ("minus the logarithm of the right class, and its product with softmax: y - t", "cross_entropy", None),
    ],
    "nyu-2021": [
        ("ReLU, identity, squared error", LAYERS.format(f="relu", g="identity", loss="mse_loss"), SHAPES),
        ("sigmoid, sigmoid, squared error", LAYERS.format(f="sigmoid", g="sigmoid", loss="mse_loss"), SHAPES),
        (
            "sigmoid, sigmoid, binary cross-entropy",
            LAYERS.format(f="sigmoid", g="sigmoid", loss="binary_cross_entropy"),
            SHAPES,
        ),
    ],
}


def contents() -> str:
    """All studies."""
    lines = [
        *title("Studies"),
        "Five course write-ups on backpropagation: what they derive, and where they are wrong.",
        "",
    ]
    return "\n".join([*lines, ".. toctree::", "", *[f"   {name}" for name in STUDIES], ""])


def page(name: str) -> str:
    """The page of one study."""
    lines = [*title(name), *title("What it derives", "-")]
    for heading, what, shapes in STUDIES[name]:
        found = derive(what, shapes)
        lines += [*title(heading, "~"), ".. raw:: html", ""]
        lines += [f"   {line}" for line in inner(found.html(steps=False)).splitlines()]
        lines += ["", f"Step by step: :doc:`/ops/{what}`.", ""] if shapes is None else [""]
    files = sorted(FIXTURES.glob(f"{name}*.txt"))
    if files:
        lines += [*title("Lines that are wrong in it", "-")]
        lines += [
            "``chainrule derive ... --answer-file`` reads a derivation line by line. Of lines like the write-up's:",
            "",
        ]
    for path in files:
        lines += [*mistakes(path)]
    return "\n".join(lines)


def mistakes(path: Path) -> Iterator[str]:
    """What the checker says to a derivation whose first lines name what it is about."""
    text = path.read_text(encoding="utf-8")
    about = dict(re.findall(r"^# (program|shapes): (.*)$", text, re.MULTILINE))
    console = Console(file=io.StringIO(), width=96, color_system=None)
    console.print(reviewed(review(about["program"], text, about.get("shapes"))))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    yield from (".. code-block:: text", "", *[f"   {line}".rstrip() for line in shown.splitlines()], "")
