"""The file formats: what they hold is read exactly, and whatever is wrong with a file is said, by name."""

import contextlib
import gzip
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from chainrule import data
from chainrule.data import formats
from chainrule.errors import UserError


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder, n_train=30, n_test=7, compress=False, labels=None):
    """Four small files in MNIST's layout; the arrays that are in them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 5, 4), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(n, dtype=np.uint8) % 10
    if labels is not None:
        arrays["train-labels-idx1-ubyte"] = np.array(labels, np.uint8)
    for name, array in arrays.items():
        content = gzip.compress(idx(array)) if compress else idx(array)
        (folder / (name + ".gz" * compress)).write_bytes(content)
    return arrays


def python2_batch(x, labels, module=b"numpy.core.multiarray"):
    """A batch as Python 2's cPickle writes it, opcode by opcode: protocol 2, and every string is bytes."""

    def text(value):
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    def array():
        raw = x.tobytes()
        state = b"(" + b"K\x01" + b"(" + b"".join(b"J" + struct.pack("<i", n) for n in x.shape) + b"t"
        dtype = (
            b"cnumpy\ndtype\n("
            + text(b"u1")
            + b"K\x00K\x01tR(K\x03"
            + text(b"|")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        state += dtype + b"\x89" + b"T" + struct.pack("<i", len(raw)) + raw + b"t"
        return b"c" + module + b"\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR" + state + b"b"

    numbers = b"](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
    items = text(b"batch_label") + text(b"training batch 1 of 5") + text(b"labels") + numbers + text(b"data") + array()
    return b"\x80\x02}(" + items + b"u."


def write_cifar(folder, n=3):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    batches = {}
    for i, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
        x, y = rng.integers(0, 256, (n, 3072), dtype=np.uint8), [(i + k) % 10 for k in range(n)]
        (folder / name).write_bytes(python2_batch(x, y))
        batches[name] = x, y
    return batches


# IDX


@pytest.mark.parametrize("compress", [False, True])
def test_idx_raw_or_gzip_is_read_exactly(tmp_path, compress):
    arrays = write_mnist(tmp_path, compress=compress)
    loaded = data.load("mnist", data_dir=tmp_path, val_size=0, preprocess="none")
    assert np.array_equal(loaded.train.x[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(loaded.train.y, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(loaded.test.x[:, 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(loaded.test.y, arrays["t10k-labels-idx1-ubyte"])
    assert loaded.train.x.dtype == np.float32
    assert loaded.train.y.dtype == np.int64


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "truncated or damaged: it holds 615 bytes, but its header promises 616"),
        (lambda content: content + b"\0", "it holds 617 bytes, but its header promises 616"),
        (lambda content: content[:9], "it holds 9 bytes"),
        (lambda content: content[:2], "begins with 00 00, expected 00 00 08 03"),
        (lambda content: b"", "begins with nothing, expected 00 00 08 03"),
        (lambda content: b"\0\0\x08\x01" + content[4:], "begins with 00 00 08 01, expected 00 00 08 03"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "begins with 00 00 0d 03, expected 00 00 08 03"),
        (
            lambda content: b"\0\0\x08\x03" + b"\xff" * 12 + content[16:],
            "promises 79,228,162,458,924,105,385,300,197,391",
        ),
        (lambda content: gzip.compress(content)[:-20], "damaged or truncated gzip file"),
        (lambda content: gzip.compress(content)[:-8] + b"\0" * 8, "damaged or truncated gzip file"),
    ],
)
def test_damaged_idx_is_named(tmp_path, damage, message):
    write_mnist(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError) as caught:
        data.load("mnist", data_dir=tmp_path)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


def test_labels_out_of_range_are_named(tmp_path):
    write_mnist(tmp_path, labels=[0, 1, 2, 10] + [3] * 26)
    with pytest.raises(
        UserError, match="mnist, training part: the label 10 of sample 3 is out of range, expected 0 to 9"
    ):
        data.load("mnist", data_dir=tmp_path)


def test_labels_of_another_number_are_refused(tmp_path):
    write_mnist(tmp_path, labels=[0, 1, 2])
    with pytest.raises(UserError, match=r"x=uint8 \(30, 1, 5, 4\), y=int64 \(3,\)"):
        data.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("asked", "other", "labels"),
    [
        ("fashion-mnist", "mnist", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
        ("mnist", "fashion-mnist", [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]),
    ],
)
def test_mnist_is_never_taken_for_fashion_mnist(tmp_path, asked, other, labels):
    write_mnist(tmp_path, n_train=10, labels=labels)
    with pytest.raises(UserError, match=f"holds {other}, whose files have the same names"):
        data.load(asked, data_dir=tmp_path)
    assert data.load(other, data_dir=tmp_path, val_size=0).train.y.tolist() == labels


# CIFAR-10


def test_cifar_pickles_of_python_2_are_read_exactly(tmp_path):
    batches = write_cifar(tmp_path)
    loaded = data.load("cifar10", data_dir=tmp_path, val_size=0, preprocess="none")
    x = np.concatenate([x for x, _ in batches.values()])
    # The file format: 1,024 red bytes, then green, then blue, each row by row.
    assert loaded.train.x[7, 2, 3, 5] == x[7, 2 * 1024 + 3 * 32 + 5]
    assert np.array_equal(loaded.train.x.reshape(15, 3072), x[:15])
    assert np.array_equal(loaded.test.x.reshape(3, 3072), x[15:])
    assert loaded.train.y.tolist() == [(i + k) % 10 for i in range(5) for k in range(3)]
    assert loaded.classes[6] == "frog"


@pytest.mark.parametrize("protocol", [3, 4])
def test_cifar_batches_written_by_python_3_are_read_too(tmp_path, protocol):
    x = np.arange(2 * 3072, dtype=np.int64).astype(np.uint8).reshape(2, 3072)
    file = tmp_path / "batch"
    file.write_bytes(pickle.dumps({b"data": x, b"labels": [3, 8]}, protocol))
    images, labels = formats.read_cifar_pickle(file)
    assert np.array_equal(images.reshape(2, 3072), x)
    assert labels.tolist() == [3, 8]


def call(command, protocol=2):
    class Evil:
        def __reduce__(self):
            return os.system, (command,)

    return pickle.dumps({"data": Evil(), "labels": [1]}, protocol)


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (lambda run: call(run, 0), "system"),
        (lambda run: call(run, 2), "system"),
        (lambda run: call(run, 4), "system"),
        (lambda run: b"cbuiltins\neval\n(U\x011tR.", "builtins.eval"),
        (lambda run: b"(ios\nsystem\n" + b"." + run.encode(), "os.system"),  # INST
        (lambda run: b"cnumpy\nload\n(U\x01xtR.", "numpy.load"),
        (lambda run: b"cnumpy.core.multiarray\nscalar\n.", "numpy.core.multiarray.scalar"),
        (lambda run: b"cnumpy\nndarray.tofile\n.", "numpy.ndarray.tofile"),
        (lambda run: b"\x80\x04\x8c\x08builtins\x8c\x0c__import__.x\x93.", "builtins.__import__.x"),
    ],
)
def test_a_pickle_that_asks_for_code_is_refused_and_nothing_runs(tmp_path, content, asked):
    marker = tmp_path / "executed"
    file = tmp_path / "data_batch_1"
    file.write_bytes(content(f"touch {marker}"))
    with pytest.raises(UserError, match=f"refused: it asks for .*{asked}.*nothing was executed") as caught:
        formats.read_cifar_pickle(file)
    assert str(file) in str(caught.value)
    assert not marker.exists()


def test_a_pickle_cannot_reach_the_reader_through_what_it_is_given(tmp_path):
    x = np.zeros((1, 3072), np.uint8)
    good, file = python2_batch(x, [1]), tmp_path / "batch"
    for name in (b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"):
        # BUILD with the state (None, {"__setstate__": 1}) sets that attribute of what the name stands for.
        file.write_bytes(b"\x80\x02" + name + b"(N}X\x0c\x00\x00\x00__setstate__K\x01stb.")
        with pytest.raises(UserError):
            formats.read_cifar_pickle(file)
    file.write_bytes(good)
    assert formats.read_cifar_pickle(file)[1].tolist() == [1]


def test_a_pickle_cannot_ask_for_much_memory(tmp_path):
    file = tmp_path / "batch"
    file.write_bytes(b"\x80\x02Nr\xff\xff\xff\x00.")  # None, put into the memo at place 16,777,215
    tracemalloc.start()
    with pytest.raises(UserError, match="not a CIFAR-10 python batch"):
        formats.read_cifar_pickle(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((2, 3071), np.uint8), [1, 2], r"\(2, 3071\).*expected data uint8 \(n, 3072\)"),
        (np.zeros((2, 3072), np.uint8), [1], r"labels int64 \(1,\)"),
        (np.zeros((2, 3072), np.uint8), ["cat", "dog"], "labels <U3"),
        (np.zeros((2, 3072), np.float32), [1, 2], "dtype 'f4', expected 'u1'"),
        (np.zeros((2, 3072), object), [1, 2], "dtype 'O8', expected 'u1'"),
    ],
)
def test_a_pickle_of_other_arrays_is_refused(tmp_path, x, y, message):
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps({b"data": x, b"labels": y}, 3))
    with pytest.raises(UserError, match=message):
        formats.read_cifar_pickle(file)


