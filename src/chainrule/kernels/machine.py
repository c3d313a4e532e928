"""What the kernels need of this machine: a compiler whose work is kept on disk, threads, and memory that is reused.

Importing this module prepares the process, once. docs/speed.md has the measurements behind each choice.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import inspect
import logging
import os
import pickle
import re
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from llvmlite import binding, ir
from llvmlite.binding import Linkage
from numba import types
from numba.core import cgutils, compiler, serialize
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numba.misc.appdirs import user_cache_dir
from numba.np import linalg
from numba.np.ufunc import parallel
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from chainrule import processor

get_num_threads = parallel._iget_num_threads  # numba's own puts an address into the code, which cannot be kept
log = logging.getLogger("chainrule.kernels")
FLAGS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy", "nogil": True}
FOLDERS_KEPT = 2  # of compiled kernels: those of this version and of the one used before it
COLD_SECONDS = 40  # that compiling all kernels takes at most, about

compiled: list[str] = []  #: the functions that this process has compiled because they were not in the cache


def jit(function: Any = None, /, **options: Any) -> Any:
    """``numba.njit`` with the flags of all kernels, whose compiled code is kept in :func:`cache_folder`.

    Numba compiles global numbers in as constants. So what depends on the environment, such as the number of threads,
    must be an argument: the compiled code is kept for processes in which it is another.

    >>> @jit
    ... def halve(x):
    ...     for i in range(len(x)):
    ...         x[i] *= np.float32(0.5)
    """
    if function is None:
        return functools.partial(jit, **options)
    dispatcher = numba.njit(**FLAGS | {"no_cfunc_wrapper": True} | options)(function)
    dispatcher._cache = KernelCache(function)
    return dispatcher


def inner(function: Any = None, /, **options: Any) -> Any:
    """:func:`jit` for a function that only compiled functions call: it becomes a part of each of them.

    There is no code by which Python could call it, and none to be kept.

    >>> @inner
    ... def half(x):
    ...     return np.float32(0.5) * x
    >>> @jit
    ... def halve(x):
    ...     for i in range(len(x)):
    ...         x[i] = half(x[i])
    """
    if function is None:
        return functools.partial(inner, **options)
    return numba.njit(**FLAGS | options, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


_waiting: dict[str, Callable[[], None]] = {}  # functions that are called by name -> what makes the name known
_externals: dict[str, Any] = {}  # those that are known; they live as long as the process, which has their addresses


def external(function: Callable) -> Any:
    """A function of whole numbers, addresses for example, that is compiled once, and called by its name in all others.

    Numba makes what a function calls a part of it, through all levels. For large parts that takes most of the time of
    compiling. The arguments are given as one tuple; there is no result.

    >>> @external
    ... def nothing(address, count):
    ...     pass
    >>> @jit
    ... def much_ado(count):
    ...     nothing((0, count))
    """
    integers = (types.int64,) * len(inspect.signature(function).parameters)
    name = f"{function.__module__}.{function.__name__}"

    def make_known() -> None:
        dispatcher = jit(function, no_cfunc_wrapper=False)
        dispatcher.compile(integers)
        made = _externals[name] = dispatcher.overloads[integers]
        binding.add_symbol(name, made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name))

    _waiting[name] = make_known

    @intrinsic
    def call(typing_context, arguments):
        make_externals_known()

        def generate(context, builder, signature, given):
            of_type = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(integers))
            found = cgutils.get_or_insert_function(builder.module, of_type, name)
            builder.call(found, cgutils.unpack_tuple(builder, given[0]))
            return context.get_dummy_value()

        return types.void(types.UniTuple(types.int64, len(integers))), generate

    return call


def make_externals_known() -> None:
    """Before code that calls them is loaded."""
    while _waiting:
        _waiting.popitem()[1]()


@functools.cache
def _of_whole_vectors() -> Any:
    """The target for which loops are vectorised: by itself LLVM uses half of Intel's AVX-512 registers.

    That was right for those of 2017, which slowed down when whole ones were in use.
    """
    codegen, options = cpu_target.target_context.codegen(), {"opt": numba.config.OPT}
    codegen._customize_tm_options(options)
    options["features"] += ",-prefer-256-bit"
    return binding.Target.from_triple(binding.get_process_triple()).create_target_machine(**options)


OWN_NAMES = re.compile(__package__.replace(".", ".*"))


def _compile_each_kernel_as_a_whole() -> None:
    """Let a kernel have its own copies of the functions it calls, which are optimised and translated with it, once.

    By itself Numba does that for every function, and then for its copy in each caller again: twice the time, and copies
    that round differently. And as all copies have one name, and the linker takes the first it meets, a process that had
    compiled a kernel got other bits from it than one that had loaded it.
    """
    optimise, finish = JITCodeLibrary._optimize_final_module, JITCodeLibrary._finalize_final_module

    def functions(library: JITCodeLibrary) -> tuple[list[Any], bool]:
        """Ours in a library, and whether it is nothing but a part of others: no function is called from Python."""
        defined = [f for f in library._final_module.functions if not f.is_declaration]
        ours = [f for f in defined if OWN_NAMES.search(f.name)]
        return ours, bool(ours) and not any("cpython" in f.name for f in defined)

    def optimised(library: JITCodeLibrary) -> None:
        ours, is_part = functions(library)
        if not is_part:
            for function in ours:
                if function.linkage == Linkage.linkonce_odr:
                    function.linkage = Linkage.internal
            codegen = library._codegen
            usual = codegen._tm
            codegen._tm = _of_whole_vectors() if ours else usual
            try:
                optimise(library)
            finally:
                codegen._tm = usual

    def finished(library: JITCodeLibrary) -> None:
        _, is_part = functions(library)
        if is_part:  # of its code, Numba asks for no more than where its environment is
            names = [v.name for v in library._final_module.global_variables if "NumbaEnv" in v.name]
            places = "".join(f'@"{name}" = common global ptr null\n' for name in names)
            library._codegen._add_module(binding.parse_assembly(places))
            library._finalized = True
        else:
            finish(library)

    JITCodeLibrary._optimize_final_module, JITCodeLibrary._finalize_final_module = optimised, finished


# ------------------------------------------------------------------------------------------------------------- cache


@functools.cache
def cache_folder() -> Path:
    """Where the compiled kernels are: below CHAINRULE_CACHE, or else the user's cache folder (~/.cache/chainrule).

    Its name is a hash of everything that the compiled code depends on: the sources of all kernels, since one calls the
    others, and of the ops, whose constants they use; the compiler; the processor.
    """
    root = Path(os.environ.get("CHAINRULE_CACHE") or user_cache_dir("chainrule", appauthor=False)).expanduser()
    package = Path(__file__).parents[1]
    files = [file for part in ("kernels", "ops") for file in sorted((package / part).glob("*.py"))]
    sources = [(file.name, file.read_bytes()) for file in files]
    target = cpu_target.target_context.codegen().magic_tuple()
    svml = getattr(numba.config, "USING_SVML", False)  # Intel's vector functions, from a package of its own
    depends_on = repr((sources, numba.__version__, sys.version, target, svml))
    return root.absolute() / f"kernels-{hashlib.sha256(depends_on.encode()).hexdigest()[:16]}"


@functools.cache
def cache_problem() -> str | None:
    """Why compiled kernels cannot be kept, or None: the folder is there, writable, and nobody else's.

    What is read from it is run. So it must be the user's own, or the administrator's.
    """
    folder = cache_folder()
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_old_folders(folder)
        if hasattr(os, "geteuid"):
            status = folder.stat()
            if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
                return f"{folder} can be written by another user"
        os.utime(folder)  # the time of its last use
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror})"
    return None


def _remove_old_folders(new: Path) -> None:
    """Keep the folders used last. A process that still uses a removed one compiles what it needs again."""

    def last_used(folder: Path) -> float:
        try:
            return folder.stat().st_mtime
        except OSError:  # another process has just removed it
            return 0.0

    others = [folder for folder in new.parent.glob("kernels-" + "[0-9a-f]" * 16) if folder != new]
    for folder in sorted(others, key=last_used, reverse=True)[FOLDERS_KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def kept() -> list[str]:
    """The names of the functions whose compiled code is in the cache, one for each signature."""
    try:
        return sorted(file.name for file in cache_folder().iterdir() if not file.name.startswith("."))
    except OSError:
        return []


class KernelCache(NullCache):
    """The compiled code of one function: a file for each signature, which begins with the checksum of the rest.

    Numba's own cache looks only at the source file of the function itself, and trusts its files: a flipped bit in one
    would be run. Here a damaged file counts as absent, and is replaced.
    """

    def __init__(self, function: FunctionType):
        self._function = function

    @property
    def cache_path(self) -> str:
        """For Numba's statistics."""
        return str(cache_folder())

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled function from the disk, or None."""
        target_context.refresh()
        file = self._file(signature)
        if cache_problem() is None and (content := _read(file)) is not None:
            if self._function.__module__.startswith(f"{__package__}."):
                make_externals_known()
            return compiler.CompileResult._rebuild(target_context, *pickle.loads(content))
        _announce()
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep the compiled function. Where it cannot be, it is compiled again by the next process."""
        compiled.append(self._function.__name__)
        if result.library.has_dynamic_globals:
            raise RuntimeError(
                f"{self._function.__name__} cannot be kept on disk: addresses of this process are compiled into it, "
                "as by numba.get_num_threads (chainrule.kernels.machine has one without)"
            )
        if cache_problem() is None:
            try:
                _write(self._file(signature), serialize.dumps(result._reduce()))
            except OSError as error:
                _warn_of_no_cache(f"{cache_folder()} cannot be written ({error.strerror})")

    def _file(self, signature: Any) -> Path:
        name = hashlib.sha256(repr((_identity(self._function), signature)).encode()).hexdigest()[:16]
        return cache_folder() / f"{self._function.__name__}-{name}"


