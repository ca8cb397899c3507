"""Checks whether this machine has what a data server needs.

`shared.doctor` says how a check answers. Whatever can be tried is tried, not looked up. A fault is what a data server
cannot run with; with one, the exit code is 3. torch and MMDetection are imported in a process of their own.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_server.machine.descriptors import DescriptorPlan
from data_server.machine.memory import CONTROL_GROUP, MIB, available
from shared import doctor
from shared.address import Address, default_address, private_directory
from shared.doctor import Faulty, Warned
from shared.lifetime import die_with_parent

OLDEST_KERNEL = (5, 4)
LITTLE_MEMORY = 2048 * MIB
ENOUGH_STREAMS = 8  # of one server at a time
IMPORT_SECONDS = 300


@dataclass(frozen=True)
class Options:
    """What the server would be started with."""

    workers: int
    listen: str


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_server doctor", description="Says what would keep a data server from running here."
    )
    parser.add_argument("--workers", type=int, default=2, help="as for the server (default 2)")
    parser.add_argument("--listen", default=default_address(), metavar="ipc:///DIR", help="as for the server")
    options = Options(**vars(parser.parse_args(arguments)))
    return doctor.run({name: functools.partial(check, options) for name, check in CHECKS.items()})


def kernel(_: Options) -> str:
    release = platform.release()
    if platform.system() != "Linux":
        raise Faulty(f"{platform.system()}; the data server needs Linux, a container or a virtual machine will do")
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if version < OLDEST_KERNEL:
        raise Faulty(f"Linux {release}; needed is {'.'.join(map(str, OLDEST_KERNEL))} or newer")
    return f"Linux {release}, {platform.machine()}, Python {platform.python_version()}"


def shared_memory(_: Options) -> str:
    """Memory without a name that can neither grow nor shrink; a client is handed it and can only read."""
    from shared.arena import create_memory, read_only

    memory = create_memory(1, MIB)
    shown = read_only(memory)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [shown])
        received = socket.recv_fds(theirs, 1, 1)[1]
    try:
        os.ftruncate(memory, 2 * MIB)
        raise Faulty("memfd_create works, its seals do not hold; use a newer kernel or another sandbox")
    except PermissionError:
        pass
    finally:
        for descriptor in (memory, shown, *received):
            os.close(descriptor)
    if not received:
        raise Faulty("a descriptor sent over a Unix socket did not arrive; use another sandbox")
    return "memfd_create and sealing work, descriptors pass over Unix sockets"


def processes(_: Options) -> str:
    """Forks a child and a grandchild, kills the child, and waits for the grandchild's death and for the child's."""
    os.close(os.pidfd_open(os.getpid()))
    reader, writer = os.pipe()
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        parent = os.getpid()
        if not os.fork():
            die_with_parent(parent)
            os.write(writer, b"x")
        time.sleep(60)
        os._exit(0)
    os.close(writer)
    pidfd = os.pidfd_open(child)
    os.read(reader, 1)
    forked = time.perf_counter() - begun
    os.kill(child, 9)
    orphan_died = bool(select.select([reader], [], [], 2)[0]) and os.read(reader, 1) == b""
    child_seen = bool(select.select([pidfd], [], [], 2)[0])
    os.waitpid(child, 0)
    os.close(reader)
    os.close(pidfd)
    if not orphan_died:
        raise Faulty("PR_SET_PDEATHSIG has no effect here: workers would outlive a killed server; use another sandbox")
    if not child_seen:
        raise Faulty("a pidfd does not tell of a death here; use a newer kernel or another sandbox")
    return f"fork, pidfd_open and PR_SET_PDEATHSIG work; two forks took {1000 * forked:.1f} ms"


def open_files(options: Options) -> str:
    plan = DescriptorPlan.of_this_process(options.workers)
    if plan.streams < ENOUGH_STREAMS:
        raise Warned(f"room for {plan}; raise the limit (ulimit -Hn) for more")
    return f"room for {plan}"


def other_limits(_: Options) -> str:
    """Limits that a data server meets late and that then look like something else."""
    wrong = []
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        wrong.append("file size is limited, and shared memory counts as a file; ulimit -f unlimited")
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        wrong.append("address space is limited, and torch and all slots are mapped; ulimit -v unlimited")
    if resource.getrlimit(resource.RLIMIT_CORE)[0]:
        wrong.append("core files are on (ulimit -c): a worker that crashes may write a large one; ulimit -c 0")
    if wrong:
        raise Warned("; ".join(wrong))
    return "file size and address space are not limited, core files are off"


def memory(_: Options) -> str:
    left, total = available(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _control_group("memory.max")
    bound = f"the control group allows {int(limit) / MIB:.0f} MiB" if limit.isdigit() else "no control group bounds it"
    text = f"{left / MIB:.0f} MiB left of {total / MIB:.0f} MiB, {bound}"
    if left < LITTLE_MEMORY:
        raise Warned(f"{text}; {LITTLE_MEMORY / MIB:.0f} MiB or more are advised")
    return text


def processors(options: Options) -> str:
    usable: float = len(os.sched_getaffinity(0))
    text = f"{usable} of {os.cpu_count()} cores may be used"
    quota, _, period = _control_group("cpu.max").partition(" ")
    if quota.isdigit() and int(quota) / int(period) < usable:
        usable = int(quota) / int(period)
        text += f", the control group allows {usable:g}"
    if options.workers > usable:
        raise Warned(f"{text}, for {options.workers} workers; --workers {max(1, int(usable))} would do as much")
    return f"{text}, for {options.workers} workers"


def dev_shm(_: Options) -> str:
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return "there is none, and none is needed"
    return f"{found.f_blocks * found.f_frsize / MIB:.0f} MiB; not used, any size will do"


def _control_group(name: str) -> str:
    """A control-group file's text; empty where there is none."""
    path = CONTROL_GROUP / name
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def address(options: Options) -> str:
    wanted = Address(options.listen)
    if wanted.is_served():
        return f"a data server answers at {wanted.text}"
    place = next(path for path in (wanted.directory, *wanted.directory.parents) if path.exists())
    return _try_socket(place, f"sockets for {wanted.text}", "choose another --listen")


