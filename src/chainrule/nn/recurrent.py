"""Recurrent networks: cells, which take one step in time, and layers of cells over whole sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.engine import Parameter
from chainrule.nn import init
from chainrule.nn.module import Module

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a cell's parameters, in the order of the ops' inputs


def _add_parameters(
    module: Recurrent, n_gates: int, input_size: int, bias: bool, rng: np.random.Generator, dtype: Any, suffix: str = ""
) -> None:
    """Give ``module`` the parameters of one cell, drawn as PyTorch does."""
    bound = 1 / math.sqrt(module.hidden_size)

    def drawn(*columns: int) -> Parameter:
        parameter = Parameter(np.empty((n_gates * module.hidden_size, *columns), dtype))
        return init.uniform_(parameter, -bound, bound, rng=rng)

    biases = (drawn(), drawn()) if bias else (None, None)
    for name, value in zip(NAMES, (drawn(input_size), drawn(module.hidden_size), *biases), strict=True):
        setattr(module, name + suffix, value)


def _parameters(module: Recurrent, suffix: str = "") -> tuple[Parameter | None, ...]:
    return tuple(getattr(module, name + suffix) for name in NAMES)


# --------------------------------------------------------------------------------------------------------------- cells


class RNNCell(Module):
    r"""One step of an Elman network (:func:`chainrule.ops.rnn_cell`).

    Args:
        input_size, hidden_size: sizes of a row of the input and of the state.
        bias: add ``bias_ih`` and ``bias_hh``?
        nonlinearity: ``"tanh"`` or ``"relu"``.
        rng: draws the first values, all from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the hidden size.
        dtype: of the parameters.

    Attributes:
        weight_ih: ``(hidden_size, input_size)``.
        weight_hh: ``(hidden_size, hidden_size)``.
        bias_ih, bias_hh: ``(hidden_size,)``, or None.

    >>> RNNCell(4, 3)(np.zeros((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.input_size, self.hidden_size, self.nonlinearity = input_size, hidden_size, nonlinearity
        _add_parameters(self, 1, input_size, bias, rng or np.random.default_rng(), dtype)

    def __call__(self, x: Any, hx: Any = None) -> Any:
        """The new hidden state, from the input ``(n, input_size)`` and ``hx``, ``(n, hidden_size)``, by default 0."""
        h = np.zeros((len(x), self.hidden_size), x.dtype) if hx is None else hx
        return ops.rnn_cell(x, h, *_parameters(self), nonlinearity=self.nonlinearity)


class LSTMCell(Module):
    r"""One step of a long short-term memory (:func:`chainrule.ops.lstm_cell`).

    Args:
        input_size, hidden_size: sizes of a row of the input and of the states.
        bias: add ``bias_ih`` and ``bias_hh``?
        rng: draws the first values, all from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the hidden size.
        dtype: of the parameters.

    Attributes:
        weight_ih: ``(4 hidden_size, input_size)``: the rows of the gates i, f, g, o.
        weight_hh: ``(4 hidden_size, hidden_size)``.
        bias_ih, bias_hh: ``(4 hidden_size,)``, or None.

    >>> h, c = LSTMCell(4, 3)(np.zeros((2, 4), np.float32))
    >>> h.shape, c.shape
    ((2, 3), (2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.input_size, self.hidden_size = input_size, hidden_size
        _add_parameters(self, 4, input_size, bias, rng or np.random.default_rng(), dtype)

    def __call__(self, x: Any, hx: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        """The new hidden and cell state, from the input ``(n, input_size)`` and the pair of last ones, by default 0."""
        zero = np.zeros((len(x), self.hidden_size), x.dtype)
        h, c = ops.lstm_cell(x, *((zero, zero) if hx is None else hx), *_parameters(self))
        return h, c


class GRUCell(Module):
    r"""One step of a gated recurrent unit (:func:`chainrule.ops.gru_cell`).

    Args:
        input_size, hidden_size: sizes of a row of the input and of the state.
        bias: add ``bias_ih`` and ``bias_hh``?
        rng: draws the first values, all from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the hidden size.
        dtype: of the parameters.

    Attributes:
        weight_ih: ``(3 hidden_size, input_size)``: the rows of the gates r, z, n.
        weight_hh: ``(3 hidden_size, hidden_size)``.
        bias_ih, bias_hh: ``(3 hidden_size,)``, or None.

    >>> GRUCell(4, 3)(np.zeros((2, 4), np.float32)).shape
    (2, 3)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.input_size, self.hidden_size = input_size, hidden_size
        _add_parameters(self, 3, input_size, bias, rng or np.random.default_rng(), dtype)

    def __call__(self, x: Any, hx: Any = None) -> Any:
        """The new hidden state, from the input ``(n, input_size)`` and ``hx``, ``(n, hidden_size)``, by default 0."""
        h = np.zeros((len(x), self.hidden_size), x.dtype) if hx is None else hx
        return ops.gru_cell(x, h, *_parameters(self))


# ----------------------------------------------------------------------------------------------------------- sequences


def _add_layers(module: Layered, n_gates: int, bias: bool, rng: np.random.Generator | None, dtype: Any) -> None:
    """Give ``module`` the parameters of its layers; each one's input is the hidden state of the one below."""
    rng = rng or np.random.default_rng()
    for layer in range(module.num_layers):
        input_size = module.input_size if layer == 0 else module.hidden_size
        _add_parameters(module, n_gates, input_size, bias, rng, dtype, suffix=f"_l{layer}")


def _over_time(module: Layered, step: Callable, x: Any, start: tuple[Any, ...]) -> tuple[Any, ...]:
    """The last layer's outputs at all times, and every layer's last states.

    Args:
        module: has the sizes and the parameters.
        step: from an input, the states and a cell's parameters to the new states, of which the first is the output.
        x: the sequences.
        start: the first states, each ``(num_layers, n, hidden_size)``; None for 0.
    """
    name, time = type(module).__name__, int(module.batch_first)
    if x.ndim != 3 or x.shape[time] == 0:
        expected = "(n, l, input_size)" if module.batch_first else "(l, n, input_size)"
        raise ValueError(f"{name}: x has shape {x.shape}, expected {expected}, l at least 1")
    shape = (module.num_layers, x.shape[1 - time], module.hidden_size)
    start = tuple(np.zeros(shape, x.dtype) if state is None else state for state in start)
    for state in start:
        if state.shape != shape:
            raise ValueError(f"{name}: hx holds a state of shape {state.shape}, expected {shape}: (num_layers, n, d)")
    outputs = list(np.swapaxes(x, 0, time))
    last = []
    for layer in range(module.num_layers):
        states = [state[layer] for state in start]
        for t, output in enumerate(outputs):
            states = step(output, *states, *_parameters(module, f"_l{layer}"))
            outputs[t] = states[0]
        last.append(states)
    return np.stack(outputs, axis=time), *(np.stack(states) for states in zip(*last, strict=True))


class RNN(Module):
    r"""Layers of Elman networks over sequences: :func:`chainrule.ops.rnn_cell` at every step in time.

    Args:
        input_size, hidden_size: sizes of one step's input and of a layer's state.
        num_layers: how many; each one's input is the hidden state of the one below.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: add the biases?
        batch_first: are sequences, and outputs, ``(n, l, ...)``? States are not concerned.
        rng: draws the first values, all from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the hidden size.
        dtype: of the parameters.

    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0: those of :class:`RNNCell` for layer 0, and so on.

    >>> output, h_n = RNN(4, 3, num_layers=2)(np.zeros((5, 2, 4), np.float32))
    >>> output.shape, h_n.shape
    ((5, 2, 3), (2, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.nonlinearity, self.batch_first = nonlinearity, batch_first
        _add_layers(self, 1, bias, rng, dtype)

    def __call__(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        """The pair ``output, h_n``.

        Args:
            x: ``(l, n, input_size)``, sequences of length l.
            hx: ``(num_layers, n, hidden_size)``, the first hidden states, by default 0.

        Returns:
            The last layer's hidden states at all times, ``(l, n, hidden_size)``, and all layers' last hidden states,
            ``(num_layers, n, hidden_size)``.

        Raises:
            ValueError: ``x`` or ``hx`` has another shape, or there is no step.
        """

        def step(*inputs: Any) -> tuple[Any]:
            return (ops.rnn_cell(*inputs, nonlinearity=self.nonlinearity),)

        output, h_n = _over_time(self, step, x, (hx,))
        return output, h_n


class LSTM(Module):
    r"""Layers of long short-term memories over sequences: :func:`chainrule.ops.lstm_cell` at every step in time.

    Args:
        input_size, hidden_size: sizes of one step's input and of a layer's states.
        num_layers: how many; each one's input is the hidden state of the one below.
        bias: add the biases?
        batch_first: are sequences, and outputs, ``(n, l, ...)``? States are not concerned.
        rng: draws the first values, all from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the hidden size.
        dtype: of the parameters.

    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0: those of :class:`LSTMCell` for layer 0, and so on.

    >>> output, (h_n, c_n) = LSTM(4, 3, num_layers=2)(np.zeros((5, 2, 4), np.float32))
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 2, 3), (2, 2, 3), (2, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first = batch_first
        _add_layers(self, 4, bias, rng, dtype)

    def __call__(self, x: Any, hx: tuple[Any, Any] | None = None) -> tuple[Any, tuple[Any, Any]]:
        """``output`` and the pair ``h_n, c_n``.

        Args:
            x: ``(l, n, input_size)``, sequences of length l.
            hx: the pair of first hidden and cell states, each ``(num_layers, n, hidden_size)``, by default 0.

        Returns:
            The last layer's hidden states at all times, ``(l, n, hidden_size)``, and all layers' last states, each
            ``(num_layers, n, hidden_size)``.

        Raises:
            ValueError: ``x`` or ``hx`` has another shape, or there is no step.
        """

        def step(*inputs: Any) -> tuple[Any, ...]:
            return tuple(ops.lstm_cell(*inputs))

        output, h_n, c_n = _over_time(self, step, x, (None, None) if hx is None else hx)
        return output, (h_n, c_n)


class GRU(Module):
    r"""Layers of gated recurrent units over sequences: :func:`chainrule.ops.gru_cell` at every step in time.

    Args:
        input_size, hidden_size: sizes of one step's input and of a layer's state.
        num_layers: how many; each one's input is the hidden state of the one below.
        bias: add the biases?
        batch_first: are sequences, and outputs, ``(n, l, ...)``? States are not concerned.
        rng: draws the first values, all from :math:`\mathcal U(-1/\sqrt{d}, 1/\sqrt{d})`, with ``d`` the hidden size.
        dtype: of the parameters.

    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0: those of :class:`GRUCell` for layer 0, and so on.

    >>> output, h_n = GRU(4, 3, num_layers=2)(np.zeros((5, 2, 4), np.float32))
    >>> output.shape, h_n.shape
    ((5, 2, 3), (2, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ):
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first = batch_first
        _add_layers(self, 3, bias, rng, dtype)

    def __call__(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        """The pair ``output, h_n``.

        Args:
            x: ``(l, n, input_size)``, sequences of length l.
            hx: ``(num_layers, n, hidden_size)``, the first hidden states, by default 0.

        Returns:
            The last layer's hidden states at all times, ``(l, n, hidden_size)``, and all layers' last hidden states,
            ``(num_layers, n, hidden_size)``.

        Raises:
            ValueError: ``x`` or ``hx`` has another shape, or there is no step.
        """

        def step(*inputs: Any) -> tuple[Any]:
            return (ops.gru_cell(*inputs),)

        output, h_n = _over_time(self, step, x, (hx,))
        return output, h_n


Layered = RNN | LSTM | GRU
Recurrent = RNNCell | LSTMCell | GRUCell | Layered
