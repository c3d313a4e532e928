"""RMS norm (LLaMA): no mean, no shift. The rule returns the value and a pullback."""

import numpy as np


def rms_norm(x, weight):
    ms = np.mean(x**2, axis=-1, keepdims=True)
    inv_rms = (ms + 1e-6) ** -0.5
    normed = x * inv_rms
    y = normed * weight

    def pullback(gy):
        d = x.shape[-1]
        gweight = (gy * normed).sum(axis=0)
        gnormed = gy * weight
        dot = (gnormed * x).sum(axis=-1, keepdims=True)
        gx = gnormed * inv_rms - x * inv_rms**3 * dot / d
        return gx, gweight

    return y, pullback
