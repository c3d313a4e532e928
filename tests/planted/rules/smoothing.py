"""Exponential smoothing with a learned rate: y[t] = a y[t-1] + (1 - a) x[t]."""

import numpy as np


def smooth(x, a):
    N, T = x.shape
    y = np.empty((N, T))
    state = np.zeros(N)
    for t in range(T):
        state = a * state + (1 - a) * x[:, t]
        y[:, t] = state
    return y


def smooth_backward(gy, x, a):
    N, T = x.shape
    y = smooth(x, a)
    gx = np.empty((N, T))
    ga = np.zeros(1)
    carry = np.zeros(N)
    for t in range(T - 1, -1, -1):
        g = gy[:, t] + carry
        before = y[:, t - 1] if t else np.zeros(N)
        gx[:, t] = (1 - a) * g
        ga += np.sum(g * (before - x[:, t]))
        carry = a * g
    return gx, ga
