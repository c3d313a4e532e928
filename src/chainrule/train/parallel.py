"""One run by several processes: what they tell each other, over `torch.distributed` with gloo.

`torchrun` gives every process its number (RANK) and how many there are (WORLD_SIZE). Without these variables, or with
one process alone, `joined` gives `Alone`, for which there is nothing to exchange, and PyTorch is not loaded.

What one process does the others do too, in the same order: every method of `Group` is called by all of them. Rank 0
writes and speaks. Where the others may be long in coming, at the beginning of a run and where data are read, they wait
in the rendez-vous' store, which has no limit of time; gloo has one. When a process is lost, whatever waits for it ends
with `BrokenError`; those that are left then find out who is missing (`Group.missing`), and the first of them says so.
"""

import atexit
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np

from chainrule.data import Batches
from chainrule.engine import Parameter
from chainrule.errors import UsageError, UserError
from chainrule.nn import BatchNorm1d, BatchNorm2d, Module
from chainrule.train.events import Remark

TIMEOUT = "CHAINRULE_RANK_TIMEOUT"  # seconds after which a process that does not answer is given up
BUCKET = 25 * 2**20  # bytes that are summed in one piece, as in PyTorch's DistributedDataParallel
ROLL_CALL = 3.0  # seconds in which a process that is left answers, once one is lost


class BrokenError(Exception):
    """The processes can no longer reach each other: one was lost, has failed, or did not answer in time."""


class RankLostError(UserError):
    """A run ended because one of its processes did. All that are left raise it; `speaker` is True in one of them."""

    def __init__(self, message: str, *, speaker: bool) -> None:
        super().__init__(message)
        self.speaker = speaker


def rank() -> int:
    """The number of this process among those of its run, from 0; 0 without RANK and WORLD_SIZE.

    >>> rank(), size()
    (0, 1)
    """
    return _numbers()[0]


def size() -> int:
    """How many processes share the run; 1 without RANK and WORLD_SIZE."""
    return _numbers()[1]


def command() -> str:
    """How a command is begun with as many processes as this one was: `torchrun ... -m chainrule`, or `chainrule`.

    >>> command()
    'chainrule'
    """
    if size() == 1:
        return "chainrule"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size()))
    machines = f"--nnodes {size() // here} ... " if here < size() else ""
    return f"torchrun {machines}--nproc-per-node {here} -m chainrule"


def _numbers() -> tuple[int, int]:
    given = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE")]
    if None in given:
        return 0, 1
    try:
        found_rank, found_size = (int(text or "") for text in given)
    except ValueError:
        found_rank, found_size = -1, 0
    if not 0 <= found_rank < found_size:
        raise UsageError(
            f"RANK is {given[0]!r} and WORLD_SIZE {given[1]!r}, expected whole numbers with 0 <= RANK < WORLD_SIZE: "
            "torchrun sets them; unset them to train in one process"
        )
    return found_rank, found_size


