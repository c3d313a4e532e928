"""Weights in and out of files, and into a network that was made for other classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chainrule.errors import UsageError, UserError
from chainrule.files import write_atomically
from chainrule.interop.pth import DTYPES, decode, read_pth
from chainrule.models.transfer import classification_layer
from chainrule.nn import Module

Shape = tuple[int, ...]


def load_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights, by name. Nothing that the file holds is executed.

    What a file is, is told by its content: safetensors, PyTorch's `.pth` (see `chainrule.interop.pth.read_pth`), or a
    checkpoint of chainrule, of which the network's own arrays are taken. The folder of a run stands for its best
    checkpoint. Numbers of half precision come as float32, which holds them exactly; all others as they are.

    Raises:
        UserError: the file cannot be read, is damaged, holds no weights, or asks for something to be executed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "weights.safetensors")
    >>> save_weights({"scale": np.array([1.0, 2.0])}, path)
    >>> load_weights(path)
    {'scale': array([1., 2.])}
    """
    path = Path(path)
    if path.is_dir():
        folder, path = path, path / "checkpoints" / "best.safetensors"
        if not path.exists():
            raise UserError(
                f"{folder} is no file of weights, nor the folder of a run: it holds no {path.relative_to(folder)}"
            )
    try:
        with open(path, "rb") as file:
            beginning = file.read(9)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    # safetensors: the length of the header, in 8 bytes, and the header, which is JSON
    arrays = _read_safetensors(path) if beginning[8:] == b"{" else read_pth(path)
    for name in arrays:
        if not name.isprintable():
            raise UserError(f"{path} holds an array named {name[:50]!r}: not a name, get the file again")
    return arrays


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize, safe_open

    try:
        with safe_open(path, framework="np") as file:
            is_checkpoint = "chainrule" in (file.metadata() or {})
        entries = deserialize(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from None
    if is_checkpoint:  # the optimizer's arrays and others are beside the network's
        entries = [(name.removeprefix("model."), entry) for name, entry in entries if name.startswith("model.")]
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise UserError(f"{path}: {name} has dtype {entry['dtype']}, expected one of {', '.join(DTYPES)}")
    return {name: decode(entry["dtype"], entry["data"]).reshape(entry["shape"]) for name, entry in sorted(entries)}


def require_safetensors(path: Path) -> None:
    """Raises `UsageError` if a file of weights is to have another suffix."""
    if path.suffix != ".safetensors":
        raise UsageError(f"weights are written as safetensors: name the file {path.with_suffix('.safetensors')}")


def save_weights(model: Module | Mapping[str, np.ndarray], path: str | Path) -> None:
    """Writes a network's arrays, or those of a state dict, to a safetensors file that PyTorch's users can load too.

    The file is whole or absent; `load_weights` gives back the same arrays, bit for bit (half precision as float32).

    Args:
        model: its `state_dict()` is written: parameters and other state; or arrays by name.
        path: ends in `.safetensors`; an earlier file of that name is replaced.

    Raises:
        UsageError: another suffix.
        UserError: the file cannot be written, or an array has a dtype that safetensors does not know.

    >>> import tempfile
    >>> from chainrule.nn import Linear
    >>> path = Path(tempfile.mkdtemp(), "weights.safetensors")
    >>> save_weights(Linear(4, 3), path)
    >>> {name: array.shape for name, array in load_weights(path).items()}
    {'bias': (3,), 'weight': (3, 4)}
    """
    from safetensors.numpy import save

    path = Path(path)
    require_safetensors(path)
    state = model.state_dict() if isinstance(model, Module) else model
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise UserError(f"cannot write {path}: {name} has dtype {array.dtype}, expected real numbers or booleans")
    write_atomically(path, save(arrays, metadata={"format": "pt"}))


@dataclass(frozen=True)
class Loaded:
    """What `load_pretrained` did with every array; printed, it is a short paragraph."""

    path: str
    loaded: tuple[str, ...]  #: copied from the file
    replaced: tuple[str, ...]  #: of the classification layer, which stays new because the file's does not fit
    missing: tuple[str, ...]  #: the network has them, the file does not: they keep their values
    unexpected: tuple[str, ...]  #: the file has them, the network does not
    mismatched: dict[str, tuple[Shape, Shape]]  #: the shape in the file and the network's: they keep their values

    def __str__(self) -> str:
        """How much was loaded, and everything that was not."""
        return f"{self.path}: {self._figures()}. {self._classification()}{self._differences()}"

    def _figures(self) -> str:
        total = len(self.loaded) + len(self.replaced) + len(self.missing) + len(self.mismatched)
        return f"{len(self.loaded)} of the network's {total} arrays were loaded"

    def _classification(self) -> str:
        if not self.replaced:
            return "The classification layer fits and was loaded too."
        return f"The classification layer stays new: {', '.join(self.replaced)}."

    def _differences(self) -> str:
        shapes = [f"{name} is {found}, expected {expected}" for name, (found, expected) in self.mismatched.items()]
        kinds = {"Other shapes": shapes, "Not in the file": self.missing, "Not in the network": self.unexpected}
        return "".join(f" {kind}: {_first_few(names)}." for kind, names in kinds.items() if names)


def _first_few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return "; ".join(names[:5]) + more


def load_pretrained(model: Module, path: str | Path) -> Loaded:
    """Copies a file's weights into a network that may have been made for other classes: transfer learning.

    Every array whose name and shape fit is copied. The classification layer, the last one with parameters, stays new as
    a whole unless all of it fits. Whatever else does not fit keeps its values, and is listed. Batch norm's
    `num_batches_tracked`, which old files lack, is not listed.

    Args:
        model: changed in place; parameters keep their dtype.
        path: as for `load_weights`.

    Raises:
        UserError: as `load_weights`; less than half of the parameters before the classification layer fit, so that the
            file belongs to another network; the file holds NaN or infinity. The network is not changed then.

    >>> import tempfile
    >>> from chainrule.nn import Linear, ReLU, Sequential
    >>> path = Path(tempfile.mkdtemp(), "weights.safetensors")
    >>> save_weights(Sequential(Linear(4, 8), ReLU(), Linear(8, 1000)), path)
    >>> load_pretrained(Sequential(Linear(4, 8), ReLU(), Linear(8, 10)), path).replaced
    ('2.weight', '2.bias')
    """
    given, own = load_weights(path), model.state_dict()
    fitting = {name for name in own.keys() & given.keys() if own[name].shape == given[name].shape}
    layer = classification_layer(model)
    replaced = () if fitting.issuperset(layer) else tuple(layer)
    rest = [name for name in own if name not in replaced]
    found = Loaded(
        path=str(path),
        loaded=tuple(name for name in rest if name in fitting),
        replaced=replaced,
        missing=tuple(name for name in rest if name not in given and not _counts_batches(name)),
        unexpected=tuple(name for name in given if name not in own and not _counts_batches(name)),
        mismatched={n: (given[n].shape, own[n].shape) for n in rest if n in given and n not in fitting},
    )
    _require_the_same_network(model, found)
    for name in found.loaded:
        if not np.isfinite(given[name]).all():
            raise UserError(f"{path}: {name} holds NaN or infinity; get the file again")
    model.load_state_dict(own | {name: given[name] for name in found.loaded})
    return found


def _counts_batches(name: str) -> bool:
    return name.rpartition(".")[2] == "num_batches_tracked"


def _require_the_same_network(model: Module, found: Loaded) -> None:
    sizes = {name: parameter.size for name, parameter in model.named_parameters() if name not in found.replaced}
    fitting = sum(size for name, size in sizes.items() if name in found.loaded)
    if not fitting or fitting < sum(sizes.values()) / 2:
        raise UserError(
            f"{found.path} belongs to another network: {fitting:,} of {sum(sizes.values()):,} parameters before the "
            f"classification layer fit.{found._differences()}"
        )
