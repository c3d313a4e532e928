from planted import Mistake, Rule

RULE = Rule("leaky_relu", "LeakyReLU()", shapes="n d -> n d")

MISTAKES = [
    Mistake("parameter-missing", "x", "        grad_input[~self.mask] *= self.slope\n", ""),
    Mistake("mask", "x", "grad_input[~self.mask]", "grad_input[self.mask]"),
    Mistake(("mask", "path-dropped"), "x", "grad_input[~self.mask] *= self.slope", "grad_input[~self.mask] = 0"),
    Mistake(
        "mask",
        "x",
        "self.mask = x > 0\n        return np.where(self.mask,",
        "self.mask = x > -1\n        return np.where(x > 0,",
    ),
    Mistake("upstream-ignored", "x", "*= self.slope", "= self.slope"),
    Mistake("upstream-ignored", "x", "grad_output.copy()", "np.ones_like(grad_output)"),
    Mistake("in-place", "gy", "grad_input = grad_output.copy()", "grad_input = grad_output"),
    Mistake(
        "in-place",
        "x",
        "        return np.where(self.mask, x, self.slope * x)",
        "        x[~self.mask] *= self.slope\n        return x",
    ),
    Mistake(
        "stale",
        "x",
        "        self.mask = x > 0\n        return np.where(self.mask,",
        "        if self.mask is None:\n            self.mask = x > 0\n        return np.where(x > 0,",
    ),
    Mistake("sign", "x", "*= self.slope", "*= -self.slope"),
    Mistake("sign", "x", "return grad_input", "return -grad_input"),
    Mistake("factor", "x", "*= self.slope", "*= 2 * self.slope"),
    Mistake("factor", "x", "return grad_input", "return grad_input / 2"),
    Mistake("upstream-twice", "x", "return grad_input", "return grad_input * grad_output"),
    Mistake("missing", "x", "        return grad_input\n", ""),
    Mistake("dtype", "x", "grad_output.copy()", "grad_output.astype(np.float32)"),
    Mistake("nondeterministic", "x", "*= self.slope", "*= np.random.uniform(0.01, 0.3)"),
]
