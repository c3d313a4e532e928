"""What is measured: networks and single operations, their sizes, their optimizers, and the targets.

Nothing heavy is imported here: a process must be able to read it before its own library loads NumPy.
"""

from dataclasses import dataclass
from itertools import pairwise

N_CLASSES = 10
TRAIN, INFER = "train", "infer"


@dataclass(frozen=True)
class Work:
    """One thing to measure. It travels to the processes as JSON, so its fields are plain."""

    name: str
    kind: str  #: mlp, convnet, op, or optimizer
    network: str = ""  #: of a convnet or an op
    shapes: tuple[tuple[int, ...], ...] = ()  #: of the batch; of an op's inputs; of an optimizer's parameters
    widths: tuple[int, ...] = ()  #: of an mlp
    activation: str = "relu"
    optimizer: str = "sgd"
    lr: float = 0.0
    momentum: float = 0.0
    tolerance: float = 1e-5  #: how far two engines' numbers may be apart, relative to the largest of them

    @property
    def phases(self):
        return (TRAIN,) if self.kind == "optimizer" else (TRAIN, INFER)

    @property
    def group(self):
        """What `--work` may say for all sizes of an op."""
        return self.network if self.kind in ("op", "optimizer") else self.name


@dataclass(frozen=True)
class Target:
    """chainrule is to be `factor` times as fast as the best of the peers whose names begin like this."""

    peers: str
    factor: float


def mlp(name, batch, *widths, activation="relu", optimizer="sgd", lr=0.01):
    return Work(name, "mlp", name, ((batch, widths[0]),), widths, activation, optimizer, lr, tolerance=1e-4)


def convnet(name, network, batch, size, tolerance, **settings):
    return Work(name, "convnet", network, ((batch, 3, size, size),), tolerance=tolerance, **settings)


def op(network, *sizes, kind="op"):
    labels = ("small", "medium", "large")
    return [Work(f"{network}-{label}", kind, network, shapes) for label, shapes in zip(labels, sizes, strict=True)]


def parameters(*widths):
    """The shapes of the weights and biases of an MLP."""
    return tuple(shape for n_in, n_out in pairwise(widths) for shape in ((n_out, n_in), (n_out,)))


# The tolerances. Sums in float32 in another order differ by about 1e-7, relatively, and 20 steps of a perceptron leave
# them below 3e-5. In deep convolutional networks some of millions of entries are within rounding of a kink of ReLU or
# of a tie in pooling, and Adam's first steps are lr * sign(gradient), also where a gradient is nothing but rounding.
# There the losses in float32 and float64 part by 1e-4 (Adam) to 5e-4 (ResNet-18), with learning rates as small as
# these; they get ten times that. The losses fall by a third and more meanwhile: a step a tenth too long is seen.
WORKS = [
    mlp("tiny", 1, 2, 3, 10, activation="sigmoid", lr=0.1),
    mlp("vu-2023", 100, 784, 300, 10, activation="sigmoid", lr=0.1),
    mlp("uva", 200, 3072, 100, 10),
    mlp("uva-tuned", 200, 3072, 500, 500, 500, 500, 500, 10, lr=0.003),
    mlp("uva-wide", 200, 3072, 800, 600, 400, 10, optimizer="adam", lr=1e-4),
    convnet("convnet-uva-2018", "convnet-uva-2018", 32, 32, 5e-3, optimizer="adam", lr=3e-6),
    convnet("convnet-uva-2020", "convnet-uva-2020", 32, 32, 5e-3, optimizer="adam", lr=3e-6),
    convnet("convnet-vu", "convnet-vu", 50, 32, 1e-4, optimizer="adam", lr=1e-3),
    convnet("resnet18-32", "resnet18", 32, 32, 5e-3, lr=1e-4, momentum=0.9),
    convnet("resnet18-96", "resnet18", 32, 96, 5e-3, lr=1e-4, momentum=0.9),
    *op("norm", ((32, 512, 4, 4),), ((32, 256, 8, 8),), ((32, 64, 32, 32),)),
    *op("softmax", ((200, 10),), ((256, 1000),), ((4096, 1024),)),
    *op("attention", ((4, 4, 32, 16),) * 3, ((8, 8, 128, 64),) * 3, ((2, 8, 512, 64),) * 3),
    *op(
        "optimizer",
        parameters(784, 300, 10), parameters(3072, 500, 500, 500, 500, 500, 10), parameters(3072, 2048, 2048, 10),
        kind="optimizer",
    ),
]  # fmt: skip
NAMES = [work.name for work in WORKS]


def targets(work, phase):
    """What the speed of chainrule is held to."""
    if work.kind not in ("mlp", "convnet"):
        return []
    if phase == INFER or work.kind == "convnet":
        return [Target("", 1.5)]
    return [Target("torch", 2.0), Target("jax", 0.5 if work.name == "tiny" else 1.2)]


def chosen(names):
    """The works of these names, where the name of an op or an optimizer stands for all its sizes.

    Raises `KeyError` with a name that is neither.
    """
    for name in names:
        if not any(name in (work.name, work.group) for work in WORKS):
            raise KeyError(name)
    return [work for work in WORKS if not names or work.name in names or work.group in names]
