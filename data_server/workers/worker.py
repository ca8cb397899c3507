"""A worker: makes batches, one at a time, straight into the slots that it is assigned.

    ASSIGN (step, slot, generation, samples) ──► run each sample's pipeline ──► lay the arrays out ──►
    one copy per image into the slot, padded with zeros ──► header and checksum ──► WROTE

Before each sample it notes in the slot which one it is making, so that a sample that kills it is known. It is forked
from the stream's nursery, so the data set is already built and its memory shared. It keeps no state between batches:
killing it at any moment loses only the current batch, which another worker makes again, with the same bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import torch

from data_server.datasets.parts import Datasets
from data_server.datasets.samples import BadSample, Sample, load
from data_server.machine.process_memory import Anonymous
from data_server.workers.announce import announce
from data_server.workers.payload import lay_out, write
from shared.arena import Arena
from shared.batch import BOX_MULTIPLE, layout_of
from shared.channel import Channel
from shared.checksum import Checksum
from shared.errors import UserError
from shared.faults import reach
from shared.layout import Layout
from shared.messages import Assign, Failure, Spawn, Wrote

MAX_REPLACED_IN_A_ROW = 100


def run(channel: Channel, datasets: Datasets, config: dict[str, Any], spawn: Spawn, memory: int) -> None:
    """Serves assignments. `memory` is the arena's descriptor. Raises ChannelClosed when the server is gone."""
    prepare()
    arena = Arena(memory, spawn.slots, spawn.slot_bytes, writable=True)
    os.close(memory)
    anonymous = Anonymous()
    inherited = anonymous.bytes()
    held = 0  # after the batch before: looking now would keep the trainer waiting
    announce(channel)
    while True:
        assignment = channel.receive(Assign)
        reach("worker.assigned")
        try:
            channel.send(make_batch(arena, datasets, config, assignment, held))
            reach("worker.wrote")
            held = max(0, anonymous.bytes() - inherited)
        except (UserError, BadSample) as error:
            channel.send(Failure(str(error), True))


def prepare() -> None:
    """One thread for each worker: the machine's cores are for several."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def make_batch(arena: Arena, datasets: Datasets, config: dict[str, Any], assignment: Assign, held: int = 0) -> Wrote:
    """Writes the batch of `assignment` into its slot; `held` bytes are what this process was found to hold before.

    Raises:
        BadSample: an image cannot be used and ``feed.on_bad_sample`` is 'stop'.
        UserError: the batch does not fit the slot.
    """
    begun = time.process_time()
    replaced: list[str] = []
    datasets.switch(assignment.switched)
    samples = _load_all(arena, datasets, config["feed"], assignment, replaced)
    reach("worker.loaded")
    layout = lay_out(samples, config, datasets.proposals)
    if layout.nbytes > arena.capacity:
        raise UserError(_does_not_fit(layout, arena.capacity, assignment.step))
    payload = arena.payload(assignment.slot)
    checksum = Checksum(payload, wanted=config["feed"]["checksum"])
    write(samples, layout.views(payload), checksum)
    reach("worker.written")
    digest = arena.seal(assignment.slot, assignment.generation, assignment.step, layout, checksum)
    reach("worker.sealed")
    spent = microseconds_since(begun)
    return Wrote(assignment.step, assignment.slot, assignment.generation, layout.wire, digest, replaced, held, spent)


def microseconds_since(begun: float) -> int:
    """Of this process' processor time, which was `begun` seconds."""
    return round(1e6 * (time.process_time() - begun))


def _does_not_fit(layout: Layout, capacity: int, step: int) -> str:
    batch, height, width, _ = layout.fields[0].shape
    room = {field.name: field.shape[1] for field in layout.fields if field.name in ("boxes", "proposals")}
    boxes, proposals = room["boxes"], room.get("proposals", 0)
    if layout_of(batch, height, width, BOX_MULTIPLE, proposals, layout.fields[0].dtype).nbytes > capacity:
        remedy = f"set feed.max_image_size=({height}, {width}) or more"
    else:
        remedy = f"set feed.max_boxes={boxes} or more"
    return (
        f"the batch of step {step} ({batch} images padded to {height}x{width}, {boxes} boxes each) "
        f"needs {layout.nbytes} bytes, a slot holds {capacity}; {remedy}"
    )


def _load_all(
    arena: Arena, datasets: Datasets, feed: dict[str, Any], assignment: Assign, replaced: list[str]
) -> list[Sample]:
    """The samples of a batch, in order; a suspect is made first, when nothing else can be to blame."""
    samples: dict[int, Sample] = {}
    places = range(1, len(assignment.samples) + 1)
    for place in sorted(places, key=lambda place: place != assignment.suspect):
        index, seed = assignment.samples[place - 1]
        part, row = datasets.locate(index)
        note = partial(arena.take_in_hand, assignment.slot, place)
        note(part.image_path(row))
        reach("worker.sample")
        samples[place] = _load(datasets, index, seed, feed, replaced, note)
    arena.take_in_hand(assignment.slot, 0)
    return [samples[place] for place in places]


def _load(
    datasets: Datasets,
    index: int,
    seed: int,
    feed: dict[str, Any],
    replaced: list[str],
    begins: Callable[[str], None] | None,
) -> Sample:
    in_a_row = min(len(datasets), MAX_REPLACED_IN_A_ROW)
    for offset in range(in_a_row):
        try:
            # By the same seed, the same images would be mixed into the next one.
            seeded = (index + offset) % len(datasets), (seed + offset) % 2**64
            return load(datasets, *seeded, begins, feed["image_dtype"])
        except BadSample as error:
            if feed["on_bad_sample"] == "stop":
                raise BadSample(f"{error} (feed.on_bad_sample='replace' would skip it)") from None
            replaced.append(str(error))
    raise BadSample(f"{in_a_row} images in a row cannot be used; the last: {replaced[-1]}")
