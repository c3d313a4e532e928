"""Squared Euclidean distance of every row of X to every row of Y; one pullback for each."""

import numpy as np


def pairwise_sq_dist(X, Y):
    diff = X[:, None, :] - Y[None, :, :]  # (n, m, d)
    D = (diff**2).sum(axis=-1)

    def pullback_x(gD):
        return 2 * np.einsum("nm,nmd->nd", gD, diff)

    def pullback_y(gD):
        weighted = gD[:, :, None] * diff
        return -2 * weighted.sum(axis=0)

    return D, (pullback_x, pullback_y)
