from planted import Mistake, Rule

RULE = Rule("bilinear", target="bilinear, bilinear_grad", shapes="x: n d, U: d r, V: m r, y: n m -> n")
MISTAKES = [
    Mistake("wrong-saved", "x", "dleft = ds[:, np.newaxis] * right", "dleft = ds[:, np.newaxis] * left"),
    Mistake("wrong-saved", "V", "dright = ds[:, np.newaxis] * left", "dright = ds[:, np.newaxis] * right"),
    Mistake("wrong-saved", "U", "grad_U = x.T @ dleft", "grad_U = x.T @ dright"),
    Mistake(
        "parameter-missing", "y", "dright = ds[:, np.newaxis] * left", "dright = ds[:, np.newaxis] * np.ones_like(left)"
    ),
    Mistake("upstream-ignored", "x", "dleft = ds[:, np.newaxis] * right", "dleft = right"),
    Mistake("upstream-ignored", "V", "grad_V = y.T @ dright", "grad_V = y.T @ left"),
    Mistake("upstream-twice", "U", "grad_U = x.T @ dleft", "grad_U = (ds[:, np.newaxis] * x).T @ dleft"),
    Mistake("transposed", "U", "grad_U = x.T @ dleft", "grad_U = dleft.T @ x"),
    Mistake("transposed", "V", "grad_V = y.T @ dright", "grad_V = (y.T @ dright).T"),
    Mistake("sign", "y", "grad_y = dright @ V.T", "grad_y = -dright @ V.T"),
    Mistake("factor", "V", "grad_V = y.T @ dright", "grad_V = 2 * y.T @ dright"),
    Mistake("factor", "x", "grad_x = dleft @ U.T", "grad_x = dleft @ U.T / U.shape[1]"),
    Mistake(
        "batch-mean-twice", "U", "grad_U = x.T @ dleft", "grad_U = x.T @ dleft / len(x)", coursework="uva-2018, batches"
    ),
    Mistake("order-swapped", "y", "return grad_x, grad_U, grad_V, grad_y", "return grad_x, grad_y, grad_U, grad_V"),
    Mistake("order-swapped", "U", "return grad_x, grad_U, grad_V, grad_y", "return grad_x, grad_V, grad_U, grad_y"),
    Mistake("missing", "y", "return grad_x, grad_U, grad_V, grad_y", "return grad_x, grad_U, grad_V, np.zeros_like(y)"),
    Mistake("missing-sum", "V", "grad_V = y.T @ dright", 'grad_V = np.einsum("nm,nr->nmr", y, dright)'),
    Mistake("in-place", "y", "    grad_V = y.T @ dright", "    y *= ds[:, np.newaxis]\n    grad_V = y.T @ left"),
    Mistake("dtype", "x", "grad_x = dleft @ U.T", "grad_x = (dleft @ U.T).astype(np.float16)"),
]
