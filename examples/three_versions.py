"""Batch and layer normalisation, each in three versions that must agree: automatic, by hand, as a module.

    automatic   composed of means, differences, squares and powers on Tensors; the tape finds the gradients
    by hand     the derived rule: a value and one pullback per input, on plain arrays
    module      a layer with weight and bias, by `forward` and `backward`

Run it with `python examples/three_versions.py`; `chainrule ops batch_norm` prints the derivation of the rule.
"""

import numpy as np

from chainrule import Tensor, nn, ops

rng = np.random.default_rng(0)
x = rng.normal(3, 2, (6, 4))  # six examples with four features
gamma, beta = rng.uniform(0.5, 2, 4), rng.normal(size=4)
gy = rng.normal(size=(6, 4))  # the gradient of some loss with respect to the output

BATCH = {"training": True}  # mean and variance of a feature, over the examples
LAYER = {"normalized_shape": (4,)}  # mean and variance of an example, over its features


def automatic(norm, **settings):
    """The textbook composition on Tensors. Nobody derived anything."""
    tx, tgamma, tbeta = (Tensor(array, requires_grad=True) for array in (x, gamma, beta))
    y = norm.textbook(tx, weight=tgamma, bias=tbeta, **settings)
    y.backward(gy)
    return y.value, tx.grad, tgamma.grad, tbeta.grad


def batch_norm_by_hand():
    """The rule's value and its way back. The two None stand for running statistics, which training does not use."""
    y, (gx, _, _, ggamma, gbeta) = ops.batch_norm.rule(x, None, None, gamma, beta, **BATCH)
    return y, gx(gy), ggamma(gy), gbeta(gy)


def layer_norm_by_hand():
    y, (gx, ggamma, gbeta) = ops.layer_norm.rule(x, gamma, beta, **LAYER)
    return y, gx(gy), ggamma(gy), gbeta(gy)


def module(layer):
    """The layer, whose tape is one op long: the rule above."""
    layer.weight.value[...], layer.bias.value[...] = gamma, beta
    y = layer.forward(x)
    return y, layer.backward(gy), layer.weight.grad, layer.bias.grad


def largest_difference(one, other):
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


def main():
    batch = {
        "automatic": automatic(ops.batch_norm, **BATCH),
        "by hand": batch_norm_by_hand(),
        "module": module(nn.BatchNorm1d(4, dtype=np.float64)),
    }
    layer = {
        "automatic": automatic(ops.layer_norm, **LAYER),
        "by hand": layer_norm_by_hand(),
        "module": module(nn.LayerNorm(4, dtype=np.float64)),
    }
    differences = []
    for name, versions in {"batch norm": batch, "layer norm": layer}.items():
        print(f"{name:12} {'|y|':>9} {'|gx|':>9} {'|ggamma|':>9} {'|gbeta|':>9} {'from automatic':>15}")
        for version, arrays in versions.items():
            differences.append(largest_difference(arrays, versions["automatic"]))
            sizes = " ".join(f"{np.abs(array).max():9.6f}" for array in arrays)
            print(f"  {version:10} {sizes} {differences[-1]:15.1e}")
    print(f"largest difference: {max(differences):.1e}")
    return batch, layer, differences


if __name__ == "__main__":
    main()
