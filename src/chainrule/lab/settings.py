"""Finished runs, read from their folders and grouped by setting: the config without the seed."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule.errors import UserError
from chainrule.lab.jobs import error_of
from chainrule.lab.plan import in_short, without_folders
from chainrule.train import checkpoint
from chainrule.train.config import TrainConfig, idle
from chainrule.train.folder import check_unchanged, checkpoint_path, read_config
from chainrule.train.metrics import read_csv

# What a run is started from, where its files are, what else it writes: no part of a setting.
BESIDES = ("seed", "preset", "data_dir", "tensorboard", "checkpoint_every")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class FinishedRun:
    """A run to its end: what was set, what came of it, every evaluation."""

    path: Path
    config: TrainConfig
    data: str  #: name of the data set
    weights: int | None  #: numbers in the network's state; None where the checkpoint is gone
    result: dict[str, Any]  #: result.json
    evaluations: list[dict[str, float | None]]  #: metrics.csv
    environment: dict[str, Any]

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.config.seed


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run that is not counted, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seeds, by seed."""

    values: dict[str, Any]  #: what other settings on the same data have otherwise
    config: TrainConfig  #: of the first run
    runs: tuple[FinishedRun, ...]
    unfinished: tuple[int, ...]  #: seeds of its runs without a result

    @property
    def label(self) -> str:
        """The values on one line, or the network where nothing varies; a word needs no name before it."""
        words = [
            value if isinstance(value, str) else f"{name.replace('_', ' ')} {written(value)}"
            for name, value in self.values.items()
            if value != ""
        ]
        return ", ".join(words) or self.config.model

    def figures(self, name: str) -> dict[int, float]:
        """One of the figures of result.json, by seed, of the runs that have it."""
        return {run.seed: run.result[name] for run in self.runs if run.result.get(name) is not None}


def written(value: Any) -> str:
    """A value for readers: as it is typed, but for three or more layers of one width, and for a list without anything.

    >>> written([500, 500, 500]), written([300, 100]), written([]), written(0.0001)
    ('3 x 500', '300,100', 'none', '0.0001')
    """
    if value == []:
        return "none"
    if isinstance(value, list) and len(value) > 2 and len(set(value)) == 1:
        return f"{len(value)} x {value[0]}"
    return in_short(value)


