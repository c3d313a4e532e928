from planted import Mistake, Rule


def inputs(rng):
    n, d = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return (rng.normal(size=(n, d)) * (rng.uniform(size=(n, d)) < 0.7),)


RULE = Rule("relu_at_zero", "relu, relu_prime", inputs=inputs)

MISTAKES = [
    Mistake("mask", "z", "z >= 0", "z <= 0"),
    Mistake(("mask", "wrong-saved"), "z", "z >= 0", "da >= 0"),
    Mistake("mask", "z", "z >= 0", "abs(z) >= 0.4"),
    Mistake("sign", "z", "return da *", "return -da *"),
    Mistake("factor", "z", "da * 1.0", "da * 0.5"),
    Mistake("upstream-ignored", "z", "return da * (z >= 0)", "return 1.0 * (z >= 0)"),
    Mistake("upstream-twice", "z", "da * 1.0", "da * da"),
    Mistake(("mask", "parameter-missing"), "z", "return da * (z >= 0)", "return da"),
    Mistake("in-place", "gy", "    da = da * 1.0\n    return da * (z >= 0)", "    da[z < 0] = 0\n    return da"),
    Mistake("missing", "z", "return da * (z >= 0)", "return None"),
    Mistake("batch-mean-twice", "z", "return da *", "return da / len(z) *"),
    Mistake("permuted", "z", "return da * (z >= 0)", "return (da * (z >= 0))[:, ::-1]"),
]
