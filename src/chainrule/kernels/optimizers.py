"""The optimizers' rules over all parameters in one pass: every number is read from memory once and written once.

The arrays of all parameters are known to the compiled loop by their addresses, in a table that is kept between steps.
What a rule does not find as it expects it (float32 arrays without gaps, of one memory order) is left to the reference
in :mod:`chainrule.optim`.
"""

from __future__ import annotations

import itertools
import operator
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from chainrule import optim
from chainrule.engine import Parameter, _state, using
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import SERIAL, in_parallel
from chainrule.kernels.registry import BACKEND, flat

f32 = np.float32
BLOCK = 8192  # entries of one parameter that one thread takes at a time
STEP, VALUE, GRAD, BUFFER = range(4)  # columns of the table of addresses; a rule's buffers follow each other
SGD, ADAM, ADAMW, RMSPROP, ADAGRAD = range(5)

# ----------------------------------------------------------------------------------------------------------- the rules


@intrinsic
def _pointer(typing, address):
    """The address of a float32, as a pointer."""
    return types.CPointer(types.float32)(types.int64), lambda _, builder, __, args: builder.inttoptr(
        args[0], ir.FloatType().as_pointer()
    )


@intrinsic
def _counter(typing, address):
    """The address of an int64, as a pointer."""
    return types.CPointer(types.int64)(types.int64), lambda _, builder, __, args: builder.inttoptr(
        args[0], ir.IntType(64).as_pointer()
    )


@inner
def _decayed(g, value, decay):
    return g + (decay * value if decay != 0 else f32(0))


@inner
def _sgd(value, g, b, t, lr, momentum, dampening, decay, nesterov):
    lr, mu, decay, new = f32(lr), f32(momentum), f32(decay), f32(1 - dampening)
    if mu == 0:
        for i in range(len(value)):
            value[i] -= lr * _decayed(g[i], value[i], decay)
    elif t == 1:
        ahead = f32(1) + mu if nesterov else f32(1)
        for i in range(len(value)):
            b[i] = _decayed(g[i], value[i], decay)
            value[i] -= lr * ahead * b[i]
    else:
        now, ahead = (f32(1), mu) if nesterov else (f32(0), f32(1))
        for i in range(len(value)):
            d = _decayed(g[i], value[i], decay)
            b[i] = mu * b[i] + new * d
            value[i] -= lr * (now * d + ahead * b[i])


@inner
def _adam(value, g, m, v, t, lr, beta1, beta2, eps, decay, keep):
    """``decay`` adds to the gradient (Adam), ``keep`` multiplies the value (AdamW)."""
    size, unbiased = f32(lr / (1 - beta1**t)), f32(1 / (1 - beta2**t))
    new1, new2, eps, decay, keep = f32(1 - beta1), f32(1 - beta2), f32(eps), f32(decay), f32(keep)
    for i in range(len(value)):
        d = _decayed(g[i], value[i], decay)
        m[i] += new1 * (d - m[i])
        v[i] += new2 * (d * d - v[i])
        value[i] = keep * value[i] - size * m[i] / (np.sqrt(v[i] * unbiased) + eps)


@inner
def _rmsprop(value, g, v, mean, b, lr, alpha, eps, decay, momentum, centered):
    lr, new, eps, decay, mu = f32(lr), f32(1 - alpha), f32(eps), f32(decay), f32(momentum)
    for i in range(len(value)):
        d = _decayed(g[i], value[i], decay)
        v[i] += new * (d * d - v[i])
        s = v[i]
        if centered:
            mean[i] += new * (d - mean[i])
            s -= mean[i] * mean[i]
        d /= np.sqrt(s) + eps
        if mu != 0:
            b[i] = mu * b[i] + d
            d = b[i]
        value[i] -= lr * d


@inner
def _adagrad(value, g, total, t, lr, lr_decay, eps, decay):
    size, eps, decay = f32(lr / (1 + (t - 1) * lr_decay)), f32(eps), f32(decay)
    for i in range(len(value)):
        d = _decayed(g[i], value[i], decay)
        total[i] += d * d
        value[i] -= size * d / (np.sqrt(total[i]) + eps)


@inner
def _part(address, start, stop):
    return carray(_pointer(address + 4 * start), (stop - start,))


