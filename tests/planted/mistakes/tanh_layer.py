from planted import Mistake, Rule

RULE = Rule("tanh_layer", "tanh_layer", shapes="b c d -> b c d")

MISTAKES = [
    Mistake("wrong-saved", "x", "1 - t**2", "1 - x**2"),
    Mistake("wrong-saved", "x", "1 - t**2", "1 - np.tanh(t) ** 2"),
    Mistake("wrong-saved", "x", "1 - t**2", "1 - ybar**2"),
    Mistake("sign", "x", "1 - t**2", "1 + t**2"),
    Mistake("sign", "x", "ybar * (1 - t**2)", "ybar * (t**2 - 1)"),
    Mistake("factor", "x", "1 - t**2", "1 - 2 * t**2"),
    Mistake("factor", "x", "(1 - t**2)", "2 * (1 - t**2)"),
    Mistake("upstream-ignored", "x", "ybar * (1 - t**2)", "1 - t**2"),
    Mistake("upstream-twice", "x", "ybar * (1 - t**2)", "ybar * ybar * (1 - t**2)"),
    Mistake("parameter-missing", "x", "ybar * (1 - t**2)", "ybar"),
    Mistake("missing", "x", "return xbar", "return None"),
    Mistake("batch-mean-twice", "x", "return xbar", "return xbar / len(x)"),
    Mistake("in-place", "gy", "xbar = ybar * (1 - t**2)", "xbar = ybar\n        xbar *= 1 - t**2"),
    Mistake("nondeterministic", "x", "return xbar", "return xbar + np.random.randn(*xbar.shape) * 1e-4"),
    Mistake("permuted", "x", "return xbar", "return xbar[..., ::-1]"),
]
