"""Training: the loop against PyTorch's, what is chosen and measured, the events, the folder, the remarks."""

import csv
import dataclasses
import json
import math
import signal

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from chainrule import nn, ops
from chainrule.data import Dataset, Preprocess, Samples, load
from chainrule.errors import UsageError, UserError
from chainrule.train import TrainConfig, checkpoint, evaluate, events, fit, load_run, predict, resume, run
from chainrule.train.evaluation import activation_units


def blobs(n_train=30, n_validation=12, n_test=9, *, d=5, classes=3, seed=0):
    """A small data set: one cloud of points for each class, near enough to each other to overlap."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, d))

    def part(n):
        y = np.arange(n) % classes
        return Samples((centres[y] + rng.normal(size=(n, d))).astype(np.float32), y)

    names = tuple("abcdefgh"[:classes])
    validation = part(n_validation) if n_validation else None
    return Dataset("blobs", part(n_train), validation, part(n_test), names, Preprocess("none", (d,)))


def small_mlp(d=5, classes=3, *, dropout=0.0, activation=nn.ReLU, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    middle = [nn.Dropout(dropout, rng=rng)] if dropout else []
    return nn.Sequential(
        nn.Linear(d, 7, rng=rng, dtype=dtype), activation(), *middle, nn.Linear(7, classes, rng=rng, dtype=dtype)
    )


# the loop


@pytest.mark.parametrize(
    ("settings", "optimizer", "schedule"),
    [
        ({"optimizer": "sgd", "lr": 0.2, "momentum": 0.9, "nesterov": True}, "SGD", None),
        ({"optimizer": "adamw", "lr": 0.01, "schedule": "cosine"}, "AdamW", "cosine"),
        ({"optimizer": "sgd", "lr": 0.3, "schedule": "step", "step_size": 7, "gamma": 0.5}, "SGD", "step"),
        ({"optimizer": "rmsprop", "lr": 0.01, "clip_norm": 0.05, "weight_decay": 0.1}, "RMSprop", None),
        ({"optimizer": "sgd", "lr": 0.2, "clip_value": 0.01}, "SGD", None),
    ],
)
def test_a_run_is_the_loop_one_would_write_in_pytorch(tmp_path, settings, optimizer, schedule):
    # Every batch is the whole training part, so that the order of the samples does not matter.
    data, model = blobs(n_validation=0), small_mlp(dtype="float64")
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3)).double()
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in model.state_dict().items()})
    names = {"lr": "lr", "momentum": "momentum", "nesterov": "nesterov", "weight_decay": "weight_decay"}
    arguments = {theirs: settings[ours] for ours, theirs in names.items() if ours in settings}
    update = getattr(torch.optim, optimizer)(theirs.parameters(), **arguments)
    rate = {
        None: lambda: torch.optim.lr_scheduler.ConstantLR(update, factor=1.0),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(update, T_max=20),
        "step": lambda: torch.optim.lr_scheduler.StepLR(update, step_size=7, gamma=0.5),
    }[schedule]()
    x, y = torch.from_numpy(data.train.x).double(), torch.from_numpy(data.train.y)
    losses = []
    for _ in range(20):
        update.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(x), y)
        loss.backward()
        if "clip_norm" in settings:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), settings["clip_norm"])
        if "clip_value" in settings:
            torch.nn.utils.clip_grad_value_(theirs.parameters(), settings["clip_value"])
        update.step()
        rate.step()
        losses.append(loss.item())

    heard = []
    config = TrainConfig(batch_size=30, max_steps=20, dtype="float64", **settings)
    fit(model, data, config, run_dir=tmp_path, listeners=[heard.append])
    ours = [event.loss for event in heard if isinstance(event, events.StepDone)]
    np.testing.assert_allclose(ours, losses, rtol=1e-9)
    last = load_run(tmp_path, checkpoint="last", model=model).model.state_dict()
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(last[name], value.numpy(), rtol=1e-8, atol=1e-12)


def test_what_is_measured_is_what_scikit_learn_measures(tmp_path):
    result = run(TrainConfig(hidden=16, epochs=3, dropout=0.4, seed=3), run_dir=tmp_path)
    data = load("digits", seed=3)
    model = load_run(tmp_path).model
    for part, loss, accuracy in (
        (data.train, result.train_loss, result.train_accuracy),
        (data.validation, result.val_loss, result.val_accuracy),
        (data.test, result.test_loss, result.test_accuracy),
    ):
        probabilities = ops.softmax(model.forward(part.x).astype(np.float64))
        assert accuracy == accuracy_score(part.y, probabilities.argmax(1))
        assert loss == pytest.approx(log_loss(part.y, probabilities, labels=range(10)), rel=1e-5)
    counted = confusion_matrix(data.test.y, model.forward(data.test.x).argmax(1))
    assert evaluate(tmp_path).confusion == tuple(map(tuple, counted.tolist()))


def test_the_events_come_in_order_and_tell_the_numbers_in_the_files(tmp_path):
    heard = []
    config = TrainConfig(batch_size=7, epochs=2, eval_freq=4, hidden=3)
    result = fit(small_mlp(), blobs(), config, run_dir=tmp_path, listeners=[heard.append])
    kinds = [type(event).__name__ for event in heard if not isinstance(event, events.Remark)]
    assert kinds[0] == "Started"
    assert kinds[-1] == "Finished"
    assert heard[0].steps_per_epoch == 5  # 30 samples in batches of 7
    steps = [event for event in heard if isinstance(event, events.StepDone)]
    assert [(event.step, event.epoch) for event in steps] == [(i, 1 if i <= 5 else 2) for i in range(1, 11)]
    evaluated = [event for event in heard if isinstance(event, events.Evaluated)]
    assert [event.step for event in evaluated] == [0, 4, 8, 10]
    for event in evaluated:
        after = heard[heard.index(event) + 1 :][: 1 + event.best]
        assert [(saved.step, saved.kind) for saved in after] == [(event.step, "best")] * event.best + [
            (event.step, "last")
        ]
    with open(tmp_path / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [event.validation.loss for event in evaluated]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["train_accuracy"] for line in lines] == [event.train.accuracy for event in evaluated]
    with open(tmp_path / "steps.csv") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [event.loss for event in steps]
    assert heard[-1].result == result


def test_dropout_drops_in_steps_and_not_in_evaluations(tmp_path):
    modes, model = set(), small_mlp(dropout=0.5)

    def see(module, inputs, output):
        if isinstance(module, nn.Dropout):
            modes.add((len(inputs[0]), module.training))

    with nn.observe(see):
        fit(model, blobs(), TrainConfig(batch_size=10, epochs=3), run_dir=tmp_path)
    assert modes == {(10, True), (30, False), (12, False), (9, False)}  # batches; the three parts
    assert not model.training


def test_the_best_validation_accuracy_chooses_and_the_test_part_never_does(tmp_path):
    heard = []
    config = TrainConfig(optimizer="sgd", lr=3.0, batch_size=5, epochs=8, seed=1)
    result = fit(small_mlp(), blobs(), config, run_dir=tmp_path, listeners=[heard.append])
    evaluated = [event for event in heard if isinstance(event, events.Evaluated)]
    best = min(evaluated, key=lambda event: (-event.validation.accuracy, event.validation.loss))
    assert 0 < best.step < result.steps  # or this run would show nothing
    assert (result.weights_step, result.chosen_by) == (best.step, "validation accuracy")
    assert (result.val_accuracy, result.train_loss) == (best.validation.accuracy, best.train.loss)
    last = evaluate(tmp_path, checkpoint="last", model=small_mlp(), data=blobs())
    assert last.test_loss != result.test_loss

    other_test = dataclasses.replace(blobs(), test=blobs(seed=5).test)
    again = fit(small_mlp(), other_test, config, run_dir=tmp_path / "again")
    assert again.weights_step == result.weights_step
    assert again.test_loss != result.test_loss


def test_without_a_validation_part_the_training_loss_chooses(tmp_path):
    heard = []
    config = TrainConfig(optimizer="sgd", lr=3.0, batch_size=5, epochs=8, seed=1)
    result = fit(small_mlp(), blobs(n_validation=0), config, run_dir=tmp_path, listeners=[heard.append])
    evaluated = [event for event in heard if isinstance(event, events.Evaluated)]
    best = min(evaluated, key=lambda event: event.train.loss)
    assert 0 < best.step < result.steps  # or this run would show nothing
    assert (result.weights_step, result.chosen_by, result.val_accuracy) == (best.step, "training loss", None)
    own = {"model": small_mlp(), "data": blobs(n_validation=0)}
    assert evaluate(tmp_path, **own).test_loss == result.test_loss
    assert evaluate(tmp_path, checkpoint="last", **own).steps == result.steps


def test_early_stopping(tmp_path):
    heard = []
    config = TrainConfig(optimizer="sgd", lr=1e-12, batch_size=10, epochs=50, patience=3)
    result = fit(small_mlp(), blobs(), config, run_dir=tmp_path, listeners=[heard.append])
    assert result.stopped_early
    since_best = [event.best for event in heard if isinstance(event, events.Evaluated)][::-1].index(True)
    assert since_best == 3
    assert resume(tmp_path, model=small_mlp(), data=blobs()).steps == result.steps  # and it stays stopped


def test_the_plateau_schedule_waits_for_the_warm_up_and_then_cuts(tmp_path):
    heard = []
    config = TrainConfig(
        optimizer="sgd", lr=1e-6, schedule="plateau", gamma=0.5, plateau_patience=1, warmup_steps=4,
        batch_size=30, max_steps=12, eval_freq=1,
    )  # fmt: skip
    fit(small_mlp(), blobs(), config, run_dir=tmp_path, listeners=[heard.append])
    rates = [event.lr / 1e-6 for event in heard if isinstance(event, events.StepDone)]
    np.testing.assert_allclose(rates[:5], [0.25, 0.4375, 0.625, 0.8125, 1.0])
    # the loss never falls by a relative 1e-4: at each second evaluation the rate is halved
    np.testing.assert_allclose(rates[5:], [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125])


def test_a_seed_decides_everything_and_another_seed_decides_otherwise(tmp_path):
    config = {"dataset": "moons", "hidden": "9", "dropout": 0.3, "max_steps": 40, "batch_size": 32}
    first, same, other = (
        run(TrainConfig(**config, seed=seed), run_dir=tmp_path / name)
        for name, seed in zip("abc", (1, 1, 2), strict=True)
    )
    for name in ("metrics.csv", "metrics.jsonl", "steps.csv", "checkpoints/last.safetensors", "config.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()
    assert first.train_loss == same.train_loss != other.train_loss


def test_float64_all_the_way(tmp_path):
    result = run(TrainConfig(dataset="moons", dtype="float64", max_steps=5, hidden=4), run_dir=tmp_path)
    model = load_run(tmp_path).model
    assert {value.dtype for value in model.state_dict().values()} == {np.dtype(np.float64)}
    assert model.forward(load("moons").test.x.astype(np.float64)).dtype == np.float64
    assert math.isfinite(result.test_loss)


# the folder


def test_a_run_folder_is_named_after_the_run_and_never_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(dataset="moons", hidden=4, max_steps=2)
    first, second = run(config), run(config)
    assert first.run_dir != second.run_dir
    for result in (first, second):
        assert result.run_dir.startswith("runs/moons-mlp-20")
    folder = tmp_path / first.run_dir
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    assert found == [
        "checkpoints/best.safetensors", "checkpoints/last.safetensors", "config.yaml", "confusion_matrix.png",
        "environment.json", "learning_curve.png", "metrics.csv", "metrics.jsonl", "result.json", "steps.csv",
        "times.csv",
    ]  # fmt: skip
    before = (folder / "result.json").read_bytes()
    with pytest.raises(UserError, match="is not empty"):
        run(config, run_dir=first.run_dir)
    assert (folder / "result.json").read_bytes() == before
    stored = json.loads(before)
    assert stored["test_accuracy"] == first.test_accuracy
    assert stored["weights_step"] == first.weights_step


def test_a_config_that_does_not_fit_the_data_makes_no_folder(tmp_path):
    too_long = {"warmup_steps": 50, "max_steps": 50, "batch_size": 5}
    for settings, words in (({"batch_size": 31}, "31.*30"), (too_long, "warmup_steps is 50")):
        with pytest.raises(UsageError, match=words):
            fit(small_mlp(), blobs(), TrainConfig(**settings), run_dir=tmp_path / "new")
        assert not (tmp_path / "new").exists()


def tensorboard_events(file):
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:  # a record: its length (8 bytes), a checksum (4), the event, a checksum (4)
        size = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12 : 12 + size])
        content = content[16 + size :]


def test_tensorboard_files_hold_the_losses(tmp_path):
    result = run(TrainConfig(dataset="moons", hidden=4, max_steps=3, tensorboard=True), run_dir=tmp_path)
    [file] = (tmp_path / "tensorboard").iterdir()
    found = {}
    for event in tensorboard_events(file):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(value.simple_value)
    assert len(found["batch/loss"]) == 3
    assert found["loss/train"][-1] == pytest.approx(result.train_loss)


@pytest.mark.parametrize(
    ("stopped_at", "step", "first_step"),
    [(events.Evaluated, 0, 0), (events.StepDone, 2, 1), (events.StepDone, 4, 4)],  # no checkpoint, of step 0, of step 3
)
def test_tensorboard_hides_what_a_resumed_run_writes_again(tmp_path, stopped_at, step, first_step):
    def stop(event):
        if isinstance(event, stopped_at) and event.step == step:
            raise KeyboardInterrupt

    config = TrainConfig(dataset="moons", hidden=4, max_steps=5, eval_freq=3, tensorboard=True)
    with pytest.raises(KeyboardInterrupt):
        run(config, run_dir=tmp_path, listeners=[stop])
    [earlier] = (tmp_path / "tensorboard").iterdir()
    earlier.rename(tmp_path / "earlier")
    resume(tmp_path)
    [file] = (tmp_path / "tensorboard").iterdir()
    starts = [event.step for event in tensorboard_events(file) if event.session_log.status == 1]
    assert starts == [first_step]


def test_tensorboard_without_the_package_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(UserError, match=r"pip install 'chainrule\[tensorboard\]'"):
        run(TrainConfig(dataset="moons", max_steps=3, tensorboard=True), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# NaN and infinity


def test_a_loss_that_explodes_stops_the_run_and_names_layer_and_step(tmp_path):
    heard = []
    config = TrainConfig(optimizer="sgd", lr=1e30, batch_size=10, epochs=5, eval_freq=1000)
    with pytest.raises(UserError, match=r"layer \d \(Linear\) at step \d+ is NaN or infinite") as caught:
        fit(small_mlp(), blobs(), config, run_dir=tmp_path, listeners=[heard.append])
    steps = [event.step for event in heard if isinstance(event, events.StepDone)]
    assert f"at step {steps[-1] + 1}" in str(caught.value)
    assert "last good checkpoint is from step 0" in str(caught.value)
    assert load_run(tmp_path, checkpoint="last", model=small_mlp()).step == 0


def test_a_network_that_is_not_finite_from_the_start(tmp_path):
    model = small_mlp()
    model[2].weight.value[0, 0] = np.nan
    with pytest.raises(UserError, match=r"the output of layer 2 \(Linear\) at step 1 is NaN.*no checkpoint yet"):
        fit(model, blobs(), TrainConfig(batch_size=10), run_dir=tmp_path)


class Root(nn.Module):
    """The square root of the size: finite at 0, where its derivative is not."""

    def __call__(self, x):
        return np.sqrt(np.abs(x))


def test_a_gradient_that_explodes_is_told_from_an_output_that_does(tmp_path):
    model = nn.Sequential(nn.Linear(5, 4), Root(), nn.Linear(4, 3))
    model[0].weight.value[...] = model[0].bias.value[...] = 0
    with pytest.raises(UserError, match=r"the gradient of layer 0 \(Linear\) at step 1 is NaN"):
        fit(model, blobs(), TrainConfig(batch_size=10, max_steps=9, eval_freq=5), run_dir=tmp_path)
    assert load_run(tmp_path, checkpoint="last", model=model).step == 0


def test_a_checkpoint_is_never_written_from_weights_that_are_not_finite(tmp_path):
    model = nn.Sequential(nn.Linear(5, 4), Root(), nn.Linear(4, 3))
    model[0].weight.value[...] = model[0].bias.value[...] = 0
    config = TrainConfig(batch_size=10, max_steps=9, eval_freq=5, checkpoint_every=1)
    with pytest.raises(UserError, match=r"the gradient of layer 0 \(Linear\) at step 1 is NaN"):
        fit(model, blobs(), config, run_dir=tmp_path)
    assert load_run(tmp_path, checkpoint="last", model=model).step == 0


def test_a_test_sample_that_overflows_is_named_once_training_is_complete(tmp_path):
    data, model = blobs(), small_mlp()
    data.test.x[5] = 3e38
    model[0].weight.value[...] *= 10
    config = TrainConfig(batch_size=10, epochs=2)
    with pytest.raises(UserError, match=r"training is complete .* loss of test sample 5 is NaN or infinite.*Clean"):
        fit(model, data, config, run_dir=tmp_path)
    assert load_run(tmp_path, checkpoint="last", model=model).step == 6
    assert math.isfinite(evaluate(tmp_path, "train", model=small_mlp(), data=data).loss)
    with pytest.raises(UserError, match="test sample 5"):
        resume(tmp_path, model=small_mlp(), data=data)


# remarks


def kinds_of(result):
    return {remark.kind for remark in result.remarks}


def test_an_ordinary_run_has_nothing_to_remark(tmp_path):
    result = run(TrainConfig(hidden=32, epochs=8), run_dir=tmp_path)
    assert result.test_accuracy > 0.9
    assert kinds_of(result) == set()


def test_a_run_that_learned_nothing_says_so(tmp_path):
    config = TrainConfig(init="normal", optimizer="sgd", lr=1e-6, epochs=4, hidden=30, activation="sigmoid")
    result = run(config, run_dir=tmp_path)
    assert result.train_loss == pytest.approx(math.log(10), rel=0.01)
    assert "plateau" in kinds_of(result)
    [text] = [remark.text for remark in result.remarks if remark.kind == "plateau"]
    assert "Nothing was learned" in text
    assert "ln 10 = 2.303" in text


def test_guessing_among_uneven_classes_is_worth_the_entropy_of_their_shares(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 4)).astype(np.float32), (np.arange(100) % 10 == 0).astype(np.int64)
    part = Samples(np.zeros_like(x), y)  # nothing in the inputs tells the classes apart
    data = Dataset("uneven", part, None, part, ("no", "yes"), Preprocess("none", (4,)))
    result = fit(nn.Linear(4, 2), data, TrainConfig(optimizer="sgd", lr=1.0, epochs=60), run_dir=tmp_path)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert result.train_loss == pytest.approx(entropy, rel=0.01)
    assert f"{entropy:.3f}, the entropy" in result.remarks[0].text


def test_learning_by_heart_is_remarked_on(tmp_path):
    data = blobs(n_train=12, n_validation=60)
    result = fit(small_mlp(), data, TrainConfig(lr=0.05, batch_size=12, max_steps=300, eval_freq=20), run_dir=tmp_path)
    assert "overfitting" in kinds_of(result)
    assert "plateau" not in kinds_of(result)


def test_dead_units_are_counted_by_layer(tmp_path):
    data, model = blobs(), small_mlp()
    model[0].bias.value[:3] = -100
    result = fit(model, data, TrainConfig(max_steps=10, batch_size=10), run_dir=tmp_path)
    [text] = [remark.text for remark in result.remarks if remark.kind == "dead-units"]
    assert "3 of 7 in layer 1 are 0 on every training sample" in text
    [units] = activation_units(model, data.train)
    outputs = np.maximum(model[0].forward(data.train.x), 0)
    assert units.dead == (outputs == 0).all(0).sum() == 3


@pytest.mark.parametrize(("activation", "limit"), [(nn.Sigmoid, 2 * math.acosh(10)), (nn.Tanh, math.acosh(10))])
def test_saturated_units_are_those_with_hardly_any_slope(tmp_path, activation, limit):
    data, model = blobs(), small_mlp(activation=activation)
    model[0].weight.value[...] *= 100
    result = fit(model, data, TrainConfig(max_steps=10, batch_size=10), run_dir=tmp_path)
    assert "saturation" in kinds_of(result)
    # the same in terms of the input: beyond `limit` the slope is below a hundredth of its largest
    [units] = activation_units(model, data.train)
    beyond = np.abs(model[0].forward(data.train.x)) > limit
    assert units.saturated == pytest.approx(beyond.mean())
    fresh = activation_units(small_mlp(activation=activation), data.train)
    assert fresh[0].saturated < 0.5


# use


def test_predict_names_digits_in_files_as_in_arrays(tmp_path):
    from PIL import Image

    run(TrainConfig(hidden=32, epochs=8), run_dir=tmp_path / "run")
    raw = load("digits", preprocess="none").test
    found = predict(tmp_path / "run", raw.x)
    assert np.mean([int(p.label) == y for p, y in zip(found, raw.y, strict=True)]) > 0.9
    model, x = load_run(tmp_path / "run").model, load("digits").test.x
    expected = ops.softmax(model.forward(x).astype(np.float64))
    for prediction, row in zip(found, expected, strict=True):
        assert [prediction.probabilities[str(digit)] for digit in range(10)] == pytest.approx(
            row.tolist(), rel=1e-5
        )  # float32
    for prediction in found[:5]:
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probability == max(prediction.probabilities.values())
        assert next(iter(prediction.probabilities)) == prediction.label

    for i in range(12):
        picture = Image.fromarray(raw.x[i, 0].astype(np.uint8))
        picture.save(tmp_path / f"small{i}.png")
        picture.resize((32, 48), Image.Resampling.NEAREST).convert("RGB").save(tmp_path / f"large{i}.png")
    small = predict(tmp_path / "run", [tmp_path / f"small{i}.png" for i in range(12)])
    large = predict(tmp_path / "run", [tmp_path / f"large{i}.png" for i in range(12)])
    for ours, theirs in zip(small, found, strict=False):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=0.05)  # a file's pixels are whole numbers
    assert {p.note for p in small} == {""}
    assert {p.note for p in large} == {"made grey, resized from 32 x 48 to 8 x 8"}
    assert sum(ours.label == theirs.label for ours, theirs in zip(small, large, strict=True)) >= 9


def test_an_image_with_black_and_white_exchanged_is_noticed(tmp_path):
    from PIL import Image, ImageOps

    run(TrainConfig(hidden=8, epochs=1), run_dir=tmp_path / "run")
    picture = Image.fromarray(load("digits", preprocess="none").test.x[0, 0].astype(np.uint8))
    picture.save(tmp_path / "light on dark.png")
    ImageOps.invert(picture).save(tmp_path / "dark on light.png")
    usual, inverted = predict(tmp_path / "run", sorted(tmp_path.glob("*.png"), reverse=True))
    assert usual.note == ""
    assert inverted.note == "much brighter than the images of the training: is it inverted?"
    assert predict(tmp_path / "run", []) == []


def test_predict_refuses_what_the_network_cannot_read(tmp_path):
    run(TrainConfig(dataset="moons", hidden=4, max_steps=2), run_dir=tmp_path / "run")
    (tmp_path / "x.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"arrays of shape \(2,\), not images"):
        predict(tmp_path / "run", [tmp_path / "x.png"])
    with pytest.raises(UserError, match="NaN"):
        predict(tmp_path / "run", np.array([[0.0, np.nan]]))
    with pytest.raises(UserError, match=r"\(3,\)"):
        predict(tmp_path / "run", np.zeros((4, 3)))
    with pytest.raises(UserError, match="input 2 holds NaN, infinity, or a number that float32 cannot hold"):
        predict(tmp_path / "run", np.array([[0.0, 1.0], [3e38, 0.0], [0.0, 1e300]]))
    with pytest.raises(UserError, match="the inputs are <U1, expected real numbers"):
        predict(tmp_path / "run", np.array([["0", "1"]]))


def test_evaluate_every_part_and_checkpoint(tmp_path):
    result = run(TrainConfig(dataset="moons", hidden=6, epochs=3), run_dir=tmp_path)
    found = evaluate(tmp_path)
    assert (found.test_loss, found.test_accuracy, found.steps) == (
        result.test_loss, result.test_accuracy, result.weights_step,
    )  # fmt: skip
    assert (found.train_loss, found.val_accuracy) == (result.train_loss, result.val_accuracy)
    assert evaluate(tmp_path, "train").loss == result.train_loss
    assert evaluate(tmp_path, "validation").accuracy == result.val_accuracy
    assert evaluate(tmp_path, "validation").test_loss is None
    assert evaluate(tmp_path, checkpoint="last").steps == result.steps
    assert 0 < found.seconds <= result.seconds
    with pytest.raises(UsageError, match="part is 'all'"):
        evaluate(tmp_path, "all")
    with pytest.raises(UserError, match="expected best or last"):
        evaluate(tmp_path, checkpoint="first")
    with pytest.raises(UserError, match="3 classes"):
        evaluate(tmp_path, data=blobs(d=2))


def test_data_that_changed_are_not_measured(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 4)), np.arange(300) % 3
    file = tmp_path / "data.npz"
    np.savez(file, x=x, y=y)
    run(TrainConfig(dataset=str(file), hidden=5, epochs=1), run_dir=tmp_path / "run")
    accuracy = evaluate(tmp_path / "run").accuracy
    np.savez(file, x=np.append(x, x[:1], axis=0), y=np.append(y, 0))  # another test part is drawn
    for part in ("train", "validation", "test"):
        with pytest.raises(UserError, match=r"data\.npz is not as it was when .*run was trained.*Give the data"):
            evaluate(tmp_path / "run", part)
    np.savez(file, x=x, y=y)
    assert evaluate(tmp_path / "run").accuracy == accuracy
    trained = load_run(tmp_path / "run")
    trained.require_same_data(load(file))
    with pytest.raises(UserError, match="is not as it was when"):
        trained.require_same_data(load(file, seed=1))
    with pytest.raises(UserError, match="2 classes"):
        trained.require_same_data(load("moons"))


def test_data_given_to_fit_are_given_to_evaluate(tmp_path):
    result = fit(small_mlp(), blobs(), TrainConfig(batch_size=10, epochs=2), run_dir=tmp_path)
    assert evaluate(tmp_path, model=small_mlp(), data=blobs()).test_loss == result.test_loss
    other = dataclasses.replace(blobs(), test=blobs(seed=5).test)
    with pytest.raises(UserError, match=r"blobs is not as it was when .* was trained: its test part may hold samples"):
        evaluate(tmp_path, model=small_mlp(), data=other)


def test_a_checkpoint_that_says_nothing_of_its_data_is_used(tmp_path):
    config = TrainConfig(dataset="moons", hidden=4, max_steps=5, eval_freq=3)
    result = run(config, run_dir=tmp_path)
    for kind in ("best", "last"):
        path = tmp_path / "checkpoints" / f"{kind}.safetensors"
        saved = checkpoint.load(path)
        del saved.facts["data"]["crc32"]
        checkpoint.save(path, saved)
    assert evaluate(tmp_path).test_loss == resume(tmp_path).test_loss == result.test_loss


def test_a_folder_that_is_no_run(tmp_path):
    for use in (load_run, evaluate, resume):
        with pytest.raises(UserError, match="no such run folder"):
            use(tmp_path / "missing")
        with pytest.raises(UserError, match=r"holds no config\.yaml"):
            use(tmp_path)


def test_a_run_folder_with_files_missing_or_spoilt(tmp_path):
    run(TrainConfig(dataset="moons", hidden=3, max_steps=3), run_dir=tmp_path)
    (tmp_path / "environment.json").unlink()
    assert resume(tmp_path).steps == 3
    (tmp_path / "times.csv").write_text("step,seconds\n0,noon\n")
    with pytest.raises(UserError, match=r"times\.csv is not as the run wrote it"):
        evaluate(tmp_path)
    (tmp_path / "config.yaml").write_text("hidden: [0]\n")
    with pytest.raises(UserError, match="hidden"):
        load_run(tmp_path)


def test_listeners_of_another_thread_do_not_touch_signals(tmp_path):
    import threading

    results = []
    worker = threading.Thread(
        target=lambda: results.append(run(TrainConfig(dataset="moons", hidden=3, max_steps=3), run_dir=tmp_path))
    )
    before = signal.getsignal(signal.SIGINT)
    worker.start()
    worker.join()
    assert results[0].steps == 3
    assert signal.getsignal(signal.SIGINT) is before
