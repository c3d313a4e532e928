r"""What a handful of numbers for each setting can say: intervals, tests, effect sizes, how many seeds it would take.

What varies is the seed. Everything is two-sided; nothing is said from one number.

| question | answer here | source |
|---|---|---|
| how sure is a mean? | Student's t interval | Student (1908) |
| do two settings differ, with the same seeds? | paired t; beside it Wilcoxon's signed ranks | Wilcoxon (1945) |
| ... with other seeds? | Welch's t, which asks for no equal variances | Welch (1947), Colas et al. (2018) |
| how large is it, against its spread? | Cohen's d_z, its interval by the noncentral t | Lakens (2013), Steiger (2004) |
| ... with other seeds? | Cohen's d over the mean variance, its interval | Bonett (2008) |
| many comparisons at once | Holm's step-down correction | Holm (1979) |
| how many seeds would show it? | power of the t test, by the noncentral t | Cohen (1992) |
| do two trained networks differ? | McNemar's test, exact, on the test samples | Dietterich (1998) |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 100_000  # beyond this the answer is that no number of seeds will do
_LARGE = 100.0  # a t beyond which the noncentral distribution is not summed up
_ENUMERATED = 14  # pairs up to which Wilcoxon's test goes through every choice of signs

Test = Literal["paired t", "Wilcoxon signed-rank", "Welch's t", "none"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` values and its interval.

    `low` and `high` are None where there is none: of one value, and of values that are all equal, whose spread is not
    known to be 0 because a few did not show it.
    """

    mean: float
    sd: float | None  #: standard deviation, n - 1 in the denominator; None of one value
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """How far apart two settings are: the first one minus the second.

    `p` is None where nothing can be said, and `test` is then "none". `effect` is d_z of pairs, Cohen's d otherwise;
    None where the spread is 0 or unknown.
    """

    test: Test
    n: tuple[int, int]  #: values of each setting that were used
    mean: float
    low: float | None
    high: float | None
    statistic: float | None
    df: float | None
    p: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    wilcoxon_p: float | None  #: of pairs, exact up to 14 of them
    wilcoxon_least: float | None  #: what it cannot fall below: 2 / 2^n of n pairs that differ

    @property
    def paired(self) -> bool:
        """Were the values taken in pairs?"""
        return self.test in ("paired t", "Wilcoxon signed-rank")


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean and its t interval.

    >>> found = estimate([0.95, 0.96, 0.97])
    >>> round(found.low, 4), round(found.high, 4)
    (0.9352, 0.9848)
    >>> estimate([0.95]).low is None
    True
    """
    x = np.asarray(values, float)
    mean, sd = float(x.mean()), None if len(x) == 1 else float(x.std(ddof=1))
    if sd is None or _no_spread(sd, x):
        return Estimate(mean, sd and 0.0, None, None, len(x))
    half = _t_quantile(len(x) - 1, confidence) * sd / math.sqrt(len(x))
    return Estimate(mean, sd, mean - half, mean + half, len(x))


def paired(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Compares values that belong together in pairs, such as two settings with the same seeds.

    The test is the paired t test. Differences that are all equal have no spread for it to use: then it is Wilcoxon's,
    which asks for their signs alone, and of differences that are all 0 the p-value is 1.

    >>> found = paired([0.96, 0.97, 0.95], [0.94, 0.96, 0.94])
    >>> found.test, round(found.p, 3), round(found.effect, 2)
    ('paired t', 0.057, 2.31)
    """
    d = np.asarray(a, float) - np.asarray(b, float)
    n, mean = len(d), float(d.mean())
    if n < 2:
        return _silent(mean, n, n)
    sd, signed = float(d.std(ddof=1)), wilcoxon(d.tolist())
    least = min(1.0, 2 / 2 ** np.count_nonzero(_tied(d)))
    if _no_spread(sd, np.concatenate([a, b])):
        return Difference(
            "Wilcoxon signed-rank", (n, n), mean, None, None, None, None, signed, None, None, None, signed, least
        )
    t, df = mean / (sd / math.sqrt(n)), n - 1
    half = _t_quantile(df, CONFIDENCE) * sd / math.sqrt(n)
    low, high = (each / math.sqrt(n) for each in noncentrality(t, df))
    effect = mean / sd
    return Difference(
        test="paired t",
        n=(n, n),
        mean=mean,
        low=mean - half,
        high=mean + half,
        statistic=t,
        df=df,
        p=_two_sided(t, df),
        effect=effect,
        effect_low=low,
        effect_high=high,
        wilcoxon_p=signed,
        wilcoxon_least=least,
    )


