"""The named networks, composed from layers; and the first values of their weights, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.models.activation import ACTIVATIONS, activation_layer
from chainrule.models.convnets import convnet_uva_2018, convnet_uva_2020, convnet_vu
from chainrule.models.mlp import mlp
from chainrule.models.resnet import resnet18
from chainrule.models.squeezenet import squeezenet1_1
from chainrule.nn import Conv2d, Linear, Module, init

MODELS: dict[str, Callable[..., Module]] = {
    "mlp": mlp,
    "convnet-uva-2018": convnet_uva_2018,
    "convnet-uva-2020": convnet_uva_2020,
    "convnet-vu": convnet_vu,
    "resnet18": resnet18,
    "squeezenet1_1": squeezenet1_1,
}
NAMES = tuple(MODELS)

INITIALISERS: dict[str, Callable] = {
    "normal": init.normal_,
    "xavier-normal": init.xavier_normal_,
    "xavier-uniform": init.xavier_uniform_,
    "kaiming-normal": init.kaiming_normal_,
    "kaiming-uniform": init.kaiming_uniform_,
}

__all__ = [
    "ACTIVATIONS", "INITIALISERS", "MODELS", "NAMES", "activation_layer", "build", "convnet_uva_2018",
    "convnet_uva_2020", "convnet_vu", "initialise", "mlp", "resnet18", "squeezenet1_1",
]  # fmt: skip


def build(
    name: str,
    *,
    input_shape: Sequence[int],
    n_classes: int,
    hidden: Sequence[int] = (100,),
    activation: str = "relu",
    negative_slope: float = 0.01,
    dropout: float = 0.0,
    init: str = "pytorch",
    init_std: float = 1e-4,
    dtype: str = "float32",
    rng: np.random.Generator,
) -> Module:
    """A named network with its first weights.

    Args:
        name: a key of :data:`MODELS`.
        input_shape: of one example, without the batch.
        n_classes: number of logits.
        hidden, activation, negative_slope, dropout: of :func:`mlp`; the other networks do not heed them.
        init, init_std: see :func:`initialise`; ``pytorch`` leaves the network's own first values.
        dtype: of the parameters.
        rng: draws first values and dropout masks.

    Raises:
        ValueError: no such network, or no such initialiser.
        UsageError: the network cannot read inputs of this shape.

    >>> model = build("mlp", input_shape=(4,), n_classes=3, rng=np.random.default_rng(0))
    >>> [name for name, _ in model.named_parameters()]
    ['1.weight', '1.bias', '3.weight', '3.bias']
    """
    if name not in MODELS:
        raise ValueError(f"model is {name!r}, expected one of {', '.join(NAMES)}")
    perceptron = {"hidden": hidden, "activation": activation, "negative_slope": negative_slope, "dropout": dropout}
    settings = perceptron if name == "mlp" else {}
    model = MODELS[name](input_shape, n_classes, **settings, dtype=dtype, rng=rng)
    if init != "pytorch":
        initialise(model, init, std=init_std, rng=rng)
    return model


def initialise(model: Module, name: str, *, std: float = 1e-4, rng: np.random.Generator) -> None:
    """Draw the weight of every linear and convolutional layer anew by the initialiser ``name``, and set its bias to 0.

    Args:
        model: changed in place.
        name: a key of :data:`INITIALISERS`.
        std: the standard deviation of ``normal``.
        rng: draws the weights.
    """
    if name not in INITIALISERS:
        raise ValueError(f"init is {name!r}, expected one of pytorch, {', '.join(INITIALISERS)}")
    settings = {"std": std} if name == "normal" else {}
    for module in model.modules():
        if isinstance(module, (Linear, Conv2d)):
            INITIALISERS[name](module.weight, rng=rng, **settings)
            if module.bias is not None:
                init.zeros_(module.bias)
