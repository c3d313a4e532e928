"""File formats: from bytes to arrays. Every size is checked, and nothing that a file holds is executed."""

import gzip
import io
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import UserError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
CIFAR_RECORDS = 10_000
"""Records of a binary CIFAR-10 batch, each 1 byte of label and 3,072 of pixels. The files have no header to say so."""


def read_bytes(path: Path) -> bytes:
    """A file's content, decompressed if it is gzip. Raises UserError if it cannot be read or the gzip is damaged."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged or truncated gzip file ({error}); replace it with a good copy") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """An IDX file of bytes, raw or gzip, of `ndim` dimensions: MNIST's images have 3, its labels 1.

    Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit integer, then the data, last dimension fastest (Y. LeCun, http://yann.lecun.com/exdb/mnist).
    Raises UserError if the magic number is another or the size is not the one that the header promises.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "labels")
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    >>> read_idx(file, 1)
    array([5, 0, 4], dtype=uint8)
    """
    content = read_bytes(path)
    magic, start = bytes([0, 0, 8, ndim]), 4 + 4 * ndim
    if content[:4] != magic:
        raise UserError(
            f"{path}: not an IDX file of {ndim}-dimensional bytes: it begins with {content[:4].hex(' ') or 'nothing'}, "
            f"expected {magic.hex(' ')}"
        )
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    expected = start + int(np.prod(shape, dtype=object))  # Python integers: a damaged header must not overflow
    if len(content) != expected:
        raise UserError(
            f"{path}: truncated or damaged: it holds {len(content):,} bytes, but its header promises {expected:,} "
            f"for the shape {tuple(shape)}; replace it with a good copy"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


class _DType:
    """Stands in for numpy.dtype in a pickle: unsigned bytes, which are all that a batch of images needs."""

    def __init__(self, code: str | bytes):
        if code not in ("u1", b"u1"):
            raise UserError(f"it holds an array of dtype {code!r}, expected 'u1'")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which bytes do not have."""


class _Array:
    """Stands in for numpy.ndarray in a pickle, so that NumPy's own unpickling code never meets a stranger's bytes."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, _dtype, fortran, raw = state
        self.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C makes its memo as large as a damaged file says
    """Builds arrays, lists, tuples, dicts, strings, bytes and numbers; a name that it does not know ends it."""

    def find_class(self, module: str, name: str) -> Any:
        # A new function at each call: a pickle can set attributes of what it is given, and must not reach ours.
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *_: _Array()
        if (module, name) == ("numpy", "dtype"):
            return lambda code, *_: _DType(code)
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"  # only ever an argument of _reconstruct
        raise UserError(f"it asks for {module}.{name}; a batch holds only arrays and lists, so nothing was executed")


def read_cifar_pickle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A python batch of CIFAR-10: images, uint8 (n, 3, 32, 32), and labels, (n,).

    Batches are pickles of Python 2, and a pickle is a program: this one is read by an unpickler that can build arrays,
    lists, dicts, strings, bytes and numbers, and nothing else. Raises UserError for anything else, or a damaged file.
    """
    content = read_bytes(path)
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        x, y = batch["data"].value, np.array(batch["labels"])
    except UserError as error:
        raise UserError(f"{path}: refused: {error}; get the official cifar-10-python.tar.gz") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(
            f"{path}: truncated, damaged or not a CIFAR-10 python batch ({type(error).__name__}: {error}); "
            "replace it with a good copy"
        ) from error
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3072 or y.dtype.kind not in "iu" or y.shape != (len(x),):
        raise UserError(
            f"{path}: not a CIFAR-10 batch: data {x.dtype} {x.shape}, labels {y.dtype} {y.shape}; "
            "expected data uint8 (n, 3072), labels integer (n,)"
        )
    return x.reshape(-1, 3, 32, 32), y


