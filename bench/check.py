"""How well `chainrule check` names planted mistakes, beside two checkers that say only that something differs.

    python -m bench.check [--json FILE] [--quick] [--seeds N] [RULE ...]

Every rule and every mistake of `tests/planted` is diagnosed, and given to `torch.autograd.gradcheck` (slow mode, its
own tolerances) and to a relative error of centred differences as courses teach it (cs231n: h = 1e-5, threshold 1e-5).
These two can only notice; they have no names for what they notice. Where they raise, on a gradient of another shape for
example, that is counted apart. Each call of theirs starts the code afresh.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # the processes share the cores
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import planted
import torch
from planted import ops as planted_ops
from planted.validity import draw
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table
from torch.autograd.gradcheck import GradcheckError

from chainrule.check import CAUSES, diagnose
from chainrule.check.adapters import as_target
from chainrule.engine import OPS

H = THRESHOLD = 1e-5
QUICK = 10  # --quick takes every tenth mistake
OF_OP = "ops."  # before the name of an op: some rules have the same name
SAMPLE = 60  # mistakes whose verdict is compared over seeds


# ------------------------------------------------------------------------------------------------------- the checkers


@functools.cache
def cases(name):
    """The rule or op of this name, and the mistakes planted in it: triples (load, rule, mistake or None)."""
    if name.startswith(OF_OP):
        op = OPS[name.removeprefix(OF_OP)]
        right = [(rule, None) for rule in planted_ops.op_rules() if rule.op is op]
        return [(planted_ops.load, *pair) for pair in [*right, *planted_ops.op_mistakes(op)]]
    rule = next(rule for rule in planted.planted_rules() if rule.name == name)
    return [(planted.load, *pair) for pair in [(rule, None), *planted.planted_mistakes(rule)]]


def names():
    """Every rule's name and every op's."""
    return [rule.name for rule in planted.planted_rules()] + [OF_OP + name for name in OPS]


def judged(name, stride):
    """What the three checkers say of the rule of this name and of every `stride`-th mistake planted in it."""
    torch.set_num_threads(1)
    every = cases(name)
    right = [case for case in every if case[2] is None]
    wrong = [case for case in every if case[2] is not None]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        return [_judged(folder, *case) for case in right + wrong[::stride]]


def _judged(folder, load, rule, mistake):
    start = time.perf_counter()
    report = diagnose(load(rule, mistake, folder=folder), rule.inputs, shapes=rule.shapes, wrt=rule.wrt)
    seconds = time.perf_counter() - start
    subject = Subject(load(rule, mistake, folder=folder), rule)
    return {
        "rule": rule.name,
        "planted": mistake and mistake.causes,
        "gradient": mistake and mistake.gradient,
        "edit": mistake and mistake.new,
        "status": report.status,
        "named": report.findings[0].cause,
        "seconds": seconds,
        "torch": torch_says(subject),
        "differences": differences_say(subject),
    }


class Subject:
    """A target at a point, called by name: forward's inputs and the parameters."""

    def __init__(self, target, rule):
        self.target = as_target(target)
        self.values = dict(zip(self.target.arguments, draw(rule, np.random.default_rng(0)), strict=False))
        self.values |= self.target.parameters
        floats = [name for name, x in self.values.items() if x is not None and np.asarray(x).dtype.kind == "f"]
        wanted = None if rule.wrt is None else {*rule.wrt, *self.target.parameters}
        self.wrt = [name for name in floats if wanted is None or name in wanted]

    def forward(self, values):
        return self.target.start().forward(values)

    def backward(self, values, gy):
        session = self.target.start()
        session.forward(values)
        return session.backward(gy)


def torch_says(subject, fast_mode=False):
    """Of the code as a torch.autograd.Function: `"passes"`, `"notices"`, or the error for which it cannot judge."""

    class Planted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            y = subject.forward(_values(subject, tensors))
            return tuple(map(_tensor, y)) if isinstance(y, tuple) else _tensor(y)

        @staticmethod
        def backward(ctx, *gy):
            gy = tuple(each.numpy() for each in gy)
            found = subject.backward(_values(subject, ctx.saved_tensors), gy if len(gy) > 1 else gy[0])
            return tuple(None if found.get(k) is None else _tensor(found[k]) for k in subject.wrt)

    tensors = [torch.tensor(subject.values[name], requires_grad=True) for name in subject.wrt]
    try:
        torch.autograd.gradcheck(Planted.apply, tensors, fast_mode=fast_mode)
    except GradcheckError:
        return "notices"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "passes"


def _tensor(x):
    return torch.as_tensor(np.array(x, order="C"))  # torch takes no negative strides


def _values(subject, tensors):
    return subject.values | {k: x.detach().numpy() for k, x in zip(subject.wrt, tensors, strict=True)}


