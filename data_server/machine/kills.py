"""How many processes the kernel's out-of-memory killer has killed."""

from __future__ import annotations

from data_server.machine.fields import numbers

_KEY = "oom_kill"


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory: in this control group if it counts them, else on
    this machine; 0 where neither reports any."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        try:
            (kills,) = numbers(path, _KEY)
            return kills
        except OSError:
            continue
    return 0
