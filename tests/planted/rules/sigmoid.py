import numpy as np


def sigmoid_forward(ctx, x):
    out = 1.0 / (1.0 + np.exp(-x))
    ctx.save_for_backward(out)  # the derivative only needs the output
    return out


def sigmoid_backward(ctx, grad_output):
    (out,) = ctx.saved_tensors
    return grad_output * out * (1.0 - out)
