"""Cross-entropy summed over the batch, as a function that returns the loss and its pullback."""

import numpy as np


def cross_entropy(x, labels):
    n = len(labels)
    rows = np.arange(n)
    e = np.exp(x - x.max(axis=1)[:, None])
    q = e / e.sum(axis=1)[:, None]
    loss = -np.log(q[rows, labels]).sum()

    def pullback(g):
        onehot = np.zeros_like(q)
        onehot[rows, labels] = 1
        return g * (q - onehot)

    return loss, pullback
