"""Files in which Linux reports counts, one key and its value per line.

/proc/<pid>/status, /proc/<pid>/smaps_rollup, /proc/meminfo     Private_Dirty:      1234 kB
/proc/vmstat, a control group's memory.stat, memory.events      oom_kill 0
"""

from __future__ import annotations

from pathlib import Path

_UNIT = " kB"


def fields(path: str | Path) -> dict[str, str]:
    """The values of a file by key, as they are written. Raises OSError when it cannot be read."""
    lines = (
        line.replace(":", " ", 1).split(maxsplit=1) for line in Path(path).read_text(encoding="utf-8").splitlines()
    )
    return {line[0]: line[1] for line in lines if len(line) == 2}


def numbers(path: str | Path, *keys: str) -> list[int]:
    """The numbers that a file, read once, has for `keys`; bytes where they are written in kB.

    Raises:
        OSError: the file cannot be read, or lacks a key.
    """
    values = fields(path)
    for key in keys:
        if key not in values:
            raise OSError(f"{path} has no {key}")
    return [int(values[key].removesuffix(_UNIT)) * (1024 if values[key].endswith(_UNIT) else 1) for key in keys]
