"""Preprocessing by name: fitted on the training part, kept with a run, applied alike to everything after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.data.resize import resize
from chainrule.errors import UsageError, UserError

PREPROCESSING = ("none", "unit", "centred", "mean-image", "standard", "imagenet", "caffe-bgr")
_OF_PIXELS = ("unit", "centred", "imagenet", "caffe-bgr")


def _channels(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1, 1)


# Means and standard deviations of ImageNet's channels, as torchvision and as Caffe's model zoo state them.
_FIXED: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
    "imagenet": (_channels(0.485, 0.456, 0.406), _channels(0.229, 0.224, 0.225)),
    "caffe-bgr": (_channels(103.939, 116.779, 123.68), None),
}


@dataclass(frozen=True, eq=False)
class Preprocess:
    """A fitted map from raw samples (pixels 0 to 255, or any features) to the float32 that a network reads.

    =============  ========================================================================================
    `none`         x, as float32
    `unit`         x / 255
    `centred`      (x / 255 - 0.5) / 0.5
    `mean-image`   x minus the training mean of every pixel; no division
    `standard`     (x - mean) / std, each over the training set per channel (axis 1; a feature of points);
                   a channel that never changes is divided by 1
    `imagenet`     RGB images: (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225), what torchvision's
                   pretrained networks read
    `caffe-bgr`    RGB images: channels reversed to BGR, minus (103.939, 116.779, 123.68), no division: what
                   networks converted from Caffe read
    =============  ========================================================================================

    `shape` is one sample's shape, without the batch. `mean` and `std` broadcast against a sample; those that are fitted
    are float64.

    >>> x = np.array([[[[0, 51]]], [[[102, 255]]]], dtype=np.uint8)  # two images, one channel, 1 x 2
    >>> Preprocess.fit("unit", x).apply(x).ravel().tolist() == [0.0, np.float32(0.2), np.float32(0.4), 1.0]
    True
    >>> Preprocess.fit("mean-image", x).apply(x).reshape(2, 2)
    array([[ -51., -102.],
           [  51.,  102.]], dtype=float32)
    """

    name: str
    shape: tuple[int, ...]
    mean: np.ndarray | None = field(default=None, repr=False)
    std: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, name: str, x: np.ndarray) -> "Preprocess":
        """Fit the preprocessing `name` to the raw training samples `x`, (n, d) or (n, c, h, w).

        Raises UsageError for an unknown name; for `unit`, `centred`, `imagenet` and `caffe-bgr`, which fit nothing, on
        data that are not pixels from 0 to 255; for the latter two on anything but images of 3 channels.

        >>> Preprocess.fit("unit", np.array([[-1.5, 0.5]]))
        Traceback (most recent call last):
        chainrule.errors.UsageError: preprocess 'unit' is for pixels from 0 to 255, but these data go from -1.5 to \
