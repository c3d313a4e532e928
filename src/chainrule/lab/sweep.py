"""Many runs, of many settings with the same seeds, taken to their end by joblib: here, or on a Dask or Ray cluster.

The folder is all that a sweep knows. Every run is a run folder of its own, under the hash of its config; whatever
stops a sweep, the next one finds what is finished, goes on with what was begun, and begins the rest.

sweep.yaml       what was asked for last; `read_plan` reads it
runs.csv         a line for each run, without the test part
<key>/           a run folder, as `train.run` makes it
logs/<key>/      output.txt, error.txt, progress.json of its processes
"""

import csv
import io
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule.data.fetch import ENVIRONMENT
from chainrule.errors import UsageError, UserError
from chainrule.files import naming_the_file, write_atomically
from chainrule.lab.jobs import Job, error_of, failed_at, progress_of, result_of, work
from chainrule.lab.plan import Plan, PlannedRun, family, in_short
from chainrule.lab.remarks import edge, end_of_range
from chainrule.train import Listener, Remark, TrainConfig
from chainrule.train.folder import RUNS, checkpoint_path, in_use
from chainrule.train.interrupt import first_ctrl_c
from chainrule.train.runs import load_data

BACKENDS = ("local", "dask", "ray")
STOP = "stop"  # name of the file at which runs are saved and ended
INTERVAL = 0.5  # seconds between two looks at the runs
FRUITLESS = 3  # times that all workers may be lost without any run getting farther
REACHED_WITHIN = 10  # seconds for a cluster's scheduler to answer


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep, as its folder shows it."""

    key: str
    run_dir: str
    seed: int
    state: Literal["finished", "failed", "begun", "new"]
    error: str | None  #: of a failed one, in one line; all of it is in `log_dir`
    log_dir: str
    val_accuracy: float | None
    val_loss: float | None
    train_loss: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: the means over its finished runs, `n` of them. None where there are no such figures."""

    values: dict[str, Any]
    n: int
    val_accuracy: float | None
    val_loss: float | None
    train_loss: float | None
    seconds: float | None
    runs: tuple[SweepRun, ...]

    @property
    def complete(self) -> bool:
        """Is every one of its runs finished?"""
        return self.n == len(self.runs)

    @property
    def failed(self) -> int:
        """How many of its runs failed."""
        return sum(run.state == "failed" for run in self.runs)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep as its folder shows it: the settings, the best first.

    The best is chosen among the settings of which every run is finished, by what the runs themselves choose by. The
    test part chooses nothing: only the best setting's is looked at.
    """

    sweep_dir: str
    dataset: str
    varied: tuple[str, ...]
    seeds: tuple[int, ...]
    chosen_by: Literal["validation accuracy", "training loss"]
    settings: tuple[Setting, ...]
    best: Setting | None
    best_test_accuracy: float | None  #: mean over the seeds of the best setting
    remarks: tuple[Remark, ...]

    @property
    def runs(self) -> tuple[SweepRun, ...]:
        """All runs."""
        return tuple(run for setting in self.settings for run in setting.runs)

    def count(self, state: str) -> int:
        """How many runs are in this state."""
        return sum(run.state == state for run in self.runs)


@dataclass(frozen=True, slots=True)
class Running:
    """A run that is being trained."""

    values: dict[str, Any]
    seed: int
    step: int
    total_steps: int
    val_accuracy: float | None  #: at the latest evaluation


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is: what `sweep` tells those who watch, twice a second."""

    sweep: Sweep
    running: tuple[Running, ...]
    seconds_left: float | None  #: None until there is something to judge it by


