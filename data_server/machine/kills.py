"""How often the kernel's out-of-memory killer has struck."""

from __future__ import annotations

from data_server.machine.fields import numbers

_KEY = "oom_kill"


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory: in this control group where it has a count, else on
    this machine; 0 where neither is told."""
    for path in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        try:
            (kills,) = numbers(path, _KEY)
            return kills
        except OSError:
            continue
    return 0
