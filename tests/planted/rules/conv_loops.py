"""Convolution with four loops, stride 2 and one pixel of zeros around the image (cs231n's naive version)."""

import numpy as np

STRIDE = 2
PAD = 1


def conv_forward_naive(x, w, b):
    """x: (N, C, H, W), w: (F, C, HH, WW), b: (F,)."""
    N, _, H, W = x.shape
    F, _, HH, WW = w.shape
    H_out = 1 + (H + 2 * PAD - HH) // STRIDE
    W_out = 1 + (W + 2 * PAD - WW) // STRIDE
    x_pad = np.pad(x, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)))
    out = np.zeros((N, F, H_out, W_out))
    for n in range(N):
        for f in range(F):
            for i in range(H_out):
                for j in range(W_out):
                    window = x_pad[n, :, i * STRIDE : i * STRIDE + HH, j * STRIDE : j * STRIDE + WW]
                    out[n, f, i, j] = np.sum(window * w[f]) + b[f]
    return out, (x, w, b, x_pad)


def conv_backward_naive(dout, cache):
    x, w, b, x_pad = cache
    N, F, H_out, W_out = dout.shape
    HH, WW = w.shape[2:]

    dx_pad = np.zeros(x_pad.shape)
    dw = np.zeros(w.shape)
    db = np.zeros(b.shape)
    for n in range(N):
        for f in range(F):
            for i in range(H_out):
                for j in range(W_out):
                    top, left = i * STRIDE, j * STRIDE
                    g = dout[n, f, i, j]
                    db[f] += g
                    dw[f] += x_pad[n, :, top : top + HH, left : left + WW] * g
                    dx_pad[n, :, top : top + HH, left : left + WW] += w[f] * g
    # the padding has no gradient
    H, W = x.shape[2:]
    dx = dx_pad[:, :, PAD : PAD + H, PAD : PAD + W]
    return dx, dw, db
