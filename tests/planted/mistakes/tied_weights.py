from planted import Mistake, Rule

RULE = Rule("tied_weights", "tied_forward, tied_backward", shapes="x: n d, W: d k, b: k -> n d")

MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "W", "dW += x.T @ dpre", "dW = x.T @ dpre"),
    Mistake("path-dropped", "W", "    dW += x.T @ dpre\n", ""),
    Mistake("path-dropped", "W", "    dW += dout.T @ hidden\n", ""),
    Mistake(("parameter-missing", "wrong-saved"), "b", "dpre = dhidden * (1.0 - hidden**2)", "dpre = dhidden"),
    Mistake("wrong-saved", "W", "dW += dout.T @ hidden", "dW += dout.T @ (dout @ W)"),
    Mistake("transposed", "W", "dW += dout.T @ hidden", "dW += hidden.T @ dout"),
    Mistake(
        "wrong-saved",
        "b",
        "np.tanh(x @ W + b)\n    recon = hidden @ W.T\n    return recon, (x, W, hidden)",
        "np.tanh(x @ W + b)\n    recon = hidden @ W.T\n    return recon, (x, W, x @ W + b)",
    ),
    Mistake("sign", "W", "(1.0 - hidden**2)", "(1.0 + hidden**2)"),
    Mistake("sign", "W", "dW += x.T @ dpre", "dW -= x.T @ dpre"),
    Mistake("factor", "b", "(1.0 - hidden**2)", "(1.0 - 2 * hidden**2)"),
    Mistake("factor", "W", "dW += dout.T @ hidden", "dW += 2 * dout.T @ hidden"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "b", "dpre.sum(axis=0)", "dpre.mean(axis=0)"),
    Mistake("missing-sum", "b", "dpre.sum(axis=0)", "dpre"),
    Mistake("upstream-ignored", "W", "dW += dout.T @ hidden", "dW += np.ones_like(dout).T @ hidden"),
    Mistake("upstream-ignored", "x", "dhidden = dout @ W", "dhidden = np.ones_like(dout) @ W"),
    Mistake("missing", "b", "return dx, dW, db", "return dx, dW, np.zeros_like(db)"),
    Mistake("in-place", "gy", "dpre = dhidden", "dout *= 0.5\n    dpre = dhidden"),
]
