"""Every kernel against the rule it replaces, on the samples declared with the op: values, gradients, manners."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule import OPS, Tensor, sample, using
from chainrule.check import diagnose, draw

EPS = np.finfo(np.float32).eps

with using("cpu"):  # which registers the kernels
    CASES = [
        pytest.param(op, of_op, id=f"{op.name}-{i}")
        for op in OPS.values()
        if "cpu" in op.kernels
        for i, of_op in enumerate(op.samples)
    ]

each_case = pytest.mark.parametrize(("op", "sample"), CASES)


class Single:
    """An op on one sample in float32: by its kernel, and by its rule in float64 on the same numbers."""

    def __init__(self, op, sample, layout=lambda x: x):
        rng = np.random.default_rng(1)
        inputs = [x.astype(np.float32) if x.dtype == np.float64 else x for x in draw(op, sample, rng)]
        self.op, self.params = op, sample.params
        self.inputs = [layout(x) for x in inputs]
        self.doubles = [x.astype(np.float64) if x.dtype == np.float32 else x for x in inputs]
        self.y, self.pullbacks = op.rule(*self.doubles, **self.params)
        self.gy = rng.standard_normal(np.shape(self.y)).astype(np.float32)
        self.wanted = [i for i, x in enumerate(inputs) if x.dtype == np.float32 and self.pullbacks[i] is not None]

    def by_kernel(self, gy=None):
        """Value and gradients."""
        with using("cpu"):
            y, pullbacks = self.op.run(self.inputs, self.params)
            return [y, *(pullbacks[i](self.gy if gy is None else gy) for i in self.wanted)]

    def by_rule(self):
        return [self.y, *(self.pullbacks[i](self.gy.astype(np.float64)) for i in self.wanted)]


def assert_close(found, expected, gy, ulps):
    for one, other in zip(found, expected, strict=True):
        scale = np.max(np.abs(other), initial=np.max(np.abs(gy), initial=0.0), where=np.isfinite(other))
        assert one.dtype == np.float32
        assert one.shape == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=ulps * EPS, atol=ulps * EPS * scale)


@each_case
def test_kernel_equals_rule(op, sample):
    # The samples have sums of at most some dozens of terms: 32 roundings of the largest entry are ample.
    case = Single(op, sample)
    assert_close(case.by_kernel(), case.by_rule(), case.gy, 32)


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 2 else x


def by_columns(x):
    return np.asfortranarray(x) if x.ndim else x


def with_gaps(x):
    """The same numbers at every other place of a larger array."""
    room = np.zeros([2 * n for n in x.shape], x.dtype)
    view = room[(..., *(slice(None, None, 2) for _ in x.shape))]
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@each_case
@pytest.mark.parametrize("layout", [channels_last, by_columns, with_gaps, read_only])
def test_memory_layout_does_not_matter(op, sample, layout):
    case = Single(op, sample, layout)
    assert_close(case.by_kernel(layout(case.gy)), case.by_rule(), case.gy, 32)


@each_case
def test_gradients_that_are_broadcast_views_are_taken(op, sample):
    case = Single(op, sample)
    case.gy = np.broadcast_to(np.float32(0.5), case.gy.shape)
    assert_close(case.by_kernel(), case.by_rule(), case.gy, 32)


@each_case
def test_nothing_given_is_modified_and_calls_repeat_bit_for_bit(op, sample):
    case = Single(op, sample)
    before = [np.array(x) for x in (*case.inputs, case.gy)]
    with using("cpu"):
        y, pullbacks = op.run(case.inputs, case.params)
        y_before = np.array(y)
        first = [np.array(pullbacks[i](case.gy)) for i in case.wanted]
        again = [np.array(pullbacks[i](case.gy)) for i in reversed(case.wanted)][::-1]
    assert np.array_equal(y, y_before, equal_nan=True)
    for x, old in zip((*case.inputs, case.gy), before, strict=True):
        assert np.array_equal(x, old, equal_nan=x.dtype.kind == "f")
    fresh = case.by_kernel()
    for one, two, three in zip(first, again, fresh[1:], strict=True):
        assert np.array_equal(one, two, equal_nan=True)
        assert np.array_equal(one, three, equal_nan=True)


@each_case
def test_recorded_equals_by_hand_bit_for_bit(op, sample):
    case = Single(op, sample)
    tensors = [Tensor(x, requires_grad=i in case.wanted) for i, x in enumerate(case.inputs)]
    with using("cpu"):
        y = op(*tensors, **case.params)
        if case.wanted:
            y.backward(case.gy)
    by_hand = case.by_kernel()
    assert np.array_equal(y.value, by_hand[0], equal_nan=True)
    for i, gx in zip(case.wanted, by_hand[1:], strict=True):
        assert np.array_equal(tensors[i].grad, gx, equal_nan=True)


@each_case
def test_float64_goes_to_the_rule(op, sample):
    case = Single(op, sample)
    with using("cpu"):
        y = op.run(case.doubles, case.params)[0]
    assert np.array_equal(y, case.y, equal_nan=True)
    assert np.asarray(y).dtype == np.asarray(case.y).dtype


def as_pair(op, params, spoil=1.0):
    """A kernel as the gradient checker takes a backward pass; it sees float64, with float32's rounding."""

    def forward(inputs):
        with using("cpu"):
            y, pullbacks = op.run([x.astype(np.float32) if x.dtype == np.float64 else x for x in inputs], params)
        return np.asarray(y, np.float64), (inputs, pullbacks)

    def backward(gy, cache):
        inputs, pullbacks = cache
        with using("cpu"):
            return [
                spoil * pullback(gy.astype(np.float32)).astype(np.float64)
                if x.dtype == np.float64 and pullback is not None
                else None
                for x, pullback in zip(inputs, pullbacks, strict=False)
            ]

    return forward, backward


