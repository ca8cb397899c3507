"""Streams of every kind: a wrapper, sampler, transform or switch of the pipeline, over the images of `tests.photos`.

    KINDS    {"ClassAwareSampler": config, …}    what a trainer's config says of its training data
    part     a config ──the photographs' folder──► the data part of HELLO

Epochs are counted, but for samplers that never end one. A switch comes after `SWITCH_EPOCH` epochs.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from shared.data_part import data_part
from shared.samplers import ENDLESS, sampler_of
from tests.photos import CLASSES, annotations_of

BATCH = 2
SWITCH_EPOCH = 1
SIZE = (96, 64)
Steps = tuple[dict[str, Any], ...]

LOAD: Steps = ({"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True})
LOAD_MASKS: Steps = (LOAD[0], {**LOAD[1], "with_mask": True})
RESIZE = {"type": "Resize", "scale": (90, 60), "keep_ratio": True}
STRETCH = {**RESIZE, "keep_ratio": False}  # CopyPaste mixes images of one size
FLIP = {"type": "RandomFlip", "prob": 0.5}
PACK = {"type": "PackDetInputs"}

MOSAIC = {"type": "Mosaic", "img_scale": SIZE, "pad_val": 114.0}
MIX_UP = {"type": "MixUp", "img_scale": SIZE, "ratio_range": (0.8, 1.6), "pad_val": 114.0}
AFFINE = {"type": "RandomAffine", "scaling_ratio_range": (0.5, 1.5), "border": (-SIZE[0] // 2, -SIZE[1] // 2)}
CACHED_MOSAIC = {"type": "CachedMosaic", "img_scale": SIZE, "max_cached_images": 6}
CACHED_MIX_UP = {"type": "CachedMixUp", "img_scale": SIZE, "max_cached_images": 4}
CROP = {"type": "RandomCrop", "crop_size": (48, 48), "allow_negative_crop": False}  # may reject an image
SHRINK = {"type": "RandomResize", "scale": SIZE, "ratio_range": (0.5, 1.0), "keep_ratio": True}
RESCALE = {"type": "RandomChoiceResize", "scales": [(90, 60), (60, 40)], "keep_ratio": True}
POLICY = [[{"type": "Rotate", "prob": 0.5}, {"type": "Color", "prob": 0.5}], [{"type": "ShearX", "prob": 0.7}]]


def leaf(*steps: dict[str, Any], load: Steps = LOAD, **keys: Any) -> dict[str, Any]:
    """A data set of the photographs, prepared by `steps`."""
    return {
        "type": "CocoDataset",
        "ann_file": "all.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": tuple(CLASSES)},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 1},
        "pipeline": [*load, *steps, PACK],
        **keys,
    }


def mixed(*steps: dict[str, Any], around: tuple[dict[str, Any], ...] = (), load: Steps = LOAD) -> dict[str, Any]:
    """MultiImageMixDataset with these steps; `around` data sets, by default around one."""
    within = [{**one, "pipeline": [*load, STRETCH]} for one in around or (leaf(),)]
    return {
        "type": "MultiImageMixDataset",
        "dataset": within[0] if len(within) == 1 else concatenated(*within),
        "pipeline": [*steps, PACK],
    }


def concatenated(*datasets: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ConcatDataset", "datasets": list(datasets)}


def repeated(dataset: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RepeatDataset", "times": 2, "dataset": dataset}


def balanced(dataset: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ClassBalancedDataset", "oversample_thr": 0.9, "dataset": dataset}


def config(dataset: dict[str, Any], hook: dict[str, Any] | None = None, **dataloader: Any) -> dict[str, Any]:
    """A config that trains on `dataset`, with a hook."""
    dataloader = {"batch_size": BATCH, "batch_sampler": {"type": "AspectRatioBatchSampler"}, **dataloader}
    by_epoch = {"type": "EpochBasedTrainLoop", "max_epochs": 4}
    by_step = {"type": "IterBasedTrainLoop", "max_iters": 99}
    return {
        "train_dataloader": {**dataloader, "dataset": dataset},
        "train_cfg": by_step if sampler_of(dataloader) in ENDLESS else by_epoch,
        "custom_hooks": [hook] if hook else [],
    }


FEW = leaf(RESIZE, FLIP, indices=7)
BOTH = concatenated(leaf(RESIZE, FLIP), FEW)
WRAPPERS = {
    "RepeatDataset": repeated(FEW),
    "ClassBalancedDataset": balanced(leaf(RESIZE, FLIP)),
    "ConcatDataset": BOTH,
    "ConcatDataset in RepeatDataset": repeated(BOTH),
    "ConcatDataset in ClassBalancedDataset": balanced(BOTH),
    "ConcatDataset in MultiImageMixDataset": mixed(MOSAIC, FLIP, around=(leaf(), FEW)),
    "MultiImageMixDataset in RepeatDataset": repeated(mixed(MOSAIC, FLIP)),
    "MultiImageMixDataset in ClassBalancedDataset": balanced(mixed(MIX_UP, FLIP)),
    "RepeatDataset, ClassBalancedDataset and MultiImageMixDataset in ConcatDataset": concatenated(
        repeated(FEW), balanced(leaf(SHRINK, FLIP)), mixed(MOSAIC)
    ),
    "a cache in RepeatDataset": repeated(leaf(CACHED_MOSAIC, FLIP)),
    "a cache in ClassBalancedDataset in ConcatDataset": concatenated(balanced(leaf(CACHED_MIX_UP, RESIZE)), FEW),
}

DRAW = {"batch_size": 2 * BATCH, "source_ratio": [1, 3]}
UNGROUPED: dict[str, Any] = {"batch_sampler": None}
DATALOADERS: dict[str, dict[str, Any]] = {
    "DefaultSampler": {"sampler": {"type": "DefaultSampler"}},
    "DefaultSampler, ungrouped": {"sampler": {"type": "DefaultSampler"}, **UNGROUPED},
    "DefaultSampler, in order": {"sampler": {"type": "DefaultSampler", "shuffle": False}},
    "DefaultSampler with source_ratio": {"sampler": {"type": "DefaultSampler", "source_ratio": [2, 1]}},
    "drop_last": {"batch_sampler": {"type": "AspectRatioBatchSampler", "drop_last": True}},
    "num_batch_per_epoch": {"num_batch_per_epoch": 2},
    "InfiniteSampler": {"sampler": {"type": "InfiniteSampler"}},
    "InfiniteSampler, ungrouped, in order": {"sampler": {"type": "InfiniteSampler", "shuffle": False}, **UNGROUPED},
    "ClassAwareSampler": {"sampler": {"type": "ClassAwareSampler", "num_sample_class": 2}},
    "MultiSourceSampler": {"sampler": {"type": "MultiSourceSampler", **DRAW}, **UNGROUPED},
    "GroupMultiSourceSampler": {"sampler": {"type": "GroupMultiSourceSampler", **DRAW}, **UNGROUPED},
    "CustomSampleSizeSampler": {"sampler": {"type": "CustomSampleSizeSampler", "dataset_size": [-1, 5]}},
    "CustomSampleSizeSampler by shares": {
        "sampler": {"type": "CustomSampleSizeSampler", "dataset_size": [0.8, 0.4], "ratio_mode": True}
    },
    "MultiDataAspectRatioBatchSampler": {
        "sampler": {"type": "InfiniteSampler"},
        "batch_sampler": {
            "type": "MultiDataAspectRatioBatchSampler",
            "num_datasets": 2,
            "batch_size": [BATCH, BATCH],
        },
    },
}

TRANSFORMS = {
    "Mosaic": mixed(MOSAIC),
    "MixUp": mixed(MIX_UP),
    "CopyPaste": mixed({"type": "CopyPaste", "max_num_pasted": 4}, load=LOAD_MASKS),
    "Mosaic, RandomAffine and MixUp": mixed(MOSAIC, AFFINE, MIX_UP, {"type": "YOLOXHSVRandomAug"}, FLIP),
    "CachedMosaic": leaf(CACHED_MOSAIC),
    "CachedMixUp": leaf(RESIZE, CACHED_MIX_UP),
    "CachedMosaic and CachedMixUp, the oldest popped": leaf(
        {**CACHED_MOSAIC, "random_pop": False}, SHRINK, FLIP, {**CACHED_MIX_UP, "random_pop": False}
    ),
    "CachedMosaic and CachedMixUp of what is rejected": leaf(CACHED_MOSAIC, SHRINK, CROP, CACHED_MIX_UP),
    "RandomAffine": leaf(RESIZE, {"type": "RandomAffine"}),
    "AutoAugment": leaf(RESIZE, {"type": "AutoAugment", "policies": POLICY}),
    "RandAugment": leaf(RESIZE, {"type": "RandAugment", "aug_num": 2}),
    "PhotoMetricDistortion": leaf(RESIZE, {"type": "PhotoMetricDistortion"}),
    "Albu": leaf(RESIZE, {"type": "Albu", "transforms": [{"type": "RandomBrightnessContrast", "p": 0.7}]}),
    "YOLOXHSVRandomAug": leaf(RESIZE, {"type": "YOLOXHSVRandomAug"}),
    "Expand and MinIoURandomCrop": leaf(
        {"type": "Expand"}, {"type": "MinIoURandomCrop"}, {**RESIZE, "scale": (64, 64)}
    ),
    "RandomCrop": leaf(SHRINK, CROP, {"type": "FilterAnnotations", "min_gt_bbox_wh": (8, 8)}),
    "RandomCenterCropPad": leaf(
        {
            "type": "RandomCenterCropPad",
            "crop_size": (64, 64),
            "ratios": (0.6, 0.8, 1.0),
            "test_pad_mode": None,
            **{"mean": [0, 0, 0], "std": [1, 1, 1], "to_rgb": False},
        },
        load=({**LOAD[0], "to_float32": True}, LOAD[1]),
    ),
    "RandomShift, CutOut and RandomErasing": leaf(
        RESIZE,
        {"type": "RandomShift", "prob": 1.0, "max_shift_px": 12},
        {"type": "CutOut", "n_holes": (1, 3), "cutout_shape": (8, 8)},
        {"type": "RandomErasing", "n_patches": (1, 3), "ratio": (0.1, 0.3)},
    ),
    "RandomChoice, RandomApply, RandomOrder and RandomGrayscale": leaf(
        {
            "type": "RandomChoice",
            "transforms": [[{**RESCALE, "keep_ratio": False}], [SHRINK]],
        },
        {"type": "RandomApply", "prob": 0.5, "transforms": [{"type": "Rotate", "prob": 1.0}]},
        {"type": "RandomOrder", "transforms": [{"type": "Brightness"}, {"type": "Posterize"}, FLIP]},
        {"type": "RandomGrayscale", "prob": 0.5, "keep_channels": True},
    ),
    "RandomResize and RandomChoiceResize": leaf(SHRINK, RESCALE),
}

SWITCHES = {
    "PipelineSwitchHook": config(
        leaf(RESIZE),
        {
            "type": "PipelineSwitchHook",
            "switch_epoch": SWITCH_EPOCH,
            "switch_pipeline": [*LOAD, {**RESIZE, "scale": (64, 64)}, FLIP, PACK],
        },
    ),
    "PipelineSwitchHook from caches to none": config(
        leaf(CACHED_MOSAIC, SHRINK, CROP, FLIP, CACHED_MIX_UP),
        {
            "type": "PipelineSwitchHook",
            "switch_epoch": SWITCH_EPOCH,
            "switch_pipeline": [*LOAD, SHRINK, CROP, FLIP, PACK],
        },
    ),
    "YOLOXModeSwitchHook": config(
        mixed(MOSAIC, AFFINE, MIX_UP, {"type": "YOLOXHSVRandomAug"}, FLIP),
        {"type": "YOLOXModeSwitchHook", "num_last_epochs": 4 - SWITCH_EPOCH - 1},
    ),
}

KINDS: dict[str, dict[str, Any]] = {
    **{name: config(dataset) for name, dataset in WRAPPERS.items()},
    **{name: config(BOTH, **dataloader) for name, dataloader in DATALOADERS.items()},
    **{name: config(dataset) for name, dataset in TRANSFORMS.items()},
    **SWITCHES,
}


def part(kind: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The data part of one of `KINDS`; a stream of it ends with its client."""
    settings = {"data_root": str(folder), "model": {}, "feed": {"linger_seconds": 0}, "custom_imports": None}
    return data_part(Config({**copy.deepcopy(kind), **settings}), "train")


def with_polygons(photos: Path, folder: Path) -> Path:
    """Writes ``folder/all.json``, the photographs' boxes with polygons around them, none a crowd; returns `folder`."""
    content = annotations_of(photos)
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation |= {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], "iscrowd": 0}
    (folder / "images").symlink_to(photos / "images")
    (folder / "all.json").write_text(json.dumps(content))
    return folder
