"""Looking data sets up, and downloading them: against a server on this machine that misbehaves as asked."""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from test_data_formats import python2_batch, write_cifar, write_mnist

from chainrule import data
from chainrule.data import datasets, fetch
from chainrule.errors import UserError

CONTENT = np.random.default_rng(0).bytes(1_000_003)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; `cut[path]` closes the connection after so many bytes, `whole` ignores Range."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.whole, self.asked = {}, {}, set(), []

    def url(self, path, content=None, *, cut=None, whole=False):
        path = "/" + path
        if content is not None:
            self.files[path] = content
        if cut is not None:
            self.cut[path] = cut
        if whole:
            self.whole.add(path)
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if self.path not in server.files:
            return self.send_error(404)
        content = server.files[self.path]
        start = 0
        if (asked := self.headers.get("Range")) and self.path not in server.whole:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if "gzip" in self.headers.get("Accept-Encoding", "") and self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")  # as some do; the client would then unpack it on the way
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        return self.wfile.write(content[start : start + server.cut.pop(self.path, len(content))])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """A user without data and with an empty cache."""
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setattr(fetch, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


# Download


def test_the_next_mirror_is_tried_when_one_fails(server, tmp_path):
    seen = []
    urls = (server.url("absent"), "http://127.0.0.1:1/refused", server.url("good", CONTENT))
    remote = fetch.Remote("file.bin", urls, SHA256)
    file = fetch.fetch(remote, tmp_path, lambda *args: seen.append(args))
    assert file.read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.bin"]
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    fetch.fetch(remote, tmp_path)
    assert len(server.asked) == 2  # what is there is not fetched again


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    remote = fetch.Remote("file.bin", (server.url("cut", CONTENT, cut=600_000),), SHA256)
    with pytest.raises(
        UserError, match=r"/cut: the connection was cut; [\d,]+ bytes of it are kept, run again to go on"
    ):
        fetch.fetch(remote, tmp_path)
    kept = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < kept <= 600_000
    assert not (tmp_path / "file.bin").exists()
    seen = []
    assert fetch.fetch(remote, tmp_path, lambda *args: seen.append(args)).read_bytes() == CONTENT
    assert server.asked == [("/cut", None), ("/cut", f"bytes={kept}-")]
    assert seen[0][1] > kept
    assert seen[0][2] == len(CONTENT)
    assert not (tmp_path / "file.bin.part").exists()


def test_another_mirror_goes_on_with_what_the_first_gave(server, tmp_path):
    urls = (server.url("cut", CONTENT, cut=600_000), server.url("good", CONTENT))
    assert fetch.fetch(fetch.Remote("file.bin", urls, SHA256), tmp_path).read_bytes() == CONTENT
    assert server.asked[1][1].startswith("bytes=")


def test_a_server_that_sends_the_whole_again_is_understood(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    remote = fetch.Remote("file.bin", (server.url("whole", CONTENT, whole=True),), SHA256)
    assert fetch.fetch(remote, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 1000, CONTENT, b"x" * 2_000_000])
def test_a_useless_partial_file_does_no_lasting_harm(server, tmp_path, part):
    (tmp_path / "file.bin.part").write_bytes(part)
    remote = fetch.Remote("file.bin", (server.url("one", CONTENT), server.url("two", CONTENT)), SHA256)
    assert fetch.fetch(remote, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_never_accepted(server, tmp_path):
    bad = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    remote = fetch.Remote("file.bin", (server.url("bad", bad),), SHA256)
    with pytest.raises(UserError, match=f"/bad: wrong checksum, expected {SHA256}"):
        fetch.fetch(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []
    both = replace(remote, urls=(*remote.urls, server.url("good", CONTENT)))
    assert fetch.fetch(both, tmp_path).read_bytes() == CONTENT


def test_every_failure_is_named(server, tmp_path):
    urls = (server.url("absent"), "http://127.0.0.1:1/refused")
    with pytest.raises(UserError, match=r"/absent: HTTP 404; http://127.0.0.1:1/refused: no connection$"):
        fetch.fetch(fetch.Remote("file.bin", urls, SHA256), tmp_path)


# Whole data sets


def idx_source(source, server, files, **behaviour):
    """The source with its remotes on the local server, serving these files."""
    remotes = []
    for remote in source.remotes:
        content = files[remote.file]
        checksum = "md5:" + hashlib.md5(content).hexdigest()
        remotes.append(fetch.Remote(remote.file, (server.url(remote.file, content, **behaviour),), checksum))
    return replace(source, remotes=tuple(remotes))


def use(monkeypatch, name, source):
    monkeypatch.setitem(datasets._FILES, name, (source, datasets._FILES[name][1]))


def test_mnist_is_downloaded_once_into_the_cache(server, tmp_path, monkeypatch, own_cache):
    arrays = write_mnist(tmp_path / "original", compress=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    use(monkeypatch, "mnist", idx_source(datasets._FILES["mnist"][0], server, files))
    assert data.find("mnist") is None
    with pytest.raises(UserError, match="mnist is not on this machine"):
        data.load("mnist", download=False)
    seen = set()
    loaded = data.load("mnist", val_size=0, preprocess="none", progress=lambda name, *_: seen.add(name))
    assert np.array_equal(loaded.train.x[:, 0], arrays["train-images-idx3-ubyte"])
    assert seen == set(files)
    assert data.find("mnist") == own_cache / "mnist"
    data.load("mnist", val_size=0)
    assert len(server.asked) == 4


def test_of_two_that_download_at_once_one_does_and_the_other_waits(server, tmp_path, monkeypatch, own_cache):
    batches = write_cifar(tmp_path / "original")
    content = tar({f"cifar-10-batches-py/{name}": python2_batch(*batch) for name, batch in batches.items()})
    use(monkeypatch, "cifar10", cifar_source(server, content))
    looking, find = threading.Barrier(2), fetch.find

    def both_look_before_one_downloads(*args):
        found = find(*args)
        with contextlib.suppress(threading.BrokenBarrierError):
            looking.wait(1)
        looking.abort()  # later looks do not wait
        return found

    monkeypatch.setattr(fetch, "find", both_look_before_one_downloads)
    with ThreadPoolExecutor(2) as threads:
        loads = [threads.submit(data.load, "cifar10", val_size=0, preprocess="none") for _ in range(2)]
    assert {len(load.result().train) for load in loads} == {15}
    assert len(server.asked) == 1
    assert [path.name for path in own_cache.iterdir()] == ["cifar-10-batches-py"]


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
    return buffer.getvalue()


def cifar_source(server, content):
    source = datasets._FILES["cifar10"][0]
    remote = fetch.Remote(
        "cifar-10-python.tar.gz", (server.url("cifar", content),), "md5:" + hashlib.md5(content).hexdigest()
    )
    return replace(source, remotes=(remote,))


def test_cifar_is_downloaded_and_unpacked(server, tmp_path, monkeypatch, own_cache):
    batches = write_cifar(tmp_path / "original")
    content = tar({f"cifar-10-batches-py/{name}": python2_batch(*batch) for name, batch in batches.items()})
    use(monkeypatch, "cifar10", cifar_source(server, content))
    (own_cache / "cifar-10-batches-py").mkdir(parents=True)  # left behind by something that was killed
    (own_cache / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    loaded = data.load("cifar10", val_size=0, preprocess="none")
    assert np.array_equal(loaded.test.x.reshape(3, 3072), batches["test_batch"][0])
    assert [path.name for path in own_cache.iterdir()] == ["cifar-10-batches-py"]
    data.load("cifar10", val_size=0)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"cifar-10-batches-py/../../outside": b"x"}, "unsafe archive"),
        ({"cifar-10-batches-py/link": "/etc/passwd"}, "unsafe archive"),
        ({"other/data_batch_1": b"x"}, "holds no folder cifar-10-batches-py"),
        (None, "damaged or unsafe archive"),
    ],
)
def test_an_unsafe_or_damaged_archive_leaves_nothing(server, tmp_path, monkeypatch, own_cache, members, message):
    content = gzip.compress(b"no archive" * 100)[:-30] if members is None else tar(members)
    use(monkeypatch, "cifar10", cifar_source(server, content))
    with pytest.raises(UserError, match=message):
        data.load("cifar10")
    assert [path.name for path in own_cache.iterdir()] == ["cifar-10-python.tar.gz"]
    assert not (tmp_path / "outside").exists()


def test_a_full_disk_is_said_and_leaves_nothing_half_written(server, tmp_path, monkeypatch, own_cache):
    write_mnist(tmp_path / "original", compress=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "original").iterdir()}
    use(monkeypatch, "mnist", idx_source(datasets._FILES["mnist"][0], server, files))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            UserError, match=r"mnist could not be downloaded: cannot write to .*No space left on device"
        ):
            data.load("mnist")
    assert [path.suffix for path in (own_cache / "mnist").iterdir()] == [".part"]
    assert len(data.load("mnist", val_size=0).train) == 30  # once there is space again


