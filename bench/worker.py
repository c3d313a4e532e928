"""The process of one engine: it prepares the step of a task, then takes steps when it is told to.

    python -m bench.worker ENGINE FOLDER

Requests and answers are lines of JSON on standard input and output:

    (at the start)                      {"version": "torch 2.13.0", "threads": 2}
    {"do": "check"}                     {"file": "torch.npz", "seconds": 0.01}     results to compare, and a step's time
    {"do": "turn", "steps": 10, ...}    {"seconds": 0.1, "peak_mb": 400.0}         of all steps together
"""

import importlib
import json
import os
import sys
import time
from itertools import cycle
from pathlib import Path

from bench.engines import ENGINES
from bench.task import STEPS_COMPARED, read
from bench.works import TRAIN

COMPARED = 10_000  # of an optimizer's parameters, about as many entries of each are compared


def main(engine, folder):
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print does not get between the answers
    module, variant = ENGINES[engine]
    library = importlib.import_module(f"bench.engines.{module}")
    forget_peak()
    task = read(folder)
    step, batches = library.prepare(task, variant)
    batches = cycle(batches)
    print(json.dumps({"version": library.VERSION, "threads": threads()}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "check":
            answer = check(step, batches, task, Path(folder) / f"{engine}.npz")
        else:
            answer = turn(step, batches, request["untimed"], request["steps"])
        print(json.dumps(answer), file=answers)


def turn(step, batches, untimed, steps):
    """The time of all steps together, so that no cost is left out (the garbage collector's for one)."""
    for _ in range(untimed):  # caches, sleeping threads, the clock frequency
        step(*next(batches))
    began = time.perf_counter()
    for _ in range(steps):
        step(*next(batches))
    return {"seconds": time.perf_counter() - began, "peak_mb": peak_mb()}


def check(step, batches, task, file):
    """Takes the first steps, writes what they give to `file`, and says how long the last one took."""
    import numpy as np

    results, seconds = [], 0.0
    for _ in range(1 + STEPS_COMPARED if task.phase == TRAIN and task.work.kind != "op" else len(task.batches)):
        batch = next(batches)
        began = time.perf_counter()
        results.append(step(*batch))
        seconds = time.perf_counter() - began
    match task.work.kind, task.phase:
        case ("op", _):
            found = {f"{i}": np.asarray(each) for i, each in enumerate(_tuple(results[-1]))}
        case ("optimizer", _):
            flat = [np.asarray(each).ravel() for each in results[-1]]
            found = {f"parameter {i}": each[:: max(1, each.size // COMPARED)] for i, each in enumerate(flat)}
        case (_, "train"):
            found = {"loss": np.array(results)}
        case _:
            found = {f"log p, batch {i}": _log_softmax(np.asarray(each)) for i, each in enumerate(results)}
    np.savez(file, **found)
    return {"file": str(file), "seconds": seconds}


def _tuple(result):
    return result if isinstance(result, tuple) else (result,)


def _log_softmax(logits):
    import numpy as np

    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def threads():
    """The threads of the largest pool of the libraries loaded, as far as threadpoolctl knows them."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info()), default=None)


def forget_peak():
    """Linux: lets the peak of this process be what it holds now."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        try:
            path.write_text("5")
        except OSError:
            return  # some containers forbid it: the peak is then that of the import too


def peak_mb():
    """The most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 2**10 for line in status.read_text().splitlines() if "VmHWM" in line)
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 2**20 if sys.platform == "darwin" else held / 2**10  # bytes there, kibibytes elsewhere


if __name__ == "__main__":
    main(*sys.argv[1:])
