"""`chainrule sweep`: its arguments, what it prints to a terminal, to a file and to a program, its exit codes."""

import io
import json
import re

import pytest
import yaml
from rich.console import Console

from chainrule.cli import main
from chainrule.cli.sweep import View, ranking
from chainrule.errors import UserError
from chainrule.lab.plan import Plan
from chainrule.lab.sweep import Progress, Running, look

TINY = ["moons", "--max-steps", "4", "--hidden-units", "4"]
NUMPY = ["--grid", "backend=numpy"]  # starts faster


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main(["sweep", *map(str, args)])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


def test_dry_run_lists_every_setting_and_makes_nothing(call, tmp_path):
    code, out, err = call(*TINY, "--grid", "lr=0.1,0.01", "--grid", "dropout=0;0.5", "--seeds", 3, "--dry-run")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()[1:5]]
    assert rows == [["0.1", "0", "3"], ["0.1", "0.5", "3"], ["0.01", "0", "3"], ["0.01", "0.5", "3"]]
    assert "moons: 4 settings x 3 seeds, 12 runs, seeds 0 to 2: 12 new, in\n" in out
    assert re.search(rf"{re.escape(str(tmp_path))}/runs/sweep-moons-[0-9a-f]{{6}}\n$", out)
    assert not list(tmp_path.iterdir())


def test_dry_run_as_json_and_settings_from_a_file(call, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("dataset: moons\nbatch-size: 16\ngrid:\n  lr: [0.1, 0.2]\nseeds: 2\n")
    code, out, err = call("--file", file, "--grid", "optim=sgd,adam", "--seeds", 1, "--dry-run", "--json")
    assert code == 0
    assert out.count("\n") == 1
    found = json.loads(out)
    assert [setting["values"] for setting in found["settings"]] == [
        {"lr": lr, "optimizer": rule} for lr in (0.1, 0.2) for rule in ("sgd", "adam")
    ]
    assert found["seeds"] == [0]
    assert "2 new" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "hiden=3"], ["'hiden'", "did you mean 'hidden'"]),
        (["--grid", "lr"], ["'lr'", "lr=0.001,0.01"]),
        (["--grid", "lr=0.1,,0.2"], ["lr", "empty value"]),
        (["--grid", "lr=0.1", "--grid", "learning-rate=0.2"], ["lr is given twice"]),
        (["--grid", "lr=0.1", "--lr", "3"], ["lr is both varied and given"]),
        (["--range", "lr=1e-4..1e-1:log"], ["--random 20"]),
        (["--random", "3", "--range", "lr=0.1"], ["the range of lr is '0.1'", "1e-4..1e-1:log"]),
        (["--grid", "lr=0.1,x"], ["lr: ", "'x'", "in the setting lr=x"]),
        (["--backend", "numpy"], ["local, dask, ray", "--grid backend=numpy"]),
        (["--backend", "dask"], ["--address tcp://"]),
        (["--jobs", "0"], ["jobs is 0"]),
        (["--grd", "lr=1"], ["--grd", "--grid"]),
        (["--file", "nothing.yaml"], ["nothing.yaml"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(call, tmp_path, arguments, words):
    code, out, err = call(*TINY, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words), err
    assert not list(tmp_path.iterdir())


def test_a_sweep_from_end_to_end(call, tmp_path, capsys):
    arguments = [*TINY, *NUMPY, "--grid", "lr=0.1,1e30", "--sweep-dir", tmp_path / "swept", "--json"]
    code, out, err = call(*arguments)
    assert code == 1  # one of the runs failed
    found = json.loads(out)
    assert out.count("\n") == 1
    assert [setting["n"] for setting in found["settings"]] == [1, 0]
    assert found["best"]["values"] == {"backend": "numpy", "lr": 0.1}
    result = json.loads((tmp_path / "swept" / found["best"]["runs"][0]["key"] / "result.json").read_text())
    assert found["best_test_accuracy"] == result["test_accuracy"]
    accuracy = f"{100 * result['val_accuracy']:.2f} %"
    lines = err.splitlines()
    assert lines[0] == "moons: 2 settings x 1 seed, 2 runs, in"
    assert any(
        re.fullmatch(rf"[12]/2  backend=numpy lr=0.1 seed 0: validation accuracy {accuracy}.*", x) for x in lines
    )
    assert any("lr=1e+30 seed 0: failed: training stopped" in line for line in lines)
    assert "error.txt" in err
    assert "The test part chose nothing" in " ".join(err.split())
    assert "\x1b" not in err
    written = yaml.safe_load((tmp_path / "swept/sweep.yaml").read_text())
    assert written["grid"] == {"backend": ["numpy"], "lr": [0.1, 1e30]}

    with pytest.raises(SystemExit) as left:  # a run of it is a run like others
        main(["evaluate", found["best"]["runs"][0]["run_dir"]])
    assert not left.value.code
    assert "accuracy" in capsys.readouterr().out
    code, out, err = call(*arguments)
    assert code == 1
    assert err.startswith("moons: 2 settings x 1 seed, 2 runs, 2 of them ended before, in\n")
    assert json.loads(out)["settings"] == found["settings"]


def test_a_file_is_not_overwritten_by_the_plan_that_was_read_from_it(call, tmp_path):
    file = tmp_path / "sweep.yaml"
    own = "# which learning rate?\ndataset: moons\nmax-steps: 4\ngrid:\n  lr: [0.1]\n"
    file.write_text(own)
    code, _, err = call("--file", "sweep.yaml", "--sweep-dir", ".")
    assert (code, err) == (
        2,
        "error: sweep.yaml is where this sweep writes its plan, and would be overwritten: give another --sweep-dir, or "
        "a copy of it as --file\n",
    )
    assert file.read_text() == own
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_that_a_sweep_wrote_goes_on_with_it(call, tmp_path):
    plan = Plan({"dataset": "moons", "max_steps": 4}, {"hidden": ["4,5", (6, 7)], "lr": [1e-3]}, seeds=2)
    for run in plan.runs():
        (tmp_path / run.key).mkdir()
        (tmp_path / run.key / "result.json").write_text('{"val_accuracy": 0.5, "val_loss": 1.0}')
    (tmp_path / "sweep.yaml").write_text(plan.to_yaml())
    code, _, err = call("--file", tmp_path / "sweep.yaml", "--sweep-dir", tmp_path)
    assert code == 0, err
    assert "2 settings x 2 seeds, 4 runs, 4 of them ended before" in err
    assert (tmp_path / "sweep.yaml").read_text() == plan.to_yaml()


def test_a_study_tries_again_as_a_sweep_does(tmp_path, monkeypatch, capsys):
    told = {}

    def rerun(wanted, **arguments):
        told.update(arguments)
        raise UserError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chainrule.lab.study.rerun", rerun)
    for retry, said in [("2", "error: enough"), ("-1", "error: retry is -1, expected at least 0")]:
        with pytest.raises(SystemExit):
            main(["study", "nyu-2021", "--retry", retry])
        assert said in capsys.readouterr().err
    assert told["retry"] == 2


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=40, _environ={})


def test_a_terminal_shows_what_runs_how_far_it_is_and_how_long_it_takes(tmp_path):
    found = look(Plan({"dataset": "moons"}, {"lr": [0.1, 0.2]}, seeds=2), tmp_path)
    console = terminal()
    with View(console) as view:
        view(Progress(found, (Running({"lr": 0.1}, 1, 30, 120, 0.875),), 150.0))
        view._live.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"0/4 runs +━+ +about 2 min left", shown)
    assert re.search(r"lr=0.1 +seed 1 +[━╺]+ +step 30/120 +87.50 %", shown)


