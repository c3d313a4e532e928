"""What a network of images asks of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import UsageError


def image_size(model: str, input_shape: Sequence[int], smallest: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of one image, checked.

    Args:
        model: name of the network, for the error.
        input_shape: of one example, without the batch.
        smallest: height and width are at least this.

    Raises:
        UsageError: the inputs are not images, or too small.

    >>> image_size("convnet-vu", (3, 32, 40), smallest=16)
    (3, 32, 40)
    """
    shape = tuple(input_shape)
    if len(shape) != 3:
        raise UsageError(f"{model} reads images (c, h, w), but the inputs have shape {shape}: choose the model mlp")
    channels, height, width = shape
    if min(height, width) < smallest:
        raise UsageError(
            f"{model} reads images of {smallest} x {smallest} pixels or more, but these have {height} x {width}: "
            "enlarge them (image_size), or choose another model"
        )
    return channels, height, width
