"""The tables that the course nyu-2021 asks for: symbols beside numbers, column vectors, numerator layout."""

from __future__ import annotations

import numpy as np

from chainrule.explain.tape import Explanation, Node, Table

ENTRIES = {  # of a Jacobian that is diagonal: entry (i, i)
    "relu": r"[{x} > 0]",
    "sigmoid": r"{y} (1 - {y})",
    "identity": "1",
}
LOSSES = {
    "mse_loss": r"\frac{2}{K} (\hat y_i - y_i)",
    "binary_cross_entropy": r"\frac{1}{K} \, \frac{\hat y_i - y_i}{\hat y_i (1 - \hat y_i)}",
}
FUNCTIONS = {"relu": r"\max(0, {x})", "sigmoid": r"\sigma({x})", "identity": "{x}"}
MEANS = {
    "mse_loss": r"\frac{1}{K} \sum_i (\hat y_i - y_i)^2",
    "binary_cross_entropy": r"-\frac{1}{K} \sum_i \big( y_i \ln \hat y_i + (1 - y_i) \ln (1 - \hat y_i) \big)",
}


def two_layer_tables(found: Explanation) -> tuple[Table, ...]:
    """The layers' inputs and outputs, the parameters' gradients, the Jacobians, of linear, f, linear, g and a loss.

    The nodes are called x, W1, b1, z1, z2, W2, b2, z3, y_hat, J.
    """
    z1, z2, z3, y_hat, loss = (found[name] for name in ("z1", "z2", "z3", "y_hat", "J"))
    x, W2 = found["x"].value, found["W2"].value
    f, g = _jacobian(z2), _jacobian(y_hat)
    dJ = _jacobian(loss)
    outer = dJ @ g
    inner = outer @ W2 @ f
    layers = Table(
        "Layer by layer",
        ("layer", "input", "its value", "output", "its value"),
        (
            ("Linear 1", "$x$", x, "$z_1 = W_1 x + b_1$", z1.value),
            ("f", "$z_1$", z1.value, f"$z_2 = {_called(FUNCTIONS, z2).format(x='z_1')}$", z2.value),
            ("Linear 2", "$z_2$", z2.value, "$z_3 = W_2 z_2 + b_2$", z3.value),
            ("g", "$z_3$", z3.value, rf"$\hat y = {_called(FUNCTIONS, y_hat).format(x='z_3')}$", y_hat.value),
            ("Loss", r"$\hat y,\; y$", y_hat.value, f"$J = {_called(MEANS, loss)}$", loss.value),
        ),
    )
    chain = r"\frac{\partial J}{\partial \hat y} \frac{\partial \hat y}{\partial z_3}"
    whole = chain + r" W_2 \frac{\partial z_2}{\partial z_1}"
    gradients = Table(
        "Parameter by parameter: gradients in numerator layout, the transposes of those in the parameters' shapes",
        ("parameter", "gradient", "its value"),
        tuple(
            (f"${name}$", rf"$\frac{{\partial J}}{{\partial {name}}} = {symbols}$", value)
            for name, symbols, value in (
                ("W_1", f"x \\, {whole}", np.outer(x, inner)),
                ("b_1", whole, inner),
                ("W_2", f"z_2 \\, {chain}", np.outer(z2.value, outer)),
                ("b_2", chain, outer),
            )
        ),
    )
    of_f = _called(ENTRIES, z2).format(x="z_{1i}", y="z_{2i}")
    of_g = _called(ENTRIES, y_hat).format(x="z_{3i}", y=r"\hat y_i")
    jacobians = Table(
        "Jacobians",
        ("entry", "its formula", "all of them"),
        (
            (r"$\frac{\partial z_{2i}}{\partial z_{1j}}$", rf"$\delta_{{ij}} \, {of_f}$", f),
            (r"$\frac{\partial \hat y_i}{\partial z_{3j}}$", rf"$\delta_{{ij}} \, {of_g}$", g),
            (r"$\frac{\partial J}{\partial \hat y_i}$", f"${_called(LOSSES, loss)}$", dJ),
        ),
    )
    return layers, gradients, jacobians


def _jacobian(node: Node) -> np.ndarray:
    """Of an op with respect to its first input."""
    found = node.inputs[0].jacobian
    assert found is not None
    return found


def _called(symbols: dict[str, str], node: Node) -> str:
    assert node.op is not None
    return symbols[node.op]
