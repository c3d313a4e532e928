"""Wall time to 97.5 % on MNIST's test part: 784-300-10, sigmoid, batches of 100, SGD.

    python -m bench.wall chainrule|torch      what one process does; prints one line of JSON

chainrule runs its own training loop (`chainrule.train.fit`, with its metrics and checkpoints), PyTorch a plain loop.
Weights at the start and batches are the same. Both measure the whole test part after every epoch, and that is in the
time; loading libraries and data is not.
"""

import dataclasses
import json
import math
import statistics
import sys
import tempfile
import time
from types import SimpleNamespace

from rich.table import Table

from bench.processes import last_line

ACCURACY = 0.975
EPOCHS = 40
SETTINGS = {
    "dataset": "mnist", "hidden": (300,), "activation": "sigmoid", "optimizer": "sgd", "lr": 1.0, "batch_size": 100,
    "epochs": EPOCHS, "val_size": 0, "eval_train": 100, "seed": 0,
}  # fmt: skip


class Reached(Exception):  # noqa: N818 (it is no error)
    """The accuracy is reached, at (seconds, epochs, accuracy)."""


def by_chainrule():
    from chainrule.train import TrainConfig, fit
    from chainrule.train.events import Evaluated
    from chainrule.train.runs import build_model, load_data

    config = TrainConfig(**SETTINGS)
    data = load_data(config)
    data = dataclasses.replace(data, validation=data.test)  # what the loop measures after every epoch
    model = build_model(config, data)
    began = time.perf_counter()

    def listen(event):
        if isinstance(event, Evaluated) and event.validation.accuracy >= ACCURACY:
            raise Reached(time.perf_counter() - began, event.epoch, event.validation.accuracy)

    with tempfile.TemporaryDirectory() as folder:
        fit(model, data, config, run_dir=folder + "/run", listeners=[listen])


def by_torch():
    import torch

    from bench.engines.torch import training_step
    from chainrule.data import Batches
    from chainrule.train import TrainConfig
    from chainrule.train.loop import generator
    from chainrule.train.runs import build_model, load_data

    config = TrainConfig(**SETTINGS)
    data = load_data(config)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 300), torch.nn.Sigmoid(), torch.nn.Linear(300, 10)
    )
    first = build_model(config, data).state_dict()
    net.load_state_dict({name: torch.from_numpy(value) for name, value in first.items()})
    step = training_step(net, SimpleNamespace(optimizer="sgd", lr=config.lr, momentum=0.0))
    batches = Batches(data.train, config.batch_size, rng=generator(config.seed, "batches"))
    x_test, y_test = torch.from_numpy(data.test.x), torch.from_numpy(data.test.y)
    began = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        for _ in range(len(batches)):
            step(*map(torch.from_numpy, batches.next()))
        with torch.inference_mode():
            accuracy = (net(x_test).argmax(1) == y_test).double().mean().item()
        if accuracy >= ACCURACY:
            raise Reached(time.perf_counter() - began, epoch, accuracy)


LOOPS = {"chainrule": by_chainrule, "torch": by_torch}


def measured(settings, tell):
    """A row for each loop; the loops take turns."""
    repeats = math.ceil(settings.rounds / 3)
    seconds = {name: [] for name in LOOPS}
    rows = {}
    for i in range(repeats):
        for name in LOOPS:
            tell(f"{name}, {i + 1} of {repeats}")
            rows[name] = last_line(["bench.wall", name], settings.threads)
            seconds[name].append(rows[name]["seconds"])
    return [row | {"seconds": statistics.median(seconds[name])} for name, row in rows.items()]


def table(rows):
    made = Table(title=f"MNIST to {ACCURACY:.1%} on the test part", title_justify="left", box=None)
    for heading in ("loop", "seconds", "epochs", "accuracy"):
        made.add_column(heading, justify="left" if heading == "loop" else "right")
    for row in rows:
        made.add_row(row["loop"], f"{row['seconds']:.2f}", f"{row['epochs']:g}", f"{row['accuracy']:.2%}")
    return made


def main(name):
    try:
        LOOPS[name]()
    except Reached as reached:
        seconds, epochs, accuracy = reached.args
        print(json.dumps({"loop": name, "seconds": seconds, "epochs": epochs, "accuracy": accuracy}))
    else:
        sys.exit(f"not reached in {EPOCHS} epochs")


if __name__ == "__main__":
    main(*sys.argv[1:])