def read_cifar_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A binary batch of CIFAR-10, as `read_cifar_pickle`. Raises UserError unless it is 10,000 x 3,073 bytes."""
    content = read_bytes(path)
    expected = CIFAR_RECORDS * 3073
    if len(content) != expected:
        raise UserError(
            f"{path}: truncated or not a CIFAR-10 binary batch: {len(content):,} bytes, expected {expected:,}; "
            "replace it with a good copy"
        )
    records = np.frombuffer(content, np.uint8).reshape(CIFAR_RECORDS, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def read_npz(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs (x, y) of an `.npz`: training and test under x_train, y_train, x_test, y_test, or one under x, y.

    x is real, (n, d), images (n, h, w) or (n, c, h, w), and comes back as (n, d) or (n, c, h, w); y is integer, (n,).
    Raises UserError for other keys, shapes and dtypes, for object arrays (they are pickles) and for a damaged file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "two.npz")
    >>> np.savez(file, x=np.zeros((4, 28, 28), np.uint8), y=np.array([0, 1, 1, 0]))
    >>> [(x, y)] = read_npz(file)
    >>> x.shape, y.shape
    ((4, 1, 28, 28), (4,))
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            found = set(archive.files)
            keys = [("x_train", "y_train"), ("x_test", "y_test")] if "x_train" in found else [("x", "y")]
            missing = {key for pair in keys for key in pair} - found
            pairs = [] if missing else [(archive[x], archive[y]) for x, y in keys]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except Exception as error:  # a damaged archive can raise anything
        raise UserError(
            f"{path}: damaged, or not an .npz of plain numbers ({error}); save it with np.savez(path, x=x, y=y)"
        ) from error
    if missing:
        raise UserError(
            f"{path}: holds {', '.join(sorted(found)) or 'nothing'}; "
            "expected the keys x, y or x_train, y_train, x_test, y_test"
        )
    return [_npz_pair(path, x, y) for x, y in pairs]


def _npz_pair(path: Path, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if x.dtype.kind not in "biuf" or x.ndim not in (2, 3, 4):
        raise UserError(f"{path}: x is {x.dtype} {x.shape}, expected real numbers (n, d), (n, h, w) or (n, c, h, w)")
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        raise UserError(f"{path}: x has the channels last, {x.shape}: save x.transpose(0, 3, 1, 2), (n, c, h, w)")
    if y.dtype.kind not in "biu" or y.shape != x.shape[:1]:
        raise UserError(f"{path}: y is {y.dtype} {y.shape}, expected integers {x.shape[:1]}, one label per sample")
    return (x[:, None] if x.ndim == 3 else x), y


def image_classes(folder: Path) -> dict[str, list[Path]]:
    """The image files of every class: one subfolder each, named like the class; both sorted by name.

    Raises UserError if there are fewer than two classes, or one is without images.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        raise UserError(f"{folder}: {len(folders)} class folders found, expected at least 2, each named like its class")
    classes = {}
    for path in folders:
        files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
        if not files:
            raise UserError(f"{path}: no image in this class folder, expected {', '.join(IMAGE_SUFFIXES)}")
        classes[path.name] = sorted(files)
    return classes


def read_images(
    paths: Sequence[Path], *, channels: int | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Image files as uint8 (n, c, h, w), pixels 0 to 255.

    Args:
        paths: the files.
        channels: 1 converts to grey, 3 to RGB; None gives grey if every file is grey, else RGB. Transparency is lost.
        size: (h, w) to resize to, bilinear; None wants all of one size.

    Raises UserError, naming the file, if one cannot be read, has more than 8 bits per channel, or is of another size.

    >>> import tempfile
    >>> from PIL import Image
    >>> file = Path(tempfile.mkdtemp(), "grey.png")
    >>> Image.new("L", (6, 4), 200).save(file)
    >>> read_images([file]).shape, read_images([file], channels=3, size=(2, 3)).shape
    ((1, 1, 4, 6), (1, 3, 2, 3))
    """
    images = [_read_image(path, channels, size) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape[1:] != images[0].shape[1:]:
            (h, w), (first_h, first_w) = image.shape[1:], images[0].shape[1:]
            raise UserError(
                f"images of different sizes: {path} is {w} x {h}, {paths[0]} is {first_w} x {first_h} pixels: "
                f"resize them, or choose one size with image_size, such as {min(first_h, first_w)}"
            )
    most_channels = max(image.shape[0] for image in images)
    return np.stack([np.broadcast_to(image, (most_channels, *image.shape[1:])) for image in images])


def _read_image(path: Path, channels: int | None, size: tuple[int, int] | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # more than 8 bits: a conversion would clip them
                raise UserError(
                    f"{path}: pixels of mode {image.mode}, expected 8 bits per channel: convert it to 8 bits"
                )
            grey = channels == 1 or (channels is None and image.mode in ("1", "L", "LA"))
            converted = image.convert("L" if grey else "RGB")
            if size is not None:
                converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            pixels = np.asarray(converted)
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise UserError(f"{path}: not a readable image ({error}); replace or remove it") from error
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
