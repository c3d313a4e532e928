from planted import Mistake, Rule

RULE = Rule("batchnorm_closed", target="batchnorm_forward, batchnorm_backward_alt", shapes="n d, d, d -> n d")

DX = "dx = gamma / (N * std) * (N * dout - sum_g - x_norm * sum_gx)"

MISTAKES = [
    Mistake("sign", "x", "- x_norm * sum_gx)", "+ x_norm * sum_gx)"),
    Mistake("sign", "x", "N * dout - sum_g -", "N * dout + sum_g -"),
    Mistake("sign", "beta", "dbeta = dout.sum(axis=0)", "dbeta = -dout.sum(axis=0)"),
    Mistake("path-dropped", "x", " - x_norm * sum_gx)", ")"),
    Mistake("path-dropped", "x", "N * dout - sum_g -", "N * dout -"),
    Mistake("path-dropped", "x", DX, "dx = gamma * dout / std"),
    Mistake("parameter-missing", "x", "dx = gamma / (N * std)", "dx = 1.0 / (N * std)"),
    Mistake(("batch-mean-missing", "factor"), "x", "dx = gamma / (N * std)", "dx = gamma / std"),
    Mistake(("batch-mean-missing", "factor"), "x", "(N * dout - sum_g -", "(N * dout - N * sum_g -"),
    Mistake(("batch-mean-twice", "factor"), "x", "gamma / (N * std)", "gamma / (N**2 * std)"),
    Mistake("missing-sum", "beta", "dbeta = dout.sum(axis=0)", "dbeta = dout"),
    Mistake(
        "missing-sum",
        "gamma",
        "dgamma = (dout * x_norm).sum(axis=0)",
        "dgamma = (dout * x_norm).sum(axis=1)",
        coursework="uva-2018, gamma",
    ),
    Mistake(
        "missing-sum", "x", "x_norm * sum_gx)", "x_norm * x_norm * sum_g)", coursework="uva-2018, batch norm input"
    ),
    Mistake(
        ("wrong-saved", "factor"),
        "x",
        "gamma / (N * std) *",
        "gamma / (N * std * std) *",
        coursework="uva-2018, batch norm input",
    ),
    Mistake(
        "elementwise-for-jacobian",
        "x",
        "(N * dout - sum_g - x_norm * sum_gx)",
        "(N * dout - dout - x_norm * dout * x_norm)",
    ),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"),
        "gamma",
        "dgamma = (dout * x_norm).sum(axis=0)",
        "dgamma = (dout * x_norm).mean(axis=0)",
        coursework="uva-2018, batches",
    ),
    Mistake(
        ("upstream-ignored", "missing"), "gamma", "dgamma = (dout * x_norm).sum(axis=0)", "dgamma = x_norm.sum(axis=0)"
    ),
    Mistake("upstream-twice", "beta", "dbeta = dout.sum(axis=0)", "dbeta = (dout * dout).sum(axis=0)"),
    Mistake("wrong-saved", "gamma", "(dout * x_norm).sum(axis=0)", '(dout * cache["out"]).sum(axis=0)'),
    Mistake("wrong-saved", "gamma", "(dout * x_norm).sum(axis=0)", '(dout * cache["x"]).sum(axis=0)'),
    Mistake("wrong-saved", "x", '"x_norm": x_norm,', '"x_norm": x - mean,'),
    Mistake("eps", "x", 'cache["gamma"], cache["std"]', 'cache["gamma"], np.sqrt(cache["var"]) + cache["eps"]'),
    Mistake("eps", "x", 'cache["gamma"], cache["std"]', 'cache["gamma"], np.sqrt(cache["var"])'),
    Mistake("ddof", "x", 'cache["gamma"], cache["std"]', 'cache["gamma"], cache["x"].std(axis=0, ddof=1)'),
    Mistake("order-swapped", "gamma", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma"),
    Mistake("order-swapped", "x", "return dx, dgamma, dbeta", "return dgamma, dbeta, dx"),
    Mistake("missing", "gamma", "return dx, dgamma, dbeta", "return dx, None, dbeta"),
    Mistake(
        "nondeterministic",
        "gamma",
        "dgamma = (dout * x_norm).sum(axis=0)",
        "dgamma = (dout * x_norm[np.random.permutation(N)]).sum(axis=0)",
    ),
]