def _identity(function: FunctionType) -> Any:
    """What tells functions of the same sources apart, in every process: where each is, and what it closes over."""
    closed = [_identity_of_value(cell.cell_contents) for cell in function.__closure__ or ()]
    return function.__module__, function.__qualname__, function.__code__.co_firstlineno, closed


def _identity_of_value(value: Any) -> Any:
    function = getattr(value, "py_func", getattr(value, "_defn", value))  # of a compiled function, of an intrinsic
    return _identity(function) if isinstance(function, FunctionType) else repr(value)


def _checksum(file: Path, content: bytes) -> bytes:
    return hashlib.sha256(file.name.encode() + content).digest()


def _read(file: Path) -> bytes | None:
    """What the file holds, or None if it is not there or not what was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    checksum, content = content[:32], content[32:]
    return content if checksum == _checksum(file, content) else None


def _write(file: Path, content: bytes) -> None:
    """Write in one stroke. Unsynced: after a power cut the checksum tells, and the kernel is compiled again."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as temporary:
        try:
            temporary.write(_checksum(file, content) + content)
            temporary.close()
            os.replace(temporary.name, file)
        except OSError:
            Path(temporary.name).unlink(missing_ok=True)
            raise


@functools.cache
def _announce() -> None:
    """Say once in a process, before the first wait, that kernels are compiled."""
    if problem := cache_problem():
        _warn_of_no_cache(problem)
    else:
        log.warning(
            "compiling kernels for this processor, once (all of them: up to %d s); later starts take them from %s",
            COLD_SECONDS,
            cache_folder(),
        )


