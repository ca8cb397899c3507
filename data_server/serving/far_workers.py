"""Which nodes a stream has far workers on: how many proxies each still lacks, and which nodes it has refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from data_server.handover.far_link import Place
from data_server.serving.nodes import FarNode, Nodes

MAX_STILLBORN = 3


class FarWorkers:
    """Of one stream; `nodes` is None where there are none, and for streams that do not train: they are short."""

    def __init__(self, nodes: Nodes | None) -> None:
        self._nodes = nodes
        self._refused: set[str] = set()  # addresses: an agent that is started anew has another, and another chance
        self._admitted: set[str] = set()
        self._stillborn: Counter[str] = Counter()

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
        counts = Counter(taken)
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
