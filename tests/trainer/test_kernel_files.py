"""The files in C, C++ and CUDA beside the trainer's modules: each is a whole that its compiler accepts as it is."""

import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from trainer.device import onednn_flags

TRAINER = Path(__file__).resolve().parents[2] / "trainer"
BY_GXX = sorted(str(path.relative_to(TRAINER)) for suffix in ("c", "cpp", "h") for path in TRAINER.rglob(f"*.{suffix}"))
# Without those that need more than CUDA: test_cuda_sources compiles them with what they call.
BY_NVCC = sorted(str(path.relative_to(TRAINER)) for path in TRAINER.rglob("*.cu") if path.name != "convolution.cu")
JITTOR = Path(str(importlib.util.find_spec("jittor").origin)).parent / "src"  # type: ignore[union-attr]


def compiled(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_such_files() -> None:
    assert len(BY_GXX) > 10 and len(BY_NVCC) > 8


@pytest.mark.parametrize("file", BY_GXX)
def test_a_file_for_the_cpu_compiles_by_itself_without_a_warning(file: str) -> None:
    language = ["-x", "c"] if file.endswith(".c") else ["-x", "c++", "-std=c++14"]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    theirs = [onednn_flags().split('"')[1], str(JITTOR), sysconfig.get_path("include")]
    includes = [word for folder in theirs for word in ("-isystem", folder)]
    compiled(["g++", *language, "-fsyntax-only", "-fopenmp", *warnings, *includes, str(TRAINER / file)])


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc here: CUDA sources are not compiled")
@pytest.mark.parametrize("file", BY_NVCC)
def test_a_file_for_a_gpu_compiles_by_itself(file: str, tmp_path: Path) -> None:
    flags = ["-std=c++17", "--use_fast_math", "-arch=sm_80"]  # for the others test_cuda_sources compiles them
    compiled(["nvcc", *flags, "-c", "-o", str(tmp_path / "kernel.o"), str(TRAINER / file)])
