"""MMDetection's own modules as a stage-1 detector, in a process of its own.

python -m tests.trainer.weights.mmdet_stage_1 save FILE     random weights, as MMEngine's runner saves them
python -m tests.trainer.weights.mmdet_stage_1 compare A B   loads both, strictly, and says whether they are equal

MMDetection has no OLN heads; the two layers that these add to its own stand here under UniDetector's names.
"""

from __future__ import annotations

import importlib.util
import sys

from benchmarks.networks.mmcv_operators import Uncompiled

if importlib.util.find_spec("mmcv._ext") is None:
    sys.modules["mmcv._ext"] = Uncompiled("mmcv._ext")

import mmdet.models  # noqa: F401 - registers everything
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint, save_checkpoint

CONFIG = "configs/_base_/models/cln_r50_fpn.py"
STOCK = {
    "rpn_head": ("RPNHead", ("objectness_type", "loss_objectness", "skip_border_boxes")),
    "bbox_head": ("Shared2FCBBoxHead", ("bbox_score_type", "loss_bbox_score", "alpha")),
    "roi_head": ("StandardRoIHead", ()),
}


def detector() -> torch.nn.Module:
    """What the project's config describes, of MMDetection's classes."""
    DefaultScope.get_instance("weights", scope_name="mmdet")
    config = Config.fromfile(CONFIG).model
    for part, (kind, unknown) in STOCK.items():
        section = config.roi_head.bbox_head if part == "bbox_head" else config[part]
        section.type = kind
        for key in unknown:
            section.pop(key, None)
    config.train_cfg = None
    config.rpn_head.loss_bbox = {"type": "L1Loss"}
    config.test_cfg.rpn.update(nms={"type": "nms", "iou_threshold": 0.7}, max_per_img=1000)
    model = MODELS.build(config)
    model.rpn_head.rpn_obj = torch.nn.Conv2d(256, 1, 1)
    model.roi_head.bbox_head.fc_bbox_score = torch.nn.Linear(1024, 1)
    return model


def main(command: str, *files: str) -> None:
    if command == "save":
        torch.manual_seed(0)
        model = detector()
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
        optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
        meta = {"epoch": 12, "iter": 1000, "dataset_meta": {"classes": ("object",)}}
        state = {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "message_hub": {}}
        save_checkpoint(state, files[0])
    else:
        states = []
        for file in files:
            torch.load(file, weights_only=True)
            torch.load(file, weights_only=True, mmap=True)
            model = detector()
            load_checkpoint(model, file, strict=True)
            states.append(model.state_dict())
        differ = [
            name for name in states[0] if "tracked" not in name and not torch.equal(states[0][name], states[1][name])
        ]
        print(f"{len(states[0])} tensors, {len(differ)} differ: {differ[:5]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
