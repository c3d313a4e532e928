"""Layer normalisation; the batch norm code with the axes exchanged (cs231n)."""

import numpy as np


def layernorm_forward(x, gamma, beta, ln_param=None):
    eps = (ln_param or {}).get("eps", 1e-5)
    mu = np.mean(x, axis=1, keepdims=True)
    var = np.var(x, axis=1, keepdims=True)
    sigma = np.sqrt(var + eps)
    x_hat = (x - mu) / sigma
    out = x_hat * gamma + beta
    cache = (x, x_hat, mu, var, sigma, gamma, eps)
    return out, cache


def layernorm_backward(dout, cache):
    x, x_hat, mu, var, sigma, gamma, eps = cache
    D = x.shape[1]

    dgamma = np.sum(dout * x_hat, axis=0)
    dbeta = np.sum(dout, axis=0)

    dx_hat = dout * gamma
    dvar = np.sum(dx_hat * (x - mu), axis=1, keepdims=True) * (-0.5) * (var + eps) ** (-1.5)
    dmu = np.sum(dx_hat * (-1 / sigma), axis=1, keepdims=True)
    dmu = dmu + dvar * np.mean(-2 * (x - mu), axis=1, keepdims=True)
    dx = dx_hat / sigma + dvar * 2 * (x - mu) / D + dmu / D
    return dx, dgamma, dbeta
