"""The data sets: what is published about them, their splits and their preprocessing."""

import importlib.util
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_circles, make_moons
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from chainrule import data
from chainrule.errors import UsageError, UserError

HERE = Path(__file__).parent
needs_data = pytest.mark.skipif("CHAINRULE_DATA" not in os.environ, reason="CHAINRULE_DATA is not set")


def real(test):
    return pytest.mark.data(needs_data(test))


# digits


def test_digits_are_scikit_learns():
    digits = data.load("digits", val_size=0, preprocess="none")
    expected = load_digits()
    ours = np.concatenate([digits.train.x, digits.test.x]).reshape(1797, 64) / np.float32(255 / 16)
    y = np.concatenate([digits.train.y, digits.test.y])
    order, expected_order = np.lexsort(ours.T), np.lexsort(expected.data.T)
    assert np.array_equal(ours[order], expected.data[expected_order])
    assert np.array_equal(y[order], expected.target[expected_order])


def test_digits_file_is_rebuilt_byte_for_byte(tmp_path):
    spec = importlib.util.spec_from_file_location("make_digits", HERE.parent / "tools" / "make_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path / "digits.npz")
    assert (tmp_path / "digits.npz").read_bytes() == (Path(data.find("digits")) / "digits.npz").read_bytes()


def test_digits_unit_is_sixteenths_exactly():
    x = data.load("digits", preprocess="unit").train.x
    assert np.array_equal(x * 16, np.round(x * 16))
    assert x.max() == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_network_learns_digits(seed):
    digits = data.load("digits", seed=seed)
    network = MLPClassifier((100,), max_iter=40, learning_rate_init=3e-3, batch_size=32, random_state=seed)
    network.fit(digits.train.x.reshape(-1, 64), digits.train.y)
    assert network.score(digits.test.x.reshape(-1, 64), digits.test.y) >= 0.97


# The real ones

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@real
def test_mnist_is_what_is_published():
    mnist = data.load("mnist", val_size=0)
    assert mnist.train.x.shape == (60_000, 1, 28, 28)
    assert mnist.test.x.shape == (10_000, 1, 28, 28)
    assert np.bincount(mnist.train.y).tolist() == MNIST_TRAIN
    assert np.bincount(mnist.test.y).tolist() == MNIST_TEST
    assert mnist.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.train.x.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train.x.std(dtype=np.float64) == pytest.approx(0.3081, abs=5e-5)
    assert (mnist.train.x.min(), mnist.train.x.max()) == (0, 1)


@real
def test_mnist_defaults():
    mnist = data.load("mnist")
    assert [len(mnist.train), len(mnist.validation), len(mnist.test)] == [55_000, 5_000, 10_000]
    assert (np.bincount(mnist.train.y) + np.bincount(mnist.validation.y)).tolist() == MNIST_TRAIN
    assert mnist.preprocess.name == "unit"
    assert mnist.input_shape == (1, 28, 28)
    assert mnist.n_classes == 10


@real
@pytest.mark.slow
def test_cifar10_is_what_is_published():
    cifar = data.load("cifar10", val_size=0)
    assert cifar.train.x.shape == (50_000, 3, 32, 32)
    assert cifar.test.x.shape == (10_000, 3, 32, 32)
    assert np.bincount(cifar.train.y).tolist() == [5000] * 10
    assert np.bincount(cifar.test.y).tolist() == [1000] * 10
    assert [cifar.classes[y] for y in cifar.train.y[:3]] == ["frog", "truck", "truck"]
    assert cifar.preprocess.name == "standard"
    assert cifar.preprocess.mean.ravel() / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert cifar.preprocess.std.ravel() / 255 == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)
    assert cifar.train.x.mean((0, 2, 3), dtype=np.float64) == pytest.approx([0, 0, 0], abs=1e-5)
    assert cifar.train.x.std((0, 2, 3), dtype=np.float64) == pytest.approx([1, 1, 1], abs=1e-5)