def test_cifar_label_out_of_range(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "data_batch_2").write_bytes(python2_batch(np.zeros((3, 3072), np.uint8), [0, 10, 1]))
    with pytest.raises(UserError, match="cifar10, training part: the label 10 of sample 4"):
        data.load("cifar10", data_dir=tmp_path)


def test_cifar_binary_batches(tmp_path):
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (10_000, 3073), dtype=np.uint8)
    file = tmp_path / "data_batch_1.bin"
    file.write_bytes(records.tobytes())
    x, y = formats.read_cifar_binary(file)
    assert np.array_equal(y, records[:, 0])
    assert x[1234, 1, 2, 3] == records[1234, 1 + 1024 + 2 * 32 + 3]
    file.write_bytes(records[:-1].tobytes())  # a whole record is missing: there is no header to tell
    with pytest.raises(UserError, match=r"data_batch_1.bin: truncated .* 30,726,927 bytes, expected 30,730,000"):
        formats.read_cifar_binary(file)


# .npz


def save(folder, **arrays):
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def test_npz_with_its_own_test_part(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), np.arange(50) % 3
    loaded = data.load(save(tmp_path, x_train=x, y_train=y, x_test=x[:7], y_test=y[:7]), val_size=0, preprocess="none")
    assert np.array_equal(loaded.train.x, x.astype(np.float32))
    assert np.array_equal(loaded.test.y, y[:7])
    assert loaded.n_classes == 3
    assert loaded.input_shape == (3,)


