"""Configs of models: every mistake is refused in one line that names the key."""

from typing import Any

import pytest

from shared.errors import UserError
from tests.trainer.models.examples import small_model
from trainer.models import build_detector
from trainer.models.registry import CLASSES, build


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "FasterRCN"}, r"^model: unknown type 'FasterRCN' \(did you mean 'FasterRCNN'\?\)"),
        ({"backbone": {"depth": 18}}, r"^model\.backbone: a dict with a 'type' is expected"),
        ({"backbone.dept": 18}, r"^model\.backbone \(ResNet\): unknown key 'dept' \(did you mean 'depth'\?\)"),
        ({"backbone.depth": 19}, r"^model\.backbone\.depth: one of 18, 34, 50, 101, 152 is expected, found 19"),
        ({"backbone.norm_eval": False}, r"^model\.backbone\.norm_eval: only True is supported, found False"),
        (
            {"neck": {"type": "FPN", "in_channels": [8], "num_outs": 5}},
            r"^model\.neck\.out_channels: missing, FPN needs",
        ),
        ({"rpn_head.loss_bbox.wheight": 1}, r"^model\.rpn_head\.loss_bbox \(IoULoss\): unknown key 'wheight'"),
        ({"rpn_head.train_cfg": {}}, r"^model\.rpn_head \(OlnRPNHead\): unknown key 'train_cfg'"),
        (
            {"rpn_head.anchor_generator.scales": [4, 8]},
            r"anchor_generator: scales x ratios make 2 anchors at each cell; expected 1",
        ),
        ({"train_cfg.rpn_proposal.nms_post": 2000}, r"^model\.train_cfg\.rpn_proposal: unknown key 'nms_post'"),
        (
            {"train_cfg.rcnn.sampler.neg_pos_ub": 3},
            r"^model\.train_cfg\.rcnn\.sampler\.neg_pos_ub: only -1 is supported",
        ),
        (
            {"test_cfg.rcnn.nms": {"type": "soft_nms", "method": "gaussian"}},
            r"^model\.test_cfg\.rcnn\.nms\.type: only 'nms' is supported",
        ),
        ({"roi_head.bbox_head.num_classes": 80}, r"^model\.roi_head\.bbox_head\.num_classes: only 1 is supported"),
    ],
)
def test_a_mistake_is_named_with_its_key(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_detector(small_model(**changes))
    assert "\n" not in str(caught.value)


def test_a_missing_training_rule_is_named() -> None:
    model = small_model()
    del model["train_cfg"]["rpn"]["objectness_sampler"]
    with pytest.raises(UserError, match=r"^model\.train_cfg\.rpn\.objectness_sampler: missing"):
        build_detector(model)


def test_keys_of_a_base_class_are_known_where_the_constructor_passes_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Base:
        def __init__(self, width: int, where: str) -> None:
            self.width, self.where = width, where

    class Child(Base):
        def __init__(self, depth: int = 1, **shared: Any) -> None:
            super().__init__(**shared)
            self.depth = depth

    monkeypatch.setitem(CLASSES, "Child", Child)
    built = build({"type": "Child", "width": 3, "depth": 2}, "model.x")
    assert (built.width, built.depth, built.where) == (3, 2, "model.x")
    with pytest.raises(UserError, match=r"^model\.x\.width: missing, Child needs it"):
        build({"type": "Child"}, "model.x")
    with pytest.raises(UserError, match=r"^model\.x \(Child\): unknown key 'shared'; known: width, depth"):
        build({"type": "Child", "width": 3, "shared": {}}, "model.x")
