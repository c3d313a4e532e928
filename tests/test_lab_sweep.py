"""Sweeps: what is planned, what runs leave, how they are ranked; failures, lost workers, kill -9, clusters."""

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from chainrule.errors import UsageError, UserError
from chainrule.lab.jobs import progress_of, work
from chainrule.lab.plan import Plan, Range, family, make_plan, read_range
from chainrule.lab.remarks import edge
from chainrule.lab.sweep import look, sweep
from chainrule.train import configure, evaluate, run
from chainrule.train.checkpoint import load
from chainrule.train.folder import in_use

# What may depend on nothing but the config: not the clock (times.csv, result.json's seconds).
BYTES = (
    "config.yaml",
    "metrics.csv",
    "metrics.jsonl",
    "steps.csv",
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "learning_curve.png",
    "confusion_matrix.png",
)
TINY = {"dataset": "moons", "max_steps": 6, "eval_freq": 3, "hidden": 4, "backend": "numpy"}


def bytes_of(root):
    """The bytes of every run, by its key."""
    return {
        path.parent.name: [(path.parent / name).read_bytes() for name in BYTES] for path in root.glob("*/config.yaml")
    }


# ------------------------------------------------------------------------------------------------------------ the plan


def test_every_combination_is_run_with_the_same_seeds():
    plan = Plan(
        {"dataset": "moons", "seed": 7}, grid={"learning-rate": [0.1, 0.2], "hidden_units": [3, "4,5"]}, seeds=3
    )
    found = [(run.config.lr, run.config.hidden, run.config.seed) for run in plan.runs()]
    assert found == [(lr, hidden, seed) for lr in (0.1, 0.2) for hidden in ((3,), (4, 5)) for seed in (7, 8, 9)]
    assert len({run.key for run in plan.runs()}) == 12


def test_a_key_is_the_hash_of_the_config():
    a, b = (plan.runs()[0] for plan in (Plan(TINY), Plan({}, grid={name: [value] for name, value in TINY.items()})))
    assert a.key == b.key == hashlib.sha256(configure(TINY).model_dump_json().encode()).hexdigest()[: len(a.key)]
    assert a.key != Plan(TINY | {"lr": 0.1}).runs()[0].key


def test_a_key_does_not_know_the_folders_of_files():
    def key(**settings):
        return Plan(TINY | settings).runs()[0].key

    here, there = {"pretrained": "/here/weights.pth"}, {"pretrained": "/there/weights.pth", "data_dir": "/there"}
    assert key(**here) == key(**there) == key(pretrained="weights.pth")
    assert key(data_dir="/there") == key()
    assert len({key(), key(**here), key(pretrained="/here/others.pth")}) == 3
    assert family(Plan(TINY | here).runs()) == family(Plan(TINY | there).runs())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"grid": {"hiden": [3]}}, "unknown setting 'hiden': did you mean 'hidden'?"),
        ({"grid": {"hidden": [3]}, "settings": {"hidden_units": 4}}, "hidden is both varied and given"),
        ({"grid": {"lr": [1], "learning_rate": [2]}}, "lr is given twice, once as 'learning_rate'"),
        ({"grid": {"lr": [0.1, "1e-1"]}}, "two settings of the grid are the same: lr=0.1"),
        ({"grid": {"lr": []}}, "the grid of lr has no value"),
        ({"grid": {"lr": [0.1, -1]}}, "lr: input should be greater than 0, got -1 (in the setting lr=-1)"),
        ({"grid": {"optimizer": ["sgd", "adam"], "momentum": [0.9]}}, "(in the setting optimizer=adam momentum=0.9)"),
        ({"grid": {"seed": [1, 2]}}, "give --seeds 5"),
        ({"grid": {"lr": [0.1]}, "seeds": 0}, "seeds is 0, expected at least 1"),
        ({"ranges": {"lr": Range(0, 1)}}, "say how many settings to draw"),
        ({"random": 3}, "random is 3: expected at least 1 setting, and a --range or a --grid to draw from"),
        ({"grid": {"hidden": [3, 4]}, "random": 3}, "only 2 different settings were found"),
        ({"grid": {"pretrained": ["a/w.pth", "b/w.pth"]}}, "a/w.pth and pretrained=b/w.pth differ only in a folder"),
        ({"grid": {"pretrained": ["a/w.pth", "b/w.pth"]}, "random": 2}, "give the files different names"),
        ({"grid": {"data_dir": ["a", "b"]}}, "data-dir=a and data-dir=b differ only in a folder"),
    ],
)
def test_what_makes_no_plan_is_said(arguments, said):
    with pytest.raises(UsageError) as error:
        Plan(**{"settings": {}} | arguments).runs()
    assert said in str(error.value)


