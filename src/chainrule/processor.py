"""What must be known of the processor before NumPy is loaded, and how many threads may use it.

``import chainrule`` imports this module before anything else. OpenBLAS, which NumPy brings, looks for the best
kernels once, when it is loaded. The OpenBLAS of NumPy 2.4 takes AVX2 kernels on some AMD processors that have AVX-512:
240 instead of 390 to 450 GFLOP/s of float32 products on two cores. Its kernels for Intel's SkylakeX run on them too.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from chainrule.errors import UsageError

CPUINFO = "/proc/cpuinfo"  # of Linux; elsewhere nothing is chosen
CPU_MAX = "/sys/fs/cgroup/cpu.max"  # a container's share: microseconds of processor time in so many
VARIABLE = "OPENBLAS_CORETYPE"
AVX512_KERNELS = "SkylakeX"
AVX2_KERNELS = {"Haswell", "Zen"}
NEEDED = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # by the SkylakeX kernels
THREADS = "CHAINRULE_NUM_THREADS"
#: What sets the threads of the libraries that compute beside the kernels.
OTHER_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

too_late = False  #: NumPy was loaded before its kernels could be chosen


def choose_blas_kernels() -> None:
    """Set OPENBLAS_CORETYPE=SkylakeX on an AMD processor with AVX-512, unless it is set or NumPy is loaded already.

    Processes that this one starts inherit the variable. That is wanted: they compute with the same kernels, and so the
    same bits.
    """
    global too_late
    if VARIABLE in os.environ or not misjudged(CPUINFO):
        return
    if "numpy" in sys.modules:
        too_late = True
    else:
        os.environ[VARIABLE] = AVX512_KERNELS


def misjudged(cpuinfo: str) -> bool:
    """Whether OpenBLAS may take AVX2 kernels on this processor although those for AVX-512 would run.

    >>> misjudged("/no/such/file")
    False
    """
    vendor, avx512 = _facts(cpuinfo)
    return vendor == "AuthenticAMD" and avx512


def _facts(cpuinfo: str) -> tuple[str, bool]:
    """The vendor of the first processor, and whether it runs the SkylakeX kernels."""
    facts = {}
    try:
        with open(cpuinfo) as file:
            for line in file:
                key, _, value = line.partition(":")
                facts[key.strip()] = value.strip()
                if key.startswith("flags"):  # writing about all of many processors would take the system a while
                    break
    except OSError:
        pass
    return facts.get("vendor_id", ""), set(facts.get("flags", "").split()) >= NEEDED


def name() -> str:
    """What the processor is called; where Linux does not tell, as Python knows it.

    >>> bool(name())
    True
    """
    import platform  # `import chainrule` does without it

    try:
        with open(CPUINFO) as file:
            found = next((line for line in file if line.startswith("model name")), "")
    except OSError:
        found = ""
    return found.partition(":")[2].strip() or platform.processor() or platform.machine()


def costs(pools: Iterable[Mapping[str, Any]]) -> str | None:
    """What it costs that the loaded BLAS, as threadpoolctl describes it, runs AVX2 kernels where AVX-512 would do."""
    taken = {pool.get("architecture") for pool in pools if pool.get("internal_api") == "openblas"}
    if not taken & AVX2_KERNELS or not _facts(CPUINFO)[1]:
        return None
    return (
        "NumPy's matrix products run AVX2 kernels on a processor with AVX-512, 240 instead of 390 to 450 GFLOP/s where "
        f"it was measured: {'import chainrule before NumPy' if too_late else f'set {VARIABLE}={AVX512_KERNELS}'}"
    )


def cores() -> int:
    """The cores that this process may use: its affinity, within the share that its container has.

    >>> cores() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(CPU_MAX) as file:
            quota, period = file.read().split()
        return min(allowed, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return allowed


def threads() -> int:
    """The threads of the kernels: CHAINRULE_NUM_THREADS (UsageError if it is no positive integer), or :func:`cores`."""
    given = os.environ.get(THREADS)
    if not given:
        return cores()
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(
            f"{THREADS} is {given!r}, expected a positive integer; without it all {cores()} cores are used"
        )
    return int(given)


choose_blas_kernels()
