from planted import Mistake, Rule

RULE = Rule("softmax_jacobian", "softmax, softmax_backward", shapes="n c -> n c")

MISTAKES = [
    Mistake(
        "elementwise-for-jacobian", "x", "dout[n] @ J", "dout[n] * np.diag(J)", coursework="uva-2018, softmax backward"
    ),
    Mistake(
        "elementwise-for-jacobian", "x", "dout[n] @ J", "np.diag(dout[n] * J)", coursework="uva-2018, softmax backward"
    ),
    Mistake("elementwise-for-jacobian", "x", "J[i, j] = -y[n, i] * y[n, j]", "J[i, j] = 0"),
    Mistake(
        "sign",
        "x",
        "J[i, j] = -(y[n, i] ** 2) + y[n, i]",
        "J[i, j] = (y[n, i] ** 2 if i == C - 1 else -(y[n, i] ** 2)) + y[n, i]",
        coursework="uva-2018, softmax Jacobian in the backward part",
    ),
    Mistake("sign", "x", "J[i, j] = -(y[n, i] ** 2) + y[n, i]", "J[i, j] = y[n, i] ** 2 + y[n, i]"),
    Mistake("sign", "x", "J[i, j] = -y[n, i] * y[n, j]", "J[i, j] = y[n, i] * y[n, j]"),
    Mistake("sign", "x", "dout[n] @ J", "-dout[n] @ J"),
    Mistake(("elementwise-for-jacobian", "upstream-ignored"), "x", "dout[n] @ J", "np.diag(J)"),
    Mistake("upstream-twice", "x", "dout[n] @ J", "dout[n] ** 2 @ J"),
    Mistake("mask", "x", "if i == j:", "if i != j:"),
    Mistake("shifted", "x", "range(N)", "range(N - 1)"),
    Mistake("shifted", "x", "range(N)", "range(1, N)"),
    Mistake("shifted", "x", "if i == j:", "if i == j + 1:"),
    Mistake("path-dropped", "x", "-(y[n, i] ** 2) + y[n, i]", "y[n, i]"),
    Mistake("wrong-saved", "x", "y = softmax(x)", "y = x"),
    Mistake("factor", "x", "-(y[n, i] ** 2) + y[n, i]", "-2 * y[n, i] ** 2 + y[n, i]"),
    Mistake("factor", "x", "dx[n] = dout", "dx[n] = C * dout"),
    Mistake("overwrite", "x", "dx[n] = dout[n] @ J", "dx[:] = dout[n] @ J"),
    Mistake("shifted", "x", "dout[n] @ J", "dout[n - 1] @ J"),
]