0.5: choose none, mean-image or standard
        """
        if name not in PREPROCESSING:
            raise UsageError(f"unknown preprocess {name!r}: expected one of {', '.join(PREPROCESSING)}")
        shape = x.shape[1:]
        if name in _FIXED and (len(shape) != 3 or shape[0] != 3):
            raise UsageError(
                f"preprocess {name!r} is for RGB images (3, h, w), but these samples are of shape {shape}: "
                "choose none, mean-image or standard"
            )
        if name in _OF_PIXELS and x.dtype != np.uint8:
            low, high = x.min(), x.max()
            if low < 0 or high > 255 or high <= 1:
                raise UsageError(
                    f"preprocess {name!r} is for pixels from 0 to 255, but these data go from {low:g} to {high:g}: "
                    "choose none, mean-image or standard"
                )
        if name == "mean-image":
            return cls(name, shape, x.mean(0, dtype=np.float64))
        if name == "standard":
            return cls(name, shape, *_channel_moments(x))
        return cls(name, shape, *_FIXED.get(name, ()))

    def resized(self, size: tuple[int, int]) -> "Preprocess":
        """The same preprocessing for the same images resized to `size`, (h, w): a mean image is resized with them.

        It is what fitting to the resized images would give, except for `standard`: its moments stay those of the pixels
        that there were, while interpolation makes the standard deviation a little smaller.

        >>> Preprocess.fit("mean-image", np.zeros((2, 1, 4, 4))).resized((8, 8)).mean.shape
        (1, 8, 8)
        """
        mean = self.mean
        if self.name == "mean-image" and mean is not None:
            [mean] = resize(mean[None], size)
        return replace(self, shape=(self.shape[0], *size), mean=mean)

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """The preprocessed copy, float32, of raw samples (n, ...) of any real dtype.

        What float32 holds exactly, such as pixels, is computed in float32, all else in float64: 1e9 and 1e9 + 1, one
        number in float32, differ once their mean is subtracted. A result that float32 cannot hold becomes infinite,
        which a Dataset refuses by name.

        Raises UserError if their shape is not the fitted one.

        >>> x = np.array([[1e9], [1e9 + 2]])
        >>> Preprocess.fit("standard", x).apply(x).ravel()
        array([-1.,  1.], dtype=float32)
        """
        if raw.shape[1:] != self.shape:
            raise UserError(
                f"preprocess {self.name!r} was fitted to samples of shape {self.shape}, got {raw.shape[1:]}"
            )
        if self.name == "caffe-bgr":
            raw = raw[:, ::-1]
        working = np.result_type(raw.dtype, np.float32)
        with np.errstate(over="ignore"):
            x = raw.astype(working)
            # In place from here on: CIFAR-10 in float32 is 614 MB.
            if self.name in ("unit", "centred", "imagenet"):
                x /= 255
            if self.name == "centred":
                x -= 0.5
                x /= 0.5
            if self.mean is not None:
                x -= self.mean.astype(working)
            if self.std is not None:
                x /= self.std.astype(working)
            return x.astype(np.float32, copy=False)

    def to_dict(self) -> dict[str, Any]:
        """The part of the state that is not arrays, ready for JSON.

        >>> Preprocess.fit("unit", np.zeros((1, 3, 32, 32), np.uint8)).to_dict()
        {'name': 'unit', 'shape': [3, 32, 32]}
        """
        return {"name": self.name, "shape": list(self.shape)}

    def arrays(self) -> dict[str, np.ndarray]:
        """The part of the state that is arrays (`mean`, `std`; only those fitted), to be stored without loss."""
        return {key: value for key, value in (("mean", self.mean), ("std", self.std)) if value is not None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> "Preprocess":
        """The preprocessing whose `to_dict()` and `arrays()` these are. Raises UserError if they do not fit together.

        >>> fitted = Preprocess.fit("standard", np.arange(6.0).reshape(3, 2))
        >>> again = Preprocess.from_dict(fitted.to_dict(), fitted.arrays())
        >>> np.array_equal(again.mean, fitted.mean) and np.array_equal(again.std, fitted.std)
        True
        """
        name, shape, arrays = str(state.get("name")), tuple(state.get("shape", ())), arrays or {}
        expected = {"mean"} if name in ("mean-image", "caffe-bgr") else set()
        expected = {"mean", "std"} if name in ("standard", "imagenet") else expected
        if name not in PREPROCESSING or set(arrays) != expected:
            raise UserError(
                f"stored preprocessing {name!r} with arrays {sorted(arrays)} is not one of {', '.join(PREPROCESSING)} "
                f"with its arrays: the checkpoint is damaged or of another version"
            )
        return cls(name, shape, arrays.get("mean"), arrays.get("std"))


def _channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all axes but axis 1, in two passes of float64, (c, 1, ...).

    The standard deviation of a channel that never changes is given as 1. Its sum may be 1e-17: the mean of a thousand
    times 0.1 is not quite 0.1.
    """
    axes = (0, *range(2, x.ndim))
    count = x.size // x.shape[1]
    mean = _sum(x, lambda chunk: chunk.sum(axes, keepdims=True)) / count
    std = np.sqrt(_sum(x, lambda chunk: ((chunk - mean) ** 2).sum(axes, keepdims=True)) / count)
    std[x.max(axes, keepdims=True) == x.min(axes, keepdims=True)] = 1
    return mean[0], std[0]


def _sum(x: np.ndarray, term: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The sum of `term(chunk)` over chunks of 500 samples in float64; the whole of CIFAR-10 would be 1.2 GB."""
    return np.sum([term(x[start : start + 500].astype(np.float64)) for start in range(0, len(x), 500)], axis=0)
