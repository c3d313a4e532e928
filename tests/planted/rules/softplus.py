import numpy as np


class Softplus:
    """log(1 + exp(beta x)) / beta"""

    def __init__(self, beta=2.0):
        self.beta = beta

    def forward(self, x):
        self.x = x
        return np.logaddexp(0.0, self.beta * x) / self.beta

    def backward(self, g):
        return g / (1.0 + np.exp(-self.beta * self.x))
