from planted import Mistake, Rule

RULE = Rule("silu", "silu_forward, silu_backward", shapes="n d -> n d")

MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "x", "dx = dx + dsig", "dx = dsig"),
    Mistake("path-dropped", "x", "    dx = dx + dsig * sig * (1 - sig)\n", ""),
    Mistake("path-dropped", "x", "dx = dy * sig\n", "dx = np.zeros_like(dy)\n"),
    Mistake("sign", "x", "dx + dsig", "dx - dsig"),
    Mistake("sign", "x", "sig * (1 - sig)", "sig * (1 + sig)"),
    Mistake("wrong-saved", "x", "dsig = dy * x", 'dsig = dy * cache["y"]'),
    Mistake("wrong-saved", "x", 'x, sig = cache["x"], cache["sig"]', 'x, sig = cache["x"], cache["y"]'),
    Mistake("wrong-saved", "x", "dx = dy * sig\n", "dx = dy * x\n"),
    Mistake("parameter-missing", "x", "dsig * sig * (1 - sig)", "dsig * (1 - sig)"),
    Mistake("parameter-missing", "x", "dsig * sig * (1 - sig)", "dsig * sig"),
    Mistake("factor", "x", "dx + dsig", "dx + 2 * dsig"),
    Mistake("factor", "x", "return dx", "return dx / 2"),
    Mistake("upstream-ignored", "x", "dsig = dy * x", "dsig = x"),
    Mistake("upstream-ignored", "x", "dx = dy * sig\n", "dx = sig\n"),
    Mistake("upstream-twice", "x", "return dx", "return dy * dx"),
    Mistake("in-place", "gy", "dsig = dy * x", "dy *= x\n    dsig = dy"),
    Mistake("dtype", "x", "return dx", "return dx.astype(np.float16)"),
    Mistake("in-place", "x", "dx = dx + dsig * sig * (1 - sig)", "x *= dy * sig * (1 - sig)\n    dx = dx + x"),
]
