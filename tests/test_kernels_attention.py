"""Compiled attention against its rule in float64, at sizes at which blocks of queries end in the middle."""

import numpy as np
import pytest

from chainrule import ops, using

attention = ops.scaled_dot_product_attention
EPS = np.finfo(np.float32).eps


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_kernel(inputs, gy, **params):
    with using("cpu"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(attention, "rule", None)  # what the kernel refuses would fail
        y, pullbacks = attention.run(inputs, params)
        return [y, *(pull(gy) for pull in pullbacks[:3])]


def by_rule(inputs, gy, **params):
    y, pullbacks = attention.rule(*[x.astype(np.float64) for x in inputs], **params)
    return [y, *(pull(gy.astype(np.float64)) for pull in pullbacks[:3])]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    ("heads", "queries", "keys", "entries", "values"),
    [
        ((2, 3), 130, 67, 17, 9),
        ((), 64, 1, 1, 1),
        ((5,), 65, 129, 16, 33),
        ((1, 2), 200, 200, 64, 64),
        ((3,), 1, 70, 5, 2),
    ],
)
def test_kernel_equals_rule_at_odd_sizes(heads, queries, keys, entries, values, is_causal):
    shapes = (queries, entries), (keys, entries), (keys, values)
    inputs = [random(*heads, *shape, seed=i) for i, shape in enumerate(shapes)]
    gy = random(*heads, queries, values, seed=3)
    found, expected = (run(inputs, gy, is_causal=is_causal, scale=0.3) for run in (by_kernel, by_rule))
    # A score of up to 20 is rounded by 20 eps, which its exponential multiplies; sums have up to 200 terms.
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert one.flags.owndata
        np.testing.assert_allclose(one, other, rtol=0, atol=64 * EPS * np.abs(other).max())


def test_scores_whose_exponentials_overflow_and_a_negative_scale():
    inputs = [random(70, 4), random(80, 4, seed=1), random(80, 3, seed=2)]
    inputs[0] += 50
    inputs[1] -= 50  # so all scores are near 1e4 and differ by hundreds
    gy = random(70, 3, seed=3)
    found, expected = (run(inputs, gy, scale=-1.0) for run in (by_kernel, by_rule))
    for one, other in zip(found, expected, strict=True):  # scores of 1e4 are rounded by 1e4 eps, a thousandth
        np.testing.assert_allclose(one, other, rtol=0, atol=0.01 * np.abs(other).max())


def test_what_is_not_a_number_stays_in_its_head():
    query, key, value = random(2, 70, 8), random(2, 70, 8, seed=1), random(2, 70, 8, seed=2)
    query[0, 3, 0] = np.nan
    with using("cpu"):
        y = attention(query, key, value)
    assert np.isnan(y[0, 3]).all()
    assert np.isfinite(y[0, :3]).all()
    assert np.isfinite(y[1]).all()


def test_memory_order_of_queries_keys_and_values_does_not_matter():
    inputs = [np.swapaxes(random(4, 70, 3, 8, seed=i), 1, 2) for i in range(3)]  # heads as a model has them
    gy = np.swapaxes(random(4, 70, 3, 8, seed=4), 1, 2)
    for one, other in zip(by_kernel(inputs, gy), by_kernel([x.copy() for x in inputs], gy.copy()), strict=True):
        assert np.array_equal(one, other)
