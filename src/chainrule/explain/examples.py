"""Small networks to look at, each with its numbers: those of the course write-ups, and one for each kind of layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule import models, nn, ops
from chainrule.docstrings import summary
from chainrule.engine import Parameter
from chainrule.errors import UsageError
from chainrule.explain.tables import two_layer_tables
from chainrule.explain.tape import Explanation, explain

Example = Callable[[np.random.Generator, int], Explanation]
EXAMPLES: dict[str, Example] = {}


def _example(name: str) -> Callable[[Example], Example]:
    def register(make: Example) -> Example:
        EXAMPLES[name] = make
        return make

    return register


def example(name: str, *, seed: int = 0, batch_size: int | None = None) -> Explanation:
    """The explanation of an example network.

    Args:
        name: see :func:`listed`.
        seed: of its weights and inputs, where they are random.
        batch_size: examples in the batch, where it is not fixed.

    Raises:
        UsageError: no such example, or it does not work with so small a batch.

    >>> round(float(example("vu-2023").result.value), 10)
    0.6931471806
    """
    key = name.replace("_", "-")
    if key not in EXAMPLES:
        raise UsageError(f"no example {name!r}; there are {', '.join(EXAMPLES)}")
    try:
        return EXAMPLES[key](np.random.default_rng(seed), batch_size or 0)
    except ValueError as error:
        raise UsageError(f"{key} with {batch_size} samples: {error}") from error


def listed() -> dict[str, str]:
    """Every example with what it shows.

    >>> listed()["vu-2023"]
    'The worked example of vu-2023: a sigmoid layer, softmax, -log of the right class; one input.'
    """
    return {name: summary(make) for name, make in EXAMPLES.items()}


def _parameter(rng: np.random.Generator, *shape: int) -> Parameter:
    """Few digits, so that one can follow by hand."""
    return Parameter(rng.normal(0, 0.8, shape).round(1))


@_example("vu-2023")
def vu_2023(rng: np.random.Generator, batch_size: int) -> Explanation:
    """The worked example of vu-2023: a sigmoid layer, softmax, -log of the right class; one input."""
    W, b = Parameter([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]), Parameter(np.zeros(3))
    V, c = Parameter([[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]]), Parameter(np.zeros(2))

    def network(x):
        k = x @ W + b
        h = ops.sigmoid(k)
        o = h @ V + c
        y = ops.softmax(o)
        loss = -np.log(y[0])
        return loss

    return explain(network, np.array([1.0, -1.0]), title="vu-2023, the worked example")


def _two_layers(title: str, f: Callable, g: Callable, loss: Callable) -> Explanation:
    """Linear, f, linear, g and a loss, on one column vector, with the tables of the course."""
    W1, b1 = Parameter([[0.5, -1.0], [1.5, 0.5], [-0.5, 1.0]]), Parameter([0.5, 0.0, -0.5])
    W2, b2 = Parameter([[1.0, -0.5, 0.5], [-0.5, 1.0, 2.0]]), Parameter([0.0, 0.5])
    y = np.array([1.0, 0.0])

    def network(x):
        z1 = ops.linear(x, W1, b1)
        z2 = f(z1)
        z3 = ops.linear(z2, W2, b2)
        y_hat = g(z3)
        J = loss(y_hat, y)
        return J

    found = explain(network, np.array([1.0, 2.0]), title=title)
    return Explanation(found.title, found.nodes, two_layer_tables(found))


@_example("nyu-2021-relu-identity-mse")
def relu_identity_mse(rng: np.random.Generator, batch_size: int) -> Explanation:
    """Linear, ReLU, linear, identity, squared error, with the tables of nyu-2021."""
    return _two_layers("nyu-2021: ReLU, identity, squared error", ops.relu, np.positive, ops.mse_loss)


@_example("nyu-2021-sigmoid-sigmoid-mse")
def sigmoid_sigmoid_mse(rng: np.random.Generator, batch_size: int) -> Explanation:
    """Linear, sigmoid, linear, sigmoid, squared error, with the tables of nyu-2021."""
    return _two_layers("nyu-2021: sigmoid, sigmoid, squared error", ops.sigmoid, ops.sigmoid, ops.mse_loss)


@_example("nyu-2021-sigmoid-sigmoid-bce")
def sigmoid_sigmoid_bce(rng: np.random.Generator, batch_size: int) -> Explanation:
    """Linear, sigmoid, linear, sigmoid, binary cross-entropy, with the tables of nyu-2021."""
    bce = ops.binary_cross_entropy
    return _two_layers("nyu-2021: sigmoid, sigmoid, binary cross-entropy", ops.sigmoid, ops.sigmoid, bce)


@_example("softmax-cross-entropy")
def softmax_cross_entropy(rng: np.random.Generator, batch_size: int) -> Explanation:
    """A linear classifier: softmax and cross-entropy in one op, whose gradient is (y - t) / B."""
    W, b = _parameter(rng, 4, 3), _parameter(rng, 4)
    n = batch_size or 3
    labels = np.arange(n) % 4

    def network(x):
        logits = ops.linear(x, W, b)
        loss = ops.cross_entropy(logits, labels)
        return loss

    x = rng.normal(size=(n, 3)).round(1)
    return explain(network, x, title="softmax and cross-entropy")


@_example("batch-norm")
def batch_norm(rng: np.random.Generator, batch_size: int) -> Explanation:
    """Batch normalisation between a linear layer and a squared error."""
    W, gamma, beta = _parameter(rng, 3, 2), Parameter([1.0, 2.0, 0.5]), Parameter([0.0, 0.5, -0.5])
    n = batch_size or 4
    target = rng.normal(size=(n, 3)).round(1)

    def network(x):
        z = ops.linear(x, W)
        y = ops.batch_norm(z, None, None, gamma, beta, training=True)
        loss = ops.mse_loss(y, target)
        return loss

    return explain(network, rng.normal(size=(n, 2)).round(1), title="batch normalisation")


@_example("layer-norm")
def layer_norm(rng: np.random.Generator, batch_size: int) -> Explanation:
    """Layer normalisation, tanh and a squared error."""
    gamma, beta = Parameter([1.0, 2.0, 0.5, 1.5]), Parameter([0.0, 0.5, -0.5, 1.0])
    n = batch_size or 2
    target = rng.normal(size=(n, 4)).round(1)

    def network(x):
        z = ops.layer_norm(x, gamma, beta, normalized_shape=(4,))
        y = np.tanh(z)
        loss = ops.mse_loss(y, target)
        return loss

    return explain(network, rng.normal(size=(n, 4)).round(1), title="layer normalisation")


@_example("attention")
def attention(rng: np.random.Generator, batch_size: int) -> Explanation:
    """Self-attention, step by step: queries, keys and values of three words, scores, weights, the weighted mean."""
    W_q, W_k, W_v = _parameter(rng, 4, 4), _parameter(rng, 4, 4), _parameter(rng, 4, 4)
    target = rng.normal(size=(3, 4)).round(1)

    def network(x):
        q = ops.linear(x, W_q)
        k = ops.linear(x, W_k)
        v = ops.linear(x, W_v)
        scores = q @ k.T / 2.0
        weights = ops.softmax(scores)
        y = weights @ v
        loss = ops.mse_loss(y, target)
        return loss

    return explain(network, rng.normal(size=(3, 4)).round(1), title="self-attention")


@_example("conv-net")
def conv_net(rng: np.random.Generator, batch_size: int) -> Explanation:
    """A convolution, ReLU, max pooling and a linear layer, on a picture of a diagonal."""
    filters, bias = _parameter(rng, 2, 1, 3, 3), _parameter(rng, 2)
    W, b = _parameter(rng, 3, 8), _parameter(rng, 3)
    image = np.eye(6)[None, None] + np.eye(6, k=1)[None, None] / 2
    label = np.array([1])

    def network(x):
        z = ops.conv2d(x, filters, bias)
        a = ops.relu(z)
        p = ops.max_pool2d(a, kernel_size=2)
        flat = p.reshape(1, -1)
        logits = ops.linear(flat, W, b)
        loss = ops.cross_entropy(logits, label)
        return loss

    return explain(network, image, title="a small convolutional network")


@_example("resnet18")
def resnet18(rng: np.random.Generator, batch_size: int) -> Explanation:
    """ResNet-18 with random weights, on random images of 32 x 32 pixels."""
    n = batch_size or 2
    model = models.resnet18((3, 32, 32), 10, rng=rng)
    images = rng.normal(size=(n, 3, 32, 32)).astype(np.float32)
    return explain_classifier(model, images, rng.integers(0, 10, n), title="ResNet-18")


def explain_classifier(model: nn.Module, x: np.ndarray, labels: np.ndarray, *, title: str = "") -> Explanation:
    """A network and the cross-entropy of its logits on one batch.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> found = explain_classifier(model, np.ones((2, 4), np.float32), np.array([0, 1]))
    >>> [node.name for node in found.ops]
    ['0.linear', '1.relu', '2.linear', 'loss']
    """
    loss = nn.CrossEntropyLoss()
    names = {"": model, "loss": loss, "labels": labels}
    return explain(lambda x: loss(model(x), labels), x, names=names, title=title or type(model).__name__)
