"""Weights in and out of files; files that lie, are damaged or are hostile; transfer learning."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from chainrule import Tensor, models, nn
from chainrule.errors import UsageError, UserError
from chainrule.interop.pth import read_pth
from chainrule.interop.weights import load_pretrained, load_weights, save_weights
from chainrule.models.transfer import classification_layer, freeze
from chainrule.train import TrainConfig, events, load_run, predict, resume, run

torch.set_num_threads(1)

FORMATS = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    **{f"protocol {k}": {"pickle_protocol": k} for k in (3, 4, 5)},
}


def mlp(n_classes=10, hidden=(16, 12), seed=0):
    return models.mlp((6,), n_classes, hidden=hidden, rng=np.random.default_rng(seed))


@pytest.fixture
def tensors():
    """One of everything that a state dict may hold."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    return OrderedDict(
        base=base,
        rows=base[1:3, ::2],
        transposed=base.t(),
        last=base[-1, -1],
        parameter=torch.nn.Parameter(torch.randn(3, 1, 5, generator=generator)),
        half=torch.randn(5, generator=generator).half(),
        bfloat=torch.randn(2, 3, generator=generator).bfloat16(),
        double=torch.randn(3, generator=generator).double(),
        expanded=torch.randn(1, generator=generator).expand(7),
        long=torch.tensor([2**40, -1]),
        int=torch.tensor([7, -7], dtype=torch.int32),
        short=torch.tensor([300], dtype=torch.int16),
        char=torch.tensor([-3], dtype=torch.int8),
        byte=torch.tensor([[255]], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(5),
        empty=torch.zeros(0, 3),
    )


def assert_same(found, tensors):
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        expected = tensor.detach()
        if tensor.dtype in (torch.half, torch.bfloat16):
            expected = expected.float()
        expected = expected.numpy()
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape), name
        assert found[name].tobytes() == expected.tobytes(), name


# ------------------------------------------------------------------------------------------------ what PyTorch writes


@pytest.mark.parametrize("settings", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {
            "epoch": 3,
            "lr": 0.1,
            "losses": [1.0, 0.5],
            "state_dict": state,
            "optimizer": {"state": {0: state}},
        },
        lambda state: {"model": state, "best": None, "shape": torch.Size([2, 3])},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["bare", "in a checkpoint", "under model", "data parallel"],
)
def test_what_torch_saves_is_read(tensors, wrap, settings, tmp_path):
    torch.save(wrap(tensors), tmp_path / "weights.pth", **settings)
    assert_same(read_pth(tmp_path / "weights.pth"), tensors)


def test_a_state_dict_with_its_metadata_is_read(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    assert_same(load_weights(tmp_path / "weights.pth"), module.state_dict())


def test_tensors_that_shared_memory_share_it(tmp_path):
    weight = torch.randn(100, 100)
    torch.save({"encoder": weight, "decoder": weight.t()}, tmp_path / "weights.pth")
    found = read_pth(tmp_path / "weights.pth")
    assert np.shares_memory(found["encoder"], found["decoder"])


def test_big_endian_files_are_read(tmp_path):
    numbers = np.array([1.5, -2.0, 3e5], ">f4")
    path = archive(tmp_path, description(shape=(3,), size=3), numbers.tobytes(), byteorder=b"big")
    np.testing.assert_array_equal(read_pth(path)["weight"], [1.5, -2.0, 3e5])


def test_ordered_dicts_of_python_2_are_read(tmp_path):
    """There an OrderedDict was pickled with its items as an argument."""

    class Items:
        def __reduce__(self):
            return OrderedDict, ([["weight", torch.arange(3)]],)

    torch.save(Items(), tmp_path / "weights.pth")
    np.testing.assert_array_equal(read_pth(tmp_path / "weights.pth")["weight"], [0, 1, 2])


# ------------------------------------------------------------------------------------------------ what hostile files do


def description(shape=(2, 3), strides=None, offset=0, size=6, storage=torch.FloatStorage, name="weight"):
    """The pickle of one tensor with whatever sizes, as torch.save writes it."""
    strides = strides or tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))

    class Storage:
        def __init__(self):
            self.pid = ("storage", storage, "0", "cpu", size)

    class Described:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, strides, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, found):
            return getattr(found, "pid", None) if type(found) is Storage else None

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump({name: Described()})
    return stream.getvalue()


