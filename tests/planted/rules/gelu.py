import math

import numpy as np

C = math.sqrt(2 / math.pi)


def gelu_fwd(x):
    """GELU in the tanh form, as in GPT-2."""
    inner = C * (x + 0.044715 * x**3)
    t = np.tanh(inner)
    return 0.5 * x * (1 + t), (x, t)


def gelu_bwd(dy, saved):
    x, t = saved
    sech2 = 1 - t**2
    dinner = C * (1 + 3 * 0.044715 * x**2)
    left = 0.5 * (1 + t)
    right = 0.5 * x * sech2 * dinner
    return dy * (left + right)
