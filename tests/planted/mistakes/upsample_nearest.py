from planted import Mistake, Rule

RULE = Rule("upsample_nearest", target="UpsampleNearest()", shapes="n c h w")
MISTAKES = [
    Mistake(("mean-for-sum", "factor"), "x", "blocks.sum(axis=(3, 5))", "blocks.mean(axis=(3, 5))"),
    Mistake(("mean-for-sum", "factor"), "x", "blocks.sum(axis=(3, 5))", "blocks.sum(axis=3).mean(axis=-1)"),
    Mistake("missing-sum", "x", "blocks.sum(axis=(3, 5))", "dout"),
    Mistake(("missing-sum", "path-dropped"), "x", "blocks.sum(axis=(3, 5))", "dout[:, :, ::s, ::s]"),
    Mistake(("missing-sum", "path-dropped"), "x", "blocks.sum(axis=(3, 5))", "blocks[:, :, :, 0].sum(axis=-1)"),
    Mistake(
        "permuted", "x", "dout.reshape(N, C, H, s, W, s)", "dout.reshape(N, C, s, H, s, W).transpose(0, 1, 3, 2, 5, 4)"
    ),
    Mistake("permuted", "x", "        return dx\n", "        return dx[:, :, ::-1]\n"),
    Mistake("shifted", "x", "blocks = dout.reshape", "blocks = np.roll(dout, 1, axis=3).reshape"),
    Mistake("shifted", "x", "blocks = dout.reshape", "blocks = np.roll(dout, -1, axis=2).reshape"),
    Mistake("factor", "x", "        return dx\n", "        return dx * s\n"),
    Mistake("factor", "x", "        return dx\n", "        return dx / s\n"),
    Mistake(("batch-mean-twice", "factor"), "x", "        return dx\n", "        return dx / N\n"),
    Mistake("sign", "x", "        return dx\n", "        return -dx\n"),
    Mistake(
        "upstream-ignored", "x", "        return dx\n", "        return np.full(self.shape, s * s, dtype=dx.dtype)\n"
    ),
    Mistake("upstream-twice", "x", "        return dx\n", "        return dx * dx\n"),
    Mistake("missing", "x", "        return dx\n", "        return np.zeros_like(dx)\n"),
]
