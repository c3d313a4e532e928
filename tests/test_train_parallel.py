"""Data-parallel runs by torchrun: the curve of one process, one writer, lost processes, resuming bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
import psutil
import pytest

from bench import scaling
from chainrule import nn, processor
from chainrule.cli import main
from chainrule.data import Augment, Batches, Samples, load
from chainrule.errors import UsageError
from chainrule.lab.scaling import Link, Work, all_reduce, fitted, slowest, step
from chainrule.nn import BatchNorm1d
from chainrule.train import TrainConfig, fit, parallel, resume, run
from chainrule.train.checkpoint import load as load_checkpoint
from chainrule.train.loop import generator
from chainrule.train.metrics import read_csv

ROUNDING = 1e-5  # relative: float32 has 6e-8, and forty steps let it grow
COMMON = {"batch_size": 50, "max_steps": 40, "eval_freq": 20, "seed": 3, "hidden": [20], "lr": 0.01}
CASES = {  # 40 steps are more than an epoch: 1,297 samples are 25 batches of 50 and one of 47
    "adam": {"clip_norm": 0.3},
    "dropout": {"dropout": 0.3, "optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "engine": "layers"},
    "torch": {"engine": "torch", "dropout": 0.3, "clip_value": 0.01},
    "plateau": {"dtype": "float64", "backend": "numpy", "schedule": "plateau", "plateau_patience": 0, "val_size": 0},
    "conv": {"augment": ["crop", "flip"], "crop_padding": 1},
    "few": {"batch_size": 4, "max_steps": 330, "eval_freq": 330, "dropout": 0.2},  # 1,297 = 324 * 4 + 1: empty shares
}
STEPS_RESUMED = 20

# What every process does. It writes what it saw to <folder>/<rank>.json.
PROCESS = """
import hashlib, json, os, signal, sys
from pathlib import Path
import numpy as np
from chainrule.data import load
from chainrule.errors import UserError
from chainrule.kernels import machine
from chainrule.train import TrainConfig, events, fit, load_run, parallel, resume, run
sys.path[:0] = {paths!r}
import test_train_parallel as tests

folder, rank = Path(sys.argv[1]), parallel.rank()
seen = {{"threads": machine.threads()}}
for name, changes in tests.CASES.items():
    heard = []
    model, data, result = tests.trained(name, folder / name, [heard.append])
    weights = hashlib.sha256(b"".join(array.tobytes() for array in parallel.arrays(model))).hexdigest()
    seen[name] = {{"weights": weights, "test": result.test_loss, "heard": len(heard)}}

heard = []
tests.normalised(folder / "normalised", [heard.append])
seen["normalised"] = [event.text for event in heard if getattr(event, "kind", "") == "batch-norm"]

def press(event):
    if isinstance(event, events.StepDone) and event.step == tests.STEPS_RESUMED:
        signal.raise_signal(signal.SIGINT)

try:
    run(tests.config("dropout"), run_dir=folder / "interrupted", listeners=[press])
except KeyboardInterrupt:
    seen["interrupted"] = True
if rank == 0:
    seen["stopped at"] = load_run(folder / "interrupted", checkpoint="last").step
resume(folder / "interrupted")

for name, changes in {{"other": {{"seed": rank}}, "diverges": {{"optimizer": "sgd", "lr": 1e30}}}}.items():
    try:
        run(tests.config("adam", **changes), run_dir=folder / name)
    except UserError as error:
        seen[name] = str(error)
(folder / f"{{rank}}.json").write_text(json.dumps(seen))
"""

# A process of rank 1 that is killed in the middle of a step.
KILLED = """
import os, signal, sys
from chainrule.cli import main
from chainrule.train import parallel
sums, calls = parallel.Exchange.gradients, 0
def gradients(self, weight):
    global calls
    calls += 1
    if calls == {step} and parallel.rank() == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    sums(self, weight)
parallel.Exchange.gradients = gradients
main(sys.argv[1:])
"""


# Three processes on two machines: they need longer to read than they have patience, fail alike, and one leaves.
READING = """
import json, os, socket, sys, time
from pathlib import Path
import numpy as np
from chainrule.errors import UserError
from chainrule.train import parallel

