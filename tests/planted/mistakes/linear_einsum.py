from planted import Mistake, Rule

RULE = Rule("linear_einsum", "forward, backward", shapes="b t d, o d, o -> b t o")

MISTAKES = [
    Mistake("transposed", "weight", "bto,btd->od", "bto,btd->do"),
    Mistake("missing-sum", "weight", '"bto,btd->od", g, x', '"to,td->od", g[0], x[0]'),
    Mistake("missing-sum", "bias", "bto->o", "bto->bo"),
    Mistake("missing-sum", "bias", "bto->o", "bto->to"),
    Mistake("mean-for-sum", "bias", 'np.einsum("bto->o", g)', "g.mean(axis=(0, 1))"),
    Mistake("mean-for-sum", "bias", 'np.einsum("bto->o", g)', "g.sum(axis=0).mean(axis=0)"),
    Mistake(
        "batch-mean-twice", "weight", 'np.einsum("bto,btd->od", g, x)', 'np.einsum("bto,btd->od", g, x) / x.shape[0]'
    ),
    Mistake("permuted", "x", "bto,od->btd", "bto,od->tbd"),
    Mistake(
        ("permuted", "transposed"),
        "x",
        'np.einsum("bto,od->btd", g, weight)',
        'np.einsum("bto,od->btd", g, weight).transpose(0, 2, 1)',
    ),
    Mistake("permuted", "weight", 'np.einsum("bto,btd->od", g, x)', 'np.einsum("bto,btd->od", g, x)[:, ::-1]'),
    Mistake("upstream-ignored", "weight", "g, x)", "np.ones_like(g), x)"),
    Mistake("upstream-ignored", "x", "g, weight)", "np.ones_like(g), weight)"),
    Mistake("upstream-twice", "bias", '"bto->o", g', '"bto,bto->o", g, g'),
    Mistake("parameter-missing", "x", '"bto,od->btd", g, weight', '"bto,d->btd", g, np.ones(x.shape[-1])'),
    Mistake("sign", "bias", 'np.einsum("bto->o", g)', '-np.einsum("bto->o", g)'),
    Mistake("factor", "x", "return grad_x,", "return 2 * grad_x,"),
    Mistake(
        "order-swapped", "weight", "return grad_x, grad_weight, grad_bias", "return grad_x, grad_bias, grad_weight"
    ),
    Mistake("missing", "weight", "return grad_x, grad_weight,", "return grad_x, None,"),
    Mistake("shifted", "weight", "g, x)", "g[:, 1:], x[:, :-1])"),
    Mistake("shifted", "weight", "g, x)", "g, np.roll(x, 1, axis=1))"),
    Mistake("missing-sum", "x", "bto,od->btd", "bto,od->btod", coursework="vu-2021, matmul"),
    Mistake("missing-sum", "weight", "bto,btd->od", "bto,btd->btod", coursework="vu-2021, matmul"),
]
