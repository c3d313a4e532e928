"""Inputs drawn from a line such as ``"x: n d, w: d m, t: n in m"``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import UsageError

# Distinct, small and not square, so that a transpose cannot hide; no product of sizes is the same in two sets.
SIZES = ((4, 3, 5, 6, 2, 7), (3, 5, 6, 7, 4, 2), (5, 4, 6, 3, 7, 2))
MOST = 10_000_000  # entries of one input
PART = re.compile(r"^(?:(?P<name>\w+)\s*:)?\s*(?P<axes>(?:\w+\s*)*?)(?:\bin\s+(?P<classes>\w+))?\s*$")


@dataclass(frozen=True)
class Part:
    """The shape of one input: its name where it was given, its axes (a letter, or a fixed size), its number of classes.

    With ``classes`` the input holds integers, from 0 to one below that size.
    """

    name: str | None
    axes: tuple[str, ...]
    classes: str | None


def parse(shapes: Any) -> list[Part]:
    """The parts of a line of shapes.

    Raises:
        UsageError: this is no text, a part is not written as letters or numbers, or an input would be too large.

    >>> [part.axes for part in parse("x: n d, d 3 -> n 3")]
    [('n', 'd'), ('d', '3')]
    """
    if not isinstance(shapes, str) or not shapes.strip():
        raise UsageError(f'shapes is {shapes!r}, expected a text with a part for each input, as in "n d, d m"')
    parts = []
    for text in shapes.partition("->")[0].split(","):
        match = PART.match(text.strip())
        if match is None:
            raise UsageError(
                f'shapes: "{text.strip()}" is no shape; one part for each input, letters for sizes, as in "n d, d m", '
                '"x: n d, w: d m", or "n c, n in c" for labels'
            )
        part = Part(match["name"], tuple(match["axes"].split()), match["classes"])
        if math.prod(int(a) for a in part.axes if a.isdecimal()) > MOST:
            raise UsageError(f'shapes: "{text.strip()}" is too large to check, expected at most {MOST:,} entries')
        if part.classes is not None and part.classes.isdecimal() and int(part.classes) == 0:
            raise UsageError(f'shapes: "{text.strip()}" has no classes to draw from, expected at least 1')
        parts.append(part)
    return parts


def draw(parts: Sequence[Part], rng: np.random.Generator, sizes: Sequence[int], sample: Callable) -> list[np.ndarray]:
    """Arrays of these shapes: the letters stand for ``sizes``, in order; ``sample(rng, shape)`` draws the numbers.

    >>> [x.shape for x in draw(parse("n d, d 3"), np.random.default_rng(0), (4, 5), normal)]
    [(4, 5), (5, 3)]
    """
    letters = dict.fromkeys(a for p in parts for a in (*p.axes, p.classes or "0") if not a.isdecimal())
    size = dict(zip(letters, (*sizes, *range(8, 8 + len(letters))), strict=False))
    arrays = []
    for part in parts:
        shape = tuple(int(a) if a.isdecimal() else size[a] for a in part.axes)
        if part.classes is not None:
            classes = int(part.classes) if part.classes.isdecimal() else size[part.classes]
            arrays.append(rng.integers(0, classes, shape))
        else:
            arrays.append(np.asarray(sample(rng, shape)))
    return arrays


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, moved a little off 0 so that no sum vanishes.

    >>> normal(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """
    return rng.standard_normal(shape) + 0.1


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers between 0.1 and 0.9, for functions that need positive ones or probabilities.

    >>> x = positive(np.random.default_rng(0), (100,))
    >>> bool(0.1 < x.min() and x.max() < 0.9)
    True
    """
    return rng.uniform(0.1, 0.9, shape)


def distribution(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Positive rows that sum to 1, for targets that are probabilities.

    >>> distribution(np.random.default_rng(0), (2, 3)).sum(-1)
    array([1., 1.])
    """
    x = rng.uniform(0.1, 0.9, shape)
    return x / x.sum(-1, keepdims=True) if x.ndim else x


def one_hot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of zeros with a single 1.

    >>> one_hot(np.random.default_rng(0), (2, 3)).sum(-1)
    array([1., 1.])
    """
    return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])] if shape else np.ones(())
