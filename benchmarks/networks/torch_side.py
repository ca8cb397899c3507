"""PyTorch's side of the step benchmark: ``python -m benchmarks.networks.torch_side '{"case": NAME, "folder": PATH}'``.

ResNet, FPN, region proposals, assigners, samplers, coders, RoI extractor and NMS are MMDetection's; see torch_stage_1
and torch_stage_2 for the rest.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.networks import mmcv_operators
from benchmarks.networks.cases import CASES, OPTIMIZER, Case, batch, cotangent, weight
from benchmarks.networks.side import Side
from benchmarks.rounds import answer_rounds

mmcv_operators.stand_in()
import mmdet.models  # noqa: E402, F401 - registers everything
from mmdet.models.task_modules.samplers import RandomSampler  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

DefaultScope.get_instance("benchmark", scope_name="mmdet")


class Detector(nn.Module):
    """A two-stage detector: preprocessor, backbone, neck, heads."""

    def __init__(self, model: dict, size: tuple[int, int]) -> None:
        from benchmarks.networks import torch_roi, torch_stage_1, torch_stage_2

        super().__init__()
        self.size, self.config = size, model
        rules = model["data_preprocessor"]
        self.mean, self.std = (torch.tensor(rules[key]).view(3, 1, 1) for key in ("mean", "std"))
        roi_head, rcnn = model["roi_head"], (model["train_cfg"]["rcnn"], model["test_cfg"]["rcnn"])
        if model["type"] == "FasterRCNN":
            self.backbone = MODELS.build(ConfigDict(model["backbone"]))
            self.neck = MODELS.build(ConfigDict(model["neck"]))
            self.rpn_head = torch_stage_1.OlnRPN(ConfigDict(model["train_cfg"]["rpn"]), **ConfigDict(model["rpn_head"]))
            shared_head, head = nn.Identity(), torch_stage_1.ScoreHead(roi_head["bbox_head"])
        else:
            backbone = model["backbone"]
            self.backbone = torch_stage_2.CLIPResNet(backbone["layers"], backbone["width"])
            self.neck, self.rpn_head = nn.Identity(), None
            shared_head = torch_stage_2.SharedHead(backbone["layers"], backbone["width"])
            head = torch_stage_2.CLIPHead(roi_head["bbox_head"])
        self.roi_head = torch_roi.RoIHead(roi_head, *rcnn, shared_head, head)

    def train(self, mode: bool = True) -> Detector:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def extract(self, images: Tensor) -> list[Tensor]:
        """Images u8 (B,3,H,W), BGR."""
        return list(self.neck(self.backbone((images[:, [2, 1, 0]].float() - self.mean) / self.std)))

    def proposals(self, maps: list[Tensor], given: list[InstanceData]) -> list[InstanceData]:
        if self.rpn_head is None:
            return given
        best = self.config["test_cfg"]["rpn"]["nms_pre"]
        return self.rpn_head.proposals(self.rpn_head(maps), best, self.size)

    def losses(self, images: Tensor, truths: list[InstanceData], given: list[InstanceData]) -> dict[str, Tensor]:
        maps, terms = self.extract(images), {}
        if self.rpn_head is not None:
            outputs = self.rpn_head(maps)
            best = self.config["train_cfg"]["rpn_proposal"]["nms_pre"]
            given = self.rpn_head.proposals(outputs, best, self.size)
            terms = self.rpn_head.losses(outputs, truths, self.size)
        return {**terms, **self.roi_head.losses(maps, given, truths)}

    @torch.no_grad()
    def predict(self, images: Tensor, given: list[InstanceData]) -> list:
        maps = self.extract(images)
        found = []
        for image, proposals in enumerate(self.proposals(maps, given)):
            one = [level[image : image + 1] for level in maps]
            found.append(self.roi_head.suppress(*self.roi_head.scored_boxes(one, proposals, self.size)))
        return found


class TorchSide:
    """The detector of a case, and its parts' fixed inputs."""

    def __init__(self, case: Case, folder: Path) -> None:
        size = (case.height, case.width)
        self.detector = Detector(case.model(folder), size).train()
        self._fill()
        rules = OPTIMIZER["optimizer"]
        self.trained = [value for value in self.detector.parameters() if value.requires_grad]
        self.optimizer = torch.optim.SGD(
            self.trained, rules["lr"], momentum=rules["momentum"], weight_decay=rules["weight_decay"]
        )
        arrays = batch(case)
        self.images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous()
        self.truths = [
            InstanceData(bboxes=torch.from_numpy(boxes), labels=torch.from_numpy(labels).long())
            for boxes, labels in zip(arrays["boxes"], arrays["labels"], strict=True)
        ]
        self.given = [
            InstanceData(priors=torch.from_numpy(rows[:, :4].copy()), scores=torch.from_numpy(rows[:, 4].copy()))
            for rows in arrays["proposals"]
        ]
        with torch.no_grad():
            self.maps = [level.clone() for level in self.detector.extract(self.images)]
            self.proposals = self.detector.proposals(self.maps, self.given)
        self.sampled = self.detector.roi_head.sample(self.proposals, self.truths)
        self.map_gradients = self._gradients("map", self.maps)
        if mmcv_operators.are_compiled():
            with torch.no_grad():
                self.features = self.detector.roi_head.extract(self.maps, self.sampled.rois)
            one = [level[:1] for level in self.maps]
            self.scored = self.detector.roi_head.scored_boxes(one, self.proposals[0], size)
            self.feature_gradients = torch.from_numpy(cotangent(tuple(self.features.shape), "features"))

    def parts(self) -> dict:
        parts = {"backbone": self.backbone, "assignment": self.assignment}
        if self.detector.rpn_head is not None:
            parts["RPN"] = self.rpn
        if mmcv_operators.are_compiled():
            parts |= {"RoIAlign": self.roi_align, "heads": self.heads, "NMS": self.nms}
            parts |= {"optimizer": self.update, "step": self.step, "inference": self.inference}
        return parts

    def backbone(self) -> None:
        self._backward(self.detector.extract(self.images), self.map_gradients)

    def rpn(self) -> None:
        head = self.detector.rpn_head
        outputs = head(self._leaves(self.maps))
        head.proposals(outputs, self.detector.config["train_cfg"]["rpn_proposal"]["nms_pre"], self.detector.size)
        flat = [level for branch in outputs for level in branch]
        if not hasattr(self, "column_gradients"):
            self.column_gradients = self._gradients("columns", flat)
        self._backward(flat, self.column_gradients)

    def assignment(self) -> None:
        if self.detector.rpn_head is not None:
            self.detector.rpn_head.both_targets(self.maps, self.truths, self.detector.size)
        self.detector.roi_head.sample(self.proposals, self.truths)

    def roi_align(self) -> None:
        features = self.detector.roi_head.extract(self._leaves(self.maps), self.sampled.rois)
        self._backward([features], [self.feature_gradients])

    def heads(self) -> None:
        (features,) = self._leaves([self.features])
        head = self.detector.roi_head
        self._forget()
        sum(head.bbox_head.losses(head.bbox_head(head.shared_head(features)), self.sampled).values()).backward()

    def nms(self) -> None:
        self.detector.roi_head.suppress(*self.scored)

    def update(self) -> None:
        if any(value.grad is None for value in self.trained):
            self._forget()
            sum(self.detector.losses(self.images, self.truths, self.given).values()).backward()
        torch.nn.utils.clip_grad_norm_(self.trained, OPTIMIZER["clip_grad"]["max_norm"])
        self.optimizer.step()

    def step(self) -> None:
        terms = self.detector.losses(self.images, self.truths, self.given)
        self.optimizer.zero_grad()
        sum(terms.values()).backward()
        self.update()
        for term in terms.values():
            term.item()

    def inference(self) -> None:
        self.detector.predict(self.images, self.given)

    def losses(self) -> dict[str, float]:
        random_choice = RandomSampler.random_choice
        RandomSampler.random_choice = lambda _, gallery, number: gallery[:number]
        head = self.detector.roi_head.bbox_head
        if hasattr(head, "draw"):
            draw, head.draw = head.draw, lambda weights, number: weights.nonzero()[:number, 0]
        terms = self.detector.losses(self.images, self.truths, self.given)
        RandomSampler.random_choice = random_choice
        if hasattr(head, "draw"):
            head.draw = draw
        return {name: term.item() for name, term in terms.items()}

    def _fill(self) -> None:
        with torch.no_grad():
            for name, value in self.detector.state_dict().items():
                if value.is_floating_point() and "zs_weights" not in name:
                    value.copy_(torch.from_numpy(weight(name, tuple(value.shape))))

    def _backward(self, outputs: list[Tensor], gradients: list[Tensor]) -> None:
        self._forget()
        torch.autograd.backward(outputs, gradients)

    def _forget(self) -> None:
        for value in self.trained:
            value.grad = None

    @staticmethod
    def _leaves(tensors: list[Tensor]) -> list[Tensor]:
        return [tensor.detach().requires_grad_() for tensor in tensors]

    @staticmethod
    def _gradients(name: str, tensors: list[Tensor]) -> list[Tensor]:
        return [torch.from_numpy(cotangent(tuple(x.shape), f"{name} {i}")) for i, x in enumerate(tensors)]


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    theirs = TorchSide(CASES[settings["case"]], Path(settings["folder"]))
    answer_rounds(Side(theirs.parts(), theirs.losses, lambda: 0).answer)


if __name__ == "__main__":
    main()
