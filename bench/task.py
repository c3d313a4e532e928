"""One work and phase as files: first weights, batches and the layers, made once by chainrule and read by every engine.

Inputs are normal random numbers and labels are random, both with fixed seeds: that is fair to the speed, which does not
depend on them, and to the comparison of losses, which only asks that all see the same.
"""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from bench.works import INFER, N_CLASSES, TRAIN, Work

N_BATCHES = 4
STEPS_COMPARED = 20


def write(folder, work, phase):
    """Makes the task's files."""
    import numpy as np

    rng = np.random.default_rng(0)
    layers, weights = [], {}
    if work.kind in ("mlp", "convnet"):
        model = network(work, np.random.default_rng(1))
        layers, weights = described(model), model.state_dict()
        draws = [(normal(rng, work.shapes[0]), rng.integers(0, N_CLASSES, work.shapes[0][0])) for _ in range(N_BATCHES)]
        batches = draws if phase == TRAIN else [(x,) for x, _ in draws]
    elif work.kind == "optimizer":
        weights = {f"{i}": normal(rng, shape) for i, shape in enumerate(work.shapes)}
        batches = [tuple(normal(rng, shape) for shape in work.shapes)]
    else:
        inputs = tuple(normal(rng, shape) for shape in work.shapes)
        if work.network == "norm":
            channels = work.shapes[0][1]
            inputs += tuple(normal(rng, (channels,)) for _ in "wb")
            if phase == INFER:
                inputs += (normal(rng, (channels,)), normal(rng, (channels,)) ** 2)
        batches = [inputs if phase == INFER else (*inputs, normal(rng, work.shapes[0]))]
    arrays = {f"{i}.{j}": array for i, batch in enumerate(batches) for j, array in enumerate(batch)}
    np.savez(folder / "weights.npz", **weights)
    np.savez(folder / "batches.npz", **arrays)
    facts = {"work": dataclasses.asdict(work), "phase": phase, "layers": layers}
    (folder / "task.json").write_text(json.dumps(facts), encoding="utf-8")


def read(folder):
    """The task: `work`, `phase`, `layers`, `weights` by name and `batches`, each a tuple of arrays."""
    import numpy as np

    folder = Path(folder)
    facts = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    tuples = {name: tuple(map(tuple, value)) if name == "shapes" else value for name, value in facts["work"].items()}
    work = Work(**tuples)
    arrays = dict(np.load(folder / "batches.npz"))
    n_batches, n_arrays = (1 + max(int(name.split(".")[place]) for name in arrays) for place in (0, 1))
    return SimpleNamespace(
        work=work,
        phase=facts["phase"],
        layers=facts["layers"],
        weights=dict(np.load(folder / "weights.npz")),
        batches=[tuple(arrays[f"{i}.{j}"] for j in range(n_arrays)) for i in range(n_batches)],
    )


def normal(rng, shape):
    return rng.standard_normal(shape, "float32")


def network(work, rng):
    """chainrule's network, with its own first weights."""
    from chainrule import models, nn

    if work.kind == "convnet":
        return models.build(work.network, input_shape=work.shapes[0][1:], n_classes=N_CLASSES, rng=rng)
    layers = []
    for n_in, n_out in pairwise(work.widths):
        layers += [nn.Linear(n_in, n_out, rng=rng), models.activation_layer(work.activation)]
    model = nn.Sequential(*layers[:-1])
    if work.activation == "relu":  # by PyTorch's default the signal dies in deep ones, and no loss would move
        models.initialise(model, "kaiming-normal", rng=rng)
    return model


def described(module, name=""):
    """The layers of one of chainrule's networks, for engines that do not know chainrule.

    Each is a dict: its kind, its name (that of its weights up to the last dot) and its settings. The kind `Sum` adds
    what its branches give.
    """
    children = {child: (layer, f"{name}.{child}" if name else child) for child, layer in module.named_children()}
    inside = lambda *names: [layer for child in names for layer in described(*children[child])]
    kind = type(module).__name__
    match kind:
        case "Sequential":
            return inside(*children)
        case "PreAct":
            return [{"kind": "Sum", "branches": [inside("norm", "relu", "conv"), []]}]
        case "BasicBlock":
            shortcut = inside("downsample") if "downsample" in children else []
            residual = inside("conv1", "bn1", "relu", "conv2", "bn2")
            return [{"kind": "Sum", "branches": [residual, shortcut]}, {"kind": "ReLU", "name": ""}]
        case "Conv2d":
            return [_layer(module, name) | {"bias": module.bias is not None}]
        case "AdaptiveAvgPool2d":
            if _number(module.output_size) != 1:
                raise ValueError(f"{name} pools to {module.output_size}, expected 1: describe it here")
    return [_layer(module, name)]


# The settings of the layers, whose names are PyTorch's.
SETTINGS = {
    "AdaptiveAvgPool2d": ("output_size",),
    "BatchNorm2d": ("num_features", "eps", "momentum"),
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    "Flatten": (),
    "Linear": ("in_features", "out_features"),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "ReLU": (),
    "Sigmoid": (),
}


def _layer(module, name):
    kind = type(module).__name__
    if kind not in SETTINGS:
        raise ValueError(f"{name} is a {kind}: describe it here and in the engines")
    return {"kind": kind, "name": name} | {key: _number(getattr(module, key)) for key in SETTINGS[kind]}


def _number(value):
    """A setting; the one number of a square one."""
    if not isinstance(value, tuple):
        return value
    if len(set(value)) > 1:
        raise ValueError(f"{value} is not square: describe it here")
    return value[0]
