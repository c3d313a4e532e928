"""The settings of the studies' multi-layer perceptrons, as far as their write-ups state them.

A preset stands between the defaults and what the user gives: every setting given by hand wins over it.

>>> PRESETS["uva-2018"]["max_steps"]
1500
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
