from planted import Mistake, Rule


def inputs(rng):
    n, c = rng.choice([3, 4, 5, 6, 7], size=2, replace=False)
    return rng.normal(size=(n, c)), rng.uniform(0.5, 3.0, size=n)


RULE = Rule("softmax_temperature", "softmax_t_forward, softmax_t_backward", inputs=inputs)

MISTAKES = [
    Mistake("parameter-missing", "logits", "grad_logits = grad_z / T[:, None]", "grad_logits = grad_z"),
    Mistake("parameter-missing", "T", ".sum(axis=1) / T**2", ".sum(axis=1)"),
    Mistake("parameter-missing", "T", "/ T**2", "/ T"),
    Mistake("sign", "T", "grad_T = -(grad_z", "grad_T = (grad_z"),
    Mistake("sign", "logits", "(grad - (grad * p)", "(grad + (grad * p)"),
    Mistake("missing-sum", "T", "-(grad_z * logits).sum(axis=1) / T**2", "-(grad_z * logits) / T[:, None] ** 2"),
    Mistake(
        ("missing-sum", "elementwise-for-jacobian"), "logits", "(grad * p).sum(axis=1, keepdims=True)", "(grad * p)"
    ),
    Mistake("mean-for-sum", "T", "(grad_z * logits).sum(axis=1)", "(grad_z * logits).mean(axis=1)"),
    Mistake(
        "elementwise-for-jacobian", "logits", "p * (grad - (grad * p).sum(axis=1, keepdims=True))", "p * (1 - p) * grad"
    ),
    Mistake("upstream-ignored", "logits", "p * (grad - (grad * p)", "p * (1 - (grad * p)"),
    Mistake("upstream-twice", "logits", "grad_logits = grad_z / T", "grad_logits = grad * grad_z / T"),
    Mistake("wrong-saved", "T", "grad_z * logits", "grad_z * p"),
    Mistake("wrong-saved", "logits", "return p, (p, logits, T)", "return p, (z, logits, T)"),
    Mistake("factor", "T", "grad_T = -(grad_z", "grad_T = -2 * (grad_z"),
    Mistake(("factor", "batch-mean-missing"), "logits", "grad_logits = grad_z /", "grad_logits = grad_z * len(p) /"),
    Mistake("order-swapped", "T", "return grad_logits, grad_T", "return grad_T, grad_logits"),
    Mistake("missing", "T", "return grad_logits, grad_T", "return grad_logits, None"),
    Mistake("path-dropped", "T", "- (grad * p).sum(axis=1, keepdims=True))", ")"),
]
