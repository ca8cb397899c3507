"""``multiprocessing.Queue``: Python's own with numpy arrays, or torch's with tensors.

Torch's shares memory by descriptor, as DataLoader's does. MMDetection's batches reach it as tensors of private memory,
which the queue moves to shared memory; where ``in_place`` is set they are made in fresh shared memory, as torch's own
`default_collate` does, and the making is not counted.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

import numpy as np

from benchmarks.transports.exchange import Permits, produce_each, serve
from benchmarks.transports.stamps import Stamps


def main(settings: dict[str, Any]) -> None:
    if settings["library"] == "torch":
        # Only here: the other contender is to be a process without torch.
        import torch.multiprocessing

        torch.set_num_threads(1)
        torch.multiprocessing.set_sharing_strategy("file_descriptor")
        queue = torch.multiprocessing.get_context("fork").Queue()
        prepare = _shared_tensor if settings["in_place"] else _tensor
    else:
        queue = multiprocessing.get_context("fork").Queue()
        prepare = _array

    def producer(permits: Permits, stamps: Stamps) -> None:
        for batch in produce_each(permits, stamps, prepare):
            queue.put(batch)

    serve(producer, lambda: queue.get)


def _array(payload: np.ndarray) -> np.ndarray:
    return payload


def _tensor(payload: np.ndarray) -> Any:
    """A fresh tensor: the queue turns the memory of one that it has sent into shared memory, for good."""
    import torch

    return torch.from_numpy(payload).clone()


def _shared_tensor(payload: np.ndarray) -> Any:
    import torch

    return torch.empty(payload.shape, dtype=torch.uint8).share_memory_().copy_(torch.from_numpy(payload))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
