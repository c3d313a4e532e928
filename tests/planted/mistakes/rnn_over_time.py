from planted import Mistake, Rule

RULE = Rule("rnn_over_time", target="rnn_forward, rnn_backward", shapes="n t d, n h, d h, h h, h")
MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "Wx", "dWx += x[:, t, :].T.dot(da)", "dWx = x[:, t, :].T.dot(da)"),
    Mistake(("overwrite", "path-dropped"), "Wh", "dWh += h_in.T.dot(da)", "dWh = h_in.T.dot(da)"),
    Mistake(("overwrite", "path-dropped"), "b", "db += da.sum(axis=0)", "db = da.sum(axis=0)"),
    Mistake(
        ("overwrite", "path-dropped"),
        "Wx",
        "        dWx += x[:, t, :].T.dot(da)\n",
        "        dWx = np.zeros((D, H)) + x[:, t, :].T.dot(da)\n",
    ),
    Mistake("path-dropped", "x", "dnext = dh[:, t, :] + dprev", "dnext = dh[:, t, :]"),
    Mistake("path-dropped", "Wh", "dnext = dh[:, t, :] + dprev", "dnext = dh[:, t, :] if t == T - 1 else dprev"),
    Mistake(("parameter-missing", "wrong-saved"), "x", "da = dnext * (1 - h[:, t, :] ** 2)", "da = dnext"),
    Mistake(("wrong-saved", "parameter-missing"), "h0", "dprev = da.dot(Wh.T)", "dprev = dnext.dot(Wh.T)"),
    Mistake(
        "path-dropped", "Wh", "h_in = h[:, t - 1, :] if t > 0 else h0", "h_in = h[:, t - 1, :] if t > 0 else 0 * h0"
    ),
    Mistake(("shifted", "wrong-saved"), "Wh", "h_in = h[:, t - 1, :] if t > 0 else h0", "h_in = h[:, t - 1, :]"),
    Mistake("shifted", "Wh", "h_in = h[:, t - 1, :] if t > 0 else h0", "h_in = h[:, t - 2, :] if t > 1 else h0"),
    Mistake("shifted", "x", "(1 - h[:, t, :] ** 2)", "(1 - h[:, t - 1, :] ** 2)"),
    Mistake("shifted", "Wx", "dWx += x[:, t, :].T.dot(da)", "dWx += x[:, t - 1, :].T.dot(da)"),
    Mistake(("shifted", "path-dropped"), "x", "in reversed(range(T))", "in reversed(range(1, T))"),
    Mistake(("shifted", "path-dropped"), "x", "in reversed(range(T))", "in reversed(range(T - 1))"),
    Mistake("shifted", "x", "dnext = dh[:, t, :] + dprev", "dnext = dh[:, t - 1, :] + dprev"),
    Mistake(("wrong-saved", "shifted"), "Wh", "dWh += h_in.T.dot(da)", "dWh += h[:, t, :].T.dot(da)"),
    Mistake("permuted", "x", "in reversed(range(T))", "in range(T)"),
    Mistake("sign", "Wh", "dnext = dh[:, t, :] + dprev", "dnext = dh[:, t, :] - dprev"),
    Mistake("factor", "x", "dx[:, t, :] = da.dot(Wx.T)", "dx[:, t, :] = da.dot(Wx.T) / T"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "db += da.sum(axis=0)", "db += da.mean(axis=0)"),
    Mistake(("transposed", "jacobian-transposed"), "h0", "dprev = da.dot(Wh.T)", "dprev = da.dot(Wh)"),
    Mistake("transposed", "Wh", "dWh += h_in.T.dot(da)", "dWh += da.T.dot(h_in)"),
    Mistake("missing", "h0", "dh0 = dprev", "dh0 = np.zeros_like(h0)"),
    Mistake(
        ("path-dropped", "overwrite"),
        "b",
        "        db += da.sum(axis=0)\n        dprev = da.dot(Wh.T)\n",
        "        dprev = da.dot(Wh.T)\n    db += da.sum(axis=0)\n",
    ),
    Mistake("dtype", "Wx", "dWx = np.zeros((D, H))", "dWx = np.zeros((D, H), dtype=np.float16)"),
]
