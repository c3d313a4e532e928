from planted import Mistake, Rule

RULE = Rule("global_avg_pool", target="global_avg_pool", shapes="n c h w")
MISTAKES = [
    Mistake("factor", "x", "return gx / (h * w)", "return gx"),
    Mistake("factor", "x", "return gx / (h * w)", "return gx / h"),
    Mistake("factor", "x", "return gx / (h * w)", "return gx / (x.shape[1] * h * w)"),
    Mistake("factor", "x", "return gx / (h * w)", "return gx / np.sqrt(h * w)"),
    Mistake("factor", "x", "return gx / (h * w)", "return gx * (h * w)"),
    Mistake(("ddof", "factor"), "x", "return gx / (h * w)", "return gx / (h * w - 1)"),
    Mistake(("batch-mean-twice", "factor"), "x", "return gx / (h * w)", "return gx / (len(x) * h * w)"),
    Mistake("sign", "x", "return gx / (h * w)", "return -gx / (h * w)"),
    Mistake("upstream-ignored", "x", "np.ones(x.shape) * gy[:, :, None, None]", "np.ones(x.shape)"),
    Mistake(
        "upstream-twice",
        "x",
        "np.ones(x.shape) * gy[:, :, None, None]",
        "gy[:, :, None, None] * gy[:, :, None, None] + np.zeros(x.shape)",
    ),
    Mistake("in-place", "gy", "        return gx / (h * w)", "        gy /= h * w\n        return gx / (h * w)"),
    Mistake(
        "in-place", "x", "    y = x.mean(axis=(2, 3))", "    y = x.mean(axis=(2, 3))\n    x -= y[:, :, None, None]"
    ),
    Mistake("dtype", "x", "return gx / (h * w)", "return (gx / (h * w)).astype(np.float16)"),
    Mistake("nondeterministic", "x", "return gx / (h * w)", "return gx / (h * w) * np.random.uniform(0.9, 1.1)"),
    Mistake("missing", "x", "return gx / (h * w)", "return 0 * gx"),
    Mistake("permuted", "x", "np.ones(x.shape) * gy[:, :, None, None]", "np.ones(x.shape) * gy[::-1, :, None, None]"),
]