@inner
def _update_block(i, rule, numbers, table, blocks):
    """One rule on the entries from ``start`` to ``stop`` of one parameter."""
    row, start, stop = blocks[i, 0], blocks[i, 1], blocks[i, 2]
    addresses = table[row]
    if addresses[GRAD] == 0:
        return
    t = _counter(addresses[STEP])[0]
    value, g = _part(addresses[VALUE], start, stop), _part(addresses[GRAD], start, stop)
    first = _part(addresses[BUFFER], start, stop)
    second, third = _part(addresses[BUFFER + 1], start, stop), _part(addresses[BUFFER + 2], start, stop)
    lr, n1, n2, n3, n4, n5 = numbers
    if rule == SGD:
        _sgd(value, g, first, t, lr, n1, n2, n3, n4 != 0)
    elif rule == ADAM:
        _adam(value, g, first, second, t, lr, n1, n2, n3, n4, 1.0)
    elif rule == ADAMW:
        _adam(value, g, first, second, t, lr, n1, n2, n3, 0.0, 1 - lr * n4)
    elif rule == RMSPROP:
        _rmsprop(value, g, first, second, third, lr, n1, n2, n3, n4, n5 != 0)
    elif rule == ADAGRAD:
        _adagrad(value, g, first, t, lr, n1, n2, n3)


@inner
def _count(table):
    for addresses in table:
        if addresses[GRAD] != 0:
            _counter(addresses[STEP])[0] += 1


@jit
def _update(rule, numbers, table, blocks, pays):
    """Count a step and apply the rule, for every parameter with a gradient. Of ``blocks``: its row, from, to."""
    _count(table)
    in_parallel(_update_block, len(blocks), (rule, numbers, table, blocks), pays)


# ------------------------------------------------------------------------------------------------------------ the table


class Fused(NamedTuple):
    """What the compiled loop needs of an optimizer: which rule, and functions for its six numbers and its buffers."""

    rule: int
    numbers: Callable[[Any], tuple]
    buffers: Callable[[Any], tuple[str, ...]]


def _rmsprop_buffers(o: optim.RMSprop) -> tuple[str, ...]:
    """Those that are not kept stand for themselves as the first one, which is never used in their place."""
    return ("square_avg", "grad_avg" if o.centered else "square_avg", "momentum_buffer" if o.momentum else "square_avg")


def _adam_numbers(o: optim.Adam | optim.AdamW) -> tuple:
    return o.lr, *o.betas, o.eps, o.weight_decay, 0


RULES: dict[type[optim.Optimizer], Fused] = {
    optim.SGD: Fused(
        SGD,
        lambda o: (o.lr, o.momentum, o.dampening, o.weight_decay, o.nesterov, 0),
        lambda o: ("momentum_buffer",) if o.momentum else (),
    ),
    optim.Adam: Fused(ADAM, _adam_numbers, lambda o: ("exp_avg", "exp_avg_sq")),
    optim.AdamW: Fused(ADAMW, _adam_numbers, lambda o: ("exp_avg", "exp_avg_sq")),
    optim.RMSprop: Fused(
        RMSPROP, lambda o: (o.lr, o.alpha, o.eps, o.weight_decay, o.momentum, o.centered), _rmsprop_buffers
    ),
    optim.Adagrad: Fused(ADAGRAD, lambda o: (o.lr, o.lr_decay, o.eps, o.weight_decay, 0, 0), lambda o: ("sum",)),
}


@jit
def _start(x):
    return x.ctypes.data


def _address(x: np.ndarray) -> int:
    """Where the entries of ``x``, which has no gaps, begin: NumPy's own ways to ask take four times as long."""
    return _start(flat(x))


def _dense(x: np.ndarray) -> bool:
    """Is it float32 that a compiled loop can go through as one axis, without gaps?"""
    fits = x.dtype == np.float32 and x.dtype.isnative and x.flags.aligned
    steps = _layout(x)
    last = sum((n - 1) * step for n, step in steps)
    return fits and (x.size == 0 or (all(step > 0 for _, step in steps) and last + x.itemsize == x.nbytes))


def _layout(x):
    """Size and stride of each axis that has any: the strides of the others say nothing."""
    return [(n, step) for n, step in zip(x.shape, x.strides, strict=True) if n > 1]


def _nothing() -> None:
    """What a weak reference to nothing gives."""


