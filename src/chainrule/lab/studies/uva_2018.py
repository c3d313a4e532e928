"""uva-2018: modules by hand, a perceptron in NumPy and in PyTorch, batch norm three times, a conv net on CIFAR-10."""

from typing import Any

from chainrule import nn
from chainrule.lab.plan import Plan
from chainrule.lab.studies import mistakes, networks
from chainrule.lab.study import Checked, Claim, Derived, Experiment, Planted, Study

VALIDATED: dict[str, Any] = {"preset": "uva-2018", "val_size": 5000, "eval_train": 5000}
TORCH = VALIDATED | {"engine": "torch", "init": "pytorch"}
ADAM = TORCH | {"optimizer": "adam", "lr": 0.0001}
CONV_NET = {"preset": "uva-2018", "model": "convnet-uva-2018", "val_size": 5000}
QUICK: dict[str, Any] = {"max_steps": 30, "eval_freq": 15, "eval_train": 500, "seeds": 1}
THREE, FIVE = (300,) * 3, (500,) * 5
LONG = {"hidden": FIVE, "max_steps": 5000, "eval_freq": 250}
GIVEN = {"optimizer": "sgd", "lr": 0.002}
TAPE = {"engine": "tape"}  # PyTorch's conv net has one seed
ON_100 = "The write-up measured 100 test images: of so few, 75 % is uncertain by 8.5 points."

STUDY = Study(
    name="uva-2018",
    title="Modules by hand, batch norm, and CIFAR-10",
    text="Linear, ReLU, softmax and cross-entropy by hand, a perceptron of them in NumPy and one in PyTorch, batch "
    "normalisation in three versions, and a conv net of VGG's pattern, on CIFAR-10.",
    derivations=tuple(Derived(op, op) for op in ("cross_entropy", "softmax", "relu", "linear", "batch_norm")),
    checks=(
        Checked("linear", networks.linear),
        Checked("ReLU", networks.relu),
        Checked("softmax", networks.softmax),
        Checked("cross-entropy", networks.cross_entropy),
        Checked("batch norm, automatic", lambda: networks.norm_of_tensors(0)),
        Checked("batch norm, by hand", lambda: networks.norm_by_hand(0)),
        Checked("batch norm, the module", networks.batch_norm),
        Checked("a perceptron, layer by layer", lambda: networks.perceptron(nn.ReLU)),
        Checked("a perceptron with batch norm", networks.perceptron_with_norm),
    ),
    planted=(
        Planted(
            "softmax: the gradient times the Jacobian, entry by entry",
            mistakes.softmax_element_wise,
            ("elementwise-for-jacobian",),
        ),
        Planted("linear: gradients averaged over the batch", mistakes.linear_averaged, ("batch-mean-twice",)),
        Planted(
            "batch norm: gamma's gradient summed over the features", mistakes.gamma_over_features, ("missing-sum",)
        ),
    ),
    experiments=(
        Experiment(
            "by-hand",
            "The perceptron in NumPy: every layer's forward and backward by hand",
            (Plan({**VALIDATED, "engine": "layers"}, grid={"lr": [0.0005, 0.001, 0.002]}, seeds=5),),
            {**QUICK, "lr": 0.002},
        ),
        Experiment(
            "pytorch",
            "The perceptron in PyTorch, with PyTorch's first weights",
            (Plan(TORCH, grid={"lr": [0.0005, 0.001, 0.002]}, seeds=5),),
            {**QUICK, "lr": 0.002},
        ),
        Experiment(
            "deeper",
            "Deeper perceptrons in PyTorch",
            (
                Plan(TORCH, grid={"hidden": [THREE, FIVE], "lr": [0.002, 0.005]}, seeds=3),
                Plan({**ADAM, "hidden": THREE}, seeds=3),
                Plan({**ADAM, "hidden": FIVE}, seeds=3),
            ),
            {**QUICK, "lr": 0.002, "hidden": THREE},
        ),
        Experiment(
            "longer",
            "Five layers of 500 units, 5,000 steps",
            (Plan({**TORCH, **LONG}, seeds=3), Plan({**ADAM, **LONG}, grid={"dropout": [0, 0.2]}, seeds=3)),
            QUICK,
        ),
        Experiment(
            "conv-net",
            "The conv net, by chainrule's engine and by PyTorch",
            (Plan({**CONV_NET, "engine": "tape"}, seeds=3), Plan({**CONV_NET, "engine": "torch"})),
            {"max_steps": 3, "eval_freq": 3, "eval_train": 100, "val_size": 100, "seeds": 1},
        ),
    ),
    claims=(
        Claim("NumPy, 100 hidden units", 0.47, "by-hand", {"lr": 0.002}),
        Claim("course target for NumPy", 0.46, "by-hand", {"lr": 0.002}),
        Claim("PyTorch, 100 hidden units", 0.45, "pytorch", {"lr": 0.002}),
        Claim("PyTorch, 3 x 300", 0.49, "deeper", {"hidden": THREE} | GIVEN, {"hidden": THREE}),
        Claim("PyTorch, 5 x 500", 0.52, "deeper", {"hidden": FIVE} | GIVEN, {"hidden": FIVE}),
        Claim("PyTorch, 5 x 500, 5,000 steps", 0.54, "longer", {"optimizer": "sgd"}),
        Claim("course target for the tuned perceptron", 0.53, "longer", {"optimizer": "sgd"}),
        Claim("conv net", 0.75, "conv-net", TAPE, TAPE, samples=100, note=ON_100),
        Claim("course target for the conv net", 0.75, "conv-net", TAPE, TAPE),
    ),
)
