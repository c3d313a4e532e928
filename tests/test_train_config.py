"""The config: where each setting comes from, what is refused, and that one place describes all of it."""

import pytest
import yaml
from pydantic import ValidationError

from chainrule.errors import UsageError
from chainrule.train import PRESETS, TrainConfig, configure, options


def test_flags_win_over_the_file_the_file_over_the_preset_the_preset_over_the_defaults(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("preset: uva-2018\nlr: 0.5\nbatch-size: 50\n")
    config = configure({"lr": "0.25"}, file=file)
    assert (config.lr, config.batch_size, config.max_steps, config.dropout) == (0.25, 50, 1500, 0.0)


def test_a_length_given_above_replaces_the_other_kind_of_length_below(tmp_path):
    assert configure({"preset": "uva-2018", "epochs": 3}).max_steps is None
    file = tmp_path / "config.yaml"
    file.write_text("max_steps: 10\n")
    config = configure({"epochs": 2, "preset": "uva-2020"}, file=file)
    assert (config.epochs, config.max_steps) == (2, None)


@pytest.mark.parametrize(
    ("spelling", "value", "field", "expected"),
    [
        ("--dnn_hidden_units", "800,600,400", "hidden", (800, 600, 400)),
        ("hidden-units", "7", "hidden", (7,)),
        ("--learning_rate", "2e-3", "lr", 2e-3),
        ("--learn_rate", "1e-4", "lr", 1e-4),
        ("--optim", "sgd", "optimizer", "sgd"),
        ("--optimizer", "adagrad", "optimizer", "adagrad"),
        ("--max_steps", "1500", "max_steps", 1500),
        ("--batch_size", "200", "batch_size", 200),
        ("--eval_freq", "100", "eval_freq", 100),
        ("--data_dir", "./cifar10", "data_dir", "./cifar10"),
        ("-e", "5", "epochs", 5),
    ],
)
def test_the_spellings_of_the_studies(spelling, value, field, expected):
    assert getattr(configure({spelling: value}), field) == expected


def test_a_validation_part_is_counted_or_a_share():
    sizes = [configure({"val_size": text}).val_size for text in ("0", "200", "0.1")]
    assert sizes == [0, 200, 0.1]
    assert [type(size) for size in sizes[1:]] == [int, float]


def test_neg_slope_with_the_activation_it_belongs_to():
    assert configure({"--neg_slope": "0.02", "activation": "leaky_relu"}).negative_slope == 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dnn_hiden_units": "3"}, "unknown setting 'dnn_hiden_units': did you mean 'dnn_hidden_units'?"),
        ({"lr": 1, "learning_rate": 2}, "lr is given twice"),
        ({"epochs": 3, "max_steps": 3}, r"epochs \(3\) and max_steps \(3\)"),
        ({"batch_size": 0}, "batch_size: input should be greater than or equal to 1, got 0"),
        ({"lr": "nan"}, "lr: input should be a finite number"),
        ({"lr": 0}, "lr: .* greater than 0"),
        ({"hidden": "100,x"}, "hidden: .*'x'"),
        ({"hidden": "0"}, "hidden: "),
        ({"optimizer": "sdg"}, "optimizer: .*'sgd'"),
        ({"preset": "uva"}, "preset: .*'uva-2018'"),
        ({"neg_slope": 0.02}, "negative_slope has no effect with activation relu: it belongs to leaky-relu"),
        ({"momentum": 0.9}, "momentum has no effect with optimizer adam"),
        ({"gamma": 0.5, "schedule": "cosine"}, "gamma has no effect with schedule cosine"),
        ({"nesterov": True, "optimizer": "sgd"}, "nesterov needs"),
        ({"clip_norm": 1, "clip_value": 1}, "clip_norm and clip_value"),
        ({"val_size": -1}, "val_size: "),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        configure(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "lr"])
def test_a_file_that_is_not_settings(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        configure({}, file=tmp_path / "config.yaml")
    with pytest.raises(UsageError, match="No such file"):
        configure({}, file=tmp_path / "other.yaml")


def test_defaults_that_depend_on_the_optimizer():
    assert [TrainConfig(optimizer=name).lr for name in ("sgd", "adam", "adagrad")] == [0.1, 1e-3, 1e-2]
    assert TrainConfig(optimizer="adamw").weight_decay == 0.01
    assert TrainConfig(optimizer="adam").weight_decay == 0
    assert TrainConfig(max_steps=5).epochs is None


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_what_is_stored_is_what_was_used(tmp_path, preset):
    config = TrainConfig(preset=preset, hidden=(8, 4), lr=0.125)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert configure({}, file=tmp_path / "config.yaml") == config
    assert list(yaml.safe_load(config.to_yaml())) == list(TrainConfig.model_fields)


def test_the_config_is_frozen_and_knows_no_other_fields():
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().lr = 1.0
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrainConfig(learning=1.0)


def test_the_write_ups_settings():
    uva = TrainConfig(preset="uva-2018")
    assert (uva.dataset, uva.hidden, uva.activation, uva.optimizer) == ("cifar10", (100,), "relu", "sgd")
    assert (uva.lr, uva.max_steps, uva.batch_size, uva.eval_freq, uva.seed) == (2e-3, 1500, 200, 100, 42)
    assert (uva.init, uva.init_std, uva.preprocess, uva.sampler, uva.val_size) == (
        "normal", 1e-4, "mean-image", "wrap", 0,
    )  # fmt: skip
    later = TrainConfig(preset="uva-2020")
    assert (later.lr, later.max_steps, later.batch_size, later.activation) == (1e-3, 1400, 200, "elu")
    vu = TrainConfig(preset="vu-2023")
    assert (vu.dataset, vu.hidden, vu.activation, vu.batch_size) == ("mnist", (300,), "sigmoid", 100)


def test_every_setting_says_what_it_is_and_how_it_is_spelled():
    found = options()
    assert [option.name for option in found] == list(TrainConfig.model_fields)
    spellings = [spelling for option in found for spelling in option.spellings]
    assert len(set(spellings)) == len(spellings)
    for option in found:
        assert option.help.endswith(".")
        assert "\n" not in option.help
        assert option.group in ("data", "model", "optimiser", "run")
        assert option.spellings[0] == "--" + option.name.replace("_", "-")
        for choice in option.choices or ():
            assert getattr(TrainConfig(**{option.name: choice}), option.name) == choice
    assert {option.name for option in found if option.flag} == {"nesterov", "tensorboard"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("preset: [1]", "preset"),
        ("epochs: true", "epochs"),
        ("lr: yes", "lr"),
        ("hidden: true", "hidden"),
        ("val_size: true", "val_size"),
        ("hidden: 3.5", "hidden: input should be a valid integer"),
        ("hidden: '10,,3'", "hidden"),
        ("val_size: '1.0'", "val_size"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(tmp_path, line, named):
    file = tmp_path / "config.yaml"
    file.write_text(line + "\n")
    with pytest.raises(UsageError, match=named):
        configure({}, file=file)


def test_no_hidden_layer_and_a_share_may_still_be_written():
    assert configure({"hidden": "", "val_size": "0.5"}).hidden == ()
    assert configure({"val_size": "0.5"}).val_size == 0.5
    assert configure({"val_size": "1"}).val_size == 1
