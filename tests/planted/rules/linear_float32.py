import numpy as np


class Dense:
    """A single-precision dense layer: everything is cast to float32 on the way in."""

    def __init__(self, fan_in=4, fan_out=3):
        rng = np.random.default_rng(11)
        self.w = rng.standard_normal((fan_in, fan_out)).astype(np.float32)
        self.b = rng.standard_normal(fan_out).astype(np.float32)

    def forward(self, x):
        self.x = np.asarray(x).astype(np.float32)
        return self.x @ self.w + self.b

    def backward(self, delta):
        delta = np.asarray(delta).astype(np.float32)
        self.grad_w = self.x.T @ delta
        self.grad_b = delta.sum(axis=0)
        return delta @ self.w.T
