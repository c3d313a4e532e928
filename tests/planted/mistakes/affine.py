from planted import Mistake, Rule

RULE = Rule("affine", "affine_forward, affine_backward", shapes="n d, d m, m -> n m")

MISTAKES = [
    Mistake("missing-sum", "b", "np.sum(dout, axis=0)", "dout"),
    Mistake("missing-sum", "b", "np.sum(dout, axis=0)", "dout[0]"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "np.sum(dout, axis=0)", "np.mean(dout, axis=0)"),
    Mistake("batch-mean-twice", "w", "x.T.dot(dout)", "x.T.dot(dout) / x.shape[0]", coursework="uva-2018, batches"),
    Mistake("transposed", "w", "x.T.dot(dout)", "dout.T.dot(x)", coursework="uva-2018, linear backward for W"),
    Mistake("transposed", "x", "dout.dot(w.T)", "dout.dot(w.T).T"),
    Mistake(("transposed", "jacobian-transposed"), "x", "dout.dot(w.T)", "dout.dot(w)"),
    Mistake("upstream-ignored", "w", "x.T.dot(dout)", "x.T.dot(np.ones_like(dout))", coursework="uva-2020, linear"),
    Mistake("upstream-ignored", "b", "np.sum(dout, axis=0)", "np.ones_like(_b) * len(x)"),
    Mistake("upstream-twice", "w", "x.T.dot(dout)", "x.T.dot(dout * dout)"),
    Mistake("order-swapped", "x", "return dx, dw, db", "return dw, dx, db"),
    Mistake("order-swapped", "b", "return dx, dw, db", "return dx, db, dw"),
    Mistake("missing", "b", "return dx, dw, db", "return dx, dw, None"),
    Mistake("missing", "x", "dx = dout.dot(w.T)", "dx = np.zeros_like(x)"),
    Mistake("sign", "x", "dx = dout", "dx = -dout"),
    Mistake("factor", "w", "dw = x.T", "dw = 2 * x.T"),
    Mistake("parameter-missing", "x", "dout.dot(w.T)", "dout.dot(np.ones_like(w).T)"),
    Mistake("dtype", "w", "x.T.dot(dout)", "x.T.dot(dout).astype(np.float16)"),
    Mistake("in-place", "gy", "db = np.sum(dout, axis=0)", "dout /= len(x)\n    db = np.sum(dout, axis=0) * len(x)"),
    Mistake(
        "in-place",
        "x",
        "dx = dout.dot(w.T)\n    dw = x.T.dot(dout)",
        "dw = x.T.dot(dout)\n    x[...] = dout.dot(w.T)\n    dx = x",
    ),
]
