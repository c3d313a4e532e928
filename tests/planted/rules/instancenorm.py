"""Instance normalisation for style transfer, in single precision: every image and channel on its own."""

import numpy as np


def instance_norm(x, scale, shift):
    x = x.astype(np.float32)
    axes = (2, 3)
    mean = x.mean(axis=axes, keepdims=True)
    var = x.var(axis=axes, keepdims=True)
    inv = np.float32(1) / np.sqrt(var + np.float32(1e-2))
    xh = (x - mean) * inv
    y = scale.astype(np.float32)[:, None, None] * xh + shift.astype(np.float32)[:, None, None]

    def back_x(gy):
        g = gy * scale.astype(np.float32)[:, None, None]
        centred = g - g.mean(axis=axes, keepdims=True)
        return inv * (centred - xh * np.mean(g * xh, axis=axes, keepdims=True))

    def back_scale(gy):
        return np.einsum("nchw,nchw->c", gy, xh)

    def back_shift(gy):
        return np.einsum("nchw->c", gy)

    return y, (back_x, back_scale, back_shift)
