import numpy as np

from planted import Mistake, Rule


def inputs(rng):
    n, c = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return rng.dirichlet(np.full(c, 3.0), size=n), np.eye(c)[rng.integers(c, size=n)]


RULE = Rule("cross_entropy_eps", "xent_forward, xent_backward", inputs=inputs, wrt=("p",))

MISTAKES = [
    Mistake("eps", "p", "gp = -onehot / safe", "gp = -onehot / _p"),
    Mistake("eps", "p", "gp = -onehot / safe", "gp = -onehot / (safe + EPS)"),
    Mistake("eps", "p", "gp = -onehot / safe", "gp = -onehot / _p + EPS"),
    Mistake("batch-mean-missing", "p", "    gp = gp / onehot.shape[0]\n", ""),
    Mistake("batch-mean-twice", "p", "return gout * gp", "return gout * gp / len(onehot)"),
    Mistake("factor", "p", "gp / onehot.shape[0]", "gp / onehot.size"),
    Mistake(("factor", "batch-mean-missing"), "p", "gp / onehot.shape[0]", "gp / onehot.shape[1]"),
    Mistake("ddof", "p", "gp / onehot.shape[0]", "gp / (onehot.shape[0] - 1)"),
    Mistake("sign", "p", "gp = -onehot / safe", "gp = onehot / safe"),
    Mistake("mask", "p", "gp = -onehot / safe", "gp = (onehot - 1) / safe"),
    Mistake("upstream-ignored", "p", "return gout * gp", "return gp"),
    Mistake("upstream-twice", "p", "return gout * gp", "return gout * gout * gp"),
    Mistake("parameter-missing", "p", "gp = -onehot / safe", "gp = -1 / safe"),
    Mistake("wrong-saved", "p", "(safe, onehot, p)", "(np.log(safe), onehot, p)"),
    Mistake("shifted", "p", "gp = -onehot / safe", "gp = -np.roll(onehot, 1, axis=1) / safe"),
    Mistake("in-place", "onehot", "gp = -onehot / safe", "gp = onehot\n    gp /= -safe"),
    Mistake("in-place", "p", "safe = p + EPS", "safe = p\n    safe += EPS"),
]
