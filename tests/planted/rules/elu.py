import numpy as np


class ELUModule:
    """Exponential linear unit: x for x > 0, alpha (e^x - 1) else."""

    def __init__(self, alpha=1.5):
        self.alpha = alpha

    def forward(self, x):
        self.x = x
        out = np.where(x > 0, x, self.alpha * (np.exp(np.minimum(x, 0)) - 1))
        return out

    def backward(self, dout):
        slope = np.where(self.x > 0, 1.0, self.alpha * np.exp(np.minimum(self.x, 0)))
        dx = dout * slope
        return dx
