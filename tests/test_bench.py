import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("psutil")

import bench
from bench import growth, report, task, works
from bench.__main__ import main, parsed
from bench.engines import chainrule as engine
from bench.measure import Measured, Settings, differences, measure

QUICK = Settings(rounds=3, turn=0.01, threads=1)


def work(name):
    (found,) = works.chosen([name])
    return found


# ----------------------------------------------------------------------------------------------------- what is measured


@pytest.mark.slow
def test_rows_and_picture_of_a_run(tmp_path):
    arguments = ["--quick", "--work", "tiny,softmax-small", "--peers", "torch,chainrule-numpy", "--threads", "1"]
    main([*arguments, "--json", f"{tmp_path}/rows.json", "--picture", f"{tmp_path}/made/picture.png"])
    rows = json.loads((tmp_path / "rows.json").read_text())
    combinations = {(row["work"], row["phase"], row["engine"]) for row in rows}
    engines = ("chainrule", "chainrule-numpy", "torch")
    assert combinations == {(w, p, e) for w in ("tiny", "softmax-small") for p in ("train", "infer") for e in engines}
    for row in rows:
        keys = ["work", "phase", "engine", "median_ms", "spread", "peak_mb", "ratio", "difference"]
        assert list(row) == keys
        low, high = row["spread"]
        assert 0 < low <= row["median_ms"] <= high
        assert row["peak_mb"] > 5
        same = {r["engine"]: r["median_ms"] for r in rows if (r["work"], r["phase"]) == (row["work"], row["phase"])}
        assert row["ratio"] == pytest.approx(same["torch"] / same["chainrule"])  # the reference rules are no peer
    assert (tmp_path / "made" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_engine_that_computes_something_else_gets_no_ratio(tmp_path, monkeypatch):
    """The learning rate of PyTorch's process is a tenth too large: its losses give it away."""
    written = task.write

    def write(folder, work, phase):
        written(folder, work, phase)
        # A copy of the engine's module, found before the repository's own.
        source = (Path(task.__file__).parent / "engines" / "torch.py").read_text()
        planted = source.replace("SGD(params, work.lr,", "SGD(params, 1.1 * work.lr,")
        assert planted != source
        (folder / "sitecustomize.py").write_text(
            "import importlib.util, sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'bench.engines.torch':\n"
            f"            return importlib.util.spec_from_file_location(name, {str(folder / 'planted.py')!r})\n"
            "sys.meta_path.insert(0, Finder())\n"
        )
        (folder / "planted.py").write_text(planted)
        monkeypatch.setitem(bench.ENVIRONMENT, "PYTHONPATH", str(folder))

    monkeypatch.setattr("bench.measure.write", write)
    found = measure(work("vu-2023"), "train", ["chainrule", "torch", "sklearn"], QUICK)
    assert [name for name in found.seconds if not found.agrees(name)] == ["torch"]
    rows = {row["engine"]: row for row in report.rows(found)}
    assert rows["torch"]["ratio"] is None
    assert rows["chainrule"]["ratio"] == pytest.approx(found.median("sklearn") / found.median("chainrule"))
    assert any("torch computes something else" in text for text, _ in report.remarks(found))


def test_an_engine_that_cannot_run_is_named_with_its_reason(monkeypatch):
    monkeypatch.setitem(bench.ENVIRONMENT, "CC", "no-such-compiler")
    found = measure(work("tiny"), "infer", ["chainrule", "tinygrad"], QUICK)
    assert list(found.seconds) == ["chainrule"]
    assert found.ratio() is None
    ((text, _), *_) = report.remarks(found)
    assert text.startswith("tinygrad was not measured: ImportError:")


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["train", "infer"])
@pytest.mark.parametrize("peer", ["torch-compile", "jax", "sklearn", "autograd", "tinygrad"])
def test_peers_take_the_same_steps(peer, phase):
    pytest.importorskip(peer.removesuffix("-compile"))
    tool = {"torch-compile": "g++", "tinygrad": "clang"}.get(peer)
    if tool and not shutil.which(tool):
        pytest.skip(f"{peer} needs {tool}")
    found = measure(work("tiny" if phase == "train" else "vu-2023"), phase, ["chainrule", peer], QUICK)
    assert not found.failed
    assert found.agrees(peer)


# ----------------------------------------------------------------------------------------------------------- equal work


def test_the_same_weights_and_batches_for_every_engine(tmp_path):
    first = tmp_path / "first"
    second = tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        task.write(folder, work("vu-2023"), "train")
    made, again = task.read(first), task.read(second)
    assert made.weights.keys() == again.weights.keys()
    assert all((made.weights[name] == again.weights[name]).all() for name in made.weights)
    for one, two in zip(made.batches, again.batches, strict=True):
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert len({x.tobytes() for x, _ in made.batches}) == task.N_BATCHES