def test_a_cache_that_cannot_be_made_is_said(server, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write to .*cache"):
        data.load("mnist")


def test_offline_says_what_to_put_where(monkeypatch, own_cache):
    source = datasets._FILES["cifar10"][0]
    remote = replace(source.remotes[0], urls=("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"))
    use(monkeypatch, "cifar10", replace(source, remotes=(remote,)))
    with pytest.raises(UserError) as caught:
        data.load("cifar10")
    assert str(caught.value) == (
        "cifar10 could not be downloaded: http://127.0.0.1:1/a: no connection; http://127.0.0.1:1/b: no connection. "
        "Put data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch or data_batch_1.bin, "
        "data_batch_2.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, test_batch.bin (plain or .gz) into "
        f"{own_cache}/cifar-10-batches-py, or name their folder with --data-dir or CHAINRULE_DATA"
    )


# Where files are looked for


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw", "MNIST", "raw"])
@pytest.mark.parametrize("by", ["data_dir", "environment"])
def test_mnist_is_found_in_its_customary_folders(tmp_path, monkeypatch, folder, by):
    write_mnist(tmp_path / "given" / folder)
    data_dir = tmp_path / "given"
    if by == "environment":
        monkeypatch.setenv("CHAINRULE_DATA", str(data_dir))
        data_dir = None
    assert data.find("mnist", data_dir) == tmp_path / "given" / folder
    assert len(data.load("mnist", data_dir=data_dir, val_size=0).train) == 30


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-py", "cifar10/cifar-10-batches-py"])
def test_cifar_is_found_in_its_customary_folders(tmp_path, folder, monkeypatch):
    write_cifar(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    assert len(data.load("cifar10", data_dir=".", val_size=0).train) == 15


def test_data_dir_wins_over_the_environment_and_the_environment_over_the_cache(tmp_path, monkeypatch, own_cache):
    for folder, n in ((tmp_path / "given", 21), (tmp_path / "environment", 22), (own_cache / "mnist", 23)):
        write_mnist(folder, n_train=n)
    assert len(data.load("mnist", val_size=0).train) == 23
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "environment"))
    assert len(data.load("mnist", val_size=0).train) == 22
    assert len(data.load("mnist", val_size=0, data_dir=tmp_path / "given").train) == 21


def test_a_missing_folder_is_an_error_even_if_the_data_are_elsewhere(tmp_path, monkeypatch, own_cache):
    write_mnist(own_cache / "mnist")
    with pytest.raises(UserError, match=r"no such folder: .*absent \(named by data_dir\)"):
        data.load("mnist", data_dir=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"mnist is not in .*empty\. Put train-images-idx3-ubyte, .*empty/mnist, or name"
    ):
        data.load("mnist", data_dir=tmp_path / "empty")
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"no such folder: .*absent \(named by CHAINRULE_DATA\)"):
        data.load("mnist")


def test_an_incomplete_folder_says_what_it_lacks(tmp_path):
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"/mnist lacks t10k-labels-idx1-ubyte$"):
        data.load("mnist", data_dir=tmp_path)


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.undo()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert fetch.cache().name == "chainrule"
        assert os.name != "posix" or os.uname().sysname != "Linux" or fetch.cache() == tmp_path / "chainrule"
