"""The data sets by name, split and preprocessed."""

import difflib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chainrule.data import fetch, formats, sources, synthetic
from chainrule.data.preprocess import Preprocess
from chainrule.data.resize import ResizedImages
from chainrule.errors import UsageError, UserError

HERE = Path(__file__).parent
TEST_SEED = 0
"""Draws the test part of data that come without one. It is fixed, so that no seed of a study trains on it."""
TEST_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and their classes: x (n, d) or images (n, c, h, w); y int64 (n,).

    Images that are resized when they are taken are a `ResizedImages`: `x[index]` is an ordinary array of either kind.

    >>> Samples(np.zeros((3, 2), np.float32), np.array([0, 1, 1]))
    Samples(x=float32 (3, 2), y=int64 (3,))
    """

    x: np.ndarray | ResizedImages
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def subset(self, index: np.ndarray) -> "Samples":
        """The samples under an index array or mask; a copy.

        >>> Samples(np.eye(6), np.arange(6)).subset(np.array([0, 4])).y
        array([0, 4])
        """
        return Samples(self.x.subset(index) if isinstance(self.x, ResizedImages) else self.x[index], self.y[index])

    def __repr__(self) -> str:
        return f"Samples(x={self.x.dtype} {self.x.shape}, y={self.y.dtype} {self.y.shape})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready for training: float32 inputs, preprocessed already, and int64 labels.

    `validation` may be None. `classes` are the names of the labels 0, 1, ...; `preprocess` is the fitted map that was
    applied. Raises UserError if a part is empty, holds NaN or infinity (as float32), labels outside the classes, or x
    and y that do not belong together.

    >>> x, y = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1])
    >>> data = Dataset("mine", Samples(x, y), None, Samples(x, y), ("no", "yes"), Preprocess.fit("none", x))
    >>> data.input_shape, data.n_classes
    ((3,), 2)
    """

    name: str
    train: Samples
    validation: Samples | None
    test: Samples
    classes: tuple[str, ...]
    preprocess: Preprocess

    def __post_init__(self):
        _check(self.name, self.n_classes, training=self.train, validation=self.validation, test=self.test)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch."""
        return self.train.x.shape[1:]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @cached_property
    def fingerprint(self) -> int:
        """A checksum of all inputs and labels, part by part: other data, or the same in other parts, have another one.

        Of images that are resized it is that of the small ones: resized, the last bits depend on the BLAS.

        >>> x, y = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1])
        >>> one, other = Samples(x, y), Samples(x + 1, y)
        >>> made = [Dataset("mine", one, None, test, ("a", "b"), Preprocess("none", (3,))) for test in (one, other)]
        >>> made[0].fingerprint == made[1].fingerprint
        False
        """
        found = 0
        for content in self._contents():
            found = zlib.crc32(content, found)
        return found

    def _contents(self) -> Iterator[bytes | memoryview]:
        yield self.preprocess.name.encode()
        if not isinstance(self.train.x, ResizedImages):  # whose images are raw
            for fitted in self.preprocess.arrays().values():
                yield np.ascontiguousarray(fitted, np.float32).data
        for samples in (self.train, self.validation, self.test):
            yield repr(samples).encode()  # None, or the shapes and dtypes
            if samples is not None:
                x = samples.x.images if isinstance(samples.x, ResizedImages) else samples.x
                yield np.ascontiguousarray(x).data
                yield np.ascontiguousarray(samples.y).data


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    val_size: int | float | None = None,
    preprocess: str | Preprocess | None = None,
    image_size: int | None = None,
    download: bool = True,
    progress: fetch.Progress | None = None,
) -> Dataset:
    """Load a data set, split it and preprocess it.

    ============================  ================================================  ==========  ==========
    name                          what                                              validation  preprocess
    ============================  ================================================  ==========  ==========
    `digits`                      1,497 + 300 handwritten digits, 8 x 8, embedded   200         `standard`
    `mnist`                       60,000 + 10,000 handwritten digits, 28 x 28       5,000       `unit`
    `fashion-mnist`               60,000 + 10,000 pieces of clothing, 28 x 28       5,000       `unit`
    `cifar10`                     50,000 + 10,000 colour photographs, 3 x 32 x 32   5,000       `standard`
    `synth-vu-2021`, `-2023`      60,000 + 10,000 points; `chainrule.data.quadratic`  none      `none`
    `moons` `circles` `spirals`   1,500 + 500 points of two classes in the plane    500         `none`
    FOLDER                        a folder of images for every class; or `train`    10 %        `unit`
                                  and `test`, each with a folder for every class
    FILE.npz                      x_train, y_train, x_test, y_test; or x, y         10 %        `standard`;
                                                                                                `unit` if uint8
    ============================  ================================================  ==========  ==========

    Args:
        name: as above; a name wins over a folder of that name (`./mnist` is the folder).
        data_dir: the folder to read files from, the only one searched. Without it: the one that CHAINRULE_DATA names,
            the user's cache, and at last a download into the cache.
        seed: draws the validation part. The test part is the canonical one or, where there is none (`digits`; 20 % of
            a folder or `.npz`), drawn alike for every seed.
        val_size: a number of training samples, or a fraction (float); 0: none; None: as in the table.
        preprocess: one of `chainrule.data.PREPROCESSING`, fitted on the training part alone; or one already fitted.
            `imagenet` and `caffe-bgr` are what pretrained networks were trained with.
        image_size: side, in pixels, to which images are resized, bilinear with antialiasing. Those of a folder are
            resized as they are read, and have to be of one size without it. Those of any other data set stay small, and
            are resized when they are taken (`ResizedImages`); what is fitted is fitted to the small ones.
        download: False never downloads.
        progress: told `(file name, bytes done, bytes in all or None)` during a download.

    Raises UsageError for an unknown name or setting, UserError for files that are missing, damaged or hold bad data.

    >>> data = load("digits")
    >>> len(data.train), len(data.validation), len(data.test), data.input_shape, data.n_classes
    (1297, 200, 300, (1, 8, 8), 10)
    >>> load("digitz")
    Traceback (most recent call last):
    chainrule.errors.UsageError: unknown data set 'digitz': did you mean digits?
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"image_size is {image_size}, expected at least 1 pixel")
    name = str(name)
    locate = partial(fetch.locate, name, data_dir=data_dir, download=download, progress=progress)
    train, test, classes, default, default_size = _read(name, locate, image_size)
    # Before a split, so that it names a sample's place in the file.
    _check(name, len(classes), training=train, test=test)
    resized_to = _new_size(name, image_size, train.x.shape[1:])
    if test is None:
        train, test = split(train, max(1, round(TEST_FRACTION * len(train))), TEST_SEED)
    size = _count(default_size if val_size is None else val_size, len(train))
    validation = None
    if size:
        train, validation = split(train, size, seed)
    if not isinstance(preprocess, Preprocess):
        preprocess = Preprocess.fit(preprocess or default, np.asarray(train.x))
        if resized_to is not None:
            preprocess = preprocess.resized(resized_to)
    # One part after the other: CIFAR-10 is 614 MB in float32, and its bytes are let go as soon as they are converted.
    train = _prepared(train, resized_to, preprocess)
    test = _prepared(test, resized_to, preprocess)
    if validation is not None:
        validation = _prepared(validation, resized_to, preprocess)
    return Dataset(name, train, validation, test, classes, preprocess)


