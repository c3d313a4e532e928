"""Nearest-neighbour up-sampling by two; backward sums every 2 x 2 block."""

import numpy as np


class UpsampleNearest:
    scale = 2

    def forward(self, x):
        s = self.scale
        self.shape = x.shape
        return np.repeat(np.repeat(x, s, axis=2), s, axis=3)

    def backward(self, dout):
        s = self.scale
        N, C, H, W = self.shape
        blocks = dout.reshape(N, C, H, s, W, s)
        dx = blocks.sum(axis=(3, 5))
        return dx
