"""PyTorch's own files of weights, read without PyTorch and without executing anything in them.

A `.pth` file holds a pickle, which is a program, and the numbers beside it. Here the pickle may do what a state dict
needs and nothing else: build dicts, lists, tuples, strings and numbers, and describe tensors. What the tensors describe
is read afterwards, once every size is known to fit the file.

Formats: the zip archive of PyTorch 1.6 and later (`NAME/data.pkl`, `NAME/data/0`, ...), and the stream of pickles and
numbers before it. Source: `torch.serialization` and `torch._utils` of PyTorch 2.13.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import UserError

# The classes of storages that PyTorch's pickles name, as the types of numbers that safetensors names.
STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}  # fmt: skip
DTYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "BOOL": "u1",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1",
}  # fmt: skip

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LARGEST_NDIM = 64  # NumPy's
LARGEST_PICKLE = 8 << 20  # bytes: each may cost a hundred in memory; 100,000 tensors' descriptions fit
LARGEST_EXPANSION = 16  # all arrays together over the file: tensors may share their numbers, but within reason
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints of a training keep the weights


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` wrote, by name.

    Half and bfloat16 come as float32, which holds their numbers exactly; all other types as they are. Arrays may share
    memory where the tensors did, and are read-only. A state dict inside a checkpoint, under `state_dict`,
    `model_state_dict` or `model`, is taken out of it; what is not a tensor is left aside. The prefix `module.`, which
    PyTorch's `DataParallel` puts before every name, is removed.

    Raises:
        UserError: the file cannot be read, is damaged, or asks for anything that a file of weights does not need;
            nothing of it was executed.

    >>> read_pth("/no/such/weights.pth")
    Traceback (most recent call last):
    chainrule.errors.UserError: /no/such/weights.pth: cannot be read (No such file or directory)
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
        content, storages = _read_zip(path) if is_zip else _read_legacy(path)
        arrays = {name: _array(tensor, storages) for name, tensor in _state_dict(content).items()}
        total, size = sum(array.nbytes for array in arrays.values()), path.stat().st_size
        _expect(total <= LARGEST_EXPANSION * size, f"it declares tensors of {total:,} bytes, and has {size:,}")
        return arrays
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path} is truncated, damaged, or not a file that torch.save wrote: get it again") from error


def decode(dtype: str, raw: bytes | memoryview, order: str = "<") -> np.ndarray:
    """The numbers of type `dtype`, a key of `DTYPES`, in these bytes; F16 and BF16 as float32.

    `order` is that of the bytes, as NumPy writes it. Raises KeyError for another type.

    >>> decode("BF16", bytes([0x80, 0x3F, 0, 0xC0]))
    array([ 1., -2.], dtype=float32)
    """
    numbers = np.frombuffer(raw, order + DTYPES[dtype])
    if dtype == "BF16":  # the upper half of a float32
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    if dtype == "F16":
        return numbers.astype(np.float32)
    if dtype == "BOOL":
        return numbers != 0
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


# ------------------------------------------------------------------------------------------------------- the pickle


class _Storage(NamedTuple):
    """Numbers in a row, which tensors are views of."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(dict):
    """A dict with plain keys: to hash a tuple of a million nested ones would end the process."""

    def __setitem__(self, key: Any, value: Any) -> None:
        _expect(isinstance(key, str | int), "it holds a dict whose keys are not names")
        super().__setitem__(key, value)


def _ordered_dict(items: list[tuple[str, Any]] | tuple[()] = ()) -> _Dict:
    """`collections.OrderedDict`; Python 2 gave it the items. They are moved: a list given again gives nothing."""
    found = _Dict()
    for key, value in items:
        found[key] = value
    if items:
        items.clear()
    return found


def _size(sizes: Any) -> tuple:
    """`torch.Size`."""
    _expect(isinstance(sizes, tuple), "a torch.Size is not a tuple")
    return sizes


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    """`torch._utils._rebuild_tensor` and its `_v2`, whose further arguments concern gradients."""
    fits = isinstance(storage, _Storage) and isinstance(size, tuple) and isinstance(stride, tuple)
    _expect(fits and len(size) == len(stride) <= LARGEST_NDIM, "it holds a tensor without storage, shape or strides")
    _expect(all(type(n) is int and n >= 0 for n in (offset, *size, *stride)), "a size of a tensor is no whole number")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.size:
        raise UserError(
            f"is damaged: a tensor of shape {_shown(size)} reaches beyond its storage of {storage.size:,} numbers: "
            "get it again"
        )
    return _Tensor(storage, offset, size, stride)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    """`torch._utils._rebuild_parameter`, whose further arguments concern gradients."""
    return tensor


KNOWN: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}

# What torch.save's pickles are written in, protocols 2 to 5. Of the others some serve no state dict, and some, such as
# BYTEARRAY8, would allocate whatever a damaged file declares. BUILD and EMPTY_DICT are done in our way.
OPCODES = (
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE,
    pickle.BINPERSID, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.BINGET, pickle.LONG_BINGET,
    pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1,
    pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINSTRING, pickle.SHORT_BINSTRING,
    pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND,
    pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS,
)  # fmt: skip


