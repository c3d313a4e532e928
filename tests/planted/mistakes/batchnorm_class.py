from planted import Mistake, Rule

RULE = Rule("batchnorm_class", target="BatchNorm1d(5)", shapes="n 5 -> n 5")

MISTAKES = [
    Mistake("sign", "x", "* -0.5 * self.inv_std**3", "* 0.5 * self.inv_std**3"),
    Mistake("sign", "x", "dmean = -np.sum(", "dmean = np.sum("),
    Mistake("factor", "x", "dx += dvar * 2.0 * self.xc / batch_size", "dx += dvar * self.xc / batch_size"),
    Mistake(("batch-mean-missing", "factor"), "x", "dx += dmean / batch_size", "dx += dmean"),
    Mistake(("batch-mean-missing", "factor"), "x", "2.0 * self.xc / batch_size", "2.0 * self.xc"),
    Mistake("ddof", "x", "2.0 * self.xc / batch_size", "2.0 * self.xc / (batch_size - 1)"),
    Mistake("path-dropped", "x", "        dx += dmean / batch_size\n", ""),
    Mistake("path-dropped", "x", "        dx += dvar * 2.0 * self.xc / batch_size\n", ""),
    Mistake("path-dropped", "x", "if not self.training:", "if self.training:"),
    Mistake(("overwrite", "path-dropped"), "x", "dx += dvar * 2.0 * self.xc", "dx = dvar * 2.0 * self.xc"),
    Mistake(("overwrite", "path-dropped"), "x", "dx += dmean / batch_size", "dx = dmean / batch_size"),
    Mistake("parameter-missing", "x", "dxn = self.gamma * dout", "dxn = dout"),
    Mistake("missing-sum", "gamma", "np.sum(self.xn * dout, axis=0)", "self.xn * dout"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "beta", "dout.sum(axis=0)", "dout.mean(axis=0)"),
    Mistake(("upstream-ignored", "missing"), "gamma", "np.sum(self.xn * dout, axis=0)", "np.sum(self.xn, axis=0)"),
    Mistake("wrong-saved", "gamma", "np.sum(self.xn * dout, axis=0)", "np.sum(self.xc * dout, axis=0)"),
    Mistake("wrong-saved", "x", "dxn = self.gamma * dout", "dxn = self.xn * dout"),
    Mistake(
        "stale",
        "x",
        "self.inv_std = 1.0 / np.sqrt(var + self.eps)\n        self.xn = self.xc * self.inv_std",
        "inv_std = 1.0 / np.sqrt(var + self.eps)\n        if not hasattr(self, 'inv_std'):\n"
        "            self.inv_std = inv_std\n        self.xn = self.xc * inv_std",
    ),
    Mistake("eps", "x", "* self.inv_std**3", "* (np.sqrt(self.var) + self.eps) ** -3"),
    Mistake("in-place", "gy", "dxn = self.gamma * dout", "dout *= self.gamma\n        dxn = dout"),
    Mistake("in-place", "x", "self.xc = x - mean\n", "x -= mean\n            self.xc = x\n"),
    Mistake(
        "missing", "gamma", "self.dgamma = np.sum(self.xn * dout, axis=0)", "self.dgamma = np.zeros_like(self.gamma)"
    ),
    Mistake("missing", "x", "dx += dmean / batch_size\n        return dx", "dx += dmean / batch_size"),
    Mistake(
        "order-swapped",
        "gamma",
        "self.dbeta = dout.sum(axis=0)\n        self.dgamma = np.sum(self.xn * dout, axis=0)",
        "self.dgamma = dout.sum(axis=0)\n        self.dbeta = np.sum(self.xn * dout, axis=0)",
    ),
]