def sweep(
    plan: Plan,
    *,
    sweep_dir: str | Path | None = None,
    jobs: int | None = None,
    backend: str = "local",
    address: str | None = None,
    retry: int = 0,
    progress: Callable[[Progress], None] = lambda progress: None,
    listeners: Sequence[Listener] = (),
) -> Sweep:
    """Takes every run of the plan to its end. What is finished is not run again; what was begun goes on, bit for bit.

    Args:
        plan: what to try.
        sweep_dir: where everything is written (default: a folder in `runs` named for the data set and the plan, see
            `plan.family`).
        jobs: runs at a time (default: the cores of this machine, or all that the cluster takes). Here they share the
            cores out; CHAINRULE_NUM_THREADS, where it is set, is each one's number of threads instead.
        backend: "local"; "dask" or "ray" for a cluster whose machines have this version of chainrule and see the same
            folders under the same paths.
        address: the cluster's; without one, Ray is started on this machine.
        retry: how often a run that fails is tried again. Runs that failed in an earlier sweep are left as they are if
            this is 0; otherwise each keeps its error until it is begun again.
        progress: told how far it is, on a thread of its own; what it raises stops the sweep and is raised here.
        listeners: told of the data sets' downloads, before the first run.

    Ctrl-C (on the main thread) saves the runs in progress and raises `KeyboardInterrupt`; a second one does not wait.

    Raises:
        UsageError: the plan, the data or the backend's name make no sense.
        UserError: the folder is in use by another sweep or cannot be written, the cluster cannot be reached, or its
            workers are lost again and again.

    >>> import tempfile
    >>> plan = Plan({"dataset": "moons", "max_steps": 3}, grid={"hidden": [2, 4]})
    >>> found = sweep(plan, sweep_dir=tempfile.mkdtemp(), jobs=1)
    >>> found.count("finished"), found.chosen_by
    (2, 'validation accuracy')
    """
    from joblib import cpu_count

    _check(backend, address, jobs, retry)
    planned = plan.runs()
    root = folder_of(planned, sweep_dir)
    wanted = ("new", "begun", "failed") if retry else ("new", "begun")
    todo = [(run, seen) for run in planned if (seen := _seen(run, root)).state in wanted]
    _load_once([run.config for run, _ in todo], listeners)
    with naming_the_file(root):
        root.mkdir(parents=True, exist_ok=True)
    with in_use(root):
        write_atomically(root / "sweep.yaml", plan.to_yaml().encode())
        stop_file = root / STOP
        for stale in [stop_file, *root.glob("logs/*/progress.json")]:
            stale.unlink(missing_ok=True)
        threads = None
        if backend == "local":
            cores = cpu_count()
            jobs = min(jobs or cores, len(planned))
            threads = max(1, cores // jobs)
        made = _jobs(todo, root, threads=threads, retry=retry)
        with (
            first_ctrl_c(stop_file.touch),  # at which runs are saved and ended
            _Watch(plan, planned, made, root, progress),
            _workers(backend, address, jobs) as call,
        ):
            _take_to_the_end(made, stop_file, call)
        found = look(plan, root)
        write_atomically(root / "runs.csv", _csv(found).encode())
        stopped = stop_file.exists()
        stop_file.unlink(missing_ok=True)
        if stopped and not all(job.ended for job in made):
            raise KeyboardInterrupt
        return found


def folder_of(runs: Sequence[PlannedRun], sweep_dir: str | Path | None) -> Path:
    """The folder of a sweep, as an absolute path: the one given, or the one in `runs`."""
    return (RUNS / family(runs) if sweep_dir is None else Path(sweep_dir)).absolute()


def look(plan: Plan, sweep_dir: str | Path | None = None) -> Sweep:
    """The sweep as its folder shows it now, without running anything; the folder need not exist.

    >>> look(Plan({"dataset": "moons"}, grid={"hidden": [2, 4]}, seeds=3), "/no/such/folder").count("new")
    6
    """
    runs = plan.runs()
    root = folder_of(runs, sweep_dir)
    return _summary(plan, runs, [_seen(run, root) for run in runs], root)


# ----------------------------------------------------------------------------------------------- what the folder shows


def _seen(planned: PlannedRun, root: Path, failed_before: int | None = None) -> SweepRun:
    """A run as its folder shows it; an error of that time is none."""
    run_dir, log_dir = root / planned.key, root / "logs" / planned.key
    result, error = result_of(run_dir), None
    state: Literal["finished", "failed", "begun", "new"] = "finished"
    if result is None:
        error = error_of(log_dir, failed_before)
        state = "failed" if error is not None else "begun" if (run_dir / "config.yaml").exists() else "new"
    figures = {name: (result or {}).get(name) for name in ("val_accuracy", "val_loss", "train_loss", "seconds")}
    return SweepRun(planned.key, str(run_dir), planned.seed, state, error, str(log_dir), **figures)


def _summary(plan: Plan, planned: Sequence[PlannedRun], seen: Sequence[SweepRun], root: Path) -> Sweep:
    settings = [_setting(planned[i].values, seen[i : i + plan.seeds]) for i in range(0, len(planned), plan.seeds)]
    finished = [run for run in seen if run.state == "finished"]
    validated = not finished or any(run.val_accuracy is not None for run in finished)
    settings.sort(key=lambda setting: _rank(setting, validated))
    best = settings[0] if settings[0].complete and _rank(settings[0], validated)[1] < math.inf else None
    test = [(result_of(Path(run.run_dir)) or {}).get("test_accuracy") for run in best.runs] if best else []
    return Sweep(
        sweep_dir=str(root),
        dataset=planned[0].config.dataset,
        varied=plan.varied,
        seeds=tuple(run.seed for run in planned[: plan.seeds]),
        chosen_by="validation accuracy" if validated else "training loss",
        settings=tuple(settings),
        best=best,
        best_test_accuracy=_mean(test),
        remarks=tuple(_remarks(plan, settings, best, validated)),
    )


def _setting(values: dict[str, Any], runs: Sequence[SweepRun]) -> Setting:
    finished = [run for run in runs if run.state == "finished"]
    return Setting(
        values=values,
        n=len(finished),
        val_accuracy=_mean([run.val_accuracy for run in finished]),
        val_loss=_mean([run.val_loss for run in finished]),
        train_loss=_mean([run.train_loss for run in finished]),
        seconds=_mean([run.seconds for run in finished]),
        runs=tuple(runs),
    )


def _mean(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return float(np.mean(known)) if known and len(known) == len(figures) else None


def _rank(setting: Setting, validated: bool) -> tuple[bool, float, float]:
    """The lower the better: settings with all their runs first, then as a run chooses among its evaluations."""
    accuracy = None if setting.val_accuracy is None else -setting.val_accuracy
    score = (accuracy, setting.val_loss) if validated else (setting.train_loss, 0.0)
    first, second = (math.inf if figure is None else figure for figure in score)
    return not setting.complete, first, second


def _remarks(plan: Plan, settings: Sequence[Setting], best: Setting | None, validated: bool) -> Iterator[Remark]:
    if best is not None:
        for name in plan.varied:
            value, tried = best.values[name], [setting.values[name] for setting in settings]
            chosen_by = "validation accuracy" if validated else "training loss"
            drawn_from = plan.ranges.get(name)
            at_end = end_of_range(name, value, drawn_from) if drawn_from else edge(name, value, tried, chosen_by)
            if at_end:
                yield at_end
    if not validated:
        yield Remark(
            "no-validation",
            "There is no validation part: the order is by training loss, which favours learning by heart. "
            "--val-size 0.1 keeps a tenth of the training set for validation.",
        )
    if plan.seeds == 1 and len(settings) > 1:
        yield Remark(
            "one-seed", "One run for each setting: which is better may be chance. --seeds 5 repeats all of them."
        )
    lacking = sum(setting.failed > 0 for setting in settings)
    if lacking:
        yield Remark(
            "failed",
            f"{lacking} of {len(settings)} settings have runs that failed; the best is chosen among the others.",
        )


def _csv(found: Sweep) -> str:
    written = io.StringIO()
    columns = ("key", "seed", "state", "val_accuracy", "val_loss", "train_loss", "seconds", "error")
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow([*found.varied, *columns])
    for setting in found.settings:
        values = [in_short(value) for value in setting.values.values()]
        lines.writerows([*values, *(getattr(run, column) for column in columns)] for run in setting.runs)
    return written.getvalue()


class _Watch:
    """A thread that looks at the folder twice a second and tells how far the sweep is.

    If it fails, or those who are told do, the sweep is stopped, and the failure raised once the runs are saved.
    """

    def __init__(
        self,
        plan: Plan,
        planned: Sequence[PlannedRun],
        jobs: Sequence[Job],
        root: Path,
        tell: Callable[[Progress], None],
    ) -> None:
        self.plan, self.planned, self.root, self.tell = plan, planned, root, tell
        self.failed_before = {Path(job.run_dir).name: job.failed_before for job in jobs}
        self.finished: dict[str, SweepRun] = {}
        self.share_at_first: dict[str, float] = {}  # of each run's steps, when this sweep began or went on with it
        self.failure: Exception | None = None
        self.began = time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.over.set()
        self.thread.join()
        if self.failure is not None and kind is None:
            raise self.failure

    def seen(self) -> list[SweepRun]:
        """Every run as its folder shows it, without errors that are to be tried again; a finished one is read once."""
        found = [
            self.finished.get(run.key) or _seen(run, self.root, self.failed_before.get(run.key)) for run in self.planned
        ]
        self.finished.update((run.key, run) for run in found if run.state == "finished")
        return found

    def _watch(self) -> None:
        try:
            while not self.over.is_set():
                self.tell(self._progress())
                self.over.wait(INTERVAL)
            self.tell(self._progress())
        except Exception as failure:
            self.failure = failure
            (self.root / STOP).touch()

    def _progress(self) -> Progress:
        seen, running, done, left = self.seen(), [], 0.0, 0.0
        for planned, run in zip(self.planned, seen, strict=True):
            facts = progress_of(Path(run.log_dir)) if run.state in ("begun", "new") else None
            share = float(run.state in ("finished", "failed"))
            if facts is not None:
                share = facts["step"] / max(1, facts["total_steps"])
                running.append(Running(planned.values, planned.seed, **facts))
            if facts is not None or run.state != "begun":  # one that goes on says from where once it has started
                self.share_at_first.setdefault(run.key, share)
            done += share - self.share_at_first.get(run.key, share)
            left += 1 - share
        seconds = (time.monotonic() - self.began) * left / done if done else None
        return Progress(_summary(self.plan, self.planned, seen, self.root), tuple(running), seconds)


# --------------------------------------------------------------------------------------------------- how they are run


def _check(backend: str, address: str | None, jobs: int | None, retry: int) -> None:
    if backend not in BACKENDS:
        raise UsageError(
            f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}: it says where the runs go. "
            "Whose loops compute them is a setting like others, as in --grid backend=numpy"
        )
    if backend == "local" and address is not None:
        raise UsageError(f"the address {address} is of no use here: give --backend dask or --backend ray with it")
    if backend == "dask" and address is None:
        raise UsageError("the backend dask needs the address of a scheduler, such as --address tcp://10.0.0.1:8786")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}, expected at least 1")
    if retry < 0:
        raise UsageError(f"retry is {retry}, expected at least 0")


