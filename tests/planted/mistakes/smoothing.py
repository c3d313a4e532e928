from planted import Mistake, Rule

RULE = Rule("smoothing", target="smooth, smooth_backward", shapes="x: n t, a: 1")
LOOP = "for t in range(T - 1, -1, -1):"
MISTAKES = [
    Mistake(("jacobian-transposed", "permuted"), "x", LOOP, "for t in range(T):"),
    Mistake(("overwrite", "path-dropped"), "a", "ga += np.sum(", "ga[:] = np.sum("),
    Mistake(("shifted", "path-dropped"), "a", LOOP, "gx[:, 0] = 0\n    for t in range(T - 1, 0, -1):"),
    Mistake("shifted", "a", "before = y[:, t - 1] if t else np.zeros(N)", "before = y[:, t - 1]"),
    Mistake(("wrong-saved", "shifted"), "a", "before = y[:, t - 1] if t else np.zeros(N)", "before = y[:, t]"),
    Mistake(
        ("wrong-saved", "path-dropped"),
        "a",
        "before = y[:, t - 1] if t else np.zeros(N)",
        "before = x[:, t - 1] if t else np.zeros(N)",
    ),
    Mistake(("elementwise-for-jacobian", "path-dropped"), "x", "g = gy[:, t] + carry", "g = gy[:, t]"),
    Mistake("path-dropped", "a", "(before - x[:, t])", "before"),
    Mistake(("path-dropped", "parameter-missing"), "a", "(before - x[:, t])", "-x[:, t]"),
    Mistake("sign", "a", "(before - x[:, t])", "(before + x[:, t])"),
    Mistake("sign", "a", "(before - x[:, t])", "(x[:, t] - before)"),
    Mistake("sign", "x", "g = gy[:, t] + carry", "g = gy[:, t] - carry"),
    Mistake("parameter-missing", "x", "gx[:, t] = (1 - a) * g", "gx[:, t] = g"),
    Mistake("parameter-missing", "x", "carry = a * g", "carry = g"),
    Mistake("wrong-saved", "x", "gx[:, t] = (1 - a) * g", "gx[:, t] = a * g"),
    Mistake(("upstream-twice", "wrong-saved"), "a", "ga += np.sum(g *", "ga += np.sum(gy[:, t] * g *"),
    Mistake("upstream-ignored", "x", "g = gy[:, t] + carry", "g = 1 + carry"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "a", "ga += np.sum(", "ga += np.mean("),
    Mistake("missing-sum", "a", "ga += np.sum(g * (before - x[:, t]))", "ga = ga + g * (before - x[:, t])"),
    Mistake("order-swapped", "x", "return gx, ga", "return ga, gx"),
    Mistake("missing", "a", "return gx, ga", "return gx, None"),
]