folder, rank = Path(sys.argv[1]), parallel.rank()
del os.environ["LOCAL_RANK"]  # as where RANK and WORLD_SIZE are set by hand
socket.gethostname = lambda: "one" if rank < 2 else "other"

def read():
    began = time.time()
    time.sleep(2.5)
    return began

with parallel.joined() as company:
    seen = {"began": company.in_turn(read), "sum": company.sum(np.array([1.0]))[0]}
try:
    with parallel.joined() as company:
        time.sleep(0.2 * rank)
        raise UserError("alike")
except UserError as error:
    seen["alike"] = str(error)
with parallel.joined() as company:
    seen["next sum"] = company.sum(np.array([1.0]))[0]
if rank < 2:
    try:
        with parallel.joined() as company:
            seen["begun without all"] = True
    except UserError as error:
        seen["left"] = str(error)
(folder / f"{rank}.json").write_text(json.dumps(seen))
"""

# Two processes of which one fails while the other waits for its number, or for it to read; then both begin another run.
FAILING = """
import json, sys
from pathlib import Path
import numpy as np
from chainrule.errors import UserError
from chainrule.train import parallel

folder, rank, failing, seen = Path(sys.argv[1]), parallel.rank(), int(sys.argv[2]), []

def fail(first):
    if first and rank == failing:
        raise UserError("the disk is full")

for first in (True, False):
    try:
        with parallel.joined() as company:
            if failing == 1:
                company.in_turn(lambda: fail(first))
            fail(first)
            seen.append(company.sum(np.array([10.0 if first else 1.0]))[0])
    except UserError as error:
        seen.append(str(error))
(folder / f"{rank}.json").write_text(json.dumps(seen))
"""


def config(name, **changes):
    return TrainConfig(**COMMON | CASES[name] | changes)


def trained(name, run_dir, listeners=()):
    """The case of this name, trained: its model, data and result."""
    data, rng = load("digits", seed=3), np.random.default_rng(0)
    if name == "conv":
        layers = [nn.Conv2d(1, 6, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        model = nn.Sequential(*layers, nn.Linear(96, 10, rng=rng))
        return model, data, fit(model, data, config(name), run_dir=run_dir, listeners=listeners)
    from chainrule.train.runs import build_model, load_data

    data = load_data(config(name))
    model = build_model(config(name), data)
    return model, data, fit(model, data, config(name), run_dir=run_dir, listeners=listeners)


def normalised(run_dir, listeners):
    """A network whose running statistics are those of the inputs alone."""
    data, rng = load("digits", seed=3), np.random.default_rng(0)
    model = nn.Sequential(nn.Flatten(), BatchNorm1d(64), nn.Linear(64, 10, rng=rng))
    settings = TrainConfig(**COMMON | {"hidden": [100], "max_steps": 8, "eval_freq": 8})
    fit(model, data, settings, run_dir=run_dir, listeners=listeners)


def torchrun(n, *arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if "NUM_THREADS" not in k and "PYTEST" not in k}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n), *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment | {"OMP_NUM_THREADS": "1", "CHAINRULE_NUM_THREADS": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process):
    out, err = process.communicate(timeout=150)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """For a number of processes: the folder in which they did all of `PROCESS`."""
    made = {}

    def make(n):
        if n not in made:
            made[n] = tmp_path_factory.mktemp("together")
            script = made[n] / "process.py"
            script.write_text(PROCESS.format(paths=[str(Path(__file__).parent), str(scaling.ROOT)]))
            code, out, err = done(torchrun(n, script, made[n]))
            assert code == 0, err
            assert not out
        return made[n]

    return make


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """For a case: the folder of its run in this process."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("alone") / name
            trained(name, made[name])
        return made[name]

    return make


def said(folder, n):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(n)]


def column(run_dir, file, name):
    return np.array([row[name] for row in read_csv(run_dir / file)], float)


