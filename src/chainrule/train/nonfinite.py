"""Where NaN or infinity came from, when the loss is no longer a number."""

import numpy as np

from chainrule.engine import no_grad
from chainrule.nn import Module, observe


def all_finite(model: Module) -> bool:
    """Whether every parameter is free of NaN and infinity.

    >>> from chainrule.nn import Linear
    >>> all_finite(Linear(2, 3))
    True
    """
    return all(np.isfinite(parameter.value).all() for parameter in model.parameters())


def blame(model: Module, x: np.ndarray, *, step: int) -> str:
    """Names the layer and the step where NaN or infinity first appeared, in words.

    `step` is the one whose loss on the batch `x` is not finite; the parameters still hold the gradients of the step
    before. If those are not finite, the last such layer is to blame: backward came there first. Otherwise it is the
    first layer whose output is not finite.

    >>> from chainrule.nn import Linear, ReLU, Sequential
    >>> model = Sequential(Linear(2, 3), ReLU(), Linear(3, 2))
    >>> model[2].weight.value[0, 0] = np.inf
    >>> blame(model, np.ones((1, 2), np.float32), step=7)
    'the output of layer 2 (Linear) at step 7'
    """
    names = {module: f"{name} ({type(module).__name__})" for name, module in model.named_modules()}
    for module, name in reversed(names.items()):
        own = [value for _, value in module.named_parameters()] if not any(module.named_children()) else []
        if any(p.grad is not None and not np.isfinite(p.grad).all() for p in own):
            return f"the gradient of layer {name} at step {step - 1}"
    found: list[str] = []

    def see(module: Module, inputs: tuple, y: object) -> None:
        value = y if isinstance(y, np.ndarray) else getattr(y, "value", np.zeros(0))
        if module in names and not np.isfinite(value).all():
            found.append(names[module])

    with no_grad(), observe(see), np.errstate(all="ignore"):
        model(x)
    return f"the output of layer {found[0]} at step {step}" if found else f"the loss function at step {step}"
