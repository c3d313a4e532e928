from planted import Mistake, Rule

RULE = Rule("mlp_pair", "mlp_forward, mlp_backward", shapes="X: n d, W1: d h, b1: h, W2: h m, b2: m -> n m")

MISTAKES = [
    Mistake(
        ("wrong-saved", "parameter-missing"),
        "b1",
        "np.sum(dk, axis=0)",
        "np.sum(dh, axis=0)",
        coursework="vu-2023, bias",
    ),
    Mistake(("parameter-missing", "wrong-saved"), "W1", "dk = dh * h * (1 - h)", "dk = dh"),
    Mistake(("wrong-saved", "parameter-missing"), "W1", "dW1 = X.T @ dk", "dW1 = X.T @ dh"),
    Mistake("wrong-saved", "W1", "dk = dh * h * (1 - h)", 'dk = dh * cache["k"] * (1 - cache["k"])'),
    Mistake("wrong-saved", "W2", "dW2 = h.T @ dscores", 'dW2 = cache["k"].T @ dscores'),
    Mistake("wrong-saved", "b1", '"h": h,', '"h": k,'),
    Mistake("sign", "b1", "(1 - h)\n", "(1 + h)\n"),
    Mistake("sign", "W1", "dk = dh * h * (1 - h)", "dk = dh * h * (h - 1)"),
    Mistake("factor", "W1", "h * (1 - h)", "2 * h * (1 - h)"),
    Mistake("missing-sum", "b2", "np.sum(dscores, axis=0)", "dscores"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b1", "np.sum(dk, axis=0)", "np.mean(dk, axis=0)"),
    Mistake("batch-mean-twice", "W2", "h.T @ dscores", "h.T @ dscores / len(X)", coursework="uva-2018, batches"),
    Mistake("transposed", "W2", "dW2 = h.T @ dscores", "dW2 = dscores.T @ h"),
    Mistake("upstream-ignored", "X", 'dh = dscores @ cache["W2"].T', 'dh = np.ones_like(dscores) @ cache["W2"].T'),
    Mistake("parameter-missing", "X", 'dk @ cache["W1"].T', 'dk @ np.ones_like(cache["W1"]).T'),
    Mistake("order-swapped", "W1", "return dX, dW1, db1, dW2, db2", "return dX, dW2, db2, dW1, db1"),
    Mistake("order-swapped", "b1", "return dX, dW1, db1, dW2, db2", "return dX, dW1, db2, dW2, db1"),
    Mistake("missing", "b2", "dW2, db2\n", "dW2, None\n"),
    Mistake("in-place", "gy", "dk = dh * h * (1 - h)", "dk = dh * h * (1 - h)\n    dscores *= 1 / len(X)"),
]
