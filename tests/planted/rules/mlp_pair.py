import numpy as np


def mlp_forward(X, W1, b1, W2, b2):
    """Two-layer perceptron: linear, sigmoid, linear."""
    k = X @ W1 + b1
    h = 1 / (1 + np.exp(-k))
    scores = h @ W2 + b2
    cache = {"X": X, "k": k, "h": h, "W1": W1, "W2": W2}
    return scores, cache


def mlp_backward(dscores, cache):
    X, h = cache["X"], cache["h"]
    # second layer
    dW2 = h.T @ dscores
    db2 = np.sum(dscores, axis=0)
    dh = dscores @ cache["W2"].T
    # through the sigmoid
    dk = dh * h * (1 - h)
    # first layer
    dW1 = X.T @ dk
    db1 = np.sum(dk, axis=0)
    dX = dk @ cache["W1"].T
    return dX, dW1, db1, dW2, db2
