"""What the oracle can be asked: MMDetection's modules and mmcv's operators, numpy in and numpy out (torch inside)."""

from __future__ import annotations

import mmdet.models  # noqa: F401 - registers everything
import numpy as np
import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from benchmarks.networks.mmcv_operators import are_compiled

DefaultScope.get_instance("oracle", scope_name="mmdet")
torch.set_num_threads(1)


def has_compiled_operators() -> bool:
    return are_compiled()


def tensors(arrays: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def assign(boxes: np.ndarray, truths: np.ndarray, rules: dict) -> np.ndarray:
    """MaxIoUAssigner: -1, 0 or 1 + index for each box."""
    assigner = TASK_UTILS.build({"type": "MaxIoUAssigner", **rules})
    return _assign(assigner, torch.from_numpy(boxes), torch.from_numpy(truths)).gt_inds.int().numpy()


def _assign(assigner: object, boxes: torch.Tensor, truths: torch.Tensor) -> object:
    labels = torch.zeros(len(truths), dtype=torch.long)
    return assigner.assign(InstanceData(priors=boxes), InstanceData(bboxes=truths, labels=labels))


def sample(boxes: np.ndarray, truths: np.ndarray, rules: dict, num: int, pos_fraction: float, rounds: int) -> dict:
    """RandomSampler on a MaxIoUAssigner's result: how often each box was drawn, and how many in each round."""
    boxes, truths = tensors([boxes, truths])
    assigner = TASK_UTILS.build({"type": "MaxIoUAssigner", **rules})
    sampler = TASK_UTILS.build(
        {"type": "RandomSampler", "num": num, "pos_fraction": pos_fraction, "add_gt_as_proposals": False}
    )
    drawn, numbers = np.zeros(len(boxes), np.int32), set()
    torch.manual_seed(0)
    for _ in range(rounds):
        result = sampler.sample(
            _assign(assigner, boxes, truths),
            InstanceData(priors=boxes),
            InstanceData(bboxes=truths, labels=torch.zeros(len(truths), dtype=torch.long)),
        )
        numbers.add((len(result.pos_inds), len(result.neg_inds)))
        drawn[torch.cat([result.pos_inds, result.neg_inds]).numpy()] += 1
    return {"drawn": drawn, "numbers": sorted(numbers)}


def encode(coder: dict, boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return TASK_UTILS.build(coder).encode(*tensors([boxes, targets])).numpy()


def decode(coder: dict, boxes: np.ndarray, codes: np.ndarray, image_shape: list | None) -> np.ndarray:
    return TASK_UTILS.build(coder).decode(*tensors([boxes, codes]), max_shape=image_shape).numpy()


def anchors(generator: dict, sizes: list) -> np.ndarray:
    levels = TASK_UTILS.build(generator).grid_priors([tuple(size) for size in sizes], device="cpu")
    return torch.cat(levels).numpy()


def network(config: dict, weights: dict, inputs: list, cotangents: list) -> dict:
    """Outputs of a module in training mode, and the gradients of Σ output · cotangent.

    Args:
        inputs: one array, or a list for a module that takes a list of maps.
    """
    module = MODELS.build(ConfigDict(config))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    module.train()
    leaves = [tensor.requires_grad_() for tensor in tensors(inputs)]
    outputs = module(leaves[0] if config["type"] == "ResNet" else leaves)
    sum((output * other).sum() for output, other in zip(outputs, tensors(cotangents), strict=True)).backward()
    return {
        "outputs": [output.detach().numpy() for output in outputs],
        "inputs": [leaf.grad.numpy() for leaf in leaves],
        "parameters": {name: value.grad.numpy() for name, value in module.named_parameters() if value.grad is not None},
    }


class FirstK(RandomSampler):
    """Takes the first candidates instead of random ones."""

    def random_choice(self, gallery: torch.Tensor, num: int) -> torch.Tensor:
        return gallery[:num]


def rpn_loss(config: dict, weights: dict, maps: list, boxes: list, image_shapes: list, pad_shape: list) -> dict:
    """Loss terms of an RPN head with the first samples instead of random ones, and the gradients of the maps."""
    head = _rpn(config, weights)
    if "sampler" in config["train_cfg"]:
        head.sampler = FirstK(num=config["train_cfg"]["sampler"]["num"], pos_fraction=0.5, add_gt_as_proposals=False)
    leaves = [tensor.requires_grad_() for tensor in tensors(maps)]
    truths = [InstanceData(bboxes=b, labels=torch.zeros(len(b), dtype=torch.long)) for b in tensors(boxes)]
    metas = [{"img_shape": tuple(shape), "pad_shape": tuple(pad_shape)} for shape in image_shapes]
    terms = {name: sum(levels) for name, levels in head.loss_by_feat(*head(leaves), truths, metas).items()}
    sum(terms.values()).backward()
    return {
        "terms": {name: term.item() for name, term in terms.items()},
        "maps": [leaf.grad.numpy() for leaf in leaves],
    }


def rpn_proposals(config: dict, weights: dict, maps: list, image_shapes: list, rules: dict) -> list:
    """Proposals (n,5) of each image."""
    head = _rpn(config, weights)
    with torch.no_grad():
        found = head.predict_by_feat(
            *head(tensors(maps)),
            batch_img_metas=[{"img_shape": tuple(shape)} for shape in image_shapes],
            cfg=ConfigDict(rules),
        )
    return [torch.cat([image.bboxes, image.scores[:, None]], 1).numpy() for image in found]


def _rpn(config: dict, weights: dict) -> torch.nn.Module:
    head = MODELS.build(ConfigDict(config))
    head.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return head


def compiled_roi_align(feature: np.ndarray, rois: np.ndarray, size: int, scale: float, cotangent: np.ndarray) -> dict:
    """mmcv's RoIAlign (aligned, adaptive sampling) and the gradient of Σ output · cotangent."""
    from mmcv.ops import roi_align

    feature, rois, cotangent = tensors([feature, rois, cotangent])
    output = roi_align(feature.requires_grad_(), rois, (size, size), scale, 0, "avg", True)
    (output * cotangent).sum().backward()
    return {"output": output.detach().numpy(), "gradient": feature.grad.numpy()}


def compiled_batched_nms(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, rules: dict) -> dict:
    """mmcv's batched_nms: indices kept, by descending score, and scores."""
    from mmcv.ops import batched_nms

    table, kept = batched_nms(*tensors([boxes, scores, labels.astype(np.int64)]), rules)
    return {"kept": kept.numpy(), "scores": table[:, 4].numpy()}


def compiled_multiclass_nms(
    boxes: np.ndarray, scores: np.ndarray, score_threshold: float, rules: dict, most: int
) -> dict:
    """mmdet's multiclass_nms with a background column added: boxes, scores and labels."""
    from mmdet.models.layers import multiclass_nms

    boxes, scores = tensors([boxes, scores])
    scores = torch.cat([scores, scores.new_zeros(len(scores), 1)], 1)
    table, labels, pairs = multiclass_nms(boxes, scores, score_threshold, ConfigDict(rules), most, return_inds=True)
    return {"scores": table[:, 4].numpy(), "labels": labels.int().numpy(), "pairs": pairs.int().numpy()}
