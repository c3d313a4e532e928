from planted import Mistake, Rule

RULE = Rule("relu", "relu_forward, relu_backward", shapes="n d -> n d")

MISTAKES = [
    Mistake("mask", "x", "x > 0", "x < 0"),
    Mistake("mask", "x", "x > 0", "x > 1"),
    Mistake(("mask", "parameter-missing"), "x", "x > 0", "x != 0"),
    Mistake("mask", "x", "x > 0", "np.abs(x) > 0.5"),
    Mistake(("mask", "wrong-saved"), "x", "(x > 0)", "(dout > 0)"),
    Mistake("in-place", "gy", "dx = dout * (x > 0)", "dx = dout\n    dx[x <= 0] = 0"),
    Mistake("in-place", "x", "np.maximum(0, x)", "np.maximum(0, x, out=x)"),
    Mistake("upstream-ignored", "x", "dout * (x > 0)", "(x > 0).astype(x.dtype)"),
    Mistake("upstream-twice", "x", "dout * (x > 0)", "dout * dout * (x > 0)"),
    Mistake("sign", "x", "dout * (x > 0)", "-dout * (x > 0)"),
    Mistake("mask", "x", "dout * (x > 0)", "dout * np.sign(x)"),
    Mistake("factor", "x", "dout * (x > 0)", "2 * dout * (x > 0)"),
    Mistake(("mask", "parameter-missing"), "x", "dout * (x > 0)", "dout"),
    Mistake("missing", "x", "return dx", "return None"),
    Mistake("missing", "x", "dout * (x > 0)", "np.zeros_like(dout)"),
    Mistake("dtype", "x", "dout * (x > 0)", "(dout * (x > 0)).astype(np.float16)"),
    Mistake("dtype", "x", "dout * (x > 0)", "np.multiply(dout, x > 0).astype(np.int64)"),
    Mistake(("shifted", "mask"), "x", "x > 0", "np.roll(x, 1, axis=1) > 0"),
    Mistake("batch-mean-twice", "x", "dout * (x > 0)", "dout * (x > 0) / x.shape[0]"),
]
