"""vu-2023: a worked example by hand, and a sigmoid network on MNIST that was said to be right 14 times of a hundred."""

from typing import Any

from chainrule import nn
from chainrule.lab.plan import Plan
from chainrule.lab.studies import mistakes, networks
from chainrule.lab.studies.worked import nothing_learned, worked_example
from chainrule.lab.study import Checked, Claim, Demonstration, Derived, Experiment, Planted, Study

MNIST: dict[str, Any] = {"preset": "vu-2023", "epochs": 20, "eval_train": 5000}
QUICK: dict[str, Any] = {"max_steps": 60, "eval_freq": 30, "eval_train": 500}

STUDY = Study(
    name="vu-2023",
    title="A sigmoid network on paper and on MNIST",
    text="Softmax and cross-entropy derived, a network of three units worked through by hand, and a perceptron with a "
    "sigmoid layer of 300 units on MNIST: learning rates, first weights, the loss of every batch.",
    derivations=(
        Derived("softmax, both cases", "softmax"),
        Derived("minus the logarithm of the right class, and its product with softmax: y - t", "cross_entropy"),
    ),
    checks=(
        Checked("softmax", networks.softmax),
        Checked("cross-entropy", networks.cross_entropy),
        Checked("sigmoid", networks.sigmoid),
        Checked("a perceptron with sigmoid, layer by layer", lambda: networks.perceptron(nn.Sigmoid)),
    ),
    planted=(
        Planted(
            "the bias's gradient read before the derivative",
            mistakes.bias_from_dh,
            ("wrong-saved", "parameter-missing"),
        ),
    ),
    demonstrations=(
        Demonstration("worked-example", "The worked example", worked_example),
        Demonstration("nothing-learned", "A loss that stays at ln 10", nothing_learned),
    ),
    experiments=(
        Experiment(
            "synthetic",
            "The network of the worked example on two features",
            (
                Plan(
                    {
                        "dataset": "synth-vu-2023",
                        "val_size": 5000,
                        "hidden": 3,
                        "activation": "sigmoid",
                        "optimizer": "sgd",
                        "batch_size": 100,
                        "epochs": 10,
                        "eval_train": 5000,
                    },
                    grid={"lr": [0.03, 0.3, 3.0]},
                    seeds=5,
                ),
            ),
            {**QUICK, "lr": 0.3},
        ),
        Experiment(
            "learning-rates",
            "Learning rates on MNIST, every layer's backward by hand",
            (Plan({**MNIST, "engine": "layers"}, grid={"lr": [0.001, 0.003, 0.01, 0.03]}, seeds=5),),
            {**QUICK, "lr": 0.03},
            batch_losses=True,
        ),
        Experiment(
            "first-weights",
            "Three distributions of the first weights",
            (
                Plan({**MNIST, "lr": 0.03, "engine": "layers"}, grid={"init": ["pytorch", "xavier-normal"]}, seeds=5),
                Plan({**MNIST, "lr": 0.03, "engine": "layers", "init": "normal", "init_std": 1.0}, seeds=5),
            ),
            QUICK,
            batch_losses=True,
        ),
    ),
    claims=(
        Claim(
            "accuracy on MNIST's test part",
            0.1428,
            "learning-rates",
            {"lr": 0.01},
            doubtful=True,
            note="Such a network learns: 14 % is hardly more than guessing, 10 %, and says that something was wrong. "
            "The write-up names neither the rate of that run nor its length; 0.01 and the 20 epochs are ours.",
        ),
    ),
)
