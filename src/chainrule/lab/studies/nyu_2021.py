"""nyu-2021: two layers on paper, with every activation and loss; why sigmoids make gradients vanish."""

from functools import partial

from chainrule import nn
from chainrule.lab.plan import Plan
from chainrule.lab.studies import networks
from chainrule.lab.studies.depth import update, vanishing
from chainrule.lab.studies.worked import layer_by_layer
from chainrule.lab.study import Checked, Contrast, Demonstration, Derived, Experiment, Study

NETWORKS = {
    "nyu-2021-relu-identity-mse": "ReLU, identity, squared error",
    "nyu-2021-sigmoid-sigmoid-mse": "sigmoid, sigmoid, squared error",
    "nyu-2021-sigmoid-sigmoid-bce": "sigmoid, sigmoid, binary cross-entropy",
}
LAYERS = "z1 = x @ W1.T + b1; z2 = {f}(z1); z3 = z2 @ W2.T + b2; y = {g}(z3); J = {loss}(y, t)"
SHAPES = "x: n d, W1: h d, b1: h, W2: k h, b2: k, t: n k const"

STUDY = Study(
    name="nyu-2021",
    title="Two layers on paper",
    text="Linear, f, linear, g and a loss: every layer's input and output, every parameter's gradient, the Jacobians; "
    "the step of gradient descent; and what a sigmoid in hidden layers does to the gradients below it.",
    derivations=(
        Derived("ReLU, identity, squared error", LAYERS.format(f="relu", g="identity", loss="mse_loss"), SHAPES),
        Derived("sigmoid, sigmoid, squared error", LAYERS.format(f="sigmoid", g="sigmoid", loss="mse_loss"), SHAPES),
        Derived(
            "sigmoid, sigmoid, binary cross-entropy",
            LAYERS.format(f="sigmoid", g="sigmoid", loss="binary_cross_entropy"),
            SHAPES,
        ),
    ),
    checks=(
        Checked("squared error", networks.squared_error),
        Checked("binary cross-entropy", networks.binary_cross_entropy),
        Checked("linear, ReLU, linear", lambda: networks.perceptron(nn.ReLU)),
        Checked("linear, sigmoid, linear", lambda: networks.perceptron(nn.Sigmoid)),
    ),
    demonstrations=(
        *(
            Demonstration(name, f"With numbers: {title}", partial(layer_by_layer, name))
            for name, title in NETWORKS.items()
        ),
        Demonstration("update", "The step of gradient descent", update),
        Demonstration("vanishing", "The gradients of a deep network of sigmoids", vanishing),
    ),
    experiments=(
        Experiment(
            "depth",
            "Sigmoid and ReLU in one and in four hidden layers, on handwritten digits",
            (
                Plan(
                    {"dataset": "digits", "engine": "layers", "optimizer": "sgd", "lr": 0.1, "epochs": 30},
                    grid={"activation": ["sigmoid", "relu"], "hidden": [(64,), (64,) * 4]},
                    seeds=10,
                ),
            ),
            {"epochs": 2},
        ),
    ),
    claims=(
        Contrast(
            "in four hidden layers ReLU learns better than sigmoid",
            "depth",
            {"activation": "relu", "hidden": (64,) * 4},
            {"activation": "sigmoid", "hidden": (64,) * 4},
            better=True,
        ),
    ),
)
