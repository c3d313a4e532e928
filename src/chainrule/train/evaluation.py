"""A model measured on samples: in eval mode, without a tape, in batches, over all of them."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from chainrule.data import ResizedImages, Samples
from chainrule.data.batches import part_of
from chainrule.engine import Tensor, no_grad
from chainrule.nn import CrossEntropyLoss, Module, ReLU, Sigmoid, Tanh, observe
from chainrule.train.events import Measure
from chainrule.train.parallel import Company
from chainrule.train.remarks import Units

# The slope of sigmoid at y is y (1 - y), at most 1/4; that of tanh 1 - y^2, at most 1.
_RELATIVE_SLOPE = {Sigmoid: lambda y: 4 * y * (1 - y), Tanh: lambda y: 1 - y * y}


def outputs(
    model: Module, x: np.ndarray | ResizedImages, *, dtype: str = "float32", batch_size: int | None = None
) -> Iterator[np.ndarray]:
    """The model's outputs on the rows of `x`, (n, ...), a batch at a time; its mode is as before afterwards.

    By default a batch is 1,000 rows, or 100 images: a convolution's columns take many times its input's memory.

    >>> from chainrule.nn import Identity
    >>> [y.shape for y in outputs(Identity(), np.zeros((5, 3)), batch_size=2)]
    [(2, 3), (2, 3), (1, 3)]
    """
    batch_size = batch_size or (1000 if x.ndim < 4 else 100)
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(x), batch_size):
            with no_grad():
                y = model(x[start : start + batch_size].astype(dtype, copy=False))
            yield _array(y)
    finally:
        model.train(was_training)


def logits_of(model: Module, samples: Samples, *, dtype: str = "float32") -> np.ndarray:
    """The model's outputs on all samples, (n, classes).

    >>> from chainrule.nn import Identity
    >>> logits_of(Identity(), Samples(np.zeros((4, 10)), np.array([0, 0, 0, 1]))).shape
    (4, 10)
    """
    return np.concatenate(list(outputs(model, samples.x, dtype=dtype)))


def measure(logits: np.ndarray, labels: np.ndarray) -> Measure:
    """Mean cross-entropy in nats and accuracy of these logits.

    >>> measure(np.zeros((4, 10)), np.array([0, 0, 0, 1]))
    Measure(loss=2.302585092994046, accuracy=0.75)
    """
    loss, right = _totals(logits, labels) / len(labels)
    return Measure(float(loss), float(right))


def measure_together(model: Module, samples: Samples, company: Company, *, dtype: str = "float32") -> Measure:
    """Mean cross-entropy and accuracy of the model on all samples, of which each process looks at its part.

    >>> from chainrule.nn import Identity
    >>> from chainrule.train.parallel import Alone
    >>> measure_together(Identity(), Samples(np.zeros((4, 10)), np.array([0, 0, 0, 1])), Alone(), dtype="float64")
    Measure(loss=2.302585092994046, accuracy=0.75)
    """
    first, last = part_of(len(samples), company.rank, company.size)
    totals = np.zeros(2)
    if last > first:
        x, own = samples.x, slice(first, last)
        part = Samples(x.subset(np.arange(first, last)) if isinstance(x, ResizedImages) else x[own], samples.y[own])
        totals = _totals(logits_of(model, part, dtype=dtype), part.y)
    loss, right = company.sum(totals) / len(samples)
    return Measure(float(loss), float(right))


def _totals(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The sum of the losses, and how many answers are right."""
    losses = CrossEntropyLoss(reduction="none")(logits, labels)
    return np.array([losses.sum(dtype=np.float64), (logits.argmax(1) == labels).sum()])


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many samples of each class (row) are taken for each class (column): int64, (classes, classes).

    >>> confusion(np.array([[3.0, 1.0], [2.0, 0.0]]), np.array([0, 1]))
    array([[1, 0],
           [1, 0]])
    """
    n_classes = logits.shape[1]
    chosen = logits.argmax(1)
    return np.bincount(labels * n_classes + chosen, minlength=n_classes**2).reshape(n_classes, n_classes)


def activation_units(model: Module, samples: Samples, *, dtype: str = "float32") -> list[Units]:
    """What the units of every ReLU, Sigmoid and Tanh layer do on all samples; a unit is a column, or a channel.

    >>> from chainrule.nn import Sequential
    >>> x = np.array([[-1.0, 1.0, 1.0], [-2.0, 0.0, 1.0]], np.float32)
    >>> activation_units(Sequential(ReLU()), Samples(x, np.array([0, 1])))
    [Units(layer='0', activation='ReLU', units=3, dead=1, saturated=0.0)]
    """
    names: dict[Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, ReLU | Sigmoid | Tanh)
    }
    calls: Counter[Module] = Counter()  # in the batch so far: a layer may stand in several places
    alive: dict[tuple[Module, int], np.ndarray] = {}
    flat: dict[tuple[Module, int], float] = {}

    def see(module: Module, inputs: tuple, output: Tensor | np.ndarray) -> None:
        if module in names:
            calls[module] += 1
            place, y = (module, calls[module]), _array(output)
            alive[place] = alive.get(place, False) | (y != 0).any(axis=(0, *range(2, y.ndim)))
            slope = _RELATIVE_SLOPE.get(type(module))
            flat[place] = flat.get(place, 0.0) + (float((slope(y) < 0.01).sum()) / y[0].size if slope else 0.0)

    with observe(see):
        for _ in outputs(model, samples.x, dtype=dtype):
            calls.clear()
    return [
        Units(
            names[module] + (f", call {call}" if call > 1 else ""),
            type(module).__name__,
            alive[module, call].size,
            int((~alive[module, call]).sum()),
            flat[module, call] / len(samples),
        )
        for module, call in alive
    ]


def _array(y: Tensor | np.ndarray) -> np.ndarray:
    return y.value if isinstance(y, Tensor) else y
