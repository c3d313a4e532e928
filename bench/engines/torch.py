"""PyTorch, eager in either memory format, or by torch.compile. Its optimizers are fused: PyTorch's fastest on a CPU."""

import torch
from torch.nn import functional

from bench.works import TRAIN

VERSION = f"torch {torch.__version__}"


def prepare(task, variant):
    # Compiled conv nets get channels-last too: the compiler keeps the format that it is given.
    last = variant == "channels-last" or (variant == "compile" and task.work.kind == "convnet")
    torch.set_grad_enabled(task.phase == TRAIN)
    step = MAKE[task.work.kind](task, last, _compiled if variant == "compile" else lambda function: function)
    if task.phase != TRAIN and variant != "compile":
        step = torch.inference_mode()(step)
    return step, [tuple(_tensor(array, last) for array in batch) for batch in task.batches]


def _compiled(function):
    from torch._inductor import config

    config.freezing = not torch.is_grad_enabled()  # in inference weights are constants: batch norm can be folded away
    return torch.compile(function)


def _tensor(array, channels_last):
    tensor = torch.from_numpy(array)
    last = channels_last and tensor.ndim == 4
    return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


def _net(task, channels_last, compiled):
    net = sequential(task.layers, task.weights)
    if channels_last:
        net.to(memory_format=torch.channels_last)
    if task.phase == TRAIN:
        return training_step(net, task.work, compiled)
    net.eval()
    return compiled(lambda x: net(x))


def training_step(net, work, compiled=lambda function: function):
    optimizer = _optimizer(net.parameters(), work)
    loss_of = compiled(lambda x, y: functional.cross_entropy(net(x), y))

    def step(x, y):
        loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _optimizer(params, work):
    if work.optimizer == "adam":
        return torch.optim.Adam(params, work.lr, fused=True)
    return torch.optim.SGD(params, work.lr, work.momentum, fused=True)


def _op(task, channels_last, compiled):
    function = compiled({"norm": _norm, "softmax": _softmax, "attention": _attention}[task.work.network])
    if task.phase != TRAIN:
        return function

    def step(*tensors):
        *inputs, gy = tensors
        xs = [x.requires_grad_() for x in inputs]
        y = function(*xs)
        return y.detach(), *torch.autograd.grad(y, xs, gy)

    return step


def _norm(x, weight, bias, mean=None, var=None):
    return functional.batch_norm(x, mean, var, weight, bias, training=mean is None)


def _softmax(x):
    return functional.softmax(x, dim=-1)


def _attention(query, key, value):
    return functional.scaled_dot_product_attention(query, key, value)


def _optimizer_alone(task, channels_last, compiled):
    values = [torch.from_numpy(value) for value in task.weights.values()]
    params = [torch.nn.Parameter(value) for value in values]
    optimizer = torch.optim.Adam(params, fused=True)
    update = compiled(optimizer.step)

    def step(*gradients):
        for p, g in zip(params, gradients, strict=True):
            p.grad = g
        update()
        return values

    return step


class Sum(torch.nn.Module):
    """What two branches give, added."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return self.first(x) + self.second(x)


def sequential(layers, weights):
    """The layers as a torch.nn.Sequential, with these weights."""
    return torch.nn.Sequential(*[_layer(layer, weights) for layer in layers])


def _layer(layer, weights):
    if layer["kind"] == "Sum":
        return Sum(*[sequential(branch, weights) for branch in layer["branches"]])
    settings = {key: value for key, value in layer.items() if key not in ("kind", "name")}
    if layer["kind"] == "ReLU":
        settings["inplace"] = True  # as in torchvision's networks
    made = getattr(torch.nn, layer["kind"])(**settings)
    made.load_state_dict({key: torch.from_numpy(weights[f"{layer['name']}.{key}"]) for key in made.state_dict()})
    return made


MAKE = {"mlp": _net, "convnet": _net, "op": _op, "optimizer": _optimizer_alone}
