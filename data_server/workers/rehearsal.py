"""What a worker will need for itself, measured before any memory is promised: a few batches, made in a process forked
for that, as a worker would make them.

It uses the images with the largest files, which take the most memory to decode. A batch that kills its process, cannot
be made or is larger than the machine is not judged here: the plan falls back on a guess, and the stream will name it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from data_server.datasets.parts import Datasets
from data_server.datasets.samples import BadSample
from data_server.handover.facts import DatasetFacts
from data_server.machine.memory import MIB, MemoryPlan
from data_server.machine.process_memory import given_back_bytes, private_bytes
from data_server.workers.worker import make_batch, prepare
from shared.arena import Arena, create_memory, slot_bytes_for
from shared.errors import UserError
from shared.lifetime import die_with_parent
from shared.messages import Assign

GUESS = 64 * MIB
_CANDIDATES = 2000
_BATCHES = 20  # the allocator takes that many to settle
_SECONDS = 0.4
_SETTLING = 5 * MIB // 4  # taken in the course of the first thousand batches: 1.0 to 1.3 MiB, whatever the images


def worker_bytes(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts) -> int:
    """Bytes that a worker holds for itself at most while it makes a batch; `GUESS` when that cannot be found out."""
    reader, writer = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            die_with_parent(parent)
            os.write(writer, str(_rehearse(datasets, config, facts)).encode())
        except (UserError, BadSample, OSError):
            pass
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return int(text or GUESS)


def _rehearse(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts) -> int:
    prepare()
    slot_bytes = slot_bytes_for(facts.payload_bytes(config))
    MemoryPlan(slots=1, slot_bytes=slot_bytes).check()
    memory = create_memory(1, slot_bytes)
    arena = Arena(memory, 1, slot_bytes, writable=True)
    size = config["batch_size"]
    samples = [[index, seed] for seed, index in enumerate(_largest(datasets, facts, _BATCHES * size))]
    end = time.monotonic() + _SECONDS
    for batch in range(_BATCHES):
        make_batch(arena, datasets, config, Assign(0, 0, 1, samples[batch * size : (batch + 1) * size], 0))
        if time.monotonic() > end:
            break
    # The peak lies above what is held now by what the allocator has given back.
    return _SETTLING + private_bytes() - slot_bytes + given_back_bytes()


def _largest(datasets: Datasets, facts: DatasetFacts, count: int) -> list[int]:
    """The indices of the images with the largest files, among some that are spread over the data set; all wide or all
    high, because others may not fit into one batch."""
    step = max(1, len(datasets) // _CANDIDATES)
    by_size = []
    for index in range(0, len(datasets), step):
        part, place = datasets.locate(index)
        path = Path(part.image_path(place))
        by_size.append((path.stat().st_size if path.exists() else 0, index))
    largest = [index for _, index in sorted(by_size, reverse=True)]
    alike = [index for index in largest if facts.wide[index] == facts.wide[largest[0]]]
    return (alike * count)[:count]