def differences_say(subject):
    """The same by the relative error of centred differences."""
    values = {name: np.array(x) for name, x in subject.values.items() if x is not None}
    try:
        y = subject.forward(values)
        gy = _upstream(y)
        found = subject.backward(values, gy)
        largest = max(relative_error(found.get(k), numeric_gradient(subject, values, k, gy)) for k in subject.wrt)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "passes" if largest <= THRESHOLD else "notices"


def _upstream(y):
    rng = np.random.default_rng(1)
    draw_one = lambda each: rng.standard_normal(np.shape(each))
    return tuple(map(draw_one, y)) if isinstance(y, tuple) else draw_one(y)


def numeric_gradient(subject, values, name, gy):
    x, gradient = values[name], np.zeros(np.shape(values[name]))
    for i in np.ndindex(x.shape):
        kept = x[i]
        ends = []
        for x[i] in (kept + H, kept - H):
            y = subject.forward(values)
            pairs = zip(y, gy, strict=True) if isinstance(y, tuple) else [(y, gy)]
            ends.append(sum(np.sum(a * b) for a, b in pairs))
        x[i] = kept
        gradient[i] = (ends[0] - ends[1]) / (2 * H)
    return gradient


def relative_error(a, b):
    """The course's: the largest |a - b| / max(1e-8, |a| + |b|)."""
    return np.max(np.abs(a - b) / np.maximum(1e-8, np.abs(a) + np.abs(b)), initial=0)


# --------------------------------------------------------------------------------------------------------- the tables


