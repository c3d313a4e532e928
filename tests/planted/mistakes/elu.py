from planted import Mistake, Rule

RULE = Rule("elu", "ELUModule()", shapes="n d -> n d")

MISTAKES = [
    Mistake("mask", "x", "self.x > 0, 1.0", "self.x < 0, 1.0"),
    Mistake("mask", "x", "self.x > 0, 1.0", "self.x > -0.5, 1.0"),
    Mistake("parameter-missing", "x", "self.alpha * np.exp(np.minimum(self.x, 0))", "np.exp(np.minimum(self.x, 0))"),
    Mistake("wrong-saved", "x", "        return out", "        self.x = out\n        return out"),
    Mistake("sign", "x", "self.alpha * np.exp(np.minimum(self.x, 0))", "-self.alpha * np.exp(np.minimum(self.x, 0))"),
    Mistake("sign", "x", "np.exp(np.minimum(self.x, 0))", "np.exp(-np.minimum(self.x, 0))"),
    Mistake(
        "factor", "x", "self.alpha * np.exp(np.minimum(self.x, 0))", "2 * self.alpha * np.exp(np.minimum(self.x, 0))"
    ),
    Mistake("factor", "x", "dx = dout * slope", "dx = dout * slope / self.x.size"),
    Mistake("upstream-ignored", "x", "dx = dout * slope", "dx = slope"),
    Mistake("upstream-twice", "x", "dx = dout * slope", "dx = dout * slope * dout"),
    Mistake("batch-mean-twice", "x", "dx = dout * slope", "dx = dout * slope / len(dout)"),
    Mistake(("mask", "parameter-missing"), "x", "dx = dout * slope", "dx = dout"),
    Mistake("stale", "x", "self.x = x\n", 'self.x = getattr(self, "x", x)\n'),
    Mistake("missing", "x", "        return dx\n", ""),
    Mistake("in-place", "gy", "        dx = dout * slope\n", "        dout *= slope\n        dx = dout\n"),
    Mistake("dtype", "x", "dx = dout * slope", "dx = (dout * slope).astype(np.float16)"),
]
