import numpy as np


def huber_forward(pred, target):
    """Sum over k, mean over the batch; delta = 0.8."""
    delta = 0.8
    r = pred - target
    small = np.abs(r) <= delta
    loss = np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))
    return loss.sum(axis=1).mean(), (r, small, delta)


def huber_backward(dout, cache):
    r, small, delta = cache
    n = r.shape[0]
    dr = np.empty_like(r)
    dr[small] = r[small]
    dr[~small] = delta * np.sign(r[~small])
    dr = dout * dr / n
    return dr, -dr
