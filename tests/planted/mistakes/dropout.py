from planted import Mistake, Rule


def inputs(rng):
    n, d = rng.permutation([4, 5, 6])[:2]
    mask = rng.permutation(n * d).reshape(n, d) % 4 > 0  # always some of both
    return rng.standard_normal((n, d)), mask.astype(int)


RULE = Rule("dropout", target="dropout_forward, dropout_backward", inputs=inputs, wrt=("x",))
GRAD = "grad_output * ctx.mask * ctx.scale"
MISTAKES = [
    Mistake(("factor", "parameter-missing"), "x", GRAD, "grad_output * ctx.mask"),
    Mistake("factor", "x", GRAD, "grad_output * ctx.mask * KEEP"),
    Mistake("factor", "x", GRAD, "grad_output * ctx.mask * ctx.scale * ctx.scale"),
    Mistake("factor", "x", GRAD, "grad_output * ctx.mask * ctx.mask.mean()"),
    Mistake(("mask", "parameter-missing"), "x", GRAD, "grad_output * ctx.scale"),
    Mistake("mask", "x", GRAD, "grad_output * (1 - ctx.mask) * ctx.scale"),
    Mistake("mask", "x", GRAD, "grad_output * (grad_output > 0) * ctx.scale"),
    Mistake(("mask", "permuted"), "x", GRAD, "grad_output * ctx.mask[::-1] * ctx.scale"),
    Mistake(("shifted", "mask"), "x", GRAD, "grad_output * ctx.mask[[-1, *range(len(ctx.mask) - 1)]] * ctx.scale"),
    Mistake("wrong-saved", "x", "    ctx.mask = mask\n", "    ctx.mask = x * mask\n"),
    Mistake("upstream-ignored", "x", GRAD, "1.0 * ctx.mask * ctx.scale"),
    Mistake("upstream-twice", "x", GRAD, "grad_output**2 * ctx.mask * ctx.scale"),
    Mistake("sign", "x", GRAD, "-grad_output * ctx.mask * ctx.scale"),
    Mistake("missing", "x", "return grad_x, None", "return None, None"),
    Mistake("order-swapped", "x", "return grad_x, None", "return None, grad_x"),
    Mistake(
        "in-place", "gy", "    grad_x = " + GRAD, "    grad_output *= ctx.mask\n    grad_x = grad_output * ctx.scale"
    ),
    Mistake("in-place", "x", "    return x * mask * ctx.scale", "    x *= mask\n    return x * ctx.scale"),
]
