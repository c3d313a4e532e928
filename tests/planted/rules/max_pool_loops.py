"""Max pooling with loops, windows may overlap."""

import numpy as np

POOL = 3
STRIDE = 2


def max_pool_forward(x):
    N, C, H, W = x.shape
    H_out = 1 + (H - POOL) // STRIDE
    W_out = 1 + (W - POOL) // STRIDE
    out = np.zeros((N, C, H_out, W_out))
    for n in range(N):
        for c in range(C):
            for i in range(H_out):
                for j in range(W_out):
                    out[n, c, i, j] = np.max(x[n, c, i * STRIDE : i * STRIDE + POOL, j * STRIDE : j * STRIDE + POOL])
    cache = x
    return out, cache


def max_pool_backward(dout, cache):
    x = cache
    N, C, H_out, W_out = dout.shape
    dx = np.zeros(x.shape)
    for n in range(N):
        for c in range(C):
            for i in range(H_out):
                for j in range(W_out):
                    hs = i * STRIDE
                    ws = j * STRIDE
                    window = x[n, c, hs : hs + POOL, ws : ws + POOL]
                    # only the largest entry of the window gets the gradient
                    r, s = np.unravel_index(np.argmax(window), window.shape)
                    dx[n, c, hs + r, ws + s] += dout[n, c, i, j]
    return dx
