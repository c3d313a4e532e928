"""What data-parallel training would take with more machines: a model of a step, behind the figures of docs/parallel.md.

A step of p machines with b samples each takes

    T(p) = c(b) · E[max of p machines' jitter] + max(0, e(p) − f · (2/3) c(b)) + max(0, 2 (p − 1) l − (2/3) c(b))

- c(b) = c₀ + c₁ b: the computation of one machine, a line through measured times; two thirds of it are backward.
- A machine's jitter multiplies its computation; it is log-normal with mean 1 and spread s. All wait for the slowest.
- e(p): a ring all-reduce. Each of k buckets takes 2 (p − 1) messages one after the other, and 2 (p − 1) / p of all the
  bytes M pass every machine's link of bandwidth B and latency l: e(p) = 2 (p − 1) (k l + M / (p B)).
- f: the share of backward under which the exchange is hidden. chainrule exchanges after backward: f = 0.
- The losses are summed too: a message of a few bytes, 2 (p − 1) l, hidden under backward as far as that lasts.

The model knows nothing of the data's way into the machines, of switches that are shared, or of machines that fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from chainrule.train.parallel import BUCKET

BACKWARD = 2 / 3  # of the multiplications of a step
DRAWS, MOST = 2000, 1024


@dataclass(frozen=True, slots=True)
class Link:
    """What joins the machines."""

    name: str
    bandwidth: float  #: bytes per second, of one machine's link
    latency: float  #: seconds of a message


@dataclass(frozen=True, slots=True)
class Work:
    """A network and what its steps cost on one machine."""

    name: str
    parameters: int
    fixed: float  #: c₀, seconds
    per_sample: float  #: c₁, seconds

    def compute(self, batch: float) -> float:
        """Seconds of a step with so many samples, alone: c₀ + c₁ b."""
        return self.fixed + self.per_sample * batch

    @property
    def bytes(self) -> int:
        """The bytes of its gradients in float32, M: every process has as many to sum with the others'."""
        return 4 * self.parameters


@dataclass(frozen=True, slots=True)
class Step:
    """The seconds of a step, by what they are spent on."""

    compute: float
    waiting: float  #: for the slowest machine
    exchange: float  #: of gradients and losses, what is not hidden under backward

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.waiting + self.exchange


def fitted(name: str, parameters: int, batches: Sequence[float], seconds: Sequence[float]) -> Work:
    """The work whose line goes through these measured times; least squares of relative errors, neither term below 0.

    >>> work = fitted("net", 10, [1, 3, 9], [0.12, 0.16, 0.28])
    >>> round(work.fixed, 3), round(work.per_sample, 3)
    (0.1, 0.02)
    """
    from scipy.optimize import nnls

    times = np.asarray(seconds, float)
    (fixed, per_sample), _ = nnls(np.stack([1 / times, np.asarray(batches) / times], 1), np.ones(len(times)))
    return Work(name, parameters, float(fixed), float(per_sample))


def all_reduce(link: Link, size: int, machines: int) -> float:
    """Seconds of a ring all-reduce of so many bytes, in buckets of 25 MB.

    >>> all_reduce(Link("10 Gbit/s", 1.25e9, 0.0), 1_250_000, 2)
    0.001
    """
    buckets = -(-size // BUCKET)
    return 2 * (machines - 1) * (buckets * link.latency + size / (machines * link.bandwidth))


def slowest(spread: float, machines: int) -> float:
    """The expected jitter of the slowest of `machines`, 1 for one: the mean of 2,000 seeded draws.

    >>> slowest(0.0, 100), slowest(0.1, 4) < slowest(0.1, 64)
    (1.0, True)
    """
    longest = _largest_normals()[:, machines - 1]
    return float(np.exp(spread * longest - spread**2 / 2).mean()) if machines > 1 else 1.0


@cache
def _largest_normals() -> np.ndarray:
    """Of each draw, the largest of the first p normal numbers, for every p: the same numbers for all p."""
    return np.maximum.accumulate(np.random.default_rng(0).standard_normal((DRAWS, MOST)), axis=1)


def step(work: Work, link: Link, *, machines: int, batch: float, spread: float, overlap: float = 0.0) -> Step:
    """A step of `machines`, each with `batch` samples; `overlap` is f.

    >>> step(Work("net", 10**6, 0.0, 0.01), Link("", 1e9, 0.0), machines=1, batch=4, spread=0.1)
    Step(compute=0.04, waiting=0.0, exchange=0.0)
    """
    compute = work.compute(batch)
    backward = BACKWARD * compute
    gradients = max(0.0, all_reduce(link, work.bytes, machines) - overlap * backward)
    losses = max(0.0, 2 * (machines - 1) * link.latency - backward)
    return Step(compute, compute * (slowest(spread, machines) - 1), gradients + losses)


def efficiency(work: Work, link: Link, *, machines: int, batch: float, spread: float, overlap: float = 0.0) -> float:
    """The samples a second of `machines` over `machines` times those of one, with `batch` samples in each.

    >>> work = Work("net", 10**6, 0.0, 0.01)
    >>> efficiency(work, Link("", 4e8, 0.0), machines=2, batch=1, spread=0.0)
    0.5
    """
    found = step(work, link, machines=machines, batch=batch, spread=spread, overlap=overlap)
    return work.compute(batch) / found.total


def most_that_pay(work: Work, link: Link, *, samples: int, spread: float, overlap: float = 0.0) -> int:
    """For a batch of `samples` in all, shared ever finer: the most machines of which half are still worth their place.

    The largest power of 2, up to `samples` and 1,024, up to which the speed over one machine's is at least half of the
    number of machines.

    >>> most_that_pay(Work("net", 10**6, 0.0, 0.01), Link("", 4e8, 0.0), samples=64, spread=0.0)
    32
    """
    alone, machines = work.compute(samples), 1
    while 2 * machines <= min(samples, MOST):
        more = 2 * machines
        found = step(work, link, machines=more, batch=samples / more, spread=spread, overlap=overlap)
        if alone / found.total < more / 2:
            break
        machines = more
    return machines
