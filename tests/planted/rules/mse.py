import numpy as np


class MSELoss:
    def forward(self, pred, target):
        self.diff = pred - target
        return np.mean(self.diff**2)

    def backward(self, dloss):
        dpred = dloss * 2.0 * self.diff / self.diff.size
        dtarget = -dpred
        return dpred, dtarget
