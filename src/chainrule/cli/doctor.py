"""`chainrule doctor`: what this machine offers, and the next step where something is lacking."""

import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import rich_click as click

from chainrule import processor
from chainrule.cli import show
from chainrule.cli.options import debug_option, examples, json_option
from chainrule.errors import UsageError, UserError

# An extra, the package that it brings, and what for.
OPTIONAL = (
    ("torch", "torch", "for --engine torch and chainrule compare"),
    ("onnx", "onnx", "for chainrule export --onnx"),
    ("sklearn", "scikit-learn", "for chainrule.interop.sklearn"),
    ("dask", "distributed", "for chainrule sweep --backend dask"),
    ("ray", "ray", "for chainrule sweep --backend ray"),
    ("tensorboard", "tensorboardX", "for --tensorboard"),
    ("mlflow", "mlflow-skinny", "for --log mlflow"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; `advice` is the next step where something could be better, else empty."""

    topic: str
    found: str
    advice: str = ""


@click.command(epilog=examples("chainrule doctor", "chainrule doctor --warm", "chainrule doctor --json"))
@click.option("--warm", is_flag=True, help="Compile all kernels now, so that no later start has to wait for it.")
@json_option("the findings, or with --warm what was compiled,")
@debug_option
def doctor(warm: bool, as_json: bool) -> None:
    """Look at this machine: versions, matrix products, threads, kernels, data sets, folders."""
    if warm:
        found = _warm()
        show.json_line(asdict(found)) if as_json else show.console().print(show.warmed(found))
        return
    findings = [*_software(), *_processor(), *_kernels(), *_data(), *_folders()]
    if as_json:
        show.json_line({"findings": [asdict(finding) for finding in findings]})
    else:
        show.console().print(show.findings(findings))


def _software() -> Iterator[Finding]:
    yield Finding("chainrule", f"{version('chainrule')} in {Path(__file__).parents[1]}")
    yield Finding("Python", f"{platform.python_version()} ({sys.executable})")
    for requirement in requires("chainrule") or []:
        if "extra ==" not in requirement:
            package = re.split(r"[<>=!~ ;\[]", requirement)[0]
            yield _installed(package, f"chainrule needs it: pip install '{requirement}'")
    for extra, package, purpose in OPTIONAL:
        yield _installed(package, f"optional, {purpose}: pip install 'chainrule[{extra}]'")


def _installed(package: str, advice: str) -> Finding:
    try:
        return Finding(package, version(package))
    except PackageNotFoundError:
        return Finding(package, "not installed", advice)


def _processor() -> Iterator[Finding]:
    from chainrule.train.environment import environment

    facts = environment()
    cores = processor.cores()
    yield Finding("processor", f"{processor.name()}, {cores} cores{', AVX-512' if _has_avx512() else ''}")
    yield Finding("BLAS", f"{facts['blas']['name']} {facts['blas']['version']}")
    for pool in _thread_pools():
        kernels, threads = pool.get("architecture"), pool["num_threads"]
        yield Finding("BLAS kernels", str(kernels or pool["internal_api"]), processor.costs([pool]) or "")
        crowded = threads > cores
        yield Finding("BLAS threads", str(threads), f"more than cores: OMP_NUM_THREADS={cores}" if crowded else "")
    variables = " ".join(f"{name}={value}" for name, value in facts["variables"].items())
    yield Finding("thread variables", variables or "none set")
    yield Finding("matrix product", f"{_gflops():.0f} GFLOP/s (float32, 1024 x 1024)")


def _has_avx512() -> bool:
    """Whether the processor has AVX-512; False where Linux does not tell."""
    info = Path(processor.CPUINFO)
    return info.exists() and "avx512f" in info.read_text()


def _thread_pools() -> list[dict[str, Any]]:
    import numpy  # noqa: F401  threadpoolctl sees the libraries that are loaded
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]


def _gflops(n: int = 1024, repeats: int = 10) -> float:
    """The best of a few float32 products of two (n, n) matrices, 2 n^3 operations each."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2e-9 * n**3 / min(seconds)


def _kernels() -> Iterator[Finding]:
    try:
        from chainrule.kernels import machine
    except UsageError as error:
        yield Finding("kernel threads", str(error), f"correct or unset {processor.THREADS}")
        return
    threads, layer = machine.threads(), machine.threading_layer()
    given = os.environ.get(processor.THREADS)
    named = f"{processor.THREADS}={given}" if given else f"{processor.THREADS} is not set: all cores"
    crowded = threads > processor.cores()
    yield Finding("kernel threads", f"{threads} ({named})", "more than cores" if crowded else "")
    slow = "OpenMP (libgomp) is not installed: waking a thread takes 30 to 150 us instead of 2"
    yield Finding("threading layer", layer, "" if layer == "omp" else slow)
    folder = machine.cache_folder()
    yield _folder("kernel cache", folder)
    if folder.exists():
        count, problem = len(machine.kept()), machine.cache_problem()
        yield Finding("compiled kernels", f"{count} functions", f"not used: {problem}" if problem else "")
    else:
        ahead = f"compiled when first used, up to {machine.COLD_SECONDS} s in all; ahead: chainrule doctor --warm"
        yield Finding("compiled kernels", "none yet", ahead)


@dataclass(frozen=True)
class Warmed:
    """What `--warm` did: functions compiled now, functions in the folder after that."""

    compiled: int
    seconds: float
    kept: int
    folder: str


def _warm() -> Warmed:
    """Compile what is not in the cache. UserError if it cannot be kept."""
    from rich.progress import Progress

    from chainrule.check.samples import draw
    from chainrule.kernels import machine, warm

    if problem := machine.cache_problem():
        raise UserError(f"compiled kernels cannot be kept: {problem}; let CHAINRULE_CACHE name a folder of yours")
    start = time.perf_counter()
    todo = list(warm.runs(draw))
    with Progress(console=show.console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(todo))
        for name, run in todo:
            progress.update(task, description=f"compiling {name}")
            run()
            progress.advance(task)
    seconds = time.perf_counter() - start
    return Warmed(len(machine.compiled), seconds, len(machine.kept()), str(machine.cache_folder()))


def _data() -> Iterator[Finding]:
    from chainrule import data

    download = "downloaded when first used; or name its folder with --data-dir or CHAINRULE_DATA"
    package = Path(data.__file__).parent
    for name in data.NAMES:
        try:
            folder = data.find(name)
        except UserError as error:  # CHAINRULE_DATA names no folder
            yield Finding("data sets", str(error), "correct or unset the variable")
            return
        if folder != package:
            yield Finding(name, str(folder or "not on this machine"), "" if folder else download)
    embedded = [name for name in data.NAMES if data.find(name) == package]
    yield Finding("embedded data", ", ".join(embedded))


def _folders() -> Iterator[Finding]:
    from chainrule.data.fetch import cache
    from chainrule.train.folder import RUNS

    yield _folder("download cache", cache())
    yield _folder("run folders", RUNS.absolute())


def _folder(topic: str, folder: Path) -> Finding:
    exists = next(parent for parent in (folder, *folder.parents) if parent.exists())
    writable = exists.is_dir() and os.access(exists, os.W_OK)
    return Finding(topic, str(folder), "" if writable else f"{exists} cannot be written: change its permissions")
