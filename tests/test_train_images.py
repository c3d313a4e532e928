"""Conv nets in the training loop: augmentation, evaluation on a sample, the studies' presets."""

import signal

import numpy as np
import pytest
from pydantic import ValidationError

from chainrule import data, nn
from chainrule.errors import UsageError
from chainrule.train import TrainConfig, configure, evaluate, events, fit, predict, resume, run

IMAGES = {
    "dataset": "digits",
    "image_size": 16,
    "model": "convnet-vu",
    "augment": "crop,flip",
    "crop_padding": 2,
    "max_steps": 12,
    "eval_freq": 4,
    "checkpoint_every": 3,
    "eval_train": 100,
}


def losses(run_dir, **changes):
    heard = []
    run(TrainConfig(**IMAGES | changes), run_dir=run_dir, listeners=[heard.append])
    return [event.loss for event in heard if isinstance(event, events.StepDone)]


def test_an_augmented_run_resumes_bit_for_bit(tmp_path):
    config = TrainConfig(**IMAGES)
    run(config, run_dir=tmp_path / "whole")

    def stop(event):
        if isinstance(event, events.StepDone) and event.step == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(config, run_dir=tmp_path / "parts", listeners=[stop])
    resume(tmp_path / "parts")
    for name in ("metrics.csv", "steps.csv", "checkpoints/best.safetensors", "checkpoints/last.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


def test_augmentation_changes_the_batches_by_the_seed_and_nothing_else(tmp_path):
    augmented = losses(tmp_path / "a")
    assert losses(tmp_path / "b") == augmented
    plain = losses(tmp_path / "c", augment="", crop_padding=4)
    flipped = losses(tmp_path / "d", augment="flip", crop_padding=4)
    assert len({augmented[0], plain[0], flipped[0]}) == 3  # step 1: the same weights, other images
    # Nothing is augmented when it is measured: the same weights before step 1 give the same figures.
    first = [(tmp_path / name / "metrics.csv").read_text().splitlines()[1] for name in "acd"]
    assert len(set(first)) == 1


def test_evaluations_measure_the_sample_and_the_end_measures_the_whole_test_part(tmp_path):
    heard = []
    result = run(TrainConfig(**IMAGES), run_dir=tmp_path / "run", listeners=[heard.append])
    measured = [event.train for event in heard if isinstance(event, events.Evaluated)]
    assert len(measured) == 4
    assert all((100 * measure.accuracy).is_integer() for measure in measured)  # of 100 images
    assert evaluate(tmp_path / "run").samples == 300
    assert evaluate(tmp_path / "run").accuracy == result.test_accuracy
    whole = run(TrainConfig(**IMAGES | {"eval_train": None}), run_dir=tmp_path / "whole")
    assert whole.train_accuracy * 1297 == pytest.approx(round(whole.train_accuracy * 1297))
    again = run(TrainConfig(**IMAGES | {"eval_train": 10**6}), run_dir=tmp_path / "again")
    assert again.train_loss == whole.train_loss


def test_a_conv_net_learns_and_predicts(tmp_path):
    changes = {"augment": "", "crop_padding": 4, "max_steps": 120, "eval_freq": 60, "batch_size": 64, "lr": 3e-3}
    result = run(TrainConfig(**IMAGES | changes), run_dir=tmp_path / "run")
    assert result.test_accuracy > 0.8
    images = data.load("digits", image_size=16, preprocess="none").test
    found = predict(tmp_path / "run", images.x[:50])
    assert np.mean([int(p.label) == y for p, y in zip(found, images.y, strict=False)]) > 0.7


def test_what_cannot_be_augmented_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(UsageError, match="augment flip changes images"):
        run(TrainConfig(dataset="moons", augment="flip"), run_dir=tmp_path / "run")
    assert not list(tmp_path.iterdir())
    for wrong in ({"augment": "rotate"}, {"crop_padding": 3}, {"augment": "flip", "crop_padding": 3}):
        with pytest.raises(ValidationError):
            TrainConfig(**wrong)


@pytest.mark.parametrize("engine", ["tape", "torch"])
def test_a_last_batch_of_one_that_batch_norm_refuses_is_named(tmp_path, engine):
    # 1,297 images in batches of 48 leave one.
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    config = TrainConfig(batch_size=48, epochs=1, engine=engine)
    with pytest.raises(UsageError, match=r"step 28 has a batch of one example.*more than 1 value.*--sampler wrap"):
        fit(model, data.load("digits"), config, run_dir=tmp_path / "run")
    fit(model, data.load("digits"), TrainConfig(batch_size=48, epochs=1, sampler="wrap"), run_dir=tmp_path / "wrap")


@pytest.mark.parametrize(
    ("study", "model", "expected"),
    [
        ("uva-2018", "convnet-uva-2018", {"optimizer": "adam", "lr": 1e-4, "batch_size": 32, "max_steps": 5000}),
        ("uva-2020", "convnet-uva-2020", {"preprocess": "mean-image", "val_size": 0, "eval_freq": 500}),
        ("vu-2021", "convnet-vu", {"preprocess": "centred", "batch_size": 50, "lr": 1e-3, "epochs": 10}),
        ("uva-2018", "mlp", {"optimizer": "sgd", "lr": 2e-3, "hidden": (100,), "init": "normal"}),
    ],
)
def test_a_study_has_a_preset_for_each_of_its_networks(study, model, expected):
    config = configure({"preset": study, "model": model})
    assert {name: getattr(config, name) for name in expected} == expected
    assert configure({"preset": study, "model": model, "lr": 0.5}).lr == 0.5


def test_a_preset_for_another_network_and_a_setting_of_another_network_are_refused():
    with pytest.raises(UsageError, match="uva-2018 has no settings for resnet18, only for mlp, convnet-uva-2018"):
        configure({"preset": "uva-2018", "model": "resnet18"})
    with pytest.raises(UsageError, match="hidden has no effect with model convnet-vu"):
        configure({"model": "convnet-vu", "hidden": "50"})