@pytest.mark.parametrize("ends", ["0.5", "1..x", "2..1", "1..1", "0..1:log", "nan..1", "1..inf", "1..2:lin", ""])
def test_what_is_no_range_is_said(ends):
    with pytest.raises(UsageError, match="the range of lr is"):
        read_range("lr", ends)


def test_draws_fill_their_ranges_evenly():
    ranges = {"lr": Range(1e-4, 1e-1, log=True), "dropout": Range(0, 0.5), "hidden": Range(1, 4)}
    runs = Plan({"dataset": "moons"}, {"activation": ["relu", "tanh"]}, ranges, random=600).runs()
    drawn = {name: np.array([run.values[name] for run in runs]) for name in ("lr", "dropout", "hidden", "activation")}
    for values, low, high in [(np.log10(drawn["lr"]), -4, -1), (drawn["dropout"], 0, 0.5)]:
        expected = low + (high - low) * (np.arange(600) + 0.5) / 600
        # Kolmogorov and Smirnov: 1.95 / sqrt(n) is passed by chance once in a thousand.
        assert np.abs(np.sort(values) - expected).max() < (high - low) * 1.95 / math.sqrt(600)
    assert np.bincount(drawn["hidden"][:, 0], minlength=5)[1:].tolist() == pytest.approx([150] * 4, abs=45)
    assert (drawn["activation"] == "tanh").sum() == pytest.approx(300, abs=50)
    assert np.abs(np.corrcoef(drawn["lr"], drawn["dropout"])[0, 1]) < 0.15


def test_more_draws_begin_with_the_fewer_ones_and_the_order_of_names_is_no_matter():
    ranges = {"lr": Range(1e-4, 1e-1, log=True), "dropout": Range(0, 0.5)}
    few = Plan(TINY, ranges=ranges, random=4, seeds=2).runs()
    many = Plan(TINY, ranges=dict(reversed(ranges.items())), random=9, seeds=2).runs()
    assert [run.key for run in few] == [run.key for run in many][:8]


def test_a_sweep_keeps_its_folder_when_it_grows():
    def of(**arguments):
        return family(Plan(TINY, **arguments).runs())

    name = of(grid={"lr": [0.1, 0.2]})
    assert name == of(grid={"lr": [0.4, 0.1]}, seeds=5) == of(ranges={"lr": Range(1, 2)}, random=3)
    assert re.fullmatch("sweep-moons-[0-9a-f]{6}", name)
    others = [of(grid={"lr": [0.1], "dropout": [0]}), of(grid={"dropout": [0]})]
    others.append(family(Plan(TINY | {"batch_size": 7}, grid={"lr": [0.1]}).runs()))
    assert len({name, *others}) == 4


def test_what_is_given_wins_over_the_file(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "max-steps: 5\nbatch-size: 16\ngrid:\n  learning_rate: [0.1, 0.2]\n  hidden: [3, [4, 5]]\nseeds: 2\n"
        "range: {dropout: 0..0.5}\nrandom: 7\n"
    )
    plan = make_plan({}, file=file)
    assert (plan.random, plan.seeds, plan.varied) == (7, 2, ("lr", "hidden", "dropout"))
    assert plan.runs()[0].config.max_steps == 5
    plan = make_plan(
        {"epochs": 1, "hidden": 9}, file=file, grid=["lr=0.3"], ranges=["dropout=0.1..0.2"], random=1, seeds=1
    )
    [only] = plan.runs()
    assert (only.config.epochs, only.config.max_steps, only.config.hidden, only.config.lr) == (1, None, (9,), 0.3)
    assert 0.1 <= only.config.dropout <= 0.2
    assert only.config.batch_size == 16


@pytest.mark.parametrize(
    ("range_", "text"),
    [
        (Range(0.00123456789, 10, log=True), "0.00123456789..10:log"),
        (Range(1e-5, 1234567), "1e-05..1234567"),
        (Range(0, np.float64(0.5)), "0..0.5"),
    ],
)
def test_a_range_as_text_has_all_its_digits(range_, text):
    assert str(range_) == text
    assert read_range("lr", text) == range_


