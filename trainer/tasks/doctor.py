"""Checks whether this machine has what a trainer needs.

`shared.doctor` says how a check answers. Whatever can be tried is tried, not looked up. A fault is what no task can run
with; with one, the exit code is 3. Jittor is imported in a process of its own, where it says which device it uses.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from shared import doctor
from shared.doctor import Faulty, Warned
from shared.errors import UserError
from trainer.process import gpu, jittor_patch
from trainer.process.installation import jittor_home, refuse_known_garbage, require_assets, require_cache
from trainer.tasks import Request

NEEDS_SERVER = False
NEEDS_CONFIG = False

COMPILER = "cc_path"  # Jittor's environment variable
MIB = 2**20
LITTLE_SPACE = 1024 * MIB  # Jittor's core and the kernels of both stages take about 700
SECONDS = 900  # the first import compiles Jittor's core
PROGRAM = "#include <Python.h>\n#include <omp.h>\nint threads() { return omp_get_max_threads() + PY_MAJOR_VERSION; }\n"
# A convolution and its gradients, in numbers that every device and precision has exactly.
TRIAL = """
from trainer.device import describe, jt, nn, var
import numpy as np
image, weight = var(np.full((2, 16, 8, 8), 2, np.float32)), var(np.full((8, 16, 3, 3), 0.5, np.float32))
answer = nn.conv2d(image, weight)
of_image, of_weight = jt.grad(answer.sum(), [image, weight])
found = [float(x.numpy().max()) for x in (answer, of_image, of_weight)]
if found != [144.0, 36.0, 144.0]:
    raise SystemExit(f"a convolution and its gradients are {found}, not [144.0, 36.0, 144.0]")
print(describe())
"""


def run(_: Request) -> int:
    """Shows a line for each check."""
    return doctor.run(CHECKS)


def system() -> str:
    if platform.system() != "Linux":
        raise Faulty(f"{platform.system()}; the trainer needs Linux, a container or a virtual machine will do")
    return f"Linux {platform.release()}, {platform.machine()}, Python {platform.python_version()}"


def versions() -> str:
    refuse_known_garbage()
    return doctor.versions("trainer")


def compiler() -> str:
    """What Jittor compiles every kernel with."""
    path = os.environ.get(COMPILER) or "g++"
    with tempfile.TemporaryDirectory(prefix="unidetector-") as folder:
        command = [path, "-x", "c++", "-", "-shared", "-fPIC", "-fopenmp", f"-I{sysconfig.get_path('include')}"]
        try:
            done = subprocess.run(
                [*command, "-o", f"{folder}/kernel.so"], input=PROGRAM, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise Faulty(f"there is no {path}; apt install g++ python3-dev") from None
    if done.returncode:
        wrong = next((line for line in done.stderr.splitlines() if "error" in line), f"exit code {done.returncode}")
        raise Faulty(f"{path} cannot compile for Python with OpenMP: {wrong}; apt install g++ python3-dev libgomp1")
    version = subprocess.run([path, "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    return f"{path} {version} compiles for Python with OpenMP"


def kernels() -> str:
    require_assets()
    require_cache()
    folder = jittor_home()
    left = shutil.disk_usage(folder).free
    text = f"{folder} can be written, {left / MIB:.0f} MiB left there"
    if left < LITTLE_SPACE:
        raise Warned(f"{text}; {LITTLE_SPACE / MIB:.0f} MiB or more are advised, JITTOR_HOME names another place")
    return text


def graphics_card() -> str:
    found = gpu.find()
    if found.reason and not found.hidden:
        raise Warned(f"not used, training goes on on the CPU: {found.reason}")
    patched = f", with a copy of Jittor {jittor_patch.VERSION} that is patched for it" if found.beyond_jittor else ""
    return f"{found}; training uses the {'CPU' if found.reason else 'GPU'}{patched}"


def jittor() -> str:
    """Imported as every task does, and asked for a convolution."""
    with tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                [sys.executable, "-c", TRIAL],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Faulty(f"Jittor has not answered after {SECONDS} s") from None
        errors.seek(0)
        said = errors.read().strip().splitlines()
    if done.returncode:
        last = said[-1] if said else f"exit code {done.returncode}"
        raise Faulty(last.removeprefix(f"{UserError.__module__}.{UserError.__name__}: "))
    return done.stdout.strip().splitlines()[-1]


CHECKS: dict[str, Callable[[], str]] = {
    check.__name__.replace("_", " "): check for check in (system, versions, compiler, kernels, graphics_card, jittor)
}
