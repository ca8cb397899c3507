"""A process as its pool holds it; here it is the test's own or a sleeper."""

import os
import resource
import subprocess

import pytest

from data_server.serving.child import Child
from shared.channel import Channel, NoDescriptorLeft
from shared.messages import Started


def started(process: int) -> Child:
    """Of the process behind this pidfd; its STARTED has been read."""
    ours, theirs = Channel.pair()
    child = Child(ours)
    Channel(theirs).send(Started(), process)
    ours.read(Started)
    return child


def test_a_process_that_is_dead_by_the_time_it_is_heard_of_holds_nothing():
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
    child = started(pidfd)
    child.started()
    assert child.pidfd is not None and child.held() == 0


def test_where_there_is_no_descriptor_for_what_a_process_holds_that_is_said_and_not_taken_for_its_death():
    child = started(os.pidfd_open(os.getpid()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(NoDescriptorLeft, match="raise the limit"):
            child.started()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
