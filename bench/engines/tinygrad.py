"""tinygrad on the CPU, the step under its TinyJit. It needs the compiler clang."""

import os
import shutil
from importlib.metadata import version

if not shutil.which(os.environ.get("CC", "clang")):
    raise ImportError("tinygrad compiles with clang, which is not installed")
os.environ["DEV"] = "CPU"

from tinygrad import Context, Tensor, TinyJit, nn

from bench.works import TRAIN

VERSION = f"tinygrad {version('tinygrad')}"


def prepare(task, variant):
    work = task.work
    names = [name.removesuffix(".weight") for name in task.weights if name.endswith(".weight")]
    pairs = [[Tensor(task.weights[f"{name}.{kind}"]) for kind in ("weight", "bias")] for name in names]
    batches = [tuple(Tensor(array).realize() for array in batch) for batch in task.batches]
    if task.phase != TRAIN:
        forward = TinyJit(lambda x: _logits(pairs, x, work.activation).realize())
        return lambda x: forward(x).numpy(), batches
    params = [param for pair in pairs for param in pair]
    adam = work.optimizer == "adam"
    optimizer = nn.optim.Adam(params, work.lr) if adam else nn.optim.SGD(params, work.lr, work.momentum)

    @TinyJit
    def whole(x, y):
        optimizer.zero_grad()
        loss = _logits(pairs, x, work.activation).sparse_categorical_crossentropy(y).backward()
        return loss.realize(*optimizer.schedule_step())

    def step(x, y):
        with Context(TRAINING=1):
            return whole(x, y).item()

    return step, batches


def _logits(pairs, x, activation):
    *hidden, last = pairs
    for weight, bias in hidden:
        x = getattr(x.linear(weight.T, bias), activation)()
    weight, bias = last
    return x.linear(weight.T, bias)