NORM = sample("4 3, 3, 3, 3, 3", training=True)
CHECKED = {op.values[0].name: (op.values[0], op.values[1]) for op in reversed(CASES)} | {
    "batch_norm": (OPS["batch_norm"], NORM)
}


@pytest.mark.parametrize("name", sorted(CHECKED))
def test_gradients_pass_the_checker_and_a_wrong_factor_does_not(name):
    op, of_sample = CHECKED[name]
    inputs = draw(op, of_sample, np.random.default_rng(0))
    names = [f"input_{i}" for i in range(len(inputs))]
    for spoil, status in ((1.0, "correct"), (1.01, "wrong")):
        forward, backward = as_pair(op, of_sample.params, spoil)
        of_names = {"forward": forward}
        exec(f"def named({', '.join(names)}): return forward([{', '.join(names)}])", of_names)
        with using("cpu"):
            _, pullbacks = op.run(inputs, of_sample.params)
        wrt = [n for n, x, p in zip(names, inputs, pullbacks, strict=False) if x.dtype == np.float64 and p is not None]
        report = diagnose((of_names["named"], backward), dict(zip(names, inputs, strict=True)), wrt=wrt)
        assert report.status == status, str(report)


# ----------------------------------------------------------------------------------------------------- large and deep


@pytest.mark.parametrize(
    ("n", "d", "m"),
    [
        (1, 1, 1),
        (1, 700, 33),
        (13, 31, 7),
        (30, 300, 200),
        (67, 257, 129),
        (6, 4101, 75),
        (9, 75, 4101),
        (17, 2048, 150),
    ],
)
def test_products_of_any_size(n, d, m):
    """A product ends in parts of tiles, strips and blocks; some are so deep that the threads share each entry."""
    rng = np.random.default_rng(0)
    x, weight, bias, gy = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((n, d), (m, d), (m,), (n, m)))
    with using("cpu"):
        y, pullbacks = OPS["linear"].run([x, weight, bias], {})
        found = [y, *(pull(gy) for pull in pullbacks)]
    x, weight, bias, gy = (v.astype(np.float64) for v in (x, weight, bias, gy))
    expected = [x @ weight.T + bias, gy @ weight, gy.T @ x, gy.sum(axis=0)]
    # Of a sum of k products below 1 the error is a random walk of k roundings of numbers up to sqrt(k) / 3.
    for one, other, terms in zip(found, expected, (d, m, n, n), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=4 * EPS * terms)


@pytest.mark.slow
def test_two_threads_compute_the_same():
    """The tests of the kernels once more: where test processes run side by side, each has one thread."""
    files = [str(file) for file in Path(__file__).parent.glob("test_kernels*.py") if "machine" not in file.name]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "NUMBA_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-m", "not slow", *files],
        env=own | {"CHAINRULE_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
