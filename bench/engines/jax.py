"""JAX: the whole step under one jit, the optimizer included, memory given back (donated) where it is replaced.

Images are channels-last (NHWC, weights HWIO): of the layouts tried on a CPU the fastest, most of all for gradients.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bench.works import TRAIN

VERSION = f"jax {jax.__version__}"


def prepare(task, variant):
    as_jax = _channels_last if task.work.kind == "convnet" else jnp.asarray
    return MAKE[task.work.kind](task), [tuple(map(as_jax, batch)) for batch in task.batches]


def _channels_last(array):
    return jnp.asarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)


# ------------------------------------------------------------------------------------------------------------ networks


def _net(task):
    arrays = {name: jnp.asarray(_as_jax(value)) for name, value in task.weights.items()}
    stats = {name: array for name, array in arrays.items() if "running" in name}
    params = {name: array for name, array in arrays.items() if name.endswith((".weight", ".bias"))}
    if task.phase == TRAIN:
        return _training_step(task, params, stats)
    forward = jax.jit(lambda params, stats, x: applied(task.layers, params, stats, x, training=False)[0])
    return lambda x: forward(params, stats, x).block_until_ready()


def _as_jax(value):
    """Weights of a linear layer as (in, out), of a convolution as HWIO."""
    return {2: lambda: value.T, 4: lambda: value.transpose(2, 3, 1, 0)}.get(value.ndim, lambda: value)()


def _training_step(task, params, stats):
    first, update = optimizer(task.work)

    def loss_of(params, stats, x, y):
        logits, stats = applied(task.layers, params, stats, x, training=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean(), stats

    def whole(params, state, stats, x, y):
        (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params, stats, x, y)
        params, state = update(params, gradients, state)
        return loss, params, state, stats

    compiled = jax.jit(whole, donate_argnums=(0, 1, 2))
    kept = params, first(params), stats

    def step(x, y):
        nonlocal kept
        loss, *kept = compiled(*kept, x, y)
        return loss.item()

    return step


def applied(layers, params, stats, x, training):
    """The network's output and the running statistics after it."""
    for layer in layers:
        x, stats = _apply(layer, params, stats, x, training)
    return x, stats


def _apply(layer, params, stats, x, training):
    name = layer.get("name")
    weight, bias = params.get(f"{name}.weight"), params.get(f"{name}.bias")
    match layer["kind"]:
        case "Linear":
            x = x @ weight + bias
        case "ReLU":
            x = jax.nn.relu(x)
        case "Sigmoid":
            x = jax.nn.sigmoid(x)
        case "Flatten":
            x = x.transpose(0, 3, 1, 2).reshape(len(x), -1) if x.ndim == 4 else x
        case "AdaptiveAvgPool2d":
            x = x.mean((1, 2), keepdims=True)
        case "MaxPool2d":
            size, stride, pad = ((0, layer[key], layer[key], 0) for key in ("kernel_size", "stride", "padding"))
            window, strides = (1, *size[1:3], 1), (1, *stride[1:3], 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, [(p, p) for p in pad])
        case "Conv2d":
            strides, padding = (layer["stride"],) * 2, ((layer["padding"],) * 2,) * 2
            x = lax.conv_general_dilated(x, weight, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = x if bias is None else x + bias
        case "BatchNorm2d":
            x, stats = _batch_norm(layer, weight, bias, stats, x, training)
        case "Sum":
            first, second = layer["branches"]
            a, stats = applied(first, params, stats, x, training)
            b, stats = applied(second, params, stats, x, training)
            x = a + b
    return x, stats


def _batch_norm(layer, weight, bias, stats, x, training):
    names = f"{layer['name']}.running_mean", f"{layer['name']}.running_var"
    mean, var = (stats[name] for name in names)
    if training:
        n = math.prod(x.shape[:-1])
        batch = x.mean((0, 1, 2)), x.var((0, 1, 2))
        m = layer["momentum"]
        new = (1 - m) * mean + m * batch[0], (1 - m) * var + m * batch[1] * n / (n - 1)
        stats = stats | dict(zip(names, new, strict=True))
        mean, var = batch
    return (x - mean) * (lax.rsqrt(var + layer["eps"]) * weight) + bias, stats


# ---------------------------------------------------------------------------------------------------------- optimizers


def optimizer(work):
    """The first state of the parameters, and the update: (params, gradients, state) to (params, state)."""
    if work.optimizer == "adam":
        return _adam(work.lr)
    lr, momentum = work.lr, work.momentum

    def update(params, gradients, velocities):
        if momentum:
            gradients = velocities = jax.tree.map(lambda v, g: momentum * v + g, velocities, gradients)
        return jax.tree.map(lambda p, g: p - lr * g, params, gradients), velocities

    return lambda params: jax.tree.map(jnp.zeros_like, params) if momentum else (), update


def _adam(lr, beta1=0.9, beta2=0.999, eps=1e-8):
    def first(params):
        return 0, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)

    def update(params, gradients, state):
        t, ms, vs = state
        t = t + 1
        ms = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, ms, gradients)
        vs = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, vs, gradients)
        rate, unbias = lr / (1 - beta1**t), lax.rsqrt(1 - beta2 ** jnp.float32(t))
        return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * unbias + eps), params, ms, vs), (t, ms, vs)

    return first, update


def _optimizer_alone(task):
    first, update = _adam(lr=1e-3)
    params = [jnp.asarray(value) for value in task.weights.values()]
    compiled = jax.jit(lambda params, state, gradients: update(params, gradients, state), donate_argnums=(0, 1))
    kept = params, first(params)

    def step(*gradients):
        nonlocal kept
        kept = compiled(*kept, list(gradients))
        return jax.block_until_ready(kept[0])

    return step


# ----------------------------------------------------------------------------------------------------------------- ops


def _op(task):
    function = {"norm": _norm, "softmax": jax.nn.softmax, "attention": _attention}[task.work.network]

    def with_gradients(*arrays):
        *inputs, gy = arrays
        y, pullback = jax.vjp(function, *inputs)
        return y, *pullback(gy)

    compiled = jax.jit(with_gradients if task.phase == TRAIN else function)
    return lambda *arrays: jax.block_until_ready(compiled(*arrays))


def _norm(x, weight, bias, mean=None, var=None, eps=1e-5):
    if mean is None:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    per_channel = lambda c: c[:, None, None]
    return (x - per_channel(mean)) * per_channel(lax.rsqrt(var + eps) * weight) + per_channel(bias)


def _attention(query, key, value):
    scores = query @ key.swapaxes(-1, -2) / np.float32(math.sqrt(query.shape[-1]))
    return jax.nn.softmax(scores) @ value


MAKE = {"mlp": _net, "convnet": _net, "op": _op, "optimizer": _optimizer_alone}
