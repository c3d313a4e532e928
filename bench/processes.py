"""The processes that are measured. NumPy is not imported here: what runs in them may have to load first."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from bench import ENVIRONMENT

ROOT = Path(__file__).parents[1]
REST = 0.06  # seconds; OpenBLAS's threads spin for 26 ms at 2.6 GHz, GNU's OpenMP for less


class EngineError(Exception):
    """An engine's process has ended; the message is the last line that it wrote."""


class Engine:
    """A worker process. `variables` are added to its environment."""

    def __init__(self, name, folder, threads, **variables):
        self.log = Path(folder, f"{name}.log").open("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env=environment(threads) | variables,
        )
        if hasattr(os, "sched_setaffinity") and threads < len(os.sched_getaffinity(0)):
            os.sched_setaffinity(self.process.pid, sorted(os.sched_getaffinity(0))[:threads])

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            said = [line.strip() for line in self.log if line.strip()]
            raise EngineError(said[-1] if said else f"ended with status {self.process.returncode}, without a word")
        return json.loads(line)

    def ask(self, **request):
        with suppress(BrokenPipeError):  # its last words are in the log
            print(json.dumps(request), file=self.process.stdin)
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def environment(threads):
    """What the process of every engine starts with: one number of threads for every library's pool."""
    pools = (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS",
        "CHAINRULE_NUM_THREADS",
        "NPROC", "PJRT_NPROC",  # JAX
        "CPU_COUNT",  # tinygrad
    )  # fmt: skip
    return ENVIRONMENT | dict.fromkeys(pools, str(threads)) | {"JAX_PLATFORMS": "cpu"}


def last_line(command, threads):
    """What a module of the benchmark prints at last, as JSON, run in a process of its own.

    Raises `EngineError` if it fails.
    """
    said = subprocess.run(
        [sys.executable, "-m", *command], env=environment(threads), cwd=ROOT, capture_output=True, text=True
    )
    if said.returncode:
        lines = said.stderr.strip().splitlines()
        raise EngineError(f"{' '.join(command)}: {lines[-1] if lines else f'status {said.returncode}'}")
    return json.loads(said.stdout.splitlines()[-1])