def archive(folder, pickled, numbers=b"\0" * 24, *, byteorder=b"little", compression=zipfile.ZIP_STORED):
    path = folder / "weights.pth"
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("weights/data.pkl", pickled)
        file.writestr("weights/version", "3")
        file.writestr("weights/byteorder", byteorder)
        file.writestr("weights/data/0", numbers)
    return path


class Runs:
    """Pickled, a call of `function` with `args`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_the_crafted_archives_are_those_that_torch_reads(tmp_path):
    """So that a hostile one below is refused for what it does and not for how it was made."""
    path = archive(tmp_path, description(), np.arange(6, dtype=np.float32).tobytes())
    assert_same(read_pth(path), torch.load(path))


CANARY = "canary"
HOSTILE = {
    "os.system": (
        Runs(os.system, f"touch {CANARY}"),
        r"asks to run posix\.system: refused; a file of weights holds only",
    ),
    "eval": (Runs(eval, f"open('{CANARY}', 'w')"), r"asks to run (builtins|__builtin__)\.eval"),
    "exec": (Runs(exec, f"open('{CANARY}', 'w')"), r"asks to run (builtins|__builtin__)\.exec"),
    "open": (Runs(open, CANARY, "w"), r"asks to run io\.open"),
    "getattr": (Runs(getattr, "", "join"), r"asks to run (builtins|__builtin__)\.getattr"),
    "mkdir by pathlib": (
        Runs(Path.touch, Path(CANARY)),
        r"asks to run (builtins|__builtin__)\.getattr|asks to run pathlib",
    ),
    "a name in torch": (Runs(torch.load, CANARY), r"asks to run torch\.serialization\.load"),
    "a whole network": (torch.nn.Linear(2, 2), r"asks to run torch\.nn\.modules\.linear\.Linear"),
    "an array of objects": (np.array([None]), r"asks to run numpy\._core\.multiarray\._reconstruct"),
}


@pytest.mark.parametrize("settings", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(("content", "words"), HOSTILE.values(), ids=HOSTILE)
def test_nothing_is_executed(content, words, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.ones(2), "more": content}}, "weights.pth", **settings)
    for read in (read_pth, load_weights):
        with pytest.raises(UserError, match=rf"^weights\.pth {words}") as caught:
            read("weights.pth")
        assert "\n" not in str(caught.value)
    assert os.listdir() == ["weights.pth"]


def test_a_plain_pickle_is_not_executed_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(pickle.dumps(Runs(os.system, f"touch {CANARY}")))
    with pytest.raises(UserError, match=r"weights\.bin asks to run posix\.system: refused"):
        load_weights("weights.bin")
    assert os.listdir() == ["weights.bin"]


def test_a_name_of_many_lines_is_shown_in_one(tmp_path):
    name = b"posix\\n" * 100
    long = b"\x80\x04\x8c\x01\n" + b"\x8c\xff" + b"\x1b[31m" * 51 + b"\x93."
    path = archive(tmp_path, long)
    with pytest.raises(UserError) as caught:
        read_pth(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 300, name


SIZES = {
    "offset beyond the storage": {"offset": 1},
    "strides beyond the storage": {"strides": (3, 2)},
    "shape beyond the storage": {"shape": (2, 4)},
    "absurd shape": {"shape": (2**40, 2**40), "strides": (1, 1)},
    "numbers of 200 digits": {"shape": (10**200,), "strides": (1,)},
    "absurd expansion": {"shape": (2**40,), "strides": (0,)},
    "many small expansions": {"shape": (2**14,), "strides": (0,)},
    "negative offset": {"offset": -1},
    "negative stride": {"shape": (2,), "strides": (-1,), "offset": 3},
    "negative size": {"shape": (-2, -3)},
    "fractional size": {"shape": (2.0, 3), "strides": (3, 1)},
    "strides for other axes": {"strides": (3, 1, 1)},
    "sizes in a list": {"shape": [2, 3], "strides": (3, 1)},
    "65 axes": {"shape": (1,) * 65, "strides": (1,) * 65},
    "storage smaller than declared": {"size": 7},
    "storage larger than declared": {"shape": (5,), "size": 5},
    "absurd storage": {"shape": (2**50,), "size": 2**50},
    "negative storage": {"size": -6},
    "other numbers than declared": {"storage": torch.DoubleStorage},
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes_that_lie_are_refused_before_memory_is_taken(sizes, tmp_path):
    path = archive(tmp_path, description(**sizes))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"weights\.pth is (damaged|not a file of weights): ") as caught:
        read_pth(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert "\n" not in str(caught.value)


HANDMADE = {
    "text of any size": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",
    "a frame of any size": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "memo at any place": b"\x80\x02}r\xff\xff\xff\x7fj\x00\x00\x00\x00.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id as text": b"\x80\x02P0\n.",
    "a class by INST": b"\x80\x02(iposix\nsystem\n.",
    "tuples in one another as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "lists in one another": b"\x80\x02" + b"](" * 200_000 + b"e" * 200_000 + b".",
    "tuples in one another as a key by DICT": b"\x80\x02()" + b"\x85" * 200_000 + b"Nd.",
    "tuples in one another in a set": b"\x80\x04()" + b"\x85" * 200_000 + b"\x91.",
    "tuples in one another as a storage": b"\x80\x02)" + b"\x85" * 200_000 + b"Q.",
    "tuples in one another as its class": b"\x80\x02(X\x07\0\0\0storage)"
    + b"\x85" * 200_000
    + b"X\x01\0\0\x000NK\x01tQ.",
    "tuples in one another as its name": b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\n)"
    + b"\x85" * 200_000
    + b"NK\x01tQ.",
    "attributes of a function": b"\x80\x02ctorch._utils\n_rebuild_parameter\n}X\x01\0\0\0aNsb.",
    "a call of a text": b"\x80\x02X\x01\0\0\0a)R.",
    "an end without a beginning": b"\x80\x02.",
    "nothing": b"",
    "a list of tensors": b"\x80\x02].",
    "no tensors": b"\x80\x02}X\x01\0\0\0aK\x01s.",
}


@pytest.mark.parametrize("pickled", HANDMADE.values(), ids=HANDMADE)
def test_handmade_pickles_are_refused(pickled, tmp_path):
    with pytest.raises(UserError, match=r"weights\.pth (is|asks|holds) ") as caught:
        read_pth(archive(tmp_path, pickled))
    assert str(caught.value).isprintable()


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """BUILD sets attributes: here those that Python calls a function with."""
    defaults = b"N}X\x0c\0\0\0__defaults__K\x05\x85s\x86b."
    with pytest.raises(UserError, match=r"it sets attributes of something that has none"):
        read_pth(archive(tmp_path, b"\x80\x02ccollections\nOrderedDict\n" + defaults))
    torch.save(OrderedDict(weight=torch.ones(2)), tmp_path / "weights.pth")
    assert read_pth(tmp_path / "weights.pth")["weight"].tolist() == [1, 1]


def test_handmade_streams_are_refused(tmp_path):
    """The older format has a pickle of the storages' names after that of the tensors."""
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.pth", **FORMATS["legacy"])
    whole = (tmp_path / "weights.pth").read_bytes()
    start = whole.rindex(b"\x80\x02]")
    for keys in (
        b"})" + b"\x85" * 200_000 + b"\x85.",
        b"](" + b")" + b"\x85" * 200_000 + b"e.",
        b"]K\x00a.",
        b"]X\0\0\0\0a.",
    ):
        (tmp_path / "weights.pth").write_bytes(whole[:start] + b"\x80\x02" + keys + whole[-16:])
        with pytest.raises(UserError, match=r"weights\.pth is "):
            read_pth(tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(whole[:-16] + struct.pack("<Q", 3) + whole[-8:])
    with pytest.raises(UserError, match=r"its storages have other sizes"):
        read_pth(tmp_path / "weights.pth")


TEXTS = b"".join(b"X\x04\0\0\0%04dK\0\x86" % i for i in range(10_000))
COSTLY = {
    "bytes of any size": b"\x96" + struct.pack("<Q", 2**30),
    "copies of a dict": b"ccollections\nOrderedDict\nq\0](" + TEXTS + b"eq\x01" + b"h\0h\x01\x85R" * 1000,
    "copies of a tuple": b"ctorch\nSize\nq\0](" + TEXTS + b"eq\x01" + b"h\0h\x01\x85R" * 1000,
}


@pytest.mark.parametrize("pickled", COSTLY.values(), ids=COSTLY)
def test_memory_is_not_taken_as_a_pickle_says(pickled, tmp_path):
    """A copy of 10,000 items costs five bytes in the file."""
    path = archive(tmp_path, b"\x80\x02" + pickled + b".")
    tracemalloc.start()
    with pytest.raises(UserError):
        read_pth(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_compressed_and_inflating_archives_are_refused(tmp_path):
    bomb = archive(tmp_path, description(size=2**24), b"\0" * 2**26, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"not a file of weights: its parts are compressed"):
        read_pth(bomb)
    whole = bytearray(archive(tmp_path, description()).read_bytes())
    place = whole.index(b"PK\x01\x02", whole.index(b"PK\x01\x02") + 1)  # the second entry of the directory
    whole[place + 20 : place + 28] = struct.pack("<2I", 2**31, 2**31)
    bomb.write_bytes(whole)
    with pytest.raises(UserError, match=r"its parts declare 2,147,\d+,\d+ bytes, and it has \d+"):
        read_pth(bomb)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x02",
        b"weights",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        b"\xff" * 8 + b"{" * 50,
        b"\0" * 9,
    ],
    ids=["empty", "start of a zip", "start of a pickle", "text", "png", "start of a safetensors", "zeros"],
)
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pth is "):
        load_weights(path)


