from planted import Mistake, Rule


def inputs(rng):
    n, k = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return 2 * rng.normal(size=(n, k)), rng.uniform(size=(n, k))


RULE = Rule("bce_logits", "bce_with_logits, bce_with_logits_grad", inputs=inputs, wrt=("z", "t"))

MISTAKES = [
    Mistake("wrong-saved", "z", "(prob - t)", "(z - t)"),
    Mistake("sign", "z", "(prob - t)", "(t - prob)"),
    Mistake("sign", "z", "(prob - t)", "(prob + t)"),
    Mistake("sign", "z", "np.exp(-z)", "np.exp(z)"),
    Mistake("sign", "t", "dt = -z", "dt = z"),
    Mistake("factor", "z", "(prob - t) / z.size", "(prob - t)"),
    Mistake("factor", "z", "(prob - t) / z.size", "(prob - t) / z.shape[0]"),
    Mistake(("batch-mean-missing", "factor"), "z", "(prob - t) / z.size", "(prob - t) / z.shape[1]"),
    Mistake("batch-mean-twice", "t", "dt = -z / z.size", "dt = -z / z.size / len(z)"),
    Mistake("upstream-ignored", "t", "return dL * dz, dL * dt", "return dL * dz, dt"),
    Mistake("upstream-ignored", "z", "return dL * dz, dL * dt", "return dz, dL * dt"),
    Mistake("upstream-twice", "z", "return dL * dz", "return dL * dL * dz"),
    Mistake("order-swapped", "z", "return dL * dz, dL * dt", "return dL * dt, dL * dz"),
    Mistake("missing", "t", "return dL * dz, dL * dt", "return dL * dz, None"),
    Mistake("path-dropped", "z", "(prob - t)", "prob"),
    Mistake("path-dropped", "z", "(prob - t)", "-t"),
    Mistake("wrong-saved", "t", "dt = -z", "dt = -prob"),
    Mistake("factor", "z", "(prob - t)", "2 * (prob - t)"),
    Mistake(
        "in-place",
        "z",
        "ctx.z, ctx.t = z, t",
        "ctx.z, ctx.t = z.copy(), t\n    np.clip(z, -1, 1, out=z)\n    z = ctx.z",
    ),
]
