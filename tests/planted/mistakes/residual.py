from planted import Mistake, Rule

RULE = Rule("residual", "ResidualBlock(4)", shapes="n 4 -> n 4")

MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "x", "dx += dpre @", "dx = dpre @"),
    Mistake("path-dropped", "x", "        dx += dpre @ self.weight.T\n", ""),
    Mistake("path-dropped", "x", "dx = dy.copy()", "dx = np.zeros_like(dy)"),
    Mistake(("transposed", "jacobian-transposed"), "x", "dpre @ self.weight.T", "dpre @ self.weight"),
    Mistake("transposed", "weight", "self.inputs.T @ dpre", "dpre.T @ self.inputs"),
    Mistake("wrong-saved", "weight", "self.inputs.T @ dpre", "self.act.T @ dpre"),
    Mistake("wrong-saved", "weight", "self.inputs = x\n", "self.inputs = x + 1\n"),
    Mistake(("mask", "wrong-saved"), "bias", "self.pre > 0", "self.inputs > 0"),
    Mistake("mask", "x", "self.pre > 0", "self.pre < 0"),
    Mistake(("parameter-missing", "mask"), "weight", "dpre = dy * (self.pre > 0)", "dpre = dy"),
    Mistake("missing-sum", "bias", "dpre.sum(0)", "dpre"),
    Mistake(
        ("wrong-saved", "parameter-missing", "mask"), "bias", "dpre.sum(0)", "dy.sum(0)", coursework="vu-2023, bias"
    ),
    Mistake(("mean-for-sum", "batch-mean-twice"), "bias", "dpre.sum(0)", "dpre.mean(0)"),
    Mistake("missing-sum", "bias", "dpre.sum(0)", "dpre[-1]"),
    Mistake("in-place", "gy", "dx = dy.copy()", "dx = dy"),
    Mistake("sign", "x", "dx += dpre", "dx -= dpre"),
    Mistake("factor", "weight", "self.inputs.T @ dpre", "self.inputs.T @ dpre / self.inputs.size"),
    Mistake("upstream-ignored", "x", "dx = dy.copy()", "dx = np.ones_like(dy)"),
    Mistake("upstream-ignored", "bias", "dpre.sum(0)", "(self.pre > 0).sum(0)"),
    Mistake("upstream-twice", "x", "dx += dpre @", "dx += (dpre * dy) @"),
    Mistake("stale", "weight", "self.inputs = x\n", 'self.inputs = getattr(self, "inputs", x)\n'),
    Mistake(
        "missing",
        "weight",
        "self.weight_grad = self.inputs.T @ dpre",
        "weight_grad = self.inputs.T @ dpre  # noqa: F841",
    ),
    Mistake(
        "order-swapped",
        "weight",
        "self.bias_grad = dpre.sum(0)",
        "self.bias_grad, self.weight_grad = self.weight_grad, dpre.sum(0)",
    ),
]
