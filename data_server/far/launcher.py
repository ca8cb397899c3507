"""The launcher: the server's child that alone knows Ray. It has an agent on every node of a cluster and tells the
server where.

    server ──LAUNCH, WANT──► launcher ══ Ray's control plane ══► actor on each node ──► its agent
    server ◄─READY, JOINED, LEFT, NOTICE── launcher              batches never pass through here

    node:  alive ──► actor asked for ──► where: JOINED ──► agent, actor or node dies: LEFT ──► some seconds later again
                                                      └──► no longer wanted: given back, LEFT

Ray starts, places and watches the actors, and ends them when this process ends, however it ends. They take as many
processors as they will have workers.

An elastic launcher begins with none. It has as many actors as the workers that are wanted need, and takes whole nodes:
what is left of a node would seem to be room for more. Where nodes are lacking it wishes for some
(`data_server.far.wishes`), and a node that is given back is idle, which is when an autoscaler removes it.

Who reaches a Ray cluster can run code on it. One that can be reached from elsewhere must therefore ask for its token.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

from data_server.far.node import Node
from data_server.far.wishes import Wishes
from shared.channel import Channel, ChannelClosed
from shared.errors import UserError, described
from shared.lifetime import die_with_parent
from shared.messages import PROTOCOL_VERSION, Failure, Joined, Launch, Left, Notice, Ready, Want

_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
_TELL_SECONDS = 30.0
_ANSWER_SECONDS = 5.0


@dataclass
class _Asked:
    """An actor on a node; `address` is its agent's, once that is known; `answer` is what Ray will say next of it."""

    node: str
    workers: int
    actor: Any
    answer: Any
    since: float
    address: str = ""
    told: bool = False


