import numpy as np


class BatchNorm1d:
    """Batch normalisation with running statistics for test time."""

    def __init__(self, num_features, momentum=0.9, eps=1e-3):
        # around one, not at one (as DCGAN does it)
        self.gamma = np.random.default_rng(1).normal(1.0, 0.2, num_features)
        self.beta = np.zeros(num_features)
        self.dgamma = None
        self.dbeta = None
        self.running_mean = np.zeros(num_features)
        self.running_var = np.ones(num_features)
        self.momentum = momentum
        self.eps = eps
        self.training = True

    def forward(self, x):
        if self.training:
            mean = x.mean(axis=0)
            self.xc = x - mean
            var = np.mean(self.xc**2, axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            self.xc = x - self.running_mean
            var = self.running_var
        self.var = var
        self.inv_std = 1.0 / np.sqrt(var + self.eps)
        self.xn = self.xc * self.inv_std
        return self.gamma * self.xn + self.beta

    def backward(self, dout):
        batch_size = dout.shape[0]
        self.dbeta = dout.sum(axis=0)
        self.dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        if not self.training:
            return dxn * self.inv_std
        dvar = np.sum(dxn * self.xc, axis=0) * -0.5 * self.inv_std**3
        dmean = -np.sum(dxn * self.inv_std, axis=0)
        dx = dxn * self.inv_std
        dx += dvar * 2.0 * self.xc / batch_size
        dx += dmean / batch_size
        return dx
