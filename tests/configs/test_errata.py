"""The switches that docs/errata.md gives for upstream's numbers are accepted and do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import DictAction

from shared.config import load_config
from shared.errors import UserError
from tests.configs import files
from tests.configs.shipped import CONFIGS, FILES, load
from tests.configs.upstream import CLIP, IMAGENET
from tests.parity.models import changed
from tests.trainer.models.clip_examples import LENGTH, SMALL_STAGE_2
from tests.trainer.models.examples import SMALL_STAGE_1, random_batch
from trainer.device import jt, var
from trainer.models import build_detector
from trainer.training.terms import total_loss

PAGE = (CONFIGS.parent / "docs" / "errata.md").read_text()


def row(number: int) -> list[str]:
    """The cells of an erratum: number, upstream, here, switch."""
    (line,) = re.findall(rf"^\| (E{number} \|.*) \|$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in line.split(" | ")]


def switched(number: int, name: str, **options: object) -> dict:
    """A config's model under the switch that the page prints."""
    command = re.search(r"`--cfg-options ([^`]*)`", row(number)[3])[1]
    given = dict(word.split("=", 1) for word in command.split())
    parsed = {key: DictAction._parse_iterable(value) for key, value in given.items()}
    return load_config(str(CONFIGS / FILES[name]), {**parsed, **options}).model


def test_all_errata_are_listed_and_three_have_a_switch() -> None:
    switches = [number for number in range(1, 19) if len(row(number)) > 3 and "--cfg-options" in row(number)[3]]
    assert switches == [3, 9, 13]


def test_e3_lvis_images_are_normalised_as_the_network_was_trained_or_as_upstream_does() -> None:
    for preprocessor, expected in (
        (load("lvis stage 1").model.data_preprocessor, IMAGENET),
        (switched(3, "lvis stage 1").data_preprocessor, CLIP),
    ):
        assert (preprocessor.mean, preprocessor.std) == expected


def test_e9_a_class_that_was_never_detected_counts_once_or_spoils_everything(tmp_path: Path) -> None:
    for model, spoilt in (
        (load("lvis calibrated", data_root=str(tmp_path)).model, False),
        (switched(9, "lvis calibrated", data_root=str(tmp_path)), True),
    ):
        head = model.roi_head.bbox_head
        files.write(head, LENGTH)
        calibrated = {"roi_head.bbox_head.calibration": files.write_calibration(head, tmp_path)}
        factors = build_detector(changed(model, **SMALL_STAGE_2, **calibrated)).roi_head.bbox_head.factors
        assert np.isfinite(factors).all()
        assert (factors == 0).all() == spoilt


def test_e13_boxes_at_the_border_are_trained_or_skipped() -> None:
    batch = random_batch()
    boxes = batch.boxes.numpy()
    boxes[:, 0, 0] = 0
    batch.boxes = var(boxes)
    for model, skipped in ((load("coco stage 1").model, False), (switched(13, "coco stage 1"), True)):
        head = build_detector(changed(model, **SMALL_STAGE_1)).rpn_head
        targets = head.targets([(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)], batch)
        touching = (targets.boxes.numpy().min(-1) <= 0) & (targets.strict.positive.numpy() > 0)
        assert touching.any()
        assert (targets.box_weights.numpy()[touching] == 0).all() == skipped


def test_e14_an_image_too_small_for_any_anchor_can_be_trained_on() -> None:
    batch = random_batch()
    batch.image_shapes, batch.boxes = var(np.full((2, 2), 20, np.float32)), var(batch.boxes.numpy() * 0.15)
    model = build_detector(changed(load("coco stage 1").model, **SMALL_STAGE_1))
    terms = model.loss(batch)
    jt.sync_all()
    assert np.isfinite(total_loss(terms).item())
    assert terms["loss_rpn_bbox"].item() == 0


def test_e16_dead_keys_are_refused() -> None:
    with pytest.raises(UserError, match=r"model\.test_cfg\.rpn: unknown key 'nms_thr'"):
        build_detector(changed(load("coco stage 1").model, **{"test_cfg.rpn.nms_thr": 0.0}))