# ----------------------------------------------------------------------------------------- without other processes


@pytest.mark.parametrize("ranks", [2, 3, 7])
@pytest.mark.parametrize("wrap", [False, True])
def test_the_shares_of_an_epoch_are_every_sample_once_in_the_order_of_one_process(ranks, wrap):
    samples = Samples(np.arange(53.0)[:, None], np.arange(53))

    def batches(**part):
        return Batches(samples, 10, rng=np.random.default_rng(5), wrap=wrap, **part)

    whole, parts = batches(), [batches(rank=rank, ranks=ranks) for rank in range(ranks)]
    for _ in range(3 * len(whole)):
        expected = whole.next()[1]
        found = [part.next()[1] for part in parts]
        np.testing.assert_array_equal(np.concatenate(found), expected)
        assert [len(y) for y in found] == [len(y) for y in np.array_split(expected, ranks)]
        assert all(part.state_dict() == whole.state_dict() for part in parts)
    epochs = [np.sort(np.concatenate([y for part in parts for _, y in part])) for _ in range(2)]
    for seen in epochs:
        assert len(set(seen)) == len(seen) == (50 if wrap else 53)


@pytest.mark.parametrize("names", [["crop"], ["flip"], ["crop", "flip"]])
def test_a_share_of_a_batch_is_augmented_as_in_one_process(names):
    images = np.random.default_rng(1).random((11, 3, 6, 5))
    expected = Augment(names, rng=np.random.default_rng(2))(images)
    samples = Samples(images, np.zeros(11, int))
    for rank in range(4):
        batches = Batches(samples, 11, rng=np.random.default_rng(0), shuffle=False, rank=rank, ranks=4)
        x, _ = batches.next()
        rng = parallel.SharedGenerator(np.random.default_rng(2).bit_generator, batches)
        first, last, _ = batches.share
        np.testing.assert_array_equal(Augment(names, rng=rng)(x), expected[first:last])


