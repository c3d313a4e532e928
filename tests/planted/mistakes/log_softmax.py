from planted import Mistake, Rule

RULE = Rule("log_softmax", "log_softmax_forward, log_softmax_backward", shapes="n c -> n c")

MISTAKES = [
    Mistake("path-dropped", "x", "gy - np.exp(y) * gy.sum(axis=1, keepdims=True)", "gy.copy()"),
    Mistake("path-dropped", "x", "gx = gy - np.exp(y)", "gx = -np.exp(y)"),
    Mistake(
        ("missing-sum", "elementwise-for-jacobian"), "x", "np.exp(y) * gy.sum(axis=1, keepdims=True)", "np.exp(y) * gy"
    ),
    Mistake("sign", "x", "gy - np.exp(y)", "gy + np.exp(y)"),
    Mistake("sign", "x", "gx = gy - np.exp(y) *", "gx = -gy + np.exp(y) *"),
    Mistake("wrong-saved", "x", "np.exp(y) * gy", "y * gy"),
    Mistake("wrong-saved", "x", "np.exp(y) * gy", "np.exp(_x) * gy"),
    Mistake(
        "jacobian-transposed",
        "x",
        "np.exp(y) * gy.sum(axis=1, keepdims=True)",
        "np.sum(np.exp(y) * gy, axis=1, keepdims=True)",
    ),
    Mistake("mean-for-sum", "x", "gy.sum(axis=1, keepdims=True)", "gy.mean(axis=1, keepdims=True)"),
    Mistake("upstream-ignored", "x", "np.exp(y) * gy.sum(axis=1, keepdims=True)", "np.exp(y)"),
    Mistake(
        "upstream-ignored",
        "x",
        "gx = gy - np.exp(y) * gy.sum(axis=1, keepdims=True)",
        "gx = 1 - np.exp(y) * gy.shape[1]",
    ),
    Mistake("upstream-twice", "x", "return gx", "return gx * gy"),
    Mistake("parameter-missing", "x", "np.exp(y) * gy.sum", "gy.sum"),
    Mistake("factor", "x", "np.exp(y) * gy.sum", "2 * np.exp(y) * gy.sum"),
    Mistake(
        "in-place",
        "gy",
        "gx = gy - np.exp(y) * gy.sum(axis=1, keepdims=True)",
        "gx = gy\n    gx -= np.exp(y) * gy.sum(axis=1, keepdims=True)",
    ),
    Mistake("batch-mean-twice", "x", "return gx", "return gx / len(y)"),
    Mistake("missing", "x", "    return gx\n", ""),
]