def welch(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Compares values that do not belong together, such as two settings without a common seed.

    >>> found = welch([0.96, 0.97, 0.95], [0.94, 0.96, 0.94, 0.93])
    >>> found.test, round(found.df, 2), round(found.p, 3)
    ("Welch's t", 4.93, 0.096)
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    mean = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return _silent(mean, len(x), len(y))
    spread = math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    if _no_spread(spread, np.concatenate([x, y])):
        return _silent(mean, len(x), len(y))
    vx, vy = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
    error = math.sqrt(vx + vy)
    df = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    half = _t_quantile(df, CONFIDENCE) * error
    effect = mean / spread
    margin = _normal_quantile(CONFIDENCE) * _bonett(effect, spread, x, y)
    return Difference(
        test="Welch's t",
        n=(len(x), len(y)),
        mean=mean,
        low=mean - half,
        high=mean + half,
        statistic=mean / error,
        df=df,
        p=_two_sided(mean / error, df),
        effect=effect,
        effect_low=effect - margin,
        effect_high=effect + margin,
        wilcoxon_p=None,
        wilcoxon_least=None,
    )


def wilcoxon(differences: Sequence[float]) -> float:
    """The p-value of Wilcoxon's signed-rank test: exact up to 14 pairs, ties or not. Differences of 0 are left out.

    Of n pairs it cannot be less than 2 / 2^n: with five of them it never falls below 0.0625.

    >>> wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5])
    0.0625
    """
    from scipy import stats

    d = _tied(np.asarray(differences, float))
    d = d[d != 0]
    if not len(d):
        return 1.0
    exact = stats.PermutationMethod(n_resamples=2 ** len(d)) if len(d) <= _ENUMERATED else "auto"
    return float(stats.wilcoxon(d, method=exact).pvalue)


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact p-value of McNemar's test, from the samples that only the one network, or only the other, got right.

    It compares two trained networks on these samples. It says nothing of the settings they were trained with.

    >>> mcnemar(1, 9)
    0.021484375
    """
    from scipy import stats

    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """The p-values corrected for their number: compared with one level each, all together err no more often than that.

    `family` is how many comparisons these were picked from; those that are not here count as showing nothing.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    >>> holm([0.01], family=3)
    [0.03]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, ((family or len(p_values)) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def power(effect: float, n: int, *, paired: bool = True, alpha: float = ALPHA) -> float:
    """How often a t test with `n` seeds of each setting finds a difference of `effect` standard deviations.

    >>> round(power(0.5, 34), 3), round(power(0.5, 64, paired=False), 3)
    (0.808, 0.801)
    """
    from scipy import stats

    df = n - 1 if paired else 2 * (n - 1)
    shift = abs(effect) * math.sqrt(n if paired else n / 2)
    limit = _t_quantile(df, 1 - alpha)
    return float(stats.nct.sf(limit, df, shift) + stats.nct.sf(limit, df, -shift))


def seeds_needed(effect: float, *, paired: bool = True, wanted: float = POWER, alpha: float = ALPHA) -> int | None:
    """The fewest seeds of each setting with which a t test has the wanted power; None if 100,000 are too few.

    >>> seeds_needed(0.5), seeds_needed(0.5, paired=False), seeds_needed(0.0)
    (34, 64, None)
    """
    enough = 2
    while power(effect, enough, paired=paired, alpha=alpha) < wanted:
        if enough == MOST_SEEDS or not effect:
            return None
        enough = min(2 * enough, MOST_SEEDS)
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if power(effect, middle, paired=paired, alpha=alpha) < wanted:
            too_few = middle
        else:
            enough = middle
    return enough


def noncentrality(t: float, df: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the noncentrality of which `t` was observed: where t is just at either end of its distribution.

    >>> [round(end, 3) for end in noncentrality(0.0, 9)]
    [-1.96, 1.96]
    """
    from scipy import optimize, stats

    if t < 0:  # where SciPy's tails are exact
        low, high = noncentrality(-t, df, confidence)
        return -high, -low
    levels = (1 - confidence) / 2, (1 + confidence) / 2
    if t > _LARGE:  # the numerator is the noncentrality to within 1 in _LARGE: what varies is the denominator's chi
        low, high = (t * math.sqrt(stats.chi2.ppf(level, df) / df) for level in levels)
        return low, high
    reach = 8 * math.sqrt(1 + t * t / (2 * df)) + 8
    low, high = (
        optimize.brentq(lambda shift, p=level: stats.nct.sf(t, df, shift) - p, t - reach, t + reach) for level in levels
    )
    return low, high


def _silent(mean: float, *n: int) -> Difference:
    return Difference("none", (n[0], n[1]), mean, *[None] * 10)


def _tied(differences: np.ndarray) -> np.ndarray:
    """Without their last bits, in which equal accuracies may differ."""
    return np.round(differences, 12)


def _no_spread(sd: float, values: np.ndarray) -> bool:
    """Whether a spread is rounding alone."""
    return sd <= 1e-12 * max(1.0, float(np.abs(values).max()))


def _bonett(effect: float, spread: float, x: np.ndarray, y: np.ndarray) -> float:
    """The standard error of d over the square root of the mean variance: equation 10 of Bonett (2008)."""
    vx, vy = float(x.var(ddof=1)), float(y.var(ddof=1))
    nx, ny = len(x) - 1, len(y) - 1
    own = effect**2 * (vx**2 / nx + vy**2 / ny) / (8 * spread**4)
    return math.sqrt(own + (vx / nx + vy / ny) / spread**2)


def _t_quantile(df: float, confidence: float) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + confidence) / 2, df))


def _normal_quantile(confidence: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf((1 + confidence) / 2))


def _two_sided(t: float, df: float) -> float:
    from scipy import stats

    return float(2 * stats.t.sf(abs(t), df))
