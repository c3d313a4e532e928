"""Spatial batch norm: statistics over the batch and both image axes, one gamma and beta per channel."""

import numpy as np


def spatial_batchnorm_forward(x, gamma, beta):
    """x is (N, C, H, W)."""
    axes = (0, 2, 3)
    mu = x.mean(axis=axes, keepdims=True)
    var = ((x - mu) ** 2).mean(axis=axes, keepdims=True)
    istd = (var + 1e-5) ** -0.5
    xhat = (x - mu) * istd
    out = gamma[None, :, None, None] * xhat + beta.reshape(1, -1, 1, 1)
    return out, (xhat, var, gamma)


def spatial_batchnorm_backward(dout, cache):
    xhat, var, gamma = cache
    N, _, H, W = dout.shape
    m = N * H * W
    dgamma = (dout * xhat).sum(axis=(0, 2, 3))
    dbeta = np.sum(dout, axis=(0, 2, 3))
    dxhat = dout * gamma[None, :, None, None]
    mean_d = dxhat.sum(axis=(0, 2, 3), keepdims=True) / m
    mean_dx = (dxhat * xhat).sum(axis=(0, 2, 3), keepdims=True) / m
    dx = (dxhat - mean_d - xhat * mean_dx) / np.sqrt(var + 1e-5)
    return dx, dgamma, dbeta
