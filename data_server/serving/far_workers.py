"""Which nodes a stream has far workers on: how many proxies each still lacks, and which nodes it has refused; and of an
elastic cluster, how many it wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from data_server.handover.far_link import Place
from data_server.serving.child import Child
from data_server.serving.demand import Demand
from data_server.serving.nodes import FarNode, Nodes

MAX_STILLBORN = 3


class FarWorkers:
    """Of one stream; `nodes` is None where there are none, and for streams that do not train: they are short."""

    def __init__(self, nodes: Nodes | None) -> None:
        self._nodes = nodes
        self._planned = 0  # as many as the stream has memory for
        self._demand: Demand | None = None
        self._refused: set[str] = set()  # addresses: an agent that is started anew has another, and another chance
        self._admitted: set[str] = set()
        self._stillborn: Counter[str] = Counter()

    def open(self, here: int, planned: int) -> None:
        """The stream begins, with `here` workers on this host and memory for `planned` on others."""
        self._planned = planned
        if self._nodes is not None and self._nodes.elastic:
            self._demand = Demand(here, planned)

    def close(self) -> None:
        """The stream is at its end."""
        if self._nodes is not None:
            self._nodes.want(self, 0)

    def delivered(self, processes: Collection[Child], idle: int, *, waited: bool, worth: bool) -> str:
        """The trainer has been given a batch; arguments and line are those of `Demand`."""
        if self._demand is None or not self._demand.delivered(waited=waited, busy=len(processes) - idle):
            return ""
        far = sum(bool(process.address) and process.pidfd is not None for process in processes)
        line = self._demand.judge(far, worth=worth)
        if line and self._nodes is not None:
            self._nodes.want(self, self._demand.wanted)
        return line

    @property
    def most(self) -> int:
        """As many as may come."""
        return self._nodes.most if self._nodes is not None else 0

    @property
    def nodes(self) -> dict[str, FarNode]:
        """Those that make this stream's bytes, as far as is known, by address."""
        known = self._nodes.known if self._nodes is not None else []
        return {node.place.address: node for node in known if node.place.address not in self._refused}

    @property
    def count(self) -> int:
        return sum(node.workers for node in self.nodes.values())

    def vacancy(self, taken: Iterable[str]) -> FarNode | None:
        """A node that has room for another worker beside those at the addresses `taken`."""
        counts = Counter(address for address in taken if address)
        if counts.total() >= self._planned:
            return None
        for address, node in self.nodes.items():
            if counts[address] < node.workers:
                return node
        return None

    def admit(self, address: str) -> Place | None:
        """A worker there is ready: the node has passed. Returns its place when that is new."""
        if address in self._admitted or address not in self.nodes:
            return None
        self._admitted.add(address)
        return self.nodes[address].place

    def refuse(self, address: str) -> None:
        self._refused.add(address)

    def stillborn(self, address: str) -> bool:
        """A proxy died before it began. Returns whether that was once too often: the node is refused."""
        self._stillborn[address] += 1
        if self._stillborn[address] < MAX_STILLBORN:
            return False
        self.refuse(address)
        return True
