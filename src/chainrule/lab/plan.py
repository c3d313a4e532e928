"""What a sweep tries: every combination of a grid, or settings drawn at random, each with the same seeds."""

import hashlib
import itertools
import json
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chainrule.errors import UsageError
from chainrule.train import TrainConfig, configure
from chainrule.train.config import by_field
from chainrule.train.loop import generator

_DRAWS_PER_SETTING = 100  # before a space is held to be exhausted
_LENGTHS = {"epochs", "max_steps"}  # one of them given replaces the other
_DIGITS = 4  # significant ones of a drawn number: more would only be harder to read


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends, drawn evenly, or evenly in their logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float, *, whole: bool) -> float | int:
        """The number at this share of the way; a whole one if asked for.

        >>> Range(1e-4, 1e-2, log=True).at(0.5, whole=False), Range(10, 50).at(0.99, whole=True)
        (0.001, 50)
        """
        low, high = (self.low - 0.5, self.high + 0.5) if whole else (self.low, self.high)
        if self.log:
            low, high = math.log(max(low, 0.5) if whole else low), math.log(high)
        value = low + share * (high - low)
        value = math.exp(value) if self.log else value
        return int(min(max(round(value), self.low), self.high)) if whole else float(f"{value:.{_DIGITS}g}")

    def share(self, value: float) -> float:
        """How far from the low end to the high one a number lies, between 0 and 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        """With all digits of both ends: `read_range` gives the same range again.

        >>> str(Range(0.00123456789, 10, log=True))
        '0.00123456789..10:log'
        """
        low, high = (str(float(end)).removesuffix(".0") for end in (self.low, self.high))
        return f"{low}..{high}" + ":log" * self.log


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run: the values that its setting varies, its seed, and all of it as a config."""

    values: dict[str, Any]
    seed: int
    config: TrainConfig
    key: str  #: the start of the config's hash, `without_folders`: the name of the run's folder


