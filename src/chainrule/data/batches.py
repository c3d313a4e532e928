"""Mini-batches, endless, and resumable to the very sample."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.data.datasets import Samples
from chainrule.errors import UsageError, UserError


class Batches:
    """Batches of samples, epoch after epoch, in an order drawn from `rng`.

    Iterating gives the batches `(x, y)` up to the end of the current epoch; `next()` gives one, for ever. A new
    permutation is drawn when the first batch of an epoch is asked for, so a state saved between two batches resumes
    with exactly the batches that would have followed. Batches of shuffled samples are copies; in stored order they
    are views, and nothing is copied. Images that are resized are so batch by batch.

    Args:
        samples: what to draw from; its arrays are never changed.
        batch_size: samples per batch, from 1 to `len(samples)`.
        rng: the generator of the permutations, from `np.random.default_rng` (its state can be written as JSON).
        shuffle: False keeps the stored order.
        drop_last: leave out the last, smaller batch of an epoch.
        wrap: the sampler of the `uva` courses (`cifar10_utils.DataSet.next_batch`): the first epoch in stored order;
            as soon as fewer than `batch_size` samples are left they are dropped, and the rest is reshuffled.
        rank, ranks: hand out the part `rank` of every batch alone, of `ranks` contiguous parts (see `part_of`); the
            order, the place in it and the state are those of the whole batches.

    Raises UsageError if `batch_size` is less than 1 or more than there are samples.

    >>> samples = Samples(np.arange(5.0)[:, None], np.arange(5))
    >>> [y.tolist() for x, y in Batches(samples, 2, rng=np.random.default_rng(0), shuffle=False)]
    [[0, 1], [2, 3], [4]]
    >>> batches = Batches(samples, 2, rng=np.random.default_rng(0))
    >>> x, y = batches.next()
    >>> batches.epoch, batches.position, len(batches)
    (0, 2, 3)
    >>> state = batches.state_dict()
    >>> expected = batches.next()[1]
    >>> resumed = Batches(samples, 2, rng=np.random.default_rng(99))
    >>> resumed.load_state_dict(state)
    >>> bool((resumed.next()[1] == expected).all())
    True
    >>> parts = [Batches(samples, 3, rng=np.random.default_rng(0), rank=rank, ranks=2) for rank in (0, 1)]
    >>> [part.next()[1].tolist() for part in parts], parts[1].share
    ([[2, 4], [3]], (2, 3, 3))
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        rng: np.random.Generator,
        shuffle: bool = True,
        drop_last: bool = False,
        wrap: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ):
        if not 1 <= batch_size <= len(samples):
            raise UsageError(f"batch size is {batch_size}, expected 1 to {len(samples)}, the number of samples")
        self.samples = samples
        self.batch_size = batch_size
        self.epoch = 0
        """Epochs completed."""
        self.position = 0
        """Samples of the current epoch handed out."""
        self.share = 0, 0, 0
        """Of the latest batch: the place of its first sample handed out, of the one after the last, and its size."""
        self._rng = rng
        self._shuffle, self._wrap, self._drop_last = shuffle, wrap, drop_last or wrap
        self._rank, self._ranks = rank, ranks
        self._order: np.ndarray | None = None
        self._drawn_from: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(len(self.samples), self.batch_size)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epoch = self.epoch
        while self.epoch == epoch:
            yield self.next()

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch `(x, y)`; after the last one of an epoch comes the first of the next."""
        if self.position == 0:
            self._begin_epoch()
        n, start = len(self.samples), self.position
        stop = min(start + self.batch_size, n)
        first, last = part_of(stop - start, self._rank, self._ranks)
        self.share = first, last, stop - start
        own = slice(start + first, start + last)
        batch = own if self._order is None else self._order[own]
        self.position = stop
        if stop == n or (self._drop_last and stop + self.batch_size > n):
            self.epoch, self.position = self.epoch + 1, 0
        return self.samples.x[batch], self.samples.y[batch]

    def _begin_epoch(self) -> None:
        self._drawn_from = self._rng.bit_generator.state
        stored_order = not self._shuffle or (self._wrap and self.epoch == 0)
        self._order = None if stored_order else self._rng.permutation(len(self.samples))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from here, ready for JSON: the permutation as the state it was drawn from."""
        return {
            "loader": self._loader(),
            "epoch": self.epoch,
            "position": self.position,
            "rng": self._rng.bit_generator.state,
            "drawn_from": self._drawn_from if self.position else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict()`, setting the generator too. Raises UserError if it is another loader's state."""
        if state["loader"] != self._loader():
            raise UserError(f"the stored position is of the loader {state['loader']}, this one is {self._loader()}")
        self.epoch, self.position = state["epoch"], state["position"]
        if self.position:
            self._rng.bit_generator.state = state["drawn_from"]
            self._begin_epoch()
        self._rng.bit_generator.state = state["rng"]

    def _loader(self) -> dict[str, Any]:
        return {
            "samples": len(self.samples),
            "batch_size": self.batch_size,
            "shuffle": self._shuffle,
            "drop_last": self._drop_last,
            "wrap": self._wrap,
        }


def part_of(n: int, rank: int, ranks: int) -> tuple[int, int]:
    """Where the part `rank` of `n` samples begins and ends: contiguous parts that differ by one sample at most.

    The first `n % ranks` parts have the sample more, as `np.array_split` has it; fewer samples than parts leave the
    last parts empty.

    >>> [part_of(5, rank, 3) for rank in range(3)]
    [(0, 2), (2, 4), (4, 5)]
    """
    each, more = divmod(n, ranks)
    first = rank * each + min(rank, more)
    return first, first + each + (rank < more)
