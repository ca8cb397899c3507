"""The device that trains: the one place that imports Jittor.

All other modules write ``from trainer.device import jt, nn, var``. Importing this module makes three passes:

    before   refuse what makes Jittor compute garbage (numpy 2, trace_py_var), choose CPU or GPU, and for a GPU
             that Jittor does not know a patched copy of it; set Jittor's environment
    import   Jittor itself; its information log stays silent when its core is already compiled
    after    give back what Jittor takes from the process (signals, exit hooks, recursion limit,
             TLS checks), bound the GPU or shorten the compiling of kernels for the CPU

`trainer.process.gpu` says whether a GPU is used. An environment variable that the user has set is never overwritten.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shared.errors import UserError
from shared.lifetime import die_with_parent
from shared.terminal import write_line
from trainer.device.kernels import in_one_step, precompiled_headers, without_fast_math
from trainer.device.mode import chosen
from trainer.process import gpu, jittor_patch
from trainer.process.installation import (
    jittor_home,
    jittor_sources,
    onednn_homes,
    python_config,
    refuse_known_garbage,
    require_assets,
    require_cache,
)

if TYPE_CHECKING:  # a checker does not take jt, a variable here, for a module
    from jittor import Var

RECURSION_LIMIT = 10_000
# Jittor's flags, which it takes from the environment. Its allocator splits what is free for smaller arrays: where each
# batch has another size, blocks made to measure soon fit nothing, and stage 2 takes three times what it needs.
GPU_MEMORY = {
    "sfrl_large_block_size_device": str(1 << 30),  # blocks of a GiB, for arrays of any size
    "use_temp_allocator": "0",  # cuDNN's workspaces from the same blocks, which are emptied before one fails
    # Uploads from ordinary memory: for pinned, Jittor first copies what was in the array before back from the GPU.
    "use_cuda_host_allocator": "0",
}

LOG_SILENT, CACHE_NAME = "log_silent", "cache_name"  # Jittor's environment variables

# Which word of C's fenv_t has the bits that say what becomes of the tiniest numbers: MXCSR's FTZ and DAZ, FPCR's FZ.
_CONTROL_WORD = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}

ARITHMETIC_LENGTH = 300  # of what `arithmetic` says, at most

UPLOADABLE = ("bool", "uint8", "int8", "int16", "int32", "float16", "float32")


def _set_environment(with_gpu: bool, part_of_cache: str = "default") -> None:
    defaults = {
        "FIX_TORCH_ERROR": "0",  # otherwise Jittor imports torch wherever torch is installed
        "use_cutlass": "0",  # its sources are downloaded at start; no operator here uses it
        CACHE_NAME: part_of_cache,  # otherwise the git branch around the virtual environment: a new branch, a new one
        "OMP_WAIT_POLICY": "passive",  # spinning threads starve the data server on a shared machine
        "use_mpi": "0",  # `trainer.process.ranks`
    }
    if config := python_config():
        defaults["python_config_path"] = str(config)
    if with_gpu:
        defaults |= GPU_MEMORY
    else:
        defaults["nvcc_path"] = ""  # with nvcc but no driver Jittor aborts the process
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _flush_tiny_numbers() -> None:
    """From now on numbers nearer to zero than 2^-126 are zero in this thread, and in those that it starts: OpenMP's.

    Each kernel that Jittor loads makes it so, for the thread alone that loads it. Whether OpenMP's threads followed
    depended on which came first, and with it the last bits of a training.
    """
    libm, environment = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 64)()
    if os.uname().machine in _CONTROL_WORD:
        place, bits = _CONTROL_WORD[os.uname().machine]
        libm.fegetenv(environment)
        environment[place] |= bits
        libm.fesetenv(environment)


@contextlib.contextmanager
def _process_state_kept():
    """Give back what ``import jittor`` replaces: exit and exception hooks, recursion and stack limits, TLS
    verification, signals.

    Jittor's own handlers end the process at once on Ctrl-C (no ``finally``, no checkpoint) and whenever a child dies.
    """
    exit_function, exception_hook = sys.exit, sys.excepthook
    stack_limit = resource.getrlimit(resource.RLIMIT_STACK)
    https_context = ssl._create_default_https_context
    try:
        yield
    finally:
        sys.exit, sys.excepthook = exit_function, exception_hook
        sys.setrecursionlimit(RECURSION_LIMIT)
        resource.setrlimit(resource.RLIMIT_STACK, stack_limit)
        ssl._create_default_https_context = https_context
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _bind_children() -> None:
    """From now on what this process forks dies with it. That is Jittor's pool of compiler processes: it forks another
    as soon as one is killed, even while this process is leaving, and an orphan would hold its pipes for ever."""
    parents: list[int] = []

    def remember() -> None:
        parents[:] = [os.getpid()]

    os.register_at_fork(before=remember, after_in_child=lambda: die_with_parent(parents[0]))


@contextlib.contextmanager
def _with_variable(name: str, value: str | None) -> Iterator[None]:
    """Inside, the environment variable has this value, or is not there."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _jittor_home_as_home() -> contextlib.AbstractContextManager[None]:
    """Inside, HOME is where Jittor's cache belongs: Jittor looks that up once. Were they two, it would make a folder in
    HOME, which may not be possible, and note JITTOR_HOME there for all times."""
    return _with_variable("HOME", str(jittor_home().parents[1]))


