"""Softmax with the Jacobian written out, one sample at a time."""

import numpy as np


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def softmax_backward(dout, x):
    N, C = x.shape
    y = softmax(x)
    dx = np.zeros_like(x)
    for n in range(N):
        J = np.zeros((C, C))
        for i in range(C):
            for j in range(C):
                if i == j:
                    J[i, j] = -(y[n, i] ** 2) + y[n, i]
                else:
                    J[i, j] = -y[n, i] * y[n, j]
        dx[n] = dout[n] @ J
    return dx
