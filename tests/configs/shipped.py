"""The configs that come with the project, by short names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mmengine.config import Config

from shared.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
_DECOUPLED, _END_TO_END = "clip_decouple_faster_rcnn_r50_c4_1x", "clip_end2end_faster_rcnn_r50_c4_1x"

# Upstream's thirteen, in the order of single data set, several, inference; and two of a smaller scale.
FILES = {
    "coco stage 1": f"singledataset/{_DECOUPLED}_coco_1ststage.py",
    "coco stage 2": f"singledataset/{_DECOUPLED}_coco_2ndstage.py",
    "coco end to end": f"singledataset/{_END_TO_END}_coco.py",
    "two sets stage 1": f"multidataset/{_DECOUPLED}_objcoco_1ststage.py",
    "three sets stage 1": f"multidataset/{_DECOUPLED}_oidobjcoco_1ststage.py",
    "two sets stage 2": f"multidataset/{_DECOUPLED}_objcoco_2ndstage.py",
    "three sets stage 2": f"multidataset/{_DECOUPLED}_oidobjcoco_2ndstage.py",
    "two sets end to end": f"multidataset/{_END_TO_END}_obj365coco.py",
    "three sets end to end": f"multidataset/{_END_TO_END}_oidobj365coco.py",
    "lvis stage 1": f"inference/{_DECOUPLED}_lvis_v0.5_1ststage.py",
    "lvis stage 2": f"inference/{_DECOUPLED}_lvis_v0.5_2ndstage.py",
    "lvis calibrated": f"inference/{_DECOUPLED}_lvis_v0.5_2ndstage_withcalibration.py",
    "lvis end to end": f"inference/{_END_TO_END}_lvis_v0.5.py",
    "mixed mode stage 1": "mixed_mode_coco_objects365_1ststage_rpn.py",
    "mixed mode stage 2": "mixed_mode_coco_objects365_2ndstage_roi.py",
}


@cache
def load(name: str, **options: object) -> Config:
    """The config with that short name, resolved; not to be changed."""
    return load_config(str(CONFIGS / FILES[name]), options)
