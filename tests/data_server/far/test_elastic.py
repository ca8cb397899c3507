"""An elastic launcher and a cluster that can grow: Ray's autoscaler adds a node for what is wanted, and removes it when
that is over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import zmq

from shared.channel import Channel
from shared.messages import Joined, Launch, Left, Message, Notice, Ready, Want
from tests.cluster import ROOT, wait_for
from tests.data_server.far.growing import Growing

pytest.importorskip("ray", reason="Ray is not installed: pip install 'unidetector-jittor[far]'")

NODE_SECONDS = 20
PROCESSORS = 2


@pytest.fixture(scope="module")
def growing() -> Iterator[Growing]:
    cluster = Growing(PROCESSORS, 2)
    yield cluster
    cluster.stop()


class Launcher:
    """As the server has one."""

    def __init__(self, cluster: Growing) -> None:
        self._channel, theirs = Channel.pair()
        words = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "data_server.far.launcher",
            str(theirs.fileno()),
            str(os.getpid()),
        ]
        environment = {**os.environ, **cluster.token}
        self.process = subprocess.Popen(words, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()
        public, _ = zmq.curve_keypair()
        self.say(Launch(cluster.address, 2 * PROCESSORS, 0, True, public.decode()))
        self._channel.receive(Ready)

    def say(self, message: Message) -> None:
        self._channel.send(message)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def hear(self, kind: type[Message]) -> Message:
        """The next message but notices, which is of this `kind`."""
        while isinstance(message := self._channel.receive(Joined, Left, Notice), Notice):
            pass
        assert isinstance(message, kind)
        return message


@pytest.mark.slow
def test_a_node_is_added_for_workers_that_are_wanted_and_removed_when_none_are(growing: Growing) -> None:
    launcher = Launcher(growing)
    assert len(growing.raylets()) == 1  # the head
    launcher.say(Want(1))
    joined = launcher.hear(Joined)
    assert joined.workers == PROCESSORS and len(growing.raylets()) == 2
    launcher.say(Want(0))
    assert launcher.hear(Left).address == joined.address
    wait_for(lambda: len(growing.raylets()) == 1, NODE_SECONDS)
    launcher.kill()


@pytest.mark.chaos
def test_what_a_launcher_that_was_killed_wanted_is_wanted_no_longer(growing: Growing) -> None:
    launcher = Launcher(growing)
    launcher.say(Want(2 * PROCESSORS))
    launcher.hear(Joined)
    launcher.hear(Joined)
    launcher.kill()
    wait_for(lambda: len(growing.raylets()) == 1, NODE_SECONDS)


@pytest.mark.chaos
def test_as_many_nodes_are_kept_as_are_needed_for_what_is_wanted(growing: Growing) -> None:
    launcher = Launcher(growing)
    launcher.say(Want(PROCESSORS + 1))
    first = launcher.hear(Joined)
    second = launcher.hear(Joined)
    launcher.say(Want(PROCESSORS))
    assert launcher.hear(Left).address == second.address
    wait_for(lambda: len(growing.raylets()) == 2, NODE_SECONDS)
    launcher.say(Want(0))
    assert launcher.hear(Left).address == first.address
    launcher.kill()
