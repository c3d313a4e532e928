"""What was measured, as tables for people and as rows for programs."""

import os
import platform
from pathlib import Path

import numpy as np
import psutil
from rich.table import Table
from rich.text import Text

from bench.works import targets
from chainrule import processor

BUSY = 0.1  # processors: what other processes may use without a remark


def machine(threads):
    """Processor, cores, threads, memory, and what its vector units can do."""
    cpuinfo, flags = Path(processor.CPUINFO), set()
    if cpuinfo.exists():
        facts = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
        flags = set(next((value for key, value in facts.items() if key.strip() == "flags"), "").split())
    vectors = [flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if flag in flags]
    cores = f"{psutil.cpu_count(logical=False)} cores, {psutil.cpu_count()} logical"
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, NumPy {np.__version__}"
    model = f"{processor.name()} ({' '.join(vectors) or platform.machine()})"
    return f"{model}, {cores}, {memory}; {system}; {threads} threads each"


def available():
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def rows(found):
    """One dict for each engine that was measured; `ratio` is the best peer's median over chainrule's."""
    return [
        {
            "work": found.work.name,
            "phase": found.phase,
            "engine": name,
            "median_ms": 1e3 * found.median(name),
            "spread": [1e3 * float(q) for q in np.quantile(seconds, [0.25, 0.75])],
            "peak_mb": found.peak_mb[name],
            "ratio": found.ratio() if found.agrees(name) else None,
            "difference": found.difference[name],
        }
        for name, seconds in found.seconds.items()
    ]


def table(found):
    """The engines of one work and phase, fastest first; red where a peer is faster than chainrule."""
    made = Table(title=Text(f"{found.work.name}, {found.phase}"), title_justify="left", title_style="bold", box=None)
    made.add_column("engine", no_wrap=True, min_width=15)
    for heading in ("ms", "quartiles", "× chainrule", "peak MiB", "apart"):
        made.add_column(heading, justify="right", no_wrap=True, min_width=9)
    ours = found.median("chainrule") if "chainrule" in found.seconds else None
    for name in sorted(found.seconds, key=found.median):
        low, high = 1e3 * np.quantile(found.seconds[name], [0.25, 0.75])
        times = found.median(name) / ours if ours else None
        agrees = found.agrees(name)
        beaten = times is not None and times < 1 and agrees and not name.startswith("chainrule")
        made.add_row(
            Text(name, style="bold" if name == "chainrule" else ""),
            _ms(1e3 * found.median(name)),
            f"{_ms(low)} – {_ms(high)}",
            Text("" if times is None or name == "chainrule" else f"{times:.2f}", style="red" if beaten else ""),
            f"{found.peak_mb[name]:.0f}",
            Text(f"{found.difference[name]:.1e}", style="" if agrees else "bold red"),
        )
    return made


def remarks(found):
    """What is to be said of the table, each with its style: engines that failed or differ, a machine that was busy."""
    said = [(f"{name} was not measured: {reason}", "yellow") for name, reason in found.failed.items()]
    for name in found.seconds:
        if not found.agrees(name):
            apart = f"{found.difference[name]:.1e} from the others, more than {found.work.tolerance:.0e}"
            said.append((f"{name} computes something else ({apart}): no ratio", "bold red"))
    if found.others > BUSY:
        said.append((f"other processes kept {found.others:.1f} processors busy meanwhile", "yellow"))
    return said


def _ms(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def verdicts(found):
    """What each target asks, what was found, and whether that is enough (None: it could not be told)."""
    said = []
    for target in targets(found.work, found.phase):
        ratio = found.ratio(target.peers)
        whom = {"": "best peer", "torch": "best of PyTorch", "jax": "JAX"}[target.peers]
        best = found.best(target.peers)
        whom += f" ({best})" if best and best != target.peers else ""
        text = f"{whom} / chainrule {'unknown' if ratio is None else f'{ratio:.2f}'}, target {target.factor}"
        said.append((text, None if ratio is None else ratio >= target.factor))
    if targets(found.work, found.phase) and {"chainrule", "torch"} <= found.peak_mb.keys():
        theirs = min(found.peak_mb[name] for name in found.peak_mb if name.startswith("torch"))
        ours = found.peak_mb["chainrule"]
        said.append((f"peak memory {ours:.0f} MiB, PyTorch's {theirs:.0f}", ours <= theirs))
    return said


STYLES = {True: ("met", "green"), False: ("missed", "red"), None: ("not told", "yellow")}


def summary(everything):
    """The targets, met and missed."""
    made = Table(title="targets", title_justify="left", title_style="bold", box=None)
    for heading in ("work", "phase", "", "found"):
        made.add_column(heading, no_wrap=heading != "found")
    for found in everything:
        for text, met in verdicts(found):
            made.add_row(found.work.name, found.phase, Text(*STYLES[met]), text)
    return made
