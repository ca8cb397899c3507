"""The order that the data part of a config asks for, of the data set that was built."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_server.handover.facts import DatasetFacts
from data_server.serving.orders import Order
from data_server.serving.orders.batching import Batching, Groups
from data_server.serving.orders.class_aware import ClassAwareOrder
from data_server.serving.orders.default import DefaultOrder, cells
from data_server.serving.orders.infinite import InfiniteOrder
from data_server.serving.orders.multi_source import MultiSourceOrder
from data_server.serving.orders.sample_sizes import SampleSizesOrder
from shared.datasets import parts_of, wrapper_of
from shared.errors import UserError
from shared.samplers import BY_DATA_SET, DEFAULT, GROUPED_SOURCES, SOURCES, shares


def order_of(config: dict[str, Any], facts: DatasetFacts, seed: int) -> Order:
    """Raises UserError where sampler and data set do not go together."""
    sampler, shuffle = config["sampler"], config["shuffle"]
    if sampler in SOURCES:
        return _of_sources(config, facts, seed)
    batching = Batching(
        _groups(config, facts), config["batch_size"], shuffle or sampler != DEFAULT, bool(config["drop_last"])
    )
    if sampler == "ClassAwareSampler":
        return ClassAwareOrder(batching, facts.by_class, config["num_sample_class"], seed)
    if sampler == "CustomSampleSizeSampler":
        wanted, sizes = config["dataset_size"], _sources(config, facts)
        if config["ratio_mode"]:
            wanted = [some if some == -1 else int(some * size) for some, size in zip(wanted, sizes, strict=False)]
        return SampleSizesOrder(batching, sizes, wanted, seed)
    batches = config["num_batch_per_epoch"]
    images = _images_for(batches, config["batch_size"], len(facts.wide))
    if sampler == "InfiniteSampler":
        return InfiniteOrder(batching, images, seed, shuffle)
    ratio = config["source_ratio"]
    drawn = cells(facts.wide, facts.sizes, ratio, shuffle) if ratio else None
    return DefaultOrder(batching, images, seed, drawn, batches)


def _of_sources(config: dict[str, Any], facts: DatasetFacts, seed: int) -> MultiSourceOrder:
    sources = np.split(np.arange(len(facts.wide)), np.cumsum(_sources(config, facts))[:-1])
    groups = [sources]
    if config["sampler"] == GROUPED_SOURCES:
        groups = [[images[facts.wide[images] == wide] for images in sources] for wide in (1, 0)]
    draw = shares(config["source_batch_size"], config["source_ratio"])
    if len(draw) != len(sources):
        raise UserError(
            f"sampler.source_ratio is {list(config['source_ratio'])}; expected {len(sources)} numbers, one for each "
            "data set of the ConcatDataset"
        )
    return MultiSourceOrder(groups, draw, config["batch_size"], seed, config["shuffle"])


def _groups(config: dict[str, Any], facts: DatasetFacts) -> Groups:
    """The group of each image: 0 where it is wide, 1 where it is high, without groups all 0; and 2 more for each data
    set before its own, where no batch mixes data sets."""
    grouped = config["group_by_aspect_ratio"]
    groups = (1 - facts.wide if grouped else np.zeros_like(facts.wide)).astype(np.uint16)
    if config["grouped_data_sets"]:
        sizes = _sources(config, facts)
        if len(sizes) != config["grouped_data_sets"]:
            raise UserError(
                f"batch_sampler.num_datasets is {config['grouped_data_sets']}; the ConcatDataset has {len(sizes)}"
            )
        groups += np.repeat(2 * np.arange(len(sizes), dtype=np.uint16), sizes)
    return groups


def _images_for(batches: int | None, batch_size: int, images: int) -> int:
    """How many images so many batches take; None: all."""
    if batches is None:
        return images
    if batches * batch_size > images:
        raise UserError(
            f"num_batch_per_epoch takes {batches * batch_size} images of batches of {batch_size}, and there are "
            f"{images}: lower it, or remove it"
        )
    return batches * batch_size


def _sources(config: dict[str, Any], facts: DatasetFacts) -> list[int]:
    """How many images each data set of the outermost ConcatDataset has, wrappers within it included."""
    dataset = config["dataset"]
    if wrapper_of(dataset) != "ConcatDataset":
        by = BY_DATA_SET if config["grouped_data_sets"] else config["sampler"]
        raise UserError(
            f"{by} goes by the data sets of a ConcatDataset; the outermost data set here is a {dataset.get('type')}: "
            "put one ConcatDataset around all"
        )
    sizes, found = iter(facts.sizes), []
    for inner in dataset["datasets"]:
        found.append(sum(next(sizes) for _ in parts_of(inner)))
    return found
