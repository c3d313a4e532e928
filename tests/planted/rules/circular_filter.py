"""Circular filter along the last axis with a learned, asymmetric kernel."""

import numpy as np


class CircularFilter:
    def __init__(self):
        self.W = np.array([0.5, 0.3, -0.4])
        self.dW = np.zeros(3)

    def forward(self, x):
        self.x = x
        out = 0.0
        for k in range(3):
            out = out + self.W[k] * np.roll(x, k, axis=1)
        return out

    def backward(self, dout):
        dx = np.zeros(dout.shape)
        self.dW = np.zeros(3)
        for k in range(3):
            dx += self.W[k] * np.roll(dout, -k, axis=1)
            self.dW[k] = np.sum(dout * np.roll(self.x, k, axis=1))
        return dx
