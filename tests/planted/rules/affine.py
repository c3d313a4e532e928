import numpy as np


def affine_forward(x, w, b):
    """Fully connected layer. x: (N, D), w: (D, M), b: (M,)"""
    out = x.dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, _b = cache
    dx = dout.dot(w.T)
    dw = x.T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db
