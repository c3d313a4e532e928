from planted import Mistake, Rule

RULE = Rule("sigmoid", "sigmoid_forward, sigmoid_backward", shapes="n d -> n d")

MISTAKES = [
    Mistake("wrong-saved", "x", "ctx.save_for_backward(out)", "ctx.save_for_backward(x)"),
    Mistake(
        "wrong-saved", "x", "return grad_output * out * (1.0 - out)", "return grad_output * out * (1.0 - grad_output)"
    ),
    Mistake("wrong-saved", "x", "out * (1.0 - out)", "grad_output * (1.0 - out)"),
    Mistake("sign", "x", "(1.0 - out)", "(1.0 + out)"),
    Mistake("sign", "x", "(1.0 - out)", "(out - 1.0)"),
    Mistake("upstream-ignored", "x", "grad_output * out", "out"),
    Mistake("upstream-twice", "x", "grad_output * out", "grad_output**2 * out"),
    Mistake("factor", "x", "(1.0 - out)", "(2.0 - 2.0 * out)"),
    Mistake("factor", "x", "(1.0 - out)", "(1.0 - out) / 2"),
    Mistake("parameter-missing", "x", "* (1.0 - out)", ""),
    Mistake("parameter-missing", "x", "* out * (1.0", "* (1.0"),
    Mistake("in-place", "gy", "return grad_output *", "grad_output *= out\n    return grad_output *"),
    Mistake(
        "in-place",
        "gy",
        "    return grad_output * out * (1.0 - out)",
        "    grad_output *= out * (1.0 - out)\n    return grad_output",
    ),
    Mistake("missing", "x", "return grad_output * out * (1.0 - out)", "return np.zeros_like(grad_output * out)"),
    Mistake(
        "dtype", "x", "return grad_output * out * (1.0 - out)", "return np.float32(grad_output * out * (1.0 - out))"
    ),
    Mistake("permuted", "x", "grad_output * out", "grad_output[:, ::-1] * out"),
    Mistake("shifted", "x", "grad_output * out", "np.roll(grad_output, 1, axis=1) * out"),
]