class Table:
    """The addresses of an optimizer's arrays, and the blocks that its entries fall into.

    ``usable`` is False where the reference has to do it. Values and buffers are looked at once, when the table is
    made; it holds for as long as they are the same arrays. Gradients may be new arrays in every step.
    """

    def __init__(self, optimizer: optim.Optimizer, names: tuple[str, ...]):
        self.names = names
        self.arrays = _arrays(optimizer, names)
        self.values = [p.value for p in optimizer.params]
        self.seen: list[Any] = [_nothing] * len(self.values)  # weak references: no gradient is kept alive here
        self.layouts = [_layout(value) for value in self.values]
        self.copies: dict[int, np.ndarray] = {}  # of the gradients whose memory is in another order
        self.usable = self._fits(optimizer)
        if self.usable:
            self._fill(optimizer)

    def _fits(self, optimizer: optim.Optimizer) -> bool:
        buffers = [
            (p.value, state[name])
            for p, state in zip(optimizer.params, optimizer.state, strict=True)
            for name in self.names
        ]
        spans = sorted((_address(v), _address(v) + v.nbytes) for v in self.values if v.size)
        return (
            all(_dense(v) and v.flags.writeable for v in self.values)
            and all(_dense(b) and _layout(b) == _layout(v) and b.shape == v.shape for v, b in buffers)
            and all(state["step"].dtype == np.int64 for state in optimizer.state)
            and all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))  # no shared memory
        )

    def _fill(self, optimizer: optim.Optimizer) -> None:
        self.addresses = np.zeros((len(self.values), BUFFER + 3), np.int64)
        for row, value, state in zip(self.addresses, self.values, optimizer.state, strict=True):
            buffers = [_address(state[name]) for name in self.names]
            row[: BUFFER + len(buffers)] = [state["step"].ctypes.data, _address(value), 0, *buffers]
        self.blocks = np.array(
            [
                (i, start, min(start + BLOCK, value.size))
                for i, value in enumerate(self.values)
                for start in range(0, value.size, BLOCK)
            ],
            np.int64,
        ).reshape(-1, 3)
        self.large = sum(value.size for value in self.values) >= SERIAL

    def holds(self, optimizer: optim.Optimizer, names: tuple[str, ...]) -> bool:
        """Are values and buffers the arrays that they were?"""
        now = _arrays(optimizer, names)
        return names == self.names and len(now) == len(self.arrays) and all(map(operator.is_, now, self.arrays))

    def take(self, i: int, g: np.ndarray | None) -> bool:
        """Note the gradient of parameter ``i``. False if it is one that the compiled loop does not know."""
        if i in self.copies:
            del self.copies[i]
        self.seen[i] = _nothing
        self.addresses[i, GRAD] = 0
        if g is None:
            return True
        value = self.values[i]
        if not isinstance(g, np.ndarray) or g.dtype != np.float32 or g.shape != value.shape:
            return False
        if _layout(g) == self.layouts[i] and g.flags.aligned:
            self.addresses[i, GRAD] = _address(g)
        else:
            self.copies[i] = np.empty_like(value)
            self.addresses[i, GRAD] = _address(self.copies[i])
        self.seen[i] = weakref.ref(g)
        return True


def _arrays(optimizer: optim.Optimizer, names: tuple[str, ...]) -> list[np.ndarray]:
    """Everything that a table holds the addresses of, but the gradients."""
    found = [p.value for p in optimizer.params] + [state["step"] for state in optimizer.state]
    for name in names:
        found += [state[name] for state in optimizer.state]
    return found


_tables: weakref.WeakKeyDictionary[optim.Optimizer, Table] = weakref.WeakKeyDictionary()


def step(optimizer: optim.Optimizer) -> bool:
    """Take a step of ``optimizer``, if kernels are in use and it is one that the compiled loop knows.

    It is plain Python around one compiled call: the hyper-parameters are read anew in every step.

    Returns:
        Whether it was taken; if not, nothing has changed.
    """
    if _state.backend != BACKEND:
        return False
    fused = RULES[type(optimizer)]
    names = fused.buffers(optimizer)
    table = _tables.get(optimizer)
    if table is None or not table.holds(optimizer, names):
        table = _tables[optimizer] = Table(optimizer, names)
    if not table.usable:
        return False
    seen = table.seen
    params = list(optimizer.params)
    for i, p in enumerate(params):
        g = p.grad
        if (g is None or g is not seen[i]()) and not table.take(i, g):
            return False
    for i, copy in table.copies.items():
        copy[...] = params[i].grad
    _update(fused.rule, tuple(map(float, fused.numbers(optimizer))), table.addresses, table.blocks, table.large)
    return True


optim.FUSED.update(dict.fromkeys(RULES, step))


def warm() -> None:
    """Compile each rule, for one thread and for several."""
    with using(BACKEND):
        for rule in optim.FUSED:
            for size in (1, 1 << 20):
                weight = Parameter(np.zeros(size, np.float32))
                weight.grad = np.zeros_like(weight.value)
                rule([weight]).step()
