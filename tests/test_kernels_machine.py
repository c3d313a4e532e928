"""The kernels' compiler, its cache, threads and memory: each in processes of its own, as users start them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

# What every process here begins with: two compiled functions, one of them for several threads, and what was found.
KERNELS = """
import json, os, sys, threading, warnings
import numpy as np
from chainrule.kernels import machine
from chainrule.kernels.machine import inner, jit
from chainrule.kernels.parallel import in_parallel

@jit
def double(x, y):
    for i in range(len(x)):
        y[i] = x[i] * np.float32(2)

@inner
def triple_one(i, x, y):
    y[i] = x[i] * np.float32(3)

@jit
def triple(x, y):
    in_parallel(triple_one, len(x), (x, y))

def times(factor):
    @jit
    def scaled(x, y):
        for i in range(len(x)):
            y[i] = x[i] * factor
    return scaled

def right(*functions):
    "Do these functions multiply by 2, 3, ...?"
    x = np.arange(1000, dtype=np.float32)
    y = np.empty_like(x)
    for factor, function in enumerate(functions, 2):
        function(x, y)
        if not np.array_equal(y, factor * x):
            return False
    return True
"""
REPORT = """
print(json.dumps({"right": right(double, triple), "compiled": machine.compiled, "kept": machine.kept()}))
"""


@pytest.fixture
def start(tmp_path):
    """Start a process with the kernels above, whose cache is in the test's folder."""

    def started(code=REPORT, *, before="", **variables):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CHAINRULE_", "NUMBA_", "MALLOC_", "OMP_"))}
        variables = {"CHAINRULE_CACHE": str(tmp_path / "cache"), "OPENBLAS_NUM_THREADS": "2", **variables}
        return subprocess.Popen(
            [sys.executable, "-c", before + KERNELS + code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean | variables,
        )

    return started


@pytest.fixture
def run(start):
    """Run such a process to its end: what it printed last, read as JSON, and its standard error."""

    def ran(*args, **variables):
        process = start(*args, **variables)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return json.loads(out.splitlines()[-1]), err

    return ran


def folders(tmp_path):
    return sorted((tmp_path / "cache").glob("kernels-*"))


# ------------------------------------------------------------------------------------------------------------- cache


def test_a_cold_cache_says_once_what_it_does_and_a_warm_one_nothing(run, tmp_path):
    cold, err = run()
    (folder,) = folders(tmp_path)
    assert cold["right"]
    assert cold["compiled"] == ["double", "triple"]
    assert err.count("compiling kernels for this processor, once") == 1
    assert str(folder) in err
    warm, err = run()
    assert warm == {"right": True, "compiled": [], "kept": cold["kept"]}
    assert err == ""


def test_functions_that_differ_in_what_they_close_over_are_kept_apart(run):
    code = """
found = right(times(2), times(3)), [name.split("-")[0] for name in machine.kept()], len(machine.compiled)
print(json.dumps(found))
"""
    assert run(code)[0] == [True, ["scaled", "scaled"], 2]
    assert run(code)[0] == [True, ["scaled", "scaled"], 0]


@pytest.mark.slow
def test_what_was_compiled_and_what_was_loaded_give_the_same_bits(run):
    code = """
import hashlib
from chainrule import Tensor, ops, using
digest, rng = hashlib.sha256(), np.random.default_rng(0)
x = rng.normal(0, 3, (51, 37)).astype(np.float32)
with using("cpu"):
    for op, *inputs in (
        (ops.cross_entropy, rng.integers(0, 37, 51)), (ops.log_softmax,), (ops.gelu,),
        (ops.linear, rng.normal(0, 1, (20, 37)).astype(np.float32)),
    ):
        y, pullbacks = op.run([x, *inputs], {})
        digest.update(np.asarray(y).tobytes() + pullbacks[0](np.ones_like(y)).tobytes())
print(json.dumps([digest.hexdigest(), len(machine.compiled)]))
"""
    (cold, many), (warm, none) = run(code)[0], run(code)[0]
    assert many > none == 0
    assert cold == warm


DAMAGE = """
from pathlib import Path

def again():
    "The same functions without what this process has compiled, so that they are read from the cache."
    del machine.compiled[:]
    return right(jit(double.py_func), jit(triple.py_func)), sorted(machine.compiled)

assert again() == (True, ["double", "triple"])
assert again() == (True, [])
found = []
for file in sorted(machine.cache_folder().iterdir()):
    whole = file.read_bytes()
    flipped = [0, 31, 32, 40, *range(100, len(whole), len(whole) // 12), len(whole) - 1]
    damages = [b"", whole[:20], whole[:32], whole[:-1], whole + b"x", b"garbage" * 100, whole[32:]]
    damages += [whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1 :] for i in flipped]
    other = next(f for f in machine.cache_folder().iterdir() if f != file)
    for damaged in [*damages, other.read_bytes()]:
        assert damaged != whole
        file.write_bytes(damaged)
        ok, compiled = again()
        replaced = again()
        found.append([file.name.split("-")[0], ok, compiled, replaced])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_damaged_file_is_compiled_again_and_replaced(run):
    found, _ = run(DAMAGE)
    assert len(found) > 40
    assert {name for name, *_ in found} == {"double", "triple"}
    for name, ok, compiled, replaced in found:
        assert (ok, compiled, replaced) == (True, [name], [True, []])


def test_what_is_damaged_is_never_unpickled(run, tmp_path):
    """Each file is replaced by a pickle that would leave a mark."""
    run()
    mark = tmp_path / "mark"
    code = f"""
import pickle
class Mark:
    def __reduce__(self): return open, ({str(mark)!r}, "w")
for file in machine.cache_folder().iterdir():
    file.write_bytes(file.read_bytes()[:32] + pickle.dumps(Mark()))
"""
    found, _ = run(code + REPORT)
    assert found["right"]
    assert found["compiled"] == ["double", "triple"]
    assert not mark.exists()


def test_processes_that_compile_at_once_do_not_harm_each_other(start, run, tmp_path):
    processes = [start() for _ in range(3)]
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert json.loads(out)["right"]
    (folder,) = folders(tmp_path)
    assert len(list(folder.iterdir())) == 2  # and no temporary files
    assert run()[0]["compiled"] == []


def test_old_folders_go_but_the_last_two_and_what_is_not_ours(run, tmp_path):
    cache = tmp_path / "cache"
    for age, name in enumerate(["kernels-00000000000000aa", "kernels-00000000000000bb", "kernels-mine", "notes"]):
        (cache / name).mkdir(parents=True)
        (cache / name / "file").touch()
        os.utime(cache / name, (time.time() - 100 * age,) * 2)
    run()
    names = {path.name for path in cache.iterdir()}
    assert names > {"kernels-00000000000000aa", "kernels-mine", "notes"}
    assert "kernels-00000000000000bb" not in names
    assert len(names) == 4


def test_a_folder_that_cannot_be_written_is_done_without(run, tmp_path):
    (tmp_path / "file").touch()
    found, err = run(CHAINRULE_CACHE=str(tmp_path / "file"))
    assert found == {"right": True, "compiled": ["double", "triple"], "kept": []}
    assert err.count("every process compiles its kernels anew") == 1
    assert "CHAINRULE_CACHE" in err
    assert "later starts" not in err


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("others", ["writable", "owned"])
def test_what_another_user_could_have_written_is_not_run(run, tmp_path, others):
    run()
    (folder,) = folders(tmp_path)
    if others == "writable":
        folder.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(folder, 12345, -1)
    else:
        pytest.skip("only the administrator can give a folder away")
    found, err = run()
    assert found["right"]
    assert found["compiled"] == ["double", "triple"]
    assert f"{folder} can be written by another user" in err


def test_a_changed_source_is_compiled_anew(tmp_path):
    """A copy of the package, of which a kernel in another file than the caller's is edited."""
    package = tmp_path / "chainrule"
    shutil.copytree(Path(__file__).parents[1] / "src" / "chainrule", package)
    (package / "kernels" / "__init__.py").write_text("")
    called, caller = package / "kernels" / "called.py", package / "kernels" / "caller.py"
    jit = "from chainrule.kernels.machine import jit\n"
    caller.write_text(f"from chainrule.kernels.called import f\n{jit}@jit\ndef g(x):\n    return f(x) + 1\n")
    code = "from chainrule.kernels import caller, machine; print(caller.g(1.0), *machine.compiled)"

    def result(body):
        called.write_text(f"{jit}@jit\ndef f(x):\n    return {body}\n")
        env = os.environ | {"PYTHONPATH": str(tmp_path), "CHAINRULE_CACHE": str(tmp_path / "cache")}
        # Python itself would take the bytecode of a file of the same size that was written in the same second.
        command = [sys.executable, "-B", "-c", code]
        return subprocess.check_output(command, text=True, env=env, stderr=subprocess.PIPE).split()

    assert result("2 * x") == ["3.0", "f", "g"]
    assert result("2 * x") == ["3.0"]
    assert result("5 * x") == ["6.0", "f", "g"]


def test_numba_keeps_the_users_own_functions_where_it_did(tmp_path):
    (tmp_path / "own.py").write_text("""
from chainrule.kernels.machine import jit
import numba, os
assert numba.config.CACHE_DIR == ""
@numba.njit(cache=True)
def f(x): return x + 1
assert f(1) == 2
assert any(name.endswith(".nbc") for name in os.listdir("__pycache__"))
""")
    subprocess.check_output([sys.executable, "own.py"], cwd=tmp_path, env=os.environ | {"CHAINRULE_CACHE": "cache"})
    assert not (tmp_path / "cache").exists()


# ----------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CHAINRULE_NUM_THREADS": "1"}, 1),
        ({"CHAINRULE_NUM_THREADS": "3"}, 3),
        ({"NUMBA_NUM_THREADS": "1"}, 1),
        ({"NUMBA_NUM_THREADS": "1", "CHAINRULE_NUM_THREADS": "2"}, 2),
    ],
)
def test_the_number_of_threads(run, variables, expected):
    code = """
found = [machine.threads()]
other = threading.Thread(target=lambda: found.append(machine.threads()))
other.start()
other.join()
print(json.dumps(found))
"""
    assert run(code, **variables)[0] == [expected, expected]


