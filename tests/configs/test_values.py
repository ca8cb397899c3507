"""Every config that comes with the project, resolved, has the values of upstream's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from shared.train_loop import TrainLoop
from tests.configs.shipped import CONFIGS, FILES, load
from tests.configs.upstream import TABLE
from trainer.training.schedule import Schedule


def parts(config: Config) -> list[dict]:
    """The training sets; none where nothing is trained."""
    dataset = config.get("train_dataloader", {}).get("dataset")
    return [] if dataset is None else list(dataset.get("datasets", [dataset]))


def judged(config: Config) -> dict:
    return (config.get("val_dataloader") or config.test_dataloader).dataset


def steps(dataset: dict, kind: str) -> list[dict]:
    return [step for step in dataset.pipeline if step["type"] == kind]


def place(dataset: dict) -> tuple[str, str]:
    return dataset["ann_file"], dataset["data_prefix"]["img"]


def summary(config: Config) -> dict[str, Any]:
    """A config in the words of the table, without what it has not."""
    model, head = config.model, config.model.roi_head.bbox_head
    preprocessor, rcnn = model.data_preprocessor, model.test_cfg.rcnn
    optimizer = config.get("optim_wrapper") or {}
    scheduler = config.get("param_scheduler")
    train, test = parts(config), judged(config)
    agnostic = {part.get("class_agnostic", False) for part in [*train, test]}
    proposals = [part.get("proposal_file") for part in train]
    loads = steps(test, "LoadProposals")
    values = {
        "detector": model.type,
        "rpn": model.get("rpn_head", {}).get("type"),
        "roi_head": model.roi_head.type,
        "head": head.type,
        "classes": head.num_classes,
        "text": head.get("zeroshot_path"),
        "counts": head.get("cat_freq_path"),
        "fed": head.get("fed_loss_num_cat"),
        "alpha": head.get("alpha"),
        "beta": head.get("beta"),
        "gamma": head.get("gamma"),
        "calibration": head.get("calibration"),
        "norm": (preprocessor.mean, preprocessor.std),
        "nms": (rcnn.nms.type, rcnn.nms.get("method") or rcnn.nms.iou_threshold),
        "score_thr": rcnn.score_thr,
        "max_per_img": rcnn.max_per_img,
        "class_agnostic": agnostic == {True} or None,
        "train": [place(part) for part in train] or None,
        "train_proposals": proposals if any(proposals) else None,
        "test": place(test),
        "test_proposals": (test.proposal_file, loads[0].num_max_proposals) if loads else None,
        "metric": (config.get("val_evaluator") or config.get("test_evaluator") or {}).get("metric"),
        "batch": config.get("train_dataloader", {}).get("batch_size"),
        "lr": optimizer.get("optimizer", {}).get("lr"),
        "mult": optimizer.get("paramwise_cfg", {}).get("custom_keys"),
        "clip": optimizer.get("clip_grad", {}).get("max_norm"),
        "epochs": config.get("train_cfg", {}).get("max_epochs"),
        "interval": config.get("train_cfg", {}).get("val_interval"),
        "milestones": scheduler and scheduler[1].milestones,
        "init": model.backbone.get("init_cfg", {}).get("checkpoint"),
        "load_from": config.load_from,
    }
    return {key: value for key, value in values.items() if value is not None}


def test_all_configs_are_here() -> None:
    shipped = {
        str(path.relative_to(CONFIGS))
        for pattern in ("singledataset/*.py", "multidataset/*.py", "inference/*.py", "mixed_mode_*.py")
        for path in CONFIGS.glob(pattern)
    }
    assert shipped == set(FILES.values()) and len(shipped) == 15
    assert TABLE.keys() == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_a_config_has_the_values_of_the_table(name: str) -> None:
    assert summary(load(name)) == TABLE[name]


TRAINED = [name for name in FILES if not name.startswith("lvis")]


@pytest.mark.parametrize("name", TRAINED)
def test_training_draws_scales_and_flips_and_sgd_decays_everything(name: str) -> None:
    config = load(name)
    for part in parts(config):
        assert steps(part, "RandomResize") == [
            {"type": "RandomResize", "scale": [(1333, 400), (1333, 800)], "keep_ratio": True}
        ]
        assert steps(part, "RandomFlip") == [{"type": "RandomFlip", "prob": 0.5}]
        assert steps(part, "LoadProposals") == (
            [{"type": "LoadProposals", "num_max_proposals": 2000}] if "stage 2" in name else []
        )
        assert part.filter_cfg == {"filter_empty_gt": True, "min_size": 32}
    assert {key: value for key, value in config.optim_wrapper.optimizer.items() if key != "lr"} == {
        "type": "SGD",
        "momentum": 0.9,
        "weight_decay": 0.0001,
    }
    assert config.optim_wrapper.type == "OptimWrapper"
    assert config.default_hooks.checkpoint.interval == 1 and config.default_hooks.logger.interval == 50


@pytest.mark.parametrize("name", FILES)
def test_images_are_tested_at_one_scale_without_flips(name: str) -> None:
    test = judged(load(name))
    assert steps(test, "Resize") == [{"type": "Resize", "scale": (1333, 800), "keep_ratio": True}]
    assert not steps(test, "RandomFlip")
    assert not test.get("filter_cfg")


@pytest.mark.parametrize("name", [name for name in FILES if "stage 2" in name])
def test_stage_2_looks_for_boxes_where_its_stage_1_writes_them(name: str) -> None:
    first, second = load(name.replace("stage 2", "stage 1")), load(name)
    wanted = {part.proposal_file for part in [*parts(second), judged(second)]}
    assert {f"data/{folder}" for folder in wanted} == {first.proposal_dir}
    assert {place(part) for part in parts(second)} == {place(part) for part in parts(first)}
    assert place(judged(second)) == place(judged(first))


@pytest.mark.parametrize("name", ["lvis stage 2", "lvis calibrated"])
def test_open_world_proposals_bring_their_scores(name: str) -> None:
    assert steps(judged(load(name)), "LoadProposals")[0].load_score is True


@pytest.mark.parametrize("name", [name for name in FILES if "stage 1" in name])
def test_stage_1_has_the_heads_and_rules_of_the_localisation_network(name: str) -> None:
    model = load(name).model
    assert model.backbone.type == "ResNet" and model.backbone.depth == 50 and model.backbone.frozen_stages == 1
    assert model.backbone.norm_eval and model.backbone.norm_cfg.requires_grad
    assert (model.neck.in_channels, model.neck.out_channels, model.neck.num_outs) == ([256, 512, 1024, 2048], 256, 5)
    rpn = model.rpn_head
    generator = rpn.anchor_generator
    assert (generator.scales, generator.ratios, generator.strides) == ([8], [1.0], [4, 8, 16, 32, 64])
    assert (rpn.bbox_coder.type, rpn.bbox_coder.normalizer, rpn.reg_decoded_bbox) == ("TBLRBBoxCoder", 1.0, True)
    assert (rpn.loss_cls.loss_weight, rpn.loss_bbox.type, rpn.loss_bbox.loss_weight) == (0.0, "IoULoss", 10.0)
    assert (rpn.objectness_type, rpn.loss_objectness.type, rpn.loss_objectness.loss_weight) == (
        "Centerness",
        "L1Loss",
        1.0,
    )
    extractor = model.roi_head.bbox_roi_extractor
    assert (extractor.roi_layer.output_size, extractor.featmap_strides, extractor.finest_scale) == (
        7,
        [4, 8, 16, 32],
        56,
    )
    head = model.roi_head.bbox_head
    assert (head.in_channels, head.fc_out_channels, head.bbox_score_type) == (256, 1024, "BoxIoU")
    assert head.bbox_coder.target_stds == [0.1, 0.1, 0.2, 0.2]
    train = model.train_cfg
    assert assigner(train.rpn.assigner) == (0.7, 0.3, 0.3, True)
    assert assigner(train.rpn.objectness_assigner) == (0.3, 0.1, 0.3, True)
    assert sampler(train.rpn.sampler) == (256, 0.5, False) and sampler(train.rpn.objectness_sampler) == (
        256,
        1.0,
        False,
    )
    assert train.rpn_proposal == model.test_cfg.rpn == {"nms_pre": 2000, "min_bbox_size": 0}
    assert_trains_rois_of_iou_half(model)


@pytest.mark.parametrize("name", [name for name in FILES if "stage 1" not in name])
def test_the_clip_detectors_have_clips_resnet_50_on_c4(name: str) -> None:
    model = load(name).model
    assert (model.backbone.type, model.backbone.layers) == ("CLIPResNet", [3, 4, 6, 3])
    roi_head = model.roi_head
    assert (roi_head.shared_head.type, roi_head.shared_head.layers) == ("CLIPResLayer", [3, 4, 6, 3])
    extractor = roi_head.bbox_roi_extractor
    assert (extractor.roi_layer.output_size, extractor.featmap_strides, extractor.out_channels) == (14, [16], 1024)
    head = roi_head.bbox_head
    assert (head.in_channels, head.roi_feat_size, head.bbox_coder.target_stds) == (2048, 7, [0.1, 0.1, 0.2, 0.2])
    assert (head.loss_bbox.type, head.loss_bbox.loss_weight) == ("L1Loss", 1.0)
    assert_trains_rois_of_iou_half(model)


@pytest.mark.parametrize("name", [name for name in FILES if "end to end" in name])
def test_the_end_to_end_rpn_has_15_anchors_on_one_map(name: str) -> None:
    model = load(name).model
    rpn = model.rpn_head
    generator = rpn.anchor_generator
    assert (generator.scales, generator.ratios, generator.strides) == ([2, 4, 8, 16, 32], [0.5, 1.0, 2.0], [16])
    assert (rpn.in_channels, rpn.feat_channels, rpn.bbox_coder.target_stds) == (1024, 1024, [1.0] * 4)
    assert (rpn.loss_cls.use_sigmoid, rpn.loss_cls.loss_weight, rpn.loss_bbox.type) == (True, 1.0, "L1Loss")
    assert assigner(model.train_cfg.rpn.assigner) == (0.7, 0.3, 0.3, True)
    assert sampler(model.train_cfg.rpn.sampler) == (256, 0.5, False)
    train, test = model.train_cfg.rpn_proposal, model.test_cfg.rpn
    assert (train.nms_pre, train.nms.iou_threshold, train.max_per_img, train.min_bbox_size) == (12000, 0.7, 2000, 0)
    assert (test.nms_pre, test.nms.iou_threshold, test.max_per_img, test.min_bbox_size) == (6000, 0.7, 1000, 0)


def assert_trains_rois_of_iou_half(model: dict) -> None:
    assert assigner(model.train_cfg.rcnn.assigner) == (0.5, 0.5, 0.5, False)
    assert sampler(model.train_cfg.rcnn.sampler) == (512, 0.25, True)


def assigner(config: dict) -> tuple:
    return config.pos_iou_thr, config.neg_iou_thr, config.min_pos_iou, config.get("match_low_quality", True)


def sampler(config: dict) -> tuple:
    return config.num, config.pos_fraction, config.get("add_gt_as_proposals", False)


@pytest.mark.parametrize("name", TRAINED)
def test_the_rate_warms_up_as_mmdetection_2_does_and_drops_twice(name: str) -> None:
    """Upstream's log shows 1.978e-3 at its 50th step, for a base rate of 0.02."""
    config = load(name)
    base = config.optim_wrapper.optimizer.lr
    schedule = Schedule(config.param_scheduler, base, 600, TrainLoop.of(config.train_cfg))
    for step in (0, 1, 49, 499):
        assert schedule.rate(step) == pytest.approx(base * (1 - (1 - step / 500) * 0.999), rel=1e-6)
    assert schedule.rate(500) == schedule.rate(599) == pytest.approx(base)
    for number, epoch in enumerate(config.param_scheduler[1].milestones, start=1):
        assert schedule.rate(600 * epoch) == pytest.approx(base * 0.1**number)
        assert schedule.rate(600 * epoch - 1) == pytest.approx(base * 0.1 ** (number - 1))


@pytest.mark.parametrize("name", FILES)
def test_everything_lies_below_one_root(name: str) -> None:
    """With another data_root nothing of the old one is left, and no data set has one of its own."""
    text = repr(load(name, data_root="/elsewhere").to_dict())
    assert "'data'" not in text and "data/" not in text.replace("/elsewhere/", "")
    assert text.count("data_root") == 1


def test_vocabularies_are_those_of_the_embeddings_in_their_order() -> None:
    folder = Path(os.environ.get("DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "text_embeddings" / "class_names_in_row_order.json"
    if not path.is_file():
        pytest.skip(f"no names of the published embeddings at {path}")
    names = json.loads(path.read_text())
    config = load("three sets stage 2")
    assert list(config.objects365_classes) == names["objects365"]
    assert list(config.openimages_classes) == names["oid500"]
    _, objects365, openimages = parts(config)
    assert objects365.metainfo.classes == config.objects365_classes
    assert openimages.metainfo.classes == config.openimages_classes
