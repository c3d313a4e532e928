"""What batch norm and layer norm do to one sample, and what others in the batch have to do with it."""

from collections.abc import Callable

import numpy as np

from chainrule import nn
from chainrule.engine import Tensor
from chainrule.lab.study import Shown, Stated

FEATURES = 6
NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.BatchNorm1d(FEATURES, dtype=np.float64),
    "layer norm": lambda: nn.LayerNorm(FEATURES, dtype=np.float64),
}
DEPENDS = {"batch norm": True, "layer norm": False}  # on the other samples, by what is averaged over


def batch_against_layer(quick: bool) -> Shown:
    """How far another sample moves the first one's output and gradient; one sample alone; training and evaluation."""
    rows = [
        stated
        for what, measure in (
            ("the first output, after another sample changed", _moved),
            ("the first output's gradient for another sample", _reached),
            ("the output in evaluation, against training", _evaluated),
        )
        for stated in (_stated(f"{name}: {what}", measure(make()), DEPENDS[name]) for name, make in NORMS.items())
    ]
    return Shown(
        (*rows, *(_alone(name, make()) for name, make in NORMS.items())),
        "Batch norm takes mean and variance of a feature over the batch, layer norm those of a sample over its "
        "features. So a sample's output depends on the others in the batch with the one, and not with the other; a "
        "batch of one has no variance; and batch norm needs running statistics where there is no batch.",
    )


def _stated(what: str, change: float, depends: bool) -> Stated:
    """A change that is there, or is exactly none."""
    return Stated(what, "", f"{change:.2g}", "right" if (change > 0) == depends else "wrong")


def _samples(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, FEATURES))


def _moved(norm: nn.Module) -> float:
    x = _samples()
    before = norm.forward(x)[0].copy()
    x[1] += 1.0
    return float(np.abs(norm.forward(x)[0] - before).max())


def _reached(norm: nn.Module) -> float:
    x = Tensor(_samples(), requires_grad=True)
    (norm(x)[0] ** 2 * np.arange(1.0, FEATURES + 1)).sum().backward()
    return float(np.abs(x.grad[1:]).max())


def _evaluated(norm: nn.Module) -> float:
    x = _samples()
    trained = norm.forward(x).copy()
    return float(np.abs(norm.eval().forward(x) - trained).max())


def _alone(name: str, norm: nn.Module) -> Stated:
    try:
        found = f"output up to {np.abs(norm.forward(_samples(1))).max():.2g}"
    except ValueError as error:
        found = f"refused: {str(error).rpartition(': ')[2].partition(';')[0]}"
    refused = found.startswith("refused")
    return Stated(
        f"{name}: a batch of one sample, in training", "", found, "right" if refused == DEPENDS[name] else "wrong"
    )
