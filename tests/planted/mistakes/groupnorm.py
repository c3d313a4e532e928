from planted import Mistake, Rule

RULE = Rule(
    "groupnorm",
    target="spatial_groupnorm_forward, spatial_groupnorm_backward",
    shapes="x: n 4 h w, gamma: 1 4 1 1, beta: 1 4 1 1 -> n 4 h w",
)

DX = "dx = dxc + dmean / M"
DSTD = "-(dxnorm * xc).sum(axis=(2, 3, 4), keepdims=True) / std**2"

BLOCK = """\
dxnorm = (dout * gamma).reshape(xc.shape)
    dxc = dxnorm / std
    dstd = -(dxnorm * xc).sum(axis=(2, 3, 4), keepdims=True) / std**2
    dvar = dstd / (2 * std)
    dxc += 2 * xc * dvar / M
    # and through the mean
    dmean = -dxc.sum(axis=(2, 3, 4), keepdims=True)
    dx = dxc + dmean / M
    return dx.reshape(N, C, H, W)"""

MISTAKES = [
    Mistake("sign", "x", f"dstd = {DSTD}", f"dstd = {DSTD[1:]}"),
    Mistake("sign", "x", "dmean = -dxc.sum", "dmean = dxc.sum"),
    Mistake("factor", "x", "dvar = dstd / (2 * std)", "dvar = dstd / std"),
    Mistake("factor", "x", "dxc += 2 * xc * dvar / M", "dxc += 2 * xc * dvar"),
    Mistake("factor", "x", "M = C // GROUPS * H * W", "M = C * H * W"),
    Mistake("factor", "x", "M = C // GROUPS * H * W", "M = H * W"),
    Mistake("path-dropped", "x", DX, "dx = dxc"),
    Mistake("path-dropped", "x", "    dxc += 2 * xc * dvar / M\n", ""),
    Mistake(("overwrite", "path-dropped"), "x", "dxc += 2 * xc * dvar / M", "dxc = 2 * xc * dvar / M"),
    Mistake("ddof", "x", "dxc += 2 * xc * dvar / M", "dxc += 2 * xc * dvar / (M - 1)"),
    Mistake("parameter-missing", "x", "(dout * gamma).reshape(xc.shape)", "dout.reshape(xc.shape)"),
    Mistake("parameter-missing", "x", "dxc = dxnorm / std", "dxc = dxnorm.copy()"),
    Mistake("missing-sum", "gamma", "(dout * xnorm).sum(axis=(0, 2, 3),", "(dout * xnorm).sum(axis=(2, 3),"),
    Mistake("missing-sum", "beta", "dout.sum(axis=(0, 2, 3),", "dout.sum(axis=0,"),
    Mistake("missing-sum", "x", "dmean = -dxc.sum(axis=(2, 3, 4),", "dmean = -dxc.sum(axis=(3, 4),"),
    Mistake("mean-for-sum", "gamma", "(dout * xnorm).sum(axis", "(dout * xnorm).mean(axis"),
    Mistake("upstream-ignored", "gamma", "dgamma = (dout * xnorm).sum", "dgamma = xnorm.sum"),
    Mistake("upstream-twice", "beta", "dbeta = dout.sum", "dbeta = (dout**2).sum"),
    Mistake("wrong-saved", "gamma", "(dout * xnorm)", "(dout * xc.reshape(N, C, H, W))"),
    Mistake("wrong-saved", "x", "-(dxnorm * xc).sum", "-(dxnorm * xnorm.reshape(xc.shape)).sum"),
    Mistake("permuted", "x", "(dout * gamma).reshape(xc.shape)", "(dout * gamma[:, ::-1]).reshape(xc.shape)"),
    Mistake(
        "permuted", "x", "return dx.reshape(N, C, H, W), dgamma", "return dx.swapaxes(1, 2).reshape(N, C, H, W), dgamma"
    ),
    Mistake("order-swapped", "gamma", ", dgamma, dbeta\n", ", dbeta, dgamma\n"),
    Mistake(
        "jacobian-transposed",
        "x",
        BLOCK,
        BLOCK.replace("(dout * gamma)", "dout").replace("return dx", "return gamma * dx"),
    ),
    Mistake("in-place", "gy", "dxnorm = (dout * gamma)", "dout *= gamma\n    dxnorm = dout"),
]
