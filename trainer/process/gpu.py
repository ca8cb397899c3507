"""The GPU: its card, driver, CUDA toolkit and cuDNN, and why the CPU is used where it is not.

Looked at in this order; the first that does not fit is the reason:

    TRAINER_DEVICE   cuda: a reason is an error, and nothing is trained on the CPU
    traces of one    /dev/nvidia0 …, /dev/dxg (Windows' subsystem), the driver's kernel module, nvidia-smi
    the driver       libcuda.so.1, which is asked for the cards that this process may use
    the toolkit      the nvcc that Jittor would compile with
    cuDNN            cudnn_version.h, where Jittor looks for cudnn.h
    together         `trainer.process.gpu_support`
    Jittor           where it has to be patched for them, whether it can be (`trainer.process.jittor_patch`)
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UserError
from trainer.process import jittor_patch
from trainer.process.gpu_support import SUPPORTED, UNKNOWN, Card, Version, beyond_jittor, misfit, shown
from trainer.process.installation import jittor_home, jittor_sources

DEVICE = "TRAINER_DEVICE"  # the environment variable
VISIBLE = "CUDA_VISIBLE_DEVICES"
NVCC = "nvcc_path"  # Jittor's

DEVICES = Path("/dev")
KERNEL_MODULE = Path("/proc/driver/nvidia/version")
DRIVER = "libcuda.so.1"
TOOLKITS = tuple(map(Path, ("/usr/local/cuda", "/usr", "/opt/cuda")))  # where Jittor looks behind PATH
SYSTEM_HEADERS = Path("/usr/include")

_NO_DEVICE = 100
_ERRORS = {  # of cuInit, cuda.h's CUresult
    34: "a stub of a CUDA toolkit was found in place of the driver's library; take its folder out of LD_LIBRARY_PATH",
    _NO_DEVICE: "it offers this process no card",
    802: "the system is not ready; start nvidia-fabricmanager",
    803: "its library and its kernel module are of different versions; restart the machine, or the container",
    804: "the container's CUDA is newer than the driver, and this card does not allow that; update the driver",
    999: "unknown error; is the module nvidia_uvm loaded (nvidia-modprobe -u)?",
}
_BFLOAT16 = (8, 0)  # the first capability with it
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute of a card's compute capability


@dataclass(frozen=True)
class Gpu:
    """What was found.

    Attributes:
        cards: that this process may use; training uses the first.
        module: the version of the driver's kernel module.
        driver: the newest CUDA that the driver knows.
        toolkit, cudnn: their versions.
        reason: why the CPU is used; empty where the GPU is.
        hidden: whether there is no trace of a card, or the user has hidden them: nobody expects one.
    """

    cards: tuple[Card, ...] = ()
    module: str = "unknown"
    driver: Version = UNKNOWN
    toolkit: Version = UNKNOWN
    cudnn: Version = UNKNOWN
    reason: str = ""
    hidden: bool = False

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        return f"{self.cards[0]}; driver {self.module} for CUDA {shown(self.driver)}, {self.libraries}"

    @property
    def libraries(self) -> str:
        """Toolkit and cuDNN, for a person."""
        return f"CUDA {shown(self.toolkit)}, cuDNN {shown(self.cudnn)}"

    @property
    def beyond_jittor(self) -> bool:
        """Whether it is used, and Jittor has to be patched for it."""
        return not self.reason and beyond_jittor(self.cudnn)


class _Unusable(Exception):
    """Why the GPU is not used."""


def find() -> Gpu:
    """The GPU of this process. Raises UserError where `DEVICE` asks for one that cannot be used."""
    asked = os.environ.get(DEVICE, "")
    if asked not in ("", "cuda"):
        raise UserError(
            f"environment variable {DEVICE}={asked!r}: expected 'cuda' (refuses to train on the CPU) or nothing; "
            f"{VISIBLE}= keeps training on the CPU"
        )
    gpu = _look()
    if asked and gpu.reason:
        raise UserError(f"{DEVICE}=cuda, but no GPU can be used: {gpu.reason}")
    return gpu


def take(number: int, processes: int) -> None:
    """Leaves the `number`-th card to this process, one of several on this host; nothing where there are no cards.

    Raises:
        UserError: there are fewer cards than processes.
    """
    visible = os.environ.get(VISIBLE)
    count = len([*DEVICES.glob("nvidia[0-9]*")])
    cards = [str(card) for card in range(count)] if visible is None else visible.replace(" ", "").split(",")
    if not cards or cards[0] in ("", "-1"):
        return
    if len(cards) < processes:
        raise UserError(
            f"{processes} ranks on this host, and {len(cards)} GPUs: start no more ranks than GPUs (slots=... in "
            f"mpirun's hostfile); {VISIBLE}= trains on the CPU"
        )
    os.environ[VISIBLE] = cards[number]


def check_half(gpu: Gpu, dtype: str) -> None:
    """Raises UserError where maps are to be of a `dtype` that `gpu` cannot compute with."""
    if dtype == "bfloat16" and not gpu.reason and gpu.cards[0].capability < _BFLOAT16:
        raise UserError(
            f"config key 'optim_wrapper.dtype' is 'bfloat16', which needs a card of compute capability "
            f"{shown(_BFLOAT16)} or more, and this is {gpu.cards[0]}; set it to 'float16'"
        )


def memory() -> tuple[int, int]:
    """Bytes of the card that are in use, by whomever, and in all. Only where CUDA is in use in this thread."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ctypes.CDLL(DRIVER).cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    return total.value - free.value, total.value


