"""Layers and losses: parameters, state and randomness around the ops. Names, arguments and defaults are PyTorch's."""

from chainrule.engine import Parameter
from chainrule.nn import init
from chainrule.nn.activations import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from chainrule.nn.layers import Dropout, Flatten, Identity, Linear
from chainrule.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss
from chainrule.nn.module import Module, Sequential, observe
from chainrule.nn.summary import Summary, summary

__all__ = [
    "ELU", "GELU", "SELU", "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "Dropout", "Flatten", "HuberLoss",
    "Identity", "L1Loss", "LeakyReLU", "Linear", "LogSoftmax", "MSELoss", "Module", "NLLLoss", "Parameter", "ReLU",
    "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Summary", "Tanh", "init", "observe", "summary",
]  # fmt: skip