def test_all_cores_that_the_process_may_use_are_the_default(run):
    code = "print(json.dumps([machine.threads(), machine.threading_layer()]))"
    first = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert run(code)[0][0] == len(os.sched_getaffinity(0))
    assert run(code, before=first)[0][0] == 1


@pytest.mark.parametrize("wrong", ["0", "-1", "two", "1.5", "²"])
def test_a_wrong_number_of_threads_is_named(start, wrong):
    _, err = start(CHAINRULE_NUM_THREADS=wrong).communicate()
    last = err.splitlines()[-1]
    assert last.startswith("chainrule.errors.UsageError: CHAINRULE_NUM_THREADS is ")
    assert repr(wrong) in last
    assert "positive integer" in last


def test_the_threading_layer_is_openmp_unless_the_user_chose_one(run):
    code = "print(json.dumps(machine.threading_layer()))"
    assert run(code)[0] == "omp"
    assert run(code, NUMBA_THREADING_LAYER="workqueue")[0] == "workqueue"


def test_without_openmp_another_layer_is_taken(run):
    """As where libgomp is not installed: Numba's module that needs it cannot be imported."""
    hidden = "import sys; sys.modules['numba.np.ufunc.omppool'] = None\n"
    found, _ = run("print(json.dumps([right(double, triple), machine.threading_layer()]))", before=hidden)
    assert found[0] is True
    assert found[1] in ("tbb", "workqueue")


