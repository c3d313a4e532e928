from planted import Mistake, Rule

RULE = Rule("batchnorm_staged", target="batchnorm_forward, batchnorm_backward", shapes="n d, d, d -> n d")

MISTAKES = [
    Mistake("factor", "x", "dxmu2 = 2 * xmu * dsq", "dxmu2 = xmu * dsq"),
    Mistake("factor", "x", "dvar = 0.5 * 1.0 / np", "dvar = 1.0 / np", coursework="uva-2018, batch norm input"),
    Mistake("sign", "x", "dsqrtvar = -1.0 / (sqrtvar**2)", "dsqrtvar = 1.0 / (sqrtvar**2)"),
    Mistake("sign", "x", "dmu = -1 * np.sum(dx1, axis=0)", "dmu = np.sum(dx1, axis=0)"),
    Mistake("sign", "x", "return dx, dgamma, dbeta", "return -dx, dgamma, dbeta"),
    Mistake("path-dropped", "x", "dx = dx1 + dx2", "dx = dx1"),
    Mistake("path-dropped", "x", "dx1 = dxmu1 + dxmu2", "dx1 = dxmu1"),
    Mistake("path-dropped", "x", "dx1 = dxmu1 + dxmu2", "dx1 = dxmu2"),
    Mistake(
        ("batch-mean-missing", "factor"), "x", "dx2 = 1.0 / N * np.ones((N, D)) * dmu", "dx2 = np.ones((N, D)) * dmu"
    ),
    Mistake(
        ("batch-mean-missing", "factor"), "x", "dsq = 1.0 / N * np.ones((N, D)) * dvar", "dsq = np.ones((N, D)) * dvar"
    ),
    Mistake(("batch-mean-twice", "factor"), "x", "dx2 = 1.0 / N * np", "dx2 = 1.0 / N**2 * np"),
    Mistake("missing-sum", "gamma", "dgamma = np.sum(dgammax * xhat, axis=0)", "dgamma = dgammax * xhat"),
    Mistake(
        "missing-sum",
        "gamma",
        "dgamma = np.sum(dgammax * xhat, axis=0)",
        "dgamma = np.sum(dgammax * xhat, axis=1)",
        coursework="uva-2018, gamma",
    ),
    Mistake("missing-sum", "x", "divar = np.sum(dxhat * xmu, axis=0)", "divar = dxhat * xmu"),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"),
        "beta",
        "dbeta = np.sum(dout, axis=0)",
        "dbeta = np.mean(dout, axis=0)",
        coursework="uva-2018, batches",
    ),
    Mistake("parameter-missing", "x", "dxhat = dgammax * gamma", "dxhat = dgammax"),
    Mistake(("upstream-ignored", "missing"), "gamma", "np.sum(dgammax * xhat, axis=0)", "np.sum(xhat, axis=0)"),
    Mistake("upstream-twice", "gamma", "np.sum(dgammax * xhat, axis=0)", "np.sum(dout * dgammax * xhat, axis=0)"),
    Mistake("wrong-saved", "gamma", "np.sum(dgammax * xhat, axis=0)", "np.sum(dgammax * xmu, axis=0)"),
    Mistake("wrong-saved", "x", "dxmu2 = 2 * xmu * dsq", "dxmu2 = 2 * xhat * dsq"),
    Mistake("eps", "x", "dvar = 0.5 * 1.0 / np.sqrt(var + EPS)", "dvar = 0.5 * 1.0 / (np.sqrt(var) + EPS)"),
    Mistake("ddof", "x", "dsq = 1.0 / N * np", "dsq = 1.0 / (N - 1) * np"),
    Mistake("order-swapped", "gamma", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma"),
    Mistake("missing", "beta", "return dx, dgamma, dbeta", "return dx, dgamma, None"),
    Mistake("in-place", "gy", "dxhat = dgammax * gamma", "dgammax *= gamma\n    dxhat = dgammax"),
    Mistake("dtype", "x", "dx = dx1 + dx2", "dx = (dx1 + dx2).astype(np.float16)"),
]