def test_npz_without_a_test_part_has_one_drawn_the_same_for_every_seed(tmp_path):
    x = np.arange(200.0).reshape(100, 2)
    file = save(tmp_path, x=x, y=np.arange(100) % 2)
    one, two = (data.load(file, seed=seed, preprocess="none") for seed in (0, 1))
    assert [len(one.train), len(one.validation), len(one.test)] == [72, 8, 20]
    assert np.array_equal(one.test.x, two.test.x)
    assert not np.array_equal(one.validation.x, two.validation.x)
    everything = np.concatenate([one.train.x, one.validation.x, one.test.x])
    assert sorted(everything[:, 0]) == x[:, 0].tolist()


def with_nan(value):
    x = np.ones((6, 2))
    x[4, 1] = value
    return x


LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": with_nan(np.nan), "y": LABELS}, "training part: NaN or infinity in 1 samples, the first is 4"),
        ({"x": with_nan(-np.inf), "y": LABELS}, "NaN or infinity in 1 samples, the first is 4"),
        ({"x": with_nan(1e300), "y": LABELS, "preprocess": "none"}, "NaN or infinity"),
        ({"x": with_nan(1e300), "y": LABELS}, "training part: NaN or infinity in 1 samples, the first is 4"),
        ({"x": np.ones((6, 2)), "y": 0 * LABELS}, "all of its 6 training labels are 0, expected at least 2 classes"),
        ({"x": np.ones((1, 2)), "y": LABELS[:1]}, "all of its 1 training labels are 0, .* with a sample each"),
        ({"x": np.ones((6, 0)), "y": LABELS}, r"inputs of shape \(0,\), expected at least one number in each"),
        ({"x": np.ones((6, 1, 0, 0)), "y": LABELS}, r"inputs of shape \(1, 0, 0\), expected at least one number"),
        ({"x": np.array([{}, 1, 2, 3, 4, 5]), "y": LABELS}, "Object arrays cannot be loaded"),
        ({"x": np.ones(6), "y": LABELS}, r"x is float64 \(6,\), expected real numbers \(n, d\)"),
        ({"x": np.ones((6, 2), complex), "y": LABELS}, r"x is complex128"),
        ({"x": np.ones((6, 8, 8, 3)), "y": LABELS}, r"channels last, \(6, 8, 8, 3\)"),
        ({"x": np.ones((6, 2)), "y": LABELS / 1}, r"y is float64 \(6,\), expected integers \(6,\)"),
        ({"x": np.ones((6, 2)), "y": LABELS[:5]}, r"y is int64 \(5,\), expected integers \(6,\)"),
        ({"x": np.ones((6, 2)), "y": LABELS - 1}, "labels go from -1 to 0 with 2 different ones"),
        ({"x": np.ones((6, 2)), "y": LABELS * 10**12}, "labels go from 0 to 1000000000000 with 2 different"),
        ({"x": np.ones((0, 2)), "y": LABELS[:0]}, "expected as many integer labels as inputs, and not none"),
        ({"x": np.ones((6, 2)), "labels": LABELS}, "holds labels, x; expected the keys x, y or x_train"),
        ({"x_train": np.ones((6, 2)), "y_train": LABELS}, "expected the keys"),
        (
            {"x_train": np.ones((6, 2)), "y_train": LABELS, "x_test": np.ones((6, 3)), "y_test": LABELS},
            r"test part: inputs of shape \(3,\), those of the training part \(2,\)",
        ),
        (
            {"x_train": np.ones((6, 2)), "y_train": LABELS, "x_test": np.ones((6, 2)), "y_test": LABELS + 1},
            "test part: the label 2 of sample 1 is out of range, expected 0 to 1",
        ),
    ],
)
def test_bad_npz_is_refused_by_name(tmp_path, arrays, message):
    preprocess = arrays.pop("preprocess", None)
    file = save(tmp_path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        data.load(file, preprocess=preprocess)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY\x01\x00v\x00", pickle.dumps([1])])
def test_what_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"set\.npz"):
        data.load(tmp_path / "set.npz")


