"""Batch norm with the Jacobians of the derivation written out as matrices, feature by feature."""

import numpy as np


def forward(X, gamma, beta):
    B = X.shape[0]
    mu = X.sum(axis=0) / B
    s = np.sqrt(((X - mu) ** 2).sum(axis=0) / B + 1e-4)
    Xhat = (X - mu) / s
    return gamma * Xhat + beta, (X, mu, s, Xhat, gamma)


def backward(G, cache):
    X, mu, s, Xhat, gamma = cache
    B, F = X.shape
    dX = np.zeros_like(X)
    for j in range(F):
        # d(x_i - mu) / dx_r = 1 - 1/B if i == r, else -1/B
        centre = np.eye(B) - np.full((B, B), 1 / B)
        # ds / dx_r = (x_r - mu) / (B s)
        ds = (X[:, j] - mu[j]) / (B * s[j])
        # dxhat_i / dx_r, by the quotient rule
        J = centre / s[j] - np.outer(X[:, j] - mu[j], ds) / s[j] ** 2
        dX[:, j] = J.T @ (gamma[j] * G[:, j])
    dgamma = np.einsum("sj,sj->j", G, Xhat)
    dbeta = np.einsum("sj->j", G)
    return dX, dgamma, dbeta