@real
@pytest.mark.slow
def test_cifar10_is_loaded_frugally_and_as_the_uva_course_does():
    folder = Path(os.environ["CHAINRULE_DATA"]) / "cifar-10-batches-py"
    tracemalloc.start()
    cifar = data.load("cifar10", data_dir=folder, val_size=0, preprocess="mean-image")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bytes_kept = cifar.train.x.nbytes + cifar.test.x.nbytes
    assert peak < bytes_kept + 0.5 * cifar.train.x.nbytes  # no second copy in float32
    pixels = data.load("cifar10", data_dir=folder, val_size=0, preprocess="none")
    mean_image = pixels.train.x.mean(0)  # as the course computes it, in float32
    assert np.array_equal(cifar.test.x, pixels.test.x - mean_image)
    assert np.array_equal(cifar.train.x[:1000], pixels.train.x[:1000] - mean_image)


@real
@pytest.mark.slow
def test_cifar10_binary_batches_are_the_same_data(tmp_path):
    pixels = data.load("cifar10", val_size=0, preprocess="none")
    for i in range(6):
        part, start = (pixels.train, 10_000 * i) if i < 5 else (pixels.test, 0)
        records = np.empty((10_000, 3073), np.uint8)
        records[:, 0] = part.y[start : start + 10_000]
        records[:, 1:] = part.x[start : start + 10_000].reshape(10_000, 3072)
        (tmp_path / (f"data_batch_{i + 1}.bin" if i < 5 else "test_batch.bin")).write_bytes(records.tobytes())
    binary = data.load("cifar10", data_dir=tmp_path, val_size=0, preprocess="none")
    assert np.array_equal(binary.train.x, pixels.train.x)
    assert np.array_equal(binary.train.y, pixels.train.y)
    assert np.array_equal(binary.test.x, pixels.test.x)
    assert np.array_equal(binary.test.y, pixels.test.y)


# Generated


@pytest.mark.parametrize(("name", "between", "last"), [("synth-vu-2021", 1.5, 0.2), ("synth-vu-2023", 0.95, 0.4)])
def test_synth_vu_is_the_courses(name, between, last):
    synth = data.load(name)
    assert [synth.train.x.shape, synth.validation, synth.test.x.shape] == [(60_000, 2), None, (10_000, 2)]
    points = np.random.RandomState(0).randn(70_000, 2)
    assert np.array_equal(np.concatenate([synth.train.x, synth.test.x]), points.astype(np.float32))
    a, b = points.T
    # x^T Q x written out; Q's two off-diagonal entries meet in one term.
    expected = a * a + between * a * b + last * b * b > 0.6
    assert np.array_equal(np.concatenate([synth.train.y, synth.test.y]), expected)


def as_set(x, y):
    return {(*point, int(label)) for point, label in zip((x.round(9) + 0.0).tolist(), y, strict=True)}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(data.moons, make_moons), (data.circles, lambda n, **options: make_circles(n, factor=0.5, **options))],
)
@pytest.mark.parametrize("n", [50, 51])
def test_moons_and_circles_are_scikit_learns(ours, theirs, n):
    expected = as_set(*theirs(n, noise=None))
    assert len(expected) == n
    assert as_set(*ours(n, noise=0, rng=np.random.default_rng(0))) == expected


def test_spirals_are_lang_and_witbrocks():
    expected = set()
    for i in range(97):
        angle, radius = i * np.pi / 16, 6.5 * (104 - i) / 104
        x, y = radius * np.sin(angle) / 6.5, radius * np.cos(angle) / 6.5
        expected |= as_set(np.array([[x, y], [-x, -y]]), [0, 1])
    assert as_set(*data.spirals(194, noise=0, rng=np.random.default_rng(0))) == expected


@pytest.mark.parametrize("generate", [data.moons, data.circles, data.spirals])
def test_noise_is_a_standard_deviation(generate):
    clean, y = generate(4000, noise=0, rng=np.random.default_rng(1))
    noisy, same = generate(4000, noise=0.3, rng=np.random.default_rng(1))
    assert np.array_equal(y, same)
    assert (noisy - clean).std() == pytest.approx(0.3, rel=0.03)
    assert not np.array_equal(y, np.sort(y))  # in random order


# Splits


