from planted import Mistake, Rule

RULE = Rule("causal_attention", target="causal_attention", shapes="t d, t d, t e")
MISTAKES = [
    Mistake("mask", "Q", "np.where(future, 0.0, dS)", "np.where(future, dS, 0.0)"),
    Mistake("mask", "K", "np.where(future, 0.0, dS)", "np.where(future.T, 0.0, dS)"),
    Mistake("mask", "V", "dV = P.T @ dO", "dV = np.where(future, P, 0.0).T @ dO"),
    Mistake("mask", "Q", "dP = dO @ V.T", "dP = np.where(future.T, 0.0, dO @ V.T)"),
    Mistake(
        ("shifted", "mask"), "Q", "np.where(future, 0.0, dS)", "np.where(np.triu(np.ones((T, T), dtype=bool)), 0.0, dS)"
    ),
    Mistake(("shifted", "mask"), "V", "dV = P.T @ dO", "dV = np.tril(P, -1).T @ dO"),
    Mistake("shifted", "V", "dV = P.T @ dO", "dV = np.roll(P, 1, axis=0).T @ dO"),
    Mistake("path-dropped", "Q", "(dP - (P * dP).sum(axis=1, keepdims=True))", "dP"),
    Mistake(
        ("elementwise-for-jacobian", "missing-sum"),
        "K",
        "P * (dP - (P * dP).sum(axis=1, keepdims=True))",
        "P * (1 - P) * dP",
    ),
    Mistake("sign", "Q", "(dP - (P * dP)", "(dP + (P * dP)"),
    Mistake(("missing-sum", "elementwise-for-jacobian"), "K", "(P * dP).sum(axis=1, keepdims=True)", "(P * dP)"),
    Mistake("missing-sum", "Q", "(P * dP).sum(axis=1, keepdims=True)", "(P * dP).sum(axis=0, keepdims=True)"),
    Mistake(("parameter-missing", "factor"), "Q", "dQ = dS @ K / np.sqrt(d)", "dQ = dS @ K"),
    Mistake("factor", "K", "dK = dS.T @ Q / np.sqrt(d)", "dK = dS.T @ Q / d"),
    Mistake(("transposed", "jacobian-transposed"), "V", "dV = P.T @ dO", "dV = P @ dO"),
    Mistake("transposed", "K", "dK = dS.T @ Q / np.sqrt(d)", "dK = dS @ Q / np.sqrt(d)"),
    Mistake("wrong-saved", "Q", "dQ = dS @ K", "dQ = dS @ Q"),
    Mistake("order-swapped", "Q", "return dQ, dK, dV", "return dK, dQ, dV"),
    Mistake("upstream-twice", "V", "dV = P.T @ dO", "dV = P.T @ (dO * dO)"),
    Mistake("nondeterministic", "V", "dV = P.T @ dO", "dV = P.T @ (dO * (np.random.rand(T, 1) > 0.5))"),
]
