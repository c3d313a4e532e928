"""The sampling step of a variational auto-encoder: z = mu + sigma * noise, sigma = exp(logvar / 2)."""

import numpy as np


def sample(mu, logvar, noise):
    std = np.exp(0.5 * logvar)
    z = mu + std * noise

    def vjp(dz):
        dmu = dz.copy()
        dlogvar = dz * noise * std * 0.5
        dnoise = dz * std
        return dmu, dlogvar, dnoise

    return z, vjp
