"""Parts of a model that do not fit each other: every number of a config is changed, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.config import load_config
from shared.errors import UserError
from tests.configs.shipped import CONFIGS
from tests.parity.models import changed
from tests.trainer.models.clip_examples import small_clip_model
from tests.trainer.models.examples import SMALL_STAGE_1, small_model
from trainer.models import build_detector
from trainer.models.summary import rows

SIZE = (96, 128)
# Decide what is computed, and no shape of it, or only that of arrays which no module gives.
NUMBERS_ONLY = {
    *("mean", "std", "pad_size_divisor", "scales", "strides", "finest_scale", "normalizer", "target_stds"),
    *("loss_weight", "alpha", "fed_loss_num_cat", "num", "pos_fraction"),
    *("pos_iou_thr", "neg_iou_thr", "min_pos_iou", "nms_pre", "max_per_img", "min_bbox_size", "iou_threshold"),
    *("score_thr", "featmap_strides", "ratios", "output_size"),
}


def stage_1(_: Path) -> dict:
    """The demo's, with fewer channels."""
    model = load_config(str(CONFIGS / "demo/cln.py")).model.to_dict()
    return changed(model, **{key: value for key, value in SMALL_STAGE_1.items() if "sampler" not in key})


def stage_2(folder: Path) -> dict:
    """The demo's, with a ResNet of fewer channels."""
    for name in ("train_a", "train_b"):
        np.save(folder / f"{name}.npy", np.ones((60, 32), np.float32))
    model = load_config(str(CONFIGS / "demo/stage_2.py"), {"data_root": str(folder)}).model.to_dict()
    return changed(model, **{"backbone.base_channels": 8, "neck.in_channels": [8, 16, 32, 64]})


def end_to_end(folder: Path) -> dict:
    return small_clip_model(folder, "FasterRCNN")


def numbers(model: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(dotted place, value) of each number and each list of numbers in a config."""
    for key, value in model.items():
        if isinstance(value, dict):
            yield from numbers(value, (*place, key))
        elif isinstance(value, list | tuple) and not isinstance(value[0], str):
            yield ".".join(map(str, (*place, key))), list(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield ".".join(map(str, (*place, key))), value


def others(value: Any) -> list[Any]:
    """Wrong in the size, in the number, in the kind."""
    if isinstance(value, list):
        last, one = len(value) - 1, value[-1]
        return [
            value[:-1],
            [*value, one],
            [*value[:last], one + 1],
            [*value[:last], 2 * one],
            [*value[:last], "x"],
            one,
        ]
    return [value + 1, 2 * value, -abs(value) - 1, None] if isinstance(value, int) else [value / 2, -2.5, "x"]


@pytest.mark.parametrize("small", [stage_1, stage_2, end_to_end])
def test_every_number_that_is_changed_changes_the_model_or_is_refused_in_one_line(small: Any, tmp_path: Path) -> None:
    model = small(tmp_path)
    before, wrong, refused = rows(build_detector(model), *SIZE), [], 0
    for place, value in numbers(model):
        for other in others(value):
            if other == value:
                continue
            try:
                after = rows(build_detector(changed(model, **{place: other})), *SIZE)
            except UserError as error:
                refused += 1
                named = place.rpartition(".")[2] if not place.startswith("backbone.") else "model.backbone"
                told = None if named in str(error) and "\n" not in str(error) else str(error)
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
            else:
                told = None if after != before or place.rpartition(".")[2] in NUMBERS_ONLY else "nothing changed"
            if told:
                wrong.append(f"{place} {value} -> {other}: {told}")
    assert not wrong, "\n".join(wrong)
    assert refused > 50


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"neck.out_channels": 32}, r"^model\.rpn_head\.in_channels is 16; expected 32 \(model\.neck\.out_channels\)$"),
        (
            {"roi_head.bbox_roi_extractor.out_channels": 32},
            r"^model\.roi_head\.bbox_roi_extractor\.out_channels is 32; expected 16 \(model\.neck\.out_channels\)$",
        ),
        ({"neck.num_outs": 3}, r"^model\.neck\.num_outs is 3; expected 4 or more, one for each of in_channels$"),
        (
            {"neck.num_outs": 6},
            r"strides is \[4, 8, 16, 32, 64\]; expected 6 of them, one for each map of features \(model\.neck\.num_",
        ),
        (
            {"rpn_head.anchor_generator.strides": [4, 8, 16, 32]},
            r"^model\.rpn_head\.anchor_generator\.strides is \[4, 8, 16, 32\]; expected 5 of them",
        ),
        (
            {"rpn_head.anchor_generator.strides": [4, 8, 16, 32, 32]},
            r"strides\[4\] is 32; expected 64: the neck makes map 4 of every second pixel of the one before$",
        ),
        (
            {"roi_head.bbox_roi_extractor.featmap_strides": [4, 8, 16, 32, 64, 128]},
            r"featmap_strides is \[4, 8, 16, 32, 64, 128\]; expected at most 5 of them",
        ),
        (
            {"roi_head.bbox_roi_extractor.featmap_strides": [4, 8, 16, 32, 65]},
            r"featmap_strides\[4\] is 65; expected 64: the neck makes map 4",
        ),
        (
            {"roi_head.bbox_head.in_channels": 17},
            r"^model\.roi_head\.bbox_head\.in_channels is 17; expected 16 \(model\.roi_head\.bbox_roi_extractor\.out_",
        ),
        (
            {"roi_head.bbox_roi_extractor.roi_layer.output_size": 14},
            r"^model\.roi_head\.bbox_head\.roi_feat_size is 7; expected 14 \(model\..*roi_layer\.output_size\)$",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named_with_both_values(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        build_detector(small_model(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"roi_head.shared_head.width": 9},
            r"shared_head takes features of 144 channels, 16 times its width; model\..*out_channels is 128",
        ),
        ({"roi_head.bbox_head.in_channels": 128}, r"in_channels is 128; expected 256 .*shared_head gives 32 times"),
        ({"roi_head.bbox_head.roi_feat_size": 14}, r"roi_feat_size is 14; expected 7 .*halved by the shared_head\)$"),
        (
            {"roi_head.shared_head.layers": [1, 1, 1, 2]},
            r"shared_head\.layers is \[1, 1, 1, 2\]; expected \[1, 1, 1, 1\], those of model\.backbone\.layers",
        ),
        (
            {"roi_head.bbox_roi_extractor.featmap_strides": [16, 32]},
            r"featmap_strides is \[16, 32\]; expected at most 1 of them, one for each map of features \(there is no ",
        ),
    ],
)
def test_parts_of_a_clip_detector_that_do_not_fit_are_named_with_both_values(
    changes: dict, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        build_detector(small_clip_model(tmp_path, **changes))


def test_without_a_shared_head_the_box_head_takes_what_the_extractor_gives(tmp_path: Path) -> None:
    changes = {
        "roi_head.shared_head": None,
        "roi_head.bbox_head.in_channels": 128,
        "roi_head.bbox_head.roi_feat_size": 14,
    }
    build_detector(small_clip_model(tmp_path, **changes))