@pytest.mark.parametrize("name", ["digits", "moons"])
def test_the_seed_draws_the_validation_part_and_nothing_else(name):
    one, again, two = (data.load(name, seed=seed, preprocess="none") for seed in (1, 1, 2))
    assert np.array_equal(one.validation.x, again.validation.x)
    assert np.array_equal(one.train.x, again.train.x)
    assert not np.array_equal(one.validation.x, two.validation.x)
    assert np.array_equal(one.test.x, two.test.x)
    whole = data.load(name, val_size=0, preprocess="none")
    assert whole.validation is None
    parts = np.concatenate([one.train.x, one.validation.x]).reshape(len(whole.train), -1)
    assert sorted(map(tuple, parts)) == sorted(map(tuple, whole.train.x.reshape(len(whole.train), -1)))


@pytest.mark.parametrize(
    ("val_size", "count"), [(0, None), (0.0, None), (1, 1), (497, 497), (0.1, 150), (1e-5, 1), (1496, 1496)]
)
def test_val_size_is_a_count_or_a_fraction(val_size, count):
    digits = data.load("digits", val_size=val_size)
    assert (digits.validation and len(digits.validation)) == count
    assert len(digits.train) == 1497 - (count or 0)


@pytest.mark.parametrize("val_size", [-1, 1497, 1.0, -0.1, 5000.0, float("nan")])
def test_impossible_val_sizes(val_size):
    with pytest.raises(UsageError, match=f"val_size is {val_size}, expected 0 to 1496 samples"):
        data.load("digits", val_size=val_size)


def test_a_share_that_leaves_nothing_for_training_is_refused():
    with pytest.raises(UsageError, match=r"val_size is 0\.9999, which leaves none of 1497 samples for training"):
        data.load("digits", val_size=0.9999)


# Fingerprints


def made(train, validation, test, name="none"):
    return data.Dataset("mine", train, validation, test, ("a", "b"), data.Preprocess(name, train.x.shape[1:]))


def test_equal_data_have_one_fingerprint_and_every_number_counts():
    def part(n, seed, dtype=np.float32):
        return data.Samples(np.random.default_rng(seed).normal(size=(n, 3)).astype(dtype), np.arange(n) % 2)

    def changed(samples, i):
        x = samples.x.copy()
        x[i, 2] += 1
        return data.Samples(x, samples.y)

    parts = part(300, 0), part(20, 1), part(10, 2)
    train, validation, test = parts
    other = [
        made(changed(train, 7), validation, test),
        made(train, changed(validation, 19), test),
        made(train, validation, changed(test, 0)),
        made(train, None, test),
        made(train, test, validation),
        made(train, validation, data.Samples(test.x, 1 - test.y)),
        made(part(300, 0, np.float64), validation, test),
        made(train, validation, test, "unit"),
    ]
    assert made(*parts).fingerprint == made(part(300, 0), part(20, 1), part(10, 2)).fingerprint
    in_another_order = data.Samples(np.asfortranarray(train.x), train.y)
    assert made(in_another_order, validation, test).fingerprint == made(*parts).fingerprint
    assert len({each.fingerprint for each in [made(*parts), *other]}) == 1 + len(other)


def test_raw_values_that_are_moved_are_other_data_though_standard_moves_them_back(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 2))
    found = set()
    for moved in (0, 1):
        np.savez(tmp_path / "set.npz", x=x + moved, y=np.arange(60) % 2)
        found.add(data.load(tmp_path / "set.npz").fingerprint)
    assert len(found) == 2


def test_resized_images_have_the_fingerprint_of_their_bytes_and_their_size():
    sizes = [data.load("digits", image_size=size).fingerprint for size in (12, 12, 13)]
    assert sizes[0] == sizes[1]
    assert sizes[0] != sizes[2]
    assert data.load("digits", image_size=12, preprocess="unit").fingerprint != sizes[0]


# Preprocessing