class _Launcher:
    def __init__(self, channel: Channel, launch: Launch) -> None:
        import ray

        self._ray = ray
        self._channel = channel
        self._launch = launch
        self._wanted = 0 if launch.elastic else launch.workers
        self._wishes = Wishes(launch.per_node or 1)
        self._asked: dict[str, _Asked] = {}  # by Ray's id of the node
        self._not_before: dict[str, float] = {}

    def connect(self) -> None:
        """Raises UserError for a cluster that is not there, or that others can reach without a token; and what Ray
        raises."""
        if self._launch.address != "auto":  # Ray has other words, which start clusters
            host, _, port = self._launch.address.rpartition(":")
            if not host or not port.isdecimal():
                raise UserError("expected auto, or HOST:PORT of the cluster's head")
            _check_token(host.strip("[]"))
            _check_answers(host.strip("[]"), int(port))
        self._ray.init(
            address=self._launch.address,
            namespace=f"unidetector-{os.getpid()}",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        _check_token(self._ray.get_runtime_context().gcs_address.rpartition(":")[0].strip("[]"))

    def run(self) -> None:
        while True:
            self._hear()
            self._ask()
            if self._launch.elastic:
                self._give_back()
                self._wish()
            waiting = {asked.answer: node for node, asked in self._asked.items()}
            if not waiting:
                time.sleep(_LOOK_SECONDS)
                continue
            done, _ = self._ray.wait(list(waiting), timeout=_LOOK_SECONDS)
            for answer in done:
                self._answered(waiting[answer], answer)

    @property
    def _workers(self) -> int:
        return sum(asked.workers for asked in self._asked.values())

    def _hear(self) -> None:
        """Raises ChannelClosed when the server is gone."""
        while select.select([self._channel], [], [], 0)[0]:
            for want in self._channel.read(Want):
                self._wanted = want.workers

    def _ask(self) -> None:
        """For an actor on each node that has none, while more workers are wanted."""
        now = time.monotonic()
        for node in self._ray.nodes():
            number, name = node["NodeID"], node["NodeManagerHostname"]
            if not node["Alive"] or now < self._not_before.get(number, 0):
                continue
            if asked := self._asked.get(number):
                if not asked.address and not asked.told and now - asked.since > _TELL_SECONDS:
                    asked.told = True
                    self._say(f"node {name} has no {asked.workers} idle processors for far workers yet")
                continue
            processors = int(node["Resources"].get("CPU", 0))
            workers = min(self._launch.workers - self._workers, self._launch.per_node or processors)
            if workers > 0 and self._workers < self._wanted:
                taken = processors if self._launch.elastic else workers
                self._asked[number] = self._asked_for(number, name, node["NodeManagerAddress"], workers, taken)

    def _give_back(self) -> None:
        """Ends the actors that are not needed for what is wanted, the youngest first."""
        for number, asked in reversed(list(self._asked.items())):
            if self._workers - asked.workers >= self._wanted:
                self._ray.kill(asked.actor)
                del self._asked[number]
                self._say(f"node {asked.node} is given back")
                if asked.address:
                    self._channel.send(Left(asked.address))

    def _wish(self) -> None:
        """For room that is lacking. While an actor waits for a node that is there, what it waits for may be a wish that
        has just been placed there; then there are no others."""
        waits = any(not asked.address and not asked.told for asked in self._asked.values())
        self._wishes.keep(max(0, self._wanted - self._workers), more=not waits)

    def _asked_for(self, number: str, name: str, address: str, workers: int, processors: int) -> _Asked:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(number, soft=False)
        kind: Any = self._ray.remote(Node).options(num_cpus=processors, max_restarts=0, scheduling_strategy=there)
        actor = kind.remote(address, self._launch.key)
        return _Asked(name, workers, actor, actor.where.remote(), time.monotonic())

    def _answered(self, number: str, answer: Any) -> None:
        asked = self._asked[number]
        try:
            said = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            self._lost(number, asked, str(error).strip().splitlines()[-1])
            return
        if asked.address:
            self._lost(number, asked, f"its agent ended with code {said}")
            return
        asked.address, key = said
        asked.answer = asked.actor.watch.remote()
        self._channel.send(Joined(asked.node, asked.address, key, asked.workers))

    def _lost(self, number: str, asked: _Asked, why: str) -> None:
        self._ray.kill(asked.actor)
        del self._asked[number]
        self._not_before[number] = time.monotonic() + _AGAIN_SECONDS
        self._say(f"node {asked.node}: {why}")
        if asked.address:
            self._channel.send(Left(asked.address))

    def _say(self, text: str) -> None:
        self._channel.send(Notice(text))


def _check_token(host: str) -> None:
    if os.environ.get("RAY_AUTH_MODE") != "token" and not _is_loopback(host):
        raise UserError(
            f"everybody who reaches a Ray cluster without a token may run code on it, and {host} can be reached from "
            "other hosts; start its nodes, and this, with RAY_AUTH_MODE=token and one RAY_AUTH_TOKEN"
        )


def _check_answers(host: str, port: int) -> None:
    """Ray itself would try for minutes."""
    try:
        socket.create_connection((host, port), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster answers there ({error}); expected HOST:PORT of its head") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main() -> None:
    """``python -m data_server.far.launcher SOCKET PARENT``."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=descriptor))
    launch = channel.receive(Launch)
    try:
        launcher = _Launcher(channel, launch)
        launcher.connect()
    except ModuleNotFoundError:
        channel.send(Failure("it needs Ray; pip install 'unidetector-jittor[far]'", True))
        return
    except UserError as error:
        channel.send(Failure(str(error), True))
        return
    except Exception as error:  # Ray has many
        mode = os.environ.get("RAY_AUTH_MODE") or "not set"
        channel.send(Failure(f"{described(error)} (RAY_AUTH_MODE is {mode})", True))
        return
    channel.send(Ready(PROTOCOL_VERSION))
    with contextlib.suppress(ChannelClosed):
        launcher.run()


if __name__ == "__main__":
    main()
