from planted import Mistake, Rule

RULE = Rule("instancenorm", target="instance_norm", shapes="n c h w, c, c -> n c h w")

RETURN = "return inv * (centred - xh * np.mean(g * xh, axis=axes, keepdims=True))"

MISTAKES = [
    Mistake("sign", "x", "(centred - xh * np", "(centred + xh * np"),
    Mistake("path-dropped", "x", "centred = g - g.mean(axis=axes, keepdims=True)", "centred = g"),
    Mistake("path-dropped", "x", RETURN, "return inv * centred"),
    Mistake("path-dropped", "x", RETURN, "return inv * g"),
    Mistake("parameter-missing", "x", "g = gy * scale.astype(np.float32)[:, None, None]", "g = gy"),
    Mistake("parameter-missing", "x", "return inv * (centred", "return (centred"),
    Mistake("factor", "x", "np.mean(g * xh, axis=axes", "np.sum(g * xh, axis=axes"),
    Mistake("factor", "x", RETURN, RETURN.replace("return ", "return 2 * ")),
    Mistake("missing-sum", "x", "np.mean(g * xh, axis=axes,", "np.mean(g * xh, axis=3,"),
    Mistake("elementwise-for-jacobian", "x", RETURN, "return inv * g * (1 - (1 + xh**2) / (x.shape[2] * x.shape[3]))"),
    Mistake("missing-sum", "scale", '"nchw,nchw->c", gy, xh', '"nchw,nchw->nc", gy, xh'),
    Mistake("missing-sum", "shift", '"nchw->c", gy', '"nchw->chw", gy'),
    Mistake(
        ("mean-for-sum", "batch-mean-twice"), "scale", '"nchw,nchw->c", gy, xh)', '"nchw,nchw->c", gy, xh) / len(x)'
    ),
    Mistake("upstream-ignored", "shift", '"nchw->c", gy)', '"nchw->c", np.ones_like(gy))'),
    Mistake("upstream-twice", "scale", '"nchw,nchw->c", gy, xh)', '"nchw,nchw,nchw->c", gy, gy, xh)'),
    Mistake("wrong-saved", "scale", '"nchw,nchw->c", gy, xh)', '"nchw,nchw->c", gy, x)'),
    Mistake("wrong-saved", "x", "np.mean(g * xh, axis=axes", "np.mean(g * x, axis=axes"),
    Mistake(
        "order-swapped",
        "scale",
        "return y, (back_x, back_scale, back_shift)",
        "return y, (back_x, back_shift, back_scale)",
    ),
    Mistake("permuted", "shift", '"nchw->c", gy)', '"nchw->c", gy)[::-1]'),
    Mistake("eps", "x", "return inv * (", "return 1 / np.sqrt(var) * ("),
    Mistake("missing", "x", f"        {RETURN}\n", ""),
]
