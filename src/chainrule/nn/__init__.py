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
from chainrule.nn.attention import MultiheadAttention
from chainrule.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from chainrule.nn.embedding import Embedding
from chainrule.nn.layers import Dropout, Flatten, Identity, Linear
from chainrule.nn.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss
from chainrule.nn.module import Module, Sequential, observe
from chainrule.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm1d, InstanceNorm2d, LayerNorm, RMSNorm
from chainrule.nn.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from chainrule.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from chainrule.nn.summary import Summary, summary

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "RNN", "SELU", "AdaptiveAvgPool2d", "AvgPool2d", "BCELoss", "BCEWithLogitsLoss",
    "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout", "Embedding",
    "Flatten", "GRUCell", "GroupNorm", "HuberLoss", "Identity", "InstanceNorm1d", "InstanceNorm2d", "L1Loss",
    "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MSELoss", "MaxPool2d", "Module",
    "MultiheadAttention", "NLLLoss", "Parameter", "RMSNorm", "RNNCell", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "Summary", "Tanh", "init", "observe", "summary",
]  # fmt: skip