def test_other_zip_files_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", weight=np.ones(2))
    with pytest.raises(UserError, match=r"a zip archive without data\.pkl"):
        load_weights(tmp_path / "weights.npz")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pth: cannot be read \(No such file"):
        load_weights(tmp_path / "absent.pth")
    with pytest.raises(UserError, match=r"no file of weights, nor the folder of a run: it holds no checkpoints"):
        load_weights(tmp_path)


def damaged(whole, rng):
    """Bytes changed, a piece lost, repeated or cut off."""
    content = bytearray(whole)
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
    match rng.integers(5):
        case 0:
            content[start] = rng.integers(256)
        case 1:
            content[start] ^= 1 << int(rng.integers(8))
        case 2:
            content[start : start + length] = rng.bytes(length)
        case 3:
            del content[start : start + length]
        case 4:
            del content[start:]
    return bytes(content)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "pickle alone"])
def test_damaged_files_give_an_error_or_arrays(kind, tensors, tmp_path):
    path = tmp_path / "weights.pth"
    small = {name: tensors[name].contiguous().clone() for name in ("base", "half", "long", "bool", "scalar")}
    if kind == "safetensors":
        safetensors.torch.save_file(small, path)
    else:
        torch.save(small, path, **FORMATS["legacy" if kind == "legacy" else "zip"])
    whole = path.read_bytes()
    if kind == "pickle alone":  # where the checksums of the archive do not help
        with zipfile.ZipFile(path) as file:
            entries = {name: file.read(name) for name in file.namelist()}
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        if kind == "pickle alone":
            with zipfile.ZipFile(path, "w") as file:
                for name, content in entries.items():
                    file.writestr(name, damaged(content, rng) if name.endswith("data.pkl") else content)
        else:
            path.write_bytes(damaged(whole, rng))
        try:
            found = load_weights(path)
        except UserError:
            refused += 1
        else:
            assert all(type(array) is np.ndarray and array.nbytes < 1 << 20 for array in found.values())
    assert refused > 100


