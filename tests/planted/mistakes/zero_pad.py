from planted import Mistake, Rule

RULE = Rule("zero_pad", target="ZeroPad2d()", shapes="n c h w")
MISTAKES = [
    Mistake("shifted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout"),
    Mistake("shifted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, q:-p, q:-p]"),
    Mistake("shifted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p:-q, q:-p]"),
    Mistake("shifted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p - 1 : -q - 1, p:-q]"),
    Mistake("shifted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, : -p - q, : -p - q]"),
    Mistake("shifted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p + q :, p + q :]"),
    Mistake("permuted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p:-q, p:-q][:, :, :, ::-1]"),
    Mistake("permuted", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[::-1, :, p:-q, p:-q]"),
    Mistake("sign", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = -dout[:, :, p:-q, p:-q]"),
    Mistake("factor", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p:-q, p:-q] * q"),
    Mistake(
        ("batch-mean-twice", "factor"), "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p:-q, p:-q] / len(dout)"
    ),
    Mistake("upstream-ignored", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = np.ones_like(dout)[:, :, p:-q, p:-q]"),
    Mistake("upstream-twice", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = (dout * dout)[:, :, p:-q, p:-q]"),
    Mistake("missing", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = None"),
    Mistake("in-place", "gy", "dx = dout[:, :, p:-q, p:-q]", "dout[:, :, :p] = 0\n        dx = dout[:, :, p:-q, p:-q]"),
    Mistake("dtype", "x", "dx = dout[:, :, p:-q, p:-q]", "dx = dout[:, :, p:-q, p:-q].astype(np.float16)"),
]
