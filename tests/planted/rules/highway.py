"""Highway layer: y = T(x) H(x) + (1 - T(x)) x, with parameters that carry their gradient."""

import numpy as np


class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)


class Highway:
    def __init__(self, size=4, rng=None):
        rng = rng or np.random.default_rng(3)
        self.w_h = Parameter(rng.normal(size=(size, size)) * 0.7)
        self.b_h = Parameter(rng.normal(size=size))
        self.w_t = Parameter(rng.normal(size=(size, size)) * 0.7)
        self.b_t = Parameter(rng.normal(size=size) - 1.0)  # starts closed

    def forward(self, x):
        self.x = x
        self.pre = x @ self.w_h.data + self.b_h.data
        self.h = np.maximum(self.pre, 0)
        self.t = 1 / (1 + np.exp(-(x @ self.w_t.data + self.b_t.data)))
        return self.t * self.h + (1 - self.t) * x

    def backward(self, dy):
        dh = dy * self.t
        dt = dy * (self.h - self.x)
        dpre = dh * (self.pre > 0)
        dgate = dt * self.t * (1 - self.t)
        self.w_h.grad = self.x.T @ dpre
        self.b_h.grad = dpre.sum(0)
        self.w_t.grad = self.x.T @ dgate
        self.b_t.grad = dgate.sum(0)
        carry = dy * (1 - self.t)
        return carry + dpre @ self.w_h.data.T + dgate @ self.w_t.data.T