def find(paths: Sequence[str | Path]) -> list[Path]:
    """The run folders among `paths` and below them, each once.

    Raises `UserError` if one of the paths is not there, or there is none.

    >>> find(["/no/such/folder"])
    Traceback (most recent call last):
    chainrule.errors.UserError: no such folder: /no/such/folder
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"no such folder: {path}")
        below = list(_below(path))
        if not below:
            raise UserError(
                f"there is no run in {path}: expected the folder of a run (it holds config.yaml), or of runs"
            )
        found.update((run.resolve(), run) for run in below)
    return list(found.values())


def _below(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        if "config.yaml" in files:
            names.clear()
            yield Path(folder)
        if "sweep.yaml" in files and "logs" in names:  # damaged runs are set aside there
            names.remove("logs")
        names.sort()


def read(paths: Sequence[Path]) -> tuple[list[FinishedRun], list[LeftOut], list[TrainConfig]]:
    """The finished ones of these run folders, the others with the reason why they do not count, and their configs.

    Of runs of one setting with one seed the first counts: a repeated run is no second piece of evidence.
    """
    finished, left_out, unfinished = [], [], []
    seen: dict[tuple[str, int], Path] = {}
    for path in paths:
        try:
            config = read_config(path)
            facts, weights = _saved(checkpoint_path(path, "best"))
            if "config" in facts:
                check_unchanged(path, config, facts["config"])
        except UserError as error:
            left_out.append(LeftOut(str(path), str(error)))
            continue
        try:
            run = _read(path, config, facts.get("data", {}).get("name", config.dataset), weights)
        except UserError as error:
            left_out.append(LeftOut(str(path), str(error)))
            unfinished.append(config)
            continue
        key = (_key(run), run.seed)
        if key in seen:
            left_out.append(LeftOut(str(path), f"setting and seed are those of {seen[key]}: it is no new evidence"))
            continue
        seen[key] = path
        finished.append(run)
    return finished, left_out, unfinished


def group(runs: Sequence[FinishedRun], unfinished: Sequence[TrainConfig] = ()) -> dict[str, list[Setting]]:
    """The settings on each data set, in the order of the runs; each knows which of its runs have no result.

    >>> group([])
    {}
    """
    by_data: dict[str, dict[str, list[FinishedRun]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_data[run.data][_key(run)].append(run)
    return {data: _settings(list(found.values()), unfinished) for data, found in by_data.items()}


def common(settings: Sequence[Setting]) -> dict[str, Any]:
    """What all the settings have alike, where it is not the default."""
    default = TrainConfig().model_dump(mode="json")
    first = _kept(settings[0].config)
    names = [name for name in first if name != "dataset" and name not in settings[0].values]
    always = ("model", "optimizer", "lr")
    return {name: first[name] for name in names if first[name] not in ("", default[name]) or name in always}


def letter(position: int) -> str:
    """The short name of a setting: A to Z, then AA, AB ...

    >>> letter(0), letter(25), letter(26)
    ('A', 'Z', 'AA')
    """
    if position < len(LETTERS):
        return LETTERS[position]
    return letter(position // len(LETTERS) - 1) + LETTERS[position % len(LETTERS)]


def _settings(groups: list[list[FinishedRun]], unfinished: Sequence[TrainConfig]) -> list[Setting]:
    configs = [_kept(runs[0].config) for runs in groups]
    others = [(_kept(config), config.seed) for config in unfinished]
    varied = [name for name in configs[0] if len({str(config[name]) for config in configs}) > 1]
    values = [{name: config[name] for name in varied} for config in configs]
    if any(values.count(each) > 1 for each in values):  # networks of the user's own, of which a config knows nothing
        values = [each | {"weights": runs[0].weights} for each, runs in zip(values, groups, strict=True)]
    return [
        Setting(
            each,
            runs[0].config,
            tuple(sorted(runs, key=lambda run: run.seed)),
            tuple(sorted({seed for kept, seed in others if kept == config} - {run.seed for run in runs})),
        )
        for each, config, runs in zip(values, configs, groups, strict=True)
    ]


def _kept(config: TrainConfig) -> dict[str, Any]:
    stored = without_folders(config).model_dump(mode="json")
    kept = {name: value for name, value in stored.items() if name not in BESIDES}
    return kept | dict.fromkeys(idle(kept), "")


def _key(run: FinishedRun) -> str:
    return json.dumps([run.data, run.weights, _kept(run.config)])


def _read(path: Path, config: TrainConfig, data: str, weights: int | None) -> FinishedRun:
    try:
        result = json.loads((path / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        if failure := error_of(path.parent / "logs" / path.name):  # as a sweep leaves it
            raise UserError(f"it failed: {failure}") from None
        raise UserError(f"it is not finished: chainrule train --resume {path}") from None
    except ValueError as error:
        raise UserError(f"its result.json cannot be read: {error}") from None
    if not isinstance(result, dict):
        raise UserError("its result.json holds no figures")
    try:
        environment = json.loads((path / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        environment = {}
    return FinishedRun(path, config, data, weights, result, read_csv(path / "metrics.csv"), environment)


def _saved(path: Path) -> tuple[dict[str, Any], int | None]:
    """What a checkpoint says of its run, and the size of the network's state; nothing where it cannot be read."""
    try:
        saved = checkpoint.header(path)
    except UserError:
        return {}, None
    return saved.facts, sum(math.prod(shape) for name, shape in saved.shapes.items() if name.startswith("model."))
