import numpy as np


class LeakyReLU:
    def __init__(self, slope=0.1):
        self.slope = slope
        self.mask = None

    def forward(self, x):
        self.mask = x > 0
        return np.where(self.mask, x, self.slope * x)

    def backward(self, grad_output):
        grad_input = grad_output.copy()
        grad_input[~self.mask] *= self.slope
        return grad_input
