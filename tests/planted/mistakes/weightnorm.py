from planted import Mistake, Rule

RULE = Rule("weightnorm", target="forward, backward", shapes="n d, m d, m, m -> n m")

MISTAKES = [
    Mistake("path-dropped", "v", "grad_v = direct - through_norm", "grad_v = direct"),
    Mistake("path-dropped", "v", "grad_v = direct - through_norm", "grad_v = -through_norm"),
    Mistake("sign", "v", "grad_v = direct - through_norm", "grad_v = direct + through_norm"),
    Mistake("sign", "v", "grad_v = direct - through_norm", "grad_v = through_norm - direct"),
    Mistake("parameter-missing", "v", "direct = g[:, None] / norm", "direct = 1 / norm"),
    Mistake("parameter-missing", "v", "through_norm = g[:, None] * grad_g", "through_norm = grad_g"),
    Mistake("parameter-missing", "g", "np.sum(grad_w * v / norm, axis=1)", "np.sum(grad_w * v, axis=1)"),
    Mistake("wrong-saved", "x", "grad_x = grad_output @ w", "grad_x = grad_output @ v"),
    Mistake("wrong-saved", "g", "np.sum(grad_w * v / norm, axis=1)", "np.sum(grad_w * w, axis=1)"),
    Mistake("wrong-saved", "v", "/ norm**2 * v", "/ norm**2 * w"),
    Mistake("missing-sum", "b", "grad_b = grad_output.sum(axis=0)", "grad_b = grad_output"),
    Mistake("missing-sum", "b", "grad_b = grad_output.sum(axis=0)", "grad_b = grad_output.sum(axis=1)"),
    Mistake("missing-sum", "g", "np.sum(grad_w * v / norm, axis=1)", "grad_w * v / norm"),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"),
        "b",
        "grad_output.sum(axis=0)",
        "grad_output.mean(axis=0)",
        "uva-2018, batches",
    ),
    Mistake(
        ("batch-mean-twice", "mean-for-sum"),
        "v",
        "grad_w = grad_output.T @ x",
        "grad_w = grad_output.T @ x / len(x)",
        "uva-2018, batches",
    ),
    Mistake("transposed", "v", "return grad_x, grad_v,", "return grad_x, grad_v.T,"),
    Mistake("upstream-ignored", "v", "grad_w = grad_output.T @ x", "grad_w = np.ones_like(grad_output).T @ x"),
    Mistake("factor", "v", "/ norm**2 * v", "/ (2 * norm**2) * v"),
    Mistake("upstream-twice", "b", "grad_output.sum(axis=0)", "(grad_output * grad_output).sum(axis=0)"),
    Mistake("order-swapped", "g", "grad_v, grad_g, grad_b", "grad_v, grad_b, grad_g"),
    Mistake("order-swapped", "v", "return grad_x, grad_v, grad_g", "return grad_v, grad_x, grad_g"),
    Mistake("missing", "g", "grad_v, grad_g, grad_b", "grad_v, None, grad_b"),
    Mistake(
        "in-place",
        "v",
        "w = g[:, None] * v / norm\n",
        "v /= norm\n    norm = np.ones_like(norm)\n    w = g[:, None] * v\n",
    ),
]
