"""One run of a sweep in a process of its own, wherever joblib has it executed: in a thread here, on a cluster's worker.

A process of its own has its own number of threads, which BLAS and kernels fix when they are loaded; it takes nothing
along from the run before; and one that is killed, for memory say, takes no other run with it. What happens to it is
read off files, which a shared file system brings to every machine.
"""

import _thread
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chainrule import processor
from chainrule.data.fetch import ENVIRONMENT
from chainrule.errors import UserError
from chainrule.files import naming_the_file, write_atomically
from chainrule.train import TrainConfig, checkpoint, events, folder, resume, run

LOOK = 0.25  # seconds between two looks at a file
INTERRUPTED = 130  # exit code after Ctrl-C
LOSSES = 3  # processes of a run that may be killed before it counts as failed
PROCESS = "from chainrule.lab.jobs import main; main()"


@dataclass(frozen=True, slots=True)
class Job:
    """A run and where its files are: all that a worker is told. Paths are the same on every machine."""

    run_dir: str
    log_dir: str  #: for what its processes leave besides the run
    stop_file: str  #: once it is there, the run is saved and stopped
    config: dict[str, Any]
    tries: int  #: how often it may fail
    threads: int | None  #: None: as many as the cluster gives its workers, OMP_NUM_THREADS or 1
    cwd: str
    data: str | None  #: CHAINRULE_DATA where a worker has none
    failed_before: int | None  #: `failed_at` of an earlier sweep's error, which counts no more

    @property
    def finished(self) -> bool:
        """Is the run complete?"""
        return result_of(Path(self.run_dir)) is not None

    @property
    def error(self) -> str | None:
        """What its last try in this sweep failed with, in one line."""
        return error_of(Path(self.log_dir), self.failed_before)

    @property
    def ended(self) -> bool:
        """Is there nothing left to do?"""
        return self.finished or self.error is not None

    def forget_error(self) -> None:
        """Before it is tried again."""
        (Path(self.log_dir) / "error.txt").unlink(missing_ok=True)

    @property
    def stopped(self) -> bool:
        """Was it asked to stop?"""
        return Path(self.stop_file).exists()


def work(job: Job) -> None:
    """Takes a run to its end, from wherever it is; a failure is left in `error.txt` of its log folder.

    A process that is killed is replaced. Returns early once the run is asked to stop, and then it is saved.

    Raises `UserError` on a machine that does not see the sweep's folder.
    """
    if not (Path(job.run_dir).parent.is_dir() and Path(job.cwd).is_dir()):
        raise UserError(
            f"the worker on {platform.node()} sees no {Path(job.run_dir).parent} or no {job.cwd}: "
            "all machines need the same paths, on a shared file system"
        )
    failures = losses = 0
    while failures < job.tries and not job.finished and not job.stopped:
        code = _in_a_process_of_its_own(job)
        if job.finished or job.stopped:
            return
        if code < 0 or code == INTERRUPTED:
            losses += 1
            if losses < LOSSES:
                continue
            how = signal.Signals(-code).name if code < 0 else signal.SIGINT.name
            _leave_error(job, f"its process was ended by {how} {LOSSES} times: out of memory?")
        elif job.error is None:
            _leave_error(job, f"its process left with code {code} and no message but {job.log_dir}/output.txt")
        failures, losses = failures + 1, 0


def _in_a_process_of_its_own(job: Job) -> int:
    """Its exit code: 0 finished, 1 failed, 130 stopped, negative for the signal that killed it."""
    log_dir = Path(job.log_dir)
    with naming_the_file(log_dir):
        log_dir.mkdir(parents=True, exist_ok=True)
    told = json.dumps(asdict(job) | {"parent": os.getpid()}).encode()
    try:
        with naming_the_file(log_dir / "output.txt"), open(log_dir / "output.txt", "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROCESS, job.run_dir],  # the folder is there for those who look at `ps`
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=job.cwd,
                env=_variables(job),
                start_new_session=True,  # a Ctrl-C in the terminal reaches it through the stop file, once
            )
        process.communicate(told)
        return process.returncode
    finally:
        (log_dir / "progress.json").unlink(missing_ok=True)


