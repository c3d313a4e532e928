"""Cumulative sum along the rows: its backward is the sum from the other end."""

import numpy as np


class CumSum:
    def __init__(self, axis=1):
        self.axis = axis

    def forward(self, x):
        self.shape = x.shape
        return np.cumsum(x, axis=self.axis)

    def backward(self, dy):
        flipped = np.flip(dy, axis=self.axis)
        dx = np.flip(np.cumsum(flipped, axis=self.axis), axis=self.axis)
        return dx
