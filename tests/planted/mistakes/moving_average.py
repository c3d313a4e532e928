from planted import Mistake, Rule


def inputs(rng):
    """Longer than the window."""
    n, t = rng.permutation([6, 7, 8])[:2]
    return (rng.standard_normal((n, t)),)


RULE = Rule("moving_average", target="moving_average", inputs=inputs)
ADD = "grad_x[:, k : k + L] += grad"
MISTAKES = [
    Mistake(("overwrite", "path-dropped"), "x", ADD, "grad_x[:, k : k + L] = grad"),
    Mistake(
        ("shifted", "path-dropped"),
        "x",
        "for k in range(K):\n            grad_x",
        "for k in range(K - 1):\n            grad_x",
    ),
    Mistake(
        ("shifted", "path-dropped"),
        "x",
        "for k in range(K):\n            grad_x",
        "for k in range(1, K):\n            grad_x",
    ),
    Mistake("shifted", "x", ADD, "grad_x[:, k : k + L - 1] += grad[:, 1:]"),
    Mistake(("shifted", "path-dropped"), "x", ADD, "grad_x[:, k : k + L - 1] += grad[:, :-1]"),
    Mistake("shifted", "x", "return grad_x / K", "return np.roll(grad_x, 1, axis=1) / K"),
    Mistake("path-dropped", "x", "for k in range(K):\n            grad_x", "for k in range(1):\n            grad_x"),
    Mistake("factor", "x", "return grad_x / K", "return grad_x"),
    Mistake("factor", "x", "return grad_x / K", "return grad_x / T"),
    Mistake("factor", "x", "return grad_x / K", "return grad_x / K**2"),
    Mistake(("ddof", "factor"), "x", "return grad_x / K", "return grad_x / (K - 1)"),
    Mistake(("batch-mean-twice", "factor"), "x", "return grad_x / K", "return grad_x / K / N"),
    Mistake("sign", "x", ADD, "grad_x[:, k : k + L] -= grad"),
    Mistake("upstream-ignored", "x", ADD, "grad_x[:, k : k + L] += 1"),
    Mistake("upstream-twice", "x", ADD, "grad_x[:, k : k + L] += grad * grad"),
    Mistake("permuted", "x", ADD, "grad_x[:, k : k + L] += grad[:, ::-1]"),
    Mistake("dtype", "x", "np.zeros((N, T))", "np.zeros((N, T), dtype=np.float16)"),
    Mistake("in-place", "gy", "grad_x = np.zeros((N, T))", "grad_x = np.zeros((N, T))\n        grad *= 1 / K"),
]
