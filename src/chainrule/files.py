"""Files that are whole or absent: a crash, a full disk or kill -9 leaves what was there before; and locks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chainrule.errors import UserError


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block (a full disk, a folder without write permission) into a `UserError`.

    >>> with naming_the_file(Path("/no/such/folder/x")):
    ...     open("/no/such/folder/x")
    Traceback (most recent call last):
    chainrule.errors.UserError: cannot write /no/such/folder/x: No such file or directory; earlier files are unharmed
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; earlier files are unharmed") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes `content` to `path` in one stroke: a temporary file beside it, synced to the disk, then renamed.

    Raises `UserError` if the disk is full or the folder cannot be written; an earlier file then stays as it was.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "greeting.txt"
    >>> write_atomically(path, b"hello")
    >>> path.read_text()
    'hello'
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with naming_the_file(path):
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Holds a lock on the file or folder `path`, which dies with its process.

    While another holds it, this waits; without `wait` it raises `BlockingIOError`. Where there are no such locks
    (Windows, some network disks) it holds nothing.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with locked(folder, wait=True), locked(folder, wait=False):
    ...     pass
    Traceback (most recent call last):
    BlockingIOError: [Errno ...] Resource temporarily unavailable
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder last through a power cut (POSIX; other systems cannot open a folder)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
