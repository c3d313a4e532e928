from planted import Mistake, Rule

RULE = Rule("batchnorm_jacobian", target="forward, backward", shapes="b f, f, f -> b f")

CENTRE = "np.eye(B) - np.full((B, B), 1 / B)"
JACOBIAN = "centre / s[j] - np.outer(X[:, j] - mu[j], ds) / s[j] ** 2"
WRITE_UP = "uva-2018, batch norm input"

MISTAKES = [
    Mistake(
        ("factor", "batch-mean-missing", "sign"), "X", CENTRE, "np.where(np.eye(B) == 1, 1 - 1 / B, 1.0)", WRITE_UP
    ),
    Mistake("factor", "X", "ds = (X[:, j] - mu[j]) / (B * s[j])", "ds = 2 * (X[:, j] - mu[j]) / (B * s[j])", WRITE_UP),
    Mistake(
        ("wrong-saved", "factor"),
        "X",
        JACOBIAN,
        "(centre / s[j] - np.outer(X[:, j] - mu[j], ds) / s[j] ** 2) / s[j]",
        WRITE_UP,
    ),
    Mistake(
        "missing-sum", "gamma", 'np.einsum("sj,sj->j", G, Xhat)', 'np.einsum("sj,sj->s", G, Xhat)', "uva-2018, gamma"
    ),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"),
        "beta",
        'np.einsum("sj->j", G)',
        'np.einsum("sj->j", G) / B',
        "uva-2018, batches",
    ),
    Mistake("path-dropped", "X", CENTRE, "np.eye(B)"),
    Mistake("path-dropped", "X", JACOBIAN, "centre / s[j]"),
    Mistake(("batch-mean-missing", "factor"), "X", "np.full((B, B), 1 / B)", "np.ones((B, B))"),
    Mistake("sign", "X", CENTRE, "np.eye(B) + np.full((B, B), 1 / B)"),
    Mistake("sign", "X", "centre / s[j] - np.outer", "centre / s[j] + np.outer"),
    Mistake("elementwise-for-jacobian", "X", "J.T @ (gamma[j] * G[:, j])", "np.diag(J) * (gamma[j] * G[:, j])"),
    Mistake("parameter-missing", "X", "J.T @ (gamma[j] * G[:, j])", "J.T @ G[:, j]"),
    Mistake(("upstream-ignored", "missing"), "gamma", 'np.einsum("sj,sj->j", G, Xhat)', 'np.einsum("sj->j", Xhat)'),
    Mistake("upstream-twice", "gamma", 'np.einsum("sj,sj->j", G, Xhat)', 'np.einsum("sj,sj,sj->j", G, G, Xhat)'),
    Mistake("wrong-saved", "gamma", 'np.einsum("sj,sj->j", G, Xhat)', 'np.einsum("sj,sj->j", G, X)'),
    Mistake("wrong-saved", "X", "gamma[j] * G[:, j]", "mu[j] * G[:, j]"),
    Mistake("ddof", "X", "ds = (X[:, j] - mu[j]) / (B * s[j])", "ds = (X[:, j] - mu[j]) / ((B - 1) * s[j])"),
    Mistake("shifted", "X", "range(F)", "range(F - 1)"),
    Mistake("shifted", "X", "(gamma[j] * G[:, j])", "(gamma[j - 1] * G[:, j])"),
    Mistake("permuted", "X", "return dX, dgamma, dbeta", "return dX[:, ::-1], dgamma, dbeta"),
    Mistake("transposed", "X", "return dX, dgamma, dbeta", "return dX.T, dgamma, dbeta"),
    Mistake("in-place", "X", "ds = (X[:, j] - mu[j])", "X[:, j] -= mu[j]\n        ds = X[:, j]"),
]
