"""A transposed convolution (DCGAN's generator): every pixel stamps the kernel, times itself, onto a larger image."""

import numpy as np

STRIDE = 2


def stamps(k, l, h, w):
    """Where entry k, l of every stamp lies in the larger image."""
    return slice(k, k + STRIDE * (h - 1) + 1, STRIDE), slice(l, l + STRIDE * (w - 1) + 1, STRIDE)


def conv_transpose(x, weight, bias):
    # x: (batch, channels, height, width), weight: (channels, filters, rows, columns)
    n, _, h, w = x.shape
    _, filters, rows, columns = weight.shape
    y = np.zeros((n, filters, STRIDE * (h - 1) + rows, STRIDE * (w - 1) + columns))
    for k, l in np.ndindex(rows, columns):
        down, across = stamps(k, l, h, w)
        y[:, :, down, across] += np.einsum("nchw,cm->nmhw", x, weight[:, :, k, l])
    return y + bias[:, None, None], (x, weight)


def conv_transpose_backward(gy, cache):
    x, weight = cache
    gx, gweight = np.zeros(x.shape), np.zeros(weight.shape)
    for k, l in np.ndindex(*weight.shape[2:]):
        down, across = stamps(k, l, *x.shape[2:])
        seen = gy[:, :, down, across]
        gx += np.einsum("nmhw,cm->nchw", seen, weight[:, :, k, l])
        gweight[:, :, k, l] = np.einsum("nchw,nmhw->cm", x, seen)
    gbias = gy.sum(axis=(0, 2, 3))
    return gx, gweight, gbias
