from planted import Mistake, Rule

RULE = Rule("expand", "expand_forward, expand_backward", shapes="m, n m -> n m")

MISTAKES = [
    Mistake("overwrite", "v", "dv += dV[i]", "dv = dV[i]"),
    Mistake("overwrite", "v", "dv += dV[i]", "dv[:] = dV[i]"),
    Mistake("missing-sum", "v", "return dv, dlike", "return dV, dlike"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "v", "return dv, dlike", 'return dv / ctx["n"], dlike'),
    Mistake("shifted", "v", 'range(ctx["n"])', 'range(1, ctx["n"])'),
    Mistake("shifted", "v", 'range(ctx["n"])', 'range(ctx["n"] - 1)'),
    Mistake("upstream-ignored", "v", 'dV = dY * ctx["like"]', 'dV = ctx["like"]'),
    Mistake("upstream-ignored", "like", 'dlike = dY * ctx["V"]', 'dlike = ctx["V"]'),
    Mistake("upstream-twice", "v", 'dV = dY * ctx["like"]', 'dV = dY * dY * ctx["like"]'),
    Mistake("parameter-missing", "v", 'dV = dY * ctx["like"]', "dV = dY"),
    Mistake("parameter-missing", "like", 'dlike = dY * ctx["V"]', "dlike = dY"),
    Mistake("wrong-saved", "like", 'dlike = dY * ctx["V"]', 'dlike = dY * ctx["like"]'),
    Mistake("wrong-saved", "v", 'dV = dY * ctx["like"]', 'dV = dY * ctx["V"]'),
    Mistake("sign", "v", "dv += dV[i]", "dv -= dV[i]"),
    Mistake("sign", "like", 'dlike = dY * ctx["V"]', 'dlike = -dY * ctx["V"]'),
    Mistake("order-swapped", "v", "return dv, dlike", "return dlike, dv"),
    Mistake("missing", "v", "return dv, dlike", "return None, dlike"),
    Mistake("permuted", "v", "return dv, dlike", "return dv[::-1], dlike"),
    Mistake("dtype", "v", "dtype=dY.dtype", "dtype=np.float32"),
    Mistake("factor", "like", 'dlike = dY * ctx["V"]', 'dlike = 2 * dY * ctx["V"]'),
]
