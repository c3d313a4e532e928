"""Run every kernel once, so that all are compiled and in the cache before they are needed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from chainrule import kernels
from chainrule.engine import OPS, Op, using
from chainrule.kernels.registry import BACKEND

MANY = 50_000  # entries; the kernels for one thread end at 20,000
Draw = Callable[[Op, Any, np.random.Generator], list[np.ndarray]]
"""Draws the inputs of an op for one of its samples, as `chainrule.check.samples.draw` does."""


def runs(draw: Draw) -> Iterator[tuple[str, Callable[[], None]]]:
    """What has to be run, each with its name: the ops that have a kernel, and each module's ``warm`` where it has one.

    >>> from chainrule.check.samples import draw
    >>> with using("cpu"):
    ...     names = [name for name, run in runs(draw)]
    >>> "linear" in names
    True
    """
    for op in OPS.values():
        if BACKEND in op.kernels:
            yield op.name, lambda op=op: _forward_and_backward(op, draw)  # type: ignore[misc]
    for name, module in vars(kernels).items():
        if warm := getattr(module, "warm", None):
            yield name, warm


def _forward_and_backward(op: Op, draw: Draw) -> None:
    """Value and gradients of all samples in float32: small and large, images in both orders of memory they come in."""
    for sample in op.samples:
        small = [_single(x) for x in draw(op, sample, np.random.default_rng(0))]
        for inputs in (small, enlarged(op, small)):
            for values in (inputs, [_channels_last(x) for x in inputs]):
                # an op that says nothing of its shapes may refuse the larger ones
                with using(BACKEND), suppress(ValueError):
                    y, pullbacks = op.run(values, sample.params)
                    for pullback in pullbacks[: len(values)]:
                        if pullback is not None:
                            pullback(np.ones_like(y))


def _single(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) if x.dtype.kind == "f" else x


def enlarged(op: Op, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """An op's inputs with a batch so large that the kernels for several threads are taken."""
    specs = op.signature.inputs * (len(inputs) if op.variadic else 1)
    axes = max(x.ndim for x in inputs)
    batched = [  # but not what is broadcast over the batch
        x.shape[:1] not in ((), (1,)) and (spec[:1] == ["n"] or (spec[:1] in (["..."], ["_"]) and x.ndim == axes))
        for x, spec in zip(inputs, specs, strict=False)
    ]
    times = 1 + MANY // max(1, *(x.size for x in inputs))
    return [np.concatenate([x] * times) if has else x for x, has in zip(inputs, batched, strict=True)]


def _channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if x.ndim == 4 else x
