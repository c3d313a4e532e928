from planted import Mistake, Rule

RULE = Rule("l1_loss", "l1_forward, l1_backward", shapes="a: n k, b: n k")

MISTAKES = [
    Mistake("batch-mean-missing", "a", "dout * s / N", "dout * s"),
    Mistake("batch-mean-missing", "b", "dout * -s / N", "dout * -s"),
    Mistake("batch-mean-twice", "a", "dout * s / N", "dout * s / N / N"),
    Mistake("factor", "b", "dout * -s / N", "dout * -s / a.size"),
    Mistake("sign", "b", "dout * -s", "dout * s"),
    Mistake("sign", "a", "dout * s", "-dout * s"),
    Mistake(("parameter-missing", "mask"), "a", "da = dout * s / N", "da = dout * np.ones_like(a) / N"),
    Mistake("mask", "a", "s = np.sign(a - b)", "s = (a > b).astype(float)"),
    Mistake("wrong-saved", "a", "np.sign(a - b)", "np.sign(a)"),
    Mistake("upstream-ignored", "a", "dout * s / N", "s / N"),
    Mistake("upstream-ignored", "b", "dout * -s / N", "-s / N"),
    Mistake("upstream-twice", "b", "dout * -s", "dout * dout * -s"),
    Mistake(("order-swapped", "sign"), "a", '{"a": da, "b": db}', '{"a": db, "b": da}'),
    Mistake("missing", "b", '{"a": da, "b": db}', '{"a": da}'),
    Mistake("ddof", "a", "dout * s / N", "dout * s / (N - 1)"),
    Mistake("dtype", "a", "da = dout * s / N", "da = (dout * s / N).astype(np.float16)"),
]
