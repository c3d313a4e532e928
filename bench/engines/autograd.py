"""HIPS autograd: NumPy code, its gradient by `value_and_grad`, the update in place."""

from importlib.metadata import version

import autograd.numpy as np
from autograd import value_and_grad

from bench.works import TRAIN

VERSION = f"autograd {version('autograd')}"


def prepare(task, variant):
    work = task.work
    names = [name.removesuffix(".weight") for name in task.weights if name.endswith(".weight")]
    params = [task.weights[f"{name}.{kind}"].copy() for name in names for kind in ("weight", "bias")]
    forward = lambda params, x: _logits(params, x, work.activation)
    if task.phase != TRAIN:
        return lambda x: forward(params, x), task.batches
    loss_and_gradients = value_and_grad(lambda params, x, y: _cross_entropy(forward(params, x), y))
    update = _adam(params, work.lr) if work.optimizer == "adam" else _sgd(params, work.lr)

    def step(x, y):
        loss, gradients = loss_and_gradients(params, x, y)
        update(gradients)
        return float(loss)

    return step, task.batches


def _logits(params, x, activation):
    *hidden, last = zip(params[::2], params[1::2], strict=True)
    for weight, bias in hidden:
        x = np.dot(x, weight.T) + bias
        x = np.maximum(x, 0) if activation == "relu" else 1 / (1 + np.exp(-x))
    weight, bias = last
    return np.dot(x, weight.T) + bias


def _cross_entropy(logits, y):
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_sums = np.log(np.sum(np.exp(shifted), axis=1))
    return np.mean(log_sums - shifted[np.arange(len(y)), y])


def _sgd(params, lr):
    def update(gradients):
        for p, g in zip(params, gradients, strict=True):
            p -= lr * g

    return update


def _adam(params, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    t = 0

    def update(gradients):
        nonlocal t
        t += 1
        for p, g, (m, v) in zip(params, gradients, moments, strict=True):
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g * g - v)
            p -= lr / (1 - beta1**t) * m / (np.sqrt(v / (1 - beta2**t)) + eps)

    return update
