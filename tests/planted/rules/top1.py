"""The largest entry of every row, a layer that remembers where it was."""

import numpy as np


class RowMax:
    def __init__(self):
        self.index = None
        self.shape = None

    def forward(self, x):
        self.shape = x.shape
        self.index = np.argmax(x, axis=1)
        return np.max(x, axis=1)

    def backward(self, grad_output):
        rows = np.arange(len(grad_output))
        grad_input = np.zeros(self.shape, dtype=grad_output.dtype)
        grad_input[rows, self.index] = grad_output
        return grad_input
