"""vu-2021: an autograd engine of one's own, a perceptron on synthetic data and MNIST, a small conv net on CIFAR-10."""

from typing import Any

from chainrule import nn
from chainrule.lab.plan import Plan
from chainrule.lab.studies import mistakes, networks
from chainrule.lab.studies.engine import questions, weaknesses
from chainrule.lab.study import Checked, Claim, Contrast, Demonstration, Derived, Experiment, Planted, Study

MNIST: dict[str, Any] = {"preset": "vu-2021-mnist", "eval_train": 5000}
ADAM, SHORT = {"optimizer": "adam"}, {"epochs": 10}  # not the 20 epochs of flipped images
CIFAR: dict[str, Any] = {"preset": "vu-2021", "model": "convnet-vu"}
UNITS = 784  # of hidden_mult 1: as many as an image has pixels
NARROW, WIDE = {"hidden": (2 * UNITS,)}, {"hidden": (6 * UNITS,)}
SIGMOID, RELU = ({"activation": name, "hidden": (4 * UNITS,)} for name in ("sigmoid", "relu"))
GIVEN, TEN, DEFAULT = ({"lr": rate * 128} for rate in (0.0001, 0.001, 0.01))  # means over 128 samples, not sums
QUICK: dict[str, Any] = {"max_steps": 40, "eval_freq": 20, "eval_train": 500, "seeds": 1}

STUDY = Study(
    name="vu-2021",
    title="An engine of one's own, and comparisons on MNIST and CIFAR-10",
    text="Derivations of the engine's operations, questions that its user must be able to answer by looking at it, and "
    "comparisons of activations, widths, depths, optimizers, batch sizes and learning rates.",
    derivations=(
        Derived("division", "Z = X / Y", "X: n d, Y: n d"),
        Derived("an element-wise function", "Y = f(X)", "X: n d"),
        Derived("a product of matrices", "Y = X @ W", "X: n d, W: d m"),
        Derived("expand: a vector repeated to a matrix", "broadcast_to"),
    ),
    checks=(
        Checked("division", networks.division),
        Checked("a product of matrices", networks.product),
        Checked("entries of every row, a batch of one", networks.select),
        Checked("sigmoid", networks.sigmoid),
        Checked("cross-entropy", networks.cross_entropy),
        Checked("a perceptron with sigmoid, layer by layer", lambda: networks.perceptron(nn.Sigmoid)),
    ),
    planted=(Planted("division: no minus sign", mistakes.division_without_minus, ("sign",)),),
    demonstrations=(
        Demonstration("questions", "Questions about the engine, answered by looking", questions),
        Demonstration("weaknesses", "What the write-up's engine could not do", weaknesses),
    ),
    experiments=(
        Experiment(
            "synthetic",
            "The perceptron on two features",
            (Plan({"preset": "vu-2021", "val_size": 5000, "eval_train": 5000}, seeds=5),),
            QUICK,
        ),
        Experiment(
            "mnist",
            "Activation, width and depth on MNIST",
            (
                Plan(MNIST, grid={"activation": ["sigmoid", "relu"], "lr": [GIVEN["lr"], TEN["lr"]]}, seeds=5),
                Plan(MNIST, grid={"hidden": [2 * UNITS, 6 * UNITS]}, seeds=5),
                Plan({**MNIST, **DEFAULT}, grid={"hidden": [2 * UNITS, 4 * UNITS, 6 * UNITS]}, seeds=3),
                Plan({**MNIST, "hidden": (4 * UNITS,) * 2}, seeds=3),
            ),
            {**QUICK, **TEN},
        ),
        Experiment(
            "cifar",
            "Optimizer, learning rate and batch size on CIFAR-10",
            (
                Plan(CIFAR, grid={"lr": [0.0005, 0.001, 0.003]}, seeds=3),
                Plan({**CIFAR, "batch_size": 4}, seeds=3),
                Plan({**CIFAR, "augment": ["flip"], "epochs": 20}, seeds=3),
                Plan({**CIFAR, "optimizer": "sgd", "momentum": 0.9}, grid={"lr": [0.003, 0.01, 0.03]}, seeds=3),
            ),
            {**QUICK, "lr": 0.001},
        ),
        Experiment(
            "cifar-pytorch",
            "The same conv net trained by PyTorch",
            (Plan({**CIFAR, "engine": "torch"}, seeds=3),),
            QUICK,
        ),
    ),
    claims=(
        Claim("MNIST, sigmoid", 0.948, "mnist", SIGMOID | GIVEN, SIGMOID),
        Claim("MNIST, ReLU", 0.933, "mnist", RELU | GIVEN, RELU),
        Contrast("sigmoid is better than ReLU", "mnist", SIGMOID | GIVEN, RELU | GIVEN, better=True),
        Contrast(
            "sigmoid is better than ReLU, with ten times the learning rate",
            "mnist",
            SIGMOID | TEN,
            RELU | TEN,
            better=True,
        ),
        Claim("MNIST, hidden_mult 2", 0.942, "mnist", NARROW | GIVEN, NARROW),
        Claim("MNIST, hidden_mult 4", 0.940, "mnist", SIGMOID | GIVEN, SIGMOID),
        Claim("MNIST, hidden_mult 6", 0.936, "mnist", WIDE | GIVEN, WIDE),
        Contrast(
            "hidden_mult 2 and 6 do not differ (p > 0.05, from one run each)",
            "mnist",
            NARROW | GIVEN,
            WIDE | GIVEN,
            better=False,
        ),
        Contrast(
            "one hidden layer is better than two", "mnist", SIGMOID | GIVEN, {"hidden": (4 * UNITS,) * 2}, better=True
        ),
        Claim("CIFAR-10, batches of 50", 0.633, "cifar", ADAM | SHORT | {"batch_size": 50, "lr": 0.001}),
        Claim("CIFAR-10, learning rate 0.003", 0.651, "cifar", ADAM | SHORT | {"lr": 0.003}),
        Claim("CIFAR-10, learning rate 0.0005", 0.647, "cifar", ADAM | SHORT | {"lr": 0.0005}),
        Claim("CIFAR-10, batches of 4", 0.623, "cifar", {"batch_size": 4}),
        Claim("CIFAR-10, Adam", 0.632, "cifar", ADAM | SHORT | {"batch_size": 50, "lr": 0.001}, ADAM),
        Claim("CIFAR-10, SGD", 0.627, "cifar", {"optimizer": "sgd", "lr": 0.003}, {"optimizer": "sgd"}),
        Claim("CIFAR-10, by PyTorch", 0.633, "cifar-pytorch", {}),
        Contrast("Adam is better than SGD", "cifar", ADAM | SHORT, {"optimizer": "sgd"}, better=True),
    ),
)
