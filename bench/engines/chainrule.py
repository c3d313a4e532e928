"""chainrule: steps as its users write them, compiled."""

from contextlib import ExitStack

import chainrule
from bench.task import network
from bench.works import TRAIN
from chainrule import Parameter, Tensor, nn, ops, optim

OPENED = ExitStack()  # for the rest of this process, as around a training loop
VERSION = f"chainrule {chainrule.__version__}"


def prepare(task, variant):
    OPENED.enter_context(chainrule.using("numpy" if variant == "numpy" else "cpu"))
    return MAKE[task.work.kind](task), task.batches


def _net(task):
    import numpy as np

    model = network(task.work, np.random.default_rng(0))
    model.load_state_dict(task.weights)
    return training_step(model, task.work) if task.phase == TRAIN else inference_step(model)


def training_step(model, work):
    criterion = nn.CrossEntropyLoss()
    optimizer = _optimizer(model.parameters(), work)

    @chainrule.compile
    def step(x, y):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return lambda x, y: step(x, y).item()


def inference_step(model):
    model.eval()

    @chainrule.compile
    @chainrule.no_grad()
    def step(x):
        return model(x)

    return step


def _optimizer(params, work):
    if work.optimizer == "adam":
        return optim.Adam(params, work.lr)
    return optim.SGD(params, work.lr, work.momentum)


def _op(task):
    function = {"norm": _norm, "softmax": ops.softmax, "attention": ops.scaled_dot_product_attention}[task.work.network]
    if task.phase != TRAIN:
        return chainrule.compile(function)

    @chainrule.compile
    def step(*arrays):
        *inputs, gy = arrays
        xs = [Tensor(x, requires_grad=True) for x in inputs]
        y = function(*xs)
        y.backward(gy)
        return y.value, *(x.grad for x in xs)

    return step


def _norm(x, weight, bias, mean=None, var=None):
    return ops.batch_norm(x, mean, var, weight, bias, training=mean is None)


def _optimizer_alone(task):
    params = [Parameter(value) for value in task.weights.values()]
    optimizer = optim.Adam(params)
    values = [p.value for p in params]

    def step(*gradients):
        for p, g in zip(params, gradients, strict=True):
            p.grad = g
        optimizer.step()
        return values

    return step


MAKE = {"mlp": _net, "convnet": _net, "op": _op, "optimizer": _optimizer_alone}
