from planted import Mistake, Rule

RULE = Rule("max_pool_loops", target="max_pool_forward, max_pool_backward", shapes="n c 5 7")
MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "x", "ws + s] += dout[n, c, i, j]", "ws + s] = dout[n, c, i, j]"),
    Mistake("mask", "x", "np.argmax(window)", "np.argmin(window)"),
    Mistake("mask", "x", "np.argmax(window)", "np.argmax(np.abs(window))"),
    Mistake("shifted", "x", "hs = i * STRIDE", "hs = i * STRIDE + 1"),
    Mistake("shifted", "x", "ws = j * STRIDE", "ws = j * STRIDE - (j > 0)"),
    Mistake("shifted", "x", "hs = i * STRIDE", "hs = i * POOL"),
    Mistake("shifted", "x", "window = x[n, c, hs : hs + POOL,", "window = x[n, c, hs : hs + POOL - 1,"),
    Mistake("shifted", "x", "dx[n, c, hs + r, ws + s]", "dx[n, c, hs + r, ws + s - 1]"),
    Mistake("shifted", "x", "np.unravel_index(np.argmax(window)", "np.unravel_index(max(np.argmax(window) - 1, 0)"),
    Mistake("permuted", "x", "r, s = np.unravel_index", "s, r = np.unravel_index"),
    Mistake("upstream-ignored", "x", "+= dout[n, c, i, j]", "+= 1.0"),
    Mistake("upstream-twice", "x", "+= dout[n, c, i, j]", "+= dout[n, c, i, j] ** 2"),
    Mistake("sign", "x", "+= dout[n, c, i, j]", "-= dout[n, c, i, j]"),
    Mistake("factor", "x", "+= dout[n, c, i, j]", "+= dout[n, c, i, j] / (POOL * POOL)"),
    Mistake(("batch-mean-twice", "factor"), "x", "    return dx", "    return dx / N"),
    Mistake("dtype", "x", "dx = np.zeros(x.shape)", "dx = np.zeros(x.shape, dtype=np.float16)"),
    Mistake("dtype", "x", "dx = np.zeros(x.shape)", "dx = np.zeros(x.shape, dtype=int)"),
]
