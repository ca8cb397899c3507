"""MMDetection's configs, resolved, and what of them is fed: their data sets over photographs of our own.

    configs/…/*.py ──resolve──► Config ──over photographs──► Fed, one for all with equal pipelines and wrappers

A config's annotation files are nowhere here. So every data set that holds images becomes a `CocoDataset` of the
photographs; its pipeline and its filter stay, and so do the wrappers around it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from shared.data_part import data_part
from shared.errors import UserError
from shared.pipeline_switch import pipeline_switch

SPLITS = ("train", "later", "val")  # later: the training set in the last epochs, where its pipeline is another then
_KEPT = ("pipeline", "filter_cfg", "test_mode")
_OTHER_TASKS = re.compile("MOT|ReID|Track|Youtube|RefCoco|ODVG|Panoptic|ADE20K|Caption|DSDL|Flickr|MDETR|DOD|Semi")


@dataclass
class Fed:
    """A data set over photographs.

    Attributes:
        part: what a stream is opened with (`shared.data_part`), of single images in the data set's order.
        configs: the files that have it.
        boxes_only: whether it loads boxes and nothing else, of a detection data set.
    """

    split: str
    part: dict[str, Any]
    boxes_only: bool
    configs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Photographs:
    """Images with annotations in COCO's format.

    Attributes:
        folder: has ``images/``.
        annotations: a JSON file in which every box has a polygon.
        classes: the names of its categories.
    """

    folder: Path
    annotations: Path
    classes: list[str]

    @classmethod
    def of(cls, folder: Path, own: Path) -> Photographs:
        """Those of a folder with ``images/`` and an annotation file; a box without a polygon becomes one.

        Args:
            own: a folder for the annotations with polygons.

        Raises:
            UserError: the folder has no annotation file, or no images.
        """
        found = sorted(folder.glob("*.json"))
        if not found or not (folder / "images").is_dir():
            raise UserError(f"photographs {folder}: expected a folder images/ and a COCO annotation file *.json")
        content = json.loads(found[0].read_bytes())
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation.setdefault("segmentation", [[x, y, x + w, y, x + w, y + h, x, y + h]])
        annotations = own.resolve() / "annotations.json"
        annotations.write_text(json.dumps(content))
        return cls(folder.resolve(), annotations, [one["name"] for one in content["categories"]])

    def dataset(self, leaf: dict[str, Any]) -> dict[str, Any]:
        """The data set `leaf` of a config, of these images."""
        return {
            **{key: leaf[key] for key in _KEPT if key in leaf},
            "type": "CocoDataset",
            "data_root": str(self.folder),
            "ann_file": str(self.annotations),
            "data_prefix": {"img": "images/"},
            "metainfo": {"classes": self.classes},
        }


def installed() -> Path:
    """The configs that come with MMDetection."""
    package = find_spec("mmdet")
    assert package is not None and package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / ".mim" / "configs"


def files(zoo: Path) -> list[Path]:
    """Every config of a folder that is no part of others.

    Raises:
        UserError: there is none.
    """
    found = [file for file in sorted(zoo.rglob("*.py")) if "_base_" not in file.parts and file.name != "__init__.py"]
    if not found:
        raise UserError(f"zoo {zoo}: no config (*.py) in it or below")
    return found


def resolved(file: Path) -> Config:
    """A config with all that it inherits. Raises whatever MMEngine raises."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return Config.fromfile(str(file))


def is_detection(config: Config) -> bool:
    """Whether a config trains on images with boxes or masks, and not on videos, texts, persons or what has no label."""
    dataset = ((config.get("train_dataloader") or {}).get("dataset") or Config()).to_dict()
    return bool(dataset) and not _of_another_task(dataset)


def _of_another_task(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(_OTHER_TASKS.search(_kind(value))) or any(map(_of_another_task, value.values()))
    return isinstance(value, list | tuple) and any(map(_of_another_task, value))


def _kind(value: dict[str, Any]) -> str:
    return str(value.get("type", "")).rpartition(".")[2]


def fed_of(configs: Iterable[tuple[str, Config]], photographs: Photographs) -> Iterator[Fed]:
    """The different data sets of some configs, the most frequent first."""
    found: dict[str, Fed] = {}
    for name, config in configs:
        for split in SPLITS:
            dataset = _dataset(config, split)
            if not dataset:
                continue
            part = _part(config, "train" if split == "later" else split, _over(dataset, photographs))
            one = found.setdefault(split + json.dumps(part, sort_keys=True), Fed(split, part, _boxes_only(dataset)))
            one.boxes_only = one.boxes_only and _boxes_only(dataset)
            one.configs.append(name)
    yield from sorted(found.values(), key=lambda one: -len(one.configs))


def _dataset(config: Config, split: str) -> dict[str, Any] | None:
    if split != "later":
        dataset = (config.get(f"{split}_dataloader") or {}).get("dataset")
        return dataset.to_dict() if dataset else None
    dataset, switch = _dataset(config, "train"), pipeline_switch(config)
    if not dataset or switch is None:
        return None
    return (
        {**dataset, "pipeline": switch["pipeline"]}
        if "pipeline" in switch
        else {**dataset, "skip_type_keys": switch["skip"]}
    )


def _over(dataset: dict[str, Any], photographs: Photographs) -> dict[str, Any]:
    if "datasets" in dataset:
        return {**dataset, "datasets": [_over(one, photographs) for one in dataset["datasets"]]}
    if "dataset" in dataset:
        return {**dataset, "dataset": _over(dataset["dataset"], photographs)}
    return photographs.dataset(dataset)


def _part(config: Config, split: str, dataset: dict[str, Any]) -> dict[str, Any]:
    preprocessor = (config.get("model") or {}).get("data_preprocessor") or {}
    divisor = preprocessor.get("pad_size_divisor", 1)
    loader = {"batch_size": 1, "sampler": {"type": "DefaultSampler", "shuffle": False}, "dataset": dataset}
    return data_part(
        Config(
            {
                f"{split}_dataloader": loader,
                "model": {"data_preprocessor": {"pad_size_divisor": divisor}},
                "custom_imports": config.get("custom_imports"),
                "feed": {"linger_seconds": 0},
            }
        ),
        split,
    )


def _boxes_only(value: Any) -> bool:
    """Whether nothing in a data set's config loads masks, texts or videos."""
    if isinstance(value, dict):
        kind = _kind(value)
        other = _OTHER_TASKS.search(kind) or (re.fullmatch("Load.+Annotations", kind) is not None)
        masks = kind == "LoadAnnotations" and any(value.get(key) for key in ("with_mask", "with_seg"))
        return not other and not masks and all(map(_boxes_only, value.values()))
    return not isinstance(value, list | tuple) or all(map(_boxes_only, value))
