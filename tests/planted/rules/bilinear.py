"""Low-rank bilinear form: s_n = x_n^T A y_n with A = U V^T. Backward sees the inputs again."""

import numpy as np


def bilinear(x, U, V, y):
    return np.sum((x @ U) * (y @ V), axis=1)


def bilinear_grad(ds, x, U, V, y):
    left = x @ U
    right = y @ V
    dleft = ds[:, np.newaxis] * right
    dright = ds[:, np.newaxis] * left
    grad_x = dleft @ U.T
    grad_y = dright @ V.T
    grad_U = x.T @ dleft
    grad_V = y.T @ dright
    return grad_x, grad_U, grad_V, grad_y
