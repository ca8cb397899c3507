"""The values of UniDetector's own configs, by the names of `tests.configs.shipped.FILES`."""

from __future__ import annotations

from typing import Any

IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
CLIP = ([122.7709383, 116.7460125, 104.09373615], [68.5005327, 66.6321579, 70.32316305])
COCO = ("coco/annotations/instances_valminusminival2014.json", "coco/images/val2014/")
VAL2017 = ("coco/annotations/instances_val2017.json", "coco/val2017/")
OBJECTS365 = ("objects365/annotations/zhiyuan_objv2_train.1@3.5.json", "objects365/train/")
OPENIMAGES = ("openimages/annotations/oid_challenge_2019_train_bbox.1@4.5.json", "openimages/")
LVIS = ("lvis_v0.5/annotations/lvis_v0.5_val.json", "lvis_v0.5/val2017/")
SMALL_COCO = ("coco/annotations/instances_train2017.1@5.0.json", "coco/train2017/")
SMALL_VAL2017 = ("coco/annotations/instances_val2017.1@17.0.json", "coco/val2017/")
SMALL_OBJECTS365 = ("objects365/annotations/zhiyuan_objv2_train.1@2.0.json", "objects365/train/")
COCO_TEXT, OBJECTS365_TEXT, OPENIMAGES_TEXT, LVIS_TEXT = (
    f"data/clip_embeddings/{name}_clip_a+cname_rn50_manyprompt.npy"
    for name in ("coco", "objects365", "oid", "lvis_v0.5")
)
OBJECTS365_COUNTS = "data/objects365/annotations/zhiyuan_objv2_train.1@3.5_cat_info.json"
SMALL_OBJECTS365_COUNTS = "data/objects365/annotations/zhiyuan_objv2_train.1@2.0_cat_info.json"
OPENIMAGES_COUNTS = "data/openimages/annotations/oid_challenge_2019_train_bbox.1@4.5_cat_info.json"
SLOW_CLIP = {"backbone": {"lr_mult": 0.1}, "roi_head": {"lr_mult": 0.1}}
RESNET, REGIONCLIP = "data/weights/resnet50-0676ba61.pth", "data/weights/regionclip_pretrained-cc_rn50.pth"

TWELVE_EPOCHS: dict[str, Any] = {"epochs": 12, "milestones": [8, 11], "batch": 2, "metric": "bbox", "interval": 1}
STAGE_1 = {
    "detector": "FasterRCNN",
    "rpn": "OlnRPNHead",
    "roi_head": "OlnRoIHead",
    "head": "Shared2FCBBoxScoreHead",
    "classes": 1,
    "norm": IMAGENET,
    "nms": ("nms", 0.9),
    "score_thr": 0.0,
    "max_per_img": 1500,
    "class_agnostic": True,
    "alpha": 0.3,
}
TRAINED_STAGE_1 = {**STAGE_1, **TWELVE_EPOCHS, "metric": "proposal", "interval": 20, "lr": 0.02, "init": RESNET}
STAGE_2 = {
    "detector": "FastRCNN",
    "roi_head": "StandardRoIHead",
    "head": "BBoxHeadCLIP",
    "norm": CLIP,
    "nms": ("soft_nms", "gaussian"),
    "score_thr": 1e-4,
    "max_per_img": 100,
    "fed": 50,
}
TRAINED_STAGE_2 = {**STAGE_2, **TWELVE_EPOCHS, "clip": 35, "load_from": REGIONCLIP}
SEVERAL = {"head": "BBoxHeadCLIPPartitioned", "lr": 0.02, "mult": SLOW_CLIP}
TWO_SETS = {**SEVERAL, "classes": 365, "text": [COCO_TEXT, OBJECTS365_TEXT], "counts": [None, OBJECTS365_COUNTS]}
THREE_SETS = {
    **SEVERAL,
    "classes": 500,
    "text": [COCO_TEXT, OBJECTS365_TEXT, OPENIMAGES_TEXT],
    "counts": [None, OBJECTS365_COUNTS, OPENIMAGES_COUNTS],
}
END_TO_END = {"detector": "FasterRCNN", "rpn": "RPNHead"}
LVIS_STAGE_2 = {**STAGE_2, "classes": 1230, "text": LVIS_TEXT, "max_per_img": 300, "test": LVIS, "metric": "bbox"}
LVIS_FUSED = {"head": "BBoxHeadCLIPInference", "beta": 0.3, "test_proposals": ("proposals/lvis_v0.5", 100)}

