"""What the server must know about a data set before it can plan: how many images, which are wide, how many boxes, how
large a batch can get.

The largest padded batch follows from the images' sizes in the annotations and what the pipeline makes of them
(`data_server.datasets.edges`). With aspect-ratio grouping all images of a batch lie the same way, so its area is
long x short; without, long x long, unless the pipeline makes them all lie one way. Long x long it is as well where they
lie either way whatever they did in their files, and where another image may take the place of one: a transform rejects
some, or ``feed.on_bad_sample`` is 'replace'. ``feed.max_image_size`` overrides all this.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from data_server.datasets.edges import Edges, Lie, along
from data_server.datasets.parts import Datasets
from data_server.handover.facts import DatasetFacts
from shared.batch import padded
from shared.errors import UserError

# Those of MMDetection's and MMCV's transforms that may reject an image. What others may do, nobody knows.
_REJECTING = ("Albu", "FilterAnnotations", "RandomCrop")
_KNOWN = ("mmcv.", "mmdet.", "mmengine.")


def gather(datasets: Datasets, config: dict[str, Any]) -> DatasetFacts:
    """What bounds the batches of a stream.

    Raises:
        UserError: a training set without a single box, or images of unknown size.
    """
    if config["training"] and datasets.max_boxes == 0:
        files = ", ".join(repr(part.annotation_file) for part in datasets.parts)
        raise UserError(
            f"annotation file {files}: no annotated box is left after filtering; there is nothing to train on"
        )
    if config.get("source_ratio") and datasets.is_mixed:
        raise UserError(
            "sampler.source_ratio draws from each data set of a ConcatDataset; here a wrapper around the ConcatDataset "
            "mixes their images: put a wrapper around each data set instead"
        )
    height, width = config["feed"]["max_image_size"] or _largest(datasets, config)
    wide = (datasets.image_sizes[:, 0] > datasets.image_sizes[:, 1]).astype(np.uint8)
    return DatasetFacts(
        wide=wide,
        max_boxes=datasets.max_boxes,
        max_proposals=datasets.proposals,
        height=height,
        width=width,
        fingerprint=datasets.fingerprint,
        sizes=datasets.sizes,
        classes=datasets.classes,
        by_class=datasets.by_class() if config["sampler"] == "ClassAwareSampler" else [],
    )


def _largest(datasets: Datasets, config: dict[str, Any]) -> tuple[int, int]:
    """Height and width of the largest batch, before its pipeline is switched or after it."""
    return max((_largest_of(datasets, config, switched) for switched in (False, True)), key=math.prod)


def _largest_of(datasets: Datasets, config: dict[str, Any], switched: bool) -> tuple[int, int]:
    found = []
    for part, annotated in zip(datasets.parts, datasets.edges, strict=True):
        edges = along(part.steps(switched and part.switches), Edges(*annotated) if all(annotated) else None)
        if edges is None:
            raise UserError(
                "cannot tell how large a batch may get: the pipeline does not say, and the annotations give no "
                "image sizes; set feed.max_image_size=(height, width)"
            )
        found.append(edges)
    long, short, lie = Edges.largest(found)
    divisor = config["size_divisor"]
    long, short = padded(long, divisor), padded(short, divisor)
    kept = lie == Lie.KEPT and config["group_by_aspect_ratio"] and not _may_exchange(datasets, config)
    alike = kept or lie in (Lie.WIDE, Lie.HIGH) or config["batch_size"] == 1
    return (short if alike else long), long


def _may_exchange(datasets: Datasets, config: dict[str, Any]) -> bool:
    """Whether a batch may hold another image than the one that was planned for it."""
    kinds = [type(transform) for part in datasets.parts for transform in part.transforms]
    return config["feed"]["on_bad_sample"] == "replace" or any(
        kind.__name__ in _REJECTING or not kind.__module__.startswith(_KNOWN) for kind in kinds
    )
