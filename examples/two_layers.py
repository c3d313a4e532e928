"""A two-layer network, Linear - f - Linear - g, with every f, g and loss, by layer-by-layer backprop.

For every combination the four gradients dJdW1, dJdb1, dJdW2, dJdb2 are computed by `forward` and `backward`, layer by
layer, and compared with numeric truth that knows nothing of them. Run it with `python examples/two_layers.py`.
"""

import numpy as np

from chainrule import nn
from chainrule.check import numeric_gradient

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "identity": nn.Identity}
LOSSES = {"squared error": nn.MSELoss, "binary cross-entropy": nn.BCELoss}


def network(f, g):
    """4-5-3 with first values that keep every output between 0 and 1, where the cross-entropy is defined."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(4, 5, rng=rng, dtype=np.float64),
        ACTIVATIONS[f](),
        nn.Linear(5, 3, dtype=np.float64),
        ACTIVATIONS[g](),
    )
    model[2].weight.value[...] = rng.uniform(0.02, 0.1, (3, 5))
    model[2].bias.value[...] = rng.uniform(0.4, 0.6, 3)
    return model


def gradients(model, loss, x, target):
    """One step's forward and backward, layer by layer; the value of the loss and the four gradients."""
    model.zero_grad()
    J = loss.forward(model.forward(x), target)
    model.backward(loss.backward())
    first, second = model[0], model[2]
    return J, {
        "dJdW1": first.weight.grad, "dJdb1": first.bias.grad, "dJdW2": second.weight.grad, "dJdb2": second.bias.grad
    }  # fmt: skip


def largest_error(model, loss, x, target, found):
    """The largest difference between these gradients and numeric truth."""
    errors = []
    for parameter, gradient in zip(model.parameters(), found.values(), strict=True):
        kept = parameter.value.copy()

        def loss_at(value, parameter=parameter):
            parameter.value = value
            return loss(model(x), target).value

        errors.append(np.abs(numeric_gradient(loss_at, kept).value - gradient).max())
        parameter.value = kept
    return max(errors)


def main():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (7, 4))  # one example a row; on paper, a column
    target = rng.integers(0, 2, (7, 3)).astype(float)
    print(
        f"{'f':9} {'g':9} {'loss':21} {'J':>8} {'|dJdW1|':>9} {'|dJdb1|':>9} {'|dJdW2|':>9} {'|dJdb2|':>9} {'error':>8}"
    )
    errors = []
    for f in ACTIVATIONS:
        for g in ACTIVATIONS:
            for name, loss in LOSSES.items():
                model = network(f, g)
                J, found = gradients(model, loss(), x, target)
                errors.append(largest_error(model, loss(), x, target, found))
                sizes = " ".join(f"{np.abs(gradient).max():9.6f}" for gradient in found.values())
                print(f"{f:9} {g:9} {name:21} {J:8.5f} {sizes} {errors[-1]:8.1e}")
    print(f"{len(errors)} combinations; largest difference from numeric truth: {max(errors):.1e}")
    return errors


if __name__ == "__main__":
    main()
