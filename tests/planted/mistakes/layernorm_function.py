from planted import Mistake, Rule

RULE = Rule("layernorm_function", target="forward, backward", shapes="n d, d, d -> n d", wrt=("input", "gamma", "beta"))

MEAN = "    total = total - grad_normalized.sum(axis=1, keepdims=True)\n"
VARIANCE = "    total = total - normalized * (grad_normalized * normalized).sum(axis=1, keepdims=True)\n"
RETURN = "return grad_input, grad_gamma, grad_beta, None"
BLOCK = (
    "grad_normalized = gamma * grad_output\n    total = n_neurons * grad_normalized\n"
    f"{MEAN}{VARIANCE}    grad_input = total"
)

MISTAKES = [
    Mistake("missing", "input", RETURN, "return None, None, None, None", "uva-2020, layer norm code"),
    Mistake("missing", "gamma", RETURN, "return grad_input, None, grad_beta, None"),
    Mistake("path-dropped", "input", MEAN, ""),
    Mistake("path-dropped", "input", VARIANCE, ""),
    Mistake(("overwrite", "path-dropped"), "input", MEAN, MEAN.replace("total - ", "-")),
    Mistake("sign", "input", MEAN, MEAN.replace("total - ", "total + ")),
    Mistake("sign", "input", VARIANCE, VARIANCE.replace("total - ", "total + ")),
    Mistake("factor", "input", "total = n_neurons * grad_normalized", "total = grad_normalized"),
    Mistake("factor", "input", "/ (n_neurons * np.sqrt(var + ctx.eps))", "/ np.sqrt(var + ctx.eps)"),
    Mistake("factor", "input", "n_neurons = input.shape[1]", "n_neurons = input.shape[0]"),
    Mistake(
        "ddof",
        "input",
        "total = n_neurons * grad_normalized",
        "n_neurons -= 1\n    total = n_neurons * grad_normalized",
    ),
    Mistake("missing-sum", "input", MEAN, MEAN.replace("axis=1", "axis=0")),
    Mistake("missing-sum", "input", MEAN, "    total = total - grad_normalized\n"),
    Mistake("missing-sum", "gamma", "(grad_output * normalized).sum(axis=0)", "(grad_output * normalized).sum(axis=1)"),
    Mistake(("mean-for-sum", "batch-mean-twice"), "beta", "grad_output.sum(axis=0)", "grad_output.mean(axis=0)"),
    Mistake("parameter-missing", "input", "grad_normalized = gamma * grad_output", "grad_normalized = grad_output"),
    Mistake(
        "jacobian-transposed",
        "input",
        BLOCK,
        BLOCK.replace("gamma * grad_output", "grad_output").replace("grad_input = total", "grad_input = gamma * total"),
    ),
    Mistake(
        "elementwise-for-jacobian", "input", f"{MEAN}{VARIANCE}", "    total *= 1 - (1 + normalized**2) / n_neurons\n"
    ),
    Mistake("upstream-ignored", "gamma", "(grad_output * normalized).sum", "normalized.sum"),
    Mistake("upstream-twice", "beta", "grad_beta = grad_output.sum", "grad_beta = (grad_output**2).sum"),
    Mistake("wrong-saved", "gamma", "ctx.save_for_backward(input, normalized,", "ctx.save_for_backward(input, input,"),
    Mistake("wrong-saved", "input", "* np.sqrt(var + ctx.eps))", "* (var + ctx.eps))"),
    Mistake("eps", "input", "np.sqrt(var + ctx.eps)", "(np.sqrt(var) + ctx.eps)"),
    Mistake("eps", "input", "np.sqrt(var + ctx.eps)", "np.sqrt(var + ctx.eps**2)"),
    Mistake("order-swapped", "gamma", RETURN, "return grad_input, grad_beta, grad_gamma, None"),
    Mistake(
        "in-place",
        "gy",
        "grad_normalized = gamma * grad_output",
        "grad_output *= gamma\n    grad_normalized = grad_output",
    ),
    Mistake(
        "in-place",
        "input",
        "mean = input.mean(axis=1, keepdims=True)",
        "input -= input.mean(axis=1, keepdims=True)\n    mean = 0.0",
    ),
]
