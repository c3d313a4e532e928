"""`chainrule report`: what it prints, what it writes, its exit codes."""

import json
import re
import statistics
from pathlib import Path

import pytest
from scipy import stats

from chainrule.cli import main
from chainrule.train import TrainConfig, run

SEEDS = (0, 1, 2)


@pytest.fixture
def call(capsys):
    """Runs the command: (exit code, standard output, standard error)."""

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli-report") / "runs"
    for hidden in (4, 16):
        for seed in SEEDS:
            config = TrainConfig(dataset="digits", hidden=hidden, epochs=1, batch_size=50, seed=seed, backend="numpy")
            run(config, run_dir=root / f"{hidden}-{seed}")
    return root


def test_json_is_one_line_that_agrees_with_the_runs(call, folder, tmp_path):
    code, out, err = call("report", folder, "--output", tmp_path / "out", "--json")
    assert (code, out.count("\n")) == (0, 1)
    found = json.loads(out)
    (section,) = found["sections"]
    values = {}
    for row in section["settings"]:
        results = [json.loads((Path(path) / "result.json").read_text()) for path in row["runs"]]
        values[row["name"]] = [result["test_accuracy"] for result in results]
        estimate = row["estimates"]["test_accuracy"]
        assert estimate["mean"] == pytest.approx(statistics.mean(values[row["name"]]))
        assert estimate["n"] == 3
        assert f"{100 * estimate['mean']:.2f} [" in err
    (comparison,) = section["comparisons"]
    theirs = stats.ttest_rel(values["A"], values["B"])
    assert comparison["difference"]["p"] == pytest.approx(theirs.pvalue)
    assert comparison["verdict"] in ("higher", "lower", "not shown")
    page = Path(found["files"]["page"]).read_text()
    markdown = Path(found["files"]["markdown"]).read_text()
    assert comparison["text"] in markdown
    assert f"{100 * estimate['mean']:.2f} [" in page


def test_people_are_shown_tables_sentences_and_files(call, folder, tmp_path):
    code, out, err = call("report", folder, "-o", tmp_path / "out")
    assert code == 0
    assert "\x1b" not in out + err
    words = " ".join(out.split())
    assert "By validation accuracy setting A is chosen (hidden 16)" in words
    assert re.search(r"A .{1,3} B = \S+ \[\S+ \S+\] points \(paired t test over 3 common seeds, p [=<] \S+; d_z", words)
    for name in ("report.html", "report.md"):
        assert (tmp_path / "out" / name).stat().st_size
        assert name in out


def test_single_runs_and_their_networks(call, folder, tmp_path):
    code, out, _ = call("report", folder / "4-0", folder / "16-0", "--samples", "-o", tmp_path, "--json")
    assert code == 0
    (comparison,) = json.loads(out)["sections"][0]["comparisons"]
    assert comparison["verdict"] == "refused"
    assert comparison["difference"]["p"] is None
    assert 0 <= comparison["networks"]["p"] <= 1


def test_without_a_folder_the_report_goes_to_a_new_one_in_runs(call, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("report", folder / "4-0", folder / "4-1", "--metric", "val_accuracy", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["metric"]["name"] == "validation accuracy"
    assert re.fullmatch(r"runs/report-\d{8}-\d{6}/report\.html", found["files"]["page"])
    assert (tmp_path / found["files"]["page"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "expected", "says"),
    [
        (["no-such-folder"], 1, "no such folder: no-such-folder"),
        ([], 2, "Missing argument 'RUNS...'"),
        (["{runs}", "--compare", "A,Q"], 2, "there is no setting Q, expected some of A, B"),
        (["{runs}", "--metric", "accuracy"], 2, "'accuracy' is not one of"),
    ],
)
def test_errors_are_one_line(call, folder, tmp_path, arguments, expected, says):
    code, out, err = call("report", *(each.format(runs=folder) for each in arguments), "-o", tmp_path / "out")
    assert (code, out) == (expected, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert says in err
    assert not (tmp_path / "out").exists()


def test_help_has_examples(call):
    code, out, _ = call("report", "--help")
    assert code == 0
    assert "chainrule report runs/sweep-" in out
