"""Augmentation: every image is one of its shifts and mirror images, each equally likely, and a resume repeats them."""

import json

import numpy as np
import pytest

from chainrule.data import AUGMENTATIONS, Augment
from chainrule.errors import UsageError


def rng(seed=0):
    return np.random.default_rng(seed)


def images(n=7, shape=(3, 5, 6), dtype=np.float32):
    return rng(1).standard_normal((n, *shape)).astype(dtype)


def variants(image, padding, flips):
    """Every picture that may come of an image, pixel by pixel, by shift and mirroring."""
    h, w = image.shape[1:]
    found = []
    for flip in flips:
        for down in range(-padding, padding + 1):
            for right in range(-padding, padding + 1):
                out = np.zeros_like(image)
                for i in range(h):
                    for j in range(w):
                        if 0 <= i + down < h and 0 <= j + right < w:
                            out[:, i, w - 1 - j if flip else j] = image[:, i + down, j + right]
                found.append(out)
    return found


@pytest.mark.parametrize(
    ("names", "padding", "flips", "chi2_limit"),
    [  # the 99.9 % points of chi squared with 49, 8 and 1 degrees of freedom
        (("crop", "flip"), 2, (False, True), 85.4),
        (("crop",), 1, (False,), 26.1),
        (("flip",), 4, (False, True), 10.8),
    ],
)
def test_every_variant_is_equally_likely_and_nothing_else_comes(names, padding, flips, chi2_limit):
    image = images(1)[0]
    expected = variants(image, padding if "crop" in names else 0, flips)
    augment = Augment(names, crop_padding=padding, rng=rng())
    # Batches of many: one choice for a whole batch would be far from even.
    got = np.concatenate([augment(np.stack([image] * 250)) for _ in range(20)])
    counts = [int((got == variant).all((1, 2, 3)).sum()) for variant in expected]
    assert sum(counts) == len(got)
    mean = len(got) / len(expected)
    assert sum((count - mean) ** 2 / mean for count in counts) < chi2_limit


@pytest.mark.parametrize("names", [("crop",), ("flip",), AUGMENTATIONS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 6), (2, 1, 4)])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_shape_and_dtype_are_kept_and_the_batch_is_left_alone(names, dtype, shape, n):
    x = images(n, shape, dtype)
    before = x.copy()
    x.flags.writeable = False
    got = Augment(names, crop_padding=6, rng=rng())(x)  # the cut may miss the image
    assert (got.shape, got.dtype) == (x.shape, x.dtype)
    assert np.array_equal(x, before)
    assert not np.shares_memory(got, x)
    got[:] = 1  # it may be changed in place


def test_a_view_is_augmented_like_its_copy():
    x = images(20)[::-2, :, ::-1]
    augment, same = (Augment(AUGMENTATIONS, rng=rng()) for _ in range(2))
    assert np.array_equal(augment(x), same(x.copy()))


def test_the_order_of_the_names_does_not_matter():
    x = images()
    one, other = Augment(("crop", "flip"), rng=rng())(x), Augment(["flip", "crop", "flip"], rng=rng())(x)
    assert np.array_equal(one, other)


def test_no_name_changes_nothing():
    assert np.array_equal(Augment((), rng=rng())(images()), images())


@pytest.mark.parametrize("names", [("crop",), ("flip",), AUGMENTATIONS])
@pytest.mark.parametrize("taken", [0, 1, 4])
def test_the_generators_state_resumes_exactly(names, taken):
    x, generator = images(5), rng()
    augment = Augment(names, crop_padding=1, rng=generator)
    for _ in range(taken):
        augment(x)
    state = json.loads(json.dumps(generator.bit_generator.state))
    expected = [augment(x) for _ in range(4)]
    other = rng(99)
    resumed = Augment(names, crop_padding=1, rng=other)
    other.bit_generator.state = state
    assert all(np.array_equal(resumed(x), batch) for batch in expected)


def test_what_is_drawn_depends_on_the_number_of_images_alone():
    states = []
    for x in (images(6), np.zeros((6, 1, 2, 2))):
        generator = rng()
        Augment(AUGMENTATIONS, rng=generator)(x)
        states.append(generator.bit_generator.state)
    assert states[0] == states[1]


def test_errors():
    with pytest.raises(UsageError, match="unknown augmentation 'rotate': expected some of crop, flip"):
        Augment(["flip", "rotate"], rng=rng())
    with pytest.raises(UsageError, match="crop_padding is 0, expected at least 1 pixel"):
        Augment(["crop"], crop_padding=0, rng=rng())
    with pytest.raises(UsageError, match=r"augment crop,flip changes images \(c, h, w\), but .* shape \(2,\)"):
        Augment(AUGMENTATIONS, rng=rng())(np.zeros((32, 2)))