def _load_once(configs: Sequence[TrainConfig], listeners: Sequence[Listener]) -> None:
    """Loads each data set: what is missing is found out, and downloaded, before many processes want it."""
    for config in {(config.dataset, config.data_dir): config for config in configs}.values():
        load_data(config, listeners)


def _jobs(todo: Sequence[tuple[PlannedRun, SweepRun]], root: Path, *, threads: int | None, retry: int) -> list[Job]:
    return [
        Job(
            run_dir=run.run_dir,
            log_dir=run.log_dir,
            stop_file=str(root / STOP),
            config=planned.config.model_dump(mode="json"),
            tries=retry + (run.state != "failed"),
            threads=threads,
            cwd=os.getcwd(),
            data=os.environ.get(ENVIRONMENT),
            failed_before=failed_at(Path(run.log_dir)),
        )
        for planned, run in todo
    ]


def _take_to_the_end(jobs: Sequence[Job], stop_file: Path, call: Callable[[Sequence[Job]], None]) -> None:
    """Has the jobs done, again and again where workers are lost, until every one is finished or has failed."""
    fruitless, before, lost = 0, None, ""
    while not stop_file.exists() and (left := [job for job in jobs if not job.ended]):
        now = {job.run_dir: _saved_at(job) for job in left}
        fruitless, before = fruitless + 1 if now == before else 0, now
        if fruitless == FRUITLESS:
            raise UserError(f"{len(left)} runs got no farther in {FRUITLESS} attempts, their workers were lost{lost}")
        try:
            call(left)
        except UserError:
            raise
        except Exception as error:  # each backend has its own for a worker that is gone
            lost = f": {type(error).__name__}: {error}"


