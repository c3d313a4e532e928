from planted import Mistake, Rule

RULE = Rule("linear_class", "Linear(5, 4)", shapes="n 5 -> n 4")

MISTAKES = [
    Mistake("missing-sum", "b", "dout.sum(axis=0)", "dout"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "dout.sum(axis=0)", "dout.mean(axis=0)"),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "W",
        "np.matmul(self.x.T, dout)",
        "np.matmul(self.x.T, dout) / len(dout)",
        coursework="uva-2018, batches",
    ),
    Mistake("transposed", "W", "np.matmul(self.x.T, dout)", "np.matmul(dout.T, self.x)"),
    Mistake("stale", "W", "        self.x = x\n", "        if self.x is None:\n            self.x = x\n"),
    Mistake(
        "stale",
        "x",
        "        return np.matmul(dout, self.W.T)",
        '        if not hasattr(self, "dx"):\n            self.dx = np.matmul(dout, self.W.T)\n        return self.dx',
    ),
    Mistake("wrong-saved", "W", "self.x = x\n", "self.x = np.tanh(x)\n"),
    Mistake("missing", "x", "return np.matmul(dout, self.W.T)", "np.matmul(dout, self.W.T)"),
    Mistake("missing", "b", "        self.db = dout.sum(axis=0)\n", "        db = dout.sum(axis=0)  # noqa: F841\n"),
    Mistake("missing", "W", "self.dW = np.matmul", "_dW = np.matmul"),
    Mistake("order-swapped", "b", "self.db = dout", "self.db, self.dW = self.dW, dout"),
    Mistake("sign", "b", "dout.sum(axis=0)", "-dout.sum(axis=0)"),
    Mistake("sign", "W", "np.matmul(self.x.T, dout)", "np.matmul(-self.x.T, dout)"),
    Mistake("factor", "x", "np.matmul(dout, self.W.T)", "0.5 * np.matmul(dout, self.W.T)"),
    Mistake("upstream-ignored", "b", "dout.sum(axis=0)", "np.ones_like(self.b)"),
    Mistake("upstream-ignored", "x", "np.matmul(dout, self.W.T)", "np.tile(self.W.sum(axis=1), (len(dout), 1))"),
    Mistake(
        "in-place",
        "W",
        "        return np.matmul(dout, self.W.T)",
        "        self.W -= 0.01 * self.dW\n        return np.matmul(dout, self.W.T)",
    ),
    Mistake("dtype", "b", "dout.sum(axis=0)", "dout.sum(axis=0, dtype=np.float32)"),
    Mistake("dtype", "b", "self.db = dout.sum(axis=0)", "self.db = dout.sum(axis=0).astype(int)"),
    Mistake(
        "nondeterministic",
        "W",
        "np.matmul(self.x.T, dout)",
        "np.matmul(self.x.T, dout) + 1e-3 * np.random.default_rng().normal(size=self.W.shape)",
    ),
    Mistake("shifted", "W", "np.matmul(self.x.T, dout)", "np.matmul(self.x[1:].T, dout[:-1])"),
]