def find(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder that `load(name)` would read from, or None if it would have to download. Raises as `load`.

    >>> find("digits").name  # embedded and generated data come with this package
    'data'
    """
    if name in _EMBEDDED:
        return HERE
    if name not in _FILES:
        raise _unknown(name)
    files = fetch.find(name, _FILES[name][0], data_dir)
    return next(iter(files.values())).parent if files else None


def split(samples: Samples, size: int, seed: int) -> tuple[Samples, Samples]:
    """A random split: the samples that stay, and the `size` that are drawn; copies, both in their old order.

    >>> stay, drawn = split(Samples(np.eye(6), np.arange(6)), 2, seed=0)
    >>> sorted([*stay.y.tolist(), *drawn.y.tolist()]), len(drawn)
    ([0, 1, 2, 3, 4, 5], 2)
    """
    drawn = np.zeros(len(samples), dtype=bool)
    drawn[np.random.default_rng(seed).permutation(len(samples))[:size]] = True
    return samples.subset(~drawn), samples.subset(drawn)


def _check(name: str, n_classes: int, **parts: Samples | None) -> None:
    shape = None
    for part, samples in parts.items():
        if samples is None:
            continue
        x, y = samples.x, samples.y
        if y.ndim != 1 or y.dtype.kind not in "iu" or len(x) != len(y) or len(y) == 0:
            raise UserError(f"{name}, {part} part: {samples}, expected as many integer labels as inputs, and not none")
        shape = shape or x.shape[1:]
        if x.shape[1:] != shape:
            raise UserError(f"{name}, {part} part: inputs of shape {x.shape[1:]}, those of the training part {shape}")
        if 0 in shape:
            raise UserError(f"{name}, {part} part: inputs of shape {shape}, expected at least one number in each")
        outside = np.flatnonzero((y < 0) | (y >= n_classes))
        if len(outside):
            raise UserError(
                f"{name}, {part} part: the label {y[outside[0]]} of sample {outside[0]} is out of range, "
                f"expected 0 to {n_classes - 1}"
            )
        bad = _not_finite(x.images if isinstance(x, ResizedImages) else x)
        if len(bad):
            raise UserError(
                f"{name}, {part} part: NaN or infinity in {len(bad)} samples, the first is {bad[0]}: clean the data"
            )


def _not_finite(x: np.ndarray) -> np.ndarray:
    """The samples with NaN or infinity, such as a number of float64 that float32 cannot hold."""
    with np.errstate(all="ignore"):  # a sum is one pass without a copy; the exact look only where it is needed
        if x.dtype.kind != "f" or np.isfinite(x.sum(dtype=np.float32)):
            return np.array([])
        return np.flatnonzero(~np.isfinite(x.astype(np.float32)).reshape(len(x), -1).all(1))


def _new_size(name: str, image_size: int | None, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The (h, w) to which samples of this shape still have to be resized."""
    if image_size is None or shape[1:] == (image_size, image_size):
        return None
    if len(shape) != 3:
        raise UsageError(
            f"image_size is {image_size}, but {name} has samples of shape {shape}, not images: leave it out"
        )
    return image_size, image_size


def _prepared(samples: Samples, resized_to: tuple[int, int] | None, preprocess: Preprocess) -> Samples:
    x = np.asarray(samples.x)
    prepared = preprocess.apply(x) if resized_to is None else ResizedImages(x, resized_to, preprocess.apply)
    return Samples(prepared, samples.y)


def _count(val_size: int | float, n: int) -> int:
    """`val_size` as a number of the `n` samples, one of which stays for training; a share above 0 is at least one."""
    limit = 1 if isinstance(val_size, float) else n
    if not 0 <= val_size < limit:
        raise UsageError(f"val_size is {val_size}, expected 0 to {n - 1} samples, or a fraction below 1 such as 0.1")
    size = max(1, round(val_size * n)) if isinstance(val_size, float) and val_size else int(val_size)
    if size == n:
        raise UsageError(f"val_size is {val_size}, which leaves none of {n} samples for training: give less, or 0")
    return size


def _unknown(name: str) -> UsageError:
    near = [known for known in NAMES if name and known.startswith(name)] or difflib.get_close_matches(name, NAMES, 1)
    meant = f"did you mean {' or '.join(near)}?"
    known = f"expected one of {', '.join(NAMES)}, or the path of a folder or an .npz file"
    return UsageError(f"unknown data set {name!r}: {meant if near else known}")


class _Raw(NamedTuple):
    """A data set as it comes, unprocessed, all training samples together; and its defaults."""

    train: Samples
    test: Samples | None
    classes: tuple[str, ...]
    preprocess: str
    val_size: int | float


def _read(name: str, locate: Callable[[fetch.Source], fetch.Files], image_size: int | None) -> _Raw:
    path = Path(name).expanduser()
    if name in _EMBEDDED:
        return _EMBEDDED[name]()
    if name in _FILES:
        source, read = _FILES[name]
        return read(locate(source))
    if path.is_dir():
        return _folder(path, image_size)
    if path.suffix == ".npz":
        return _npz(path)
    if len(path.parts) > 1:
        raise UserError(f"no such folder: {name}")
    raise _unknown(name)


def _samples(x: np.ndarray, y: np.ndarray) -> Samples:
    return Samples(x, y.astype(np.int64))


def _numbers(n: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(n))


def _digits() -> _Raw:
    [(x, y)] = formats.read_npz(HERE / "digits.npz")
    # 0 to 16 as they were scanned; here 0 to 255 like every image. Both this and dividing by 255 again are exact.
    train, test = split(_samples(x * np.float32(255 / 16), y), 300, TEST_SEED)
    return _Raw(train, test, _numbers(10), preprocess="standard", val_size=200)


def _idx(files: fetch.Files, *, classes: tuple[str, ...], other: str) -> _Raw:
    train, test = (
        _samples(
            formats.read_idx(files[f"{part}-images-idx3-ubyte"], 3)[:, None],
            formats.read_idx(files[f"{part}-labels-idx1-ubyte"], 1),
        )
        for part in ("train", "t10k")
    )
    if tuple(train.y[:10]) == FIRST_LABELS[other]:
        folder = files["train-labels-idx1-ubyte"].parent
        raise UserError(f"{folder} holds {other}, whose files have the same names: give each data set its own folder")
    return _Raw(train, test, classes, preprocess="unit", val_size=5_000)


def _cifar10(files: fetch.Files) -> _Raw:
    batches = [
        formats.read_cifar_binary(path) if file.endswith(".bin") else formats.read_cifar_pickle(path)
        for file, path in files.items()
    ]
    *train_x, test_x = [x for x, _ in batches]
    *train_y, test_y = [y for _, y in batches]
    train = _samples(np.concatenate(train_x), np.concatenate(train_y))
    return _Raw(train, _samples(test_x, test_y), OBJECTS, preprocess="standard", val_size=5_000)


def _synth_vu(Q: list[list[float]]) -> _Raw:
    x, y = synthetic.quadratic(70_000, Q)
    train, test = Samples(x[:60_000], y[:60_000]), Samples(x[60_000:], y[60_000:])
    return _Raw(train, test, ("inside", "outside"), preprocess="none", val_size=0)


def _plane(generate: Callable[..., synthetic.Points]) -> _Raw:
    x, y = generate(2_000, rng=np.random.default_rng(0))
    train, test = Samples(x[:1_500], y[:1_500]), Samples(x[1_500:], y[1_500:])
    return _Raw(train, test, _numbers(2), preprocess="none", val_size=500)


def _npz(path: Path) -> _Raw:
    train, *test = [_samples(x, y) for x, y in formats.read_npz(path)]
    labels = np.unique(train.y)
    if len(labels) == 1:
        raise UserError(
            f"{path}: all of its {len(train)} training labels are {labels[0]}, "
            "expected at least 2 classes with a sample each"
        )
    if not np.array_equal(labels, np.arange(len(labels))):
        raise UserError(
            f"{path}: the labels go from {labels[0]} to {labels[-1]} with {len(labels)} different ones, "
            "expected 0, 1, ... without a gap: np.unique(y, return_inverse=True)[1] numbers them so"
        )
    default = "unit" if train.x.dtype == np.uint8 else "standard"
    return _Raw(train, test[0] if test else None, _numbers(len(labels)), preprocess=default, val_size=0.1)


def _folder(path: Path, image_size: int | None) -> _Raw:
    names = {child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")}
    if names != {"train", "test"} and "train" in names and names <= {"train", "test", "val", "valid", "validation"}:
        raise UserError(
            f"{path} holds {', '.join(sorted(names))}: expected train and test alone, or a folder for every class; "
            "the validation part is drawn from train"
        )
    folders = [path / "train", path / "test"] if names == {"train", "test"} else [path]
    parts = [formats.image_classes(folder) for folder in folders]
    classes = tuple(parts[0])
    if differing := parts[0].keys() ^ parts[-1].keys():
        raise UserError(f"{path}: the classes {', '.join(sorted(differing))} are only in one of train and test")
    files = [list(chain(*part.values())) for part in parts]
    x = formats.read_images(list(chain(*files)), size=(image_size, image_size) if image_size else None)
    y = np.concatenate(
        [np.repeat(np.arange(len(classes)), [len(images) for images in part.values()]) for part in parts]
    )
    n = len(files[0])
    test = Samples(x[n:], y[n:]) if len(parts) == 2 else None
    return _Raw(Samples(x[:n], y[:n]), test, classes, preprocess="unit", val_size=0.1)


OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLOTHING = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
FIRST_LABELS = {"mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4), "fashion-mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5)}
"""The first ten training labels, by which the two are told apart."""

_EMBEDDED: dict[str, Callable[[], _Raw]] = {
    "digits": _digits,
    "synth-vu-2021": partial(_synth_vu, [[1, 0.5], [1, 0.2]]),
    "synth-vu-2023": partial(_synth_vu, [[1, -0.05], [1, 0.4]]),
    "moons": partial(_plane, synthetic.moons),
    "circles": partial(_plane, synthetic.circles),
    "spirals": partial(_plane, synthetic.spirals),
}
_FILES: dict[str, tuple[fetch.Source, Callable[[fetch.Files], _Raw]]] = {
    "mnist": (sources.MNIST, partial(_idx, classes=_numbers(10), other="fashion-mnist")),
    "fashion-mnist": (sources.FASHION_MNIST, partial(_idx, classes=CLOTHING, other="mnist")),
    "cifar10": (sources.CIFAR10, _cifar10),
}
NAMES = ("digits", *_FILES, *(name for name in _EMBEDDED if name != "digits"))
"""The names that `load` knows, besides paths."""
