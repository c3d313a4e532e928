import numpy as np


def tanh_layer(x):
    """Returns the value and the pullback."""
    t = np.tanh(x)

    def pullback(ybar):
        xbar = ybar * (1 - t**2)
        return xbar

    return t, pullback
