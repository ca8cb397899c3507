"""How often the kernel's out-of-memory killer has struck."""

from __future__ import annotations

from pathlib import Path


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory: in this control group where it has a count, else on
    this machine."""
    for path, name in ((Path("/sys/fs/cgroup/memory.events"), "oom_kill"), (Path("/proc/vmstat"), "oom_kill")):
        try:
            for line in path.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == name:
                    return int(value)
        except OSError:
            continue
    return 0
