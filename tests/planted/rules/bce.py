import numpy as np


def bce(y_hat, y):
    """Binary cross-entropy, averaged over all N x K entries. Returns loss and a function for the gradients."""
    N, K = y_hat.shape
    loss = -(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat)).sum() / (N * K)

    def grad(dJ):
        pos = y / y_hat
        neg = (1 - y) / (1 - y_hat)
        dJdy_hat = dJ * -(pos - neg) / (N * K)
        return dJdy_hat

    return loss, grad