@pytest.mark.parametrize("random", [None, 3])
def test_a_plan_as_yaml_is_the_same_plan(tmp_path, random):
    ranges = {"dropout": Range(0.001, 0.5, log=True)} if random else {}
    plan = Plan({"dataset": "moons", "lr": "1e-3", "augment": ""}, {"hidden": [3, "4,5"]}, ranges, random, seeds=2)
    (tmp_path / "sweep.yaml").write_text(plan.to_yaml())
    assert make_plan({}, file=tmp_path / "sweep.yaml").runs() == plan.runs()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "holds no lines"),
        ("grid: 3", "grid in"),
        ("seeds: two", "seeds in"),
        ("a: [", "is not YAML"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_is_no_plan_is_said(tmp_path, text, said):
    file = tmp_path / "sweep.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=said):
        make_plan({}, file=file)


# ---------------------------------------------------------------------------------------------------------- the ranking


def pretend(plan, root, figures):
    """Finished runs with these figures: (validation accuracy, validation loss, test accuracy); an error; or nothing."""
    for planned, found in zip(plan.runs(), figures, strict=True):
        run_dir, log_dir = root / planned.key, root / "logs" / planned.key
        run_dir.mkdir(parents=True)
        log_dir.mkdir(parents=True)
        if isinstance(found, str):
            (log_dir / "error.txt").write_text(f"{found}\n\nTraceback")
        elif found:
            accuracy, loss, test = found
            result = {
                "val_accuracy": accuracy,
                "val_loss": loss,
                "train_loss": -test,
                "test_accuracy": test,
                "seconds": 2.0,
            }
            (run_dir / "result.json").write_text(json.dumps(result))


def test_settings_are_ranked_by_their_mean_on_the_validation_part_alone(tmp_path):
    plan = Plan(TINY, grid={"lr": [0.1, 0.2, 0.3, 0.4]}, seeds=2)
    pretend(
        plan,
        tmp_path,
        [
            (0.9, 0.5, 0.9),
            (0.5, 0.5, 0.9),
            (0.8, 0.2, 0.1),
            (0.7, 0.4, 0.3),
            (0.7, 0.1, 0.8),
            (0.7, 0.1, 0.8),
            None,
            None,
        ],
    )
    found = look(plan, tmp_path)
    assert [setting.values["lr"] for setting in found.settings] == [0.2, 0.3, 0.1, 0.4]
    assert [setting.n for setting in found.settings] == [2, 2, 2, 0]
    assert found.settings[0].val_accuracy == pytest.approx(0.75)
    assert found.settings[0].val_loss == pytest.approx(0.3)
    assert found.best is found.settings[0]
    assert found.best_test_accuracy == pytest.approx(0.2)
    assert found.chosen_by == "validation accuracy"


def test_of_equal_accuracies_the_lower_loss_is_better(tmp_path):
    plan = Plan(TINY, grid={"lr": [0.1, 0.2]})
    pretend(plan, tmp_path, [(0.7, 0.5, 0.9), (0.7, 0.4, 0.1)])
    assert look(plan, tmp_path).best.values == {"lr": 0.2}


def test_a_setting_that_lacks_runs_is_not_the_best(tmp_path):
    plan = Plan(TINY, grid={"lr": [0.1, 0.2]}, seeds=2)
    pretend(plan, tmp_path, [(0.9, 0.1, 0.9), "diverged", (0.5, 0.4, 0.1), (0.5, 0.4, 0.1)])
    found = look(plan, tmp_path)
    assert found.best.values == {"lr": 0.2}
    assert (found.settings[1].n, found.settings[1].failed, found.count("failed")) == (1, 1, 1)
    assert found.settings[1].runs[1].error == "diverged"
    assert "1 of 2 settings have runs that failed" in " ".join(remark.text for remark in found.remarks)
    assert look(plan, tmp_path / "empty").best is None


def test_without_a_validation_part_the_training_loss_ranks_and_that_is_said(tmp_path):
    plan = Plan(TINY, grid={"lr": [0.1, 0.2, 0.3]}, seeds=2)
    pretend(plan, tmp_path, [(None, None, test) for test in (1, 1, 3, 3, 2, 2)])  # the training loss is -test
    found = look(plan, tmp_path)
    assert (found.chosen_by, found.best.values) == ("training loss", {"lr": 0.2})
    assert "no-validation" in {remark.kind for remark in found.remarks}


@pytest.mark.parametrize(
    ("name", "values", "best", "said"),
    [
        ("lr", [0.1, 0.2, 0.3], 2, "The best lr by validation accuracy, 0.3, is the largest of"),
        ("lr", [0.3, 0.2, 0.1], 2, "The best lr by validation accuracy, 0.1, is the smallest of"),
        ("lr", [0.1, 0.2, 0.3], 1, None),
        ("hidden", [10, 20, 30], 2, "The best hidden by validation accuracy, 30, is the largest of"),
        ("hidden", [10, 20, "30,30"], 2, None),  # no order between them
        ("batch_size", [8, 16], 0, "The best batch size by validation accuracy, 8, is the smallest of"),
        ("dropout", [0, 0.3], 0, None),  # there is nothing below
        ("hidden", [1, 8], 0, None),
        ("activation", ["relu", "tanh"], 1, None),
    ],
)
def test_a_best_value_at_the_edge_of_its_grid_is_remarked_on(tmp_path, name, values, best, said):
    plan = Plan({key: value for key, value in TINY.items() if key != name}, grid={name: values}, seeds=2)
    pretend(plan, tmp_path, [(0.5 + 0.1 * (i // 2 == best), 0.5, 0.5) for i in range(2 * len(values))])
    edges = [remark.text for remark in look(plan, tmp_path).remarks if remark.kind == "edge"]
    assert edges[0].startswith(said) if said else not edges


@pytest.mark.parametrize(
    ("name", "best", "tried", "proposed"),
    [
        ("lr", 1.0, [1.0, 3.0, 10.0], "0.3"),
        ("hidden", [200], [[100], [200]], "400"),
        ("momentum", 0.5, [0.3, 0.5], "0.8"),
        ("momentum", 0.9, [0.5, 0.9], None),  # a config has none above 1
        ("dropout", 0.8, [0.2, 0.5, 0.8], None),
        ("val_size", 2000, [500, 2000], "8000"),
        ("weights", 3000, [1000, 3000], None),  # no setting
        ("batch_size", 101, [100, 101], None),  # the next one is the same in two digits
    ],
)
def test_beyond_an_edge_only_what_a_config_can_have_is_proposed(name, best, tried, proposed):
    text = edge(name, best, tried, "validation accuracy").text
    ending = f"a better one may lie beyond. Try --{name.replace('_', '-')} {proposed}."
    assert text.endswith(ending if proposed else "a better one may lie beyond.")


@pytest.mark.parametrize(
    ("name", "range_", "wanted", "side"),
    [
        ("lr", Range(1e-5, 1e-1, log=True), np.argmin, "lower"),
        ("lr", Range(1e-5, 1e-1, log=True), np.argmax, "upper"),
        ("lr", Range(1e-5, 1e-1, log=True), lambda drawn: np.argsort(drawn)[10], None),
        ("hidden", Range(10, 500), np.argmin, "lower"),
        ("hidden", Range(10, 500), np.argmax, "upper"),
        ("dropout", Range(0, 0.5), np.argmin, None),  # there is nothing below
    ],
)
def test_a_best_value_at_the_end_of_its_range_is_remarked_on(tmp_path, name, range_, wanted, side):
    plan = Plan({key: value for key, value in TINY.items() if key != name}, ranges={name: range_}, random=20)
    best = wanted([np.ravel(run.values[name])[0] for run in plan.runs()])
    pretend(plan, tmp_path, [(0.5 + 0.1 * (i == best), 0.5, 0.5) for i in range(20)])
    edges = [remark.text for remark in look(plan, tmp_path).remarks if remark.kind == "edge"]
    assert f"lies at the {side} end of its range, {range_}:" in edges[0] if side else not edges


def test_one_seed_is_remarked_on(tmp_path):
    kinds = [{remark.kind for remark in look(Plan(TINY, {"lr": [1, 2]}, seeds=n), tmp_path).remarks} for n in (1, 2)]
    assert ["one-seed" in found for found in kinds] == [True, False]


# -------------------------------------------------------------------------------------------------------------- running

PLAN = Plan(TINY, grid={"lr": [0.01, 0.1]}, seeds=2)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One sweep for all tests that only look at it: (its folder, what was found, what was told)."""
    root, told = tmp_path_factory.mktemp("sweep") / "moons", []
    return root, sweep(PLAN, sweep_dir=root, progress=told.append), told


def test_every_run_is_what_train_makes(swept, tmp_path):
    root, found, _ = swept
    assert found.count("finished") == 4
    for planned in PLAN.runs():
        alone = run(planned.config, run_dir=tmp_path / planned.key)
        result = json.loads((root / planned.key / "result.json").read_text())
        assert (result["test_accuracy"], result["val_loss"]) == (alone.test_accuracy, alone.val_loss)
    assert bytes_of(root) == bytes_of(tmp_path)
    assert evaluate(found.best.runs[0].run_dir).steps in (0, 3, 6)


def test_the_figures_are_the_runs_own(swept):
    root, found, _ = swept
    for setting in found.settings:
        own = [json.loads((Path(each.run_dir) / "result.json").read_text()) for each in setting.runs]
        configs = [yaml.safe_load((Path(each.run_dir) / "config.yaml").read_text()) for each in setting.runs]
        assert [(config["lr"], config["seed"]) for config in configs] == [
            (setting.values["lr"], seed) for seed in (0, 1)
        ]
        assert setting.val_accuracy == pytest.approx(np.mean([result["val_accuracy"] for result in own]))
    lines = (root / "runs.csv").read_text().splitlines()
    assert lines[0].startswith("lr,key,seed,state,val_accuracy")
    assert "test" not in lines[0]
    assert len(lines) == 5


def test_those_who_watch_are_told_to_the_end(swept):
    _, found, told = swept
    assert told[-1].sweep == found
    assert not told[-1].running
    counts = [progress.sweep.count("finished") for progress in told]
    assert counts == sorted(counts)
    for progress in told:
        assert len(progress.running) <= 2
        assert all(0 <= each.step <= each.total_steps == 6 for each in progress.running)


def test_what_is_finished_is_not_run_again_and_more_seeds_extend_a_sweep(swept, monkeypatch):
    root, _, _ = swept
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/*")}
    with monkeypatch.context() as without:
        without.setattr("chainrule.lab.sweep.work", lambda job: pytest.fail("a run was begun"))
        assert sweep(PLAN, sweep_dir=root, jobs=1).count("finished") == 4
    more = Plan(TINY, grid={"lr": [0.01, 0.1]}, seeds=3)
    assert [look(more, root).count(state) for state in ("finished", "new")] == [4, 2]
    assert sweep(more, sweep_dir=root, jobs=2).count("finished") == 6
    assert before.items() <= {path: path.stat().st_mtime_ns for path in root.glob("*/*")}.items()


def test_a_run_that_fails_leaves_its_error_is_left_alone_and_tried_again_when_asked(tmp_path):
    plan = Plan(TINY, grid={"lr": [0.1, 1e30]})
    good, bad = plan.runs()
    found = sweep(plan, sweep_dir=tmp_path)
    assert (found.best.values, found.count("failed")) == ({"lr": 0.1}, 1)
    error = tmp_path / "logs" / bad.key / "error.txt"
    assert error.read_text().splitlines()[0] == found.settings[1].runs[0].error
    assert "NaN or infinite" in error.read_text()
    assert "Traceback" in error.read_text()
    left = error.stat().st_mtime_ns
    assert sweep(plan, sweep_dir=tmp_path).count("failed") == 1
    assert error.stat().st_mtime_ns == left
    assert sweep(plan, sweep_dir=tmp_path, retry=1).count("failed") == 1
    assert error.stat().st_mtime_ns > left
    assert not (tmp_path / "logs" / good.key / "error.txt").exists()


def test_a_retry_heals_what_passes(tmp_path):
    plan = Plan(TINY)
    in_the_way = tmp_path / plan.runs()[0].key
    in_the_way.write_text("no folder")
    assert sweep(plan, sweep_dir=tmp_path).count("failed") == 1
    in_the_way.unlink()
    assert sweep(plan, sweep_dir=tmp_path, retry=1).count("finished") == 1
    assert not list(tmp_path.glob("logs/*/error.txt"))


def test_a_failed_run_keeps_its_error_until_it_is_begun_again(tmp_path, monkeypatch):
    pretend(PLAN, tmp_path, ["diverged"] * 4)
    monkeypatch.setattr("chainrule.lab.sweep.work", lambda job: Path(job.stop_file).touch())
    told = []
    with pytest.raises(KeyboardInterrupt):
        sweep(PLAN, sweep_dir=tmp_path, retry=1, progress=told.append)
    assert told[0].sweep.count("new") == 4
    assert [run.error for run in look(PLAN, tmp_path).runs] == ["diverged"] * 4


def test_the_time_left_is_judged_by_what_was_done_since_the_start(tmp_path, monkeypatch):
    plan, told = Plan(TINY), []
    key = plan.runs()[0].key
    (tmp_path / key).mkdir()
    (tmp_path / key / "config.yaml").write_text(plan.runs()[0].config.to_yaml())
    monkeypatch.setattr("chainrule.lab.sweep.INTERVAL", 0.02)

    def go_on(job):
        Path(job.log_dir).mkdir(parents=True)
        for step in (70, 71):
            time.sleep(0.2)
            facts = json.dumps({"step": step, "total_steps": 100, "val_accuracy": None})
            (Path(job.log_dir) / "progress.json").write_text(facts)
        time.sleep(0.2)
        (Path(job.run_dir) / "result.json").write_text("{}")

    monkeypatch.setattr("chainrule.lab.sweep.work", go_on)
    sweep(plan, sweep_dir=tmp_path, progress=told.append)
    [(first, *_), (second, *_)] = [
        [each.seconds_left for each in told if [run.step for run in each.running] == [step]] for step in (70, 71)
    ]
    assert first is None
    assert second > 0.4 * 29  # one step took at least as long as this, and 29 are left


def test_what_those_who_watch_raise_stops_the_sweep_and_is_raised(tmp_path, monkeypatch):
    stopped = []
    monkeypatch.setattr("chainrule.lab.sweep.work", lambda job: stopped.append(until(lambda: job.stopped, 5)))

    def progress(_):
        raise RuntimeError("no room on the screen")

    with pytest.raises(RuntimeError, match="no room on the screen"):
        sweep(Plan(TINY), sweep_dir=tmp_path, progress=progress)
    assert all(stopped)


@pytest.mark.parametrize("damage", ["no config", "a torn checkpoint"])
def test_a_damaged_run_is_begun_anew(swept, tmp_path, damage):
    plan = Plan(TINY, grid={"lr": [0.1]})
    run_dir = tmp_path / plan.runs()[0].key
    (run_dir / "checkpoints").mkdir(parents=True)
    if damage == "a torn checkpoint":
        (run_dir / "config.yaml").write_text(plan.runs()[0].config.to_yaml())
        (run_dir / "checkpoints/last.safetensors").write_bytes(b"torn")
    assert sweep(plan, sweep_dir=tmp_path).count("finished") == 1
    assert bytes_of(tmp_path)[run_dir.name] == bytes_of(swept[0])[run_dir.name]
    aside = tmp_path / "logs" / run_dir.name / "damaged-1/checkpoints/last.safetensors"
    assert aside.exists() == (damage == "a torn checkpoint")


def test_threads_are_shared_out(tmp_path, monkeypatch):
    for name in ("CHAINRULE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "6")  # joblib's: the cores that it may use
    sweep(Plan(TINY, {"lr": [0.1, 0.2]}), sweep_dir=tmp_path, jobs=2)
    files = list(tmp_path.glob("*/environment.json"))
    assert len(files) == 2
    for file in files:
        variables = json.loads(file.read_text())["variables"]
        cores = min(6, len(os.sched_getaffinity(0)))
        assert {variables[name] for name in ("CHAINRULE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {
            str(max(1, cores // 2))
        }


def test_an_inherited_number_of_threads_is_not_that_of_every_run(tmp_path, monkeypatch):
    monkeypatch.delenv("CHAINRULE_NUM_THREADS", raising=False)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "16")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    found = sweep(Plan(TINY), sweep_dir=tmp_path, jobs=1)
    stored = json.loads((Path(found.runs[0].run_dir) / "environment.json").read_text())["variables"]
    assert {value for name, value in stored.items() if name.endswith("NUM_THREADS")} == {"1"}


def test_a_lost_worker_is_asked_again_and_workers_that_are_always_lost_are_reported(tmp_path, monkeypatch):
    asked = []

    def unreliable(job):
        asked.append(job.run_dir)
        if len(asked) == 1:
            raise ConnectionError("worker gone")
        work(job)

    monkeypatch.setattr("chainrule.lab.sweep.work", unreliable)
    assert sweep(Plan(TINY), sweep_dir=tmp_path / "once").count("finished") == 1
    assert len(asked) == 2

    def lost(job):
        raise ConnectionError("worker gone")

    monkeypatch.setattr("chainrule.lab.sweep.work", lost)
    with pytest.raises(UserError, match=r"2 runs got no farther .* lost: ConnectionError: worker gone"):
        sweep(Plan(TINY, {"lr": [0.1, 0.2]}), sweep_dir=tmp_path / "always")


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.lab.sweep.os.getcwd", lambda: "/only/here")
    with pytest.raises(UserError, match="all machines need the same paths"):
        sweep(Plan(TINY), sweep_dir=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"backend": "slurm"}, "expected one of local, dask, ray"),
        ({"backend": "dask"}, "needs the address of a scheduler"),
        ({"address": "tcp://1.2.3.4:5"}, "give --backend dask or --backend ray"),
        ({"jobs": 0}, "jobs is 0"),
        ({"retry": -1}, "retry is -1"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_made(tmp_path, arguments, said):
    with pytest.raises(UsageError, match=said):
        sweep(PLAN, sweep_dir=tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_unknown_data_are_said_before_anything_is_made(tmp_path):
    with pytest.raises(UserError, match="mnits"):
        sweep(Plan({"dataset": "mnits"}), sweep_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    with in_use(tmp_path), pytest.raises(UserError, match="in progress in another process"):
        sweep(PLAN, sweep_dir=tmp_path)


def test_a_number_of_threads_that_is_given_holds_for_every_library(tmp_path, monkeypatch):
    """One process of one run has all cores: PyTorch's products would take them all beside one thread of the rest."""
    monkeypatch.setenv("CHAINRULE_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    found = sweep(Plan({**TINY, "backend": "numpy"}), sweep_dir=tmp_path, jobs=1)
    stored = json.loads((Path(found.runs[0].run_dir) / "environment.json").read_text())["variables"]
    assert set(stored.values()) - {stored.get("OPENBLAS_CORETYPE")} == {"3"}
    assert "MKL_NUM_THREADS" in stored


# ---------------------------------------------------------------------------- killed, stopped, lost; on other machines

LONG = Plan(
    {"dataset": "digits", "hidden": 20, "dropout": 0.2, "max_steps": 7000, "eval_freq": 250, "checkpoint_every": 1000},
    grid={"lr": [0.001, 0.01]},
    seeds=2,
)
ONE_THREAD = {**os.environ, "CHAINRULE_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The bytes of all runs of `LONG`, swept without a disturbance."""
    root = tmp_path_factory.mktemp("undisturbed")
    assert start(root).wait() == 0
    return bytes_of(root)


def start(root, *options):
    """The command that sweeps `LONG` in `root`; its standard error is `root`.err."""
    file = root.with_suffix(".yaml")
    file.write_text(LONG.to_yaml())
    command = [sys.executable, "-m", "chainrule", "sweep", "--file", file, "--sweep-dir", root, "--jobs", "2", *options]
    with open(root.with_suffix(".err"), "ab") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=ONE_THREAD)


def trainings(root):
    """The processes that train the sweep's runs, wherever they were started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "chainrule.lab.jobs" in " ".join(line) and line[-1].startswith(str(root)):
            found.append(process)
    return found


def until(condition, seconds=120):
    """Waits for what comes true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def under_way(root, step=0):
    """The processes that train, once one of them is beyond this step."""

    def far_enough():
        steps = [(progress_of(log_dir) or {}).get("step", 0) for log_dir in root.glob("logs/*")]
        return trainings(root) if max(steps, default=0) > step else []

    return until(far_enough)


def kill(process):
    """Kills a process unless it has ended by itself."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


class Results:
    """The result files of a sweep as they first appeared: one that is written again was run twice."""

    def __init__(self, root):
        self.root, self.first = root, {}

    def __call__(self):
        for file in self.root.glob("*/result.json"):
            assert self.first.setdefault(file, file.stat().st_ino) == file.stat().st_ino
        return len(self.first) == len(LONG.runs())


@pytest.mark.slow
@pytest.mark.parametrize("with_its_runs", [True, False])
def test_a_sweep_killed_anywhere_goes_on_and_leaves_the_same_bytes(tmp_path, undisturbed, with_its_runs):
    root, results = tmp_path / "sweep", Results(tmp_path / "sweep")
    for step in (600, 3000):
        killed = start(root)
        running = under_way(root, step)
        killed.kill()
        killed.wait()
        for process in running if with_its_runs else []:
            kill(process)
        results()
    assert start(root).wait() == 0
    assert results()
    assert bytes_of(root) == undisturbed
    until(lambda: not trainings(root))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", "ray"])
def test_ctrl_c_saves_the_runs_and_says_how_to_go_on(tmp_path, undisturbed, backend):
    if backend == "ray":
        pytest.importorskip("ray")
    root = tmp_path / "sweep"
    stopped = start(root, "--backend", backend)
    under_way(root)
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait() == 130
    assert not trainings(root)
    assert not (root / "stop").exists()
    said = root.with_suffix(".err").read_text()
    assert f"chainrule sweep --file {root}/sweep.yaml --sweep-dir {root}" in said
    assert said.endswith("error: interrupted\n")
    steps = {load(file).facts["step"] % 1000 for file in root.glob("*/checkpoints/last.safetensors")}
    assert steps != {0}  # saved where they were, not only at every thousandth step
    found = look(LONG, root)
    assert 0 < found.count("begun") <= 2
    clocks = {file: file.read_text() for file in root.glob("*/times.csv")}
    assert start(root).wait() == 0
    assert all(file.read_text().startswith(clock) for file, clock in clocks.items())  # gone on with, not begun anew
    assert bytes_of(root) == undisturbed


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_one_that_always_dies_is_reported(tmp_path, undisturbed):
    root, results = tmp_path / "sweep", Results(tmp_path / "sweep")
    victim = LONG.runs()[0].key
    going = start(root)
    kill(under_way(root)[-1])

    def ended():
        for process in trainings(root):
            if process.info["cmdline"][-1].endswith(victim):
                kill(process)
        results()
        return going.poll() is not None

    until(ended)
    assert going.returncode == 1
    found = look(LONG, root)
    assert [(run.key, run.error) for run in found.runs if run.state == "failed"] == [
        (victim, "its process was ended by SIGKILL 3 times: out of memory?")
    ]
    assert found.count("finished") == 3
    assert start(root, "--retry", "1").wait() == 0
    assert bytes_of(root) == undisturbed


@pytest.mark.slow
def test_a_run_that_another_process_still_trains_is_waited_for(tmp_path):
    plan = Plan(TINY)
    log_dir = tmp_path / "logs" / plan.runs()[0].key
    log_dir.mkdir(parents=True)
    sweeping = threading.Thread(target=sweep, args=(plan,), kwargs={"sweep_dir": tmp_path})
    with in_use(log_dir):
        sweeping.start()
        sweeping.join(5)
        assert look(plan, tmp_path).count("new") == 1
    sweeping.join()
    assert look(plan, tmp_path).count("finished") == 1


def disturbed(root, options, worker_of):
    """Sweeps with these options, and kills the worker behind one of the runs in the middle."""
    results = Results(root)
    going = start(root, *options)
    worker_of(under_way(root)[0]).kill()
    until(lambda: results() or going.poll() is not None)
    assert going.wait() == 0, root.with_suffix(".err").read_text()
    assert results()
    assert look(LONG, root).count("finished") == 4


@pytest.mark.slow
def test_on_a_dask_cluster_a_lost_worker_loses_no_run(tmp_path, undisturbed):
    pytest.importorskip("distributed")
    with ExitStack() as cluster:

        def launch(*arguments):
            command = [sys.executable, "-m", "dask", *arguments]
            process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=ONE_THREAD)
            cluster.callback(process.wait)
            cluster.callback(process.kill)

        file = tmp_path / "scheduler.json"
        launch("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
        address = json.loads(until(lambda: file.exists() and file.read_text()))["address"]
        for _ in range(2):
            launch("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        disturbed(tmp_path / "sweep", ["--backend", "dask", "--address", address], lambda process: process.parent())
    assert bytes_of(tmp_path / "sweep") == undisturbed


@pytest.mark.slow
def test_on_ray_a_lost_worker_loses_no_run(tmp_path, undisturbed):
    pytest.importorskip("ray")
    disturbed(tmp_path / "sweep", ["--backend", "ray"], lambda process: process.parent())
    assert bytes_of(tmp_path / "sweep") == undisturbed


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_said(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(UserError, match=re.escape("no Dask scheduler answers at tcp://127.0.0.1:1")):
        sweep(PLAN, sweep_dir=tmp_path, backend="dask", address="tcp://127.0.0.1:1")