def test_without_torchrun_pytorch_is_not_loaded(tmp_path):
    code = (
        "import sys; from chainrule.train import TrainConfig, run; "
        f"run(TrainConfig(dataset='moons', max_steps=2, backend='numpy'), run_dir={str(tmp_path / 'run')!r}); "
        "print('torch' in sys.modules)"
    )
    for variables in ({}, {"RANK": "0", "WORLD_SIZE": "1"}):
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | variables)
        assert ended.stdout.strip() == "False", ended.stderr
        shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is '2' and WORLD_SIZE '2'"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE 'two'"),
        ({"RANK": "0", "WORLD_SIZE": "2", "CHAINRULE_RANK_TIMEOUT": "soon"}, "CHAINRULE_RANK_TIMEOUT is 'soon'"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "", "MASTER_PORT": "1"}, "MASTER_ADDR"),
    ],
)
def test_wrong_variables_are_one_line(monkeypatch, capsys, tmp_path, variables, named):
    monkeypatch.setattr(parallel, "_company", None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        main(["train", "moons", "--max-steps", "2", "--run-dir", str(tmp_path / "run")])
    err = capsys.readouterr().err
    assert left.value.code in (1, 2)
    assert err.startswith("error: ")
    assert named in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------- what is reckoned


def test_the_page_holds_what_the_stored_measurements_give():
    stored, text = json.loads(scaling.RESULTS.read_text()), scaling.PAGE.read_text()
    assert scaling.page(text, stored) == text
    stored["exchange"] = [[size, 2 * seconds] for size, seconds in stored["exchange"]]
    assert scaling.page(text, stored) != text
    assert len(scaling.figure(stored).axes) == 2


def test_the_fitted_line_and_link_give_back_what_was_put_in():
    work = fitted("net", 100, [1, 2, 8], [0.5 + 0.25 * batch for batch in (1, 2, 8)])
    assert (work.fixed, work.per_sample) == pytest.approx((0.5, 0.25))
    sizes = [0.1, 1.0, 10.0]
    link = scaling.loopback({"exchange": [[size, 2e-4 + size * 1e6 / 5e8] for size in sizes]})
    assert (link.latency, link.bandwidth) == pytest.approx((1e-4, 5e8))
    assert all_reduce(link, 10**6, 2) == pytest.approx(2e-4 + 1e6 / 5e8)


def test_the_losses_are_summed_under_backward_as_far_as_that_lasts():
    work, link = Work("net", 10**6, 0.0, 0.03), Link("", 1e9, 1e-4)

    for machines, not_hidden in ((51, 0.0), (101, 0.0), (201, 0.02)):  # of 10, 20 and 40 ms; backward takes 20
        found = step(work, link, machines=machines, batch=1, spread=0.0).exchange
        assert found == pytest.approx(all_reduce(link, work.bytes, machines) + not_hidden)


def test_the_slowest_of_many_is_as_order_statistics_say():
    mean_of_the_larger_of_two = 2 * NormalDist().cdf(0.1 / 2**0.5)  # of log-normals with mean 1 and spread 0.1
    assert slowest(0.1, 2) == pytest.approx(mean_of_the_larger_of_two, abs=4 * 0.1 / 2000**0.5)
    assert np.all(np.diff([slowest(0.1, machines) for machines in (1, 2, 16, 128, 1024)]) > 0)


# ------------------------------------------------------------------------------------------------- by torchrun


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_the_run_is_that_of_one_process_with_the_same_bits_in_all(together, alone, n):
    for name in CASES:
        rounding = 1e-10 if CASES[name].get("dtype") == "float64" else ROUNDING
        the_curve_is_that_of_one_process(together(n) / name, alone(name), rounding)
    all_processes_end_with_the_same_bits_and_one_writes_and_listens(together(n), n)


def the_curve_is_that_of_one_process(several, one, rounding=ROUNDING):
    for file, columns in (("steps.csv", ("loss", "lr")), ("metrics.csv", ("train_loss", "train_accuracy"))):
        for of in columns:
            np.testing.assert_allclose(column(several, file, of), column(one, file, of), rtol=rounding, err_msg=of)
    last, expected = (load_checkpoint(folder / "checkpoints" / "last.safetensors") for folder in (several, one))
    assert last.facts["generators"] == expected.facts["generators"]
    assert last.facts["batches"] == expected.facts["batches"]
    for key, array in expected.arrays.items():
        np.testing.assert_allclose(last.arrays[key], array, rtol=100 * rounding, atol=rounding, err_msg=key)


def all_processes_end_with_the_same_bits_and_one_writes_and_listens(folder, n):
    processes = said(folder, n)
    for name in CASES:
        found = [seen[name] for seen in processes]
        assert len({(each["weights"], each["test"]) for each in found}) == 1, name
        assert found[0]["heard"] > COMMON["max_steps"]
        assert not any(each["heard"] for each in found[1:])
        assert sorted(path.name for path in (folder / name).iterdir()) == [
            "checkpoints", "config.yaml", "confusion_matrix.png", "environment.json", "learning_curve.png",
            "metrics.csv", "metrics.jsonl", "result.json", "steps.csv", "times.csv",
        ]  # fmt: skip
    assert json.loads((folder / "adam" / "environment.json").read_text())["processes"] == n
    assert [seen["threads"] for seen in processes] == n * [1]  # CHAINRULE_NUM_THREADS
    (remark,), *others = (seen["normalised"] for seen in processes)
    assert remark.startswith(f"Batch norm: each of the {n} processes normalises by the mean and variance of its own")
    assert not any(others)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_running_statistics_are_those_of_the_shares_averaged(together, n):
    data, momentum, eps = load("digits", seed=3), 0.1, 1e-5
    batches = Batches(data.train, COMMON["batch_size"], rng=generator(COMMON["seed"], "batches"))
    mean, var = np.zeros(64), np.ones(64)
    for _ in range(8):
        x = batches.next()[0].reshape(-1, 64).astype(np.float64)
        parts = np.array_split(x, n)
        mean += momentum * (x.mean(0) - mean)
        var += momentum * (sum(len(part) / len(x) * part.var(0, ddof=1) for part in parts) - var)
    found = load_checkpoint(together(n) / "normalised" / "checkpoints" / "last.safetensors").arrays_under("model")
    np.testing.assert_allclose(found["1.running_mean"], mean, rtol=1e-5, atol=eps)
    np.testing.assert_allclose(found["1.running_var"], var, rtol=1e-5, atol=eps)
    assert found["1.num_batches_tracked"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_ctrl_c_stops_all_after_the_same_step_and_resuming_gives_the_same_bytes(together, n):
    folder, processes = together(n), said(together(n), n)
    assert all(seen["interrupted"] for seen in processes)
    assert processes[0]["stopped at"] == STEPS_RESUMED + 1  # told to the others with the next step's loss
    assert_same(folder / "dropout", folder / "interrupted")


def assert_same(one, other):
    for name in (
        "config.yaml", "metrics.csv", "metrics.jsonl", "steps.csv", "confusion_matrix.png", "learning_curve.png",
        "checkpoints/best.safetensors", "checkpoints/last.safetensors",
    ):  # fmt: skip
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_what_is_not_the_same_everywhere_and_what_is_not_finite_is_an_error_in_all(together, tmp_path):
    processes = said(together(3), 3)
    assert len({seen["other"] for seen in processes}) == 1
    assert "process 1 has another data and seed than process 0" in processes[0]["other"]
    assert not (together(3) / "other").exists()
    with pytest.raises(Exception, match="training stopped") as one:
        run(config("adam", optimizer="sgd", lr=1e30), run_dir=tmp_path / "diverges")
    expected = str(one.value).replace(str(tmp_path), str(together(3)))
    assert {seen["diverges"] for seen in processes} == {expected}


@pytest.mark.slow
def test_a_killed_process_ends_all_with_one_line_and_a_checkpoint_to_go_on_from(tmp_path, together):
    script, run_dir = tmp_path / "killed.py", tmp_path / "run"
    script.write_text(KILLED.format(step=31))
    (tmp_path / "config.yaml").write_text(config("dropout").to_yaml())
    process = torchrun(2, script, "train", "-c", tmp_path / "config.yaml", "--run-dir", run_dir)
    code, out, err = done(process)
    assert code != 0
    assert not out
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    again = f"torchrun --nproc-per-node 2 -m chainrule train --resume {run_dir}"
    lost = "process 1 of 2 was lost in step 31"
    assert errors == [f"error: {lost}. The checkpoint of step 30 is in {run_dir}: go on with {again}"]
    assert load_checkpoint(run_dir / "checkpoints" / "last.safetensors").facts["step"] == 30
    shutil.copytree(run_dir, tmp_path / "by one")
    script.write_text(KILLED.format(step=5))  # once more, and torchrun begins both again
    code, out, err = done(torchrun(2, "--max-restarts", 1, script, "train", "--resume", run_dir, "--json"))
    assert code == 0, err
    assert json.loads(out)["steps"] == 40  # one line in all
    going_on = [line for line in err.splitlines() if line.startswith("going on")]
    assert going_on == ["going on after step 30", "going on after step 34"]
    assert_same(together(2) / "dropout", run_dir)
    heard = []
    resume(tmp_path / "by one", listeners=[heard.append])
    assert "processes" in next(event.text for event in heard if getattr(event, "kind", "") == "environment")
    losses = [column(folder, "steps.csv", "loss") for folder in (tmp_path / "by one", run_dir)]
    np.testing.assert_allclose(*losses, rtol=ROUNDING)


@pytest.mark.slow
def test_ctrl_c_to_torchrun_and_a_process_that_hangs(tmp_path):
    arguments = ["-m", "chainrule", "train", "digits", "--epochs", "9999", "--eval-freq", "50", "--run-dir"]
    interrupted = torchrun(2, *arguments, tmp_path / "interrupted")
    hanging = torchrun(2, *arguments, tmp_path / "hanging", CHAINRULE_RANK_TIMEOUT="2")
    for name in ("interrupted", "hanging"):
        until, metrics = time.monotonic() + 100, tmp_path / name / "metrics.csv"
        while not (metrics.exists() and "\n50," in metrics.read_text()):  # it trains
            assert time.monotonic() < until
            time.sleep(0.1)
    interrupted.send_signal(signal.SIGINT)
    ranks = {worker.environ()["RANK"]: worker for worker in psutil.Process(hanging.pid).children()}
    ranks["1"].suspend()
    _, out, err = done(interrupted)
    assert not out
    assert err.count("error: interrupted") == 1
    assert err.count("everything is saved") == 1
    step = load_checkpoint(tmp_path / "interrupted" / "checkpoints" / "last.safetensors").facts["step"]
    assert f"stopped after step {step:,};" in err
    psutil.wait_procs([ranks["0"]], timeout=60)
    ranks["1"].kill()  # torchrun itself would give it half a minute
    code, _, err = done(hanging)
    assert code != 0
    assert err.count("error: process 1 of 2 was lost in step ") == 1


@pytest.mark.slow
def test_reading_may_take_long_and_a_run_begins_when_all_have_come(tmp_path):
    (tmp_path / "reading.py").write_text(READING)
    code, _, err = done(torchrun(3, tmp_path / "reading.py", tmp_path, CHAINRULE_RANK_TIMEOUT="2"))
    assert code == 0, err
    processes = said(tmp_path, 3)
    first, second, elsewhere = (seen["began"] for seen in processes)
    assert second >= first + 2.5 > elsewhere
    for seen in processes:
        assert (seen["sum"], seen["alike"], seen["next sum"]) == (3.0, "alike", 3.0)
    assert [seen.get("left") for seen in processes] == 2 * ["process 2 of 3 was lost: begin all of them again"] + [None]


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
def test_after_one_process_failed_no_other_run_begins(tmp_path, failing):
    (tmp_path / "failing.py").write_text(FAILING)
    code, _, err = done(torchrun(2, tmp_path / "failing.py", tmp_path, failing, CHAINRULE_RANK_TIMEOUT="2"))
    assert code == 0, err
    processes = said(tmp_path, 2)
    assert processes[failing][0] == "the disk is full"
    other = f"process {failing} of 2 failed (the disk is full): begin all of them again"
    assert processes[1 - failing][0] == other
    assert {seen[1] for seen in processes} == {"the processes lost each other: begin all of them again"}


def test_the_processes_of_a_machine_share_its_cores_unless_a_number_is_given(monkeypatch, tmp_path):
    def threads(run_dir):
        with pytest.raises(SystemExit):
            main(["train", "moons", "--max-steps", "1", "--backend", "numpy", "--run-dir", str(run_dir)])
        return json.loads((run_dir / "environment.json").read_text())["variables"]["CHAINRULE_NUM_THREADS"]

    monkeypatch.setattr(processor, "cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "1")
    assert threads(tmp_path / "given") == "1"
    monkeypatch.delenv("CHAINRULE_NUM_THREADS")
    assert threads(tmp_path / "shared") == "4"


@pytest.mark.slow
def test_usage_errors_are_told_once(tmp_path):
    calls = [
        (["digits", "--batch-size", "1"], "batch_size is 1, expected at least 2"),
        (["digits", "--hiden", "3"], "no such option --hiden"),
        (["--resume", str(tmp_path / "nowhere")], "no such run folder"),
    ]
    began = [torchrun(2, "-m", "chainrule", "train", *arguments) for arguments, _ in calls]
    for process, (_, message) in zip(began, calls, strict=True):
        code, out, err = done(process)
        assert code != 0
        assert not out
        assert err.count("error: ") == 1
        assert message in err


def test_the_split_of_a_batch_refuses_less_than_a_sample_for_each():
    company = parallel.Alone()
    company.size = 3
    from chainrule.train.loop import Training

    data = load("moons")
    with pytest.raises(UsageError, match="batch_size is 2, expected at least 3"):
        Training(nn.Linear(2, 2), data, TrainConfig(batch_size=2), company)
