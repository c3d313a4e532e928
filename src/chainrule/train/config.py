"""One frozen description of a training run: its fields are the command's options, the YAML keys, the stored config."""

import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from chainrule.data import AUGMENTATIONS, PREPROCESSING
from chainrule.errors import UsageError
from chainrule.models import ACTIVATIONS, INITIALISERS
from chainrule.models import NAMES as MODELS
from chainrule.train.presets import PRESETS, preset

DEFAULT_LR = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3, "adagrad": 1e-2}
DEFAULT_EPOCHS = 30

# Settings that only some choices of another setting heed. Given with the others they would silently do nothing.
_BELONGS_TO = {
    "negative_slope": ("activation", ("leaky-relu",)),
    "init_std": ("init", ("normal",)),
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "step_size": ("schedule", ("step",)),
    "gamma": ("schedule", ("step", "plateau")),
    "plateau_patience": ("schedule", ("plateau",)),
    "hidden": ("model", ("mlp",)),
    "activation": ("model", ("mlp",)),
    "dropout": ("model", ("mlp",)),
}


def _setting(
    group: str, default: Any, description: str, *spellings: str, positional: bool = False, **limits: Any
) -> Any:
    """A field with its one-line description, its group, and its further spellings on the command line."""
    extra: dict[str, Any] = {"group": group, "spellings": list(spellings), "positional": positional}
    return Field(default, description=description, json_schema_extra=extra, **limits)


def _widths(value: object) -> object:
    """The widths of the hidden layers: "800,600,400", 100, or a sequence of numbers; "" is no hidden layer."""
    if isinstance(value, str):
        return value.split(",") if value.strip() else []
    return [value] if isinstance(value, int | float) else value


