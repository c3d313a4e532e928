"""The same training by several engines, side by side: do they compute the same, how fast, in how much memory?

Every engine runs in a process of its own, so that no two thread pools fight and each one's memory is its own. All get
the same initial weights and the same batches, through files.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from chainrule.errors import UsageError, UserError
from chainrule.interop.weights import save_weights
from chainrule.lab.engine_process import EngineRun, Step, run_engine
from chainrule.train import TrainConfig
from chainrule.train.loop import Training
from chainrule.train.runs import build_model, load_data

ENGINES = ("tape", "layers", "torch")

# How far two engines may be apart at step 1, relative to the largest entry of what is compared.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
ROUNDING = 4.0
NOISE = 1e-3  # a gradient this much smaller than the largest one is compared as if it were this large


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an engine is from the first one at step 1, in one precision.

    Each is the largest difference of two entries, divided by the largest entry: of the outputs, of the loss, of the
    gradient that differs most. A gradient smaller than a thousandth of the largest one counts as a thousandth of it:
    before a batch norm a bias has the gradient 0, and all that is left of it is rounding.

    Engines agree below the tolerance, or where they are no farther apart than `ROUNDING` times what float32 alone puts
    between either of the two and its own float64 numbers. In a deep network of ReLU and max pooling that is far more
    than the tolerance: of millions of entries some are within rounding of 0, and on either side of the kink.
    """

    outputs: float
    loss: float
    gradient: float
    parameter: str  #: whose gradient differs most
    rounding: float  #: the same between this precision and float64, for the first engine or this one, whichever is more
    agrees: bool


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine: what it computed, beside the first engine, and what that cost."""

    engine: str
    version: str
    step1: dict[str, Difference]  #: by precision; of the first engine all 0
    losses: tuple[float, ...]  #: of every batch, before the update
    divergence: float  #: largest difference of the losses from the first engine's
    step_ms: float  #: median time of a step
    step_ms_quartiles: tuple[float, float]
    peak_mb: float  #: largest memory of its process beyond what it held before the first step
    imported_mb: float  #: memory of its process before the first step: libraries, weights, batches


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found."""

    dataset: str
    model: str
    parameters: int
    batch_size: int
    optimizer: str
    lr: float
    dtype: str
    steps: int
    threads: int
    rows: tuple[EngineRow, ...]

    @property
    def agrees(self) -> bool:
        """Do all engines agree with the first at step 1, in both precisions?"""
        return all(difference.agrees for row in self.rows for difference in row.step1.values())


def compare(
    config: TrainConfig,
    engines: Sequence[str] = ENGINES,
    *,
    steps: int = 20,
    progress: Callable[[str], None] = lambda engine: None,
) -> Comparison:
    """Takes `steps` steps of the run that `config` describes with each engine.

    At step 1 outputs, loss and every parameter's gradient are compared in float64 and in float32; the steps then go on
    in the config's own precision.

    Args:
        config: what to train; its `engine` is not looked at.
        engines: at least one of `ENGINES`; the first is what the others are compared with.
        steps: number of steps, at least 2 (the first one's time is not counted).
        progress: told the name of each engine before it starts.

    Raises:
        UsageError: no such engine, one twice, too few steps, or the config does not fit the data.
        UserError: an engine's process failed.

    >>> found = compare(TrainConfig(hidden=8), ["tape"], steps=3)
    >>> found.agrees, len(found.rows[0].losses)
    (True, 3)
    """
    unknown = [engine for engine in engines if engine not in ENGINES]
    if unknown or not engines or len(set(engines)) < len(engines):
        raise UsageError(
            f"engines are {', '.join(engines) or 'none'}, expected some of {', '.join(ENGINES)}, each once"
        )
    if steps < 2:
        raise UsageError(f"steps is {steps}, expected at least 2: the first one's time is not counted")
    config = config.model_copy(update={"engine": "tape"})  # only to draw the weights and the batches
    data = load_data(config)
    training = Training(build_model(config, data), data, config)
    with tempfile.TemporaryDirectory(prefix="chainrule-compare-") as folder:
        save_weights(training.model, Path(folder) / "weights.safetensors")
        batches = [training.next_batch() for _ in range(steps)]
        for i, (x, y) in enumerate(batches):
            np.savez(Path(folder) / f"{i}.npz", x=x, y=y)
        runs = []
        for engine in engines:
            progress(engine)
            runs.append(_in_a_process_of_its_own(config, engine, Path(folder), data.input_shape, data.n_classes, steps))
    reference = runs[0]
    return Comparison(
        dataset=data.name,
        model=config.model,
        parameters=sum(parameter.size for parameter in training.model.parameters()),
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        lr=config.lr,
        dtype=config.dtype,
        steps=steps,
        threads=reference.threads,
        rows=tuple(_row(run, reference) for run in runs),
    )


def _in_a_process_of_its_own(
    config: TrainConfig, engine: str, folder: Path, input_shape: tuple[int, ...], n_classes: int, steps: int
) -> EngineRun:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(run_engine, config, engine, folder, input_shape, n_classes, steps).result()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the process of engine {engine} failed: {type(error).__name__}: {error}") from error


def _row(run: EngineRun, reference: EngineRun) -> EngineRow:
    times = 1e3 * np.array(run.seconds[1:])
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
    return EngineRow(
        engine=run.engine,
        version=run.version,
        step1={dtype: _difference(run, reference, dtype) for dtype in TOLERANCE},
        losses=tuple(run.losses),
        divergence=float(np.abs(np.subtract(run.losses, reference.losses)).max()),
        step_ms=float(median),
        step_ms_quartiles=(float(low), float(high)),
        peak_mb=run.peak_mb - run.imported_mb,
        imported_mb=run.imported_mb,
    )


def _difference(run: EngineRun, reference: EngineRun, dtype: str) -> Difference:
    outputs, loss, gradients = _apart(run.step1[dtype], reference.step1[dtype])
    own = [_apart(each.step1[dtype], each.step1["float64"]) for each in (reference, run)]
    parameter = max(gradients, key=lambda name: gradients[name])
    rounding = max(max(each[2].values()) for each in own)
    largest = [
        (outputs, max(each[0] for each in own)),
        (loss, max(each[1] for each in own)),
        (gradients[parameter], rounding),
    ]
    agrees = all(found < max(TOLERANCE[dtype], ROUNDING * allowed) for found, allowed in largest)
    return Difference(outputs, loss, gradients[parameter], parameter, rounding, agrees)


def _apart(found: Step, expected: Step) -> tuple[float, float, dict[str, float]]:
    """How far apart outputs, losses and every parameter's gradients are."""
    largest = max(float(np.abs(g).max(initial=0.0)) for g in expected.gradients.values())
    gradients = {
        name: _relative(found.gradients[name], g, at_least=NOISE * largest) for name, g in expected.gradients.items()
    }
    losses = _relative(np.array(found.loss), np.array(expected.loss))
    return _relative(found.outputs, expected.outputs), losses, gradients


def _relative(found: np.ndarray, expected: np.ndarray, at_least: float = 0.0) -> float:
    """The largest difference of two entries, divided by the largest entry."""
    scale = max(float(np.abs(expected).max(initial=0.0)), at_least)
    return float(np.abs(found - expected).max(initial=0.0)) / scale if scale else 0.0
