"""PyTorch's side of the step benchmark: ``python -m benchmarks.networks.torch_side '{"case": NAME, "folder": PATH,
"device": NAME, "precision": NAME, "compiled": FLAG}'``.

ResNet, FPN, region proposals, assigners, samplers, coders, RoI extractor and NMS are MMDetection's; see torch_stage_1
and torch_stage_2 for the rest. Half precision is MMEngine's: autocast, and a scaled loss. `compiled` are the networks;
what MMDetection does image by image between them is not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.networks import mmcv_operators
from benchmarks.networks.cases import CASES, HALF, OPTIMIZER, Case, batch, cotangent, weight
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
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(rules[key]).view(3, 1, 1), persistent=False)
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

    def compile_networks(self) -> None:
        networks = (self.backbone, self.neck, self.rpn_head, self.roi_head.shared_head, self.roi_head.bbox_head)
        for network in networks:
            if network is not None:
                network.compile()

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

    def __init__(self, case: Case, folder: Path, device: str, precision: str, compiled: bool) -> None:
        size = (case.height, case.width)
        model = case.model(folder)
        operators = mmcv_operators.choose(device)
        if operators == "torchvision":
            model["roi_head"]["bbox_roi_extractor"]["roi_layer"]["use_torchvision"] = True
        self.with_rois = operators is not None
        soft = model["test_cfg"]["rcnn"]["nms"]["type"] == "soft_nms"
        self.with_nms = self.with_rois and (mmcv_operators.are_compiled() or not soft)
        self.detector = Detector(model, size).train().to(device)
        self.device = device
        self.half = getattr(torch, precision) if precision in HALF else None
        self.scaler = torch.amp.GradScaler(device, enabled=self.half is not None)
        self._fill()
        if compiled:
            self.detector.compile_networks()
        rules = OPTIMIZER["optimizer"]
        self.trained = [value for value in self.detector.parameters() if value.requires_grad]
        self.optimizer = torch.optim.SGD(
            self.trained, rules["lr"], momentum=rules["momentum"], weight_decay=rules["weight_decay"]
        )
        arrays = batch(case)
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        self.images = tensors["images"].permute(0, 3, 1, 2).contiguous()
        self.truths = [
            InstanceData(bboxes=boxes, labels=labels.long())
            for boxes, labels in zip(tensors["boxes"], tensors["labels"], strict=True)
        ]
        self.given = [
            InstanceData(priors=rows[:, :4].contiguous(), scores=rows[:, 4].contiguous())
            for rows in tensors["proposals"]
        ]
        with torch.no_grad(), self._autocast():
            self.maps = [level.clone() for level in self.detector.extract(self.images)]
            self.proposals = self.detector.proposals(self.maps, self.given)
        self.sampled = self.detector.roi_head.sample(self.proposals, self.truths)
        self.map_gradients = self._gradients("map", self.maps)
        if not self.with_rois:
            return
        with torch.no_grad(), self._autocast():
            self.features = self.detector.roi_head.extract(self.maps, self.sampled.rois)
            one = [level[:1] for level in self.maps]
            self.scored = self.detector.roi_head.scored_boxes(one, self.proposals[0], size)
        (self.feature_gradients,) = self._gradients("features", [self.features])

    def parts(self) -> dict:
        parts = {"backbone": self.backbone, "assignment": self.assignment}
        if self.detector.rpn_head is not None:
            parts["RPN"] = self.rpn
        if self.with_rois:
            parts |= {"RoIAlign": self.roi_align, "heads": self.heads, "optimizer": self.update, "step": self.step}
        if self.with_nms:
            parts |= {"NMS": self.nms, "inference": self.inference}
        return {name: partial(self._whole, part) for name, part in parts.items()}

    def _whole(self, part: Callable[[], None]) -> None:
        """The part, in the precision that is asked for, to its end."""
        with self._autocast():
            part()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, self.half, enabled=self.half is not None)

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
            self.scaler.scale(sum(self.detector.losses(self.images, self.truths, self.given).values())).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.trained, OPTIMIZER["clip_grad"]["max_norm"])
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def step(self) -> None:
        terms = self.detector.losses(self.images, self.truths, self.given)
        self.optimizer.zero_grad()
        self.scaler.scale(sum(terms.values())).backward()
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
        with self._autocast():
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
        return [torch.from_numpy(cotangent(tuple(x.shape), f"{name} {i}")).to(x) for i, x in enumerate(tensors)]

    def most_memory(self) -> int:
        """Bytes of the GPU that torch's pools have held at most; 0 on a CPU."""
        return torch.cuda.max_memory_reserved() if self.device == "cuda" else 0


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    folder, device, precision, compiled = (settings[key] for key in ("folder", "device", "precision", "compiled"))
    theirs = TorchSide(CASES[settings["case"]], Path(folder), device, precision, compiled)
    answer_rounds(Side(theirs.parts(), theirs.losses, lambda: 0, theirs.most_memory).answer)


if __name__ == "__main__":
    main()