def images(n=40, shape=(3, 4, 5)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def test_preprocessing_by_its_formulas():
    x = images()
    reference = torch.from_numpy(x).float()
    unit = reference / 255
    expected = {
        "none": reference,
        "unit": unit,
        "centred": (unit - 0.5) / 0.5,
        "mean-image": reference - torch.from_numpy(x).double().mean(0).float(),
        "imagenet": (unit - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        / torch.tensor([0.229, 0.224, 0.225])[:, None, None],
        "caffe-bgr": reference.flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None],
    }
    for name, value in expected.items():
        got = data.Preprocess.fit(name, x).apply(x)
        assert got.dtype == np.float32
        assert np.array_equal(got, value.numpy()), name
    channels = reference.double().transpose(0, 1).reshape(3, -1)
    mean, std = channels.mean(1).reshape(3, 1, 1), channels.std(1, correction=0).reshape(3, 1, 1)
    standard = data.Preprocess.fit("standard", x).apply(x)
    assert standard == pytest.approx(((reference - mean) / std).numpy(), abs=1e-6)


@pytest.mark.parametrize("n", [3, 500, 1203])
def test_standard_on_points_is_scikit_learns(n):
    x = np.random.default_rng(0).normal([1e4, -3, 0], [1, 20, 1e-3], (n, 3))
    x[:, 1] = 7  # constant
    expected = StandardScaler().fit(x)
    fitted = data.Preprocess.fit("standard", x)
    assert fitted.mean == pytest.approx(expected.mean_, rel=1e-6)
    assert fitted.std == pytest.approx(expected.scale_, rel=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.3, 7])
