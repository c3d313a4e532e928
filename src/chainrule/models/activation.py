"""Activations by the names that options and configurations use."""

from __future__ import annotations

from chainrule import nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


def activation_layer(name: str, negative_slope: float = 0.01) -> nn.Module:
    """A new layer of this name; ``negative_slope`` is the leaky ReLU's.

    >>> activation_layer("leaky-relu", 0.02)
    LeakyReLU(negative_slope=0.02)
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return nn.LeakyReLU(negative_slope) if name == "leaky-relu" else ACTIVATIONS[name]()
