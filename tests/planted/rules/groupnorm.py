"""Group normalisation (Wu and He, 2018): statistics over the channels of one group and the image, per example."""

import numpy as np

GROUPS = 2


def spatial_groupnorm_forward(x, gamma, beta):
    """x: (N, C, H, W); gamma, beta: (1, C, 1, 1)."""
    N, C, H, W = x.shape
    x_group = x.reshape(N, GROUPS, C // GROUPS, H, W)
    mean = x_group.mean(axis=(2, 3, 4), keepdims=True)
    xc = x_group - mean
    var = (xc**2).mean(axis=(2, 3, 4), keepdims=True)
    std = np.sqrt(var + 1e-5)
    xnorm = (xc / std).reshape(N, C, H, W)
    out = gamma * xnorm + beta
    return out, (xnorm, xc, std, gamma)


def spatial_groupnorm_backward(dout, cache):
    xnorm, xc, std, gamma = cache
    N, C, H, W = dout.shape
    M = C // GROUPS * H * W

    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
    dgamma = (dout * xnorm).sum(axis=(0, 2, 3), keepdims=True)

    # back through xc / std, group by group
    dxnorm = (dout * gamma).reshape(xc.shape)
    dxc = dxnorm / std
    dstd = -(dxnorm * xc).sum(axis=(2, 3, 4), keepdims=True) / std**2
    dvar = dstd / (2 * std)
    dxc += 2 * xc * dvar / M
    # and through the mean
    dmean = -dxc.sum(axis=(2, 3, 4), keepdims=True)
    dx = dxc + dmean / M
    return dx.reshape(N, C, H, W), dgamma, dbeta
