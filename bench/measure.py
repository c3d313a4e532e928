"""Engines side by side on one work: each in a process of its own, in rounds, one at a time.

A round gives every engine a turn of some steps. Before each turn all are idle for a moment, so that no pool of threads
still spins. The order moves on by one with every round.
"""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from bench.engines import applies
from bench.processes import REST, Engine, EngineError
from bench.task import write

MOST_STEPS = 5000  # of one turn


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int = 7
    turn: float = 0.2  #: seconds of work in a turn, about; at least one step
    threads: int = 1


@dataclass
class Measured:
    """One work and phase, by all its engines."""

    work: object
    phase: str
    seconds: dict = field(default_factory=dict)  #: of a step, by engine: one number for each round
    peak_mb: dict = field(default_factory=dict)
    difference: dict = field(default_factory=dict)  #: from the median of the engines, relative to its largest entry
    failed: dict = field(default_factory=dict)  #: engine -> why it was not measured
    versions: dict = field(default_factory=dict)  #: engine -> version and threads
    others: float = 0.0  #: processors that other processes kept busy during the turns, on average

    def agrees(self, engine):
        return self.difference[engine] <= self.work.tolerance

    def median(self, engine):
        return float(np.median(self.seconds[engine]))

    def best(self, beginning=""):
        """The fastest peer that computes the same, among those whose names begin like this; None if there is none."""
        peers = [name for name in self.seconds if not name.startswith("chainrule") and name.startswith(beginning)]
        return min(filter(self.agrees, peers), key=self.median, default=None)

    def ratio(self, beginning=""):
        """The best peer's median over chainrule's; None where one of them is missing or computes something else."""
        best = self.best(beginning)
        if best is None or "chainrule" not in self.seconds or not self.agrees("chainrule"):
            return None
        return self.median(best) / self.median("chainrule")


def measure(work, phase, engines, settings, tell=lambda text: None):
    """Times the engines that have what the work needs.

    Args:
        tell: called with what is being done, whenever that changes.
    """
    found = Measured(work, phase)
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder, ExitStack() as stack:
        write(Path(folder), work, phase)
        running = {}
        tell("libraries are loaded")
        for name in engines:
            if applies(name, work):
                running[name] = stack.enter_context(Engine(name, folder, settings.threads))
        _each(running, found, lambda name, engine: found.versions.update({name: engine.answer()}))
        steps, results = {}, {}

        def first_steps(name, engine):
            tell(f"{name}: first steps")
            time.sleep(REST)
            said = engine.ask(do="check")
            results[name] = dict(np.load(said["file"]))
            steps[name] = max(1, min(MOST_STEPS, round(settings.turn / max(said["seconds"], 1e-9))))

        _each(running, found, first_steps)
        found.difference = differences(results)

        busy = OthersBusy()

        def take_turn(name, engine):
            time.sleep(REST)
            k = steps[name]
            busy.resume(engine.process)
            said = engine.ask(do="turn", untimed=max(1, k // 10), steps=k)
            busy.pause()
            steps[name] = max(1, min(MOST_STEPS, round(settings.turn * k / said["seconds"])))
            found.seconds.setdefault(name, []).append(said["seconds"] / k)
            found.peak_mb[name] = said["peak_mb"]

        for i in range(settings.rounds):
            tell(f"round {i + 1} of {settings.rounds}")
            names = list(running)
            first = i % max(1, len(names))
            _each({name: running[name] for name in names[first:] + names[:first]}, found, take_turn, alive=running)
        found.others = busy.processors()
    return found


def _each(engines, found, do, alive=None):
    """Calls `do` for each engine. One that fails is left out from then on, with its reason."""
    alive = engines if alive is None else alive
    for name, engine in list(engines.items()):
        try:
            do(name, engine)
        except EngineError as error:
            found.failed[name] = str(error)
            found.seconds.pop(name, None)
            del alive[name]


def differences(results):
    """How far each engine's numbers are from the median of all engines', relative to its largest entry.

    No engine is taken to be right. Of two that part, both are said to differ.
    """
    apart = dict.fromkeys(results, 0.0)
    for key in next(iter(results.values()), {}):
        arrays = {name: np.nan_to_num(found[key], nan=np.inf) for name, found in results.items()}
        middle = np.median(list(arrays.values()), axis=0)
        with np.errstate(invalid="ignore"):  # inf - inf
            for name, array in arrays.items():
                difference = np.abs(array - middle).max() / np.abs(middle).max()
                apart[name] = max(apart[name], np.inf if np.isnan(difference) else float(difference))
    return apart


class OthersBusy:
    """How busy processes other than the engine at work keep the processors, during the turns."""

    def __init__(self):
        self.wall = self.used = 0.0

    def resume(self, process):
        self.process = psutil.Process(process.pid)
        self.began = time.perf_counter(), self._others()

    def pause(self):
        self.wall += time.perf_counter() - self.began[0]
        self.used += self._others() - self.began[1]

    def _others(self):
        times, own = psutil.cpu_times(), self.process.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        virtual = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted as user's already
        return sum(times) - virtual - idle - own.user - own.system

    def processors(self):
        return max(0.0, self.used / self.wall) if self.wall else 0.0
