"""A data set that is being built, as seen from outside: for the line that the death of its builder deserves."""

from __future__ import annotations

from typing import Any

from data_server.machine.kills import out_of_memory_kills
from data_server.machine.memory import MIB, available
from data_server.serving.child import Child
from shared.datasets import bytes_of, names_of


class Construction:
    """Of the data sets of one stream; begins when it is made."""

    def __init__(self, dataset: dict[str, Any]) -> None:
        self._names, self._file_bytes = names_of(dataset), bytes_of(dataset)
        self._kills = out_of_memory_kills()
        self._available = available()
        self._held = 0

    def look(self, builder: Child) -> None:
        """To be called now and then while it builds: the dead hold nothing."""
        self._held = max(self._held, builder.held())

    @property
    def lacked_memory(self) -> bool:
        """Whether the kernel has killed for lack of memory since it began."""
        return out_of_memory_kills() > self._kills

    def __str__(self) -> str:
        """What was built, and the memory that it took."""
        return (
            f"{self._names} ({self._file_bytes / MIB:.0f} MiB): {self._held / MIB:.0f} MiB of memory were held when "
            f"that was last looked at, {self._available / MIB:.0f} MiB were available at the beginning"
        )