def test_missing_npz_and_npy_in_disguise(tmp_path):
    with pytest.raises(UserError, match=r"absent.npz: cannot be read"):
        data.load(tmp_path / "absent.npz")
    with open(tmp_path / "set.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match=r"set.npz: damaged, or not an .npz"):
        data.load(tmp_path / "set.npz")


# Folders of images


def write_images(folder, counts, *, size=(6, 5), mode="RGB", suffix=".png"):
    """Images of one colour each, that tells class and number: pixel value 40 * class + number."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            value = 40 * label + i
            Image.new(mode, size, value if mode == "L" else (value, 0, 200)).save(folder / name / f"{i:02}{suffix}")


def test_folder_of_class_folders(tmp_path):
    write_images(tmp_path, {"cat": 12, "dog": 13, "eel": 5})
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    loaded = data.load(tmp_path, preprocess="none")
    assert loaded.classes == ("cat", "dog", "eel")
    assert loaded.input_shape == (3, 5, 6)
    assert [len(loaded.train), len(loaded.validation), len(loaded.test)] == [22, 2, 6]
    for part in (loaded.train, loaded.validation, loaded.test):
        assert np.array_equal(part.x[:, 0, 0, 0] // 40, part.y)
        assert (part.x[:, 1] == 0).all()
        assert (part.x[:, 2] == 200).all()


def test_folder_with_train_and_test(tmp_path):
    write_images(tmp_path / "train", {"no": 3, "yes": 4}, mode="L")
    write_images(tmp_path / "test", {"no": 1, "yes": 2}, mode="L")
    loaded = data.load(tmp_path, val_size=0, preprocess="none")
    assert loaded.train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 40, 41, 42, 43]
    assert loaded.train.y.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert loaded.test.x[:, 0, 0, 0].tolist() == [0, 40, 41]
    assert loaded.test.y.tolist() == [0, 1, 1]
    assert loaded.input_shape == (1, 5, 6)


def test_grey_and_colour_together_become_colour(tmp_path):
    write_images(tmp_path, {"a": 1})
    Image.new("L", (6, 5), 77).save(tmp_path / "grey.png")
    x = data.read_images([tmp_path / "a" / "00.png", tmp_path / "grey.png"])
    assert x.shape == (2, 3, 5, 6)
    assert (x[1] == 77).all()
    assert x[0, :, 0, 0].tolist() == [0, 0, 200]


def test_images_of_different_sizes(tmp_path):
    write_images(tmp_path, {"a": 2, "b": 2})
    Image.new("RGB", (9, 7)).save(tmp_path / "b" / "odd.png")
    with pytest.raises(UserError, match=r"odd.png is 9 x 7, .*00.png is 6 x 5 pixels: .*image_size, such as 5"):
        data.load(tmp_path)
    assert data.load(tmp_path, image_size=4).input_shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: (folder / "empty").mkdir(), "empty: no image in this class folder"),
        (lambda folder: (folder / "a" / "00.png").write_bytes(b"no image"), "00.png: not a readable image"),
        (lambda folder: os.truncate(folder / "a" / "01.png", 45), "01.png: not a readable image"),
        (lambda folder: Image.new("I;16", (6, 5)).save(folder / "a" / "deep.png"), "deep.png: pixels of mode I;16"),
    ],
)
def test_bad_image_folders(tmp_path, prepare, message):
    write_images(tmp_path, {"a": 2, "b": 2})
    prepare(tmp_path)
    with pytest.raises(UserError, match=message):
        data.load(tmp_path)


def test_bad_layouts_of_folders(tmp_path):
    with pytest.raises(UserError, match="0 class folders found, expected at least 2"):
        data.load(tmp_path)
    write_images(tmp_path / "train", {"a": 1, "b": 1})
    write_images(tmp_path / "val", {"a": 1, "b": 1})
    with pytest.raises(UserError, match="holds train, val: expected train and test alone"):
        data.load(tmp_path)
    (tmp_path / "val").rename(tmp_path / "test")
    (tmp_path / "test" / "b").rename(tmp_path / "test" / "c")
    with pytest.raises(UserError, match="the classes b, c are only in one of train and test"):
        data.load(tmp_path)


# Damage at random: a UserError, or a file that is still good; never anything else.


def samples_of_every_format(folder):
    x = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    (folder / "batch").write_bytes(python2_batch(x, [1, 2]))
    (folder / "image").write_bytes(gzip.compress(idx(x[:, :20].reshape(2, 5, 4))))
    np.savez_compressed(folder / "set.npz", x=x[:, :9], y=[0, 1])
    for suffix in ("png", "jpg", "gif", "webp", "tif"):
        Image.fromarray(x[:, :48].reshape(8, 4, 3)).save(folder / f"image.{suffix}")
    readers = {
        "batch": formats.read_cifar_pickle,
        "image": lambda path: formats.read_idx(path, 3),
        "set.npz": formats.read_npz,
    }
    images = {
        f"image.{suffix}": lambda path: formats.read_images([path]) for suffix in ("png", "jpg", "gif", "webp", "tif")
    }
    return readers | images


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that it then reads
@pytest.mark.parametrize(
    "name", ["batch", "image", "set.npz", *(f"image.{s}" for s in ("png", "jpg", "gif", "webp", "tif"))]
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_random_damage_is_a_user_error(tmp_path, name, seed):
    reader = samples_of_every_format(tmp_path)[name]
    rng = np.random.default_rng(seed)
    content = bytearray((tmp_path / name).read_bytes())
    for _ in range(rng.integers(1, 4)):
        # Most of the bytes of a batch are pixels: aim at its opcodes as often.
        at = rng.integers(len(content)) if rng.random() < 0.5 else rng.integers(min(300, len(content)))
        content[at] = rng.integers(256)
    content = content[: rng.integers(len(content))] if rng.random() < 0.3 else content
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(UserError):
        reader(tmp_path / name)
