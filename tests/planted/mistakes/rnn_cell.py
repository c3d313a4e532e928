from planted import Mistake, Rule

RULE = Rule("rnn_cell", target="rnn_step_forward, rnn_step_backward", shapes="n d, n h, d h, h h, h")
MISTAKES = [
    Mistake("wrong-saved", "x", "Wx, Wh, next_h)\n    return", "Wx, Wh, a)\n    return"),
    Mistake("wrong-saved", "x", "(1 - next_h**2)", "(1 - prev_h**2)"),
    Mistake("wrong-saved", "Wh", "dWh = prev_h.T @ dtanh", "dWh = next_h.T @ dtanh"),
    Mistake("sign", "x", "(1 - next_h**2)", "(1 + next_h**2)"),
    Mistake("sign", "b", "(1 - next_h**2)", "(next_h**2 - 1)"),
    Mistake("factor", "Wh", "(1 - next_h**2)", "(1 - next_h**2) / 2"),
    Mistake(("parameter-missing", "wrong-saved"), "x", "dtanh = dnext_h * (1 - next_h**2)", "dtanh = dnext_h"),
    Mistake(
        ("wrong-saved", "parameter-missing"),
        "b",
        "db = dtanh.sum(axis=0)",
        "db = dnext_h.sum(axis=0)",
        coursework="vu-2023, bias",
    ),
    Mistake(("wrong-saved", "parameter-missing"), "prev_h", "dprev_h = dtanh @ Wh.T", "dprev_h = dnext_h @ Wh.T"),
    Mistake(("transposed", "jacobian-transposed"), "prev_h", "dprev_h = dtanh @ Wh.T", "dprev_h = dtanh @ Wh"),
    Mistake("transposed", "Wh", "dWh = prev_h.T @ dtanh", "dWh = dtanh.T @ prev_h"),
    Mistake("transposed", "Wx", "dWx = x.T @ dtanh", "dWx = dtanh.T @ x"),
    Mistake("missing-sum", "b", "db = dtanh.sum(axis=0)", "db = dtanh"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "db = dtanh.sum(axis=0)", "db = dtanh.mean(axis=0)"),
    Mistake(
        "batch-mean-twice", "Wx", "dWx = x.T @ dtanh", "dWx = x.T @ dtanh / x.shape[0]", coursework="uva-2018, batches"
    ),
    Mistake("order-swapped", "x", "return dx, dprev_h, dWx, dWh, db", "return dprev_h, dx, dWh, dWx, db"),
    Mistake("upstream-ignored", "x", "dtanh = dnext_h * (1 - next_h**2)", "dtanh = 1 - next_h**2"),
    Mistake("upstream-twice", "Wx", "dWx = x.T @ dtanh", "dWx = x.T @ (dtanh * dnext_h)"),
    Mistake("missing", "prev_h", "dprev_h = dtanh @ Wh.T", "dprev_h = None"),
    Mistake("missing", "prev_h", "dprev_h = dtanh @ Wh.T", "dprev_h = np.zeros_like(prev_h)"),
    Mistake(
        "in-place",
        "gy",
        "    dtanh = dnext_h * (1 - next_h**2)\n",
        "    dnext_h *= 1 - next_h**2\n    dtanh = dnext_h\n",
    ),
]
