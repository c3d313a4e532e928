"""Global average pooling: one number per channel."""

import numpy as np


def global_avg_pool(x):
    _, _, h, w = x.shape
    y = x.mean(axis=(2, 3))

    def pullback(gy):
        gx = np.ones(x.shape) * gy[:, :, None, None]
        return gx / (h * w)

    return y, pullback