@pytest.mark.parametrize("shape", [(1000, 1), (1000, 1, 2, 2)])
def test_a_channel_that_never_changes_is_divided_by_1(value, shape):
    fitted = data.Preprocess.fit("standard", np.full(shape, value, np.float64))
    assert fitted.apply(np.full((1, *shape[1:]), 2 * value)) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", ["standard", "mean-image"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_what_float32_cannot_tell_apart_is_told_apart_by_preprocessing(name, dtype):
    z = np.random.default_rng(0).normal(0, 50, (400, 2))
    x = (1e9 + z).astype(dtype)
    fitted = data.Preprocess.fit(name, x)
    again = data.Preprocess.from_dict(fitted.to_dict(), fitted.arrays())
    exact = x - x.mean(0, dtype=np.longdouble)
    expected = exact / exact.std(0) if name == "standard" else exact
    for each in (fitted, again):
        assert each.apply(x).dtype == np.float32
        assert each.apply(x) == pytest.approx(expected.astype(np.float64), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
@pytest.mark.parametrize("name", data.PREPROCESSING)
def test_what_float32_holds_is_preprocessed_in_float32(name, dtype):
    """The same bits as with a mean and a standard deviation of float32, which older checkpoints hold."""
    x = images().astype(dtype)
    fitted = data.Preprocess.fit(name, x)
    rounded = {key: array.astype(np.float32) for key, array in fitted.arrays().items()}
    older = data.Preprocess.from_dict(fitted.to_dict(), rounded)
    assert np.array_equal(older.apply(x), fitted.apply(x))
    if name == "standard":
        assert np.array_equal(fitted.apply(x), (x.astype(np.float32) - rounded["mean"]) / rounded["std"])


@pytest.mark.parametrize("name", ["standard", "mean-image"])
def test_preprocessing_is_fitted_on_the_training_part_alone(name):
    fitted = data.load("digits", preprocess=name, seed=5).preprocess
    train = data.load("digits", preprocess="none", seed=5).train.x
    whole = data.load("digits", preprocess="none", val_size=0).train.x
    axis = 0 if name == "mean-image" else None
    assert fitted.mean == pytest.approx(train.mean(axis, dtype=np.float64), rel=1e-6)
    assert fitted.mean != pytest.approx(whole.mean(axis, dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("name", data.PREPROCESSING)
def test_preprocessing_is_stored_without_loss(name):
    x = images()
    fitted = data.Preprocess.fit(name, x)
    again = data.Preprocess.from_dict(json.loads(json.dumps(fitted.to_dict())), fitted.arrays())
    assert np.array_equal(again.apply(x), fitted.apply(x))
    assert again.shape == (3, 4, 5)


def test_a_fitted_preprocessing_can_be_given():
    fitted = data.load("digits", seed=0).preprocess
    other = data.load("digits", seed=1, preprocess=fitted)
    assert other.preprocess is fitted
    assert np.array_equal(other.test.x, data.load("digits", seed=0).test.x)


def test_preprocessing_leaves_what_it_is_given():
    x = images().astype(np.float32)
    before = x.copy()
    for name in data.PREPROCESSING:
        data.Preprocess.fit(name, x).apply(x)
    assert np.array_equal(x, before)


def test_wrong_preprocessing():
    with pytest.raises(UsageError, match="unknown preprocess 'zca': expected one of none, unit, centred"):
        data.load("digits", preprocess="zca")
    with pytest.raises(UsageError, match="'unit' is for pixels from 0 to 255, but these data go from -"):
        data.load("moons", preprocess="unit")
    with pytest.raises(UsageError, match="'centred' is for pixels from 0 to 255, but these data go from 0 to 1"):
        data.Preprocess.fit("centred", np.array([[0.0, 1.0]]))
    for name in ("imagenet", "caffe-bgr"):
        with pytest.raises(
            UsageError, match=rf"'{name}' is for RGB images \(3, h, w\), .* shape \(1, 8, 8\): choose none"
        ):
            data.load("digits", preprocess=name)
        with pytest.raises(UsageError, match=rf"'{name}' is for RGB images \(3, h, w\), .* shape \(3,\): choose none"):
            data.Preprocess.fit(name, np.zeros((2, 3), np.uint8))
        with pytest.raises(UsageError, match=f"'{name}' is for pixels from 0 to 255, but these data go from 0 to 1"):
            data.Preprocess.fit(name, images() / 255)
    with pytest.raises(UserError, match=r"fitted to samples of shape \(3, 4, 5\), got \(1, 4, 5\)"):
        data.Preprocess.fit("mean-image", images()).apply(images(shape=(1, 4, 5)))
    with pytest.raises(UserError, match=r"stored preprocessing 'standard' with arrays \['mean'\]"):
        data.Preprocess.from_dict({"name": "standard", "shape": [2]}, {"mean": np.zeros(2)})
    with pytest.raises(UserError, match=r"stored preprocessing 'imagenet' with arrays \[\]"):
        data.Preprocess.from_dict({"name": "imagenet", "shape": [3, 4, 5]})


# Names, and data of one's own


def test_every_name_is_known():
    assert set(data.NAMES) == {
        *("digits", "mnist", "fashion-mnist", "cifar10", "synth-vu-2021", "synth-vu-2023"),
        *("moons", "circles", "spirals"),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "unknown data set 'minst': did you mean mnist?"),
        ("synth", "unknown data set 'synth': did you mean synth-vu-2021 or synth-vu-2023?"),
        ("cifar-10", "unknown data set 'cifar-10': did you mean cifar10?"),
        ("zzz", "unknown data set 'zzz': expected one of digits, mnist, .*or the path of a folder or an .npz file"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        data.load(name)
    with pytest.raises(UsageError):
        data.find(name)


def test_missing_path(tmp_path):
    with pytest.raises(UserError, match=r"no such folder: .*absent"):
        data.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((3, 2), np.nan, np.float32), [0, 1, 0], "mine, training part: NaN or infinity in 3 samples"),
        (
            np.zeros((3, 2), np.float32),
            [0, 1, 2],
            "mine, training part: the label 2 of sample 2 is out of range, .*0 to 1",
        ),
        (np.zeros((3, 2), np.float32), [0, -1, 0], "the label -1 of sample 1"),
        (np.zeros((3, 2), np.float32), [0, 1], "expected as many integer labels as inputs"),
        (np.zeros((3, 2), np.float32), [0.0, 1.0, 0.0], "expected as many integer labels as inputs"),
        (np.zeros((3, 0), np.float32), [0, 1, 0], r"inputs of shape \(0,\), expected at least one number in each"),
    ],
)
def test_bad_data_of_ones_own(x, y, message):
    good = data.Samples(np.zeros((2, 2), np.float32), np.array([0, 1]))
    with pytest.raises(UserError, match=message):
        data.Dataset("mine", data.Samples(x, np.array(y)), None, good, ("a", "b"), data.Preprocess.fit("none", x))


def test_large_finite_values_are_not_called_infinite():
    x = np.full((4, 3), 3e38, np.float32)
    samples = data.Samples(x, np.array([0, 1, 0, 1]))
    data.Dataset("mine", samples, None, samples, ("a", "b"), data.Preprocess.fit("none", x))
