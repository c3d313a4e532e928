"""An Elman RNN as a layer with parameter and gradient dictionaries; returns the last hidden state."""

import numpy as np


class ElmanRNN:
    def __init__(self, n_in=3, n_hidden=4):
        rng = np.random.default_rng(7)
        self.params = {
            "U": rng.standard_normal((n_in, n_hidden)) * 0.5,
            "W": rng.standard_normal((n_hidden, n_hidden)) * 0.5,
            "b": rng.standard_normal(n_hidden) * 0.1,
        }
        self.grads = {}

    def forward(self, x):
        U, W, b = self.params["U"], self.params["W"], self.params["b"]
        self.x = x
        self.h = [np.zeros((x.shape[0], W.shape[0]))]
        for t in range(x.shape[1]):
            self.h.append(np.tanh(x[:, t] @ U + self.h[-1] @ W + b))
        return self.h[-1]

    def backward(self, delta):
        U, W = self.params["U"], self.params["W"]
        dU, dW, db = np.zeros_like(U), np.zeros_like(W), np.zeros(W.shape[0])
        dx = np.zeros_like(self.x)
        for t in range(self.x.shape[1], 0, -1):
            delta = delta * (1 - self.h[t] ** 2)
            dU += self.x[:, t - 1].T @ delta
            dW += self.h[t - 1].T @ delta
            db += delta.sum(axis=0)
            dx[:, t - 1] = delta @ U.T
            delta = delta @ W.T
        self.grads = {"U": dU, "W": dW, "b": db}
        return dx