IN_PARALLEL = """
from numba import types
thread = types.ExternalFunction("pthread_self", types.uintp())

@inner
def note(i, rounds, seen, bad, factors):
    if i == bad:
        raise KeyError("a bad one")
    rounds[i] += len(np.empty(10_000 + i)) * factors[0] - factors[1]
    seen[i] = thread()

@jit
def noted(n, pays, rounds, seen, bad):
    in_parallel(note, n, (rounds, seen, bad, (2, 0.5)), pays)

@jit
def noted_without_asking(n, rounds, seen):
    in_parallel(note, n, (rounds, seen, -1, (2, 0.5)))

def threads_of(function, n, *args, bad=()):
    "Run it, and see that each round was done once, and none beside; the threads that did them."
    rounds, seen = np.zeros(n + 1), np.zeros(n + 1, np.uintp)
    function(n, *args, rounds, seen, *bad)
    assert np.array_equal(rounds[:n], 2.0 * (10_000 + np.arange(n)) - 0.5) and rounds[n] == 0
    return set(seen[:n].tolist())

COUNTS = 0, 1, 2, 7, 1000
mine = threading.get_ident()
"""


@pytest.mark.skipif(os.name != "posix", reason="the thread's identity as POSIX gives it")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_rounds_of_a_loop_are_done_once_each_and_shared_where_it_pays(run, layer, threads):
    code = """
found = [len(threads_of(noted, n, True, bad=(-1,))) for n in COUNTS]
assert found == [len(threads_of(noted_without_asking, n)) for n in COUNTS]
assert all(threads_of(noted, n, False, bad=(-1,)) <= {mine} for n in COUNTS)
assert threads_of(noted, 1, True, bad=(-1,)) == {mine}
print(json.dumps([machine.threading_layer(), found]))
"""
    found, _ = run(IN_PARALLEL + code, NUMBA_THREADING_LAYER=layer, CHAINRULE_NUM_THREADS=str(threads))
    assert found == [layer, [0, 1, *(min(n, threads) for n in (2, 7, 1000))]]


