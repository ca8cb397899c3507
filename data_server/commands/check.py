"""Checks the data sets of a config, before hours are spent on training.

    every data set of train, val and test ─┬─ its annotation file      data_server.checks.annotations
                                           ├─ as MMDetection builds it: filters, proposals
                                           ├─ its image files          data_server.checks.images
                                           └─ its classes and the box head's text embeddings
                                                                       data_server.checks.vocabulary

Data sets are looked at one after the other, so the memory needed is that of the largest. Of images, some are decoded
unless all are asked for.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from data_server.checks.annotations import Counts, look_through
from data_server.checks.findings import Findings
from data_server.checks.images import look_at
from data_server.checks.vocabulary import compare
from data_server.datasets.parts import Part, import_custom
from shared import coco
from shared.config import add_arguments, load_config, section
from shared.data_part import data_part, from_plain
from shared.errors import UserError

SPLITS = ("train", "val", "test")
DECODED = 200
_LIKE_COCO = ("Coco", "LVIS", "Objects365")
_NEEDED = {
    "images": ("id", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


@dataclass(frozen=True)
class Place:
    """A data set of a config: the split it is of, its number there, and its config with data_root filled in."""

    split: str
    number: int
    dataset: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.split} {self.number}: {self.dataset.get('ann_file') or self.dataset.get('type')}"


def places(config: Config) -> Iterator[Place]:
    """Every data set of a config.

    Raises:
        UserError: a dataloader lacks something.
    """
    for split in SPLITS:
        if config.get(f"{split}_dataloader"):
            dataset = from_plain(data_part(config, split)["dataset"])
            parts = dataset["datasets"] if dataset.get("type") == "ConcatDataset" else [dataset]
            yield from (Place(split, number, part) for number, part in enumerate(parts))


def check(place: Place, head: dict[str, Any], decode: int | None) -> tuple[str, Findings]:
    """Checks one data set.

    Args:
        head: the config's box head.
        decode: how many images are decoded; None: all.

    Returns:
        one line about what is there, and what is wrong with it.
    """
    found, lines = Findings(), []
    counts = _annotated(place, found)
    if counts is not None:
        lines.append(
            f"{counts.images:,} images, {counts.empty_images:,} of them without a box; {counts.boxes:,} boxes and "
            f"{counts.crowds:,} crowds; {len(counts.classes):,} classes"
        )
    whole = _built(place, _whole(place.dataset), found)
    if whole is None:
        return "; ".join(lines) or "not readable", found
    if counts is None:
        lines.append(f"{len(whole.dataset):,} images; {len(whole.classes):,} classes")
    if place.split == "train":
        trained_on = _built(place, place.dataset, found)
        lines.append(f"{len(trained_on.dataset):,} images to train on" if trained_on else "not ready to be trained on")
    elif place.dataset.get("proposal_file"):
        _built(place, place.dataset, found)
    infos = (whole.dataset.get_data_info(index) for index in range(len(whole.dataset)))
    images = [(info["img_path"], info.get("width", 0), info.get("height", 0)) for info in infos]
    lines.append(f"{look_at(images, decode, found):,} images decoded")
    if not whole.class_agnostic:
        compare(counts.classes if counts else whole.classes, head, place.number, place.split == "train", found)
    return "; ".join(lines), found


def _annotated(place: Place, found: Findings) -> Counts | None:
    """What the annotation file holds; None where it is not in COCO's format, or not readable."""
    dataset = place.dataset
    if not dataset.get("ann_file") or not any(word in dataset["type"] for word in _LIKE_COCO):
        return None
    named = (dataset.get("metainfo") or {}).get("classes")
    path = Path(dataset.get("data_root") or "") / dataset["ann_file"]
    try:
        return look_through(coco.read(path, **_NEEDED), list(named) if named else None, found)
    except UserError as error:
        found.error(str(error))
        return None


def _built(place: Place, dataset: dict[str, Any], found: Findings) -> Part | None:
    """The data set as MMDetection builds it, and its proposals; None where that fails.

    What is wrong with its annotations is known then, and not said again.
    """
    try:
        with contextlib.redirect_stdout(None):  # pycocotools chats
            return Part(dataset, place.number, training=place.split == "train")
    except UserError as error:
        if not found.errors:
            found.error(str(error))
        return None


def _whole(dataset: dict[str, Any]) -> dict[str, Any]:
    """The config of a data set with all its images and without proposals."""
    dropped = ("filter_cfg", "indices", "proposal_file", "proposal_model")
    kept = {key: value for key, value in dataset.items() if key not in dropped}
    pipeline = [step for step in kept.get("pipeline", ()) if step.get("type") != "LoadProposals"]
    return {**kept, "pipeline": pipeline, "test_mode": True}


def report(config: Config, decode: int | None) -> int:
    """Checks every data set of a config and prints what it finds.

    Returns:
        2 when there is an error, else 0.
    """
    DefaultScope.get_instance("unidetector", scope_name="mmdet")
    import_custom(config.get("custom_imports"))
    head = section(config, "model").roi_head.bbox_head
    checked: dict[str, str] = {}
    errors = warnings = 0
    for place in places(config):
        print(f"\n{place}", flush=True)
        twin = checked.setdefault(repr((place.dataset, place.split == "train" and place.number)), str(place))
        if twin != str(place):
            print(f"  the same as {twin}")
            continue
        summary, found = check(place, head, decode)
        print(f"  {summary}")
        for finding in found:
            print(f"  {finding}")
        errors, warnings = errors + found.errors, warnings + found.warnings
    if not checked:
        raise UserError(f"config {config.filename!r} has no data set: no train_, val_ or test_dataloader")
    print(f"\n{errors} kinds of errors, {warnings} of warnings in {len(checked)} data sets")
    return 2 if errors else 0


def main(argv: list[str]) -> int:
    """``python -m data_server check --config C [--images all|N]``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m data_server check", description="Check the data sets of a config before training."
    )
    add_arguments(parser)
    parser.add_argument(
        "--images",
        type=_number_or_all,
        default=DECODED,
        metavar="all|N",
        help="how many images of each data set are decoded (default: %(default)s, spread over all)",
    )
    options = parser.parse_args(argv)
    return report(load_config(options.config, options.cfg_options), options.images)


def _number_or_all(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("expected a number, or all")
    return int(text)
