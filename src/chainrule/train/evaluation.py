"""A model measured on samples: in eval mode, without a tape, in batches, over all of them."""

from collections.abc import Iterator

import numpy as np

from chainrule.data import ResizedImages, Samples
from chainrule.engine import Tensor, no_grad
from chainrule.nn import CrossEntropyLoss, Module, ReLU, Sigmoid, Tanh, observe
from chainrule.train.events import Measure
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


def measure(model: Module, samples: Samples, *, dtype: str = "float32") -> Measure:
    """Mean cross-entropy in nats and accuracy of the model's logits on all samples.

    >>> from chainrule.nn import Identity
    >>> measure(Identity(), Samples(np.zeros((4, 10)), np.array([0, 0, 0, 1])), dtype="float64")
    Measure(loss=2.302585092994046, accuracy=0.75)
    """
    criterion = CrossEntropyLoss(reduction="sum")
    loss, right, seen = 0.0, 0, 0
    for logits in outputs(model, samples.x, dtype=dtype):
        labels = samples.y[seen : seen + len(logits)]
        loss += float(criterion(logits, labels))
        right += int((logits.argmax(1) == labels).sum())
        seen += len(logits)
    return Measure(loss / seen, right / seen)


def confusion(model: Module, samples: Samples, n_classes: int, *, dtype: str = "float32") -> np.ndarray:
    """How many samples of each class (row) the model takes for each class (column): int64, (n_classes, n_classes).

    >>> from chainrule.nn import Identity
    >>> confusion(Identity(), Samples(np.array([[3.0, 1.0], [2.0, 0.0]], np.float32), np.array([0, 1])), 2)
    array([[1, 0],
           [1, 0]])
    """
    chosen = np.concatenate([logits.argmax(1) for logits in outputs(model, samples.x, dtype=dtype)])
    return np.bincount(samples.y * n_classes + chosen, minlength=n_classes**2).reshape(n_classes, n_classes)


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
    alive: dict[Module, np.ndarray] = {}
    flat: dict[Module, list[float]] = {}

    def see(module: Module, inputs: tuple, output: Tensor | np.ndarray) -> None:
        if module in names:
            y = _array(output)
            nonzero = (y != 0).any(axis=(0, *range(2, y.ndim)))
            alive[module] = alive.get(module, False) | nonzero
            slope = _RELATIVE_SLOPE.get(type(module))
            flat.setdefault(module, []).append(float((slope(y) < 0.01).sum()) / y[0].size if slope else 0.0)

    with observe(see):
        for _ in outputs(model, samples.x, dtype=dtype):
            pass
    return [
        Units(names[m], type(m).__name__, alive[m].size, int((~alive[m]).sum()), sum(flat[m]) / len(samples))
        for m in alive
    ]


def _array(y: Tensor | np.ndarray) -> np.ndarray:
    return y.value if isinstance(y, Tensor) else y
