"""Images whose memory is in PyTorch's order, rewritten with the channels last."""

from chainrule.kernels.machine import inner, jit
from chainrule.kernels.microkernel import LANES, address, transpose_square
from chainrule.kernels.parallel import SERIAL, in_parallel

STRETCH = 256  # pixels that a thread rewrites at a time


@jit
def put_channels_last(x, y):
    """``y[image, pixel, channel] = x[image, channel, pixel]``."""
    stretches = -(-x.shape[2] // STRETCH)
    in_parallel(_put_stretch, len(x) * stretches, (x, stretches, y), x.size >= SERIAL)


@inner
def _put_stretch(part, x, stretches, y):
    """Squares of as many channels as pixels are transposed in registers; what is left goes one by one."""
    _, c, size = x.shape
    image, first = part // stretches, part % stretches * STRETCH
    last = min(size, first + STRETCH)
    pixels, channels = first + (last - first) // LANES * LANES, c // LANES * LANES
    for p in range(first, pixels, LANES):
        for j in range(0, channels, LANES):
            source, target = (image * c + j) * size + p, (image * size + p) * c + j
            transpose_square(address(x) + 4 * source, size, address(y) + 4 * target, c)
    for p in range(first, last):
        for j in range(channels if p < pixels else 0, c):
            y[image, p, j] = x[image, j, p]
