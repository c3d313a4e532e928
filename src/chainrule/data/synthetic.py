"""Generated data in the plane. Every function returns `(x, y)`: float64 (n, 2) points, int64 (n,) classes."""

import numpy as np
from numpy.typing import ArrayLike

Points = tuple[np.ndarray, np.ndarray]


def quadratic(n: int, Q: ArrayLike, *, threshold: float = 0.6, seed: int = 0) -> Points:
    r"""Standard normal points; the class says on which side of a conic they lie: y = [x^T Q x > threshold].

    The `vu` courses' synthetic data, drawn with NumPy's legacy generator, which theirs used: with
    Q = [[1, -.05], [1, .4]], n = 70,000 and seed 0 these are the very points of the 2023 edition.

    >>> x, y = quadratic(5, [[1, -0.05], [1, 0.4]])
    >>> x[0].round(4).tolist(), y.tolist()
    ([1.7641, 0.4002], [1, 1, 1, 1, 0])
    """
    x = np.random.RandomState(seed).randn(n, 2)
    return x, (np.einsum("nf,fk,nk->n", x, np.asarray(Q), x) > threshold).astype(np.int64)


def moons(n: int, *, noise: float = 0.1, rng: np.random.Generator) -> Points:
    """Two interleaving half circles of radius 1, around (0, 0) and (1, 0.5); as `sklearn.datasets.make_moons`.

    `noise` is the standard deviation of the normal noise added to the points, which come in random order.

    >>> x, y = moons(4, noise=0, rng=np.random.default_rng(0))
    >>> sorted((*(point + 0.0).round(3).tolist(), int(label)) for point, label in zip(x, y))  # + 0.0: no minus zero
    [(-1.0, 0.0, 0), (0.0, 0.5, 1), (1.0, 0.0, 0), (2.0, 0.5, 1)]
    """
    upper, lower = np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)
    return _scatter(
        [np.c_[np.cos(upper), np.sin(upper)], np.c_[1 - np.cos(lower), 0.5 - np.sin(lower)]], noise=noise, rng=rng
    )


def circles(n: int, *, noise: float = 0.05, factor: float = 0.5, rng: np.random.Generator) -> Points:
    """A circle of radius 1 (class 0) around one of radius `factor` (class 1); as `sklearn.datasets.make_circles`.

    >>> x, y = circles(100, noise=0, rng=np.random.default_rng(0))
    >>> bool(np.allclose(np.hypot(*x.T), np.where(y == 0, 1, 0.5)))
    True
    """
    outer, inner = np.arange(n // 2) * 2 * np.pi / (n // 2), np.arange(n - n // 2) * 2 * np.pi / (n - n // 2)
    return _scatter(
        [np.c_[np.cos(outer), np.sin(outer)], factor * np.c_[np.cos(inner), np.sin(inner)]], noise=noise, rng=rng
    )


def spirals(n: int, *, noise: float = 0.02, rng: np.random.Generator) -> Points:
    """Two spirals of three turns, one the other turned by half a turn; radius 1 falling to 1/13.

    Lang and Witbrock's benchmark (Learning to tell two spirals apart, 1988) scaled from radius 6.5 to 1: its 97
    points per spiral, angle i pi / 16 and radius 6.5 (104 - i) / 104 for i = 0 to 96, are n = 194 without noise.

    >>> x, y = spirals(194, noise=0, rng=np.random.default_rng(0))
    >>> bool(np.isclose(np.hypot(*x.T).max(), 1) and np.isclose(np.hypot(*x.T).min(), 1 / 13))
    True
    """

    def spiral(i: np.ndarray) -> np.ndarray:
        radius, angle = (104 - i) / 104, i * np.pi / 16
        return np.c_[radius * np.sin(angle), radius * np.cos(angle)]

    return _scatter([spiral(np.linspace(0, 96, n // 2)), -spiral(np.linspace(0, 96, n - n // 2))], noise=noise, rng=rng)


def _scatter(classes: list[np.ndarray], *, noise: float, rng: np.random.Generator) -> Points:
    """The points of all classes, with noise, in random order."""
    x, y = np.concatenate(classes), np.repeat(np.arange(len(classes)), [len(points) for points in classes])
    order = rng.permutation(len(x))
    return x[order] + rng.normal(0, noise, x.shape), y[order]
