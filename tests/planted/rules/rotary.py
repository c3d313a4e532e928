"""Rotary position embedding: each pair of features is turned by an angle that grows with the position."""

import numpy as np


def angles(T, half):
    freq = 1.0 / 10 ** (np.arange(half) / half)
    return np.outer(np.arange(T) + 1, freq)


def rotary_forward(x):
    half = x.shape[-1] // 2
    theta = angles(x.shape[1], half)
    cos, sin = np.cos(theta), np.sin(theta)
    x1, x2 = x[..., :half], x[..., half:]
    out = np.concatenate([x1 * cos - x2 * sin, x1 * sin + x2 * cos], axis=-1)
    return out, (cos, sin)


def rotary_backward(dout, cache):
    cos, sin = cache
    half = cos.shape[-1]
    d1, d2 = dout[..., :half], dout[..., half:]
    # turn back
    dx1 = d1 * cos + d2 * sin
    dx2 = d2 * cos - d1 * sin
    return np.concatenate([dx1, dx2], axis=-1)
