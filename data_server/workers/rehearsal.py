"""What a worker will need for itself, measured before any memory is promised: a few batches, made in a process forked
for that, as a worker would make them.

It uses the images with the largest files, which take the most memory to decode, and how many follows from the config
alone: the answer is the same however busy the machine is. A batch that kills its process, cannot be made, takes too
long or is larger than the machine is not judged here: the plan falls back on a guess, and the stream will name it.
"""

from __future__ import annotations

from typing import Any

from data_server.datasets.parts import Datasets
from data_server.handover.facts import DatasetFacts
from data_server.machine.memory import MIB, MemoryPlan
from data_server.machine.process_memory import Anonymous, given_back_bytes, private_bytes
from data_server.workers import trial
from data_server.workers.trial import Say
from data_server.workers.worker import make_batch, prepare
from shared import source
from shared.arena import Arena, create_memory, slot_bytes_for
from shared.messages import Assign

GUESS = 64 * MIB
_CANDIDATES = 2000
_MAX_BATCHES = 20  # the allocator takes that many small ones to settle
_MIN_BATCHES = 3
_IMAGES = 40
_HANG_SECONDS = 30  # of the wall's clock for one batch: no machine is that busy
_SETTLING = 5 * MIB // 4  # taken in the course of the first thousand batches: 1.0 to 1.3 MiB, whatever the images


def worker_bytes(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts) -> int:
    """Bytes that a worker holds for itself at most while it makes a batch; `GUESS` when that cannot be found out."""
    patience = trial.patience(config, _HANG_SECONDS)
    said = trial.begin(lambda say: _rehearse(datasets, config, facts, say)).answer(lambda: patience)
    *_, answer = said.split() or [b""]
    return int(answer) if answer.isdigit() else GUESS


def _rehearse(datasets: Datasets, config: dict[str, Any], facts: DatasetFacts, say: Say) -> None:
    """Says a word after each batch, and the answer at the end."""
    prepare()
    slot_bytes = slot_bytes_for(facts.payload_bytes(config))
    MemoryPlan(slots=1, slot_bytes=slot_bytes).check()
    memory = create_memory(1, slot_bytes)
    arena = Arena(memory, 1, slot_bytes, writable=True)
    size = config["batch_size"]
    batches = min(_MAX_BATCHES, max(_MIN_BATCHES, _IMAGES // size))
    samples = [[index, seed] for seed, index in enumerate(_largest(datasets, facts, batches * size))]
    anonymous = Anonymous()
    inherited = anonymous.bytes()
    for batch in range(batches):
        switched = config.get("switch") is not None and batch % 2 == 1
        make_batch(arena, datasets, config, Assign(0, 0, 1, samples[batch * size : (batch + 1) * size], 0, switched))
        if anonymous.bytes() - inherited > config["feed"]["worker_memory"] * MIB:
            break  # a worker would be replaced
        say(b"batch\n")
    # The peak lies above what is held now by what the allocator has given back.
    say(b"%d\n" % (_SETTLING + private_bytes() - slot_bytes + given_back_bytes()))


def _largest(datasets: Datasets, facts: DatasetFacts, count: int) -> list[int]:
    """The indices of the images with the largest files, among some that are spread over the data set; all wide or all
    high, because others may not fit into one batch."""
    step = max(1, len(datasets) // _CANDIDATES)
    by_size = []
    for index in range(0, len(datasets), step):
        part, place = datasets.locate(index)
        by_size.append((source.size(part.image_path(place)) or 0, index))
    largest = [index for _, index in sorted(by_size, reverse=True)]
    alike = [index for index in largest if facts.wide[index] == facts.wide[largest[0]]]
    return (alike * count)[:count]
