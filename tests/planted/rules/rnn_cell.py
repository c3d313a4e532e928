"""One step of a vanilla RNN with a tanh."""

import numpy as np


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    """
    - x: (N, D), prev_h: (N, H), Wx: (D, H), Wh: (H, H), b: (H,)
    """
    a = x @ Wx + prev_h @ Wh + b
    next_h = np.tanh(a)
    cache = (x, prev_h, Wx, Wh, next_h)
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    dtanh = dnext_h * (1 - next_h**2)
    dx = dtanh @ Wx.T
    dprev_h = dtanh @ Wh.T
    dWx = x.T @ dtanh
    dWh = prev_h.T @ dtanh
    db = dtanh.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db
