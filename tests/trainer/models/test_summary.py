"""A model as a table: what its parts have, and what the whole has."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tests.trainer.models.clip_examples import small_clip_model
from tests.trainer.models.examples import small_model
from trainer.models import build_detector
from trainer.models.summary import counts, rows, totals


def test_parts_add_up_to_the_whole() -> None:
    model = build_detector(small_model())
    lines = {line[0]: line for line in rows(model, 96, 128)}
    size = {name: int(line[3].replace(",", "")) for name, line in lines.items()}
    parts = ("backbone", "neck", "rpn_head", "roi_head")
    assert sum(size[name] for name in parts) == sum(counts(model)[:2])
    for whole in (*parts[:3], "roi_head.bbox_head"):
        inner = [name for name in size if name.startswith(f"{whole}.")]
        assert sum(size[name] for name in inner) == size[whole]
    assert lines["neck"][2] == "1x16x24x32 ... 1x16x2x2"
    assert lines["roi_head.bbox_head.shared_fcs.0"][2] == "32x32"


def test_frozen_and_trainable_numbers_and_buffers_are_told_apart(tmp_path: Path) -> None:
    model = build_detector(small_clip_model(tmp_path))
    trainable, frozen, buffers = counts(model)
    values = dict(model.named_parameters())
    frozen_names = [name for name in values if re.match(r"backbone\.(conv|bn|layer1)", name) and "running" not in name]
    assert frozen == sum(np.prod(values[name].shape) for name in frozen_names)
    assert buffers == sum(np.prod(value.shape) for name, value in values.items() if re.search("running|zs_w", name))
    assert trainable + frozen + buffers == sum(np.prod(value.shape) for value in values.values())
    assert totals(model).startswith(f"{trainable + frozen:,} parameters, {trainable:,} trainable")
