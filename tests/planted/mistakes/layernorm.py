from planted import Mistake, Rule

RULE = Rule(
    "layernorm", target="layernorm_forward, layernorm_backward", shapes="n d, d, d -> n d", wrt=("x", "gamma", "beta")
)

DX = "dx = dx_hat / sigma + dvar * 2 * (x - mu) / D + dmu / D"

BLOCK = f"""\
dx_hat = dout * gamma
    dvar = np.sum(dx_hat * (x - mu), axis=1, keepdims=True) * (-0.5) * (var + eps) ** (-1.5)
    dmu = np.sum(dx_hat * (-1 / sigma), axis=1, keepdims=True)
    dmu = dmu + dvar * np.mean(-2 * (x - mu), axis=1, keepdims=True)
    {DX}"""

CACHE = "(x, x_hat, mu, var, sigma, gamma, eps)\n    return out"

MISTAKES = [
    Mistake("missing", "x", "return dx, dgamma, dbeta", "return None, None, None", "uva-2020, layer norm code"),
    Mistake("sign", "x", "(-0.5) * (var + eps)", "0.5 * (var + eps)"),
    Mistake("sign", "x", "dx_hat * (-1 / sigma)", "dx_hat * (1 / sigma)"),
    Mistake("factor", "x", "dvar * 2 * (x - mu) / D", "dvar * (x - mu) / D"),
    Mistake("factor", "x", "(-0.5) * (var + eps)", "(-1.5) * (var + eps)"),
    Mistake("path-dropped", "x", DX, "dx = dx_hat / sigma + dvar * 2 * (x - mu) / D"),
    Mistake("path-dropped", "x", DX, "dx = dx_hat / sigma + dmu / D"),
    Mistake("path-dropped", "x", DX, "dx = dx_hat / sigma"),
    Mistake("parameter-missing", "x", "dx_hat = dout * gamma", "dx_hat = dout"),
    Mistake(
        "jacobian-transposed",
        "x",
        BLOCK,
        BLOCK.replace("dout * gamma", "dout").replace(DX, f"{DX}\n    dx = dx * gamma"),
    ),
    Mistake("parameter-missing", "x", "dx = dx_hat / sigma", "dx = dx_hat"),
    Mistake("missing-sum", "gamma", "np.sum(dout * x_hat, axis=0)", "dout * x_hat"),
    Mistake("missing-sum", "beta", "dbeta = np.sum(dout, axis=0)", "dbeta = np.sum(dout, axis=1)"),
    Mistake(("mean-for-sum", "factor"), "x", "dmu = np.sum(dx_hat", "dmu = np.mean(dx_hat"),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"), "gamma", "np.sum(dout * x_hat, axis=0)", "np.mean(dout * x_hat, axis=0)"
    ),
    Mistake("upstream-ignored", "beta", "np.sum(dout, axis=0)", "np.full(D, float(len(x)))"),
    Mistake("upstream-ignored", "x", "np.sum(dx_hat * (x - mu), axis=1", "np.sum(gamma * (x - mu), axis=1"),
    Mistake("wrong-saved", "gamma", "np.sum(dout * x_hat, axis=0)", "np.sum(dout * x, axis=0)"),
    Mistake("wrong-saved", "x", "np.sum(dx_hat * (x - mu), axis=1", "np.sum(dx_hat * x_hat, axis=1"),
    Mistake("wrong-saved", "x", "dvar * 2 * (x - mu) / D", "dvar * 2 * x / D"),
    Mistake("eps", "x", "(var + eps) ** (-1.5)", "(np.sqrt(var) + eps) ** (-3)"),
    Mistake("ddof", "x", "dvar * 2 * (x - mu) / D", "dvar * 2 * (x - mu) / (D - 1)"),
    Mistake("order-swapped", "gamma", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma"),
    Mistake(
        "in-place", "x", "dvar = np.sum(dx_hat * (x - mu)", "x -= mu\n    mu = 0\n    dvar = np.sum(dx_hat * (x - mu)"
    ),
    Mistake("stale", "gamma", CACHE, f"layernorm_forward.__dict__.setdefault(x.shape, {CACHE.replace(')', '))', 1)}"),
    Mistake("dtype", "beta", "np.sum(dout, axis=0)", "np.sum(dout.astype(np.float16), axis=0)"),
]
