"""What runs in an engine's own process: the same steps from the same weights on the same batches, measured."""

import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from chainrule.engine import using
from chainrule.interop.weights import load_weights
from chainrule.nn import CrossEntropyLoss, Module
from chainrule.optim import Optimizer
from chainrule.train.config import TrainConfig
from chainrule.train.engines import Engine, make_engine
from chainrule.train.optimise import make_optimizer
from chainrule.train.runs import network


@dataclass(frozen=True, eq=False)
class Step:
    """What an engine computed for one batch."""

    outputs: np.ndarray
    loss: float
    gradients: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class EngineRun:
    """The steps of one engine, and what they cost."""

    engine: str
    version: str
    threads: int
    step1: dict[str, Step]  #: by precision
    losses: list[float]
    seconds: list[float]  #: of every step
    imported_mb: float
    peak_mb: float


def run_engine(
    config: TrainConfig, engine: str, folder: Path, input_shape: tuple[int, ...], n_classes: int, steps: int
) -> EngineRun:
    """Takes the steps that `folder` holds the weights and the batches of."""
    batches = [np.load(folder / f"{i}.npz") for i in range(steps)]
    pairs = [(batch["x"].astype(config.dtype), batch["y"]) for batch in batches]
    with using(config.backend):
        return _taken(config, engine, folder, input_shape, n_classes, pairs)


def _taken(
    config: TrainConfig, engine: str, folder: Path, input_shape: tuple[int, ...], n_classes: int, pairs: list
) -> EngineRun:
    _, optimizer, made = _prepared(config, engine, folder, input_shape, n_classes, config.dtype)
    _forget_peak()
    imported = _memory_mb()
    losses, seconds = [], []
    for x, y in pairs:
        began = time.perf_counter()
        losses.append(made.forward(x, y))
        optimizer.zero_grad()
        made.backward()
        made.step()
        seconds.append(time.perf_counter() - began)
    peak = _memory_mb(peak=True)
    x, y = pairs[0]
    step1 = {}
    for dtype in ("float64", "float32"):
        model, _, made = _prepared(config, engine, folder, input_shape, n_classes, dtype)
        loss = made.forward(x.astype(dtype), y)
        made.backward()
        gradients = {name: np.array(p.grad) for name, p in model.named_parameters() if p.grad is not None}
        step1[dtype] = Step(made.outputs, loss, gradients)
    package = "torch" if engine == "torch" else {"cpu": "numba", "numpy": "numpy"}[config.backend]
    return EngineRun(engine, f"{package} {version(package)}", _threads(), step1, losses, seconds, imported, peak)


def _prepared(
    config: TrainConfig, engine: str, folder: Path, input_shape: tuple[int, ...], n_classes: int, dtype: str
) -> tuple[Module, Optimizer, Engine]:
    """The network with its first weights, and what trains it."""
    model = network(config.model_copy(update={"dtype": dtype}), input_shape, n_classes)
    model.load_state_dict(load_weights(folder / "weights.safetensors"))
    optimizer = make_optimizer(config, [p for p in model.parameters() if p.requires_grad])
    return model, optimizer, make_engine(engine, model, CrossEntropyLoss(), optimizer)


def _memory_mb(*, peak: bool = False) -> float:
    """The memory that this process holds, or the most that it has held since `_forget_peak`.

    Where there is no /proc, both are the most that it has ever held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        wanted = "VmHWM:" if peak else "VmRSS:"
        return next(int(line.split()[1]) / 2**10 for line in status.read_text().splitlines() if line.startswith(wanted))
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 2**20 if sys.platform == "darwin" else held / 2**10  # bytes there, kibibytes elsewhere


def _forget_peak() -> None:
    """Linux: let the peak of this process be what it holds now."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def _threads() -> int:
    """The threads of the largest pool of the libraries loaded."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    return max((pool["num_threads"] for pool in threadpool_info()), default=1)
