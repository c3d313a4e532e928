from planted import Mistake, Rule


def inputs(rng):
    n, d, h = rng.permutation([2, 3, 4])
    shapes = [(n, d), (n, h), (n, h), (d, 4 * h), (h, 4 * h), (4 * h,)]
    return tuple(rng.standard_normal(shape) for shape in shapes)


RULE = Rule("lstm_cell", target="lstm_step_forward, lstm_step_backward", inputs=inputs)
MISTAKES = [
    Mistake("path-dropped", "prev_c", "dc = dnext_c + dnext_h * o * (1 - tanh_c**2)", "dc = dnext_c"),
    Mistake(
        "path-dropped", "prev_c", "dc = dnext_c + dnext_h * o * (1 - tanh_c**2)", "dc = dnext_h * o * (1 - tanh_c**2)"
    ),
    Mistake(("parameter-missing", "wrong-saved"), "prev_c", "dnext_h * o * (1 - tanh_c**2)", "dnext_h * o"),
    Mistake(("parameter-missing", "wrong-saved"), "x", "dag = dg * (1 - g**2)", "dag = dg"),
    Mistake("path-dropped", "Wx", "dao = do * o * (1 - o)", "dao = 0 * do"),
    Mistake(("parameter-missing", "wrong-saved"), "b", "daf = df * f * (1 - f)", "daf = df"),
    Mistake("sign", "prev_c", "dc = dnext_c + dnext_h", "dc = dnext_c - dnext_h"),
    Mistake("sign", "x", "dag = dg * (1 - g**2)", "dag = dg * (1 + g**2)"),
    Mistake("sign", "Wh", "dao = do * o * (1 - o)", "dao = -do * o * (1 - o)"),
    Mistake("parameter-missing", "prev_c", "dnext_h * o * (1 - tanh_c**2)", "dnext_h * (1 - tanh_c**2)"),
    Mistake("parameter-missing", "prev_c", "dprev_c = dc * f", "dprev_c = dc"),
    Mistake("parameter-missing", "b", "do = dnext_h * tanh_c", "do = dnext_h"),
    Mistake("wrong-saved", "x", "di = dc * g", "di = dc * i"),
    Mistake("wrong-saved", "x", "i, f, o, g, tanh_c)\n    return", "i, f, o, g, next_c)\n    return"),
    Mistake("wrong-saved", "b", "df = dc * prev_c", "df = dc * tanh_c"),
    Mistake("wrong-saved", "prev_c", "dprev_c = dc * f", "dprev_c = dc * i"),
    Mistake("permuted", "x", "np.hstack([dai, daf, dao, dag])", "np.hstack([dai, daf, dag, dao])"),
    Mistake("permuted", "Wx", "np.hstack([dai, daf, dao, dag])", "np.hstack([daf, dai, dao, dag])"),
    Mistake("missing-sum", "b", "db = da.sum(axis=0)", "db = da"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "db = da.sum(axis=0)", "db = da.mean(axis=0)"),
    Mistake("order-swapped", "prev_h", "return dx, dprev_h, dprev_c, dWx", "return dx, dprev_c, dprev_h, dWx"),
    Mistake("missing", "prev_c", "dprev_c = dc * f", "dprev_c = None"),
    Mistake("transposed", "Wx", "dWx = x.T @ da", "dWx = da.T @ x"),
    Mistake(
        "in-place",
        "gy",
        "    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)\n",
        "    dnext_c += dnext_h * o * (1 - tanh_c**2)\n    dc = dnext_c\n",
    ),
]
