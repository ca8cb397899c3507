"""Why a GPU is used or not: a machine's folders, a toolkit that says its version, and a driver that answers as told."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import UserError
from trainer.process import gpu
from trainer.process.gpu import Gpu, find

# What the trainer asks of libcuda.so.1; the answers are the environment's.
DRIVER = """
#include <cstdlib>
#include <cstring>
static int told(const char* name, int otherwise) { return getenv(name) ? atoi(getenv(name)) : otherwise; }
extern "C" {
int cuInit(unsigned) { return told("CU_INIT", 0); }
int cuDeviceGetCount(int* count) { *count = told("CU_COUNT", 1); return 0; }
int cuDriverGetVersion(int* version) { *version = told("CU_VERSION", 12020); return 0; }
int cuDeviceGetName(char* name, int length, int device) {
    strncpy(name, device ? "another" : "NVIDIA H100 80GB HBM3", length);
    return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = 80ll << 30; return 0; }
int cuMemGetInfo_v2(size_t* free, size_t* total) { *free = 30ll << 30, *total = 80ll << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == 75 ? told("CU_MAJOR", 9) : attribute == 76 ? told("CU_MINOR", 0) : -1;
    return 0;
}
}
"""
NOT_THERE = "there is no NVIDIA card here"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.cpp").write_text(DRIVER)
    library = folder / "libcuda.so.1"
    subprocess.run(["g++", "-shared", "-fPIC", "-o", library, folder / "driver.cpp"], check=True)
    return library


@pytest.fixture
def machine(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With one H100, CUDA 12.2 and cuDNN 8.9."""
    for name in (gpu.DEVICE, gpu.VISIBLE, gpu.NVCC):
        monkeypatch.delenv(name, raising=False)
    for folder in ("dev", "toolkit/bin", "toolkit/include", "bin", "home"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dev/nvidia0").touch()
    (tmp_path / "module").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n")
    write_toolkit(tmp_path, "12.2", "8", "9")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(gpu, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(gpu, "KERNEL_MODULE", tmp_path / "module")
    monkeypatch.setattr(gpu, "DRIVER", str(driver))
    monkeypatch.setattr(gpu, "TOOLKITS", (tmp_path / "toolkit",))
    monkeypatch.setattr(gpu, "SYSTEM_HEADERS", tmp_path / "usr")
    return tmp_path


def write_toolkit(machine: Path, version: str, cudnn: str = "8", minor: str = "9") -> None:
    nvcc = machine / "toolkit/bin/nvcc"
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {version}, V{version}.1'\n")
    nvcc.chmod(0o755)
    (machine / "toolkit/include/cudnn_version.h").write_text(
        f"#define CUDNN_MAJOR {cudnn}\n#define CUDNN_MINOR {minor}\n#define CUDNN_PATCHLEVEL 1\n"
    )


def write_jittor(machine: Path, version: str) -> Path:
    """The folder of an installed one."""
    folder = machine / "jittor"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text(f"__version__ = '{version}'\n")
    return folder


@pytest.mark.usefixtures("machine")
def test_card_driver_toolkit_and_cudnn_are_named() -> None:
    found = find()
    assert not found.reason
    assert str(found) == (
        "NVIDIA H100 80GB HBM3, 80 GiB, compute capability 9.0; driver 535.104.05 for CUDA 12.2, CUDA 12.2, cuDNN 8.9"
    )


def test_cudnn_is_found_where_distributions_have_it_and_need_not_say_its_version(machine: Path) -> None:
    found = machine / "usr" / f"{os.uname().machine}-linux-gnu" / "cudnn_version_v8.h"
    found.parent.mkdir(parents=True)
    (machine / "toolkit/include/cudnn_version.h").rename(found)
    assert str(find()).endswith("CUDA 12.2, cuDNN 8.9")
    found.unlink()
    assert "cuDNN's headers are neither in" in find().reason
    (machine / "usr/cudnn.h").touch()
    assert str(find()).endswith("CUDA 12.2, cuDNN of an unknown version")


Spoil = Callable[[Path, pytest.MonkeyPatch], object]


def told(**answers: str) -> Spoil:
    """The driver answers so, or the environment is so."""
    return lambda _, patch: [patch.setenv(name, value) for name, value in answers.items()]


def toolkit(*versions: str) -> Spoil:
    return lambda machine, _: write_toolkit(machine, *versions)


def without(*files: str) -> Spoil:
    return lambda machine, _: [(machine / file).unlink() for file in files]


ILLNESSES: dict[str, tuple[Spoil, str]] = {
    "driver without a card": (without("dev/nvidia0"), "there is no .*/dev/nvidia0; .*docker run --gpus all"),
    "no library": (lambda _, patch: patch.setattr(gpu, "DRIVER", "/no/libcuda.so.1"), "its driver's library is not"),
    "driver and module differ": (told(CU_INIT="803"), "error 803: .* of different versions; restart the machine"),
    "an error without a name": (told(CU_INIT="719"), "error 719: see CUresult"),
    "no card offered": (told(CU_INIT="100"), "error 100: it offers this process no card"),
    "another card asked for": (told(CU_INIT="100", CUDA_VISIBLE_DEVICES="7"), "'7' names no card of this machine"),
    "no count": (told(CU_COUNT="0"), "it offers this process no card"),
    "no compiler": (
        without("toolkit/bin/nvcc"),
        "there is no CUDA compiler .*; install CUDA 11.8 to 12.x with cuDNN 8 or 9, or CUDA 13 with cuDNN 9",
    ),
    "no compiler named": (told(nvcc_path="/no/nvcc"), "nvcc_path='/no/nvcc' is no CUDA compiler"),
    "no cuDNN": (without("toolkit/include/cudnn_version.h"), "cuDNN's headers are neither in .*/toolkit/include nor"),
    "what does not go together": (toolkit("11.6"), "CUDA 11.6 does not know it; install CUDA 11.8 or newer"),
    "Jittor cannot be patched": (
        lambda machine, patch: [
            toolkit("12.4", "9", "1")(machine, patch),
            patch.setattr(gpu, "jittor_sources", lambda: write_jittor(machine, "1.3.9.14")),
        ],
        "Jittor 1.3.9.14 in .*: the changes to a copy of it are for 1.3.11.0; pip install .*jittor==1.3.11.0",
    ),
}


@pytest.mark.parametrize("illness", ILLNESSES)
def test_a_gpu_that_is_not_used_has_a_reason_and_is_refused_where_it_is_asked_for(
    machine: Path, monkeypatch: pytest.MonkeyPatch, illness: str
) -> None:
    spoil, says = ILLNESSES[illness]
    spoil(machine, monkeypatch)
    found = find()
    assert not found.hidden
    monkeypatch.setenv(gpu.DEVICE, "cuda")
    with pytest.raises(UserError, match=says) as refused:
        find()
    assert str(refused.value) == f"TRAINER_DEVICE=cuda, but no GPU can be used: {found.reason}"
    assert "\n" not in found.reason


def test_a_card_that_this_user_may_not_open_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CU_INIT", "999")
    assert "nvidia-modprobe" in find().reason
    monkeypatch.setattr(gpu.os, "access", lambda path, _: path != machine / "dev/nvidia0")  # root may open anything
    assert f"this user may not open {machine}/dev/nvidia0" in find().reason


def test_cards_of_the_same_kind_as_what_a_toolkit_knows_are_used(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for major, minor, version in (("8", "9", "11.6"), ("7", "5", "10.2"), ("8", "0", "12.2")):
        monkeypatch.setenv("CU_MAJOR", major)
        monkeypatch.setenv("CU_MINOR", minor)
        write_toolkit(machine, version)
        assert not find().reason


def test_todays_libraries_are_used_with_a_patched_jittor(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not find().beyond_jittor
    for version, driver, major in (("12.4", "12040", "9"), ("13.0", "13000", "9"), ("12.8", "12080", "12")):
        monkeypatch.setenv("CU_VERSION", driver)
        monkeypatch.setenv("CU_MAJOR", major)
        write_toolkit(machine, version, "9", "13")
        found = find()
        assert found.beyond_jittor and not found.reason
        assert found.libraries == f"CUDA {version}, cuDNN 9.13"


@pytest.mark.parametrize("value", ["", "-1"])
@pytest.mark.usefixtures("machine")
def test_cards_that_the_user_has_hidden_are_not_missed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(gpu.VISIBLE, value)
    assert find() == Gpu(reason=f"CUDA_VISIBLE_DEVICES={value!r} hides every card", hidden=True)
    monkeypatch.setenv(gpu.DEVICE, "cuda")
    with pytest.raises(UserError, match="hides every card"):
        find()


def test_a_machine_without_a_trace_of_a_card_uses_the_cpu(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("dev/nvidia0", "module")(machine, monkeypatch)
    assert find() == Gpu(reason=NOT_THERE, hidden=True)
    monkeypatch.setenv(gpu.DEVICE, "cuda")
    with pytest.raises(UserError, match=NOT_THERE):
        find()


@pytest.mark.usefixtures("machine")
def test_another_device_than_cuda_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu.DEVICE, "gpu")
    with pytest.raises(UserError, match="TRAINER_DEVICE='gpu': expected 'cuda'"):
        find()


@pytest.mark.usefixtures("machine")
def test_the_memory_in_use_is_what_is_not_free() -> None:
    assert gpu.memory() == (50 << 30, 80 << 30)


@pytest.mark.parametrize(("visible", "own"), [(None, "1"), ("3, 5", "5"), ("GPU-aa,GPU-bb", "GPU-bb")])
def test_each_process_on_a_host_gets_a_card_of_its_own(
    machine: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, own: str
) -> None:
    (machine / "dev/nvidia1").touch()
    monkeypatch.setenv(gpu.VISIBLE, visible or "")
    if visible is None:
        monkeypatch.delenv(gpu.VISIBLE)
    gpu.take(1, 2)
    assert os.environ[gpu.VISIBLE] == own


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("visible", ["", "-1"])
def test_processes_from_which_all_cards_are_hidden_share_the_cpu(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv(gpu.VISIBLE, visible)
    gpu.take(1, 2)
    assert os.environ[gpu.VISIBLE] == visible


@pytest.mark.usefixtures("machine")
def test_more_processes_than_cards_are_refused() -> None:
    with pytest.raises(UserError, match="2 ranks on this host, and 1 GPUs: start no more ranks than GPUs"):
        gpu.take(0, 2)
