"""Linear module with a dict of parameters and a dict of gradients; weight is (out, in)."""

import numpy as np


class LinearModule:
    def __init__(self, in_features, out_features):
        rng = np.random.default_rng(0)
        self.params = {
            "weight": rng.normal(loc=0.0, scale=0.5, size=(out_features, in_features)),
            "bias": rng.normal(loc=0.0, scale=0.5, size=(1, out_features)),
        }
        self.grads = {"weight": None, "bias": None}

    def forward(self, x):
        self.x = x
        out = x @ self.params["weight"].T + self.params["bias"]
        return out

    def backward(self, dout):
        """Sets the gradients of the parameters and returns that of the input."""
        self.grads["weight"] = dout.T @ self.x
        self.grads["bias"] = dout.sum(axis=0, keepdims=True)
        dx = dout @ self.params["weight"]
        return dx