@functools.cache
def _warn_of_no_cache(problem: str) -> None:
    warnings.warn(
        f"every process compiles its kernels anew: {problem}; let CHAINRULE_CACHE name a folder of yours", stacklevel=2
    )


# ----------------------------------------------------------------------------------------------------------- threads


def _prepare_threads() -> None:
    """CHAINRULE_NUM_THREADS threads, in OpenMP's pool where there is one.

    It wakes a thread in 2 us, Numba's own "workqueue" in 30 to 150. What the user has decided for Numba stays.
    """
    if not any(name.startswith("NUMBA_THREADING_LAYER") for name in os.environ):
        numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    count = processor.threads()
    if parallel._is_initialized:  # by the user's own Numba functions; no more can be had
        numba.set_num_threads(min(count, parallel.NUM_THREADS))
    elif processor.THREADS in os.environ or "NUMBA_NUM_THREADS" not in os.environ:
        parallel.NUM_THREADS = count
    parallel._launch_threads()


def threads() -> int:
    """How many threads run the kernels that are called from this thread."""
    return numba.get_num_threads()


def threading_layer() -> str:
    """Which threads run the kernels: "omp", "tbb" or "workqueue"."""
    return numba.threading_layer()


class _Pool:
    """The threads of the BLAS, and how many places in the program have sent them to rest."""

    def __init__(self) -> None:
        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.lock = threading.Lock()
        self.resting = 0
        self.before: list[int] = []

    def rest(self) -> None:
        with self.lock:
            if not self.resting:
                self.before = [library.num_threads for library in self.libraries]
                for library in self.libraries:
                    library.set_num_threads(1)
            self.resting += 1

    def wake(self) -> None:
        with self.lock:
            self.resting -= 1
            if not self.resting:
                for library, count in zip(self.libraries, self.before, strict=True):
                    library.set_num_threads(count)


_blas = _Pool()


@contextmanager
def in_use() -> Iterator[None]:
    """Kernels are in use: the BLAS has one thread meanwhile.

    Two pools of threads, each of which waits for work by spinning on every core, take the cores from each other: a
    step with kernels and BLAS products in turn is up to 40 times as slow as with one pool.
    """
    _blas.rest()
    try:
        yield
    finally:
        _blas.wake()


# ------------------------------------------------------------------------------------------------------------ memory

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def _keep_freed_memory() -> None:
    """Arrays that a step frees are the memory of the next step's: do not give it back to the system in between.

    The C library gives back whatever is large, and the system clears it page by page when it is used again: arrays of
    40 MB are filled four times as fast without that. Not where the user has decided about it.
    """
    decided = "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if not decided and (library := _glibc()):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)


def release_freed_memory() -> None:
    """Give freed memory back to the system after all, once: what comes now needs other sizes."""
    if library := _glibc():
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None


# ------------------------------------------------------------------------------------------------------------- start


def _leave_scipy_aside() -> None:
    """Numba loads scipy.linalg with its support of NumPy, to see if it is there: 0.2 s, and one more BLAS with threads.

    Whether SciPy is installed is enough: a function that needs it (``np.dot``, in none of the kernels) loads it when
    it is compiled.
    """
    load = linalg.ensure_blas
    linalg.ensure_blas = lambda: import_module("scipy")
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = load


_compile_each_kernel_as_a_whole()
_prepare_threads()
_keep_freed_memory()
_leave_scipy_aside()
if processor.too_late and (problem := processor.costs(library.info() for library in _blas.libraries)):
    warnings.warn(problem, stacklevel=2)
