"""Random changes of training images: other pictures of the same thing, drawn anew for every batch."""

from collections.abc import Iterable

import numpy as np

from chainrule.errors import UsageError

AUGMENTATIONS = ("crop", "flip")


class Augment:
    """Changes every image of a batch at random, and keeps its size.

    ======  ==========================================================================================
    `crop`  `crop_padding` zeros on every side, then a cut of the original size at a random place:
            one of the (2 crop_padding + 1)^2 shifts, all equally likely (torchvision's RandomCrop)
    `flip`  left and right exchanged, with probability 1/2 (torchvision's RandomHorizontalFlip)
    ======  ==========================================================================================

    The images are preprocessed already, so the zeros are what 0 stands for there: the mean colour after `standard`,
    `mean-image`, `imagenet` and `caffe-bgr`, grey after `centred`, black after `none` and `unit`.

    Args:
        names: some of `chainrule.data.AUGMENTATIONS`; their order does not matter, the crop comes first.
        crop_padding: zeros around an image, in pixels, for `crop`.
        rng: the only source of randomness. What is drawn depends on the number of images alone, so that its state,
            saved between two batches, is all that is needed to go on.

    Raises UsageError for an unknown name, and for a padding below 1.

    >>> x = np.arange(1.0, 7.0).reshape(1, 1, 2, 3)
    >>> Augment(["crop"], crop_padding=1, rng=np.random.default_rng(0))(x)  # moved up by one
    array([[[[4., 5., 6.],
             [0., 0., 0.]]]])
    >>> Augment(["flip"], rng=np.random.default_rng(2))(x)
    array([[[[3., 2., 1.],
             [6., 5., 4.]]]])
    """

    def __init__(self, names: Iterable[str], *, crop_padding: int = 4, rng: np.random.Generator):
        self.names = tuple(names)
        for name in self.names:
            if name not in AUGMENTATIONS:
                raise UsageError(f"unknown augmentation {name!r}: expected some of {', '.join(AUGMENTATIONS)}")
        if crop_padding < 1:
            raise UsageError(f"crop_padding is {crop_padding}, expected at least 1 pixel")
        self.crop_padding = crop_padding
        self._rng = rng

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The changed copy of the images `x`, (n, c, h, w); same shape and dtype.

        Raises UsageError if they are not images.
        """
        self.require_images(x.shape[1:])
        changed = self._crop(x) if "crop" in self.names else x.copy()
        if "flip" in self.names:
            flipped = self._rng.random(len(x)) < 0.5
            changed[flipped] = changed[flipped, ..., ::-1]
        return changed

    def require_images(self, input_shape: tuple[int, ...]) -> None:
        """Raises UsageError if inputs of this shape, without the batch, are not images (c, h, w)."""
        if len(input_shape) != 3:
            names = ",".join(self.names)
            raise UsageError(f"augment {names} changes images (c, h, w), but these inputs have the shape {input_shape}")

    def _crop(self, x: np.ndarray) -> np.ndarray:
        n, _, h, w = x.shape
        p = self.crop_padding
        top, left = self._rng.integers(2 * p + 1, size=(2, n))
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        cuts = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))  # a view of all of them
        return cuts[np.arange(n), :, top, left]
