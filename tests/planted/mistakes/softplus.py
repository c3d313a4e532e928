from planted import Mistake, Rule

RULE = Rule("softplus", "Softplus()", shapes="n d -> n d")

MISTAKES = [
    Mistake("sign", "x", "np.exp(-self.beta * self.x)", "np.exp(self.beta * self.x)"),
    Mistake("sign", "x", "g / (1.0", "-g / (1.0"),
    Mistake("parameter-missing", "x", "np.exp(-self.beta * self.x)", "np.exp(-self.x)"),
    Mistake(("factor", "parameter-missing"), "x", "g / (1.0", "self.beta * g / (1.0"),
    Mistake(("factor", "parameter-missing"), "x", "g / (1.0", "g / self.beta / (1.0"),
    Mistake(
        "wrong-saved",
        "x",
        "        self.x = x\n        return np.logaddexp(0.0, self.beta * x) / self.beta",
        "        self.x = np.logaddexp(0.0, self.beta * x) / self.beta\n        return self.x",
    ),
    Mistake("upstream-ignored", "x", "g / (1.0", "1.0 / (1.0"),
    Mistake("upstream-twice", "x", "g / (1.0", "g * g / (1.0"),
    Mistake("factor", "x", "(1.0 + np.exp(-self.beta", "(2.0 + np.exp(-self.beta"),
    Mistake("factor", "x", "g / (1.0 + np.exp(-self.beta * self.x))", "g / (2.0 + 2.0 * np.exp(-self.beta * self.x))"),
    Mistake("stale", "x", "self.x = x\n", 'self.__dict__.setdefault("x", x)\n'),
    Mistake("missing", "x", "return g / (", "g / ("),
    Mistake("parameter-missing", "x", "return g / (1.0 + np.exp(-self.beta * self.x))", "return g"),
    Mistake(
        "dtype",
        "x",
        "return g / (1.0 + np.exp(-self.beta * self.x))",
        "return (g / (1.0 + np.exp(-self.beta * self.x))).astype(np.float32)",
    ),
    Mistake("batch-mean-twice", "x", "return g /", "return g / len(g) /"),
    Mistake(
        "in-place",
        "gy",
        "return g / (1.0 + np.exp(-self.beta * self.x))",
        "g /= 1.0 + np.exp(-self.beta * self.x)\n        return g",
    ),
]
