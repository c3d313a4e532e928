from planted import Mistake, Rule

RULE = Rule("square_linear", "step_forward, step_backward", shapes="h: n k, A: k k, c: k -> n k")

MISTAKES = [
    Mistake(("jacobian-transposed", "transposed"), "h", "A.T @ gout[i]", "A @ gout[i]"),
    Mistake("transposed", "A", "np.outer(gout[i], h[i])", "np.outer(h[i], gout[i])"),
    Mistake("transposed", "A", "return gh, gA, gc", "return gh, gA.T, gc"),
    Mistake("overwrite", "A", "gA += np.outer", "gA = np.outer"),
    Mistake("overwrite", "c", "gc += gout[i]", "gc[:] = gout[i]"),
    Mistake("elementwise-for-jacobian", "h", "A.T @ gout[i]", "np.diag(A) * gout[i]"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "c", "return gh, gA, gc", "return gh, gA, gc / len(h)"),
    Mistake("shifted", "A", "np.outer(gout[i], h[i])", "np.outer(gout[i], h[i - 1])"),
    Mistake("shifted", "h", "gh[i] = A.T", "gh[i - 1] = A.T"),
    Mistake("upstream-ignored", "c", "gc += gout[i]", "gc += 1"),
    Mistake("upstream-ignored", "h", "A.T @ gout[i]", "A.T.sum(axis=1)"),
    Mistake("upstream-twice", "A", "np.outer(gout[i], h[i])", "np.outer(gout[i] ** 2, h[i])"),
    Mistake("permuted", "c", "return gh, gA, gc", "return gh, gA, gc[::-1]"),
    Mistake("sign", "c", "gc += gout[i]", "gc -= gout[i]"),
    Mistake("factor", "A", "return gh, gA, gc", "return gh, gA / 2, gc"),
    Mistake("missing", "c", "        gc += gout[i]\n", ""),
    Mistake(
        "upstream-ignored",
        "A",
        "np.outer(gout[i], h[i])",
        "np.outer(np.ones_like(gout[i]), h[i])",
        coursework="uva-2020, linear",
    ),
]
