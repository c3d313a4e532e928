"""uva-2020: ELU, layer norm, wide and deep perceptrons, a residual conv net, a pretrained one, on CIFAR-10."""

from typing import Any

from chainrule import nn
from chainrule.lab.plan import Plan
from chainrule.lab.studies import mistakes, networks
from chainrule.lab.studies.norms import batch_against_layer
from chainrule.lab.study import Checked, Claim, Contrast, Demonstration, Derived, Experiment, Planted, Study

VALIDATED: dict[str, Any] = {"preset": "uva-2020", "val_size": 5000, "eval_train": 5000}
BY_HAND = VALIDATED | {"engine": "layers"}
TORCH = VALIDATED | {"engine": "torch", "init": "pytorch"}
ADAM = TORCH | {"optimizer": "adam", "max_steps": 5000, "eval_freq": 250}
TUNED = ADAM | {"schedule": "cosine", "augment": ["flip"]}
PLAIN: dict[str, Any] = {"lr": 0.001, "schedule": "constant", "augment": ()}  # as the write-up's scripts ran
WIDE, DEEP = (800, 600, 400), (100, 100, 50, 50, 50, 50)
IMAGES: dict[str, Any] = {"preset": "uva-2020", "val_size": 5000}
QUICK: dict[str, Any] = {"max_steps": 30, "eval_freq": 15, "eval_train": 500, "seeds": 1}
FEW: dict[str, Any] = {"max_steps": 3, "eval_freq": 3, "eval_train": 100, "val_size": 100, "seeds": 1}
PRETRAINED = "squeezenet1_1-caffe-bgr.safetensors"
DROPPED = "The write-up names a rate of 0.0001; its script dropped that flag and trained with its default, 0.001."
TRANSFER = {
    "model": "squeezenet1_1",
    "dataset": "cifar10",
    "image_size": 64,
    "preprocess": "caffe-bgr",
    "val_size": 1000,
    "eval_train": 1000,
    "lr": 3e-4,
    "schedule": "cosine",
    "max_steps": 1500,
    "eval_freq": 250,
}

STUDY = Study(
    name="uva-2020",
    title="ELU, layer norm, residual blocks, and transfer",
    text="A perceptron with ELU in NumPy and in PyTorch, layer normalisation in three versions, wider and deeper "
    "perceptrons with Adam, a conv net of pre-activation residual blocks, and a network trained on other images "
    "before, on CIFAR-10.",
    derivations=(
        Derived("linear, as the course writes it", "Y = X @ W.T + B", "X: s n, W: m n, B: m"),
        Derived("an element-wise activation", "y = f(x)", "x: n d"),
        *(Derived(op, op) for op in ("softmax", "cross_entropy", "layer_norm", "batch_norm", "elu", "tanh")),
    ),
    checks=(
        Checked("linear", networks.linear),
        Checked("ELU", networks.elu),
        Checked("softmax", networks.softmax),
        Checked("cross-entropy", networks.cross_entropy),
        Checked("layer norm, automatic", lambda: networks.norm_of_tensors(1)),
        Checked("layer norm, by hand", lambda: networks.norm_by_hand(1)),
        Checked("layer norm, the module", networks.layer_norm),
        Checked("a perceptron with ELU, layer by layer", lambda: networks.perceptron(nn.ELU)),
    ),
    planted=(Planted("layer norm: backward returns None", mistakes.layer_norm_none, ("missing",)),),
    demonstrations=(Demonstration("norms", "Batch norm against layer norm", batch_against_layer),),
    experiments=(
        Experiment(
            "by-hand",
            "The perceptron in NumPy: every layer's forward and backward by hand",
            (Plan(BY_HAND, grid={"lr": [0.0005, 0.001, 0.002]}, seeds=5),),
            {**QUICK, "lr": 0.001},
        ),
        Experiment(
            "elu-tanh",
            "ELU against tanh",
            (Plan({**BY_HAND, "lr": 0.001}, grid={"activation": ["elu", "tanh"]}, seeds=5),),
            QUICK,
        ),
        Experiment(
            "pytorch",
            "The perceptron in PyTorch, with PyTorch's first weights or the small ones of the NumPy version",
            (
                Plan(TORCH, grid={"lr": [0.0003, 0.001]}, seeds=5),
                Plan({**VALIDATED, "engine": "torch", "lr": 0.001}, seeds=5),
            ),
            {**QUICK, "lr": 0.001},
        ),
        Experiment(
            "wide-deep",
            "A wider and a deeper perceptron, with Adam, 5,000 steps; tuned: flips, a falling rate, dropout",
            (
                Plan({**ADAM, "hidden": WIDE}, grid={"lr": [0.0001, 0.0003, 0.001]}, seeds=3),
                Plan({**ADAM, "hidden": DEEP}, grid={"lr": [0.0001, 0.0003, 0.001]}, seeds=3),
                Plan({**TUNED, "hidden": WIDE, "lr": 0.0003, "dropout": 0.3}, seeds=3),
                Plan({**TUNED, "hidden": DEEP}, grid={"lr": [0.0003, 0.001]}, seeds=3),
            ),
            {**QUICK, "lr": 0.001},
        ),
        Experiment(
            "conv-net",
            "The conv net of residual blocks",
            (Plan({**IMAGES, "model": "convnet-uva-2020"}, seeds=3),),
            FEW,
        ),
        Experiment(
            "resnet18",
            "ResNet-18, untrained at first, on images of 32 x 32, 2,000 steps",
            (Plan({**IMAGES, "model": "resnet18", "max_steps": 2000}, seeds=3),),
            FEW,
        ),
        Experiment(
            "transfer",
            "SqueezeNet 1.1, untrained at first or trained on ImageNet, no layer frozen",
            (Plan(TRANSFER, grid={"pretrained": [None, PRETRAINED]}, seeds=3),),
            FEW,
        ),
    ),
    claims=(
        Claim("NumPy, 100 hidden units", 0.485, "by-hand", {"lr": 0.001}),
        Claim("course target for NumPy", 0.48, "by-hand", {"lr": 0.001}),
        Claim("PyTorch, 100 hidden units", 0.49, "pytorch", {"lr": 0.001, "init": "pytorch"}),
        Claim("PyTorch, wide", 0.53, "wide-deep", {"hidden": WIDE, **PLAIN}, {"hidden": WIDE}, note=DROPPED),
        Claim("PyTorch, deep", 0.53, "wide-deep", {"hidden": DEEP, **PLAIN}, {"hidden": DEEP}, note=DROPPED),
        Claim("course target for the tuned perceptron", 0.52, "wide-deep", {"hidden": WIDE, **PLAIN}),
        Claim("conv net", 0.80, "conv-net", {}),
        Claim("course target for the conv net", 0.79, "conv-net", {}),
        Claim(
            "ResNet-18 trained on ImageNet; here SqueezeNet 1.1",
            0.78,
            "transfer",
            None,
            {"pretrained": PRETRAINED},
            note="Another network, on images enlarged to 64 x 64: it shows that transfer reaches such a figure, not "
            "that the write-up's network did.",
        ),
        Contrast(
            "a network trained on ImageNet before learns more in as many steps",
            "transfer",
            {"pretrained": PRETRAINED},
            {"pretrained": None},
            better=True,
        ),
    ),
)
