"""Resizing: PyTorch's and Pillow's numbers, and images that stay small until they are taken."""

import os
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from chainrule import data
from chainrule.data.resize import resize
from chainrule.errors import UsageError, UserError

torch.set_num_threads(1)
needs_data = pytest.mark.skipif("CHAINRULE_DATA" not in os.environ, reason="CHAINRULE_DATA is not set")


def pixels(n=9, shape=(3, 5, 7)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def interpolated(x, size, **options):
    """PyTorch's, in float64."""
    tensor = torch.from_numpy(np.asarray(x, np.float64))
    return torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False, **options).numpy()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((5, 7), (13, 8)),
        ((32, 32), (96, 96)),
        ((8, 8), (31, 227)),
        ((1, 1), (4, 3)),
        ((1, 6), (2, 6)),
        ((5, 7), (5, 7)),
    ],
)
def test_upsampling_is_pytorchs(old, new):
    x = pixels(shape=(3, *old))
    got = resize(x, new)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert got == pytest.approx(interpolated(x, new), abs=255e-6)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((13, 8), (5, 7)),
        ((96, 96), (32, 32)),
        ((31, 9), (1, 1)),
        ((28, 28), (27, 3)),
        ((9, 4), (5, 6)),
        ((4, 9), (7, 2)),
    ],
)
def test_downsampling_is_pytorchs_with_antialiasing(old, new):
    x = pixels(shape=(2, *old))
    assert resize(x, new) == pytest.approx(interpolated(x, new, antialias=True), abs=255e-6)