class _Unpickler(pickle._Unpickler):  # the one in Python: what each opcode does can be chosen
    """Knows the names in `KNOWN` and `STORAGES`, does what `OPCODES` do, and nothing else."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="latin1")  # Python 2 wrote names as bytes
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) not in KNOWN:
            raise UserError(
                f"asks to run {_shown(f'{module}.{name}')}: refused; a file of weights holds only tensors. If you "
                "trust it, load it in PyTorch and save its state_dict() alone"
            )
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage, as ("storage", its class, its key, the device, how many numbers, in old files a view or None)."""
        kind, name, key, _device, size, *view = pid
        _expect(kind == "storage" and type(name) is str and name in STORAGES, "it holds something besides storages")
        _expect(type(key) is str and type(size) is int and size >= 0, "the key or the size of a storage is none")
        _expect(view in ([], [None]), "its storages are views of others, as before PyTorch 0.4")
        storage = _Storage(key, STORAGES[name], size)
        _expect(self.storages.setdefault(key, storage) == storage, f"storage {_shown(key)} is described in two ways")
        return storage

    def _build(self) -> None:
        """The attributes of an object. Only state dicts have any, `_metadata`, which is not needed."""
        self.stack.pop()  # type: ignore[attr-defined]
        _expect(isinstance(self.stack[-1], _Dict), "it sets attributes of something that has none")  # type: ignore[attr-defined]

    def _empty_dict(self) -> None:
        self.append(_Dict())  # type: ignore[attr-defined]

    dispatch = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPCODES} | {  # type: ignore[assignment]
        pickle.BUILD[0]: _build,
        pickle.EMPTY_DICT[0]: _empty_dict,
    }


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UserError(f"is not a file of weights: {otherwise}")


def _shown(found: object) -> str:
    """Text from a file, short and in one line."""
    text = str(found).encode("unicode_escape").decode()
    return text if len(text) <= 100 else text[:97] + "..."


# ------------------------------------------------------------------------------------------------------ the formats

Storages = dict[str, np.ndarray]  # the numbers of every storage, by its key


def _read_zip(path: Path) -> tuple[Any, Storages]:
    """What the pickle of a zip archive builds, and the storages."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        roots = [name.removesuffix("data.pkl") for name in entries if re.fullmatch("[^/]+/data.pkl", name)]
        _expect(len(roots) == 1, "it is a zip archive without data.pkl, not one that torch.save wrote")
        root = roots[0]
        # torch.save compresses nothing: the parts together are no larger than the file.
        _expect(all(e.compress_type == zipfile.ZIP_STORED for e in entries.values()), "its parts are compressed")
        declared, size = sum(entry.file_size for entry in entries.values()), path.stat().st_size
        _expect(declared <= size, f"its parts declare {declared:,} bytes, and it has {size:,}")
        described = entries[f"{root}data.pkl"].file_size
        _expect(described <= LARGEST_PICKLE, f"the description of its tensors takes {described:,} bytes")
        unpickler = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")))
        content = unpickler.load()
        order = ">" if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") == b"big" else "<"
        storages = {
            storage.key: _numbers(storage, archive.read(f"{root}data/{storage.key}"), order)
            for storage in unpickler.storages.values()
        }
    return content, storages


def _read_legacy(path: Path) -> tuple[Any, Storages]:
    """What the stream of pickles builds, and the storages.

    The pickles are a magic number, the protocol, facts about the machine, the content, and the storages' keys; then
    comes for each key how many numbers there are (8 bytes), and the numbers, little-endian on every machine.
    """
    whole = memoryview(path.read_bytes())
    stream = io.BytesIO(whole[:LARGEST_PICKLE])
    _expect(_Unpickler(stream).load() == LEGACY_MAGIC, "it does not begin as torch.save begins one")
    _protocol, _machine = _Unpickler(stream).load(), _Unpickler(stream).load()
    unpickler = _Unpickler(stream)
    content, keys = unpickler.load(), _Unpickler(stream).load()
    _expect(isinstance(keys, list) and all(type(key) is str for key in keys), "its storages have no names")
    storages = {}
    start = stream.tell()
    for key in keys:
        storage = unpickler.storages[key]
        start, end = start + 8, start + 8 + storage.size * _item_size(storage)
        _expect(int.from_bytes(whole[start - 8 : start], "little") == storage.size, "its storages have other sizes")
        storages[key] = _numbers(storage, whole[start:end])
        start = end
    return content, storages


def _item_size(storage: _Storage) -> int:
    return np.dtype(DTYPES[storage.dtype]).itemsize


def _numbers(storage: _Storage, raw: bytes | memoryview, order: str = "<") -> np.ndarray:
    if len(raw) != storage.size * _item_size(storage):
        raise UserError(
            f"is damaged: storage {_shown(storage.key)} has {len(raw):,} bytes, expected {storage.size:,} numbers of "
            f"type {storage.dtype}: get it again"
        )
    return decode(storage.dtype, raw, order)


# ------------------------------------------------------------------------------------------------------ the tensors


def _state_dict(content: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict by name, be it bare, inside a checkpoint, or of a `DataParallel`."""
    _expect(isinstance(content, _Dict), "it holds no state_dict; save model.state_dict() in PyTorch")
    found = [_tensors(content.get(key)) for key in WRAPPERS]
    tensors = next(filter(None, found), None) or _tensors(content)
    if not tensors:
        raise UserError(f"holds no tensors by name, but {_shown(', '.join(map(str, content))) or 'nothing'}")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _tensors(found: Any) -> dict[str, _Tensor]:
    if not isinstance(found, _Dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, _Tensor)}


def _array(tensor: _Tensor, storages: Storages) -> np.ndarray:
    """The tensor as a view of its storage."""
    numbers = storages[tensor.storage.key]
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    strides = [step * numbers.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