def in_processes(console, what, tasks):
    """The results of functions of no arguments, as they come, from as many processes as there are cores."""
    columns = (SpinnerColumn(), *Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with (
        Progress(*columns, console=console, transient=True) as progress,
        ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool,
    ):
        bar = progress.add_task(what, total=len(tasks))
        futures: list[Future] = [pool.submit(task) for task in tasks]
        for future in as_completed(futures):
            progress.advance(bar)
            yield future.result()


def show(console, rows):
    """The tables of a benchmark's rows."""
    right = [row for row in rows if not row["planted"]]
    wrong = [row for row in rows if row["planted"]]
    table = Table(title="planted mistakes", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("\ncause", no_wrap=True)
    for heading in ("\nplanted", "\nnamed", "\n%", "torch\nnotices", "\nraises", "rel.err.\nnotices", "\nraises"):
        table.add_column(heading, justify="right")
    causes = Counter(row["planted"][0] for row in wrong)
    for cause in sorted(causes, key=list(CAUSES).index):
        table.add_row(cause, *_counts([row for row in wrong if row["planted"][0] == cause]))
    table.add_section()
    table.add_row("all", *_counts(wrong), style="bold")
    console.print(table)
    console.print("named: the planted cause is the first that is said. The two on the right can only notice.")

    passed = [row for row in wrong if row["status"] == "correct"]
    accused = [row for row in right if row["status"] != "correct"]
    console.print(f"\n{len(passed)} of {len(wrong)} mistakes passed as correct, target 0")
    for row in passed:
        console.print(f"  {row['rule']}, {row['gradient']}: {row['edit']!r} ({row['planted'][0]})", markup=False)
    console.print(f"{len(accused)} of {len(right)} right rules accused, target 0")
    for row in accused:
        console.print(f"  {row['rule']}: {row['status']}, {row['named']}", markup=False)
    for checker, label in (("torch", "torch.autograd.gradcheck"), ("differences", "the relative error")):
        says = Counter(_short(row[checker]) for row in right)
        console.print(f"{label} accuses {says['notices']} right rules, raises on {says['raises']}")

    confused = Counter((row["planted"][0], row["named"]) for row in wrong if not _named(row))
    if confused:
        table = Table("planted", "named instead", "times", title="most frequent wrong names")
        for (cause, said), times in confused.most_common(15):
            table.add_row(cause, str(said), str(times))
        console.print(table)
    seconds = sorted(row["seconds"] for row in rows)
    slowest = max(rows, key=lambda row: row["seconds"])
    at_worst = f"worst {seconds[-1]:.2f} s ({slowest['rule']}, {slowest['planted'] and slowest['planted'][0]})"
    console.print(f"A diagnosis takes {statistics.median(seconds):.2f} s (median of {len(seconds)}), {at_worst}")


def _counts(rows):
    named = sum(map(_named, rows))
    counts = [str(len(rows)), str(named), f"{named / max(1, len(rows)):.1%}"]
    for checker in ("torch", "differences"):
        says = Counter(_short(row[checker]) for row in rows)
        counts += [str(says["notices"]), str(says["raises"])]
    return counts


def _named(row):
    return row["named"] in row["planted"]


def _short(verdict):
    return verdict if verdict in ("passes", "notices") else "raises"


# ---------------------------------------------------------------------------------------------------------- the seeds


def verdicts(name, place, seeds):
    """Status and first cause for every seed, of the case at this place among those of the rule."""
    load, rule, mistake = cases(name)[place]
    found = Counter[tuple]()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        for seed in range(seeds):
            report = diagnose(
                load(rule, mistake, folder=folder), rule.inputs, shapes=rule.shapes, wrt=rule.wrt, seed=seed
            )
            found[report.status, report.findings[0].cause] += 1
    return {"rule": rule.name, "edit": mistake and mistake.new, "verdicts": [[*key, n] for key, n in found.items()]}


def show_seeds(console, chosen, seeds):
    """Is the verdict on every right rule, and on some mistakes, the same for all seeds?"""
    right = [(name, 0) for name in chosen]
    wrong = [(name, i) for name in chosen for i, (_, _, mistake) in enumerate(cases(name)) if mistake]
    picked = wrong[:: max(1, len(wrong) // SAMPLE)][:SAMPLE]
    tasks = [functools.partial(verdicts, name, place, seeds) for name, place in right + picked]
    rows = list(in_processes(console, f"{seeds} seeds", tasks))
    varying = [row for row in rows if len(row["verdicts"]) > 1]
    console.print(f"\n{seeds} seeds: the verdict varies in {len(varying)} of {len(rows)} cases, target 0")
    for row in varying:
        console.print(f"  {row['rule']}, {row['edit']!r}: {row['verdicts']}", markup=False)
    return rows


# ---------------------------------------------------------------------------------------------------------- the speed


def linear_forward(x, w, b):
    return x @ w + b, (x, w)


def linear_backward(gy, cache):
    x, w = cache
    return gy @ w.T, x.T @ gy, gy.sum(axis=0)


def mean_linear_backward(gy, cache):
    x, w = cache
    return gy @ w.T, x.T @ gy / len(x), gy.sum(axis=0)


def speed():
    """Median seconds of each checker on linear layers, with one thread."""
    torch.set_num_threads(1)
    right, wrong = (linear_forward, linear_backward), (linear_forward, mean_linear_backward)
    small, large = "20 100, 100 50, 50", "20 1000, 1000 1000, 1000"
    rule = planted.Rule("linear", "", shapes=small)
    rng = np.random.default_rng(0)
    million = [rng.standard_normal(shape) for shape in ((20, 1000), (1000, 1000), (1000,))]
    timed = {
        "diagnose, right, 100 -> 50": (5, lambda: diagnose(right, shapes=small).status),
        "diagnose, wrong, 100 -> 50": (5, lambda: diagnose(wrong, shapes=small).status),
        "torch slow mode, 100 -> 50": (3, lambda: torch_says(Subject(right, rule))),
        "torch fast mode, 100 -> 50": (5, lambda: torch_says(Subject(right, rule), fast_mode=True)),
        f"diagnose, right, {large}": (3, lambda: diagnose(right, million).status),
    }
    return {what: _median(repeats, run) for what, (repeats, run) in timed.items()}


def _median(repeats, run):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        said = run()
        seconds.append(time.perf_counter() - start)
    return {"median": statistics.median(seconds), "repeats": repeats, "says": said}


def show_speed(console, found):
    table = Table("20 inputs through a linear layer, one thread", "says", title="speed")
    table.add_column("median", justify="right")
    table.add_column("of", justify="right")
    for what, result in found.items():
        table.add_row(what, result["says"], f"{result['median']:.3f} s", str(result["repeats"]))
    console.print(table)


def machine():
    """What `chainrule doctor` says of processor and versions."""
    said = subprocess.run([sys.executable, "-m", "chainrule", "doctor", "--json"], capture_output=True, check=True)
    found = {each["topic"]: each["found"] for each in json.loads(said.stdout)["findings"]}
    chosen = {topic: found[topic] for topic in ("processor", "BLAS", "numpy")}
    return chosen | {"Python": sys.version.split()[0], "torch": torch.__version__}


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.check", description="planted mistakes, and who names them")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="only these rules and ops, without the speed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every verdict and time to FILE")
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK}th mistake of a rule, no speed")
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="compare the verdicts of N seeds in a row")
    given = parser.parse_args()
    unknown = set(given.rules) - set(names())
    if unknown:
        parser.error(f"no rule or op is called {', '.join(sorted(unknown))}; expected some of: {', '.join(names())}")

    console = Console()
    result = {"machine": machine()}
    console.print(", ".join(f"{topic} {found}" for topic, found in result["machine"].items()), highlight=False)
    chosen = given.rules or names()
    tasks = [functools.partial(judged, name, QUICK if given.quick else 1) for name in chosen]
    parts = list(in_processes(console, "rules and ops", tasks))
    result["rows"] = [row for part in parts for row in part]
    show(console, result["rows"])
    if given.seeds:
        result["seeds"] = show_seeds(console, chosen, given.seeds)
    if not given.quick and not given.rules:
        result["speed"] = speed()
        show_speed(console, result["speed"])
    if given.json:
        given.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