def _names(value: object) -> object:
    """Several names: "crop,flip", or a sequence of them; "" is none."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_widths)]


class TrainConfig(BaseModel):
    """Everything that decides how a run goes; what is left out is filled in when it is made, and stored.

    `preset` puts the settings of a study underneath the ones given. `lr`, `weight_decay` and `epochs` have defaults
    that depend on other fields; they are resolved here, so that a stored config says what was used.

    Raises pydantic's `ValidationError`; `configure` turns it into one line.

    >>> config = TrainConfig(dataset="mnist", hidden="800,600,400", optimizer="sgd")
    >>> config.hidden, config.lr, config.epochs
    ((800, 600, 400), 0.1, 30)
    >>> TrainConfig(preset="uva-2018", lr=0.01).max_steps
    1500
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    preset: Literal[tuple(PRESETS)] | None = _setting(  # type: ignore[valid-type]
        "run", None, "Start from the settings of a study; whatever else is given wins over them."
    )

    dataset: str = _setting(
        "data",
        "digits",
        "Name of a data set, a folder of class-named image folders, or an .npz file.",
        "-D",
        positional=True,
    )
    data_dir: str | None = _setting(
        "data", None, "Folder that holds the data files (else CHAINRULE_DATA, else a download)."
    )
    val_size: int | float | None = _setting(
        "data",
        None,
        "Samples (or share) of the training set kept for validation; 0: none (default: the data set's).",
        ge=0,
    )
    preprocess: Literal[PREPROCESSING] | None = _setting(  # type: ignore[valid-type]
        "data", None, "How inputs are scaled and centred (default: the data set's)."
    )
    image_size: int | None = _setting("data", None, "Side, in pixels, to which images are resized.", ge=1)
    augment: Names = _setting(
        "data",
        (),
        f"Random changes of the training images, as in crop,flip; of {', '.join(AUGMENTATIONS)} (default: none).",
    )
    crop_padding: int = _setting("data", 4, "Zeros around an image, in pixels, before crop cuts out its size.", ge=1)
    sampler: Literal["epoch", "wrap"] = _setting(
        "data", "epoch", "Whether the last, smaller batch of an epoch is used, or dropped and all reshuffled."
    )
    batch_size: int = _setting("data", 32, "Samples per step.", "-b", ge=1)

    model: Literal[MODELS] = _setting("model", "mlp", "Name of the network.")  # type: ignore[valid-type]
    hidden: Widths = _setting(
        "model", (100,), "Widths of the hidden layers, as in 800,600,400.", "--hidden-units", "--dnn-hidden-units"
    )
    activation: Literal[tuple(ACTIVATIONS)] = _setting(  # type: ignore[valid-type]
        "model", "relu", "What follows each hidden layer."
    )
    negative_slope: float = _setting("model", 0.01, "Slope of leaky-relu for negative inputs.", "--neg-slope")
    dropout: float = _setting("model", 0.0, "Probability that a hidden unit is dropped in training.", ge=0, lt=1)
    init: Literal[("pytorch", *INITIALISERS)] = _setting(  # type: ignore[valid-type]
        "model", "pytorch", "Distribution of the initial weights."
    )
    init_std: float = _setting("model", 1e-4, "Standard deviation of the normal initialisation.", gt=0)
    dtype: Literal["float32", "float64"] = _setting("model", "float32", "Precision of the parameters and the inputs.")
    pretrained: str | None = _setting(
        "model", None, "File of weights to start from, .safetensors or .pth; the classification layer stays new."
    )
    freeze: Names = _setting(
        "model", (), "Patterns of parameters' names that are not trained, as in 'features.*' (default: none)."
    )

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad"] = _setting(
        "optimiser", "adam", "Rule that updates the parameters.", "--optim"
    )
    lr: float = _setting(
        "optimiser",
        None,
        "Learning rate (default: 0.1 for sgd, 0.01 for adagrad, 0.001 for the others).",
        "--learning-rate",
        "--learn-rate",
        "-l",
        gt=0,
    )
    momentum: float = _setting("optimiser", 0.0, "Momentum of sgd and rmsprop.", ge=0, lt=1)
    nesterov: bool = _setting("optimiser", False, "Nesterov's form of sgd's momentum.")
    weight_decay: float = _setting("optimiser", None, "Weight decay (default: 0.01 for adamw, else 0).", ge=0)
    schedule: Literal["constant", "step", "cosine", "plateau"] = _setting(
        "optimiser", "constant", "How the learning rate changes over the run."
    )
    step_size: int | None = _setting(
        "optimiser", None, "Steps between two cuts of the step schedule (default: a third of the run).", ge=1
    )
    gamma: float = _setting("optimiser", 0.1, "Factor of each cut of the step and plateau schedules.", gt=0, lt=1)
    plateau_patience: int = _setting(
        "optimiser", 5, "Evaluations without improvement that the plateau schedule waits before a cut.", ge=0
    )
    warmup_steps: int = _setting("optimiser", 0, "Steps over which the learning rate rises to its full size.", ge=0)
    clip_norm: float | None = _setting("optimiser", None, "Largest norm of all gradients together.", gt=0)
    clip_value: float | None = _setting("optimiser", None, "Largest absolute value of any gradient's entry.", gt=0)

    max_steps: int | None = _setting("run", None, "Length of the run in steps, in place of epochs.", ge=1)
    epochs: int | None = _setting(
        "run", None, "Length of the run in passes over the training set (default: 30).", "-e", ge=1
    )
    eval_freq: int | None = _setting("run", None, "Steps between evaluations (default: one epoch).", ge=1)
    eval_train: int | None = _setting(
        "run", None, "Training samples, drawn once, that evaluations measure (default: all of them).", ge=1
    )
    checkpoint_every: int | None = _setting(
        "run", None, "Steps between checkpoints (default: at each evaluation).", ge=1
    )
    patience: int | None = _setting(
        "run", None, "Stop after this many evaluations without improvement (default: never).", ge=1
    )
    seed: int = _setting("run", 0, "Seed of every random choice: split, initial weights, batches, dropout.", ge=0)
    engine: Literal["tape", "layers", "torch"] = _setting(
        "run", "tape", "What computes a step: the tape, explicit backprop layer by layer, or PyTorch (torch extra)."
    )
    backend: Literal["cpu", "numpy"] = _setting(
        "run", "cpu", "Whose loops compute the ops: compiled kernels (float32 only), or NumPy, as in the rules."
    )
    tensorboard: bool = _setting("run", False, "Write TensorBoard files too (needs the tensorboard extra).")

    @model_validator(mode="before")
    @classmethod
    def _preset_underneath(cls, settings: Any) -> Any:
        name = settings.get("preset") if isinstance(settings, Mapping) else None
        if not isinstance(name, str) or name not in PRESETS:
            return settings
        return overlay(preset(name, settings.get("model")), settings)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("true and false are no value of this setting")
        return value

    @field_validator("val_size", mode="before")
    @classmethod
    def _a_point_makes_a_share(cls, size: Any) -> Any:
        size = float(size) if isinstance(size, str) and re.fullmatch(r"\d*\.\d*", size) and size != "." else size
        if isinstance(size, float) and size >= 1:
            raise ValueError("a share is below 1; a number of samples has no point")
        return size

    @field_validator("preprocess", "activation", "init", mode="before")
    @classmethod
    def _hyphens_and_underscores_alike(cls, choice: Any) -> Any:
        return choice.replace("_", "-") if isinstance(choice, str) else choice

    @field_validator("lr", mode="before")
    @classmethod
    def _lr_of_the_optimizer(cls, lr: Any, info: Any) -> Any:
        return DEFAULT_LR.get(info.data.get("optimizer"), 1e-3) if lr is None else lr

    @field_validator("weight_decay", mode="before")
    @classmethod
    def _weight_decay_of_the_optimizer(cls, weight_decay: Any, info: Any) -> Any:
        default = 1e-2 if info.data.get("optimizer") == "adamw" else 0.0
        return default if weight_decay is None else weight_decay

    @field_validator("epochs", mode="before")
    @classmethod
    def _epochs_unless_steps(cls, epochs: Any, info: Any) -> Any:
        return DEFAULT_EPOCHS if epochs is None and info.data.get("max_steps") is None else epochs

    @model_validator(mode="after")
    def _settings_that_go_together(self) -> "TrainConfig":
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError(f"epochs ({self.epochs}) and max_steps ({self.max_steps}) both give the length: give one")
        for name, (owner, choices) in _BELONGS_TO.items():
            if getattr(self, name) != type(self).model_fields[name].default and getattr(self, owner) not in choices:
                needed = " or ".join(choices)
                raise ValueError(f"{name} has no effect with {owner} {getattr(self, owner)}: it belongs to {needed}")
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise ValueError(f"augment: unknown {name!r}, expected some of {', '.join(AUGMENTATIONS)}")
        if self.crop_padding != type(self).model_fields["crop_padding"].default and "crop" not in self.augment:
            raise ValueError("crop_padding has no effect without the augmentation crop: give --augment crop")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            raise ValueError("nesterov needs sgd with a momentum above 0: give --optimizer sgd --momentum 0.9")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value are two ways to clip: give one")
        return self

    def to_yaml(self) -> str:
        """The config as YAML, one key a line: what `configure(file=...)` reads.

        >>> TrainConfig().to_yaml().splitlines()[1]
        'dataset: digits'
        """
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, default_flow_style=None)


