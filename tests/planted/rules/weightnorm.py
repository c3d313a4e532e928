"""A linear layer with weight normalisation (Salimans and Kingma, 2016): w = g v / ||v||, row by row."""

import numpy as np


def forward(ctx, x, v, g, b):
    # x: (batch, in), v: (out, in), g: (out,), b: (out,)
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    w = g[:, None] * v / norm
    ctx.save_for_backward(x, v, g, w, norm)
    return x @ w.T + b


def backward(ctx, grad_output):
    x, v, g, w, norm = ctx.saved_tensors
    grad_x = grad_output @ w
    grad_w = grad_output.T @ x
    grad_b = grad_output.sum(axis=0)
    # w = g * v / norm
    grad_g = np.sum(grad_w * v / norm, axis=1)
    direct = g[:, None] / norm * grad_w
    through_norm = g[:, None] * grad_g[:, None] / norm**2 * v
    grad_v = direct - through_norm
    return grad_x, grad_v, grad_g, grad_b
