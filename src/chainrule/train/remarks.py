"""What a person should have noticed about a run, in plain words: pure functions from recorded facts to a remark.

Each says what was seen, what it means, and what to try.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.train.events import Remark


@dataclass(frozen=True, slots=True)
class Units:
    """What the units of one activation layer did over all the samples of a part."""

    layer: str  #: name of the layer in the model, as in `named_modules`
    activation: str  #: class of the layer: ReLU, Sigmoid, Tanh
    units: int
    dead: int  #: units whose output is 0 on every sample
    saturated: float  #: share of all outputs at which the slope is below a hundredth of its largest value


def plateau(train_losses: Sequence[float], class_shares: Sequence[float]) -> Remark | None:
    """Remarks that the training loss ended where guessing stands, and was no longer falling.

    Guessing means answering every sample with the shares of the classes: its loss is their entropy, ln C if the C
    classes are equally frequent. A loss at most 3 % below that which fell less than 1 % of it over the second half
    of the evaluations has learned nothing. Losses are in nats, one for each evaluation.

    >>> print(plateau([2.36, 2.31, 2.304, 2.303], [0.1] * 10).text[:81])
    Nothing was learned: the training loss ended at 2.303, and guessing gives ln 10 =
    >>> plateau([2.30, 1.2, 0.4, 0.2], [0.1] * 10)
    """
    guess = -sum(share * math.log(share) for share in class_shares if share > 0)
    last, middle = train_losses[-1], train_losses[(len(train_losses) - 1) // 2]
    if len(train_losses) < 2 or last < 0.97 * guess or middle - last > 0.01 * guess:
        return None
    classes = len(class_shares)
    even = math.isclose(guess, math.log(classes), rel_tol=0.01)
    name = f"ln {classes} = {math.log(classes):.3f}" if even else f"{guess:.3f}, the entropy of the classes' shares"
    return Remark(
        "plateau",
        f"Nothing was learned: the training loss ended at {last:.3f}, and guessing gives {name}. "
        "Try a learning rate ten times larger, then ten times smaller; other initial weights (--init xavier-normal); "
        "and look whether the inputs are scaled and the labels belong to them.",
    )


def overfitting(train_loss: float, val_losses: Sequence[float], steps: Sequence[int]) -> Remark | None:
    """Remarks that the training loss ended far below the validation loss: by more than 0.1 nats and than half of it.

    `val_losses` and `steps` hold one entry for each evaluation.

    >>> overfitting(0.01, [2.3, 0.25, 0.41], [0, 100, 200]).kind
    'overfitting'
    >>> overfitting(0.30, [2.3, 0.45, 0.41], [0, 100, 200])
    """
    last = val_losses[-1]
    if last - train_loss < max(0.1, 0.5 * last):
        return None
    lowest = min(range(len(val_losses)), key=val_losses.__getitem__)
    since = f" (it was lowest, {val_losses[lowest]:.3f}, at step {steps[lowest]})" if val_losses[lowest] < last else ""
    return Remark(
        "overfitting",
        f"Overfitting: the training loss, {train_loss:.3f}, ended far below the validation loss, {last:.3f}{since}: "
        "the network learns the training samples by heart. "
        "Try --dropout 0.2, --weight-decay 1e-4, --patience 5, fewer units, or more data.",
    )


def dead_units(layers: Sequence[Units]) -> Remark | None:
    """Remarks on ReLU layers of which at least one unit in twenty is 0 on every training sample.

    >>> dead_units([Units("1", "ReLU", units=100, dead=30, saturated=0.0)]).text[:63]
    'Dead units: 30 of 100 in layer 1 are 0 on every training sample'
    >>> dead_units([Units("1", "ReLU", units=100, dead=2, saturated=0.0)])
    """
    found = [layer for layer in layers if layer.dead >= 0.05 * layer.units]
    if not found:
        return None
    counts = ", ".join(f"{layer.dead} of {layer.units} in layer {layer.layer}" for layer in found)
    return Remark(
        "dead-units",
        f"Dead units: {counts} are 0 on every training sample that was measured: no gradient reaches them, and they "
        "cannot learn. Try a smaller learning rate, --init kaiming-normal, or (mlp) --activation leaky-relu.",
    )


def saturation(layers: Sequence[Units]) -> Remark | None:
    """Remarks on sigmoid and tanh layers more than half of whose outputs are so near their limits that they are flat.

    >>> saturation([Units("1", "Sigmoid", units=100, dead=0, saturated=0.8)]).text[:60]
    'Saturated units: 80 % of the outputs of layer 1 (Sigmoid) st'
    >>> saturation([Units("1", "Sigmoid", units=100, dead=0, saturated=0.2)])
    """
    found = [layer for layer in layers if layer.saturated > 0.5]
    if not found:
        return None
    shares = ", ".join(
        f"{100 * it.saturated:.0f} % of the outputs of layer {it.layer} ({it.activation})" for it in found
    )
    return Remark(
        "saturation",
        f"Saturated units: {shares} stand so near their limits that the slope is below a hundredth of "
        "its largest value, and hardly any gradient passes. Try smaller initial weights (--init xavier-normal), scaled "
        "inputs, a smaller learning rate, or --activation relu.",
    )
