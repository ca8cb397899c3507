"""Who may talk to an agent, and what it makes of everybody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from data_server.handover.far_link import Place, to_agent
from shared.codec import decode, encode
from shared.messages import PROTOCOL_VERSION, Assign, Join, Refused
from tests.cluster import PATIENCE, ROOT, wait_for

STRANGERS = int(os.environ.get("STRANGERS", "300"))
ANSWER_SECONDS = 2
JOIN = Join(PROTOCOL_VERSION, {"feed": {}}, "/", 4096)


class Agent:
    """``python -m data_server.far.agent``, which serves whoever has `keys`."""

    def __init__(self, log: Path) -> None:
        self.keys = zmq.curve_keypair()
        with log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "data_server.far.agent", "tcp://127.0.0.1:*", self.keys[0], str(os.getpid())],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        assert self.process.stdout is not None
        self.address, self.key = self.process.stdout.readline().decode().split()
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def place(self, public: bytes, secret: bytes) -> Place:
        return Place("there", self.address, self.key, public.decode(), secret.decode())


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("agent") / "log")
    yield agent
    agent.process.kill()
    agent.process.wait()


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


def answers(peer: zmq.Socket, seconds: float) -> bool:
    return bool(peer.poll(1000 * seconds))


def test_who_has_the_key_is_heard_and_garbage_of_his_is_refused(agent, context):
    for words, reason in [
        ([b"garbage"], "no message of this protocol"),
        ([encode(JOIN), b"more"], "several frames"),
        ([encode(Assign(0, 0, 1, [], 0, False))], "ASSIGN before JOIN"),
        ([encode(Join(PROTOCOL_VERSION + 1, {"feed": {}}, "/", 4096))], "install the same version"),
    ]:
        peer = to_agent(context, agent.place(*agent.keys))
        peer.connect(agent.address)
        peer.send_multipart(words)
        assert answers(peer, ANSWER_SECONDS * PATIENCE)
        assert reason in decode(peer.recv(), Refused).text


def test_another_key_and_none_are_refused_and_logged(agent, context):
    other = to_agent(context, agent.place(*zmq.curve_keypair()))
    none = context.socket(zmq.DEALER)
    for peer in (other, none):
        peer.connect(agent.address)
        peer.send(b"garbage")
        wait_for(lambda: "were refused" in agent.log, ANSWER_SECONDS)
        assert not answers(peer, 0.5)


def test_strangers_cost_no_memory(agent):
    host, _, port = agent.address.removeprefix("tcp://").rpartition(":")
    process = psutil.Process(agent.process.pid)

    def visit(times: int) -> None:
        for number in range(times):
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03" + os.urandom(100 + number % 400))

    visit(STRANGERS // 3)
    before = process.memory_info().rss
    visit(STRANGERS)
    assert process.memory_info().rss - before < 1 << 20
    assert agent.process.poll() is None
