"""The sign of gradient descent's step, and how large gradients are below many layers of sigmoids or of ReLUs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from chainrule import nn
from chainrule.lab.study import Shown, Stated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS, WIDTH, BATCH, DRAWS, QUICK_DRAWS = 10, 64, 128, 20, 5
ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
RATE, STEPS = 0.1, 100


def update(quick: bool) -> Shown:
    """Steps with W - eta g and with W eta g on the loss of a small network."""
    rng = np.random.default_rng(0)
    layers = [nn.Linear(4, 5, rng=rng, dtype=np.float64), nn.Sigmoid(), nn.Linear(5, 3, rng=rng, dtype=np.float64)]
    model, criterion = nn.Sequential(*layers), nn.MSELoss()
    x, target = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
    first = [p.value.copy() for p in model.parameters()]

    def walk(step: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[float, float]:
        """The loss after `STEPS` steps from the first weights, and the largest weight."""
        for parameter, value in zip(model.parameters(), first, strict=True):
            parameter.value[...] = value
        for _ in range(STEPS):
            model.zero_grad()
            criterion.forward(model.forward(x), target)
            model.backward(criterion.backward())
            for parameter in model.parameters():
                parameter.value[...] = step(parameter.value, parameter.grad)
        return float(criterion(model(x), target).value), max(float(np.abs(p.value).max()) for p in model.parameters())

    before, largest = walk(lambda w, g: w)
    down, _ = walk(lambda w, g: w - RATE * g)
    product, left = walk(lambda w, g: w * RATE * g)
    constant = float(np.mean(target**2))
    return Shown(
        (
            Stated("loss before", "", f"{before:.4f}", f"largest weight {largest:.2f}"),
            Stated(
                "after W <- W - eta dL/dW", "", f"{down:.4f}", "right: less" if down < before else "wrong: not less"
            ),
            Stated(
                "after W <- W eta dL/dW",
                "the write-up's rule",
                f"{product:.4f}",
                f"largest weight {left:.0e}; a network that always says 0 has {constant:.4f}",
            ),
        ),
        f"{STEPS} steps with eta = {RATE:g}; a network of 4, 5 and 3 units with the squared error. A weight times its "
        "own gradient is no step downhill: it makes the weights vanish.",
    )


def vanishing(quick: bool) -> Shown:
    """The size of the gradient of every layer's weights in a deep network, relative to the last one's."""
    draws = QUICK_DRAWS if quick else DRAWS
    sizes = {name: np.array([_sizes(kind, seed) for seed in range(draws)]) for name, kind in ACTIVATIONS.items()}
    relative = {name: found / found[:, -1:] for name, found in sizes.items()}
    rows = [
        Stated(
            f"gradient of the first of {LAYERS} layers over the last one's, {name}",
            "vanishes" if name == "sigmoid" else "",
            f"{np.median(found[:, 0]):.1e}",
            f"median of {draws} draws of the weights; {found[:, 0].min():.1e} to {found[:, 0].max():.1e}",
        )
        for name, found in relative.items()
    ]
    text = (
        f"{LAYERS} layers of {WIDTH} units with Glorot's first weights, {BATCH} normal inputs. The derivative of the "
        "sigmoid is at most 1/4: by at least that factor every sigmoid on the way down makes the gradient smaller, "
        "beside what the weights do."
    )
    caption = "Size of the gradient of every layer's weights, relative to the last layer's: medians, and all draws."
    return Shown(tuple(rows), text, _picture(relative), caption)


def _sizes(activation: type[nn.Module], seed: int) -> list[float]:
    """The norm of the gradient of every layer's weights."""
    rng = np.random.default_rng(seed)
    linear = [nn.Linear(WIDTH, WIDTH, rng=rng, dtype=np.float64) for _ in range(LAYERS)]
    for layer in linear:
        nn.init.xavier_normal_(layer.weight, rng=rng)
    model = nn.Sequential(*(part for layer in linear for part in (layer, activation())))
    model.forward(rng.normal(size=(BATCH, WIDTH)))
    model.backward(rng.normal(size=(BATCH, WIDTH)) / BATCH)
    return [float(np.linalg.norm(layer.weight.grad)) for layer in linear]


def _picture(relative: dict[str, np.ndarray]) -> "Figure":
    from chainrule.lab.charts import lines_chart

    layers = np.arange(1, LAYERS + 1)
    return lines_chart(
        {name: (layers, found) for name, found in relative.items()},
        x="layer, from the input",
        y="size of the gradient, last layer = 1",
        logarithmic=True,
    )
