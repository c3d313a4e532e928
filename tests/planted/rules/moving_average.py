"""Moving average over K time steps, only where the window fits."""

import numpy as np

K = 3


def moving_average(x):
    N, T = x.shape
    L = T - K + 1
    y = 0
    for k in range(K):
        y = y + x[:, k : k + L]
    y = y / K

    def backward(grad):
        grad_x = np.zeros((N, T))
        for k in range(K):
            grad_x[:, k : k + L] += grad
        return grad_x / K

    return y, backward