# ------------------------------------------------------------------------------------------------ safetensors, and out


def test_safetensors_of_pytorch_are_read(tensors, tmp_path):
    state = {name: tensor.detach().contiguous().clone() for name, tensor in sorted(tensors.items())}
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    assert_same(load_weights(tmp_path / "weights.safetensors"), state)


def test_a_type_that_numpy_lacks_is_named(tmp_path):
    safetensors.torch.save_file({"w": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"w has dtype F8_E4M3, expected one of F64, F32"):
        load_weights(tmp_path / "weights.safetensors")


def test_pytorch_reads_what_is_saved(tmp_path):
    model = mlp()
    save_weights(model, tmp_path / "weights.safetensors")
    theirs = torch.nn.Sequential(
        *[torch.nn.Flatten(), torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 12), torch.nn.ReLU()],
        torch.nn.Linear(12, 10),
    )
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    with safetensors.safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    x = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    np.testing.assert_allclose(model(x).value, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_saved_and_loaded_again_bit_for_bit(tensors, tmp_path):
    torch.save(tensors, tmp_path / "weights.pth")
    first = load_weights(tmp_path / "weights.pth")  # views, read-only, some of them of one storage
    save_weights(first, tmp_path / "weights.safetensors")
    second = load_weights(tmp_path / "weights.safetensors")
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in first.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in second.items()
    }


