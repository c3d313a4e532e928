import numpy as np


class SoftMaxModule:
    def forward(self, x):
        # subtract the maximum for stability
        shifted = x - x.max(axis=1, keepdims=True)
        exps = np.exp(shifted)
        self.out = exps / exps.sum(axis=1, keepdims=True)
        return self.out

    def backward(self, dout):
        s = self.out
        inner = np.sum(dout * s, axis=1, keepdims=True)
        dx = s * (dout - inner)
        return dx