@pytest.mark.parametrize("size", [(11, 20), (3, 4), (3, 20)])
def test_resizing_is_pillows(size):
    x = pixels(1, (1, 5, 7))
    image = Image.fromarray(x[0, 0].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    assert resize(x, size)[0, 0] == pytest.approx(np.asarray(image), abs=255e-6)


def test_the_same_size_is_the_same_image():
    assert np.array_equal(resize(pixels(), (5, 7)), pixels())


def test_an_image_is_resized_alike_in_every_batch():
    x = pixels(40, (3, 32, 32))
    whole = resize(x, (96, 96))
    assert np.array_equal(resize(x[7:8], (96, 96)), whole[7:8])
    assert np.array_equal(resize(x[::-3], (96, 96)), whole[::-3])


# Images that are resized when they are taken

MASK = np.arange(9) % 4 == 1


@pytest.mark.parametrize(
    "index",
    [
        3, -1, np.int64(4), slice(2, 5), slice(None), slice(None, None, 4), slice(7, 1, -2), slice(20, 30),
        [0, 0, 8], [], np.array([5, -2]), MASK, list(MASK),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_taken_is_what_an_array_of_resized_images_would_give(index):
    small = pixels()
    eager = resize(small, (11, 4)) / 2
    lazy = data.ResizedImages(small, (11, 4), lambda x: x / 2)
    got = lazy[index]
    assert type(got) is np.ndarray
    assert got.dtype == np.float32
    assert np.array_equal(got, eager[index])
    got[...] = -1  # a copy
    assert np.array_equal(lazy[:], eager)


def test_it_has_the_properties_of_the_array():
    lazy = data.ResizedImages(pixels(), (11, 4), lambda x: x)
    eager = lazy[:]
    assert (lazy.shape, lazy.ndim, lazy.dtype, len(lazy)) == (eager.shape, eager.ndim, eager.dtype, len(eager))
    assert np.array_equal(np.asarray(lazy), eager)
    assert np.asarray(lazy, np.float64).dtype == np.float64
    assert all(np.array_equal(one, other) for one, other in zip(lazy, eager, strict=True))
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(lazy, copy=False)
    with pytest.raises(IndexError):
        lazy[9]


@pytest.mark.parametrize(
    "index", [(0, 1), (slice(None), 0), (slice(None), slice(2)), None, np.zeros((2, 2), int)], ids=str
)
def test_only_images_have_an_index(index):
    lazy = data.ResizedImages(pixels(), (11, 4), lambda x: x)
    with pytest.raises(TypeError, match="taken by a number, slice, list or mask of images"):
        lazy[index]


def test_a_subset_stays_small():
    samples = data.Samples(data.ResizedImages(pixels(), (11, 4), lambda x: x), np.arange(9))
    for index in (np.array([7, 2]), MASK):
        part = samples.subset(index)
        assert isinstance(part.x, data.ResizedImages)
        assert np.array_equal(part.x[:], samples.x[:][index])
        assert np.array_equal(part.y, samples.y[index])
        assert part.x.images.nbytes == len(part) * 3 * 5 * 7


# load(image_size=)


def save(path, x, n_test=4, **options):
    y = np.arange(len(x)) % 2
    np.savez(path, x_train=x[n_test:], y_train=y[n_test:], x_test=x[:n_test], y_test=y[:n_test], **options)
    return path


@pytest.mark.parametrize("size", [3, 12])
@pytest.mark.parametrize("name", data.PREPROCESSING)
def test_every_preprocessing_of_resized_images(tmp_path, name, size):
    x = pixels(30)
    found = data.load(save(tmp_path / "images.npz", x), image_size=size, preprocess=name, val_size=0)
    assert found.input_shape == found.preprocess.shape == (3, size, size)
    raw, training = interpolated(x, (size, size), antialias=True), x[4:].astype(np.float64)
    mean, std = training.mean((0, 2, 3), keepdims=True), training.std((0, 2, 3), keepdims=True)  # of the small images
    imagenet_mean, imagenet_std = (np.reshape(v, (3, 1, 1)) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = {
        "none": raw,
        "unit": raw / 255,
        "centred": raw / 127.5 - 1,
        "mean-image": raw - raw[4:].mean(0),
        "standard": (raw - mean) / std,
        "imagenet": (raw / 255 - imagenet_mean) / imagenet_std,
        "caffe-bgr": raw[:, [2, 1, 0]] - np.reshape([103.939, 116.779, 123.68], (3, 1, 1)),
    }  # fmt: skip
    got = np.concatenate([found.test.x[:], found.train.x[:]])
    assert got.dtype == np.float32
    assert got == pytest.approx(expected[name], abs=1e-3 if np.abs(expected[name]).max() > 10 else 1e-5)


def test_every_part_is_resized_and_stays_small():
    small = data.load("digits", seed=3, preprocess="none")
    large = data.load("digits", seed=3, preprocess="none", image_size=13)
    for part in ("train", "validation", "test"):
        a, b = getattr(small, part), getattr(large, part)
        assert np.array_equal(a.y, b.y)
        assert b.x.shape == (len(a), 1, 13, 13)
        assert b.x[::50] == pytest.approx(interpolated(a.x[::50], (13, 13)), abs=255e-6)
        assert b.x.images.nbytes == a.x.nbytes


def test_images_of_the_right_size_are_ordinary_arrays():
    plain, same = data.load("digits"), data.load("digits", image_size=8)
    assert isinstance(same.train.x, np.ndarray)
    assert np.array_equal(same.train.x, plain.train.x)


def test_batches_of_resized_images():
    digits = data.load("digits", image_size=12)
    batches = data.Batches(digits.train, 50, rng=np.random.default_rng(0))
    x, y = batches.next()
    assert (x.shape, x.dtype) == ((50, 1, 12, 12), np.float32)
    order = np.random.default_rng(0).permutation(len(digits.train))[:50]
    assert np.array_equal(y, digits.train.y[order])
    assert np.array_equal(x, digits.train.x[:][order])


def test_a_fitted_preprocessing_is_for_its_size():
    fitted = data.load("digits", image_size=12, preprocess="mean-image").preprocess
    again = data.load("digits", image_size=12, preprocess=fitted)
    raw = data.load("digits", image_size=12, preprocess="none")
    assert np.array_equal(again.test.x[:5], fitted.apply(raw.test.x[:5]))  # what `predict` does with raw pixels
    with pytest.raises(UserError, match=r"fitted to samples of shape \(1, 12, 12\), got \(1, 9, 9\)"):
        data.load("digits", image_size=9, preprocess=fitted)


def test_impossible_image_sizes(tmp_path):
    with pytest.raises(UsageError, match=r"image_size is 64, but moons has samples of shape \(2,\), not images"):
        data.load("moons", image_size=64)
    for size in (0, -3):
        with pytest.raises(UsageError, match=f"image_size is {size}, expected at least 1 pixel"):
            data.load("digits", image_size=size)


@pytest.mark.parametrize("bad", [np.nan, 1e300])
def test_numbers_that_float32_cannot_hold_are_refused(tmp_path, bad):
    x = pixels(30).astype(np.float64)
    x[17, 0, 2, 2] = bad
    with pytest.raises(UserError, match="training part: NaN or infinity in 1 samples, the first is 13"):
        data.load(save(tmp_path / "images.npz", x), image_size=9, preprocess="none", val_size=0)


@pytest.mark.data
@needs_data
def test_cifar10_at_96_stays_small():
    tracemalloc.start()
    cifar = data.load("cifar10", image_size=96)
    peak = tracemalloc.get_traced_memory()[1]
    batch, _ = data.Batches(cifar.train, 32, rng=np.random.default_rng(0)).next()
    tracemalloc.stop()
    assert cifar.train.x.shape == (45_000, 3, 96, 96)
    assert (batch.shape, batch.dtype) == ((32, 3, 96, 96), np.float32)
    assert peak < 2.5 * 60_000 * 3 * 32 * 32  # bytes: the pixels as stored, and what a split copies of them
    assert cifar.train.x.images.dtype == np.uint8


@pytest.mark.data
@needs_data
def test_mnist_at_another_size():
    mnist = data.load("mnist", image_size=20)
    assert mnist.input_shape == (1, 20, 20)
    small = data.load("mnist", preprocess="none").test.x[:40]
    assert mnist.test.x[:40] == pytest.approx(interpolated(small, (20, 20), antialias=True) / 255, abs=1e-6)
