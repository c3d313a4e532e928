"""The run folder: one for each run, made once, never written over.

config.yaml            every setting, as resolved; `chainrule train -c` reads it
environment.json       versions, platform, BLAS, threads
metrics.csv, .jsonl    a line for each evaluation          (`metrics`)
steps.csv, times.csv   every batch's loss; the clock       (`metrics`)
checkpoints/           best.safetensors, last.safetensors  (`checkpoint`)
learning_curve.png, confusion_matrix.png                   (`pictures`)
result.json            the figures at the end
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from chainrule.errors import UserError
from chainrule.files import locked, naming_the_file, write_atomically
from chainrule.train.config import TrainConfig, configure
from chainrule.train.environment import environment
from chainrule.train.events import Remark

RUNS = Path("runs")


def create(config: TrainConfig, run_dir: Path | None = None, *, dataset: str, processes: int = 1) -> Path:
    """Makes the folder of a new run on `dataset`, with its config and its environment; without `run_dir` under `runs`.

    `processes` are those that share the run.

    Raises `UserError` if `run_dir` is there already and not empty, or cannot be made.

    >>> import tempfile
    >>> folder = create(TrainConfig(), Path(tempfile.mkdtemp()) / "first", dataset="digits")
    >>> sorted(file.name for file in folder.iterdir())
    ['checkpoints', 'config.yaml', 'environment.json']
    """
    if run_dir is not None:
        with naming_the_file(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
            if any(run_dir.iterdir()):
                raise UserError(
                    f"{run_dir} is not empty, and a run never writes over another: resume it, or name another"
                )
    else:
        run_dir = _new_under_runs(config, dataset)
    with naming_the_file(run_dir):
        (run_dir / "checkpoints").mkdir()
    write_atomically(run_dir / "environment.json", (json.dumps(_environment(processes), indent=2) + "\n").encode())
    write_atomically(run_dir / "config.yaml", config.to_yaml().encode())
    return run_dir


def new_path(what: str, suffix: str = "") -> Path:
    """`runs/<what>-<time><suffix>`, or with a number where there is such a file or folder already.

    >>> new_path("compare-mlp", ".png").match("runs/compare-mlp-*.png")
    True
    """
    return next(path for path in _numbered(f"{what}-{_now()}", suffix) if not path.exists())


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")


def _numbered(name: str, suffix: str = "") -> Iterator[Path]:
    yield RUNS / f"{name}{suffix}"
    yield from (RUNS / f"{name}-{number}{suffix}" for number in range(2, 1000))


def _new_under_runs(config: TrainConfig, dataset: str) -> Path:
    """`runs/<dataset>-<model>-<time>-<hash of the config>`; if two runs meet, the later one gets a number."""
    settings = hashlib.sha256(config.to_yaml().encode()).hexdigest()[:6]
    for run_dir in _numbered(f"{Path(dataset).stem}-{config.model}-{_now()}-{settings}"):
        with naming_the_file(run_dir):
            try:
                run_dir.mkdir(parents=True)
            except FileExistsError:
                continue
        return run_dir
    raise UserError(f"{RUNS} holds 999 runs that began in this second: wait a moment")


@contextmanager
def in_use(run_dir: Path) -> Iterator[None]:
    """Holds the folder of a run while it is trained; a lock on the folder itself, which dies with its process.

    Raises `UserError` if there is no such folder, or another training holds it. Where there are no such locks (Windows,
    some network disks) it holds nothing.

    >>> import tempfile
    >>> run_dir = Path(tempfile.mkdtemp())
    >>> with in_use(run_dir), in_use(run_dir):
    ...     pass
    Traceback (most recent call last):
    chainrule.errors.UserError: ... is in progress in another process: wait until it ends, or stop it first
    """
    _require(run_dir)
    with ExitStack() as held:
        try:
            held.enter_context(locked(run_dir, wait=False))
        except BlockingIOError:
            raise UserError(
                f"{run_dir} is in progress in another process: wait until it ends, or stop it first"
            ) from None
        yield


def read_config(run_dir: Path) -> TrainConfig:
    """The config of a run. Raises `UserError` if `run_dir` is not the folder of a run.

    >>> read_config(Path("/no/such/run"))
    Traceback (most recent call last):
    chainrule.errors.UserError: no such run folder: /no/such/run
    """
    _require(run_dir)
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} is not a run folder: it holds no config.yaml")
    return configure({}, file=run_dir / "config.yaml")


def check_unchanged(run_dir: Path, config: TrainConfig, begun_with: dict[str, Any]) -> None:
    """Raises `UserError` if the config that a checkpoint of the run holds is another one.

    >>> check_unchanged(Path("run"), TrainConfig(hidden=20), {"hidden": [10]})
    Traceback (most recent call last):
    chainrule.errors.UserError: run/config.yaml was changed since the run began: put it back, or begin a new run
    """
    if configure(begun_with | {"data_dir": config.data_dir}) != config:
        raise UserError(f"{run_dir / 'config.yaml'} was changed since the run began: put it back, or begin a new run")


def _require(run_dir: Path) -> None:
    if not run_dir.is_dir():
        raise UserError(f"no such run folder: {run_dir}")


def _environment(processes: int) -> dict[str, Any]:
    return environment() | ({"processes": processes} if processes > 1 else {})


def changes_of_environment(run_dir: Path, *, processes: int = 1) -> list[Remark]:
    """A remark if the run began with other versions, elsewhere, or by more or fewer processes: rounding may differ."""
    now = _environment(processes)
    try:
        stored = json.loads((run_dir / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stored = {}
    changed = [key for key in now | stored if stored.get(key) != now.get(key)]
    if not changed:
        return []
    text = (
        f"The run began in another environment ({', '.join(changed)} differ): it goes on, but the last bits may differ."
    )
    return [Remark("environment", text)]


def checkpoint_path(run_dir: Path, kind: str) -> Path:
    """The file of the checkpoint `best` or `last`. Raises `UserError` for another name.

    >>> checkpoint_path(Path("run"), "best").as_posix()
    'run/checkpoints/best.safetensors'
    """
    if kind not in ("best", "last"):
        raise UserError(f"no checkpoint {kind!r}: expected best or last")
    return run_dir / "checkpoints" / f"{kind}.safetensors"
