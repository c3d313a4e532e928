"""A causal convolution in time with dilation (WaveNet): y[t] sees x[t], x[t - 2] and x[t - 4]."""

import numpy as np

DILATION = 2


def causal_conv(x, kernel, bias):
    # x: (batch, channels, time), kernel: (filters, channels, taps)
    steps, taps = x.shape[2], kernel.shape[2]
    history = np.zeros((*x.shape[:2], (taps - 1) * DILATION))
    padded = np.concatenate([history, x], axis=2)
    y = 0
    for k in range(taps):
        y = y + np.einsum("bct,fc->bft", padded[:, :, k * DILATION : k * DILATION + steps], kernel[:, :, k])
    return y + bias[:, None]


def causal_conv_backward(gy, x, kernel, bias):
    steps, taps = x.shape[2], kernel.shape[2]
    before = (taps - 1) * DILATION
    padded = np.concatenate([np.zeros((*x.shape[:2], before)), x], axis=2)

    gpadded = np.zeros(padded.shape)
    gkernel = np.empty(kernel.shape)
    for k in range(taps):
        window = slice(k * DILATION, k * DILATION + steps)
        gkernel[:, :, k] = np.einsum("bft,bct->fc", gy, padded[:, :, window])
        gpadded[:, :, window] += np.einsum("bft,fc->bct", gy, kernel[:, :, k])
    gx = gpadded[:, :, before:]
    gbias = gy.sum(axis=(0, 2))
    return gx, gkernel, gbias