def test_a_loop_that_fails_on_one_of_the_threads_fails(run):
    code = """
found = []
for pays in (False, True):
    for bad in (0, 6):
        try:
            noted(7, pays, np.zeros(7), np.zeros(7, np.uintp), bad)
        except KeyError as error:
            found.append(error.args[0])
print(json.dumps(found))
"""
    assert run(IN_PARALLEL + code, CHAINRULE_NUM_THREADS="2")[0] == ["a bad one"] * 4


def test_a_loop_keeps_no_memory(run):
    code = """
from numba.core.runtime import rtsys
threads_of(noted, 1, True, bad=(-1,))  # once something is compiled, Numba counts
before = rtsys.get_allocation_stats()
for n in COUNTS:
    threads_of(noted, n, True, bad=(-1,))
after = rtsys.get_allocation_stats()
print(json.dumps([after.alloc - before.alloc, after.free - before.free, after.mi_alloc - before.mi_alloc]))
"""
    made, freed, arrays = run(IN_PARALLEL + code, NUMBA_NRT_STATS="1", CHAINRULE_NUM_THREADS="2")[0]
    assert made == freed
    assert arrays >= 1010


def test_the_blas_has_one_thread_while_kernels_are_used_and_its_own_again_after(run):
    code = """
from chainrule import using
from threadpoolctl import threadpool_info

def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

found = [blas()]
with using("cpu"):
    found.append(blas())
    with using("cpu"):
        found.append(blas())
    found.append(blas())
found.append(blas())
try:
    with using("cpu"):
        raise KeyError
except KeyError:
    found.append(blas())
with using("numpy"):
    found.append(blas())
print(json.dumps([sorted(each) for each in found]))
"""
    assert run(code)[0] == [[2], [1], [1], [1], [2], [2], [2]]


