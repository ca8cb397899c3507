"""How much memory a stream will take: printed and checked before any is allocated.

plan = slots x slot bytes (shared, allocated at once) + the data set (once, shared by all workers)
       + workers x what one needs for itself (measured by `data_server.workers.rehearsal`)
       + workers on other hosts x what the proxy of one needs here

The slots cannot become more later. So there are some for workers on other hosts that have not come yet, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from data_server.machine.fields import fields, numbers
from shared.errors import UserError

MIB = 1 << 20
PROXY_BYTES = 12 * MIB  # of a far worker's proxy: for itself, frames under way among it
CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of one stream, in bytes."""

    slots: int
    slot_bytes: int
    dataset_bytes: int = 0
    workers: int = 0
    worker_bytes: int = 0
    far: int = 0

    @property
    def total(self) -> int:
        workers = self.workers * self.worker_bytes + self.far * PROXY_BYTES
        return self.slots * self.slot_bytes + self.dataset_bytes + workers

    def __str__(self) -> str:
        far = f" + {self.far} proxies of far workers x {PROXY_BYTES / MIB:.1f} MiB" if self.far else ""
        return (
            f"{self.slots} slots x {self.slot_bytes / MIB:.1f} MiB + data set {self.dataset_bytes / MIB:.1f} MiB + "
            f"{self.workers} workers x {self.worker_bytes / MIB:.1f} MiB{far} = {self.total / MIB:.1f} MiB"
        )

    def with_far_workers(self, there: int, most: int, slots_each: int) -> MemoryPlan:
        """This plan with the proxies and slots of as many workers on other hosts as may come, `most`, as long as all of
        them take at most half of what it leaves; of those that are `there` in any case."""
        left = max(0, available() - (self.total - self.dataset_bytes))
        far = max(there, min(most, left // 2 // (PROXY_BYTES + slots_each * self.slot_bytes)))
        return replace(self, slots=self.slots + far * slots_each, far=far)

    def check(self) -> None:
        """Raises UserError when the machine, or the container, has less left than the plan needs besides the data set,
        which is there by now."""
        needed, left = self.total - self.dataset_bytes, available()
        if needed > left:
            raise UserError(
                f"too little memory: the plan is {self}; the data set is there, {needed / MIB:.0f} MiB more are "
                f"needed, {left / MIB:.0f} MiB are available; lower feed.slots, the batch size, feed.max_image_size, "
                f"feed.max_boxes or --workers{_or_raise_the_limit()}"
            )


def available() -> int:
    """Bytes that are still available: the machine's, or the control group's if that is less."""
    left = _meminfo_available()
    limit, used = _number("memory.max"), _number("memory.current")
    if limit is not None and used is not None:
        left = min(left, max(0, limit - used + _inactive_file()))
    return left


def _or_raise_the_limit() -> str:
    limit = _number("memory.max")
    return "" if limit is None else f", or raise this container's limit of {limit / MIB:.0f} MiB"


def _meminfo_available() -> int:
    try:
        (left,) = numbers("/proc/meminfo", "MemAvailable")
        return left
    except OSError as error:
        raise UserError(f"{error}; a Linux kernel 3.14 or newer is needed") from None


def _number(name: str) -> int | None:
    """The number in a control-group file; None when there is no such file or no limit."""
    try:
        text = (CONTROL_GROUP / name).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _inactive_file() -> int:
    """Page cache of the control group that the kernel drops before it refuses memory."""
    return int(fields(CONTROL_GROUP / "memory.stat").get("inactive_file", 0))
