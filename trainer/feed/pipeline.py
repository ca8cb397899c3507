"""The test pipeline of a config as MMDetection runs it, without MMDetection.

    file ── LoadImageFromFile ──► u8 (H,W,3) BGR ── Resize and its like, Pad ──► u8 (h,w,3) BGR, scale factors
                                                                                 or f32, by feed.image_dtype

The pixels are those that the data server puts into a slot. A transform is known by its name, with or without
``mmdet.``, ``mmcv.`` or ``mmengine.`` before it. Whatever is not known, a transform, one of its keys or a value, is
refused by name: nobody would find pixels that differ from those of an evaluation. `LoadAnnotations` and `PackDetInputs`
do nothing to a picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from mmengine.config import Config

from shared.config import feed_settings
from shared.errors import UserError
from shared.keys import COUNT, Values, check_keys
from shared.pictures import colours
from trainer.feed.loader import Loader
from trainer.feed.transforms import CHANGING, RESIZING, Ratio, Transform

SPLITS = ("test", "val")  # whose pipeline is meant, the first that the config has
_ANY = Values(lambda _: True, "anything")  # no effect on a picture
_WITHOUT_EFFECT: dict[str, dict[str, Values]] = {
    "LoadAnnotations": dict.fromkeys(
        (
            *("with_bbox", "with_label", "with_seg", "with_mask", "with_keypoints", "poly2mask", "box_type"),
            *("reduce_zero_label", "ignore_index", "imdecode_backend", "file_client_args", "backend_args"),
        ),
        _ANY,
    ),
    "PackDetInputs": {"meta_keys": _ANY},
}
_LOADER = "LoadImageFromFile"
_PROPOSALS = "LoadProposals"
_PROPOSAL_KEYS = {"num_max_proposals": COUNT.or_none(), "load_score": _ANY}
_SCOPES = ("mmdet", "mmcv", "mmengine")
_KNOWN = (_LOADER, _PROPOSALS, *CHANGING, *_WITHOUT_EFFECT)


@dataclass(frozen=True)
class Pipeline:
    """What a test pipeline does to an image.

    Attributes:
        read: how a file is read, u8 (H,W,3) BGR; raises BadImage.
        transforms: what is done to the picture, in order.
        most_proposals: how many of an image's proposals are taken, None: all.
        image_dtype: ``feed.image_dtype``, what the numbers of the picture are in the end.
    """

    read: Loader = field(default_factory=Loader)
    transforms: tuple[Transform, ...] = ()
    most_proposals: int | None = None
    image_dtype: str = "uint8"

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Resizes and pads u8 (H,W,3); returns u8 or f32 (h,w,3) and its scale factors (w,h,w,h), f32 (4,).

        Raises:
            BadImage: it would have no pixels.
        """
        factors: Ratio = (1.0, 1.0)
        if self.read.to_float32:
            image = image.astype(np.float32)
        for transform in self.transforms:
            image, changed = transform(image)
            factors = changed or factors
        return colours(image, self.image_dtype), np.tile(np.array(factors, np.float32), 2)


def pipeline_of(config: Config) -> Pipeline:
    """The test pipeline of a config, that of its ``test_dataloader`` or else of its ``val_dataloader``.

    Raises:
        UserError: the config has none, or it has a transform, a key or a value that is not known here.
    """
    dataset = dataset_of(config)
    steps = dataset.get("pipeline")
    if not steps:
        raise UserError(
            f"config {config.filename!r} has no test pipeline (test_dataloader.dataset.pipeline); it says how images "
            "are resized"
        )
    found = _understood(list(steps), f"test pipeline of {config.filename!r}")
    return replace(found, image_dtype=feed_settings(config)["image_dtype"])


def dataset_of(config: Config) -> dict[str, Any]:
    """The data set whose pipeline counts, the first of several; an empty dict where the config has none."""
    for split in SPLITS:
        dataset = (config.get(f"{split}_dataloader") or {}).get("dataset")
        while dataset and "pipeline" not in dataset:
            dataset = dataset["datasets"][0] if dataset.get("datasets") else dataset.get("dataset")
        if dataset:
            return dataset
    return {}


def _understood(steps: list[dict[str, Any]], where: str) -> Pipeline:
    """The transforms of a config's pipeline.

    Args:
        where: whose pipeline it is, for messages.

    Raises:
        UserError: a transform, a key or a value is not known.
    """
    loader, most, resized = None, None, ""
    changes: list[Transform] = []
    for number, whole in enumerate(steps):
        if not isinstance(whole, dict):
            raise UserError(f"{where}: transform {number} (counted from 0) is {whole!r}; expected a dict with 'type'")
        step = {key: value for key, value in whole.items() if key not in ("type", "_scope_")}
        name = _name(whole, f"{where}: transform {number} (counted from 0)")
        place = f"{where}: {name}"
        if name == _LOADER:
            if loader is not None or changes:
                raise UserError(f"{place} comes a second time, or after others; expected it once and first")
            _check(place, step, Loader.KEYS)
            loader = Loader.of(step)
        elif name == _PROPOSALS:
            _check(place, step, _PROPOSAL_KEYS)
            most = step.get("num_max_proposals")
        elif name in CHANGING:
            if loader is None:
                raise UserError(f"{place} comes before {_LOADER}; put that first")
            if name in RESIZING:
                if resized:
                    raise UserError(
                        f"{place} follows {resized}: MMDetection keeps the scale factor of the last one alone, so "
                        "boxes would be wrong; leave one of them out"
                    )
                resized = name
            _check(place, step, CHANGING[name].KEYS)
            try:
                changes.append(CHANGING[name].of(step))
            except UserError as error:
                raise UserError(f"{place}: {error}") from None
            if loader.to_float32 and step.get("backend") == "pillow":
                raise UserError(
                    f"{place}.backend is 'pillow', which takes no floats; leave out {_LOADER}.to_float32, or set "
                    "backend='cv2'"
                )
        else:
            _check(place, step, _WITHOUT_EFFECT[name])
    if loader is None:
        raise UserError(f"{where} has no {_LOADER}; put it first")
    return Pipeline(loader, tuple(changes), most)


def _name(step: dict[str, Any], where: str) -> str:
    scope, dot, name = str(step.get("type")).rpartition(".")
    if (
        name not in _KNOWN
        or (dot and scope.partition(".")[0] not in _SCOPES)
        or step.get("_scope_", "mmdet") not in _SCOPES
    ):
        raise UserError(
            f"{where} is {step.get('type')!r}, which is not supported without MMDetection; known are "
            f"{', '.join(_KNOWN)}: take it out of the test pipeline, or write the images as it leaves them to files"
        )
    return name


def _check(where: str, step: dict[str, Any], keys: dict[str, Values]) -> None:
    check_keys(where, step, keys)
    for key, value in step.items():
        keys[key].check(f"{where}.{key}", value)
