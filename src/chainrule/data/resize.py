"""Images of another size: the same pixels, seen by a network that wants more of them, or fewer."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np


def resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    r"""Bilinear resizing of images (n, c, h, w) of any real dtype to `size`, (h, w); float32.

    .. math:: Y = A_h X A_w^T, \quad A_{ij} \propto \max(0, 1 - |j + 1/2 - (i + 1/2) s| / \max(s, 1)),
              \quad s = \text{old size} / \text{new size}, \quad \textstyle\sum_j A_{ij} = 1

    To a larger size that is `torch.nn.functional.interpolate(x, size, mode="bilinear")`; to a smaller one the triangle
    is as much wider, so that every pixel counts, as with `antialias=True` there, and in Pillow.

    >>> resize(np.array([[[[0, 4]]]]), (1, 4))
    array([[[[0., 1., 3., 4.]]]], dtype=float32)
    """
    rows, columns = (_weights(old, new) for old, new in zip(x.shape[2:], size, strict=True))
    return rows.T @ (x.astype(np.float32) @ columns)


@lru_cache
def _weights(old: int, new: int) -> np.ndarray:
    """The matrix A^T, (old, new): column i holds the weights of the old pixels in the new pixel i."""
    scale = old / new
    distance = np.abs(np.arange(old)[:, None] + 0.5 - (np.arange(new) + 0.5) * scale)
    triangle = np.maximum(0, 1 - distance / max(scale, 1))
    weights = (triangle / triangle.sum(0)).astype(np.float32)
    weights.flags.writeable = False
    return weights


class ResizedImages:
    """Images kept small, and resized when they are taken: CIFAR-10 at 96 x 96 would be 6.6 GB in float32.

    It has the shape of the resized images. What is taken from it, by `x[5]`, `x[2:9:3]`, `x[indices]` or `x[mask]`, is
    an ordinary float32 array, made anew each time: `then(resize(images[index], size))`. Other axes have no index.

    Args:
        images: the images, (n, c, h, w), of any real dtype; kept as they are if uint8, else in float32.
        size: (h, w).
        then: applied to the resized images, such as `Preprocess.apply`.

    >>> x = ResizedImages(np.zeros((50, 3, 8, 8), np.uint8), (20, 30), np.cos)
    >>> x.shape, x[::5].shape, x[[0, 7]].dtype, x.images.nbytes
    ((50, 3, 20, 30), (10, 3, 20, 30), dtype('float32'), 9600)
    """

    ndim = 4
    dtype = np.dtype(np.float32)

    def __init__(self, images: np.ndarray, size: tuple[int, int], then: Callable[[np.ndarray], np.ndarray]):
        with np.errstate(over="ignore"):  # as in Preprocess.apply
            self.images = images if images.dtype == np.uint8 else images.astype(np.float32)
        self._size, self._then = size, then
        self.shape = (len(images), *self[:1].shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, int | np.integer):
            return self[[index]][0]
        taken = self.images[index]
        if isinstance(index, tuple) or taken.ndim != 4:
            raise TypeError(f"resized images are taken by a number, slice, list or mask of images, got {index!r}")
        return self._then(resize(taken, self._size))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("resized images are made when they are taken: an array of them is always a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def subset(self, index: np.ndarray) -> "ResizedImages":
        """The images under an index array or mask, still small.

        >>> x = ResizedImages(np.zeros((50, 3, 8, 8), np.uint8), (20, 30), np.cos)
        >>> x.subset(np.arange(0, 50, 7)).shape
        (8, 3, 20, 30)
        """
        return ResizedImages(self.images[index], self._size, self._then)
