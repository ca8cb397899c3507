"""Our side of the step benchmark: ``python -m benchmarks.networks.jittor_side '{"case": NAME, "folder": PATH}'``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks.cases import CASES, HALF, OPTIMIZER, Case, batch, cotangent, weight
from benchmarks.networks.side import Side
from benchmarks.rounds import answer_rounds
from shared.batch import blank_arrays
from trainer.batch import Batch
from trainer.device import device_memory, jit_kernel_count, jt, nn, var
from trainer.models import build_detector
from trainer.models.detections import read
from trainer.models.ops.random_keys import Draw
from trainer.models.precision import raised
from trainer.models.roi_heads.standard_roi_head import to_rois
from trainer.training.accumulation import WHOLE
from trainer.training.loss_scale import WRAPPER
from trainer.training.optimizer import build_optimizer
from trainer.training.terms import minimised, packed, total_loss


def first_keys(_draw: Draw, shape: tuple[int, int]) -> jt.Var:
    """Keys that make a sampler take the first candidates."""
    return var(np.broadcast_to(1 - (np.arange(shape[1]) + 0.5) / shape[1], shape), "float32")


class OurSide:
    """The detector of a case, and its parts' fixed inputs."""

    def __init__(self, case: Case, folder: Path, precision: str) -> None:
        self.detector = build_detector(case.model(folder))
        self.detector.train()
        wrapper: dict[str, Any] = OPTIMIZER
        if precision in HALF:
            self.detector.trains_in = self.detector.predicts_in = precision
            wrapper = OPTIMIZER | {"type": WRAPPER, "dtype": precision}
        for name, value in self.detector.named_parameters():
            if "zs_weights" not in name:
                value.assign(var(weight(name, tuple(value.shape))))
        self.optimizer = build_optimizer(wrapper, self.detector)
        self.has_gradients = False
        self.batch = self._upload(case)
        self.head = self.detector.roi_head
        with jt.no_grad():
            maps = [level.numpy() for level in self.detector.extract(self.batch)]
        self.maps = [var(level) for level in maps]  # outside: what is made in there never gets a gradient
        with jt.no_grad():
            self.proposals = var(self.detector.proposals(self.maps, self.batch).numpy())
            self.sampled = self.head.sample(self.proposals, self.batch)
            self.rois = var(to_rois(self.sampled.boxes).numpy())
            features = self.head.roi_extractor([raised(level) for level in self.maps], self.rois).numpy()
            one = slice(0, 1)
            boxes, scores = self.head.scored_boxes(
                [level[one] for level in self.maps], self.proposals[one], self.batch.image_shapes[one]
            )
            self.boxes, self.scores = var(boxes.numpy()), var(scores.numpy())
        self.features = var(features)
        self.map_gradients = [var(cotangent(level.shape, f"map {i}")) for i, level in enumerate(maps)]
        self.feature_gradients = var(cotangent(features.shape, "features 0"))
        jt.sync_all(True)

    def parts(self) -> dict:
        parts = {
            "backbone": self.backbone,
            "assignment": self.assignment,
            "RoIAlign": self.roi_align,
            "heads": self.heads,
            "NMS": self.nms,
            "optimizer": self.update,
            "step": self.step,
            "inference": self.inference,
        }
        return {"RPN": self.rpn, **parts} if hasattr(self.detector, "rpn_head") else parts

    def backbone(self) -> None:
        maps = self.detector.extract(self.batch)
        self._backward(maps, self.map_gradients, self.detector.backbone, self.detector.neck)

    def rpn(self) -> None:
        head = self.detector.rpn_head
        predictions = head(self.maps)
        proposals = head.proposals(predictions, self.batch.image_shapes, "train")
        if not hasattr(self, "column_gradients"):
            self.column_gradients = var(cotangent(tuple(predictions.columns.shape), "columns"))
        self._backward([predictions.columns], [self.column_gradients], head, more=self.maps)
        proposals.sync(True)

    def assignment(self) -> None:
        if hasattr(self.detector, "rpn_head"):
            sizes = [(level.shape[2], level.shape[3]) for level in self.maps]
            targets = self.detector.rpn_head.targets(sizes, self.batch)
            jt.sync(
                [targets.boxes, targets.box_weights, targets.objectness, targets.normaliser, targets.strict.index], True
            )
        sampled = self.head.sample(self.proposals, self.batch)
        jt.sync([sampled.boxes, sampled.truths, sampled.labels], True)

    def roi_align(self) -> None:
        features = self.head.roi_extractor([raised(level) for level in self.maps], self.rois)
        self._backward([features], [self.feature_gradients], more=self.maps[: self.head.roi_extractor.levels])

    def heads(self) -> None:
        outputs = self.head.bbox_head(self.head.shared_head(self.features))
        loss = total_loss(self.head.bbox_head.loss(outputs, self.sampled))
        trained = _trained(self.head.shared_head, self.head.bbox_head)
        jt.sync([loss, *jt.grad(loss, [*trained, self.features])], True)

    def nms(self) -> None:
        with jt.no_grad():
            read([self.head.suppress(self.boxes, self.scores)])

    def update(self) -> None:
        if not self.has_gradients:
            self.step()
            self.has_gradients = True
        self.optimizer.complete(WHOLE)
        jt.sync_all(True)

    def step(self) -> None:
        terms = self.detector.loss(self.batch)
        norm = self.optimizer.step(total_loss(terms))
        values = packed([*terms.values(), norm])
        jt.sync_all(True)
        values.numpy()

    def inference(self) -> None:
        self.detector.predict(self.batch)

    def losses(self) -> dict[str, float]:
        samplers = [self.head.sampler]
        if hasattr(self.detector, "rpn_head"):
            samplers += [self.detector.rpn_head.strict_sampler, self.detector.rpn_head.wide_sampler]
        draws = [*samplers, *([self.head.bbox_head] if hasattr(self.head.bbox_head, "keys") else [])]
        random = [drawer.keys for drawer in draws]
        for drawer in draws:
            drawer.keys = first_keys
        terms = self.detector.loss(self.batch)
        values = {name: terms[name].item() for name in minimised(terms)}
        for drawer, keys in zip(draws, random, strict=True):
            drawer.keys = keys
        return values

    @staticmethod
    def _backward(outputs: list[jt.Var], gradients: list[jt.Var], *modules: nn.Module, more: list[jt.Var] = ()) -> None:
        total = jt.zeros(1)
        for output, gradient in zip(outputs, gradients, strict=True):
            total = total + (output * gradient).sum()
        jt.sync(jt.grad(total, [*_trained(*modules), *more]), True)

    @staticmethod
    def _upload(case: Case) -> Batch:
        own = batch(case)
        boxes, proposals = own["boxes"].shape[1], own["proposals"].shape[1]
        arrays = blank_arrays(case.images, case.height, case.width, boxes, proposals) | own
        arrays["box_counts"][:], arrays["proposal_counts"][:] = boxes, proposals
        return Batch.from_arrays(arrays)


def _trained(*modules: nn.Module) -> list[jt.Var]:
    return [value for module in modules for value in module.parameters() if not value.is_stop_grad()]


def most_memory() -> int:
    """Bytes of the GPU that Jittor's pools have held at most, as they give nothing back; 0 on a CPU."""
    return device_memory() if jt.flags.use_cuda else 0


def main() -> None:
    settings = json.loads(sys.argv[1])
    ours = OurSide(CASES[settings["case"]], Path(settings["folder"]), settings["precision"])
    answer_rounds(Side(ours.parts(), ours.losses, jit_kernel_count, most_memory).answer)


if __name__ == "__main__":
    main()
