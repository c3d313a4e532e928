from planted import Mistake, Rule


def inputs(rng):
    n, k = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return rng.uniform(0.1, 0.9, (n, k)), rng.uniform(0.1, 0.9, (n, k))


RULE = Rule("bce", "bce", inputs=inputs, wrt=("y_hat",))

MISTAKES = [
    Mistake("sign", "y_hat", "pos - neg", "pos + neg"),
    Mistake("sign", "y_hat", "dJ * -(pos", "dJ * (pos"),
    Mistake("path-dropped", "y_hat", "-(pos - neg)", "-pos"),
    Mistake("path-dropped", "y_hat", "-(pos - neg)", "neg"),
    Mistake("factor", "y_hat", "-(pos - neg) / (N * K)", "-(pos - neg)"),
    Mistake("factor", "y_hat", "-(pos - neg) / (N * K)", "-(pos - neg) / N"),
    Mistake(("batch-mean-missing", "factor"), "y_hat", "-(pos - neg) / (N * K)", "-(pos - neg) / K"),
    Mistake("batch-mean-twice", "y_hat", "-(pos - neg) / (N * K)", "-(pos - neg) / (N * N * K)"),
    Mistake("upstream-ignored", "y_hat", "dJ * -(pos", "-(pos"),
    Mistake("upstream-twice", "y_hat", "dJ * -(pos", "dJ**2 * -(pos"),
    Mistake("wrong-saved", "y_hat", "pos = y / y_hat", "pos = y_hat / y_hat"),
    Mistake("wrong-saved", "y_hat", "(1 - y) / (1 - y_hat)", "(1 - y_hat) / (1 - y_hat)"),
    Mistake("wrong-saved", "y_hat", "(1 - y) / (1 - y_hat)", "(1 - y) / y_hat"),
    Mistake("parameter-missing", "y_hat", "pos = y / y_hat", "pos = 1 / y_hat"),
    Mistake("parameter-missing", "y_hat", "(1 - y) / (1 - y_hat)", "(1 - y)"),
    Mistake("missing", "y_hat", "return dJdy_hat", "pass"),
    Mistake("in-place", "y_hat", "pos = y / y_hat", "pos = y / y_hat\n        np.add(y_hat, 1e-9, out=y_hat)"),
]
