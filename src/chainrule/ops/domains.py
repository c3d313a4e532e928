"""How to draw inputs for an op's generated tests: functions of a random generator, a shape, and the letters' sizes.

An op names one per input where ordinary normal numbers will not do: ``domain={"x": positive}``.
"""

from __future__ import annotations

import numpy as np

Sizes = dict[str, int]


def normal(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Standard normal numbers: the default."""
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Numbers from 0.5 to 3."""
    return rng.uniform(0.5, 3.0, shape)


def nonzero(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Numbers of both signs, at least 0.3 away from 0."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 2.0, shape)


def probability(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Numbers from 0.05 to 0.95."""
    return rng.uniform(0.05, 0.95, shape)


def distribution(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Positive numbers that sum to 1 over the last axis."""
    p = rng.uniform(0.1, 1.0, shape)
    return p / p.sum(-1, keepdims=True)


def distinct(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """Numbers at least 0.1 apart, so that a maximum stays the maximum under a small change."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) - count / 2 + 0.25) * 0.2


def mask(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
    """True or False."""
    return rng.random(shape) < 0.6


def index(letter: str):
    """Integers from 0 to the size of ``letter``, as class labels are."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...], sizes: Sizes) -> np.ndarray:
        return rng.integers(0, sizes[letter], shape)

    return draw
