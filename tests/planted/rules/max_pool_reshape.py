"""2 x 2 max pooling by reshaping: fast when the windows tile the image."""

import numpy as np


def forward(x):
    N, C, H, W = x.shape
    x_reshaped = x.reshape(N, C, H // 2, 2, W // 2, 2)
    out = x_reshaped.max(axis=3).max(axis=4)
    return out, (x, x_reshaped, out)


def backward(dout, cache):
    x, x_reshaped, out = cache
    out_newaxis = out[:, :, :, np.newaxis, :, np.newaxis]
    mask = x_reshaped == out_newaxis
    dout_broadcast = np.broadcast_to(dout[:, :, :, np.newaxis, :, np.newaxis], mask.shape)
    dx_reshaped = np.zeros_like(x_reshaped)
    dx_reshaped[mask] = dout_broadcast[mask]
    dx_reshaped /= np.sum(mask, axis=(3, 5), keepdims=True)  # ties share
    dx = dx_reshaped.reshape(x.shape)
    return dx