def test_names_that_would_reach_a_terminal_are_refused(tmp_path):
    save_weights({"\x1b[2Jweight": np.ones(2)}, tmp_path / "weights.safetensors")
    torch.save({"\x1b[2Jweight": torch.ones(2)}, tmp_path / "weights.pth")
    for name in ("weights.safetensors", "weights.pth"):
        with pytest.raises(UserError, match=r"holds an array named '\\x1b\[2Jweight': not a name"):
            load_weights(tmp_path / name)


def test_saving_is_whole_or_nothing(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights({"w": np.ones(2)}, path)
    with pytest.raises(UserError, match=r"cannot write .*: w has dtype complex128, expected real numbers"):
        save_weights({"w": np.ones(2, complex)}, path)
    with pytest.raises(UserError, match=r"cannot write .*No such file or directory"):
        save_weights({"w": np.ones(2)}, tmp_path / "absent" / "weights.safetensors")
    with pytest.raises(UsageError, match=r"written as safetensors: name the file .*weights\.safetensors"):
        save_weights({"w": np.ones(2)}, tmp_path / "weights.pth")
    assert os.listdir(tmp_path) == ["weights.safetensors"]
    assert load_weights(path)["w"].tolist() == [1, 1]


def test_a_run_is_read_as_its_best_weights(tmp_path):
    run(TrainConfig(dataset="moons", hidden=5, max_steps=3), run_dir=tmp_path / "run")
    expected = load_run(tmp_path / "run").model.state_dict()
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "best.safetensors"):
        found = load_weights(path)
        assert found.keys() == expected.keys()
        assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


# ------------------------------------------------------------------------------------------------ transfer


def test_the_classification_layer_stays_new(tmp_path):
    source, target = mlp(10), mlp(3, seed=1)
    save_weights(source, tmp_path / "weights.safetensors")
    before = target.state_dict()
    loaded = load_pretrained(target, tmp_path / "weights.safetensors")
    assert loaded.loaded == ("1.weight", "1.bias", "3.weight", "3.bias")
    assert loaded.replaced == ("5.weight", "5.bias")
    assert (loaded.missing, loaded.unexpected, loaded.mismatched) == ((), (), {})
    for name, array in target.state_dict().items():
        expected = before if name.startswith("5.") else source.state_dict()
        np.testing.assert_array_equal(array, expected[name])
    assert str(loaded) == (
        f"{tmp_path / 'weights.safetensors'}: 4 of the network's 6 arrays were loaded. "
        "The classification layer stays new: 5.weight, 5.bias."
    )