def test_scipy_is_left_aside_until_a_function_of_the_user_needs_it(run):
    pytest.importorskip("scipy")
    code = """
import numba
ok = right(double)
before = "scipy.linalg" in sys.modules

@numba.njit
def product(a, b):
    return np.dot(a, b)

a = np.arange(6.0).reshape(2, 3)
print(json.dumps([ok, before, np.array_equal(product(a, a.T), a @ a.T), "scipy.linalg" in sys.modules]))
"""
    assert run(code)[0] == [True, False, True, True]


# ------------------------------------------------------------------------------------------------------------ memory

FAULTS = """
import resource

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(40 << 18, np.float32).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first, *later = faults(), faults(), faults()
print(json.dumps([first, max(later)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of GNU")
def test_freed_memory_is_kept_unless_the_user_has_decided_about_it(run):
    """40 MB are 10,240 pages; NumPy is kept from asking for huge ones, so that they can be counted."""
    first, later = run(FAULTS, NUMPY_MADVISE_HUGEPAGE="0")[0]
    assert first > 5000
    assert later < 500
    _, later = run(FAULTS, NUMPY_MADVISE_HUGEPAGE="0", MALLOC_ARENA_MAX="2")[0]
    assert later > 5000


# --------------------------------------------------------------------------------------------------------- processor

AMD = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 {}\n\nprocessor\t: 1\n"
)
AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl"


def choice(cpuinfo, tmp_path, *, before="", after="", **variables):
    """What a process does whose /proc/cpuinfo reads so: the variable, and whether it came too late."""
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    code = f"""
import builtins, json, os, sys
{before}
whole = builtins.open
builtins.open = lambda file, *args, **kw: whole({str(file)!r} if file == "/proc/cpuinfo" else file, *args, **kw)
import chainrule
{after}
print(json.dumps([os.environ.get("OPENBLAS_CORETYPE"), chainrule.processor.too_late]))
"""
    clean = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    return json.loads(subprocess.check_output([sys.executable, "-c", code], text=True, env=clean | variables))


def test_amd_processors_with_avx512_get_the_kernels_for_it(tmp_path):
    assert choice(AMD.format(AVX512), tmp_path) == ["SkylakeX", False]


@pytest.mark.parametrize(
    "cpuinfo",
    [AMD.format("avx512f avx512dq"), AMD.format(AVX512).replace("AuthenticAMD", "GenuineIntel"), "Features: neon", ""],
)
def test_other_processors_are_left_to_openblas(tmp_path, cpuinfo):
    assert choice(cpuinfo, tmp_path) == [None, False]


def test_what_the_user_chose_stays(tmp_path):
    assert choice(AMD.format(AVX512), tmp_path, OPENBLAS_CORETYPE="Haswell") == ["Haswell", False]
    assert choice(AMD.format(AVX512), tmp_path, OPENBLAS_CORETYPE="") == ["", False]


def test_after_numpy_it_is_too_late(tmp_path):
    assert choice(AMD.format(AVX512), tmp_path, before="import numpy") == [None, True]


AVX512_HERE = "avx512bw" in (Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "")


@pytest.mark.skipif(not AVX512_HERE, reason="this processor has no AVX-512")
def test_openblas_follows_the_choice(tmp_path):
    after = """
from threadpoolctl import threadpool_info
assert {pool.get("architecture") for pool in threadpool_info()} == {"SkylakeX"}
"""
    choice(AMD.format(AVX512), tmp_path, after=after)


@pytest.mark.parametrize("first", ["import numpy; del os.environ['OPENBLAS_CORETYPE']", ""])
def test_one_warning_says_what_it_costs_that_numpy_came_first(tmp_path, first):
    """With AVX2 kernels, as OpenBLAS takes them where it misjudges the processor."""
    after = """
import warnings
from chainrule import using
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        with using("cpu"):
            pass
assert [str(w.message).split()[-4:] for w in caught] == TOO_LATE * [["import", "chainrule", "before", "NumPy"]], caught
""".replace("TOO_LATE", str(int(bool(first))))
    choice(AMD.format(AVX512), tmp_path, before=first, after=after, OPENBLAS_CORETYPE="Haswell")