def temporary_directory(_: Options) -> str:
    """Where a trainer lets its own data server listen."""
    place = Path(private_directory())
    place.rmdir()
    return _try_socket(place.parent, "sockets for a trainer's own data server", "set TMPDIR to another folder")


def _try_socket(place: Path, what: str, remedy: str) -> str:
    try:
        folder = tempfile.TemporaryDirectory(prefix="unidetector-", dir=place)
        with folder, socket.socket(socket.AF_UNIX) as one:
            one.bind(f"{folder.name}/lifeline")
    except OSError as error:
        raise Faulty(f"{what} cannot be made in {place}: {error.strerror or error}; {remedy}") from None
    return f"{what} can be made in {place}"


def versions(_: Options) -> str:
    return doctor.versions("data-server")


def worker_imports(_: Options) -> str:
    """What every server does first."""
    begun = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", "import data_server.workers.worker, data_server.workers.evaluator"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=IMPORT_SECONDS)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Faulty(f"torch and MMDetection cannot be imported: {last}; pip install -e '.[data-server]'")
    return f"torch and MMDetection were imported in {time.perf_counter() - begun:.1f} s"


def image_codecs(_: Options) -> str:
    import cv2
    import numpy as np

    picture = np.zeros((8, 8, 3), np.uint8)
    missing = []
    for kind in ("jpg", "png", "webp"):
        try:
            encoded = cv2.imencode(f".{kind}", picture)[1]
            readable = cv2.imdecode(encoded, cv2.IMREAD_COLOR) is not None
        except cv2.error:
            readable = False
        if not readable:
            missing.append(kind)
    built = [line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("JPEG:")]
    jpeg = built[0].partition(":")[2].strip() if built else "an unknown JPEG library"
    text = f"OpenCV {cv2.__version__} with {jpeg}"
    if missing:
        raise Faulty(f"{text} cannot read {', '.join(missing)}; pip install opencv-python-headless")
    if "turbo" not in jpeg:
        raise Warned(f"{text}, not libjpeg-turbo: JPEG files take longer; pip install opencv-python-headless")
    return f"{text}; JPEG, PNG and WebP can be read"


def graphics_cards(_: Options) -> str:
    cards = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return f"{cards} here, hidden from the data server; only trainers use them" if cards else "none here, none needed"


CHECKS: dict[str, Callable[[Options], str]] = {
    check.__name__.replace("_", " "): check
    for check in (
        *(kernel, shared_memory, processes, open_files, other_limits, memory, processors, dev_shm),
        *(address, temporary_directory, versions, worker_imports, image_codecs, graphics_cards),
    )
}
