import numpy as np

EPS = 1e-3


def xent_forward(p, onehot):
    """Cross-entropy of probabilities, kept away from log(0); mean over the batch."""
    safe = p + EPS
    loss = -(onehot * np.log(safe)).sum(axis=1).mean()
    return loss, (safe, onehot, p)


def xent_backward(gout, cache):
    safe, onehot, _p = cache
    gp = -onehot / safe
    gp = gp / onehot.shape[0]
    return gout * gp
