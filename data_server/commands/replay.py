"""Makes any batch of a stream again, bit for bit, from (config, seed, step): to see what a training step was fed.

    python -m data_server replay --config C --step K [--split train] [--draw DIR]

Prints the batch's arrays, images and checksum; with ``--draw``, writes each image with its boxes as a PNG. Runs in this
process, with the very functions that a worker uses, so what it makes is what was delivered.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_server.machine.memory import MemoryPlan
from data_server.serving.plan import BatchPlan, Plan
from shared.arena import Arena, create_memory, slot_bytes_for
from shared.config import add_arguments, load_config, seed_of
from shared.data_part import data_part, from_plain
from shared.errors import UserError
from shared.files import save
from shared.layout import Layout
from shared.messages import Assign, Wrote
from shared.pictures import rounded
from shared.terminal import show

_GREEN, _RED = (60, 220, 60), (60, 60, 230)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data_server replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--step", type=int, required=True, help="global step, counted from 0")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write the images with their boxes there")
    options = parser.parse_args(arguments)
    if options.step < 0:
        raise UserError(f"--step {options.step}: expected 0 or more")
    config = load_config(options.config, options.cfg_options)
    with contextlib.redirect_stdout(None), warnings.catch_warnings():  # MMDetection and pycocotools chat
        warnings.simplefilter("ignore")
        part = from_plain(data_part(config, options.split))
        plan, wrote, arrays, size = rebuild(part, seed_of(config), options.step)
    show(describe(plan, wrote, arrays, size))
    if options.draw:
        draw(arrays, options.draw, options.step)
        show(f"images with their boxes are in {options.draw}")


def rebuild(config: dict[str, Any], seed: int, step: int) -> tuple[BatchPlan, Wrote, dict[str, np.ndarray], int]:
    """The batch of global step `step`: its recipe, what a worker says of it, and its arrays (see `shared.batch`); and
    how many images an epoch has.

    Args:
        config: the data part of a trainer's config.

    Raises:
        UserError: a data set cannot be built, an image cannot be used, or the machine has too little memory.
    """
    from data_server.datasets.lazy_imports import import_mmdetection

    import_mmdetection()
    from data_server.datasets.bounds import gather
    from data_server.datasets.parts import Datasets
    from data_server.datasets.samples import BadSample
    from data_server.workers.worker import make_batch

    config = {**config, "feed": {**config["feed"], "checksum": True}}  # printed, whether the stream has one or not
    datasets = Datasets(config)
    facts = gather(datasets, config)
    plan = Plan.of(config, facts, seed).batch(step)
    slot_bytes = slot_bytes_for(facts.payload_bytes(config))
    MemoryPlan(slots=1, slot_bytes=slot_bytes).check()
    memory = create_memory(1, slot_bytes)
    arena = Arena(memory, 1, slot_bytes, writable=True)
    os.close(memory)
    samples = [list(pair) for pair in zip(plan.indices, plan.seeds, strict=True)]
    try:
        wrote = make_batch(arena, datasets, config, Assign(step, 0, 1, samples, 0, plan.switched))
    except BadSample as error:
        raise UserError(str(error)) from None
    return plan, wrote, Layout.from_wire(wrote.layout, arena.capacity).views(arena.payload(0)), len(datasets)


def describe(plan: BatchPlan, wrote: Wrote, arrays: dict[str, np.ndarray], size: int) -> str:
    """What is in the batch, and how many images its epoch has, for people."""
    lines = [f"step {wrote.step} (epoch {plan.epoch}, of {size:,} images), payload xxh3_64 {wrote.digest:016x}"]
    lines += [f"  {name:16}{array.dtype.name:9}{array.shape}" for name, array in arrays.items()]
    for row, image_id in enumerate(arrays["image_ids"]):
        height, width = arrays["image_shapes"][row]
        counts = f"{arrays['box_counts'][row]} boxes, {arrays['ignored'][row].sum()} crowds"
        lines.append(f"  image {image_id}: {width}x{height}, {counts}, seed {plan.seeds[row]}")
    return "\n".join([*lines, *wrote.replaced])


def draw(arrays: dict[str, np.ndarray], directory: Path, step: int) -> None:
    """Writes ``step_K_image_ID.png`` for each image: boxes to train on in green, crowds in red."""
    for row, image_id in enumerate(arrays["image_ids"]):
        height, width = arrays["image_shapes"][row]
        image = rounded(arrays["images"][row, :height, :width])
        boxes = int(arrays["box_counts"][row]) + int(arrays["ignored"][row].sum())
        for box, ignored in zip(arrays["boxes"][row, :boxes], arrays["ignored"][row, :boxes], strict=True):
            x1, y1, x2, y2 = (round(float(edge)) for edge in box)
            cv2.rectangle(image, (x1, y1), (x2, y2), _RED if ignored else _GREEN, 2)
        picture = cv2.imencode(".png", image)[1].tobytes()
        save(directory / f"step_{step}_{row}_image_{image_id}.png", picture, "free some space, or draw somewhere else")
