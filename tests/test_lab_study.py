"""Studies: what they say is consistent, quick reruns find nothing wrong, verdicts are those of the evidence."""

import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from chainrule.cli import main
from chainrule.errors import UsageError
from chainrule.lab.plan import Plan
from chainrule.lab.statistics import estimate
from chainrule.lab.studies import NAMES, networks, study
from chainrule.lab.study import (
    Checked,
    Claim,
    Contrast,
    Demonstration,
    Derived,
    Experiment,
    Planted,
    Shown,
    Stated,
    Study,
    judged,
    planned,
    rerun,
)
from chainrule.lab.study_pages import StudyPages

STUDIES = {name: study(name) for name in NAMES}
DOCUMENTS = sorted((Path(__file__).parents[1] / "docs" / "studies").glob("*.md"))
needs_data = pytest.mark.skipif("CHAINRULE_DATA" not in os.environ, reason="CHAINRULE_DATA is not set")

MOONS = Experiment(
    "moons",
    "Widths on two moons",
    (Plan({"dataset": "moons", "max_steps": 60, "eval_freq": 30}, grid={"hidden": [1, 16]}, seeds=3),),
    {"max_steps": 4},
)
SMALL = Study("small", "A small one", "Of its own.", (Derived("relu", "relu"),), experiments=(MOONS,))


# ------------------------------------------------------------------------------------------------- what studies say


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_is_about_a_setting_that_is_run(name):
    experiments = {each.name: each for each in STUDIES[name].experiments}
    assert len(experiments) == len(STUDIES[name].experiments)
    for claim in STUDIES[name].claims:
        runs = [run for plan in planned(experiments[claim.experiment], quick=False) for run in plan.runs()]
        about = [claim.first, claim.second] if isinstance(claim, Contrast) else [claim.setting, claim.among]
        for setting in (each for each in about if each is not None):
            fitting = [run for run in runs if all(value_of(run.config, key) == setting[key] for key in setting)]
            assert fitting, claim.text
            if isinstance(claim, Claim) and setting is claim.setting:  # a tuned one must not stand for the write-up's
                assert len({run.config.model_copy(update={"seed": 0}).to_yaml() for run in fitting}) == 1, claim.text


def value_of(config, name):
    """A value as a setting has it: weights are a file, wherever it is."""
    value = getattr(config, name)
    return Path(value).name if name == "pretrained" and value else value


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_rerun_is_shorter(name):
    for experiment in STUDIES[name].experiments:
        full, quick = ([run for plan in planned(experiment, quick=q) for run in plan.runs()] for q in (False, True))
        assert {run.seed for run in quick} < {run.seed for run in full}
        assert len(quick) < len(full)
        steps = [(run.config.max_steps or np.inf, run.config.epochs or np.inf) for run in quick]
        assert max(steps) < max((run.config.max_steps or np.inf, run.config.epochs or np.inf) for run in full)


def test_an_unknown_study():
    with pytest.raises(UsageError, match="no study 'vu-2022', expected one of uva-2018"):
        study("vu-2022")


