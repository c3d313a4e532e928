from planted import Mistake, Rule


def inputs(rng):
    """More tokens than words, so that some word occurs twice."""
    v, d = rng.permutation([4, 5, 6])[:2]
    n = v + 3
    return rng.integers(v, size=n), rng.standard_normal((v, d))


RULE = Rule("embedding", target="embedding_forward, embedding_backward", inputs=inputs, wrt=("table",))
ADD = "np.add.at(dtable, tokens, dout)"
MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "table", ADD, "dtable[tokens] += dout"),
    Mistake(("overwrite", "path-dropped"), "table", ADD, "dtable[tokens] = dout"),
    Mistake("sign", "table", ADD, "np.subtract.at(dtable, tokens, dout)"),
    Mistake("shifted", "table", ADD, "np.add.at(dtable, tokens - 1, dout)"),
    Mistake("shifted", "table", ADD, "np.add.at(dtable, tokens[1:], dout[:-1])"),
    Mistake("shifted", "table", ADD, "np.add.at(dtable, np.minimum(tokens + 1, len(dtable) - 1), dout)"),
    Mistake("permuted", "table", ADD, "np.add.at(dtable, np.sort(tokens), dout)"),
    Mistake("permuted", "table", ADD, "np.add.at(dtable, tokens[::-1], dout)"),
    Mistake(("mask", "path-dropped"), "table", ADD, "np.add.at(dtable, tokens[tokens > 0], dout[tokens > 0])"),
    Mistake("upstream-ignored", "table", ADD, "np.add.at(dtable, tokens, 1.0)"),
    Mistake("upstream-twice", "table", ADD, "np.add.at(dtable, tokens, dout**2)"),
    Mistake("factor", "table", ADD, "np.add.at(dtable, tokens, 2 * dout)"),
    Mistake(("batch-mean-twice", "factor"), "table", ADD, "np.add.at(dtable, tokens, dout / len(tokens))"),
    Mistake(
        "mean-for-sum",
        "table",
        ADD,
        ADD + "\n    dtable /= np.maximum(np.bincount(tokens, minlength=len(dtable)), 1)[:, None]",
    ),
    Mistake("missing-sum", "table", "return None, dtable", "return None, dout"),
    Mistake("missing", "table", "return None, dtable", "return None, None"),
    Mistake("order-swapped", "table", "return None, dtable", "return dtable, None"),
    Mistake("dtype", "table", "dtype=dout.dtype", "dtype=np.float16"),
    Mistake("dtype", "table", "dtype=dout.dtype", "dtype=np.float32"),
]
