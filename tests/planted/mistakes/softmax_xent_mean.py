from planted import Mistake, Rule

RULE = Rule("softmax_xent_mean", "softmax_loss_forward, softmax_loss_backward", shapes="n c, n in c", wrt=("scores",))

MISTAKES = [
    Mistake("batch-mean-missing", "scores", "    dscores /= N\n", ""),
    Mistake("batch-mean-twice", "scores", "return dloss * dscores", "return dloss * dscores / N"),
    Mistake("upstream-ignored", "scores", "return dloss * dscores", "return dscores"),
    Mistake("upstream-twice", "scores", "return dloss * dscores", "return dloss**2 * dscores"),
    Mistake("path-dropped", "scores", "    dscores[np.arange(N), y] -= 1\n", ""),
    Mistake("path-dropped", "scores", "dscores = probs.copy()", "dscores = np.zeros_like(probs)"),
    Mistake("sign", "scores", "-= 1\n", "+= 1\n"),
    Mistake("sign", "scores", "return dloss * dscores", "return -dloss * dscores"),
    Mistake("overwrite", "scores", "-= 1\n", "= -1\n"),
    Mistake("factor", "scores", "-= 1\n", "-= 2\n"),
    Mistake("factor", "scores", "dscores /= N", "dscores /= dscores.size"),
    Mistake("shifted", "scores", "y] -= 1", "y - 1] -= 1"),
    Mistake("shifted", "scores", "dscores[np.arange(N), y]", "dscores[np.arange(N) - 1, y]"),
    Mistake("shifted", "scores", "dscores[np.arange(N), y]", "dscores[np.arange(N - 1), y[:-1]]"),
    Mistake("mask", "scores", "dscores[np.arange(N), y] -= 1", "dscores[:, y] -= 1"),
    Mistake("ddof", "scores", "dscores /= N", "dscores /= N - 1"),
    Mistake("wrong-saved", "scores", "return loss, (probs, y)", "return loss, (log_probs, y)"),
    Mistake("wrong-saved", "scores", "return loss, (probs, y)", "return loss, (scores, y)"),
    Mistake("missing", "scores", "return dloss * dscores", "return None"),
    Mistake("dtype", "scores", "return dloss * dscores", "return (dloss * dscores).astype(np.float32)"),
]