def _import_quietly() -> Any:
    """Import Jittor; its start-up information is shown only while its core is being compiled."""
    with _jittor_home_as_home():
        import jittor_utils
    if not any(jittor_home().glob(f"jt*/**/{os.environ[CACHE_NAME]}/**/jittor_core*.so")):
        write_line("Compiling Jittor's core: about three minutes, once per machine.")
        import jittor

        return jittor
    asked = os.environ.get(LOG_SILENT)
    os.environ[LOG_SILENT] = asked or "1"  # the C++ part reads it once, while it is loaded
    try:
        jittor_utils.LOG.log_silent = int(asked or 0)  # warnings of the Python part stay
        information, jittor_utils.LOG.i = jittor_utils.LOG.i, lambda *_: None
        import jittor

        jittor_utils.LOG.i = information
        jittor.flags.log_silent = int(asked or 0)
    finally:
        if asked is None:
            del os.environ[LOG_SILENT]
    return jittor


refuse_known_garbage()
require_cache()
require_assets()
_gpu = gpu.find()
_part = jittor_patch.use(jittor_sources(), _gpu.libraries, write_line) if _gpu.beyond_jittor else "default"
_set_environment(not _gpu.reason, _part)
_bind_children()
for _kind in (np.float32, np.float64):
    np.finfo(_kind)  # at its first look numpy warns of a CPU that rounds the tiniest numbers to zero
_flush_tiny_numbers()
with _process_state_kept(), _with_variable("OMPI_COMM_WORLD_SIZE", None):  # by which it would know mpirun
    jt = _import_quietly()
    from jittor import nn

jt.flags.use_cuda = int(not _gpu.reason)
if not jt.flags.use_cuda:
    jt.flags.cc_flags += precompiled_headers(jt.flags.cc_path, jt.flags.cc_flags, Path(jt.flags.cache_path))
    jt.flags.python_path = in_one_step(sys.executable, Path(jt.flags.cache_path))
if _gpu.reason and not _gpu.hidden:
    write_line(
        f"warning: the GPU is not used, the CPU is: {_gpu.reason} ({gpu.DEVICE}=cuda makes this an error, "
        f"{gpu.VISIBLE}= silences it)"
    )
if jt.flags.use_cuda:
    jt.flags.nvcc_flags = without_fast_math(jt.flags.nvcc_flags)
if "torch" in sys.modules:
    raise UserError(
        "torch is loaded in the trainer's process; both frameworks in one process corrupt each other's GPU memory"
    )

