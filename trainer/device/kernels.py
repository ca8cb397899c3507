"""What Jittor compiles: operators of our own from files beside their modules, and the headers of all kernels.

roi_align.py, roi_align.cpp, roi_align.cu ──kernel()──► keywords of jt.code ──► Jittor's source of a kernel
                                      headers, read before ──precompiled_headers()──► g++ ◄──┘──► nvcc
                                                                 in_one_step() ──► ▲
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shlex
import subprocess
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
# With what most of Jittor's kernels begin.
_HEADERS = """\
#define JIT 1
#define JIT_cpu 1
#include <cmath>
#include <algorithm>
#include <vector>
#include "var.h"
#include "executor.h"
#include "ops/op_register.h"
#include <assert.h>
#include "fused_op.h"
"""


def kernel(module: str, call: str) -> dict[str, str]:
    """The keywords of jt.code that describe an operator whose kernel is a file beside its module.

    ``roi_align.cpp`` beside ``roi_align.py`` computes on the CPU, ``roi_align.cu`` on a GPU; without the latter the
    operator is for the CPU only. Both define the functions that `call` calls, in a namespace of the file's name.

    Args:
        module: the module's ``__file__``.
        call: C++ statements in which in0_p, in0_shape0, out0_p, ... and data are Jittor's.
    """
    described: dict[str, str] = {}
    for device, source in _sources(module).items():
        described |= {f"{device}_header": source, f"{device}_src": call}
    return described


@functools.cache
def _sources(module: str) -> dict[str, str]:
    """The files beside a module, by device. Every call of every step asks for them."""
    beside = Path(module).resolve()
    files = {device: beside.with_suffix(suffix) for device, suffix in (("cpu", ".cpp"), ("cuda", ".cu"))}
    return {device: _source(path) for device, path in files.items() if path.exists()}


@functools.cache
def _source(path: Path) -> str:
    """A kernel's file, its own headers filled in, with marks by which compilers name file and line.

    The text is a part of the kernel's name in Jittor's cache: files are called by their place in the repository,
    wherever that is.
    """
    name = path.relative_to(_ROOT).as_posix()
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        own_header = line.startswith('#include "')
        lines.append(_source(path.with_name(line.split('"')[1])) if own_header else line)
        if line.startswith("#include"):  # Jittor puts definitions of its own behind the last #include
            lines.append(f'#line {number + 1} "{name}"')
    return "\n".join([*lines, '#line 1 "(written by Jittor)"', ""])


def precompiled_headers(compiler: str, flags: str, folder: Path) -> str:
    """More `flags`, with which g++ need not read the headers of Jittor's kernels, half of the time that a kernel takes.

    The headers are compiled into `folder` at the first call, which takes two seconds. Empty where that is impossible.
    """
    name = f"kernel_headers_{hashlib.blake2b((flags + _HEADERS).encode(), digest_size=8).hexdigest()}.h"
    headers, compiled = folder / name, folder / f"{name}.gch"
    if not compiled.exists():
        # Jittor compiles kernels with -g and drops the symbols; g++ only uses headers that were compiled like the rest.
        words = [word for word in shlex.split(flags) if not word.startswith(("-l", "-L", "-Wl,", "-shared"))]
        with (
            contextlib.suppress(OSError, subprocess.SubprocessError),
            tempfile.TemporaryDirectory(dir=folder) as scratch,
        ):
            source, made = Path(scratch) / name, Path(scratch) / compiled.name
            source.write_text(_HEADERS, encoding="utf-8")
            command = [compiler, "-x", "c++-header", str(source), *words, "-g", "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            source.replace(headers)
            made.replace(compiled)
    return f' -include "{headers}" ' if compiled.exists() else ""


# Jittor has a Python script compile each kernel for the CPU: to assembly, with debugging symbols, in which it changes
# what is marked in the source, and then to a library. Most kernels have no marks, and are the same without the detour.
_IN_ONE_STEP = """\
#!/bin/sh
script=$1 compiler=${{2#--cc_path=}} source=$3
if [ "${{script##*/}}" != asm_tuner.py ] || grep -q @begin "$source"; then exec {python} "$@"; fi
shift 2
exec "$compiler" "$@"
"""


def in_one_step(python: str, folder: Path) -> str:
    """A program for Jittor to call in the place of `python`, which compiles kernels for the CPU in half of the time.

    It is written to `folder` at the first call. `python` itself where that is impossible.
    """
    text = _IN_ONE_STEP.format(python=shlex.quote(python))
    program = folder / f"compile_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.sh"
    if not program.exists():
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / program.name
            made.write_text(text, encoding="utf-8")
            made.chmod(0o755)
            made.replace(program)
    return str(program) if program.exists() and " " not in str(program) else python


def without_fast_math(flags: str) -> str:
    """Jittor's `flags` for nvcc without the one under which divisions, exponentials and the tiniest numbers are neither
    the CPU's nor PyTorch's. What these kernels wait for is memory, not arithmetic."""
    return flags.replace("--use_fast_math", "")
