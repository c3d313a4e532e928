"""A vanilla RNN over T time steps; the weights are shared, so their gradients are collected over time."""

import numpy as np


def rnn_forward(x, h0, Wx, Wh, b):
    N, T, _ = x.shape
    H = b.shape[0]
    h = np.zeros((N, T, H))
    prev = h0
    for t in range(T):
        prev = np.tanh(x[:, t, :].dot(Wx) + prev.dot(Wh) + b)
        h[:, t, :] = prev
    cache = (x, h0, Wx, Wh, h)
    return h, cache


def rnn_backward(dh, cache):
    x, h0, Wx, Wh, h = cache
    N, T, D = x.shape
    H = dh.shape[2]
    dx = np.zeros((N, T, D))
    dWx = np.zeros((D, H))
    dWh = np.zeros((H, H))
    db = np.zeros(H)
    dprev = np.zeros((N, H))
    for t in reversed(range(T)):
        # h[t] is used by the output and by the next step
        dnext = dh[:, t, :] + dprev
        da = dnext * (1 - h[:, t, :] ** 2)
        h_in = h[:, t - 1, :] if t > 0 else h0
        dx[:, t, :] = da.dot(Wx.T)
        dWx += x[:, t, :].T.dot(da)
        dWh += h_in.T.dot(da)
        db += da.sum(axis=0)
        dprev = da.dot(Wh.T)
    dh0 = dprev
    return dx, dh0, dWx, dWh, db
