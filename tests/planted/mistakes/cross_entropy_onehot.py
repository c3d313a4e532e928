import numpy as np

from planted import Mistake, Rule


def inputs(rng):
    n, c = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return rng.dirichlet(np.full(c, 3.0), size=n), np.eye(c)[rng.integers(c, size=n)]


RULE = Rule("cross_entropy_onehot", "CrossEntropyModule()", inputs=inputs, wrt=("x",))

MISTAKES = [
    Mistake("batch-mean-missing", "x", "dx = -self.y / self.x / batch_size", "dx = -self.y / self.x"),
    Mistake("batch-mean-twice", "x", "return dout * dx", "return dout * dx / batch_size"),
    Mistake("batch-mean-twice", "x", "batch_size = self.x.shape[0]", "batch_size = self.x.shape[0] ** 2"),
    Mistake("factor", "x", "batch_size = self.x.shape[0]", "batch_size = self.x.size"),
    Mistake("sign", "x", "dx = -self.y", "dx = self.y"),
    Mistake("upstream-ignored", "x", "return dout * dx", "return dx"),
    Mistake("upstream-twice", "x", "return dout * dx", "return dout * dout * dx"),
    Mistake("wrong-saved", "x", "self.x, self.y = x, y", "self.x, self.y = np.log(x), y"),
    Mistake("parameter-missing", "x", "-self.y / self.x /", "-1.0 / self.x /"),
    Mistake("parameter-missing", "x", "-self.y / self.x /", "-self.y /"),
    Mistake("stale", "x", "self.x, self.y = x, y", 'self.x, self.y = getattr(self, "x", x), y'),
    Mistake(
        "stale", "x", "self.x, self.y = x, y", 'self.x = x\n        if not hasattr(self, "y"):\n            self.y = y'
    ),
    Mistake(
        "in-place",
        "x",
        "out = -np.sum(y * np.log(x)) / x.shape[0]",
        "out = -np.sum(y * np.log(x)) / x.shape[0]\n        x += 1e-8",
    ),
    Mistake("missing", "x", "        return dout * dx\n", ""),
    Mistake("mask", "x", "dx = -self.y /", "dx = -(1 - self.y) /"),
    Mistake("dtype", "x", "return dout * dx", "return (dout * dx).astype(np.float16)"),
]