def _saved_at(job: Job) -> int:
    """When the run was last saved, 0 if it never was."""
    path = checkpoint_path(Path(job.run_dir), "last")
    return path.stat().st_mtime_ns if path.exists() else 0


@contextmanager
def _workers(backend: str, address: str | None, jobs: int | None) -> Iterator[Callable[[Sequence[Job]], None]]:
    """What has joblib do jobs on the backend. In all three a job is a function that waits for a process of its own."""
    import joblib

    with ExitStack() as opened:
        options: dict[str, Any] = {"backend": "threading", "n_jobs": jobs}
        if backend == "dask":
            options = {"backend": "dask", "client": opened.enter_context(_dask(address))}
        elif backend == "ray":
            slots = opened.enter_context(_ray(address))
            options = {"backend": "ray", "n_jobs": jobs or slots}

        def call(left: Sequence[Job]) -> None:
            with joblib.parallel_config(**options):
                # Dask takes as many at a time as are dispatched, whatever n_jobs is.
                joblib.Parallel(batch_size=1, pre_dispatch=jobs or "all")(joblib.delayed(work)(job) for job in left)

        yield call


def _dask(address: str | None) -> Any:
    """A client of the scheduler; a context manager."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError("the backend dask needs its extra: pip install 'chainrule[dask]'") from None
    try:
        return Client(address, timeout=REACHED_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {address}: {error}") from error


@contextmanager
def _ray(address: str | None) -> Iterator[int]:
    """A connection to Ray, started here if there is no address of a cluster; the number of its processors."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise UserError("the backend ray needs its extra: pip install 'chainrule[ray]'") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}") from error
    try:
        register_ray()
        yield int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()