def test_a_classification_layer_that_fits_is_loaded(tmp_path):
    source, target = mlp(10), mlp(10, seed=1)
    save_weights(source, tmp_path / "weights.safetensors")
    loaded = load_pretrained(target, tmp_path / "weights.safetensors")
    assert loaded.replaced == ()
    assert str(loaded).endswith(
        "6 of the network's 6 arrays were loaded. The classification layer fits and was loaded too."
    )
    assert all(np.array_equal(array, source.state_dict()[name]) for name, array in target.state_dict().items())


def test_half_of_a_classification_layer_is_not_loaded(tmp_path):
    """A bias that would fit belongs to a weight that does not."""
    source = mlp(10).state_dict()
    del source["5.weight"]
    save_weights(source, tmp_path / "weights.safetensors")
    assert load_pretrained(mlp(10), tmp_path / "weights.safetensors").replaced == ("5.weight", "5.bias")


def test_whatever_does_not_fit_is_listed(tmp_path):
    state = mlp(10, hidden=(16, 12)).state_dict()
    state["3.bias"] = np.zeros(13, np.float32)
    state["extra"] = state.pop("1.bias")
    save_weights(state, tmp_path / "weights.safetensors")
    target = mlp(3, seed=1)
    before = target.state_dict()
    loaded = load_pretrained(target, tmp_path / "weights.safetensors")
    assert loaded.loaded == ("1.weight", "3.weight")
    assert loaded.missing == ("1.bias",)
    assert loaded.unexpected == ("extra",)
    assert loaded.mismatched == {"3.bias": ((13,), (12,))}
    assert str(loaded).endswith(
        "2 of the network's 6 arrays were loaded. The classification layer stays new: 5.weight, 5.bias. "
        "Other shapes: 3.bias is (13,), expected (12,). Not in the file: 1.bias. Not in the network: extra."
    )
    for name in ("1.bias", "3.bias"):
        np.testing.assert_array_equal(target.state_dict()[name], before[name])


OTHERS = {
    "other widths": (
        mlp(10, hidden=(15, 12)),
        "12 of 316 parameters before the classification layer fit. "
        "Other shapes: 1.weight is (15, 6), expected (16, 6); "
        "1.bias is (15,), expected (16,); 3.weight is (12, 15), expected (12, 16).",
    ),
    "fewer layers": (
        mlp(10, hidden=()),
        "0 of 316 parameters before the classification layer fit. Other shapes: 1.weight is (10, 6), expected (16, 6); "
        "1.bias is (10,), expected (16,). Not in the file: 3.weight; 3.bias.",
    ),
    "other names": (
        nn.Linear(6, 10),
        "0 of 316 parameters before the classification layer fit. Not in the file: 1.weight; 1.bias; 3.weight; 3.bias. "
        "Not in the network: bias; weight.",
    ),
}


@pytest.mark.parametrize(("other", "words"), OTHERS.values(), ids=OTHERS)
def test_the_weights_of_another_network_are_refused(other, words, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(other, path)
    target = mlp(3)
    before = target.state_dict()
    with pytest.raises(UserError) as caught:
        load_pretrained(target, path)
    assert str(caught.value) == f"{path} belongs to another network: {words}"
    assert all(np.array_equal(before[name], array) for name, array in target.state_dict().items())


def test_many_differences_are_counted(tmp_path):
    save_weights({f"layer.{i}": np.ones(2) for i in range(40)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"Not in the network: layer\.0; layer\.1; .* and 35 more\.$"):
        load_pretrained(mlp(3), tmp_path / "weights.safetensors")


def test_the_statistics_of_batch_norm_are_loaded_and_old_files_do_not_count_batches(tmp_path):
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 10))
    theirs(torch.randn(20, 4))  # in training mode: the running statistics move
    state = theirs.state_dict()
    ours = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 10)).eval()
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    for keep in (lambda name: True, lambda name: "num_batches" not in name):
        torch.save({name: tensor for name, tensor in state.items() if keep(name)}, tmp_path / "weights.pth")
        loaded = load_pretrained(ours, tmp_path / "weights.pth")
        assert (loaded.replaced, loaded.missing, loaded.unexpected, loaded.mismatched) == ((), (), (), {})
        np.testing.assert_allclose(ours(x).value, theirs.eval()(torch.tensor(x)).detach(), rtol=1e-5, atol=1e-6)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = mlp(10).state_dict()
    state["3.weight"][0, 0] = np.nan
    save_weights(state, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"3\.weight holds NaN or infinity"):
        load_pretrained(mlp(3), tmp_path / "weights.safetensors")


