"""The named networks, composed from layers; and the first values of their weights, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.models.activation import ACTIVATIONS, activation_layer
from chainrule.models.mlp import mlp
from chainrule.nn import Linear, Module, init

MODELS = {"mlp": mlp}
NAMES = tuple(MODELS)

INITIALISERS: dict[str, Callable] = {
    "normal": init.normal_,
    "xavier-normal": init.xavier_normal_,
    "xavier-uniform": init.xavier_uniform_,
    "kaiming-normal": init.kaiming_normal_,
    "kaiming-uniform": init.kaiming_uniform_,
}

__all__ = ["ACTIVATIONS", "INITIALISERS", "NAMES", "activation_layer", "build", "initialise", "mlp"]


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
    """A named network with its first weights (see :func:`mlp` and :func:`initialise` for the arguments).

    >>> model = build("mlp", input_shape=(4,), n_classes=3, rng=np.random.default_rng(0))
    >>> [name for name, _ in model.named_parameters()]
    ['1.weight', '1.bias', '3.weight', '3.bias']
    """
    if name not in MODELS:
        raise ValueError(f"model is {name!r}, expected one of {', '.join(NAMES)}")
    model = MODELS[name](
        input_shape,
        n_classes,
        hidden=hidden,
        activation=activation,
        negative_slope=negative_slope,
        dropout=dropout,
        dtype=dtype,
        rng=rng,
    )
    if init != "pytorch":
        initialise(model, init, std=init_std, rng=rng)
    return model


def initialise(model: Module, name: str, *, std: float = 1e-4, rng: np.random.Generator) -> None:
    """Draw every linear layer's weight anew by the initialiser ``name``, and set its bias to 0.

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
        if isinstance(module, Linear):
            INITIALISERS[name](module.weight, rng=rng, **settings)
            if module.bias is not None:
                init.zeros_(module.bias)