def test_without_a_terminal_every_run_that_ends_is_a_line(tmp_path):
    plan = Plan({"dataset": "moons"}, {"lr": [0.1, 0.2]})
    console = Console(file=io.StringIO(), width=30)
    with View(console) as view:
        view(Progress(look(plan, tmp_path), (), None))
        run_dir = tmp_path / plan.runs()[1].key
        run_dir.mkdir()
        (run_dir / "result.json").write_text('{"val_accuracy": 0.5, "val_loss": 1.0}')
        for _ in range(3):
            view(Progress(look(plan, tmp_path), (), 5000.0))
    assert (
        console.file.getvalue().splitlines()[-1] == "1/2  lr=0.2 seed 0: validation accuracy 50.00 %; about 83 min left"
    )
    assert console.file.getvalue().count("50.00 %") == 1


def test_text_that_looks_like_markup_is_printed_as_it_is(tmp_path):
    plan = Plan({"dataset": "moons"}, {"lr": [0.1]})
    log_dir = tmp_path / "logs" / plan.runs()[0].key
    log_dir.mkdir(parents=True)
    (log_dir / "error.txt").write_text("no file [bold]x[/nothing]\n")
    console = Console(file=io.StringIO(), width=200)
    console.print(ranking(look(plan, tmp_path)))
    assert "lr=0.1 seed 0: no file [bold]x[/nothing]" in console.file.getvalue()
    assert "No setting has all its runs finished." in console.file.getvalue()
