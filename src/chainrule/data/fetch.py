"""Where the files of a data set lie: looked up in known folders, else downloaded into the user's cache."""

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chainrule.errors import UserError
from chainrule.files import locked

Progress = Callable[[str, int, int | None], None]
"""Told `(file name, bytes done, bytes in all or None)` as a download goes on."""
Files = dict[str, Path]
"""{name of a file in the layout: its path}."""
ENVIRONMENT = "CHAINRULE_DATA"


@dataclass(frozen=True)
class Remote:
    """A file to download: the mirrors are tried in turn; the checksum is pooch's `algorithm:hex`."""

    file: str
    urls: tuple[str, ...]
    checksum: str


@dataclass(frozen=True)
class Source:
    """The files of a data set, and where to find them.

    layouts: sets of files, each of which makes the data set; a file may also be there as `NAME.gz`.
    folders: the customary folders for them below a data folder, the first of which is made in the cache.
    remotes: what to download if they are nowhere; a `.tar.gz` holds the first of `folders`.
    """

    layouts: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...]
    remotes: tuple[Remote, ...]


def cache() -> Path:
    """The user's cache folder for downloaded data sets (on Linux ~/.cache/chainrule, or below XDG_CACHE_HOME)."""
    import pooch  # type: ignore[import-untyped]

    return Path(pooch.os_cache("chainrule"))


def find(name: str, source: Source, data_dir: str | Path | None = None) -> Files | None:
    """The files of the data set `name`, or None if they are not on this machine.

    With `data_dir` only that folder is searched, otherwise the one that CHAINRULE_DATA names, then the cache; in each,
    the customary subfolders and then the folder itself. Raises UserError if `data_dir` or CHAINRULE_DATA names no
    folder, and if `data_dir` does not hold the data.
    """
    for folder in _candidates(source, data_dir):
        for layout in source.layouts:
            files = {file: path for file in layout if (path := _present(folder, file))}
            if len(files) == len(layout):
                return files
    if data_dir is not None:
        raise UserError(f"{name} is not in {data_dir}. {_wanted(source, data_dir)}")
    return None


def locate(
    name: str,
    source: Source,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    progress: Progress | None = None,
) -> Files:
    """As `find`, but a data set that is nowhere is downloaded into the cache. Raises UserError if it cannot be.

    Of several processes that want to download at once, one does, and the others wait for it.
    """
    files = find(name, source, data_dir)
    if files is None and download:
        try:
            with _cache_locked():
                if find(name, source) is None:  # else another process has downloaded it meanwhile
                    _fill_cache(source, progress)
        except UserError as error:
            raise UserError(f"{name} could not be downloaded: {error}. {_wanted(source)}") from error
        files = find(name, source)
    if files is None:
        raise UserError(f"{name} is not on this machine. {_wanted(source)}")
    return files


def named_folder(data_dir: str | Path | None = None) -> Path | None:
    """`data_dir`, else the folder that CHAINRULE_DATA names, else None. Raises UserError if there is no such folder."""
    by, named = ("data_dir", data_dir) if data_dir is not None else (ENVIRONMENT, os.environ.get(ENVIRONMENT))
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UserError(f"no such folder: {named} (named by {by})")
    return folder


def _candidates(source: Source, data_dir: str | Path | None) -> Iterator[Path]:
    root = named_folder(data_dir)
    if root is not None:
        yield from (root / folder for folder in (*source.folders, ""))
    if data_dir is None:
        yield from (cache() / folder for folder in (*source.folders, ""))


def _present(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)


def _wanted(source: Source, data_dir: str | Path | None = None) -> str:
    """What would be accepted, where, and what is lacking where some of it is."""
    folders = list(_candidates(source, data_dir))
    text = (
        f"Put {' or '.join(', '.join(layout) for layout in source.layouts)} (plain or .gz) into {folders[0]}, "
        f"or name their folder with --data-dir or {ENVIRONMENT}"
    )
    for folder in folders:
        for layout in source.layouts:
            missing = [file for file in layout if not _present(folder, file)]
            if len(missing) < len(layout):
                text += f"; {folder} lacks {', '.join(missing)}"
    return text


@contextmanager
def _cache_locked() -> Iterator[None]:
    """Makes the cache, and keeps other processes from downloading into it; an `OSError` becomes a `UserError`."""
    try:
        cache().mkdir(parents=True, exist_ok=True)
        with locked(cache(), wait=True):
            yield
    except OSError as error:
        raise UserError(f"cannot write to {cache()} ({error.strerror or error})") from error


def _fill_cache(source: Source, progress: Progress | None) -> None:
    folder = cache() / source.folders[0]
    for remote in source.remotes:
        if remote.file.endswith(".tar.gz"):
            archive = fetch(remote, cache(), progress)
            unpack(archive, folder)
            archive.unlink()
        else:
            fetch(remote, folder, progress)


def fetch(remote: Remote, folder: Path, progress: Progress | None = None) -> Path:
    """Download a file into `folder`, unless it is there: mirror after mirror, until one gives the right checksum.

    What has arrived is kept in `NAME.part`, and the next mirror or the next call goes on from there. Only a complete
    file with the right checksum gets its name. Raises UserError if no mirror has it, OSError if it cannot be written.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it would print every address
    part = folder / f"{remote.file}.part"
    failures = []
    for url in remote.urls:
        try:
            return Path(pooch.retrieve(url, remote.checksum, remote.file, folder, downloader=_Resume(part, progress)))
        except requests.RequestException as error:
            failures.append(f"{url}: {_reason(error)}")
        except ValueError:  # pooch's word for a wrong checksum; it has deleted the file
            failures.append(f"{url}: wrong checksum, expected {remote.checksum}")
    kept = f"; {part.stat().st_size:,} bytes of it are kept, run again to go on" if part.exists() else ""
    raise UserError("; ".join(failures) + kept)


def _reason(error: Exception) -> str:
    """A failed request in a few words; requests' own run over several lines."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


class _Resume:
    """A downloader for pooch that goes on from a partial file, by HTTP Range."""

    def __init__(self, part: Path, progress: Progress | None):
        self.part = part
        self.progress = progress

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        import requests

        done = self.part.stat().st_size if self.part.exists() else 0
        # identity: a server must not label a .gz file as an encoding that would be undone on the way
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
            if done and response.status_code == 416:  # nothing follows what is there: begin again
                self.part.unlink()
                self(url, output_file, _pooch)
                return
            response.raise_for_status()
            resumed = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            done = done if resumed else 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else None
            with open(self.part, "ab" if resumed else "wb") as file:
                for chunk in response.iter_content(1 << 16):
                    done += file.write(chunk)
                    if self.progress:
                        self.progress(self.part.stem, done, total)
                file.flush()
                os.fsync(file.fileno())
        os.replace(self.part, output_file)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive that holds the one folder `folder.name` as `folder`, in one step.

    Raises UserError, and leaves nothing behind, for a damaged archive and for one with anything that would land
    outside, links out, or is no plain file.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unpack-") as temporary:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{archive}: damaged or unsafe archive ({error}); delete it") from error
        unpacked = Path(temporary, folder.name)
        if not unpacked.is_dir():
            raise UserError(f"{archive}: holds no folder {folder.name}")
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete one: a complete one would have been found
        os.replace(unpacked, folder)
