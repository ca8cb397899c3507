"""How a process is tied to the life of its parent, so that no `kill -9` of anybody leaves another behind.

    trainer ─(SIGTERM)─► embedded server ─(SIGKILL)─► root nursery ─► stream's nursery ─► workers, evaluators

The kernel delivers the signal the moment the parent is gone (PR_SET_PDEATHSIG), whatever the child is doing.
"""

from __future__ import annotations

import os

from shared.channel import Channel
from shared.messages import Started


def announce(channel: Channel) -> None:
    """Sends STARTED and this process' pidfd, by which it can be watched and killed reliably."""
    pidfd = os.pidfd_open(os.getpid())
    channel.send(Started(), pidfd)
    os.close(pidfd)
