"""The settings of the studies' networks, as far as their write-ups state them.

A preset stands between the defaults and what the user gives: every setting given by hand wins over it. A study that has
a conv net too has settings of its own for it, used where that network is asked for.

>>> preset("uva-2018")["max_steps"], preset("uva-2018", "convnet-uva-2018")["max_steps"]
(1500, 5000)
"""

from typing import Any

_UVA_2018: dict[str, Any] = {
    "dataset": "cifar10",
    "preprocess": "mean-image",
    "val_size": 0,
    "sampler": "wrap",
    "hidden": (100,),
    "activation": "relu",
    "init": "normal",
    "init_std": 1e-4,
    "optimizer": "sgd",
    "lr": 2e-3,
    "batch_size": 200,
    "max_steps": 1500,
    "eval_freq": 100,
    "seed": 42,
}

# The vu-2021 engine adds the losses of a batch up where CrossEntropyLoss averages them: the same step is the learning
# rate times the batch size. Its hidden layer has four units for each feature (hidden_mult).
_VU_2021: dict[str, Any] = {
    "dataset": "synth-vu-2021",
    "hidden": (4 * 2,),
    "activation": "sigmoid",
    "init": "xavier-normal",
    "optimizer": "sgd",
    "lr": 0.01 * 128,
    "batch_size": 128,
    "epochs": 20,
}

PRESETS: dict[str, dict[str, Any]] = {
    "uva-2018": _UVA_2018,
    "uva-2020": _UVA_2018 | {"activation": "elu", "lr": 1e-3, "max_steps": 1400},
    "vu-2021": _VU_2021,
    "vu-2021-mnist": _VU_2021 | {"dataset": "mnist", "hidden": (4 * 784,), "lr": 0.0001 * 128},
    "vu-2023": {"dataset": "mnist", "hidden": (300,), "activation": "sigmoid", "optimizer": "sgd", "batch_size": 100},
}

# Evaluations measure 2,000 of the training images: all 50,000 would take longer than the 500 steps between two of them.
_UVA_CONVNET: dict[str, Any] = {
    "dataset": "cifar10",
    "preprocess": "mean-image",
    "val_size": 0,
    "sampler": "wrap",
    "optimizer": "adam",
    "lr": 1e-4,
    "batch_size": 32,
    "max_steps": 5000,
    "eval_freq": 500,
    "eval_train": 2000,
    "seed": 42,
}

# The settings of a study's other networks, by study and model.
NETWORKS: dict[tuple[str, str], dict[str, Any]] = {
    ("uva-2018", "convnet-uva-2018"): _UVA_CONVNET,
    ("uva-2020", "convnet-uva-2020"): _UVA_CONVNET,
    ("uva-2020", "resnet18"): _UVA_CONVNET,
    ("vu-2021", "convnet-vu"): {
        "dataset": "cifar10",
        "preprocess": "centred",
        "optimizer": "adam",
        "lr": 1e-3,
        "batch_size": 50,
        "epochs": 10,
        "eval_train": 2000,
    },
}


def preset(name: str, model: str | None = None) -> dict[str, Any]:
    """The settings of the study `name` for this network (default: its perceptron).

    Raises `ValueError` if the study has no such network.

    >>> preset("vu-2021", "convnet-vu")["batch_size"]
    50
    """
    if model is None or model == "mlp":
        return PRESETS[name]
    if (name, model) not in NETWORKS:
        known = ", ".join(["mlp", *(network for study, network in NETWORKS if study == name)])
        raise ValueError(f"preset {name} has no settings for {model}, only for {known}: leave the preset out")
    return NETWORKS[name, model]