def _look() -> Gpu:
    visible = os.environ.get(VISIBLE)
    if visible is not None and visible.strip() in ("", "-1"):
        return Gpu(reason=f"{VISIBLE}={visible!r} hides every card", hidden=True)
    nodes = [*DEVICES.glob("nvidia[0-9]*"), *DEVICES.glob("dxg")]
    if not nodes and not KERNEL_MODULE.exists() and not shutil.which("nvidia-smi"):
        return Gpu(reason="there is no NVIDIA card here", hidden=True)
    cards: tuple[Card, ...] = ()
    driver = toolkit = cudnn = UNKNOWN
    try:
        cards, driver = _ask_driver(nodes)
        nvcc = _nvcc()
        toolkit = _toolkit(nvcc)
        cudnn = _cudnn(nvcc)
        if reason := misfit(cards[0], driver, toolkit, cudnn):
            raise _Unusable(reason)
        if beyond_jittor(cudnn):
            jittor_patch.check(jittor_sources())
    except (_Unusable, UserError) as unusable:
        return Gpu(cards, _module(), driver, toolkit, cudnn, str(unusable))
    return Gpu(cards, _module(), driver, toolkit, cudnn)


def _ask_driver(nodes: list[Path]) -> tuple[tuple[Card, ...], Version]:
    """The cards that the driver offers, one at least, and the newest CUDA that it knows."""
    if not nodes:
        raise _Unusable(
            f"an NVIDIA driver is installed, but there is no {DEVICES / 'nvidia0'}; load its module (nvidia-modprobe), "
            "or give the container the cards (docker run --gpus all)"
        )
    try:
        library = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise _Unusable(f"a card is here, but its driver's library is not: {error}; install the driver") from None
    code, count, version = library.cuInit(0), ctypes.c_int(0), ctypes.c_int(0)
    closed = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if code and closed:
        raise _Unusable(
            f"the driver answers with error {code}, and this user may not open {', '.join(closed)}; "
            "join the group that may (ls -l shows it)"
        )
    if code == _NO_DEVICE and VISIBLE in os.environ:
        raise _Unusable(f"{VISIBLE}={os.environ[VISIBLE]!r} names no card of this machine")
    if code:
        raise _Unusable(f"the driver answers with error {code}: {_ERRORS.get(code, 'see CUresult in cuda.h')}")
    library.cuDeviceGetCount(ctypes.byref(count))
    library.cuDriverGetVersion(ctypes.byref(version))
    if not count.value:
        raise _Unusable(f"the driver answers: {_ERRORS[_NO_DEVICE]}")
    return tuple(_card(library, number) for number in range(count.value)), _of_cuda(version.value)


def _card(library: ctypes.CDLL, number: int) -> Card:
    name, memory, major, minor = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int()
    library.cuDeviceGetName(name, len(name), number)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), number)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, number)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, number)
    return Card(name.value.decode(errors="replace"), (major.value, minor.value), memory.value)


def _module() -> str:
    text = KERNEL_MODULE.read_text(encoding="utf-8") if KERNEL_MODULE.exists() else ""
    found = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", text)
    return found[1] if found else "unknown"


def _nvcc() -> Path:
    """The one that Jittor takes: its own installation's, that of the environment, or the system's."""
    own = (str(path) for path in sorted((jittor_home() / "jtcuda").glob("*/bin/nvcc"), reverse=True))
    given = os.environ.get(NVCC)
    candidates = [*own, "nvcc", *(str(home / "bin" / "nvcc") for home in TOOLKITS)] if given is None else [given]
    for found in filter(None, map(shutil.which, filter(None, candidates))):
        return Path(found)
    if given is not None:
        raise _Unusable(f"environment variable {NVCC}={given!r} is no CUDA compiler; unset it, or correct it")
    raise _Unusable(f"there is no CUDA compiler (nvcc) for Jittor's kernels; install {SUPPORTED}")


def _toolkit(nvcc: Path) -> Version:
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"release (\d+)\.(\d+)", done.stdout)
    if not found:
        raise _Unusable(f"{nvcc} --version does not say its version; install {SUPPORTED}")
    return int(found[1]), int(found[2])


def _cudnn(nvcc: Path) -> Version:
    """Its version; UNKNOWN where there are headers that do not say it. Distributions have them in a folder of links."""
    home, machine = nvcc.resolve().parents[1], os.uname().machine
    folders = [home / "include", home / "targets" / f"{machine}-linux" / "include", SYSTEM_HEADERS]
    folders.append(SYSTEM_HEADERS / f"{machine}-linux-gnu")
    for path in (path for folder in folders for path in sorted(folder.glob("cudnn_version*.h"))):
        numbers = dict(re.findall(r"#define CUDNN_(MAJOR|MINOR) (\d+)", path.read_text(encoding="utf-8")))
        if len(numbers) == 2:
            return int(numbers["MAJOR"]), int(numbers["MINOR"])
    if any((folder / "cudnn.h").exists() for folder in folders):
        return UNKNOWN
    raise _Unusable(f"cuDNN's headers are neither in {' nor in '.join(map(str, folders))}; install {SUPPORTED}")


def _of_cuda(number: int) -> Version:
    return number // 1000, number % 1000 // 10
