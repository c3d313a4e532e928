"""Autoencoder with tied weights: the decoder uses the transpose of the encoder's matrix."""

import numpy as np


def tied_forward(x, W, b):
    hidden = np.tanh(x @ W + b)
    recon = hidden @ W.T
    return recon, (x, W, hidden)


def tied_backward(dout, cache):
    x, W, hidden = cache
    # decoder
    dW = np.zeros_like(W)
    dW += dout.T @ hidden
    dhidden = dout @ W
    # encoder
    dpre = dhidden * (1.0 - hidden**2)
    dW += x.T @ dpre
    db = dpre.sum(axis=0)
    dx = dpre @ W.T
    return dx, dW, db
