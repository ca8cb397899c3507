"""What the server tells its launcher."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from data_server.serving import nodes as module
from data_server.serving.loop import Loop
from data_server.serving.nodes import Nodes
from shared.channel import Channel
from shared.messages import PROTOCOL_VERSION, Launch, Ready, Want


class Played(Nodes):
    """With a launcher that the test plays: the last of `launchers`."""

    launchers: list[Channel]

    def _start(self) -> None:
        self._channel, theirs = Channel.pair()
        self._launcher = subprocess.Popen(["sleep", "60"])
        self._channel.send(Launch(self._address, self.most, self._per_node, self.elastic, self._public))
        self.launchers.append(Channel(theirs))
        self.launchers[-1].send(Ready(PROTOCOL_VERSION))


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def nodes(loop: Loop, request: pytest.FixtureRequest) -> Iterator[Played]:
    Played.launchers = []
    played = Played("auto", 8, 0, elastic=getattr(request, "param", True))
    played.attach(loop, lambda _: None)
    assert played.launchers[0].receive(Launch).elastic == played.elastic
    yield played
    played.kill()


def test_the_stream_that_wants_the_most_decides(nodes: Played) -> None:
    for stream, workers in (("a", 3), ("b", 5), ("a", 2), ("b", 0), ("a", 0), ("c", 0), ("b", 1)):
        nodes.want(stream, workers)
    heard = [nodes.launchers[0].receive(Want).workers for _ in range(5)]
    assert heard == [3, 5, 2, 0, 1]


@pytest.mark.parametrize("nodes", [False], indirect=True)
def test_a_launcher_that_is_not_elastic_is_told_nothing(nodes: Played) -> None:
    nodes.want("a", 3)
    nodes.kill()
    assert nodes.launchers[0].socket.recv(1) == b""


def test_a_launcher_that_is_started_again_hears_what_is_wanted(
    nodes: Played, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0)
    nodes.want("a", 3)
    nodes.launchers[0].close()
    nodes.listeners.append(lambda: nodes.want("b", 4))  # while there is no launcher
    while len(nodes.launchers) == 1:
        loop.after(0.01, lambda: setattr(loop, "running", False))
        loop.running = True
        loop.run()
    nodes.launchers[1].receive(Launch)
    assert nodes.launchers[1].receive(Want).workers == 4
