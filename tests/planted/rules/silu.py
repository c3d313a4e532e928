import numpy as np


def silu_forward(x):
    sig = 1 / (1 + np.exp(-x))
    y = x * sig
    cache = {"x": x, "sig": sig, "y": y}
    return y, cache


def silu_backward(dy, cache):
    x, sig = cache["x"], cache["sig"]
    dx = dy * sig
    dsig = dy * x
    dx = dx + dsig * sig * (1 - sig)
    return dx