@pytest.mark.parametrize("name", ["convnet-vu", "convnet-uva-2018", "convnet-uva-2020", "resnet18-32"])
def test_the_described_network_is_chainrules(name, tmp_path, monkeypatch):
    """PyTorch, built from the description and the weights, gives chainrule's logits."""
    torch = pytest.importorskip("torch")
    from bench.engines.torch import sequential

    small = works.convnet(name, work(name).network, 2, 32, 0.0)
    task.write(tmp_path, small, "infer")
    made = task.read(tmp_path)
    with ExitStack() as opened:
        monkeypatch.setattr(engine, "OPENED", opened)
        step, batches = engine.prepare(made, "")
        ours = step(*batches[0])
    net = sequential(made.layers, made.weights).eval()
    with torch.inference_mode():
        theirs = net(torch.from_numpy(batches[0][0])).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_median_of_the_engines_is_the_reference():
    right = {"loss": np.array([2.0, 1.0])}
    wrong = {"loss": np.array([2.0, 1.1])}
    assert differences({"a": right, "b": right, "c": wrong}) == {"a": 0, "b": 0, "c": pytest.approx(0.05)}
    apart = differences({"a": right, "c": wrong})  # of two, neither is taken to be right
    assert apart["a"] == apart["c"] == pytest.approx(0.025, rel=0.1)
    failed = {"loss": np.array([np.nan, 1.0])}
    assert differences({"a": right, "b": right, "c": failed}) == {"a": 0, "b": 0, "c": np.inf}
    assert differences({"a": failed, "b": failed}) == {"a": np.inf, "b": np.inf}


def test_losses_move_enough_to_show_another_learning_rate(tmp_path):
    for name in ("tiny", "vu-2023"):
        folder = tmp_path / name
        folder.mkdir()
        task.write(folder, work(name), "train")
        made = task.read(folder)
        ends = []
        for factor in (1.0, 1.1):
            model = task.network(made.work, np.random.default_rng(0))
            model.load_state_dict(made.weights)
            changed = works.Work(**{**vars(made.work), "lr": factor * made.work.lr})
            step = engine.training_step(model, changed)
            ends.append([step(*made.batches[i % task.N_BATCHES]) for i in range(1 + task.STEPS_COMPARED)])
        found = differences({"right": {"loss": np.array(ends[0])}, "wrong": {"loss": np.array(ends[1])}})
        assert found["wrong"] > made.work.tolerance


# --------------------------------------------------------------------------------------------------------- what is said


def measured(name="uva", phase="train", **milliseconds):
    found = Measured(work(name), phase)
    for engine_name, ms in milliseconds.items():
        key = engine_name.replace("_", "-")
        found.seconds[key] = [ms / 1e3] * 3
        found.peak_mb[key] = 100.0 if key == "chainrule" else 300.0
        found.difference[key] = 0.0
    return found


def test_targets():
    met = dict(report.verdicts(measured(chainrule=1.0, torch=3.0, torch_compile=2.5, jax=1.1)))
    assert list(met.values()) == [True, False, True]  # twice PyTorch's best, 1.2 times JAX, the memory
    assert "best of PyTorch (torch-compile) / chainrule 2.50, target 2.0" in met
    assert [ok for _, ok in report.verdicts(measured(phase="infer", chainrule=1.0, jax=1.4))] == [False]
    assert [ok for _, ok in report.verdicts(measured(chainrule=1.0))] == [None, None]
    assert report.verdicts(measured("softmax-small", chainrule=1.0, torch=3.0)) == []


def test_a_chainrule_that_differs_gets_no_ratio():
    found = measured(chainrule=1.0, torch=3.0, jax=2.0)
    assert found.ratio() == pytest.approx(2.0)
    found.difference["chainrule"] = 0.1
    assert found.ratio() is None


def test_growth_is_fitted_in_logarithms():
    rows = [{"multiplications": n, "median_ms": 3e-6 * n**1.2} for n in (10, 100, 1000)]
    assert growth.exponent(rows) == pytest.approx(1.2)
    assert growth.multiplications(works.mlp("", 7, 5, 4, 3)) == 7 * (3 * (5 * 4 + 4 * 3) - 5 * 4)


def test_arguments(capsys):
    given = parsed(["--work", "uva,norm", "--work", "tiny"])
    assert [w.name for w in given.works] == ["tiny", "uva", "norm-small", "norm-medium", "norm-large"]
    for arguments, said in [
        (["--work", "uwa"], "no work is called 'uwa', the nearest is 'uva'"),
        (["--peers", "torhc"], "no peer is called 'torhc', the nearest is 'torch'"),
        (["--threads", "0"], "--threads is 0, expected 1 to"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            parsed(arguments)
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_worker_loads_no_numpy_before_its_library():
    """chainrule chooses how BLAS runs, which it can do only before NumPy is loaded; peers must not load chainrule."""
    code = "import sys, bench.worker; print({'numpy', 'chainrule'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
