"""A folder as CUDA's toolkit would be, with the stand-ins, and a cache of Jittor's of its own.

bin/nvcc                  nvcc.py
include/cuda_runtime.h …  links to include/standin.h, which has all of them; cudnn.h has its own
lib64/libcudart.so …      links to libstandin.so, which has all of them: one process counts in one place
home/                     Jittor's
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from trainer.process.installation import onednn_homes

SOURCES = Path(__file__).parent
HOME = SOURCES.parents[1] / ".venv" / "standin"
LIBRARY = HOME / "lib64" / "libstandin.so"
HEADERS = (
    *("CudaUtils", "cublas", "cublas_v2", "cuda_bf16", "cuda_fp16", "cuda_runtime", "cuda_runtime_api"),
    *("cudnn_version", "cufft", "cufftXt", "curand", "cusparse", "cutt", "driver_types", "math_constants", "npp"),
)
TEMPLATES = (  # headers that end in .cuh, and thrust's
    *("cub/cub.cuh", "cub/block/block_scan.cuh", "cub/device/device_radix_sort.cuh", "cub/util_allocator.cuh"),
    *("cub/device/device_segmented_radix_sort.cuh", "thrust/device_vector.h", "thrust/transform.h"),
    "thrust/iterator/reverse_iterator.h",
)
LIBRARIES = (
    *("cublas", "cublasLt", "cuda", "cudart", "cudnn", "cudnn_cnn_infer", "cudnn_cnn_train", "cudnn_ops_infer"),
    *("cudnn_ops_train", "cufft", "curand", "cusparse", "cutt"),
)


def install() -> None:
    """Makes the folder, or makes it anew where a source has changed since."""
    files = sorted([*SOURCES.glob("*.cpp"), *SOURCES.glob("include/*"), SOURCES / "toolkit.py"])
    stamp, made = HOME / "made_from", hashlib.blake2b(b"".join(path.read_bytes() for path in files)).hexdigest()
    if stamp.exists() and stamp.read_text() == made:
        return
    for header in (*(f"{name}.h" for name in HEADERS), *TEMPLATES):
        _link(HOME / "include" / header, SOURCES / "include" / "standin.h")
    _link(HOME / "include" / "cudnn.h", SOURCES / "include" / "cudnn.h")
    LIBRARY.parent.mkdir(exist_ok=True)
    sources = [str(path) for path in sorted(SOURCES.glob("*.cpp"))]
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{SOURCES / 'include'}", *sources, "-o", str(LIBRARY)]
    subprocess.run(command, check=True)
    for name in LIBRARIES:
        _link(LIBRARY.with_name(f"lib{name}.so"), LIBRARY)
    compiler = HOME / "bin" / "nvcc"
    compiler.parent.mkdir(exist_ok=True)
    compiler.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{SOURCES / "nvcc.py"}" "$@"\n')
    compiler.chmod(0o755)
    for onednn in list(onednn_homes())[:1]:
        _link(HOME / "home" / ".cache" / "jittor" / "mkl", onednn.parent)
    stamp.write_text(made)


def environment(gib: float) -> dict[str, str]:
    """That of a process with a card of `gib` GiB."""
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return kept | {
        "STANDIN_GIB": str(gib),
        "HOME": str(HOME / "home"),  # never JITTOR_HOME: Jittor writes that into the user's own folder, for all times
        "nvcc_path": str(HOME / "bin" / "nvcc"),
        "cutt_include_path": str(HOME / "include"),
        "cutt_lib_path": str(LIBRARY.parent),
        "TRAINER_DEVICE": "cuda",
    }


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