# ----------------------------------------------------------------------------------------------------------- reruns


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A rerun of the small study, and its folder."""
    folder = tmp_path_factory.mktemp("small")
    return rerun(SMALL, study_dir=folder), folder


def accuracies(folder, hidden):
    """Test accuracies of the finished runs of a width, read from their folders."""
    found = []
    for file in folder.glob("*/result.json"):
        if yaml.safe_load((file.parent / "config.yaml").read_text())["hidden"] == [hidden]:
            found.append(json.loads(file.read_text())["test_accuracy"])
    return found


def test_a_claim_is_judged_by_the_interval_over_the_seeds(small):
    found, folder = small
    [done] = found.experiments
    expected = estimate(accuracies(folder, 1))
    assert expected.n == 3
    assert expected.low < expected.mean < expected.high
    between = (expected.low + expected.mean) / 2, (expected.mean + expected.high) / 2
    for reported, verdict in [
        (expected.low - 0.01, "beaten"),
        (between[0], "reached"),
        (between[1], "within the interval"),
        (expected.high + 0.01, "not reached"),
    ]:
        claim = Claim("one unit", reported, "moons", {"hidden": (1,)}, {"hidden": (1,)})
        judgement = judged(claim, done, quick=False)
        assert judgement.verdict == verdict
        assert (judgement.first.mean, judgement.first.n) == (pytest.approx(expected.mean), 3)
        assert judged(claim, done, quick=True).verdict == "not judged"


def test_the_validation_part_selects(small):
    found, folder = small
    judgement = judged(Claim("one unit", 0.5, "moons", {"hidden": (1,)}), found.experiments[0], quick=False)
    assert judgement.second.mean == pytest.approx(np.mean(accuracies(folder, 16)))
    assert judgement.label == "hidden 16"


@pytest.mark.parametrize(
    ("first", "second", "better", "verdicts"),
    [(16, 1, True, {"holds"}), (1, 16, True, {"the opposite holds"}), (1, 16, False, {"does not hold"})],
)
def test_a_difference_is_judged_by_pairs_of_seeds(small, first, second, better, verdicts):
    found, folder = small
    pairs = np.array(sorted(accuracies(folder, 16))) - np.array(sorted(accuracies(folder, 1)))
    assert pairs.min() > 0.03  # it is there to be seen
    contrast = Contrast("width", "moons", {"hidden": (first,)}, {"hidden": (second,)}, better)
    judgement = judged(contrast, found.experiments[0], quick=False)
    assert judgement.verdict in verdicts
    assert "paired t test over 3 common seeds" in judgement.evidence


def test_from_one_seed_nothing_is_called_better(tmp_path):
    plans = (Plan({"dataset": "moons", "max_steps": 3}, grid={"hidden": [1, 16]}),)
    alone = dataclasses.replace(SMALL, experiments=(dataclasses.replace(MOONS, plans=plans),))
    found = rerun(alone, study_dir=tmp_path)
    contrast = Contrast("width", "moons", {"hidden": (16,)}, {"hidden": (1,)}, better=True)
    assert judged(contrast, found.experiments[0], quick=False).verdict == "cannot be told"
    claim = Claim("one unit", 0.0, "moons", {"hidden": (1,)})
    assert judged(claim, found.experiments[0], quick=False).verdict == "reached, by one run"


def test_a_setting_without_a_finished_run_is_not_judged_by_another(tmp_path):
    plans = (Plan({"dataset": "moons", "max_steps": 3, "optimizer": "sgd"}, grid={"lr": [0.1, 1e30]}, seeds=2),)
    experiment = dataclasses.replace(MOONS, plans=plans)
    claim = Claim("diverges", 0.0, "moons", {"lr": 1e30}, {"lr": 1e30})
    contrast = Contrast("a rate", "moons", {"lr": 0.1}, {"lr": 1e30}, better=True)
    lacking = dataclasses.replace(SMALL, experiments=(experiment,), claims=(claim, contrast))
    found = rerun(lacking, study_dir=tmp_path)
    assert [(each.verdict, each.first and each.first.n) for each in found.claims] == [("not run", None), ("not run", 2)]
    assert len(found.failures) == 2
    assert found.experiments[0].rows[0].values == {}  # what is left does not vary


def test_a_training_that_fails_before_it_has_a_folder_ends_no_study(tmp_path):
    short = {"dataset": "moons", "max_steps": 3}
    plans = (Plan(short), Plan({**short, "model": "convnet-vu"}))  # a conv net reads no points
    found = rerun(
        dataclasses.replace(SMALL, experiments=(dataclasses.replace(MOONS, plans=plans),)), study_dir=tmp_path / "runs"
    )
    assert len(found.failures) == 1
    assert [row.n for row in found.experiments[0].rows] == [1]


def test_without_a_spread_there_is_no_interval_but_a_verdict(small):
    """Networks that learn nothing all have the same accuracy."""
    found, _ = small
    [done] = found.experiments
    [section] = done.report.sections
    dead = [replaced(row, test_accuracy=0.1) for row in section.settings]
    report = dataclasses.replace(done.report, sections=(dataclasses.replace(section, settings=tuple(dead)),))
    done = dataclasses.replace(done, report=report)
    judgement = judged(Claim("dead", 0.2, "moons", {"hidden": (1,)}), done, quick=False)
    assert (judgement.verdict, judgement.evidence) == (
        "not reached",
        "All 3 seeds gave the same figure, and there is no interval.",
    )
    doubted = Claim("dead", 0.05, "moons", {"hidden": (1,)}, doubtful=True)
    assert judged(doubted, done, quick=False).verdict == "does not hold"


def replaced(row, **figures):
    """The row with the same figure for all of its seeds."""
    made = {name: estimate([value] * row.n) for name, value in figures.items()}
    return dataclasses.replace(row, estimates=row.estimates | made)


def test_only_the_differences_that_are_claimed_are_tested(tmp_path):
    plans = (Plan({"dataset": "moons", "max_steps": 3}, grid={"hidden": [1, 4, 8, 16]}, seeds=2),)
    claims = tuple(
        Contrast(f"{first} units are better", "moons", {"hidden": (first,)}, {"hidden": (second,)}, better=True)
        for first, second in ((16, 1), (8, 4))
    )
    found = rerun(
        dataclasses.replace(SMALL, experiments=(dataclasses.replace(MOONS, plans=plans),), claims=claims),
        study_dir=tmp_path,
    )
    assert len(found.experiments[0].section.comparisons) == 2
    assert all(each.verdict != "not run" for each in found.claims)


def test_what_is_finished_is_not_run_again(small):
    found, folder = small
    times = {file: file.stat().st_mtime_ns for file in folder.glob("*/result.json")}
    again = rerun(SMALL, study_dir=folder)
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*/result.json")} == times
    assert StudyPages(again).markdown("figures") == StudyPages(found).markdown("figures")


def test_the_pages_have_the_runs_figures(small, tmp_path):
    found, folder = small
    files = StudyPages(found).write(tmp_path)
    text = Path(files["markdown"]).read_text()
    for hidden in (1, 16):
        assert f"{100 * np.mean(accuracies(folder, hidden)):.2f} [" in text
    pictures = re.findall(r"\]\((small/[\w-]+\.svg)\)", text)
    assert len(pictures) >= 4
    assert all((tmp_path / picture).read_text().startswith("<?xml") for picture in pictures)
    assert "src=" not in Path(files["page"]).read_text()


def test_experiments_share_runs(tmp_path):
    twice = dataclasses.replace(SMALL, experiments=(MOONS, dataclasses.replace(MOONS, name="again")))
    assert twice.runs(quick=True) == SMALL.runs(quick=True) == 4
    rerun(twice, quick=True, study_dir=tmp_path)
    assert len(list(tmp_path.glob("*/result.json"))) == 4


def test_what_is_wrong_is_a_failure(tmp_path):
    def halved():
        return (lambda x: (x * x, x), lambda gy, x: -0.7 * gy * x), np.array([1.0, 2.0, 4.0])

    wrong = Study(
        "wrong",
        "With mistakes",
        "",
        (Derived("relu", "relu"),),
        checks=(Checked("a square", halved), Checked("ReLU", networks.relu)),
        planted=(Planted("another factor", halved, ("factor",)), Planted("called otherwise", halved, ("sign",))),
        demonstrations=(Demonstration("sum", "A sum", lambda quick: Shown((Stated("1 + 1", "2", "3", "wrong"),))),),
        experiments=(
            Experiment(
                "fails", "No such number of classes", (Plan({"dataset": "moons", "lr": 1e30, "optimizer": "sgd"}),), {}
            ),
        ),
    )
    failures = rerun(wrong, study_dir=tmp_path).failures
    assert [failure.partition(":")[0] for failure in failures] == [
        "the gradient of a square was judged wrong",
        "the mistake in 'called otherwise' was called factor",
        "A sum",
        "No such number of classes",
    ]
    assert "NaN or infinite" in failures[3]


def test_weights_that_are_not_there_are_no_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path))
    plans = (Plan({"dataset": "moons", "max_steps": 3}, grid={"pretrained": [None, "none.safetensors"]}),)
    lacking = dataclasses.replace(SMALL, experiments=(dataclasses.replace(MOONS, plans=plans),))
    found = rerun(lacking, study_dir=tmp_path / "runs")
    assert found.failures == ()
    text = StudyPages(found).markdown("figures")
    assert f"Not run: there is no {tmp_path}/pretrained/none.safetensors: put the file there" in text


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        with pytest.raises(SystemExit) as left:
            main(["study", *map(str, args)])
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "nyu-2021" else needs_data) for name in NAMES])
def test_a_quick_rerun_finds_every_mistake_and_no_other(call, tmp_path, name):
    code, out, err = call(name, "--quick", "--json")
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["failures"] == []
    assert found["mistakes"]
    assert all(each["found"] for each in found["mistakes"])
    assert {each["status"] for each in found["checks"]} == {"correct"}
    assert max(each["error"] for each in found["derivations"]) < 1e-9
    assert len(found["claims"]) == len(STUDIES[name].claims)
    assert {each["verdict"] for each in found["claims"]} <= {"not judged"}
    verdicts = [each["verdict"] for part in found["demonstrations"] for each in part["statements"]]
    assert not [verdict for verdict in verdicts if verdict.startswith("wrong")]
    runs = {
        run for done in found["experiments"] for row in done["report"]["sections"][0]["settings"] for run in row["runs"]
    }
    assert len(runs) == STUDIES[name].runs(quick=True)
    assert (tmp_path / f"runs/study-{name}-quick/{name}.html").exists()


def test_the_list(call):
    code, out, _ = call("--list", "--json")
    assert code == 0
    listed = json.loads(out.splitlines()[-1])["studies"]
    assert [each["name"] for each in listed] == list(NAMES)
    assert all(each["trainings_quick"] < each["trainings"] for each in listed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), "which study"), (("mnist",), "no study 'mnist'"), (("nyu-2021", "--jobs", "0"), "jobs is 0")],
)
def test_wrong_arguments(call, tmp_path, arguments, words):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------- what is kept


def test_the_results_of_every_study_are_kept():
    assert {document.stem for document in DOCUMENTS} == set(NAMES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=[document.stem for document in DOCUMENTS])
def test_kept_results_are_of_full_reruns_and_have_their_pictures(document):
    text = document.read_text()
    assert "quick rerun" not in text
    assert f"`chainrule study {document.stem}` wrote this page" in text
    pictures = set(re.findall(r"\]\(([\w./-]+\.svg)\)", text))
    assert pictures == {f"{document.stem}/{file.name}" for file in (document.parent / document.stem).iterdir()}
