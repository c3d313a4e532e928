from planted import Mistake, Rule

RULE = Rule("matvec_pullbacks", "layer", shapes="k k, k, k -> k")

MISTAKES = [
    Mistake(("jacobian-transposed", "transposed"), "x", "A.T @ zbar", "A @ zbar"),
    Mistake("jacobian-transposed", "x", "A.T @ zbar", "np.cos(z) * (A @ ybar)"),
    Mistake("transposed", "A", "np.outer(zbar, x)", "np.outer(x, zbar)"),
    Mistake(("parameter-missing", "wrong-saved"), "x", "A.T @ zbar", "A.T @ ybar"),
    Mistake(("parameter-missing", "wrong-saved"), "A", "np.outer(zbar, x)", "np.outer(ybar, x)"),
    Mistake("parameter-missing", "b", "        return np.cos(z) * ybar", "        return ybar"),
    Mistake("wrong-saved", "b", "        return np.cos(z) * ybar", "        return np.cos(y) * ybar"),
    Mistake("wrong-saved", "A", "zbar = ybar * np.cos(z)", "zbar = ybar * np.cos(x)"),
    Mistake("elementwise-for-jacobian", "x", "A.T @ zbar", "np.diag(A) * zbar"),
    Mistake("sign", "A", "zbar = ybar * np.cos(z)", "zbar = -ybar * np.cos(z)"),
    Mistake("sign", "b", "        return np.cos(z) * ybar", "        return -np.cos(z) * ybar"),
    Mistake("factor", "x", "A.T @ zbar", "3 * A.T @ zbar"),
    Mistake("upstream-ignored", "A", "zbar = ybar * np.cos(z)", "zbar = np.cos(z)"),
    Mistake("upstream-ignored", "b", "        return np.cos(z) * ybar", "        return np.cos(z)"),
    Mistake("upstream-twice", "x", "zbar = np.cos(z) * ybar", "zbar = np.cos(z) * ybar * ybar"),
    Mistake("order-swapped", "x", "(pull_A, pull_x, pull_b)", "(pull_A, pull_b, pull_x)"),
    Mistake("order-swapped", "A", "(pull_A, pull_x, pull_b)", "(pull_x, pull_A, pull_b)"),
    Mistake("missing", "b", "        return np.cos(z) * ybar", "        return None"),
    Mistake("permuted", "x", "A.T @ zbar", "(A.T @ zbar)[::-1]"),
    Mistake("shifted", "A", "np.outer(zbar, x)", "np.outer(zbar, np.roll(x, 1))"),
    Mistake("in-place", "x", "A.T @ zbar", "np.matmul(A.T, zbar, out=x)"),
]