def _variables(job: Job) -> dict[str, str]:
    """The environment of a run's process.

    One number of threads holds for all libraries: with several they would wait for each other's. An OMP_NUM_THREADS
    that is inherited is meant for one process, not for each of many: it counts only where no share is given.
    """
    given = os.environ.get(processor.THREADS) or job.threads or os.environ.get("OMP_NUM_THREADS", "1").partition(",")[0]
    data = {} if job.data is None else {ENVIRONMENT: job.data}
    return data | os.environ | dict.fromkeys((processor.THREADS, *processor.OTHER_THREADS), str(given))


# ----------------------------------------------------------------------------------------------- in the run's process


def main() -> None:
    """The run's own process: reads the job from standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    told = json.load(sys.stdin)
    parent = told.pop("parent")
    job = Job(**told)
    threading.Thread(target=_stop_when_asked, args=(job, parent), daemon=True).start()
    try:
        with _alone(job):
            job.forget_error()
            _to_the_end(job)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        _leave_error(job, message, traceback.format_exc())
        sys.exit(1)


def _to_the_end(job: Job) -> None:
    run_dir, config = Path(job.run_dir), TrainConfig(**job.config)
    listeners = [_Progress(Path(job.log_dir) / "progress.json")]
    if job.finished:
        return
    if run_dir.exists() and not (run_dir / "config.yaml").exists():  # killed while the folder was made
        shutil.rmtree(run_dir)
    if _damaged(run_dir):
        _set_aside(run_dir, Path(job.log_dir))
    if run_dir.exists():
        resume(run_dir, listeners=listeners)
    else:
        run(config, run_dir=run_dir, listeners=listeners)


def _damaged(run_dir: Path) -> bool:
    """Whether there is a checkpoint to go on from that cannot be read."""
    paths = [folder.checkpoint_path(run_dir, kind) for kind in ("last", "best")]
    try:
        for path in filter(Path.exists, paths):
            checkpoint.load(path)
    except UserError:
        return True
    return False


def _set_aside(run_dir: Path, log_dir: Path) -> None:
    number = sum(1 for _ in log_dir.glob("damaged-*")) + 1
    with naming_the_file(log_dir):
        run_dir.rename(log_dir / f"damaged-{number}")


def _alone(job: Job) -> ExitStack:
    """Waits until no other process trains this run: one of a worker that was given up may still be saving it."""
    held = ExitStack()
    while True:
        try:
            held.enter_context(folder.in_use(Path(job.log_dir)))
            return held
        except UserError:
            time.sleep(LOOK)


def _stop_when_asked(job: Job, parent: int) -> None:
    """Ctrl-C for this process once the sweep is stopped, or the worker that started it is gone."""
    while not job.stopped and os.getppid() == parent:
        time.sleep(LOOK)
    _thread.interrupt_main()  # no real signal: Ray's workers hand down a mask that blocks it


def _leave_error(job: Job, message: str, trace: str = "") -> None:
    line = " ".join(message.split())
    write_atomically(Path(job.log_dir) / "error.txt", f"{line}\n\n{trace}".encode())


class _Progress:
    """A listener that writes how far a run is, for those who watch the sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = -math.inf
        self.facts: dict[str, Any] = {"val_accuracy": None}

    def __call__(self, event: events.Event) -> None:
        now = time.monotonic()
        match event:
            case events.Started():
                self.facts |= {"step": event.step, "total_steps": event.total_steps}
            case events.StepDone():
                self.facts["step"] = event.step
                if now - self.written < LOOK:
                    return
            case events.Evaluated() if event.validation:
                self.facts["val_accuracy"] = event.validation.accuracy
            case _:
                return
        self.written = now
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.facts))
        temporary.replace(self.path)


def result_of(run_dir: Path) -> dict[str, Any] | None:
    """The figures of a finished run; None where it is not finished, or they cannot be read."""
    return _read_json(run_dir / "result.json")


def error_of(log_dir: Path, failed_before: int | None = None) -> str | None:
    """What a run failed with, in one line; None if it did not fail, or not since that time."""
    try:
        if failed_at(log_dir) == failed_before:
            return None
        return (log_dir / "error.txt").read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return None


def failed_at(log_dir: Path) -> int | None:
    """When a run failed, as its file system counts time; None if it did not fail."""
    try:
        return (log_dir / "error.txt").stat().st_mtime_ns
    except OSError:
        return None


def progress_of(log_dir: Path) -> dict[str, Any] | None:
    """How far a run is that is being trained."""
    return _read_json(log_dir / "progress.json")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