def test_parameters_keep_their_dtype(tmp_path):
    save_weights(mlp(10), tmp_path / "weights.safetensors")
    target = models.mlp((6,), 3, hidden=(16, 12), dtype="float64", rng=np.random.default_rng(1))
    load_pretrained(target, tmp_path / "weights.safetensors")
    assert {parameter.dtype for parameter in target.parameters()} == {np.dtype(np.float64)}


# ------------------------------------------------------------------------------------------------ frozen parameters


def test_frozen_parameters_get_no_gradient_and_cost_nothing():
    model = mlp(3)
    assert freeze(model, ["1.*", "3.weight"]) == ["1.weight", "1.bias", "3.weight"]
    y = model(Tensor(np.ones((2, 6), np.float32)))
    on_tape, stack = set(), [y]
    while stack:
        source = stack.pop().source
        if source is not None:
            on_tape.add(source.op.name)
            stack += [x for x, _ in source.edges()]
    assert on_tape == {"linear", "relu"}
    assert model[2](model[1](np.ones((2, 6), np.float32))).__class__ is not np.ndarray
    assert model[1](Tensor(np.ones((2, 6), np.float32))).source is None  # nothing was recorded for the frozen layer
    y.backward(np.ones((2, 3), np.float32))
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"3.bias", "5.weight", "5.bias"}


def test_patterns_that_match_nothing_name_the_nearest():
    model = mlp(3)
    with pytest.raises(UsageError, match=r"no parameter matches '3\.wieght'; the nearest names are 3\.weight"):
        freeze(model, ["1.*", "3.wieght"])
    with pytest.raises(UsageError, match=r"no parameter matches '3'; did you mean '3\.\*'\?"):
        freeze(model, ["3"])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_something_must_be_left_to_train():
    model = mlp(3)
    freeze(model, ["1.*", "3.*"])
    for patterns in (["*"], ["5.*"]):
        with pytest.raises(UsageError, match="nothing is left to train"):
            freeze(model, patterns)
    assert freeze(model, []) == []
    assert model[5].weight.requires_grad


# ------------------------------------------------------------------------------------------------ in a training run


@pytest.fixture
def pretrained(tmp_path):
    """Weights of a network for the digits, in PyTorch's format, and the config that starts from them."""
    path = tmp_path / "pretrained.pth"
    state = models.mlp((64,), 1000, hidden=(20,), rng=np.random.default_rng(5)).state_dict()
    torch.save({name: torch.tensor(array) for name, array in state.items()}, path)
    return (
        path,
        TrainConfig(dataset="digits", hidden=20, max_steps=6, eval_freq=3, pretrained=str(path), freeze="1.*"),
        state,
    )


def test_a_run_starts_from_pretrained_weights_and_leaves_the_frozen_ones(pretrained, tmp_path):
    path, config, state = pretrained
    heard = []
    run(config, run_dir=tmp_path / "run", listeners=[heard.append])
    told = [event for event in heard if isinstance(event, events.Remark) and event.kind == "pretrained"]
    assert [remark.text for remark in told] == [
        f"{path}: 2 of the network's 4 arrays were loaded. The classification layer stays new: 3.weight, 3.bias."
    ]
    path.unlink()  # from here on the run has its own weights
    trained = load_run(tmp_path / "run", checkpoint="last").model.state_dict()
    for name in ("1.weight", "1.bias"):
        np.testing.assert_array_equal(trained[name], state[name])
    fresh = models.build("mlp", input_shape=(64,), n_classes=10, hidden=(20,), rng=np.random.default_rng([0, 0]))
    assert not np.array_equal(trained["3.weight"], fresh.state_dict()["3.weight"])
    assert len(predict(tmp_path / "run", np.zeros((2, 1, 8, 8)))) == 2


