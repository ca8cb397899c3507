"""A group whose nursery and agent are played by the test."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from data_server.far.group import Group
from data_server.far.remote import Remote
from data_server.serving.loop import Loop
from shared.channel import Channel
from shared.messages import (
    PROTOCOL_VERSION,
    Assign,
    Build,
    Exited,
    Join,
    Lost,
    Message,
    MessageError,
    Proof,
    Prove,
    Started,
    Wrote,
)
from tests.data_server.played import FACTS, go_on, spawned

CONFIG = {"feed": {"worker_memory": 1}}
PROXY = b"proxy"


class Agent:
    """What is said to proxies."""

    def __init__(self) -> None:
        self.said: list[Message] = []

    def say(self, proxy: bytes, message: Message) -> None:
        assert proxy == PROXY
        self.said.append(message)

    def send_payload(self, remote: Remote, wrote: Wrote) -> None:
        raise NotImplementedError

    def log(self, text: str) -> None:
        raise NotImplementedError

    def forget(self, group: Group) -> None:
        raise NotImplementedError


def test_a_worker_that_has_died_has_no_place_any_more_and_its_proxy_hears_how() -> None:
    loop, agent = Loop(), Agent()
    ours, theirs = Channel.pair()
    nursery = Channel(theirs)
    group = Group(loop, agent, Build(CONFIG), ours)
    nursery.receive(Build)
    group.join(PROXY, Join(PROTOCOL_VERSION, CONFIG, "", 4096))
    nursery.send(FACTS, os.memfd_create("facts"))
    go_on(loop)
    nursery.receive(Prove)
    nursery.send(proof := Proof("", b"", [], {}))
    go_on(loop)
    order, worker = spawned(nursery)
    with subprocess.Popen(["sleep", "60"]) as process:
        worker.send(Started(), os.pidfd_open(process.pid))
        go_on(loop)
        group.assign(PROXY, Assign(5, 3, 1, [[0, 7]], 0, False))
        assert worker.receive(Assign).slot == 0  # of its own arena
        with pytest.raises(MessageError, match="not idle"):
            group.assign(PROXY, Assign(6, 4, 1, [[0, 8]], 0, False))
        process.kill()
    assert group.has(PROXY)
    nursery.send(Exited(order.worker, signal.SIGSEGV, 0))
    go_on(loop)
    assert agent.said == [proof, Started(), Lost(signal.SIGSEGV, 0, 0, "", "")]
    assert not group.has(PROXY)
