"""Reports on real tiny runs, whose figures are computed again here, and on run folders made up to show one thing."""

import dataclasses
import json
import random
import re
import shutil
import statistics
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
import yaml
from scipy import stats

from chainrule import data
from chainrule.errors import UsageError, UserError
from chainrule.lab import charts, remarks
from chainrule.lab.charts import DARK, LIGHT
from chainrule.lab.pages import Pages, escaped
from chainrule.lab.report import report
from chainrule.lab.statistics import seeds_needed
from chainrule.train import TrainConfig, fit, load_run, run
from chainrule.train.finish import Result

SEEDS = (0, 1, 2, 3)
TINY = {"dataset": "digits", "hidden": 8, "epochs": 2, "batch_size": 100, "backend": "numpy"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two learning rates with four seeds, a third with one, and a run that never ended."""
    root = tmp_path_factory.mktemp("report") / "runs"
    for lr, seeds in ((0.003, SEEDS), (0.03, SEEDS), (0.3, (0,))):
        for seed in seeds:
            run(TrainConfig(**TINY, lr=lr, seed=seed), run_dir=root / f"{lr}-{seed}")
    shutil.copytree(root / "0.03-0", root / "unfinished")
    (root / "unfinished/result.json").unlink()
    return root


@pytest.fixture(scope="module")
def found(folder):
    return report([folder])


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    Pages(found).write(folder)
    return folder


@pytest.fixture
def made(tmp_path):
    """Makes the folder of a run whose figures are given."""

    def make(*, seed=0, environment=None, epochs=(0.0, 1.0), remarks=(), dataset="digits", **figures):
        settings = {name: figures.pop(name) for name in list(figures) if name in TrainConfig.model_fields}
        config = TrainConfig(dataset=dataset, seed=seed, **settings)
        folder = tmp_path / "made" / str(sum(1 for _ in (tmp_path / "made").glob("*")))
        folder.mkdir(parents=True)
        usual = {field.name: 0.5 for field in dataclasses.fields(Result)} | {"test_samples": 300}
        (folder / "config.yaml").write_text(config.to_yaml())
        (folder / "result.json").write_text(json.dumps(usual | figures | {"remarks": list(remarks)}))
        rows = [f"{step},{epoch},0.1,2.0,0.{step},2.0,0.{step}\n" for step, epoch in enumerate(epochs)]
        header = "step,epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n"
        (folder / "metrics.csv").write_text(header + "".join(rows))
        (folder / "environment.json").write_text(json.dumps(environment or {"python": "3.11", "packages": {}}))
        return folder.parent

    return make


def results(folder, lr):
    return [json.loads((folder / f"{lr}-{seed}/result.json").read_text()) for seed in SEEDS]


def row_of(section, **values):
    return next(row for row in section.settings if row.values == values)


def compared(section, first, second):
    return next(each for each in section.comparisons if {each.first, each.second} == {first, second})


def kinds(section):
    return [remark.kind for remark in section.remarks]


# ---------------------------------------------------------------------------------------------------------- real runs


def test_settings_are_the_configs_without_the_seed(found):
    (section,) = found.sections
    assert section.data == "digits"
    assert section.varied == ("lr",)
    assert section.common["hidden"] == [8]
    assert {(row.label, row.seeds) for row in section.settings} == {
        ("lr 0.003", SEEDS),
        ("lr 0.03", SEEDS),
        ("lr 0.3", (0,)),
    }


@pytest.mark.parametrize("name", ["test_accuracy", "test_loss", "val_accuracy", "val_loss", "train_loss"])
def test_intervals_are_those_of_the_runs(found, folder, name):
    for lr in (0.003, 0.03):
        values = [result[name] for result in results(folder, lr)]
        got = row_of(found.sections[0], lr=lr).estimates[name]
        low, high = stats.t.interval(0.95, 3, statistics.mean(values), stats.sem(values))
        assert (got.mean, got.low, got.high) == pytest.approx((statistics.mean(values), low, high))
        assert got.n == 4


def test_a_comparison_is_the_paired_test_over_common_seeds(found, folder):
    (section,) = found.sections
    a, b = row_of(section, lr=0.003), row_of(section, lr=0.03)
    got = compared(section, a.name, b.name)
    values = {
        name: [result["test_accuracy"] for result in results(folder, lr)]
        for name, lr in ((a.name, 0.003), (b.name, 0.03))
    }
    theirs = stats.ttest_rel(values[got.first], values[got.second])
    assert (got.difference.statistic, got.difference.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert got.seeds == SEEDS
    assert got.p_corrected == pytest.approx(got.difference.p)  # the one that a p-value came of
    better = got.first if statistics.mean(values[got.first]) > statistics.mean(values[got.second]) else got.second
    assert got.verdict in ("higher", "lower")
    assert got.text.startswith(f"{better} is better")


def test_of_one_run_nothing_is_called_better(found, folder):
    (section,) = found.sections
    alone = row_of(section, lr=0.3)
    refused = [each for each in section.comparisons if alone.name in (each.first, each.second)]
    assert len(refused) == 2
    for each in refused:
        assert (each.verdict, each.p_corrected, each.difference.p) == ("refused", None, None)
        assert each.text.startswith("Nothing is called better")
        assert "is better than" not in each.text
    spreads = [statistics.variance(result["test_accuracy"] for result in results(folder, lr)) for lr in (0.003, 0.03)]
    effect = refused[0].difference.mean / statistics.mean(spreads) ** 0.5
    assert refused[0].needed == seeds_needed(effect, paired=False, alpha=0.05 / 3)  # of three comparisons
    assert f"about {refused[0].needed:,} seeds" in refused[0].text
    assert "an estimate" in refused[0].text


def test_curves_are_the_means_of_the_runs_evaluations(found, folder):
    row = row_of(found.sections[0], lr=0.03)
    curve = next(each for each in row.curves if (each.part, each.quantity) == ("val", "accuracy"))
    lines = [(folder / f"0.03-{seed}/metrics.jsonl").read_text().splitlines() for seed in SEEDS]
    assert curve.epochs == (0.0, 1.0, 2.0)
    for i in range(3):
        values = [json.loads(line[i])["val_accuracy"] for line in lines]
        assert [each[i] for each in curve.runs] == values
        assert curve.mean[i] == pytest.approx(statistics.mean(values))
        assert (curve.low[i], curve.high[i]) == pytest.approx(
            stats.t.interval(0.95, 3, statistics.mean(values), stats.sem(values))
        )


def test_the_chosen_setting_has_the_highest_validation_accuracy(found):
    (section,) = found.sections
    means = {row.name: row.estimates["val_accuracy"].mean for row in section.settings}
    assert section.chosen == max(means, key=means.get) == section.settings[0].name
    assert section.chosen_by == "validation accuracy"
    assert list(means.values()) == sorted(means.values(), reverse=True)


def test_a_run_whose_config_was_changed_is_no_evidence_of_the_other_setting(folder, tmp_path):
    shutil.copytree(folder / "0.03-0", tmp_path / "edited")
    shutil.copytree(folder / "0.03-1", tmp_path / "as-it-was")
    config = tmp_path / "edited" / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.03", "lr: 0.01"))
    found = report([tmp_path])
    (left,) = found.left_out
    assert left.path == str(tmp_path / "edited")
    assert "was changed since the run began" in left.reason
    ((setting,),) = [section.settings for section in found.sections]
    assert (setting.n, setting.unfinished) == (1, ())


def test_an_unfinished_run_is_left_out_and_named(found, folder):
    (left,) = found.left_out
    assert left.path == str(folder / "unfinished")
    assert f"chainrule train --resume {left.path}" in left.reason


def test_networks_are_compared_on_the_samples(folder):
    section = report([folder / "0.03-0", folder / "0.3-0"], samples=True).sections[0]
    (comparison,) = section.comparisons
    networks = comparison.networks
    test = data.load("digits").test
    right = {row.name: load_run(row.runs[0]).model(test.x).value.argmax(1) == test.y for row in section.settings}
    first, second = right[comparison.first], right[comparison.second]
    b, c = (first & ~second).sum(), (second & ~first).sum()
    assert (networks.only_first, networks.only_second) == (b, c)
    assert b != c
    assert networks.p == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert comparison.verdict == "refused"
    assert "McNemar" in comparison.text


def test_networks_of_ones_own_are_settings_of_their_own(tmp_path):
    from chainrule.nn import Linear, Sequential, Tanh

    moons, config = data.load("moons"), TrainConfig(max_steps=2)
    fit(Linear(2, 2), moons, config, run_dir=tmp_path / "runs/one")
    fit(Sequential(Linear(2, 3), Tanh(), Linear(3, 2)), moons, config, run_dir=tmp_path / "runs/two")
    (section,) = report([tmp_path / "runs"]).sections
    assert section.data == "moons"
    assert section.varied == ("weights",)
    assert {row.values["weights"] for row in section.settings} == {2 * 2 + 2, 2 * 3 + 3 + 3 * 2 + 2}


# --------------------------------------------------------------------------------------- runs that are made up


def test_settings_without_common_seeds_are_compared_by_welch(made):
    a, b = [0.90, 0.92, 0.91], [0.85, 0.86, 0.89, 0.88]
    for i, accuracy in enumerate(a):
        root = made(lr=0.1, seed=i, test_accuracy=accuracy)
    for i, accuracy in enumerate(b):
        made(lr=0.2, seed=10 + i, test_accuracy=accuracy)
    (comparison,) = report([root]).sections[0].comparisons
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert comparison.difference.test == "Welch's t"
    assert comparison.difference.p == pytest.approx(theirs.pvalue)
    assert comparison.seeds == ()
    assert "Welch's t" in comparison.text


def test_only_common_seeds_are_compared_in_pairs(made):
    for seed, accuracy in ((1, 0.9), (2, 0.8), (3, 0.85)):
        root = made(lr=0.1, seed=seed, test_accuracy=accuracy, val_accuracy=0.9)
    for seed, accuracy in ((0, 0.1), (2, 0.7), (3, 0.8)):
        made(lr=0.2, seed=seed, test_accuracy=accuracy, val_accuracy=0.8)
    (comparison,) = report([root]).sections[0].comparisons
    assert (comparison.difference.test, comparison.seeds) == ("paired t", (2, 3))
    assert comparison.difference.mean == pytest.approx(0.075)
    assert comparison.difference.effect == pytest.approx(0.075 / statistics.stdev([0.1, 0.05]))


def test_comparisons_are_corrected_for_their_number(made):
    rows = {0.1: [0.90, 0.91, 0.92, 0.90], 0.2: [0.88, 0.90, 0.90, 0.89], 0.3: [0.7, 0.5, 0.65, 0.8]}
    for lr, accuracies in rows.items():
        for seed, accuracy in enumerate(accuracies):
            root = made(lr=lr, seed=seed, test_accuracy=accuracy, val_accuracy=accuracy)
    comparisons = report([root]).sections[0].comparisons
    p = sorted(each.difference.p for each in comparisons)
    expected = [3 * p[0], max(3 * p[0], 2 * p[1]), max(3 * p[0], 2 * p[1], p[2])]
    assert sorted(each.p_corrected for each in comparisons) == pytest.approx(expected)
    lost = [each for each in comparisons if each.difference.p < 0.05 <= each.p_corrected]
    assert [each.verdict for each in lost] == ["not shown", "not shown"]
    assert all((each.verdict == "higher") == (each.p_corrected < 0.05) for each in comparisons)
    only = report([root], compare=["a", "B"]).sections[0].comparisons
    assert [(each.first, each.second) for each in only] == [("A", "B")]
    assert only[0].p_corrected == only[0].difference.p
    assert "Holm" not in only[0].text


def test_of_many_settings_the_chosen_one_is_compared_with_each(made):
    for i in range(8):
        for seed in (0, 1):
            root = made(lr=0.1 * (i + 1), seed=seed, test_accuracy=0.5 + 0.01 * seed, val_accuracy=0.9 - 0.01 * i)
    comparisons = report([root]).sections[0].comparisons
    assert [(each.first, each.second) for each in comparisons] == [("A", letter) for letter in "BCDEFGH"]


def test_curves_beyond_the_sixth_are_drawn_once_through_every_evaluation(made):
    for i in range(8):
        root = made(lr=0.1 * (i + 1), val_accuracy=0.9 - 0.01 * i, epochs=range(13))
    rows = report([root]).sections[0].settings
    (axes,) = charts.overlay_chart(rows, "val", charts.limits(rows, "accuracy")).axes
    assert [len(line.get_xdata()) for line in axes.lines if line.get_linestyle() != "None"] == [13] * 8


def test_the_chosen_one_of_many_was_picked_from_all_their_pairs(made):
    """It may lead by luck: seven tests of it are seven of the 28 pairs."""
    drawn = random.Random(1)
    for i in range(8):
        for seed in range(5):
            accuracy = 0.5 - 0.02 * (i == 7) + drawn.gauss(0, 0.005)
            root = made(lr=0.1 * (i + 1), seed=seed, test_accuracy=accuracy, val_accuracy=0.9 - 0.01 * i)
    comparisons = report([root]).sections[0].comparisons
    clearest = min(comparisons, key=lambda each: each.difference.p)
    assert clearest.p_corrected == pytest.approx(28 * clearest.difference.p)
    assert "Holm's correction for 28 comparisons" in clearest.text


def test_pairs_are_compared_and_no_others(made):
    for lr in (0.1, 0.2, 0.3, 0.4):
        for seed in range(3):
            accuracy = 0.5 + lr + 0.01 * seed**2 * lr
            root = made(lr=lr, seed=seed, test_accuracy=accuracy, val_accuracy=0.9 - lr)
    comparisons = report([root], compare=[("a", "C"), ("D", "B")]).sections[0].comparisons
    assert [(each.first, each.second) for each in comparisons] == [("A", "C"), ("B", "D")]
    assert max(each.p_corrected / each.difference.p for each in comparisons) == pytest.approx(2)


@pytest.mark.parametrize("names", [["A"], [], ["A", "C"]])
def test_what_leaves_nothing_to_compare_is_refused(made, names):
    for lr in (0.1, 0.2):
        root = made(lr=lr, val_accuracy=1 - lr)
    made(dataset="moons")
    with pytest.raises(UsageError, match=r"nothing to compare in .*: expected two settings or more on the same data"):
        report([root], compare=names)


def test_few_common_seeds_do_not_throw_the_others_away(made):
    first, second = ([0.5 + lr + 0.01 * (seed % 4) for seed in range(10)] for lr in (0.1, 0.2))
    for seed in range(10):
        root = made(lr=0.1, seed=seed, test_accuracy=first[seed], val_accuracy=0.9)
        made(lr=0.2, seed=8 + seed, test_accuracy=second[seed], val_accuracy=0.8)
    (comparison,) = report([root]).sections[0].comparisons
    assert (comparison.difference.test, comparison.difference.n) == ("Welch's t", (10, 10))
    assert comparison.difference.p == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)


def test_survivors_come_last(made):
    """One run of three that reached 95 % says less than three that reached 90 %."""
    for seed in range(3):
        root = made(lr=0.1, seed=seed, val_accuracy=0.90, test_accuracy=0.89 + 0.001 * seed)
        made(lr=1.0, seed=seed, val_accuracy=0.95, test_accuracy=0.95)
    for seed in (0, 2):
        next(f for f in root.glob("*/config.yaml") if is_run(f, lr=1.0, seed=seed)).with_name("result.json").unlink()
    failed = next(f.parent for f in root.glob("*/config.yaml") if is_run(f, lr=1.0, seed=2))
    (root / "logs" / failed.name).mkdir(parents=True)
    (root / "logs" / failed.name / "error.txt").write_text("training stopped: the loss is NaN\n\ntrace")
    found = report([root])
    (section,) = found.sections
    assert [row.values["lr"] for row in section.settings] == [0.1, 1.0]
    assert section.settings[1].unfinished == (0, 2)
    (text,) = [remark.text for remark in section.remarks if remark.kind == "unfinished"]
    assert text.startswith("B: 2 of its 3 runs have no result.")
    reasons = {each.path: each.reason for each in found.left_out}
    assert reasons.pop(str(failed)) == "it failed: training stopped: the loss is NaN"
    assert all("chainrule train --resume" in reason for reason in reasons.values())


def is_run(config, **values):
    stored = yaml.safe_load(config.read_text())
    return all(stored[name] == value for name, value in values.items())


def test_a_loss_is_the_better_the_lower(made):
    for seed in range(4):
        root = made(lr=0.1, seed=seed, test_loss=0.3 + 0.01 * seed, val_accuracy=0.9)
        made(lr=0.2, seed=seed, test_loss=0.9 + 0.011 * seed, val_accuracy=0.8)
    (comparison,) = report([root], metric="test-loss").sections[0].comparisons
    assert comparison.verdict == "lower"
    assert comparison.text.startswith("A is better than B")
    assert "nats" in comparison.text


def test_wilcoxon_is_heard_where_it_disagrees(made):
    """One outlier hides from the t test what all the signs say."""
    for seed, apart in enumerate([0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.3]):
        root = made(lr=0.1, seed=seed, test_accuracy=0.5 + apart, val_accuracy=0.9)
        made(lr=0.2, seed=seed, test_accuracy=0.5, val_accuracy=0.8)
    (comparison,) = report([root]).sections[0].comparisons
    assert comparison.difference.p > 0.05 > comparison.difference.wilcoxon_p == 2 / 2**8
    assert comparison.verdict == "not shown"
    assert "Wilcoxon's signed ranks say otherwise (p = 0.008)" in comparison.text


def test_wilcoxon_is_held_against_the_same_correction(made):
    """Uncorrected p-values on either side of 0.05 are no disagreement where both are above it after the correction."""
    apart = [0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.3]
    for seed in range(8):
        root = made(lr=0.1, seed=seed, test_accuracy=0.5 + apart[seed], val_accuracy=0.9)
        made(lr=0.2, seed=seed, test_accuracy=0.5, val_accuracy=0.8)
        for i in range(4):
            made(lr=0.3 + i / 10, seed=seed, test_accuracy=0.5 + 0.001 * (-1) ** seed * (i + 2), val_accuracy=0.1)
    comparison = compared(report([root]).sections[0], "A", "B")
    assert comparison.difference.wilcoxon_p < 0.05 < 15 * comparison.difference.wilcoxon_p
    assert "Wilcoxon" not in comparison.text


def test_ties_are_no_voices_of_wilcoxons(made):
    """Five pairs that differ cannot bring its p-value below 0.05, however many others are equal."""
    for seed, apart in enumerate([0.0, 0.0, 0.0, 0.020, 0.021, 0.022, 0.023, 0.024]):
        root = made(lr=0.1, seed=seed, test_accuracy=0.5 + apart, val_accuracy=0.9)
        made(lr=0.2, seed=seed, test_accuracy=0.5, val_accuracy=0.8)
    (comparison,) = report([root]).sections[0].comparisons
    assert comparison.difference.p < 0.05 < comparison.difference.wilcoxon_p == 2 / 2**5
    assert "Wilcoxon" not in comparison.text


def test_equal_differences_and_equal_figures(made):
    for seed in range(3):
        root = made(lr=0.1, seed=seed, test_accuracy=(250 + seed) / 300, val_accuracy=0.9)
        made(lr=0.2, seed=seed, test_accuracy=(249 + seed) / 300, val_accuracy=0.8)
        made(lr=0.3, seed=seed, test_accuracy=(249 + seed) / 300, val_accuracy=0.7)
    section = report([root]).sections[0]
    assert [each.verdict for each in section.comparisons] == ["not shown", "not shown", "equal"]
    assert "no spread for a t test" in section.comparisons[0].text
    assert section.comparisons[2].text == "B and C gave the same figures with every one of 3 seeds."
    assert "report.html" in Pages(report([root])).write(root.parent / "out")["page"]


def test_without_any_spread_the_estimate_says_what_it_guesses(made):
    root = made(lr=0.1, test_accuracy=0.90, val_accuracy=0.9)
    made(lr=0.2, test_accuracy=0.88, val_accuracy=0.8)
    (comparison,) = report([root]).sections[0].comparisons
    spread = ((0.9 * 0.1 + 0.88 * 0.12) / 2 / 300) ** 0.5
    assert comparison.needed == seeds_needed(0.02 / spread, paired=False)
    assert "on the guess that seeds spread accuracies as draws of 300 test samples do" in comparison.text
    (comparison,) = report([root], metric="val-accuracy").sections[0].comparisons
    assert comparison.needed is None  # of how many validation samples is not known
    assert comparison.text.endswith("Run 5 seeds of each.")


def test_equal_single_runs_need_seeds_too(made):
    for lr in (0.1, 0.2):
        root = made(lr=lr, test_accuracy=0.9, val_accuracy=1 - lr)
    (comparison,) = report([root]).sections[0].comparisons
    assert comparison.text.endswith("Run 5 seeds of each.")


def test_a_repeated_run_is_no_evidence(made):
    for _ in range(3):
        root = made(lr=0.1, seed=5, test_accuracy=0.9)
    found = report([root])
    assert found.runs == 1
    assert ["no new evidence" in each.reason for each in found.left_out] == [True, True]


def test_what_decides_nothing_is_no_setting(made):
    root = made(seed=0, test_accuracy=0.9)
    made(seed=1, test_accuracy=0.8, data_dir="/elsewhere", checkpoint_every=7)
    made(seed=2, test_accuracy=0.8, lr=0.001)  # as it is by default
    assert [row.seeds for row in report([root]).sections[0].settings] == [(0, 1, 2)]


def test_data_sets_are_not_compared_with_each_other(made):
    for seed in (0, 1):
        root = made(seed=seed, dataset="digits")
        made(seed=seed, dataset="moons", test_samples=500)
    found = report([root])
    assert [(section.data, [row.name for row in section.settings]) for section in found.sections] == [
        ("digits", ["A"]),
        ("moons", ["B"]),
    ]
    assert not any(section.comparisons for section in found.sections)


# ------------------------------------------------------------------------------------------------------------- remarks


def test_the_edge_of_a_grid(made):
    for lr, accuracy in ((0.001, 0.7), (0.01, 0.8), (0.1, 0.9)):
        root = made(lr=lr, val_accuracy=accuracy)
    (text,) = [remark.text for remark in report([root]).sections[0].remarks if remark.kind == "edge"]
    assert "The best lr by validation accuracy, 0.1, is the largest of 0.001, 0.01, 0.1" in text
    assert text.endswith("Try --lr 1.")
    made(lr=0.3, val_accuracy=0.85)
    assert "edge" not in kinds(report([root]).sections[0])


def test_a_learning_rate_is_that_of_its_optimizer(made):
    root = made(optimizer="sgd", lr=0.1, val_accuracy=0.9)
    made(optimizer="adam", lr=0.001, val_accuracy=0.8)
    assert "edge" not in kinds(report([root]).sections[0])


def test_settings_that_differ_in_everything_have_no_edges(made):
    root = made(lr=0.1, hidden=10, val_accuracy=0.9)
    made(lr=0.2, hidden=20, val_accuracy=0.8)
    assert "edge" not in kinds(report([root]).sections[0])
    for i in range(3, 6):  # a random search
        made(lr=0.1 * i, hidden=10 * i, val_accuracy=0.7)
    assert kinds(report([root]).sections[0]).count("edge") == 2


def test_an_interval_beyond_100_percent_is_explained(made):
    root = made(seed=0, test_accuracy=0.99)
    made(seed=1, test_accuracy=0.97)
    pages = Pages(report([root]))
    assert "98.00 [85.29, 110.71]" in pages.markdown()
    assert "A t interval knows nothing of 0 and 100 %" in pages.markdown()


@pytest.mark.parametrize(("best", "tried", "following"), [((300,), [(100,), (300,)], "900"), (1, [1, 8, 64], None)])
def test_the_edge_of_widths_and_counts(best, tried, following):
    found = remarks.edge("hidden", best, tried, "validation accuracy")
    assert found is None if following is None else found.text.endswith(f"Try --hidden {following}.")


def test_selection_on_the_test_set(made):
    root = made(lr=0.1, val_accuracy=0.9, test_accuracy=0.7)
    made(lr=0.2, val_accuracy=0.8, test_accuracy=0.75)
    section = report([root]).sections[0]
    (text,) = [remark.text for remark in section.remarks if remark.kind == "selected-on-test"]
    assert "The highest test accuracy, 75.00 %, is that of setting B; validation accuracy chooses A (70.00 %)" in text
    assert section.chosen == "A"


def test_without_a_validation_part_any_selection_is_on_the_test_set(made):
    root = made(lr=0.1, val_accuracy=None, val_loss=None, train_loss=0.1, test_accuracy=0.9)
    assert "selected-on-test" not in kinds(report([root]).sections[0])  # there is nothing to select
    made(lr=0.2, val_accuracy=None, val_loss=None, train_loss=0.2, test_accuracy=0.8)
    section = report([root]).sections[0]
    assert section.chosen_by == "training loss"
    (text,) = [remark.text for remark in section.remarks if remark.kind == "selected-on-test"]
    assert text.startswith("There is no validation part")


def test_part_of_the_test_set(made):
    root = made(dataset="cifar10", test_samples=100)
    section = report([root]).sections[0]
    (text,) = [remark.text for remark in section.remarks if remark.kind == "part-of-test"]
    assert "100 of the 10,000 test samples of cifar10" in text
    assert "part-of-test" not in kinds(
        report([made(dataset="mnist", test_samples=10_000).parent / "made/1"]).sections[0]
    )


@pytest.mark.parametrize("name", ["digits", "moons", "circles", "spirals", "synth-vu-2021", "synth-vu-2023"])
def test_the_sizes_of_the_test_parts_are_those_of_the_data(name):
    assert len(data.load(name).test) == remarks.TEST_SAMPLES[name]


def test_accuracy_shown_before_the_training(made):
    root = made(epochs=(1.0, 2.0))
    (remark,) = report([root]).sections[0].settings[0].remarks
    assert remark.kind == "before-training"
    assert "epoch 1, 0.0 %, was measured at step 0" in remark.text


def test_what_runs_were_remarked_on_is_told_once_with_its_number(made):
    told = {"kind": "plateau", "text": "Nothing was learned: the training loss ended at 2.303."}
    for seed in range(3):
        root = made(seed=seed, remarks=[told] if seed else [])
    found = report([root])
    assert [remark.text for remark in found.sections[0].settings[0].remarks] == [
        told["text"] + " (seed 1; 2 of 3 runs)"
    ]
    assert told["text"] in Pages(found).markdown()


def test_other_versions_are_remarked_on(made):
    root = made(seed=0, environment={"python": "3.11", "packages": {"numpy": "2.3.0"}})
    made(seed=1, environment={"python": "3.11", "packages": {"numpy": "2.4.0"}})
    (remark,) = report([root]).sections[0].remarks
    assert "numpy 2.3.0 and 2.4.0" in remark.text


# -------------------------------------------------------------------------------------------------------------- errors


def test_errors_name_what_is_wrong(made, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there is no run in .*empty"):
        report([tmp_path / "empty"])
    with pytest.raises(UserError, match="no such folder"):
        report([tmp_path / "absent"])
    root = made()
    with pytest.raises(UsageError, match="there is no setting Z, expected some of A"):
        report([root], compare=["A", "Z"])
    with pytest.raises(UsageError, match="metric is 'accuracy', expected one of test-accuracy"):
        report([root], metric="accuracy")
    (root / "0/result.json").write_text("{")
    with pytest.raises(UserError, match=r"none of 1 runs can be used; .*result\.json cannot be read"):
        report([root])


def test_a_sweeps_damaged_runs_are_not_looked_at(made):
    root = made(test_accuracy=0.9)
    (root / "sweep.yaml").write_text("seeds: 1\n")
    shutil.copytree(root / "0", root / "logs/0/damaged-1")
    assert report([root]).left_out == ()


# --------------------------------------------------------------------------------------------------------------- pages


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.cells, self.loads = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        links = (given.get("src"), given.get("href"), given.get("xlink:href"), given.get("data"))
        self.loads += [link for link in links if link and not link.startswith("#")]

    def handle_data(self, text):
        self.cells.append(text.strip())


def test_the_page_is_one_file_with_the_figures_of_the_report(found, written):
    text = (written / "report.html").read_text()
    page = Parsed(text)
    assert page.loads == []
    assert "script" not in page.tags
    assert "url(http" not in text
    assert "@import" not in text
    assert len(set(page.ids)) == len(page.ids)
    for row in found.sections[0].settings:
        each = row.estimates["test_accuracy"]
        shown = f"{100 * each.mean:.2f}"
        shown += f" [{100 * each.low:.2f}, {100 * each.high:.2f}]" if each.low is not None else ""
        assert shown in page.cells
    for each in found.sections[0].comparisons:
        assert each.text in page.cells


def test_pictures_are_xml_with_text_as_text_and_colours_of_the_page(written):
    files = sorted((written / "figures").glob("*.svg"))
    assert len(files) == 3 + 2 * 3  # two overviews, the differences, and two for each setting
    page = (written / "report.html").read_text()
    for file in files:
        text = file.read_text()
        assert ET.fromstring(text).tag.endswith("svg")
        assert "<text" in text
        assert "@media(prefers-color-scheme:dark)" in text
    drawn = page[page.index("<figure>") :]
    used = set(re.findall(r"var\((--[a-z0-9]+)", drawn))
    assert {"--ink", "--grid", "--c0", "--c1"} <= used
    assert used <= LIGHT.keys() | {"--sans"}
    assert re.findall(r"#[0-9a-fA-F]{6}\b", drawn) == []
    assert LIGHT.keys() == DARK.keys()


def test_colours_can_be_read_on_their_ground():
    """Contrast as WCAG 2 defines it: 7 for the ink, 3.5 for training and validation, which also colour words.

    The others are Okabe and Ito's, of which the lightest have 2 on white; a legend and the tables name what they show.
    """

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colours in (LIGHT, DARK):
        ground = luminance(colours["--sheet"])
        for name, colour in colours.items():
            one, other = sorted([luminance(colour), ground])
            contrast = (other + 0.05) / (one + 0.05)
            if name == "--ink":
                assert contrast > 7
            elif name in ("--c0", "--c1"):
                assert contrast > 3.5, name
            elif name.startswith("--c"):
                assert contrast > 2, name


def test_the_markdown_shows_the_same_tables_and_its_pictures_are_there(found, written):
    text = (written / "report.md").read_text()
    linked = re.findall(r"!\[[^]]+]\(([^)]+)\)", text)
    assert linked
    assert all((written / link).is_file() for link in linked)
    widths = [line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(widths)) == 2  # every row of a table has as many cells as its head
    for each in found.sections[0].comparisons:
        assert f"- {each.text}" in text
    assert "\n\n\n\n" not in text


def test_two_reports_on_the_same_runs_are_the_same_bytes(folder, written, tmp_path):
    Pages(report([folder])).write(tmp_path)
    for file in sorted(written.rglob("*")):
        if file.is_file():
            assert (tmp_path / file.relative_to(written)).read_bytes() == file.read_bytes(), file.name


def test_special_characters_stay_what_they_are(made):
    told = [{"kind": "own", "text": "Set x<i>%, or --lr 0.1."}]
    root = made(dataset="a&b_<i>%.npz", test_accuracy=0.9, remarks=told)
    pages = Pages(report([root]))
    assert "a&amp;b_&lt;i&gt;%.npz" in pages.html()
    assert "<i>%" not in pages.html()
    assert "Set x&lt;i&gt;%, or <code>--lr 0.1</code>." in pages.html()
    assert r"Set x\textless{}i\textgreater{}\%, or -{}-lr 0.1." in pages.latex()
    assert r"a\&b\_\textless{}i\textgreater{}\%.npz" in pages.latex()
    assert escaped("\N{MINUS SIGN}1 ☃") == "$-$1 ?"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_becomes_a_pdf(found, tmp_path):
    files = Pages(found).write(tmp_path, with_latex=True)
    assert files.keys() == {"page", "markdown", "latex", "pdf"}
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert not list(tmp_path.glob("*.log"))
