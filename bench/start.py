"""From the start of the process through the import to the first training step, with warm and with cold kernels.

A cold start finds an empty folder where chainrule keeps its compiled kernels (CHAINRULE_CACHE). A warm one finds what
the one before it left there. Every start is a process of its own.
"""

import statistics
import tempfile
import time
from pathlib import Path

from rich.table import Table
from rich.text import Text

from bench.processes import REST, Engine
from bench.task import write
from bench.works import TRAIN

WORKS = ("vu-2023", "convnet-uva-2018")
STARTS = {"chainrule, warm": "chainrule", "chainrule, cold": "chainrule", "torch": "torch", "jax": "jax"}
LIMITS = {"chainrule, warm": 1.0, "chainrule, cold": 20.0}


def measured(works, settings, tell):
    """A row for each work and start: medians in seconds."""
    rows = []
    for work in works:
        with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
            write(Path(folder), work, TRAIN)
            warm = Path(folder, "warm")
            warm.mkdir()
            seconds = {name: [] for name in STARTS}
            started(folder, "chainrule", settings.threads, warm)
            for i in range(settings.rounds):
                for name, engine in STARTS.items():
                    tell(f"{work.name}: {name}, {i + 1} of {settings.rounds}")
                    time.sleep(REST)
                    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as cold:
                        seconds[name].append(
                            started(folder, engine, settings.threads, cold if "cold" in name else warm)
                        )
        for name, pairs in seconds.items():
            ready, stepped = (statistics.median(each) for each in zip(*pairs, strict=True))
            rows.append({"work": work.name, "start": name, "import_s": ready, "first_step_s": stepped})
    return rows


def started(folder, engine, threads, cache):
    """Seconds from the start of the process until the step is set up, and until the first one is finished."""
    began = time.perf_counter()
    with Engine(engine, folder, threads, CHAINRULE_CACHE=str(cache)) as process:
        process.answer()
        ready = time.perf_counter() - began
        process.ask(do="turn", untimed=0, steps=1)
        return ready, time.perf_counter() - began


def table(rows):
    made = Table(title="start of the process to the first step, seconds", title_justify="left", box=None)
    for heading in ("work", "start"):
        made.add_column(heading, no_wrap=True)
    for heading in ("set up after", "first step done after", "target"):
        made.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        limit = LIMITS.get(row["start"])
        style = "" if limit is None else "green" if row["first_step_s"] <= limit else "red"
        target = "" if limit is None else f"under {limit:g}"
        made.add_row(
            row["work"], row["start"], f"{row['import_s']:.2f}", Text(f"{row['first_step_s']:.2f}", style), target
        )
    return made