def idle(settings: Mapping[str, Any]) -> set[str]:
    """The names of those settings that have no effect beside the others, such as the momentum of an optimizer without.

    >>> sorted(idle(TrainConfig(optimizer="adam", model="convnet-vu").model_dump()))[:4]
    ['activation', 'dropout', 'gamma', 'hidden']
    """
    return {name for name, (owner, choices) in _BELONGS_TO.items() if settings[owner] not in choices}


@dataclass(frozen=True, slots=True)
class Option:
    """One field of `TrainConfig` as a command-line library wants it."""

    name: str
    spellings: tuple[str, ...]  #: the option's names, hyphenated, the field's own first
    group: str  #: data, model, optimiser or run
    help: str
    choices: tuple[str, ...] | None
    flag: bool  #: true or false, takes no value
    positional: bool  #: may also be given without a name
    default: Any  #: None where it depends on other settings; `help` says how


def options() -> tuple[Option, ...]:
    """Every setting with its spellings, group, help and choices, in the order of the fields.

    >>> next(option for option in options() if option.name == "hidden").spellings
    ('--hidden', '--hidden-units', '--dnn-hidden-units')
    """
    found = []
    for name, field in TrainConfig.model_fields.items():
        extra = typing.cast(dict[str, Any], field.json_schema_extra)
        found.append(
            Option(
                name=name,
                spellings=("--" + name.replace("_", "-"), *extra["spellings"]),
                group=extra["group"],
                help=field.description or "",
                choices=_choices(field.annotation),
                flag=field.annotation is bool,
                positional=extra["positional"],
                default=field.default,
            )
        )
    return tuple(found)


