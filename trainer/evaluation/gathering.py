"""What several ranks have predicted, put together as one rank would have predicted it.

    rank 0   batch 0 │ batch 2 │ batch 4 │──┐
    rank 1   batch 1 │ batch 3 │────────────┴─► rank 0:  batch 0 │ batch 1 │ batch 2 │ batch 3 │ batch 4

What a rank says is a row for each of its batches, with an entry for each reading of the scores: the layout and the
payload of a PREDICTIONS message.
"""

from __future__ import annotations

import msgpack
import numpy as np

from shared.layout import Layout
from trainer.process.ranks import Ranks

Batches = list[dict[str, np.ndarray]]


def gathered(ranks: Ranks, own: dict[str, Batches]) -> dict[str, Batches]:
    """`own` are this rank's predictions, by the name of their reading: one entry a batch, arrays as in
    `shared.messages.Predictions`. Returns those of all ranks in the order of their batches; nothing on other ranks than
    the first."""
    if ranks.size == 1:
        return own
    rows = [[_packed(arrays) for arrays in row] for row in zip(*own.values(), strict=True)]
    said = [msgpack.unpackb(one) for one in ranks.gather(msgpack.packb(rows))]
    count = sum(map(len, said))
    in_order = [said[number % ranks.size][number // ranks.size] for number in range(count)]
    return {name: [_unpacked(*row[place]) for row in in_order] for place, name in enumerate(own)}


def _packed(arrays: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    layout = Layout.of(arrays)
    return layout.wire, layout.filled(arrays).tobytes()


def _unpacked(wire: bytes, payload: bytes) -> dict[str, np.ndarray]:
    return Layout.from_wire(wire, len(payload)).views(np.frombuffer(payload, np.uint8))
