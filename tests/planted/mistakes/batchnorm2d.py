from planted import Mistake, Rule

RULE = Rule(
    "batchnorm2d",
    target="spatial_batchnorm_forward, spatial_batchnorm_backward",
    shapes="x: n c h w, gamma: c, beta: c -> n c h w",
)

MISTAKES = [
    Mistake("missing-sum", "gamma", "(dout * xhat).sum(axis=(0, 2, 3))", "(dout * xhat).sum(axis=(2, 3))"),
    Mistake("missing-sum", "beta", "np.sum(dout, axis=(0, 2, 3))", "np.sum(dout, axis=0)"),
    Mistake("missing-sum", "gamma", "(dout * xhat).sum(axis=(0, 2, 3))", "(dout * xhat).sum(axis=(1, 2, 3))"),
    Mistake("missing-sum", "x", "mean_d = dxhat.sum(axis=(0, 2, 3),", "mean_d = dxhat.sum(axis=(2, 3),"),
    Mistake("mean-for-sum", "beta", "np.sum(dout, axis=(0, 2, 3))", "np.mean(dout, axis=(0, 2, 3))"),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"),
        "gamma",
        "dgamma = (dout * xhat).sum(axis=(0, 2, 3))",
        "dgamma = (dout * xhat).sum(axis=(0, 2, 3)) / N",
    ),
    Mistake("factor", "x", "m = N * H * W", "m = N"),
    Mistake("ddof", "x", "m = N * H * W", "m = N * H * W - 1"),
    Mistake("sign", "x", "- mean_d - xhat * mean_dx", "- mean_d + xhat * mean_dx"),
    Mistake("path-dropped", "x", "dxhat - mean_d - xhat * mean_dx", "dxhat - xhat * mean_dx"),
    Mistake("path-dropped", "x", "dxhat - mean_d - xhat * mean_dx", "dxhat - mean_d"),
    Mistake("parameter-missing", "x", "dxhat = dout * gamma[None, :, None, None]", "dxhat = dout"),
    Mistake("parameter-missing", "x", " / np.sqrt(var + 1e-5)", ""),
    Mistake("upstream-ignored", "beta", "np.sum(dout, axis=(0, 2, 3))", "np.sum(np.ones_like(dout), axis=(0, 2, 3))"),
    Mistake("wrong-saved", "gamma", "return out, (xhat, var, gamma)", "return out, (x, var, gamma)"),
    Mistake("eps", "x", "np.sqrt(var + 1e-5)", "(np.sqrt(var) + 1e-5)"),
    Mistake("permuted", "gamma", "return dx, dgamma, dbeta", "return dx, dgamma[::-1], dbeta"),
    Mistake("permuted", "x", "return dx, dgamma, dbeta", "return dx.transpose(0, 2, 3, 1), dgamma, dbeta"),
    Mistake("order-swapped", "beta", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma"),
    Mistake("missing", "x", "return dx, dgamma, dbeta", "return np.zeros_like(dx), dgamma, dbeta"),
    Mistake(
        "dtype",
        "gamma",
        "dgamma = (dout * xhat).sum(axis=(0, 2, 3))",
        "dgamma = (dout * xhat).sum(axis=(0, 2, 3), dtype=np.float16)",
    ),
]
