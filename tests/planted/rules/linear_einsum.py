import numpy as np


def forward(x, weight, bias):
    # the last axis of x is contracted; batch and time are carried along
    return np.einsum("btd,od->bto", x, weight) + bias


def backward(g, x, weight, bias):
    grad_x = np.einsum("bto,od->btd", g, weight)
    grad_weight = np.einsum("bto,btd->od", g, x)
    grad_bias = np.einsum("bto->o", g)
    return grad_x, grad_weight, grad_bias