__all__ = [
    "ARITHMETIC_LENGTH",
    "arithmetic",
    "blank",
    "card_memory",
    "describe",
    "device_memory",
    "jit_kernel_count",
    "jt",
    "nn",
    "onednn_flags",
    "precision_of",
    "seed",
    "var",
]


def var(array: npt.ArrayLike, dtype: str | None = None) -> Var:
    """Upload an array with exactly the dtype asked for (default: its own), copied before this returns.

    Jittor's own upload depends on contiguity and truncates int64 silently. 0-d arrays become shape (1,).

    Raises:
        TypeError: a dtype that has no exact counterpart on the device (int64, float64, object, strings, big-endian).
    """
    array = np.asarray(array)
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    if array.dtype.name not in UPLOADABLE or not array.dtype.isnative:
        raise TypeError(f"cannot upload dtype {array.dtype.str} exactly; convert it to one of {', '.join(UPLOADABLE)}")
    return jt.array(np.ascontiguousarray(array))


def blank(shape: tuple[int, ...], dtype: str) -> tuple[Var, np.ndarray]:
    """On the CPU: an array, and the memory behind it, where its values are to be written before it is used."""
    array = jt.empty(shape, dtype)
    array.sync()
    return array, array.data


def seed(value: int) -> None:
    """Seed every random number that Jittor draws, such as initial weights, and Python's and numpy's."""
    jt.set_global_seed(value)


def precision_of(dtype: str) -> str:
    """Of which type maps are where `dtype` is asked for: on a CPU float32, which half precision approximates.

    Raises:
        UserError: the GPU cannot compute with it.
    """
    gpu.check_half(_gpu, dtype)
    return "float32" if _gpu.reason else dtype


def device_memory() -> int:
    """Bytes that Jittor holds on the training device (used and cached): GPU memory, or main memory without a GPU."""
    info = jt.get_mem_info()
    return int(info.total_cuda_used if jt.flags.use_cuda else info.total_cpu_used)


def card_memory() -> tuple[int, int] | None:
    """Bytes of the GPU in use, by CUDA and its libraries as well, and in all; None without a GPU."""
    return None if _gpu.reason else gpu.memory()


def jit_kernel_count() -> int:
    """Kernels that this process has used so far; with an empty cache each of them was compiled.

    They are shared libraries, counted among the files that the process has mapped: other processes fill the same cache.
    """
    folder = str(Path(jt.flags.cache_path, "jit")) + os.sep
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return len({line.split(maxsplit=5)[-1] for line in lines if folder in line})


@functools.cache
def onednn_flags() -> str:
    """What g++ needs to compile and link an operator with the oneDNN that Jittor has installed."""
    home = next(onednn_homes())
    return f'-I"{home / "include"}" -L"{home / "lib"}" -lmkldnn'


def describe() -> str:
    """One line for the log: device, threads or driver and libraries, precision, cache directory."""
    patched = " (patched)" if _gpu.beyond_jittor else ""
    return f"Jittor {jt.__version__}{patched} on {arithmetic()}, kernels in {jt.flags.cache_path}"


def arithmetic() -> str:
    """What the last bits of a result depend on, beside the program and its input: the processor and, on the CPU, the
    number of threads. oneDNN's kernels and ours share out long sums among all threads, and each share is rounded."""
    if not _gpu.reason:
        return f"GPU ({_gpu}), {_precision()}"
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), os.uname().machine)
    threads = ctypes.CDLL("libgomp.so.1").omp_get_max_threads()  # the one that Jittor has loaded
    return f"CPU ({name}), {threads} OpenMP thread{'s' if threads != 1 else ''}"


def _precision() -> str:
    """Of the numbers that a GPU computes with. cuDNN rounds what it multiplies to TF32 where the card can."""
    tf32 = _gpu.cards[0].capability >= (8, 0) and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"
    types = "float32, convolutions in TF32 (NVIDIA_TF32_OVERRIDE=0: in float32)" if tf32 else "float32"
    if chosen().deterministic:
        types += "; sums in one order"
    return types + (", by cuDNN's fastest algorithms" if chosen().by_stopwatch else "")
