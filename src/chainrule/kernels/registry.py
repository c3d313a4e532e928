"""How a kernel replaces a rule: the same value and the same pullbacks, computed by compiled loops.

A kernel is written like the rule it replaces: it returns the value and one pullback per input. It allocates its results
with :func:`empty` or :func:`empty_image`, and every loop over numbers is a compiled function run by :func:`call`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.engine import Op, Rule, _state
from chainrule.kernels.layout import put_channels_last

BACKEND = "cpu"
CHANNELS_LAST = np.empty((2, 2, 2, 2), np.float32).transpose(0, 3, 1, 2)


def kernel(op: Op, accepts: Callable[..., bool] | None = None) -> Callable[[Rule], Rule]:
    """Register a kernel of this op. It is used where every real input is float32 and ``accepts`` agrees.

    Args:
        op: the op whose rule is replaced.
        accepts: is called with the op's inputs and hyper-parameters; everything it refuses goes to the rule.

    >>> from chainrule import ops, using
    >>> x = np.array([-1.0, 2.0], np.float32)
    >>> with using("cpu"):
    ...     ops.relu(x)
    array([0., 2.], dtype=float32)
    """

    def register(fast: Rule) -> Rule:
        @op.kernel(BACKEND)
        @functools.wraps(fast)
        def chosen(*inputs: Any, **params: Any) -> Any:
            single = all(x is None or x.dtype == np.float32 or x.dtype.kind in "biu" for x in inputs)
            if single and (accepts is None or accepts(*inputs, **params)):
                return fast(*inputs, **params)
            recorder = _state.recorder
            return op.rule(*inputs, **params) if recorder is None else recorder.rule(op, op.rule, inputs, params)

        return fast

    return register


def call(function: Callable, *args: Any) -> Any:
    """Run a compiled function on arrays and numbers. What it computes, it writes into arrays among its arguments.

    Everything that computes goes through here: a recorded step (:func:`chainrule.compile`) repeats these calls alone.
    """
    recorder = _state.recorder
    return function(*args) if recorder is None else recorder.call(function, args)


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """An array of float32 for a result."""
    return np.empty(shape, np.float32)


def empty_image(n: int, c: int, h: int, w: int) -> np.ndarray:
    """An array of float32 of shape ``(n, c, h, w)`` whose memory has the channels last."""
    return np.empty_like(
        CHANNELS_LAST, shape=(n, c, h, w)
    )  # which owns its memory: a view would be copied by the engine


def pixels(x: np.ndarray) -> np.ndarray:
    """Images ``(n, c, ...)`` as the array ``(n, ..., c)`` that their memory is; copied if it is not."""
    last = x.transpose(0, *range(2, x.ndim), 1)
    if last.flags.c_contiguous:
        return last
    to = np.empty(last.shape, x.dtype)
    if not (x.flags.c_contiguous and x.dtype == np.float32 and x.size):
        return _copied(last, to)
    n, c = x.shape[:2]
    call(put_channels_last, x.reshape(n, c, -1), to.reshape(n, -1, c))
    return to


def in_order(x: np.ndarray) -> np.ndarray:
    """``x`` in C order; copied only if its memory is not so already."""
    return x if x.flags.c_contiguous else _copied(x, np.empty(x.shape, x.dtype))


def flat(x: np.ndarray) -> np.ndarray:
    """All entries of ``x`` as one axis, in the order of its memory: a view if there are no gaps, else a copy.

    Arrays that are used together must have equal strides; ``np.empty_like(x)`` has those of ``x``.

    >>> flat(np.zeros((2, 4, 4, 3), np.float32).transpose(0, 3, 1, 2)).shape
    (96,)
    """
    entries = x.ravel("K")
    return entries if np.may_share_memory(entries, x) else _copied(x, np.empty_like(x)).ravel("K")


def like(gy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``gy`` in memory of the same order as ``x``, which has no gaps; a copy only if it is not so already."""
    if gy.strides == x.strides:
        return gy
    return _copied(gy, np.empty_like(x))


def _copied(x: np.ndarray, to: np.ndarray) -> np.ndarray:
    call(np.copyto, to, x)
    return to


def pulled_together(pull: Callable) -> tuple[Callable, ...]:
    """The pullbacks of three inputs, whose gradients ``pull(gy)`` computes in one pass, once for the three."""
    waiting: dict = {}  # those of the three that were not asked yet for what was computed: for which gy, and what

    def pulled(gy: np.ndarray, place: int) -> np.ndarray:
        known, results = waiting.pop(place, (None, None))
        if known is not gy:
            results = pull(gy)
            waiting.update(dict.fromkeys({0, 1, 2} - {place}, (gy, results)))
        return results[place]

    return tuple(functools.partial(pulled, place=place) for place in range(3))
