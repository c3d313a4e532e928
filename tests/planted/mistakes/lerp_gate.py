from planted import Mistake, Rule

RULE = Rule("lerp_gate", target="lerp_forward, lerp_backward", shapes="n d, n d, d, d, 1 -> n d")
DZ = "dz = dg * g[:, 0] * (1 - g[:, 0])"
MISTAKES = [
    Mistake("path-dropped", "a", "da = g * dout + np.outer(dz, wa)", "da = g * dout"),
    Mistake("path-dropped", "b", "db = (1 - g) * dout + np.outer(dz, wb)", "db = (1 - g) * dout"),
    Mistake("path-dropped", "b", "db = (1 - g) * dout + np.outer(dz, wb)", "db = np.outer(dz, wb)"),
    Mistake("path-dropped", "wa", "dout * (a - b)", "dout * a"),
    Mistake("sign", "wb", "dout * (a - b)", "dout * (a + b)"),
    Mistake("sign", "c", "dout * (a - b)", "dout * (b - a)"),
    Mistake("sign", "b", "db = (1 - g) * dout + np.outer(dz, wb)", "db = (1 - g) * dout - np.outer(dz, wb)"),
    Mistake(("parameter-missing", "wrong-saved"), "wa", DZ, "dz = dg"),
    Mistake(("parameter-missing", "wrong-saved"), "wb", DZ, "dz = dg * g[:, 0]"),
    Mistake("sign", "wa", DZ, "dz = dg * g[:, 0] * (1 + g[:, 0])"),
    Mistake("wrong-saved", "b", "db = (1 - g) * dout", "db = g * dout"),
    Mistake("wrong-saved", "a", "np.outer(dz, wa)", "np.outer(dz, wb)"),
    Mistake("wrong-saved", "wb", "dwb = b.T @ dz", "dwb = a.T @ dz"),
    Mistake("parameter-missing", "a", "da = g * dout", "da = dout"),
    Mistake("missing-sum", "c", "dc = np.array([dz.sum()])", "dc = dz"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "c", "dc = np.array([dz.sum()])", "dc = np.array([dz.mean()])"),
    Mistake("mean-for-sum", "wa", "dg = np.sum(dout * (a - b), axis=1)", "dg = np.mean(dout * (a - b), axis=1)"),
    Mistake("upstream-ignored", "wa", "np.sum(dout * (a - b), axis=1)", "np.sum(a - b, axis=1)"),
    Mistake("upstream-ignored", "a", "da = g * dout", "da = g"),
    Mistake("order-swapped", "a", "return da, db, dwa, dwb, dc", "return db, da, dwa, dwb, dc"),
    Mistake("order-swapped", "wa", "return da, db, dwa, dwb, dc", "return da, db, dwb, dwa, dc"),
    Mistake("batch-mean-twice", "wb", "dwb = b.T @ dz", "dwb = b.T @ dz / len(b)", coursework="uva-2018, batches"),
    Mistake("missing", "c", "dc = np.array([dz.sum()])", "dc = None"),
]