@dataclass(frozen=True)
class Plan:
    """What a sweep is asked to try. Settings have the names and the spellings of `chainrule train`'s options.

    Without `random` every combination of the grid's values is tried. With it, that many settings are drawn: each value
    out of its range or its list. A larger `random` begins with the settings of a smaller one.

    Every setting is run with the same seeds: `seeds` of them, from the setting `seed` on, or from 0. A preset's seed
    has no part in it.

    Raises `UsageError` for an unknown name, a name given twice, and what makes no plan.

    >>> plan = Plan({"dataset": "moons"}, grid={"lr": [0.01, 0.1], "hidden": [4, "8,8"]}, seeds=3)
    >>> len(plan.runs()), plan.runs()[3].values
    (12, {'lr': 0.01, 'hidden': (8, 8)})
    """

    settings: Mapping[str, Any]  #: those that all runs share
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    random: int | None = None
    seeds: int = 1

    def __post_init__(self) -> None:
        for name in ("settings", "grid", "ranges"):
            object.__setattr__(self, name, by_field(getattr(self, name)))
        twice = [
            name for name in self.varied if (name in self.grid) + (name in self.ranges) + (name in self.settings) > 1
        ]
        if twice:
            raise UsageError(f"{twice[0]} is both varied and given: give it once")
        if "seed" in self.varied:
            raise UsageError("seed is not varied like a setting, all settings share the same ones: give --seeds 5")
        if self.seeds < 1:
            raise UsageError(f"seeds is {self.seeds}, expected at least 1")
        if self.random is None and self.ranges:
            raise UsageError(f"{next(iter(self.ranges))} has a range: say how many settings to draw, as in --random 20")
        if self.random is not None and (self.random < 1 or not self.varied):
            raise UsageError(
                f"random is {self.random}: expected at least 1 setting, and a --range or a --grid to draw from"
            )
        empty = [name for name, values in self.grid.items() if not values]
        if empty:
            raise UsageError(f"the grid of {empty[0]} has no value, expected some, as in {empty[0]}=0.01,0.1")

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of the settings that vary, in their order."""
        return tuple(dict.fromkeys([*self.grid, *self.ranges]))

    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run, the seeds of a setting one after the other.

        Raises `UsageError` for a value that is not one of its setting, two equal settings in the grid, settings that
        differ only in the folders of files, and a space with fewer settings than are to be drawn.
        """
        first = configure({"seed": self.settings.get("seed", 0)}).seed
        found: dict[str, list[PlannedRun]] = {}
        for values in self._drawn(first) if self.random else self._combinations():
            setting = [self._run(values, seed) for seed in range(first, first + self.seeds)]
            run, like = setting[0], found.setdefault(setting[0].key, setting)[0]
            if like.config != run.config:
                raise UsageError(
                    f"{described(like.values)} and {described(run.values)} differ only in a folder, by which runs are "
                    "not told apart: give the files different names, or each a sweep with a --sweep-dir of its own"
                )
            if like is not run and not self.random:
                raise UsageError(f"two settings of the grid are the same: {described(run.values)}")
            if len(found) == self.random:
                break
        if self.random and len(found) < self.random:
            raise UsageError(f"random is {self.random}, but only {len(found)} different settings were found")
        return tuple(run for setting in found.values() for run in setting)

    def _combinations(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def _drawn(self, seed: int) -> Iterator[dict[str, Any]]:
        rng = generator(seed, "settings")
        for _ in range(_DRAWS_PER_SETTING * (self.random or 0)):
            shares = dict(zip(sorted(self.varied), rng.random(len(self.varied)), strict=True))
            yield {name: self._at(name, float(shares[name])) for name in self.varied}

    def _at(self, name: str, share: float) -> Any:
        if name in self.ranges:
            return self.ranges[name].at(share, whole=counts(name))
        return self.grid[name][int(share * len(self.grid[name]))]

    def _run(self, values: Mapping[str, Any], seed: int) -> PlannedRun:
        try:
            config = configure({**self.settings, **values, "seed": seed})
        except UsageError as error:
            raise UsageError(f"{error} (in the setting {described(values)})" if values else str(error)) from None
        key = hashlib.sha256(without_folders(config).model_dump_json().encode()).hexdigest()[:12]
        return PlannedRun({name: getattr(config, name) for name in values}, seed, config, key)

    def to_yaml(self) -> str:
        """The plan as YAML, as `read_plan` reads it."""
        config = self.runs()[0].config.model_dump(mode="json")
        written: dict[str, Any] = {name: config[name] for name in self.settings}
        if self.grid:
            written["grid"] = {name: list(values) for name, values in self.grid.items()}
        if self.ranges:
            written["range"] = {name: str(values) for name, values in self.ranges.items()}
        if self.random:
            written["random"] = self.random
        return yaml.safe_dump(written | {"seeds": self.seeds}, sort_keys=False, default_flow_style=None)


def family(runs: Sequence[PlannedRun]) -> str:
    """A name for a sweep: the data set, and a hash of what varies and of all that does not.

    The values that are tried and the number of seeds are no part of it, so that a sweep can be extended. What does not
    vary includes the defaults that all runs share: the learning rate of adam and rmsprop, which sgd has otherwise.

    >>> small = Plan({"dataset": "moons"}, grid={"lr": [0.1]}).runs()
    >>> family(small) == family(Plan({"dataset": "moons"}, grid={"lr": [0.1, 0.2]}, seeds=3).runs())
    True
    """
    varied = sorted(runs[0].values)
    configs = [without_folders(run.config).model_dump(mode="json") for run in runs]
    shared = {
        name: value
        for name, value in configs[0].items()
        if name not in (*varied, "seed") and all(config[name] == value for config in configs)
    }
    digest = hashlib.sha256(json.dumps([varied, shared]).encode()).hexdigest()
    return f"sweep-{Path(runs[0].config.dataset).stem}-{digest[:6]}"


def without_folders(config: TrainConfig) -> TrainConfig:
    """The config without the folders that its files are in, which are no part of a setting: other machines have others.

    >>> found = without_folders(configure({"data_dir": "/data", "pretrained": "/data/weights.pth"}))
    >>> found.data_dir, found.pretrained
    (None, 'weights.pth')
    """
    weights = None if config.pretrained is None else Path(config.pretrained).name
    return config.model_copy(update={"data_dir": None, "pretrained": weights})


def described(values: Mapping[str, Any]) -> str:
    """The values of a setting on one line.

    >>> described({"lr": 0.003, "hidden": (800, 600), "batch_size": 32})
    'lr=0.003 hidden=800,600 batch-size=32'
    """
    typed = [f"{name.replace('_', '-')}={in_short(value)}" for name, value in values.items()]
    return " ".join(typed) or "as given"


def counts(name: str) -> bool:
    """Whether the numbers of a setting are whole ones, or a sequence of them.

    >>> counts("hidden"), counts("lr")
    (True, False)
    """
    annotation = TrainConfig.model_fields[name].annotation
    return float not in (annotation, *typing.get_args(annotation))


def in_short(value: Any) -> str:
    """A value of a setting as it is typed.

    >>> in_short((800, 600)), in_short(1e-4), in_short(True)
    ('800,600', '0.0001', 'true')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def make_plan(
    settings: Mapping[str, Any],
    *,
    file: str | Path | None = None,
    grid: Sequence[str] = (),
    ranges: Sequence[str] = (),
    random: int | None = None,
    seeds: int | None = None,
) -> Plan:
    """The plan of what is given as text, over that of a YAML file: a setting given here is not taken from the file.

    Args:
        settings: those that all runs share.
        file: see `read_plan`.
        grid: names with their values, as in "lr=0.001,0.01"; semicolons between values leave commas to each.
        ranges: names with two ends, as in "lr=1e-4..1e-1:log", "dropout=0..0.5", "hidden=50..500".
        random: see `Plan`; so is `seeds`.

    >>> plan = make_plan({"dataset": "moons"}, grid=["hidden=100;800,600"], ranges=["lr=1e-4..1e-1:log"], random=9)
    >>> plan.grid, plan.ranges["lr"]
    ({'hidden': [100, '800,600']}, Range(low=0.0001, high=0.1, log=True))
    """
    above: dict[str, dict[str, Any]] = {
        "settings": by_field(settings),
        "grid": _named(grid, "lr=0.001,0.01", _listed),
        "ranges": _named(ranges, "lr=1e-4..1e-1:log", read_range),
    }
    below = read_plan(Path(file)) if file is not None else {}
    names = {name for part in above.values() for name in part}
    if names & _LENGTHS:
        names |= _LENGTHS
    parts: dict[str, Any] = {}
    for part, given in above.items():
        kept = {name: value for name, value in by_field(below.get(part, {})).items() if name not in names}
        parts[part] = kept | given
    return Plan(
        **parts,
        random=below.get("random") if random is None else random,
        seeds=below.get("seeds", 1) if seeds is None else seeds,
    )


def _named(texts: Sequence[str], example: str, read: Callable[[str, str], Any]) -> dict[str, Any]:
    """What each "name=text" says, under the fields' names."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, said = (part.strip() for part in text.partition("="))
        if not (name and equals and said):
            raise UsageError(f"{text!r} is not a name and its values, as in {example}")
        [(field_name, value)] = by_field({name: read(name, said)}).items()
        if field_name in found:
            raise UsageError(f"{field_name} is given twice, once as {text!r}: give it once")
        found[field_name] = value
    return found


def _listed(name: str, text: str) -> list[Any]:
    parts = [part.strip() for part in text.split(";" if ";" in text else ",")]
    if "" in parts:
        raise UsageError(f"the grid of {name} is {text!r}, with an empty value")
    return [_number(part) for part in parts]


def read_range(name: str, ends: str) -> Range:
    """The range that "1e-4..1e-1:log" describes; `name` is the setting's, for the error.

    >>> read_range("dropout", "0..0.5")
    Range(low=0.0, high=0.5, log=False)
    """
    expected = "expected two ends, the lower one first, as in 1e-4..1e-1:log or 0..0.5"
    match = re.fullmatch(r"\s*(\S+?)\.\.(\S+?)(:log)?\s*", str(ends))
    try:
        low, high = (float(end) for end in match.groups()[:2]) if match else (math.nan, math.nan)
    except ValueError:
        low = high = math.nan
    if not (match and math.isfinite(high - low) and low < high):
        raise UsageError(f"the range of {name} is {str(ends)!r}: {expected}")
    if match[3] and low <= 0:
        raise UsageError(f"the range of {name} is {str(ends)!r}: a logarithmic one begins above 0")
    return Range(low, high, bool(match[3]))


def read_plan(path: Path) -> dict[str, Any]:
    """The arguments of a `Plan` out of a YAML file.

    Its keys are settings, and `grid` (a list of values for each name), `range` (such as 1e-4..1e-1:log), `random`,
    `seeds`.

    Raises `UsageError` if the file cannot be read or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the sweep file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the sweep file {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UsageError(f"the sweep file {path} holds no lines such as `grid:` and `  lr: [0.01, 0.1]`")
    grid, ranges = (_part(path, content, key) for key in ("grid", "range"))
    plan: dict[str, Any] = {
        "grid": {name: values if isinstance(values, list) else [values] for name, values in grid.items()},
        "ranges": {name: read_range(name, ends) for name, ends in ranges.items()},
    }
    for key in ("random", "seeds"):
        count = content.pop(key, None)
        if isinstance(count, int) and not isinstance(count, bool):
            plan[key] = count
        elif count is not None:
            raise UsageError(f"{key} in {path} is {count!r}, expected a whole number")
    return plan | {"settings": content}


def _part(path: Path, content: dict[str, Any], key: str) -> dict[str, Any]:
    part = content.pop(key, None) or {}
    if not isinstance(part, dict):
        raise UsageError(f"{key} in {path} is {part!r}, expected a name and values a line, such as `lr: [0.01, 0.1]`")
    return part


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