def test_a_resumed_run_needs_no_pretrained_file_and_freezes_the_same(pretrained, tmp_path):
    path, config, _ = pretrained

    def interrupt(event):
        if isinstance(event, events.StepDone) and event.step == 4:
            raise KeyboardInterrupt

    run(config, run_dir=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, run_dir=tmp_path / "broken", listeners=[interrupt])
    path.unlink()
    resume(tmp_path / "broken")
    for kind in ("best", "last"):
        whole, broken = (tmp_path / name / "checkpoints" / f"{kind}.safetensors" for name in ("whole", "broken"))
        assert whole.read_bytes() == broken.read_bytes()


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path, pretrained):
    _, config, _ = pretrained
    absent = config.model_copy(update={"pretrained": str(tmp_path / "absent.pth")})
    with pytest.raises(UserError, match=r"absent\.pth: cannot be read"):
        run(absent, run_dir=tmp_path / "run")
    with pytest.raises(UsageError, match=r"no parameter matches 'conv1'"):
        run(config.model_copy(update={"freeze": ("conv1",)}), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------ the real networks


@pytest.mark.slow
@pytest.mark.parametrize("settings", [FORMATS["zip"], FORMATS["legacy"]], ids=["zip", "legacy"])
def test_a_torchvision_resnet18_is_loaded(settings, tmp_path):
    from test_models import ResNet18

    torch.manual_seed(0)
    theirs = ResNet18(3, 1000).eval()
    for name, buffer in theirs.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth", **settings)

    ours = models.resnet18((3, 64, 64), 10, rng=np.random.default_rng(0)).eval()
    loaded = load_pretrained(ours, tmp_path / "resnet18.pth")
    assert loaded.replaced == ("fc.weight", "fc.bias")
    assert (loaded.missing, loaded.unexpected, loaded.mismatched) == ((), (), {})
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype(np.float32)
    theirs.fc = torch.nn.Linear(512, 10)
    with torch.no_grad():
        theirs.fc.weight.copy_(torch.tensor(ours.state_dict()["fc.weight"]))
        theirs.fc.bias.copy_(torch.tensor(ours.state_dict()["fc.bias"]))
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(x).value, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_last_layer_of_each_network_is_its_classification_layer():
    rng = np.random.default_rng(0)
    squeezenet = models.squeezenet1_1((3, 64, 64), 10, rng=rng)
    assert classification_layer(squeezenet) == ["classifier.1.weight", "classifier.1.bias"]
    assert classification_layer(models.resnet18((3, 64, 64), 10, rng=rng)) == ["fc.weight", "fc.bias"]


@pytest.mark.data
@pytest.mark.skipif("CHAINRULE_DATA" not in os.environ, reason="CHAINRULE_DATA is not set")
def test_predictions_of_the_pretrained_squeezenet_survive_saving(tmp_path):
    original = Path(os.environ["CHAINRULE_DATA"], "pretrained", "squeezenet1_1-caffe-bgr.safetensors")
    x = np.random.default_rng(0).uniform(-120, 130, (2, 3, 227, 227)).astype(np.float32)
    logits = []
    source = original
    for name in ("once.safetensors", "twice.safetensors"):
        model = models.squeezenet1_1((3, 227, 227), 1000, ceil_mode=False, rng=np.random.default_rng(1)).eval()
        loaded = load_pretrained(model, source)
        assert loaded.loaded == tuple(model.state_dict())
        logits.append(model(x).value)
        source = tmp_path / name
        save_weights(model, source)
    assert logits[0].tobytes() == logits[1].tobytes()
    assert np.ptp(logits[0]) > 1  # not the same answer to everything
    assert (tmp_path / "once.safetensors").read_bytes() == (tmp_path / "twice.safetensors").read_bytes()
    found, expected = load_weights(tmp_path / "twice.safetensors"), load_weights(original)
    assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in expected.items()}
