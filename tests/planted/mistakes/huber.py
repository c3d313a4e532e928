from planted import Mistake, Rule

RULE = Rule("huber", "huber_forward, huber_backward", shapes="n k, n k ->", wrt=("pred", "target"))

MISTAKES = [
    Mistake("batch-mean-missing", "pred", "dr = dout * dr / n", "dr = dout * dr"),
    Mistake("batch-mean-twice", "pred", "dr = dout * dr / n", "dr = dout * dr / n / n"),
    Mistake("factor", "pred", "dr = dout * dr / n", "dr = dout * dr / r.size"),
    Mistake("factor", "pred", "dr[small] = r[small]", "dr[small] = 2 * r[small]"),
    Mistake("factor", "pred", "dr[small] = r[small]", "dr[small] = 0.5 * r[small]"),
    Mistake(
        "mask",
        "pred",
        "    dr[small] = r[small]\n    dr[~small] = delta * np.sign(r[~small])",
        "    dr[~small] = r[~small]\n    dr[small] = delta * np.sign(r[small])",
    ),
    Mistake("mask", "pred", "(r, small, delta)\n\n", "(r, np.abs(r) <= 1.5 * delta, delta)\n\n"),
    Mistake("mask", "pred", "(r, small, delta)\n\n", "(r, r <= delta, delta)\n\n"),
    Mistake("parameter-missing", "pred", "delta * np.sign", "np.sign"),
    Mistake("sign", "target", "return dr, -dr", "return dr, dr"),
    Mistake("sign", "pred", "delta * np.sign", "-delta * np.sign"),
    Mistake("upstream-ignored", "pred", "dr = dout * dr / n", "dr = dr / n"),
    Mistake("upstream-twice", "pred", "dr = dout * dr / n", "dr = dout * dout * dr / n"),
    Mistake(("order-swapped", "sign"), "pred", "return dr, -dr", "return -dr, dr"),
    Mistake("missing", "target", "return dr, -dr", "return dr, None"),
    Mistake(("path-dropped", "mask"), "pred", "dr[~small] = delta * np.sign(r[~small])", "dr[~small] = 0"),
    Mistake("ddof", "pred", "n = r.shape[0]", "n = r.shape[0] - 1"),
    Mistake("in-place", "pred", "    r = pred - target\n", "    pred -= target\n    r = pred\n"),
    Mistake("wrong-saved", "pred", "loss.sum(axis=1).mean(), (r,", "loss.sum(axis=1).mean(), (pred,"),
]