def _choices(annotation: Any) -> tuple[str, ...] | None:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((_choices(part) for part in typing.get_args(annotation) if _choices(part)), None)
    return typing.get_args(annotation) if typing.get_origin(annotation) is Literal else None


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`; a length given above (epochs or max_steps) also replaces the other one below.

    >>> overlay({"max_steps": 1500, "lr": 0.1}, {"epochs": 3})
    {'lr': 0.1, 'epochs': 3}
    """
    below = dict(below)
    if above.get("epochs") is not None or above.get("max_steps") is not None:
        below.pop("epochs", None)
        below.pop("max_steps", None)
    return below | dict(above)


def configure(settings: Mapping[str, Any], *, file: str | Path | None = None) -> TrainConfig:
    """The config of the given settings over those of a YAML file over the preset's (named by either) over the defaults.

    Keys are field names or any of their command-line spellings, with hyphens or underscores.

    Raises `UsageError`, one line that names the setting, what was found and what was expected.

    >>> configure({"learning-rate": 0.5, "preset": "vu-2023"}).lr
    0.5
    >>> configure({"batchsize": 0})
    Traceback (most recent call last):
    chainrule.errors.UsageError: unknown setting 'batchsize': did you mean 'batch_size'?
    """
    stored = _read_yaml(Path(file)) if file is not None else {}
    try:
        return TrainConfig(**overlay(by_field(stored), by_field(settings)))
    except ValidationError as error:
        raise UsageError("; ".join(_in_words(problem) for problem in error.errors())) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the config file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"the config file {path} holds a {type(content).__name__}, expected lines such as `lr: 0.01`")
    return content


def by_field(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under the names of the config's fields. An unknown one is a `UsageError` that names the nearest.

    >>> by_field({"--learning-rate": 0.1})
    {'lr': 0.1}
    >>> by_field({"hiden": 3})
    Traceback (most recent call last):
    chainrule.errors.UsageError: unknown setting 'hiden': did you mean 'hidden'?
    """
    field_of = {
        spelling.lstrip("-").replace("-", "_"): option.name for option in options() for spelling in option.spellings
    }
    found: dict[str, Any] = {}
    for key, value in settings.items():
        spelling = str(key).lstrip("-").replace("-", "_")
        if spelling not in field_of:
            near = difflib.get_close_matches(spelling, field_of, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(TrainConfig.model_fields)}"
            raise UsageError(f"unknown setting {key!r}: {hint}")
        if field_of[spelling] in found:
            raise UsageError(f"{field_of[spelling]} is given twice, once as {key!r}: give it once")
        found[field_of[spelling]] = value
    return found


def _in_words(problem: Any) -> str:
    """One of pydantic's errors as "batch_size: input should be greater than or equal to 1, got 0"."""
    if problem["type"] == "value_error" and not problem["loc"]:
        return str(problem["ctx"]["error"])
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{problem['loc'][0]}: {message}, got {problem['input']!r}"