# What differs between the configs; a value that is not here is the same for all of a kind, or absent.
TABLE: dict[str, dict[str, Any]] = {
    "coco stage 1": {**TRAINED_STAGE_1, "train": [COCO], "test": VAL2017},
    "coco stage 2": {
        **TRAINED_STAGE_2,
        "classes": 80,
        "text": COCO_TEXT,
        "train": [COCO],
        "train_proposals": ["proposals/coco"],
        "test_proposals": ("proposals/coco", None),
        "test": VAL2017,
        "lr": 0.002,
        "mult": {},
    },
    "coco end to end": {
        **TRAINED_STAGE_2,
        **END_TO_END,
        "classes": 80,
        "text": COCO_TEXT,
        "train": [COCO],
        "test": VAL2017,
        "lr": 0.02,
        "mult": SLOW_CLIP,
    },
    "two sets stage 1": {**TRAINED_STAGE_1, "train": [COCO, OBJECTS365], "test": VAL2017},
    "three sets stage 1": {**TRAINED_STAGE_1, "train": [COCO, OBJECTS365, OPENIMAGES], "test": VAL2017},
    "two sets stage 2": {
        **TRAINED_STAGE_2,
        **TWO_SETS,
        "train": [COCO, OBJECTS365],
        "train_proposals": ["proposals/objcoco"] * 2,
        "test_proposals": ("proposals/objcoco", None),
        "test": VAL2017,
    },
    "three sets stage 2": {
        **TRAINED_STAGE_2,
        **THREE_SETS,
        "train": [COCO, OBJECTS365, OPENIMAGES],
        "train_proposals": ["proposals/oidobjcoco"] * 3,
        "test_proposals": ("proposals/oidobjcoco", None),
        "test": VAL2017,
    },
    "two sets end to end": {
        **TRAINED_STAGE_2,
        **TWO_SETS,
        **END_TO_END,
        "train": [COCO, OBJECTS365],
        "test": VAL2017,
    },
    "three sets end to end": {
        **TRAINED_STAGE_2,
        **THREE_SETS,
        **END_TO_END,
        "train": [COCO, OBJECTS365, OPENIMAGES],
        "test": VAL2017,
    },
    "lvis stage 1": {**STAGE_1, "test": LVIS},
    "lvis stage 2": {**LVIS_STAGE_2, **LVIS_FUSED},
    "lvis calibrated": {
        **LVIS_STAGE_2,
        **LVIS_FUSED,
        "gamma": 0.6,
        "calibration": "work_dirs/clip_decouple_faster_rcnn_r50_c4_1x_lvis_v0.5_2ndstage/calibration.json",
    },
    "lvis end to end": {**LVIS_STAGE_2, **END_TO_END},
    "mixed mode stage 1": {
        **TRAINED_STAGE_1,
        "train": [SMALL_COCO, SMALL_OBJECTS365],
        "test": SMALL_VAL2017,
        "lr": 0.005,
        "clip": 20,
        "epochs": 4,
        "milestones": [3],
        "interval": 10,
    },
    "mixed mode stage 2": {
        **TRAINED_STAGE_2,
        **TWO_SETS,
        "counts": [None, SMALL_OBJECTS365_COUNTS],
        "train": [SMALL_COCO, SMALL_OBJECTS365],
        "train_proposals": ["proposals/mixed_mode"] * 2,
        "test": SMALL_VAL2017,
        "test_proposals": ("proposals/mixed_mode", None),
        "lr": 0.005,
        "epochs": 4,
        "milestones": [3],
        "interval": 2,
    },
}
