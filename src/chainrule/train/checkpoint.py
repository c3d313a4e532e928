"""Checkpoints: safetensors files whose arrays are the weights and the optimizer's, and whose metadata is JSON.

Loading one executes nothing. A digest over everything tells a damaged file from a sound one.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import UserError
from chainrule.files import write_atomically

_KEY = "chainrule"
_FORMAT = 1  # goes up when what a checkpoint holds changes


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: `facts` can be written as JSON, `arrays` are NumPy arrays by name."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def arrays_under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with `prefix` and a dot, under the rest of their names.

        >>> Checkpoint({}, {"model.weight": np.ones(2), "optimizer.step": np.zeros(())}).arrays_under("model")
        {'weight': array([1., 1.])}
        """
        return {name.removeprefix(prefix + "."): a for name, a in self.arrays.items() if name.startswith(prefix + ".")}


@dataclass(frozen=True)
class Header:
    """What a checkpoint says without its arrays being read: `facts`, and the shapes of the arrays by name."""

    facts: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint atomically; equal checkpoints give equal bytes.

    Raises `UserError` if it cannot be written; an earlier checkpoint of that name then stays as it was.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "last.safetensors"
    >>> save(path, Checkpoint({"step": 7}, {"w": np.arange(3.0)}))
    >>> load(path).facts["step"]
    7
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}
    facts = json.dumps(checkpoint.facts, sort_keys=True, default=np.ndarray.tolist)
    record = json.dumps({"facts": facts, "format": _FORMAT, "sha256": _digest(facts, arrays)}, sort_keys=True)
    # One metadata string: safetensors keeps several in no fixed order, and the bytes would differ from run to run.
    write_atomically(path, to_bytes(arrays, metadata={_KEY: record}))


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises `UserError` if the file is missing, is not a checkpoint of chainrule, or is damaged.
    """
    with _opened(path) as file:
        facts, digest = _record(path, file.metadata() or {})
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if digest != _digest(facts, arrays):
        raise UserError(f"the checkpoint {path} is damaged: its content does not match its checksum")
    return Checkpoint(json.loads(facts), arrays)


def header(path: Path) -> Header:
    """Reads the beginning of a checkpoint; damage further on goes unnoticed.

    Raises `UserError` if the file is missing or is not a checkpoint of chainrule.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "last.safetensors"
    >>> save(path, Checkpoint({"step": 7}, {"w": np.arange(3.0)}))
    >>> header(path)
    Header(facts={'step': 7}, shapes={'w': (3,)})
    """
    with _opened(path) as file:
        facts, _ = _record(path, file.metadata() or {})
        return Header(json.loads(facts), {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"the checkpoint {path} is damaged or not a safetensors file: {error}") from None


def _record(path: Path, metadata: dict[str, str]) -> tuple[str, str]:
    """The facts, as JSON, and the digest."""
    if _KEY not in metadata:
        raise UserError(f"{path} is a safetensors file, but not a checkpoint that chainrule wrote")
    try:
        record = json.loads(metadata[_KEY])
        facts, digest, written = record["facts"], record["sha256"], record.get("format")
    except (ValueError, TypeError, KeyError):
        raise UserError(f"the checkpoint {path} is damaged: its metadata cannot be read") from None
    if written != _FORMAT:
        raise UserError(
            f"the checkpoint {path} has format {written}, expected {_FORMAT}: use the version of chainrule that wrote "
            "it (environment.json names it), or train again"
        )
    return facts, digest


def _digest(facts: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(facts.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
