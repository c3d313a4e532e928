"""Zero padding, a layer of its own: one row and column before, two after."""

import numpy as np


class ZeroPad2d:
    def __init__(self, before=1, after=2):
        self.before, self.after = before, after

    def forward(self, x):
        p, q = self.before, self.after
        out = np.pad(x, ((0, 0), (0, 0), (p, q), (p, q)))
        return out

    def backward(self, dout):
        p, q = self.before, self.after
        # the border was constant
        dx = dout[:, :, p:-q, p:-q]
        return dx
