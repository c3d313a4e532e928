"""Batches: every sample once an epoch, the courses' sampler, and a resume that repeats nothing and skips nothing."""

import json

import numpy as np
import pytest

from chainrule.data import Batches, Samples
from chainrule.errors import UsageError, UserError


def samples(n=11):
    return Samples(np.arange(2.0 * n, dtype=np.float32).reshape(n, 2, 1, 1), np.arange(n))


def labels(batches, count):
    return [batches.next()[1].tolist() for _ in range(count)]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 3]), (True, [4, 4])])
def test_an_epoch_has_every_sample_once_in_a_new_order(drop_last, sizes):
    batches = Batches(samples(), 4, rng=rng(), drop_last=drop_last)
    assert len(batches) == len(sizes)
    orders = []
    for epoch in range(5):
        assert batches.epoch == epoch
        assert batches.position == 0
        got = list(batches)
        assert [len(y) for _, y in got] == sizes
        for x, y in got:
            assert np.array_equal(x, samples().x[y])
        orders.append(np.concatenate([y for _, y in got]).tolist())
        assert len(set(orders[-1])) == sum(sizes)
    assert len({tuple(order) for order in orders}) == 5
    if not drop_last:
        assert all(sorted(order) == list(range(11)) for order in orders)


def test_every_order_is_equally_likely():
    first = [Batches(samples(5), 1, rng=rng(seed)).next()[1][0] for seed in range(2000)]
    counts = np.bincount(first, minlength=5)
    chi2 = ((counts - 400) ** 2 / 400).sum()
    assert chi2 < 18.47  # the 99.9 % point of chi squared with 4 degrees of freedom


def test_stored_order_is_kept_and_not_copied():
    data = samples()
    batches = Batches(data, 4, rng=rng(), shuffle=False)
    for _ in range(2):
        got = list(batches)
        assert [y.tolist() for _, y in got] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        assert all(np.shares_memory(x, data.x) for x, _ in got)


def test_shuffled_batches_are_copies_and_the_samples_stay_in_order():
    data = samples()
    x, _ = Batches(data, 4, rng=rng()).next()
    x[:] = -1
    assert np.array_equal(data.x, samples().x)


def next_batch_of_the_course(n, batch_size, generator):
    """The indices of `cifar10_utils.DataSet.next_batch`, which shuffles the arrays themselves when it wraps."""
    images, index = np.arange(n), 0
    while True:
        start, index = index, index + batch_size
        if index > n:
            images, start, index = generator.permutation(n), 0, batch_size
        yield images[start:index].tolist()


@pytest.mark.parametrize(("n", "batch_size"), [(11, 4), (12, 4), (7, 7), (5, 1)])
def test_wrap_is_the_sampler_of_the_course(n, batch_size):
    expected = next_batch_of_the_course(n, batch_size, rng(3))
    batches = Batches(samples(n), batch_size, rng=rng(3), wrap=True)
    assert labels(batches, 30) == [next(expected) for _ in range(30)]


@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"wrap": True}, {"shuffle": False}])
@pytest.mark.parametrize("taken", range(8))
def test_a_state_resumes_exactly(options, taken):
    batches = Batches(samples(), 4, rng=rng(), **options)
    labels(batches, taken)
    state = json.loads(json.dumps(batches.state_dict()))
    expected = labels(batches, 10)
    resumed = Batches(samples(), 4, rng=rng(99), **options)
    resumed.load_state_dict(state)
    assert labels(resumed, 10) == expected
    assert (resumed.epoch, resumed.position) == (batches.epoch, batches.position)


def test_a_state_resumes_exactly_where_the_generator_is_shared():
    generator = rng()
    batches = Batches(samples(), 4, rng=generator)
    labels(batches, 2)
    generator.random(5)  # such as a dropout mask
    state = batches.state_dict()
    expected = [generator.random(), *labels(batches, 4)]
    other = rng(99)
    resumed = Batches(samples(), 4, rng=other)
    resumed.load_state_dict(state)
    assert [other.random(), *labels(resumed, 4)] == expected


def test_iterating_after_a_resume_ends_the_epoch():
    batches = Batches(samples(), 4, rng=rng())
    batches.next()
    resumed = Batches(samples(), 4, rng=rng(1))
    resumed.load_state_dict(batches.state_dict())
    assert [len(y) for _, y in resumed] == [4, 3]
    assert [len(y) for _, y in resumed] == [4, 4, 3]


@pytest.mark.parametrize("batch_size", [0, -1, 12])
def test_impossible_batch_sizes(batch_size):
    with pytest.raises(UsageError, match=f"batch size is {batch_size}, expected 1 to 11, the number of samples"):
        Batches(samples(), batch_size, rng=rng())


@pytest.mark.parametrize(("n", "batch_size", "options"), [(10, 4, {}), (11, 3, {}), (11, 4, {"wrap": True})])
def test_the_state_of_another_loader_is_refused(n, batch_size, options):
    batches = Batches(samples(n), batch_size, rng=rng(), **options)
    with pytest.raises(UserError, match=r"the stored position is of the loader .*'samples': 11, 'batch_size': 4"):
        batches.load_state_dict(Batches(samples(), 4, rng=rng()).state_dict())
