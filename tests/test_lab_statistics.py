"""The statistics against published examples, closed forms, enumeration, SciPy's own tests, and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from chainrule.lab.statistics import (
    estimate,
    holm,
    mcnemar,
    noncentrality,
    paired,
    power,
    seeds_needed,
    welch,
    wilcoxon,
)

# Student (1908): hours of sleep gained by ten patients with two drugs; the figures are those of R's t.test(sleep) and,
# for d_z with its interval, of the R package effectsize.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Darwin (1876), as in Fisher (1935): differences in height of 15 pairs of maize plants, in eighths of an inch.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_students_sleep_data_in_pairs():
    found = paired(FIRST, SECOND)
    assert found.test == "paired t"
    assert found.paired
    assert (found.n, found.df) == ((10, 10), 9)
    assert found.mean == pytest.approx(-1.58)
    assert found.statistic == pytest.approx(-4.0621, abs=5e-5)
    assert found.p == pytest.approx(0.002833, abs=5e-7)
    assert (found.low, found.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)
    assert (found.effect, found.effect_low, found.effect_high) == pytest.approx((-1.28, -2.12, -0.41), abs=5e-3)


def test_students_sleep_data_as_two_groups():
    found = welch(FIRST, SECOND)
    assert found.test == "Welch's t"
    assert not found.paired
    assert found.statistic == pytest.approx(-1.8608, abs=5e-5)
    assert found.df == pytest.approx(17.776, abs=5e-4)
    assert found.p == pytest.approx(0.07939, abs=5e-6)
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=5e-8)


def test_darwins_maize():
    found = paired(MAIZE, [0] * len(MAIZE))
    assert found.statistic == pytest.approx(2.148, abs=5e-4)
    assert found.p == pytest.approx(0.0497, abs=5e-5)
    assert found.wilcoxon_p == pytest.approx(0.04126, abs=5e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_intervals_and_tests_are_scipys(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.95, 0.01, n), rng.normal(0.94, 0.03, n)
    one = estimate(a)
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, n - 1, a.mean(), stats.sem(a)))
    for found, theirs in ((paired(a, b), stats.ttest_rel(a, b)), (welch(a, b), stats.ttest_ind(a, b, equal_var=False))):
        assert (found.statistic, found.df, found.p) == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue))
        assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))


@pytest.mark.parametrize("differences", [[3, 1, -2, 5, 4], [1, 1, -1, 2, 2, 0, 3], [0.1 + 0.2, -0.3, 0.5, 0.5]])
def test_wilcoxon_goes_through_every_choice_of_signs(differences):
    d = np.round([x for x in differences if x], 12)
    ranks = stats.rankdata(np.abs(d))
    observed = abs(ranks @ np.sign(d))
    sums = [abs(ranks @ signs) for signs in itertools.product((-1, 1), repeat=len(d))]
    assert wilcoxon(differences) == pytest.approx(np.mean([each >= observed - 1e-9 for each in sums]))


def test_the_end_of_a_noncentrality_is_where_t_is_at_the_end_of_its_distribution():
    for t, df in itertools.product((0.3, 4.0, 30.0, 99.0), (1, 4, 30)):
        low, high = noncentrality(t, df)
        assert stats.nct.sf(t, df, low) == pytest.approx(0.025, rel=1e-6)
        assert stats.nct.cdf(t, df, high) == pytest.approx(0.025, rel=1e-6)
        assert noncentrality(-t, df) == pytest.approx((-high, -low))
    for df in (1, 4, 30):  # where the sum gives way to the limit
        assert noncentrality(99.999, df) == pytest.approx(noncentrality(100.001, df), rel=5e-3)


@pytest.mark.parametrize(("n", "scale"), [(3, 1.0), (5, 0.01), (10, 30.0)])
def test_ninety_five_of_a_hundred_intervals_hold_the_mean(n, scale):
    rng = np.random.default_rng(17)
    found = [estimate(rng.normal(0.9, scale, n)) for _ in range(4000)]
    assert np.mean([each.low <= 0.9 <= each.high for each in found]) == pytest.approx(0.95, abs=3 * 0.0035)


@pytest.mark.slow
def test_intervals_of_effects_hold_the_effect():
    rng = np.random.default_rng(5)
    trials, effect = 400, 0.8
    pairs = [paired(rng.normal(effect, 1, 6), np.zeros(6)) for _ in range(trials)]
    assert np.mean([d.effect_low <= effect <= d.effect_high for d in pairs]) == pytest.approx(
        0.95, abs=3 * math.sqrt(0.05 * 0.95 / trials)
    )
    # with variances 1 and 4 the standardiser is the root of their mean
    groups = [welch(rng.normal(2.0, 1, 15), rng.normal(0, 2, 25)) for _ in range(trials)]
    inside = [d.effect_low <= 2 / math.sqrt(2.5) <= d.effect_high for d in groups]
    assert np.mean(inside) == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / trials))


def test_the_interval_of_groups_with_equal_variances_has_a_closed_form():
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    found = welch(x + 9, x)
    d = 9 / math.sqrt(2.5)
    assert found.effect == pytest.approx(d)
    assert found.effect_high - d == pytest.approx(1.959964 * math.sqrt(d**2 / (4 * 4) + 2 / 4))


@pytest.mark.slow
def test_tests_err_as_often_as_they_say():
    rng = np.random.default_rng(3)
    for test in (paired, welch):
        wrong = np.mean([test(rng.normal(size=5), rng.normal(size=5)).p < 0.05 for _ in range(800)])
        assert wrong < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)
        assert test is welch or wrong > 0.05 - 3 * math.sqrt(0.05 * 0.95 / 800)  # of small groups Welch's is careful


def test_holm_by_hand():
    # 0.005 x 4, 0.01 x 3, 0.03 x 2; 0.04 x 1 is below the one before it and takes its value
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_keeps_the_errors_of_all_together():
    rng = np.random.default_rng(0)
    families = rng.uniform(size=(2000, 6))
    assert np.mean([min(holm(p.tolist())) < 0.05 for p in families]) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("effect", "alpha", "published"),
    [(0.2, 0.05, 393), (0.5, 0.05, 64), (0.8, 0.05, 26), (0.2, 0.01, 586), (0.5, 0.01, 95), (0.8, 0.01, 38)],
)
def test_seeds_needed_for_two_groups_are_cohens(effect, alpha, published):
    """Cohen, A power primer (1992), table 2, power 0.8; his figures are rounded, so one may be missing."""
    assert 0 <= seeds_needed(effect, paired=False, alpha=alpha) - published <= 1


@pytest.mark.parametrize(("effect", "published"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_for_pairs_are_those_of_gpower(effect, published):
    assert seeds_needed(effect) == seeds_needed(-effect) == published
    assert power(effect, published) >= 0.8 > power(effect, published - 1)


def test_power_is_what_a_simulation_finds():
    rng = np.random.default_rng(1)
    d = rng.normal(1.1, 1, (20_000, 7))
    t = d.mean(1) / (d.std(1, ddof=1) / math.sqrt(7))
    assert power(1.1, 7) == pytest.approx((np.abs(t) > stats.t.ppf(0.975, 6)).mean(), abs=0.011)
    assert power(0, 7) == pytest.approx(0.05)


def test_seeds_needed_has_an_end():
    assert seeds_needed(0.0) is None
    assert seeds_needed(1e-6) is None
    assert seeds_needed(1000.0) == 2


def test_mcnemar_is_the_binomial_sum():
    tail = sum(math.comb(20, k) for k in range(5 + 1)) / 2**20
    assert mcnemar(5, 15) == pytest.approx(2 * tail)
    assert mcnemar(15, 5) == mcnemar(5, 15)
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1.0


# ---------------------------------------------------------------------------------------------- what cannot be told


@pytest.mark.parametrize("test", [paired, welch])
def test_of_one_run_nothing_is_said(test):
    found = test([0.9], [0.1])
    assert found.test == "none"
    assert found.mean == pytest.approx(0.8)
    others = (found.p, found.low, found.high, found.effect, found.statistic, found.wilcoxon_p)
    assert others == (None,) * 6


def test_one_run_against_many_says_nothing():
    assert welch([0.9], [0.1, 0.2, 0.3]).p is None


def test_the_interval_of_two_runs_is_as_wide_as_it_is():
    found = estimate([0.94, 0.96])
    assert (found.low, found.high) == pytest.approx((0.95 - 12.7062 * 0.01, 0.95 + 12.7062 * 0.01), rel=1e-4)


def test_equal_values_have_no_interval():
    found = estimate([0.95] * 4)
    assert (found.mean, found.sd, found.low, found.high, found.n) == (pytest.approx(0.95), 0.0, None, None, 4)
    assert estimate([0.95]).sd is None


def test_equal_differences_have_signs_alone():
    accuracies = np.array([280, 285, 283, 290, 288, 279])
    found = paired((accuracies + 1) / 300, accuracies / 300)
    assert found.test == "Wilcoxon signed-rank"
    assert found.p == 2 / 2**6
    assert (found.low, found.effect) == (None, None)


def test_no_difference_at_all():
    found = paired([0.9, 0.8, 0.7], [0.9, 0.8, 0.7])
    assert (found.p, found.mean, found.effect) == (1.0, 0.0, None)


def test_two_groups_without_spread_cannot_be_told_apart():
    assert welch([0.9, 0.9], [0.8, 0.8, 0.8]).test == "none"
    assert welch([0.9, 0.9, 0.9], [0.8, 0.7, 0.8]).p < 0.1  # one of them has some