class Alone:
    """One process: it is the first, and all of them."""

    rank, size, first = 0, 1, True
    ending = threading.Event()  #: never set

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make()` returns in rank 0, in every process; the others wait for as long as it takes."""
        return make()

    def in_turn(self, make: Callable[[], Any]) -> Any:
        """What `make()` returns, called on each machine by its first process before the others: one download."""
        return make()

    def any(self, value: Any) -> Any:
        """The first value that is not None, by rank."""
        return value

    def broadcast(self, arrays: Sequence[np.ndarray]) -> None:
        """Writes rank 0's arrays into everybody's."""

    def sum(self, numbers: np.ndarray) -> np.ndarray:
        """The sums of everybody's numbers."""
        return numbers

    def require_same(self, facts: dict[str, Any]) -> None:
        """Raises `UsageError` in every process if one has another value of a fact than rank 0."""


class Group:
    """Several processes; see `Alone` for what they do together. Anything raises `BrokenError` if one was lost.

    Raises `UserError` if the others cannot be reached, `UsageError` if PyTorch is missing or a variable is wrong.
    """

    def __init__(self) -> None:
        self.rank, self.size = _numbers()
        self.first = self.rank == 0
        self.ending = threading.Event()  #: set by SIGTERM: torchrun ends the processes that are left when one is lost
        seconds = _seconds()
        try:
            import torch.distributed as dist
        except ImportError:
            raise UsageError("several processes need PyTorch: pip install 'chainrule[torch]'") from None
        if dist.is_initialized():
            raise UsageError(
                "torch.distributed is in use already: let chainrule begin it, or unset RANK and WORLD_SIZE"
            )
        self._dist = dist
        try:
            self._rendezvous, _, _ = next(dist.rendezvous("env://"))
            self._store = self._named(self._rendezvous)
            self._store.set(f"host/{self.rank}", socket.gethostname())
            dist.init_process_group(
                "gloo", store=self._store, rank=self.rank, world_size=self.size, timeout=timedelta(seconds=seconds)
            )
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"process {self.rank} of {self.size} cannot reach the others: {_first_line(error)}"
            ) from error
        self._turns = self._runs = 0
        self._left = False
        self._listening = threading.Thread(target=self._answer_the_roll_call, daemon=True)
        self._listening.start()
        atexit.register(self._leave)

    def from_first(self, make: Callable[[], Any]) -> Any:  # noqa: D102
        self._turns += 1
        key, value = f"turn/{self._turns}", None
        if self.first:
            value = make()
            self._guarded(lambda: self._store.set(key, ""))
        else:
            self._wait_for([key])
        return self._guarded(lambda: self._broadcast_object(value))

    def in_turn(self, make: Callable[[], Any]) -> Any:  # noqa: D102
        self._turns += 1
        turn = f"turn/{self._turns}"
        hosts = self._guarded(lambda: [self._store.get(f"host/{other}") for other in range(self.size)])
        first_here = hosts.index(hosts[self.rank])
        if self.rank == first_here:
            value = make()
            self._guarded(lambda: self._store.set(f"{turn}/made/{first_here}", ""))
        else:
            self._wait_for([f"{turn}/made/{first_here}"])
            value = make()
        self._meet(turn)
        return value

    def any(self, value: Any) -> Any:  # noqa: D102
        return next((found for found in self._gathered(value) if found is not None), None)

    def broadcast(self, arrays: Sequence[np.ndarray]) -> None:  # noqa: D102
        for array in arrays:
            whole = np.ascontiguousarray(array)
            self._guarded(partial(self._dist.broadcast, _tensor(whole), 0))
            array[...] = whole

    def sum(self, numbers: np.ndarray) -> np.ndarray:  # noqa: D102
        return self.sum_later(numbers)()

    def sum_later(self, numbers: np.ndarray) -> Callable[[], np.ndarray]:
        """Begins to sum everybody's numbers, in place; what it returns waits for the sums."""
        work = self._guarded(lambda: self._dist.all_reduce(_tensor(numbers), async_op=True))

        def wait() -> np.ndarray:
            self._guarded(work.wait)
            return numbers

        return wait

    def require_same(self, facts: dict[str, Any]) -> None:  # noqa: D102
        everybody = self._gathered(facts)
        for other, theirs in enumerate(everybody):
            different = [name for name, value in everybody[0].items() if theirs[name] != value]
            if different:
                raise UsageError(
                    f"process {other} has another {' and '.join(different)} than process 0: begin all of them with the "
                    "same command, version and data"
                )

    # when one is lost

    def begin(self) -> None:
        """Begins a run, once all processes do: nobody is still in another, and what was left word of there is past."""
        self._runs += 1
        self._meet(f"run/{self._runs}")

    def failed(self, error: BaseException) -> None:
        """Leaves word of why this process ends the run."""
        with suppress(RuntimeError):
            self._store.set(self._failure_of(self.rank), str(error) or type(error).__name__)
            self._store.set(self._failure_of("any"), "")

    def missing(self) -> tuple[str, bool]:
        """Who was lost, in words, and whether it is this process that says so: the first of those that are left."""
        try:
            others = set(range(self.size)) - {self.rank}
            for each in range(self.size):  # itself too: it will begin no other run
                self._store.set(f"call/{each}", "")
            until, silent = time.monotonic() + ROLL_CALL, others
            while silent and time.monotonic() < until:
                time.sleep(0.02)
                silent = {other for other in silent if not self._heard(other)}
            failed = {other: self._store.get(self._failure_of(other)) for other in others if self._has_failed(other)}
        except RuntimeError:  # the rendez-vous itself is gone, and with it the process or the machine that held it
            return f"the connection to process 0 of {self.size} was lost", self.rank == 1
        words = [f"process {other} of {self.size} failed ({failed[other].decode()})" for other in sorted(failed)]
        words += [f"process {other} of {self.size} was lost" for other in sorted(silent)]
        left = set(range(self.size)) - silent - failed.keys()
        speaks = self.rank == min(left) and 0 not in failed  # process 0 tells of its failure itself
        return " and ".join(words) or "the processes lost each other", speaks

    def _called(self) -> bool:
        return self._store.check([f"call/{self.rank}"])

    def _heard(self, other: int) -> bool:
        return self._store.check([f"alive/{other}"]) or self._has_failed(other)

    def _has_failed(self, other: int) -> bool:
        return self._store.check([self._failure_of(other)])

    def _failure_of(self, other: int | str) -> str:
        return f"failed/{self._runs}/{other}"

    def _answer_the_roll_call(self) -> None:
        """A thread answers, for the process may be waiting for one that waits for the one that was lost."""
        with suppress(RuntimeError):  # the rendez-vous ended: so does the run
            store = self._named(self._rendezvous.clone())  # a connection of its own, on which it may wait
            store.wait([f"call/{self.rank}"], timedelta(days=10_000))
            if not self._left:
                store.set(f"alive/{self.rank}", "")

    def _named(self, store: Any) -> Any:
        """The store without what an earlier attempt left in it, where torchrun has begun the processes again."""
        return self._dist.PrefixStore(f"chainrule/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)

    def _leave(self) -> None:
        """At the end of the process: a thread that still waited then would bring it down."""
        self._left = True
        self._runs += 1  # the others may wait for this process to begin another run
        with suppress(RuntimeError):
            self._store.set(self._failure_of("any"), "")
            self._store.set(f"call/{self.rank}", "")
            self._listening.join(ROLL_CALL)
        self._dist.destroy_process_group()

    def _meet(self, place: str) -> None:
        """Waits until all processes are here."""
        self._guarded(lambda: self._store.set(f"{place}/{self.rank}", ""))
        self._wait_for([f"{place}/{other}" for other in range(self.size)])

    def _wait_for(self, keys: list[str]) -> None:
        """Waits for words in the store, without a limit: torchrun ends a process that waits for a dead one."""
        pause = 0.001
        while not self._guarded(lambda: self._are_there(keys)):
            time.sleep(pause)
            pause = min(0.1, 1.5 * pause)

    def _are_there(self, keys: list[str]) -> bool:
        """Whether the words are in the store. Raises `BrokenError` if they will not come, or a process is missed.

        Who had all of them may fail before this one looks, so failures are looked for before the words; who misses a
        process leaves word of it before the next run, so that is looked for after them.
        """
        hopeless = self.ending.is_set() or self._store.check([self._failure_of("any")])
        there: bool = self._store.check(keys)
        if self._called() or (hopeless and not there):
            raise BrokenError
        return there

    def _gathered(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        self._guarded(lambda: self._dist.all_gather_object(found, value))
        return found

    def _broadcast_object(self, value: Any) -> Any:
        held = [value]
        self._dist.broadcast_object_list(held, 0)
        return held[0]

    def _guarded(self, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except RuntimeError as error:  # gloo's for a closed connection, and for one that is silent too long
            raise BrokenError(_first_line(error)) from error


Company = Alone | Group
_company: Company | None = None


@contextmanager
def joined() -> Iterator[Company]:
    """A run among the other processes, which this one joins when this is first entered and stays with; not nested.

    It begins when all processes have come, and ends for all when one fails. A failure inside is left word of, so that
    the others can say what happened; `BrokenError` becomes `RankLostError`.

    >>> with joined() as company:
    ...     company.size
    1
    """
    global _company
    if _company is None:
        _company = Group() if size() > 1 else Alone()
    company = _company
    if isinstance(company, Alone):
        yield company
        return
    with _sigterm_sets(company.ending):
        try:
            company.begin()
            yield company
        except BrokenError as error:
            raise lost(company, error, ": begin all of them again") from error
        except RankLostError:
            raise
        except BaseException as error:
            company.failed(error)
            raise


def lost(company: Company, error: BrokenError, kept: str) -> UserError:
    """The error that says which process was lost, and `kept`: what is left of the run."""
    if isinstance(company, Alone):
        raise error
    who, speaker = company.missing()
    return RankLostError(f"{who}{kept}", speaker=speaker)


@contextmanager
def _sigterm_sets(event: threading.Event) -> Iterator[None]:
    """SIGTERM sets the event instead of ending the process at once: it still has a checkpoint to save, or to speak."""
    import signal

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Exchange:
    """The gradients of a step as those of the whole batch: each process's times its share of it, summed over all.

    With n_r of the n samples of a batch in process r, each of whose losses is a mean over its own samples, the mean
    over the batch is L = Σ_r (n_r / n) L_r, and so is its gradient. Arrays beside the parameters, such as running
    statistics, are averaged with the same weights.

    The gradients lie in flat buckets, last parameters first; one is summed while the next is filled. The order, and so
    the rounding, is the same in every process, and so are the bits of the sums.
    """

    def __init__(self, group: Group, parameters: Sequence[Parameter], averaged: Sequence[np.ndarray]) -> None:
        self._group, self._parameters, self._averaged = group, parameters[::-1], averaged
        self._given = np.zeros(
            len(parameters), np.float32
        )  # of each parameter: in how many processes it has a gradient
        values = [parameter.value for parameter in self._parameters]
        self._buckets = buckets([*values, *self._averaged, self._given])

    def begin(self, loss: float, asked: bool) -> Callable[[], tuple[float, bool]]:
        """Begins to sum the losses, times their weights; what it returns waits for the sum.

        With it comes whether any process was `asked` to stop: so all of them stop after the same step.
        """
        wait = self._group.sum_later(np.array([loss, asked], np.float64))

        def sums() -> tuple[float, bool]:
            total, stops = wait()
            return float(total), bool(stops)

        return sums

    def gradients(self, weight: float) -> None:
        """Replaces every gradient, and every averaged array, by its mean. `weight` is n_r / n."""
        self._given[:] = [parameter.grad is not None for parameter in self._parameters]
        sources = iter([*(parameter.grad for parameter in self._parameters), *self._averaged])
        waits = []
        for flat, views in self._buckets:
            for view in views:
                source = next(sources, self._given)
                if source is None:
                    view[...] = 0
                else:
                    np.multiply(source, 1 if source is self._given else weight, out=view)
            waits.append(self._group.sum_later(flat))
        for wait in waits:
            wait()
        sums = [view for _, views in self._buckets for view in views]
        for parameter, total, given in zip(self._parameters, sums, sums[-1], strict=False):
            parameter.grad = total if given else None
        for array, total in zip(self._averaged, sums[len(self._parameters) :], strict=False):
            array[...] = total


def buckets(arrays: Sequence[np.ndarray], most: int = BUCKET) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Flat arrays of at most `most` bytes, or of one array that is larger, with views of the arrays' shapes and dtypes.

    >>> made = buckets([np.zeros((2, 3)), np.zeros(4), np.zeros(1)], most=80)
    >>> [(flat.shape, [view.shape for view in views]) for flat, views in made]
    [((10,), [(2, 3), (4,)]), ((1,), [(1,)])]
    """
    groups: list[list[np.ndarray]] = []
    held = 0
    for array in arrays:
        if not groups or array.dtype != groups[-1][0].dtype or held + array.nbytes > most:
            groups.append([])
            held = 0
        groups[-1].append(array)
        held += array.nbytes
    made = []
    for group in groups:
        flat = np.zeros(sum(array.size for array in group), group[0].dtype)
        ends = np.cumsum([array.size for array in group])
        views = [flat[end - array.size : end].reshape(array.shape) for array, end in zip(group, ends, strict=True)]
        made.append((flat, views))
    return made


def arrays(model: Module) -> list[np.ndarray]:
    """Every array of the model, as it lies in memory: parameters and what is not learned."""
    return [value.value if isinstance(value, Parameter) else value for _, value in model._state()]


def unlearned(model: Module) -> list[np.ndarray]:
    """Running statistics and counts.

    >>> from chainrule.nn import BatchNorm1d
    >>> [array.dtype.name for array in unlearned(BatchNorm1d(3))]
    ['float32', 'float32', 'int64']
    """
    return [value for _, value in model._state() if isinstance(value, np.ndarray)]


def statistics(model: Module) -> list[np.ndarray]:
    """What is not learned and can be averaged over the processes: running means and variances."""
    return [array for array in unlearned(model) if np.issubdtype(array.dtype, np.floating)]


def remarks(model: Module, company: Company) -> list[Remark]:
    """What is different with several processes and this model."""
    normalised = any(isinstance(module, BatchNorm1d | BatchNorm2d) for module in model.modules())
    if company.size == 1 or not normalised:
        return []
    text = (
        f"Batch norm: each of the {company.size} processes normalises by the mean and variance of its own share of a "
        "batch, so the loss is another than in one process. The running statistics are averaged over all of them."
    )
    return [Remark("batch-norm", text)]


def share_draws(model: Module, batches: Batches) -> None:
    """Gives the model's random layers generators that draw for whole batches, with the states that theirs have."""
    for module in model.modules():
        rng = getattr(module, "rng", None)
        if isinstance(rng, np.random.Generator):
            vars(module)["rng"] = SharedGenerator(rng.bit_generator, batches)


class SharedGenerator(np.random.Generator):
    """A generator that draws for the whole batch and returns this process's share of the numbers.

    So what a sample meets, and the generator's state, do not depend on how many processes there are. The samples stand
    along the first axis of `random`, as in a dropout's mask, and along the last one of `integers`, as in the shifts of
    `Augment`; where that axis is not as long as the share, nothing is known of it, and all processes draw the same.

    >>> from chainrule.data import Samples
    >>> batches = Batches(Samples(np.zeros((4, 1)), np.zeros(4, int)), 4, rng=np.random.default_rng(), rank=1, ranks=2)
    >>> x, y = batches.next()
    >>> mine = SharedGenerator(np.random.default_rng(0).bit_generator, batches).random((2, 3))
    >>> bool((mine == np.random.default_rng(0).random((4, 3))[2:]).all())
    True
    """

    def __init__(self, bit_generator: np.random.BitGenerator, batches: Batches) -> None:
        super().__init__(bit_generator)
        self._batches = batches

    def random(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As NumPy's, of the share of the samples."""
        shape = np.atleast_1d(() if size is None else size).tolist()
        first, last, n = self._batches.share
        if not shape or shape[0] != last - first:
            return super().random(size, *args, **kwargs)
        return super().random((n, *shape[1:]), *args, **kwargs)[first:last]

    def integers(self, low: Any, high: Any = None, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As NumPy's, of the share of the samples."""
        shape = np.atleast_1d(() if size is None else size).tolist()
        first, last, n = self._batches.share
        if not shape or shape[-1] != last - first:
            return super().integers(low, high, size, *args, **kwargs)
        return super().integers(low, high, (*shape[:-1], n), *args, **kwargs)[..., first:last]


def _seconds() -> float:
    given = os.environ.get(TIMEOUT, "60")
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"{TIMEOUT} is {given!r}, expected a number of seconds above 0; without it, it is 60")
    return seconds


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
